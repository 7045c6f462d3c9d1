/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A few cores, wired together by hand, for unit tests: no delays, no random faults (tests/sim has
 * those).  A frame sent in one step arrives in the next; a step is MESH_STEP_MS.
 *
 * A test may also play a peer itself: mesh_add() a node, take its identity, and never start it.
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/list.h"
#include "cluster/core/core.h"
#include "proto/cluster.pb-c.h"

enum {
    MESH_NODES = 4,
    MESH_LINKS = 512,
    MESH_STEP_MS = 10,
    MESH_START_MS = 50000,
    MESH_DELIVERIES = 4096,
    MESH_TEXT = 256,
};

typedef struct mesh mesh_t;

typedef struct mesh_frame {
    gv_link_t link;
    gv_link_id_t to;
    gv_frame_kind_t kind;
    size_t size;
    uint8_t body[];
} mesh_frame_t;

typedef struct mesh_node {
    mesh_t *mesh;
    size_t number;
    gv_peer_identity_t identity;
    gv_ccore_t *core; /* NULL: not running */
    bool is_paused;
    bool is_down; /* cannot be dialled */
    /* what came out of the ports */
    uint64_t sent[256]; /* frames by kind */
    uint64_t dials;
    char last_dial[GV_NODE_ADDRESS_MAX + 1];
    uint64_t closes;
    gv_link_close_t last_close;
    uint64_t rows;
    uint64_t row_changes;
    uint64_t visible; /* mask of routable indices */
    uint64_t forgotten;
    gv_delivery_t deliveries[MESH_DELIVERIES];
    uint64_t delivered_uid[MESH_DELIVERIES];
    size_t delivery_count;
    uint64_t last_payload_size;
    uint64_t last_payload_hash;
    bool holds_back; /* does not apply what is delivered */
    uint64_t confirmed[GV_FORWARD_RESULTS];
    uint64_t overdue_uid[MESH_DELIVERIES]; /* what it was asked to keep as well, */
    size_t overdue_count;
    uint64_t kept_token; /* what it sets in their tokens, */
    bool keeps_nothing;  /* and whether it declines */
    uint64_t lost;       /* of these, handed back */
    size_t last_lost_count;
    char last_lost[MESH_TEXT];                      /* its last group */
    gv_forward_result_t result_of[MESH_DELIVERIES]; /* by token, where that is small */
    uint64_t last_token;
    uint64_t notes;
    gv_node_index_t last_note_from;
    gv_frame_kind_t last_note_kind;
    char last_note[MESH_TEXT];
    uint64_t claimed[GV_CLAIM_DENIED + 1];
    gv_claim_t last_claim;
    uint64_t let_go;
    gv_letting_t last_letting;
    uint64_t barriers_in_time;
    uint64_t barriers_late;
    uint64_t events[8];
    char last_report[MESH_TEXT];
    char last_member_report[MESH_TEXT];
    uint64_t stored_counter;
} mesh_node_t;

/* Link ids come in pairs: 2n and 2n + 1 are the two ends. */
struct mesh {
    uint64_t now_ms;
    mesh_node_t node[MESH_NODES];
    size_t owner[MESH_LINKS];
    bool is_open[MESH_LINKS];
    gv_link_id_t next_link;
    gv_list_t frames;
    bool cut[MESH_NODES][MESH_NODES];
    bool dials_succeed;
    struct {
        size_t from;
        char address[GV_NODE_ADDRESS_MAX + 1];
        uint64_t token;
    } dial[64];
    size_t dial_count;
};

/* ---- ports
 * ---------------------------------------------------------------------------------------- */

static inline void mesh_on_send(gv_link_id_t link, gv_link_priority_t priority,
                                gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    mesh_node_t *node = arg;
    (void)priority;
    ck_assert_uint_lt(link, MESH_LINKS);
    ck_assert_uint_le(body.size, GV_FRAME_BODY_MAX);
    node->sent[kind]++;
    mesh_frame_t *frame = gv_xalloc(sizeof(*frame) + body.size);
    *frame = (mesh_frame_t){.to = link ^ 1, .kind = kind, .size = body.size};
    memcpy(frame->body, body.data, body.size);
    gv_list_append(&node->mesh->frames, &frame->link);
}

static inline void mesh_on_dial(const char *address, uint64_t token, void *arg)
{
    mesh_node_t *node = arg;
    mesh_t *mesh = node->mesh;
    node->dials++;
    (void)snprintf(node->last_dial, sizeof(node->last_dial), "%s", address);
    if (mesh->dial_count < 64) {
        mesh->dial[mesh->dial_count].from = node->number;
        mesh->dial[mesh->dial_count].token = token;
        (void)snprintf(mesh->dial[mesh->dial_count].address, GV_NODE_ADDRESS_MAX, "%s", address);
        mesh->dial_count++;
    }
}

