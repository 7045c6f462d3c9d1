/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "tests/unit/proto/mqtt/any_packet.h"
#include "tests/unit/proto/mqtt/samples.h"
#include "tests/unit/proto/mqtt/wire.h"

#define MALFORMED GV_ERR_MALFORMED, GV_MQTT_MALFORMED_PACKET
#define PROTOCOL  GV_ERR_PROTOCOL, GV_MQTT_PROTOCOL_ERROR

static any_packet_t any;
static gv_bytes_t any_bytes; /* what the views in `any` point into */

static gv_mqtt_frame_t frame_of(gv_bytes_t bytes)
{
    gv_mqtt_frame_t frame;
    ck_assert_int_eq(gv_mqtt_frame(bytes, GV_MQTT_PACKET_SIZE_MAX, &frame), GV_OK);
    ck_assert_uint_eq(frame.size, bytes.size);
    return frame;
}

static gv_err_t decode(gv_mqtt_version_t version, bool from_server, const char *text,
                       gv_mqtt_reason_t *reason)
{
    gv_mqtt_peer_t sender = {.version = version, .is_server = from_server};
    wire_free(any_bytes);
    any_bytes = wire(text);
    gv_mqtt_frame_t frame = frame_of(any_bytes);
    return any_decode(&frame, &sender, &any, reason);
}

static void assert_refused(gv_mqtt_version_t version, bool from_server, const char *text,
                           gv_err_t expected, gv_mqtt_reason_t code)
{
    gv_mqtt_reason_t reason;
    gv_err_t err = decode(version, from_server, text, &reason);
    ck_assert_msg(err == expected, "%s: %s", text, gv_err_text(err));
    ck_assert_msg(reason == code, "%s: %s", text, gv_mqtt_reason_text((uint8_t)reason));
}

static void assert_taken(gv_mqtt_version_t version, bool from_server, const char *text)
{
    assert_refused(version, from_server, text, GV_OK, GV_MQTT_SUCCESS);
}

/* ---- all packets -------------------------------------------------------------------------- */

START_TEST(every_sample_is_taken)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        assert_taken(samples[i].version, samples[i].from_server, samples[i].text);
    }
}
END_TEST

/* Remaining length smaller than the fields need; run with AddressSanitizer it sees over-reads. */
START_TEST(a_body_cut_anywhere_is_refused)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const sample_t *sample = &samples[i];
        gv_mqtt_peer_t sender = {.version = sample->version, .is_server = sample->from_server};
        gv_bytes_t whole = wire(sample->text);
        gv_mqtt_frame_t frame = frame_of(whole);
        gv_bytes_t body = frame.body;
        for (size_t size = 0; size < body.size; size++) {
            frame.body = wire_copy(gv_bytes(body.data, size));
            gv_mqtt_reason_t reason;
            gv_err_t err = any_decode(&frame, &sender, &any, &reason);
            ck_assert_msg(err != GV_OK || sample->may_be_cut, "%s at %zu", sample->name, size);
            ck_assert_int_eq(err == GV_OK, reason == GV_MQTT_SUCCESS);
            wire_free(frame.body);
        }
        wire_free(whole);
    }
}
END_TEST

START_TEST(bytes_left_over_are_refused)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        const sample_t *sample = &samples[i];
        gv_mqtt_peer_t sender = {.version = sample->version, .is_server = sample->from_server};
        gv_bytes_t whole = wire(sample->text);
        gv_mqtt_frame_t frame = frame_of(whole);
        if (frame.type != GV_MQTT_PUBLISH) { /* its payload takes everything */
            uint8_t room[512];
            ck_assert_uint_lt(frame.body.size, sizeof(room));
            memcpy(room, frame.body.data, frame.body.size);
            room[frame.body.size] = 0xff;
            frame.body = wire_copy(gv_bytes(room, frame.body.size + 1));
            gv_mqtt_reason_t reason;
            gv_err_t err = any_decode(&frame, &sender, &any, &reason);
            ck_assert_msg(err != GV_OK, "%s", sample->name);
            wire_free(frame.body);
        }
        wire_free(whole);
    }
}
END_TEST

/* A v3 decoder on a v5 packet and the reverse: wrong offsets elsewhere.  No answer is expected. */
START_TEST(packets_of_another_version_or_side_do_no_harm)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V31, GV_MQTT_V311, GV_MQTT_V5};
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        for (size_t v = 0; v < 3; v++) {
            for (int from_server = 0; from_server < 2; from_server++) {
                gv_mqtt_reason_t reason;
                gv_err_t err = decode(versions[v], from_server != 0, samples[i].text, &reason);
                ck_assert_int_eq(err == GV_OK, reason == GV_MQTT_SUCCESS);
            }
        }
    }
}
END_TEST

/* ---- CONNECT ------------------------------------------------------------------------------ */

