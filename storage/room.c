/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/room_p.h"

#include <errno.h>

#include <sys/stat.h>
#include <unistd.h>

#include "base/io/os.h"

#include "storage/batch_p.h"
#include "storage/store_p.h"

/* Free pages are counted this often, and whenever the room seems to be used up. */
#define COUNT_INTERVAL_NS ((uint64_t)1000000000)

/* A ballast that could not be made is tried again so much later: each try is logged. */
#define BALLAST_INTERVAL_NS ((uint64_t)60000000000)

/* The file grows in steps of this size, as a hole: no disk space is used for it. */
#define FILE_STEP_BYTES ((uint64_t)16 << 20)

/* More levels than a table of 2^64 small records needs: what one change may copy on write. */
#define TREE_DEPTH_MAX 12U

static uint64_t now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

/* Each entry of the free list begins with how many pages it holds. */
uint64_t gv__room_free_pages(gv__lmdb_t *lmdb)
{
    gv__read_t read;
    if (gv__lmdb_read_begin(lmdb, &read) != GV_OK) {
        return 0;
    }
    uint64_t pages = 0;
    MDB_cursor *cursor = NULL;
    const MDB_dbi free_list = 0;
    if (mdb_cursor_open(read.txn, free_list, &cursor) == MDB_SUCCESS) {
        MDB_val key;
        MDB_val value;
        while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == MDB_SUCCESS) {
            size_t entry_pages = 0;
            memcpy(&entry_pages, value.mv_data, sizeof(entry_pages));
            pages += entry_pages;
        }
        mdb_cursor_close(cursor);
    }
    gv__lmdb_read_end(&read);
    return pages;
}

uint64_t gv__room_pages(gv__lmdb_t *lmdb)
{
    MDB_envinfo info;
    (void)mdb_env_info(lmdb->env, &info);
    return info.me_last_pgno + 1;
}

/* What is left of `size` when `used` and `reserve` are taken away. */
static uint64_t left_of(uint64_t size, uint64_t used, uint64_t reserve)
{
    return size > used && size - used > reserve ? size - used - reserve : 0;
}

static bool is_ballast_missing(const gv__lmdb_t *lmdb)
{
    return lmdb->ballast_bytes > 0 && !lmdb->dir.has_ballast;
}

/* When there is plenty of disk again, what a full one has cost is put back. */
static void refill_ballast(gv__lmdb_t *lmdb, uint64_t disk_bytes)
{
    uint64_t plenty = lmdb->disk_reserve_bytes + 2 * lmdb->ballast_bytes;
    if (is_ballast_missing(lmdb) && disk_bytes > plenty &&
        now_ns() >= lmdb->writer.ballast_due_ns) {
        gv__datadir_fill_ballast(&lmdb->dir, lmdb->ballast_bytes);
        lmdb->writer.ballast_due_ns = is_ballast_missing(lmdb) ? now_ns() + BALLAST_INTERVAL_NS : 0;
    }
}

/*
 * A commit that found no space knows better than any count (there are quotas); so it is believed
 * for a while, after which the next batch that wants to may try.
 */
static void judge_fullness(gv__lmdb_t *lmdb)
{
    const gv__writer_t *writer = &lmdb->writer;
    bool was_refused = writer->refused_at_ns != 0 &&
                       writer->counted_at_ns - writer->refused_at_ns < COUNT_INTERVAL_NS;
    if (writer->room_bytes == 0 || was_refused) {
        gv__store_set_full(&lmdb->base, true);
    } else if (writer->room_bytes >= writer->resume_bytes) {
        gv__store_set_full(&lmdb->base, false);
    }
}

