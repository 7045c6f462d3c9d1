/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/records.h"

#include "proto/record.pb-c.h"

#include "tests/unit/storage/fixture.h"

/* The stored value of a counter record under a key. */
static gv_batch_t *batch_with(const char *key, uint64_t counter, gv_batch_op_t *op)
{
    Gv__Record__Counter message = GV__RECORD__COUNTER__INIT;
    message.value = counter;
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_record_put(batch, GV_TABLE_META, text(key), &message.base);
    size_t cursor = 0;
    ck_assert(gv_batch_next(batch, &cursor, op));
    return batch;
}

static gv_err_t unpack(const char *key, gv_bytes_t value, uint64_t *counter_out)
{
    ProtobufCMessage *message;
    gv_err_t err = gv_record_unpack(GV_TABLE_META, text(key), value,
                                    &gv__record__counter__descriptor, &message);
    *counter_out = err == GV_OK ? ((Gv__Record__Counter *)message)->value : 0;
    gv_record_free(&message);
    return err;
}

START_TEST(a_record_comes_back)
{
    gv_batch_op_t op;
    uint64_t counter;
    gv_batch_t *batch = batch_with("key", 1234567, &op);
    ck_assert_ok(unpack("key", op.value, &counter));
    ck_assert_uint_eq(counter, 1234567);
    gv_batch_free(&batch);

    /* A message of nothing but zeros has an empty body. */
    batch = batch_with("key", 0, &op);
    ck_assert_uint_eq(op.value.size, GV_RECORD_HEAD_SIZE);
    ck_assert_ok(unpack("key", op.value, &counter));
    ck_assert_uint_eq(counter, 0);
    gv_batch_free(&batch);
}
END_TEST

START_TEST(every_flipped_bit_is_noticed)
{
    gv_batch_op_t op;
    uint64_t counter;
    gv_batch_t *batch = batch_with("key", 0x123456789abcdef, &op);
    uint8_t value[64];
    ck_assert_uint_le(op.value.size, sizeof(value));
    for (size_t bit = 0; bit < 8 * op.value.size; bit++) {
        memcpy(value, op.value.data, op.value.size);
        value[bit / 8] ^= (uint8_t)(1U << bit % 8);
        ck_assert_int_eq(unpack("key", gv_bytes(value, op.value.size), &counter), GV_ERR_CORRUPT);
    }
    gv_batch_free(&batch);
}
END_TEST

START_TEST(every_length_but_the_right_one_is_noticed)
{
    gv_batch_op_t op;
    uint64_t counter;
    gv_batch_t *batch = batch_with("key", 77, &op);
    uint8_t value[64] = {0};
    memcpy(value, op.value.data, op.value.size);
    for (size_t size = 0; size <= sizeof(value); size++) {
        gv_err_t expected = size == op.value.size ? GV_OK : GV_ERR_CORRUPT;
        ck_assert_int_eq(unpack("key", gv_bytes(value, size), &counter), expected);
    }
    gv_batch_free(&batch);
}
END_TEST

START_TEST(a_record_in_the_wrong_place_is_noticed)
{
    gv_batch_op_t op;
    uint64_t counter;
    gv_batch_t *batch = batch_with("key", 77, &op);
    ck_assert_int_eq(unpack("kez", op.value, &counter), GV_ERR_CORRUPT);
    gv_bytes_t body;
    ck_assert_int_eq(gv_record_open(GV_TABLE_WILLS, text("key"), op.value, &body), GV_ERR_CORRUPT);
    ck_assert_ptr_null(body.data);
    gv_batch_free(&batch);
}
END_TEST

START_TEST(an_intact_record_of_a_later_version_is_told_from_a_damaged_one)
{
    uint8_t covered[] = {GV_TABLE_META, 0, 1, GV_RECORD_VERSION + 1, 'k', 'b', 'o', 'd', 'y'};
    uint32_t crc = gv_crc32c(0, gv_bytes(covered, sizeof(covered)));
    uint8_t value[] = {GV_RECORD_VERSION + 1,
                       (uint8_t)(crc >> 24),
                       (uint8_t)(crc >> 16),
                       (uint8_t)(crc >> 8),
                       (uint8_t)crc,
                       'b',
                       'o',
                       'd',
                       'y'};
    gv_bytes_t body;
    ck_assert_int_eq(
        gv_record_open(GV_TABLE_META, text("k"), gv_bytes(value, sizeof(value)), &body),
        GV_ERR_VERSION);
}
END_TEST

