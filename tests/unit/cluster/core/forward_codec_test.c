/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/forward_codec.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "proto/cluster.pb-c.h"

static gv_bytes_t view_of(ProtobufCBinaryData data)
{
    return gv_bytes(data.data, data.len);
}

static const gv_bytes_t two_filters[] = {
    {.data = (const uint8_t *)"$share/g/a/#", .size = 12},
    {.data = (const uint8_t *)"$share/h/a/+", .size = 12},
};

static gv_forward_t example(void)
{
    gv_forward_t msg = {
        .topic = GV_BYTES_LITERAL("a/b"),
        .payload = GV_BYTES_LITERAL("payload"),
        .properties = GV_BYTES_LITERAL("\x01\x01"),
        .publisher = GV_BYTES_LITERAL("client-7"),
        .shared = two_filters,
        .shared_count = 2,
        .uid = {.boot_id = 0x1122334455667788, .seq = 300},
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = 2,
        .retain = true,
        .is_for_groups = true,
        .exact = {.run = 0x1122334455667788, .number = 1 << 20, .previous = 77},
        .write = {.hlc = (uint64_t)1700000000000 << 16, .qos = 2, .is_copy = true},
    };
    memset(msg.write.writer.bytes, 0xcd, GV_NODE_ID_SIZE);
    memset(msg.uid.node.bytes, 0xab, GV_NODE_ID_SIZE);
    return msg;
}

static gv_bytes_t encode(const gv_forward_t *msg)
{
    size_t size = gv_forward_size(msg);
    uint8_t *bytes = gv_xalloc(size);
    gv_forward_encode(msg, bytes, size);
    return gv_bytes(bytes, size);
}

static void free_bytes(gv_bytes_t bytes)
{
    gv_free((void *)(uintptr_t)bytes.data);
}

static void assert_equal(const gv_forward_t *a, const gv_forward_t *b)
{
    ck_assert(gv_bytes_equal(a->topic, b->topic));
    ck_assert(gv_bytes_equal(a->payload, b->payload));
    ck_assert(gv_bytes_equal(a->properties, b->properties));
    ck_assert(gv_bytes_equal(a->publisher, b->publisher));
    ck_assert_uint_eq(a->shared_count, b->shared_count);
    for (size_t i = 0; i < a->shared_count; i++) {
        ck_assert(gv_bytes_equal(a->shared[i], b->shared[i]));
    }
    ck_assert_mem_eq(a->uid.node.bytes, b->uid.node.bytes, GV_NODE_ID_SIZE);
    ck_assert_uint_eq(a->uid.boot_id, b->uid.boot_id);
    ck_assert_uint_eq(a->uid.seq, b->uid.seq);
    ck_assert_uint_eq(a->write.hlc, b->write.hlc);
    ck_assert_mem_eq(a->write.writer.bytes, b->write.writer.bytes, GV_NODE_ID_SIZE);
    ck_assert_uint_eq(a->write.qos, b->write.qos);
    ck_assert_int_eq(a->write.is_copy, b->write.is_copy);
    ck_assert_uint_eq(a->qos, b->qos);
    ck_assert_int_eq(a->retain, b->retain);
    ck_assert_int_eq(a->is_for_groups, b->is_for_groups);
    ck_assert_uint_eq(a->exact.run, b->exact.run);
    ck_assert_uint_eq(a->exact.number, b->exact.number);
    ck_assert_uint_eq(a->exact.previous, b->exact.previous);
}

START_TEST(a_message_comes_back_as_it_was)
{
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_forward_t msg = example();
    gv_bytes_t bytes = encode(&msg);
    gv_forward_t back;
    ck_assert_int_eq(gv_forward_decode(bytes, shared, &back), GV_OK);
    assert_equal(&msg, &back);
    free_bytes(bytes);

    gv_forward_t least = {.uid = {.node = msg.uid.node}};
    bytes = encode(&least);
    ck_assert_int_eq(gv_forward_decode(bytes, shared, &back), GV_OK);
    assert_equal(&least, &back);
    free_bytes(bytes);
}
END_TEST

START_TEST(a_write_without_its_stamp_is_refused)
{
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_forward_t back;
    gv_forward_t msg = example();
    msg.write.hlc = 0; /* of a copy */
    gv_bytes_t bytes = encode(&msg);
    ck_assert_int_eq(gv_forward_decode(bytes, shared, &back), GV_ERR_MALFORMED);
    free_bytes(bytes);
    msg.write.hlc = UINT64_MAX;
    bytes = encode(&msg);
    ck_assert_int_eq(gv_forward_decode(bytes, shared, &back), GV_ERR_MALFORMED);
    free_bytes(bytes);
}
END_TEST

