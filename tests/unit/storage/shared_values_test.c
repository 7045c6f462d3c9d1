/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/batch.h"

#include <signal.h>

#include <sys/wait.h>

#include "base/rng.h"

#include "tests/unit/seed.h"
#include "tests/unit/storage/fixture.h"

/*
 * Values that several holders share, asked of each kind of store (`_i`), and a model: who holds
 * what.  A value is there if and only if somebody holds it.
 */

enum {
    NUMBERS = 12,
    LANES = 3,
    HOLDERS = 9, /* a third of them each lane's own, so that lanes may overtake each other */
    VALUE_SIZE_MAX = 20000
};

#define TABLE GV_TABLE_PAYLOADS

/* Each number has its value: of no page, of a part of one, of several. */
static gv_bytes_t value_of(uint64_t number)
{
    static const size_t sizes[] = {10, 0, 3000, VALUE_SIZE_MAX};
    static uint8_t value[VALUE_SIZE_MAX];
    memset(value, (int)number, sizeof(value));
    return gv_bytes(value, sizes[number % (sizeof(sizes) / sizeof(sizes[0]))]);
}

static void share(gv_batch_t *batch, uint64_t number, uint64_t holder)
{
    gv_batch_share(batch, TABLE, number, holder, value_of(number));
}

/* ---- model ---------------------------------------------------------------------------------- */

typedef struct model {
    bool held[NUMBERS + 1][HOLDERS + 1]; /* both from 1 on */
} model_t;

static bool is_there(const model_t *model, uint64_t number)
{
    for (size_t holder = 1; holder <= HOLDERS; holder++) {
        if (model->held[number][holder]) {
            return true;
        }
    }
    return false;
}

typedef struct comparison {
    const model_t *model;
    size_t seen;
} comparison_t;

static gv_err_t on_compared(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    comparison_t *comparison = arg;
    gv_reader_t r = gv_reader(key);
    uint64_t number = gv_reader_u64(&r);
    uint64_t holder = gv_reader_u64(&r);
    ck_assert(!r.failed);
    ck_assert_uint_eq(gv_reader_left(&r), 0);
    ck_assert_uint_le(number, NUMBERS);
    ck_assert_uint_le(holder, HOLDERS);
    if (holder == 0) {
        ck_assert(is_there(comparison->model, number));
        ck_assert(gv_bytes_equal(value, value_of(number)));
    } else {
        ck_assert(comparison->model->held[number][holder]);
        ck_assert_uint_eq(value.size, 0);
    }
    comparison->seen++;
    return GV_OK;
}

static void assert_model(gv_store_t *store, const model_t *model)
{
    comparison_t comparison = {.model = model};
    ck_assert_ok(gv_store_scan(store, TABLE, on_compared, &comparison));
    size_t expected = 0;
    for (size_t number = 1; number <= NUMBERS; number++) {
        expected += is_there(model, number) ? 1 : 0;
        for (size_t holder = 1; holder <= HOLDERS; holder++) {
            expected += model->held[number][holder] ? 1 : 0;
        }
    }
    ck_assert_uint_eq(comparison.seen, expected);
}

/* ---- by example ----------------------------------------------------------------------------- */

START_TEST(a_value_goes_with_its_last_holder)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    model_t model = {.held[3] = {[1] = true, [2] = true}};
    gv_batch_t *batch;
    gv_batch_new(&batch);
    share(batch, 3, 1);
    share(batch, 3, 2);
    share(batch, 3, 1);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_model(fx.store, &model);

    for (int twice = 0; twice < 2; twice++) {
        gv_batch_new(&batch);
        gv_batch_unshare(batch, TABLE, 3, 1);
        ck_assert_ok(fixture_commit(&fx, batch));
        model.held[3][1] = false;
        assert_model(fx.store, &model);
    }
    gv_batch_new(&batch);
    gv_batch_unshare(batch, TABLE, 3, 2);
    gv_batch_unshare(batch, TABLE, 3, 9);
    gv_batch_unshare(batch, TABLE, 4, 1);
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(count_records(fx.store, TABLE), 0);
    fixture_close(&fx);
}
END_TEST

