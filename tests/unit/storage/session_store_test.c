/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/session_store.h"

#include <signal.h>

#include "proto/record.pb-c.h"

#include "storage/keys.h"
#include "storage/records.h"

#include "tests/unit/storage/fixture.h"

enum {
    TEXT_SIZE_MAX = 65535
};

static gv_batch_t *batch_new(void)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    return batch;
}

static uint64_t damaged(const fixture_t *fx)
{
    return atomic_load(&gv_store_stats(fx->store)->damaged);
}

/* What a load gives, one after the other; the loaders' callbacks compare. */
typedef struct expectation {
    const void *expected;
    size_t count;
} expectation_t;

/* ---- sessions ---- */

static gv_err_t on_session(const gv_stored_session_t *got, void *arg)
{
    expectation_t *expectation = arg;
    const gv_stored_session_t *expected =
        (const gv_stored_session_t *)expectation->expected + expectation->count++;
    ck_assert(gv_bytes_equal(got->client_id, expected->client_id));
    ck_assert_uint_eq(got->uid, expected->uid);
    ck_assert_uint_eq(got->expiry_s, expected->expiry_s);
    ck_assert_uint_eq(got->left_at_ms, expected->left_at_ms);
    ck_assert(gv_bytes_equal(got->username, expected->username));
    return GV_OK;
}

static void assert_sessions(fixture_t *fx, const gv_stored_session_t *expected, size_t count)
{
    expectation_t expectation = {.expected = expected};
    ck_assert_ok(gv_session_load(fx->store, on_session, &expectation));
    ck_assert_uint_eq(expectation.count, count);
}

START_TEST(sessions_come_back_in_the_order_of_their_client_ids)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *long_id = malloc(TEXT_SIZE_MAX);
    memset(long_id, 'z', TEXT_SIZE_MAX);
    gv_stored_session_t three[] = {
        {.client_id = text("a"), .uid = 3, .expiry_s = UINT32_MAX, .username = text("user")},
        {.client_id = text("b"), .uid = UINT64_MAX, .expiry_s = 60, .left_at_ms = 1700000000123},
        {.client_id = gv_bytes(long_id, TEXT_SIZE_MAX), .uid = 1},
    };
    gv_batch_t *batch = batch_new();
    for (size_t i = 3; i-- > 0;) {
        gv_session_put(batch, &three[i]);
    }
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_sessions(&fx, three, 3);

    three[0].left_at_ms = 1;
    batch = batch_new();
    gv_session_put(batch, &three[0]);
    gv_session_delete(batch, three[2].client_id);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_sessions(&fx, three, 2);
    free(long_id);
    fixture_close(&fx);
}
END_TEST

static gv_err_t on_session_refused(const gv_stored_session_t *session, void *arg)
{
    (void)session;
    ++*(int *)arg;
    return GV_ERR_LIMIT;
}

START_TEST(a_caller_can_end_the_load)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_batch_t *batch = batch_new();
    gv_session_put(batch, &(gv_stored_session_t){.client_id = text("a"), .uid = 1});
    gv_session_put(batch, &(gv_stored_session_t){.client_id = text("b"), .uid = 2});
    ck_assert_ok(fixture_commit(&fx, batch));
    int count = 0;
    ck_assert_int_eq(gv_session_load(fx.store, on_session_refused, &count), GV_ERR_LIMIT);
    ck_assert_int_eq(count, 1);
    ck_assert_uint_eq(damaged(&fx), 0);
    fixture_close(&fx);
}
END_TEST

START_TEST(senseless_sessions_are_skipped)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_batch_t *batch = batch_new();
    Gv__Record__Session message = GV__RECORD__SESSION__INIT;
    message.client_id = gv_record_bytes(text("client"));
    gv_record_put(batch, GV_TABLE_SESSIONS, text("client"), &message.base); /* no uid */
    message.uid = 1;
    gv_record_put(batch, GV_TABLE_SESSIONS, text("another's place"), &message.base);
    message.client_id.len = 0;
    gv_record_put(batch, GV_TABLE_SESSIONS, text("no id"), &message.base);
    gv_stored_session_t sound = {.client_id = text("sound"), .uid = 9};
    gv_session_put(batch, &sound);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_sessions(&fx, &sound, 1);
    ck_assert_uint_eq(damaged(&fx), 3);
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_SESSIONS), 4);
    fixture_close(&fx);
}
END_TEST

