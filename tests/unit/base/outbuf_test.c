/* SPDX-License-Identifier: Apache-2.0 */
#include "base/outbuf.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"

enum {
    MODEL_SIZE_MAX = 1 << 20,
    VEC_COUNT_MAX = 64
};

static gv_chunkpool_t pool;
static gv_outbuf_t out;

static void setup(void)
{
    gv_chunkpool_init(&pool);
    gv_outbuf_init(&out);
}

static void teardown(void)
{
    gv_outbuf_clear(&out, &pool);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);
    gv_chunkpool_deinit(&pool);
}

static gv_msgbuf_t *message(size_t size)
{
    gv_msgbuf_t *buf = NULL;
    ck_assert_int_eq(gv_msgbuf_new(size, &buf), GV_OK);
    for (size_t i = 0; i < size; i++) {
        gv_msgbuf_data(buf)[i] = (uint8_t)(i * 7);
    }
    gv_msgbuf_seal(buf);
    return buf;
}

START_TEST(empty_one_owns_nothing)
{
    gv_bytes_t vec[1];
    ck_assert_uint_eq(gv_outbuf_size(&out), 0);
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 1), 0);
    gv_outbuf_append(&out, &pool, GV_BYTES_EMPTY);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);

    gv_outbuf_append(&out, &pool, GV_BYTES_LITERAL("grape"));
    ck_assert_uint_gt(gv_chunkpool_bytes_out(&pool), 0);
    gv_outbuf_consume(&out, &pool, 5);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);
}
END_TEST

START_TEST(first_chunk_is_small_and_the_next_is_large)
{
    uint8_t bytes[1000] = {0};
    gv_outbuf_append(&out, &pool, gv_bytes(bytes, 10));
    ck_assert_uint_lt(gv_chunkpool_bytes_out(&pool), 2 * GV_CHUNK_SMALL);
    gv_outbuf_append(&out, &pool, gv_bytes(bytes, sizeof(bytes)));
    gv_outbuf_append(&out, &pool, gv_bytes(bytes, sizeof(bytes)));
    ck_assert_uint_ge(gv_chunkpool_bytes_out(&pool), GV_CHUNK_SMALL + GV_CHUNK_LARGE);
    gv_bytes_t vec[4];
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 4), 2);
}
END_TEST

START_TEST(reserved_room_is_not_content_before_the_commit)
{
    uint8_t *room = gv_outbuf_reserve(&out, &pool, GV_CHUNK_LARGE);
    memset(room, 'x', GV_CHUNK_LARGE);
    ck_assert_uint_eq(gv_outbuf_size(&out), 0);
    gv_outbuf_commit(&out, 3);
    ck_assert_uint_eq(gv_outbuf_size(&out), 3);
    gv_bytes_t vec[2];
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 2), 1);
    ck_assert_uint_eq(vec[0].size, 3);
}
END_TEST

START_TEST(oversized_reserve_aborts)
{
    (void)gv_outbuf_reserve(&out, &pool, GV_CHUNK_LARGE + 1);
}
END_TEST

START_TEST(reference_shares_the_message_and_holds_it)
{
    gv_msgbuf_t *buf = message(50000);
    gv_outbuf_append(&out, &pool, GV_BYTES_LITERAL("head"));
    size_t before = gv_chunkpool_bytes_out(&pool);
    gv_outbuf_append_ref(&out, &pool, buf, 100, 40000);
    gv_outbuf_append(&out, &pool, GV_BYTES_LITERAL("tail"));
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), before); /* no chunk for it */

    gv_bytes_t vec[4];
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 4), 3);
    ck_assert_ptr_eq(vec[1].data, gv_msgbuf_bytes(buf).data + 100);
    ck_assert_uint_eq(vec[1].size, 40000);
    ck_assert_mem_eq(vec[2].data, "tail", 4);

    const uint8_t *data = gv_msgbuf_bytes(buf).data;
    gv_msgbuf_unref(&buf);
    gv_outbuf_consume(&out, &pool, 4 + 39999);
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 4), 2);
    ck_assert_uint_eq(vec[0].size, 1);
    ck_assert_uint_eq(vec[0].data[0], data[100 + 39999]); /* still alive */
}
END_TEST

START_TEST(vector_may_be_shorter_than_the_chain)
{
    gv_msgbuf_t *buf = message(10);
    for (int i = 0; i < 10; i++) {
        gv_outbuf_append_ref(&out, &pool, buf, 0, 10);
    }
    gv_msgbuf_unref(&buf);
    gv_bytes_t vec[3];
    ck_assert_uint_eq(gv_outbuf_iovec(&out, vec, 3), 3);
    ck_assert_uint_eq(gv_outbuf_size(&out), 100);
}
END_TEST

