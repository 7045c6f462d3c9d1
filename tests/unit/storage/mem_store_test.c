/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/mem_store.h"

#include "base/rng.h"

#include "tests/unit/storage/fixture.h"

/*
 * Model test with crashes.  Each lane submits batches 1, 2, 3, ...; batch n adds the record
 * (lane, n) and sets (lane, 0) to n.  After a crash, what is there must be some first part of each
 * lane's batches, whole, and at least everything that was acknowledged.
 */
enum {
    LANES = 3,
    SEEDS = 2000
};

typedef struct world world_t;

typedef struct submitter {
    world_t *world;
    uint8_t number;
    gv_store_lane_t lane;
    uint8_t submitted;
    uint8_t answered;     /* completions that came */
    uint8_t acknowledged; /* the last batch that was completed with GV_OK */
    bool failed[256];
} submitter_t;

struct world {
    gv_store_t *store;
    letterbox_t box;
    gv_rng_t rng;
    submitter_t submitters[LANES];
};

static void on_done(gv_err_t result, void *arg)
{
    submitter_t *submitter = arg;
    submitter->answered++;
    submitter->failed[submitter->answered] = result != GV_OK;
    if (result == GV_OK) {
        submitter->acknowledged = submitter->answered;
    }
}

static void submit_one(submitter_t *submitter)
{
    if (submitter->submitted == 255) {
        return;
    }
    uint8_t n = ++submitter->submitted;
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes((uint8_t[]){submitter->number, n}, 2),
                 gv_bytes(&n, 1));
    gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes((uint8_t[]){submitter->number, 0}, 2),
                 gv_bytes(&n, 1));
    gv_store_submit(&submitter->lane, &batch, on_done, submitter);
}

static void world_start(world_t *world, uint64_t seed, gv_store_sync_t sync)
{
    gv_mem_options_t options = {.seed = seed, .sync = sync};
    gv_mem_store_new(&options, &world->store);
    letterbox_init(&world->box);
    gv_rng_init(&world->rng, seed, 1);
    for (uint8_t i = 0; i < LANES; i++) {
        world->submitters[i] = (submitter_t){.world = world, .number = i};
        gv_store_lane_init(&world->submitters[i].lane, world->store, letterbox_post, &world->box);
    }
}

/* Submits, steps and delivers at random, for a random while. */
static void world_run(world_t *world)
{
    uint32_t events = gv_rng_below(&world->rng, 200);
    for (uint32_t i = 0; i < events; i++) {
        uint32_t what = gv_rng_below(&world->rng, 3);
        if (what == 0) {
            submit_one(&world->submitters[gv_rng_below(&world->rng, LANES)]);
        } else if (what == 1) {
            (void)gv_mem_store_step(world->store);
        } else {
            letterbox_deliver(&world->box, false);
        }
    }
    /* What was posted counts: the letters would have been read, had the process lived. */
    letterbox_deliver(&world->box, false);
}

typedef struct survivors {
    uint8_t last[LANES];
    size_t records[LANES];
} survivors_t;

static gv_err_t on_survivor(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    survivors_t *survivors = arg;
    uint8_t lane = key.data[0];
    uint8_t n = key.data[1];
    if (n == 0) {
        survivors->last[lane] = value.data[0];
    } else {
        ck_assert_uint_eq(value.data[0], n);
        survivors->records[lane]++;
    }
    return GV_OK;
}

static survivors_t look(world_t *world)
{
    survivors_t survivors = {.last = {0}};
    ck_assert_ok(gv_store_scan(world->store, GV_TABLE_OUTBOX, on_survivor, &survivors));
    return survivors;
}

/* What the seeds together have shown: a checker that never sees a loss checks nothing. */
typedef struct tally {
    size_t lost;          /* submitted, not acknowledged, gone */
    size_t lost_acked;    /* acknowledged and gone */
    size_t unacked_alive; /* not acknowledged, and there */
} tally_t;

static tally_t crash_many(gv_store_sync_t sync, gv_mem_crash_t crash)
{
    tally_t tally = {.lost = 0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        world_t world;
        world_start(&world, seed, sync);
        world_run(&world);
        gv_mem_store_crash(world.store, crash);
        survivors_t survivors = look(&world);
        for (int i = 0; i < LANES; i++) {
            const submitter_t *submitter = &world.submitters[i];
            /* A first part, whole: the last one says n, and 1..n are there. */
            ck_assert_uint_eq(survivors.records[i], survivors.last[i]);
            ck_assert_uint_le(survivors.last[i], submitter->submitted);
            tally.lost += survivors.last[i] < submitter->submitted ? 1 : 0;
            tally.lost_acked += survivors.last[i] < submitter->acknowledged ? 1 : 0;
            tally.unacked_alive += survivors.last[i] > submitter->acknowledged ? 1 : 0;
        }
        gv_store_close(&world.store);
    }
    return tally;
}

