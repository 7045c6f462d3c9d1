/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/datadir_p.h"

#include <fcntl.h>

#include "tests/unit/storage/fixture.h"

static char why_text[256];

static gv_err_t open_dir(const char *path, gv__datadir_t *dir)
{
    why_text[0] = '\0';
    return gv__datadir_open(path, dir, (gv__why_t){.text = why_text, .size = sizeof(why_text)});
}

static void open_fails(const char *path, gv_err_t expected, const char *part_of_why)
{
    gv__datadir_t dir;
    ck_assert_int_eq(open_dir(path, &dir), expected);
    ck_assert_msg(strstr(why_text, part_of_why) != NULL, "'%s' is not in: %s", part_of_why,
                  why_text);
    ck_assert_msg(strstr(why_text, path) != NULL, "'%s' is not in: %s", path, why_text);
    ck_assert_ptr_null(strchr(why_text, '\n'));
}

START_TEST(the_directory_is_made_and_locked_until_it_is_closed)
{
    workdir_t parent;
    workdir_make(&parent);
    char path[256];
    workdir_file(&parent, "data", path);
    gv__datadir_t dir;
    ck_assert_ok(open_dir(path, &dir));
    ck_assert(dir.is_new);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);

    open_fails(path, GV_ERR_BUSY, "in use by another process");
    gv__datadir_close(&dir);
    ck_assert_ok(open_dir(path, &dir));
    gv__datadir_close(&dir);

    path_remove(path);
    workdir_remove(&parent);
}
END_TEST

START_TEST(paths_that_cannot_be_a_data_directory)
{
    workdir_t parent;
    workdir_make(&parent);
    char path[256];
    workdir_file(&parent, "missing/data", path);
    open_fails(path, GV_ERR_NOENT, "parent is missing");

    workdir_file(&parent, "file", path);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    open_fails(path, GV_ERR_INVAL, "is not a directory");
    workdir_remove(&parent);
}
END_TEST

/* Root may do everything: the test steps down first.  Check runs each test in its own process. */
START_TEST(a_directory_without_permission)
{
    workdir_t parent;
    workdir_make(&parent);
    ck_assert_int_eq(chmod(parent.path, 0500), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(chmod(parent.path, 0755), 0);
        ck_assert_int_eq(seteuid(65534), 0);
    }
    open_fails(parent.path, GV_ERR_DENIED, "no permission");
    char path[256];
    workdir_file(&parent, "data", path);
    open_fails(path, GV_ERR_DENIED, "no permission");
    if (getuid() == 0) {
        ck_assert_int_eq(seteuid(0), 0);
    }
    ck_assert_int_eq(chmod(parent.path, 0700), 0);
    workdir_remove(&parent);
}
END_TEST

START_TEST(a_store_that_has_vanished_is_not_replaced_by_an_empty_one)
{
    workdir_t parent;
    workdir_make(&parent);
    gv_store_t *store = lmdb_open_at(&parent);
    gv_store_close(&store);
    char data[256];
    workdir_file(&parent, "data.mdb", data);

    gv__datadir_t dir;
    ck_assert_ok(open_dir(parent.path, &dir));
    ck_assert(!dir.is_new);
    gv__datadir_close(&dir);

    ck_assert_int_eq(truncate(data, 0), 0);
    open_fails(parent.path, GV_ERR_CORRUPT, "is missing or empty");
    ck_assert_int_eq(unlink(data), 0);
    open_fails(parent.path, GV_ERR_CORRUPT, "is missing or empty");
    workdir_remove(&parent);
}
END_TEST

static void write_file(const char *path, const char *content)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    ck_assert_int_eq(close(fd), 0);
}

/* A power failure during the very first start: LMDB's head is half written. */
START_TEST(a_first_start_that_was_interrupted_is_begun_anew)
{
    workdir_t parent;
    workdir_make(&parent);
    gv__datadir_t dir;
    ck_assert_ok(open_dir(parent.path, &dir));
    gv__datadir_close(&dir);
    char data[256];
    workdir_file(&parent, "data.mdb", data);
    write_file(data, "half a head");

    ck_assert_int_eq(
        gv__datadir_open_existing(parent.path, &dir,
                                  (gv__why_t){.text = why_text, .size = sizeof(why_text)}),
        GV_ERR_CORRUPT);
    ck_assert_int_eq(access(data, F_OK), 0); /* a tool changes nothing */

    ck_assert_ok(open_dir(parent.path, &dir));
    ck_assert(dir.is_new);
    ck_assert_int_ne(access(data, F_OK), 0);
    gv__datadir_close(&dir);
    workdir_remove(&parent);
}
END_TEST

