/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include "tests/unit/storage/fixture.h"

/* Joins of batches of several lanes, asked of each kind of store: `_i` is the kind. */

enum {
    OTHERS = 2
};

/* The fixture's lane and two more, all with one letter box. */
typedef struct lanes {
    fixture_t fx;
    gv_store_lane_t others[OTHERS];
} lanes_t;

static void lanes_open(lanes_t *lanes, kind_t kind, uint64_t size_bytes)
{
    fixture_open(&lanes->fx, kind, size_bytes);
    for (int i = 0; i < OTHERS; i++) {
        gv_store_lane_init(&lanes->others[i], lanes->fx.store, letterbox_post, &lanes->fx.box);
    }
}

static gv_store_lane_t *lane_at(lanes_t *lanes, int number)
{
    return number == 0 ? &lanes->fx.lane : &lanes->others[number - 1];
}

static void lanes_close(lanes_t *lanes)
{
    gv_store_close(&lanes->fx.store);
    letterbox_deliver(&lanes->fx.box, false);
    for (int i = 0; i <= OTHERS; i++) {
        gv_store_lane_deinit(lane_at(lanes, i));
    }
    if (lanes->fx.kind == KIND_LMDB) {
        workdir_remove(&lanes->fx.dir);
    }
}

/* Until there is a result. */
static void await(lanes_t *lanes, const gv_err_t *result)
{
    if (lanes->fx.kind == KIND_MEM) {
        gv_mem_store_settle(lanes->fx.store);
    }
    while (*result == GV_ERR_AGAIN) {
        letterbox_deliver(&lanes->fx.box, true);
    }
}

static gv_batch_t *batch_with(const char *key, gv_bytes_t value)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text(key), value);
    return batch;
}

static void submit(lanes_t *lanes, int number, gv_batch_t *batch, gv_err_t *result)
{
    *result = GV_ERR_AGAIN;
    gv_store_submit(lane_at(lanes, number), &batch, keep_result, result);
}

START_TEST(a_part_waits_for_the_others_and_its_lane_for_it)
{
    lanes_t lanes;
    lanes_open(&lanes, (kind_t)_i, 0);
    gv_err_t first;
    gv_err_t second;
    gv_err_t before;
    gv_err_t after;
    gv_err_t bystander;
    submit(&lanes, 0, batch_with("before", text("x")), &before);
    gv_batch_t *batch = batch_with("first", text("x"));
    gv_batch_join(batch, 7, 2);
    submit(&lanes, 0, batch, &first);
    submit(&lanes, 0, batch_with("after", text("x")), &after);
    submit(&lanes, 2, batch_with("bystander", text("x")), &bystander);
    await(&lanes, &before);
    await(&lanes, &bystander);
    ck_assert_ok(before);
    ck_assert_ok(bystander);
    ck_assert_int_eq(first, GV_ERR_AGAIN);
    ck_assert_int_eq(after, GV_ERR_AGAIN);
    assert_value(lanes.fx.store, "first", GV_BYTES_EMPTY);

    batch = batch_with("second", text("x"));
    gv_batch_join(batch, 7, 2);
    submit(&lanes, 1, batch, &second);
    await(&lanes, &after);
    await(&lanes, &second);
    ck_assert_ok(first);
    ck_assert_ok(second);
    ck_assert_ok(after);
    assert_value(lanes.fx.store, "first", text("x"));
    assert_value(lanes.fx.store, "second", text("x"));
    assert_value(lanes.fx.store, "after", text("x"));
    lanes_close(&lanes);
}
END_TEST

static gv_batch_t *following(gv_batch_t *batch)
{
    gv_batch_follow(batch);
    return batch;
}

