/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/sim/sim.h"

/*
 * sim: runs whole clusters, one per seed.
 *
 *     sim [--seeds A-B] [--nodes N] [--break RULE] [--expect-failure] [--once] [--verbose]
 *
 * A run: nodes start - chaos (faults and work) - everything is healed - it must converge - calm, in
 * which routes, barriers and publishes must work at once - the gone are forgotten - checks.  Each
 * seed is run twice and must take the same course (--once: once).
 *
 * --break leaves out one of the rules the cluster lives by (--break list names them).  With
 * --expect-failure the program succeeds when at least one of the seeds fails: that is how the tests
 * show that the checks would notice.
 */

#define SETTLE_MS   3000U
#define HEAL_MS     10500U
#define CALM_MS     2500U
#define CALM_ROUNDS 3U
#define FORGET_MS   2000U /* less than it takes to be held for dead, twice */

typedef struct options {
    uint64_t first_seed;
    uint64_t last_seed;
    size_t nodes; /* 0: by seed */
    const char *rule;
    bool expects_failure;
    bool is_once;
    bool is_verbose;
} options_t;

/* ---- rules that can be broken
 * --------------------------------------------------------------------- */

#define RULES(X)                                          \
    X(relay_answering, no_relay_answers)                  \
    X(snapshot_replaces, snapshot_merges)                 \
    X(refute, no_refute)                                  \
    X(delta_gap_refused, accept_delta_across_gap)         \
    X(tombstones_raise_floor, tombstones_keep_floor)      \
    X(purge_resets_version, purge_keeps_version)          \
    X(dedupe, no_dedupe)                                  \
    X(confirm_after_applied, confirm_on_receipt)          \
    X(refusal_is_told, refusals_are_forgotten)            \
    X(refusal_is_repeated, answers_once)                  \
    X(overdue_asks_once, asks_twice)                      \
    X(rewind, no_rewind)                                  \
    X(barrier_waits, barrier_ignores_peers)               \
    X(barrier_waits_for_relayed, barrier_ignores_relayed) \
    X(waking_trusts_nothing, barrier_trusts_the_past)     \
    X(relays_give_notice, no_notices)                     \
    X(late_tick_forgives, ignore_late_tick)               \
    X(death_hides, dead_stays_routable)                   \
    X(forgetting_is_told, forgets_alone)