START_TEST(a_good_checksum_over_no_message_is_corrupt)
{
    /* Field 1 as a fixed64 that is cut short. */
    uint8_t covered[] = {GV_TABLE_META, 0, 1, GV_RECORD_VERSION, 'k', 0x09, 0x01};
    uint32_t crc = gv_crc32c(0, gv_bytes(covered, sizeof(covered)));
    uint8_t value[] = {GV_RECORD_VERSION,
                       (uint8_t)(crc >> 24),
                       (uint8_t)(crc >> 16),
                       (uint8_t)(crc >> 8),
                       (uint8_t)crc,
                       0x09,
                       0x01};
    uint64_t counter;
    ck_assert_int_eq(unpack("k", gv_bytes(value, sizeof(value)), &counter), GV_ERR_CORRUPT);
}
END_TEST

/* Small ones, one that does not fit the arena at all, and one whose payload does not fit the rest.
 */
START_TEST(an_arena_holds_one_message_after_the_other)
{
    static uint8_t payload[100000];
    static const size_t sizes[] = {0, 1, 3000, sizeof(payload), 4000, 7};
    gv_record_arena_t arena;
    gv_record_arena_init(&arena);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        memset(payload, (int)('a' + i), sizeof(payload));
        Gv__Record__Retained message = GV__RECORD__RETAINED__INIT;
        message.topic = gv_record_bytes(text("topic"));
        message.payload = gv_record_bytes(gv_bytes(payload, sizes[i]));
        message.hlc = i;
        gv_batch_t *batch;
        gv_batch_new(&batch);
        gv_record_put(batch, GV_TABLE_RETAINED, text("topic"), &message.base);
        size_t cursor = 0;
        gv_batch_op_t op;
        ck_assert(gv_batch_next(batch, &cursor, &op));

        const ProtobufCMessage *unpacked;
        ck_assert_ok(gv_record_unpack_in(&arena, GV_TABLE_RETAINED, op.key, op.value,
                                         &gv__record__retained__descriptor, &unpacked));
        gv_batch_free(&batch);
        const Gv__Record__Retained *got = (const Gv__Record__Retained *)unpacked;
        ck_assert(gv_bytes_equal(gv_record_view(got->topic), text("topic")));
        ck_assert(gv_bytes_equal(gv_record_view(got->payload), gv_bytes(payload, sizes[i])));
        ck_assert_uint_eq(got->hlc, i);
    }
    gv_record_arena_deinit(&arena);
}
END_TEST

START_TEST(a_damaged_record_leaves_nothing_in_the_arena)
{
    gv_record_arena_t arena;
    gv_record_arena_init(&arena);
    const ProtobufCMessage *unpacked;
    ck_assert_int_eq(gv_record_unpack_in(&arena, GV_TABLE_RETAINED, text("k"), text("12345678"),
                                         &gv__record__retained__descriptor, &unpacked),
                     GV_ERR_CORRUPT);
    ck_assert_ptr_null(unpacked);
    gv_record_arena_deinit(&arena);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("records");
    tcase_add_test(tc, a_record_comes_back);
    tcase_add_test(tc, every_flipped_bit_is_noticed);
    tcase_add_test(tc, every_length_but_the_right_one_is_noticed);
    tcase_add_test(tc, a_record_in_the_wrong_place_is_noticed);
    tcase_add_test(tc, an_intact_record_of_a_later_version_is_told_from_a_damaged_one);
    tcase_add_test(tc, a_good_checksum_over_no_message_is_corrupt);
    tcase_add_test(tc, an_arena_holds_one_message_after_the_other);
    tcase_add_test(tc, a_damaged_record_leaves_nothing_in_the_arena);
    return run_case("storage", tc);
}
