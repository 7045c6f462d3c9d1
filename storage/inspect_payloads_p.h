/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Whether the table `payloads` and the segments that refer to it agree: a part of
 * gv_inspect_check().
 *
 *     gv__held_init()
 *     gv__held_segment(), _unread()   for each segment of the log, in the order of their numbers
 *     gv__held_check()                walks the payloads and tells what is wrong
 *     gv__held_deinit()
 *
 * Memory: some bytes for each reference.  A payload that is not worth a record of its own stands in
 * its segment, so they are few.
 *
 * Threads: plain functions.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#include "proto/segment.h"

#include "storage/store.h"

/* A segment's word for it: this payload is one of its bodies, and so long. */
typedef struct gv__held_ref {
    uint64_t number; /* the payload's */
    uint64_t segment;
    size_t size;
} gv__held_ref_t;

/* `text` is static and says what is wrong with `key`; stray: nobody misses anything. */
typedef void gv__held_fault_cb_t(gv_table_t table, bool is_stray, const char *key, const char *text,
                                 void *arg);

typedef struct gv__held {
    gv__held_ref_t *refs;
    size_t ref_count;
    size_t ref_capacity;
    uint64_t *unread; /* segments whose references nobody knows, in order */
    size_t unread_count;
    size_t unread_capacity;
    gv__held_fault_cb_t *on_fault;
    void *on_fault_arg;

    /* Of the walk. */
    size_t passed;         /* references below the record that is being looked at */
    uint64_t number;       /* of that record */
    uint64_t holder_count; /* it has had so far */
    bool is_there;         /* the payload itself */
    bool is_damaged;
    size_t size;
} gv__held_t;

void gv__held_init(gv__held_t *held, gv__held_fault_cb_t *on_fault, void *arg);
void gv__held_deinit(gv__held_t *held);

/* Notes what a segment refers to. */
void gv__held_segment(gv__held_t *held, const gv_segment_view_t *segment);

/* Notes a segment that could not be read. */
void gv__held_unread(gv__held_t *held, uint64_t number);

/* Results as gv_store_scan(). */
GV_MUST_USE gv_err_t gv__held_check(gv__held_t *held, gv_store_t *store);
