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

START_TEST(every_table_has_its_name_and_number)
{
    ck_assert_str_eq(gv_table_name(GV_TABLE_META), "meta");
    ck_assert_str_eq(gv_table_name(GV_TABLE_LINKS), "links");
    ck_assert_int_eq(GV_TABLE_META, 0);
    ck_assert_int_eq(GV_TABLE_RETAINED, 1);
    ck_assert_int_eq(GV_TABLE_LINKS, 9);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("keys");
    tcase_add_test(tc, a_short_text_is_its_own_key);
    tcase_add_test(tc, long_texts_differ_wherever_they_differ);
    tcase_add_test(tc, the_key_of_a_long_text_never_changes);
    tcase_add_test(tc, every_table_has_its_name_and_number);
    return run_case("storage", tc);
}
