/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster/core/mesh.h"

/* When a node that has just started is in step with the others. */

enum {
    ROUTES = 20000, /* several pieces of a table */
    SOON_MS = 1000,
    LONG_MS = 10000,
};

static void start_with_seeds(mesh_t *mesh, size_t i, const char *const *seeds, size_t count)
{
    gv_ccore_options_t options;
    mesh_options(&mesh->node[i], &options);
    options.seeds = seeds;
    options.seed_count = count;
    mesh_start_with(&mesh->node[i], &options);
}

/* kill -9 and a start at once; n1 is its seed. */
static void restart(mesh_t *mesh, size_t i)
{
    static const char *const seeds[] = {"n1:1"};
    mesh_node_t *node = &mesh->node[i];
    mesh_kill(mesh, i, true);
    node->identity.incarnation.start_counter++;
    node->identity.incarnation.boot_id += 1000;
    node->rows = 0;
    start_with_seeds(mesh, i, seeds, 1);
}

static void set_many(mesh_t *mesh, size_t node, const char *prefix)
{
    for (uint32_t i = 0; i < ROUTES; i++) {
        char key[48];
        (void)snprintf(key, sizeof(key), "%s/%" PRIu32 "/+/sensor", prefix, i);
        mesh_set(mesh, node, key, 1);
    }
}

static bool has_arrived(const mesh_t *mesh, size_t i)
{
    return gv_ccore_has_arrived(mesh->node[i].core);
}

/* Steps until node i has arrived; how long that took, or UINT64_MAX after 10 s. */
static uint64_t until_arrived(mesh_t *mesh, size_t i)
{
    for (uint64_t ms = 0; ms <= LONG_MS; ms += MESH_STEP_MS) {
        if (has_arrived(mesh, i)) {
            return ms;
        }
        mesh_step(mesh);
    }
    return UINT64_MAX;
}

typedef bool unwanted_t(const mesh_frame_t *frame);

static bool is_digest(const mesh_frame_t *frame)
{
    return frame->kind == GV_FRAME_DIGEST;
}

static bool is_echo(const mesh_frame_t *frame)
{
    if (frame->kind != GV_FRAME_HEARTBEAT) {
        return false;
    }
    Gv__Heartbeat *heartbeat = gv__heartbeat__unpack(NULL, frame->size, frame->body);
    bool has_echo = heartbeat->echo != 0;
    gv__heartbeat__free_unpacked(heartbeat, NULL);
    return has_echo;
}

/* Runs for a second while some frames of a node do not get through. */
static void run_without(mesh_t *mesh, size_t from, unwanted_t *is_unwanted)
{
    for (uint64_t ms = 0; ms < SOON_MS; ms += MESH_STEP_MS) {
        gv_list_foreach_safe (&mesh->frames, link) {
            mesh_frame_t *frame = gv_container_of(link, mesh_frame_t, link);
            if (mesh->owner[frame->to ^ 1] == from && is_unwanted(frame)) {
                gv_list_remove(link);
                gv_free(frame);
            }
        }
        mesh_step(mesh);
    }
}

START_TEST(who_has_nobody_to_ask_is_there_at_once)
{
    static const char *const seeds[] = {"n1:1"};
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 0);
    ck_assert(has_arrived(mesh, 0));
    start_with_seeds(mesh, 1, seeds, 1); /* itself */
    ck_assert(has_arrived(mesh, 1));
    mesh_free(mesh);
}
END_TEST

START_TEST(a_seed_that_is_not_there_is_waited_for)
{
    static const char *const seeds[] = {"n0:1", "n1:1"};
    mesh_t *mesh = mesh_new();
    start_with_seeds(mesh, 0, seeds, 2);
    mesh_run(mesh, LONG_MS);
    ck_assert(!has_arrived(mesh, 0));
    start_with_seeds(mesh, 1, seeds, 2);
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    ck_assert_uint_le(until_arrived(mesh, 1), SOON_MS);
    mesh_free(mesh);
}
END_TEST

