/* SPDX-License-Identifier: Apache-2.0 */
#include "base/bytes.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

START_TEST(equal_looks_at_size_and_bytes)
{
    ck_assert(gv_bytes_equal(GV_BYTES_EMPTY, GV_BYTES_LITERAL("")));
    ck_assert(gv_bytes_equal(GV_BYTES_LITERAL("a\0b"), gv_bytes("a\0b", 3)));
    ck_assert(!gv_bytes_equal(GV_BYTES_LITERAL("a\0b"), GV_BYTES_LITERAL("a\0c")));
    ck_assert(!gv_bytes_equal(GV_BYTES_LITERAL("ab"), gv_bytes_text("abc")));
}
END_TEST

START_TEST(compare_orders_as_memcmp_then_by_size)
{
    static const char *const ordered[] = {"", "a", "a ", "aa", "ab", "b", "\x7f", "\x80", "\xff"};
    enum {
        COUNT = sizeof(ordered) / sizeof(ordered[0])
    };
    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < COUNT; j++) {
            int order = gv_bytes_compare(gv_bytes_text(ordered[i]), gv_bytes_text(ordered[j]));
            ck_assert_int_eq(order, (i > j) - (i < j));
        }
    }
    ck_assert_int_eq(gv_bytes_compare(GV_BYTES_EMPTY, GV_BYTES_EMPTY), 0);
    ck_assert_int_eq(gv_bytes_compare(GV_BYTES_EMPTY, GV_BYTES_LITERAL("a")), -1);
}
END_TEST

START_TEST(prefix)
{
    gv_bytes_t share = GV_BYTES_LITERAL("$share/");
    ck_assert(gv_bytes_has_prefix(GV_BYTES_LITERAL("$share/g/t"), share));
    ck_assert(gv_bytes_has_prefix(share, share));
    ck_assert(!gv_bytes_has_prefix(GV_BYTES_LITERAL("$share"), share));
    ck_assert(!gv_bytes_has_prefix(GV_BYTES_LITERAL("$Share/g"), share));
    ck_assert(gv_bytes_has_prefix(share, GV_BYTES_EMPTY));
    ck_assert(gv_bytes_has_prefix(GV_BYTES_EMPTY, GV_BYTES_EMPTY));
    ck_assert(!gv_bytes_has_prefix(GV_BYTES_EMPTY, share));
}
END_TEST

/* Stored and sent values depend on it: the hash of a text must never change. */
START_TEST(hash_is_xxh3_and_seeded)
{
    ck_assert_uint_eq(gv_bytes_hash(GV_BYTES_EMPTY, 0), 0x2d06800538d394c2U);
    gv_bytes_t topic = GV_BYTES_LITERAL("plant/7/temperature");
    ck_assert_uint_eq(gv_bytes_hash(topic, 1), gv_bytes_hash(topic, 1));
    ck_assert_uint_ne(gv_bytes_hash(topic, 1), gv_bytes_hash(topic, 2));
}
END_TEST

static void assert_printable(gv_bytes_t bytes, size_t out_size, const char *expected)
{
    char out[64];
    memset(out, '#', sizeof(out));
    ck_assert_ptr_eq(gv_bytes_printable(bytes, out, out_size), out);
    ck_assert_str_eq(out, expected);
    ck_assert_int_eq(out[out_size], '#');
}

START_TEST(printable_escapes_all_that_could_hurt_a_log)
{
    assert_printable(GV_BYTES_EMPTY, 8, "");
    assert_printable(GV_BYTES_LITERAL("client 7~"), 32, "client 7~");
    assert_printable(GV_BYTES_LITERAL("a\nb\0c\x7f\x80"), 32, "a\\x0ab\\x00c\\x7f\\x80");
    assert_printable(GV_BYTES_LITERAL("it's a \\"), 32, "it\\x27s a \\x5c");
}
END_TEST

START_TEST(printable_cuts_with_dots_and_never_inside_an_escape)
{
    assert_printable(GV_BYTES_LITERAL("1234567"), 8, "1234567");
    assert_printable(GV_BYTES_LITERAL("12345678"), 8, "1234...");
    assert_printable(GV_BYTES_LITERAL("123\n"), 8, "123\\x0a");
    assert_printable(GV_BYTES_LITERAL("1234\n"), 8, "1234...");
    assert_printable(GV_BYTES_LITERAL("1\n56789"), 8, "1...");
    assert_printable(GV_BYTES_LITERAL("\n\n"), 8, "\\x0a...");
}
END_TEST

START_TEST(printable_wants_eight_bytes)
{
    char out[7];
    (void)gv_bytes_printable(GV_BYTES_EMPTY, out, sizeof(out));
}
END_TEST