static inline void mesh_on_close(gv_link_id_t link, gv_link_close_t reason, const char *text,
                                 void *arg)
{
    mesh_node_t *node = arg;
    (void)text;
    node->closes++;
    node->last_close = reason;
    node->mesh->is_open[link] = false;
}

static inline void mesh_on_row(gv_node_index_t index, gv_bytes_t key, uint32_t value, void *arg)
{
    mesh_node_t *node = arg;
    (void)index;
    (void)key;
    node->row_changes++;
    node->rows += value != 0 ? 1 : (uint64_t)-1;
}

static inline void mesh_on_node(gv_node_index_t index, gv_node_event_t event, void *arg)
{
    mesh_node_t *node = arg;
    uint64_t bit = (uint64_t)1 << index;
    node->visible = event == GV_NODE_ROUTABLE ? node->visible | bit : node->visible & ~bit;
    node->forgotten |= event == GV_NODE_FORGOTTEN ? bit : 0;
}

static inline void mesh_on_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg,
                                   void *arg)
{
    mesh_node_t *node = arg;
    ck_assert_uint_lt(node->delivery_count, MESH_DELIVERIES);
    node->delivered_uid[node->delivery_count] = msg->uid.seq;
    node->deliveries[node->delivery_count++] = *delivery;
    node->last_payload_size = msg->payload.size;
    node->last_payload_hash = gv_bytes_hash(msg->payload, 0);
}

static inline void mesh_on_confirmed(uint64_t token, gv_node_index_t index,
                                     gv_forward_result_t result, const gv_forward_t *lost,
                                     void *arg)
{
    mesh_node_t *node = arg;
    (void)index;
    node->lost += lost != NULL;
    if (lost != NULL && lost->shared_count > 0) {
        gv_bytes_t group = lost->shared[lost->shared_count - 1];
        node->last_lost_count = lost->shared_count;
        (void)snprintf(node->last_lost, MESH_TEXT, "%.*s", (int)group.size,
                       (const char *)group.data);
    }
    if (token < MESH_DELIVERIES) {
        node->result_of[token] = result;
    }
    node->confirmed[result]++;
    node->last_token = token;
}

static inline bool mesh_on_overdue(uint64_t *token, gv_node_index_t index, const gv_forward_t *msg,
                                   void *arg)
{
    mesh_node_t *node = arg;
    (void)index;
    if (node->keeps_nothing) {
        return false;
    }
    ck_assert_uint_lt(node->overdue_count, MESH_DELIVERIES);
    node->overdue_uid[node->overdue_count++] = msg->uid.seq;
    *token |= node->kept_token;
    return true;
}

static inline void mesh_on_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    mesh_node_t *node = arg;
    node->claimed[verdict]++;
    node->last_claim = *claim;
}

static inline void mesh_on_let_go(const gv_letting_t *letting, void *arg)
{
    mesh_node_t *node = arg;
    node->let_go++;
    node->last_letting = *letting;
}

static inline void mesh_on_note(gv_node_index_t index, gv_frame_kind_t kind, gv_bytes_t body,
                                void *arg)
{
    mesh_node_t *node = arg;
    node->notes++;
    node->last_note_from = index;
    node->last_note_kind = kind;
    (void)snprintf(node->last_note, sizeof(node->last_note), "%.*s", (int)body.size,
                   (const char *)body.data);
}

static inline void mesh_on_barrier(uint64_t token, bool in_time, void *arg)
{
    mesh_node_t *node = arg;
    node->last_token = token;
    node->barriers_in_time += in_time ? 1 : 0;
    node->barriers_late += in_time ? 0 : 1;
}

static inline void mesh_on_start_counter(uint64_t start_counter, void *arg)
{
    mesh_node_t *node = arg;
    node->stored_counter = start_counter;
}

static inline void mesh_on_report(gv_ccore_event_t event, const char *text, void *arg)
{
    mesh_node_t *node = arg;
    node->events[event]++;
    (void)snprintf(node->last_report, sizeof(node->last_report), "%s", text);
    if (event == GV_CCORE_EVENT_MEMBER) {
        (void)snprintf(node->last_member_report, sizeof(node->last_member_report), "%s", text);
    }
}

/* ---- life
 * ----------------------------------------------------------------------------------------- */

