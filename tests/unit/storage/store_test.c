/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/store.h"

#include "base/rng.h"

#include "tests/unit/storage/fixture.h"

/* The contract of a store, asked of each kind: `_i` is the kind. */

START_TEST(a_put_is_there_when_it_is_completed_and_gone_after_a_delete)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    assert_value(fx.store, "key", GV_BYTES_EMPTY);
    ck_assert_ok(fixture_put(&fx, "key", text("value")));
    assert_value(fx.store, "key", text("value"));
    ck_assert_ok(fixture_put(&fx, "key", text("another")));
    assert_value(fx.store, "key", text("another"));

    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("key"));
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("never there"));
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_value(fx.store, "key", GV_BYTES_EMPTY);
    fixture_close(&fx);
}
END_TEST

START_TEST(in_a_batch_the_last_change_of_a_key_wins)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("kept"), text("first"));
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("kept"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("kept"), text("last"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("gone"), text("first"));
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("gone"));
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_value(fx.store, "kept", text("last"));
    assert_value(fx.store, "gone", GV_BYTES_EMPTY);
    fixture_close(&fx);
}
END_TEST

START_TEST(tables_are_apart)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    size_t meta_before = count_records(fx.store, GV_TABLE_META);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (int t = GV_TABLE_RETAINED; t < GV_TABLE_COUNT; t++) {
        for (int n = 0; n < t; n++) {
            char key[16];
            (void)snprintf(key, sizeof(key), "%d", n);
            gv_batch_put(batch, (gv_table_t)t, text(key), GV_BYTES_EMPTY);
        }
    }
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_META), meta_before);
    for (int t = GV_TABLE_RETAINED; t < GV_TABLE_COUNT; t++) {
        ck_assert_uint_eq(count_records(fx.store, (gv_table_t)t), (size_t)t);
    }
    fixture_close(&fx);
}
END_TEST

typedef struct order {
    int next;
    int wrong;
} order_t;

typedef struct ticket {
    order_t *order;
    int number;
} ticket_t;

static void on_ticket(gv_err_t result, void *arg)
{
    ticket_t *ticket = arg;
    ticket->order->wrong += result != GV_OK || ticket->order->next != ticket->number ? 1 : 0;
    ticket->order->next = ticket->number + 1;
}

/* Every tenth is empty: it is answered in its turn all the same. */
START_TEST(completions_come_in_the_order_submitted)
{
    enum {
        BATCHES = 500
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    order_t order = {.next = 0};
    static ticket_t tickets[BATCHES];
    for (int i = 0; i < BATCHES; i++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        if (i % 10 != 0) {
            gv_batch_put(batch, GV_TABLE_RETAINED, text("last"), gv_bytes(&i, sizeof(i)));
        }
        tickets[i] = (ticket_t){.order = &order, .number = i};
        gv_store_submit(&fx.lane, &batch, on_ticket, &tickets[i]);
        ck_assert_ptr_null(batch);
    }
    ck_assert_uint_gt(gv_store_lane_pending_bytes(&fx.lane), 0);
    fixture_settle(&fx);
    ck_assert_int_eq(order.next, BATCHES);
    ck_assert_int_eq(order.wrong, 0);
    ck_assert_uint_eq(gv_store_lane_pending_bytes(&fx.lane), 0);
    int last = BATCHES - 1;
    assert_value(fx.store, "last", gv_bytes(&last, sizeof(last)));
    fixture_close(&fx);
}
END_TEST

START_TEST(sizes_from_nothing_to_megabytes)
{
    static const size_t sizes[] = {0, 1, 100, 1000, 2000, 2048, 4096, 65536, 1 << 20, 5000000};
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *bytes = malloc(5000000);
    for (size_t i = 0; i < 5000000; i++) {
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    }
    char key[GV_KEY_SIZE_MAX + 1];
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        (void)snprintf(key, sizeof(key), "%0*zu", i % 2 == 0 ? GV_KEY_SIZE_MAX : 1, sizes[i]);
        ck_assert_ok(fixture_put(&fx, key, gv_bytes(bytes, sizes[i])));
    }
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        (void)snprintf(key, sizeof(key), "%0*zu", i % 2 == 0 ? GV_KEY_SIZE_MAX : 1, sizes[i]);
        assert_value(fx.store, key, gv_bytes(bytes, sizes[i]));
    }
    free(bytes);
    fixture_close(&fx);
}
END_TEST