START_TEST(within_a_batch_changes_are_made_in_their_order)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    share(batch, 1, 1);
    gv_batch_unshare(batch, TABLE, 1, 1);
    gv_batch_unshare(batch, TABLE, 2, 1);
    share(batch, 2, 1);
    share(batch, 3, 1);
    gv_batch_unshare(batch, TABLE, 3, 1);
    share(batch, 3, 2);
    ck_assert_ok(fixture_commit(&fx, batch));
    model_t model = {.held[2] = {[1] = true}, .held[3] = {[2] = true}};
    assert_model(fx.store, &model);
    fixture_close(&fx);
}
END_TEST

/* Neighbours in the order of the keys, and keys with all bits set. */
START_TEST(numbers_next_to_each_other_are_apart)
{
    static const uint64_t numbers[] = {UINT64_MAX, 0, 256, 255, 1, UINT64_MAX - 1};
    enum {
        COUNT = sizeof(numbers) / sizeof(numbers[0])
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (size_t i = 0; i < COUNT; i++) {
        gv_batch_share(batch, TABLE, numbers[i], UINT64_MAX, text("x"));
        gv_batch_share(batch, TABLE, numbers[i], 1, text("x"));
    }
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(count_records(fx.store, TABLE), 3 * COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        gv_batch_new(&batch);
        gv_batch_unshare(batch, TABLE, numbers[i], 1);
        ck_assert_ok(fixture_commit(&fx, batch));
        ck_assert_uint_eq(count_records(fx.store, TABLE), 3 * (COUNT - i) - 1);
        gv_batch_new(&batch);
        gv_batch_unshare(batch, TABLE, numbers[i], UINT64_MAX);
        ck_assert_ok(fixture_commit(&fx, batch));
        ck_assert_uint_eq(count_records(fx.store, TABLE), 3 * (COUNT - i - 1));
    }
    fixture_close(&fx);
}
END_TEST

START_TEST(a_full_store_takes_no_shares_and_is_drained_by_their_end)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 4 << 20);
    gv_batch_t *batch;
    uint64_t stored = 0;
    gv_err_t err = GV_OK;
    while (err == GV_OK) {
        gv_batch_new(&batch);
        gv_batch_share(batch, TABLE, stored + 1, 1, value_of(3));
        err = fixture_commit(&fx, batch);
        stored += err == GV_OK ? 1 : 0;
    }
    ck_assert_int_eq(err, GV_ERR_FULL);
    ck_assert_uint_gt(stored, (1 << 20) / VALUE_SIZE_MAX);
    ck_assert_uint_eq(count_records(fx.store, TABLE), 2 * stored);

    gv_batch_new(&batch);
    share(batch, 3, 2);
    gv_batch_set_draining(batch);
    ck_assert_ok(fixture_commit(&fx, batch));
    for (uint64_t number = 1; number <= stored; number++) {
        gv_batch_new(&batch);
        gv_batch_unshare(batch, TABLE, number, 1);
        ck_assert_ok(fixture_commit(&fx, batch));
    }
    ck_assert_uint_eq(count_records(fx.store, TABLE), 2);
    gv_batch_new(&batch);
    share(batch, 7, 1);
    ck_assert_ok(fixture_commit(&fx, batch));
    fixture_close(&fx);
}
END_TEST

START_TEST(the_last_key_is_the_highest)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_key_t key;
    ck_assert_int_eq(gv_store_last(fx.store, TABLE, &key), GV_ERR_NOENT);
    ck_assert_uint_eq(key.size, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    share(batch, 7, 5);
    share(batch, 2, 9);
    share(batch, 7, 4);
    ck_assert_ok(fixture_commit(&fx, batch));
    gv_key_t expected;
    gv_key_from_number_pair(&expected, 7, 5);
    ck_assert_ok(gv_store_last(fx.store, TABLE, &key));
    ck_assert(gv_bytes_equal(gv_key_bytes(&key), gv_key_bytes(&expected)));
    ck_assert_int_eq(gv_store_last(fx.store, GV_TABLE_OUTBOX, &key), GV_ERR_NOENT);
    fixture_close(&fx);
}
END_TEST

/* ---- at random ------------------------------------------------------------------------------ */

/* The nth batch of a lane is the same each time it is drawn; so it can be made again. */
typedef struct lane {
    gv_store_lane_t lane;
    uint32_t number;
    uint32_t submitted;
} lane_t;