START_TEST(connect_gives_all_its_fields)
{
    gv_bytes_t bytes = wire("10 [ <MQTT> 05 ee 003c [ 11 00000e10 ] <id>"
                            "  [ 18 00000005 01 01 ] <t/w> <bye> <user> <pwd> ]");
    gv_mqtt_frame_t frame = frame_of(bytes);
    gv_mqtt_connect_t connect;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_connect(&frame, &connect, &reason), GV_OK);
    ck_assert_int_eq(connect.version, GV_MQTT_V5);
    ck_assert_uint_eq(connect.level, 5);
    ck_assert(connect.clean_start);
    ck_assert_uint_eq(connect.keep_alive_s, 60);
    ck_assert_uint_eq(connect.props.session_expiry_s, 3600);
    ck_assert(gv_bytes_equal(connect.client_id, GV_BYTES_LITERAL("id")));
    ck_assert(connect.has_will);
    ck_assert_uint_eq(connect.will.qos, 1);
    ck_assert(connect.will.retain);
    ck_assert_uint_eq(connect.will.props.will_delay_s, 5);
    ck_assert_uint_eq(connect.will.props.payload_format, 1);
    ck_assert(gv_bytes_equal(connect.will.topic, GV_BYTES_LITERAL("t/w")));
    ck_assert(gv_bytes_equal(connect.will.payload, GV_BYTES_LITERAL("bye")));
    ck_assert(connect.has_username);
    ck_assert(gv_bytes_equal(connect.username, GV_BYTES_LITERAL("user")));
    ck_assert(connect.has_password);
    ck_assert(gv_bytes_equal(connect.password, GV_BYTES_LITERAL("pwd")));
    wire_free(bytes);
}
END_TEST

static void assert_answered_as(const char *text, gv_err_t expected, gv_mqtt_version_t version)
{
    gv_mqtt_reason_t reason;
    ck_assert_msg(decode(GV_MQTT_VERSION_UNKNOWN, CLIENT, text, &reason) == expected, "%s", text);
    ck_assert_msg(any.connect.version == version, "%s", text);
    ck_assert_int_eq(reason,
                     expected == GV_ERR_VERSION ? GV_MQTT_UNSUPPORTED_VERSION : GV_MQTT_SUCCESS);
}

/* [MQTT-3.1.2-1], [MQTT-3.1.2-2] */
START_TEST(name_and_level_tell_the_version_and_the_format_of_the_answer)
{
    assert_answered_as("10 [ <MQIsdp> 03 02 0000 <id> ]", GV_OK, GV_MQTT_V31);
    assert_answered_as("10 [ <MQTT> 04 02 0000 <id> ]", GV_OK, GV_MQTT_V311);
    assert_answered_as("10 [ <MQTT> 05 02 0000 00 <id> ]", GV_OK, GV_MQTT_V5);

    assert_answered_as("10 [ <MQTT> 00 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V311);
    assert_answered_as("10 [ <MQTT> 03 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V311);
    assert_answered_as("10 [ <MQTT> 06 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V5);
    assert_answered_as("10 [ <MQTT> 09 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V5);
    assert_answered_as("10 [ <MQTT> 7f 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V5);
    assert_answered_as("10 [ <MQTT> 83 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V311);
    assert_answered_as("10 [ <MQTT> 84 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V311);
    assert_answered_as("10 [ <MQTT> ff 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V311);
    assert_answered_as("10 [ <MQIsdp> 04 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_V31);
    assert_answered_as("10 [ <MQTT> 06 ]", GV_ERR_VERSION, GV_MQTT_V5); /* whatever follows */

    assert_answered_as("10 [ <MQTU> 04 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_VERSION_UNKNOWN);
    assert_answered_as("10 [ <mqtt> 04 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_VERSION_UNKNOWN);
    assert_answered_as("10 [ <MQTTX> 05 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_VERSION_UNKNOWN);
    assert_answered_as("10 [ <> 04 02 0000 <id> ]", GV_ERR_VERSION, GV_MQTT_VERSION_UNKNOWN);
    assert_answered_as("10 [ 0004 ffffffff 04 02 0000 <id> ]", GV_ERR_VERSION,
                       GV_MQTT_VERSION_UNKNOWN);
}
END_TEST

START_TEST(connect_without_name_or_level_is_malformed)
{
    static const char *const bad[] = {"10 []", "10 [ 00 ]", "10 [ ffff 'MQTT' ]", "10 [ <MQTT> ]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refused(GV_MQTT_VERSION_UNKNOWN, CLIENT, bad[i], MALFORMED);
        ck_assert_int_eq(any.connect.version, GV_MQTT_VERSION_UNKNOWN);
    }
}
END_TEST

START_TEST(connect_flags_must_agree)
{
    /* [MQTT-3.1.2-3] reserved bit */
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 03 0000 <id> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 03 0000 [] <id> ]", MALFORMED);
    ck_assert_int_eq(any.connect.version, GV_MQTT_V5); /* known, so that it can be answered */
    /* [MQTT-3.1.2-11], [MQTT-3.1.2-13] will QoS and retain without will */
    static const char *const without_will[] = {"0a", "12", "1a", "22"};
    for (size_t i = 0; i < 4; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 04 %s 0000 <id> ]", without_will[i]);
        assert_refused(V311, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 05 %s 0000 [] <id> ]", without_will[i]);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "10 [ <MQIsdp> 03 %s 0000 <id> ]", without_will[i]);
        assert_taken(V31, CLIENT, text); /* 3.1 disregards them */
    }
    /* [MQTT-3.1.2-12] will QoS 3 */
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 1e 0000 <id> <t> <> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 1e 0000 [] <id> [] <t> <> ]", MALFORMED);
    assert_refused(V31, CLIENT, "10 [ <MQIsdp> 03 1e 0000 <id> <t> <> ]", MALFORMED);
    /* [MQTT-3.1.2-22 of 3.1.1] a password without a user name; v5 allows it */
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 42 0000 <id> <pwd> ]", MALFORMED);
    assert_taken(V5, CLIENT, "10 [ <MQTT> 05 42 0000 [] <id> <pwd> ]");
}
END_TEST

START_TEST(connect_fields_are_there_when_the_flags_say_so_and_only_then)
{
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 02 0000 ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 82 0000 <id> ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 c2 0000 <id> <u> ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 06 0000 <id> ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 06 0000 <id> <t> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 06 0000 [] <id> <t> <p> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 82 0000 [] <id> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 42 0000 [] <id> ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 02 0000 <id> <more> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [] <id> <more> ]", MALFORMED);
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 02 0000 ffff 'id' ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 7f <id> ]", MALFORMED);
    /* 3.1: the remaining length has the last word about user name and password */
    assert_taken(V31, CLIENT, "10 [ <MQIsdp> 03 c2 0000 <id> ]");
    ck_assert(!any.connect.has_username);
    ck_assert(!any.connect.has_password);
    assert_taken(V31, CLIENT, "10 [ <MQIsdp> 03 c2 0000 <id> <u> ]");
    ck_assert(any.connect.has_username);
    ck_assert(!any.connect.has_password);
    /* an empty user name is one */
    assert_taken(V311, CLIENT, "10 [ <MQTT> 04 82 0000 <id> <> ]");
    ck_assert(any.connect.has_username);
}
END_TEST

START_TEST(connect_strings_keep_to_the_rules)
{
    static const char *const bad[] = {"0001 00", "0001 ff", "0003 eda080", "0002 c0af",
                                      "0004 f4908080"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[96];
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 04 02 0000 %s ]", bad[i]);
        assert_refused(V311, CLIENT, text, MALFORMED); /* [MQTT-3.1.3-4] */
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 05 06 0000 [] <id> [] %s <p> ]", bad[i]);
        assert_refused(V5, CLIENT, text, MALFORMED); /* [MQTT-3.1.3-11] */
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 04 82 0000 <id> %s ]", bad[i]);
        assert_refused(V311, CLIENT, text, MALFORMED); /* [MQTT-3.1.3-12] */
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 05 c6 0000 [] <> [] <t> %s <u> %s ]",
                       bad[i], bad[i]);
        assert_taken(V5, CLIENT, text); /* will payload and password are binary */
    }
}
END_TEST

START_TEST(will_topics_are_topics)
{
    static const char *const bad[] = {"<>", "<a/+>", "<#>", "<a#b>"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[96];
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 05 06 0000 [] <id> [] %s <p> ]", bad[i]);
        assert_refused(V5, CLIENT, text, GV_ERR_PROTOCOL, GV_MQTT_TOPIC_NAME_INVALID);
        (void)snprintf(text, sizeof(text), "10 [ <MQTT> 04 06 0000 <id> %s <p> ]", bad[i]);
        assert_refused(V311, CLIENT, text, GV_ERR_PROTOCOL, GV_MQTT_TOPIC_NAME_INVALID);
    }
}
END_TEST

