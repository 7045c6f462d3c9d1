/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/proto/mqtt/any_packet.h"
#include "tests/unit/proto/mqtt/samples.h"
#include "tests/unit/proto/mqtt/wire.h"
#include "tests/unit/seed.h"

static any_packet_t any;
static uint8_t room[1 << 20];

static const gv_mqtt_peer_t client_v31 = {.version = GV_MQTT_V31};
static const gv_mqtt_peer_t client_v311 = {.version = GV_MQTT_V311};
static const gv_mqtt_peer_t client_v5 = {.version = GV_MQTT_V5};
static const gv_mqtt_peer_t server_v311 = {.version = GV_MQTT_V311, .is_server = true};
static const gv_mqtt_peer_t server_v5 = {.version = GV_MQTT_V5, .is_server = true};

/* What was written since `w` was made over `room`. */
static gv_bytes_t written(const gv_writer_t *w)
{
    return gv_bytes(room, (size_t)(w->pos - room));
}

static void assert_wire(gv_bytes_t bytes, const char *text)
{
    gv_bytes_t expected = wire(text);
    if (!gv_bytes_equal(bytes, expected)) {
        char have[256];
        char want[256];
        ck_abort_msg("%s: have %s, want %s", text, gv_bytes_printable(bytes, have, sizeof(have)),
                     gv_bytes_printable(expected, want, sizeof(want)));
    }
    wire_free(expected);
}

/* ---- the samples, there and back ---------------------------------------------------------- */

START_TEST(every_sample_is_written_as_it_was_read)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const sample_t *sample = &samples[i];
        gv_mqtt_peer_t sender = {.version = sample->version, .is_server = sample->from_server};
        gv_mqtt_peer_t receiver = {.version = sample->version, .is_server = !sample->from_server};
        gv_bytes_t bytes = wire(sample->text);
        gv_mqtt_frame_t frame;
        gv_mqtt_reason_t reason;
        ck_assert_int_eq(gv_mqtt_frame(bytes, GV_MQTT_PACKET_SIZE_MAX, &frame), GV_OK);
        ck_assert_int_eq(any_decode(&frame, &sender, &any, &reason), GV_OK);

        gv_writer_t w = gv_writer(room, bytes.size); /* exactly enough */
        ck_assert_uint_eq(any_encode(&any, &receiver, &w), bytes.size);
        ck_assert(!w.failed);
        assert_wire(written(&w), sample->text);

        if (frame.type != GV_MQTT_PINGREQ && frame.type != GV_MQTT_PINGRESP) {
            ck_assert_uint_eq(any_encode(&any, &receiver, NULL), bytes.size);
            gv_writer_t short_by_one = gv_writer(room, bytes.size - 1);
            ck_assert_uint_eq(any_encode(&any, &receiver, &short_by_one), 0);
            ck_assert(short_by_one.failed);
            ck_assert_ptr_eq(short_by_one.pos, room); /* no half packets */
        }
        wire_free(bytes);
    }
}
END_TEST

/* A few in plain hexadecimal, with all lengths counted by hand. */
START_TEST(golden_bytes)
{
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_connect_t connect = {.version = GV_MQTT_V311,
                                 .clean_start = true,
                                 .keep_alive_s = 60,
                                 .client_id = GV_BYTES_LITERAL("ab")};
    ck_assert_uint_eq(gv_mqtt_encode_connect(&connect, &w), 16);
    assert_wire(written(&w), "10 0e 00044d515454 04 02 003c 00026162");

    w = gv_writer(room, sizeof(room));
    gv_mqtt_publish_t publish = {.topic = GV_BYTES_LITERAL("t"),
                                 .payload = GV_BYTES_LITERAL("hi"),
                                 .qos = 1,
                                 .packet_id = 258,
                                 .props = GV_MQTT_PROPS_NONE};
    gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, 10);
    ck_assert_uint_eq(gv_mqtt_encode_publish(&publish, &client_v5, &w), 15);
    assert_wire(written(&w), "32 0d 000174 0102 05 020000000a 6869");
    w = gv_writer(room, sizeof(room));
    ck_assert_uint_eq(gv_mqtt_encode_publish(&publish, &client_v311, &w), 9);
    assert_wire(written(&w), "32 07 000174 0102 6869");

    w = gv_writer(room, sizeof(room));
    gv_mqtt_write_ack(&w, GV_MQTT_PUBREL, 258);
    gv_mqtt_write_ack(&w, GV_MQTT_PUBACK, 1);
    gv_mqtt_write_ping(&w, GV_MQTT_PINGRESP);
    assert_wire(written(&w), "62 02 0102 40 02 0001 d0 00");
}
END_TEST

/* ---- what depends on the receiver --------------------------------------------------------- */

START_TEST(connack_is_translated_for_old_clients)
{
    static const gv_mqtt_peer_t nobody = {.version = GV_MQTT_VERSION_UNKNOWN};
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_connack_t connack = {.session_present = true, .props = GV_MQTT_PROPS_NONE};
    gv_mqtt_props_set_number(&connack.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 10);
    gv_mqtt_encode_connack(&connack, &client_v31, &w);
    gv_mqtt_encode_connack(&connack, &client_v311, &w);
    gv_mqtt_encode_connack(&connack, &client_v5, &w);
    ck_assert_uint_eq(gv_mqtt_encode_connack(&connack, &nobody, &w), 0);
    assert_wire(written(&w), "20 [ 00 00 ] 20 [ 01 00 ] 20 [ 01 00 [ 21 000a ] ]");

    w = gv_writer(room, sizeof(room));
    connack = (gv_mqtt_connack_t){.reason = GV_MQTT_UNSUPPORTED_VERSION};
    gv_mqtt_encode_connack(&connack, &client_v311, &w);
    connack.reason = GV_MQTT_NOT_AUTHORIZED;
    gv_mqtt_encode_connack(&connack, &client_v31, &w);
    assert_wire(written(&w), "20 [ 00 01 ] 20 [ 00 05 ]");

    /* [MQTT-3.2.2-6 of 3.1.1]: no code, no packet */
    connack.reason = GV_MQTT_MALFORMED_PACKET;
    ck_assert_uint_eq(gv_mqtt_encode_connack(&connack, &client_v311, &w), 0);
    ck_assert(!w.failed);
    ck_assert_uint_eq(gv_mqtt_encode_connack(&connack, &client_v5, NULL), 5);
}
END_TEST

