/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keys.h"

#include "tests/unit/storage/fixture.h"

START_TEST(a_short_text_is_its_own_key)
{
    gv_key_t key;
    gv_key_from_text(&key, text("a/b"));
    ck_assert(gv_bytes_equal(gv_key_bytes(&key), text("a/b")));

    uint8_t longest[GV_KEY_SIZE_MAX];
    memset(longest, 'x', sizeof(longest));
    gv_key_from_text(&key, gv_bytes(longest, sizeof(longest)));
    ck_assert(gv_bytes_equal(gv_key_bytes(&key), gv_bytes(longest, sizeof(longest))));
}
END_TEST

START_TEST(long_texts_differ_wherever_they_differ)
{
    uint8_t topic[65535];
    memset(topic, 'x', sizeof(topic));
    gv_key_t key;
    gv_key_from_text(&key, gv_bytes(topic, sizeof(topic)));
    ck_assert_uint_eq(key.size, GV_KEY_SIZE_MAX);
    ck_assert_mem_eq(key.data, topic, GV_KEY_HEAD_SIZE);
    ck_assert_uint_eq(key.data[GV_KEY_HEAD_SIZE], 0);

    for (size_t at = 0; at < sizeof(topic); at += 97) {
        gv_key_t other;
        topic[at] = 'y';
        gv_key_from_text(&other, gv_bytes(topic, sizeof(topic)));
        ck_assert(!gv_bytes_equal(gv_key_bytes(&key), gv_key_bytes(&other)));
        topic[at] = 'x';
    }
    /* One byte shorter and one more than a short text may have. */
    gv_key_t shorter;
    gv_key_from_text(&shorter, gv_bytes(topic, sizeof(topic) - 1));
    ck_assert(!gv_bytes_equal(gv_key_bytes(&key), gv_key_bytes(&shorter)));
    gv_key_from_text(&shorter, gv_bytes(topic, GV_KEY_SIZE_MAX + 1));
    ck_assert_uint_eq(shorter.size, GV_KEY_SIZE_MAX);
    ck_assert(!gv_bytes_equal(gv_key_bytes(&shorter), gv_bytes(topic, GV_KEY_SIZE_MAX)));
}
END_TEST

START_TEST(the_key_of_a_long_text_never_changes)
{
    /* It stands on disks: 478 'a', NUL, SHA-256 of a thousand 'a'. */
    static const uint8_t hash[] = {0x41, 0xed, 0xec, 0xe4, 0x2d, 0x63, 0xe8, 0xd9, 0xbf, 0x51, 0x5a,
                                   0x9b, 0xa6, 0x93, 0x2e, 0x1c, 0x20, 0xcb, 0xc9, 0xf5, 0xa5, 0xd1,
                                   0x34, 0x64, 0x5a, 0xdb, 0x5d, 0xb1, 0xb9, 0x73, 0x7e, 0xa3};
    uint8_t topic[1000];
    memset(topic, 'a', sizeof(topic));
    gv_key_t key;
    gv_key_from_text(&key, gv_bytes(topic, sizeof(topic)));
    ck_assert_mem_eq(key.data + GV_KEY_HEAD_SIZE + 1, hash, sizeof(hash));
}
END_TEST

START_TEST(keys_of_numbers_stand_in_the_order_of_the_numbers)
{
    static const uint64_t numbers[] = {0, 1, 255, 256, 65536, UINT64_MAX - 1, UINT64_MAX};
    gv_key_t before = {.size = 0};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        gv_key_t key;
        gv_key_from_number(&key, numbers[i]);
        ck_assert_uint_eq(key.size, 8);
        ck_assert_int_lt(gv_bytes_compare(gv_key_bytes(&before), gv_key_bytes(&key)), 0);

        /* Everything under a number stands after it and before the next one. */
        gv_key_t under;
        gv_key_from_number_text(&under, numbers[i], text("\xff\xff"));
        ck_assert_int_lt(gv_bytes_compare(gv_key_bytes(&key), gv_key_bytes(&under)), 0);
        before = under;
    }
}
END_TEST

START_TEST(a_text_under_a_number_is_shortened_when_the_key_would_be_too_long)
{
    uint8_t filter[GV_KEY_SIZE_MAX];
    memset(filter, 'f', sizeof(filter));
    gv_key_t longest;
    gv_key_from_number_text(&longest, 7, gv_bytes(filter, sizeof(filter) - 8));
    ck_assert_uint_eq(longest.size, GV_KEY_SIZE_MAX);
    ck_assert_mem_eq(longest.data, "\0\0\0\0\0\0\0\7fff", 11);
    ck_assert_int_eq(longest.data[GV_KEY_SIZE_MAX - 1], 'f');

    gv_key_t hashed;
    gv_key_from_number_text(&hashed, 7, gv_bytes(filter, sizeof(filter) - 7));
    ck_assert_uint_eq(hashed.size, GV_KEY_SIZE_MAX);
    ck_assert_mem_eq(hashed.data, longest.data, GV_KEY_HEAD_SIZE);
    ck_assert_int_eq(hashed.data[GV_KEY_HEAD_SIZE], 0);
    filter[sizeof(filter) - 8] = 'g';
    gv_key_t other;
    gv_key_from_number_text(&other, 7, gv_bytes(filter, sizeof(filter) - 7));
    ck_assert(!gv_bytes_equal(gv_key_bytes(&hashed), gv_key_bytes(&other)));
}
END_TEST

START_TEST(keys_of_two_numbers_stand_in_the_order_of_the_first)
{
    gv_key_t key;
    gv_key_from_number_pair(&key, 1, 256);
    ck_assert_uint_eq(key.size, 16);
    ck_assert_mem_eq(key.data, "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\1\0", 16);
    gv_key_t after;
    gv_key_from_number_pair(&after, 2, 0);
    ck_assert_int_lt(gv_bytes_compare(gv_key_bytes(&key), gv_key_bytes(&after)), 0);
}
END_TEST

START_TEST(every_table_has_its_name_and_number)
{
    ck_assert_str_eq(gv_table_name(GV_TABLE_META), "meta");
    ck_assert_str_eq(gv_table_name(GV_TABLE_LINKS), "links");
    ck_assert_int_eq(GV_TABLE_META, 0);
    ck_assert_int_eq(GV_TABLE_RETAINED, 1);
    ck_assert_int_eq(GV_TABLE_LINKS, 9);
    ck_assert_str_eq(gv_table_name(GV_TABLE_PAYLOADS), "payloads");
    ck_assert_int_eq(GV_TABLE_PAYLOADS, 11);
    ck_assert_str_eq(gv_table_name(GV_TABLE_MEMBERS), "members");
    ck_assert_int_eq(GV_TABLE_MEMBERS, 12);
    ck_assert_str_eq(gv_table_name(GV_TABLE_MEMBER_ROUTES), "member_routes");
    ck_assert_int_eq(GV_TABLE_MEMBER_ROUTES, 13);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("keys");
    tcase_add_test(tc, a_short_text_is_its_own_key);
    tcase_add_test(tc, long_texts_differ_wherever_they_differ);
    tcase_add_test(tc, the_key_of_a_long_text_never_changes);
    tcase_add_test(tc, keys_of_numbers_stand_in_the_order_of_the_numbers);
    tcase_add_test(tc, a_text_under_a_number_is_shortened_when_the_key_would_be_too_long);
    tcase_add_test(tc, keys_of_two_numbers_stand_in_the_order_of_the_first);
    tcase_add_test(tc, every_table_has_its_name_and_number);
    return run_case("storage", tc);
}
