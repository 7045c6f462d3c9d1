/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/directory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"

/*
 * Directories of several nodes on a network that loses, repeats and reorders, with clients that
 * come and go, clocks that are wrong, links that break, nodes that stop, die and come back, and
 * nodes that do not agree on who is there.  After quiet each id has one live connection at most:
 * the newest one, unless that has gone by itself.
 */

enum {
    NODES = 5,
    IDS = 12,
    CONNS = 4096,
    FRAMES = 8192,
    ERRANDS = 4096,
    STEP_MS = 10,
    WAIT_MS = 500,
};

typedef enum conn_state {
    CONN_WAITS,
    CONN_LIVE,
    CONN_LEFT,   /* by itself, with its node, or replaced on its node */
    CONN_CLOSED, /* because the directory said so */
} conn_state_t;

typedef struct conn {
    unsigned id;
    unsigned node;
    uint32_t user;
    uint64_t hlc;
    conn_state_t state;
    gv_claim_verdict_t verdict;
    uint64_t asked_ms;
    bool is_told;
    const struct conn *closed_for;
} conn_t;

typedef struct frame {
    uint64_t at_ms;
    unsigned from;
    unsigned to;
    uint64_t path;
    uint64_t from_boot;
    uint64_t to_boot;
    size_t size;
    uint8_t *body;
} frame_t;

typedef struct errand {
    uint64_t at_ms;
    unsigned node;
    gv_letting_t letting;
} errand_t;

typedef struct node {
    gv_directory_t *directory; /* NULL: it does not run */
    uint64_t boot_id;
    int64_t clock_ahead_ms;
    uint64_t last_hlc;
    bool is_stopped;
    bool is_answering; /* closes what it is told to close */
} node_t;

static node_t nodes[NODES];
static uint64_t paths[NODES][NODES]; /* the same both ways; 0: cut */
static bool is_routable[NODES][NODES];
static conn_t conns[CONNS];
static size_t conn_count;
static frame_t frames[FRAMES];
static size_t frame_count;
static errand_t errands[ERRANDS];
static size_t errand_count;
static uint64_t now_ms;
static uint64_t last_path;
static uint64_t last_boot;
static uint64_t frames_sent;
static gv_rng_t rng;
static uint32_t loss_percent;
static uint32_t repeat_percent;
static uint32_t delay_max_ms;
static uint64_t registered_max;

/* ---- the world ------------------------------------------------------------------------------ */

static gv_id_key_t key_of(unsigned id)
{
    uint64_t hash = gv_bytes_hash(gv_bytes((const uint8_t *)&id, sizeof(id)), 1);
    return (gv_id_key_t){.words = {hash, hash * 0x9e3779b97f4a7c15U}};
}

static gv_node_id_t node_id_of(unsigned node)
{
    gv_node_id_t id;
    memset(id.bytes, (int)(0x40 + node * 7), sizeof(id.bytes));
    return id;
}

/* Nodes number each other in their own ways: ourselves 0, the others in a row. */
static gv_node_index_t index_at(unsigned at, unsigned of)
{
    return (gv_node_index_t)((of + NODES - at) % NODES);
}

static unsigned node_at(unsigned at, gv_node_index_t index)
{
    return (at + index) % NODES;
}

static void *take_from(void *allocator, size_t size)
{
    (void)allocator;
    return gv_xalloc(size + 1);
}

static void give_to(void *allocator, void *ptr)
{
    (void)allocator;
    gv_free(ptr);
}

static ProtobufCAllocator allocator = {.alloc = take_from, .free = give_to};

static void put_frame(unsigned from, unsigned to, const Gv__DirectoryNote *note)
{
    ck_assert_uint_lt(frame_count, FRAMES);
    frame_t *frame = &frames[frame_count++];
    *frame = (frame_t){.at_ms = now_ms + STEP_MS + gv_rng_below(&rng, delay_max_ms + 1),
                       .from = from,
                       .to = to,
                       .path = paths[from][to],
                       .from_boot = nodes[from].boot_id,
                       .to_boot = nodes[to].boot_id};
    frame->size = gv__directory_note__get_packed_size(note);
    ck_assert_uint_le(frame->size, GV_FRAME_BODY_MAX);
    frame->body = gv_xalloc(frame->size + 1);
    (void)gv__directory_note__pack(note, frame->body);
}

