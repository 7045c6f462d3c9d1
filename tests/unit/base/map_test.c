/* SPDX-License-Identifier: Apache-2.0 */
#include "base/map.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "tests/unit/seed.h"

typedef struct thing {
    char key[40];
    bool in_map;
    int seen;
} thing_t;

static gv_bytes_t key_of(const void *value)
{
    return gv_bytes_text(((const thing_t *)value)->key);
}

/* Different lengths, for the hash has different ways for them. */
static void name_things(thing_t *things, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        things[i] = (thing_t){0};
        (void)snprintf(things[i].key, sizeof(things[i].key), "%.*s%u", (int)(i % 29),
                       "plant/seven/press/temperature", i);
    }
}

START_TEST(starts_without_memory_and_grows_at_seven_eighths)
{
    thing_t things[15];
    name_things(things, 15);
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    ck_assert_uint_eq(gv_map_bytes(&map), 0);
    ck_assert_ptr_null(gv_map_find(&map, key_of(&things[0])));
    ck_assert_ptr_null(gv_map_remove(&map, key_of(&things[0])));
    size_t cursor = 0;
    ck_assert_ptr_null(gv_map_next(&map, &cursor));

    static const size_t slots_expected[] = {8, 8, 8, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 32};
    for (size_t i = 0; i < 15; i++) {
        gv_map_add(&map, &things[i]);
        ck_assert_uint_eq(gv_map_bytes(&map), slots_expected[i] * 8);
        ck_assert_uint_eq(gv_map_count(&map), i + 1);
    }
    gv_map_deinit(&map);
}
END_TEST

START_TEST(finds_by_bytes_and_gives_back_what_it_removes)
{
    thing_t grape = {.key = "grape"};
    thing_t vine = {.key = "vine"};
    thing_t nothing = {.key = ""};
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    gv_map_add(&map, &grape);
    gv_map_add(&map, &vine);
    gv_map_add(&map, &nothing);
    ck_assert_ptr_eq(gv_map_find(&map, GV_BYTES_LITERAL("grape")), &grape);
    ck_assert_ptr_eq(gv_map_find(&map, GV_BYTES_EMPTY), &nothing);
    ck_assert_ptr_null(gv_map_find(&map, GV_BYTES_LITERAL("grap")));
    ck_assert_ptr_null(gv_map_find(&map, GV_BYTES_LITERAL("grape\0")));

    ck_assert_ptr_eq(gv_map_remove(&map, GV_BYTES_LITERAL("grape")), &grape);
    ck_assert_ptr_null(gv_map_remove(&map, GV_BYTES_LITERAL("grape")));
    ck_assert_ptr_null(gv_map_find(&map, GV_BYTES_LITERAL("grape")));
    ck_assert_ptr_eq(gv_map_find(&map, GV_BYTES_LITERAL("vine")), &vine);
    ck_assert_uint_eq(gv_map_count(&map), 2);
    gv_map_deinit(&map);
}
END_TEST

/* Keys with the same tag and the same home: only their bytes tell them apart. */
START_TEST(keys_with_equal_tags_are_told_apart)
{
    enum {
        COUNT = 4000
    };
    thing_t *things = calloc(COUNT, sizeof(*things));
    name_things(things, COUNT);
    static uint64_t hash[COUNT];
    int pairs = 0;
    for (int i = 0; i < COUNT; i++) {
        hash[i] = gv_bytes_hash(key_of(&things[i]), 1);
        for (int j = 0; j < i; j++) {
            uint64_t difference = hash[i] ^ hash[j];
            if (difference >> 48 != 0 || (difference & 7) != 0) {
                continue;
            }
            gv_map_t map;
            gv_map_init(&map, key_of, 1);
            gv_map_add(&map, &things[i]);
            ck_assert_ptr_null(gv_map_find(&map, key_of(&things[j])));
            gv_map_add(&map, &things[j]);
            ck_assert_ptr_eq(gv_map_find(&map, key_of(&things[i])), &things[i]);
            ck_assert_ptr_eq(gv_map_remove(&map, key_of(&things[j])), &things[j]);
            ck_assert_ptr_eq(gv_map_find(&map, key_of(&things[i])), &things[i]);
            gv_map_deinit(&map);
            pairs++;
        }
    }
    ck_assert_int_gt(pairs, 0); /* 4000^2 / 2 / 2^19 = 15 expected; the seed is fixed */
    free(things);
}
END_TEST

START_TEST(shrinks_at_an_add_but_never_at_a_removal)
{
    enum {
        COUNT = 1000
    };
    thing_t *things = calloc(COUNT, sizeof(*things));
    name_things(things, COUNT);
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    for (int i = 0; i < COUNT; i++) {
        gv_map_add(&map, &things[i]);
    }
    ck_assert_uint_eq(gv_map_bytes(&map), 2048 * 8);
    for (int i = 10; i < COUNT; i++) {
        ck_assert_ptr_nonnull(gv_map_remove(&map, key_of(&things[i])));
        ck_assert_uint_eq(gv_map_bytes(&map), 2048 * 8);
    }
    gv_map_add(&map, &things[10]);
    ck_assert_uint_eq(gv_map_bytes(&map), 64 * 8);
    for (int i = 0; i <= 10; i++) {
        ck_assert_ptr_eq(gv_map_remove(&map, key_of(&things[i])), &things[i]);
    }
    ck_assert_uint_eq(gv_map_bytes(&map), 0);
    gv_map_deinit(&map);
    free(things);
}
END_TEST

