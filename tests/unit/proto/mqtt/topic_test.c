/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/topic.h"

#include <signal.h>
#include <stdlib.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/proto/mqtt/wire.h"
#include "tests/unit/seed.h"

/* ---- names -------------------------------------------------------------------------------- */

static gv_err_t check_topic(const char *text)
{
    gv_bytes_t topic = wire(text);
    gv_err_t err = gv_mqtt_topic_check(topic);
    wire_free(topic);
    return err;
}

static gv_bytes_t repeated(const char *piece, size_t size)
{
    uint8_t *text = malloc(size);
    ck_assert_ptr_nonnull(text);
    size_t piece_size = strlen(piece);
    for (size_t i = 0; i < size; i++) {
        text[i] = (uint8_t)piece[i % piece_size];
    }
    return gv_bytes(text, size);
}

START_TEST(names_are_strings_without_wildcards)
{
    static const char *const good[] = {"'a'",  "'/'",       "'//'",         "'a/'",
                                       "'/a'", "'a b/c'",   "'$SYS/x'",     "'$'",
                                       "'A'",  "efbbbf'x'", "'$share/g/t'", "c3a9'/'f09f9880"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert_msg(check_topic(good[i]) == GV_OK, "%s", good[i]);
    }
    static const char *const wild[] = {"", "'+'", "'#'", "'a/+'", "'a/#'", "'a#b'", "'a+'"};
    for (size_t i = 0; i < sizeof(wild) / sizeof(wild[0]); i++) {
        ck_assert_msg(check_topic(wild[i]) == GV_ERR_INVAL, "%s", wild[i]);
    }
    static const char *const bad[] = {"00", "'a'00", "eda080", "'+/'ff", "c0af", "'topic/x'80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(check_topic(bad[i]) == GV_ERR_MALFORMED, "%s", bad[i]);
    }
}
END_TEST

START_TEST(names_have_up_to_65535_bytes_and_any_number_of_levels)
{
    gv_bytes_t longest = repeated("x", 65535);
    ck_assert_int_eq(gv_mqtt_topic_check(longest), GV_OK);
    wire_free(longest);
    gv_bytes_t slashes = repeated("/", 30000);
    ck_assert_int_eq(gv_mqtt_topic_check(slashes), GV_OK);
    wire_free(slashes);
    gv_bytes_t too_long = repeated("x", 65536);
    ck_assert_int_eq(gv_mqtt_topic_check(too_long), GV_ERR_INVAL);
    wire_free(too_long);
}
END_TEST

/* ---- filters ------------------------------------------------------------------------------ */

static void assert_filter(const char *text, const char *group, const char *filter)
{
    gv_bytes_t exact = wire_copy(gv_bytes_text(text));
    gv_mqtt_filter_t parts;
    ck_assert_msg(gv_mqtt_filter_parse(exact, &parts) == GV_OK, "%s", text);
    ck_assert_msg(gv_bytes_equal(parts.group, gv_bytes_text(group)), "%s", text);
    ck_assert_msg(gv_bytes_equal(parts.filter, gv_bytes_text(filter)), "%s", text);
    ck_assert_int_eq(gv_mqtt_filter_is_shared(&parts), group[0] != '\0');
    ck_assert_int_eq(parts.has_wildcard, strpbrk(filter, "+#") != NULL);
    wire_free(exact);
}

static void assert_no_filter(const char *text, gv_err_t expected)
{
    gv_bytes_t exact = wire(text);
    gv_mqtt_filter_t parts;
    ck_assert_msg(gv_mqtt_filter_parse(exact, &parts) == expected, "%s", text);
    ck_assert_uint_eq(parts.filter.size, 0);
    ck_assert_uint_eq(parts.group.size, 0);
    wire_free(exact);
}

START_TEST(wildcards_fill_their_level)
{
    static const char *const good[] = {"a",      "/",   "//",   "#",      "+",     "+/+",
                                       "+/#",    "/#",  "/+",   "+/",     "a/+/b", "a/#",
                                       "$SYS/#", "a b", "+//#", "a/+/+/#"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_filter(good[i], "", good[i]);
    }
    static const char *const bad[] = {"",        "'a#b'", "'#/a'",  "'a+'",   "'+a/b'",
                                      "'a/#/b'", "'##'",  "'++'",   "'a#'",   "'#/#'",
                                      "'+#'",    "'/#/'", "'a/+b'", "'a/b#'", "'#+'"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_no_filter(bad[i], GV_ERR_INVAL);
    }
}
END_TEST

START_TEST(filters_are_strings)
{
    assert_no_filter("00", GV_ERR_MALFORMED);
    assert_no_filter("'a/'ff", GV_ERR_MALFORMED);
    assert_no_filter("'$share/g/'eda080", GV_ERR_MALFORMED);
    assert_no_filter("'$share/'00'/a'", GV_ERR_MALFORMED);
}
END_TEST

