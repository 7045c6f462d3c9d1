/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node with real loops, threads and sockets, without cluster, storage and configuration file: two
 * shards and a hub, each on a loop of its own, and the listeners that a test asks for.  The test's
 * thread is the clients, on blocking sockets.
 *
 *     rig_open(&rig, "tcp://127.0.0.1:0");
 *     visitor_t *alice = rig_visit(&rig, 0);         connected to listener 0
 *     visitor_connect(alice, "alice");               CONNECT, CONNACK
 *     ...
 *     rig_close(&rig);
 */

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "base/alloc.h"
#include "base/io/rcu.h"
#include "broker/core/client.h"
#include "broker/core/hub.h"
#include "broker/net/listeners.h"
#include "proto/mqtt/packet.h"
#include "storage/mem_store.h"
#include "tests/unit/base/io/loop_fixture.h"

enum {
    RIG_SHARDS = 2,
    RIG_HUB = 2, /* index of the hub's loop */
    RIG_LOOPS = 3,
    RIG_LISTENERS_MAX = 4,
    RIG_HASH_SEED = 99
};

typedef struct rig {
    gv_loop_t *loops[RIG_LOOPS];
    gv_shard_t *shards[RIG_SHARDS];
    gv_frontend_t *frontends[RIG_SHARDS];
    gv_job_t turn_ends[RIG_LOOPS];
    gv_hub_t *hub;
    gv_router_t *router;
    gv_store_t *stores[RIG_SHARDS];
    gv_log_t log;
    _Atomic uint64_t nodes_alive;
    _Atomic uint64_t nodes_away;
    _Atomic uint64_t nodes_full;
    gv_retained_common_t retained_common;
    gv_limits_t limits;
    gv_listener_config_t configs[RIG_LISTENERS_MAX];
    size_t config_count;
    gv_listeners_t *listeners;
    gv_listeners_tls_t tls;
    gv_letter_t *late; /* letters to loops that are gone, newest first */
} rig_t;

static rig_t rig;

/* ---- the ports ------------------------------------------------------------------------------ */

static inline void rig_post(void *arg, uint16_t to, gv_letter_t *letter)
{
    (void)arg;
    gv_loop_t *loop = rig.loops[to == GV_HUB_INDEX ? RIG_HUB : to];
    if (loop == NULL) {
        letter->_next = rig.late;
        rig.late = letter;
        return;
    }
    gv_loop_send(loop, letter);
}

static inline void rig_read_begin(void *arg)
{
    (void)arg;
    gv_rcu_read_begin();
}

static inline void rig_read_end(void *arg)
{
    (void)arg;
    gv_rcu_read_end();
}

static inline uint64_t rig_now(void *arg)
{
    (void)arg;
    return now_ms();
}

static inline uint64_t rig_realtime(void *arg)
{
    (void)arg;
    return gv_clock_realtime_ms(gv_os_clock());
}

/* Nothing here is durable. */
static inline void rig_store_post(void *arg, gv_letter_t *letter)
{
    (void)arg, (void)letter;
    GV_ASSERT(false);
}

static inline void rig_retire(void *arg, void *ptr, void (*free_fn)(void *))
{
    (void)arg;
    gv_rcu_retire(ptr, free_fn);
}

/* ---- the node ------------------------------------------------------------------------------- */

static inline void rig_on_turn_end(gv_job_t *job)
{
    size_t index = (size_t)(job - rig.turn_ends);
    if (index == RIG_HUB) {
        gv_hub_turn_end(rig.hub);
    } else {
        gv_shard_turn_end(rig.shards[index]);
    }
}