/* [MQTT-3.1.3-8 of 3.1.1] */
START_TEST(an_empty_client_id_is_for_those_who_leave_nothing_behind)
{
    assert_refused(V311, CLIENT, "10 [ <MQTT> 04 00 0000 <> ]", GV_ERR_PROTOCOL,
                   GV_MQTT_CLIENT_ID_INVALID);
    ck_assert_int_eq(any.connect.version, GV_MQTT_V311);
    assert_taken(V311, CLIENT, "10 [ <MQTT> 04 02 0000 <> ]");
    assert_taken(V5, CLIENT, "10 [ <MQTT> 05 00 0000 [] <> ]");
    assert_refused(V31, CLIENT, "10 [ <MQIsdp> 03 02 0000 <> ]", GV_ERR_PROTOCOL,
                   GV_MQTT_CLIENT_ID_INVALID);
}
END_TEST

START_TEST(client_ids_may_be_long_and_odd)
{
    uint8_t room[65600];
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_writer_put(&w, GV_BYTES_LITERAL("\x00\x06MQIsdp\x03\x02\x00\x00"));
    gv_writer_u16(&w, 65535);
    for (int i = 0; i < 65535; i++) {
        gv_writer_u8(&w, '#');
    }
    gv_mqtt_frame_t frame = {.type = GV_MQTT_CONNECT,
                             .body = gv_bytes(room, sizeof(room) - gv_writer_left(&w))};
    gv_mqtt_connect_t connect;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_connect(&frame, &connect, &reason), GV_OK);
    ck_assert_uint_eq(connect.client_id.size, 65535);
}
END_TEST

START_TEST(connect_properties_make_sense)
{
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 21 0000 ] <id> ]", PROTOCOL);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 27 00000000 ] <id> ]", PROTOCOL);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 23 0001 ] <id> ]", MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 21 0001 21 0001 ] <id> ]", PROTOCOL);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 16 <data> ] <id> ]", PROTOCOL);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 06 0000 [] <id> [ 11 00000001 ] <t> <p> ]",
                   MALFORMED);
    assert_refused(V5, CLIENT, "10 [ <MQTT> 05 06 0000 [] <id> [ 01 02 ] <t> <p> ]", PROTOCOL);
    assert_taken(V5, CLIENT, "10 [ <MQTT> 05 02 0000 [ 16 <data> 15 <method> ] <id> ]");
}
END_TEST

/* ---- CONNACK ------------------------------------------------------------------------------ */

START_TEST(connack_of_old_servers_is_translated)
{
    assert_taken(V311, SERVER, "20 [ 00 04 ]");
    ck_assert_int_eq(any.connack.reason, GV_MQTT_BAD_CREDENTIALS);
    assert_taken(V311, SERVER, "20 [ 01 00 ]");
    ck_assert(any.connack.session_present);
    assert_taken(V31, SERVER, "20 [ ff 00 ]"); /* a reserved byte there */
    ck_assert(!any.connack.session_present);
    /* what a server that speaks 3.1.1 only says to a v5 client */
    assert_taken(V5, SERVER, "20 [ 00 01 ]");
    ck_assert_int_eq(any.connack.reason, GV_MQTT_UNSUPPORTED_VERSION);
}
END_TEST