START_TEST(a_damaged_session_costs_nobody_else_anything)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_stored_session_t session = {.client_id = text("client"), .uid = 1};
    gv_batch_t *batch = batch_new();
    gv_session_put(batch, &session);
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert(gv_mem_store_damage(fx.store, GV_TABLE_SESSIONS));
    session.client_id = text("d");
    batch = batch_new();
    gv_session_put(batch, &session);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_sessions(&fx, &session, 1);
    ck_assert_uint_eq(damaged(&fx), 1);
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_SESSIONS), 2);
    fixture_close(&fx);
}
END_TEST

START_TEST(a_session_has_a_number)
{
    gv_session_put(batch_new(), &(gv_stored_session_t){.client_id = text("client")});
}
END_TEST

/* ---- subscriptions ---- */

static gv_err_t on_subscription(const gv_stored_subscription_t *got, void *arg)
{
    expectation_t *expectation = arg;
    const gv_stored_subscription_t *expected =
        (const gv_stored_subscription_t *)expectation->expected + expectation->count++;
    ck_assert_uint_eq(got->uid, expected->uid);
    ck_assert(gv_bytes_equal(got->filter, expected->filter));
    ck_assert_uint_eq(got->options, expected->options);
    ck_assert_uint_eq(got->id, expected->id);
    return GV_OK;
}

static void assert_subscriptions(fixture_t *fx, const gv_stored_subscription_t *expected,
                                 size_t count)
{
    expectation_t expectation = {.expected = expected};
    ck_assert_ok(gv_subscription_load(fx->store, on_subscription, &expectation));
    ck_assert_uint_eq(expectation.count, count);
}

START_TEST(subscriptions_of_a_session_come_together)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *long_filter = malloc(TEXT_SIZE_MAX);
    memset(long_filter, 'f', TEXT_SIZE_MAX);
    const gv_stored_subscription_t four[] = {
        {.uid = 1, .filter = text("z/#"), .options = 2},
        {.uid = 255, .filter = text("a"), .options = 0x2e, .id = 268435455},
        {.uid = 255, .filter = gv_bytes(long_filter, TEXT_SIZE_MAX), .options = 1},
        {.uid = 256, .filter = text("$share/group/a"), .id = 1},
    };
    gv_batch_t *batch = batch_new();
    for (size_t i = 4; i-- > 0;) {
        gv_subscription_put(batch, &four[i]);
    }
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_subscriptions(&fx, four, 4);

    batch = batch_new();
    gv_subscription_delete(batch, 256, text("$share/group/a"));
    gv_subscription_delete(batch, 255, gv_bytes(long_filter, TEXT_SIZE_MAX));
    gv_subscription_delete(batch, 1, text("a")); /* another session's */
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_subscriptions(&fx, four, 2);
    free(long_filter);
    fixture_close(&fx);
}
END_TEST

static void put_subscription(gv_batch_t *batch, uint64_t uid_of_key,
                             const Gv__Record__Subscription *message)
{
    gv_key_t key;
    gv_key_from_number_text(&key, uid_of_key, text("filter"));
    gv_record_put(batch, GV_TABLE_SUBSCRIPTIONS, gv_key_bytes(&key), &message->base);
}

START_TEST(senseless_subscriptions_are_skipped)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_batch_t *batch = batch_new();
    Gv__Record__Subscription message = GV__RECORD__SUBSCRIPTION__INIT;
    message.filter = gv_record_bytes(text("filter"));
    put_subscription(batch, 0, &message);
    message.uid = 1;
    put_subscription(batch, 2, &message);
    message.uid = 3;
    message.options = 256;
    put_subscription(batch, 3, &message);
    message.uid = 4;
    message.options = 0;
    message.id = 268435456;
    put_subscription(batch, 4, &message);
    message.uid = 5;
    message.id = 0;
    message.filter.len = 0;
    put_subscription(batch, 5, &message);
    gv_stored_subscription_t sound = {.uid = 9, .filter = text("filter")};
    gv_subscription_put(batch, &sound);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_subscriptions(&fx, &sound, 1);
    ck_assert_uint_eq(damaged(&fx), 5);
    fixture_close(&fx);
}
END_TEST

