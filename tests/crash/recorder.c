/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a process does to one directory, written down: preloaded (LD_PRELOAD), it notes every write,
 * change of length, change of names and sync there, with the time it began and ended.  From that
 * power.py makes what a power failure would have left at any moment.
 *
 * GRAPEVINE_TEST_RECORD is the journal, GRAPEVINE_TEST_RECORD_DIRECTORY the directory: absolute,
 * without links in it.  A call is noted when it has come back; so what was still under way when the
 * process was killed is missing, as if the power had failed a little earlier.  LMDB's lock.mdb is
 * left out, since it means nothing to another process.  Maps that are written through cannot be
 * seen; power.py compares what was recorded with what there is.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* As power.py reads it.  `size` bytes follow: what was written, or names. */
typedef struct record {
    uint32_t magic;
    uint32_t kind;
    uint64_t begun_ns; /* CLOCK_MONOTONIC, like the tests' own clock */
    uint64_t ended_ns;
    uint64_t file; /* number of the file */
    uint64_t offset;
    uint64_t size;
} record_t;

_Static_assert(sizeof(record_t) == 48, "no padding");

enum kind {
    OPENED = 1,     /* the file of this name, which was there before */
    CREATED,        /* a new name for a new file */
    WRITTEN,        /* at `offset` */
    WRITTEN_SYNCED, /* O_DSYNC: on the disk when it came back */
    RESIZED,        /* to `offset` bytes */
    LENGTHENED,     /* to `offset` bytes, unless it was longer */
    SYNCED,
    RENAMED, /* two names with a NUL between them */
    UNLINKED,
};

#define MAGIC     0x6F6E7672U
#define FDS_MAX   65536
#define FILES_MAX 256
#define DSYNC     0x80000000U
#define PARTS_MAX 1025

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int journal = -1;
static char directory[PATH_MAX];
static char parent[PATH_MAX];

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* protects the next two */
static struct stat files[FILES_MAX];
static uint32_t files_end = 1;

/* The file behind a descriptor, and whether it is O_DSYNC.  0: none of ours. */
static _Atomic uint32_t numbers[FDS_MAX];

static void give_up(const char *why)
{
    (void)dprintf(STDERR_FILENO, "recorder: %s\n", why);
    abort();
}

static void begin(void)
{
    const char *path = getenv("GRAPEVINE_TEST_RECORD");
    const char *place = getenv("GRAPEVINE_TEST_RECORD_DIRECTORY");
    if (path == NULL || place == NULL || strrchr(place, '/') == NULL) {
        return;
    }
    (void)snprintf(directory, sizeof(directory), "%s", place);
    (void)snprintf(parent, sizeof(parent), "%s", place);
    *strrchr(parent, '/') = '\0';
    int flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    journal = (int)syscall(SYS_openat, AT_FDCWD, path, flags, 0600);
    if (journal < 0) {
        give_up("no journal");
    }
}

static bool is_recording(void)
{
    (void)pthread_once(&once, begin);
    return journal >= 0;
}

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        give_up(name);
    }
    return found;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* A record in one piece.  parts[0] is left free for its head. */
static void note_parts(record_t record, struct iovec *parts, int count)
{
    int error = errno;
    record.magic = MAGIC;
    record.ended_ns = now_ns();
    parts[0] = (struct iovec){.iov_base = &record, .iov_len = sizeof(record)};
    if (syscall(SYS_writev, journal, parts, count) != (ssize_t)(sizeof(record) + record.size)) {
        give_up("the journal cannot be written");
    }
    errno = error;
}

static void note(record_t record, const void *bytes)
{
    struct iovec parts[2];
    parts[1] = (struct iovec){.iov_base = (void *)(uintptr_t)bytes, .iov_len = record.size};
    note_parts(record, parts, record.size > 0 ? 2 : 1);
}

static uint32_t number_of(int fd)
{
    return fd >= 0 && fd < FDS_MAX ? atomic_load(&numbers[fd]) & ~DSYNC : 0;
}

/* ---- names ---- */

/* What is noted for a path: "." the directory, ".." where it is, else a name in it; NULL: nothing.
 */
static const char *name_of(const char *path)
{
    size_t size = strlen(directory);
    if (strcmp(path, directory) == 0) {
        return ".";
    }
    if (strcmp(path, parent) == 0) {
        return "..";
    }
    if (strncmp(path, directory, size) != 0 || path[size] != '/') {
        return NULL;
    }
    const char *name = path + size + 1;
    return strchr(name, '/') == NULL && strcmp(name, "lock.mdb") != 0 ? name : NULL;
}