static void on_send(gv_node_index_t to, Gv__DirectoryNote *note, void *arg)
{
    unsigned from = (unsigned)((node_t *)arg - nodes);
    frames_sent++;
    ck_assert_uint_gt(note->begun, 0); /* or what follows a beginning may be taken for older */
    static uint8_t id[GV_NODE_ID_SIZE];
    note->from_id = (ProtobufCBinaryData){.len = sizeof(id), .data = id};
    note->to_id = note->from_id;
    if (gv_rng_below(&rng, 100) < loss_percent) {
        return;
    }
    put_frame(from, node_at(from, to), note);
    if (gv_rng_below(&rng, 100) < repeat_percent) {
        put_frame(from, node_at(from, to), note);
    }
}

static void leave(conn_t *conn)
{
    conn->state = CONN_LEFT;
    gv_id_key_t key = key_of(conn->id);
    gv_holder_t holder = {.token = (uint64_t)(conn - conns), .desk = 3};
    gv_directory_withdraw(nodes[conn->node].directory, &key, holder);
}

/* As a shard does: the older connection of the node goes. */
static void take_over(const conn_t *by)
{
    for (size_t i = 0; i < conn_count; i++) {
        conn_t *conn = &conns[i];
        if (conn != by && conn->id == by->id && conn->node == by->node &&
            conn->state == CONN_LIVE) {
            ck_assert_uint_lt(conn->hlc, by->hlc);
            conn->state = CONN_LEFT;
        }
    }
}

static void on_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    ck_assert_uint_lt(claim->holder.token, conn_count);
    ck_assert_uint_eq(claim->holder.desk, 3);
    conn_t *conn = &conns[claim->holder.token];
    ck_assert_ptr_eq(&nodes[conn->node], arg);
    ck_assert(!conn->is_told);
    conn->is_told = true;
    conn->verdict = verdict;
    if (conn->state != CONN_WAITS) {
        return; /* it has gone meanwhile */
    }
    conn->hlc = claim->hlc;
    node_t *node = &nodes[conn->node];
    node->last_hlc = conn->hlc > node->last_hlc ? conn->hlc : node->last_hlc;
    if (verdict == GV_CLAIM_GRANTED || verdict == GV_CLAIM_LATE) {
        conn->state = CONN_LIVE;
    } else {
        conn->state = CONN_CLOSED;
    }
}

static void on_let_go(const gv_letting_t *letting, void *arg)
{
    ck_assert_uint_lt(errand_count, ERRANDS);
    errands[errand_count++] = (errand_t){.at_ms = now_ms + gv_rng_below(&rng, 30),
                                         .node = (unsigned)((node_t *)arg - nodes),
                                         .letting = *letting};
}

static void start_node(unsigned number)
{
    node_t *node = &nodes[number];
    node->boot_id = ++last_boot;
    node->is_stopped = false;
    node->is_answering = true;
    gv_directory_options_t options = {
        .wait_ms = WAIT_MS,
        .registered_max = registered_max,
        .self = node_id_of(number),
        .ports = {.send = on_send, .claimed = on_claimed, .let_go = on_let_go, .arg = node},
    };
    gv_directory_new(&options, &node->directory);
}

static void join(unsigned a, unsigned b)
{
    paths[a][b] = paths[b][a] = ++last_path;
    is_routable[a][b] = is_routable[b][a] = true;
}

static void open_world(uint64_t seed, unsigned node_count)
{
    memset(nodes, 0, sizeof(nodes));
    memset(paths, 0, sizeof(paths));
    memset(is_routable, 0, sizeof(is_routable));
    conn_count = 0;
    now_ms = 1000000;
    frames_sent = 0;
    loss_percent = 0;
    repeat_percent = 0;
    delay_max_ms = 0;
    registered_max = 1000000;
    gv_rng_init(&rng, seed, 1);
    for (unsigned i = 0; i < node_count; i++) {
        start_node(i);
        for (unsigned j = 0; j < i; j++) {
            join(i, j);
        }
    }
}

static void kill_node(unsigned number)
{
    gv_directory_free(&nodes[number].directory);
    for (size_t i = 0; i < conn_count; i++) {
        if (conns[i].node == number && conns[i].state <= CONN_LIVE) {
            conns[i].state = CONN_LEFT;
        }
    }
    for (size_t i = errand_count; i-- > 0;) {
        if (errands[i].node == number) {
            errands[i] = errands[--errand_count];
        }
    }
    for (unsigned i = 0; i < NODES; i++) {
        paths[i][number] = paths[number][i] = 0;
    }
}

