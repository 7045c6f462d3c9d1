/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Looking after a store that no node has open: for `grapevine store`, which is why this header
 * shows nothing of tables and keys.
 *
 * All of them lock the directory as a node does, so they are refused while one runs and one that
 * is started meanwhile is refused.  Only gv_inspect_compact() changes anything.
 *
 * Errors are those of opening a store: GV_ERR_NOENT: there is none; GV_ERR_BUSY: a node has it;
 * GV_ERR_CORRUPT: data.mdb is damaged as a file; GV_ERR_VERSION: written by a newer Grapevine;
 * GV_ERR_DENIED; GV_ERR_NOMEM; GV_ERR_IO.  With an error `why` holds one line that says what is
 * wrong and what to do.
 *
 * Threads: plain functions, which block.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

#define GV_INSPECT_TABLES_MAX 16

typedef struct gv_inspect_table {
    const char *name; /* static */
    uint64_t records;
    uint64_t bytes; /* the pages it takes */

    /* Of a check only. */
    uint64_t damaged; /* checksum or contents wrong: skipped by a node */
    uint64_t stray;   /* of a session or a segment that is not there: ignored by a node */
} gv_inspect_table_t;

typedef struct gv_inspect {
    char node_id[33]; /* hexadecimal; empty if no node has used the store yet */
    char node_name[256];
    char cluster_name[256];
    uint64_t starts;

    uint64_t map_bytes;  /* the largest the store may become */
    uint64_t file_bytes; /* the length of data.mdb, holes included */
    uint64_t disk_bytes; /* what it takes of the disk */
    uint64_t used_bytes; /* pages in use */
    uint64_t free_bytes; /* pages within the file that are free */

    /* Messages that stand apart from the segments that refer to them. */
    uint64_t payloads;
    uint64_t payload_bytes;
    uint64_t payload_holders; /* of all of them together */

    gv_inspect_table_t tables[GV_INSPECT_TABLES_MAX];
    size_t table_count;
    uint64_t damaged; /* of all tables */
    uint64_t stray;
} gv_inspect_t;

/* Sizes and counts; of what is in the tables, only the keys of the payloads are read. */
GV_MUST_USE gv_err_t gv_inspect_stats(const char *directory, gv_inspect_t *inspect_out, char *why,
                                      size_t why_size);

typedef struct gv_inspect_finding {
    const char *table; /* static */
    const char *key;   /* printable */
    const char *text;  /* static; what is wrong with the record */
} gv_inspect_finding_t;

typedef void gv_inspect_finding_cb_t(const gv_inspect_finding_t *finding, void *arg);

/*
 * Reads everything: first every page of the file, then every record, and whether what belongs to
 * a session has one, and whether payloads and the segments that refer to them agree.  GV_OK also
 * when records were found wrong; they are in the counts, and each was told to on_finding.
 */
GV_MUST_USE gv_err_t gv_inspect_check(const char *directory, gv_inspect_t *inspect_out,
                                      gv_inspect_finding_cb_t *on_finding, void *arg, char *why,
                                      size_t why_size);

/*
 * Writes the store again without its free pages and puts that in its place, in one step: after a
 * crash in the middle there is the old one or the new one, whole.  Needs the space of what is in
 * use meanwhile (GV_ERR_FULL).  The sizes are those of the file before and after.
 */
GV_MUST_USE gv_err_t gv_inspect_compact(const char *directory, uint64_t *before_out,
                                        uint64_t *after_out, char *why, size_t why_size);