START_TEST(buffer_moves_from_pool_to_pool)
{
    gv_chunkpool_t other;
    gv_chunkpool_init(&other);
    uint8_t bytes[40000] = {1};
    gv_outbuf_append(&out, &pool, gv_bytes(bytes, sizeof(bytes)));
    size_t memory = gv_chunkpool_bytes_out(&pool);
    gv_outbuf_leave(&out, &pool);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);
    gv_outbuf_join(&out, &other);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&other), memory);
    gv_outbuf_consume(&out, &other, 1);
    gv_outbuf_clear(&out, &other);
    ck_assert_uint_eq(gv_chunkpool_bytes_out(&other), 0);
    gv_chunkpool_deinit(&other);
}
END_TEST

START_TEST(buffer_of_no_loop_is_cleared_without_a_pool)
{
    gv_outbuf_append(&out, &pool, GV_BYTES_LITERAL("grape"));
    gv_outbuf_leave(&out, &pool);
    gv_outbuf_clear(&out, NULL);
    ck_assert_uint_eq(gv_outbuf_size(&out), 0);
}
END_TEST

/* ---- against a model: a plain array ---------------------------------------------------------- */

typedef struct model {
    uint8_t *bytes;
    size_t size;
    gv_msgbuf_t *shared;
    gv_rng_t rng;
} model_t;

static void model_add(model_t *model, const uint8_t *bytes, size_t size)
{
    memcpy(model->bytes + model->size, bytes, size);
    model->size += size;
}

static size_t random_size(model_t *model)
{
    static const uint32_t scale[] = {8, 120, 1500, 20000};
    size_t size = gv_rng_below(&model->rng, scale[gv_rng_below(&model->rng, 4)]);
    size_t left = MODEL_SIZE_MAX - model->size;
    return size < left ? size : left;
}

static void add_random(model_t *model)
{
    static uint8_t bytes[20000];
    size_t size = random_size(model);
    gv_rng_fill(&model->rng, bytes, size);
    switch (gv_rng_below(&model->rng, 3)) {
    case 0:
        gv_outbuf_append(&out, &pool, gv_bytes(bytes, size));
        break;
    case 1: {
        size = size < GV_CHUNK_LARGE ? size : GV_CHUNK_LARGE;
        uint8_t *room = gv_outbuf_reserve(&out, &pool, size);
        size -= size > 0 ? gv_rng_below(&model->rng, (uint32_t)size) : 0; /* commit less */
        memcpy(room, bytes, size);
        gv_outbuf_commit(&out, size);
        break;
    }
    default: {
        gv_bytes_t shared = gv_msgbuf_bytes(model->shared);
        size_t offset = gv_rng_below(&model->rng, (uint32_t)(shared.size - size));
        gv_outbuf_append_ref(&out, &pool, model->shared, offset, size);
        memcpy(bytes, shared.data + offset, size);
        break;
    }
    }
    model_add(model, bytes, size);
}

static void consume_random(model_t *model)
{
    size_t size = gv_rng_below(&model->rng, (uint32_t)model->size + 1);
    size = gv_rng_chance(&model->rng, 10) ? model->size : size;
    gv_outbuf_consume(&out, &pool, size);
    model->size -= size;
    memmove(model->bytes, model->bytes + size, model->size);
}

static void compare(const model_t *model)
{
    gv_bytes_t vec[VEC_COUNT_MAX];
    size_t count = gv_outbuf_iovec(&out, vec, VEC_COUNT_MAX);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_gt(vec[i].size, 0);
        ck_assert_uint_le(at + vec[i].size, model->size);
        ck_assert_mem_eq(vec[i].data, model->bytes + at, vec[i].size);
        at += vec[i].size;
    }
    ck_assert_uint_eq(gv_outbuf_size(&out), model->size);
    ck_assert(at == model->size || count == VEC_COUNT_MAX);
}

START_TEST(behaves_like_an_array)
{
    model_t model = {.bytes = gv_xalloc(MODEL_SIZE_MAX), .shared = message(30000)};
    gv_rng_init(&model.rng, (uint64_t)_i, 1);
    for (int step = 0; step < 4000; step++) {
        if (gv_rng_chance(&model.rng, 70)) {
            add_random(&model);
        } else {
            consume_random(&model);
        }
        compare(&model);
        if (model.size == 0 && gv_outbuf_size(&out) == 0 && gv_rng_chance(&model.rng, 50)) {
            gv_outbuf_clear(&out, &pool);
            ck_assert_uint_eq(gv_chunkpool_bytes_out(&pool), 0);
        }
    }
    gv_msgbuf_unref(&model.shared);
    gv_free(model.bytes);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("outbuf");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, empty_one_owns_nothing);
    tcase_add_test(tc, first_chunk_is_small_and_the_next_is_large);
    tcase_add_test(tc, reserved_room_is_not_content_before_the_commit);
    tcase_add_test_raise_signal(tc, oversized_reserve_aborts, SIGABRT);
    tcase_add_test(tc, reference_shares_the_message_and_holds_it);
    tcase_add_test(tc, vector_may_be_shorter_than_the_chain);
    tcase_add_test(tc, buffer_moves_from_pool_to_pool);
    tcase_add_test(tc, buffer_of_no_loop_is_cleared_without_a_pool);
    tcase_add_loop_test(tc, behaves_like_an_array, 0, 8);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