static inline void rig_make_shard(gv_loop_t *loop, void *arg)
{
    const gv_ports_t *ports = arg;
    gv_loop_assert_current(loop);
    uint16_t index = (uint16_t)gv_loop_index(loop);
    gv_shard_options_t options = {
        .index = index,
        .count = RIG_SHARDS,
        .hash_seed = RIG_HASH_SEED,
        .random_seed = index,
        .limits = &rig.limits,
        .router = rig.router,
        .nodes_alive = &rig.nodes_alive,
        .nodes_away = &rig.nodes_away,
        .nodes_full = &rig.nodes_full,
        .retained_common = &rig.retained_common,
        .wheel = gv_loop_wheel(loop),
        .pool = gv_loop_chunkpool(loop),
        .journal = {.store = rig.stores[index], .post = rig_store_post, .log = &rig.log},
        .ports = *ports,
    };
    gv_shard_new(&options, &rig.shards[index]);
    gv_frontend_options_t frontend_options = {
        .loop = loop,
        .shard = rig.shards[index],
        .frontends = rig.frontends,
    };
    gv_frontend_new(&frontend_options, &rig.frontends[index]);
}

static inline void rig_hook(gv_loop_t *loop, void *arg)
{
    (void)arg;
    gv_loop_assert_current(loop);
    gv_job_t *job = &rig.turn_ends[gv_loop_index(loop)];
    job->run = rig_on_turn_end;
    gv_loop_on_turn_end(loop, job);
}

static inline void rig_make_node(void)
{
    gv_ports_t ports = {
        .post = rig_post,
        .read_begin = rig_read_begin,
        .read_end = rig_read_end,
        .monotonic_ms = rig_now,
        .realtime_ms = rig_realtime,
        .conn = gv_frontend_ports(),
    };
    gv_retained_common_init(&rig.retained_common, 0);
    gv_router_options_t router_options = {.hash_seed = RIG_HASH_SEED, .retire = rig_retire};
    gv_router_new(&router_options, &rig.router);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        gv_mem_options_t store_options = {.seed = i};
        gv_mem_store_new(&store_options, &rig.stores[i]);
    }
    gv_hub_options_t hub_options = {
        .shard_count = RIG_SHARDS,
        .hash_seed = RIG_HASH_SEED,
        .random_seed = RIG_HUB,
        .router = rig.router,
        .nodes_alive = &rig.nodes_alive,
        .nodes_away = &rig.nodes_away,
        .nodes_full = &rig.nodes_full,
        .log = &rig.log,
        .store = rig.stores[0],
        .store_post = rig_store_post,
        .retained_common = &rig.retained_common,
        .ports = ports,
    };
    gv_hub_new(&hub_options, &rig.hub);
    for (uint32_t i = 0; i < RIG_LOOPS; i++) {
        rig.loops[i] = started_loop(i);
    }
    void *shards[RIG_SHARDS];
    gv_log_init(&rig.log);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        call_on(rig.loops[i], rig_make_shard, &ports);
        shards[i] = rig.shards[i];
    }
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        gv_shard_connect(rig.shards[i], rig.shards, rig.hub);
    }
    gv_hub_connect(rig.hub, shards, NULL);
    for (uint32_t i = 0; i < RIG_LOOPS; i++) {
        call_on(rig.loops[i], rig_hook, NULL);
    }
}

static inline void rig_init(void)
{
    gv_os_ignore_sigpipe();
    rig = (rig_t){
        .limits =
            {
                .packet_size_max = 4 << 20,
                .connect_size_max = 1 << 17,
                .client_id_size_max = 256,
                .topic_size_max = 4096,
                .topic_levels_max = 64,
                .subscriptions_max = 1000,
                .connect_timeout_ms = 10000,
                .session_expiry_max_s = UINT32_MAX,
                .receive_max = 64,
                .inflight_max = 64,
                .topic_alias_max = 4,
                .topic_alias_send_max = 16,
                .topic_alias_bytes_max = 4096,
                .topic_alias_memory_max = 1 << 20,
                .queue_messages_max = 1000,
                .queue_bytes_max = 1 << 20,
                .stored_queue_messages_max = 1000,
                .stored_queue_bytes_max = 1 << 20,
                .output_bytes_max = 64 << 20,
                .output_bytes_soft = 32 << 20,
                .slow_reader_timeout_ms = 20000,
                .retain_available = true,
                .payload_format_check = true,
            },
    };
}

