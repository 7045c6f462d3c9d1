/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/parcel.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

START_TEST(entries_come_out_as_they_went_in)
{
    gv_parcel_t *parcel = gv_parcel_new(GV_PARCEL_SIZE);
    ck_assert_ptr_nonnull(parcel);
    ck_assert_ptr_null(gv_parcel_first(parcel));
    char payload[64];
    for (uint32_t i = 0; i < 100; i++) {
        int size = snprintf(payload, sizeof(payload), "message %u", i);
        gv_publish_t publish = {
            .topic = GV_BYTES_LITERAL("a/b"),
            .payload = gv_bytes(payload, (size_t)size),
            .qos = (uint8_t)(i % 3),
            .retain = i % 2 == 0,
            .expires_at_ms = i,
        };
        gv_entry_t *entry = gv_parcel_append(parcel, &publish, i % 5 * sizeof(uint32_t));
        ck_assert_ptr_nonnull(entry);
        ck_assert_uint_eq((uintptr_t)entry % 8, 0);
        memset(gv_parcel_extra(entry), 0xee, i % 5 * sizeof(uint32_t));
    }
    uint32_t i = 0;
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e), i++) {
        gv_publish_t publish = gv_parcel_publish(e);
        int size = snprintf(payload, sizeof(payload), "message %u", i);
        ck_assert(gv_bytes_equal(publish.payload, gv_bytes(payload, (size_t)size)));
        ck_assert(gv_bytes_equal(publish.topic, GV_BYTES_LITERAL("a/b")));
        ck_assert_uint_eq(publish.qos, i % 3);
        ck_assert(publish.retain == (i % 2 == 0));
        ck_assert_uint_eq(publish.expires_at_ms, i);
    }
    ck_assert_uint_eq(i, 100);
    ck_assert_uint_eq(parcel->count, 100);
    gv_parcel_free(&parcel);
    ck_assert_ptr_null(parcel);
}
END_TEST

START_TEST(a_full_parcel_takes_nothing_more_and_stays_whole)
{
    gv_parcel_t *parcel = gv_parcel_new(256);
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t"),
                            .payload = GV_BYTES_LITERAL("0123456789")};
    uint32_t count = 0;
    while (gv_parcel_append(parcel, &publish, 0) != NULL) {
        count++;
    }
    ck_assert_uint_gt(count, 0);
    ck_assert_uint_eq(parcel->count, count);
    ck_assert_uint_le(parcel->used, parcel->capacity);
    gv_parcel_reset(parcel);
    ck_assert_ptr_nonnull(gv_parcel_append(parcel, &publish, 0));
    gv_parcel_free(&parcel);
}
END_TEST

START_TEST(a_kept_message_goes_by_reference)
{
    gv_parcel_t *parcel = gv_parcel_new(256);
    uint8_t *large = gv_xalloc(100000);
    memset(large, 'x', 100000);
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t"), .payload = gv_bytes(large, 100000)};
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_entry_t *entry = gv_parcel_append(parcel, &publish, 0);
    ck_assert_ptr_nonnull(entry);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&kept);
    gv_free(large);
    /* The entry's reference is the last one now. */
    gv_publish_t view = gv_parcel_publish(entry);
    ck_assert_uint_eq(view.payload.size, 100000);
    ck_assert_uint_eq(view.payload.data[99999], 'x');
    gv_parcel_free(&parcel);
}
END_TEST

START_TEST(the_limit_of_memory_is_for_large_parcels_only)
{
    gv_alloc_set_max(1);
    ck_assert_ptr_null(gv_parcel_new(GV_PARCEL_SIZE + 1));
    gv_parcel_t *parcel = gv_parcel_new(GV_PARCEL_SIZE);
    ck_assert_ptr_nonnull(parcel);
    gv_parcel_free(&parcel);
    gv_alloc_set_max(0);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("parcel");
    tcase_add_test(tc, entries_come_out_as_they_went_in);
    tcase_add_test(tc, a_full_parcel_takes_nothing_more_and_stays_whole);
    tcase_add_test(tc, a_kept_message_goes_by_reference);
    tcase_add_test(tc, the_limit_of_memory_is_for_large_parcels_only);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
