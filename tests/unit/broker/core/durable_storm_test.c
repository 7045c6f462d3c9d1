/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Persistent sessions under random use, on a node that crashes, restarts with another number of
 * shards, and has a disk that is slow, full, or lies.
 *
 * Clients behave as the standard wants it: they keep what is not over, send it again over the next
 * connection, and know a QoS 2 message by its packet id until it is released.  A ledger says what
 * must hold whatever happens:
 *  - who has been told that a session is there finds it again, with its subscriptions;
 *  - what has been acknowledged to its publisher reaches every persistent subscriber (P1), and of
 *    a group with such members one, whoever else comes and goes there;
 *  - at QoS 2 once (P2), and for each publisher and topic in order (P3);
 *  - nothing comes by a subscription that has ended, or out of a session that has;
 *  - DUP says what it means, and retained are the last messages;
 *  - when all have gone for good, nothing is left: in memory, in the log, in the tables (P9).
 *
 * DURABLE_STORM_SEEDS=FIRST-LAST runs other seeds than the usual ones, and DURABLE_STORM_ROUGH=1
 * lets commits fail in some of them.  DURABLE_STORM_TELL=1 tells the story.
 */
#include "broker/core/shard.h"
#include "broker/core/shard_p.h"

#include "durable_storm_clients.h"

enum {
    STEPS = 6000,
    SEEDS = 48, /* of a usual run */
};

/* ---- what happens to the node ---------------------------------------------------------------- */

static void end_turns(void)
{
    for (uint16_t i = 0; i < house.shard_count; i++) {
        gv_shard_turn_end(house.shards[i]);
    }
    gv_hub_turn_end(house.hub);
}

static void pass(uint64_t ms)
{
    house.now_ms += ms;
    (void)gv_timerwheel_advance(house.wheel, house.now_ms);
}

/* Connections that the node has closed are gone. */
static void tidy(void)
{
    for (size_t i = 0; i < house.guest_count; i++) {
        guest_t *guest = house.guests[i];
        if (!guest->is_gone && guest->is_closing) {
            (void)guest_collect(guest);
            guest->is_gone = true;
            gv_client_closed(&guest->conn.client);
        }
    }
}

/* The machine fails, or the node is restarted; nobody has heard what it said last. */
static void fall(bool is_crash)
{
    tell("the node %s", is_crash ? "crashes" : "restarts");
    for (size_t i = 0; i < ACTORS; i++) {
        if (actors[i].guest != NULL) {
            actors[i].packet_id = actors[i].guest->next_packet_id;
            actors[i].guest = NULL;
        }
        lose(&actors[i]);
    }
    house.next_shard_count = (uint16_t)(1 + below(HOUSE_SHARDS_MAX));
    if (is_crash) {
        gv_mem_crash_t kind = below(2) == 0 ? GV_MEM_CRASH_PROCESS : GV_MEM_CRASH_POWER;
        house_crash(&house, kind, below(8));
    } else {
        gv_mem_store_set_fault(house.store, GV_OK, 0);
        house.is_store_slow = false;
        house_restart(&house);
    }
    if (is_damaged && below(2) == 0) {
        static const gv_table_t tables[] = {GV_TABLE_SESSIONS, GV_TABLE_QUEUE_LOG,
                                            GV_TABLE_QUEUE_LOG, GV_TABLE_PAYLOADS};
        (void)gv_mem_store_damage(house.store, tables[below(4)]);
    }
}

static void change_weather(void)
{
    house.is_store_slow = below(4) == 0;
    if (is_rough) {
        gv_err_t fault = below(2) == 0 ? GV_ERR_FULL : GV_ERR_IO;
        fault = below(3) == 0 ? fault : GV_OK;
        gv_mem_store_set_fault(house.store, fault, 20 + below(81));
    }
    if (below(4) == 0) {
        pass(500 + below(4000));
    }
}

