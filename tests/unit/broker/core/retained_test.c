/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/retained.h"

#include <stdio.h>
#include <stdlib.h>

#include <check.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "proto/mqtt/topic.h"
#include "tests/unit/seed.h"

static gv_retained_common_t common;

/* Stamps rise by one. */
static gv_stamp_t next_stamp(void)
{
    static uint64_t hlc;
    return (gv_stamp_t){.hlc = ++hlc, .node = {1}};
}

static void set_until(gv_retained_t *table, const char *topic, const char *payload,
                      uint64_t expires_at_ms)
{
    gv_publish_t publish = {.topic = gv_bytes_text(topic),
                            .payload = gv_bytes_text(payload),
                            .expires_at_ms = expires_at_ms};
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_stamp_t stamp = next_stamp();
    gv_retained_set(table, kept, &stamp);
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
    gv_retained_init(&table, 1, &common);
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
    gv_retained_init(&table, 1, &common);
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
    gv_retained_init(&table, gv_rng_u64(&rng), &common);
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
    gv_stamp_t stamp;
    for (gv_msgbuf_t *kept; (kept = gv_retained_take_expired(table, now_ms, &stamp)) != NULL;) {
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
    gv_retained_init(&table, gv_rng_u64(&rng), &common);
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
    gv_retained_init(&table, test_seed(__func__), &common);
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
        gv_retained_init(&table, gv_rng_u64(&rng), &common);
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
            gv_stamp_t stamp = next_stamp();
            gv_retained_set(&table, kept, &stamp);
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

START_TEST(a_tombstone_is_known_and_not_found)
{
    gv_retained_t table;
    gv_retained_init(&table, 1, &common);
    set(&table, "a/b", "x");
    set(&table, "a/b", "");
    set(&table, "a/c", "y");
    ck_assert_uint_eq(table.count, 1);
    ck_assert_ptr_null(gv_retained_find(&table, GV_BYTES_LITERAL("a/b")));
    ck_assert_uint_eq(count_matches(&table, "#"), 1);
    gv_retained_write_t write;
    ck_assert(gv_retained_look(&table, GV_BYTES_LITERAL("a/b"), &write));
    ck_assert(write.is_tombstone);
    ck_assert(gv_bytes_equal(gv_publish_of(write.kept).topic, GV_BYTES_LITERAL("a/b")));
    ck_assert(!gv_retained_look(&table, GV_BYTES_LITERAL("a"), &write));
    ck_assert_uint_eq(gv_retained_tombstones(&table), 1);
    ck_assert(!gv_retained_remove(&table, GV_BYTES_LITERAL("a/b"))); /* it was no message */
    ck_assert_uint_eq(gv_retained_tombstones(&table), 0);
    ck_assert(!gv_retained_look(&table, GV_BYTES_LITERAL("a/b"), &write));
    gv_retained_deinit(&table);
}
END_TEST

/* Only what this node says about itself has none: nodes do not compare it. */
START_TEST(what_has_no_stamp_is_in_no_bucket)
{
    static gv_retained_common_t own;
    gv_retained_common_init(&own, 0);
    gv_retained_t table;
    gv_retained_init(&table, 1, &own);
    gv_publish_t publish = {.topic = GV_BYTES_LITERAL("$SYS/x"), .payload = GV_BYTES_LITERAL("1")};
    gv_msgbuf_t *kept = NULL;
    ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
    gv_stamp_t none = {.hlc = 0};
    gv_retained_set(&table, kept, &none);
    gv_publish_done(&publish);
    gv_msgbuf_unref(&kept);
    for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
        gv_retained_write_t write;
        ck_assert_ptr_null(gv_retained_bucket_next(&table, i, NULL, &write));
        ck_assert_uint_eq(own.sums[i], 0);
    }
    gv_retained_deinit(&table);
}
END_TEST

/* Everything a table says of its writes agrees with a list of them. */
static void check_writes(const gv_retained_t *table, const gv_stamp_t *stamps,
                         const bool *is_tombstone, char topics[][16], unsigned count)
{
    unsigned known = 0;
    unsigned tombstones = 0;
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < count; i++) {
        known += stamps[i].hlc != 0;
        if (stamps[i].hlc != 0 && is_tombstone[i]) {
            tombstones++;
            oldest = stamps[i].hlc < oldest ? stamps[i].hlc : oldest;
        }
        gv_retained_write_t write;
        bool is_known = gv_retained_look(table, gv_bytes_text(topics[i]), &write);
        ck_assert_int_eq(is_known, stamps[i].hlc != 0);
        ck_assert(!is_known || gv_stamp_compare(&write.stamp, &stamps[i]) == 0);
        ck_assert(!is_known || write.is_tombstone == is_tombstone[i]);
    }
    ck_assert_uint_eq(gv_retained_tombstones(table), tombstones);
    ck_assert_uint_eq(table->count, known - tombstones);
    gv_retained_write_t write;
    for (unsigned i = 0; i < tombstones; i++) {
        write = gv_retained_tombstone_at(table, i);
        ck_assert(write.is_tombstone);
        ck_assert(i > 0 ? write.stamp.hlc > oldest : write.stamp.hlc == oldest);
    }
    for (uint32_t bucket = 0; bucket < GV_RETAINED_BUCKETS; bucket++) {
        for (gv_link_t *link = NULL;
             (link = gv_retained_bucket_next(table, bucket, link, &write)) != NULL;) {
            gv_bytes_t topic = gv_publish_of(write.kept).topic;
            ck_assert_uint_eq(gv_retained_bucket(topic, common.seed), bucket);
            known--;
        }
    }
    ck_assert_uint_eq(known, 0);
}