/* Makes its changes in the model, or adds them to the batch, with a mark that it was applied. */
static void draw(uint64_t seed, uint32_t lane, uint32_t n, model_t *model, gv_batch_t *batch)
{
    gv_rng_t rng;
    gv_rng_init(&rng, seed, (uint64_t)lane << 32 | n);
    for (uint32_t i = gv_rng_below(&rng, 6); i > 0; i--) {
        uint64_t number = 1 + gv_rng_below(&rng, NUMBERS);
        uint64_t holder = 1 + lane + LANES * gv_rng_below(&rng, HOLDERS / LANES);
        bool is_shared = gv_rng_chance(&rng, 40);
        if (model != NULL) {
            model->held[number][holder] = is_shared;
        } else if (is_shared) {
            share(batch, number, holder);
        } else {
            gv_batch_unshare(batch, TABLE, number, holder);
        }
    }
    if (batch != NULL) {
        gv_key_t mark;
        gv_key_from_number_pair(&mark, lane, n);
        gv_batch_put(batch, GV_TABLE_OUTBOX, gv_key_bytes(&mark), GV_BYTES_EMPTY);
    }
}

static void on_done(gv_err_t result, void *arg)
{
    (void)result;
    (void)arg;
}

static void submit(lane_t *lane, uint64_t seed, uint32_t n)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    draw(seed, lane->number, n, NULL, batch);
    gv_store_submit(&lane->lane, &batch, on_done, NULL);
}

static bool is_marked(gv_store_t *store, uint32_t lane, uint32_t n)
{
    gv_key_t mark;
    gv_key_from_number_pair(&mark, lane, n);
    size_t count = 0;
    return gv_store_get(store, GV_TABLE_OUTBOX, gv_key_bytes(&mark), on_counted, &count) == GV_OK;
}

/* What the batches that were applied come to, and the first one that was not. */
static uint32_t replay(gv_store_t *store, const lane_t *lane, uint64_t seed, model_t *model)
{
    uint32_t first_missing = lane->submitted + 1;
    for (uint32_t n = lane->submitted; n >= 1; n--) {
        first_missing = is_marked(store, lane->number, n) ? first_missing : n;
    }
    for (uint32_t n = 1; n <= lane->submitted; n++) {
        if (is_marked(store, lane->number, n)) {
            draw(seed, lane->number, n, model, NULL);
        }
    }
    return first_missing;
}

START_TEST(random_sharing_of_three_lanes_matches_a_model)
{
    uint64_t seed = test_seed("shared_values");
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    model_t model = {.held[1] = {false}};
    lane_t lanes[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        lanes[i] = (lane_t){.number = i};
        gv_store_lane_init(&lanes[i].lane, fx.store, letterbox_post, &fx.box);
    }
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 20; i++) {
            lane_t *lane = &lanes[gv_rng_below(&rng, LANES)];
            uint32_t n = ++lane->submitted;
            submit(lane, seed, n);
            draw(seed, lane->number, n, &model, NULL);
            if (gv_rng_chance(&rng, 30)) {
                submit(lane, seed, n);
            }
        }
        fixture_settle(&fx);
        for (uint32_t i = 0; i < LANES; i++) {
            while (gv_store_lane_pending(&lanes[i].lane) > 0) {
                letterbox_deliver(&fx.box, true);
            }
        }
        assert_model(fx.store, &model);
    }
    fixture_close(&fx);
}
END_TEST

/* What a crash has left is what some batches have made, whole; the others are made again. */
static void crash_once(uint64_t seed, gv_mem_crash_t crash, gv_err_t fault)
{
    gv_mem_options_t options = {.seed = seed};
    gv_store_t *store;
    gv_mem_store_new(&options, &store);
    letterbox_t box;
    letterbox_init(&box);
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    gv_mem_store_set_fault(store, fault, fault != GV_OK ? 30 : 0);
    lane_t lanes[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        lanes[i] = (lane_t){.number = i};
        gv_store_lane_init(&lanes[i].lane, store, letterbox_post, &box);
    }
    for (uint32_t events = gv_rng_below(&rng, 150); events > 0; events--) {
        if (gv_rng_chance(&rng, 40)) {
            lane_t *lane = &lanes[gv_rng_below(&rng, LANES)];
            submit(lane, seed, ++lane->submitted);
        } else {
            (void)gv_mem_store_step(store);
        }
    }
    letterbox_deliver(&box, false);
    gv_mem_store_crash(store, crash);
    gv_mem_store_set_fault(store, GV_OK, 0);

    model_t survived = {.held[1] = {false}};
    model_t complete = {.held[1] = {false}};
    for (uint32_t i = 0; i < LANES; i++) {
        uint32_t first_missing = replay(store, &lanes[i], seed, &survived);
        gv_store_lane_init(&lanes[i].lane, store, letterbox_post, &box);
        for (uint32_t n = first_missing; n <= lanes[i].submitted; n++) {
            submit(&lanes[i], seed, n);
        }
        for (uint32_t n = 1; n <= lanes[i].submitted; n++) {
            draw(seed, i, n, &complete, NULL);
        }
    }
    assert_model(store, &survived);
    gv_mem_store_settle(store);
    letterbox_deliver(&box, false);
    assert_model(store, &complete);
    gv_store_close(&store);
}

