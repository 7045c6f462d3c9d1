/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <signal.h>

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "tests/unit/storage/fixture.h"

/* What a store does when there is no space, and when there is some again. */

enum {
    VALUE_SIZE = 20000
};

static const uint8_t value[VALUE_SIZE];
static const uint8_t large[5 << 20];

static void delete_number(fixture_t *fx, int number)
{
    char key[16];
    (void)snprintf(key, sizeof(key), "%d", number);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text(key));
    ck_assert_ok(fixture_commit(fx, batch));
}

/* Puts values until one is refused; returns how many there are. */
static int fill(fixture_t *fx, int count_max)
{
    gv_err_t err = GV_OK;
    int stored = 0;
    while (err == GV_OK) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", stored);
        err = fixture_put(fx, key, gv_bytes(value, VALUE_SIZE));
        stored += err == GV_OK ? 1 : 0;
        ck_assert_int_lt(stored, count_max);
    }
    ck_assert_int_eq(err, GV_ERR_FULL);
    return stored;
}

/* The writer looks every second; whoever writes nothing hears of it all the same. */
static bool becomes(fixture_t *fx, bool is_full)
{
    for (int i = 0; i < 1000 && gv_store_is_full(fx->store) != is_full; i++) {
        if (fx->kind == KIND_MEM) {
            (void)gv_mem_store_step(fx->store);
        } else {
            usleep(10000);
        }
    }
    return gv_store_is_full(fx->store) == is_full;
}

START_TEST(a_store_is_full_until_there_is_some_room)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 4 << 20);
    ck_assert(!gv_store_is_full(fx.store));
    int stored = fill(&fx, (4 << 20) / VALUE_SIZE);
    ck_assert(gv_store_is_full(fx.store));

    /* One value less is not enough: a 32nd of 2 MiB is more than three. */
    delete_number(&fx, 0);
    if (fx.kind == KIND_LMDB) {
        usleep(1500000);
    }
    ck_assert_int_eq(fixture_put(&fx, "large", gv_bytes(large, sizeof(large))), GV_ERR_FULL);
    ck_assert(gv_store_is_full(fx.store));
    for (int i = 1; i < stored / 2; i++) {
        delete_number(&fx, i);
    }
    ck_assert(becomes(&fx, false));
    ck_assert_ok(fixture_put(&fx, "again", gv_bytes(value, VALUE_SIZE)));
    fixture_close(&fx);
}
END_TEST

START_TEST(a_value_too_large_for_the_store_does_not_make_it_full)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 4 << 20);
    ck_assert_int_eq(fixture_put(&fx, "large", gv_bytes(large, sizeof(large))), GV_ERR_FULL);
    ck_assert(!gv_store_is_full(fx.store));
    fixture_close(&fx);
}
END_TEST

/* Opens the fixture's store anew with a map of so many MiB. */
static void open_anew(fixture_t *fx, unsigned mib)
{
    gv_store_lane_deinit(&fx->lane);
    gv_store_close(&fx->store);
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = fx->dir.path;
    options.map_size = (uint64_t)mib << 20;
    options.reserve_bytes = 1 << 20;
    fx->store = lmdb_open(&options);
    gv_store_lane_init(&fx->lane, fx->store, letterbox_post, &fx->box);
}

START_TEST(a_store_larger_than_its_map_size_can_be_drained)
{
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 0);
    open_anew(&fx, 32);
    int stored = fill(&fx, (32 << 20) / VALUE_SIZE);
    for (int i = 0; i < 3; i++) {
        open_anew(&fx, 4);
        ck_assert(gv_store_is_full(fx.store));
        ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->size_bytes), 4 << 20);
        ck_assert_int_eq(fixture_put(&fx, "more", gv_bytes(value, VALUE_SIZE)), GV_ERR_FULL);
    }
    for (int i = 0; i < stored; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", i);
        assert_value(fx.store, key, gv_bytes(value, VALUE_SIZE));
        delete_number(&fx, i);
    }
    ck_assert(becomes(&fx, false));
    /* And is held to it from then on. */
    ck_assert_int_le(fill(&fx, (4 << 20) / VALUE_SIZE), (3 << 20) / VALUE_SIZE);
    fixture_close(&fx);
}
END_TEST

