/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/datadir_p.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"

#include "storage/lmdb_verify_p.h"

#define LOCK_NAME    "grapevine.lock"
#define DATA_NAME    "data.mdb"
#define BALLAST_NAME "ballast"
#define READERS_NAME "lock.mdb"

/* LMDB's head and 126 readers; we have a few, so what matters is the first page [bytes]. */
#define READERS_SIZE 8192
#define READERS_MIN  4096

/* The first byte of the lock file: a first start has begun to make a store; there has been one. */
#define MARK_BEGUN 'B'
#define MARK       'S'

void gv__why_set(gv__why_t why, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(why.text, why.size, format, args);
    va_end(args);
}

/* ---- opening ---- */

static gv_err_t explain_errno(int code, const char *path, gv__why_t why)
{
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
        gv__why_set(why,
                    "no permission to write to the data directory '%s': %s; give it to the user "
                    "the node runs as (uid %u)",
                    path, strerrordesc_np(code), (unsigned)geteuid());
        return GV_ERR_DENIED;
    case ENOTDIR:
        gv__why_set(why, "the data directory '%s' is not a directory: set node.data to one", path);
        return GV_ERR_INVAL;
    case ENOENT:
        gv__why_set(why,
                    "the data directory '%s' cannot be made, its parent is missing: make that, or "
                    "set node.data to another place",
                    path);
        return GV_ERR_NOENT;
    case ENOSPC:
    case EDQUOT:
        gv__why_set(why, "no space left for the data directory '%s': make room on its disk", path);
        return GV_ERR_FULL;
    default:
        gv__why_set(why, "the data directory '%s' cannot be used: %s", path, strerrordesc_np(code));
        return GV_ERR_IO;
    }
}

static gv_err_t open_directory(gv__datadir_t *dir, gv__why_t why)
{
    if (mkdir(dir->path, 0700) != 0 && errno != EEXIST) {
        return explain_errno(errno, dir->path, why);
    }
    dir->fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir->fd >= 0 ? GV_OK : explain_errno(errno, dir->path, why);
}

