/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the tests of storage/ share: a thread's letter box, a lane on it, a directory that goes away
 * by itself, and stores of both kinds opened in one line.
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <check.h>

#include "base/letter.h"

#include "storage/lmdb_store.h"
#include "storage/mem_store.h"
#include "storage/store.h"

/* ---- data.mdb -------------------------------------------------------------------------------- */

/* How many pages of data.mdb are in use, by the newer of its meta pages (lmdb_verify.c draws them).
 */
static inline off_t data_pages(int fd)
{
    uint64_t transactions[2];
    uint64_t last_page;
    ck_assert_int_eq(pread(fd, &transactions[0], 8, 144), 8);
    ck_assert_int_eq(pread(fd, &transactions[1], 8, 4096 + 144), 8);
    off_t newest = transactions[1] > transactions[0] ? 4096 : 0;
    ck_assert_int_eq(pread(fd, &last_page, 8, newest + 136), 8);
    return (off_t)last_page + 1;
}

/* ---- results -------------------------------------------------------------------------------- */

#define ck_assert_ok(expr) ck_assert_int_eq((expr), GV_OK)

static inline gv_bytes_t text(const char *string)
{
    return gv_bytes_text(string);
}

/* ---- a thread's letter box ------------------------------------------------------------------ */

typedef struct letterbox {
    pthread_mutex_t mutex;
    pthread_cond_t arrived;
    gv_letter_t *first;
    gv_letter_t **end;
} letterbox_t;

static inline void letterbox_init(letterbox_t *box)
{
    pthread_mutex_init(&box->mutex, NULL);
    pthread_cond_init(&box->arrived, NULL);
    box->first = NULL;
    box->end = &box->first;
}

/* A gv_store_post_t. */
static inline void letterbox_post(void *arg, gv_letter_t *letter)
{
    letterbox_t *box = arg;
    letter->_next = NULL;
    pthread_mutex_lock(&box->mutex);
    *box->end = letter;
    box->end = &letter->_next;
    pthread_mutex_unlock(&box->mutex);
    pthread_cond_signal(&box->arrived);
}

/* Delivers what is there; waits for the first if told so. */
static inline void letterbox_deliver(letterbox_t *box, bool waits)
{
    pthread_mutex_lock(&box->mutex);
    while (waits && box->first == NULL) {
        pthread_cond_wait(&box->arrived, &box->mutex);
    }
    gv_letter_t *letter = box->first;
    box->first = NULL;
    box->end = &box->first;
    pthread_mutex_unlock(&box->mutex);
    while (letter != NULL) {
        gv_letter_t *next = letter->_next;
        letter->deliver(letter);
        letter = next;
    }
}

/* ---- a directory that goes away ------------------------------------------------------------- */

typedef struct workdir {
    char path[128];
} workdir_t;

static inline void workdir_make(workdir_t *dir)
{
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(dir->path, sizeof(dir->path), "%s/gv-storage-XXXXXX", tmp ? tmp : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir->path));
}

static inline void workdir_file(const workdir_t *dir, const char *name, char out[256])
{
    (void)snprintf(out, 256, "%s/%s", dir->path, name);
}

static inline void workdir_remove(workdir_t *dir)
{
    DIR *entries = opendir(dir->path);
    ck_assert_ptr_nonnull(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] != '.') {
            ck_assert_int_eq(unlinkat(dirfd(entries), entry->d_name, 0), 0);
        }
    }
    closedir(entries);
    ck_assert_int_eq(rmdir(dir->path), 0);
}

static inline void path_remove(const char *path)
{
    workdir_t dir;
    ck_assert_uint_lt(strlen(path), sizeof(dir.path));
    memcpy(dir.path, path, strlen(path) + 1);
    workdir_remove(&dir);
}

/* ---- a store with one lane, of either kind -------------------------------------------------- */

typedef enum kind {
    KIND_MEM,
    KIND_LMDB,
    KIND_COUNT,
} kind_t;

typedef struct fixture {
    kind_t kind;
    workdir_t dir; /* LMDB only */
    gv_store_t *store;
    letterbox_t box;
    gv_store_lane_t lane;
} fixture_t;

