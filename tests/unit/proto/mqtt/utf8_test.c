/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/utf8.h"

#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/proto/mqtt/wire.h"
#include "tests/unit/seed.h"

/* The same question asked the slow way: by decoding to a code point and looking at it. */
static size_t reference_decode(const uint8_t *pos, size_t left, uint32_t *point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t size;
    if (pos[0] < 0x80) {
        size = 1;
        *point = pos[0];
    } else if ((pos[0] & 0xe0) == 0xc0) {
        size = 2;
        *point = pos[0] & 0x1f;
    } else if ((pos[0] & 0xf0) == 0xe0) {
        size = 3;
        *point = pos[0] & 0x0f;
    } else if ((pos[0] & 0xf8) == 0xf0) {
        size = 4;
        *point = pos[0] & 0x07;
    } else {
        return 0;
    }
    if (size > left) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((pos[i] & 0xc0) != 0x80) {
            return 0;
        }
        *point = *point << 6 | (pos[i] & 0x3f);
    }
    bool is_surrogate = *point >= 0xd800 && *point <= 0xdfff;
    return *point >= smallest[size] && *point <= 0x10ffff && !is_surrogate ? size : 0;
}

static gv_mqtt_text_t reference_scan(gv_bytes_t text, bool *is_utf8)
{
    bool has_nul = false;
    bool has_wildcard = false;
    *is_utf8 = true;
    for (size_t at = 0; at < text.size;) {
        uint32_t point;
        size_t size = reference_decode(text.data + at, text.size - at, &point);
        if (size == 0) {
            *is_utf8 = false;
            return GV_MQTT_TEXT_BAD;
        }
        has_nul |= point == 0;
        has_wildcard |= point == '+' || point == '#';
        at += size;
    }
    return has_nul ? GV_MQTT_TEXT_BAD : has_wildcard ? GV_MQTT_TEXT_WILDCARD : GV_MQTT_TEXT_PLAIN;
}

static void assert_as_reference(gv_bytes_t text)
{
    gv_bytes_t exact = wire_copy(text);
    bool is_utf8;
    gv_mqtt_text_t expected = reference_scan(exact, &is_utf8);
    ck_assert_int_eq(gv_mqtt_text_scan(exact), expected);
    ck_assert_int_eq(gv_mqtt_text_valid(exact), expected != GV_MQTT_TEXT_BAD);
    ck_assert_int_eq(gv_mqtt_payload_is_utf8(exact), is_utf8);
    wire_free(exact);
}

/* Each text alone, and at every place around the eight-byte words of the fast path. */
static void assert_scans(const char *text, gv_mqtt_text_t expected)
{
    gv_bytes_t piece = wire(text);
    for (size_t before = 0; before < 18; before++) {
        for (size_t after = 0; after < 18; after++) {
            uint8_t room[64];
            gv_writer_t w = gv_writer(room, sizeof(room));
            for (size_t i = 0; i < before; i++) {
                gv_writer_u8(&w, 'x');
            }
            gv_writer_put(&w, piece);
            for (size_t i = 0; i < after; i++) {
                gv_writer_u8(&w, 'y');
            }
            ck_assert(!w.failed);
            gv_bytes_t exact = wire_copy(gv_bytes(room, sizeof(room) - gv_writer_left(&w)));
            ck_assert_msg(gv_mqtt_text_scan(exact) == expected, "%s with %zu before, %zu after",
                          text, before, after);
            assert_as_reference(exact);
            wire_free(exact);
        }
    }
    wire_free(piece);
}

START_TEST(ill_formed_bytes_are_no_string)
{
    static const char *const bad[] = {
        "80",       "bf",       "c0af", "c080",   "c1bf",     "c2",       "c241",     "e080af",
        "e09fbf",   "e2",       "e282", "e28241", "eda080",   "edafbf",   "edb080",   "edbfbf",
        "f08080af", "f08fbfbf", "f09f", "f09f98", "f09f9841", "f4908080", "f5808080", "f8888080",
        "fe",       "ff",       "fffe", "c3c3a9", "e282ac80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_scans(bad[i], GV_MQTT_TEXT_BAD);
    }
}
END_TEST