static void happen(void)
{
    house_free_retired(&house);
    uint32_t what = below(100);
    actor_t *actor = &actors[below(ACTORS)];
    if (what < 30) {
        act(actor);
        end_turns();
    } else if (what < 48) {
        if (actor->guest != NULL) {
            (void)guest_offer(actor->guest);
        }
        end_turns();
    } else if (what < 60) {
        if (actor->guest != NULL) {
            receive(actor);
        }
    } else if (what < 78) {
        if (!house.is_store_slow || below(10) == 0) {
            (void)gv_mem_store_step(house.store);
        }
    } else if (what < 96) {
        (void)house_deliver(&house, below(1 << 16), true);
        end_turns();
    } else if (what < 98) {
        pass(below(4) == 0 ? 10 : 2); /* shorter and longer than a part waits for its receivers */
        end_turns();
    } else {
        tidy();
        if (below(4) == 0) {
            change_weather();
        }
    }
    if (below(STEPS / 5) == 0) {
        fall(below(5) != 0 && !(is_rough && house.is_store_slow && below(2) == 0));
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Everybody says what he owes, until nobody owes anything. */
static void calm_down(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        house_pass(&house, 50);
        for (size_t i = 0; i < ACTORS; i++) {
            actor_t *actor = &actors[i];
            if (actor->guest == NULL) {
                continue;
            }
            quiet = actor->guest->received_size > 0 || actor->owed_count > 0 ? 0 : quiet;
            receive(actor);
            while (actor->owed_count > 0) {
                push_ack(actor);
            }
        }
    }
}

/* All connect until nobody waits for an answer: who was refused silently has to come again. */
static void gather(void)
{
    house.is_store_slow = false;
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 2000);
    bool is_done = false;
    for (int round = 0; round < 5 && !is_done; round++) {
        is_done = true;
        for (size_t i = 0; i < ACTORS; i++) {
            if (actors[i].presence == HERE && (actors[i].pending_count > 0 || is_lossy)) {
                lose(&actors[i]);
            }
            if (actors[i].presence == AWAY) {
                connect(&actors[i], false, GV_EXPIRY_NEVER);
            }
        }
        calm_down();
        for (size_t i = 0; i < ACTORS; i++) {
            is_done = is_done && actors[i].presence == HERE && actors[i].pending_count == 0;
        }
    }
}

/*
 * What is retained now: the last there was, as far as the order is known.  A message is over when
 * another has been acknowledged that was sent after its own acknowledgement.
 */
static bool is_over(const message_t *message)
{
    for (unsigned from = 0; from < ACTORS; from++) {
        for (unsigned i = 0; i < actors[from].message_count; i++) {
            const message_t *other = &messages[from][i];
            if (other->family == RETAINED && other->topic == message->topic &&
                other->acked_at != 0 && message->acked_at != 0 &&
                other->sent_at > message->acked_at) {
                return true;
            }
        }
    }
    return false;
}

/* Whether there may be nothing under a topic. */
static bool may_be_empty(unsigned topic)
{
    bool has_acked = false;
    for (unsigned from = 0; from < ACTORS; from++) {
        for (unsigned i = 0; i < actors[from].message_count; i++) {
            const message_t *message = &messages[from][i];
            if (message->family != RETAINED || message->topic != topic) {
                continue;
            }
            has_acked = has_acked || message->acked_at != 0;
            if ((message->is_deletion || message->may_vanish) && !is_over(message)) {
                return true;
            }
        }
    }
    return !has_acked;
}

static void check_retained(void)
{
    bool is_there[TOPICS] = {0};
    guest_t *observer = house_connect(&house, GV_MQTT_V5, "observer", true);
    guest_subscribe(observer, "r/#", 0);
    for (const char *text; *(text = guest_next(observer)) != '\0' && !is_damaged;) {
        unsigned topic = TOPICS;
        unsigned from = ACTORS;
        unsigned number = 0;
        ck_assert_msg(sscanf(text, "PUBLISH r/x/%u q0 r %u:%u:", &topic, &from, &number) == 3,
                      "'%s'", text);
        ck_assert(topic < TOPICS && from < ACTORS && number < actors[from].message_count);
        const message_t *message = &messages[from][number];
        ck_assert_uint_eq(message->topic, topic);
        ck_assert_msg(message->family == RETAINED && !message->is_deletion && !is_over(message),
                      "'%s' is retained, but not the last", text);
        is_there[topic] = true;
    }
    for (unsigned topic = 0; topic < TOPICS && !is_damaged; topic++) {
        ck_assert_msg(is_there[topic] || may_be_empty(topic), "r/x/%u has lost its message", topic);
    }
    guest_leave(observer);
}

static gv_err_t count_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key, (void)value;
    ++*(size_t *)arg;
    return GV_OK;
}

static size_t records_in(gv_table_t table)
{
    size_t count = 0;
    ck_assert_int_eq(gv_store_scan(house.store, table, count_record, &count), GV_OK);
    return count;
}

