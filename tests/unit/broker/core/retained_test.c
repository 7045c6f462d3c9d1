/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/retained.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "proto/mqtt/topic.h"
#include "tests/unit/seed.h"

static void set_until(gv_retained_t *table, const char *topic, const char *payload,
                      uint64_t expires_at_ms)
{
    gv_publish_t publish = {.topic = gv_bytes_text(topic),
                            .payload = gv_bytes_text(payload),
                            .expires_at_ms = expires_at_ms};
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_retained_set(table, kept);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&kept);
}

static void set(gv_retained_t *table, const char *topic, const char *payload)
{
    set_until(table, topic, payload, 0);
}

static size_t count_matches(const gv_retained_t *table, const char *filter)
{
    gv_retained_found_t found = {0};
    gv_retained_match(table, gv_bytes_text(filter), &found);
    for (size_t i = 0; i < found.count; i++) {
        ck_assert(
            gv_mqtt_topic_matches(gv_publish_of(found.messages[i]).topic, gv_bytes_text(filter)));
        gv_msgbuf_unref(&found.messages[i]);
    }
    gv_free(found.messages);
    return found.count;
}

START_TEST(the_last_one_stays_until_it_is_removed)
{
    gv_retained_t table;
    gv_retained_init(&table, 1);
    set(&table, "a/b", "old");
    set(&table, "a/b", "new");
    ck_assert_uint_eq(table.count, 1);
    gv_msgbuf_t *kept = gv_retained_find(&table, GV_BYTES_LITERAL("a/b"));
    ck_assert(gv_bytes_equal(gv_publish_of(kept).payload, GV_BYTES_LITERAL("new")));
    ck_assert_ptr_null(gv_retained_find(&table, GV_BYTES_LITERAL("a")));
    ck_assert(gv_retained_remove(&table, GV_BYTES_LITERAL("a/b")));
    ck_assert(!gv_retained_remove(&table, GV_BYTES_LITERAL("a/b")));
    ck_assert(!gv_retained_remove(&table, GV_BYTES_LITERAL("a")));
    ck_assert_uint_eq(table.count, 0);
    ck_assert_uint_eq(table.bytes, 0);
    gv_retained_deinit(&table);
}
END_TEST

START_TEST(wildcards_find_what_they_should)
{
    gv_retained_t table;
    gv_retained_init(&table, 1);
    static const char *const topics[] = {"a", "a/b", "a/c", "a/b/c", "/a", "a/", "$SYS/x", "b"};
    for (size_t i = 0; i < 8; i++) {
        set(&table, topics[i], "x");
    }
    ck_assert_uint_eq(count_matches(&table, "#"), 7);
    ck_assert_uint_eq(count_matches(&table, "+"), 2);
    ck_assert_uint_eq(count_matches(&table, "a/#"), 5);
    ck_assert_uint_eq(count_matches(&table, "a/+"), 3);
    ck_assert_uint_eq(count_matches(&table, "+/+"), 4);
    ck_assert_uint_eq(count_matches(&table, "$SYS/#"), 1);
    ck_assert_uint_eq(count_matches(&table, "+/x"), 0);
    ck_assert_uint_eq(count_matches(&table, "a/b"), 1);
    gv_retained_deinit(&table);
}
END_TEST

START_TEST(agrees_with_matching_every_topic)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_retained_t table;
    gv_retained_init(&table, gv_rng_u64(&rng));
    bool is_set[64] = {false};
    char topics[64][16];
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(topics[i], sizeof(topics[i]), "%u/%u/%u", i / 16, i / 4 % 4, i % 4);
    }
    static const char *const filters[] = {"#", "1/#", "+/2/+", "0/+/3", "3/3/3", "+/+", "2/1/#"};
    for (int step = 0; step < 2000; step++) {
        uint32_t i = gv_rng_below(&rng, 64);
        if (gv_rng_chance(&rng, 50)) {
            set(&table, topics[i], "x");
            is_set[i] = true;
        } else {
            ck_assert_int_eq(gv_retained_remove(&table, gv_bytes_text(topics[i])), is_set[i]);
            is_set[i] = false;
        }
        const char *filter = filters[gv_rng_below(&rng, 7)];
        size_t expected = 0;
        for (unsigned n = 0; n < 64; n++) {
            expected +=
                is_set[n] && gv_mqtt_topic_matches(gv_bytes_text(topics[n]), gv_bytes_text(filter));
        }
        ck_assert_uint_eq(count_matches(&table, filter), expected);
    }
    gv_retained_deinit(&table);
}
END_TEST