/* Submitted at once, or each when the one before it has been answered. */
static void fail_in_a_row(kind_t kind, bool at_once)
{
    lanes_t lanes;
    lanes_open(&lanes, kind, 0);
    gv_err_t results[7];
    gv_batch_t *batches[7];
    batches[0] = batch_with("0", text("x"));
    batches[1] = following(batch_with("1", text("x")));
    batches[2] = batch_with("2", text("x"));
    ck_assert_ptr_null(
        gv_batch_put_room(batches[2], GV_TABLE_RETAINED, text("huge"), (size_t)1 << 32));
    batches[3] = following(batch_with("3", text("x")));
    batches[4] = following(batch_with("4", text("x")));
    gv_batch_join(batches[4], 7, 2);
    batches[5] = batch_with("5", text("x")); /* of another lane */
    gv_batch_join(batches[5], 7, 2);
    batches[6] = batch_with("6", text("x"));
    static const int lane_of[7] = {0, 0, 0, 0, 0, 1, 0};
    for (int i = 0; i < 7; i++) {
        submit(&lanes, lane_of[i], batches[i], &results[i]);
        if (!at_once && i != 4) {
            await(&lanes, &results[i]);
        }
    }
    for (int i = 0; i < 7; i++) {
        await(&lanes, &results[i]);
        bool fails = i >= 2 && i <= 5;
        char key[2] = {(char)('0' + i), '\0'};
        ck_assert_int_eq(results[i], fails ? GV_ERR_LIMIT : GV_OK);
        assert_value(lanes.fx.store, key, fails ? GV_BYTES_EMPTY : text("x"));
    }
    lanes_close(&lanes);
}

START_TEST(what_follows_a_batch_that_fails_fails_too)
{
    fail_in_a_row((kind_t)_i, true);
    fail_in_a_row((kind_t)_i, false);
}
END_TEST

START_TEST(a_join_of_one_part_is_none)
{
    lanes_t lanes;
    lanes_open(&lanes, (kind_t)_i, 0);
    gv_err_t result;
    gv_batch_t *batch = batch_with("key", text("x"));
    gv_batch_join(batch, 7, 1);
    submit(&lanes, 0, batch, &result);
    await(&lanes, &result);
    ck_assert_ok(result);
    lanes_close(&lanes);
}
END_TEST

/*
 * Three parts, one of which is too large for the store; the others of the lanes go through.  With
 * batches that drain, LMDB itself finds out and the group is committed in units.
 */
static void refuse_large(kind_t kind, bool draining)
{
    static const uint8_t value[5 << 20];
    static const char *const keys[] = {"first", "second", "third"};
    lanes_t lanes;
    lanes_open(&lanes, kind, 4 << 20);
    gv_err_t befores[3];
    gv_err_t results[3];
    gv_err_t afters[3];
    for (int i = 0; i < 3; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "before %d", i);
        submit(&lanes, i, batch_with(key, text("x")), &befores[i]);
    }
    for (int i = 0; i < 3; i++) {
        gv_batch_t *batch = batch_with(keys[i], gv_bytes(value, i == 1 ? sizeof(value) : 10));
        gv_batch_join(batch, 99, 3);
        if (draining) {
            gv_batch_set_draining(batch);
        }
        submit(&lanes, i, batch, &results[i]);
        char key[32];
        (void)snprintf(key, sizeof(key), "after %d", i);
        submit(&lanes, i, batch_with(key, text("x")), &afters[i]);
    }
    for (int i = 0; i < 3; i++) {
        await(&lanes, &afters[i]);
        ck_assert_ok(befores[i]);
        ck_assert_int_eq(results[i], GV_ERR_FULL);
        /* Once LMDB has said "full", only batches that drain are tried for the rest of the group.
         */
        ck_assert(afters[i] == GV_OK || (draining && afters[i] == GV_ERR_FULL));
        assert_value(lanes.fx.store, keys[i], GV_BYTES_EMPTY);
    }
    lanes_close(&lanes);
}

START_TEST(when_one_part_is_refused_all_are)
{
    refuse_large((kind_t)_i, false);
    refuse_large((kind_t)_i, true);
}
END_TEST