/* ---- walking -------------------------------------------------------------------------------- */

static void put_number(gv_batch_t *batch, uint32_t number)
{
    uint8_t key[4];
    gv_writer_t w = gv_writer(key, sizeof(key));
    gv_writer_u32(&w, number);
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, gv_bytes(key, sizeof(key)), gv_bytes(key, 4));
}

typedef struct walk {
    uint32_t seen[1000];
    size_t count;
    size_t stop_after; /* 0: never */
} walk_t;

static gv_err_t on_number(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    walk_t *walk = arg;
    gv_reader_t r = gv_reader(key);
    ck_assert(gv_bytes_equal(key, value));
    walk->seen[walk->count++] = gv_reader_u32(&r);
    return walk->count == walk->stop_after ? GV_ERR_LIMIT : GV_OK;
}

START_TEST(appends_out_of_order_are_walked_in_order)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (uint32_t i = 0; i < 300; i++) {
        put_number(batch, i * 7 % 300); /* each number once, as 7 and 300 share no factor */
    }
    put_number(batch, 299);
    ck_assert_ok(fixture_commit(&fx, batch));

    walk_t walk = {.count = 0};
    ck_assert_ok(gv_store_scan(fx.store, GV_TABLE_QUEUE_LOG, on_number, &walk));
    ck_assert_uint_eq(walk.count, 300);
    for (uint32_t i = 0; i < 300; i++) {
        ck_assert_uint_eq(walk.seen[i], i);
    }

    walk = (walk_t){.stop_after = 10};
    ck_assert_int_eq(gv_store_scan(fx.store, GV_TABLE_QUEUE_LOG, on_number, &walk), GV_ERR_LIMIT);
    ck_assert_uint_eq(walk.count, 10);
    fixture_close(&fx);
}
END_TEST

START_TEST(slices_go_on_where_the_last_ended_whatever_happened_meanwhile)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (uint32_t i = 0; i < 100; i++) {
        put_number(batch, i * 10);
    }
    ck_assert_ok(fixture_commit(&fx, batch));

    gv_store_cursor_t cursor;
    gv_store_cursor_init(&cursor);
    walk_t walk = {.count = 0};
    bool ended;
    for (int slice = 0; slice < 3; slice++) {
        ck_assert_ok(gv_store_scan_slice(fx.store, GV_TABLE_QUEUE_LOG, &cursor, 10, on_number,
                                         &walk, &ended));
        ck_assert(!ended);
    }
    ck_assert_uint_eq(walk.count, 30); /* 0 .. 290 */

    /* The record the cursor stands on goes, one behind it comes, one before it comes. */
    gv_batch_new(&batch);
    gv_batch_delete(batch, GV_TABLE_QUEUE_LOG, gv_bytes((uint8_t[]){0, 0, 1, 34}, 4)); /* 290 */
    put_number(batch, 285);
    put_number(batch, 295);
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_ok(
        gv_store_scan_slice(fx.store, GV_TABLE_QUEUE_LOG, &cursor, 1000, on_number, &walk, &ended));
    ck_assert(ended);
    ck_assert_uint_eq(walk.count, 101);
    ck_assert_uint_eq(walk.seen[30], 295);
    ck_assert_uint_eq(walk.seen[31], 300);
    ck_assert_uint_eq(walk.seen[100], 990);

    /* From a key on: one that is there, and one that is not. */
    for (uint8_t from = 70; from <= 71; from++) {
        walk.count = 0;
        gv_store_cursor_init_at(&cursor, gv_bytes((uint8_t[]){0, 0, 0, from}, 4));
        ck_assert_ok(gv_store_scan_slice(fx.store, GV_TABLE_QUEUE_LOG, &cursor, 1, on_number, &walk,
                                         &ended));
        ck_assert_uint_eq(walk.count, 1);
        ck_assert_uint_eq(walk.seen[0], from == 70 ? 70 : 80);
    }

    ck_assert_ok(
        gv_store_scan_slice(fx.store, GV_TABLE_OUTBOX, &cursor, 1, on_number, &walk, &ended));
    ck_assert(ended);
    fixture_close(&fx);
}
END_TEST

/* ---- trouble -------------------------------------------------------------------------------- */

