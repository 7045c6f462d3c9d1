/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb_verify_p.h"

#include <fcntl.h>

#include "base/rng.h"

#include "tests/unit/storage/fixture.h"

/* A healthy data.mdb, opened; the directory is to be removed afterwards. */
static int make_data(workdir_t *dir, char path[256])
{
    workdir_make(dir);
    gv_store_t *store = lmdb_open_at(dir);
    for (int i = 0; i < 50; i++) {
        static const uint8_t value[10000];
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_RETAINED, gv_bytes(&i, sizeof(i)),
                     gv_bytes(value, sizeof(value)));
        ck_assert_ok(gv_store_write(store, &batch));
    }
    gv_store_close(&store);
    workdir_file(dir, "data.mdb", path);
    int fd = open(path, O_RDWR);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(a_healthy_file_is_found_healthy)
{
    workdir_t dir;
    char path[256];
    int fd = make_data(&dir, path);
    gv__lmdb_fault_t fault;
    ck_assert_ok(gv__lmdb_verify(fd, true, &fault));
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* A healthy store must never be refused: verified after each of many random transactions. */
START_TEST(every_state_of_a_busy_store_is_found_healthy)
{
    enum {
        ROUNDS = 400,
        KEYS = 3000
    };
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    char path[256];
    workdir_file(&dir, "data.mdb", path);
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    static uint8_t value[20000];
    uint8_t key[300] = {0};
    gv_rng_t rng;
    gv_rng_init(&rng, 9, 0);
    for (int round = 0; round < ROUNDS; round++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        uint32_t changes = gv_rng_below(&rng, 300);
        uint32_t deletes_percent = round / 50 % 2 == 0 ? 30 : 90; /* it grows and shrinks */
        for (uint32_t i = 0; i < changes; i++) {
            gv_table_t table = (gv_table_t)(1 + gv_rng_below(&rng, GV_TABLE_COUNT - 1));
            uint32_t number = gv_rng_below(&rng, KEYS);
            memcpy(key, &number, sizeof(number));
            gv_bytes_t key_bytes = gv_bytes(key, 4 + number % 290);
            if (gv_rng_chance(&rng, deletes_percent)) {
                gv_batch_delete(batch, table, key_bytes);
            } else {
                uint32_t size_max = gv_rng_chance(&rng, 5) ? sizeof(value) : 300;
                gv_batch_put(batch, table, key_bytes,
                             gv_bytes(value, gv_rng_below(&rng, size_max)));
            }
        }
        ck_assert_ok(gv_store_write(store, &batch));
        gv__lmdb_fault_t fault;
        gv_err_t err = gv__lmdb_verify(fd, true, &fault);
        ck_assert_msg(err == GV_OK, "round %d: page %lu %s", round, (unsigned long)fault.page,
                      fault.text);
    }
    close(fd);
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_file_cut_before_its_last_page_is_truncated)
{
    workdir_t dir;
    char path[256];
    int fd = make_data(&dir, path);
    off_t whole = data_pages(fd) * 4096;
    ck_assert_int_gt(whole, 100 * 4096);

    gv__lmdb_fault_t fault;
    ck_assert_int_eq(ftruncate(fd, whole), 0);
    ck_assert_ok(gv__lmdb_verify(fd, true, &fault));
    static const off_t cuts[] = {1, 4096, 100000, 300000};
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        ck_assert_int_eq(ftruncate(fd, whole - cuts[i]), 0);
        ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), GV_ERR_CORRUPT);
        ck_assert_str_eq(fault.text, "is truncated");
    }
    for (off_t size = 5000; size >= 0; size -= 100) {
        ck_assert_int_eq(ftruncate(fd, size), 0);
        ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), GV_ERR_CORRUPT);
    }
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* Each byte of the head that LMDB relies on, in both meta pages. */
START_TEST(damage_to_the_head_is_noticed)
{
    static const struct {
        off_t offset;
        gv_err_t expected;
    } bytes[] = {
        {0, GV_ERR_CORRUPT},  /* page number */
        {10, GV_ERR_CORRUPT}, /* flags */
        {16, GV_ERR_CORRUPT}, /* magic */
        {19, GV_ERR_CORRUPT}, /* magic */
        {20, GV_ERR_VERSION}, /* version */
        {40, GV_ERR_CORRUPT}, /* page size */
        {42, GV_ERR_CORRUPT}, /* page size */
    };
    workdir_t dir;
    char path[256];
    int fd = make_data(&dir, path);
    for (off_t page = 0; page <= 4096; page += 4096) {
        for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
            uint8_t before;
            off_t at = page + bytes[i].offset;
            ck_assert_int_eq(pread(fd, &before, 1, at), 1);
            uint8_t after = before ^ 0x2c;
            ck_assert_int_eq(pwrite(fd, &after, 1, at), 1);
            gv__lmdb_fault_t fault;
            ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), bytes[i].expected);
            ck_assert_int_eq(pwrite(fd, &before, 1, at), 1);
            ck_assert_ok(gv__lmdb_verify(fd, true, &fault));
        }
    }
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* In each leaf: two bytes less of node pointers hide a record, two bytes more invent one. */
START_TEST(a_leaf_that_hides_or_invents_a_record_is_noticed)
{
    workdir_t dir;
    char path[256];
    int fd = make_data(&dir, path);
    off_t pages = data_pages(fd);
    gv__lmdb_fault_t fault;
    int noticed = 0;
    for (off_t page = 2; page < pages; page++) {
        struct {
            uint64_t number;
            uint16_t padding, flags, lower, upper;
        } head;
        ck_assert_int_eq(pread(fd, &head, sizeof(head), page * 4096), sizeof(head));
        for (int change = -2; change <= 2; change += 4) {
            uint16_t lower = (uint16_t)(head.lower + change);
            if (head.flags == 2 && head.number == (uint64_t)page && lower > 16) {
                ck_assert_int_eq(pwrite(fd, &lower, 2, page * 4096 + 12), 2);
                gv_err_t err = gv__lmdb_verify(fd, true, &fault);
                ck_assert(err == GV_OK || fault.page == (uint64_t)page);
                noticed += err == GV_OK ? 0 : 1; /* a free page may look like a leaf, too */
                ck_assert_int_eq(pwrite(fd, &head.lower, 2, page * 4096 + 12), 2);
            }
        }
    }
    ck_assert_int_ge(noticed, 6); /* both ways: the tables, the table of tables, the free list */
    ck_assert_ok(gv__lmdb_verify(fd, true, &fault));
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* LMDB would write over it. */
START_TEST(a_page_in_use_that_is_listed_as_free_is_noticed)
{
    workdir_t dir;
    char path[256];
    int fd = make_data(&dir, path);
    uint64_t transactions[2];
    ck_assert_int_eq(pread(fd, &transactions[0], 8, 144), 8);
    ck_assert_int_eq(pread(fd, &transactions[1], 8, 4096 + 144), 8);
    off_t newest = transactions[1] > transactions[0] ? 4096 : 0;
    uint64_t free_root;
    uint64_t main_root;
    ck_assert_int_eq(pread(fd, &free_root, 8, newest + 80), 8);
    ck_assert_int_eq(pread(fd, &main_root, 8, newest + 128), 8);
    uint16_t node;
    ck_assert_int_eq(pread(fd, &node, 2, (off_t)free_root * 4096 + 16), 2);
    /* Node head, key (a transaction), how many pages, the first of them. */
    off_t at = (off_t)free_root * 4096 + node + 8 + 8 + 8;
    ck_assert_int_eq(pwrite(fd, &main_root, 8, at), 8);
    gv__lmdb_fault_t fault;
    ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), GV_ERR_CORRUPT);
    ck_assert_uint_eq(fault.page, free_root);
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* Where in the file a page has these bytes; the page's number. */
static off_t page_with(int fd, const char *mark)
{
    uint8_t page[4096];
    off_t number = 2;
    while (pread(fd, page, sizeof(page), number * 4096) == sizeof(page) &&
           memmem(page, sizeof(page), mark, strlen(mark)) == NULL) {
        number++;
    }
    return number;
}

