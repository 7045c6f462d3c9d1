/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node without a world: shards and hub of broker/core in one thread, with a post office that
 * delivers when it is told to, connections that are byte arrays, and a clock that stands still.
 * Tests speak MQTT to it with the codec of proto/mqtt.
 *
 *     house_t house;
 *     house_open(&house, 2);
 *     guest_t *alice = house_connect(&house, GV_MQTT_V5, "alice", true);
 *     guest_subscribe(alice, "a/+", 1);
 *     guest_publish(alice, "a/b", "hello", 1, false);
 *     ck_assert_str_eq(guest_next(alice), "PUBLISH a/b q1 hello");
 *     house_close(&house);
 *
 * guest_next() turns the next packet the guest has received into text; "" is none.
 */

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "broker/core/client.h"
#include "broker/core/hub.h"
#include "broker/core/session.h"
#include "broker/core/shard.h"
#include "proto/mqtt/packet.h"

enum {
    HOUSE_SHARDS_MAX = 4,
    HOUSE_LETTERS_MAX = 4096
};

typedef struct house house_t;

typedef struct guest {
    gv_conn_t conn;
    gv_outbuf_t out;
    house_t *house;
    uint16_t shard;
    gv_mqtt_version_t version;
    uint8_t *input; /* sent by the guest, not consumed by the shard */
    size_t input_size;
    uint8_t *received; /* sent by the shard, not looked at by the guest */
    size_t received_size;
    char text[512];
    uint16_t last_packet_id; /* of the last packet guest_next() has described */
    uint16_t next_packet_id;
    bool is_paused;
    bool is_closing; /* the core has closed it */
    bool is_gone;
} guest_t;

struct house {
    gv_shard_t *shards[HOUSE_SHARDS_MAX];
    gv_timerwheel_t *wheel;
    gv_chunkpool_t pool;
    gv_hub_t *hub;
    gv_router_t *router;
    _Atomic uint64_t nodes_alive;
    uint16_t shard_count;
    gv_limits_t limits;
    uint64_t now_ms;
    gv_letter_t *letters[HOUSE_LETTERS_MAX]; /* a ring, in the order sent */
    uint32_t letter_head;
    uint32_t letter_tail;
    guest_t *guests[64];
    size_t guest_count;
    struct {
        void *ptr;
        void (*free_fn)(void *);
    } retired[HOUSE_LETTERS_MAX];
    size_t retired_count;
};

/* ---- the world ------------------------------------------------------------------------------ */

static inline void house_post(void *arg, uint16_t to, gv_letter_t *letter)
{
    house_t *house = arg;
    (void)to;
    ck_assert_uint_lt(house->letter_tail - house->letter_head, HOUSE_LETTERS_MAX);
    house->letters[house->letter_tail++ % HOUSE_LETTERS_MAX] = letter;
}

static inline void house_nothing(void *arg)
{
    (void)arg;
}

static inline uint64_t house_now(void *arg)
{
    return ((house_t *)arg)->now_ms;
}

static inline bool house_retain_store(void *arg, gv_bytes_t topic, gv_msgbuf_t *kept,
                                      const void *ticket, size_t ticket_size)
{
    (void)arg, (void)topic, (void)kept, (void)ticket, (void)ticket_size;
    return false;
}

/* Nobody reads between two calls into the house, so a retired object waits for the next settling.
 */
static inline void house_retire(void *arg, void *ptr, void (*free_fn)(void *))
{
    house_t *house = arg;
    ck_assert_uint_lt(house->retired_count, HOUSE_LETTERS_MAX);
    house->retired[house->retired_count].ptr = ptr;
    house->retired[house->retired_count++].free_fn = free_fn;
}

static inline void house_free_retired(house_t *house)
{
    for (size_t i = 0; i < house->retired_count; i++) {
        house->retired[i].free_fn(house->retired[i].ptr);
    }
    house->retired_count = 0;
}

static inline guest_t *guest_of(gv_conn_t *conn)
{
    return gv_container_of(conn, guest_t, conn);
}

static inline void conn_output(gv_conn_t *conn)
{
    (void)conn;
}

static inline void conn_close(gv_conn_t *conn)
{
    guest_of(conn)->is_closing = true;
}

static inline void conn_pause(gv_conn_t *conn, bool paused)
{
    guest_of(conn)->is_paused = paused;
}

static inline void conn_expect(gv_conn_t *conn, size_t size)
{
    (void)conn, (void)size;
}

static inline void conn_move(gv_conn_t *conn, uint16_t shard)
{
    guest_t *guest = guest_of(conn);
    guest->shard = shard;
    gv_client_open(guest->house->shards[shard], conn);
}