START_TEST(a_batch_that_could_not_be_built_fails_alone_and_in_its_turn)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_err_t results[3] = {GV_ERR_AGAIN, GV_ERR_AGAIN, GV_ERR_AGAIN};
    static const char *const keys[] = {"before", "failed", "after"};
    for (size_t i = 0; i < 3; i++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_RETAINED, text(keys[i]), text("x"));
        if (i == 1) {
            ck_assert_ptr_null(
                gv_batch_put_room(batch, GV_TABLE_RETAINED, text("huge"), (size_t)1 << 32));
        }
        gv_store_submit(&fx.lane, &batch, keep_result, &results[i]);
    }
    fixture_settle(&fx);
    ck_assert_ok(results[0]);
    ck_assert_int_eq(results[1], GV_ERR_LIMIT);
    ck_assert_ok(results[2]);
    assert_value(fx.store, "before", text("x"));
    assert_value(fx.store, "failed", GV_BYTES_EMPTY);
    assert_value(fx.store, "after", text("x"));
    fixture_close(&fx);
}
END_TEST

START_TEST(a_full_store_refuses_puts_still_drains_and_then_takes_puts_again)
{
    enum {
        VALUE_SIZE = 20000
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 4 << 20);
    static uint8_t value[VALUE_SIZE];
    char key[16];
    int stored = 0;
    gv_err_t err = GV_OK;
    while (err == GV_OK) {
        (void)snprintf(key, sizeof(key), "%d", stored);
        err = fixture_put(&fx, key, gv_bytes(value, sizeof(value)));
        stored += err == GV_OK ? 1 : 0;
        ck_assert_int_lt(stored, (4 << 20) / VALUE_SIZE);
    }
    ck_assert_int_eq(err, GV_ERR_FULL);
    ck_assert_int_gt(stored, (1 << 20) / VALUE_SIZE);
    assert_value(fx.store, key, GV_BYTES_EMPTY);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->refused_full), 1);

    /* What drains may use the reserve. */
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_LINKS, text("cursor"), gv_bytes(value, 100));
    gv_batch_set_draining(batch);
    ck_assert_ok(fixture_commit(&fx, batch));

    for (int i = 0; i < stored; i++) {
        gv_batch_new(&batch);
        (void)snprintf(key, sizeof(key), "%d", i);
        gv_batch_delete(batch, GV_TABLE_RETAINED, text(key));
        ck_assert_ok(fixture_commit(&fx, batch));
    }
    ck_assert_ok(fixture_put(&fx, "again", gv_bytes(value, sizeof(value))));
    ck_assert_ok(fixture_put(&fx, "and again", gv_bytes(value, sizeof(value))));
    fixture_close(&fx);
}
END_TEST

START_TEST(write_waits_and_read_finds)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("key"), text("value"));
    ck_assert_ok(gv_store_write(fx.store, &batch));
    ck_assert_ptr_null(batch);
    assert_value(fx.store, "key", text("value"));

    gv_batch_new(&batch);
    ck_assert_ptr_null(gv_batch_put_room(batch, GV_TABLE_META, text("huge"), (size_t)1 << 32));
    ck_assert_int_eq(gv_store_write(fx.store, &batch), GV_ERR_LIMIT);
    fixture_close(&fx);
}
END_TEST

START_TEST(closing_completes_what_was_submitted)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_err_t results[50];
    for (int i = 0; i < 50; i++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_RETAINED, text("key"), gv_bytes(&i, sizeof(i)));
        results[i] = GV_ERR_AGAIN;
        gv_store_submit(&fx.lane, &batch, keep_result, &results[i]);
    }
    fixture_close(&fx);
    for (int i = 0; i < 50; i++) {
        ck_assert_ok(results[i]);
    }
}
END_TEST

/* ---- two lanes against a model -------------------------------------------------------------- */

enum {
    LANES = 2,
    KEYS = 40,
    ROUNDS = 150
};

/* Each lane has its own keys, so that the order between the lanes does not matter. */
static void draw_changes(gv_rng_t *rng, gv_batch_t *batch, int lane, int64_t model[KEYS])
{
    uint32_t count = gv_rng_below(rng, 6);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = gv_rng_below(rng, KEYS);
        uint8_t key[] = {(uint8_t)lane, (uint8_t)number};
        if (gv_rng_chance(rng, 30)) {
            gv_batch_delete(batch, GV_TABLE_OUTBOX, gv_bytes(key, 2));
            model[number] = -1;
        } else {
            model[number] = gv_rng_u32(rng);
            gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes(key, 2),
                         gv_bytes(&model[number], sizeof(model[number])));
        }
    }
}