static inline mesh_t *mesh_new(void)
{
    mesh_t *mesh = GV_NEW(mesh_t);
    mesh->now_ms = MESH_START_MS;
    mesh->next_link = 2;
    mesh->dials_succeed = true;
    gv_list_init(&mesh->frames);
    for (size_t i = 0; i < MESH_NODES; i++) {
        mesh_node_t *node = &mesh->node[i];
        node->mesh = mesh;
        node->number = i;
        node->identity = (gv_peer_identity_t){
            .incarnation = {.start_counter = 1, .boot_id = 100 + i},
            .protocol = GV_PROTOCOL_VERSION,
            .cluster = "mesh",
        };
        memset(node->identity.id.bytes, (int)i + 1, GV_NODE_ID_SIZE);
        (void)snprintf(node->identity.name, sizeof(node->identity.name), "n%zu", i);
        (void)snprintf(node->identity.address, sizeof(node->identity.address), "n%zu:1", i);
    }
    return mesh;
}

static inline void mesh_options(mesh_node_t *node, gv_ccore_options_t *options)
{
    gv_ccore_options_init(options);
    options->self = node->identity;
    options->random_seed = 7 + node->number;
    options->now_ms = node->mesh->now_ms;
    options->ports = (gv_ccore_ports_t){
        .send = mesh_on_send,
        .dial = mesh_on_dial,
        .close = mesh_on_close,
        .row = mesh_on_row,
        .node = mesh_on_node,
        .deliver = mesh_on_deliver,
        .confirmed = mesh_on_confirmed,
        .overdue = mesh_on_overdue,
        .note = mesh_on_note,
        .claimed = mesh_on_claimed,
        .let_go = mesh_on_let_go,
        .barrier = mesh_on_barrier,
        .start_counter = mesh_on_start_counter,
        .report = mesh_on_report,
        .arg = node,
    };
}

static inline void mesh_start_with(mesh_node_t *node, const gv_ccore_options_t *options)
{
    gv_ccore_new(options, &node->core);
    node->is_down = false;
}

static inline void mesh_start(mesh_t *mesh, size_t i)
{
    gv_ccore_options_t options;
    mesh_options(&mesh->node[i], &options);
    mesh_start_with(&mesh->node[i], &options);
}

/* The process is gone; with_reset: its links are reset, so that peers see it at once. */
static inline void mesh_kill(mesh_t *mesh, size_t i, bool with_reset)
{
    gv_ccore_free(&mesh->node[i].core);
    mesh->node[i].is_down = true;
    for (gv_link_id_t id = 2; id < mesh->next_link; id++) {
        if (mesh->owner[id] == i && mesh->is_open[id]) {
            mesh->is_open[id] = false;
            mesh_node_t *peer = &mesh->node[mesh->owner[id ^ 1]];
            if (with_reset && mesh->is_open[id ^ 1] && peer->core != NULL) {
                mesh->is_open[id ^ 1] = false;
                gv_ccore_link_closed(peer->core, id ^ 1);
                gv_ccore_flush(peer->core);
            }
        }
    }
}

static inline void mesh_free(mesh_t *mesh)
{
    for (size_t i = 0; i < MESH_NODES; i++) {
        gv_ccore_free(&mesh->node[i].core);
    }
    gv_link_t *link;
    while ((link = gv_list_take_first(&mesh->frames)) != NULL) {
        gv_free(gv_container_of(link, mesh_frame_t, link));
    }
    gv_free(mesh);
}

/* ---- links
 * ---------------------------------------------------------------------------------------- */

/* A link dialled by a (token 0: unasked); each end is told if it runs.  Returns a's end. */
static inline gv_link_id_t mesh_connect(mesh_t *mesh, size_t a, size_t b, uint64_t token)
{
    gv_link_id_t id = mesh->next_link;
    ck_assert_uint_lt(id + 1, MESH_LINKS);
    mesh->next_link += 2;
    mesh->owner[id] = a;
    mesh->owner[id + 1] = b;
    mesh->is_open[id] = true;
    mesh->is_open[id + 1] = true;
    if (mesh->node[b].core != NULL) {
        gv_ccore_link_opened(mesh->node[b].core, id + 1, &mesh->node[a].identity, 0);
    }
    if (mesh->node[a].core != NULL) {
        gv_ccore_link_opened(mesh->node[a].core, id, &mesh->node[b].identity,
                             token != 0 ? token : UINT64_MAX);
    }
    return id;
}

/* Both ends are told that the connection is gone; frames on it are lost. */
static inline void mesh_break(mesh_t *mesh, gv_link_id_t id)
{
    for (size_t end = 0; end < 2; end++) {
        gv_link_id_t link = id ^ end;
        mesh_node_t *node = &mesh->node[mesh->owner[link]];
        if (mesh->is_open[link] && node->core != NULL) {
            mesh->is_open[link] = false;
            gv_ccore_link_closed(node->core, link);
        }
    }
}