/* [MQTT-3.2.2-6] */
START_TEST(a_refusal_never_claims_a_session)
{
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_connack_t connack = {.session_present = true, .reason = GV_MQTT_NOT_AUTHORIZED};
    gv_mqtt_encode_connack(&connack, &client_v311, &w);
    gv_mqtt_encode_connack(&connack, &client_v5, &w);
    assert_wire(written(&w), "20 [ 00 05 ] 20 [ 00 87 [] ]");
}
END_TEST

START_TEST(suback_is_translated_for_old_clients)
{
    static const uint8_t codes[] = {GV_MQTT_GRANTED_QOS_0, GV_MQTT_GRANTED_QOS_2,
                                    GV_MQTT_TOPIC_FILTER_INVALID, GV_MQTT_QUOTA_EXCEEDED};
    gv_mqtt_suback_t suback = {.packet_id = 7, .codes = gv_bytes(codes, sizeof(codes))};
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_encode_suback(&suback, &client_v31, &w);
    gv_mqtt_encode_suback(&suback, &client_v311, &w);
    gv_mqtt_encode_suback(&suback, &client_v5, &w);
    assert_wire(written(&w), "90 [ 0007 00020000 ] 90 [ 0007 00028080 ] 90 [ 0007 [] 00028f97 ]");

    static const uint8_t none[] = {GV_MQTT_SUCCESS, GV_MQTT_NO_SUBSCRIPTION_EXISTED};
    suback.codes = gv_bytes(none, sizeof(none));
    w = gv_writer(room, sizeof(room));
    gv_mqtt_encode_unsuback(&suback, &client_v311, &w);
    gv_mqtt_encode_unsuback(&suback, &client_v5, &w);
    assert_wire(written(&w), "b0 [ 0007 ] b0 [ 0007 [] 0011 ]");
}
END_TEST

START_TEST(acks_lose_their_reason_in_old_versions)
{
    gv_mqtt_ack_t ack = {.packet_id = 5, .reason = GV_MQTT_NO_MATCHING_SUBSCRIBERS};
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_encode_ack(GV_MQTT_PUBACK, &ack, &client_v31, &w);
    gv_mqtt_encode_ack(GV_MQTT_PUBREC, &ack, &client_v311, &w);
    gv_mqtt_encode_ack(GV_MQTT_PUBREC, &ack, &client_v5, &w);
    ack.reason = GV_MQTT_SUCCESS;
    gv_mqtt_encode_ack(GV_MQTT_PUBREL, &ack, &client_v5, &w);
    assert_wire(written(&w), "40 [ 0005 ] 50 [ 0005 ] 50 [ 0005 10 ] 62 [ 0005 ]");
}
END_TEST

START_TEST(disconnect_and_auth_are_for_those_who_know_them)
{
    gv_mqtt_disconnect_t disconnect = {.reason = GV_MQTT_SERVER_SHUTTING_DOWN};
    gv_writer_t w = gv_writer(room, sizeof(room));
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &client_v311, &w), 0);
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &client_v31, &w), 0);
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &client_v5, &w), 3);
    disconnect.reason = GV_MQTT_DISCONNECT_WITH_WILL;
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &server_v311, &w), 0);
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &server_v5, &w), 3);
    disconnect.reason = GV_MQTT_NORMAL_DISCONNECTION;
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &server_v311, &w), 2);
    ck_assert_uint_eq(gv_mqtt_encode_disconnect(&disconnect, &server_v5, &w), 2);
    ck_assert_uint_eq(gv_mqtt_encode_auth(&disconnect, &client_v311, &w), 0);
    ck_assert_uint_eq(gv_mqtt_encode_auth(&disconnect, &client_v5, &w), 2);
    assert_wire(written(&w), "e0 [ 8b ] e0 [ 04 ] e0 [] e0 [] f0 []");
}
END_TEST

/* ---- what the receiver does not want to see ----------------------------------------------- */

static gv_mqtt_props_t explaining_props(void)
{
    static const uint8_t user[] = "\x26\x00\x01n\x00\x01v";
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_REASON_STRING, GV_BYTES_LITERAL("because"));
    props.appended = gv_bytes(user, sizeof(user) - 1);
    return props;
}

/* [MQTT-3.1.2-29]: only PUBLISH, CONNACK and DISCONNECT may explain then. */
START_TEST(terse_clients_get_no_explanations)
{
    static const gv_mqtt_peer_t terse = {.version = GV_MQTT_V5, .is_terse = true};
    static const uint8_t codes[] = {GV_MQTT_SUCCESS};
    gv_mqtt_props_t props = explaining_props();
    gv_writer_t w = gv_writer(room, sizeof(room));

    gv_mqtt_ack_t ack = {.packet_id = 1, .props = props};
    gv_mqtt_suback_t suback = {.packet_id = 1, .codes = gv_bytes(codes, 1), .props = props};
    gv_mqtt_auth_t auth = {.reason = GV_MQTT_CONTINUE_AUTHENTICATION, .props = props};
    gv_mqtt_props_set_bytes(&auth.props, GV_MQTT_PROP_AUTHENTICATION_METHOD, GV_BYTES_LITERAL("m"));
    gv_mqtt_encode_ack(GV_MQTT_PUBACK, &ack, &terse, &w);
    gv_mqtt_encode_ack(GV_MQTT_PUBREC, &ack, &terse, &w);
    gv_mqtt_encode_ack(GV_MQTT_PUBREL, &ack, &terse, &w);
    gv_mqtt_encode_ack(GV_MQTT_PUBCOMP, &ack, &terse, &w);
    gv_mqtt_encode_suback(&suback, &terse, &w);
    gv_mqtt_encode_unsuback(&suback, &terse, &w);
    gv_mqtt_encode_auth(&auth, &terse, &w);
    assert_wire(written(&w), "40 [ 0001 ] 50 [ 0001 ] 62 [ 0001 ] 70 [ 0001 ]"
                             "90 [ 0001 [] 00 ] b0 [ 0001 [] 00 ] f0 [ 18 [ 15 <m> ] ]");

    w = gv_writer(room, sizeof(room));
    gv_mqtt_connack_t connack = {.props = props};
    gv_mqtt_disconnect_t disconnect = {.reason = GV_MQTT_QUOTA_EXCEEDED, .props = props};
    gv_mqtt_encode_connack(&connack, &terse, &w);
    gv_mqtt_encode_disconnect(&disconnect, &terse, &w);
    assert_wire(written(&w), "20 [ 00 00 [ 1f <because> 26 <n> <v> ] ]"
                             "e0 [ 97 [ 1f <because> 26 <n> <v> ] ]");
}
END_TEST