static bool break_rule(sim_world_t *world, const char *rule)
{
    if (strcmp(rule, "restart_new_incarnation") == 0) {
        world->restart_keeps_incarnation = true;
        return true;
    }
#define X(name, field)                \
    if (strcmp(rule, #name) == 0) {   \
        world->switches.field = true; \
        return true;                  \
    }
    RULES(X)
#undef X
    return false;
}

static void list_rules(void)
{
#define X(name, field) (void)printf("%s\n", #name);
    RULES(X)
#undef X
    (void)printf("restart_new_incarnation\n");
}

/* ---- one run
 * -------------------------------------------------------------------------------------- */

static void on_calm_work(sim_world_t *world, const sim_event_t *event)
{
    sim_node_t *node = &world->nodes[event->node];
    sim_set_random_route(node);
    sim_ask_barrier(node);
    sim_publish_to_all(node);
}

static void converge(sim_world_t *world)
{
    uint64_t until_ms = world->now_ms + SIM_DRAIN_MS;
    const char *wrong = "";
    while (!world->has_failed && world->now_ms < until_ms && wrong != NULL) {
        sim_run_until(world, world->now_ms + 100);
        wrong = sim_unconverged(world);
    }
    if (wrong != NULL) {
        sim_fail(world, "does not converge: %s", wrong);
    }
}

static void be_calm(sim_world_t *world)
{
    world->is_calm = true;
    if (world->barrier_count > SIM_BARRIERS_MAX - CALM_ROUNDS * SIM_NODES_MAX) {
        world->barrier_count = SIM_BARRIERS_MAX - CALM_ROUNDS * SIM_NODES_MAX;
    }
    for (size_t i = 0; i < world->node_count; i++) {
        sim_node_t *node = &world->nodes[i];
        for (uint64_t round = 0; round < CALM_ROUNDS && sim_node_is_up(node); round++) {
            sim_after(world, 1 + i + round * (CALM_MS / (CALM_ROUNDS + 1)),
                      (sim_event_t){.run = on_calm_work, .node = i, .life = node->life});
        }
    }
    sim_run_until(world, world->now_ms + CALM_MS);
    const char *wrong = world->has_failed ? NULL : sim_unconverged(world);
    if (wrong != NULL) {
        sim_fail(world, "not calm any more: %s", wrong);
    }
}

static void on_forget(sim_world_t *world, const sim_event_t *event)
{
    while (sim_forget_someone(&world->nodes[event->node])) {
    }
}

/*
 * One node is told to forget all that are gone, while another does not hear anybody.  In the end
 * nobody knows them any more, and nobody learns of them again.
 */
static void forget_the_gone(sim_world_t *world)
{
    size_t here = sim_any_node_up(world);
    size_t away = sim_any_node_up(world);
    for (size_t i = 0; i < world->node_count && away != here; i++) {
        if (i != away) {
            sim_cut(world, i, away);
            sim_cut(world, away, i);
        }
    }
    sim_after(world, 1,
              (sim_event_t){.run = on_forget, .node = here, .life = world->nodes[here].life});
    sim_run_until(world, world->now_ms + FORGET_MS / 2);
    for (size_t i = 0; i < world->node_count && away != here; i++) {
        if (i != away) {
            sim_heal(world, i, away);
            sim_heal(world, away, i);
        }
    }
    sim_run_until(world, world->now_ms + FORGET_MS);
    const char *wrong = world->has_failed ? NULL : sim_remembered(world);
    if (wrong != NULL) {
        sim_fail(world, "%s", wrong);
    }
}

/* Returns the running hash. */
static uint64_t run_seed(sim_world_t *world, const options_t *options, uint64_t seed)
{
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 5);
    size_t nodes = options->nodes != 0 ? options->nodes : 3 + gv_rng_below(&rng, 7);
    sim_world_init(world, seed, nodes);
    world->is_verbose = options->is_verbose;
    if (options->rule != NULL && !break_rule(world, options->rule)) {
        (void)fprintf(stderr, "sim: no rule '%s' (see --break list)\n", options->rule);
        exit(2);
    }
    for (size_t i = 0; i < nodes; i++) {
        sim_node_start(&world->nodes[i], SIM_RESTART_NORMAL);
    }
    sim_run_until(world, world->now_ms + SETTLE_MS);
    sim_faults_begin(world);
    sim_workload_begin(world);
    sim_run_until(world, world->now_ms + SIM_CHAOS_MS);
    sim_faults_end(world);
    sim_run_until(world, world->now_ms + HEAL_MS);
    converge(world);
    if (!world->has_failed) {
        be_calm(world);
    }
    if (!world->has_failed) {
        forget_the_gone(world);
    }
    if (!world->has_failed) {
        sim_check_end(world);
    }
    return world->hash;
}

/* ---- the program
 * ---------------------------------------------------------------------------------- */

/* What the nodes of the end have counted: whether the run has met the rare paths at all. */
static void print_counts(const sim_world_t *world)
{
    gv_ccore_stats_t sum = {.frames_bad = 0};
    for (size_t i = 0; i < world->node_count; i++) {
        if (sim_node_is_up(&world->nodes[i])) {
            const gv_ccore_stats_t *stats = gv_ccore_stats(world->nodes[i].core);
            sum.refutations += stats->refutations;
            sum.wakeups_late += stats->wakeups_late;
            sum.table_snapshots += stats->table_snapshots;
            sum.table_pieces_refused += stats->table_pieces_refused;
            sum.barriers_late += stats->barriers_late;
            sum.table_notices_sent += stats->table_notices_sent;
            sum.forwards_delivered += stats->forwards_delivered;
            sum.forwards_resent += stats->forwards_resent;
            sum.forwards_repeated += stats->forwards_repeated;
            sum.forwards_relayed += stats->forwards_relayed;
            sum.forwards_gone += stats->forwards_gone;
            sum.forwards_refused_full += stats->forwards_refused_full;
            sum.forwards_refused_there += stats->forwards_refused_there;
            sum.forwards_returned += stats->forwards_returned;
            sum.qos0_dropped_incomplete += stats->qos0_dropped_incomplete;
            sum.qos0_dropped_no_credit += stats->qos0_dropped_no_credit;
        }
    }
    (void)printf("refutations %" PRIu64 ", late wake-ups %" PRIu64 ", snapshots %" PRIu64
                 ", gaps %" PRIu64 ", notices %" PRIu64 ", late barriers %" PRIu64
                 ", delivered %" PRIu64 ", resent %" PRIu64 ", repeated %" PRIu64
                 ", relayed %" PRIu64 ", gone %" PRIu64 ", full %" PRIu64 ", refused %" PRIu64
                 ", returned %" PRIu64 ", incomplete %" PRIu64 ", no credit %" PRIu64 "\n",
                 sum.refutations, sum.wakeups_late, sum.table_snapshots, sum.table_pieces_refused,
                 sum.table_notices_sent, sum.barriers_late, sum.forwards_delivered,
                 sum.forwards_resent, sum.forwards_repeated, sum.forwards_relayed,
                 sum.forwards_gone, sum.forwards_refused_full, sum.forwards_refused_there,
                 sum.forwards_returned, sum.qos0_dropped_incomplete, sum.qos0_dropped_no_credit);
}