START_TEST(connack_keeps_to_its_table)
{
    assert_refused(V311, SERVER, "20 [ 02 00 ]", MALFORMED);
    assert_refused(V5, SERVER, "20 [ 80 00 [] ]", MALFORMED);
    assert_refused(V5, SERVER, "20 [ 00 8e [] ]", PROTOCOL);
    assert_refused(V5, SERVER, "20 [ 01 87 [] ]", PROTOCOL);
    assert_refused(V311, SERVER, "20 [ 01 05 ]", PROTOCOL);
    assert_refused(V5, SERVER, "20 [ 00 00 ]", MALFORMED);
}
END_TEST

/* ---- PUBLISH ------------------------------------------------------------------------------ */

START_TEST(publish_gives_all_its_fields)
{
    gv_bytes_t bytes = wire("3d [ <a/b> 0102 [ 23 0003 02 00000010 ] 'payload' ]");
    gv_mqtt_frame_t frame = frame_of(bytes);
    gv_mqtt_peer_t sender = {.version = GV_MQTT_V5};
    gv_mqtt_publish_t publish;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_publish(&frame, &sender, &publish, &reason), GV_OK);
    ck_assert(gv_bytes_equal(publish.topic, GV_BYTES_LITERAL("a/b")));
    ck_assert(gv_bytes_equal(publish.payload, GV_BYTES_LITERAL("payload")));
    ck_assert_uint_eq(publish.packet_id, 0x0102);
    ck_assert_uint_eq(publish.qos, 2);
    ck_assert(publish.retain);
    ck_assert(publish.dup);
    ck_assert_uint_eq(publish.props.topic_alias, 3);
    ck_assert_uint_eq(publish.props.message_expiry_s, 16);
    wire_free(bytes);
}
END_TEST

/* A struct that is used again must not show the properties of the packet before. */
START_TEST(publish_without_properties_has_none)
{
    assert_taken(V5, CLIENT, "30 [ <a> [ 23 0003 26 <a> <b> ] ]");
    ck_assert_uint_ne(any.publish.props.present, 0);
    assert_taken(V5, CLIENT, "30 [ <a> [] 'x' ]");
    ck_assert_uint_eq(any.publish.props.present, 0);
    ck_assert_uint_eq(any.publish.props.raw.size, 0);
    assert_taken(V5, CLIENT, "30 [ <a> [ 23 0003 26 <a> <b> ] ]");
    assert_taken(V311, CLIENT, "30 [ <a> 'x' ]");
    ck_assert_uint_eq(any.publish.props.present, 0);
    ck_assert_uint_eq(any.publish.props.raw.size, 0);
    ck_assert_uint_eq(any.publish.packet_id, 0);
}
END_TEST

/* [MQTT-3.3.1-4], [MQTT-3.3.1-2] */
START_TEST(publish_flags_must_agree)
{
    assert_refused(V311, CLIENT, "36 [ <a> 0001 ]", MALFORMED);
    assert_refused(V5, CLIENT, "37 [ <a> 0001 [] ]", MALFORMED);
    assert_refused(V5, CLIENT, "3e [ <a> 0001 [] ]", MALFORMED);
    assert_refused(V311, CLIENT, "38 [ <a> ]", MALFORMED);
    assert_refused(V5, CLIENT, "39 [ <a> [] ]", MALFORMED);
}
END_TEST

START_TEST(publish_ends_nowhere_before_its_payload)
{
    assert_refused(V311, CLIENT, "30 []", MALFORMED);
    assert_refused(V311, CLIENT, "30 [ 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "30 [ 0002 'a' ]", MALFORMED);
    assert_refused(V311, CLIENT, "30 [ ffff 'a' ]", MALFORMED);
    assert_refused(V311, CLIENT, "32 [ <a> ]", MALFORMED); /* no packet id */
    assert_refused(V311, CLIENT, "32 [ <a> 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "32 [ <a> 0000 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "34 [ <a> 0000 [] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "30 [ <a> ]", MALFORMED); /* [MQTT-2.2.2-1] */
    assert_refused(V5, CLIENT, "32 [ <a> 0001 ]", MALFORMED);
    assert_refused(V5, CLIENT, "30 [ <a> 7f 'payload' ]", MALFORMED);
    assert_taken(V5, CLIENT, "30 [ <a> [] ]");
}
END_TEST

START_TEST(publish_topics_are_topics)
{
    static const char *const wild[] = {"<a/+>", "<#>", "<a#b>", "<+/b>"};
    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "30 [ %s [] 'x' ]", wild[i]);
        assert_refused(V5, CLIENT, text, GV_ERR_PROTOCOL, GV_MQTT_TOPIC_NAME_INVALID);
        (void)snprintf(text, sizeof(text), "30 [ %s 'x' ]", wild[i]);
        assert_refused(V311, CLIENT, text, GV_ERR_PROTOCOL, GV_MQTT_TOPIC_NAME_INVALID);
    }
    static const char *const bad[] = {"0001 00", "0003 eda080", "0003 edbfbf", "0002 c0af",
                                      "0002 e282"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "30 [ %s [] 'x' ]", bad[i]);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "30 [ %s 'x' ]", bad[i]);
        assert_refused(V311, CLIENT, text, MALFORMED);
    }
    assert_taken(V5, CLIENT, "30 [ <$SYS/x> [] 'x' ]"); /* whether it may is the broker's affair */
    assert_taken(V5, CLIENT, "30 [ 0004 efbbbf'x' [] 'x' ]"); /* [MQTT-1.5.4-3] */
    ck_assert_uint_eq(any.publish.topic.size, 4);
}
END_TEST