/* Adding and removing one value at any fill must not resize the array each time. */
START_TEST(size_does_not_swing_at_a_limit)
{
    enum {
        COUNT = 300
    };
    thing_t *things = calloc(COUNT + 1, sizeof(*things));
    name_things(things, COUNT + 1);
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    for (int i = 0; i < COUNT; i++) {
        gv_map_add(&map, &things[i]);
        gv_map_add(&map, &things[COUNT]);
        size_t bytes = gv_map_bytes(&map);
        for (int swing = 0; swing < 3; swing++) {
            (void)gv_map_remove(&map, key_of(&things[COUNT]));
            gv_map_add(&map, &things[COUNT]);
            ck_assert_uint_eq(gv_map_bytes(&map), bytes);
        }
        (void)gv_map_remove(&map, key_of(&things[COUNT]));
    }
    gv_map_deinit(&map);
    free(things);
}
END_TEST

/* The whole map is walked, each value once, and all is as the things say. */
static void assert_is_as_the_things_say(const gv_map_t *map, thing_t *things, unsigned count)
{
    size_t expected = 0;
    for (unsigned i = 0; i < count; i++) {
        things[i].seen = 0;
        expected += things[i].in_map;
    }
    ck_assert_uint_eq(gv_map_count(map), expected);
    size_t cursor = 0;
    for (thing_t *thing; (thing = gv_map_next(map, &cursor)) != NULL;) {
        thing->seen++;
    }
    ck_assert_ptr_null(gv_map_next(map, &cursor));
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(things[i].seen, things[i].in_map);
        ck_assert_ptr_eq(gv_map_find(map, key_of(&things[i])),
                         things[i].in_map ? &things[i] : NULL);
    }
}

START_TEST(behaves_like_a_set)
{
    enum {
        COUNT = 600
    };
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    thing_t *things = calloc(COUNT, sizeof(*things));
    name_things(things, COUNT);
    gv_map_t map;
    gv_map_init(&map, key_of, gv_rng_u64(&rng));
    uint32_t add_percent = 60;
    for (int round = 0; round < 30000; round++) {
        if (round % 1500 == 0) {
            add_percent = gv_rng_below(&rng, 101); /* let it swell and shrink */
        }
        thing_t *thing = &things[gv_rng_below(&rng, COUNT)];
        if (gv_rng_chance(&rng, add_percent)) {
            if (!thing->in_map) {
                gv_map_add(&map, thing);
                thing->in_map = true;
            }
        } else {
            ck_assert_ptr_eq(gv_map_remove(&map, key_of(thing)), thing->in_map ? thing : NULL);
            thing->in_map = false;
        }
        ck_assert_ptr_eq(gv_map_find(&map, key_of(thing)), thing->in_map ? thing : NULL);
        if (round % 100 == 0) {
            assert_is_as_the_things_say(&map, things, COUNT);
        }
    }
    gv_map_deinit(&map);
    free(things);
}
END_TEST

/*
 * Small, full arrays, where runs are long and go round the end: whatever is
 * removed on the way, each value that stays is seen.
 */
START_TEST(iteration_misses_nothing_when_values_are_removed_meanwhile)
{
    enum {
        COUNT = 14 /* of 16 slots: as full as it gets */
    };
    gv_rng_t rng;
    gv_rng_init(&rng, test_seed(__func__), 0);
    thing_t things[COUNT];
    name_things(things, COUNT);
    int seen_twice = 0;
    for (int round = 0; round < 20000; round++) {
        gv_map_t map;
        gv_map_init(&map, key_of, gv_rng_u64(&rng));
        unsigned count = 1 + gv_rng_below(&rng, COUNT);
        for (unsigned i = 0; i < count; i++) {
            things[i].in_map = true;
            things[i].seen = 0;
            gv_map_add(&map, &things[i]);
        }
        uint32_t remove_percent = gv_rng_below(&rng, 101);
        bool only_current = gv_rng_chance(&rng, 50);
        size_t cursor = 0;
        for (thing_t *thing; (thing = gv_map_next(&map, &cursor)) != NULL;) {
            ck_assert(thing->in_map);
            thing->seen++;
            while (gv_rng_chance(&rng, remove_percent)) {
                thing_t *gone = only_current ? thing : &things[gv_rng_below(&rng, count)];
                ck_assert_ptr_eq(gv_map_remove(&map, key_of(gone)), gone->in_map ? gone : NULL);
                gone->in_map = false;
                if (only_current || gv_map_count(&map) == 0) {
                    break;
                }
            }
        }
        for (unsigned i = 0; i < count; i++) {
            if (things[i].in_map) {
                ck_assert_int_ge(things[i].seen, 1);
            }
            if (only_current) {
                ck_assert_int_eq(things[i].seen, 1);
            }
            seen_twice += things[i].seen > 1;
        }
        gv_map_deinit(&map);
    }
    ck_assert_int_gt(seen_twice, 0); /* or the runs were too short to prove anything */
}
END_TEST

