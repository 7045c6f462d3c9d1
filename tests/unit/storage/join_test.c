/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/join_p.h"

#include <signal.h>

#include "base/rng.h"

#include "storage/batch_p.h"

#include "tests/unit/storage/fixture.h"

/*
 * Random lists of batches, small enough to try every subset of them: what is taken is compared with
 * the best of all closed sets.  A set is a mask of the batches' numbers.
 */

enum {
    LANES = 3,
    BATCHES_MAX = 9,
    JOINS_MAX = 5
};

typedef struct world {
    gv_rng_t rng;
    gv_store_lane_t lanes[LANES];
    gv_batch_t *batches[BATCHES_MAX];
    uint32_t count;
    uint32_t parts[JOINS_MAX];  /* masks of the batches that name a join */
    bool incomplete[JOINS_MAX]; /* one more is to come */
    gv_list_t waiting;
} world_t;

static uint32_t bit(uint32_t number)
{
    return 1U << number;
}

static void world_init(world_t *world, uint64_t seed)
{
    *world = (world_t){.count = 0};
    gv_rng_init(&world->rng, seed, 0);
    gv_list_init(&world->waiting);
    world->count = 1 + gv_rng_below(&world->rng, BATCHES_MAX);
    for (uint32_t b = 0; b < world->count; b++) {
        gv_batch_new(&world->batches[b]);
        world->batches[b]->lane = &world->lanes[gv_rng_below(&world->rng, LANES)];
        gv_batch_put(world->batches[b], GV_TABLE_RETAINED, text("key"), text("value"));
        gv_list_append(&world->waiting, &world->batches[b]->link);
    }
    uint32_t joins = gv_rng_below(&world->rng, JOINS_MAX + 1);
    for (uint32_t j = 0; j < joins; j++) {
        world->incomplete[j] = gv_rng_chance(&world->rng, 20);
        for (uint32_t n = 1 + gv_rng_below(&world->rng, 3); n > 0; n--) {
            world->parts[j] |= bit(gv_rng_below(&world->rng, world->count));
        }
        uint32_t parts = (uint32_t)__builtin_popcount(world->parts[j]) + world->incomplete[j];
        for (uint32_t b = 0; b < world->count; b++) {
            if (world->parts[j] & bit(b)) {
                gv_batch_join(world->batches[b], 1000 + j, parts);
                if (gv_rng_chance(&world->rng, 10)) {
                    gv_batch_join(world->batches[b], 1000 + j, parts); /* counts once */
                }
            }
        }
    }
}

static void world_deinit(world_t *world)
{
    for (uint32_t b = 0; b < world->count; b++) {
        gv_list_remove(&world->batches[b]->link);
        gv_batch_free(&world->batches[b]);
    }
}

/* Whether this part of `all` is closed, when what is not in `all` has been committed before. */
static bool is_closed(const world_t *world, uint32_t set, uint32_t all)
{
    for (uint32_t b = 0; b < world->count; b++) {
        for (uint32_t before = 0; before < b; before++) {
            bool same_lane = world->batches[before]->lane == world->batches[b]->lane;
            if (same_lane && (set & bit(b)) && (all & bit(before)) && !(set & bit(before))) {
                return false;
            }
        }
    }
    for (uint32_t j = 0; j < JOINS_MAX; j++) {
        uint32_t parts = world->parts[j] & set;
        if (parts != 0 && (parts != world->parts[j] || world->incomplete[j])) {
            return false;
        }
    }
    return true;
}

static uint32_t largest_closed(const world_t *world, uint32_t all)
{
    uint32_t largest = 0;
    for (uint32_t set = 1; set < bit(world->count); set++) {
        if ((set & ~all) == 0 && is_closed(world, set, all)) {
            largest |= set;
        }
    }
    return largest;
}

static uint32_t smallest_closed_with(const world_t *world, uint32_t number, uint32_t all)
{
    uint32_t smallest = all;
    for (uint32_t set = 1; set < bit(world->count); set++) {
        if ((set & bit(number)) && (set & ~all) == 0 && is_closed(world, set, all)) {
            smallest &= set;
        }
    }
    return smallest;
}

static uint32_t number_of(const world_t *world, const gv_link_t *link)
{
    uint32_t number = 0;
    while (&world->batches[number]->link != link) {
        number++;
        ck_assert_uint_lt(number, world->count);
    }
    return number;
}

/* The mask of a list; asserts that it is in order. */
static uint32_t mask_of(const world_t *world, const gv_list_t *list)
{
    uint32_t mask = 0;
    gv_list_foreach (list, link) {
        uint32_t number = number_of(world, link);
        ck_assert_uint_lt(mask, bit(number));
        mask |= bit(number);
    }
    return mask;
}