static const gv_conn_ports_t house_conn_ports = {
    .output = conn_output,
    .close = conn_close,
    .pause = conn_pause,
    .expect = conn_expect,
    .move = conn_move,
};

/* Whatever the shard has put out becomes what the guest has received.  True: there was some. */
static inline bool guest_collect(guest_t *guest)
{
    gv_bytes_t vec[16];
    bool has_output = gv_outbuf_size(&guest->out) > 0;
    while (gv_outbuf_size(&guest->out) > 0) {
        size_t count = gv_outbuf_iovec(&guest->out, vec, 16);
        size_t size = 0;
        for (size_t i = 0; i < count; i++) {
            guest->received = gv_xrealloc(guest->received, guest->received_size + vec[i].size);
            memcpy(guest->received + guest->received_size, vec[i].data, vec[i].size);
            guest->received_size += vec[i].size;
            size += vec[i].size;
        }
        gv_outbuf_consume(&guest->out, &guest->house->pool, size);
    }
    guest->conn.has_output = false;
    guest->conn.progress_ms = guest->house->now_ms;
    if (has_output) {
        gv_client_drained(guest->conn.client);
    }
    return has_output;
}

/* Offers input that waits.  True if the shard took some of it. */
static inline bool guest_offer(guest_t *guest)
{
    if (guest->is_closing || guest->is_gone || guest->is_paused || guest->input_size == 0) {
        return false;
    }
    uint16_t shard = guest->shard;
    size_t used = gv_client_input(guest->conn.client, gv_bytes(guest->input, guest->input_size));
    ck_assert_uint_le(used, guest->input_size);
    memmove(guest->input, guest->input + used, guest->input_size - used);
    guest->input_size -= used;
    return used > 0 || guest->shard != shard;
}

/* Lets everything happen that can happen without time passing. */
static inline void house_settle(house_t *house)
{
    bool goes_on = true;
    while (goes_on) {
        goes_on = false;
        house_free_retired(house);
        for (size_t i = 0; i < house->guest_count; i++) {
            /* A move leaves the input where it is: offer it to the other shard too. */
            while (guest_offer(house->guests[i])) {
                goes_on = true;
            }
        }
        for (uint16_t i = 0; i < house->shard_count; i++) {
            gv_shard_turn_end(house->shards[i]);
        }
        gv_hub_turn_end(house->hub);
        while (house->letter_head != house->letter_tail) {
            gv_letter_t *letter = house->letters[house->letter_head++ % HOUSE_LETTERS_MAX];
            letter->deliver(letter);
            goes_on = true;
        }
        for (size_t i = 0; i < house->guest_count; i++) {
            guest_t *guest = house->guests[i];
            if (!guest->is_gone && guest_collect(guest)) {
                goes_on = true;
            }
            if (guest->is_closing && !guest->is_gone) {
                guest->is_gone = true;
                gv_client_closed(&guest->conn.client);
                goes_on = true;
            }
        }
    }
}

static inline void house_pass(house_t *house, uint64_t ms)
{
    for (uint64_t end = house->now_ms + ms; house->now_ms < end;) {
        house->now_ms = house->now_ms + 10 < end ? house->now_ms + 10 : end;
        (void)gv_timerwheel_advance(house->wheel, house->now_ms);
        house_settle(house);
    }
}

static inline void house_open(house_t *house, uint16_t shard_count)
{
    *house = (house_t){.shard_count = shard_count, .now_ms = 1000000};
    house->limits = (gv_limits_t){
        .packet_size_max = 1 << 20,
        .connect_size_max = 1 << 17,
        .client_id_size_max = 256,
        .topic_size_max = 4096,
        .topic_levels_max = 64,
        .subscriptions_max = 1000,
        .connect_timeout_ms = 10000,
        .session_expiry_max_s = GV_EXPIRY_NEVER,
        .receive_max = 64,
        .inflight_max = 8,
        .topic_alias_max = 4,
        .queue_messages_max = 100,
        .queue_bytes_max = 1 << 20,
        .output_bytes_max = 1 << 20,
        .output_bytes_soft = 1 << 19,
        .slow_reader_timeout_ms = 20000,
        .retain_available = true,
    };
    gv_timerwheel_new(house->now_ms, &house->wheel);
    gv_chunkpool_init(&house->pool);
    gv_router_options_t router_options = {
        .hash_seed = 7, .retire = house_retire, .retire_arg = house};
    gv_router_new(&router_options, &house->router);
    gv_ports_t ports = {
        .arg = house,
        .post = house_post,
        .read_begin = house_nothing,
        .read_end = house_nothing,
        .monotonic_ms = house_now,
        .retain_store = house_retain_store,
        .conn = &house_conn_ports,
    };
    gv_hub_options_t hub_options = {
        .shard_count = shard_count,
        .hash_seed = 7,
        .random_seed = 7,
        .router = house->router,
        .nodes_alive = &house->nodes_alive,
        .ports = ports,
    };
    gv_hub_new(&hub_options, &house->hub);
    for (uint16_t i = 0; i < shard_count; i++) {
        gv_shard_options_t options = {
            .index = i,
            .count = shard_count,
            .hash_seed = 7,
            .random_seed = 7,
            .limits = &house->limits,
            .router = house->router,
            .nodes_alive = &house->nodes_alive,
            .wheel = house->wheel,
            .pool = &house->pool,
            .ports = ports,
        };
        gv_shard_new(&options, &house->shards[i]);
    }
    for (uint16_t i = 0; i < shard_count; i++) {
        gv_shard_connect(house->shards[i], house->shards, house->hub);
    }
    void *shards[HOUSE_SHARDS_MAX];
    for (uint16_t i = 0; i < shard_count; i++) {
        shards[i] = house->shards[i];
    }
    gv_hub_connect(house->hub, shards, NULL);
}