START_TEST(publish_needs_a_topic_or_an_alias)
{
    assert_refused(V5, CLIENT, "30 [ <> [] 'x' ]", PROTOCOL);
    assert_refused(V311, CLIENT, "30 [ <> 'x' ]", GV_ERR_PROTOCOL, GV_MQTT_TOPIC_NAME_INVALID);
    assert_taken(V5, CLIENT, "30 [ <> [ 23 0001 ] 'x' ]");
    assert_taken(V5, CLIENT, "30 [ <a> [ 23 ffff ] 'x' ]");
    assert_refused(V5, CLIENT, "30 [ <a> [ 23 0000 ] 'x' ]", GV_ERR_PROTOCOL,
                   GV_MQTT_TOPIC_ALIAS_INVALID);
    assert_refused(V5, CLIENT, "30 [ <a> [ 23 0001 23 0001 ] 'x' ]", PROTOCOL);
}
END_TEST

/* [MQTT-3.3.4-6] */
START_TEST(only_servers_send_subscription_identifiers)
{
    assert_refused(V5, CLIENT, "30 [ <a> [ 0b 01 ] 'x' ]", PROTOCOL);
    assert_taken(V5, SERVER, "30 [ <a> [ 0b 01 0b 02 ] 'x' ]");
}
END_TEST

START_TEST(publish_properties_make_sense)
{
    assert_refused(V5, CLIENT, "30 [ <a> [ 08 <a/+> ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "30 [ <a> [ 08 <> ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "30 [ <a> [ 01 02 ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "30 [ <a> [ 02 00000001 02 00000001 ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "30 [ <a> [ 11 00000001 ] ]", MALFORMED);
    assert_refused(V5, CLIENT, "30 [ <a> [ 7f 00 ] ]", MALFORMED);
}
END_TEST

START_TEST(publish_topics_may_have_any_number_of_levels)
{
    uint8_t room[65540];
    memset(room, '/', sizeof(room));
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_writer_u16(&w, 65535);
    gv_mqtt_frame_t frame = {.type = GV_MQTT_PUBLISH, .body = gv_bytes(room, 65537)};
    gv_mqtt_peer_t sender = {.version = GV_MQTT_V311};
    gv_mqtt_publish_t publish;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_publish(&frame, &sender, &publish, &reason), GV_OK);
    ck_assert_uint_eq(publish.topic.size, 65535);
    ck_assert_uint_eq(publish.payload.size, 0);
}
END_TEST

/* ---- acknowledgements --------------------------------------------------------------------- */

START_TEST(acks_may_leave_off_what_says_nothing)
{
    assert_taken(V5, CLIENT, "40 [ 0001 ]");
    ck_assert_int_eq(any.ack.reason, GV_MQTT_SUCCESS);
    assert_taken(V5, CLIENT, "40 [ 0001 10 ]");
    ck_assert_int_eq(any.ack.reason, GV_MQTT_NO_MATCHING_SUBSCRIBERS);
    assert_taken(V5, CLIENT, "40 [ 0001 00 [] ]");
    ck_assert_uint_eq(any.ack.props.present, 0);
    assert_taken(V5, CLIENT, "50 [ ffff 97 [ 1f <full> ] ]");
    ck_assert_uint_eq(any.ack.packet_id, 65535);
    ck_assert_int_eq(any.ack.reason, GV_MQTT_QUOTA_EXCEEDED);
    ck_assert(gv_bytes_equal(any.ack.props.reason_string, GV_BYTES_LITERAL("full")));
}
END_TEST

START_TEST(acks_need_an_identifier)
{
    static const char *const types[] = {"40", "50", "62", "70"};
    for (size_t i = 0; i < 4; i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s [ 0000 ]", types[i]);
        assert_refused(V311, CLIENT, text, PROTOCOL);
        assert_refused(V5, CLIENT, text, PROTOCOL);
        (void)snprintf(text, sizeof(text), "%s []", types[i]);
        assert_refused(V311, CLIENT, text, MALFORMED);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "%s [ 00 ]", types[i]);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "%s [ 0001 00 ]", types[i]);
        assert_refused(V311, CLIENT, text, MALFORMED); /* no reason codes there */
        (void)snprintf(text, sizeof(text), "%s [ 0001 05 ]", types[i]);
        assert_refused(V5, CLIENT, text, PROTOCOL); /* in no table */
        (void)snprintf(text, sizeof(text), "%s [ 0001 00 [ 1f ffff 'x' ] ]", types[i]);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "%s [ 0001 00 7f ]", types[i]);
        assert_refused(V5, CLIENT, text, MALFORMED);
        (void)snprintf(text, sizeof(text), "%s [ 0001 00 [ 1f <a> 1f <a> ] ]", types[i]);
        assert_refused(V5, CLIENT, text, PROTOCOL);
    }
    assert_refused(V5, CLIENT, "62 [ 0001 10 ]", PROTOCOL); /* PUBACK's, not PUBREL's */
    assert_refused(V5, CLIENT, "40 [ 0001 92 ]", PROTOCOL); /* and the reverse */
}
END_TEST