START_TEST(when_one_part_could_not_be_built_all_fail)
{
    lanes_t lanes;
    lanes_open(&lanes, (kind_t)_i, 0);
    gv_err_t results[2];
    for (int i = 0; i < 2; i++) {
        gv_batch_t *batch = batch_with(i == 0 ? "first" : "second", text("x"));
        if (i == 1) {
            ck_assert_ptr_null(
                gv_batch_put_room(batch, GV_TABLE_RETAINED, text("huge"), (size_t)1 << 32));
        }
        gv_batch_join(batch, 1, 2);
        submit(&lanes, i, batch, &results[i]);
    }
    for (int i = 0; i < 2; i++) {
        await(&lanes, &results[i]);
        ck_assert_int_eq(results[i], GV_ERR_LIMIT);
    }
    assert_value(lanes.fx.store, "first", GV_BYTES_EMPTY);
    lanes_close(&lanes);
}
END_TEST

START_TEST(closing_answers_what_is_incomplete_and_what_came_after_it)
{
    lanes_t lanes;
    lanes_open(&lanes, KIND_LMDB, 0);
    lanes.fx.kind = KIND_MEM; /* the directory is looked at again */
    gv_err_t results[4];
    gv_batch_t *batch = batch_with("before", text("x"));
    submit(&lanes, 0, batch, &results[0]);
    batch = batch_with("incomplete", text("x"));
    gv_batch_join(batch, 1, 2);
    submit(&lanes, 0, batch, &results[1]);
    submit(&lanes, 0, batch_with("after", text("x")), &results[2]);
    submit(&lanes, 1, batch_with("bystander", text("x")), &results[3]);
    lanes_close(&lanes);
    ck_assert_ok(results[0]);
    ck_assert_int_eq(results[1], GV_ERR_CLOSED);
    ck_assert_int_eq(results[2], GV_ERR_CLOSED);
    ck_assert_ok(results[3]);

    gv_store_t *store = lmdb_open_at(&lanes.fx.dir);
    ck_assert_uint_eq(count_records(store, GV_TABLE_RETAINED), 2);
    gv_store_close(&store);
    workdir_remove(&lanes.fx.dir);
}
END_TEST

START_TEST(closing_a_store_in_memory_answers_what_is_incomplete)
{
    lanes_t lanes;
    lanes_open(&lanes, KIND_MEM, 0);
    gv_err_t results[2];
    gv_batch_t *batch = batch_with("incomplete", text("x"));
    gv_batch_join(batch, 1, 2);
    submit(&lanes, 0, batch, &results[0]);
    submit(&lanes, 1, batch_with("bystander", text("x")), &results[1]);
    lanes_close(&lanes);
    ck_assert_int_eq(results[0], GV_ERR_CLOSED);
    ck_assert_ok(results[1]);
}
END_TEST

/* ---- threads against a reader -----------------------------------------------------------------
 */

enum {
    THREADS = 3,
    ROUNDS = 1500,
    AHEAD = 20
};

typedef struct shard {
    pthread_t thread;
    letterbox_t box;
    gv_store_lane_t lane;
    uint8_t number;
    uint32_t submitted;
    uint32_t completed;
    uint32_t wrong;
} shard_t;

static void on_done(gv_err_t result, void *arg)
{
    shard_t *shard = arg;
    shard->completed++;
    shard->wrong += result != GV_OK ? 1 : 0;
}

/* Round n of every thread sets its key to n, joined with round n of all the others. */
static void *shard_main(void *arg)
{
    shard_t *shard = arg;
    while (shard->completed < ROUNDS) {
        while (shard->submitted < ROUNDS && gv_store_lane_pending(&shard->lane) < AHEAD) {
            uint32_t n = shard->submitted++;
            gv_batch_t *batch;
            gv_batch_new(&batch);
            gv_batch_put(batch, GV_TABLE_LINKS, gv_bytes(&shard->number, 1),
                         gv_bytes(&n, sizeof(n)));
            gv_batch_join(batch, n, THREADS);
            gv_store_submit(&shard->lane, &batch, on_done, shard);
        }
        letterbox_deliver(&shard->box, true);
    }
    return NULL;
}

typedef struct look {
    uint32_t count;
    uint32_t value;
    bool differs;
} look_t;

