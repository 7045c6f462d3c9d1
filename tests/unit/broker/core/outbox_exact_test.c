/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exact boxes: the outbox of a publisher's node, the inbox of the subscriber's, and between them a
 * cluster that loses what it has when one of the two dies.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "broker/core/inbox.h"
#include "broker/core/outbox.h"
#include "storage/mem_store.h"
#include "tests/unit/seed.h"

enum {
    PEER = 3,
    MESSAGES_MAX = 2000,
    LETTERS_MAX = 4096,
};

static const gv_node_id_t peer_id = {.bytes = {7}};
static const gv_node_id_t own_id = {.bytes = {8}};

/* A node, as far as it matters here. */
typedef struct host {
    gv_store_t *store;
    gv_store_lane_t lane; /* of the one shard */
    gv_letter_t *letters[LETTERS_MAX];
    size_t letter_count;
    bool is_dying; /* nobody hears what it says */
} host_t;

typedef struct item {
    unsigned number; /* of the message: 1, 2, ... as published */
    uint64_t token;
    gv_forward_exact_t exact;
    gv_forward_result_t result;
} item_t;

static host_t sender;
static host_t receiver;
static gv_outbox_t *outbox;
static gv_inbox_t *inbox;
static _Atomic uint64_t nodes_full;
static uint64_t now_ms;
static uint64_t run;
static uint64_t next_join;

/* What the cluster has: to the receiver, at the receiver, and answers. */
static item_t on_the_way[LETTERS_MAX];
static size_t way_count;
static item_t arrived[LETTERS_MAX]; /* token 0: answered.  The inbox's token is the index + 1 */
static size_t arrived_count;
static item_t answers[LETTERS_MAX];
static size_t answer_count;

/* The publisher: what it has had PUBREC for. */
static bool is_acknowledged[MESSAGES_MAX];
static bool is_sent[MESSAGES_MAX]; /* by this connection */
static uint64_t receiver_rows;     /* the last place in the subscriber's queue */

static void on_post(void *arg, gv_letter_t *letter)
{
    host_t *host = arg;
    ck_assert_uint_lt(host->letter_count, LETTERS_MAX);
    host->letters[host->letter_count++] = letter;
}

static void deliver_letters(host_t *host)
{
    size_t count = host->letter_count;
    gv_letter_t *letters[LETTERS_MAX];
    memcpy(letters, host->letters, count * sizeof(letters[0]));
    host->letter_count = 0;
    for (size_t i = 0; i < count; i++) {
        letters[i]->deliver(letters[i]);
    }
}

static uint64_t on_now(void *arg)
{
    (void)arg;
    return now_ms;
}

/* As a node does, which counts its starts: what a process before it has left is on the disk then.
 */
static void begin_life(host_t *host)
{
    host->letter_count = 0;
    gv_store_lane_init(&host->lane, host->store, on_post, host);
    gv_mem_store_set_fault(host->store, GV_OK, 0);
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_META, GV_BYTES_LITERAL("start"), GV_BYTES_LITERAL("1"));
    ck_assert_int_eq(gv_store_write(host->store, &batch), GV_OK);
}

/* ---- the sender ------------------------------------------------------------------------------ */

static void on_publish(void *arg, const gv_forward_t *message, gv_node_index_t node, uint64_t token)
{
    (void)arg;
    ck_assert_uint_eq(node, PEER);
    ck_assert_uint_lt(way_count, LETTERS_MAX);
    char text[16] = {0};
    memcpy(text, message->payload.data, message->payload.size);
    on_the_way[way_count++] = (item_t){
        .number = (unsigned)strtoul(text, NULL, 10), .token = token, .exact = message->exact};
}

/* Its own half says the same of the packet id: it is in the same transaction. */
static void on_answered(void *arg, uint64_t token, bool is_refused)
{
    (void)arg;
    if (sender.is_dying) {
        return;
    }
    ck_assert(!is_acknowledged[token]);
    is_acknowledged[token] = !is_refused;
    is_sent[token] = !is_refused; /* else it is published again */
}