/* [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]; 3.1 knows DUP there. */
START_TEST(dup_on_a_request_is_3_1_only)
{
    static const char *const requests[] = {"6a [ 0001 ]", "8a [ 0001 <a> 00 ]", "aa [ 0001 <a> ]"};
    for (size_t i = 0; i < 3; i++) {
        assert_taken(V31, CLIENT, requests[i]);
        assert_refused(V311, CLIENT, requests[i], MALFORMED);
        assert_refused(V5, CLIENT, requests[i], MALFORMED);
    }
}
END_TEST

/* ---- SUBSCRIBE, UNSUBSCRIBE --------------------------------------------------------------- */

START_TEST(subscribe_gives_its_entries_in_order)
{
    gv_bytes_t bytes = wire("82 [ 000a [ 0b 8001 26 <a> <b> ] <a/b> 1d <$share/g/+/x> 22"
                            "  <a#b> 00 <> 01 <a/b> 06 ]");
    gv_mqtt_frame_t frame = frame_of(bytes);
    gv_mqtt_peer_t sender = {.version = GV_MQTT_V5};
    gv_mqtt_subscribe_t subscribe;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_subscribe(&frame, &sender, &subscribe, &reason), GV_OK);
    ck_assert_uint_eq(subscribe.packet_id, 10);
    ck_assert_uint_eq(subscribe.count, 5);
    ck_assert_uint_eq(subscribe.props.subscription_id, 128);

    gv_mqtt_entries_t entries = gv_mqtt_entries(&subscribe);
    gv_mqtt_subscription_t entry;
    ck_assert(gv_mqtt_entries_next(&entries, &entry));
    ck_assert(gv_bytes_equal(entry.text, GV_BYTES_LITERAL("a/b")));
    ck_assert(gv_bytes_equal(entry.parts.filter, GV_BYTES_LITERAL("a/b")));
    ck_assert(!gv_mqtt_filter_is_shared(&entry.parts));
    ck_assert_int_eq(entry.reason, GV_MQTT_SUCCESS);
    ck_assert_uint_eq(entry.qos, 1);
    ck_assert(entry.no_local);
    ck_assert(entry.retain_as_published);
    ck_assert_uint_eq(entry.retain_handling, GV_MQTT_RETAIN_SEND_IF_NEW);

    ck_assert(gv_mqtt_entries_next(&entries, &entry));
    ck_assert(gv_bytes_equal(entry.text, GV_BYTES_LITERAL("$share/g/+/x")));
    ck_assert(gv_bytes_equal(entry.parts.filter, GV_BYTES_LITERAL("+/x")));
    ck_assert(gv_bytes_equal(entry.parts.group, GV_BYTES_LITERAL("g")));
    ck_assert_uint_eq(entry.qos, 2);
    ck_assert(!entry.no_local);
    ck_assert(!entry.retain_as_published);
    ck_assert_uint_eq(entry.retain_handling, GV_MQTT_RETAIN_SEND_NOT);

    /* No filters: refused one by one in the SUBACK, the rest of the packet counts. */
    ck_assert(gv_mqtt_entries_next(&entries, &entry));
    ck_assert_int_eq(entry.reason, GV_MQTT_TOPIC_FILTER_INVALID);
    ck_assert(gv_mqtt_entries_next(&entries, &entry));
    ck_assert_int_eq(entry.reason, GV_MQTT_TOPIC_FILTER_INVALID);

    ck_assert(gv_mqtt_entries_next(&entries, &entry));
    ck_assert_int_eq(entry.reason, GV_MQTT_SUCCESS);
    ck_assert_uint_eq(entry.qos, 2);
    ck_assert(!gv_mqtt_entries_next(&entries, &entry));
    wire_free(bytes);
}
END_TEST

