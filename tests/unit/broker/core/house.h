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
#include "broker/core/restore.h"
#include "broker/core/session.h"
#include "broker/core/shard.h"
#include "proto/mqtt/packet.h"
#include "storage/identity.h"
#include "storage/mem_store.h"
#include "storage/retained_store.h"

enum {
    HOUSE_SHARDS_MAX = 4,
    HOUSE_LETTERS_MAX = 4096,
    HOUSE_GUESTS_MAX = 64,
    HOUSE_ALIASES_MAX = 16, /* topic aliases a guest may say it takes */
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
    char text[6144];
    uint16_t last_packet_id;  /* of the last packet guest_next() has described */
    uint16_t last_request_id; /* of the last SUBACK or UNSUBACK among them */
    size_t last_size;         /* of that packet [bytes] */
    uint16_t last_alias;      /* of the last PUBLISH; 0: none */
    uint16_t alias_max;       /* Topic Alias Maximum of its CONNECT */
    char *aliases[HOUSE_ALIASES_MAX];
    uint16_t next_packet_id;
    bool is_slow; /* takes output only by guest_take() */
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
    gv_store_t *store; /* in memory; batches become durable when the house settles */
    gv_log_t log;
    uint64_t start_number;
    uint8_t number; /* of the node, in its id */
    bool is_clustered;
    gv_retained_common_t *retained_common;
    int64_t clock_ahead_ms; /* its time of the day is wrong by so much */
    bool is_store_slow;     /* then they do not */
    _Atomic uint64_t nodes_alive;
    _Atomic uint64_t nodes_away;
    _Atomic uint64_t nodes_full;
    uint16_t shard_count;
    uint16_t next_shard_count; /* from the next start on; 0: as before */
    size_t image_bytes_max;
    gv_limits_t limits;
    gv_auth_ports_t auth;
    gv_bucket_t connects;
    gv_memory_t memory; /* without a limit, until a test sets one */
    char told[1024];    /* who came and went, one line each */
    uint64_t now_ms;
    uint64_t booted_ms; /* when the machine started, after some time of the day */
    struct {
        gv_letter_t *letter;
        bool is_of_store;         /* else it is a parcel */
    } letters[HOUSE_LETTERS_MAX]; /* a ring, in the order sent */
    uint32_t letter_head;
    uint32_t letter_tail;
    guest_t *guests[HOUSE_GUESTS_MAX];
    size_t guest_count;
    struct {
        void *ptr;
        void (*free_fn)(void *);
    } retired[HOUSE_LETTERS_MAX];
    size_t retired_count;
};

/* ---- the world ------------------------------------------------------------------------------ */

static inline void house_put_letter(house_t *house, gv_letter_t *letter, bool is_of_store)
{
    ck_assert_uint_lt(house->letter_tail - house->letter_head, HOUSE_LETTERS_MAX);
    uint32_t place = house->letter_tail++ % HOUSE_LETTERS_MAX;
    house->letters[place].letter = letter;
    house->letters[place].is_of_store = is_of_store;
}

static inline void house_post(void *arg, uint16_t to, gv_letter_t *letter)
{
    (void)to;
    house_put_letter(arg, letter, false);
}

static inline void house_nothing(void *arg)
{
    (void)arg;
}

static inline uint64_t house_now(void *arg)
{
    return ((house_t *)arg)->now_ms;
}

/* Runs with the other clock, which begins anew when the machine starts. */
static inline uint64_t house_realtime(void *arg)
{
    const house_t *house = arg;
    return 1700000000000U + house->booted_ms + house->now_ms + (uint64_t)house->clock_ahead_ms;
}

static inline void house_store_post(void *arg, gv_letter_t *letter)
{
    house_put_letter(arg, letter, true);
}

static inline void house_presence(void *arg, const gv_presence_t *presence)
{
    house_t *house = arg;
    size_t used = strlen(house->told);
    (void)snprintf(house->told + used, sizeof(house->told) - used, "%.*s %s%02x%s\n",
                   (int)presence->topic.size, (const char *)presence->topic.data,
                   presence->has_username ? "named " : "", (unsigned)presence->reason,
                   presence->is_lost ? " lost" : "");
}