START_TEST(protobuf_c_reads_what_we_write)
{
    gv_forward_t msg = example();
    gv_bytes_t bytes = encode(&msg);
    Gv__ForwardMessage *pb = gv__forward_message__unpack(NULL, bytes.size, bytes.data);
    ck_assert_ptr_nonnull(pb);
    ck_assert(gv_bytes_equal(view_of(pb->topic), msg.topic));
    ck_assert(gv_bytes_equal(view_of(pb->payload), msg.payload));
    ck_assert(gv_bytes_equal(view_of(pb->publisher), msg.publisher));
    ck_assert_uint_eq(pb->n_shared, 2);
    ck_assert(gv_bytes_equal(view_of(pb->shared[1]), msg.shared[1]));
    ck_assert_uint_eq(pb->uid_boot_id, msg.uid.boot_id);
    ck_assert_uint_eq(pb->uid_seq, 300);
    ck_assert_uint_eq(pb->qos, 2);
    ck_assert(pb->retain);
    ck_assert(pb->is_for_groups);
    ck_assert_uint_eq(pb->exact_run, 0x1122334455667788);
    ck_assert_uint_eq(pb->exact_number, 1 << 20);
    ck_assert_uint_eq(pb->exact_previous, 77);
    ck_assert_uint_eq(pb->write_hlc, msg.write.hlc);
    ck_assert_mem_eq(pb->write_writer.data, msg.write.writer.bytes, GV_NODE_ID_SIZE);
    ck_assert_uint_eq(pb->write_qos, 2);
    ck_assert(pb->write_is_copy);
    /* And it is the very encoding protobuf-c would have chosen. */
    ck_assert_uint_eq(gv__forward_message__get_packed_size(pb), bytes.size);
    gv__forward_message__free_unpacked(pb, NULL);
    free_bytes(bytes);
}
END_TEST

START_TEST(a_batch_is_read_by_protobuf_c_and_by_us)
{
    uint8_t buffer[1024];
    gv_writer_t w = gv_writer(buffer, sizeof(buffer));
    gv_forward_batch_t head = {.from_boot_id = 1, .to_boot_id = 2, .lowest = 3, .offset = 1000000};
    memset(head.from.bytes, 1, GV_NODE_ID_SIZE);
    memset(head.to.bytes, 2, GV_NODE_ID_SIZE);
    gv_forward_piece_t pieces[] = {
        {.seq = 3, .expiry_ms = GV_FORWARD_NO_EXPIRY, .body = GV_BYTES_LITERAL("whole")},
        {.seq = 4, .expiry_ms = 0, .total = 10, .at = 5, .body = GV_BYTES_LITERAL("piece")},
        {.seq = 0, .expiry_ms = 77, .body = GV_BYTES_LITERAL("qos0")},
    };
    for (size_t i = 0; i < 3; i++) {
        gv_forward_put_piece(&w, &pieces[i]);
    }
    gv_forward_put_head(&w, &head); /* the order of fields is free */
    ck_assert(!w.failed);
    gv_bytes_t frame = gv_bytes(buffer, sizeof(buffer) - gv_writer_left(&w));

    Gv__ForwardBatch *pb = gv__forward_batch__unpack(NULL, frame.size, frame.data);
    ck_assert_ptr_nonnull(pb);
    ck_assert_uint_eq(pb->n_items, 3);
    ck_assert_uint_eq(pb->lowest, 3);
    ck_assert_uint_eq(pb->items[1]->total, 10);
    ck_assert_uint_eq(pb->items[1]->expiry_ms, 1);
    ck_assert_uint_eq(pb->items[0]->expiry_ms, 0);

    /* What protobuf-c writes of it, in its own order, is read by us. */
    uint8_t packed[1024];
    size_t size = gv__forward_batch__pack(pb, packed);
    gv_bytes_t theirs = gv_bytes(packed, size);
    gv_forward_batch_t back;
    ck_assert_int_eq(gv_forward_get_head(theirs, &back), GV_OK);
    ck_assert_mem_eq(&back.from, &head.from, sizeof(back.from));
    ck_assert_mem_eq(&back.to, &head.to, sizeof(back.to));
    ck_assert_uint_eq(back.to_boot_id, 2);
    ck_assert_uint_eq(back.offset, 1000000);
    gv_reader_t reader = gv_reader(theirs);
    gv_forward_piece_t piece;
    for (size_t i = 0; i < 3; i++) {
        ck_assert(gv_forward_next_piece(&reader, &piece));
        ck_assert_uint_eq(piece.seq, pieces[i].seq);
        ck_assert_uint_eq(piece.expiry_ms, pieces[i].expiry_ms);
        ck_assert_uint_eq(piece.at, pieces[i].at);
        ck_assert(gv_bytes_equal(piece.body, pieces[i].body));
    }
    ck_assert(!gv_forward_next_piece(&reader, &piece));
    ck_assert(!reader.failed);
    gv__forward_batch__free_unpacked(pb, NULL);
}
END_TEST