/* The same for a path that belongs to a descriptor. */
static const char *name_at(int at, const char *path)
{
    if (!is_recording()) {
        return NULL;
    }
    if (path[0] == '/') {
        return name_of(path);
    }
    char link[64];
    static _Thread_local char whole[2 * PATH_MAX];
    (void)snprintf(link, sizeof(link), at == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", at);
    ssize_t size = readlink(link, whole, PATH_MAX);
    if (size <= 0) {
        return NULL;
    }
    (void)snprintf(whole + size, PATH_MAX, "/%s", path);
    return name_of(whole);
}

/* Files are known by their inodes.  A new one may have the inode of an old one that is gone. */
static uint32_t number_file(const struct stat *st, bool is_new)
{
    (void)pthread_mutex_lock(&mutex);
    uint32_t found = 0;
    for (uint32_t i = 1; i < files_end; i++) {
        if (files[i].st_ino == st->st_ino && files[i].st_dev == st->st_dev) {
            found = i;
        }
    }
    if (found == 0 || is_new) {
        found = files_end++;
        if (found == FILES_MAX) {
            give_up("too many files");
        }
        files[found] = *st;
    }
    (void)pthread_mutex_unlock(&mutex);
    return found;
}

static void note_open(int fd, const char *name, int flags, bool was_there, uint64_t begun_ns)
{
    struct stat st;
    if (fd < 0 || fd >= FDS_MAX || name == NULL || fstat(fd, &st) != 0) {
        return;
    }
    uint32_t number = number_file(&st, !was_there);
    record_t record = {.kind = was_there ? OPENED : CREATED,
                       .begun_ns = begun_ns,
                       .file = number,
                       .size = strlen(name)};
    note(record, name);
    if (was_there && (flags & O_TRUNC) != 0) {
        note((record_t){.kind = RESIZED, .begun_ns = begun_ns, .file = number}, NULL);
    }
    atomic_store(&numbers[fd], number | ((flags & O_DSYNC) != 0 ? DSYNC : 0));
}

static int open_any(const char *function, int at, const char *path, int flags, mode_t mode)
{
    const char *name = name_at(at, path);
    bool was_there = (flags & O_CREAT) == 0 || faccessat(at, path, F_OK, 0) == 0;
    uint64_t begun_ns = now_ns();
    int fd = ((int (*)(int, const char *, int, mode_t))real(function))(at, path, flags, mode);
    note_open(fd, name, flags, was_there, begun_ns);
    return fd;
}

static mode_t mode_of(int flags, va_list args)
{
    return (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
}

#define OPEN(function, at)              \
    va_list args;                       \
    va_start(args, flags);              \
    mode_t mode = mode_of(flags, args); \
    va_end(args);                       \
    return open_any(function, at, path, flags, mode);

int open(const char *path, int flags, ...)
{
    OPEN("openat", AT_FDCWD)
}

int open64(const char *path, int flags, ...)
{
    OPEN("openat64", AT_FDCWD)
}

int openat(int at, const char *path, int flags, ...)
{
    OPEN("openat", at)
}

int openat64(int at, const char *path, int flags, ...)
{
    OPEN("openat64", at)
}

int close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX) {
        atomic_store(&numbers[fd], 0);
    }
    return ((int (*)(int))real("close"))(fd);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    const char *name = name_at(at, path);
    uint64_t begun_ns = now_ns();
    int rc = ((int (*)(int, const char *, mode_t))real("mkdirat"))(at, path, mode);
    if (rc == 0 && name != NULL) {
        note((record_t){.kind = CREATED, .begun_ns = begun_ns, .size = strlen(name)}, name);
    }
    return rc;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int unlinkat(int at, const char *path, int flags)
{
    const char *name = name_at(at, path);
    uint64_t begun_ns = now_ns();
    int rc = ((int (*)(int, const char *, int))real("unlinkat"))(at, path, flags);
    if (rc == 0 && name != NULL) {
        note((record_t){.kind = UNLINKED, .begun_ns = begun_ns, .size = strlen(name)}, name);
    }
    return rc;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int renameat(int at, const char *path, int new_at, const char *new_path)
{
    char names[2 * NAME_MAX + 2];
    const char *name = name_at(at, path);
    size_t size = (size_t)snprintf(names, sizeof(names), "%s", name != NULL ? name : "");
    const char *new_name = name_at(new_at, new_path);
    size += (size_t)snprintf(names + size + 1, NAME_MAX, "%s", new_name != NULL ? new_name : "");
    uint64_t begun_ns = now_ns();
    int rc = ((int (*)(int, const char *, int, const char *))real("renameat"))(at, path, new_at,
                                                                               new_path);
    if (rc == 0 && (name != NULL || new_name != NULL)) {
        note((record_t){.kind = RENAMED, .begun_ns = begun_ns, .size = size + 1}, names);
    }
    return rc;
}

int rename(const char *path, const char *new_path)
{
    return renameat(AT_FDCWD, path, AT_FDCWD, new_path);
}

/* ---- contents ---- */

/* So much of the buffers was written. */
static void note_write(int fd, const struct iovec *buffers, int count, uint64_t offset,
                       ssize_t written, uint64_t begun_ns)
{
    struct iovec parts[PARTS_MAX];
    size_t left = written > 0 ? (size_t)written : 0;
    int used = 1;
    for (int i = 0; i < count && left > 0 && used < PARTS_MAX; i++) {
        size_t size = buffers[i].iov_len < left ? buffers[i].iov_len : left;
        parts[used++] = (struct iovec){.iov_base = buffers[i].iov_base, .iov_len = size};
        left -= size;
    }
    if (used > 1) {
        bool is_synced = (atomic_load(&numbers[fd]) & DSYNC) != 0;
        note_parts((record_t){.kind = is_synced ? WRITTEN_SYNCED : WRITTEN,
                              .begun_ns = begun_ns,
                              .file = number_of(fd),
                              .offset = offset,
                              .size = (size_t)written},
                   parts, used);
    }
}

/* Where a write without an offset goes. */
static uint64_t position_of(int fd)
{
    off_t at = lseek(fd, 0, (fcntl(fd, F_GETFL) & O_APPEND) != 0 ? SEEK_END : SEEK_CUR);
    return at < 0 ? 0 : (uint64_t)at;
}

ssize_t writev(int fd, const struct iovec *buffers, int count)
{
    ssize_t (*function)(int, const struct iovec *, int) = real("writev");
    if (number_of(fd) == 0) {
        return function(fd, buffers, count);
    }
    uint64_t offset = position_of(fd);
    uint64_t begun_ns = now_ns();
    ssize_t written = function(fd, buffers, count);
    note_write(fd, buffers, count, offset, written, begun_ns);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size)
{
    ssize_t (*function)(int, const void *, size_t) = real("write");
    if (number_of(fd) == 0) {
        return function(fd, bytes, size);
    }
    struct iovec buffer = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    uint64_t offset = position_of(fd);
    uint64_t begun_ns = now_ns();
    ssize_t written = function(fd, bytes, size);
    note_write(fd, &buffer, 1, offset, written, begun_ns);
    return written;
}

ssize_t pwritev(int fd, const struct iovec *buffers, int count, off_t offset)
{
    ssize_t (*function)(int, const struct iovec *, int, off_t) = real("pwritev");
    uint64_t begun_ns = now_ns();
    ssize_t written = function(fd, buffers, count, offset);
    if (number_of(fd) != 0) {
        note_write(fd, buffers, count, (uint64_t)offset, written, begun_ns);
    }
    return written;
}

ssize_t pwritev64(int fd, const struct iovec *buffers, int count, off_t offset)
{
    return pwritev(fd, buffers, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    ssize_t (*function)(int, const void *, size_t, off_t) = real("pwrite");
    struct iovec buffer = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    uint64_t begun_ns = now_ns();
    ssize_t written = function(fd, bytes, size, offset);
    if (number_of(fd) != 0) {
        note_write(fd, &buffer, 1, (uint64_t)offset, written, begun_ns);
    }
    return written;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset)
{
    return pwrite(fd, bytes, size, offset);
}

static void note_length(int fd, enum kind kind, off_t length, uint64_t begun_ns)
{
    if (number_of(fd) != 0) {
        note((record_t){.kind = kind,
                        .begun_ns = begun_ns,
                        .file = number_of(fd),
                        .offset = (uint64_t)length},
             NULL);
    }
}

int ftruncate(int fd, off_t length)
{
    uint64_t begun_ns = now_ns();
    int rc = ((int (*)(int, off_t))real("ftruncate"))(fd, length);
    if (rc == 0) {
        note_length(fd, RESIZED, length, begun_ns);
    }
    return rc;
}

int ftruncate64(int fd, off_t length)
{
    return ftruncate(fd, length);
}

int posix_fallocate(int fd, off_t offset, off_t size)
{
    uint64_t begun_ns = now_ns();
    int error = ((int (*)(int, off_t, off_t))real("posix_fallocate"))(fd, offset, size);
    if (error == 0) {
        note_length(fd, LENGTHENED, offset + size, begun_ns);
    }
    return error;
}

int posix_fallocate64(int fd, off_t offset, off_t size)
{
    return posix_fallocate(fd, offset, size);
}

static int sync_with(const char *function, int fd)
{
    uint64_t begun_ns = now_ns();
    int rc = ((int (*)(int))real(function))(fd);
    if (rc == 0 && number_of(fd) != 0) {
        note((record_t){.kind = SYNCED, .begun_ns = begun_ns, .file = number_of(fd)}, NULL);
    }
    return rc;
}

int fdatasync(int fd)
{
    return sync_with("fdatasync", fd);
}

int fsync(int fd)
{
    return sync_with("fsync", fd);
}