void gv__room_count(gv__lmdb_t *lmdb)
{
    gv__writer_t *writer = &lmdb->writer;
    /* A reader that died (a tool, perhaps) would keep every page from being free again. */
    int dead = 0;
    (void)mdb_reader_check(lmdb->env, &dead);
    uint64_t free_bytes = gv__room_free_pages(lmdb) * lmdb->page_bytes;
    uint64_t used_bytes = gv__room_pages(lmdb) * lmdb->page_bytes - free_bytes;
    uint64_t disk_bytes = gv__datadir_free_bytes(&lmdb->dir);

    uint64_t room = left_of(lmdb->map_bytes, used_bytes, lmdb->reserve_bytes);
    uint64_t reserve_left =
        gv__store_reserve_left(left_of(lmdb->map_bytes, used_bytes, 0), lmdb->reserve_bytes);
    if (disk_bytes < UINT64_MAX - free_bytes) {
        uint64_t disk_room = left_of(disk_bytes + free_bytes, 0, lmdb->disk_reserve_bytes);
        uint64_t disk_left =
            gv__store_reserve_left(disk_bytes + free_bytes, lmdb->disk_reserve_bytes);
        room = disk_room < room ? disk_room : room;
        reserve_left = disk_left < reserve_left ? disk_left : reserve_left;
    }
    writer->room_bytes = room;
    writer->resume_bytes = gv__store_resume_bytes(used_bytes + room);
    writer->counted_at_ns = now_ns();
    writer->has_changed = false;
    gv_counter_set(&lmdb->base.stats.used_bytes, used_bytes);
    gv_counter_set(&lmdb->base.stats.reserve_left, reserve_left);
    judge_fullness(lmdb);
    if (!gv_store_is_full(&lmdb->base)) {
        refill_ballast(lmdb, disk_bytes);
    }
}

/* A guess at what a batch adds, a little on the safe side: LMDB's heads, half-filled pages. */
static uint64_t growth_of(const gv_batch_t *batch)
{
    uint64_t bytes = gv_batch_bytes(batch);
    return bytes + bytes / 2;
}

void gv__room_refuse(gv__lmdb_t *lmdb, gv_list_t *group)
{
    gv__writer_t *writer = &lmdb->writer;
    bool counted = false;
    if (now_ns() - writer->counted_at_ns > COUNT_INTERVAL_NS) {
        gv__room_count(lmdb);
        counted = true;
    }
    gv_list_foreach (group, link) {
        gv_batch_t *batch = gv_container_of(link, gv_batch_t, link);
        uint64_t growth = batch->result == GV_OK ? growth_of(batch) : 0;
        if (growth > writer->room_bytes && !counted) {
            gv__room_count(lmdb);
            counted = true;
        }
        if (growth <= writer->room_bytes) {
            writer->room_bytes -= growth;
        } else if (!gv_batch_is_draining(batch)) {
            batch->result = GV_ERR_FULL;
            /* One that is too large for what is left does not make a store full. */
            if (writer->room_bytes < writer->resume_bytes) {
                gv__store_set_full(&lmdb->base, true);
            }
        }
    }
    writer->has_changed = true; /* by the commit that follows */
}

void gv__room_note_refused(gv__lmdb_t *lmdb)
{
    lmdb->writer.refused_at_ns = now_ns();
    lmdb->writer.counted_at_ns = 0; /* the room was not what it seemed */
    gv__store_set_full(&lmdb->base, true);
}

uint64_t gv__room_due_ns(const gv__lmdb_t *lmdb)
{
    bool is_wanted =
        gv_store_is_full(&lmdb->base) || is_ballast_missing(lmdb) || lmdb->writer.has_changed;
    return is_wanted ? lmdb->writer.counted_at_ns + COUNT_INTERVAL_NS : 0;
}

gv_err_t gv__room_lengthen_file(gv__lmdb_t *lmdb, uint64_t changes, uint64_t bytes)
{
    gv__writer_t *writer = &lmdb->writer;
    uint64_t pages = gv__room_pages(lmdb);
    uint64_t copied = changes * TREE_DEPTH_MAX;
    copied = copied < pages ? copied : pages;
    uint64_t added = 2 * bytes / lmdb->page_bytes + 2 * changes;
    uint64_t needed = (pages + copied + added + 64) * lmdb->page_bytes;
    if (needed <= writer->file_bytes) {
        return GV_OK;
    }
    uint64_t length = (needed + FILE_STEP_BYTES - 1) / FILE_STEP_BYTES * FILE_STEP_BYTES;
    length = length < lmdb->mapped_bytes ? length : lmdb->mapped_bytes;
    if (length <= writer->file_bytes) {
        return GV_OK; /* at the end of the map: LMDB goes no further either */
    }
    int fd = -1;
    (void)mdb_env_get_fd(lmdb->env, &fd);
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return GV_ERR_IO;
    }
    if ((uint64_t)st.st_size < length && ftruncate(fd, (off_t)length) != 0) {
        return gv__err_from_mdb(errno);
    }
    writer->file_bytes = length;
    return GV_OK;
}
