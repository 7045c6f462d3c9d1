/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/retained_store.h"

#include "proto/record.pb-c.h"

#include "storage/keys.h"
#include "storage/records.h"

#include "tests/unit/storage/fixture.h"

static gv_stored_retained_t example(const char *topic, const char *payload)
{
    gv_stored_retained_t retained = {
        .topic = text(topic),
        .payload = text(payload),
        .properties = gv_bytes("\x01\x01", 2),
        .qos = 2,
        .expires_at_ms = 1700000000123,
        .hlc = UINT64_MAX - 5,
    };
    memcpy(retained.node_id, "0123456789abcdef", GV_NODE_ID_SIZE);
    return retained;
}

static gv_err_t put(fixture_t *fx, const gv_stored_retained_t *retained)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_retained_put(batch, retained);
    return fixture_commit(fx, batch);
}

/* Compares what is loaded with what is expected, one after the other. */
typedef struct expectation {
    const gv_stored_retained_t *expected;
    size_t count;
} expectation_t;

static gv_err_t on_expected(const gv_stored_retained_t *got, void *arg)
{
    expectation_t *expectation = arg;
    const gv_stored_retained_t *expected = &expectation->expected[expectation->count++];
    ck_assert(gv_bytes_equal(got->topic, expected->topic));
    ck_assert(gv_bytes_equal(got->payload, expected->payload));
    ck_assert(gv_bytes_equal(got->properties, expected->properties));
    ck_assert_uint_eq(got->qos, expected->qos);
    ck_assert_int_eq(got->is_tombstone, expected->is_tombstone);
    ck_assert_uint_eq(got->expires_at_ms, expected->expires_at_ms);
    ck_assert_uint_eq(got->hlc, expected->hlc);
    ck_assert_mem_eq(got->node_id, expected->node_id, GV_NODE_ID_SIZE);
    return GV_OK;
}

START_TEST(every_field_comes_back)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_stored_retained_t two[] = {example("a", "payload"), example("b/c", "")};
    two[1].is_tombstone = true;
    two[1].properties = GV_BYTES_EMPTY;
    two[1].qos = 0;
    two[1].expires_at_ms = 0;
    two[1].hlc = 0;
    ck_assert_ok(put(&fx, &two[1]));
    ck_assert_ok(put(&fx, &two[0]));
    expectation_t expectation = {.expected = two};
    ck_assert_ok(gv_retained_load(fx.store, on_expected, &expectation));
    ck_assert_uint_eq(expectation.count, 2);
    fixture_close(&fx);
}
END_TEST

static gv_err_t on_retained_counted(const gv_stored_retained_t *retained, void *arg)
{
    (void)retained;
    ++*(size_t *)arg;
    return GV_OK;
}

static size_t load_count(fixture_t *fx)
{
    size_t count = 0;
    ck_assert_ok(gv_retained_load(fx->store, on_retained_counted, &count));
    return count;
}

START_TEST(one_record_per_topic_until_it_is_deleted)
{
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    gv_stored_retained_t first = example("a", "first");
    gv_stored_retained_t second = example("a", "second");
    ck_assert_ok(put(&fx, &first));
    ck_assert_ok(put(&fx, &second));
    expectation_t expectation = {.expected = &second};
    ck_assert_ok(gv_retained_load(fx.store, on_expected, &expectation));
    ck_assert_uint_eq(expectation.count, 1);

    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_retained_delete(batch, text("a"));
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(load_count(&fx), 0);
    fixture_close(&fx);
}
END_TEST

/* The longest topic and a payload over many pages; two topics that differ in their last byte. */
START_TEST(topics_longer_than_a_key)
{
    enum {
        TOPIC_SIZE = 65535,
        PAYLOAD_SIZE = 3 << 20
    };
    fixture_t fx;
    fixture_open(&fx, (kind_t)_i, 0);
    uint8_t *topics = malloc(2 * TOPIC_SIZE);
    uint8_t *payload = malloc(PAYLOAD_SIZE);
    memset(topics, 't', 2 * TOPIC_SIZE);
    memset(payload, 'p', PAYLOAD_SIZE);
    topics[2 * TOPIC_SIZE - 1] = 'u';

    gv_stored_retained_t retained = example("", "");
    retained.payload = gv_bytes(payload, PAYLOAD_SIZE);
    for (size_t i = 0; i < 2; i++) {
        retained.topic = gv_bytes(topics + i * TOPIC_SIZE, TOPIC_SIZE);
        ck_assert_ok(put(&fx, &retained));
    }
    ck_assert_uint_eq(load_count(&fx), 2);

    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_retained_delete(batch, retained.topic);
    ck_assert_ok(fixture_commit(&fx, batch));
    retained.topic = gv_bytes(topics, TOPIC_SIZE);
    expectation_t expectation = {.expected = &retained};
    ck_assert_ok(gv_retained_load(fx.store, on_expected, &expectation));
    ck_assert_uint_eq(expectation.count, 1);
    free(topics);
    free(payload);
    fixture_close(&fx);
}
END_TEST

START_TEST(a_damaged_record_is_counted_skipped_and_kept)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    char topic[16];
    for (int i = 0; i < 20; i++) {
        (void)snprintf(topic, sizeof(topic), "topic/%d", i);
        gv_stored_retained_t retained = example(topic, "payload");
        ck_assert_ok(put(&fx, &retained));
    }
    ck_assert(gv_mem_store_damage(fx.store, GV_TABLE_RETAINED));
    ck_assert_uint_eq(load_count(&fx), 19);
    ck_assert_uint_eq(atomic_load(&gv_store_stats(fx.store)->damaged), 1);
    ck_assert_uint_eq(count_records(fx.store, GV_TABLE_RETAINED), 20);
    fixture_close(&fx);
}
END_TEST

/* Intact by its checksum, and still not what may stand there. */
static void put_message(gv_batch_t *batch, const char *topic_of_key,
                        const Gv__Record__Retained *message)
{
    gv_record_put(batch, GV_TABLE_RETAINED, text(topic_of_key), &message->base);
}

START_TEST(a_record_that_makes_no_sense_is_damaged_too)
{
    fixture_t fx;
    fixture_open(&fx, KIND_MEM, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    Gv__Record__Retained message = GV__RECORD__RETAINED__INIT;
    message.node_id = gv_record_bytes(text("0123456789abcdef"));
    message.topic = gv_record_bytes(text("sound"));
    put_message(batch, "sound", &message);
    put_message(batch, "another topic's place", &message);
    message.topic = gv_record_bytes(text("qos"));
    message.qos = 3;
    put_message(batch, "qos", &message);
    message.qos = 0;
    message.topic = gv_record_bytes(text("node"));
    message.node_id.len = 15;
    put_message(batch, "node", &message);
    message.node_id.len = 16;
    message.topic.len = 0;
    put_message(batch, "empty", &message);
    ck_assert_ok(fixture_commit(&fx, batch));
    ck_assert_uint_eq(load_count(&fx), 1);
    ck_assert_uint_eq(atomic_load(&gv_store_stats(fx.store)->damaged), 4);
    fixture_close(&fx);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("retained_store");
    tcase_add_loop_test(tc, every_field_comes_back, 0, KIND_COUNT);
    tcase_add_loop_test(tc, one_record_per_topic_until_it_is_deleted, 0, KIND_COUNT);
    tcase_add_loop_test(tc, topics_longer_than_a_key, 0, KIND_COUNT);
    tcase_add_test(tc, a_damaged_record_is_counted_skipped_and_kept);
    tcase_add_test(tc, a_record_that_makes_no_sense_is_damaged_too);
    return run_case("storage", tc);
}
