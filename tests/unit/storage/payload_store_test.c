/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/payload_store.h"

#include <signal.h>

#include "storage/records.h"

#include "tests/unit/storage/fixture.h"

static void share_one(fixture_t *fx, uint64_t number, uint64_t holder, gv_bytes_t body)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_payload_share(batch, number, holder, body);
    ck_assert_ok(fixture_commit(fx, batch));
}

static void unshare_one(fixture_t *fx, uint64_t number, uint64_t holder)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_payload_unshare(batch, number, holder);
    ck_assert_ok(fixture_commit(fx, batch));
}

/* What is stored under the number; its data is the caller's to free. */
static copy_t stored(gv_store_t *store, uint64_t number)
{
    gv_key_t key;
    gv_payload_key(&key, number);
    copy_t copy = {.data = NULL};
    ck_assert_ok(gv_store_get(store, GV_TABLE_PAYLOADS, gv_key_bytes(&key), on_copied, &copy));
    return copy;
}

static void assert_payload(gv_store_t *store, uint64_t number, gv_bytes_t expected)
{
    copy_t copy = stored(store, number);
    gv_bytes_t body;
    ck_assert_ok(gv_payload_open(gv_bytes(copy.data, copy.size), number, &body));
    ck_assert(gv_bytes_equal(body, expected));
    free(copy.data);
}

static uint64_t last(gv_store_t *store)
{
    uint64_t number;
    ck_assert_ok(gv_payload_last(store, &number));
    return number;
}

START_TEST(a_payload_comes_back_as_long_as_it_is_held)
{
    static uint8_t large[3 << 20];
    memset(large, 7, sizeof(large));
    const gv_bytes_t bodies[] = {text("small"), GV_BYTES_EMPTY, gv_bytes(large, sizeof(large))};
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    for (uint64_t i = 0; i < 3; i++) {
        share_one(&fx, i + 1, 10, bodies[i]);
        share_one(&fx, i + 1, 20, bodies[i]);
        assert_payload(fx.store, i + 1, bodies[i]);
        unshare_one(&fx, i + 1, 10);
        assert_payload(fx.store, i + 1, bodies[i]);
        unshare_one(&fx, i + 1, 20);
        ck_assert_uint_eq(count_records(fx.store, GV_TABLE_PAYLOADS), 0);
    }
    fixture_close(&fx);
}
END_TEST

START_TEST(the_last_number_is_known_without_its_payload)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    ck_assert_uint_eq(last(fx.store), 0);
    share_one(&fx, 5, 1, text("five"));
    ck_assert_uint_eq(last(fx.store), 5);
    share_one(&fx, 700, 2, text("seven hundred"));
    share_one(&fx, 6, UINT64_MAX, text("six"));
    ck_assert_uint_eq(last(fx.store), 700);
    unshare_one(&fx, 700, 2);
    ck_assert_uint_eq(last(fx.store), 6);

    /* A holder without a payload counts as well: its number is in use. */
    gv_key_t key;
    gv_key_from_number_pair(&key, 8, 3);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_PAYLOADS, gv_key_bytes(&key), GV_BYTES_EMPTY);
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(last(fx.store), 8);
    fixture_close(&fx);
}
END_TEST

/* No number is given away that might be in use. */
START_TEST(a_key_that_is_none_of_the_table_counts_by_what_it_begins_with)
{
    static const uint8_t strange[] = {0, 0, 0, 0, 0, 0, 1};
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    share_one(&fx, 5, 1, text("five"));
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_PAYLOADS, gv_bytes(strange, sizeof(strange)), text("x"));
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(last(fx.store), 256);
    ck_assert_uint_eq(atomic_load(&gv_store_stats(fx.store)->damaged), 1);
    fixture_close(&fx);
}
END_TEST

START_TEST(keys_are_taken_apart)
{
    gv_key_t key;
    uint64_t number;
    uint64_t holder;
    gv_payload_key(&key, 0x0102030405060708);
    ck_assert_uint_eq(key.size, 16);
    ck_assert(gv_payload_key_read(gv_key_bytes(&key), &number, &holder));
    ck_assert_uint_eq(number, 0x0102030405060708);
    ck_assert_uint_eq(holder, 0);
    gv_key_from_number_pair(&key, 9, UINT64_MAX);
    ck_assert(gv_payload_key_read(gv_key_bytes(&key), &number, &holder));
    ck_assert_uint_eq(number, 9);
    ck_assert_uint_eq(holder, UINT64_MAX);
    ck_assert(!gv_payload_key_read(gv_bytes(key.data, 15), &number, &holder));
    ck_assert(!gv_payload_key_read(gv_bytes(key.data, 17), &number, &holder));
}
END_TEST