START_TEST(with_sync_commit_nothing_acknowledged_is_lost)
{
    for (int crash = GV_MEM_CRASH_PROCESS; crash <= GV_MEM_CRASH_POWER; crash++) {
        tally_t tally = crash_many(GV_STORE_SYNC_COMMIT, (gv_mem_crash_t)crash);
        ck_assert_uint_eq(tally.lost_acked, 0);
        ck_assert_uint_gt(tally.lost, SEEDS / 10);
        ck_assert_uint_gt(tally.unacked_alive, SEEDS / 10);
    }
}
END_TEST

START_TEST(with_sync_interval_only_the_power_takes_what_was_acknowledged)
{
    tally_t tally = crash_many(GV_STORE_SYNC_INTERVAL, GV_MEM_CRASH_PROCESS);
    ck_assert_uint_eq(tally.lost_acked, 0);
    tally = crash_many(GV_STORE_SYNC_INTERVAL, GV_MEM_CRASH_POWER);
    ck_assert_uint_gt(tally.lost_acked, SEEDS / 10);
}
END_TEST

START_TEST(with_sync_off_the_power_takes_more_still)
{
    ck_assert_uint_eq(crash_many(GV_STORE_SYNC_OFF, GV_MEM_CRASH_PROCESS).lost_acked, 0);
    ck_assert_uint_gt(crash_many(GV_STORE_SYNC_OFF, GV_MEM_CRASH_POWER).lost_acked,
                      crash_many(GV_STORE_SYNC_INTERVAL, GV_MEM_CRASH_POWER).lost_acked);
}
END_TEST

/* The restarted node goes on with the same store, and crashes again. */
START_TEST(a_store_lives_through_many_crashes)
{
    world_t world;
    world_start(&world, 11, GV_STORE_SYNC_COMMIT);
    for (int life = 0; life < 50; life++) {
        world_run(&world);
        gv_mem_store_crash(world.store, life % 2 ? GV_MEM_CRASH_POWER : GV_MEM_CRASH_PROCESS);
        survivors_t survivors = look(&world);
        for (uint8_t i = 0; i < LANES; i++) {
            submitter_t *submitter = &world.submitters[i];
            ck_assert_uint_ge(survivors.last[i], submitter->acknowledged);
            ck_assert_uint_eq(survivors.records[i], survivors.last[i]);
            uint8_t last = survivors.last[i];
            *submitter = (submitter_t){.world = &world,
                                       .number = i,
                                       .submitted = last,
                                       .answered = last,
                                       .acknowledged = last};
            gv_store_lane_init(&submitter->lane, world.store, letterbox_post, &world.box);
        }
    }
    gv_store_close(&world.store);
    letterbox_deliver(&world.box, false);
}
END_TEST

/* ---- faults --------------------------------------------------------------------------------- */

/* Each batch is there if and only if it was acknowledged. */
static void faults_at_random(gv_err_t fault)
{
    size_t failures = 0;
    for (uint64_t seed = 0; seed < 200; seed++) {
        world_t world;
        world_start(&world, seed, GV_STORE_SYNC_COMMIT);
        gv_mem_store_set_fault(world.store, fault, 30);
        world_run(&world);
        gv_mem_store_settle(world.store);
        letterbox_deliver(&world.box, false);
        survivors_t survivors = look(&world);
        for (int i = 0; i < LANES; i++) {
            const submitter_t *submitter = &world.submitters[i];
            ck_assert_uint_eq(submitter->answered, submitter->submitted);
            size_t succeeded = 0;
            for (size_t n = 1; n <= submitter->submitted; n++) {
                succeeded += submitter->failed[n] ? 0 : 1;
            }
            failures += submitter->submitted - succeeded;
            ck_assert_uint_eq(survivors.records[i], succeeded);
            ck_assert_uint_eq(survivors.last[i], submitter->acknowledged);
        }
        gv_mem_store_set_fault(world.store, GV_OK, 0);
        gv_store_close(&world.store);
    }
    ck_assert_uint_gt(failures, 500);
}

START_TEST(failed_batches_leave_nothing_behind_and_the_others_go_on)
{
    faults_at_random(GV_ERR_IO);
    faults_at_random(GV_ERR_FULL);
}
END_TEST

START_TEST(after_an_io_error_a_crash_may_show_what_was_not_acknowledged)
{
    int alive = 0;
    for (uint64_t seed = 0; seed < 100; seed++) {
        world_t world;
        world_start(&world, seed, GV_STORE_SYNC_COMMIT);
        gv_mem_store_set_fault(world.store, GV_ERR_IO, 100);
        submit_one(&world.submitters[0]);
        gv_mem_store_settle(world.store);
        letterbox_deliver(&world.box, false);
        ck_assert(world.submitters[0].failed[1]);
        ck_assert_uint_eq(look(&world).last[0], 0);
        gv_mem_store_crash(world.store, GV_MEM_CRASH_PROCESS);
        alive += look(&world).last[0];
        gv_store_close(&world.store);
    }
    ck_assert_int_gt(alive, 20);
    ck_assert_int_lt(alive, 80);
}
END_TEST