/* Everything that can go, or, cut short, a part of it with the oldest. */
static void assert_taken(const world_t *world, uint32_t taken, uint32_t largest, bool is_cut)
{
    ck_assert(is_closed(world, taken, bit(world->count) - 1));
    if (!is_cut) {
        ck_assert_uint_eq(taken, largest);
    } else {
        ck_assert_uint_ne(taken, 0);
        ck_assert_uint_ne(taken, largest);
        ck_assert_uint_eq(taken & ~largest, 0);
        uint32_t oldest = largest & (uint32_t) - (int32_t)largest;
        ck_assert_uint_ne(taken & oldest, 0);
    }
}

static size_t bytes_of(uint32_t set, size_t one)
{
    return (size_t)__builtin_popcount(set) * one;
}

/* Without the last that was taken, and what it needed, there was room for it. */
static bool is_frugal(const world_t *world, uint32_t taken, size_t one, size_t bytes_max)
{
    bool found = taken == 0;
    for (uint32_t b = 0; b < world->count && !found; b++) {
        uint32_t needed = taken & bit(b) ? smallest_closed_with(world, b, taken) : 0;
        found = needed != 0 && bytes_of(taken & ~needed, one) < bytes_max;
    }
    return found;
}

static void check_take(uint64_t seed)
{
    world_t world;
    world_init(&world, seed);
    uint32_t largest = largest_closed(&world, bit(world.count) - 1);
    size_t one = gv_batch_bytes(world.batches[0]);
    size_t bytes_max =
        gv_rng_chance(&world.rng, 50) ? SIZE_MAX : one * (1 + gv_rng_below(&world.rng, 5));
    gv_list_t group;
    gv_list_init(&group);
    bool is_cut = gv__join_take(&world.waiting, bytes_max, &group);
    uint32_t taken = mask_of(&world, &group);
    assert_taken(&world, taken, largest, is_cut);
    ck_assert(!is_cut || bytes_of(taken, one) >= bytes_max);
    ck_assert(is_frugal(&world, taken, one, bytes_max));
    ck_assert_uint_eq(mask_of(&world, &world.waiting), (bit(world.count) - 1) & ~taken);
    world_deinit(&world);
}

static void check_units(uint64_t seed)
{
    world_t world;
    world_init(&world, seed);
    gv_list_t group;
    gv_list_init(&group);
    (void)gv__join_take(&world.waiting, SIZE_MAX, &group);
    for (uint32_t left; (left = mask_of(&world, &group)) != 0;) {
        /* The oldest of a lane, any lane. */
        uint32_t number;
        do {
            number = gv_rng_below(&world.rng, world.count);
        } while (!(left & bit(number)));
        for (uint32_t b = world.count; b-- > 0;) {
            if ((left & bit(b)) && world.batches[b]->lane == world.batches[number]->lane) {
                number = b;
            }
        }
        gv_list_t unit_list;
        gv_list_init(&unit_list);
        gv__join_take_unit(&group, world.batches[number], &unit_list);
        uint32_t unit = mask_of(&world, &unit_list);
        ck_assert_uint_ne(unit, 0);
        ck_assert_uint_eq(unit & ~smallest_closed_with(&world, number, left), 0);
        for (uint32_t set = 1; set < unit; set++) {
            ck_assert((set & ~unit) != 0 || !is_closed(&world, set, left));
        }
        ck_assert(is_closed(&world, unit, left));
        ck_assert_uint_eq(mask_of(&world, &group), left & ~unit);
        while (gv_list_take_first(&unit_list) != NULL) {
        }
    }
    world_deinit(&world);
}

/* All that a batch is joined with, over any number of joins. */
static uint32_t joined_with(const world_t *world, uint32_t number)
{
    uint32_t set = bit(number);
    for (uint32_t before = 0; before != set;) {
        before = set;
        for (uint32_t j = 0; j < JOINS_MAX; j++) {
            set |= (world->parts[j] & set) != 0 ? world->parts[j] : 0;
        }
    }
    return set;
}

static void check_errors(uint64_t seed)
{
    world_t world;
    world_init(&world, seed);
    gv_list_t group;
    gv_list_init(&group);
    (void)gv__join_take(&world.waiting, SIZE_MAX, &group);
    uint32_t taken = mask_of(&world, &group);
    static const gv_err_t errors[] = {GV_OK, GV_OK, GV_OK, GV_ERR_FULL, GV_ERR_NOMEM};
    gv_err_t given[BATCHES_MAX];
    for (uint32_t b = 0; b < world.count; b++) {
        given[b] = errors[gv_rng_below(&world.rng, 5)];
        world.batches[b]->result = given[b];
    }
    gv__join_spread_errors(&group);
    for (uint32_t b = 0; b < world.count; b++) {
        gv_err_t expected = given[b];
        uint32_t joined = taken & bit(b) ? joined_with(&world, b) : 0;
        for (uint32_t other = 0; other < world.count && expected == GV_OK; other++) {
            expected = joined & bit(other) ? given[other] : GV_OK;
        }
        ck_assert_int_eq(world.batches[b]->result, expected);
    }
    while (gv_list_take_first(&group) != NULL) {
    }
    world_deinit(&world);
}