/* [MQTT-4.8.2-1], [MQTT-4.8.2-2]; the crash of CVE-2025-68699 elsewhere. */
START_TEST(only_a_whole_first_level_makes_a_share)
{
    assert_filter("$share/g/a/b", "g", "a/b");
    assert_filter("$share/g//", "g", "/");
    assert_filter("$share/g/#", "g", "#");
    assert_filter("$share/g/$share/h/a", "g", "$share/h/a");
    assert_filter("$share/$g/+/x", "$g", "+/x");
    assert_filter("$share", "", "$share");
    assert_filter("$sharex", "", "$sharex");
    assert_filter("$sharex/g/a", "", "$sharex/g/a");
    assert_filter("$Share/g/a", "", "$Share/g/a");
    assert_filter("$queue/a", "", "$queue/a");
    assert_filter("/$share/g/a", "", "/$share/g/a");

    assert_no_filter("'$share/'", GV_ERR_INVAL);
    assert_no_filter("'$share/ab'", GV_ERR_INVAL);
    assert_no_filter("'$share//x'", GV_ERR_INVAL);
    assert_no_filter("'$share/g/'", GV_ERR_INVAL);
    assert_no_filter("'$share/+/x'", GV_ERR_INVAL);
    assert_no_filter("'$share/#'", GV_ERR_INVAL);
    assert_no_filter("'$share/a+b/t'", GV_ERR_INVAL);
    assert_no_filter("'$share/g#/t'", GV_ERR_INVAL);
    assert_no_filter("'$share/g/a#'", GV_ERR_INVAL);
}
END_TEST

START_TEST(filters_have_up_to_65535_bytes)
{
    gv_mqtt_filter_t parts;
    gv_bytes_t longest = repeated("+/", 65535);
    ck_assert_int_eq(gv_mqtt_filter_parse(longest, &parts), GV_OK);
    ck_assert_uint_eq(parts.filter.size, 65535);
    wire_free(longest);
    gv_bytes_t too_long = repeated("x", 65536);
    ck_assert_int_eq(gv_mqtt_filter_parse(too_long, &parts), GV_ERR_INVAL);
    wire_free(too_long);
}
END_TEST

/* ---- levels ------------------------------------------------------------------------------- */

static void assert_levels(const char *text, size_t count, const char *const *expected)
{
    gv_bytes_t exact = wire_copy(gv_bytes_text(text));
    gv_mqtt_levels_t levels = gv_mqtt_levels(exact);
    size_t seen = 0;
    for (gv_bytes_t level; gv_mqtt_levels_next(&levels, &level); seen++) {
        ck_assert_uint_lt(seen, count);
        ck_assert(gv_bytes_equal(level, gv_bytes_text(expected[seen])));
    }
    ck_assert_uint_eq(seen, count);
    wire_free(exact);
}

START_TEST(an_empty_level_is_a_level)
{
    assert_levels("a", 1, (const char *const[]){"a"});
    assert_levels("a/b", 2, (const char *const[]){"a", "b"});
    assert_levels("/", 2, (const char *const[]){"", ""});
    assert_levels("/a/", 3, (const char *const[]){"", "a", ""});
    assert_levels("a//+", 3, (const char *const[]){"a", "", "+"});
    assert_levels("", 1, (const char *const[]){""});

    gv_mqtt_levels_t none = gv_mqtt_levels(GV_BYTES_EMPTY);
    gv_bytes_t level;
    ck_assert(gv_mqtt_levels_next(&none, &level));
    ck_assert_uint_eq(level.size, 0);
    ck_assert(!gv_mqtt_levels_next(&none, &level));
    ck_assert(!gv_mqtt_levels_next(&none, &level));
}
END_TEST

/* ---- matching ----------------------------------------------------------------------------- */

static bool matches(const char *topic, const char *filter)
{
    return gv_mqtt_topic_matches(gv_bytes_text(topic), gv_bytes_text(filter));
}

START_TEST(the_examples_of_the_standard_match)
{
    ck_assert(matches("sport/tennis/player1", "sport/tennis/player1/#"));
    ck_assert(matches("sport/tennis/player1/ranking", "sport/tennis/player1/#"));
    ck_assert(matches("sport/tennis/player1/score/wimbledon", "sport/tennis/player1/#"));
    ck_assert(matches("sport", "sport/#"));
    ck_assert(matches("sport/tennis", "#"));
    ck_assert(matches("sport/tennis/player1", "sport/tennis/+"));
    ck_assert(!matches("sport/tennis/player1/ranking", "sport/tennis/+"));
    ck_assert(!matches("sport", "sport/+"));
    ck_assert(matches("sport/", "sport/+"));
    ck_assert(matches("/finance", "+/+"));
    ck_assert(matches("/finance", "/+"));
    ck_assert(!matches("/finance", "+"));
}
END_TEST

/* [MQTT-4.7.2-1] */
START_TEST(a_leading_wildcard_does_not_see_dollar_topics)
{
    ck_assert(!matches("$SYS/x", "#"));
    ck_assert(!matches("$SYS/x", "+/x"));
    ck_assert(!matches("$SYS", "+"));
    ck_assert(matches("$SYS/x", "$SYS/#"));
    ck_assert(matches("$SYS/x", "$SYS/+"));
    ck_assert(matches("a/$x", "a/+"));
    ck_assert(matches("a/$x", "#"));
    ck_assert(matches("/$x", "+/+"));
}
END_TEST