static void close_world(void)
{
    for (unsigned i = 0; i < NODES; i++) {
        gv_directory_free(&nodes[i].directory);
    }
    for (size_t i = 0; i < frame_count; i++) {
        gv_free(frames[i].body);
    }
    frame_count = 0;
    errand_count = 0;
}

static void deliver(const frame_t *frame)
{
    const node_t *to = &nodes[frame->to];
    bool is_for_it = to->directory != NULL && to->boot_id == frame->to_boot &&
                     nodes[frame->from].boot_id == frame->from_boot &&
                     paths[frame->from][frame->to] == frame->path;
    if (!is_for_it) {
        return; /* a broken link loses what is on its way */
    }
    Gv__DirectoryNote *note = gv__directory_note__unpack(&allocator, frame->size, frame->body);
    ck_assert_ptr_nonnull(note);
    bool is_fine = gv_directory_take(to->directory, index_at(frame->to, frame->from), note);
    ck_assert(is_fine);
    gv__directory_note__free_unpacked(note, &allocator);
}

static void deliver_due(void)
{
    for (size_t i = 0; i < frame_count;) {
        if (frames[i].at_ms > now_ms || nodes[frames[i].to].is_stopped) {
            i++;
            continue;
        }
        frame_t frame = frames[i];
        memmove(&frames[i], &frames[i + 1], (--frame_count - i) * sizeof(frame));
        deliver(&frame);
        gv_free(frame.body);
    }
}

/* The newest connection must never be told to go: there is the one it goes for. */
static const conn_t *winner_of(const conn_t *conn, const gv_letting_t *letting)
{
    ck_assert_uint_le(conn->hlc, letting->hlc);
    const conn_t *winner = NULL;
    for (size_t i = 0; i < conn_count; i++) {
        gv_node_id_t id = node_id_of(conns[i].node);
        /* Its stamp may have been raised again; of one without an answer it is not known. */
        if (conns[i].id == conn->id && memcmp(&id, &letting->winner, sizeof(id)) == 0 &&
            (conns[i].hlc >= letting->hlc || (!conns[i].is_told && winner == NULL))) {
            winner = &conns[i];
        }
    }
    ck_assert_msg(winner != NULL, "id %u is told to go for nobody", conn->id);
    return winner;
}

static void run_errands(void)
{
    for (size_t i = 0; i < errand_count;) {
        errand_t *errand = &errands[i];
        node_t *node = &nodes[errand->node];
        if (errand->at_ms > now_ms || node->is_stopped || !node->is_answering) {
            i++;
            continue;
        }
        conn_t *conn = &conns[errand->letting.holder.token];
        if (conn->state == CONN_LIVE) {
            conn->closed_for = winner_of(conn, &errand->letting);
            conn->state = CONN_CLOSED;
        }
        gv_directory_let_gone(node->directory, &errand->letting);
        *errand = errands[--errand_count];
    }
}

static void flush(unsigned number)
{
    const node_t *node = &nodes[number];
    for (unsigned i = 0; i < NODES; i++) {
        if (i == number || nodes[i].boot_id == 0) {
            continue;
        }
        gv_directory_peer_t peer = {
            .id = node_id_of(i),
            .boot_id = nodes[i].boot_id,
            .path = nodes[i].directory != NULL ? paths[number][i] : 0,
            .is_routable = is_routable[number][i],
        };
        gv_directory_set_peer(node->directory, index_at(number, i), &peer);
    }
    gv_directory_flush(node->directory, now_ms);
}

static void run(uint64_t ms)
{
    for (uint64_t end = now_ms + ms; now_ms < end; now_ms += STEP_MS) {
        deliver_due();
        run_errands();
        for (unsigned i = 0; i < NODES; i++) {
            if (nodes[i].directory != NULL && !nodes[i].is_stopped) {
                flush(i);
            }
        }
    }
}

static uint64_t stamp(unsigned number)
{
    node_t *node = &nodes[number];
    uint64_t hlc = (now_ms + (uint64_t)node->clock_ahead_ms) << 16;
    node->last_hlc = hlc > node->last_hlc ? hlc : node->last_hlc + 1;
    return node->last_hlc;
}

static conn_t *conn_new(unsigned id, unsigned number, uint32_t user)
{
    ck_assert_uint_lt(conn_count, CONNS);
    conn_t *conn = &conns[conn_count++];
    *conn =
        (conn_t){.id = id, .node = number, .user = user, .hlc = stamp(number), .asked_ms = now_ms};
    return conn;
}

