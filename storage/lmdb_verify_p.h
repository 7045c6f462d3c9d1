/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Looks at a data.mdb without mapping it, before LMDB does.
 *
 * LMDB trusts its file: it has no checksums, a truncated file is a SIGBUS, and a page of garbage
 * makes it follow wild pointers (of 600 files with one page overwritten, 336 ended the process).
 * So the head and the trees are checked first, with ordinary reads.
 *
 * What is checked: both meta pages; that the file is as long as they say; then every page of the
 * trees that LMDB will walk: is it what its parent thinks, do its nodes lie within it, is each page
 * used once and not listed as free.  Values are not looked at: the checksums of records (records.h)
 * are for that.
 *
 * Cost: branch pages are about one in a hundred and are always read; leaf pages of tables that are
 * read at the start anyway are read too, and of large values the first page; the leaves of the
 * outbox, which is not walked then, are not.  About 2 s for a million pages (4
 * GiB) in the system's cache.  Memory: one bit per page.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"

typedef struct gv__lmdb_fault {
    const char *text; /* static; completes the sentence "data.mdb ..." */
    uint64_t page;    /* where; 0: in the head */
} gv__lmdb_fault_t;

/*
 * `fd` is open for reading; nobody writes meanwhile.  With `every_page`, the leaf pages of the
 * outbox are read too.  GV_OK, or GV_ERR_CORRUPT, GV_ERR_VERSION, GV_ERR_IO or GV_ERR_NOMEM and
 * *fault_out.
 */
GV_MUST_USE gv_err_t gv__lmdb_verify(int fd, bool every_page, gv__lmdb_fault_t *fault_out);
