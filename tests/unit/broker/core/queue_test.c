/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/queue.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

static gv_queued_t message(size_t size)
{
    gv_queued_t queued = {.qos = 1};
    uint8_t *bytes = gv_xalloc(size + 1);
    memset(bytes, 'x', size);
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("t"), .payload = gv_bytes(bytes, size)};
    ck_assert_int_eq(gv_publish_keep(&publish, &queued.kept), GV_OK);
    gv_publish_done(&publish);
    gv_free(bytes);
    return queued;
}

START_TEST(first_in_first_out_with_counts_and_bytes)
{
    gv_queue_t queue = {0};
    size_t put = 0;
    size_t taken = 0;
    /* Grows and turns: three in, two out. */
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < 3; i++) {
            gv_queue_push(&queue, message(put++));
        }
        for (int i = 0; i < 2; i++) {
            ck_assert_uint_eq(gv_publish_of(gv_queue_first(&queue)->kept).payload.size, taken);
            gv_queued_t queued = gv_queue_take(&queue);
            ck_assert_uint_eq(gv_publish_of(queued.kept).payload.size, taken);
            gv_queued_drop(&queued);
            taken++;
        }
    }
    ck_assert_uint_eq(queue.count, put - taken);
    ck_assert_uint_gt(queue.bytes, 0);
    gv_queue_clear(&queue);
    ck_assert_uint_eq(queue.bytes, 0);
    ck_assert_ptr_null(gv_queue_first(&queue));
}
END_TEST

START_TEST(an_empty_queue_owns_no_memory)
{
    gv_queue_t queue = {0};
    gv_queue_push(&queue, message(5));
    gv_queued_t queued = gv_queue_take(&queue);
    gv_queued_drop(&queued);
    ck_assert_ptr_null(queue._ring);
    ck_assert_uint_eq(queue.bytes, 0);
}
END_TEST

START_TEST(one_subscription_id_needs_no_list)
{
    uint32_t ids[] = {7, 8, 9};
    ck_assert_ptr_null(gv_queued_extra_new(ids, 0, NULL));
    ck_assert_ptr_null(gv_queued_extra_new(ids, 1, NULL));
    gv_queued_extra_t *extra = gv_queued_extra_new(ids, 3, NULL);
    ck_assert_uint_eq(extra->id_count, 3);
    ck_assert_mem_eq(extra->ids, ids, sizeof(ids));
    ck_assert_uint_eq(gv_queued_take_loan(extra).is_loan, 0);
    gv_free(extra);
}
END_TEST

START_TEST(a_loan_is_taken_once)
{
    uint32_t ids[] = {7, 8};
    gv_ticket_t loan = {.client = 5, .is_loan = 1};
    ck_assert_uint_eq(gv_queued_take_loan(NULL).is_loan, 0);
    gv_queued_extra_t *extra = gv_queued_extra_new(ids, 1, &loan);
    ck_assert_uint_eq(extra->id_count, 0);
    ck_assert_uint_eq(gv_queued_take_loan(extra).client, 5);
    ck_assert_uint_eq(gv_queued_take_loan(extra).is_loan, 0);
    gv_free(extra);
}
END_TEST

START_TEST(who_drops_a_message_answers_its_loan_first)
{
    gv_ticket_t loan = {.client = 5, .is_loan = 1};
    gv_queued_t lent = message(5);
    lent.extra = gv_queued_extra_new(NULL, 0, &loan);
    gv_queued_drop(&lent); /* aborts */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("queue");
    tcase_add_test(tc, first_in_first_out_with_counts_and_bytes);
    tcase_add_test(tc, an_empty_queue_owns_no_memory);
    tcase_add_test(tc, one_subscription_id_needs_no_list);
    tcase_add_test(tc, a_loan_is_taken_once);
    tcase_add_test_raise_signal(tc, who_drops_a_message_answers_its_loan_first, SIGABRT);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