static inline void mesh_break_between(mesh_t *mesh, size_t a, size_t b)
{
    for (gv_link_id_t id = 2; id < mesh->next_link; id += 2) {
        if ((mesh->owner[id] == a && mesh->owner[id + 1] == b) ||
            (mesh->owner[id] == b && mesh->owner[id + 1] == a)) {
            mesh_break(mesh, id);
        }
    }
}

static inline void mesh_cut(mesh_t *mesh, size_t a, size_t b, bool is_cut)
{
    mesh->cut[a][b] = is_cut;
    mesh->cut[b][a] = is_cut;
}

static inline void mesh_answer_dials(mesh_t *mesh)
{
    size_t count = mesh->dial_count;
    mesh->dial_count = 0;
    for (size_t i = 0; i < count; i++) {
        mesh_node_t *from = &mesh->node[mesh->dial[i].from];
        size_t to = (size_t)(mesh->dial[i].address[1] - '0');
        if (from->core == NULL) {
            continue;
        }
        if (!mesh->dials_succeed || to >= MESH_NODES || mesh->node[to].core == NULL ||
            mesh->node[to].is_paused || mesh->cut[from->number][to] ||
            mesh->cut[to][from->number]) {
            gv_ccore_dial_failed(from->core, mesh->dial[i].token);
        } else {
            (void)mesh_connect(mesh, from->number, to, mesh->dial[i].token);
        }
    }
}

/* ---- steps
 * ---------------------------------------------------------------------------------------- */

static inline void mesh_deliver_frames(mesh_t *mesh)
{
    gv_list_t frames;
    gv_list_t kept;
    gv_list_init(&frames);
    gv_list_init(&kept);
    gv_list_splice(&frames, &mesh->frames);
    gv_link_t *link;
    while ((link = gv_list_take_first(&frames)) != NULL) {
        mesh_frame_t *frame = gv_container_of(link, mesh_frame_t, link);
        mesh_node_t *to = &mesh->node[mesh->owner[frame->to]];
        if (to->is_paused && mesh->is_open[frame->to]) {
            gv_list_append(&kept, link);
            continue;
        }
        bool is_cut = mesh->cut[mesh->owner[frame->to ^ 1]][to->number];
        if (to->core != NULL && mesh->is_open[frame->to] && !is_cut) {
            gv_ccore_link_frame(to->core, frame->to, frame->kind,
                                gv_bytes(frame->body, frame->size));
        }
        gv_free(frame);
    }
    gv_list_splice(&kept, &mesh->frames);
    gv_list_splice(&mesh->frames, &kept);
}

/* Closed on purpose at one end: the other is told, after the goodbye. */
static inline void mesh_tell_closed(mesh_t *mesh)
{
    for (gv_link_id_t id = 2; id < mesh->next_link; id++) {
        mesh_node_t *node = &mesh->node[mesh->owner[id]];
        const mesh_node_t *other = &mesh->node[mesh->owner[id ^ 1]];
        if (mesh->is_open[id] && !mesh->is_open[id ^ 1] && node->core != NULL && !node->is_paused &&
            other->core != NULL) {
            mesh->is_open[id] = false;
            gv_ccore_link_closed(node->core, id);
        }
    }
}

static inline void mesh_apply(mesh_node_t *node, size_t first)
{
    for (size_t i = first; i < node->delivery_count && !node->holds_back; i++) {
        if (node->deliveries[i].seq != 0) {
            gv_ccore_applied(node->core, node->deliveries[i], NULL);
        }
    }
}

static inline void mesh_step(mesh_t *mesh)
{
    size_t delivered[MESH_NODES];
    mesh->now_ms += MESH_STEP_MS;
    for (size_t i = 0; i < MESH_NODES; i++) {
        mesh_node_t *node = &mesh->node[i];
        delivered[i] = node->delivery_count;
        if (node->core != NULL && !node->is_paused) {
            gv_ccore_tick(node->core, mesh->now_ms);
        }
    }
    mesh_answer_dials(mesh);
    mesh_deliver_frames(mesh);
    mesh_tell_closed(mesh);
    for (size_t i = 0; i < MESH_NODES; i++) {
        mesh_node_t *node = &mesh->node[i];
        if (node->core != NULL && !node->is_paused) {
            mesh_apply(node, delivered[i]);
            gv_ccore_flush(node->core);
        }
    }
}