/* What is shown as used is the truth a second later, also when nothing more is written. */
START_TEST(what_is_in_use_is_counted_after_the_last_commit)
{
    enum {
        VALUES = 100
    };
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 64 << 20);
    for (int i = 0; i < VALUES; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", i);
        ck_assert_ok(fixture_put(&fx, key, gv_bytes(value, VALUE_SIZE)));
    }
    const gv_counter_t *used = &gv_store_stats(fx.store)->used_bytes;
    for (int i = 0; i < 1000 && gv_counter_get(used) < VALUES * VALUE_SIZE; i++) {
        usleep(10000);
    }
    ck_assert_uint_ge(gv_counter_get(used), VALUES * VALUE_SIZE);
    for (int i = 0; i < VALUES; i++) {
        delete_number(&fx, i);
    }
    for (int i = 0; i < 1000 && gv_counter_get(used) >= VALUE_SIZE * 10; i++) {
        usleep(10000);
    }
    ck_assert_uint_lt(gv_counter_get(used), VALUE_SIZE * 10);
    fixture_close(&fx);
}
END_TEST

START_TEST(in_memory_a_disk_that_is_full_for_a_while)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_mem_store_set_fault(fx.store, GV_ERR_FULL, 100);
    ck_assert_int_eq(fixture_put(&fx, "key", text("x")), GV_ERR_FULL);
    for (int i = 0; i < 10; i++) {
        (void)gv_mem_store_step(fx.store);
        ck_assert(gv_store_is_full(fx.store));
    }
    gv_mem_store_set_fault(fx.store, GV_OK, 0);
    ck_assert(becomes(&fx, false));
    ck_assert_ok(fixture_put(&fx, "key", text("x")));

    /* A new process knows nothing of it. */
    gv_mem_store_set_fault(fx.store, GV_ERR_FULL, 100);
    ck_assert_int_eq(fixture_put(&fx, "key", text("x")), GV_ERR_FULL);
    gv_mem_store_crash(fx.store, GV_MEM_CRASH_PROCESS);
    ck_assert(!gv_store_is_full(fx.store));
    fixture_close(&fx);
}
END_TEST

/* ---- a small disk -----------------------------------------------------------------------------
 */

static int write_map(const char *path, const char *line)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        return -1;
    }
    bool written = fputs(line, file) >= 0;
    return fclose(file) == 0 && written ? 0 : -1;
}

/* A file system of 8 MiB of our own; false where the system does not let us have one. */
static bool mount_small(const char *path)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    char line[64];
    if (uid != 0) {
        if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) {
            return false;
        }
        (void)snprintf(line, sizeof(line), "0 %u 1", uid);
        if (write_map("/proc/self/setgroups", "deny") != 0 ||
            write_map("/proc/self/uid_map", line) != 0) {
            return false;
        }
        (void)snprintf(line, sizeof(line), "0 %u 1", gid);
        if (write_map("/proc/self/gid_map", line) != 0) {
            return false;
        }
    } else if (unshare(CLONE_NEWNS) != 0) {
        return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("gv-test", path, "tmpfs", 0, "size=8m") == 0;
}

/* A disk of 8 MiB, in a mount namespace of this process; false: there is none here. */
static bool small_disk_make(fixture_t *fx)
{
    *fx = (fixture_t){.kind = KIND_LMDB};
    workdir_make(&fx->dir);
    if (!mount_small(fx->dir.path)) {
        (void)fprintf(stderr, "skipped: no small file system to be had here\n");
        workdir_remove(&fx->dir);
        return false;
    }
    return true;
}

/* And a store on it. */
static bool small_disk_open(fixture_t *fx, const gv_lmdb_options_t *options_wanted)
{
    if (!small_disk_make(fx)) {
        return false;
    }
    gv_lmdb_options_t options = *options_wanted;
    options.directory = fx->dir.path;
    fx->store = lmdb_open(&options);
    letterbox_init(&fx->box);
    gv_store_lane_init(&fx->lane, fx->store, letterbox_post, &fx->box);
    return true;
}

