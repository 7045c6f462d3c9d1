/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/segment.h"

#include <stdlib.h>

#include <check.h>

enum {
    IMAGE_MAX = 65536
};

static uint8_t items[8192];
static uint8_t bodies[8192];
static uint8_t image[IMAGE_MAX];
static uint64_t second_apart; /* where the second body stands, 0: here */

/* Two bodies; three deliveries, the second with everything; a mark. */
static size_t build(bool second_wanted)
{
    gv_writer_t iw = gv_writer(items, sizeof(items));
    gv_writer_t bw = gv_writer(bodies, sizeof(bodies));
    uint32_t ends[2];
    gv_segment_message_t message = {
        .topic = GV_BYTES_LITERAL("a/b"),
        .props = GV_BYTES_LITERAL("pp"),
        .payload = GV_BYTES_LITERAL("hello"),
        .expires_at_ms = 77,
        .qos = 2,
        .retain = true,
    };
    gv_segment_put_body(&bw, &message);
    ends[0] = (uint32_t)(bw.pos - bodies);
    ck_assert_uint_eq(ends[0], gv_segment_body_size(&message));
    message.payload = GV_BYTES_LITERAL("second");
    gv_segment_put_body(&bw, &message);
    ends[1] = (uint32_t)(bw.pos - bodies);

    gv_segment_put_delivery(
        &iw,
        &(gv_segment_delivery_t){
            .session = 5, .number = 9, .qos = 1, .expires_s = 3, .is_connected = true},
        NULL, 0);
    const uint32_t ids[] = {7, 268435455};
    gv_segment_put_delivery(&iw,
                            &(gv_segment_delivery_t){.session = UINT64_MAX,
                                                     .number = UINT64_MAX - 1,
                                                     .body = 1,
                                                     .qos = 2,
                                                     .retain = true,
                                                     .share = GV_BYTES_LITERAL("$share/g/a")},
                            ids, 2);
    uint8_t *states = gv_segment_put_mark(
        &iw, &(gv_segment_mark_t){.session = 5, .low = 8, .sent = 14, .count = 5});
    gv_segment_set_state(states, 0, GV_SEGMENT_DONE);
    gv_segment_set_state(states, 3, GV_SEGMENT_RECEIVED);
    gv_segment_set_state(states, 4, GV_SEGMENT_DONE);
    ck_assert(!iw.failed && !bw.failed);

    bool wanted[2] = {true, second_wanted};
    const uint64_t apart[2] = {0, second_apart};
    gv_segment_parts_t parts = {
        .number = 42,
        .latest_s = 3,
        .items = gv_bytes(items, (size_t)(iw.pos - items)),
        .bodies = gv_bytes(bodies, ends[1]),
        .body_count = 2,
        .ends = ends,
        .wanted = wanted,
        .apart = second_apart != 0 ? apart : NULL,
    };
    size_t size = gv_segment_size(&parts);
    ck_assert_uint_le(size, sizeof(image));
    gv_segment_write(image, &parts);
    return size;
}

START_TEST(what_is_written_is_read)
{
    size_t size = build(true);
    gv_segment_view_t segment;
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 42, &segment), GV_OK);
    ck_assert_uint_eq(segment.latest_s, 3);
    uint32_t offset = 0;
    gv_segment_item_t item;
    ck_assert(gv_segment_next(&segment, &offset, &item));
    ck_assert_int_eq(item.kind, GV_SEGMENT_DELIVERY);
    ck_assert_uint_eq(item.delivery.session, 5);
    ck_assert_uint_eq(item.delivery.number, 9);
    ck_assert_uint_eq(item.delivery.expires_s, 3);
    ck_assert(item.delivery.is_connected);
    ck_assert_uint_eq(gv_segment_id_count(&item.delivery), 0);
    ck_assert(gv_segment_next(&segment, &offset, &item));
    uint32_t second = item.offset;
    ck_assert_uint_eq(gv_segment_body_of(segment.items.data + second), 1);
    ck_assert_uint_eq(item.delivery.session, UINT64_MAX);
    ck_assert_uint_eq(item.delivery.qos, 2);
    ck_assert(item.delivery.retain);
    ck_assert(gv_bytes_equal(item.delivery.share, GV_BYTES_LITERAL("$share/g/a")));
    ck_assert_uint_eq(gv_segment_id_count(&item.delivery), 2);
    ck_assert_uint_eq(gv_segment_id(&item.delivery, 1), 268435455);
    ck_assert(gv_segment_next(&segment, &offset, &item));
    ck_assert_int_eq(item.kind, GV_SEGMENT_MARK);
    ck_assert_uint_eq(item.mark.low, 8);
    ck_assert_uint_eq(item.mark.sent, 14);
    ck_assert_uint_eq(gv_segment_state_at(&item.mark, 0), GV_SEGMENT_DONE);
    ck_assert_uint_eq(gv_segment_state_at(&item.mark, 1), GV_SEGMENT_OPEN);
    ck_assert_uint_eq(gv_segment_state_at(&item.mark, 3), GV_SEGMENT_RECEIVED);
    ck_assert_uint_eq(gv_segment_state_at(&item.mark, 4), GV_SEGMENT_DONE);
    ck_assert(!gv_segment_next(&segment, &offset, &item));
    ck_assert(gv_segment_at(&segment, second, &item));
    ck_assert_uint_eq(item.delivery.body, 1);

    gv_segment_view_t again = gv_segment_view(gv_bytes(image, size));
    gv_segment_message_t message;
    ck_assert_int_eq(gv_segment_body(&again, 1, &message), GV_OK);
    ck_assert(gv_bytes_equal(message.topic, GV_BYTES_LITERAL("a/b")));
    ck_assert(gv_bytes_equal(message.props, GV_BYTES_LITERAL("pp")));
    ck_assert(gv_bytes_equal(message.payload, GV_BYTES_LITERAL("second")));
    ck_assert_uint_eq(message.expires_at_ms, 77);
    ck_assert_uint_eq(message.qos, 2);
    ck_assert(message.retain);
}
END_TEST