static gv_claim_t claim_of(const conn_t *conn)
{
    return (gv_claim_t){.key = key_of(conn->id),
                        .hlc = conn->hlc,
                        .user = conn->user,
                        .holder = {.token = (uint64_t)(conn - conns), .desk = 3}};
}

static conn_t *connect_as(unsigned id, unsigned number, uint32_t user)
{
    conn_t *conn = conn_new(id, number, user);
    take_over(conn);
    gv_claim_t claim = claim_of(conn);
    gv_directory_claim(nodes[number].directory, &claim);
    return conn;
}

static conn_t *connect(unsigned id, unsigned number)
{
    return connect_as(id, number, 0);
}

/* As a client that has connected while its node was alone. */
static conn_t *connect_alone(unsigned id, unsigned number)
{
    conn_t *conn = conn_new(id, number, 0);
    conn->state = CONN_LIVE;
    conn->is_told = true;
    take_over(conn);
    gv_claim_t claim = claim_of(conn);
    gv_directory_register(nodes[number].directory, &claim);
    return conn;
}

static const gv_directory_stats_t *stats_of(unsigned number)
{
    return gv_directory_stats(nodes[number].directory);
}

static unsigned registrar_of(unsigned id)
{
    gv_id_key_t key = key_of(id);
    return node_at(0, gv_directory_registrar(nodes[0].directory, &key));
}

/* An id whose registrar, with all nodes there, is this one. */
static unsigned id_registered_at(unsigned number)
{
    flush(0);
    for (unsigned id = 100; id < 1000; id++) {
        if (registrar_of(id) == number) {
            return id;
        }
    }
    ck_abort_msg("no id belongs to node %u", number);
}

/* ---- rules ---------------------------------------------------------------------------------- */

static bool is_newer(const conn_t *a, const conn_t *b)
{
    return a->hlc > b->hlc || (a->hlc == b->hlc && a->node > b->node);
}

/* What has become of an id, to be read when something is wrong. */
static void tell_story(unsigned id)
{
    static const char *const states[] = {"waits", "live", "left", "closed"};
    for (size_t i = 0; i < conn_count; i++) {
        const conn_t *conn = &conns[i];
        if (conn->id == id) {
            (void)printf("%zu: at %llu ms node %u, stamp %llu ms + %llu, verdict %d, %s\n", i,
                         (unsigned long long)conn->asked_ms, conn->node,
                         (unsigned long long)(conn->hlc >> 16),
                         (unsigned long long)(conn->hlc & 0xffff),
                         conn->is_told ? (int)conn->verdict : -1, states[conn->state]);
        }
    }
    (void)fflush(stdout);
}

/*
 * It was closed for one that has gone by itself before it was let in, or for one that has lost to
 * such a one: that was newer still.
 */
static bool was_closed_for_a_quitter(const conn_t *conn)
{
    const conn_t *winner = conn->closed_for;
    if (winner == NULL || winner->state == CONN_LEFT) {
        return winner != NULL;
    }
    for (size_t i = 0; i < conn_count; i++) {
        if (conns[i].id == conn->id && conns[i].state == CONN_LEFT && !conns[i].is_told) {
            return winner->is_told && winner->verdict == GV_CLAIM_LOST;
        }
    }
    return false;
}

/* Each id: one live connection at most, and it is the newest that was let in. */
static void check_id(unsigned id)
{
    const conn_t *newest = NULL;
    const conn_t *live = NULL;
    for (size_t i = 0; i < conn_count; i++) {
        const conn_t *conn = &conns[i];
        bool was_in = conn->is_told && conn->verdict <= GV_CLAIM_LATE;
        if (conn->id != id) {
            continue;
        }
        ck_assert_msg(conn->state != CONN_WAITS, "id %u waits at node %u", id, conn->node);
        if (was_in && (newest == NULL || is_newer(conn, newest))) {
            newest = conn;
        }
        if (conn->state == CONN_LIVE) {
            if (live != NULL) {
                tell_story(id);
            }
            ck_assert_msg(live == NULL, "id %u is at the nodes %u and %u", id,
                          live == NULL ? 0 : live->node, conn->node);
            live = conn;
        }
    }
    bool is_well = newest == NULL || newest == live || newest->state == CONN_LEFT ||
                   was_closed_for_a_quitter(newest);
    if (!is_well) {
        tell_story(id);
    }
    ck_assert_msg(is_well, "the newest connection of id %u, at node %u, was closed", id,
                  newest == NULL ? 0 : newest->node);
}