/* A node walks the message log when it starts, and so through its leaves; not so the outbox. */
START_TEST(leaves_that_are_read_at_the_start_are_looked_at_before)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, text("1"), text("a-mark-in-the-log"));
    gv_batch_append(batch, GV_TABLE_OUTBOX, text("1"), text("a-mark-in-the-outbox"));
    ck_assert_ok(gv_store_write(store, &batch));
    gv_store_close(&store);

    char path[256];
    workdir_file(&dir, "data.mdb", path);
    int fd = open(path, O_RDWR);
    static const struct {
        const char *mark;
        gv_err_t at_start;
    } leaves[] = {{"a-mark-in-the-log", GV_ERR_CORRUPT}, {"a-mark-in-the-outbox", GV_OK}};
    for (size_t i = 0; i < 2; i++) {
        off_t at = page_with(fd, leaves[i].mark) * 4096 + 12; /* end of the node pointers */
        uint16_t before;
        uint16_t after = 0xffff;
        gv__lmdb_fault_t fault;
        ck_assert_int_eq(pread(fd, &before, 2, at), 2);
        ck_assert_int_eq(pwrite(fd, &after, 2, at), 2);
        ck_assert_int_eq(gv__lmdb_verify(fd, false, &fault), leaves[i].at_start);
        ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), GV_ERR_CORRUPT);
        ck_assert_uint_eq(fault.page, (uint64_t)at / 4096);
        ck_assert_int_eq(pwrite(fd, &before, 2, at), 2);
        ck_assert_ok(gv__lmdb_verify(fd, true, &fault));
    }
    close(fd);
    workdir_remove(&dir);
}
END_TEST

START_TEST(other_files_are_not_lmdbs)
{
    char path[] = "/tmp/gv-storage-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    unlink(path);
    uint8_t junk[10000];
    for (size_t i = 0; i < sizeof(junk); i++) {
        junk[i] = (uint8_t)(i * 31 + 5);
    }
    ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
    gv__lmdb_fault_t fault;
    ck_assert_int_eq(gv__lmdb_verify(fd, true, &fault), GV_ERR_CORRUPT);
    close(fd);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("lmdb_verify");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_healthy_file_is_found_healthy);
    tcase_add_test(tc, every_state_of_a_busy_store_is_found_healthy);
    tcase_add_test(tc, a_file_cut_before_its_last_page_is_truncated);
    tcase_add_test(tc, damage_to_the_head_is_noticed);
    tcase_add_test(tc, a_leaf_that_hides_or_invents_a_record_is_noticed);
    tcase_add_test(tc, a_page_in_use_that_is_listed_as_free_is_noticed);
    tcase_add_test(tc, leaves_that_are_read_at_the_start_are_looked_at_before);
    tcase_add_test(tc, other_files_are_not_lmdbs);
    return run_case("storage", tc);
}