/* ---- repeatable ----------------------------------------------------------------------------- */

static uint64_t history_of(uint64_t seed)
{
    world_t world;
    world_start(&world, seed, GV_STORE_SYNC_INTERVAL);
    uint64_t hash = 0;
    for (int round = 0; round < 5; round++) {
        world_run(&world);
        for (int i = 0; i < LANES; i++) {
            hash = hash * 1000003 + world.submitters[i].answered;
        }
    }
    gv_mem_store_crash(world.store, GV_MEM_CRASH_POWER);
    survivors_t survivors = look(&world);
    hash = hash * 1000003 + gv_bytes_hash(gv_bytes(&survivors, sizeof(survivors)), 0);
    gv_store_close(&world.store);
    return hash;
}

START_TEST(the_same_seed_gives_the_same_history)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        ck_assert_uint_eq(history_of(seed), history_of(seed));
        ck_assert_uint_ne(history_of(seed), history_of(seed + 1));
    }
}
END_TEST

/* Lanes overtake each other: that is what the simulator wants of it. */
START_TEST(lanes_overtake_each_other)
{
    int overtaken = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        world_t world;
        world_start(&world, seed, GV_STORE_SYNC_COMMIT);
        submit_one(&world.submitters[0]);
        submit_one(&world.submitters[1]);
        while (world.submitters[0].answered + world.submitters[1].answered == 0) {
            ck_assert(gv_mem_store_step(world.store));
            letterbox_deliver(&world.box, false);
        }
        overtaken += world.submitters[0].answered == 0 ? 1 : 0;
        gv_mem_store_settle(world.store);
        letterbox_deliver(&world.box, false);
        gv_store_close(&world.store);
    }
    ck_assert_int_gt(overtaken, 3);
    ck_assert_int_lt(overtaken, 40);
}
END_TEST

START_TEST(damage_flips_one_bit_of_a_value)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    ck_assert(!gv_mem_store_damage(fx.store, GV_TABLE_RETAINED));
    static const uint8_t zeros[32];
    ck_assert_ok(fixture_put(&fx, "key", gv_bytes(zeros, sizeof(zeros))));
    ck_assert(gv_mem_store_damage(fx.store, GV_TABLE_RETAINED));
    for (int look_again = 0; look_again < 2; look_again++) {
        copy_t copy = {.data = NULL};
        ck_assert_ok(gv_store_get(fx.store, GV_TABLE_RETAINED, text("key"), on_copied, &copy));
        int bits = 0;
        for (size_t i = 0; i < copy.size; i++) {
            bits += __builtin_popcount(copy.data[i]);
        }
        ck_assert_int_eq(bits, 1);
        free(copy.data);
        gv_mem_store_crash(fx.store, GV_MEM_CRASH_POWER); /* the damage is on the disk */
    }
    fixture_close(&fx);
}
END_TEST

START_TEST(damage_finds_the_one_value_among_empty_ones)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    for (int i = 0; i < 20; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%d", i);
        ck_assert_ok(fixture_put(&fx, key, i == 7 ? text("value") : GV_BYTES_EMPTY));
    }
    ck_assert(gv_mem_store_damage(fx.store, GV_TABLE_RETAINED));
    copy_t copy = {.data = NULL};
    ck_assert_ok(gv_store_get(fx.store, GV_TABLE_RETAINED, text("7"), on_copied, &copy));
    ck_assert(!gv_bytes_equal(gv_bytes(copy.data, copy.size), text("value")));
    free(copy.data);
    ck_assert_ok(fixture_put(&fx, "7", GV_BYTES_EMPTY));
    ck_assert(!gv_mem_store_damage(fx.store, GV_TABLE_RETAINED));
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("mem_store");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, with_sync_commit_nothing_acknowledged_is_lost);
    tcase_add_test(tc, with_sync_interval_only_the_power_takes_what_was_acknowledged);
    tcase_add_test(tc, with_sync_off_the_power_takes_more_still);
    tcase_add_test(tc, a_store_lives_through_many_crashes);
    tcase_add_test(tc, failed_batches_leave_nothing_behind_and_the_others_go_on);
    tcase_add_test(tc, after_an_io_error_a_crash_may_show_what_was_not_acknowledged);
    tcase_add_test(tc, the_same_seed_gives_the_same_history);
    tcase_add_test(tc, lanes_overtake_each_other);
    tcase_add_test(tc, damage_flips_one_bit_of_a_value);
    tcase_add_test(tc, damage_finds_the_one_value_among_empty_ones);
    return run_case("storage", tc);
}