START_TEST(what_is_taken_is_the_largest_closed_set_or_the_oldest_part_of_it)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        check_take(seed);
    }
}
END_TEST

START_TEST(units_are_closed_and_have_no_smaller_ones_within)
{
    for (uint64_t seed = 0; seed < 1000; seed++) {
        check_units(seed);
    }
}
END_TEST

START_TEST(an_error_reaches_all_that_are_joined_and_nobody_else)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        check_errors(seed);
    }
}
END_TEST

static gv_batch_t *batch_on(gv_store_lane_t *lane, gv_list_t *list)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    batch->lane = lane;
    gv_list_append(list, &batch->link);
    return batch;
}

/* Two lanes that join crosswise: neither pair can go without the other. */
START_TEST(joins_across_the_order_of_lanes_are_one_unit)
{
    gv_store_lane_t a = {._pending_count = 0};
    gv_store_lane_t b = {._pending_count = 0};
    gv_list_t list;
    gv_list_init(&list);
    gv_batch_t *four[] = {batch_on(&a, &list), batch_on(&a, &list), batch_on(&b, &list),
                          batch_on(&b, &list)};
    gv_batch_join(four[0], 1, 2);
    gv_batch_join(four[3], 1, 2);
    gv_batch_join(four[1], 2, 2);
    gv_batch_join(four[2], 2, 2);
    gv_list_t unit;
    gv_list_init(&unit);
    gv__join_take_unit(&list, four[0], &unit);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_ptr_eq(gv_list_take_first(&unit), &four[i]->link);
        gv_batch_free(&four[i]);
    }
    ck_assert(gv_list_is_empty(&list));
}
END_TEST

/* As a busy node has them: every batch of a shard names joins with all other shards. */
START_TEST(many_batches_with_many_joins_are_taken_at_once)
{
    enum {
        SHARDS = 16,
        ROUNDS = 50,
        JOINS = 20
    };
    static gv_store_lane_t lanes[SHARDS];
    gv_list_t list;
    gv_list_t group;
    gv_list_init(&list);
    gv_list_init(&group);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        for (size_t s = 0; s < SHARDS; s++) {
            gv_batch_t *batch = batch_on(&lanes[s], &list);
            for (uint64_t j = 0; j < JOINS; j++) {
                gv_batch_join(batch, round * JOINS + j, SHARDS);
            }
        }
    }
    ck_assert(!gv__join_take(&list, SIZE_MAX, &group));
    ck_assert(gv_list_is_empty(&list));
    size_t count = 0;
    for (gv_link_t *link; (link = gv_list_take_first(&group)) != NULL; count++) {
        gv_batch_t *batch = gv_container_of(link, gv_batch_t, link);
        gv_batch_free(&batch);
    }
    ck_assert_uint_eq(count, SHARDS * ROUNDS);
}
END_TEST

START_TEST(all_parts_say_how_many_they_are)
{
    gv_store_lane_t lane = {._pending_count = 0};
    gv_list_t list;
    gv_list_t group;
    gv_list_init(&list);
    gv_list_init(&group);
    gv_batch_join(batch_on(&lane, &list), 1, 2);
    gv_batch_join(batch_on(&lane, &list), 1, 3);
    (void)gv__join_take(&list, SIZE_MAX, &group);
}
END_TEST

START_TEST(more_parts_than_said_are_a_mistake)
{
    gv_store_lane_t lane = {._pending_count = 0};
    gv_list_t list;
    gv_list_t group;
    gv_list_init(&list);
    gv_list_init(&group);
    for (int i = 0; i < 3; i++) {
        gv_batch_join(batch_on(&lane, &list), 1, 2);
    }
    (void)gv__join_take(&list, SIZE_MAX, &group);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("join");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, what_is_taken_is_the_largest_closed_set_or_the_oldest_part_of_it);
    tcase_add_test(tc, units_are_closed_and_have_no_smaller_ones_within);
    tcase_add_test(tc, an_error_reaches_all_that_are_joined_and_nobody_else);
    tcase_add_test(tc, joins_across_the_order_of_lanes_are_one_unit);
    tcase_add_test(tc, many_batches_with_many_joins_are_taken_at_once);
    tcase_add_test_raise_signal(tc, all_parts_say_how_many_they_are, SIGABRT);
    tcase_add_test_raise_signal(tc, more_parts_than_said_are_a_mistake, SIGABRT);
    return run_case("storage", tc);
}