/* Encodes with every limit from 0 up and checks which form is chosen; forms from long to short. */
typedef size_t encode_t(const gv_mqtt_peer_t *peer, gv_writer_t *w);

static void assert_gives_way(encode_t *encode, const char *full, const char *no_string,
                             const char *bare)
{
    const char *const forms[] = {full, no_string, bare};
    size_t sizes[3];
    for (size_t i = 0; i < 3; i++) {
        gv_bytes_t bytes = wire(forms[i]);
        sizes[i] = bytes.size;
        wire_free(bytes);
    }
    for (uint32_t limit = 1; limit <= sizes[0] + 1; limit++) {
        gv_mqtt_peer_t peer = {.version = GV_MQTT_V5, .packet_size_max = limit};
        gv_writer_t w = gv_writer(room, sizeof(room));
        size_t size = encode(&peer, &w);
        ck_assert_uint_eq(size, encode(&peer, NULL));
        ck_assert_uint_le(size, limit);
        ck_assert(!w.failed);
        size_t form = limit >= sizes[0] ? 0 : limit >= sizes[1] ? 1 : 2;
        assert_wire(written(&w), limit >= sizes[2] ? forms[form] : "");
    }
}

static size_t encode_full_connack(const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    gv_mqtt_connack_t packet = {.reason = GV_MQTT_QUOTA_EXCEEDED, .props = explaining_props()};
    gv_mqtt_props_set_number(&packet.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 10);
    return gv_mqtt_encode_connack(&packet, peer, w);
}

static size_t encode_full_puback(const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    gv_mqtt_ack_t packet = {
        .packet_id = 1, .reason = GV_MQTT_QUOTA_EXCEEDED, .props = explaining_props()};
    return gv_mqtt_encode_ack(GV_MQTT_PUBACK, &packet, peer, w);
}

static size_t encode_full_suback(const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    static const uint8_t codes[] = {GV_MQTT_QUOTA_EXCEEDED};
    gv_mqtt_suback_t packet = {
        .packet_id = 1, .codes = gv_bytes(codes, 1), .props = explaining_props()};
    return gv_mqtt_encode_suback(&packet, peer, w);
}

static size_t encode_full_unsuback(const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    static const uint8_t codes[] = {GV_MQTT_NOT_AUTHORIZED};
    gv_mqtt_suback_t packet = {
        .packet_id = 1, .codes = gv_bytes(codes, 1), .props = explaining_props()};
    return gv_mqtt_encode_unsuback(&packet, peer, w);
}

static size_t encode_full_disconnect(const gv_mqtt_peer_t *peer, gv_writer_t *w)
{
    gv_mqtt_disconnect_t packet = {.reason = GV_MQTT_QUOTA_EXCEEDED, .props = explaining_props()};
    return gv_mqtt_encode_disconnect(&packet, peer, w);
}

/* [MQTT-3.1.2-24]; [MQTT-3.2.2-19], [MQTT-3.2.2-20] and the same for each other reply. */
START_TEST(explanations_give_way_to_the_maximum_packet_size)
{
    assert_gives_way(encode_full_connack, "20 [ 00 97 [ 1f <because> 21 000a 26 <n> <v> ] ]",
                     "20 [ 00 97 [ 21 000a 26 <n> <v> ] ]", "20 [ 00 97 [ 21 000a ] ]");
    assert_gives_way(encode_full_puback, "40 [ 0001 97 [ 1f <because> 26 <n> <v> ] ]",
                     "40 [ 0001 97 [ 26 <n> <v> ] ]", "40 [ 0001 97 ]");
    assert_gives_way(encode_full_suback, "90 [ 0001 [ 1f <because> 26 <n> <v> ] 97 ]",
                     "90 [ 0001 [ 26 <n> <v> ] 97 ]", "90 [ 0001 [] 97 ]");
    assert_gives_way(encode_full_unsuback, "b0 [ 0001 [ 1f <because> 26 <n> <v> ] 87 ]",
                     "b0 [ 0001 [ 26 <n> <v> ] 87 ]", "b0 [ 0001 [] 87 ]");
    assert_gives_way(encode_full_disconnect, "e0 [ 97 [ 1f <because> 26 <n> <v> ] ]",
                     "e0 [ 97 [ 26 <n> <v> ] ]", "e0 [ 97 ]");
}
END_TEST

START_TEST(requests_that_are_too_large_are_not_written)
{
    gv_mqtt_peer_t narrow = {.version = GV_MQTT_V5, .is_server = true, .packet_size_max = 9};
    gv_mqtt_subscription_t entry = {.text = GV_BYTES_LITERAL("a"), .qos = 1};
    gv_mqtt_subscribe_request_t request = {.packet_id = 1, .entries = &entry, .count = 1};
    gv_writer_t w = gv_writer(room, sizeof(room));
    ck_assert_uint_eq(gv_mqtt_encode_subscribe(&request, &narrow, &w), 9);
    ck_assert_uint_eq(gv_mqtt_encode_unsubscribe(&request, &narrow, &w), 8);
    narrow.packet_size_max = 8;
    ck_assert_uint_eq(gv_mqtt_encode_subscribe(&request, &narrow, &w), 0);
    gv_mqtt_publish_t publish = {.topic = GV_BYTES_LITERAL("a"), .payload = GV_BYTES_LITERAL("b")};
    narrow.packet_size_max = 7;
    ck_assert_uint_eq(gv_mqtt_encode_publish(&publish, &narrow, &w), 7);
    narrow.packet_size_max = 6;
    ck_assert_uint_eq(gv_mqtt_encode_publish(&publish, &narrow, &w), 0);
    ck_assert(!w.failed);
}
END_TEST

