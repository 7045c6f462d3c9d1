/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What waits for its receivers and not for the disk.
 *
 * A QoS 1 message for a client that keeps up is acknowledged sooner than a commit takes; then
 * nothing need be written.  So a part with nothing but such messages is not due at once.  It is
 * closed at half of the patience, so that those in it come to an end, and left out when they do;
 * when they do not, it is written like any other.
 *
 *     |<------ half ------>|<------ half ------>|
 *     begun              closed                due
 *           deliveries       acknowledgements
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/journal_p.h"

/* Waiting longer than this is not worth a commit, however slow the disk is [ms]. */
#define PATIENCE_MS_MIN 4U
#define PATIENCE_MS_MAX 32U

/* The room that each pile of an emptied part keeps [bytes]. */
#define KEPT_ROOM ((size_t)1 << 20)

/* As long as two commits take: what comes later than that is better written at once. */
static uint64_t patience_ms(const gv_journal_t *journal)
{
    uint64_t two_commits_ms = journal->commit_ms_x8 / 4;
    return two_commits_ms < PATIENCE_MS_MIN   ? PATIENCE_MS_MIN
           : two_commits_ms > PATIENCE_MS_MAX ? PATIENCE_MS_MAX
                                              : two_commits_ms;
}

void gv__journal_note_commit(gv_journal_t *journal, uint64_t took_ms)
{
    journal->commit_ms_x8 += took_ms - journal->commit_ms_x8 / 8;
}

bool gv_journal_was_soon(gv_journal_t *journal, gv_place_t place)
{
    const gv_volume_t *volume = gv_shelf_find(&journal->shelf, gv_place_segment(place));
    return volume != NULL && journal->shard->now_ms <= volume->begun_ms + patience_ms(journal);
}

/* Everything in it has been acknowledged before it was written: there is nothing to write. */
static bool is_moot(const gv_part_t *part)
{
    return part->live == 0 && part->total > 0 && !part->has_tables && !part->has_marks &&
           !part->is_joined && part->notes.size == 0 && part->moves.size == 0 &&
           part->gifts.size == 0 && gv_list_is_empty(&part->volume->waiting);
}

/* Deliveries of older segments that are done are so only when a mark says it: in a later part. */
static void keep_releases_of_others(gv_part_t *part, gv_part_t *into)
{
    size_t count = GV_PILE_COUNT(&part->releases, gv_part_release_t);
    part->releases.size = 0;
    for (size_t i = 0; i < count; i++) {
        gv_part_release_t release = *GV_PILE_AT(&part->releases, gv_part_release_t, i);
        if (release.number != part->volume->number) {
            gv__part_release(into, release.number, release.count); /* of itself: not before i */
        }
    }
}

static void clear_pile(gv_pile_t *pile)
{
    if (pile->capacity > KEPT_ROOM) {
        gv_free(pile->data);
        *pile = (gv_pile_t){0};
    }
    pile->size = 0;
}

/* A moot part, as new but for its segment and what it says of others. */
static void clear(gv_part_t *part)
{
    clear_pile(&part->items);
    clear_pile(&part->bodies);
    clear_pile(&part->ends);
    clear_pile(&part->body);
    part->apart_count = 0;
    part->total = 0;
    part->latest_s = 0;
    part->has_eternal = false;
    part->is_urgent = false;
}

/* As new; its segment keeps its number. */
static void empty(gv_journal_t *journal, gv_part_t *part)
{
    journal->pending_bytes -= part->items.size + part->bodies.size;
    keep_releases_of_others(part, part);
    gv_shelf_clear(&journal->shelf, part->volume);
    clear(part);
}

static void drop_closed(gv_journal_t *journal, gv_part_t *part)
{
    gv_list_remove(&part->link);
    journal->pending_bytes -= part->items.size + part->bodies.size;
    keep_releases_of_others(part, gv__part_open(journal));
    gv_shelf_remove(&journal->shelf, part->volume);
    part->volume = NULL;
    if (journal->spare != NULL) {
        gv__part_free(part);
        return;
    }
    clear(part);
    journal->spare = part;
}

void gv__journal_leave_out(gv_journal_t *journal)
{
    gv_list_foreach_safe (&journal->closed, link) {
        gv_part_t *part = gv_container_of(link, gv_part_t, link);
        if (is_moot(part)) {
            drop_closed(journal, part);
        }
    }
    gv_part_t *open = journal->open;
    if (open == NULL || open->total == 0) {
        return;
    }
    if (is_moot(open)) {
        empty(journal, open);
    } else if (!open->is_urgent && !journal->has_urgent_dirty &&
               journal->shard->now_ms >= open->volume->begun_ms + patience_ms(journal) / 2) {
        gv_list_append(&journal->closed, &open->link);
        journal->open = NULL;
    }
}

/* Whether something in it waits for the disk; else it is due when its receivers have had their
 * time. */
static uint64_t part_due_ms(const gv_journal_t *journal, const gv_part_t *part)
{
    if (part->is_urgent) {
        return 0;
    }
    return part->total == 0 ? UINT64_MAX : part->volume->begun_ms + patience_ms(journal);
}

uint64_t gv__journal_due_ms(const gv_journal_t *journal)
{
    if (journal->has_urgent_dirty) {
        return 0;
    }
    uint64_t due_ms = UINT64_MAX;
    gv_list_foreach (&journal->closed, link) {
        uint64_t part_ms = part_due_ms(journal, gv_container_of(link, gv_part_t, link));
        due_ms = part_ms < due_ms ? part_ms : due_ms;
    }
    if (journal->open != NULL) {
        uint64_t open_ms = part_due_ms(journal, journal->open);
        due_ms = open_ms < due_ms ? open_ms : due_ms;
    }
    return due_ms;
}