static inline void rig_add_listener(const char *url)
{
    gv_listener_config_t *config = &rig.configs[rig.config_count++];
    ck_assert_ptr_null(gv_listener_url_parse(url, config));
    config->anonymous_allowed = true;
}

static inline gv_listeners_options_t rig_listeners_options(void)
{
    return (gv_listeners_options_t){
        .items = rig.configs,
        .count = rig.config_count,
        .loops = rig.loops,
        .frontends = rig.frontends,
        .loop_count = RIG_SHARDS,
        .tls = rig.tls,
    };
}

/* After rig_init() and rig_add_listener(). */
static inline void rig_start(void)
{
    rig_make_node();
    gv_listeners_options_t options = rig_listeners_options();
    gv_error_text_t error;
    gv_err_t err = gv_listeners_bind(&options, &rig.listeners, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    ck_assert_int_eq(gv_listeners_open(rig.listeners, &error), GV_OK);
}

static inline void rig_open(const char *url)
{
    rig_init();
    rig_add_listener(url);
    rig_start();
}

static inline uint64_t rig_connections(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        sum += gv_counter_get(&gv_frontend_stats(rig.frontends[i])->connections);
    }
    return sum;
}

static inline void rig_wait_for_connections(uint64_t count)
{
    for (int i = 0; i < 5000 && rig_connections() != count; i++) {
        sleep_ms(1);
    }
    ck_assert_uint_eq(rig_connections(), count);
}

static inline void rig_close(void)
{
    for (uint32_t i = 0; i < RIG_LOOPS; i++) {
        gv_loop_stop(rig.loops[i]);
    }
    for (uint32_t i = 0; i < RIG_LOOPS; i++) {
        gv_loop_join(rig.loops[i]);
    }
    ck_assert_uint_eq(rig_connections(), 0);
    gv_loop_assert_current(NULL); /* they have ended, we may look into them */
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        ck_assert_uint_eq(gv_chunkpool_bytes_out(gv_loop_chunkpool(rig.loops[i])), 0);
    }
    /* What is still under way is delivered by gv_loop_free(), and the answers to it by hand. */
    for (uint32_t i = 0; i < RIG_LOOPS; i++) {
        gv_loop_free(&rig.loops[i]);
    }
    gv_rcu_thread_register();
    while (rig.late != NULL) {
        gv_letter_t *letter = rig.late;
        rig.late = letter->_next;
        letter->deliver(letter);
    }
    for (size_t i = 0; i < gv_listeners_count(rig.listeners); i++) {
        ck_assert_uint_eq(gv_listeners_info(rig.listeners, i).connections, 0);
    }
    gv_listeners_free(&rig.listeners);
    for (uint32_t i = 0; i < RIG_SHARDS; i++) {
        gv_frontend_free(&rig.frontends[i]);
        gv_shard_free(&rig.shards[i]);
        gv_store_close(&rig.stores[i]);
    }
    gv_log_deinit(&rig.log);
    gv_hub_free(&rig.hub);
    gv_router_free(&rig.router);
    gv_rcu_barrier();
    gv_rcu_thread_unregister();
    for (size_t i = 0; i < rig.config_count; i++) {
        gv_listener_config_deinit(&rig.configs[i]);
    }
}

/* ---- visitors ------------------------------------------------------------------------------- */

typedef struct visitor visitor_t;

/* How bytes get to the node: plain, or through what a test puts between. */
typedef struct visitor_way {
    void (*send)(visitor_t *visitor, const void *bytes, size_t size);
    ssize_t (*receive)(visitor_t *visitor, void *room, size_t size); /* 0: the end */
    void (*leave)(visitor_t *visitor);                               /* may be NULL */
} visitor_way_t;

struct visitor {
    int fd;
    const visitor_way_t *way;
    void *data;        /* the way's own */
    uint8_t *received; /* not looked at yet */
    size_t received_size;
    size_t received_room;
    bool is_at_end;
    uint16_t packet_id;
    gv_mqtt_frame_t frame; /* the last packet, in `received` until the next one is asked for */
};