START_TEST(what_no_first_start_has_made_is_not_removed)
{
    workdir_t parent;
    workdir_make(&parent);
    char data[256];
    workdir_file(&parent, "data.mdb", data);
    write_file(data, "somebody's data");
    open_fails(parent.path, GV_ERR_CORRUPT, "data.mdb");
    open_fails(parent.path, GV_ERR_CORRUPT, "data.mdb");
    ck_assert_int_eq(access(data, F_OK), 0);

    /* Nor what is behind an end of a first start. */
    ck_assert_int_eq(unlink(data), 0);
    gv_store_t *store = lmdb_open_at(&parent);
    gv_store_close(&store);
    write_file(data, "spoiled");
    open_fails(parent.path, GV_ERR_CORRUPT, "data.mdb");
    ck_assert_int_eq(access(data, F_OK), 0);
    workdir_remove(&parent);
}
END_TEST

START_TEST(ballast_takes_space_and_gives_it_back)
{
    workdir_t parent;
    workdir_make(&parent);
    gv__datadir_t dir;
    ck_assert_ok(open_dir(parent.path, &dir));
    ck_assert(!gv__datadir_drop_ballast(&dir));
    gv__datadir_fill_ballast(&dir, 1 << 20);
    char path[256];
    workdir_file(&parent, "ballast", path);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_ge(st.st_blocks * 512, 1 << 20);
    ck_assert(gv__datadir_drop_ballast(&dir));
    ck_assert_int_ne(stat(path, &st), 0);
    ck_assert(!gv__datadir_drop_ballast(&dir));

    /* A smaller one is asked for, then none. */
    gv__datadir_fill_ballast(&dir, 1 << 20);
    gv__datadir_fill_ballast(&dir, 1 << 16);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 1 << 16);
    gv__datadir_fill_ballast(&dir, 0);
    ck_assert_int_ne(stat(path, &st), 0);

    /* What an earlier run has left is used if it is large enough. */
    gv__datadir_fill_ballast(&dir, 1 << 16);
    gv__datadir_find_ballast(&dir, 1 << 16);
    ck_assert(dir.has_ballast);
    gv__datadir_find_ballast(&dir, 1 << 20);
    ck_assert(!dir.has_ballast);
    ck_assert_int_ne(stat(path, &st), 0);
    gv__datadir_fill_ballast(&dir, 1 << 16);
    gv__datadir_find_ballast(&dir, 0);
    ck_assert(!dir.has_ballast);
    ck_assert_int_ne(stat(path, &st), 0);

    /* More than any disk has: no ballast, and nothing left behind. */
    gv__datadir_fill_ballast(&dir, (uint64_t)1 << 60);
    ck_assert_int_ne(stat(path, &st), 0);
    ck_assert(!gv__datadir_drop_ballast(&dir));
    gv__datadir_close(&dir);
    workdir_remove(&parent);
}
END_TEST

START_TEST(free_space_is_told)
{
    workdir_t parent;
    workdir_make(&parent);
    gv__datadir_t dir;
    ck_assert_ok(open_dir(parent.path, &dir));
    uint64_t bytes = gv__datadir_free_bytes(&dir);
    ck_assert_uint_gt(bytes, 1 << 20);
    ck_assert_uint_lt(bytes, UINT64_MAX);
    gv__datadir_close(&dir);
    workdir_remove(&parent);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("datadir");
    tcase_add_test(tc, the_directory_is_made_and_locked_until_it_is_closed);
    tcase_add_test(tc, paths_that_cannot_be_a_data_directory);
    tcase_add_test(tc, a_directory_without_permission);
    tcase_add_test(tc, a_store_that_has_vanished_is_not_replaced_by_an_empty_one);
    tcase_add_test(tc, a_first_start_that_was_interrupted_is_begun_anew);
    tcase_add_test(tc, what_no_first_start_has_made_is_not_removed);
    tcase_add_test(tc, ballast_takes_space_and_gives_it_back);
    tcase_add_test(tc, free_space_is_told);
    return run_case("storage", tc);
}