START_TEST(everything_can_be_removed_on_one_walk)
{
    enum {
        COUNT = 5000
    };
    thing_t *things = calloc(COUNT, sizeof(*things));
    name_things(things, COUNT);
    gv_map_t map;
    gv_map_init(&map, key_of, test_seed(__func__));
    for (int i = 0; i < COUNT; i++) {
        gv_map_add(&map, &things[i]);
    }
    int removed = 0;
    size_t cursor = 0;
    for (thing_t *thing; (thing = gv_map_next(&map, &cursor)) != NULL; removed++) {
        ck_assert_ptr_eq(gv_map_remove(&map, key_of(thing)), thing);
    }
    ck_assert_int_eq(removed, COUNT);
    ck_assert_uint_eq(gv_map_bytes(&map), 0);
    gv_map_deinit(&map);
    free(things);
}
END_TEST

/* A simulated run must repeat: the order may not know where in
 * memory the values are. */
START_TEST(order_depends_on_seed_and_history_only)
{
    enum {
        COUNT = 500
    };
    thing_t *first = calloc(COUNT, sizeof(*first));
    thing_t *second = calloc(COUNT * 3, sizeof(*second));
    name_things(first, COUNT);
    gv_map_t map[2];
    gv_map_init(&map[0], key_of, 42);
    gv_map_init(&map[1], key_of, 42);
    for (int i = 0; i < COUNT; i++) {
        thing_t *copy = &second[(i * 7 % COUNT) * 3];
        memcpy(copy, &first[i], sizeof(*copy));
        gv_map_add(&map[0], &first[i]);
        gv_map_add(&map[1], copy);
    }
    for (int i = 0; i < COUNT; i += 3) {
        (void)gv_map_remove(&map[0], key_of(&first[i]));
        (void)gv_map_remove(&map[1], key_of(&first[i]));
    }
    size_t cursor[2] = {0, 0};
    const thing_t *a;
    do {
        a = gv_map_next(&map[0], &cursor[0]);
        const thing_t *b = gv_map_next(&map[1], &cursor[1]);
        ck_assert_int_eq(a == NULL, b == NULL);
        if (a != NULL && b != NULL) {
            ck_assert_str_eq(a->key, b->key);
        }
    } while (a != NULL);
    gv_map_deinit(&map[0]);
    gv_map_deinit(&map[1]);
    free(first);
    free(second);
}
END_TEST

START_TEST(adding_null_aborts)
{
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    gv_map_add(&map, NULL);
}
END_TEST

START_TEST(adding_to_a_deinitialised_map_aborts)
{
    gv_map_t map;
    thing_t thing = {.key = "grape"};
    gv_map_init(&map, key_of, 1);
    gv_map_deinit(&map);
    gv_map_add(&map, &thing);
}
END_TEST

START_TEST(a_pointer_over_48_bits_aborts)
{
    gv_map_t map;
    gv_map_init(&map, key_of, 1);
    gv_map_add(&map, (void *)(uintptr_t)0x0001000000000000U);
}
END_TEST

#ifdef GV_DEBUG
START_TEST(adding_a_key_twice_aborts_in_debug_builds)
{
    gv_map_t map;
    thing_t one = {.key = "grape"};
    thing_t two = {.key = "grape"};
    gv_map_init(&map, key_of, 1);
    gv_map_add(&map, &one);
    gv_map_add(&map, &two);
}
END_TEST
#endif

int main(void)
{
    TCase *tc = tcase_create("map");
    tcase_add_test(tc, starts_without_memory_and_grows_at_seven_eighths);
    tcase_add_test(tc, finds_by_bytes_and_gives_back_what_it_removes);
    tcase_add_test(tc, keys_with_equal_tags_are_told_apart);
    tcase_add_test(tc, shrinks_at_an_add_but_never_at_a_removal);
    tcase_add_test(tc, size_does_not_swing_at_a_limit);
    tcase_add_test(tc, behaves_like_a_set);
    tcase_add_test(tc, iteration_misses_nothing_when_values_are_removed_meanwhile);
    tcase_add_test(tc, everything_can_be_removed_on_one_walk);
    tcase_add_test(tc, order_depends_on_seed_and_history_only);
    tcase_add_test_raise_signal(tc, adding_null_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, adding_to_a_deinitialised_map_aborts, SIGABRT);
    tcase_add_test_raise_signal(tc, a_pointer_over_48_bits_aborts, SIGABRT);
#ifdef GV_DEBUG
    tcase_add_test_raise_signal(tc, adding_a_key_twice_aborts_in_debug_builds, SIGABRT);
#endif

    Suite *suite = suite_create("base");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
