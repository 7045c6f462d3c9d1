/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/inspect_payloads_p.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"

#include "storage/payload_store.h"

/*
 * References and records are both in the order of payload and holder, so one walk over the table
 * finds what is missing on either side.
 */

void gv__held_init(gv__held_t *held, gv__held_fault_cb_t *on_fault, void *arg)
{
    *held = (gv__held_t){.on_fault = on_fault, .on_fault_arg = arg};
}

void gv__held_deinit(gv__held_t *held)
{
    gv_free(held->refs);
    gv_free(held->unread);
}

/* ---- segments ---- */

static void add_ref(gv__held_t *held, const gv__held_ref_t *ref)
{
    if (held->ref_count == held->ref_capacity) {
        held->ref_capacity = held->ref_capacity == 0 ? 1024 : held->ref_capacity * 2;
        held->refs = gv_xrealloc(held->refs, held->ref_capacity * sizeof(gv__held_ref_t));
    }
    held->refs[held->ref_count++] = *ref;
}

void gv__held_segment(gv__held_t *held, const gv_segment_view_t *segment)
{
    for (uint32_t i = 0; i < segment->body_count; i++) {
        gv__held_ref_t ref = {
            .number = gv_segment_apart(segment, i),
            .segment = segment->number,
            .size = gv_segment_body_bytes(segment, i),
        };
        if (ref.number != 0) {
            add_ref(held, &ref);
        }
    }
}

void gv__held_unread(gv__held_t *held, uint64_t number)
{
    GV_ASSERT(held->unread_count == 0 || held->unread[held->unread_count - 1] < number);
    if (held->unread_count == held->unread_capacity) {
        held->unread_capacity = held->unread_capacity == 0 ? 16 : held->unread_capacity * 2;
        held->unread = gv_xrealloc(held->unread, held->unread_capacity * sizeof(uint64_t));
    }
    held->unread[held->unread_count++] = number;
}

static int compare(uint64_t left, uint64_t right)
{
    return left < right ? -1 : left > right ? 1 : 0;
}

static int compare_numbers(const void *a, const void *b)
{
    return compare(*(const uint64_t *)a, *(const uint64_t *)b);
}

static int compare_refs(const void *a, const void *b)
{
    const gv__held_ref_t *left = a;
    const gv__held_ref_t *right = b;
    int order = compare(left->number, right->number);
    return order != 0 ? order : compare(left->segment, right->segment);
}

static bool is_unread(const gv__held_t *held, uint64_t segment)
{
    return held->unread_count > 0 && bsearch(&segment, held->unread, held->unread_count,
                                             sizeof(uint64_t), compare_numbers) != NULL;
}

/* ---- faults ---- */

static void fault_of_payload(const gv__held_t *held, bool is_stray, const char *text)
{
    char key[32];
    (void)snprintf(key, sizeof(key), "%" PRIu64, held->number);
    held->on_fault(GV_TABLE_PAYLOADS, is_stray, key, text, held->on_fault_arg);
}

static void fault_of_holder(const gv__held_t *held, uint64_t holder, bool is_stray,
                            const char *text)
{
    char key[64];
    (void)snprintf(key, sizeof(key), "%" PRIu64 " holder %" PRIu64, held->number, holder);
    held->on_fault(GV_TABLE_PAYLOADS, is_stray, key, text, held->on_fault_arg);
}

static void fault_of_ref(const gv__held_t *held, const gv__held_ref_t *ref, const char *text)
{
    char key[64];
    (void)snprintf(key, sizeof(key), "%" PRIu64 " payload %" PRIu64, ref->segment, ref->number);
    held->on_fault(GV_TABLE_QUEUE_LOG, false, key, text, held->on_fault_arg);
}

/* What a reference finds, once everything before its holder's record has been seen. */
static void check_ref(const gv__held_t *held, const gv__held_ref_t *ref, bool is_held)
{
    bool is_there = held->is_there && held->number == ref->number;
    if (!is_there) {
        fault_of_ref(held, ref, "a payload that is not there");
    } else if (!held->is_damaged && held->size != ref->size) {
        fault_of_ref(held, ref, "a payload of another length");
    }
    if (is_there && !is_held) {
        fault_of_ref(held, ref, "a payload that it does not hold"); /* so it may go too early */
    }
}

/* ---- the walk ---- */

/* All references below (number, holder) have no record of their own. */
static void pass_refs(gv__held_t *held, uint64_t number, uint64_t holder)
{
    gv__held_ref_t here = {.number = number, .segment = holder};
    while (held->passed < held->ref_count && compare_refs(&held->refs[held->passed], &here) < 0) {
        check_ref(held, &held->refs[held->passed++], false);
    }
}

static void end_payload(const gv__held_t *held)
{
    if (held->is_there && held->holder_count == 0) {
        fault_of_payload(held, true, "a payload that no segment holds");
    }
}

static void begin_payload(gv__held_t *held, uint64_t number)
{
    end_payload(held);
    held->number = number;
    held->holder_count = 0;
    held->is_there = false;
    held->is_damaged = false;
}

static void check_payload(gv__held_t *held, gv_bytes_t value)
{
    gv_bytes_t body;
    gv_segment_message_t message;
    held->is_there = true;
    held->is_damaged = gv_payload_open(value, held->number, &body) != GV_OK ||
                       gv_segment_read_body(body, &message) != GV_OK;
    held->size = body.size;
    if (held->is_damaged) {
        fault_of_payload(held, false, "damaged");
    }
}

static void check_holder(gv__held_t *held, uint64_t holder, gv_bytes_t value)
{
    held->holder_count++;
    if (value.size > 0) {
        fault_of_holder(held, holder, false, "damaged");
    }
    gv__held_ref_t here = {.number = held->number, .segment = holder};
    bool is_meant = false;
    while (held->passed < held->ref_count && compare_refs(&held->refs[held->passed], &here) == 0) {
        check_ref(held, &held->refs[held->passed++], true);
        is_meant = true;
    }
    if (!is_meant && !is_unread(held, holder)) {
        fault_of_holder(held, holder, true, "not of a segment that refers to it");
    } else if (!is_meant && !held->is_there) {
        fault_of_holder(held, holder, false, "of a payload that is not there");
    }
}

static gv_err_t on_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    gv__held_t *held = arg;
    uint64_t number;
    uint64_t holder;
    if (!gv_payload_key_read(key, &number, &holder)) {
        char printable[160];
        held->on_fault(GV_TABLE_PAYLOADS, false,
                       gv_bytes_printable(key, printable, sizeof(printable)), "no payload's key",
                       held->on_fault_arg);
        return GV_OK;
    }
    pass_refs(held, number, holder);
    if (number != held->number) {
        begin_payload(held, number);
    }
    if (holder == 0) {
        check_payload(held, value);
    } else {
        check_holder(held, holder, value);
    }
    return GV_OK;
}

gv_err_t gv__held_check(gv__held_t *held, gv_store_t *store)
{
    if (held->ref_count > 0) {
        qsort(held->refs, held->ref_count, sizeof(gv__held_ref_t), compare_refs);
    }
    gv_err_t err = gv_store_scan(store, GV_TABLE_PAYLOADS, on_record, held);
    if (err == GV_OK) {
        end_payload(held);
        while (held->passed < held->ref_count) {
            check_ref(held, &held->refs[held->passed++], false);
        }
    }
    return err;
}
