/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "house.h"

/*
 * Two houses and a cluster of wires between their hubs: what one announces the other hears at once,
 * or when the test says so.
 */
enum {
    QUEUE = 256
};

typedef struct wire {
    house_t *from;
    house_t *to;
    gv_hub_cluster_t ops;
    bool is_cut;    /* publishes stay on the way */
    bool is_silent; /* barriers are not answered */
    bool is_deaf;   /* routes are not announced */
    bool is_mute;   /* what the other side has to say of publishes is lost */
    uint64_t barriers[QUEUE];
    size_t barrier_count;
    struct {
        uint64_t token;
        uint64_t seq;
    } sent[QUEUE]; /* published, and not applied by the other side yet */
    size_t sent_count;
    uint64_t last_seq;
    size_t publish_count;
    size_t returned_count;
    uint8_t last_qos;
    char last_shared[64];
    char last_payload[64];
    uint32_t last_value;
    bool holds_claims; /* the test answers them */
    size_t claim_count;
    size_t enroll_count;
    size_t release_count;
    size_t let_gone_count;
    gv_claim_t last_claim;
    gv_holder_t last_released;
    gv_letting_t last_let_gone;
} wire_t;

static house_t houses[2];
static wire_t wires[2];

static inline void on_route_set(void *arg, gv_bytes_t key, uint32_t value)
{
    wire_t *wire = arg;
    wire->last_value = value;
    if (wire->is_deaf) {
        return;
    }
    gv_hub_on_row(wire->to->hub, 1, key, value);
}

static inline void on_barrier(void *arg, uint64_t token)
{
    wire_t *wire = arg;
    wire->barriers[wire->barrier_count++] = token;
}

static inline void on_publish(void *arg, const gv_forward_t *message, uint64_t nodes,
                              uint64_t token)
{
    wire_t *wire = arg;
    ck_assert_uint_eq(nodes, 2);
    wire->publish_count++;
    wire->last_qos = message->qos;
    gv_delivery_t delivery = {.from = 1};
    if (message->qos > 0) {
        delivery.seq = ++wire->last_seq;
        wire->sent[wire->sent_count].token = token;
        wire->sent[wire->sent_count++].seq = delivery.seq;
    }
    for (size_t i = 0; i < message->shared_count; i++) {
        (void)snprintf(wire->last_shared, sizeof(wire->last_shared), "%.*s",
                       (int)message->shared[i].size, (const char *)message->shared[i].data);
    }
    (void)snprintf(wire->last_payload, sizeof(wire->last_payload), "%.*s",
                   (int)message->payload.size, (const char *)message->payload.data);
    if (!wire->is_cut) {
        gv_hub_on_deliver(wire->to->hub, &delivery, message);
    }
}

/* What the cluster hands back of the message last published. */
static inline gv_forward_t lost_message(const wire_t *wire, gv_bytes_t *shared)
{
    shared[0] = gv_bytes_text(wire->last_shared);
    return (gv_forward_t){.topic = GV_BYTES_LITERAL("t"),
                          .payload = gv_bytes_text(wire->last_payload),
                          .shared = shared,
                          .shared_count = 1,
                          .expiry_ms = GV_FORWARD_NO_EXPIRY,
                          .qos = wire->last_qos};
}

/* The other side of `arg`'s wire says what has become of a message. */
static inline void on_applied(void *arg, gv_delivery_t delivery,
                              const gv_delivery_outcome_t *outcome)
{
    wire_t *own = arg;
    wire_t *wire = own == &wires[0] ? &wires[1] : &wires[0];
    gv_bytes_t shared[1];
    gv_forward_t lost = lost_message(wire, shared);
    bool is_returned = !outcome->is_refused && outcome->returned_count > 0;
    if (is_returned) {
        ck_assert_uint_eq(outcome->returned_count, 1);
        ck_assert_uint_eq(outcome->returned[0], gv_forward_group_key(shared[0]));
    }
    gv_forward_result_t result = outcome->is_refused ? GV_FORWARD_REFUSED
                                 : is_returned       ? GV_FORWARD_RETURNED
                                                     : GV_FORWARD_APPLIED;
    for (size_t i = 0; i < wire->sent_count; i++) {
        if (wire->is_mute && wire->sent[i].seq == delivery.seq) {
            return;
        }
        if (wire->sent[i].seq == delivery.seq) {
            uint64_t token = wire->sent[i].token;
            wire->sent[i] = wire->sent[--wire->sent_count];
            wire->returned_count += is_returned;
            gv_hub_on_confirmed(wire->from->hub, token, 1, result, is_returned ? &lost : NULL);
            return;
        }
    }
    ck_abort_msg("applied what was never sent");
}