static inline gv_store_t *lmdb_open(const gv_lmdb_options_t *options)
{
    char why[256];
    gv_store_t *store = NULL;
    gv_err_t err = gv_lmdb_store_open(options, &store, why, sizeof(why));
    ck_assert_msg(err == GV_OK, "%s: %s", gv_err_text(err), why);
    return store;
}

static inline gv_store_t *lmdb_open_at(const workdir_t *dir)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = dir->path;
    return lmdb_open(&options);
}

/* `size_bytes` 0: as large as it likes; otherwise half of it is reserved for draining. */
static inline void fixture_open(fixture_t *fx, kind_t kind, uint64_t size_bytes)
{
    fx->kind = kind;
    if (kind == KIND_MEM) {
        gv_mem_options_t options = {
            .seed = 1, .size_bytes = size_bytes, .reserve_bytes = size_bytes / 2};
        gv_mem_store_new(&options, &fx->store);
    } else {
        workdir_make(&fx->dir);
        gv_lmdb_options_t options;
        gv_lmdb_options_init(&options);
        options.directory = fx->dir.path;
        options.map_size = size_bytes;
        options.reserve_bytes = size_bytes / 2;
        fx->store = lmdb_open(&options);
    }
    letterbox_init(&fx->box);
    gv_store_lane_init(&fx->lane, fx->store, letterbox_post, &fx->box);
}

/* Until everything submitted on the fixture's lane is completed, and everything asked answered. */
static inline void fixture_settle(fixture_t *fx)
{
    if (fx->kind == KIND_MEM) {
        gv_mem_store_settle(fx->store);
    }
    while (gv_store_lane_pending(&fx->lane) + gv_store_lane_loading(&fx->lane) > 0) {
        letterbox_deliver(&fx->box, true);
    }
}

static inline void fixture_close(fixture_t *fx)
{
    gv_store_close(&fx->store);
    ck_assert_ptr_null(fx->store);
    letterbox_deliver(&fx->box, false);
    gv_store_lane_deinit(&fx->lane);
    if (fx->kind == KIND_LMDB) {
        workdir_remove(&fx->dir);
    }
}

/* A gv_store_done_cb_t that keeps the result; start with GV_ERR_AGAIN. */
static inline void keep_result(gv_err_t result, void *arg)
{
    *(gv_err_t *)arg = result;
}

/* Submits, waits, and gives the completion's result. */
static inline gv_err_t fixture_commit(fixture_t *fx, gv_batch_t *batch)
{
    gv_err_t result = GV_ERR_AGAIN;
    gv_store_submit(&fx->lane, &batch, keep_result, &result);
    ck_assert_int_eq(result, GV_ERR_AGAIN);
    fixture_settle(fx);
    return result;
}

static inline gv_err_t fixture_put(fixture_t *fx, const char *key, gv_bytes_t value)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text(key), value);
    return fixture_commit(fx, batch);
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct copy {
    uint8_t *data;
    size_t size;
} copy_t;

static inline gv_err_t on_copied(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    copy_t *copy = arg;
    copy->data = malloc(value.size + 1);
    memcpy(copy->data, value.data, value.size);
    copy->data[value.size] = 0;
    copy->size = value.size;
    return GV_OK;
}

/* Asserts that the key has this value; NULL data: that it is not there. */
static inline void assert_value(gv_store_t *store, const char *key, gv_bytes_t value)
{
    copy_t copy = {.data = NULL};
    gv_err_t err = gv_store_get(store, GV_TABLE_RETAINED, text(key), on_copied, &copy);
    if (value.data == NULL) {
        ck_assert_int_eq(err, GV_ERR_NOENT);
        return;
    }
    ck_assert_ok(err);
    ck_assert_uint_eq(copy.size, value.size);
    ck_assert_mem_eq(copy.data, value.data, value.size);
    free(copy.data);
}

static inline gv_err_t on_counted(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    (void)value;
    ++*(size_t *)arg;
    return GV_OK;
}

static inline size_t count_records(gv_store_t *store, gv_table_t table)
{
    size_t count = 0;
    ck_assert_ok(gv_store_scan(store, table, on_counted, &count));
    return count;
}

/* ---- running -------------------------------------------------------------------------------- */

static inline int run_case(const char *suite_name, TCase *tc)
{
    Suite *suite = suite_create(suite_name);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