/* Takes what has expired; it has to be exactly what `until` says, which is then cleared. */
static void check_expired(gv_retained_t *table, uint64_t until[64], uint64_t now_ms)
{
    uint64_t before_ms = 0;
    for (gv_msgbuf_t *kept; (kept = gv_retained_take_expired(table, now_ms)) != NULL;) {
        gv_publish_t publish = gv_publish_of(kept);
        unsigned i = publish.payload.data[0];
        ck_assert_uint_eq(publish.expires_at_ms, until[i]);
        ck_assert_uint_ge(publish.expires_at_ms, before_ms);
        before_ms = publish.expires_at_ms;
        until[i] = 0;
        gv_msgbuf_unref(&kept);
    }
    uint64_t next_ms = UINT64_MAX;
    for (unsigned i = 0; i < 64; i++) {
        ck_assert(until[i] == 0 || until[i] > now_ms);
        next_ms = until[i] != 0 && until[i] < next_ms ? until[i] : next_ms;
    }
    ck_assert_uint_eq(gv_retained_next_expiry(table), next_ms);
}

START_TEST(what_expires_is_taken_out_in_its_order)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_retained_t table;
    gv_retained_init(&table, gv_rng_u64(&rng));
    uint64_t until[64] = {0}; /* 0: never, or there is none */
    for (uint64_t now_ms = 1; now_ms < 5000; now_ms++) {
        char topic[16];
        unsigned i = 1 + gv_rng_below(&rng, 63);
        (void)snprintf(topic, sizeof(topic), "%u/%u", i / 8, i % 8);
        char payload[2] = {(char)i, 0};
        uint32_t what = gv_rng_below(&rng, 4);
        if (what == 0) {
            (void)gv_retained_remove(&table, gv_bytes_text(topic));
            until[i] = 0;
        } else {
            until[i] = what == 1 ? 0 : now_ms + gv_rng_below(&rng, 100);
            set_until(&table, topic, payload, until[i]);
        }
        check_expired(&table, until, now_ms);
    }
    gv_retained_deinit(&table);
}
END_TEST

/* ---- a slice at a time ----------------------------------------------------------------------- */

static struct {
    const char *filter;
    size_t count;
    size_t in_slice;
    size_t slice_max; /* 0: any number */
} shown;

static bool on_message(gv_msgbuf_t *kept, void *arg)
{
    gv_bytes_t topic = gv_publish_of(kept).topic;
    int *marks = arg;
    ck_assert(gv_mqtt_topic_matches(topic, gv_bytes_text(shown.filter)));
    if (shown.slice_max != 0 && shown.in_slice == shown.slice_max) {
        return false;
    }
    shown.in_slice++;
    shown.count++;
    if (marks != NULL) {
        marks[gv_publish_of(kept).payload.data[0]]++;
    }
    return true;
}

/* Returns how many slices it took. */
static int walk(const gv_retained_t *table, const char *filter, uint32_t visits_max,
                size_t slice_max, int *marks)
{
    gv_retained_walk_t way = {.filter = gv_bytes_text(filter)};
    shown.filter = filter;
    shown.count = 0;
    shown.slice_max = slice_max;
    int slices = 0;
    bool is_end = false;
    while (!is_end) {
        ck_assert_int_lt(slices++, 10000);
        shown.in_slice = 0;
        is_end = gv_retained_walk_on(table, &way, visits_max, on_message, marks);
    }
    gv_retained_walk_deinit(&way);
    return slices;
}