/* ---- wills ---- */

static gv_err_t on_will(const gv_stored_will_t *got, void *arg)
{
    expectation_t *expectation = arg;
    const gv_stored_will_t *expected =
        (const gv_stored_will_t *)expectation->expected + expectation->count++;
    ck_assert_uint_eq(got->uid, expected->uid);
    ck_assert(gv_bytes_equal(got->topic, expected->topic));
    ck_assert(gv_bytes_equal(got->payload, expected->payload));
    ck_assert(gv_bytes_equal(got->properties, expected->properties));
    ck_assert_uint_eq(got->qos, expected->qos);
    ck_assert_int_eq(got->retain, expected->retain);
    ck_assert_int_eq(got->has_expiry, expected->has_expiry);
    ck_assert_uint_eq(got->delay_s, expected->delay_s);
    ck_assert_uint_eq(got->expiry_s, expected->expiry_s);
    ck_assert_uint_eq(got->due_at_ms, expected->due_at_ms);
    return GV_OK;
}

static void assert_wills(fixture_t *fx, const gv_stored_will_t *expected, size_t count)
{
    expectation_t expectation = {.expected = expected};
    ck_assert_ok(gv_will_load(fx->store, on_will, &expectation));
    ck_assert_uint_eq(expectation.count, count);
}

START_TEST(wills_come_back)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    const gv_stored_will_t two[] = {
        {.uid = 1,
         .topic = text("will/topic"),
         .payload = text("gone"),
         .properties = gv_bytes("\x01\x01", 2),
         .qos = 2,
         .retain = true,
         .has_expiry = true,
         .delay_s = 30,
         .expiry_s = 0, /* at once: not the same as never */
         .due_at_ms = 1700000000123},
        {.uid = 2, .topic = text("t")},
    };
    gv_batch_t *batch = batch_new();
    gv_will_put(batch, &two[1]);
    gv_will_put(batch, &two[0]);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_wills(&fx, two, 2);

    batch = batch_new();
    gv_will_delete(batch, 2);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_wills(&fx, two, 1);
    fixture_close(&fx);
}
END_TEST

static void put_will(gv_batch_t *batch, uint64_t uid_of_key, const Gv__Record__Will *message)
{
    gv_key_t key;
    gv_key_from_number(&key, uid_of_key);
    gv_record_put(batch, GV_TABLE_WILLS, gv_key_bytes(&key), &message->base);
}

START_TEST(senseless_wills_are_skipped)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_batch_t *batch = batch_new();
    Gv__Record__Will message = GV__RECORD__WILL__INIT;
    message.topic = gv_record_bytes(text("topic"));
    put_will(batch, 0, &message);
    message.uid = 1;
    put_will(batch, 2, &message);
    message.uid = 3;
    message.qos = 3;
    put_will(batch, 3, &message);
    message.uid = 4;
    message.qos = 0;
    message.topic.len = 0;
    put_will(batch, 4, &message);
    gv_stored_will_t sound = {.uid = 9, .topic = text("topic")};
    gv_will_put(batch, &sound);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_wills(&fx, &sound, 1);
    ck_assert_uint_eq(damaged(&fx), 4);
    fixture_close(&fx);
}
END_TEST

/* ---- received packet ids ---- */

static gv_err_t on_received(const gv_stored_received_t *got, void *arg)
{
    expectation_t *expectation = arg;
    const gv_stored_received_t *expected =
        (const gv_stored_received_t *)expectation->expected + expectation->count++;
    ck_assert_uint_eq(got->uid, expected->uid);
    ck_assert_uint_eq(got->count, expected->count);
    ck_assert_mem_eq(got->packet_ids, expected->packet_ids, got->count * sizeof(uint16_t));
    return GV_OK;
}