/*
 * And all that live are registered, once.  Nothing else is, unless words were lost on a path that
 * did not break: then a claim that nobody makes any more may stand until the next beginning.
 */
static void check_all(bool has_lost_words)
{
    uint64_t live = 0;
    uint64_t registered = 0;
    uint64_t held = 0;
    for (unsigned id = 0; id < IDS; id++) {
        check_id(id);
    }
    for (size_t i = 0; i < conn_count; i++) {
        live += conns[i].state == CONN_LIVE;
    }
    for (unsigned i = 0; i < NODES; i++) {
        if (nodes[i].directory != NULL) {
            registered += stats_of(i)->registered;
            held += stats_of(i)->held;
        }
    }
    ck_assert_uint_eq(held, live);
    ck_assert_uint_ge(registered, live);
    ck_assert(has_lost_words || registered == live);
}

/* ---- examples ------------------------------------------------------------------------------- */

START_TEST(a_claim_nobody_contests_takes_one_round_trip)
{
    open_world(1, 3);
    run(100);
    for (unsigned at = 0; at < 3; at++) {
        unsigned id = id_registered_at(at);
        const conn_t *conn = connect(id, 0);
        run(at == 0 ? STEP_MS : 3 * STEP_MS);
        ck_assert_int_eq(conn->state, CONN_LIVE);
        ck_assert_int_eq(conn->verdict, GV_CLAIM_GRANTED);
        run(100);
        ck_assert_uint_eq(stats_of(at)->registered, 1);
    }
    close_world();
}
END_TEST

START_TEST(who_connects_elsewhere_waits_until_the_old_connection_is_closed)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *old = connect(id, 0);
    run(100);
    nodes[0].is_answering = false;
    const conn_t *young = connect(id, 1);
    run(200);
    ck_assert_int_eq(old->state, CONN_LIVE);
    ck_assert_int_eq(young->state, CONN_WAITS);
    nodes[0].is_answering = true;
    run(100);
    ck_assert_int_eq(old->state, CONN_CLOSED);
    ck_assert_int_eq(young->verdict, GV_CLAIM_GRANTED);
    ck_assert_int_eq(young->state, CONN_LIVE);
    ck_assert_uint_eq(stats_of(0)->let_go, 1);
    close_world();
}
END_TEST

/* One word of one node for another. */
static void say(unsigned from, unsigned to, uint32_t kind, unsigned id, uint64_t hlc)
{
    gv_id_key_t key = key_of(id);
    Gv__DirectoryEntry entry = GV__DIRECTORY_ENTRY__INIT;
    Gv__DirectoryEntry *list[] = {&entry};
    Gv__DirectoryNote note = GV__DIRECTORY_NOTE__INIT;
    note.n_entries = 1;
    note.entries = list;
    entry.kind = kind;
    entry.hlc = hlc;
    entry.key = (ProtobufCBinaryData){.len = sizeof(key), .data = (uint8_t *)&key};
    bool is_fine = gv_directory_take(nodes[to].directory, index_at(to, from), &note);
    ck_assert(is_fine);
}

START_TEST(an_answer_to_an_earlier_claim_does_not_count)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *old = connect(id, 0);
    run(100);
    nodes[0].is_answering = false;
    const conn_t *young = connect(id, 1);
    run(100);
    say(0, 2, 6, id, old->hlc); /* LEFT, of some time ago */
    say(2, 1, 2, id, old->hlc); /* GRANTED, the same */
    run(100);
    ck_assert_int_eq(young->state, CONN_WAITS);
    close_world();
}
END_TEST

START_TEST(an_owner_that_does_not_answer_keeps_nobody_out)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *old = connect(id, 0);
    run(100);
    nodes[0].is_stopped = true;
    const conn_t *young = connect(id, 1);
    run(WAIT_MS + 50);
    ck_assert_int_eq(young->state, CONN_LIVE);
    ck_assert_int_eq(young->verdict, GV_CLAIM_LATE);
    ck_assert_int_eq(old->state, CONN_LIVE);
    nodes[0].is_stopped = false;
    run(1000);
    ck_assert_int_eq(old->state, CONN_CLOSED);
    ck_assert_int_eq(young->state, CONN_LIVE);
    close_world();
}
END_TEST