static void start_sender(uint64_t bytes_max)
{
    gv_outbox_options_t options = {
        .store = sender.store,
        .post = on_post,
        .post_arg = &sender,
        .bytes_max = bytes_max,
        .nodes_full = &nodes_full,
        .run = ++run,
        .ports = {.publish = on_publish,
                  .answered = on_answered,
                  .monotonic_ms = on_now,
                  .realtime_ms = on_now},
    };
    begin_life(&sender);
    gv_outbox_new(&options, &outbox);
    ck_assert_int_eq(gv_outbox_load(outbox), GV_OK);
    gv_outbox_on_node(outbox, PEER, &peer_id, GV_NODE_HIDDEN);
}

static void on_part(gv_err_t result, void *arg)
{
    (void)result;
    (void)arg;
}

/* A row of the number in a batch that is joined with what is put for the other node. */
static void publish(unsigned number)
{
    char text[16];
    int size = snprintf(text, sizeof(text), "%u", number);
    gv_forward_t message = {
        .topic = GV_BYTES_LITERAL("t"),
        .payload = gv_bytes((const uint8_t *)text, (size_t)size),
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = 2,
    };
    gv_outbox_join_t join = {.join = ++next_join, .parts = 2};
    gv_key_t key;
    gv_key_from_number(&key, number);
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_INFLIGHT, gv_key_bytes(&key), GV_BYTES_LITERAL("x"));
    gv_batch_join(batch, join.join, join.parts);
    gv_store_submit(&sender.lane, &batch, on_part, NULL);
    gv_outbox_put_exact(outbox, PEER, &message, &join, number);
    is_sent[number] = true;
}

static gv_err_t take_received(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)value;
    (void)arg;
    gv_reader_t r = gv_reader(key);
    is_acknowledged[gv_reader_u64(&r)] = true; /* a repetition finds its packet id */
    return GV_OK;
}

static void see(gv_node_event_t event)
{
    gv_outbox_on_node(outbox, PEER, &peer_id, event);
}

/* ---- the receiver ---------------------------------------------------------------------------- */

static void answer(size_t index, gv_forward_result_t result)
{
    if (receiver.is_dying) {
        return;
    }
    answers[answer_count] = arrived[index];
    answers[answer_count++].result = result;
    arrived[index].token = 0;
}

static void on_settled(void *arg, uint64_t token, bool is_refused)
{
    (void)arg;
    answer((size_t)token - 1, is_refused ? GV_FORWARD_REFUSED : GV_FORWARD_APPLIED);
}

static gv_err_t count_row(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    (void)value;
    (*(uint64_t *)arg)++;
    return GV_OK;
}

static gv_err_t last_row(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)value;
    gv_reader_t r = gv_reader(key);
    *(uint64_t *)arg = gv_reader_u64(&r);
    return GV_OK;
}

static void start_receiver(void)
{
    gv_inbox_options_t options = {
        .store = receiver.store, .post = on_post, .post_arg = &receiver, .answered = on_settled};
    begin_life(&receiver);
    gv_inbox_new(&options, &inbox);
    ck_assert_int_eq(gv_inbox_load(inbox), GV_OK);
    receiver_rows = 0;
    ck_assert_int_eq(gv_store_scan(receiver.store, GV_TABLE_RETAINED, last_row, &receiver_rows),
                     GV_OK);
    arrived_count = 0;
}

static void on_row_stored(gv_err_t result, void *arg)
{
    size_t index = (size_t)(uintptr_t)arg;
    answer(index, result == GV_OK ? GV_FORWARD_APPLIED : GV_FORWARD_REFUSED);
}