/* The guest's connection breaks. */
static inline void guest_leave(guest_t *guest)
{
    house_settle(guest->house);
    if (!guest->is_gone) {
        guest->is_gone = true;
        gv_client_closed(&guest->conn.client);
        house_settle(guest->house);
    }
}

static inline void house_close(house_t *house)
{
    for (size_t i = 0; i < house->guest_count; i++) {
        guest_leave(house->guests[i]);
    }
    house_settle(house);
    for (uint16_t i = 0; i < house->shard_count; i++) {
        gv_shard_free(&house->shards[i]);
    }
    gv_hub_free(&house->hub);
    house_free_retired(house);
    gv_router_free(&house->router);
    for (size_t i = 0; i < house->guest_count; i++) {
        gv_outbuf_clear(&house->guests[i]->out, &house->pool);
        gv_free(house->guests[i]->input);
        gv_free(house->guests[i]->received);
        gv_free(house->guests[i]);
    }
    gv_chunkpool_deinit(&house->pool);
    gv_timerwheel_free(&house->wheel);
}

/* ---- guests --------------------------------------------------------------------------------- */

static inline gv_mqtt_peer_t guest_server(const guest_t *guest)
{
    return (gv_mqtt_peer_t){.version = guest->version, .is_server = true};
}

/* Sends bytes without waiting for what they cause. */
static inline void guest_push(guest_t *guest, const void *bytes, size_t size)
{
    guest->input = gv_xrealloc(guest->input, guest->input_size + size);
    memcpy(guest->input + guest->input_size, bytes, size);
    guest->input_size += size;
}

static inline void guest_send(guest_t *guest, const void *bytes, size_t size)
{
    guest_push(guest, bytes, size);
    house_settle(guest->house);
}

/* A connection that has said nothing yet. */
static inline guest_t *house_visit(house_t *house, gv_mqtt_version_t version)
{
    guest_t *guest = GV_NEW(guest_t);
    guest->house = house;
    guest->version = version;
    guest->conn.out = &guest->out;
    guest->conn.peer = "test";
    guest->conn.anonymous_allowed = true;
    guest->conn.progress_ms = house->now_ms;
    gv_outbuf_init(&guest->out);
    ck_assert_uint_lt(house->guest_count, 64);
    house->guests[house->guest_count++] = guest;
    gv_client_open(house->shards[0], &guest->conn);
    return guest;
}

static inline void guest_connect(guest_t *guest, gv_mqtt_connect_t connect)
{
    uint8_t bytes[2048];
    connect.version = guest->version;
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_connect(&connect, &w);
    ck_assert_uint_gt(size, 0);
    guest_send(guest, bytes, size);
}