START_TEST(options_of_v5_are_not_sent_to_old_servers)
{
    gv_mqtt_subscription_t entry = {.text = GV_BYTES_LITERAL("a"),
                                    .qos = 1,
                                    .no_local = true,
                                    .retain_as_published = true,
                                    .retain_handling = GV_MQTT_RETAIN_SEND_NOT};
    gv_mqtt_subscribe_request_t request = {.packet_id = 1, .entries = &entry, .count = 1};
    gv_mqtt_props_set_number(&request.props, GV_MQTT_PROP_SUBSCRIPTION_ID, 9);
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_encode_subscribe(&request, &server_v311, &w);
    gv_mqtt_encode_subscribe(&request, &server_v5, &w);
    assert_wire(written(&w), "82 [ 0001 <a> 01 ] 82 [ 0001 [ 0b 09 ] <a> 2d ]");
}
END_TEST

/* ---- heads of PUBLISH --------------------------------------------------------------------- */

START_TEST(a_head_and_its_payload_are_a_packet)
{
    static const uint32_t ids[] = {1, 128};
    gv_bytes_t travel = wire("03 <t> 26 <n> <v>");
    gv_mqtt_publish_head_t head = {.topic = GV_BYTES_LITERAL("a/b"),
                                   .travel = travel,
                                   .payload_size = 3,
                                   .subscription_ids = ids,
                                   .subscription_id_count = 2,
                                   .expiry_s = 60,
                                   .has_expiry = true,
                                   .retain = true,
                                   .qos = 1,
                                   .packet_id = 0x0102,
                                   .topic_alias = 7};
    gv_writer_t w = gv_writer(room, sizeof(room));
    size_t offset;
    size_t size = gv_mqtt_publish_head_write(&head, GV_MQTT_V5, &w, &offset);
    ck_assert_uint_eq(size, gv_mqtt_publish_head_size(&head, GV_MQTT_V5));
    ck_assert_uint_eq(size, written(&w).size);
    ck_assert_uint_eq(offset, 7);
    gv_writer_put(&w, GV_BYTES_LITERAL("xyz"));
    assert_wire(written(&w),
                "33 [ <a/b> 0102 [ 02 0000003c 0b 01 0b 8001 23 0007 03 <t> 26 <n> <v> ] 'xyz' ]");

    /* The same for a v3 receiver: nothing of v5 is left. */
    w = gv_writer(room, sizeof(room));
    size = gv_mqtt_publish_head_write(&head, GV_MQTT_V311, &w, &offset);
    ck_assert_uint_eq(size, gv_mqtt_publish_head_size(&head, GV_MQTT_V311));
    gv_writer_put(&w, GV_BYTES_LITERAL("xyz"));
    assert_wire(written(&w), "33 [ <a/b> 0102 'xyz' ]");

    /* QoS 0 has no packet id, whatever stands in the struct [MQTT-2.2.1-2]. */
    w = gv_writer(room, sizeof(room));
    head.qos = 0;
    size = gv_mqtt_publish_head_write(&head, GV_MQTT_V31, &w, &offset);
    ck_assert_uint_eq(offset, 0);
    gv_writer_put(&w, GV_BYTES_LITERAL("xyz"));
    assert_wire(written(&w), "31 [ <a/b> 'xyz' ]");
    wire_free(travel);
}
END_TEST

START_TEST(one_head_serves_many_receivers)
{
    gv_mqtt_publish_head_t head = {
        .topic = GV_BYTES_LITERAL("topic"), .payload_size = 300, .qos = 2, .packet_id = 1};
    for (gv_mqtt_version_t version = GV_MQTT_V311; version <= GV_MQTT_V5; version++) {
        uint8_t first[32];
        gv_writer_t w = gv_writer(first, sizeof(first));
        size_t offset;
        head.packet_id = 1;
        head.dup = false;
        size_t size = gv_mqtt_publish_head_write(&head, version, &w, &offset);
        gv_mqtt_publish_patch(first, offset, 0xfedc, true);

        uint8_t second[32];
        w = gv_writer(second, sizeof(second));
        head.packet_id = 0xfedc;
        head.dup = true;
        ck_assert_uint_eq(gv_mqtt_publish_head_write(&head, version, &w, NULL), size);
        ck_assert_mem_eq(first, second, size);

        gv_mqtt_publish_patch(first, offset, 7, false);
        ck_assert_uint_eq(first[0], 0x34);
        ck_assert_uint_eq(first[offset + 1], 7);
    }
}
END_TEST

START_TEST(an_alias_stands_for_the_topic)
{
    gv_mqtt_publish_head_t head = {.topic_alias = 3};
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_publish_head_write(&head, GV_MQTT_V5, &w, NULL);
    assert_wire(written(&w), "30 [ <> [ 23 0003 ] ]");
}
END_TEST

START_TEST(heads_know_the_largest_packet)
{
    /* Body: 2 + 1 of the topic, 1 of the property length, the payload. */
    gv_mqtt_publish_head_t head = {.topic = GV_BYTES_LITERAL("t"),
                                   .payload_size = GV_MQTT_VARINT_MAX - 4};
    ck_assert_uint_eq(gv_mqtt_publish_head_size(&head, GV_MQTT_V5), 5 + 4);
    head.payload_size++;
    ck_assert_uint_eq(gv_mqtt_publish_head_size(&head, GV_MQTT_V5), 0);
    ck_assert_uint_eq(gv_mqtt_publish_head_size(&head, GV_MQTT_V311), 5 + 3);
    gv_writer_t w = gv_writer(room, sizeof(room));
    ck_assert_uint_eq(gv_mqtt_publish_head_write(&head, GV_MQTT_V5, &w, NULL), 0);
    ck_assert(!w.failed);
}
END_TEST

