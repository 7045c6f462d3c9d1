/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Arbitrary frames, turns and local calls against one core with two peers.  Nothing may crash, and
 * what the core sends must fit a frame.
 *
 * The input is a list of steps: a byte that says what (its lower five bits: a frame kind or one of
 * OP_...; the bit above: which peer), a length of two bytes, and that many bytes.
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/core/core.h"

enum {
    PEERS = 2,
    STEPS_MAX = 64,
    OP_FLUSH = 0,
    OP_TICK = 1,
    OP_ROUTE = 2,
    OP_PUBLISH = 3,
    OP_RECONNECT = 4,
    OP_APPLY = 5,
    OP_CLAIM = 6,
    OP_LET_GONE = 7,
    OP_KIND_FIRST = 8,
    OP_DIRECTORY = 30,
    OP_DIRECTORY_RELAY = 31,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct host {
    gv_ccore_t *core;
    gv_link_id_t link[PEERS];
    gv_link_id_t last_link;
    gv_delivery_t delivery;
    gv_letting_t letting;
    bool has_letting;
    uint64_t now_ms;
    uint64_t sum; /* of all bytes seen, so that a sanitizer sees each of them read */
} host_t;

static void read_all(host_t *host, gv_bytes_t bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        host->sum += bytes.data[i];
    }
}

/* ---- ports
 * ---------------------------------------------------------------------------------------- */

static void on_send(gv_link_id_t link, gv_link_priority_t priority, gv_frame_kind_t kind,
                    gv_bytes_t body, void *arg)
{
    (void)link;
    (void)priority;
    (void)kind;
    if (body.size > GV_FRAME_BODY_MAX) {
        abort();
    }
    read_all(arg, body);
}

static void on_dial(const char *address, uint64_t token, void *arg)
{
    (void)token;
    read_all(arg, gv_bytes_text(address));
}

static void on_close(gv_link_id_t link, gv_link_close_t reason, const char *text, void *arg)
{
    host_t *host = arg;
    (void)reason;
    read_all(host, gv_bytes_text(text));
    for (size_t i = 0; i < PEERS; i++) {
        if (host->link[i] == link) {
            host->link[i] = 0;
        }
    }
}

static void on_row(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg)
{
    (void)value;
    if (node == GV_NODE_SELF || node >= GV_NODES_MAX || key.size == 0) {
        abort();
    }
    read_all(arg, key);
}

static void on_node(gv_node_index_t node, gv_node_event_t event, void *arg)
{
    (void)event;
    (void)arg;
    if (node == GV_NODE_SELF || node >= GV_NODES_MAX) {
        abort();
    }
}

static bool on_overdue(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg, void *arg)
{
    (void)token;
    if (node == GV_NODE_SELF || node >= GV_NODES_MAX || msg->qos == 0) {
        abort();
    }
    read_all(arg, msg->payload);
    return true;
}

static void on_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    host_t *host = arg;
    host->delivery = *delivery;
    read_all(host, msg->topic);
    read_all(host, msg->payload);
    read_all(host, msg->properties);
    read_all(host, msg->publisher);
    for (size_t i = 0; i < msg->shared_count; i++) {
        read_all(host, msg->shared[i]);
    }
}

static void on_confirmed(uint64_t token, gv_node_index_t node, gv_forward_result_t result,
                         const gv_forward_t *lost, void *arg)
{
    (void)token;
    (void)arg;
    if (node == GV_NODE_SELF || (lost != NULL && result != GV_FORWARD_GONE &&
                                 result != GV_FORWARD_IN_DOUBT && result != GV_FORWARD_RETURNED)) {
        abort();
    }
}

static void on_note(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    (void)node, (void)kind, (void)body, (void)arg;
}

static void on_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    host_t *host = arg;
    host->sum += claim->hlc + (uint64_t)verdict;
}

static void on_let_go(const gv_letting_t *letting, void *arg)
{
    host_t *host = arg;
    host->letting = *letting;
    host->has_letting = true;
}

static void on_barrier(uint64_t token, bool in_time, void *arg)
{
    (void)token;
    (void)in_time;
    (void)arg;
}

static void on_start_counter(uint64_t start_counter, void *arg)
{
    (void)start_counter;
    (void)arg;
}

static void on_report(gv_ccore_event_t event, const char *text, void *arg)
{
    (void)event;
    read_all(arg, gv_bytes_text(text));
}

/* ---- steps
 * ---------------------------------------------------------------------------------------- */

static void identify(size_t number, gv_peer_identity_t *identity)
{
    *identity = (gv_peer_identity_t){
        .incarnation = {.start_counter = 1, .boot_id = 100 + number},
        .protocol = GV_PROTOCOL_VERSION,
        .cluster = "fuzz",
    };
    memset(identity->id.bytes, (int)number + 1, GV_NODE_ID_SIZE);
    (void)snprintf(identity->name, sizeof(identity->name), "n%zu", number);
    (void)snprintf(identity->address, sizeof(identity->address), "n%zu:1", number);
}