static inline void plain_send(visitor_t *visitor, const void *bytes, size_t size)
{
    const uint8_t *pos = bytes;
    while (size > 0) {
        ssize_t sent = send(visitor->fd, pos, size, MSG_NOSIGNAL);
        if (sent < 0) {
            ck_assert_msg(errno == EPIPE || errno == ECONNRESET, "%s", strerror(errno));
            return; /* who wants to know receives */
        }
        pos += sent;
        size -= (size_t)sent;
    }
}

static inline ssize_t plain_receive(visitor_t *visitor, void *room, size_t size)
{
    ssize_t got = recv(visitor->fd, room, size, 0);
    ck_assert_msg(got >= 0 || errno == ECONNRESET, "nothing came in time: %s", strerror(errno));
    return got < 0 ? 0 : got;
}

static const visitor_way_t plain_way = {.send = plain_send, .receive = plain_receive};

static inline visitor_t *visitor_of(int fd)
{
    struct timeval patience = {.tv_sec = 20};
    ck_assert_int_eq(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
    visitor_t *visitor = GV_NEW(visitor_t);
    visitor->fd = fd;
    visitor->way = &plain_way;
    return visitor;
}

static inline visitor_t *rig_visit(size_t listener)
{
    const gv_listener_config_t *config = &rig.configs[listener];
    gv_address_t address = {.size = sizeof(struct sockaddr_in)};
    if (config->scheme == GV_LISTENER_UNIX) {
        struct sockaddr_un *un = (struct sockaddr_un *)&address.storage;
        un->sun_family = AF_UNIX;
        (void)snprintf(un->sun_path, sizeof(un->sun_path), "%s", config->path);
        address.size = sizeof(*un);
    } else {
        *(struct sockaddr_in *)&address.storage = (struct sockaddr_in){
            .sin_family = AF_INET,
            .sin_port = htons(gv_listeners_info(rig.listeners, listener).port),
            .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
    }
    int fd = socket(address.storage.ss_family, SOCK_STREAM, 0);
    ck_assert_int_ge(fd, 0);
    /* The letter that opens the listener may still be on its way. */
    int rc = -1;
    for (int i = 0; i < 2000 && rc != 0; i++) {
        rc = connect(fd, (struct sockaddr *)&address.storage, address.size);
        if (rc != 0) {
            sleep_ms(1);
        }
    }
    ck_assert_int_eq(rc, 0);
    return visitor_of(fd);
}

static inline void visitor_leave(visitor_t **visitorp)
{
    visitor_t *visitor = *visitorp;
    *visitorp = NULL;
    if (visitor->way->leave != NULL) {
        visitor->way->leave(visitor);
    }
    (void)close(visitor->fd);
    gv_free(visitor->received);
    gv_free(visitor);
}

static inline void visitor_send(visitor_t *visitor, const void *bytes, size_t size)
{
    visitor->way->send(visitor, bytes, size);
}

/* Receives once; false at the end. */
static inline bool visitor_fill(visitor_t *visitor)
{
    if (visitor->received_room - visitor->received_size < 65536) {
        visitor->received_room = visitor->received_size * 2 + 65536;
        visitor->received = gv_xrealloc(visitor->received, visitor->received_room);
    }
    ssize_t got = visitor->way->receive(visitor, visitor->received + visitor->received_size,
                                        visitor->received_room - visitor->received_size);
    visitor->is_at_end = got <= 0;
    visitor->received_size += got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* The next packet into visitor->frame; false at the end of the connection. */
static inline bool visitor_next(visitor_t *visitor)
{
    size_t seen = visitor->frame.body.data != NULL ? visitor->frame.size : 0;
    visitor->frame = (gv_mqtt_frame_t){.size = 0};
    if (seen > 0) {
        memmove(visitor->received, visitor->received + seen, visitor->received_size - seen);
        visitor->received_size -= seen;
    }
    for (;;) {
        gv_mqtt_frame_t frame;
        gv_err_t err = gv_mqtt_frame(gv_bytes(visitor->received, visitor->received_size),
                                     GV_MQTT_PACKET_SIZE_MAX, &frame);
        if (err == GV_OK) {
            visitor->frame = frame;
            return true;
        }
        ck_assert_int_eq(err, GV_ERR_AGAIN);
        if (!visitor_fill(visitor)) {
            return false;
        }
    }
}

static inline void visitor_expect(visitor_t *visitor, gv_mqtt_type_t type)
{
    ck_assert(visitor_next(visitor));
    ck_assert_str_eq(gv_mqtt_type_text(visitor->frame.type), gv_mqtt_type_text(type));
}

/* The node ends the connection; what it sends before is not looked at. */
static inline void visitor_expect_end(visitor_t *visitor)
{
    while (visitor_next(visitor)) {
    }
    ck_assert(visitor->is_at_end);
}

static const gv_mqtt_peer_t visitor_peer = {.version = GV_MQTT_V5, .is_server = true};

static inline size_t connect_packet(const char *id, uint8_t *room, size_t size)
{
    gv_mqtt_connect_t connect = {
        .version = GV_MQTT_V5, .client_id = gv_bytes_text(id), .clean_start = true};
    gv_writer_t w = gv_writer(room, size);
    return gv_mqtt_encode_connect(&connect, &w);
}

static inline void visitor_connect(visitor_t *visitor, const char *id)
{
    uint8_t bytes[512];
    visitor_send(visitor, bytes, connect_packet(id, bytes, sizeof(bytes)));
    visitor_expect(visitor, GV_MQTT_CONNACK);
    ck_assert_uint_eq(visitor->frame.body.data[1], 0);
}

static inline size_t publish_packet(const char *topic, gv_bytes_t payload, uint8_t *room,
                                    size_t size)
{
    gv_mqtt_publish_t publish = {.topic = gv_bytes_text(topic), .payload = payload};
    gv_writer_t w = gv_writer(room, size);
    return gv_mqtt_encode_publish(&publish, &visitor_peer, &w);
}

static inline void visitor_publish(visitor_t *visitor, const char *topic, gv_bytes_t payload)
{
    size_t room = payload.size + 512;
    uint8_t *bytes = gv_xalloc(room);
    visitor_send(visitor, bytes, publish_packet(topic, payload, bytes, room));
    gv_free(bytes);
}

static inline void visitor_subscribe(visitor_t *visitor, const char *filter)
{
    uint8_t bytes[512];
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filter)};
    gv_mqtt_subscribe_request_t request = {
        .packet_id = ++visitor->packet_id, .entries = &entry, .count = 1};
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    visitor_send(visitor, bytes, gv_mqtt_encode_subscribe(&request, &visitor_peer, &w));
    visitor_expect(visitor, GV_MQTT_SUBACK);
}

/* The payload of the next packet, which has to be a PUBLISH; valid until the next one. */
/* The payload of the PUBLISH in visitor->frame. */
static inline gv_bytes_t visitor_payload(visitor_t *visitor)
{
    gv_mqtt_publish_t publish;
    gv_mqtt_reason_t reason = GV_MQTT_SUCCESS;
    ck_assert_int_eq(gv_mqtt_decode_publish(&visitor->frame, &visitor_peer, &publish, &reason),
                     GV_OK);
    return publish.payload;
}

static inline gv_bytes_t visitor_expect_publish(visitor_t *visitor)
{
    visitor_expect(visitor, GV_MQTT_PUBLISH);
    return visitor_payload(visitor);
}

static inline void visitor_ping(visitor_t *visitor)
{
    static const uint8_t ping[] = {0xc0, 0x00};
    visitor_send(visitor, ping, sizeof(ping));
    visitor_expect(visitor, GV_MQTT_PINGRESP);
}

/* An id whose home is the shard. */
static inline const char *id_at_home_on(uint16_t shard, unsigned number, char *room, size_t size)
{
    for (unsigned i = 0;; i++) {
        (void)snprintf(room, size, "visitor-%u-%u", number, i);
        if (gv_shard_home(gv_bytes_text(room), RIG_HASH_SEED, RIG_SHARDS) == shard) {
            return room;
        }
    }
}