static gv_err_t on_looked(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    look_t *look = arg;
    uint32_t n;
    memcpy(&n, value.data, sizeof(n));
    look->differs = look->differs || (look->count > 0 && look->value != n);
    look->value = n;
    look->count++;
    return GV_OK;
}

/* Every reader's moment shows the same round of all threads. */
START_TEST(no_reader_sees_half_of_a_join)
{
    fixture_t fx;
    fixture_open(&fx, KIND_LMDB, 0);
    static shard_t shards[THREADS];
    for (uint8_t i = 0; i < THREADS; i++) {
        shards[i] = (shard_t){.number = i};
        letterbox_init(&shards[i].box);
        gv_store_lane_init(&shards[i].lane, fx.store, letterbox_post, &shards[i].box);
        ck_assert_int_eq(pthread_create(&shards[i].thread, NULL, shard_main, &shards[i]), 0);
    }
    look_t look = {.count = 0};
    while (look.value < ROUNDS - 1) {
        look = (look_t){.count = 0};
        gv_store_cursor_t cursor;
        gv_store_cursor_init(&cursor);
        bool ended;
        ck_assert_ok(gv_store_scan_slice(fx.store, GV_TABLE_LINKS, &cursor, THREADS + 1, on_looked,
                                         &look, &ended));
        ck_assert(look.count == 0 || look.count == THREADS);
        ck_assert(!look.differs);
    }
    for (int i = 0; i < THREADS; i++) {
        ck_assert_int_eq(pthread_join(shards[i].thread, NULL), 0);
        ck_assert_uint_eq(shards[i].wrong, 0);
        gv_store_lane_deinit(&shards[i].lane);
    }
    const gv_store_stats_t *stats = gv_store_stats(fx.store);
    ck_assert_uint_eq(gv_counter_get(&stats->batches), THREADS * ROUNDS);
    ck_assert_uint_lt(gv_counter_get(&stats->commits), ROUNDS);
    fixture_close(&fx);
}
END_TEST

/* ---- crashes ----------------------------------------------------------------------------------
 */

enum {
    LANES = OTHERS + 1,
    JOINS_MAX = 60,
    SEEDS = 1500
};

/* Join n has a part on each lane of `lanes`; each part sets the key (n, lane). */
typedef struct simulation {
    lanes_t lanes;
    gv_rng_t rng;
    uint8_t parts[JOINS_MAX]; /* mask of lanes */
    uint8_t joins;
    uint8_t done[LANES];
    uint8_t acknowledged[JOINS_MAX]; /* mask of lanes whose part was */
    uint8_t failed[JOINS_MAX];
    uint8_t order[LANES][JOINS_MAX]; /* the joins of a lane's batches */
    uint8_t submitted[LANES];
} simulation_t;

typedef struct ticket {
    simulation_t *sim;
    uint8_t lane;
} ticket_t;

static void on_part_done(gv_err_t result, void *arg)
{
    ticket_t *ticket = arg;
    simulation_t *sim = ticket->sim;
    uint8_t join = sim->order[ticket->lane][sim->done[ticket->lane]++];
    uint8_t *mask = result == GV_OK ? sim->acknowledged : sim->failed;
    mask[join] |= (uint8_t)(1U << ticket->lane);
}

static void submit_part(simulation_t *sim, ticket_t *ticket, uint8_t join)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes((uint8_t[]){join, ticket->lane}, 2), text("x"));
    gv_batch_join(batch, join, (uint32_t)__builtin_popcount(sim->parts[join]));
    sim->order[ticket->lane][sim->submitted[ticket->lane]++] = join;
    gv_store_submit(lane_at(&sim->lanes, ticket->lane), &batch, on_part_done, ticket);
}

static gv_err_t on_part(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)value;
    uint8_t *there = arg;
    there[key.data[0]] |= (uint8_t)(1U << key.data[1]);
    return GV_OK;
}