static void assert_received(fixture_t *fx, const gv_stored_received_t *expected, size_t count)
{
    expectation_t expectation = {.expected = expected};
    ck_assert_ok(gv_received_load(fx->store, on_received, &expectation));
    ck_assert_uint_eq(expectation.count, count);
}

START_TEST(received_packet_ids_come_back_in_order)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint16_t *all = malloc(UINT16_MAX * sizeof(uint16_t));
    for (size_t i = 0; i < UINT16_MAX; i++) {
        all[i] = (uint16_t)(i + 1);
    }
    static const uint16_t mixed[] = {300, 2, 65535, 1};
    static const uint16_t sorted[] = {1, 2, 300, 65535};
    gv_stored_received_t two[] = {
        {.uid = 7, .packet_ids = sorted, .count = 4},
        {.uid = 8, .packet_ids = all, .count = UINT16_MAX},
    };
    gv_batch_t *batch = batch_new();
    gv_received_put(batch, 7, mixed, 4);
    gv_received_put(batch, 8, all, UINT16_MAX);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_received(&fx, two, 2);

    /* Nothing left is no record. */
    two[0].count = 3;
    batch = batch_new();
    gv_received_put(batch, 7, sorted, 3);
    gv_received_put(batch, 8, NULL, 0);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_received(&fx, two, 1);
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_INFLIGHT), 1);
    free(all);
    fixture_close(&fx);
}
END_TEST

static void put_received(gv_batch_t *batch, uint64_t uid, uint64_t uid_of_key, gv_bytes_t packed)
{
    Gv__Record__Received message = GV__RECORD__RECEIVED__INIT;
    message.uid = uid;
    message.packet_ids = gv_record_bytes(packed);
    gv_key_t key;
    gv_key_from_number(&key, uid_of_key);
    gv_record_put(batch, GV_TABLE_INFLIGHT, gv_key_bytes(&key), &message.base);
}

START_TEST(senseless_packet_ids_are_skipped)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    uint8_t *too_many = calloc(65536, 2);
    gv_batch_t *batch = batch_new();
    put_received(batch, 0, 0, gv_bytes("\0\1", 2));
    put_received(batch, 1, 2, gv_bytes("\0\1", 2));
    put_received(batch, 3, 3, gv_bytes("\0\1\0", 3));
    put_received(batch, 4, 4, gv_bytes("\0\0", 2));
    put_received(batch, 5, 5, gv_bytes("\0\2\0\2", 4));
    put_received(batch, 6, 6, gv_bytes("\1\0\0\2", 4));
    put_received(batch, 7, 7, GV_BYTES_EMPTY);
    put_received(batch, 8, 8, gv_bytes(too_many, (size_t)65536 * 2));
    static const uint16_t one[] = {1};
    gv_received_put(batch, 9, one, 1);
    ck_assert_ok(fixture_commit(&fx, batch));
    assert_received(&fx, &(gv_stored_received_t){.uid = 9, .packet_ids = one, .count = 1}, 1);
    ck_assert_uint_eq(damaged(&fx), 8);
    free(too_many);
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("session_store");
    tcase_add_loop_test(tc, sessions_come_back_in_the_order_of_their_client_ids, 0, KIND_COUNT);
    tcase_add_loop_test(tc, a_caller_can_end_the_load, 0, KIND_COUNT);
    tcase_add_test(tc, senseless_sessions_are_skipped);
    tcase_add_test(tc, a_damaged_session_costs_nobody_else_anything);
    tcase_add_test_raise_signal(tc, a_session_has_a_number, SIGABRT);
    tcase_add_loop_test(tc, subscriptions_of_a_session_come_together, 0, KIND_COUNT);
    tcase_add_test(tc, senseless_subscriptions_are_skipped);
    tcase_add_loop_test(tc, wills_come_back, 0, KIND_COUNT);
    tcase_add_test(tc, senseless_wills_are_skipped);
    tcase_add_loop_test(tc, received_packet_ids_come_back_in_order, 0, KIND_COUNT);
    tcase_add_test(tc, senseless_packet_ids_are_skipped);
    return run_case("storage", tc);
}