static gv_err_t take_lock(gv__datadir_t *dir, gv__why_t why)
{
    dir->lock_fd = openat(dir->fd, LOCK_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (dir->lock_fd < 0) {
        return explain_errno(errno, dir->path, why);
    }
    if (flock(dir->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return explain_errno(errno, dir->path, why);
        }
        gv__why_set(why,
                    "the data directory '%s' is in use by another process: stop that one, or give "
                    "this node a directory of its own",
                    dir->path);
        return GV_ERR_BUSY;
    }
    char mark = 0;
    dir->is_new = pread(dir->lock_fd, &mark, 1, 0) != 1 || mark != MARK;
    dir->is_begun = dir->is_new && mark == MARK_BEGUN;
    return GV_OK;
}

/* GV_ERR_CORRUPT. */
static gv_err_t explain_fault(const gv__datadir_t *dir, const gv__lmdb_fault_t *fault,
                              gv__why_t why)
{
    char page[40] = "";
    if (fault->page > 0) {
        (void)snprintf(page, sizeof(page), " (page %" PRIu64 ")", fault->page);
    }
    gv__why_set(why,
                "'%s/" DATA_NAME "' %s%s: restore it from a backup, or remove the directory, after "
                "which this node joins as a new one",
                dir->path, fault->text, page);
    return GV_ERR_CORRUPT;
}

/*
 * Looks at data.mdb, which may be missing in a new directory only.  Whatever is wrong with it is
 * found here and not by a signal in LMDB.
 */
static gv_err_t check_data(gv__datadir_t *dir, gv__why_t why)
{
    int fd = openat(dir->fd, DATA_NAME, O_RDWR | O_CLOEXEC);
    if (fd < 0 && errno == EISDIR) {
        return explain_fault(dir, &(gv__lmdb_fault_t){.text = "is not a file"}, why);
    }
    if (fd < 0 && errno != ENOENT) {
        return explain_errno(errno, dir->path, why);
    }
    struct stat st = {.st_size = 0};
    if (fd >= 0 && fstat(fd, &st) != 0) {
        gv_err_t err = explain_errno(errno, dir->path, why);
        (void)close(fd);
        return err;
    }
    gv__lmdb_fault_t fault = {"is missing or empty, though there has been a store here", 0};
    gv_err_t err = GV_ERR_CORRUPT;
    if (st.st_size > 0) {
        err = gv__lmdb_verify(fd, false, &fault);
    } else if (dir->is_new) {
        err = GV_OK;
    }
    if (err != GV_OK) {
        (void)explain_fault(dir, &fault, why);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return err;
}

/* In the lock file, on the disk when it returns. */
static gv_err_t write_mark(gv__datadir_t *dir, char mark, gv__why_t why)
{
    bool is_written = pwrite(dir->lock_fd, &mark, 1, 0) == 1 && fsync(dir->lock_fd) == 0;
    return is_written ? GV_OK : explain_errno(errno, dir->path, why);
}

/* A new name is on the disk when the directory is that it stands in; so with the directory's own.
 */
static gv_err_t sync_names(gv__datadir_t *dir, gv__why_t why)
{
    if (fsync(dir->fd) != 0) {
        return explain_errno(errno, dir->path, why);
    }
    int parent = openat(dir->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent >= 0) { /* else it is not ours to read, and so was made by somebody else */
        (void)fsync(parent);
        (void)close(parent);
    }
    return GV_OK;
}

/*
 * LMDB does not sync the head it gives to a new file, so a power failure may leave half of one,
 * which would be refused like any damaged store.  The mark tells that it is nobody's loss.
 */
static gv_err_t begin_store(gv__datadir_t *dir, gv__why_t why)
{
    if (faccessat(dir->fd, DATA_NAME, F_OK, 0) == 0) {
        return GV_OK;
    }
    gv_err_t err = write_mark(dir, MARK_BEGUN, why);
    return err == GV_OK ? sync_names(dir, why) : err;
}

static gv_err_t remove_begun(gv__datadir_t *dir, gv__why_t why)
{
    gv_log_info("store_begun_anew", "directory='%s' reason='the first start was interrupted'",
                dir->path);
    return unlinkat(dir->fd, DATA_NAME, 0) == 0 ? GV_OK : explain_errno(errno, dir->path, why);
}

static gv_err_t open_and_lock(const char *path, gv__datadir_t *dir, gv__why_t why)
{
    *dir = (gv__datadir_t){.path = gv_xstrdup(path), .fd = -1, .lock_fd = -1};
    gv_err_t err = open_directory(dir, why);
    return err == GV_OK ? take_lock(dir, why) : err;
}

gv_err_t gv__datadir_open(const char *path, gv__datadir_t *dir_out, gv__why_t why)
{
    gv__datadir_t *dir = dir_out;
    gv_err_t err = open_and_lock(path, dir, why);
    if (err == GV_OK) {
        err = check_data(dir, why);
        if (err == GV_ERR_CORRUPT && dir->is_begun) {
            err = remove_begun(dir, why);
        }
    }
    if (err == GV_OK && dir->is_new) {
        err = begin_store(dir, why);
    }
    if (err != GV_OK) {
        gv__datadir_close(dir);
    }
    return err;
}

gv_err_t gv__datadir_open_existing(const char *path, gv__datadir_t *dir_out, gv__why_t why)
{
    *dir_out = (gv__datadir_t){.fd = -1, .lock_fd = -1};
    char *data = gv_text_format("%s/" DATA_NAME, path);
    struct stat st;
    int code = stat(data, &st) != 0 ? errno : 0;
    gv_free(data);
    if (code == ENOENT || code == ENOTDIR) {
        gv__why_set(why, "there is no store in '%s': no '" DATA_NAME "'", path);
        return GV_ERR_NOENT;
    }
    if (code != 0) {
        return explain_errno(code, path, why);
    }
    gv_err_t err = open_and_lock(path, dir_out, why);
    if (err == GV_OK) {
        err = check_data(dir_out, why);
    }
    if (err != GV_OK) {
        gv__datadir_close(dir_out);
    }
    return err;
}

gv_err_t gv__datadir_mark(gv__datadir_t *dir, gv__why_t why)
{
    GV_ASSERT(dir->lock_fd >= 0);
    /* In this order: a mark without a store would have to be taken for a store that has vanished.
     */
    gv_err_t err = sync_names(dir, why);
    if (err == GV_OK) {
        err = write_mark(dir, MARK, why);
    }
    if (err == GV_OK) {
        dir->is_new = false;
        dir->is_begun = false;
    }
    return err;
}

gv_err_t gv__datadir_fill_readers(gv__datadir_t *dir, gv__why_t why)
{
    int fd = openat(dir->fd, READERS_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return explain_errno(errno, dir->path, why);
    }
    int code = posix_fallocate(fd, 0, READERS_SIZE); /* gives its error back, not in errno */
    struct stat st;
    if (code != 0 && fstat(fd, &st) == 0 && st.st_blocks * (off_t)512 >= READERS_MIN) {
        code = 0; /* of an earlier start */
    }
    (void)close(fd);
    return code == 0 ? GV_OK : explain_errno(code, dir->path, why);
}

void gv__datadir_close(gv__datadir_t *dir)
{
    if (dir->lock_fd >= 0) {
        (void)close(dir->lock_fd);
    }
    if (dir->fd >= 0) {
        (void)close(dir->fd);
    }
    gv_free(dir->path);
    *dir = (gv__datadir_t){.path = NULL, .fd = -1, .lock_fd = -1};
}

/* ---- space ---- */

void gv__datadir_find_ballast(gv__datadir_t *dir, uint64_t bytes)
{
    struct stat st;
    dir->has_ballast = fstatat(dir->fd, BALLAST_NAME, &st, 0) == 0;
    if (dir->has_ballast && (bytes == 0 || (uint64_t)st.st_blocks * 512 < bytes)) {
        (void)gv__datadir_drop_ballast(dir);
    }
}

void gv__datadir_fill_ballast(gv__datadir_t *dir, uint64_t bytes)
{
    dir->has_ballast = true;
    if (bytes == 0) {
        (void)gv__datadir_drop_ballast(dir);
        return;
    }
    int fd = openat(dir->fd, BALLAST_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int code = fd < 0 || ftruncate(fd, (off_t)bytes) != 0 ? errno : 0;
    if (code == 0) {
        code = posix_fallocate(fd, 0, (off_t)bytes); /* gives its error back, not in errno */
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (code != 0) {
        gv_log_warn("ballast_missing", "directory='%s' bytes=%llu error='%s'", dir->path,
                    (unsigned long long)bytes, strerrordesc_np(code));
        (void)gv__datadir_drop_ballast(dir);
    }
}

bool gv__datadir_drop_ballast(gv__datadir_t *dir)
{
    if (!dir->has_ballast) {
        return false;
    }
    dir->has_ballast = false;
    return unlinkat(dir->fd, BALLAST_NAME, 0) == 0;
}

uint64_t gv__datadir_free_bytes(const gv__datadir_t *dir)
{
    struct statvfs vfs;
    if (fstatvfs(dir->fd, &vfs) != 0) {
        return UINT64_MAX;
    }
    return (uint64_t)vfs.f_bavail * vfs.f_frsize;
}
