/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb_verify_p.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <sys/stat.h>
#include <unistd.h>

/*
 * The first two pages of an LMDB 0.9 file, as a 64-bit machine writes them in its own byte order
 * (the file is not portable between machines of different order, and LMDB says so as well):
 *
 *     0    page number           u64     0 or 1
 *     8    padding               u16
 *     10   flags                 u16     0x08: a meta page
 *     12   free space            2 * u16
 *     16   magic                 u32     0xBEEFC0DE
 *     20   version               u32     1
 *     24   map address, map size 2 * u64
 *     40   free list             48      its first u32 is the page size
 *     88   main table            48
 *     136  last used page        u64
 *     144  transaction           u64     the meta page with the higher one is in force
 */
typedef struct meta_page {
    uint64_t page_number;
    uint16_t padding;
    uint16_t flags;
    uint16_t free_space[2];
    uint32_t magic;
    uint32_t version;
    uint64_t map_address;
    uint64_t map_size;
    uint32_t page_size;
    uint32_t free_list_rest[11];
    uint32_t main_table[12];
    uint64_t last_page;
    uint64_t transaction;
} meta_page_t;

_Static_assert(sizeof(meta_page_t) == 152, "no padding");
_Static_assert(offsetof(meta_page_t, page_size) == 40, "as drawn above");
_Static_assert(offsetof(meta_page_t, last_page) == 136, "as drawn above");

#define PAGE_FLAG_META 0x08U
#define LMDB_MAGIC     0xBEEFC0DEU
#define LMDB_VERSION   1U
#define PAGE_SIZE_MIN  512U
#define PAGE_SIZE_MAX  65536U

static gv_err_t read_meta(int fd, off_t offset, uint64_t page_number, meta_page_t *meta,
                          const char **fault_out)
{
    ssize_t got = pread(fd, meta, sizeof(*meta), offset);
    if (got < 0) {
        *fault_out = "cannot be read";
        return GV_ERR_IO;
    }
    if ((size_t)got < sizeof(*meta)) {
        *fault_out = "is truncated";
        return GV_ERR_CORRUPT;
    }
    if (meta->magic != LMDB_MAGIC || (meta->flags & PAGE_FLAG_META) == 0 ||
        meta->page_number != page_number) {
        *fault_out = "is not an LMDB file, or its head is damaged";
        return GV_ERR_CORRUPT;
    }
    if (meta->version != LMDB_VERSION) {
        *fault_out = "is of another LMDB version";
        return GV_ERR_VERSION;
    }
    if (meta->page_size < PAGE_SIZE_MIN || meta->page_size > PAGE_SIZE_MAX ||
        (meta->page_size & (meta->page_size - 1)) != 0) {
        *fault_out = "has a damaged head";
        return GV_ERR_CORRUPT;
    }
    return GV_OK;
}

gv_err_t gv__lmdb_verify(int fd, const char **fault_out)
{
    GV_ASSERT(fault_out != NULL);
    *fault_out = "is intact";
    struct stat st;
    if (fstat(fd, &st) != 0) {
        *fault_out = "cannot be read";
        return GV_ERR_IO;
    }
    meta_page_t metas[2];
    gv_err_t err = read_meta(fd, 0, 0, &metas[0], fault_out);
    if (err == GV_OK) {
        err = read_meta(fd, (off_t)metas[0].page_size, 1, &metas[1], fault_out);
    }
    if (err != GV_OK) {
        return err;
    }
    /*
     * The writer keeps the file at least as long as its last page (writer.c), also where that page
     * was never written, so a shorter one has lost its end.
     */
    const meta_page_t *newest = &metas[metas[1].transaction > metas[0].transaction ? 1 : 0];
    if (newest->last_page >= UINT64_MAX / PAGE_SIZE_MAX ||
        (uint64_t)st.st_size < (newest->last_page + 1) * newest->page_size) {
        *fault_out = "is truncated";
        return GV_ERR_CORRUPT;
    }
    return GV_OK;
}