static void small_disk_close(fixture_t *fx)
{
    gv_store_close(&fx->store);
    ck_assert_int_eq(umount(fx->dir.path), 0);
    ck_assert_int_eq(rmdir(fx->dir.path), 0);
}

/* Somebody else takes the rest of the disk, the reserve included. */
static void take_all(const workdir_t *dir)
{
    char hog[256];
    workdir_file(dir, "hog", hog);
    FILE *file = fopen(hog, "w");
    ck_assert_ptr_nonnull(file);
    while (fwrite(value, 1, 4096, file) == 4096 && fflush(file) == 0) {
    }
    (void)fclose(file);
}

static void give_back(const workdir_t *dir)
{
    char hog[256];
    workdir_file(dir, "hog", hog);
    ck_assert_int_eq(unlink(hog), 0);
}

static bool has_ballast(const workdir_t *dir)
{
    char path[256];
    workdir_file(dir, "ballast", path);
    return access(path, F_OK) == 0;
}

START_TEST(a_full_disk_refuses_keeps_and_recovers)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.map_size = 256 << 20;
    options.reserve_bytes = 1 << 20;
    options.ballast_bytes = 1 << 20;
    fixture_t fx;
    if (!small_disk_open(&fx, &options)) {
        return;
    }
    int stored = fill(&fx, (8 << 20) / VALUE_SIZE);
    ck_assert_int_gt(stored, (3 << 20) / VALUE_SIZE);
    ck_assert(gv_store_is_full(fx.store));
    struct statvfs vfs;
    ck_assert_int_eq(statvfs(fx.dir.path, &vfs), 0);
    ck_assert_uint_gt(vfs.f_bavail * vfs.f_frsize, options.reserve_bytes / 2);

    take_all(&fx.dir);
    for (int i = 0; i < stored; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", i);
        assert_value(fx.store, key, gv_bytes(value, VALUE_SIZE));
        delete_number(&fx, i);
    }
    give_back(&fx.dir);
    ck_assert(becomes(&fx, false));
    ck_assert_ok(fixture_put(&fx, "again", gv_bytes(value, VALUE_SIZE)));
    gv_store_close(&fx.store);
    options.directory = fx.dir.path;
    fx.store = lmdb_open(&options);
    assert_value(fx.store, "again", gv_bytes(value, VALUE_SIZE));
    small_disk_close(&fx);
}
END_TEST

/*
 * The disk is full though a moment ago it was not, so that LMDB itself finds out, in the middle of
 * a commit: the ballast goes, what was there can be read and deleted, and all is well afterwards.
 */
START_TEST(a_disk_that_others_fill_costs_nothing_that_was_there)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.map_size = 256 << 20;
    options.reserve_bytes = 256 << 10;
    options.ballast_bytes = 512 << 10;
    fixture_t fx;
    if (!small_disk_open(&fx, &options)) {
        return;
    }
    ck_assert(has_ballast(&fx.dir));
    for (int i = 0; i < 50; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", i);
        ck_assert_ok(fixture_put(&fx, key, gv_bytes(value, VALUE_SIZE)));
    }
    take_all(&fx.dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("large"), gv_bytes(large, sizeof(large)));
    gv_batch_set_draining(batch); /* tried, whatever the count says */
    ck_assert_int_eq(fixture_commit(&fx, batch), GV_ERR_FULL);
    ck_assert(gv_store_is_full(fx.store));
    ck_assert(!has_ballast(&fx.dir));
    for (int i = 0; i < 50; i++) {
        char key[16];
        (void)snprintf(key, sizeof(key), "%d", i);
        assert_value(fx.store, key, gv_bytes(value, VALUE_SIZE));
        delete_number(&fx, i);
    }

    /* Room within the file is room; the ballast has to wait for the disk. */
    ck_assert(becomes(&fx, false));
    usleep(1500000);
    ck_assert(!has_ballast(&fx.dir));
    give_back(&fx.dir);
    for (int i = 0; i < 500 && !has_ballast(&fx.dir); i++) {
        usleep(10000); /* the ballast comes after */
    }
    ck_assert(has_ballast(&fx.dir));
    ck_assert_ok(fixture_put(&fx, "again", gv_bytes(value, VALUE_SIZE)));
    assert_value(fx.store, "large", GV_BYTES_EMPTY);
    small_disk_close(&fx);
}
END_TEST