static void take(const item_t *item)
{
    size_t index = arrived_count++;
    ck_assert_uint_lt(index, LETTERS_MAX);
    arrived[index] = *item;
    switch (gv_inbox_judge(inbox, &own_id, &item->exact, index + 1)) {
    case GV_INBOX_NEW: {
        uint64_t join = ++next_join;
        gv_inbox_join(inbox, join);
        gv_key_t key;
        gv_key_from_number(&key, ++receiver_rows);
        char text[16];
        int size = snprintf(text, sizeof(text), "%u", item->number);
        gv_batch_t *batch = NULL;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_RETAINED, gv_key_bytes(&key),
                     gv_bytes((const uint8_t *)text, (size_t)size));
        gv_batch_join(batch, join, 2);
        gv_store_submit(&receiver.lane, &batch, on_row_stored, (void *)(uintptr_t)index);
        break;
    }
    case GV_INBOX_KNOWN:
        answer(index, GV_FORWARD_APPLIED);
        break;
    case GV_INBOX_REFUSED:
        answer(index, GV_FORWARD_REFUSED);
        break;
    case GV_INBOX_PENDING:
        break;
    }
}

/* ---- the cluster ----------------------------------------------------------------------------- */

/* Those without an answer, in order. */
static size_t unanswered(item_t *out)
{
    size_t count = 0;
    for (size_t i = 0; i < arrived_count; i++) {
        if (arrived[i].token != 0) {
            out[count++] = arrived[i];
        }
    }
    memcpy(out + count, on_the_way, way_count * sizeof(item_t));
    return count + way_count;
}

static void tell(uint64_t token, gv_forward_result_t result)
{
    uint64_t waiter = 0;
    ck_assert(!gv_outbox_on_confirmed(outbox, token, result, &waiter));
}

/* The receiver is held for dead, or is: the sender gets back what was not answered. */
static void give_back(void)
{
    static item_t lost[2 * LETTERS_MAX];
    size_t count = unanswered(lost);
    way_count = 0;
    for (size_t i = 0; i < answer_count; i++) {
        tell(answers[i].token, answers[i].result);
    }
    answer_count = 0;
    for (size_t i = 0; i < arrived_count; i++) {
        arrived[i].token = 0; /* answers that come later find nobody */
    }
    see(GV_NODE_HIDDEN);
    for (size_t i = 0; i < count; i++) {
        tell(lost[i].token, GV_FORWARD_IN_DOUBT);
    }
}

/* What the store has posted is taken, so that nothing leaks, and changes nothing. */
static void die(host_t *host, gv_mem_crash_t how)
{
    host->is_dying = true;
    deliver_letters(host);
    host->is_dying = false;
    gv_mem_store_crash(host->store, how);
}

static void crash_receiver(gv_mem_crash_t how)
{
    die(&receiver, how);
    gv_inbox_free(&inbox);
    start_receiver();
}

static void crash_sender(gv_mem_crash_t how)
{
    die(&sender, how);
    gv_outbox_free(&outbox);
    way_count = 0;
    answer_count = 0;
    for (size_t i = 0; i < arrived_count; i++) {
        arrived[i].token = 0;
    }
    memset(is_sent, 0, sizeof(is_sent));
    start_sender(1 << 20);
    ck_assert_int_eq(gv_store_scan(sender.store, GV_TABLE_INFLIGHT, take_received, NULL), GV_OK);
}

static void answer_some(size_t count)
{
    for (size_t i = 0; i < count; i++) {
        item_t first = answers[0];
        memmove(answers, answers + 1, --answer_count * sizeof(answers[0]));
        if (first.token != 0) {
            tell(first.token, first.result);
        }
    }
}

static void move_one(void)
{
    item_t first = on_the_way[0];
    memmove(on_the_way, on_the_way + 1, --way_count * sizeof(on_the_way[0]));
    take(&first);
}