START_TEST(matching_is_byte_by_byte)
{
    ck_assert(!matches("A", "a"));
    ck_assert(!matches("a", "a/"));
    ck_assert(!matches("a/", "a"));
    ck_assert(!matches("/a", "a"));
    ck_assert(!matches("a//b", "a/b"));
    ck_assert(matches("a//b", "a/+/b"));
    ck_assert(matches("/", "/#"));
    ck_assert(matches("/", "+/#"));
    ck_assert(!matches("\xc3\xa9", "e\xcc\x81")); /* [MQTT-4.7.3-4]: composed, decomposed */
}
END_TEST

/* The definition, level by level and recursive: slow and plainly right. */
static bool reference_matches(const char *const *topic, size_t topic_count,
                              const char *const *filter, size_t filter_count)
{
    if (filter_count == 0) {
        return topic_count == 0;
    }
    if (strcmp(filter[0], "#") == 0) {
        return true;
    }
    if (topic_count == 0) {
        return false;
    }
    return (strcmp(filter[0], "+") == 0 || strcmp(filter[0], topic[0]) == 0) &&
           reference_matches(topic + 1, topic_count - 1, filter + 1, filter_count - 1);
}

static gv_bytes_t join(const char *const *levels, size_t count, char *room, size_t room_size)
{
    gv_writer_t w = gv_writer(room, room_size);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            gv_writer_u8(&w, '/');
        }
        gv_writer_put(&w, gv_bytes_text(levels[i]));
    }
    ck_assert(!w.failed);
    return gv_bytes(room, room_size - gv_writer_left(&w));
}

START_TEST(random_filters_match_as_by_the_reference)
{
    static const char *const words[] = {"", "a", "b", "ab", "$a", "a$"};
    enum {
        WORDS = sizeof(words) / sizeof(words[0]),
        LEVELS = 5,
        ROUNDS = 200000
    };
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    int matched = 0;
    for (int round = 0; round < ROUNDS; round++) {
        const char *topic[LEVELS];
        const char *filter[LEVELS];
        size_t topic_count = 1 + gv_rng_below(&rng, LEVELS);
        size_t filter_count = 1 + gv_rng_below(&rng, LEVELS);
        for (size_t i = 0; i < topic_count; i++) {
            topic[i] = words[gv_rng_below(&rng, WORDS)];
        }
        for (size_t i = 0; i < filter_count; i++) {
            filter[i] = gv_rng_chance(&rng, 50) ? "+"
                        : i < topic_count       ? topic[i]
                                                : words[gv_rng_below(&rng, WORDS)];
        }
        if (gv_rng_chance(&rng, 30)) {
            filter[filter_count - 1] = "#";
        }
        char topic_room[64];
        char filter_room[64];
        gv_bytes_t t = join(topic, topic_count, topic_room, sizeof(topic_room));
        gv_bytes_t f = join(filter, filter_count, filter_room, sizeof(filter_room));
        if (t.size == 0 || f.size == 0) {
            continue; /* not a topic, not a filter */
        }
        bool hidden = t.data[0] == '$' && (f.data[0] == '+' || f.data[0] == '#');
        bool expected = !hidden && reference_matches(topic, topic_count, filter, filter_count);
        ck_assert_msg(gv_mqtt_topic_matches(t, f) == expected, "topic '%.*s' filter '%.*s'",
                      (int)t.size, topic_room, (int)f.size, filter_room);
        matched += expected;
    }
    ck_assert_int_gt(matched, ROUNDS / 20); /* both answers were met often */
    ck_assert_int_lt(matched, ROUNDS - ROUNDS / 20);
}
END_TEST

START_TEST(matching_the_empty_topic_aborts)
{
    ck_assert(!gv_mqtt_topic_matches(GV_BYTES_EMPTY, GV_BYTES_LITERAL("#")));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("topic");
    tcase_add_test(tc, names_are_strings_without_wildcards);
    tcase_add_test(tc, names_have_up_to_65535_bytes_and_any_number_of_levels);
    tcase_add_test(tc, wildcards_fill_their_level);
    tcase_add_test(tc, filters_are_strings);
    tcase_add_test(tc, only_a_whole_first_level_makes_a_share);
    tcase_add_test(tc, filters_have_up_to_65535_bytes);
    tcase_add_test(tc, an_empty_level_is_a_level);
    tcase_add_test(tc, the_examples_of_the_standard_match);
    tcase_add_test(tc, a_leading_wildcard_does_not_see_dollar_topics);
    tcase_add_test(tc, matching_is_byte_by_byte);
    tcase_add_test(tc, random_filters_match_as_by_the_reference);
    tcase_add_test_raise_signal(tc, matching_the_empty_topic_aborts, SIGABRT);

    Suite *suite = suite_create("proto/mqtt");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