START_TEST(the_bound_of_a_head_is_the_largest_there_is)
{
    static const uint32_t ids[] = {GV_MQTT_VARINT_MAX, GV_MQTT_VARINT_MAX};
    static const uint8_t travel[1 << 21]; /* so that its length takes four bytes */
    gv_mqtt_publish_head_t head = {.topic = GV_BYTES_LITERAL("topic"),
                                   .travel = gv_bytes(travel, sizeof(travel)),
                                   .payload_size = 1,
                                   .subscription_ids = ids,
                                   .subscription_id_count = 2,
                                   .has_expiry = true,
                                   .qos = 1,
                                   .topic_alias = 1};
    ck_assert_uint_eq(gv_mqtt_publish_head_size(&head, GV_MQTT_V5),
                      gv_mqtt_publish_head_bound(&head));
    ck_assert_uint_lt(gv_mqtt_publish_head_size(&head, GV_MQTT_V311),
                      gv_mqtt_publish_head_bound(&head));
}
END_TEST

START_TEST(a_head_without_room_is_not_written)
{
    gv_mqtt_publish_head_t head = {.topic = GV_BYTES_LITERAL("topic")};
    size_t size = gv_mqtt_publish_head_size(&head, GV_MQTT_V5);
    gv_writer_t w = gv_writer(room, size - 1);
    ck_assert_uint_eq(gv_mqtt_publish_head_write(&head, GV_MQTT_V5, &w, NULL), 0);
    ck_assert(w.failed);
    ck_assert_ptr_eq(w.pos, room);
}
END_TEST

/* ---- random packets ----------------------------------------------------------------------- */

static gv_rng_t rng;

static bool coin(void)
{
    return gv_rng_chance(&rng, 50);
}

/* A string of up to eight characters out of a table that lives as long as the program. */
static gv_bytes_t random_text(uint32_t size_min)
{
    static const char letters[] = "grapevine/sensor/42/\xc3\xa9t\xc3\xa9/$a b";
    uint32_t size = size_min + gv_rng_below(&rng, 8);
    return gv_bytes(letters + gv_rng_below(&rng, 10), size); /* all ASCII up to there */
}

static gv_bytes_t random_binary(void)
{
    static uint8_t noise[256];
    gv_rng_fill(&rng, noise, sizeof(noise));
    return gv_bytes(noise, gv_rng_below(&rng, sizeof(noise)));
}

/* Sets about half of the given properties, and sometimes user properties into `user`. */
static gv_mqtt_props_t random_props(const gv_mqtt_prop_id_t *ids, size_t count, uint8_t *user,
                                    size_t user_size)
{
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    for (size_t i = 0; i < count; i++) {
        if (coin()) {
            continue;
        }
        switch ((unsigned)ids[i]) {
        case GV_MQTT_PROP_CONTENT_TYPE:
        case GV_MQTT_PROP_RESPONSE_TOPIC:
        case GV_MQTT_PROP_ASSIGNED_CLIENT_ID:
        case GV_MQTT_PROP_REASON_STRING:
        case GV_MQTT_PROP_SERVER_REFERENCE:
        case GV_MQTT_PROP_CORRELATION_DATA:
        case GV_MQTT_PROP_AUTHENTICATION_METHOD:
            gv_mqtt_props_set_bytes(&props, ids[i], random_text(1));
            break;
        case GV_MQTT_PROP_PAYLOAD_FORMAT:
        case GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION:
        case GV_MQTT_PROP_MAXIMUM_QOS:
        case GV_MQTT_PROP_RETAIN_AVAILABLE:
            gv_mqtt_props_set_number(&props, ids[i], gv_rng_below(&rng, 2));
            break;
        case GV_MQTT_PROP_SUBSCRIPTION_ID:
            gv_mqtt_props_set_number(&props, ids[i], 1 + gv_rng_below(&rng, GV_MQTT_VARINT_MAX));
            break;
        case GV_MQTT_PROP_RECEIVE_MAXIMUM:
        case GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM:
        case GV_MQTT_PROP_TOPIC_ALIAS:
        case GV_MQTT_PROP_SERVER_KEEP_ALIVE:
            gv_mqtt_props_set_number(&props, ids[i], 1 + gv_rng_below(&rng, 65535));
            break;
        default:
            gv_mqtt_props_set_number(&props, ids[i], 1 + gv_rng_below(&rng, UINT32_MAX));
            break;
        }
    }
    gv_writer_t w = gv_writer(user, user_size);
    for (uint32_t left = gv_rng_below(&rng, 4); left > 0; left--) {
        gv_mqtt_user_property_write(&w, random_text(0), random_text(0));
    }
    ck_assert(!w.failed);
    props.appended = gv_bytes(user, user_size - gv_writer_left(&w));
    return props;
}