START_TEST(a_body_that_nobody_wants_is_left_out)
{
    size_t whole = build(true);
    size_t size = build(false);
    ck_assert_uint_lt(size, whole);
    gv_segment_view_t segment;
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 42, &segment), GV_OK);
    gv_segment_message_t message;
    ck_assert_int_eq(gv_segment_body(&segment, 0, &message), GV_OK);
    ck_assert_uint_eq(gv_segment_body_bytes(&segment, 1), 0);
    ck_assert_int_eq(gv_segment_body(&segment, 1, &message), GV_ERR_NOENT);
    ck_assert_int_eq(gv_segment_body(&segment, 2, &message), GV_ERR_CORRUPT);
}
END_TEST

START_TEST(a_body_that_stands_apart_is_named)
{
    const uint64_t number = 0x1122334455667788;
    second_apart = number;
    size_t size = build(true);
    gv_segment_view_t segment;
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 42, &segment), GV_OK);
    gv_segment_message_t message;
    ck_assert_uint_eq(gv_segment_apart(&segment, 0), 0);
    ck_assert_int_eq(gv_segment_body(&segment, 0, &message), GV_OK);
    ck_assert_uint_eq(gv_segment_apart(&segment, 1), number);
    ck_assert_uint_eq(gv_segment_apart(&segment, 2), 0);
    ck_assert_uint_eq(gv_segment_message_bytes(&segment, 1), 3 + 2 + 6);
    ck_assert_int_eq(gv_segment_body(&segment, 1, &message), GV_ERR_NOENT);
    gv_bytes_t body;
    ck_assert_int_eq(gv_segment_checked_body(&segment, 1, &body), GV_ERR_NOENT);
    /* Nobody waits for it: then it stands nowhere. */
    size = build(false);
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 42, &segment), GV_OK);
    ck_assert_uint_eq(gv_segment_apart(&segment, 1), 0);
    ck_assert_uint_eq(gv_segment_body_bytes(&segment, 1), 0);
    second_apart = 0;
}
END_TEST

START_TEST(a_flipped_bit_anywhere_is_noticed)
{
    size_t size = build(true);
    for (size_t bit = 0; bit < size * 8; bit++) {
        image[bit / 8] ^= (uint8_t)(1U << bit % 8);
        gv_segment_view_t segment;
        gv_err_t err = gv_segment_open(gv_bytes(image, size), 42, &segment);
        for (uint32_t i = 0; err == GV_OK && i < segment.body_count; i++) {
            gv_segment_message_t message;
            err = gv_segment_body(&segment, i, &message);
        }
        ck_assert_int_ne(err, GV_OK);
        image[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
}
END_TEST

START_TEST(a_cut_or_foreign_segment_is_refused)
{
    size_t size = build(true);
    gv_segment_view_t segment;
    for (size_t cut = 0; cut < size; cut++) {
        ck_assert_int_ne(gv_segment_open(gv_bytes(image, cut), 42, &segment), GV_OK);
    }
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 43, &segment), GV_ERR_CORRUPT);
    image[3] = GV_SEGMENT_VERSION + 1;
    ck_assert_int_eq(gv_segment_open(gv_bytes(image, size), 42, &segment), GV_ERR_VERSION);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("proto/segment");
    TCase *tcase = tcase_create("segment");
    tcase_add_test(tcase, what_is_written_is_read);
    tcase_add_test(tcase, a_body_that_nobody_wants_is_left_out);
    tcase_add_test(tcase, a_body_that_stands_apart_is_named);
    tcase_add_test(tcase, a_flipped_bit_anywhere_is_noticed);
    tcase_add_test(tcase, a_cut_or_foreign_segment_is_refused);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