START_TEST(a_registrar_that_does_not_answer_keeps_nobody_out)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *old = connect(id, 0);
    run(100);
    nodes[2].is_stopped = true;
    const conn_t *young = connect(id, 1);
    run(WAIT_MS + 50);
    ck_assert_int_eq(young->verdict, GV_CLAIM_LATE);
    is_routable[0][2] = is_routable[1][2] = false; /* it is found to be dead */
    run(500);
    ck_assert_int_eq(old->state, CONN_CLOSED);
    ck_assert_int_eq(young->state, CONN_LIVE);
    close_world();
}
END_TEST

START_TEST(a_clock_that_is_behind_does_not_keep_a_client_out)
{
    open_world(1, 3);
    nodes[0].clock_ahead_ms = 60000;
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *old = connect(id, 0);
    run(100);
    const conn_t *young = connect(id, 1);
    run(200);
    ck_assert_int_eq(young->state, CONN_LIVE);
    ck_assert_int_eq(old->state, CONN_CLOSED);
    ck_assert_uint_gt(young->hlc, old->hlc);
    ck_assert_uint_eq(stats_of(1)->claims_again, 1);
    close_world();
}
END_TEST

START_TEST(after_a_partition_the_newer_one_stays)
{
    for (unsigned at = 0; at < 2; at++) {
        open_world(1, 2);
        run(100);
        unsigned id = id_registered_at(at);
        paths[0][1] = paths[1][0] = 0;
        is_routable[0][1] = is_routable[1][0] = false;
        run(50);
        const conn_t *old = connect_alone(id, 0);
        run(50);
        const conn_t *young = connect_alone(id, 1);
        run(100);
        ck_assert_int_eq(old->state, CONN_LIVE);
        join(0, 1);
        run(1000);
        ck_assert_int_eq(old->state, CONN_CLOSED);
        ck_assert_int_eq(young->state, CONN_LIVE);
        close_world();
    }
}
END_TEST

START_TEST(an_id_of_another_user_is_denied)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    conn_t *mine = connect_as(id, 0, 7);
    run(100);
    const conn_t *other = connect_as(id, 1, 8);
    const conn_t *nobodys = connect_as(id, 2, 0);
    run(100);
    ck_assert_int_eq(other->verdict, GV_CLAIM_DENIED);
    ck_assert_int_eq(nobodys->verdict, GV_CLAIM_DENIED);
    ck_assert_int_eq(mine->state, CONN_LIVE);
    leave(mine);
    run(100);
    const conn_t *later = connect_as(id, 1, 8);
    run(100);
    ck_assert_int_eq(later->state, CONN_LIVE);
    close_world();
}
END_TEST

START_TEST(another_user_of_the_same_node_is_denied_too)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *mine = connect_as(id, 0, 7);
    run(100);
    /* The shard let him ask, as it had not heard of the grant. */
    const conn_t *other = conn_new(id, 0, 8);
    gv_claim_t claim = claim_of(other);
    gv_directory_claim(nodes[0].directory, &claim);
    run(100);
    ck_assert_int_eq(other->verdict, GV_CLAIM_DENIED);
    ck_assert_int_eq(mine->state, CONN_LIVE);
    ck_assert_uint_eq(stats_of(0)->held, 1);
    /* It is known still. */
    (void)connect_as(id, 1, 7);
    run(100);
    ck_assert_int_eq(mine->state, CONN_CLOSED);
    close_world();
}
END_TEST

START_TEST(a_claim_replaced_on_its_own_node_has_lost)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    const conn_t *first = connect(id, 0);
    const conn_t *second = connect(id, 0);
    run(100);
    ck_assert_int_eq(first->verdict, GV_CLAIM_LOST);
    ck_assert_int_eq(second->verdict, GV_CLAIM_GRANTED);
    ck_assert_uint_eq(stats_of(2)->registered, 1);
    close_world();
}
END_TEST

START_TEST(who_goes_away_while_it_waits_leaves_nothing_behind)
{
    open_world(1, 3);
    run(100);
    unsigned id = id_registered_at(2);
    leave(connect(id, 0));
    run(STEP_MS);
    conn_t *conn = connect(id, 0);
    run(STEP_MS);
    leave(conn);
    run(200);
    ck_assert_uint_eq(stats_of(2)->registered, 0);
    ck_assert_uint_eq(stats_of(0)->held, 0);
    close_world();
}
END_TEST