/* Describes the next packet received, for comparing; "" when there is none. */
static inline const char *guest_next(guest_t *guest)
{
    guest->text[0] = '\0';
    gv_mqtt_frame_t frame;
    gv_bytes_t all = gv_bytes(guest->received, guest->received_size);
    if (gv_mqtt_frame(all, GV_MQTT_PACKET_SIZE_MAX, &frame) != GV_OK) {
        return guest->text;
    }
    gv_mqtt_peer_t server = guest_server(guest);
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    char *text = guest->text;
    size_t room = sizeof(guest->text);
    int used = snprintf(text, room, "%s", gv_mqtt_type_text(frame.type));
    text += used;
    room -= (size_t)used;
    if (frame.type == GV_MQTT_CONNACK) {
        gv_mqtt_connack_t connack;
        ck_assert_int_eq(gv_mqtt_decode_connack(&frame, &server, &connack, &reason), GV_OK);
        (void)snprintf(text, room, " %02x%s", (unsigned)connack.reason,
                       connack.session_present ? " present" : "");
    } else if (frame.type == GV_MQTT_PUBLISH) {
        gv_mqtt_publish_t publish;
        ck_assert_int_eq(gv_mqtt_decode_publish(&frame, &server, &publish, &reason), GV_OK);
        guest->last_packet_id = publish.packet_id;
        (void)snprintf(text, room, " %.*s q%u%s%s %.*s", (int)publish.topic.size,
                       (const char *)publish.topic.data, publish.qos, publish.retain ? " r" : "",
                       publish.dup ? " dup" : "", (int)publish.payload.size,
                       (const char *)publish.payload.data);
    } else if (frame.type >= GV_MQTT_PUBACK && frame.type <= GV_MQTT_PUBCOMP) {
        gv_mqtt_ack_t ack;
        ck_assert_int_eq(gv_mqtt_decode_ack(&frame, &server, &ack, &reason), GV_OK);
        guest->last_packet_id = ack.packet_id;
        (void)snprintf(text, room, " %u %02x", ack.packet_id, (unsigned)ack.reason);
    } else if (frame.type == GV_MQTT_SUBACK || frame.type == GV_MQTT_UNSUBACK) {
        gv_mqtt_suback_t suback;
        ck_assert_int_eq(frame.type == GV_MQTT_SUBACK
                             ? gv_mqtt_decode_suback(&frame, &server, &suback, &reason)
                             : gv_mqtt_decode_unsuback(&frame, &server, &suback, &reason),
                         GV_OK);
        for (size_t i = 0; i < suback.codes.size; i++) {
            used = snprintf(text, room, " %02x", suback.codes.data[i]);
            text += used;
            room -= (size_t)used;
        }
    } else if (frame.type == GV_MQTT_DISCONNECT) {
        gv_mqtt_disconnect_t disconnect;
        ck_assert_int_eq(gv_mqtt_decode_disconnect(&frame, &server, &disconnect, &reason), GV_OK);
        (void)snprintf(text, room, " %02x", (unsigned)disconnect.reason);
    }
    memmove(guest->received, guest->received + frame.size, guest->received_size - frame.size);
    guest->received_size -= frame.size;
    return guest->text;
}

static inline guest_t *house_connect(house_t *house, gv_mqtt_version_t version, const char *id,
                                     bool clean_start)
{
    guest_t *guest = house_visit(house, version);
    gv_mqtt_connect_t connect = {.client_id = gv_bytes_text(id), .clean_start = clean_start};
    if (version == GV_MQTT_V5 && !clean_start) {
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
    }
    guest_connect(guest, connect);
    ck_assert_int_eq(strncmp(guest_next(guest), "CONNACK 00", 10), 0);
    return guest;
}

static inline void guest_push_publish(guest_t *guest, const char *topic, const char *payload,
                                      uint8_t qos, bool retain)
{
    uint8_t bytes[8192];
    if (qos > 0) {
        guest->next_packet_id++;
    }
    gv_mqtt_publish_t publish = {
        .topic = gv_bytes_text(topic),
        .payload = gv_bytes_text(payload),
        .packet_id = qos > 0 ? guest->next_packet_id : 0,
        .qos = qos,
        .retain = retain,
    };
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_publish(&publish, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_push(guest, bytes, size);
}

static inline void guest_publish(guest_t *guest, const char *topic, const char *payload,
                                 uint8_t qos, bool retain)
{
    guest_push_publish(guest, topic, payload, qos, retain);
    house_settle(guest->house);
}

static inline void guest_ack(guest_t *guest, gv_mqtt_type_t type, uint16_t packet_id)
{
    uint8_t bytes[GV_MQTT_ACK_SIZE];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_write_ack(&w, type, packet_id);
    guest_send(guest, bytes, sizeof(bytes));
}

static inline void guest_push_subscribe(guest_t *guest, gv_mqtt_subscription_t entry, uint32_t id)
{
    uint8_t bytes[4096];
    gv_mqtt_peer_t server = guest_server(guest);
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    if (id != 0) {
        gv_mqtt_props_set_number(&props, GV_MQTT_PROP_SUBSCRIPTION_ID, id);
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_subscribe_request_t request = {
        .packet_id = ++guest->next_packet_id, .entries = &entry, .count = 1, .props = props};
    size_t size = gv_mqtt_encode_subscribe(&request, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_push(guest, bytes, size);
}

/* Subscribes and checks the code in SUBACK. */
static inline void guest_subscribe(guest_t *guest, const char *filter, uint8_t qos)
{
    guest_push_subscribe(guest, (gv_mqtt_subscription_t){.text = gv_bytes_text(filter), .qos = qos},
                         0);
    house_settle(guest->house);
    char expected[32];
    (void)snprintf(expected, sizeof(expected), "SUBACK %02x", qos);
    ck_assert_str_eq(guest_next(guest), expected);
}