static void settle(void)
{
    for (int quiet = 0; quiet < 4; quiet++) {
        gv_outbox_turn_end(outbox);
        gv_inbox_turn_end(inbox);
        while (gv_mem_store_step(sender.store) || gv_mem_store_step(receiver.store)) {
            quiet = 0;
        }
        deliver_letters(&sender);
        deliver_letters(&receiver);
        for (; way_count > 0; quiet = 0) {
            move_one();
        }
        quiet = answer_count > 0 ? 0 : quiet;
        answer_some(answer_count);
    }
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void begin(uint64_t seed)
{
    gv_mem_options_t options = {.seed = seed};
    gv_mem_store_new(&options, &sender.store);
    options.seed = seed + 1;
    gv_mem_store_new(&options, &receiver.store);
    way_count = 0;
    answer_count = 0;
    now_ms = 1000000;
    memset(is_acknowledged, 0, sizeof(is_acknowledged));
    memset(is_sent, 0, sizeof(is_sent));
    start_sender(1 << 20);
    start_receiver();
}

static void set_up(void)
{
    begin(1);
}

static void tear_down(void)
{
    settle();
    gv_outbox_free(&outbox);
    gv_inbox_free(&inbox);
    gv_store_lane_deinit(&sender.lane);
    gv_store_lane_deinit(&receiver.lane);
    gv_store_close(&sender.store);
    gv_store_close(&receiver.store);
}

typedef struct check {
    unsigned last;
    uint64_t seed;
} check_t;

static gv_err_t check_row(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    check_t *check = arg;
    char text[16] = {0};
    memcpy(text, value.data, value.size);
    unsigned number = (unsigned)strtoul(text, NULL, 10);
    gv_reader_t r = gv_reader(key);
    ck_assert_msg(number == check->last + 1, "seed %lu: row %lu has message %u after %u",
                  (unsigned long)check->seed, (unsigned long)gv_reader_u64(&r), number,
                  check->last);
    check->last = number;
    return GV_OK;
}

/* The subscriber has all up to `last`, each once and in order. */
static void assert_received(unsigned last, uint64_t seed)
{
    check_t check = {.seed = seed};
    ck_assert_int_eq(gv_store_scan(receiver.store, GV_TABLE_RETAINED, check_row, &check), GV_OK);
    ck_assert_msg(check.last == last, "seed %lu: %u of %u have come", (unsigned long)seed,
                  check.last, last);
}

static size_t on_disk(void)
{
    uint64_t rows = 0;
    ck_assert_int_eq(gv_store_scan(sender.store, GV_TABLE_EXACT, count_row, &rows), GV_OK);
    return (size_t)rows;
}

START_TEST(nothing_goes_out_before_it_is_durable)
{
    see(GV_NODE_ROUTABLE);
    publish(1);
    gv_outbox_turn_end(outbox);
    ck_assert(gv_outbox_is_open(outbox, PEER, GV_OUTBOX_EXACT));
    ck_assert(!gv_outbox_is_open(outbox, PEER, GV_OUTBOX_SPOOL));
    ck_assert_uint_eq(way_count, 0);
    gv_mem_store_settle(sender.store);
    deliver_letters(&sender);
    ck_assert(is_acknowledged[1]); /* whatever becomes of the other node */
    gv_outbox_turn_end(outbox);
    ck_assert_uint_eq(way_count, 1);
    settle();
    assert_received(1, 0);
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(a_part_of_a_join_is_submitted_whatever_waits)
{
    gv_outbox_on_node(outbox, PEER, &peer_id, GV_NODE_FORGOTTEN);
    publish(1);
    settle();
    ck_assert(is_acknowledged[1]);
    see(GV_NODE_HIDDEN);
    publish(2);
    see(GV_NODE_FORGOTTEN);
    settle();
    ck_assert(is_acknowledged[2]);
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(what_fails_is_refused_and_goes_nowhere)
{
    see(GV_NODE_ROUTABLE);
    gv_mem_store_set_fault(sender.store, GV_ERR_FULL, 100);
    publish(1);
    settle();
    ck_assert(!is_acknowledged[1]);
    gv_mem_store_set_fault(sender.store, GV_OK, 0);
    settle();
    assert_received(0, 0);
    publish(1);
    settle();
    assert_received(1, 0);
}
END_TEST

START_TEST(the_same_message_after_the_receiver_failed)
{
    see(GV_NODE_ROUTABLE);
    for (unsigned i = 1; i <= 3; i++) {
        publish(i);
    }
    gv_outbox_turn_end(outbox);
    gv_mem_store_settle(sender.store);
    deliver_letters(&sender);
    gv_outbox_turn_end(outbox);
    ck_assert_uint_eq(way_count, 3);
    ck_assert_uint_eq(on_the_way[0].exact.previous, 0);
    ck_assert_uint_eq(on_the_way[1].exact.previous, on_the_way[0].exact.number);
    move_one();
    move_one();
    gv_inbox_turn_end(inbox);
    gv_mem_store_settle(receiver.store); /* two are durable there; nobody hears of it */
    give_back();
    crash_receiver(GV_MEM_CRASH_POWER);
    see(GV_NODE_ROUTABLE);
    settle();
    assert_received(3, 0);
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(the_same_message_after_the_sender_failed)
{
    see(GV_NODE_ROUTABLE);
    publish(1);
    settle();
    publish(2);
    gv_outbox_turn_end(outbox);
    gv_mem_store_settle(sender.store);
    deliver_letters(&sender);
    gv_outbox_turn_end(outbox);
    move_one();
    gv_inbox_turn_end(inbox);
    gv_mem_store_settle(receiver.store);
    crash_sender(GV_MEM_CRASH_POWER); /* which has not heard that it is there */
    ck_assert(is_acknowledged[2]);
    see(GV_NODE_ROUTABLE);
    publish(3);
    settle();
    assert_received(3, 0);
    ck_assert_uint_eq(on_disk(), 0);
}
END_TEST

START_TEST(a_refused_one_is_not_overtaken)
{
    see(GV_NODE_ROUTABLE);
    for (unsigned i = 1; i <= 3; i++) {
        publish(i);
    }
    gv_outbox_turn_end(outbox);
    gv_mem_store_settle(sender.store);
    deliver_letters(&sender);
    gv_outbox_turn_end(outbox);
    answers[answer_count] = on_the_way[0]; /* as when the queue for the node is full */
    answers[answer_count++].result = GV_FORWARD_FULL;
    memmove(on_the_way, on_the_way + 1, --way_count * sizeof(on_the_way[0]));
    settle();
    assert_received(0, 0);
    now_ms += 1000;
    settle();
    assert_received(3, 0);
}
END_TEST

START_TEST(a_full_box_says_so)
{
    gv_outbox_free(&outbox);
    gv_store_lane_deinit(&sender.lane);
    start_sender(40);
    publish(1);
    settle();
    ck_assert_uint_eq(atomic_load(&nodes_full), 0);
    publish(2);
    settle();
    ck_assert_uint_eq(atomic_load(&nodes_full), 1U << PEER);
    ck_assert(is_acknowledged[2]);
    gv_forward_t unjoined = {
        .topic = GV_BYTES_LITERAL("t"), .expiry_ms = GV_FORWARD_NO_EXPIRY, .qos = 2};
    gv_outbox_put_exact(outbox, PEER, &unjoined, NULL, 3); /* nobody's join depends on it */
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->refused), 1);
    unjoined.qos = 1; /* the other box has no room of its own */
    gv_outbox_put(outbox, PEER, &unjoined, 4);
    ck_assert_uint_eq(gv_counter_get(&gv_outbox_stats(outbox)->refused), 2);
    see(GV_NODE_ROUTABLE);
    settle();
    ck_assert_uint_eq(atomic_load(&nodes_full), 0);
    assert_received(2, 0);
}
END_TEST

/*
 * A publisher with a window publishes again what was not acknowledged; nodes, disks and the link
 * between them fail at any time.  At the end the subscriber has everything, once and in order.
 */
static void live(uint64_t seed)
{
    enum {
        STEPS = 2500,
        WINDOW = 20,
    };
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    unsigned first = 1; /* not acknowledged */
    bool is_up = false;
    for (int step = 0; step < STEPS; step++) {
        now_ms += 20;
        while (first < MESSAGES_MAX - WINDOW && is_acknowledged[first]) {
            first++;
        }
        uint32_t what = gv_rng_below(&rng, 1000);
        if (what < 250 && first < MESSAGES_MAX - WINDOW) {
            unsigned next = first;
            while (next < first + WINDOW && (is_sent[next] || is_acknowledged[next])) {
                next++;
            }
            if (next < first + WINDOW) {
                publish(next);
            }
        } else if (what < 400) {
            gv_outbox_turn_end(outbox);
        } else if (what < 500) {
            gv_inbox_turn_end(inbox);
        } else if (what < 650) {
            (void)gv_mem_store_step(gv_rng_below(&rng, 2) == 0 ? sender.store : receiver.store);
        } else if (what < 750) {
            deliver_letters(gv_rng_below(&rng, 2) == 0 ? &sender : &receiver);
        } else if (what < 880 && way_count > 0 && is_up) {
            move_one();
        } else if (what < 975 && answer_count > 0 && is_up) {
            answer_some(1);
        } else if (what < 983) {
            if (is_up) {
                give_back(); /* it may live on */
            } else {
                see(GV_NODE_ROUTABLE);
            }
            is_up = !is_up;
        } else if (what < 987) {
            give_back();
            is_up = false;
            crash_receiver(gv_rng_below(&rng, 2) == 0 ? GV_MEM_CRASH_POWER : GV_MEM_CRASH_PROCESS);
        } else if (what < 990) {
            /* It comes again before it is missed: the same messages go to its next life. */
            static item_t again[2 * LETTERS_MAX];
            size_t count = unanswered(again);
            crash_receiver(GV_MEM_CRASH_PROCESS);
            memcpy(on_the_way, again, count * sizeof(again[0]));
            way_count = count;
        } else if (what < 994) {
            crash_sender(gv_rng_below(&rng, 2) == 0 ? GV_MEM_CRASH_POWER : GV_MEM_CRASH_PROCESS);
            if (is_up) {
                see(GV_NODE_ROUTABLE);
            }
        } else {
            /* Not the sender's: a publisher that is refused goes on with the next one. */
            bool begins = gv_rng_below(&rng, 3) == 0;
            gv_mem_store_set_fault(receiver.store, begins ? GV_ERR_FULL : GV_OK, begins ? 50 : 0);
        }
    }
    gv_mem_store_set_fault(receiver.store, GV_OK, 0);
    see(GV_NODE_ROUTABLE);
    for (int round = 0; round < 5; round++) {
        settle();
        now_ms += 1000;
    }
    for (unsigned next = first; next < first + WINDOW; next++) {
        if (!is_acknowledged[next]) {
            publish(next);
            settle();
        }
    }
    assert_received(first + WINDOW - 1, seed);
    ck_assert_uint_eq(on_disk(), 0);
}

START_TEST(each_message_comes_once_whoever_fails)
{
    uint64_t seed = test_seed("broker/core/outbox_exact");
    for (uint64_t i = 0; i < 150; i++) {
        begin(seed + i);
        live(seed + i);
        tear_down();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/outbox_exact");
    TCase *tcase = tcase_create("exact");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, nothing_goes_out_before_it_is_durable);
    tcase_add_test(tcase, a_part_of_a_join_is_submitted_whatever_waits);
    tcase_add_test(tcase, what_fails_is_refused_and_goes_nowhere);
    tcase_add_test(tcase, the_same_message_after_the_receiver_failed);
    tcase_add_test(tcase, the_same_message_after_the_sender_failed);
    tcase_add_test(tcase, a_refused_one_is_not_overtaken);
    tcase_add_test(tcase, a_full_box_says_so);
    suite_add_tcase(suite, tcase);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 120);
    tcase_add_test(random, each_message_comes_once_whoever_fails);
    suite_add_tcase(suite, random);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