START_TEST(registrations_move_when_nodes_come_and_go)
{
    enum {
        CLIENTS = 3000
    };
    open_world(1, 2);
    run(100);
    for (unsigned i = 0; i < CLIENTS; i++) {
        connect(10000 + i, i % 2);
    }
    run(500);
    ck_assert_uint_eq(stats_of(0)->registered + stats_of(1)->registered, CLIENTS);
    start_node(2);
    join(2, 0);
    join(2, 1);
    run(2000);
    uint64_t third = stats_of(2)->registered;
    ck_assert_uint_gt(third, CLIENTS / 4);
    ck_assert_uint_lt(third, CLIENTS / 2);
    ck_assert_uint_eq(stats_of(0)->registered + stats_of(1)->registered + third, CLIENTS);
    kill_node(2);
    for (unsigned i = 0; i < 2; i++) {
        is_routable[i][2] = false;
    }
    run(2000);
    ck_assert_uint_eq(stats_of(0)->registered + stats_of(1)->registered, CLIENTS);
    close_world();
}
END_TEST

START_TEST(beyond_its_limit_a_registrar_grants_and_forgets)
{
    open_world(1, 1);
    close_world();
    memset(nodes, 0, sizeof(nodes));
    registered_max = 10;
    for (unsigned i = 0; i < 2; i++) {
        start_node(i);
    }
    join(0, 1);
    run(100);
    for (unsigned i = 0; i < 100; i++) {
        connect(10000 + i, 0);
    }
    run(100);
    for (size_t i = 0; i < conn_count; i++) {
        ck_assert_int_eq(conns[i].verdict, GV_CLAIM_GRANTED);
    }
    ck_assert_uint_eq(stats_of(0)->registered, 10);
    ck_assert_uint_eq(stats_of(1)->registered, 10);
    ck_assert_uint_eq(stats_of(0)->registrations_refused + stats_of(1)->registrations_refused, 80);
    close_world();
}
END_TEST

START_TEST(a_quiet_cluster_sends_nothing)
{
    open_world(1, 3);
    run(100);
    for (unsigned i = 0; i < 30; i++) {
        connect(i, i % 3);
    }
    run(1000);
    uint64_t before = frames_sent;
    run(10000);
    ck_assert_uint_eq(frames_sent, before);
    close_world();
}
END_TEST

START_TEST(notes_that_make_no_sense_are_refused)
{
    open_world(1, 2);
    run(100);
    uint8_t key[16] = {1};
    Gv__DirectoryEntry entry = GV__DIRECTORY_ENTRY__INIT;
    Gv__DirectoryEntry *list[] = {&entry};
    Gv__DirectoryNote note = GV__DIRECTORY_NOTE__INIT;
    note.n_entries = 1;
    note.entries = list;
    entry.kind = 1;
    entry.hlc = 5;
    ck_assert(!gv_directory_take(nodes[0].directory, 1, &note)); /* no key */
    entry.key = (ProtobufCBinaryData){.len = sizeof(key), .data = key};
    entry.hlc = 0;
    ck_assert(!gv_directory_take(nodes[0].directory, 1, &note));
    entry.hlc = UINT64_MAX; /* nothing is above it */
    ck_assert(!gv_directory_take(nodes[0].directory, 1, &note));
    entry.hlc = 5;
    entry.kind = 5; /* LET_GO, for nobody */
    ck_assert(!gv_directory_take(nodes[0].directory, 1, &note));
    entry.kind = 99; /* of a newer peer */
    ck_assert(gv_directory_take(nodes[0].directory, 1, &note));
    note.number = UINT64_MAX;
    ck_assert(!gv_directory_take(nodes[0].directory, 1, &note));
    close_world();
}
END_TEST

/* ---- at random ------------------------------------------------------------------------------ */

static unsigned random_node(void)
{
    return gv_rng_below(&rng, NODES);
}

static void disturb(void)
{
    unsigned a = random_node();
    unsigned b = random_node();
    switch (gv_rng_below(&rng, 9)) {
    case 0:
    case 1:
        if (a != b) {
            paths[a][b] = paths[b][a] = 0;
        }
        break;
    case 2:
    case 3:
        if (a != b && nodes[a].directory != NULL && nodes[b].directory != NULL) {
            join(a, b);
        }
        break;
    case 4: /* what each believes is its own business */
        if (a != b) {
            is_routable[a][b] = gv_rng_below(&rng, 2) == 0;
        }
        break;
    case 5:
        if (nodes[a].directory != NULL) {
            kill_node(a);
        }
        break;
    case 6:
        if (nodes[a].directory == NULL) {
            start_node(a);
            for (unsigned i = 0; i < NODES; i++) {
                if (i != a && nodes[i].directory != NULL) {
                    join(a, i);
                }
            }
        }
        break;
    case 7:
        nodes[a].is_stopped = !nodes[a].is_stopped;
        break;
    default:
        nodes[a].is_answering = !nodes[a].is_answering;
        break;
    }
}