START_TEST(subscribe_and_unsubscribe_name_at_least_one_filter)
{
    assert_refused(V311, CLIENT, "82 [ 0001 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "82 [ 0001 [] ]", PROTOCOL);
    assert_refused(V311, CLIENT, "a2 [ 0001 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "a2 [ 0001 [] ]", PROTOCOL);
}
END_TEST

START_TEST(subscribe_and_unsubscribe_end_where_a_filter_ends)
{
    assert_refused(V311, CLIENT, "82 []", MALFORMED);
    assert_refused(V311, CLIENT, "82 [ 0001 <a> ]", MALFORMED); /* no options byte */
    assert_refused(V5, CLIENT, "82 [ 0001 [] <a> ]", MALFORMED);
    assert_refused(V5, CLIENT, "82 [ 0001 ]", MALFORMED); /* no properties */
    assert_refused(V5, CLIENT, "82 [ 0001 7f <a> 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "82 [ 0001 <a> 00 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "82 [ 0001 ffff 'a' 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "a2 []", MALFORMED);
    assert_refused(V311, CLIENT, "a2 [ 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "a2 [ 0001 <a> 00 ]", MALFORMED);
    assert_refused(V5, CLIENT, "a2 [ 0001 [ 26 <a> 0001 ] ]", MALFORMED);
    assert_refused(V311, CLIENT, "82 [ 0000 <a> 00 ]", PROTOCOL);
    assert_refused(V311, CLIENT, "a2 [ 0000 <a> ]", PROTOCOL);
}
END_TEST

START_TEST(subscribe_options_keep_to_their_bits)
{
    for (unsigned options = 0; options < 256; options++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "82 [ 0001 <a> %02x ]", options);
        if (options <= 2) {
            assert_taken(V311, CLIENT, text);
        } else {
            assert_refused(V311, CLIENT, text, MALFORMED); /* [MQTT-3.8.3-4 of 3.1.1] */
        }
        (void)snprintf(text, sizeof(text), "82 [ 0001 [] <a> %02x ]", options);
        if (options >= 0x40) {
            assert_refused(V5, CLIENT, text, MALFORMED); /* [MQTT-3.8.3-5] */
        } else if ((options & 0x03) == 3 || (options & 0x30) == 0x30) {
            assert_refused(V5, CLIENT, text, PROTOCOL);
        } else {
            assert_taken(V5, CLIENT, text);
        }
    }
}
END_TEST

/* [MQTT-3.8.3-4] */
START_TEST(no_local_is_not_for_shared_subscriptions)
{
    assert_refused(V5, CLIENT, "82 [ 0001 [] <$share/g/a> 04 ]", PROTOCOL);
    assert_taken(V5, CLIENT, "82 [ 0001 [] <$sharex/g/a> 04 ]");
}
END_TEST

START_TEST(filters_that_are_no_strings_are_malformed)
{
    assert_refused(V311, CLIENT, "82 [ 0001 <a> 00 0001 00 00 ]", MALFORMED);
    assert_refused(V5, CLIENT, "82 [ 0001 [] 0003 eda080 00 ]", MALFORMED);
    assert_refused(V311, CLIENT, "a2 [ 0001 0002 c0af ]", MALFORMED);
    assert_refused(V5, CLIENT, "a2 [ 0001 [] 0001 ff ]", MALFORMED);
}
END_TEST

START_TEST(subscription_identifiers_are_1_to_268435455_and_one)
{
    assert_refused(V5, CLIENT, "82 [ 0001 [ 0b 00 ] <a> 00 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "82 [ 0001 [ 0b 01 0b 02 ] <a> 00 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "82 [ 0001 [ 0b ffffffff7f ] <a> 00 ]", MALFORMED);
    assert_taken(V5, CLIENT, "82 [ 0001 [ 0b ffffff7f ] <a> 00 ]");
    ck_assert_uint_eq(any.subscribe.props.subscription_id, 268435455);
}
END_TEST

START_TEST(ten_thousand_filters_are_read_without_memory)
{
    static uint8_t room[65536];
    gv_writer_t w = gv_writer(room, sizeof(room));
    gv_writer_u16(&w, 1);
    for (int i = 0; i < 10000; i++) {
        gv_writer_put(&w, GV_BYTES_LITERAL("\x00\x03x/+\x01"));
    }
    gv_mqtt_frame_t frame = {.type = GV_MQTT_SUBSCRIBE,
                             .flags = 2,
                             .body = gv_bytes(room, sizeof(room) - gv_writer_left(&w))};
    gv_mqtt_peer_t sender = {.version = GV_MQTT_V311};
    gv_mqtt_subscribe_t subscribe;
    gv_mqtt_reason_t reason;
    ck_assert_int_eq(gv_mqtt_decode_subscribe(&frame, &sender, &subscribe, &reason), GV_OK);
    ck_assert_uint_eq(subscribe.count, 10000);
    gv_mqtt_entries_t entries = gv_mqtt_entries(&subscribe);
    uint32_t seen = 0;
    for (gv_mqtt_subscription_t entry; gv_mqtt_entries_next(&entries, &entry); seen++) {
        ck_assert(entry.parts.has_wildcard);
    }
    ck_assert_uint_eq(seen, 10000);
}
END_TEST

/* ---- SUBACK, UNSUBACK --------------------------------------------------------------------- */

START_TEST(suback_and_unsuback_keep_to_their_tables)
{
    assert_refused(V311, SERVER, "90 [ 0001 03 ]", PROTOCOL);
    assert_refused(V311, SERVER, "90 [ 0001 87 ]", PROTOCOL);
    assert_refused(V311, SERVER, "90 [ 0001 ]", MALFORMED);
    assert_refused(V5, SERVER, "90 [ 0001 [] ]", MALFORMED);
    assert_refused(V5, SERVER, "90 [ 0001 [] 00 11 ]", PROTOCOL);
    assert_refused(V5, SERVER, "b0 [ 0001 [] 01 ]", PROTOCOL);
    assert_refused(V5, SERVER, "b0 [ 0001 [] ]", MALFORMED);
    assert_refused(V311, SERVER, "b0 [ 0001 00 ]", MALFORMED);
    assert_refused(V311, SERVER, "b0 [ 0000 ]", PROTOCOL);
}
END_TEST

/* ---- DISCONNECT, AUTH, PING --------------------------------------------------------------- */

START_TEST(disconnect_has_short_forms)
{
    assert_taken(V5, CLIENT, "e0 []");
    ck_assert_int_eq(any.disconnect.reason, GV_MQTT_NORMAL_DISCONNECTION);
    assert_taken(V5, CLIENT, "e0 [ 04 ]");
    ck_assert_int_eq(any.disconnect.reason, GV_MQTT_DISCONNECT_WITH_WILL);
    assert_taken(V5, CLIENT, "e0 [ 00 [ 11 0000003c ] ]");
    ck_assert_uint_eq(any.disconnect.props.session_expiry_s, 60);
    assert_refused(V311, CLIENT, "e0 [ 00 ]", MALFORMED);
    assert_refused(V311, SERVER, "e0 []", PROTOCOL); /* there is none in 3.1.1 */
}
END_TEST

START_TEST(disconnect_says_what_its_sender_may_say)
{
    assert_refused(V5, SERVER, "e0 [ 8b [ 11 00000001 ] ]", PROTOCOL); /* [MQTT-3.14.2-2] */
    assert_refused(V5, CLIENT, "e0 [ 00 [ 1c <other> ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "e0 [ 8e ]", PROTOCOL); /* [MQTT-3.14.2-1] */
    assert_refused(V5, SERVER, "e0 [ 04 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "e0 [ 05 ]", PROTOCOL);
    assert_refused(V5, CLIENT, "e0 [ 00 [ 11 0000 ] ]", MALFORMED);
    assert_refused(V5, CLIENT, "e0 [ 00 [ 11 00000001 11 00000001 ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "e0 [ 00 [ 21 0001 ] ]", MALFORMED);
}
END_TEST

START_TEST(auth_names_its_method)
{
    assert_taken(V5, CLIENT, "f0 [ 18 [ 15 <m> 16 <d> ] ]");
    ck_assert_int_eq(any.disconnect.reason, GV_MQTT_CONTINUE_AUTHENTICATION);
    assert_taken(V5, SERVER, "f0 []");
    assert_refused(V5, CLIENT, "f0 []", PROTOCOL); /* only servers announce success */
    assert_refused(V5, CLIENT, "f0 [ 18 ]", MALFORMED);
    assert_refused(V5, CLIENT, "f0 [ 18 [] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "f0 [ 18 [ 16 <d> ] ]", PROTOCOL);
    assert_refused(V5, SERVER, "f0 [ 19 [ 15 <m> ] ]", PROTOCOL);
    assert_refused(V5, CLIENT, "f0 [ 00 [ 15 <m> ] ]", PROTOCOL);
    assert_refused(V311, CLIENT, "f0 []", PROTOCOL);
}
END_TEST

START_TEST(pings_have_no_body)
{
    assert_taken(V311, CLIENT, "c0 []");
    assert_taken(V311, SERVER, "d0 []");
    assert_refused(V311, CLIENT, "c0 [ 78 ]", MALFORMED);
    assert_refused(V5, SERVER, "d0 [ 00 ]", MALFORMED);
}
END_TEST

START_TEST(decoding_a_packet_as_another_type_aborts)
{
    gv_mqtt_frame_t frame = {.type = GV_MQTT_PUBACK};
    gv_mqtt_peer_t sender = {.version = GV_MQTT_V5};
    gv_mqtt_publish_t publish;
    gv_mqtt_reason_t reason;
    gv_err_t err = gv_mqtt_decode_publish(&frame, &sender, &publish, &reason);
    ck_assert_int_eq(err, GV_OK);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("decode");
    tcase_add_test(tc, every_sample_is_taken);
    tcase_add_test(tc, a_body_cut_anywhere_is_refused);
    tcase_add_test(tc, bytes_left_over_are_refused);
    tcase_add_test(tc, packets_of_another_version_or_side_do_no_harm);
    tcase_add_test(tc, connect_gives_all_its_fields);
    tcase_add_test(tc, name_and_level_tell_the_version_and_the_format_of_the_answer);
    tcase_add_test(tc, connect_without_name_or_level_is_malformed);
    tcase_add_test(tc, connect_flags_must_agree);
    tcase_add_test(tc, connect_fields_are_there_when_the_flags_say_so_and_only_then);
    tcase_add_test(tc, connect_strings_keep_to_the_rules);
    tcase_add_test(tc, will_topics_are_topics);
    tcase_add_test(tc, an_empty_client_id_is_for_those_who_leave_nothing_behind);
    tcase_add_test(tc, client_ids_may_be_long_and_odd);
    tcase_add_test(tc, connect_properties_make_sense);
    tcase_add_test(tc, connack_of_old_servers_is_translated);
    tcase_add_test(tc, connack_keeps_to_its_table);
    tcase_add_test(tc, publish_gives_all_its_fields);
    tcase_add_test(tc, publish_without_properties_has_none);
    tcase_add_test(tc, publish_flags_must_agree);
    tcase_add_test(tc, publish_ends_nowhere_before_its_payload);
    tcase_add_test(tc, publish_topics_are_topics);
    tcase_add_test(tc, publish_needs_a_topic_or_an_alias);
    tcase_add_test(tc, only_servers_send_subscription_identifiers);
    tcase_add_test(tc, publish_properties_make_sense);
    tcase_add_test(tc, publish_topics_may_have_any_number_of_levels);
    tcase_add_test(tc, acks_may_leave_off_what_says_nothing);
    tcase_add_test(tc, acks_need_an_identifier);
    tcase_add_test(tc, dup_on_a_request_is_3_1_only);
    tcase_add_test(tc, subscribe_gives_its_entries_in_order);
    tcase_add_test(tc, subscribe_and_unsubscribe_name_at_least_one_filter);
    tcase_add_test(tc, subscribe_and_unsubscribe_end_where_a_filter_ends);
    tcase_add_test(tc, subscribe_options_keep_to_their_bits);
    tcase_add_test(tc, no_local_is_not_for_shared_subscriptions);
    tcase_add_test(tc, filters_that_are_no_strings_are_malformed);
    tcase_add_test(tc, subscription_identifiers_are_1_to_268435455_and_one);
    tcase_add_test(tc, ten_thousand_filters_are_read_without_memory);
    tcase_add_test(tc, suback_and_unsuback_keep_to_their_tables);
    tcase_add_test(tc, disconnect_has_short_forms);
    tcase_add_test(tc, disconnect_says_what_its_sender_may_say);
    tcase_add_test(tc, auth_names_its_method);
    tcase_add_test(tc, pings_have_no_body);
    tcase_add_test_raise_signal(tc, decoding_a_packet_as_another_type_aborts, SIGABRT);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