START_TEST(all_that_start_at_once_arrive_soon)
{
    static const char *const seeds[] = {"n0:1", "n1:1", "n2:1"};
    mesh_t *mesh = mesh_new();
    for (size_t i = 0; i < 3; i++) {
        start_with_seeds(mesh, i, seeds, 3);
        mesh_run(mesh, 50);
    }
    for (size_t i = 0; i < 3; i++) {
        ck_assert_uint_le(until_arrived(mesh, i), SOON_MS);
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(the_routes_of_all_who_live_are_waited_for)
{
    mesh_t *mesh = mesh_of(3);
    set_many(mesh, 1, "one");
    set_many(mesh, 2, "two");
    mesh_run(mesh, 1000);
    restart(mesh, 0);
    mesh_set(mesh, 0, "mine", 1);
    mesh->node[2].is_paused = true; /* slow to answer, as far as anybody knows */
    mesh_run(mesh, 500);
    ck_assert(gv_ccore_is_synced(mesh->node[0].core)); /* with the seed, which has told of n2 */
    ck_assert_uint_ge(mesh->node[0].rows, ROUTES);
    ck_assert(!has_arrived(mesh, 0));
    mesh->node[2].is_paused = false;
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    ck_assert_uint_eq(mesh->node[0].rows, 2 * ROUTES);
    for (size_t i = 1; i < 3; i++) {
        gv_node_index_t index = mesh_index(mesh, i, 0);
        ck_assert_uint_eq(gv_ccore_route_value(mesh->node[i].core, index, gv_bytes_text("mine")),
                          1);
        ck_assert(mesh_is_linked(mesh, i, 0)); /* its barriers wait for us */
    }
    mesh_free(mesh);
}
END_TEST

START_TEST(an_empty_table_is_one_too)
{
    mesh_t *mesh = mesh_of(3);
    restart(mesh, 0);
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(mesh_is_linked(mesh, 0, 2));
    mesh_free(mesh);
}
END_TEST

START_TEST(suspects_and_the_dead_are_not_waited_for)
{
    mesh_t *mesh = mesh_of(3);
    mesh_kill(mesh, 2, true);
    ck_assert_uint_eq(mesh_state(mesh, 1, 2), GV_MEMBER_SUSPECT);
    restart(mesh, 0);
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    ck_assert_uint_eq(mesh_state(mesh, 0, 2), GV_MEMBER_SUSPECT);
    ck_assert_uint_ne(mesh_until(mesh, 0, 2, GV_MEMBER_DEAD), UINT64_MAX);
    restart(mesh, 0);
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    ck_assert_uint_eq(mesh_state(mesh, 0, 2), GV_MEMBER_DEAD);
    mesh_free(mesh);
}
END_TEST

START_TEST(a_relay_is_a_way_too)
{
    mesh_t *mesh = mesh_of(3);
    set_many(mesh, 2, "two");
    mesh_run(mesh, 1000);
    mesh_cut(mesh, 0, 2, true);
    restart(mesh, 0);
    mesh_set(mesh, 0, "mine", 1);
    ck_assert_uint_le(until_arrived(mesh, 0), 3 * SOON_MS);
    ck_assert(!mesh_is_linked(mesh, 0, 2));
    ck_assert_uint_eq(mesh->node[0].rows, ROUTES);
    gv_node_index_t index = mesh_index(mesh, 2, 0);
    ck_assert_uint_eq(gv_ccore_route_value(mesh->node[2].core, index, gv_bytes_text("mine")), 1);
    mesh_free(mesh);
}
END_TEST

START_TEST(each_has_to_say_whom_it_knows)
{
    mesh_t *mesh = mesh_of(3);
    restart(mesh, 0);
    run_without(mesh, 2, is_digest);
    ck_assert(gv_ccore_is_synced(mesh->node[0].core));
    ck_assert(mesh_is_linked(mesh, 0, 2));
    ck_assert(!has_arrived(mesh, 0));
    ck_assert_uint_le(until_arrived(mesh, 0), 3 * SOON_MS); /* with some digest of these seconds */
    mesh_free(mesh);
}
END_TEST

START_TEST(a_link_has_to_work_for_the_other_too)
{
    mesh_t *mesh = mesh_of(2);
    restart(mesh, 0);
    run_without(mesh, 0, is_echo);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(!mesh_is_linked(mesh, 1, 0)); /* its barriers would not wait for us */
    ck_assert(!has_arrived(mesh, 0));
    ck_assert_uint_le(until_arrived(mesh, 0), SOON_MS);
    mesh_free(mesh);
}
END_TEST

/* n1 has just started as well, and knows nobody. */
START_TEST(who_answers_first_may_not_know_the_others)
{
    static const char *const seeds[] = {"n1:1", "n2:1"};
    mesh_t *mesh = mesh_new();
    mesh_start(mesh, 1);
    start_with_seeds(mesh, 0, seeds, 2);
    gv_ccore_tick(mesh->node[0].core, mesh->now_ms);
    ck_assert_uint_eq(mesh->dial_count, 2);
    ck_assert_str_eq(mesh->dial[1].address, "n2:1");
    mesh->dial_count = 1; /* the second dial takes its time */
    mesh_run(mesh, SOON_MS);
    ck_assert(mesh_is_linked(mesh, 0, 1));
    ck_assert(!has_arrived(mesh, 0));
    gv_ccore_dial_failed(mesh->node[0].core, mesh->dial[1].token);
    ck_assert(has_arrived(mesh, 0));
    mesh_free(mesh);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("arrival");
    tcase_add_test(tc, who_has_nobody_to_ask_is_there_at_once);
    tcase_add_test(tc, a_seed_that_is_not_there_is_waited_for);
    tcase_add_test(tc, all_that_start_at_once_arrive_soon);
    tcase_add_test(tc, the_routes_of_all_who_live_are_waited_for);
    tcase_add_test(tc, an_empty_table_is_one_too);
    tcase_add_test(tc, suspects_and_the_dead_are_not_waited_for);
    tcase_add_test(tc, a_relay_is_a_way_too);
    tcase_add_test(tc, each_has_to_say_whom_it_knows);
    tcase_add_test(tc, a_link_has_to_work_for_the_other_too);
    tcase_add_test(tc, who_answers_first_may_not_know_the_others);
    return mesh_run_tests(tc);
}