/* Lanes get to their parts at different times: each has a list of joins it has not come to yet. */
static void simulate(simulation_t *sim, ticket_t tickets[LANES])
{
    uint8_t next[LANES] = {0};
    uint32_t events = gv_rng_below(&sim->rng, 300);
    for (uint32_t i = 0; i < events; i++) {
        uint8_t lane = (uint8_t)gv_rng_below(&sim->rng, LANES);
        switch (gv_rng_below(&sim->rng, 4)) {
        case 0:
            if (sim->joins < JOINS_MAX) {
                sim->parts[sim->joins++] =
                    (uint8_t)(1 + gv_rng_below(&sim->rng, (1U << LANES) - 1));
            }
            break;
        case 1:
            while (next[lane] < sim->joins && !(sim->parts[next[lane]] & 1U << lane)) {
                next[lane]++;
            }
            if (next[lane] < sim->joins) {
                submit_part(sim, &tickets[lane], next[lane]++);
            }
            break;
        case 2:
            (void)gv_mem_store_step(sim->lanes.fx.store);
            break;
        default:
            letterbox_deliver(&sim->lanes.fx.box, false);
        }
    }
    letterbox_deliver(&sim->lanes.fx.box, false);
}

START_TEST(a_crash_leaves_no_half_of_a_join)
{
    size_t whole = 0;
    size_t missing = 0;
    size_t refused = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        static simulation_t sim;
        sim = (simulation_t){.joins = 0};
        gv_rng_init(&sim.rng, seed, 7);
        lanes_open(&sim.lanes, KIND_MEM, seed % 3 == 0 ? 1 << 10 : 0);
        ticket_t tickets[LANES];
        for (uint8_t i = 0; i < LANES; i++) {
            tickets[i] = (ticket_t){.sim = &sim, .lane = i};
        }
        gv_mem_store_set_fault(sim.lanes.fx.store, seed % 2 == 0 ? GV_ERR_IO : GV_ERR_FULL, 10);
        simulate(&sim, tickets);
        gv_mem_store_crash(sim.lanes.fx.store,
                           seed % 5 < 2 ? GV_MEM_CRASH_POWER : GV_MEM_CRASH_PROCESS);
        uint8_t there[JOINS_MAX] = {0};
        ck_assert_ok(gv_store_scan(sim.lanes.fx.store, GV_TABLE_OUTBOX, on_part, there));
        for (uint8_t j = 0; j < sim.joins; j++) {
            ck_assert_msg(there[j] == 0 || there[j] == sim.parts[j], "seed %d join %d", (int)seed,
                          j);
            ck_assert(sim.acknowledged[j] == 0 || there[j] == sim.parts[j]);
            ck_assert(sim.acknowledged[j] == 0 || sim.failed[j] == 0);
            whole += there[j] != 0 ? 1 : 0;
            missing += there[j] == 0 ? 1 : 0;
            refused += sim.failed[j] != 0 ? 1 : 0;
        }
        gv_store_close(&sim.lanes.fx.store);
    }
    /* A check that has seen only one side of it checks nothing. */
    ck_assert_uint_gt(whole, SEEDS);
    ck_assert_uint_gt(missing, SEEDS);
    ck_assert_uint_gt(refused, SEEDS / 10);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("joined_batches");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_part_waits_for_the_others_and_its_lane_for_it, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_join_of_one_part_is_none, 0, KIND_COUNT);
    tcase_add_loop_test(tc, what_follows_a_batch_that_fails_fails_too, 0, KIND_COUNT);
    tcase_add_loop_test(tc, when_one_part_is_refused_all_are, 0, KIND_COUNT);
    tcase_add_loop_test(tc, when_one_part_could_not_be_built_all_fail, 0, KIND_COUNT);
    tcase_add_test(tc, closing_answers_what_is_incomplete_and_what_came_after_it);
    tcase_add_test(tc, closing_a_store_in_memory_answers_what_is_incomplete);
    tcase_add_test(tc, no_reader_sees_half_of_a_join);
    tcase_add_test(tc, a_crash_leaves_no_half_of_a_join);
    return run_case("storage", tc);
}
