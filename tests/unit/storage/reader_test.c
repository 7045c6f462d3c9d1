/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>

#include "tests/unit/storage/fixture.h"

/* Values loaded without waiting, asked of each kind of store: `_i` is the kind. */

typedef struct answer {
    gv_err_t result; /* GV_ERR_AGAIN: none yet */
    gv_msgbuf_t *value;
    int number; /* of the answers before it */
} answer_t;

static int answer_count;

static void on_loaded(gv_err_t result, gv_msgbuf_t *value, void *arg)
{
    answer_t *answer = arg;
    ck_assert_int_eq(answer->result, GV_ERR_AGAIN);
    ck_assert_int_eq(result == GV_OK, value != NULL);
    *answer = (answer_t){.result = result, .value = value, .number = answer_count++};
}

static void ask(fixture_t *fx, const char *key, answer_t *answer)
{
    *answer = (answer_t){.result = GV_ERR_AGAIN};
    gv_store_load(&fx->lane, GV_TABLE_RETAINED, text(key), on_loaded, answer);
}

static void assert_answer(answer_t *answer, gv_bytes_t value)
{
    ck_assert_ok(answer->result);
    ck_assert(gv_bytes_equal(gv_msgbuf_bytes(answer->value), value));
    gv_msgbuf_unref(&answer->value);
}

START_TEST(a_value_comes_later_and_is_the_callers)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    ck_assert_ok(fixture_put(&fx, "key", text("value")));
    ck_assert_ok(fixture_put(&fx, "empty", GV_BYTES_EMPTY));
    answer_t answers[3];
    ask(&fx, "key", &answers[0]);
    ask(&fx, "nothing there", &answers[1]);
    ask(&fx, "empty", &answers[2]);
    ck_assert_uint_eq(gv_store_lane_loading(&fx.lane), 3);
    ck_assert_int_eq(answers[0].result, GV_ERR_AGAIN);
    fixture_settle(&fx);

    /* It outlives the record, and the store. */
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_delete(batch, GV_TABLE_RETAINED, text("key"));
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(fx.store)->loads), 3);
    fixture_close(&fx);
    assert_answer(&answers[0], text("value"));
    ck_assert_int_eq(answers[1].result, GV_ERR_NOENT);
    assert_answer(&answers[2], GV_BYTES_EMPTY);
}
END_TEST

START_TEST(a_value_of_megabytes)
{
    enum {
        SIZE = 5 << 20
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *value = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++) {
        value[i] = (uint8_t)(i * 2654435761U >> 13);
    }
    ck_assert_ok(fixture_put(&fx, "key", gv_bytes(value, SIZE)));
    answer_t answer;
    ask(&fx, "key", &answer);
    fixture_settle(&fx);
    assert_answer(&answer, gv_bytes(value, SIZE));
    free(value);
    fixture_close(&fx);
}
END_TEST

START_TEST(answers_of_a_lane_come_in_the_order_asked)
{
    enum {
        COUNT = 200
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    ck_assert_ok(fixture_put(&fx, "key", text("value")));
    answer_t answers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ask(&fx, i % 3 == 0 ? "key" : "nothing there", &answers[i]);
    }
    fixture_settle(&fx);
    for (int i = 0; i < COUNT; i++) {
        ck_assert_int_eq(answers[i].number, answers[0].number + i);
        ck_assert_int_eq(answers[i].result, i % 3 == 0 ? GV_OK : GV_ERR_NOENT);
        gv_msgbuf_unref(&answers[i].value);
    }
    fixture_close(&fx);
}
END_TEST

START_TEST(a_load_after_a_completion_sees_what_was_completed)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    for (int i = 0; i < 100; i++) {
        char value[16];
        (void)snprintf(value, sizeof(value), "%d", i);
        ck_assert_ok(fixture_put(&fx, "key", text(value)));
        answer_t answer;
        ask(&fx, "key", &answer);
        fixture_settle(&fx);
        assert_answer(&answer, text(value));
    }
    fixture_close(&fx);
}
END_TEST

/* Whether the reader had begun or not: each is answered once, with the value or with CLOSED. */
START_TEST(closing_answers_what_was_asked)
{
    enum {
        COUNT = 100
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    ck_assert_ok(fixture_put(&fx, "key", text("value")));
    answer_t answers[COUNT];
    for (int i = 0; i < COUNT; i++) {
        ask(&fx, "key", &answers[i]);
    }
    fixture_close(&fx);
    for (int i = 0; i < COUNT; i++) {
        if (answers[i].result == GV_OK) {
            assert_answer(&answers[i], text("value"));
        } else {
            ck_assert_int_eq(answers[i].result, GV_ERR_CLOSED);
        }
    }
    ck_assert(answers[COUNT - 1].result == GV_ERR_CLOSED || _i == KIND_LMDB);
}
END_TEST

START_TEST(a_lane_does_not_end_before_its_loads)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    answer_t answer;
    ask(&fx, "key", &answer);
    gv_store_lane_deinit(&fx.lane);
}
END_TEST

/* Only a simulated store shows it: a load that is under way dies with the process. */
START_TEST(a_crash_forgets_what_was_asked)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    answer_t answer;
    ask(&fx, "key", &answer);
    gv_mem_store_crash(fx.store, GV_MEM_CRASH_PROCESS);
    gv_mem_store_settle(fx.store);
    letterbox_deliver(&fx.box, false);
    ck_assert_int_eq(answer.result, GV_ERR_AGAIN);
    gv_store_lane_init(&fx.lane, fx.store, letterbox_post, &fx.box);
    fixture_close(&fx);
}
END_TEST

/* Puts of one thread while another one reads: no value is ever torn. */
START_TEST(loads_beside_commits)
{
    enum {
        SIZE = 20000,
        ROUNDS = 200
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *value = calloc(1, SIZE);
    ck_assert_ok(fixture_put(&fx, "key", gv_bytes(value, SIZE)));
    for (int i = 1; i < ROUNDS; i++) {
        memset(value, i, SIZE);
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_batch_put(batch, GV_TABLE_RETAINED, text("key"), gv_bytes(value, SIZE));
        gv_err_t result = GV_ERR_AGAIN;
        gv_store_submit(&fx.lane, &batch, keep_result, &result);
        answer_t answer;
        ask(&fx, "key", &answer);
        fixture_settle(&fx);
        ck_assert_ok(result);
        ck_assert_ok(answer.result);
        gv_bytes_t got = gv_msgbuf_bytes(answer.value);
        ck_assert_uint_eq(got.size, SIZE);
        ck_assert(got.data[0] == (uint8_t)i || got.data[0] == (uint8_t)(i - 1));
        ck_assert_mem_eq(got.data, got.data + 1, SIZE - 1);
        gv_msgbuf_unref(&answer.value);
    }
    free(value);
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("reader");
    tcase_add_loop_test(tc, a_value_comes_later_and_is_the_callers, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_value_of_megabytes, 0, KIND_COUNT);
    tcase_add_loop_test(tc, answers_of_a_lane_come_in_the_order_asked, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_load_after_a_completion_sees_what_was_completed, 0, KIND_COUNT);
    tcase_add_loop_test(tc, closing_answers_what_was_asked, 0, KIND_COUNT);
    tcase_add_test_raise_signal(tc, a_lane_does_not_end_before_its_loads, SIGABRT);
    tcase_add_test(tc, a_crash_forgets_what_was_asked);
    tcase_add_loop_test(tc, loads_beside_commits, 0, KIND_COUNT);
    return run_case("storage", tc);
}