static void connect_peer(host_t *host, size_t peer)
{
    gv_peer_identity_t identity;
    identify(peer + 1, &identity);
    if (host->link[peer] != 0) {
        gv_ccore_link_closed(host->core, host->link[peer]);
    }
    host->link[peer] = ++host->last_link;
    gv_ccore_link_opened(host->core, host->link[peer], &identity, 0);
}

static void start(host_t *host)
{
    gv_ccore_options_t options;
    gv_ccore_options_init(&options);
    identify(0, &options.self);
    options.now_ms = host->now_ms;
    options.timing.purge = 5000;
    options.timing.forget = 20000;
    options.limits.table_rows = 1000;
    options.limits.tombstones = 8;
    options.limits.forward_message_bytes = 1 << 20;
    options.ports = (gv_ccore_ports_t){
        .send = on_send,
        .dial = on_dial,
        .close = on_close,
        .row = on_row,
        .node = on_node,
        .deliver = on_deliver,
        .confirmed = on_confirmed,
        .overdue = on_overdue,
        .note = on_note,
        .claimed = on_claimed,
        .let_go = on_let_go,
        .barrier = on_barrier,
        .start_counter = on_start_counter,
        .report = on_report,
        .arg = host,
    };
    gv_ccore_new(&options, &host->core);
    for (size_t i = 0; i < PEERS; i++) {
        connect_peer(host, i);
    }
}

static void publish(host_t *host, gv_bytes_t body)
{
    gv_forward_t msg = {
        .topic = body,
        .payload = body,
        .expiry_ms = body.size % 2 == 0 ? GV_FORWARD_NO_EXPIRY : body.size,
        .qos = (uint8_t)(body.size % 3),
    };
    gv_ccore_publish(host->core, &msg, UINT64_MAX, 1);
}

static void apply(host_t *host, gv_bytes_t body)
{
    uint64_t keys[4] = {0};
    gv_delivery_outcome_t outcome = {.is_refused = body.size % 2 == 1, .returned = keys};
    gv_reader_t reader = gv_reader(body);
    while (gv_reader_left(&reader) >= sizeof(uint64_t) && outcome.returned_count < 4) {
        keys[outcome.returned_count++] = gv_reader_u64(&reader);
    }
    gv_ccore_applied(host->core, host->delivery, &outcome);
}

/* Few ids, so that claims meet; what is done with one follows from the size. */
static void claim(host_t *host, gv_bytes_t body)
{
    uint64_t number = body.size > 0 ? body.data[0] % 4 : 0;
    gv_claim_t wanted = {
        .key = {.words = {number, number}},
        .hlc = body.size + 1,
        .user = body.size > 1 ? body.data[1] % 2 : 0,
        .holder = {.token = body.size},
    };
    if (body.size % 3 == 0) {
        gv_ccore_register(host->core, &wanted);
    } else if (body.size % 2 == 0) {
        gv_ccore_withdraw(host->core, &wanted.key, wanted.holder);
    } else {
        gv_ccore_claim(host->core, &wanted);
    }
}

static void let_gone(host_t *host)
{
    if (host->has_letting) {
        host->has_letting = false;
        gv_ccore_let_gone(host->core, &host->letting);
    }
}

static gv_frame_kind_t kind_of(uint8_t op)
{
    switch (op) {
    case OP_DIRECTORY:
        return GV_FRAME_DIRECTORY;
    case OP_DIRECTORY_RELAY:
        return GV_FRAME_DIRECTORY_RELAY;
    default: /* 8 .. 27: the kinds from 16 to 35; the rest: kinds nobody knows */
        return (gv_frame_kind_t)(op + 8);
    }
}

static void step(host_t *host, uint8_t what, gv_bytes_t body)
{
    size_t peer = what >> 5 & 1;
    uint8_t op = what & 31;
    if (op >= OP_KIND_FIRST) {
        gv_ccore_link_frame(host->core, host->link[peer], kind_of(op), body);
    } else if (op == OP_TICK) {
        host->now_ms += body.size * 50;
        gv_ccore_tick(host->core, host->now_ms);
    } else if (op == OP_ROUTE) {
        if (gv_ccore_route_set(host->core, body, (uint32_t)(body.size % 3)) == GV_OK) {
            gv_ccore_barrier(host->core, 1);
        }
    } else if (op == OP_PUBLISH) {
        publish(host, body);
    } else if (op == OP_RECONNECT) {
        connect_peer(host, peer);
    } else if (op == OP_APPLY) {
        apply(host, body);
    } else if (op == OP_CLAIM) {
        claim(host, body);
    } else if (op == OP_LET_GONE) {
        let_gone(host);
    }
    gv_ccore_flush(host->core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    host_t host = {.now_ms = 100000};
    start(&host);
    gv_reader_t reader = gv_reader(gv_bytes(data, size));
    for (size_t i = 0; i < STEPS_MAX && gv_reader_left(&reader) > 0; i++) {
        uint8_t what = gv_reader_u8(&reader);
        uint16_t length = gv_reader_u16(&reader);
        size_t left = gv_reader_left(&reader);
        gv_bytes_t body = gv_reader_take(&reader, length < left ? length : left);
        step(&host, what, body);
    }
    gv_ccore_free(&host.core);
    return 0;
}
