/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/batch.h"

#include <signal.h>

#include "base/rng.h"

#include "storage/batch_p.h"

#include "tests/unit/storage/fixture.h"

static gv_batch_t *new_batch(void)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    return batch;
}

START_TEST(changes_come_out_as_they_went_in)
{
    static const uint8_t one_two[16] = {[7] = 1, [15] = 2};
    static const uint8_t many_one[16] = {[6] = 1, [15] = 1};
    gv_batch_t *batch = new_batch();
    gv_batch_put(batch, GV_TABLE_META, text("a"), text("one"));
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, text("b"), GV_BYTES_EMPTY);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("c"));
    uint8_t *room = gv_batch_put_room(batch, GV_TABLE_WILLS, text("d"), 3);
    ck_assert_ptr_nonnull(room);
    memcpy(room, "two", 3);
    ck_assert_uint_eq(gv_batch_count(batch), 4);
    gv_batch_share(batch, GV_TABLE_PAYLOADS, 1, 2, text("body"));
    room = gv_batch_share_room(batch, GV_TABLE_PAYLOADS, 256, 1, 3);
    ck_assert_ptr_nonnull(room);
    memcpy(room, "big", 3);
    gv_batch_unshare(batch, GV_TABLE_PAYLOADS, 1, 2);
    ck_assert_uint_eq(gv_batch_count(batch), 4 + 2 + 2 + 2);

    static const gv_batch_op_t expected[] = {
        {GV_BATCH_PUT, GV_TABLE_META, {(const uint8_t *)"a", 1}, {(const uint8_t *)"one", 3}},
        {GV_BATCH_APPEND, GV_TABLE_QUEUE_LOG, {(const uint8_t *)"b", 1}, {NULL, 0}},
        {GV_BATCH_DELETE, GV_TABLE_RETAINED, {(const uint8_t *)"c", 1}, {NULL, 0}},
        {GV_BATCH_PUT, GV_TABLE_WILLS, {(const uint8_t *)"d", 1}, {(const uint8_t *)"two", 3}},
        {GV_BATCH_SHARE, GV_TABLE_PAYLOADS, {one_two, 16}, {(const uint8_t *)"body", 4}},
        {GV_BATCH_SHARE, GV_TABLE_PAYLOADS, {many_one, 16}, {(const uint8_t *)"big", 3}},
        {GV_BATCH_UNSHARE, GV_TABLE_PAYLOADS, {one_two, 16}, {NULL, 0}},
    };
    size_t cursor = 0;
    gv_batch_op_t op;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        ck_assert(gv_batch_next(batch, &cursor, &op));
        ck_assert_int_eq(op.kind, expected[i].kind);
        ck_assert_int_eq(op.table, expected[i].table);
        ck_assert(gv_bytes_equal(op.key, expected[i].key));
        ck_assert(gv_bytes_equal(op.value, expected[i].value));
    }
    ck_assert(!gv_batch_next(batch, &cursor, &op));
    gv_batch_free(&batch);
    ck_assert_ptr_null(batch);
    gv_batch_free(&batch);
}
END_TEST

START_TEST(deletes_drain_by_themselves_and_puts_when_told)
{
    gv_batch_t *batch = new_batch();
    ck_assert(gv_batch_is_draining(batch));
    gv_batch_delete(batch, GV_TABLE_META, text("a"));
    ck_assert(gv_batch_is_draining(batch));
    gv_batch_unshare(batch, GV_TABLE_PAYLOADS, 1, 1);
    ck_assert(gv_batch_is_draining(batch));
    gv_batch_put(batch, GV_TABLE_META, text("a"), text("x"));
    ck_assert(!gv_batch_is_draining(batch));
    gv_batch_set_draining(batch);
    ck_assert(gv_batch_is_draining(batch));
    gv_batch_free(&batch);

    batch = new_batch();
    gv_batch_share(batch, GV_TABLE_PAYLOADS, 1, 1, GV_BYTES_EMPTY);
    ck_assert(!gv_batch_is_draining(batch));
    gv_batch_free(&batch);
}
END_TEST

START_TEST(a_value_of_4_gib_is_refused_and_the_error_sticks)
{
    gv_batch_t *batch = new_batch();
    gv_batch_put(batch, GV_TABLE_META, text("a"), text("x"));
    ck_assert_ptr_null(gv_batch_put_room(batch, GV_TABLE_META, text("b"), (size_t)1 << 32));
    ck_assert_int_eq(gv_batch_error(batch), GV_ERR_LIMIT);
    gv_batch_put(batch, GV_TABLE_META, text("c"), text("y"));
    ck_assert_uint_eq(gv_batch_count(batch), 1);
    ck_assert_int_eq(gv_batch_error(batch), GV_ERR_LIMIT);
    gv_batch_free(&batch);
}
END_TEST