START_TEST(slices_find_what_a_search_finds)
{
    gv_retained_t table;
    gv_retained_init(&table, test_seed(__func__));
    static const char *const topics[] = {"a",   "a/b", "a/c", "a/b/c", "/a",  "a/",  "$SYS/x",
                                         "b",   "/",   "//",  "a//c",  "b/c", "b/d", "b/e",
                                         "b/f", "c/1", "c/2", "c/3",   "c/4", "c/5"};
    static const char *const filters[] = {"#",     "+",    "a/#", "a/+",  "+/+", "$SYS/#",
                                          "+/x",   "a/b",  "/",   "/#",   "+/",  "a/+/c",
                                          "+/b/#", "nope", "//",  "+/+/+"};
    for (size_t i = 0; i < sizeof(topics) / sizeof(topics[0]); i++) {
        set(&table, topics[i], "x");
    }
    for (size_t i = 0; i < sizeof(filters) / sizeof(filters[0]); i++) {
        size_t expected = count_matches(&table, filters[i]);
        for (uint32_t visits_max = 1; visits_max < 100; visits_max = visits_max * 2 + 1) {
            for (size_t slice_max = 0; slice_max < 3; slice_max++) {
                (void)walk(&table, filters[i], visits_max, slice_max, NULL);
                ck_assert_msg(shown.count == expected, "%s: %zu instead of %zu, %u visits",
                              filters[i], shown.count, expected, visits_max);
            }
        }
    }
    ck_assert_int_eq(walk(&table, "#", 1000, 0, NULL), 1);
    ck_assert_int_ge(walk(&table, "#", 1, 0, NULL), (int)shown.count);
    gv_retained_deinit(&table);
}
END_TEST

START_TEST(what_stays_is_found_while_others_go)
{
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    for (int round = 0; round < 300; round++) {
        gv_retained_t table;
        gv_retained_init(&table, gv_rng_u64(&rng));
        int marks[64] = {0};
        bool is_set[64];
        char topics[64][16];
        for (unsigned i = 0; i < 64; i++) {
            char payload[] = {(char)i, '\0', 'x'};
            (void)snprintf(topics[i], sizeof(topics[i]), "%u/%u/%u", i / 16, i / 4 % 4, i % 4);
            gv_publish_t publish = {.topic = gv_bytes_text(topics[i]),
                                    .payload = gv_bytes(payload, sizeof(payload))};
            gv_msgbuf_t *kept = NULL;
            ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
            gv_retained_set(&table, kept);
            gv_publish_done(&publish);
            gv_msgbuf_unref(&kept);
            is_set[i] = true;
        }
        gv_retained_walk_t way = {.filter = GV_BYTES_LITERAL("#")};
        shown.filter = "#";
        shown.slice_max = 0;
        int slices = 0;
        while (!gv_retained_walk_on(&table, &way, 3, on_message, marks)) {
            ck_assert_int_lt(slices++, 1000);
            uint32_t i = gv_rng_below(&rng, 64);
            ck_assert_int_eq(gv_retained_remove(&table, gv_bytes_text(topics[i])), is_set[i]);
            is_set[i] = false;
        }
        for (unsigned i = 0; i < 64; i++) {
            ck_assert(!is_set[i] || marks[i] >= 1);
        }
        gv_retained_walk_deinit(&way);
        gv_retained_deinit(&table);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("retained");
    tcase_add_test(tc, the_last_one_stays_until_it_is_removed);
    tcase_add_test(tc, wildcards_find_what_they_should);
    tcase_add_test(tc, agrees_with_matching_every_topic);
    tcase_add_test(tc, what_expires_is_taken_out_in_its_order);
    tcase_add_test(tc, slices_find_what_a_search_finds);
    tcase_add_test(tc, what_stays_is_found_while_others_go);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