static void leave_for_good(void)
{
    is_rough = false;
    for (int round = 0; round < 4; round++) { /* more than once: each commit clears up a little */
        for (size_t i = 0; i < ACTORS; i++) {
            connect(&actors[i], true, 0);
        }
        calm_down();
        for (size_t i = 0; i < ACTORS; i++) {
            ck_assert_int_eq(actors[i].presence, HERE);
            lose(&actors[i]);
        }
        house_pass(&house, 200);
    }
    house_pass(&house, 5000); /* what is done with is cleared away when there is time */
    for (uint16_t i = 0; i < house.shard_count; i++) {
        const gv_shard_t *shard = house.shards[i];
        const gv_shard_stats_t *stats = gv_shard_stats(shard);
        ck_assert_uint_eq(gv_counter_get(&stats->connections), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->sessions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->subscriptions), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->queued_messages), 0);
        ck_assert_uint_eq(gv_counter_get(&stats->queued_bytes), 0);
        ck_assert_uint_eq(shard->routes_out, 0);
        ck_assert_uint_le(gv_shelf_count(gv_journal_shelf(shard->journal)), 2);
        for (uint32_t n = 0; n < shard->loans._count; n++) {
            ck_assert_uint_eq(gv_loans_at(&shard->loans, n)->uid, 0);
        }
    }
    if (!is_damaged) { /* what is damaged stays, as evidence */
        ck_assert_uint_eq(records_in(GV_TABLE_SESSIONS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_SUBSCRIPTIONS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_WILLS), 0);
        ck_assert_uint_eq(records_in(GV_TABLE_INFLIGHT), 0);
        ck_assert_uint_le(records_in(GV_TABLE_QUEUE_LOG), 2U * HOUSE_SHARDS_MAX);
        ck_assert_uint_le(records_in(GV_TABLE_PAYLOADS), 2U * records_in(GV_TABLE_QUEUE_LOG));
    }
}

static void begin(uint64_t seed)
{
    memset(actors, 0, sizeof(actors));
    memset(messages, 0, sizeof(messages));
    moment = 0;
    is_told = getenv("DURABLE_STORM_TELL") != NULL;
    gv_rng_init(&rng, seed, 2);
    is_rough = getenv("DURABLE_STORM_ROUGH") != NULL && (seed % 8 == 4 || seed % 8 == 5);
    is_lossy = seed % 8 == 5 || seed % 8 == 6;
    is_damaged = seed % 8 == 7;
    is_brisk = seed % 3 == 0;
    house_open(&house, (uint16_t)(1 + below(HOUSE_SHARDS_MAX)));
    house.limits.queue_messages_max = is_lossy ? 4 + below(20) : 100000;
    house.limits.stored_queue_messages_max = house.limits.queue_messages_max;
    house.limits.queue_policy = (gv_queue_policy_t)below(3);
    house.limits.inflight_max = (uint16_t)(1 + below(is_brisk ? 100 : 12));
    house.image_bytes_max = below(2) == 0 ? 1 + below(5000) : 1 << 20;
    house_restart(&house);
    for (unsigned i = 0; i < ACTORS; i++) {
        actor_t *actor = &actors[i];
        (void)snprintf(actor->id, sizeof(actor->id), "c%u", i);
        actor->version = below(2) == 0 ? GV_MQTT_V5 : GV_MQTT_V311;
        memset(actor->firm, -1, sizeof(actor->firm));
        actor->expiry_s = GV_EXPIRY_NEVER;
        actor->shortest_s = GV_EXPIRY_NEVER;
        connect(actor, false, GV_EXPIRY_NEVER);
    }
    calm_down();
    push_subscribe(&actors[WITNESS], T_ALL, 2);
    push_subscribe(&actors[MEMBER], GROUP, (uint8_t)(1 + below(2)));
    calm_down();
}

static void storm(uint64_t seed)
{
    begin(seed);
    for (int i = 0; i < STEPS; i++) {
        happen();
    }
    gather();
    check_ledger();
    check_retained();
    leave_for_good();
    house_close(&house);
}

static void seeds(uint64_t *first, uint64_t *last)
{
    *first = 1;
    *last = SEEDS;
    const char *wish = getenv("DURABLE_STORM_SEEDS");
    char *end = NULL;
    if (wish != NULL) {
        *first = strtoull(wish, &end, 10);
        *last = *end == '-' ? strtoull(end + 1, NULL, 10) : *first;
    }
}

START_TEST(what_was_promised_survives)
{
    uint64_t first = 0;
    uint64_t last = 0;
    seeds(&first, &last);
    for (uint64_t seed = first + (uint64_t)_i; seed <= last; seed += 8) {
        (void)fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        storm(seed);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("storm");
    tcase_set_timeout(tc, getenv("DURABLE_STORM_SEEDS") == NULL ? 120 : 0);
    tcase_add_loop_test(tc, what_was_promised_survives, 0, 8);
    Suite *suite = suite_create("broker/core/durable_storm");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