/* Two tables get the same writes, and others that are taken back, in another order. */
START_TEST(equal_writes_have_equal_sums_whatever_their_order)
{
    static gv_retained_common_t others;
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    gv_retained_common_init(&common, 0);
    gv_retained_common_init(&others, 0);
    gv_retained_t table;
    gv_retained_t other;
    gv_retained_init(&table, 1, &common);
    gv_retained_init(&other, 2, &others);
    gv_stamp_t stamps[64] = {{0}};
    bool is_tombstone[64] = {false};
    char topics[64][16];
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(topics[i], sizeof(topics[i]), "%u/%u/%u", i / 16, i / 4 % 4, i % 4);
    }
    for (int step = 0; step < 3000; step++) {
        uint32_t i = gv_rng_below(&rng, 64);
        if (gv_rng_chance(&rng, 20)) {
            (void)gv_retained_remove(&table, gv_bytes_text(topics[i]));
            stamps[i] = (gv_stamp_t){.hlc = 0};
        } else {
            is_tombstone[i] = gv_rng_chance(&rng, 40);
            set(&table, topics[i], is_tombstone[i] ? "" : "x");
            gv_retained_write_t write;
            ck_assert(gv_retained_look(&table, gv_bytes_text(topics[i]), &write));
            stamps[i] = write.stamp;
        }
        if (step % 100 == 0) {
            check_writes(&table, stamps, is_tombstone, topics, 64);
        }
    }
    for (unsigned n = 0; n < 64; n++) {
        unsigned i = n * 13 % 64;
        gv_publish_t publish = {.topic = gv_bytes_text(topics[i]),
                                .payload = gv_bytes_text(is_tombstone[i] ? "" : "x")};
        gv_msgbuf_t *kept = NULL;
        ck_assert_int_eq(gv_publish_keep(&publish, &kept), GV_OK);
        set(&other, topics[i], "something else");
        if (stamps[i].hlc != 0) {
            gv_retained_set(&other, kept, &stamps[i]);
        } else {
            (void)gv_retained_remove(&other, gv_bytes_text(topics[i]));
        }
        gv_publish_done(&publish);
        gv_msgbuf_unref(&kept);
    }
    for (uint32_t bucket = 0; bucket < GV_RETAINED_BUCKETS; bucket++) {
        ck_assert_uint_eq(common.sums[bucket], others.sums[bucket]);
    }
    set(&other, topics[5], "one more");
    uint32_t bucket = gv_retained_bucket(gv_bytes_text(topics[5]), others.seed);
    ck_assert_uint_ne(common.sums[bucket], others.sums[bucket]);
    gv_retained_deinit(&table);
    gv_retained_deinit(&other);
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
    tcase_add_test(tc, a_tombstone_is_known_and_not_found);
    tcase_add_test(tc, what_has_no_stamp_is_in_no_bucket);
    tcase_add_test(tc, equal_writes_have_equal_sums_whatever_their_order);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