typedef struct comparison {
    int64_t (*model)[KEYS];
    size_t seen;
} comparison_t;

static gv_err_t on_compared(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    comparison_t *comparison = arg;
    ck_assert_uint_eq(key.size, 2);
    ck_assert_mem_eq(value.data, &comparison->model[key.data[0]][key.data[1]], 8);
    comparison->seen++;
    return GV_OK;
}

START_TEST(random_changes_of_two_lanes_match_a_model)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_store_lane_t other;
    gv_store_lane_init(&other, fx.store, letterbox_post, &fx.box);
    int64_t model[LANES][KEYS];
    memset(model, 0xff, sizeof(model)); /* -1 everywhere */
    gv_rng_t rng;
    gv_rng_init(&rng, 42, (uint64_t)_i);
    static gv_err_t ignored;
    for (int round = 0; round < ROUNDS; round++) {
        int lane = (int)gv_rng_below(&rng, LANES);
        gv_batch_t *batch;
        gv_batch_new(&batch);
        draw_changes(&rng, batch, lane, model[lane]);
        gv_store_submit(lane == 0 ? &fx.lane : &other, &batch, keep_result, &ignored);
        if (fx.kind == KIND_MEM && gv_rng_chance(&rng, 50)) {
            (void)gv_mem_store_step(fx.store);
        }
    }
    fixture_settle(&fx);
    while (gv_store_lane_pending(&other) > 0) {
        letterbox_deliver(&fx.box, true);
    }
    size_t expected = 0;
    for (int lane = 0; lane < LANES; lane++) {
        for (int key = 0; key < KEYS; key++) {
            expected += model[lane][key] >= 0 ? 1 : 0;
        }
    }
    comparison_t comparison = {.model = model};
    ck_assert_ok(gv_store_scan(fx.store, GV_TABLE_OUTBOX, on_compared, &comparison));
    ck_assert_uint_eq(comparison.seen, expected);
    ck_assert_uint_gt(expected, KEYS / 2);
    fixture_close(&fx);
}
END_TEST

/* ---- words ---------------------------------------------------------------------------------- */

START_TEST(sync_modes_have_names)
{
    gv_store_sync_t sync;
    for (int mode = GV_STORE_SYNC_COMMIT; mode <= GV_STORE_SYNC_OFF; mode++) {
        ck_assert(gv_store_sync_parse(gv_store_sync_name((gv_store_sync_t)mode), &sync));
        ck_assert_int_eq(sync, mode);
        ck_assert_uint_gt(strlen(gv_store_sync_promise(sync)), 20);
    }
    ck_assert(!gv_store_sync_parse("always", &sync));
    ck_assert(!gv_store_sync_parse("", &sync));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("store");
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, a_put_is_there_when_it_is_completed_and_gone_after_a_delete, 0,
                        KIND_COUNT);
    tcase_add_loop_test(tc, in_a_batch_the_last_change_of_a_key_wins, 0, KIND_COUNT);
    tcase_add_loop_test(tc, tables_are_apart, 0, KIND_COUNT);
    tcase_add_loop_test(tc, completions_come_in_the_order_submitted, 0, KIND_COUNT);
    tcase_add_loop_test(tc, sizes_from_nothing_to_megabytes, 0, KIND_COUNT);
    tcase_add_loop_test(tc, appends_out_of_order_are_walked_in_order, 0, KIND_COUNT);
    tcase_add_loop_test(tc, slices_go_on_where_the_last_ended_whatever_happened_meanwhile, 0,
                        KIND_COUNT);
    tcase_add_loop_test(tc, a_batch_that_could_not_be_built_fails_alone_and_in_its_turn, 0,
                        KIND_COUNT);
    tcase_add_loop_test(tc, a_full_store_refuses_puts_still_drains_and_then_takes_puts_again, 0,
                        KIND_COUNT);
    tcase_add_loop_test(tc, write_waits_and_read_finds, 0, KIND_COUNT);
    tcase_add_loop_test(tc, closing_completes_what_was_submitted, 0, KIND_COUNT);
    tcase_add_loop_test(tc, random_changes_of_two_lanes_match_a_model, 0, KIND_COUNT);
    tcase_add_test(tc, sync_modes_have_names);
    return run_case("storage", tc);
}
