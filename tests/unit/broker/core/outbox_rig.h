/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "storage/mem_store.h"
#include "storage/outbox_store.h"

/* One outbox, one node it is for, and a cluster that keeps what it is handed until it is told. */
enum {
    PEER = 3,
    MESSAGES_MAX = 4096,
};

typedef struct handed {
    unsigned number;
    uint64_t token;
    uint64_t expiry_ms;
} handed_t;

static gv_store_t *store;
static gv_outbox_t *outbox;
static gv_letter_t *letters[MESSAGES_MAX];
static size_t letter_count;
static handed_t handed[MESSAGES_MAX];
static size_t handed_count;
static int answers[MESSAGES_MAX]; /* by token: 0 none, 1 durable, -1 refused */
static uint64_t now_ms;
static _Atomic uint64_t nodes_full;
static const gv_node_id_t peer_id = {.bytes = {7}};

static inline void on_post(void *arg, gv_letter_t *letter)
{
    (void)arg;
    ck_assert_uint_lt(letter_count, MESSAGES_MAX);
    letters[letter_count++] = letter;
}

static inline void on_publish(void *arg, const gv_forward_t *message, gv_node_index_t node,
                              uint64_t token)
{
    (void)arg;
    ck_assert_uint_eq(node, PEER);
    ck_assert_uint_eq(message->shared_count, 0);
    ck_assert_uint_eq(message->qos, 1);
    ck_assert_uint_lt(handed_count, MESSAGES_MAX);
    char text[16] = {0};
    memcpy(text, message->payload.data, message->payload.size);
    handed[handed_count++] = (handed_t){.number = (unsigned)strtoul(text, NULL, 10),
                                        .token = token,
                                        .expiry_ms = message->expiry_ms};
}

static inline void on_answered(void *arg, uint64_t token, bool is_refused)
{
    (void)arg;
    ck_assert_uint_lt(token, MESSAGES_MAX);
    ck_assert_int_eq(answers[token], 0);
    answers[token] = is_refused ? -1 : 1;
}

static inline uint64_t on_now(void *arg)
{
    (void)arg;
    return now_ms;
}

static inline void start(uint64_t bytes_max)
{
    gv_outbox_options_t options = {
        .store = store,
        .post = on_post,
        .bytes_max = bytes_max,
        .spool_after_ms = 200,
        .nodes_full = &nodes_full,
        .run = 1,
        .ports = {.publish = on_publish,
                  .answered = on_answered,
                  .monotonic_ms = on_now,
                  .realtime_ms = on_now},
    };
    gv_outbox_new(&options, &outbox);
    ck_assert_int_eq(gv_outbox_load(outbox), GV_OK);
}

static inline void set_up(void)
{
    gv_mem_options_t options = {.seed = 1};
    gv_mem_store_new(&options, &store);
    letter_count = 0;
    handed_count = 0;
    memset(answers, 0, sizeof(answers));
    now_ms = 1000000;
    start(1 << 20);
}

static inline void deliver_letters(void)
{
    size_t count = letter_count;
    letter_count = 0;
    for (size_t i = 0; i < count; i++) {
        gv_letter_t *letter = letters[i];
        letter->deliver(letter);
    }
}

static inline void settle(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        gv_outbox_turn_end(outbox);
        while (gv_mem_store_step(store)) {
            quiet = 0;
        }
        deliver_letters();
    }
}

static inline void tear_down(void)
{
    settle();
    gv_outbox_free(&outbox);
    gv_store_close(&store);
}

static inline void crash(void)
{
    gv_outbox_turn_end(outbox);
    deliver_letters(); /* what was posted is heard before */
    gv_mem_store_crash(store, GV_MEM_CRASH_POWER);
    gv_outbox_free(&outbox);
    start(1 << 20);
}

static inline void see(gv_node_event_t event)
{
    gv_outbox_on_node(outbox, PEER, &peer_id, event);
}

/* Its views are valid until the next one. */
static inline gv_forward_t make_message(unsigned number, uint64_t expiry_ms)
{
    static char text[16];
    static gv_bytes_t shared;
    shared = GV_BYTES_LITERAL("$share/g/t");
    (void)snprintf(text, sizeof(text), "%u", number);
    return (gv_forward_t){.topic = GV_BYTES_LITERAL("t"),
                          .payload = gv_bytes_text(text),
                          .shared = &shared,
                          .shared_count = 1,
                          .expiry_ms = expiry_ms,
                          .qos = 1};
}

static inline void put(unsigned number, uint64_t expiry_ms)
{
    gv_forward_t message = make_message(number, expiry_ms);
    gv_outbox_put(outbox, PEER, &message, number);
}

static inline void put_some(unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++) {
        put(i, GV_FORWARD_NO_EXPIRY);
    }
}

static inline void assert_handed(unsigned from, unsigned count)
{
    ck_assert_uint_eq(handed_count, count);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(handed[i].number, from + i);
    }
}

/* What has become of a message that the outbox has handed over. */
static inline void tell(const handed_t *message, gv_forward_result_t result)
{
    uint64_t waiter = 0;
    ck_assert((message->token & GV_OUTBOX_TOKEN) != 0);
    ck_assert(!gv_outbox_on_confirmed(outbox, message->token, result, &waiter));
}

/* What was handed over is confirmed, in order. */
static inline void confirm(size_t count, gv_forward_result_t result)
{
    ck_assert_uint_le(count, handed_count);
    for (size_t i = 0; i < count; i++) {
        tell(&handed[i], result);
    }
    handed_count -= count;
    memmove(handed, handed + count, handed_count * sizeof(handed[0]));
}

static inline gv_err_t count_record(const gv_outbox_place_t *place, size_t bytes, void *arg)
{
    (void)bytes;
    *(size_t *)arg += place->count;
    return GV_OK;
}

static inline size_t on_disk(void)
{
    size_t count = 0;
    ck_assert_int_eq(gv_outbox_record_scan(store, count_record, &count), GV_OK);
    return count;
}