/* What the node believes to use of its memory [bytes]. */
static uint64_t house_memory_used;

static inline uint64_t house_memory_in_use(void)
{
    return house_memory_used;
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

/* Output that begins is not late. */
static inline void conn_output(gv_conn_t *conn)
{
    conn->progress_ms = guest_of(conn)->house->now_ms;
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

/* Some of what the shard has put out becomes what the guest has received.  True: there was some. */
static inline bool guest_take(guest_t *guest, size_t size_max)
{
    gv_bytes_t vec[16];
    size_t left = gv_outbuf_size(&guest->out) < size_max ? gv_outbuf_size(&guest->out) : size_max;
    bool has_output = left > 0;
    while (left > 0) {
        size_t count = gv_outbuf_iovec(&guest->out, vec, 16);
        size_t size = 0;
        for (size_t i = 0; i < count && size < left; i++) {
            size_t part = vec[i].size < left - size ? vec[i].size : left - size;
            guest->received = gv_xrealloc(guest->received, guest->received_size + part);
            memcpy(guest->received + guest->received_size, vec[i].data, part);
            guest->received_size += part;
            size += part;
        }
        gv_outbuf_consume(&guest->out, &guest->house->pool, size);
        left -= size;
    }
    guest->conn.has_output = gv_outbuf_size(&guest->out) > 0;
    if (has_output || !guest->conn.has_output) {
        guest->conn.progress_ms = guest->house->now_ms;
    }
    if (has_output && !guest->is_gone) {
        gv_client_drained(guest->conn.client);
    }
    return has_output;
}

/* All of it, unless the guest is slow. */
static inline bool guest_collect(guest_t *guest)
{
    return !guest->is_slow && guest_take(guest, SIZE_MAX);
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

/*
 * Who may overtake whom: letters of one way keep their order.  In a mailbox all that one receiver
 * gets from other threads does; without, only what one sender sends to one receiver.  The store has
 * a way of its own.
 */
static inline uint32_t house_way_of(const house_t *house, uint32_t number, bool is_mailbox)
{
    uint32_t place = number % HOUSE_LETTERS_MAX;
    const gv_letter_t *letter = house->letters[place].letter;
    if (house->letters[place].is_of_store) {
        return UINT32_MAX;
    }
    const gv_parcel_t *parcel = gv_container_of(letter, gv_parcel_t, letter);
    bool is_back = letter->deliver == parcel->way_back;
    uint32_t from = is_back ? parcel->to_index : parcel->from_index;
    uint32_t to = is_back ? parcel->from_index : parcel->to_index;
    return is_mailbox ? to : from << 16 | to;
}

/* Delivers one letter of the way of the `which`-th, the oldest.  False: there is none. */
static inline bool house_deliver(house_t *house, uint32_t which, bool is_mailbox)
{
    uint32_t count = house->letter_tail - house->letter_head;
    if (count == 0) {
        return false;
    }
    uint32_t at = house->letter_head;
    uint32_t way = house_way_of(house, at + which % count, is_mailbox);
    while (house_way_of(house, at, is_mailbox) != way) {
        at++;
    }
    gv_letter_t *letter = house->letters[at % HOUSE_LETTERS_MAX].letter;
    for (; at > house->letter_head; at--) {
        house->letters[at % HOUSE_LETTERS_MAX] = house->letters[(at - 1) % HOUSE_LETTERS_MAX];
    }
    house->letter_head++;
    letter->deliver(letter);
    return true;
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
        while (!house->is_store_slow && gv_mem_store_step(house->store)) {
            goes_on = true;
        }
        while (house->letter_head != house->letter_tail) {
            gv_letter_t *letter = house->letters[house->letter_head++ % HOUSE_LETTERS_MAX].letter;
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

static inline gv_err_t house_load_retained(const gv_stored_retained_t *record, void *arg)
{
    house_t *house = arg;
    gv_publish_t publish = {.topic = record->topic,
                            .payload = record->payload,
                            .props = record->properties,
                            .qos = record->qos,
                            .retain = true};
    if (record->expires_at_ms != 0) {
        uint64_t realtime_ms = house_realtime(house);
        publish.expires_at_ms =
            house->now_ms +
            (record->expires_at_ms > realtime_ms ? record->expires_at_ms - realtime_ms : 0);
    }
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_stamp_t stamp = {.hlc = record->hlc};
    memcpy(stamp.node, record->node_id, sizeof(stamp.node));
    uint32_t bucket = gv_retained_bucket(record->topic, house->retained_common->seed);
    gv_shard_retain_load(house->shards[gv_retained_home(bucket, house->shard_count)], kept, &stamp);
    gv_msgbuf_unref(&kept);
    gv_publish_done(&publish);
    return GV_OK;
}

/* The machine has been down for so long; its node starts by the next house_restart(). */
static inline void house_reboot(house_t *house, uint64_t down_ms)
{
    house->booted_ms += house->now_ms + down_ms;
    house->now_ms = 1000;
}

/* The node starts, with what it finds in its store. */
static inline void house_boot(house_t *house)
{
    if (house->next_shard_count != 0) {
        house->shard_count = house->next_shard_count;
    }
    uint16_t shard_count = house->shard_count;
    house->start_number++;
    gv_identity_t identity;
    gv_err_t err = gv_identity_read(house->store, &identity);
    ck_assert_int_eq(err, GV_ERR_NOENT); /* houses have a clock, but no identity */
    house->retained_common = GV_NEW(gv_retained_common_t);
    gv_retained_common_init(house->retained_common, identity.hlc_floor);
    house->retained_common->forget_ms = 86400000;
    house->retained_common->is_clustered = house->is_clustered;
    gv_log_init(&house->log);
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
        .realtime_ms = house_realtime,
        .presence = house_presence,
        .conn = &house_conn_ports,
        .auth = house->auth,
    };
    gv_hub_options_t hub_options = {
        .shard_count = shard_count,
        .hash_seed = 7,
        .random_seed = 7,
        .router = house->router,
        .nodes_alive = &house->nodes_alive,
        .nodes_away = &house->nodes_away,
        .nodes_full = &house->nodes_full,
        .log = &house->log,
        .store = house->store,
        .store_post = house_store_post,
        .store_post_arg = house,
        .outbox_bytes_max = 1 << 20,
        .retained_common = house->retained_common,
        .ports = ports,
    };
    gv_hub_new(&hub_options, &house->hub);
    gv_memory_init(&house->memory, shard_count, 0, house_memory_in_use);
    for (uint16_t i = 0; i < shard_count; i++) {
        gv_shard_options_t options = {
            .index = i,
            .count = shard_count,
            .hash_seed = 7,
            .random_seed = 7,
            .limits = &house->limits,
            .router = house->router,
            .nodes_alive = &house->nodes_alive,
            .nodes_away = &house->nodes_away,
            .nodes_full = &house->nodes_full,
            .connects = &house->connects,
            .retained_common = house->retained_common,
            .node_id = {house->number},
            .memory = &house->memory,
            .wheel = house->wheel,
            .pool = &house->pool,
            .journal = {.store = house->store,
                        .post = house_store_post,
                        .post_arg = house,
                        .log = &house->log,
                        .image_bytes_max = house->image_bytes_max,
                        .clean_bytes_min = 1 << 14},
            .start_number = house->start_number,
            .presence_prefix = GV_BYTES_LITERAL("$SYS/brokers/n1/clients/"),
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
    gv_restored_t restored;
    ck_assert_int_eq(
        gv_restore(house->shards, shard_count, house->hub, &house->log, house->store, &restored),
        GV_OK);
    ck_assert_int_eq(gv_retained_load(house->store, house_load_retained, house), GV_OK);
}

static inline void house_open_as(house_t *house, uint16_t shard_count, gv_auth_ports_t auth,
                                 uint8_t number)
{
    *house = (house_t){.shard_count = shard_count,
                       .number = number,
                       .is_clustered = number != 0,
                       .now_ms = 1000000,
                       .image_bytes_max = 1 << 20,
                       .auth = auth};
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
        .topic_alias_send_max = 16,
        .topic_alias_bytes_max = 4096,
        .topic_alias_memory_max = 1 << 20,
        .queue_messages_max = 100,
        .queue_bytes_max = 1 << 20,
        .stored_queue_messages_max = 100,
        .stored_queue_bytes_max = 1 << 20,
        .output_bytes_max = 1 << 20,
        .output_bytes_soft = 1 << 19,
        .slow_reader_timeout_ms = 20000,
        .retain_available = true,
        .client_events = true,
        .payload_format_check = true,
    };
    gv_bucket_init(&house->connects);
    gv_mem_options_t store_options = {.seed = 7};
    gv_mem_store_new(&store_options, &house->store);
    house_boot(house);
}

/* `auth` is for MQTT 5 enhanced authentication; zeros offer none. */
static inline void house_open_with(house_t *house, uint16_t shard_count, gv_auth_ports_t auth)
{
    house_open_as(house, shard_count, auth, 0);
}

/* A node that is one of several, by its number. */
static inline void house_open_member(house_t *house, uint16_t shard_count, uint8_t number)
{
    house_open_as(house, shard_count, (gv_auth_ports_t){.begin = NULL}, number);
}

static inline void house_open(house_t *house, uint16_t shard_count)
{
    house_open_with(house, shard_count, (gv_auth_ports_t){.begin = NULL});
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

static inline void guest_free(guest_t *guest)
{
    gv_outbuf_clear(&guest->out, &guest->house->pool);
    for (size_t i = 0; i < HOUSE_ALIASES_MAX; i++) {
        gv_free(guest->aliases[i]);
    }
    gv_free(guest->input);
    gv_free(guest->received);
    gv_free(guest);
}

/* Frees the node, and the guests with it. */
static inline void house_clear(house_t *house)
{
    for (uint16_t i = 0; i < house->shard_count; i++) {
        gv_shard_free(&house->shards[i]);
    }
    gv_hub_free(&house->hub);
    gv_free(house->retained_common);
    house_free_retired(house);
    gv_router_free(&house->router);
    gv_log_deinit(&house->log);
    gv_memory_deinit(&house->memory);
    for (size_t i = 0; i < house->guest_count; i++) {
        guest_free(house->guests[i]);
    }
    house->guest_count = 0;
    gv_chunkpool_deinit(&house->pool);
    gv_timerwheel_free(&house->wheel);
}

/* All guests leave, and the node has written everything. */
static inline void house_empty(house_t *house)
{
    for (size_t i = 0; i < house->guest_count; i++) {
        guest_leave(house->guests[i]);
    }
    house_settle(house);
    for (uint16_t i = 0; i < house->shard_count; i++) {
        gv_shard_finish(house->shards[i]);
    }
    house_settle(house);
}

/* The node ends as it should, and starts again. */
static inline void house_restart(house_t *house)
{
    house_empty(house);
    house_clear(house);
    house_boot(house);
}

/*
 * The node dies: of what it has handed to the store, the first `steps` steps of the store's work
 * have been done.  What the guests have received by now is all they get.
 */
static inline void house_die(house_t *house, gv_mem_crash_t kind, uint32_t steps)
{
    house->is_store_slow = true;
    house_settle(house);
    for (uint16_t i = 0; i < house->shard_count; i++) {
        gv_shard_finish(house->shards[i]);
    }
    while (steps-- > 0 && gv_mem_store_step(house->store)) {
    }
    house_settle(house);
    gv_mem_store_crash(house->store, kind);
}

/* It starts again, without guests. */
static inline void house_revive(house_t *house)
{
    for (size_t i = 0; i < house->guest_count; i++) {
        guest_leave(house->guests[i]);
    }
    house_settle(house);
    house_clear(house);
    house->is_store_slow = false;
    house_boot(house);
}

static inline void house_crash(house_t *house, gv_mem_crash_t kind, uint32_t steps)
{
    house_die(house, kind, steps);
    house_revive(house);
}

static inline void house_close(house_t *house)
{
    house_empty(house);
    house_clear(house);
    gv_store_close(&house->store);
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

/* When all seats are taken, one whose guest has gone is used again. */
static inline void house_sweep(house_t *house)
{
    for (size_t i = HOUSE_GUESTS_MAX; house->guest_count == HOUSE_GUESTS_MAX && i > 0; i--) {
        if (house->guests[i - 1]->is_gone) {
            guest_free(house->guests[i - 1]);
            house->guests[i - 1] = house->guests[--house->guest_count];
        }
    }
}

/* A connection that has said nothing yet. */
static inline guest_t *house_visit(house_t *house, gv_mqtt_version_t version)
{
    house_sweep(house);
    guest_t *guest = GV_NEW(guest_t);
    guest->house = house;
    guest->version = version;
    guest->conn.out = &guest->out;
    guest->conn.peer = "test";
    guest->conn.anonymous_allowed = true;
    guest->conn.progress_ms = house->now_ms;
    gv_outbuf_init(&guest->out);
    ck_assert_uint_lt(house->guest_count, HOUSE_GUESTS_MAX);
    house->guests[house->guest_count++] = guest;
    gv_client_open(house->shards[0], &guest->conn);
    return guest;
}

static inline void guest_connect(guest_t *guest, gv_mqtt_connect_t connect)
{
    uint8_t bytes[2048];
    connect.version = guest->version;
    if (guest->version == GV_MQTT_V5 && guest->alias_max > 0) {
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_TOPIC_ALIAS_MAXIMUM,
                                 guest->alias_max);
    }
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_connect(&connect, &w);
    ck_assert_uint_gt(size, 0);
    guest_send(guest, bytes, size);
}

/* Puts the topic in where there is only its alias, and remembers what aliases mean. */
static inline void guest_resolve(guest_t *guest, gv_mqtt_publish_t *publish)
{
    guest->last_alias = 0;
    if (!gv_mqtt_props_has(&publish->props, GV_MQTT_PROP_TOPIC_ALIAS)) {
        return;
    }
    guest->last_alias = publish->props.topic_alias;
    ck_assert_uint_le(guest->last_alias, guest->alias_max); /* [MQTT-3.1.2-26] */
    char **text = &guest->aliases[guest->last_alias - 1];
    if (publish->topic.size > 0) {
        gv_free(*text);
        *text = gv_xalloc(publish->topic.size + 1);
        memcpy(*text, publish->topic.data, publish->topic.size);
        (*text)[publish->topic.size] = '\0';
    }
    ck_assert_msg(*text != NULL, "alias %d was never introduced", guest->last_alias);
    publish->topic = gv_bytes_text(*text);
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
    guest->last_size = frame.size;
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
        guest_resolve(guest, &publish);
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
        guest->last_request_id = suback.packet_id;
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

/* CONNECT of a visitor, and its CONNACK. */
static inline void guest_come_in(guest_t *guest, const char *id, bool clean_start)
{
    gv_mqtt_connect_t connect = {.client_id = gv_bytes_text(id), .clean_start = clean_start};
    if (guest->version == GV_MQTT_V5 && !clean_start) {
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
    }
    guest_connect(guest, connect);
    ck_assert_int_eq(strncmp(guest_next(guest), "CONNACK 00", 10), 0);
}

static inline guest_t *house_connect(house_t *house, gv_mqtt_version_t version, const char *id,
                                     bool clean_start)
{
    guest_t *guest = house_visit(house, version);
    guest_come_in(guest, id, clean_start);
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

static inline void guest_push_unsubscribe(guest_t *guest, const char *filter)
{
    uint8_t bytes[256];
    gv_mqtt_subscription_t entry = {.text = gv_bytes_text(filter)};
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_mqtt_subscribe_request_t request = {
        .packet_id = ++guest->next_packet_id, .entries = &entry, .count = 1};
    size_t size = gv_mqtt_encode_unsubscribe(&request, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_push(guest, bytes, size);
}