START_TEST(every_flipped_bit_every_other_length_and_every_other_place_is_noticed)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    share_one(&fx, 77, 1, text("a payload of some length"));
    copy_t copy = stored(fx.store, 77);
    gv_bytes_t body;
    for (size_t bit = 0; bit < 8 * copy.size; bit++) {
        copy.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        ck_assert_int_eq(gv_payload_open(gv_bytes(copy.data, copy.size), 77, &body),
                         GV_ERR_CORRUPT);
        ck_assert_ptr_null(body.data);
        copy.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    for (size_t size = 0; size < copy.size; size++) {
        ck_assert_int_eq(gv_payload_open(gv_bytes(copy.data, size), 77, &body), GV_ERR_CORRUPT);
    }
    gv_bytes_t whole = gv_bytes(copy.data, copy.size);
    ck_assert_int_eq(gv_payload_open(whole, 78, &body), GV_ERR_CORRUPT);
    gv_key_t key;
    gv_payload_key(&key, 77);
    ck_assert_int_eq(gv_record_open(GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), whole, &body),
                     GV_ERR_CORRUPT);
    ck_assert_ok(gv_payload_open(whole, 77, &body));
    free(copy.data);

    /* Only the payload itself has anything to damage. */
    ck_assert(gv_mem_store_damage(fx.store, GV_TABLE_PAYLOADS));
    copy = stored(fx.store, 77);
    ck_assert_int_eq(gv_payload_open(gv_bytes(copy.data, copy.size), 77, &body), GV_ERR_CORRUPT);
    free(copy.data);
    fixture_close(&fx);
}
END_TEST

START_TEST(an_intact_payload_of_a_later_version_is_told_from_a_damaged_one)
{
    uint8_t covered[4 + 16 + 1] = {GV_TABLE_PAYLOADS, 0, 16, GV_RECORD_VERSION + 1};
    covered[4 + 7] = 9;
    covered[4 + 16] = 'x';
    uint32_t crc = gv_crc32c(0, gv_bytes(covered, sizeof(covered)));
    uint8_t value[GV_RECORD_HEAD_SIZE + 1];
    gv_writer_t w = gv_writer(value, sizeof(value));
    gv_writer_u8(&w, GV_RECORD_VERSION + 1);
    gv_writer_u32(&w, crc);
    gv_writer_u8(&w, 'x');
    gv_bytes_t body;
    ck_assert_int_eq(gv_payload_open(gv_bytes(value, sizeof(value)), 9, &body), GV_ERR_VERSION);
    ck_assert_int_eq(gv_payload_open(gv_bytes(value, sizeof(value)), 8, &body), GV_ERR_CORRUPT);
}
END_TEST

START_TEST(a_batch_that_has_failed_takes_no_payload)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    ck_assert_ptr_null(gv_batch_put_room(batch, GV_TABLE_META, text("a"), (size_t)1 << 32));
    gv_payload_share(batch, 1, 1, text("x"));
    ck_assert_uint_eq(gv_batch_count(batch), 0);
    ck_assert_int_eq(gv_batch_error(batch), GV_ERR_LIMIT);
    gv_batch_free(&batch);
}
END_TEST

START_TEST(number_nought_is_our_mistake)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_payload_share(batch, 0, 1, text("x"));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("payload_store");
    tcase_add_loop_test(tc, a_payload_comes_back_as_long_as_it_is_held, 0, KIND_COUNT);
    tcase_add_loop_test(tc, the_last_number_is_known_without_its_payload, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_key_that_is_none_of_the_table_counts_by_what_it_begins_with, 0,
                        KIND_COUNT);
    tcase_add_test(tc, keys_are_taken_apart);
    tcase_add_test(tc, every_flipped_bit_every_other_length_and_every_other_place_is_noticed);
    tcase_add_test(tc, an_intact_payload_of_a_later_version_is_told_from_a_damaged_one);
    tcase_add_test(tc, a_batch_that_has_failed_takes_no_payload);
    tcase_add_test_raise_signal(tc, number_nought_is_our_mistake, SIGABRT);
    return run_case("storage", tc);
}
