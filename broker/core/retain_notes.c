/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shard says to a shard of another node about a bucket of retained messages (reconcile.h):
 * what it has, what of that the other one lacks, and then the messages.
 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "base/alloc.h"
#include "broker/core/note.h"
#include "broker/core/shard_p.h"

/* A note is sent when it is about as large [bytes]. */
#define NOTE_BYTES ((size_t)65536)

/* Copies that are wanted because of one note; one may be larger by itself [bytes]. */
#define WANT_BYTES ((uint64_t)65536)

#define ARENA_MAX ((size_t)8 << 20)

/* Hands a note to the hub. */
static void send(gv_shard_t *shard, gv_note_t *note, const gv_entry_note_t *head)
{
    size_t size = 0;
    uint8_t *packed = gv_note_pack(note, head->is_last != 0, &size);
    gv_publish_t carrier = {.payload = gv_bytes(packed, size)};
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_forward(shard), &carrier, sizeof(*head));
    if (entry != NULL) { /* else it comes again */
        entry->kind = GV_ENTRY_NOTE;
        memcpy(gv_parcel_extra(entry), head, sizeof(*head));
    }
    gv_free(packed);
}

/* ---- ASK: all that is in a bucket ------------------------------------------------------------ */

static void list(gv_shard_t *shard, uint8_t node, uint32_t bucket)
{
    gv_note_t note = {.bucket = bucket};
    gv_entry_note_t head = {.kind = GV_FRAME_RETAINED_LIST, .node = node};
    gv_retained_write_t write;
    for (gv_link_t *link = NULL;
         (link = gv_retained_bucket_next(&shard->retained, bucket, link, &write)) != NULL;) {
        gv_note_entry_t entry = {.topic = gv_publish_of(write.kept).topic,
                                 .stamp = write.stamp,
                                 .size = gv_msgbuf_bytes(write.kept).size,
                                 .is_tombstone = write.is_tombstone};
        if (note.count > 0 && note.bytes + entry.topic.size > NOTE_BYTES) {
            send(shard, &note, &head);
        }
        gv_note_add(&note, &entry);
    }
    head.is_last = 1;
    send(shard, &note, &head);
    gv_note_deinit(&note);
}

/* ---- LIST: what of it is newer than what is here --------------------------------------------- */

static bool is_wanted(const gv_shard_t *shard, const gv_note_entry_t *entry)
{
    gv_retained_write_t last;
    bool is_known = gv_retained_look(&shard->retained, entry->topic, &last);
    if (is_known && gv_stamp_compare(&last.stamp, &entry->stamp) >= 0) {
        return false;
    }
    if (entry->is_tombstone) {
        return (is_known && !last.is_tombstone) || gv__retained_is_news(shard, entry->stamp.hlc);
    }
    return gv__retained_has_room(shard, entry->topic, entry->size);
}

static void compare(gv_shard_t *shard, uint8_t node, const gv_note_view_t *theirs)
{
    gv_note_t wants = {.bucket = theirs->bucket};
    gv_entry_note_t head = {
        .kind = GV_FRAME_RETAINED_WANT, .node = node, .is_last = theirs->is_last};
    for (size_t i = 0; i < theirs->count; i++) {
        const gv_note_entry_t *entry = &theirs->entries[i];
        if (entry->stamp.hlc == 0 || !is_wanted(shard, entry)) {
            continue;
        }
        if (head.count > 0 && head.bytes + entry->size > WANT_BYTES) {
            head.is_cut = 1;
            continue;
        }
        gv_note_add(&wants, &(gv_note_entry_t){.topic = entry->topic});
        head.bytes += entry->size;
        head.count++;
    }
    send(shard, &wants, &head);
    gv_note_deinit(&wants);
}

/* ---- WANT: copies of it ---------------------------------------------------------------------- */

static void copy(gv_shard_t *shard, uint8_t node, gv_bytes_t topic)
{
    gv_retained_write_t last;
    if (!gv_retained_look(&shard->retained, topic, &last) || last.stamp.hlc == 0) {
        return;
    }
    gv_publish_t publish = gv_publish_of(last.kept);
    if (publish.payload.size < GV_PAYLOAD_SHARED_MIN) {
        publish.kept = NULL;
    }
    gv_entry_write_t write = {.stamp = last.stamp, .is_copy = 1, .node = node};
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_forward(shard), &publish, sizeof(write));
    if (entry != NULL) {
        entry->kind = GV_ENTRY_COPY;
        memcpy(gv_parcel_extra(entry), &write, sizeof(write));
    }
}

void gv__take_note(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_entry_note_t head;
    memcpy(&head, gv_parcel_extra(entry), sizeof(head));
    gv_arena_t arena;
    gv_arena_init(&arena, ARENA_MAX);
    gv_note_view_t note;
    if (gv_note_read(gv_parcel_publish(entry).payload, &arena, &note) == GV_OK) {
        if (head.kind == GV_FRAME_RETAINED_ASK) {
            list(shard, head.node, note.bucket);
        } else if (head.kind == GV_FRAME_RETAINED_LIST) {
            compare(shard, head.node, &note);
        } else {
            for (size_t i = 0; i < note.count; i++) {
                copy(shard, head.node, note.entries[i].topic);
            }
        }
    }
    gv_arena_deinit(&arena);
}