START_TEST(what_survives_a_crash_can_be_made_whole_again)
{
    static const gv_err_t faults[] = {GV_OK, GV_ERR_IO, GV_ERR_FULL};
    for (uint64_t seed = 0; seed < 600; seed++) {
        crash_once(seed, seed % 2 == 0 ? GV_MEM_CRASH_PROCESS : GV_MEM_CRASH_POWER,
                   faults[seed % 3]);
    }
}
END_TEST

static void write_one(gv_store_t *store, uint64_t seed, uint32_t n)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    draw(seed, 0, n, NULL, batch);
    ck_assert_ok(gv_store_write(store, &batch));
}

/* In a process of its own: writes until it is killed, and says when it has written a little. */
static _Noreturn void write_for_ever(const workdir_t *dir, uint64_t seed, uint32_t first, int fd)
{
    gv_store_t *store = lmdb_open_at(dir);
    for (uint32_t n = first;; n++) {
        write_one(store, seed, n);
        if (n == first + 5 && write(fd, "", 1) != 1) {
            _exit(EXIT_FAILURE);
        }
    }
}

static void run_and_kill(const workdir_t *dir, uint64_t seed, uint32_t first)
{
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    pid_t child = fork();
    if (child == 0) {
        write_for_ever(dir, seed, first, fds[1]);
    }
    (void)close(fds[1]);
    char byte;
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    (void)close(fds[0]);
    usleep((useconds_t)(first * 7919 % 20000)); /* somewhere in the middle of the next ones */
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
}

START_TEST(a_killed_writer_leaves_every_value_with_its_holders)
{
    enum {
        ROUNDS = 8,
        AGAIN = 3 /* batches that are made once more, as if nobody knew of them */
    };
    uint64_t seed = test_seed("killed writer");
    workdir_t dir;
    workdir_make(&dir);
    uint32_t applied = 0;
    for (int round = 0; round < ROUNDS; round++) {
        run_and_kill(&dir, seed, applied + 1);
        gv_store_t *store = lmdb_open_at(&dir);
        while (is_marked(store, 0, applied + 1)) {
            applied++;
        }
        model_t model = {.held[1] = {false}};
        lane_t lane = {.number = 0, .submitted = applied};
        ck_assert_uint_eq(replay(store, &lane, seed, &model), applied + 1);
        assert_model(store, &model);
        for (uint32_t n = applied - AGAIN; n <= applied; n++) {
            write_one(store, seed, n);
        }
        assert_model(store, &model);
        gv_store_close(&store);
    }
    workdir_remove(&dir);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("shared_values");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, a_value_goes_with_its_last_holder, 0, KIND_COUNT);
    tcase_add_loop_test(tc, within_a_batch_changes_are_made_in_their_order, 0, KIND_COUNT);
    tcase_add_loop_test(tc, numbers_next_to_each_other_are_apart, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_full_store_takes_no_shares_and_is_drained_by_their_end, 0,
                        KIND_COUNT);
    tcase_add_loop_test(tc, the_last_key_is_the_highest, 0, KIND_COUNT);
    tcase_add_loop_test(tc, random_sharing_of_three_lanes_matches_a_model, 0, KIND_COUNT);
    tcase_add_test(tc, what_survives_a_crash_can_be_made_whole_again);
    tcase_add_test(tc, a_killed_writer_leaves_every_value_with_its_holders);
    return run_case("storage", tc);
}