static bool run_and_report(sim_world_t *world, const options_t *options, uint64_t seed)
{
    uint64_t hash = run_seed(world, options, seed);
    bool has_failed = world->has_failed;
    if (options->is_verbose) {
        (void)printf("seed %" PRIu64 ": %zu nodes, %zu publishes, %zu barriers, %" PRIu64
                     " restarts, hash %016" PRIx64 "\n",
                     seed, world->node_count, world->publish_count, world->barrier_count,
                     world->restarts, hash);
        print_counts(world);
    }
    if (has_failed) {
        (void)printf("seed %" PRIu64 " failed %s\nrepeat with: sim --seeds %" PRIu64 "-%" PRIu64,
                     seed, world->failure, seed, seed);
        if (options->nodes != 0) {
            (void)printf(" --nodes %zu", options->nodes);
        }
        if (options->rule != NULL) {
            (void)printf(" --break %s", options->rule);
        }
        (void)printf(" --verbose\n");
    }
    sim_world_deinit(world);
    if (has_failed || options->is_once) {
        return !has_failed;
    }
    uint64_t again = run_seed(world, options, seed);
    sim_world_deinit(world);
    if (again != hash) {
        (void)printf("seed %" PRIu64 " took another course the second time\n", seed);
    }
    return again == hash;
}

static bool parse(int argc, char **argv, options_t *options)
{
    *options = (options_t){.first_seed = 1, .last_seed = 20};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--once") == 0) {
            options->is_once = true;
        } else if (strcmp(argv[i], "--verbose") == 0) {
            options->is_verbose = true;
        } else if (strcmp(argv[i], "--expect-failure") == 0) {
            options->expects_failure = true;
        } else if (strcmp(argv[i], "--seeds") == 0 && value != NULL) {
            char *end = NULL;
            options->first_seed = strtoull(value, &end, 10);
            options->last_seed = *end == '-' ? strtoull(end + 1, NULL, 10) : options->first_seed;
            i++;
        } else if (strcmp(argv[i], "--nodes") == 0 && value != NULL) {
            options->nodes = strtoul(value, NULL, 10);
            i++;
        } else if (strcmp(argv[i], "--break") == 0 && value != NULL) {
            options->rule = value;
            i++;
        } else {
            return false;
        }
    }
    return options->nodes == 0 || (options->nodes >= 3 && options->nodes <= SIM_NODES_MAX);
}

int main(int argc, char **argv)
{
    options_t options;
    if (!parse(argc, argv, &options)) {
        (void)fprintf(stderr,
                      "usage: sim [--seeds A-B] [--nodes 3..%u] [--break RULE|list] "
                      "[--expect-failure] [--once] [--verbose]\n",
                      SIM_NODES_MAX);
        return 2;
    }
    if (options.rule != NULL && strcmp(options.rule, "list") == 0) {
        list_rules();
        return 0;
    }
    sim_world_t *world = gv_xalloc(sizeof(*world));
    uint64_t run_count = 0;
    uint64_t failed_count = 0;
    for (uint64_t seed = options.first_seed; seed <= options.last_seed; seed++) {
        run_count++;
        failed_count += run_and_report(world, &options, seed) ? 0 : 1;
        if (options.expects_failure && failed_count > 0) {
            break;
        }
    }
    gv_free(world);
    (void)printf("%" PRIu64 " seeds run, %" PRIu64 " failed\n", run_count, failed_count);
    return (failed_count > 0) == options.expects_failure ? 0 : 1;
}