static inline void on_pause(void *arg, bool is_paused)
{
    (void)arg;
    (void)is_paused;
}

/* Claims are granted at once, unless the test wants to answer them. */
static inline void on_claim(void *arg, const gv_claim_t *claim)
{
    wire_t *wire = arg;
    wire->claim_count++;
    wire->last_claim = *claim;
    if (!wire->holds_claims) {
        gv_hub_on_claimed(wire->from->hub, claim, GV_CLAIM_GRANTED);
    }
}

static inline void on_enroll(void *arg, const gv_claim_t *claim)
{
    wire_t *wire = arg;
    wire->enroll_count++;
    wire->last_claim = *claim;
}

static inline void on_release(void *arg, const gv_id_key_t *key, gv_holder_t holder)
{
    wire_t *wire = arg;
    (void)key;
    wire->release_count++;
    wire->last_released = holder;
}

static inline void on_let_gone(void *arg, const gv_letting_t *letting)
{
    wire_t *wire = arg;
    wire->let_gone_count++;
    wire->last_let_gone = *letting;
}

/* There is no link for notes: these two compare nothing (see reconcile_houses.h). */
static inline bool on_note(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body)
{
    (void)arg, (void)node, (void)kind, (void)body;
    return false;
}

static inline uint64_t on_members(void *arg)
{
    (void)arg;
    return 2;
}

static inline void on_who(void *arg, gv_node_index_t node, gv_remembered_t *member_out)
{
    const wire_t *wire = arg;
    ck_assert_uint_eq(node, 1);
    *member_out = (gv_remembered_t){.id.bytes = {wire->to->number}, .name = "the other"};
}

static inline void settle_both(void)
{
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 2; i++) {
            house_settle(&houses[i]);
            wire_t *wire = &wires[i];
            for (size_t n = 0; n < wire->barrier_count && !wire->is_silent; n++) {
                gv_hub_on_barrier(houses[i].hub, wire->barriers[n], true);
            }
            wire->barrier_count = wire->is_silent ? wire->barrier_count : 0;
        }
    }
}

static inline void open_both(void)
{
    memset(wires, 0, sizeof(wires));
    for (int i = 0; i < 2; i++) {
        house_open_member(&houses[i], 2, (uint8_t)(i + 1));
    }
    for (int i = 0; i < 2; i++) {
        wires[i].from = &houses[i];
        wires[i].to = &houses[1 - i];
        wires[i].ops = (gv_hub_cluster_t){
            .arg = &wires[i],
            .route_set = on_route_set,
            .barrier = on_barrier,
            .publish = on_publish,
            .applied = on_applied,
            .pause_credit = on_pause,
            .claim = on_claim,
            .enroll = on_enroll,
            .release = on_release,
            .let_gone = on_let_gone,
            .note = on_note,
            .members = on_members,
            .who = on_who,
        };
        void *shards[] = {houses[i].shards[0], houses[i].shards[1]};
        gv_hub_connect(houses[i].hub, shards, &wires[i].ops);
        gv_hub_on_node(houses[i].hub, 1, GV_NODE_ROUTABLE);
    }
}

static inline void close_both(void)
{
    wires[0].is_silent = false;
    wires[1].is_silent = false;
    for (int round = 0; round < 3; round++) {
        settle_both();
    }
    for (int i = 0; i < 2; i++) {
        for (size_t g = 0; g < houses[i].guest_count; g++) {
            guest_leave(houses[i].guests[g]);
        }
    }
    settle_both();
    house_close(&houses[0]);
    house_close(&houses[1]);
}

static inline void subscribe(guest_t *guest, const char *filter, uint8_t qos)
{
    guest_push_subscribe(guest, (gv_mqtt_subscription_t){.text = gv_bytes_text(filter), .qos = qos},
                         0);
    settle_both();
    ck_assert_int_eq(strncmp(guest_next(guest), "SUBACK", 6), 0);
}