START_TEST(what_the_writer_puts_the_reader_takes)
{
    uint8_t buffer[32];
    gv_writer_t w = gv_writer(buffer, sizeof(buffer));
    gv_writer_u8(&w, 0xfe);
    gv_writer_u16(&w, 0xfedc);
    gv_writer_u32(&w, 0xfedcba98);
    gv_writer_u64(&w, 0xfedcba9876543210);
    gv_writer_put(&w, GV_BYTES_LITERAL("vine"));
    gv_writer_put(&w, GV_BYTES_EMPTY);
    ck_assert(!w.failed);
    ck_assert_uint_eq(gv_writer_left(&w), sizeof(buffer) - 19);
    ck_assert_mem_eq(buffer,
                     "\xfe\xfe\xdc\xfe\xdc\xba\x98\xfe\xdc\xba\x98"
                     "\x76\x54\x32\x10vine",
                     19);

    gv_reader_t r = gv_reader(gv_bytes(buffer, 19));
    ck_assert_uint_eq(gv_reader_u8(&r), 0xfe);
    ck_assert_uint_eq(gv_reader_u16(&r), 0xfedc);
    ck_assert_uint_eq(gv_reader_u32(&r), 0xfedcba98);
    ck_assert_uint_eq(gv_reader_u64(&r), 0xfedcba9876543210);
    ck_assert(gv_bytes_equal(gv_reader_take(&r, 4), GV_BYTES_LITERAL("vine")));
    ck_assert_uint_eq(gv_reader_left(&r), 0);
    ck_assert(!r.failed);
}
END_TEST

START_TEST(reader_fails_once_and_for_all)
{
    gv_reader_t r = gv_reader(GV_BYTES_LITERAL("\x01\x02\x03\x04\x05\x06\x07"));
    ck_assert_uint_eq(gv_reader_u8(&r), 1);
    ck_assert_uint_eq(gv_reader_u64(&r), 0);
    ck_assert(r.failed);
    ck_assert_uint_eq(gv_reader_u8(&r), 0);
    ck_assert_uint_eq(gv_reader_u16(&r), 0);
    ck_assert_uint_eq(gv_reader_u32(&r), 0);
    ck_assert_uint_eq(gv_reader_take(&r, 0).size, 0);
    ck_assert(r.failed);
}
END_TEST

START_TEST(reader_refuses_a_size_that_would_wrap)
{
    gv_reader_t r = gv_reader(GV_BYTES_LITERAL("abc"));
    ck_assert_uint_eq(gv_reader_take(&r, SIZE_MAX).size, 0);
    ck_assert(r.failed);
}
END_TEST

START_TEST(writer_fails_once_and_leaves_the_rest_alone)
{
    uint8_t buffer[4] = {9, 9, 9, 9};
    gv_writer_t w = gv_writer(buffer, 3);
    gv_writer_u16(&w, 0x0102);
    gv_writer_u32(&w, 0xffffffff);
    ck_assert(w.failed);
    gv_writer_u8(&w, 7);
    gv_writer_put(&w, GV_BYTES_LITERAL("x"));
    ck_assert_ptr_null(gv_writer_reserve(&w, 0));
    ck_assert_mem_eq(buffer, "\x01\x02\x09\x09", 4);

    w = gv_writer(buffer, 3);
    ck_assert_ptr_null(gv_writer_reserve(&w, SIZE_MAX));
    ck_assert(w.failed);
}
END_TEST

/* NULL + 0 is undefined in C; the cursors must not
 * compute it (UBSan looks). */
START_TEST(empty_views_are_read_and_written_without_failing)
{
    gv_reader_t r = gv_reader(GV_BYTES_EMPTY);
    ck_assert_uint_eq(gv_reader_take(&r, 0).size, 0);
    ck_assert(!r.failed);
    ck_assert_uint_eq(gv_reader_u8(&r), 0);
    ck_assert(r.failed);

    gv_writer_t w = gv_writer(NULL, 0);
    gv_writer_put(&w, GV_BYTES_EMPTY);
    ck_assert(!w.failed);
    gv_writer_u8(&w, 1);
    ck_assert(w.failed);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("bytes");
    tcase_add_test(tc, equal_looks_at_size_and_bytes);
    tcase_add_test(tc, compare_orders_as_memcmp_then_by_size);
    tcase_add_test(tc, prefix);
    tcase_add_test(tc, hash_is_xxh3_and_seeded);
    tcase_add_test(tc, printable_escapes_all_that_could_hurt_a_log);
    tcase_add_test(tc, printable_cuts_with_dots_and_never_inside_an_escape);
    tcase_add_test_raise_signal(tc, printable_wants_eight_bytes, SIGABRT);
    tcase_add_test(tc, what_the_writer_puts_the_reader_takes);
    tcase_add_test(tc, reader_fails_once_and_for_all);
    tcase_add_test(tc, reader_refuses_a_size_that_would_wrap);
    tcase_add_test(tc, writer_fails_once_and_leaves_the_rest_alone);
    tcase_add_test(tc, empty_views_are_read_and_written_without_failing);

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