static void assert_props_equal(const gv_mqtt_props_t *have, const gv_mqtt_props_t *want)
{
    uint64_t user = GV_MQTT_PROP_BIT(GV_MQTT_PROP_USER_PROPERTY);
    ck_assert_uint_eq(have->present & ~user, want->present);
    ck_assert_int_eq((have->present & user) != 0, want->appended.size > 0);
    ck_assert_uint_eq(have->raw.size, gv_mqtt_props_size(want));
    if (want->appended.size > 0) {
        ck_assert_mem_eq(have->raw.data + have->raw.size - want->appended.size, want->appended.data,
                         want->appended.size);
    }
#define SAME_NUMBER(id, field)                 \
    if (gv_mqtt_props_has(want, id)) {         \
        ck_assert(have->field == want->field); \
    }
#define SAME_BYTES(id, field)                                \
    if (gv_mqtt_props_has(want, id)) {                       \
        ck_assert(gv_bytes_equal(have->field, want->field)); \
    }
    SAME_NUMBER(GV_MQTT_PROP_PAYLOAD_FORMAT, payload_format)
    SAME_NUMBER(GV_MQTT_PROP_MESSAGE_EXPIRY, message_expiry_s)
    SAME_BYTES(GV_MQTT_PROP_CONTENT_TYPE, content_type)
    SAME_BYTES(GV_MQTT_PROP_RESPONSE_TOPIC, response_topic)
    SAME_BYTES(GV_MQTT_PROP_CORRELATION_DATA, correlation_data)
    SAME_NUMBER(GV_MQTT_PROP_SUBSCRIPTION_ID, subscription_id)
    SAME_NUMBER(GV_MQTT_PROP_SESSION_EXPIRY, session_expiry_s)
    SAME_BYTES(GV_MQTT_PROP_ASSIGNED_CLIENT_ID, assigned_client_id)
    SAME_NUMBER(GV_MQTT_PROP_SERVER_KEEP_ALIVE, server_keep_alive_s)
    SAME_BYTES(GV_MQTT_PROP_AUTHENTICATION_METHOD, authentication_method)
    SAME_NUMBER(GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION, request_problem_information)
    SAME_NUMBER(GV_MQTT_PROP_WILL_DELAY, will_delay_s)
    SAME_BYTES(GV_MQTT_PROP_SERVER_REFERENCE, server_reference)
    SAME_BYTES(GV_MQTT_PROP_REASON_STRING, reason_string)
    SAME_NUMBER(GV_MQTT_PROP_RECEIVE_MAXIMUM, receive_maximum)
    SAME_NUMBER(GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM, topic_alias_maximum)
    SAME_NUMBER(GV_MQTT_PROP_TOPIC_ALIAS, topic_alias)
    SAME_NUMBER(GV_MQTT_PROP_MAXIMUM_QOS, maximum_qos)
    SAME_NUMBER(GV_MQTT_PROP_RETAIN_AVAILABLE, retain_available)
    SAME_NUMBER(GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, maximum_packet_size)
#undef SAME_NUMBER
#undef SAME_BYTES
}

#define RANDOM_PROPS(user, ...)                                                                \
    random_props((const gv_mqtt_prop_id_t[]){__VA_ARGS__},                                     \
                 sizeof((const gv_mqtt_prop_id_t[]){__VA_ARGS__}) / sizeof(gv_mqtt_prop_id_t), \
                 (user), sizeof(user))

static gv_mqtt_frame_t frame_of_room(size_t size)
{
    gv_mqtt_frame_t frame;
    ck_assert_uint_gt(size, 0);
    ck_assert_int_eq(gv_mqtt_frame(gv_bytes(room, size), GV_MQTT_PACKET_SIZE_MAX, &frame), GV_OK);
    ck_assert_uint_eq(frame.size, size);
    return frame;
}

enum {
    ROUNDS = 20000
};

START_TEST(random_connects_come_back_equal)
{
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t user[128];
        uint8_t will_user[128];
        uint8_t version = (uint8_t)(GV_MQTT_V31 + gv_rng_below(&rng, 3));
        gv_mqtt_connect_t in = {.version = (gv_mqtt_version_t)version,
                                .clean_start = coin(),
                                .keep_alive_s = (uint16_t)gv_rng_u32(&rng),
                                .client_id = random_text(1),
                                .has_username = coin(),
                                .username = random_text(0),
                                .password = random_binary(),
                                .has_will = coin()};
        in.has_password = (in.has_username || version == GV_MQTT_V5) && coin();
        in.will.topic = random_text(1);
        in.will.payload = random_binary();
        in.will.qos = (uint8_t)gv_rng_below(&rng, 3);
        in.will.retain = coin();
        if (version == GV_MQTT_V5) {
            in.props = RANDOM_PROPS(
                user, GV_MQTT_PROP_SESSION_EXPIRY, GV_MQTT_PROP_RECEIVE_MAXIMUM,
                GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION, GV_MQTT_PROP_AUTHENTICATION_METHOD);
            in.will.props =
                RANDOM_PROPS(will_user, GV_MQTT_PROP_WILL_DELAY, GV_MQTT_PROP_PAYLOAD_FORMAT,
                             GV_MQTT_PROP_MESSAGE_EXPIRY, GV_MQTT_PROP_CONTENT_TYPE,
                             GV_MQTT_PROP_RESPONSE_TOPIC, GV_MQTT_PROP_CORRELATION_DATA);
        }
        gv_writer_t w = gv_writer(room, sizeof(room));
        gv_mqtt_frame_t frame = frame_of_room(gv_mqtt_encode_connect(&in, &w));
        gv_mqtt_connect_t out;
        gv_mqtt_reason_t reason;
        ck_assert_int_eq(gv_mqtt_decode_connect(&frame, &out, &reason), GV_OK);
        ck_assert_int_eq(out.version, in.version);
        ck_assert_int_eq(out.clean_start, in.clean_start);
        ck_assert_uint_eq(out.keep_alive_s, in.keep_alive_s);
        ck_assert(gv_bytes_equal(out.client_id, in.client_id));
        ck_assert_int_eq(out.has_username, in.has_username);
        ck_assert(!in.has_username || gv_bytes_equal(out.username, in.username));
        ck_assert_int_eq(out.has_password, in.has_password);
        ck_assert(!in.has_password || gv_bytes_equal(out.password, in.password));
        ck_assert_int_eq(out.has_will, in.has_will);
        assert_props_equal(&out.props, &in.props);
        if (in.has_will) {
            ck_assert(gv_bytes_equal(out.will.topic, in.will.topic));
            ck_assert(gv_bytes_equal(out.will.payload, in.will.payload));
            ck_assert_uint_eq(out.will.qos, in.will.qos);
            ck_assert_int_eq(out.will.retain, in.will.retain);
            assert_props_equal(&out.will.props, &in.will.props);
        }
    }
}
END_TEST