START_TEST(unknown_fields_are_skipped)
{
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_forward_t msg = {.topic = GV_BYTES_LITERAL("t")};
    msg.uid.node.bytes[0] = 1;
    gv_bytes_t ours = encode(&msg);
    uint8_t bytes[128];
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    gv_writer_put(&w, gv_bytes("\xf8\x07\x05", 3));             /* field 127, varint 5 */
    gv_writer_put(&w, gv_bytes("\xfa\x07\x02xy", 5));           /* field 127, two bytes */
    gv_writer_put(&w, gv_bytes("\xfd\x07\x01\x02\x03\x04", 6)); /* field 127, fixed32 */
    gv_writer_put(&w, ours);
    gv_forward_t back;
    gv_bytes_t all = gv_bytes(bytes, sizeof(bytes) - gv_writer_left(&w));
    ck_assert_int_eq(gv_forward_decode(all, shared, &back), GV_OK);
    assert_equal(&msg, &back);
    free_bytes(ours);
}
END_TEST

START_TEST(what_makes_no_sense_is_malformed)
{
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_forward_t back;
    gv_forward_batch_t head;
    gv_forward_piece_t piece;
    const gv_bytes_t bad[] = {
        GV_BYTES_LITERAL(""), /* no uid */
        GV_BYTES_LITERAL("\x0a\x05"
                         "a"),        /* length beyond the end */
        GV_BYTES_LITERAL("\x48\x03"), /* QoS 3 */
        GV_BYTES_LITERAL("\x32\x01"
                         "a"),                                            /* uid node of one byte */
        GV_BYTES_LITERAL("\x00"),                                         /* field number 0 */
        GV_BYTES_LITERAL("\x0b"),                                         /* a group */
        GV_BYTES_LITERAL("\x40\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), /* over 64 bits */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_int_eq(gv_forward_decode(bad[i], shared, &back), GV_ERR_MALFORMED);
        ck_assert_int_eq(gv_forward_get_head(bad[i], &head), GV_ERR_MALFORMED);
    }
    /* A piece beyond the end of its message, and one of nothing. */
    gv_reader_t beyond = gv_reader(GV_BYTES_LITERAL("\x3a\x09\x08\x01\x18\x04\x20\x02\x2a\x03"));
    ck_assert(!gv_forward_next_piece(&beyond, &piece));
    ck_assert(beyond.failed);
    gv_reader_t past = gv_reader(GV_BYTES_LITERAL("\x3a\x09\x08\x01\x18\x04\x20\x03\x2a\x02xy"));
    ck_assert(!gv_forward_next_piece(&past, &piece));
    ck_assert(past.failed);
}
END_TEST

START_TEST(random_bytes_never_read_outside)
{
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_rng_t rng;
    gv_rng_init(&rng, 7, 1);
    for (uint32_t round = 0; round < 20000; round++) {
        size_t size = gv_rng_below(&rng, 64);
        uint8_t *bytes = gv_xalloc(size); /* exactly as long, for the sanitizer */
        gv_rng_fill(&rng, bytes, size);
        gv_forward_t msg;
        gv_forward_batch_t head;
        gv_forward_piece_t piece;
        gv_err_t err = gv_forward_decode(gv_bytes(bytes, size), shared, &msg);
        ck_assert(err == GV_OK || err == GV_ERR_MALFORMED);
        err = gv_forward_get_head(gv_bytes(bytes, size), &head);
        ck_assert(err == GV_OK || err == GV_ERR_MALFORMED);
        gv_reader_t reader = gv_reader(gv_bytes(bytes, size));
        while (gv_forward_next_piece(&reader, &piece)) {
            ck_assert_uint_le(piece.body.size, size);
        }
        gv_free(bytes);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("forward_codec");
    tcase_add_test(tc, a_message_comes_back_as_it_was);
    tcase_add_test(tc, a_write_without_its_stamp_is_refused);
    tcase_add_test(tc, protobuf_c_reads_what_we_write);
    tcase_add_test(tc, a_batch_is_read_by_protobuf_c_and_by_us);
    tcase_add_test(tc, unknown_fields_are_skipped);
    tcase_add_test(tc, what_makes_no_sense_is_malformed);
    tcase_add_test(tc, random_bytes_never_read_outside);

    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
