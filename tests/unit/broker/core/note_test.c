/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/note.h"

#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tests/unit/seed.h"

static gv_arena_t arena;

static void setup(void)
{
    gv_arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
    gv_arena_deinit(&arena);
}

START_TEST(what_was_written_is_read)
{
    gv_note_t note = {.bucket = GV_RETAINED_BUCKETS - 1};
    gv_note_entry_t message = {
        .topic = GV_BYTES_LITERAL("a/b"), .stamp = {.hlc = 77, .node = {1, 2, 3}}, .size = 1234};
    gv_note_entry_t tombstone = {
        .topic = GV_BYTES_LITERAL("c"), .stamp = {.hlc = 78, .node = {4}}, .is_tombstone = true};
    gv_note_entry_t wanted = {.topic = GV_BYTES_LITERAL("d")};
    gv_note_add(&note, &message);
    gv_note_add(&note, &tombstone);
    gv_note_add(&note, &wanted);
    ck_assert_uint_gt(note.bytes, 0);
    size_t size = 0;
    uint8_t *packed = gv_note_pack(&note, true, &size);
    ck_assert_uint_eq(note.count, 0);
    uint32_t bucket = 0;
    ck_assert(gv_note_bucket(gv_bytes(packed, size), &bucket));
    ck_assert_uint_eq(bucket, GV_RETAINED_BUCKETS - 1);
    gv_note_view_t view;
    ck_assert_int_eq(gv_note_read(gv_bytes(packed, size), &arena, &view), GV_OK);
    ck_assert_uint_eq(view.bucket, GV_RETAINED_BUCKETS - 1);
    ck_assert(view.is_last);
    ck_assert_uint_eq(view.count, 3);
    ck_assert(gv_bytes_equal(view.entries[0].topic, message.topic));
    ck_assert_int_eq(gv_stamp_compare(&view.entries[0].stamp, &message.stamp), 0);
    ck_assert_uint_eq(view.entries[0].size, 1234);
    ck_assert(!view.entries[0].is_tombstone);
    ck_assert(view.entries[1].is_tombstone);
    ck_assert_uint_eq(view.entries[2].stamp.hlc, 0);
    gv_free(packed);
    gv_note_deinit(&note);
}
END_TEST

START_TEST(each_bucket_has_its_number)
{
    for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
        gv_note_t note = {.bucket = i};
        size_t size = 0;
        uint8_t *packed = gv_note_pack(&note, false, &size);
        uint32_t bucket = 0;
        ck_assert(gv_note_bucket(gv_bytes(packed, size), &bucket));
        ck_assert_uint_eq(bucket, i);
        gv_note_view_t view;
        ck_assert_int_eq(gv_note_read(gv_bytes(packed, size), &arena, &view), GV_OK);
        ck_assert_uint_eq(view.bucket, i);
        ck_assert(!view.is_last);
        gv_arena_reset(&arena);
        gv_free(packed);
    }
}
END_TEST

START_TEST(nonsense_is_refused)
{
    const gv_bytes_t bad[] = {
        GV_BYTES_LITERAL(""),
        GV_BYTES_LITERAL("\x08"),
        GV_BYTES_LITERAL("\x08\x00"),                 /* no bucket */
        GV_BYTES_LITERAL("\x08\x81\x20"),             /* bucket 4096 */
        GV_BYTES_LITERAL("\x08\xff\xff\xff\xff\x0f"), /* and far beyond */
        GV_BYTES_LITERAL("\x18\x01"),                 /* something else stands first */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t bucket = 0;
        ck_assert(!gv_note_bucket(bad[i], &bucket));
        gv_note_view_t view;
        ck_assert_int_ne(gv_note_read(bad[i], &arena, &view), GV_OK);
    }
    const gv_bytes_t bad_entries[] = {
        GV_BYTES_LITERAL("\x08\x01\x12\x00"), /* without a topic */
        /* a stamp without its node */
        GV_BYTES_LITERAL("\x08\x01\x12\x0c\x0a\x01x\x11\x01\0\0\0\0\0\0\0"),
    };
    for (size_t i = 0; i < sizeof(bad_entries) / sizeof(bad_entries[0]); i++) {
        gv_note_view_t view;
        ck_assert_int_eq(gv_note_read(bad_entries[i], &arena, &view), GV_ERR_MALFORMED);
    }
}
END_TEST

START_TEST(damaged_notes_are_read_or_refused)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_note_t note = {.bucket = 5};
    for (unsigned i = 0; i < 20; i++) {
        gv_note_add(&note, &(gv_note_entry_t){.topic = GV_BYTES_LITERAL("some/topic"),
                                              .stamp = {.hlc = i + 1}});
    }
    size_t size = 0;
    uint8_t *packed = gv_note_pack(&note, true, &size);
    for (int round = 0; round < 5000; round++) {
        uint32_t at = gv_rng_below(&rng, (uint32_t)size);
        uint8_t before = packed[at];
        packed[at] = (uint8_t)gv_rng_u32(&rng);
        gv_note_view_t view;
        gv_err_t err = gv_note_read(gv_bytes(packed, size), &arena, &view);
        ck_assert(err == GV_OK || err == GV_ERR_MALFORMED);
        gv_arena_reset(&arena);
        packed[at] = before;
    }
    gv_free(packed);
    gv_note_deinit(&note);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("note");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, what_was_written_is_read);
    tcase_add_test(tc, each_bucket_has_its_number);
    tcase_add_test(tc, nonsense_is_refused);
    tcase_add_test(tc, damaged_notes_are_read_or_refused);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