START_TEST(random_publishes_come_back_equal_from_both_encoders)
{
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t user[128];
        uint8_t version = (uint8_t)(GV_MQTT_V31 + gv_rng_below(&rng, 3));
        gv_mqtt_peer_t receiver = {.version = (gv_mqtt_version_t)version};
        gv_mqtt_peer_t sender = {.version = (gv_mqtt_version_t)version, .is_server = true};
        gv_mqtt_publish_t in = {.topic = random_text(1),
                                .payload = random_binary(),
                                .qos = (uint8_t)gv_rng_below(&rng, 3),
                                .retain = coin()};
        in.dup = in.qos > 0 && coin();
        in.packet_id = in.qos > 0 ? (uint16_t)(1 + gv_rng_below(&rng, 65535)) : 0;
        if (version == GV_MQTT_V5) {
            in.props = RANDOM_PROPS(user, GV_MQTT_PROP_PAYLOAD_FORMAT, GV_MQTT_PROP_MESSAGE_EXPIRY,
                                    GV_MQTT_PROP_CONTENT_TYPE, GV_MQTT_PROP_RESPONSE_TOPIC,
                                    GV_MQTT_PROP_CORRELATION_DATA, GV_MQTT_PROP_TOPIC_ALIAS,
                                    GV_MQTT_PROP_SUBSCRIPTION_ID);
        }
        gv_writer_t w = gv_writer(room, sizeof(room));
        gv_mqtt_frame_t frame = frame_of_room(gv_mqtt_encode_publish(&in, &receiver, &w));
        gv_mqtt_publish_t out;
        gv_mqtt_reason_t reason;
        ck_assert_int_eq(gv_mqtt_decode_publish(&frame, &sender, &out, &reason), GV_OK);
        ck_assert(gv_bytes_equal(out.topic, in.topic));
        ck_assert(gv_bytes_equal(out.payload, in.payload));
        ck_assert_uint_eq(out.qos, in.qos);
        ck_assert_int_eq(out.retain, in.retain);
        ck_assert_int_eq(out.dup, in.dup);
        ck_assert_uint_eq(out.packet_id, in.packet_id);
        assert_props_equal(&out.props, &in.props);

        /* As the broker passes it on: the travelling block, and the receiver's own parts. */
        uint8_t travel[512];
        gv_writer_t t = gv_writer(travel, gv_mqtt_props_travel_size(&out.props));
        gv_mqtt_props_travel_write(&out.props, &t);
        ck_assert(!t.failed);
        gv_mqtt_publish_head_t head = {
            .topic = out.topic,
            .travel = gv_bytes(travel, (size_t)(t.pos - travel)),
            .payload_size = out.payload.size,
            .subscription_ids = &out.props.subscription_id,
            .subscription_id_count = gv_mqtt_props_has(&out.props, GV_MQTT_PROP_SUBSCRIPTION_ID),
            .expiry_s = out.props.message_expiry_s,
            .has_expiry = gv_mqtt_props_has(&out.props, GV_MQTT_PROP_MESSAGE_EXPIRY),
            .topic_alias =
                gv_mqtt_props_has(&out.props, GV_MQTT_PROP_TOPIC_ALIAS) ? out.props.topic_alias : 0,
            .qos = out.qos,
            .retain = out.retain,
            .dup = out.dup,
            .packet_id = out.packet_id};
        uint8_t again[1024];
        gv_writer_t h = gv_writer(again, sizeof(again));
        size_t head_size = gv_mqtt_publish_head_write(&head, receiver.version, &h, NULL);
        gv_writer_put(&h, out.payload);
        ck_assert(!h.failed);
        ck_assert_uint_eq(head_size + out.payload.size, frame.size);
        gv_mqtt_frame_t frame_again;
        ck_assert_int_eq(gv_mqtt_frame(gv_bytes(again, frame.size), frame.size, &frame_again),
                         GV_OK);
        ck_assert_int_eq(gv_mqtt_decode_publish(&frame_again, &sender, &out, &reason), GV_OK);
        ck_assert(gv_bytes_equal(out.topic, in.topic));
        ck_assert(gv_bytes_equal(out.payload, in.payload));
        ck_assert_uint_eq(out.packet_id, in.packet_id);
        assert_props_equal(&out.props, &in.props);
    }
}
END_TEST

START_TEST(random_replies_come_back_equal)
{
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t user[128];
        gv_mqtt_peer_t sender = {.version = GV_MQTT_V5, .is_server = true};
        gv_mqtt_reason_t reason;

        gv_mqtt_connack_t connack = {.session_present = coin()};
        connack.props =
            RANDOM_PROPS(user, GV_MQTT_PROP_SESSION_EXPIRY, GV_MQTT_PROP_ASSIGNED_CLIENT_ID,
                         GV_MQTT_PROP_SERVER_KEEP_ALIVE, GV_MQTT_PROP_RECEIVE_MAXIMUM,
                         GV_MQTT_PROP_MAXIMUM_QOS, GV_MQTT_PROP_RETAIN_AVAILABLE,
                         GV_MQTT_PROP_REASON_STRING, GV_MQTT_PROP_SERVER_REFERENCE);
        gv_writer_t w = gv_writer(room, sizeof(room));
        gv_mqtt_frame_t frame = frame_of_room(gv_mqtt_encode_connack(&connack, &client_v5, &w));
        gv_mqtt_connack_t connack_out;
        ck_assert_int_eq(gv_mqtt_decode_connack(&frame, &sender, &connack_out, &reason), GV_OK);
        ck_assert_int_eq(connack_out.session_present, connack.session_present);
        assert_props_equal(&connack_out.props, &connack.props);

        gv_mqtt_ack_t ack = {.packet_id = (uint16_t)(1 + gv_rng_below(&rng, 65535)),
                             .reason = coin() ? GV_MQTT_SUCCESS : GV_MQTT_QUOTA_EXCEEDED};
        ack.props = RANDOM_PROPS(user, GV_MQTT_PROP_REASON_STRING);
        w = gv_writer(room, sizeof(room));
        gv_mqtt_type_t type = coin() ? GV_MQTT_PUBACK : GV_MQTT_PUBREC;
        frame = frame_of_room(gv_mqtt_encode_ack(type, &ack, &client_v5, &w));
        gv_mqtt_ack_t ack_out;
        ck_assert_int_eq(gv_mqtt_decode_ack(&frame, &sender, &ack_out, &reason), GV_OK);
        ck_assert_int_eq(frame.type, type);
        ck_assert_uint_eq(ack_out.packet_id, ack.packet_id);
        ck_assert_int_eq(ack_out.reason, ack.reason);
        assert_props_equal(&ack_out.props, &ack.props);

        uint8_t codes[16];
        size_t count = 1 + gv_rng_below(&rng, sizeof(codes));
        for (size_t i = 0; i < count; i++) {
            codes[i] = coin() ? (uint8_t)gv_rng_below(&rng, 3) : GV_MQTT_TOPIC_FILTER_INVALID;
        }
        gv_mqtt_suback_t suback = {.packet_id = 9, .codes = gv_bytes(codes, count)};
        suback.props = RANDOM_PROPS(user, GV_MQTT_PROP_REASON_STRING);
        w = gv_writer(room, sizeof(room));
        frame = frame_of_room(gv_mqtt_encode_suback(&suback, &client_v5, &w));
        gv_mqtt_suback_t suback_out;
        ck_assert_int_eq(gv_mqtt_decode_suback(&frame, &sender, &suback_out, &reason), GV_OK);
        ck_assert(gv_bytes_equal(suback_out.codes, suback.codes));
        assert_props_equal(&suback_out.props, &suback.props);
    }
}
END_TEST