static bool waits_at(unsigned id, unsigned number)
{
    for (size_t i = 0; i < conn_count; i++) {
        if (conns[i].id == id && conns[i].node == number && conns[i].state == CONN_WAITS) {
            return true;
        }
    }
    return false;
}

static void act(void)
{
    unsigned number = random_node();
    if (nodes[number].directory == NULL || nodes[number].is_stopped) {
        return;
    }
    unsigned id = gv_rng_below(&rng, IDS);
    switch (gv_rng_below(&rng, 4)) {
    case 0:
        for (size_t i = conn_count; i-- > 0;) {
            if (conns[i].node == number && conns[i].state <= CONN_LIVE) {
                leave(&conns[i]);
                return;
            }
        }
        return;
    case 1:
        if (!waits_at(id, number)) { /* else its stamp is raised, and nobody tells us */
            (void)connect_alone(id, number);
        }
        return;
    default:
        (void)connect(id, number);
    }
}

/* Everything works again, and all know it. */
static void quiet(void)
{
    loss_percent = 0;
    repeat_percent = 0;
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].is_stopped = false;
        nodes[i].is_answering = true;
        if (nodes[i].directory == NULL) {
            start_node(i);
        }
        for (unsigned j = 0; j < i; j++) {
            if (paths[i][j] == 0) {
                join(i, j);
            }
            is_routable[i][j] = is_routable[j][i] = true;
        }
    }
    run(10000);
}

static void play(uint64_t seed)
{
    open_world(seed, NODES);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].clock_ahead_ms = gv_rng_below(&rng, 3) == 0 ? gv_rng_below(&rng, 2000) : 0;
    }
    run(100);
    bool has_lost_words = false;
    for (int phase = 0; phase < 2; phase++) {
        loss_percent = gv_rng_below(&rng, 3) == 0 ? gv_rng_below(&rng, 40) : 0;
        repeat_percent = gv_rng_below(&rng, 30);
        delay_max_ms = gv_rng_below(&rng, 100);
        for (int step = 0; step < 200; step++) {
            act();
            if (gv_rng_below(&rng, 4) == 0) {
                disturb();
            }
            run((uint64_t)STEP_MS * (1 + gv_rng_below(&rng, 8)));
        }
        has_lost_words = has_lost_words || loss_percent > 0;
        quiet();
        check_all(has_lost_words);
    }
    close_world();
}

START_TEST(at_random)
{
    const char *given = getenv("GV_TEST_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    const char *many = getenv("GV_TEST_SEEDS");
    uint64_t count = many != NULL ? strtoull(many, NULL, 10) : 100;
    for (uint64_t seed = first; seed < first + (given != NULL ? 1 : count); seed++) {
        (void)printf("seed %llu\n", (unsigned long long)seed);
        (void)fflush(stdout);
        play(seed);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cluster/core");
    TCase *tc = tcase_create("directory");
    tcase_add_test(tc, a_claim_nobody_contests_takes_one_round_trip);
    tcase_add_test(tc, who_connects_elsewhere_waits_until_the_old_connection_is_closed);
    tcase_add_test(tc, an_answer_to_an_earlier_claim_does_not_count);
    tcase_add_test(tc, an_owner_that_does_not_answer_keeps_nobody_out);
    tcase_add_test(tc, a_registrar_that_does_not_answer_keeps_nobody_out);
    tcase_add_test(tc, a_clock_that_is_behind_does_not_keep_a_client_out);
    tcase_add_test(tc, after_a_partition_the_newer_one_stays);
    tcase_add_test(tc, an_id_of_another_user_is_denied);
    tcase_add_test(tc, another_user_of_the_same_node_is_denied_too);
    tcase_add_test(tc, a_claim_replaced_on_its_own_node_has_lost);
    tcase_add_test(tc, who_goes_away_while_it_waits_leaves_nothing_behind);
    tcase_add_test(tc, registrations_move_when_nodes_come_and_go);
    tcase_add_test(tc, beyond_its_limit_a_registrar_grants_and_forgets);
    tcase_add_test(tc, a_quiet_cluster_sends_nothing);
    tcase_add_test(tc, notes_that_make_no_sense_are_refused);
    suite_add_tcase(suite, tc);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 300);
    tcase_add_test(random, at_random);
    suite_add_tcase(suite, random);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