/* Of a disk that is nearly full, what is left is for deleting: no ballast, nothing is moved. */
START_TEST(a_start_on_a_full_disk_takes_nothing_of_it)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.map_size = 256 << 20;
    options.reserve_bytes = 1 << 20;
    options.ballast_bytes = 512 << 10;
    fixture_t fx;
    if (!small_disk_open(&fx, &options)) {
        return;
    }
    ck_assert(has_ballast(&fx.dir));
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->reserve_left), 100);
    ck_assert_ok(fixture_put(&fx, "here", gv_bytes(value, VALUE_SIZE)));
    gv_store_lane_deinit(&fx.lane);
    gv_store_close(&fx.store);
    char path[256];
    workdir_file(&fx.dir, "ballast", path);
    ck_assert_int_eq(unlink(path), 0);
    take_all(&fx.dir);
    workdir_file(&fx.dir, "hog", path);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(truncate(path, st.st_size - (600 << 10)), 0);

    options.directory = fx.dir.path;
    fx.store = lmdb_open(&options);
    gv_store_lane_init(&fx.lane, fx.store, letterbox_post, &fx.box);
    ck_assert(!has_ballast(&fx.dir));
    ck_assert(gv_store_is_full(fx.store));
    uint64_t left = gv_counter_get(&gv_store_stats(fx.store)->reserve_left);
    ck_assert_uint_gt(left, 40); /* 600 KiB of a MiB, and a few pages within the file */
    ck_assert_uint_lt(left, 70);
    delete_number(&fx, 1);
    give_back(&fx.dir);
    ck_assert(becomes(&fx, false));
    for (int i = 0; i < 500 && !has_ballast(&fx.dir); i++) {
        usleep(10000);
    }
    ck_assert(has_ballast(&fx.dir));
    assert_value(fx.store, "here", gv_bytes(value, VALUE_SIZE));
    small_disk_close(&fx);
}
END_TEST

START_TEST(a_first_start_on_a_full_disk_is_refused)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.map_size = 256 << 20;
    options.reserve_bytes = 1 << 20;
    fixture_t fx;
    if (!small_disk_make(&fx)) {
        return;
    }
    options.directory = fx.dir.path;
    take_all(&fx.dir);
    for (int i = 0; i < 2; i++) {
        char why[256];
        gv_store_t *store = NULL;
        ck_assert_int_ne(gv_lmdb_store_open(&options, &store, why, sizeof(why)), GV_OK);
        ck_assert_msg(strstr(why, "pace left") != NULL, "%s", why); /* "no" or "No" before it */
    }
    give_back(&fx.dir);
    fx.store = lmdb_open(&options);
    letterbox_init(&fx.box);
    gv_store_lane_init(&fx.lane, fx.store, letterbox_post, &fx.box);
    ck_assert_ok(fixture_put(&fx, "key", text("x")));
    small_disk_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("room");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_store_is_full_until_there_is_some_room, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_value_too_large_for_the_store_does_not_make_it_full, 0, KIND_COUNT);
    tcase_add_test(tc, a_store_larger_than_its_map_size_can_be_drained);
    tcase_add_test(tc, what_is_in_use_is_counted_after_the_last_commit);
    tcase_add_test(tc, in_memory_a_disk_that_is_full_for_a_while);
    tcase_add_test(tc, a_full_disk_refuses_keeps_and_recovers);
    tcase_add_test(tc, a_disk_that_others_fill_costs_nothing_that_was_there);
    tcase_add_test(tc, a_start_on_a_full_disk_takes_nothing_of_it);
    tcase_add_test(tc, a_first_start_on_a_full_disk_is_refused);
    return run_case("storage", tc);
}