START_TEST(random_subscribes_come_back_equal)
{
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < ROUNDS; round++) {
        uint8_t user[128];
        gv_mqtt_subscription_t entries[8];
        size_t count = 1 + gv_rng_below(&rng, 8);
        for (size_t i = 0; i < count; i++) {
            entries[i] =
                (gv_mqtt_subscription_t){.text = random_text(1),
                                         .qos = (uint8_t)gv_rng_below(&rng, 3),
                                         .no_local = coin(),
                                         .retain_as_published = coin(),
                                         .retain_handling = (uint8_t)gv_rng_below(&rng, 3)};
        }
        gv_mqtt_subscribe_request_t in = {.packet_id = 3, .entries = entries, .count = count};
        in.props = RANDOM_PROPS(user, GV_MQTT_PROP_SUBSCRIPTION_ID);
        gv_writer_t w = gv_writer(room, sizeof(room));
        gv_mqtt_frame_t frame = frame_of_room(gv_mqtt_encode_subscribe(&in, &server_v5, &w));
        gv_mqtt_subscribe_t out;
        gv_mqtt_reason_t reason;
        ck_assert_int_eq(gv_mqtt_decode_subscribe(&frame, &client_v5, &out, &reason), GV_OK);
        ck_assert_uint_eq(out.count, count);
        assert_props_equal(&out.props, &in.props);
        gv_mqtt_entries_t it = gv_mqtt_entries(&out);
        for (size_t i = 0; i < count; i++) {
            gv_mqtt_subscription_t entry;
            ck_assert(gv_mqtt_entries_next(&it, &entry));
            ck_assert(gv_bytes_equal(entry.text, entries[i].text));
            ck_assert_uint_eq(entry.qos, entries[i].qos);
            ck_assert_int_eq(entry.no_local, entries[i].no_local);
            ck_assert_int_eq(entry.retain_as_published, entries[i].retain_as_published);
            ck_assert_uint_eq(entry.retain_handling, entries[i].retain_handling);
        }
    }
}
END_TEST

/* ---- our own mistakes --------------------------------------------------------------------- */

START_TEST(a_subscribe_without_filters_aborts)
{
    gv_mqtt_subscribe_request_t request = {.packet_id = 1};
    gv_mqtt_encode_subscribe(&request, &server_v5, NULL);
}
END_TEST

START_TEST(an_ack_without_identifier_aborts)
{
    gv_mqtt_ack_t ack = {.packet_id = 0};
    gv_mqtt_encode_ack(GV_MQTT_PUBACK, &ack, &client_v5, NULL);
}
END_TEST

START_TEST(a_head_with_neither_topic_nor_alias_aborts)
{
    gv_mqtt_publish_head_t head = {.qos = 0};
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_mqtt_publish_head_write(&head, GV_MQTT_V5, &w, NULL);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("encode");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_sample_is_written_as_it_was_read);
    tcase_add_test(tc, golden_bytes);
    tcase_add_test(tc, connack_is_translated_for_old_clients);
    tcase_add_test(tc, a_refusal_never_claims_a_session);
    tcase_add_test(tc, suback_is_translated_for_old_clients);
    tcase_add_test(tc, acks_lose_their_reason_in_old_versions);
    tcase_add_test(tc, disconnect_and_auth_are_for_those_who_know_them);
    tcase_add_test(tc, terse_clients_get_no_explanations);
    tcase_add_test(tc, explanations_give_way_to_the_maximum_packet_size);
    tcase_add_test(tc, requests_that_are_too_large_are_not_written);
    tcase_add_test(tc, options_of_v5_are_not_sent_to_old_servers);
    tcase_add_test(tc, a_head_and_its_payload_are_a_packet);
    tcase_add_test(tc, one_head_serves_many_receivers);
    tcase_add_test(tc, an_alias_stands_for_the_topic);
    tcase_add_test(tc, heads_know_the_largest_packet);
    tcase_add_test(tc, the_bound_of_a_head_is_the_largest_there_is);
    tcase_add_test(tc, a_head_without_room_is_not_written);
    tcase_add_test(tc, random_connects_come_back_equal);
    tcase_add_test(tc, random_publishes_come_back_equal_from_both_encoders);
    tcase_add_test(tc, random_replies_come_back_equal);
    tcase_add_test(tc, random_subscribes_come_back_equal);
    tcase_add_test_raise_signal(tc, a_subscribe_without_filters_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, an_ack_without_identifier_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, a_head_with_neither_topic_nor_alias_aborts, SIGABRT);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
