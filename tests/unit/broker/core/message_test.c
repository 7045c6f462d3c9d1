/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/message.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

static gv_publish_t sample(void)
{
    return (gv_publish_t){
        .topic = GV_BYTES_LITERAL("a/b"),
        .props = GV_BYTES_LITERAL("\x01\x01"),
        .payload = GV_BYTES_LITERAL("payload"),
        .expires_at_ms = 4711,
        .publisher = 42,
        .qos = 2,
        .retain = true,
    };
}

START_TEST(a_kept_message_is_the_same_message)
{
    gv_publish_t publish = sample();
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_publish_done(&publish); /* the view may go, the message stays */
    gv_publish_t again = gv_publish_of(kept);
    gv_publish_t original = sample();
    ck_assert(gv_bytes_equal(again.topic, original.topic));
    ck_assert(gv_bytes_equal(again.props, original.props));
    ck_assert(gv_bytes_equal(again.payload, original.payload));
    ck_assert_uint_eq(again.expires_at_ms, 4711);
    ck_assert_uint_eq(again.publisher, 42);
    ck_assert_uint_eq(again.qos, 2);
    ck_assert(again.retain);
    gv_bytes_t all = gv_msgbuf_bytes(kept);
    ck_assert_ptr_eq(all.data + gv_publish_payload_offset(&again), again.payload.data);
    gv_msgbuf_unref(&kept);
}
END_TEST

START_TEST(it_is_copied_once_however_many_keep_it)
{
    gv_publish_t publish = sample();
    gv_msgbuf_t *first = NULL;
    gv_msgbuf_t *second = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &first), GV_OK);
    ck_assert_int_eq(gv_publish_keep(&publish, &second), GV_OK);
    ck_assert_ptr_eq(first, second);
    gv_publish_t view = gv_publish_of(first);
    gv_msgbuf_t *third = NULL;
    ck_assert_int_eq(gv_publish_keep(&view, &third), GV_OK);
    ck_assert_ptr_eq(third, first);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&first);
    gv_msgbuf_unref(&second);
    gv_msgbuf_unref(&third);
}
END_TEST

START_TEST(empty_parts_are_allowed)
{
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t")};
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_publish_t view = gv_publish_of(kept);
    ck_assert_uint_eq(view.payload.size, 0);
    ck_assert_uint_eq(view.props.size, 0);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&kept);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("message");
    tcase_add_test(tc, a_kept_message_is_the_same_message);
    tcase_add_test(tc, it_is_copied_once_however_many_keep_it);
    tcase_add_test(tc, empty_parts_are_allowed);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