static inline void mesh_run(mesh_t *mesh, uint64_t ms)
{
    for (uint64_t left = ms; left >= MESH_STEP_MS; left -= MESH_STEP_MS) {
        mesh_step(mesh);
    }
}

/* The first `count` nodes, all started and all linked. */
static inline mesh_t *mesh_of(size_t count)
{
    mesh_t *mesh = mesh_new();
    for (size_t i = 0; i < count; i++) {
        mesh_start(mesh, i);
    }
    for (size_t a = 0; a < count; a++) {
        for (size_t b = a + 1; b < count; b++) {
            (void)mesh_connect(mesh, a, b, 0);
        }
    }
    mesh_run(mesh, 500);
    return mesh;
}

/* ---- looking
 * -------------------------------------------------------------------------------------- */

static inline gv_node_index_t mesh_index(const mesh_t *mesh, size_t viewer, size_t node)
{
    return gv_ccore_index_of(mesh->node[viewer].core, &mesh->node[node].identity.id);
}

static inline gv_member_status_t mesh_status(const mesh_t *mesh, size_t viewer, size_t node)
{
    gv_member_status_t status;
    gv_node_index_t index = mesh_index(mesh, viewer, node);
    ck_assert_uint_ne(index, GV_NODE_NONE);
    ck_assert(gv_ccore_member(mesh->node[viewer].core, index, &status));
    return status;
}

static inline gv_member_state_t mesh_state(const mesh_t *mesh, size_t viewer, size_t node)
{
    return mesh_status(mesh, viewer, node).view.state;
}

static inline bool mesh_is_linked(const mesh_t *mesh, size_t viewer, size_t node)
{
    return mesh_status(mesh, viewer, node).view.is_linked;
}

/* Steps until `viewer` sees `node` in `state`; how long that took, or UINT64_MAX after 10 s. */
static inline uint64_t mesh_until(mesh_t *mesh, size_t viewer, size_t node, gv_member_state_t state)
{
    for (uint64_t ms = 0; ms <= 10000; ms += MESH_STEP_MS) {
        if (mesh_state(mesh, viewer, node) == state) {
            return ms;
        }
        mesh_step(mesh);
    }
    return UINT64_MAX;
}

/* ---- playing a peer
 * --------------------------------------------------------------------------------- */

/* A node that the test plays itself, linked to `to`; returns the end of `to`. */
static inline gv_link_id_t mesh_play(mesh_t *mesh, size_t played, size_t to)
{
    ck_assert_ptr_null(mesh->node[played].core);
    return mesh_connect(mesh, played, to, 0) + 1;
}

static inline void mesh_say(mesh_t *mesh, size_t to, gv_link_id_t link, gv_frame_kind_t kind,
                            const ProtobufCMessage *msg)
{
    size_t size = protobuf_c_message_get_packed_size(msg);
    uint8_t *bytes = gv_xalloc(size);
    (void)protobuf_c_message_pack(msg, bytes);
    gv_ccore_link_frame(mesh->node[to].core, link, kind, gv_bytes(bytes, size));
    gv_free(bytes);
}

static inline ProtobufCBinaryData mesh_id(const mesh_t *mesh, size_t node)
{
    return (ProtobufCBinaryData){.len = GV_NODE_ID_SIZE,
                                 .data = (uint8_t *)(uintptr_t)mesh->node[node].identity.id.bytes};
}

/* ---- work
 * ----------------------------------------------------------------------------------------- */

static inline void mesh_set(mesh_t *mesh, size_t node, const char *key, uint32_t value)
{
    gv_err_t err = gv_ccore_route_set(mesh->node[node].core, gv_bytes_text(key), value);
    ck_assert_int_eq(err, GV_OK);
}

static inline uint32_t mesh_value(const mesh_t *mesh, size_t viewer, size_t owner, const char *key)
{
    gv_node_index_t index = mesh_index(mesh, viewer, owner);
    return gv_ccore_route_value(mesh->node[viewer].core, index, gv_bytes_text(key));
}

static inline void mesh_publish(mesh_t *mesh, size_t from, size_t to, uint8_t qos, uint64_t uid,
                                gv_bytes_t payload)
{
    gv_forward_t msg = {
        .topic = GV_BYTES_LITERAL("t"),
        .payload = payload,
        .uid = {.node = mesh->node[from].identity.id, .seq = uid},
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = qos,
    };
    gv_ccore_publish(mesh->node[from].core, &msg, (uint64_t)1 << mesh_index(mesh, from, to), uid);
}

/* ---- running
 * ---------------------------------------------------------------------------------------- */

static inline int mesh_run_tests(TCase *tc)
{
    Suite *suite = suite_create("cluster/core");
    tcase_set_timeout(tc, 60);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