/* Random changes of random sizes, read back against a second generator of the same seed. */
static void draw(gv_rng_t *rng, uint8_t *key, size_t *key_size, uint8_t *value, size_t *value_size)
{
    *key_size = 1 + gv_rng_below(rng, GV_KEY_SIZE_MAX);
    *value_size = gv_rng_chance(rng, 5) ? gv_rng_below(rng, 5000) : gv_rng_below(rng, 60);
    gv_rng_fill(rng, key, *key_size);
    gv_rng_fill(rng, value, *value_size);
}

START_TEST(a_thousand_random_changes_survive_the_growing)
{
    gv_rng_t rng;
    uint8_t key[GV_KEY_SIZE_MAX];
    uint8_t value[5000];
    size_t key_size;
    size_t value_size;
    gv_batch_t *batch = new_batch();
    gv_rng_init(&rng, 7, 0);
    for (int i = 0; i < 1000; i++) {
        draw(&rng, key, &key_size, value, &value_size);
        gv_batch_put(batch, GV_TABLE_META, gv_bytes(key, key_size), gv_bytes(value, value_size));
    }
    gv_rng_init(&rng, 7, 0);
    size_t cursor = 0;
    gv_batch_op_t op;
    for (int i = 0; i < 1000; i++) {
        draw(&rng, key, &key_size, value, &value_size);
        ck_assert(gv_batch_next(batch, &cursor, &op));
        ck_assert(gv_bytes_equal(op.key, gv_bytes(key, key_size)));
        ck_assert(gv_bytes_equal(op.value, gv_bytes(value, value_size)));
    }
    ck_assert(!gv_batch_next(batch, &cursor, &op));
    gv_batch_free(&batch);
}
END_TEST

START_TEST(an_empty_key_is_our_mistake)
{
    gv_batch_t *batch = new_batch();
    gv_batch_put(batch, GV_TABLE_META, GV_BYTES_EMPTY, text("x"));
}
END_TEST

START_TEST(a_key_that_is_too_long_is_our_mistake)
{
    uint8_t key[GV_KEY_SIZE_MAX + 1] = {0};
    gv_batch_t *batch = new_batch();
    gv_batch_delete(batch, GV_TABLE_META, gv_bytes(key, sizeof(key)));
}
END_TEST

START_TEST(holder_nought_is_our_mistake)
{
    gv_batch_t *batch = new_batch();
    gv_batch_unshare(batch, GV_TABLE_PAYLOADS, 1, 0);
}
END_TEST

START_TEST(the_keys_of_a_shared_value_are_known_by_any_of_its_holders)
{
    gv_batch_t *batch = new_batch();
    gv_batch_unshare(batch, GV_TABLE_PAYLOADS, 256, 7);
    size_t cursor = 0;
    gv_batch_op_t op;
    ck_assert(gv_batch_next(batch, &cursor, &op));
    gv_key_t key;
    gv__batch_shared_key(&op, 0, &key);
    ck_assert_mem_eq(key.data, "\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\0", 16);
    ck_assert(gv__batch_shares(&op, gv_key_bytes(&key)));
    gv__batch_shared_key(&op, 1, &key);
    ck_assert_mem_eq(key.data, "\0\0\0\0\0\0\1\0\0\0\0\0\0\0\0\1", 16);
    ck_assert(gv__batch_shares(&op, gv_key_bytes(&key)));
    gv_key_from_number_pair(&key, 257, 7);
    ck_assert(!gv__batch_shares(&op, gv_key_bytes(&key)));
    gv_batch_free(&batch);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("batch");
    tcase_add_test(tc, changes_come_out_as_they_went_in);
    tcase_add_test(tc, deletes_drain_by_themselves_and_puts_when_told);
    tcase_add_test(tc, a_value_of_4_gib_is_refused_and_the_error_sticks);
    tcase_add_test(tc, a_thousand_random_changes_survive_the_growing);
    tcase_add_test_raise_signal(tc, an_empty_key_is_our_mistake, SIGABRT);
    tcase_add_test_raise_signal(tc, a_key_that_is_too_long_is_our_mistake, SIGABRT);
    tcase_add_test_raise_signal(tc, holder_nought_is_our_mistake, SIGABRT);
    tcase_add_test(tc, the_keys_of_a_shared_value_are_known_by_any_of_its_holders);
    return run_case("storage", tc);
}
