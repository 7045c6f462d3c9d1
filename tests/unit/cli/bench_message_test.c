/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_message.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"

static const gv_bench_stamp_t stamp = {
    .publisher = 0x01020304, .number = 0xfffefdfc, .sent_ns = 0x1122334455667788};

static gv_mqtt_frame_t frame_of(const uint8_t *packet, size_t size)
{
    gv_mqtt_frame_t frame;
    ck_assert_int_eq(gv_mqtt_frame(gv_bytes(packet, size), size, &frame), GV_OK);
    ck_assert_uint_eq(frame.size, size);
    return frame;
}

START_TEST(what_is_written_is_a_publish_and_can_be_read)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V31, GV_MQTT_V311, GV_MQTT_V5};
    for (size_t i = 0; i < 3; i++) {
        for (uint8_t qos = 0; qos <= 2; qos++) {
            gv_bench_message_t message;
            gv_bench_message_init(&message, versions[i], gv_bytes_text("bench/x/1"), qos, 200);
            uint8_t *room = gv_xalloc(message.size);
            gv_bench_message_write(&message, room, 0xbeef, &stamp);
            gv_mqtt_frame_t frame = frame_of(room, message.size);

            const gv_mqtt_peer_t peer = {.version = versions[i]};
            gv_mqtt_publish_t publish;
            gv_mqtt_reason_t reason;
            ck_assert_int_eq(gv_mqtt_decode_publish(&frame, &peer, &publish, &reason), GV_OK);
            ck_assert(gv_bytes_equal(publish.topic, gv_bytes_text("bench/x/1")));
            ck_assert_uint_eq(publish.payload.size, 200);
            ck_assert_uint_eq(publish.qos, qos);
            ck_assert_uint_eq(publish.packet_id, qos > 0 ? 0xbeef : 0);
            ck_assert(!publish.dup && !publish.retain);

            uint16_t packet_id;
            gv_bench_stamp_t read;
            ck_assert_int_eq(gv_bench_message_read(&frame, versions[i], &packet_id, &read), GV_OK);
            ck_assert_uint_eq(packet_id, publish.packet_id);
            ck_assert_uint_eq(read.publisher, stamp.publisher);
            ck_assert_uint_eq(read.number, stamp.number);
            ck_assert_uint_eq(read.sent_ns, stamp.sent_ns);
            gv_free(room);
            gv_bench_message_deinit(&message);
        }
    }
}
END_TEST

START_TEST(properties_of_a_v5_message_are_stepped_over)
{
    const gv_mqtt_peer_t peer = {.version = GV_MQTT_V5};
    uint8_t payload[GV_BENCH_STAMP_SIZE] = {0, 0, 0, 7};
    gv_mqtt_publish_t packet = {.topic = gv_bytes_text("t"),
                                .payload = gv_bytes(payload, sizeof(payload)),
                                .packet_id = 3,
                                .qos = 1};
    uint8_t room[256];
    gv_writer_t writer = gv_writer(room, sizeof(room));
    size_t size = gv_mqtt_encode_publish(&packet, &peer, &writer);
    /* Message Expiry Interval of 9 s, put in by hand. */
    static const uint8_t expiry[] = {0x02, 0, 0, 0, 9};
    size_t at = 2 + 3 + 2;
    memmove(room + at + 1 + sizeof(expiry), room + at + 1, size - at - 1);
    memcpy(room + at + 1, expiry, sizeof(expiry));
    room[at] = sizeof(expiry);
    room[1] = (uint8_t)(room[1] + sizeof(expiry));
    gv_mqtt_frame_t frame = frame_of(room, size + sizeof(expiry));
    uint16_t packet_id;
    gv_bench_stamp_t read;
    ck_assert_int_eq(gv_bench_message_read(&frame, GV_MQTT_V5, &packet_id, &read), GV_OK);
    ck_assert_uint_eq(packet_id, 3);
    ck_assert_uint_eq(read.publisher, 7);
}
END_TEST

START_TEST(a_message_cut_anywhere_is_never_read_beyond_its_end)
{
    gv_bench_message_t message;
    gv_bench_message_init(&message, GV_MQTT_V5, gv_bytes_text("a/b"), 1, GV_BENCH_STAMP_SIZE);
    uint8_t *whole = gv_xalloc(message.size);
    gv_bench_message_write(&message, whole, 1, &stamp);
    gv_mqtt_frame_t frame = frame_of(whole, message.size);
    size_t head = message.stamp_offset - 2; /* without type and length */
    for (size_t size = 0; size < frame.body.size; size++) {
        /* A copy of exactly that size, so that a sanitizer sees the first byte too many. */
        uint8_t *copy = gv_xalloc(size);
        memcpy(copy, frame.body.data, size);
        gv_mqtt_frame_t cut = frame;
        cut.body = gv_bytes(copy, size);
        uint16_t packet_id;
        gv_bench_stamp_t read;
        ck_assert_int_eq(gv_bench_message_read(&cut, GV_MQTT_V5, &packet_id, &read),
                         size < head ? GV_ERR_MALFORMED : GV_ERR_NOENT);
        gv_free(copy);
    }
    gv_free(whole);
    gv_bench_message_deinit(&message);
}
END_TEST

START_TEST(packet_id_zero_and_qos_three_are_malformed)
{
    uint8_t packet[] = {0x32, 21, 0, 1, 't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    uint16_t packet_id;
    gv_bench_stamp_t read;
    gv_mqtt_frame_t frame = frame_of(packet, sizeof(packet));
    ck_assert_int_eq(gv_bench_message_read(&frame, GV_MQTT_V311, &packet_id, &read),
                     GV_ERR_MALFORMED);
    packet[6] = 1;
    ck_assert_int_eq(gv_bench_message_read(&frame, GV_MQTT_V311, &packet_id, &read), GV_OK);
    packet[0] = 0x36;
    frame = frame_of(packet, sizeof(packet));
    ck_assert_int_eq(gv_bench_message_read(&frame, GV_MQTT_V311, &packet_id, &read),
                     GV_ERR_MALFORMED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("bench_message");
    TCase *tc = tcase_create("all");
    tcase_add_test(tc, what_is_written_is_a_publish_and_can_be_read);
    tcase_add_test(tc, properties_of_a_v5_message_are_stepped_over);
    tcase_add_test(tc, a_message_cut_anywhere_is_never_read_beyond_its_end);
    tcase_add_test(tc, packet_id_zero_and_qos_three_are_malformed);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
