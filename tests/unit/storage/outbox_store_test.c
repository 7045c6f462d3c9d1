/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/outbox_store.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "storage/mem_store.h"

static gv_store_t *store;

static void set_up(void)
{
    gv_mem_options_t options = {.seed = 1};
    gv_mem_store_new(&options, &store);
}

static void tear_down(void)
{
    gv_store_close(&store);
}

static void put(const gv_outbox_place_t *place)
{
    gv_outbox_message_t messages[2] = {
        {.body = GV_BYTES_LITERAL("one"), .expires_at_ms = 7},
        {.body = GV_BYTES_LITERAL("two")},
    };
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_outbox_record_put(batch, place, messages);
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
}

typedef struct seen {
    gv_outbox_place_t places[4];
    size_t count;
    uint32_t messages;
} seen_t;

static gv_err_t on_record(const gv_outbox_place_t *place, size_t bytes, void *arg)
{
    seen_t *seen = arg;
    ck_assert_uint_gt(bytes, 6);
    ck_assert_uint_lt(seen->count, 4);
    seen->places[seen->count++] = *place;
    return GV_OK;
}

static void on_message(uint32_t index, const gv_outbox_message_t *message, void *arg)
{
    seen_t *seen = arg;
    ck_assert_uint_eq(index, seen->messages++);
    ck_assert(gv_bytes_equal(message->body,
                             index == 0 ? GV_BYTES_LITERAL("one") : GV_BYTES_LITERAL("two")));
    ck_assert_uint_eq(message->expires_at_ms, index == 0 ? 7 : 0);
}

typedef struct reading {
    const gv_outbox_place_t *place;
    seen_t seen;
    size_t spoilt_at; /* a byte that is changed; 0: none */
} reading_t;

static gv_err_t read_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    reading_t *reading = arg;
    uint8_t copy[256];
    ck_assert_uint_le(value.size, sizeof(copy));
    memcpy(copy, value.data, value.size);
    copy[reading->spoilt_at] ^= reading->spoilt_at > 0;
    return gv_outbox_record_read(reading->place, gv_bytes(copy, value.size), on_message,
                                 &reading->seen);
}

START_TEST(records_are_found_by_node_and_number)
{
    gv_outbox_place_t b = {.node_id = {2}, .number = 1, .count = 2};
    gv_outbox_place_t late = {.node_id = {1}, .number = 300, .count = 2};
    gv_outbox_place_t early = {.node_id = {1}, .number = 2, .count = 2};
    put(&b);
    put(&late);
    put(&early);
    seen_t seen = {0};
    ck_assert_int_eq(gv_outbox_record_scan(store, on_record, &seen), GV_OK);
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_uint_eq(seen.places[0].number, 2);
    ck_assert_uint_eq(seen.places[1].number, 300);
    ck_assert_uint_eq(seen.places[2].node_id[0], 2);
    ck_assert_uint_eq(seen.places[2].count, 2);

    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_outbox_record_delete(batch, &late);
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
    seen.count = 0;
    ck_assert_int_eq(gv_outbox_record_scan(store, on_record, &seen), GV_OK);
    ck_assert_uint_eq(seen.count, 2);
}
END_TEST

START_TEST(what_is_read_is_what_was_put_or_nothing)
{
    gv_outbox_place_t place = {.node_id = {1}, .number = 2, .count = 2};
    put(&place);
    gv_key_t key;
    gv_outbox_key(&key, &place);
    reading_t reading = {.place = &place};
    gv_bytes_t at = gv_key_bytes(&key);
    ck_assert_int_eq(gv_store_get(store, GV_TABLE_OUTBOX, at, read_record, &reading), GV_OK);
    ck_assert_uint_eq(reading.seen.messages, 2);
    reading.spoilt_at = 9;
    ck_assert_int_eq(gv_store_get(store, GV_TABLE_OUTBOX, at, read_record, &reading),
                     GV_ERR_CORRUPT);
    /* The checksum covers the place as well. */
    gv_outbox_place_t other = place;
    other.count = 3;
    reading = (reading_t){.place = &other};
    ck_assert_int_eq(gv_store_get(store, GV_TABLE_OUTBOX, at, read_record, &reading),
                     GV_ERR_CORRUPT);
    ck_assert_uint_eq(reading.seen.messages, 0);
}
END_TEST

START_TEST(a_key_that_makes_no_sense_is_counted_and_passed_over)
{
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_OUTBOX, GV_BYTES_LITERAL("short"), GV_BYTES_LITERAL("x"));
    ck_assert_int_eq(gv_store_write(store, &batch), GV_OK);
    gv_outbox_place_t place = {.node_id = {1}, .number = 2, .count = 2};
    put(&place);
    seen_t seen = {0};
    ck_assert_int_eq(gv_outbox_record_scan(store, on_record, &seen), GV_OK);
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_uint_eq(atomic_load(&gv_store_stats(store)->damaged), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("storage/outbox_store");
    TCase *tcase = tcase_create("outbox_store");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, records_are_found_by_node_and_number);
    tcase_add_test(tcase, what_is_read_is_what_was_put_or_nothing);
    tcase_add_test(tcase, a_key_that_makes_no_sense_is_counted_and_passed_over);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