START_TEST(nul_is_no_character_of_a_string)
{
    assert_scans("00", GV_MQTT_TEXT_BAD);
    assert_scans("c3a9 00 c3a9", GV_MQTT_TEXT_BAD);
    assert_scans("2b 00", GV_MQTT_TEXT_BAD);
    gv_bytes_t text = wire("'payload' 00 'with' 00");
    ck_assert(gv_mqtt_payload_is_utf8(text));
    wire_free(text);
}
END_TEST

START_TEST(all_other_characters_are_let_through)
{
    static const char *const good[] = {
        "01",
        "1f",
        "7f",
        "c280",
        "dfbf",
        "e0a080",
        "ed9fbf",
        "ee8080",
        "efbfbf",
        "efbfbe",
        "efbbbf",
        "f0908080",
        "f48fbfbf",
        "f09f9880",
        "'*'",
        "'\"'",
        "'$'",
        "'/'",
        "e282ac e282ac c3a9",
    };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_scans(good[i], GV_MQTT_TEXT_PLAIN);
    }
}
END_TEST

START_TEST(wildcards_are_seen_wherever_they_stand)
{
    assert_scans("'+'", GV_MQTT_TEXT_WILDCARD);
    assert_scans("'#'", GV_MQTT_TEXT_WILDCARD);
    assert_scans("c3a9 '+' c3a9", GV_MQTT_TEXT_WILDCARD);
    /* Every ASCII character that is not one of the two, so that no bit trick takes one for them. */
    for (uint8_t c = 1; c < 0x80; c++) {
        uint8_t text[8] = {'a', 'b', 'c', c, 'd', 'e', 'f', 'g'};
        gv_mqtt_text_t expected = c == '+' || c == '#' ? GV_MQTT_TEXT_WILDCARD : GV_MQTT_TEXT_PLAIN;
        ck_assert_int_eq(gv_mqtt_text_scan(gv_bytes(text, sizeof(text))), expected);
    }
}
END_TEST

START_TEST(the_empty_text_is_valid)
{
    ck_assert_int_eq(gv_mqtt_text_scan(GV_BYTES_EMPTY), GV_MQTT_TEXT_PLAIN);
    ck_assert(gv_mqtt_payload_is_utf8(GV_BYTES_EMPTY));
}
END_TEST

START_TEST(every_sequence_of_three_bytes_is_judged_as_by_the_reference)
{
    for (uint32_t lead = 0x80; lead <= 0xff; lead++) {
        for (uint32_t rest = 0; rest < 0x10000; rest += 7) {
            uint8_t text[3] = {(uint8_t)lead, (uint8_t)(rest >> 8), (uint8_t)rest};
            bool is_utf8;
            gv_bytes_t bytes = gv_bytes(text, sizeof(text));
            if (gv_mqtt_text_scan(bytes) != reference_scan(bytes, &is_utf8)) {
                ck_abort_msg("%02x %02x %02x", text[0], text[1], text[2]);
            }
        }
    }
}
END_TEST

START_TEST(random_texts_are_judged_as_by_the_reference)
{
    static const char *const parts[] = {"a",        "topic/", "+",        "#",    "\xc3\xa9",
                                        "\xe2\x82", "\xac",   "\xf0\x9f", "\xed", "\xa0\x80"};
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < 50000; round++) {
        uint8_t room[128];
        gv_writer_t w = gv_writer(room, sizeof(room));
        uint32_t count = gv_rng_below(&rng, 8);
        for (uint32_t i = 0; i < count; i++) {
            if (gv_rng_chance(&rng, 3)) {
                gv_writer_u8(&w, (uint8_t)gv_rng_u32(&rng));
            }
            uint32_t part = gv_rng_below(&rng, sizeof(parts) / sizeof(parts[0]));
            gv_writer_put(&w, gv_bytes_text(parts[part]));
        }
        assert_as_reference(gv_bytes(room, sizeof(room) - gv_writer_left(&w)));
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("utf8");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, ill_formed_bytes_are_no_string);
    tcase_add_test(tc, nul_is_no_character_of_a_string);
    tcase_add_test(tc, all_other_characters_are_let_through);
    tcase_add_test(tc, wildcards_are_seen_wherever_they_stand);
    tcase_add_test(tc, the_empty_text_is_valid);
    tcase_add_test(tc, every_sequence_of_three_bytes_is_judged_as_by_the_reference);
    tcase_add_test(tc, random_texts_are_judged_as_by_the_reference);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
