/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/note.h"

#include "base/alloc.h"
#include "proto/cluster.pb-c.h"

/* What an entry takes besides its topic, at most [bytes]. */
#define ENTRY_OVERHEAD 64U

/* The bucket's tag on the wire: field 1, a varint. */
#define BUCKET_TAG 0x08U

/* ---- writing --------------------------------------------------------------------------------- */

void gv_note_deinit(gv_note_t *note)
{
    gv_free(note->_entries);
    *note = (gv_note_t){.bucket = note->bucket};
}

void gv_note_add(gv_note_t *note, const gv_note_entry_t *entry)
{
    if (note->count == note->_capacity) {
        note->_capacity = note->_capacity == 0 ? 64 : note->_capacity * 2;
        note->_entries = gv_xrealloc(note->_entries, note->_capacity * sizeof(*entry));
    }
    note->_entries[note->count++] = *entry;
    note->bytes += entry->topic.size + ENTRY_OVERHEAD;
}

static ProtobufCBinaryData data_of(gv_bytes_t bytes)
{
    /* Packing only reads. */
    return (ProtobufCBinaryData){.len = bytes.size, .data = (uint8_t *)(uintptr_t)bytes.data};
}

static void fill(Gv__RetainedEntry *out, const gv_note_entry_t *entry)
{
    gv__retained_entry__init(out);
    out->topic = data_of(entry->topic);
    if (entry->stamp.hlc != 0) {
        out->hlc = entry->stamp.hlc;
        out->writer = data_of(gv_bytes(entry->stamp.node, sizeof(entry->stamp.node)));
    }
    out->size = entry->size;
    out->is_tombstone = entry->is_tombstone;
}

uint8_t *gv_note_pack(gv_note_t *note, bool is_last, size_t *size_out)
{
    Gv__RetainedEntry *entries = gv_xcalloc(note->count + 1, sizeof(*entries));
    Gv__RetainedEntry **list = gv_xcalloc(note->count + 1, sizeof(Gv__RetainedEntry *));
    for (size_t i = 0; i < note->count; i++) {
        fill(&entries[i], &note->_entries[i]);
        list[i] = &entries[i];
    }
    Gv__RetainedNote message = GV__RETAINED_NOTE__INIT;
    message.bucket = note->bucket + 1;
    message.n_entries = note->count;
    message.entries = list;
    message.last = is_last;
    size_t size = gv__retained_note__get_packed_size(&message);
    uint8_t *packed = gv_xalloc(size);
    *size_out = gv__retained_note__pack(&message, packed);
    GV_ASSERT(*size_out == size);
    gv_free(list);
    gv_free(entries);
    note->count = 0;
    note->bytes = 0;
    return packed;
}

/* ---- reading --------------------------------------------------------------------------------- */

bool gv_note_bucket(gv_bytes_t packed, uint32_t *bucket_out)
{
    gv_reader_t r = gv_reader(packed);
    bool is_first = gv_reader_u8(&r) == BUCKET_TAG;
    uint32_t number = 0;
    for (uint32_t shift = 0, byte = 0x80; shift < 14 && (byte & 0x80) != 0; shift += 7) {
        byte = gv_reader_u8(&r);
        number |= (byte & 0x7f) << shift;
    }
    *bucket_out = number - 1;
    return !r.failed && is_first && number > 0 && number <= GV_RETAINED_BUCKETS;
}

static bool read_entry(const Gv__RetainedEntry *entry, gv_note_entry_t *out)
{
    *out = (gv_note_entry_t){
        .topic = gv_bytes(entry->topic.data, entry->topic.len),
        .stamp.hlc = entry->hlc,
        .size = entry->size,
        .is_tombstone = entry->is_tombstone,
    };
    if (entry->hlc != 0) {
        if (entry->writer.len != sizeof(out->stamp.node)) {
            return false;
        }
        memcpy(out->stamp.node, entry->writer.data, sizeof(out->stamp.node));
    }
    return entry->topic.len > 0 && entry->topic.len <= UINT16_MAX && entry->hlc < GV_HLC_MAX;
}

gv_err_t gv_note_read(gv_bytes_t packed, gv_arena_t *arena, gv_note_view_t *view_out)
{
    *view_out = (gv_note_view_t){.count = 0};
    ProtobufCAllocator allocator = gv_arena_allocator(arena);
    const Gv__RetainedNote *message =
        gv__retained_note__unpack(&allocator, packed.size, packed.data);
    if (message == NULL || message->bucket == 0 || message->bucket > GV_RETAINED_BUCKETS) {
        return GV_ERR_MALFORMED;
    }
    gv_note_entry_t *entries =
        gv_arena_alloc(arena, (message->n_entries + 1) * sizeof(gv_note_entry_t));
    if (entries == NULL) {
        return GV_ERR_MALFORMED;
    }
    for (size_t i = 0; i < message->n_entries; i++) {
        if (!read_entry(message->entries[i], &entries[i])) {
            return GV_ERR_MALFORMED;
        }
    }
    *view_out = (gv_note_view_t){.bucket = message->bucket - 1,
                                 .is_last = message->last,
                                 .count = message->n_entries,
                                 .entries = entries};
    return GV_OK;
}
