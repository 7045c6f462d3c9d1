/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_plan.h"

#include <inttypes.h>
#include <stdio.h>

/* One filter in `subs` has a plus or a hash, in turns; a level in front spreads them a little. */
#define FILTERS_PER_SITE 100

typedef enum wildcard {
    NONE,
    PLUS,
    HASH
} wildcard_t;

/* The wildcards are spread evenly: of the numbers 0 .. 99 the given percentage has one. */
static wildcard_t wildcard_of(const gv_bench_options_t *options, uint32_t filter)
{
    uint64_t before = (uint64_t)filter * options->wildcard_percent / 100;
    uint64_t after = ((uint64_t)filter + 1) * options->wildcard_percent / 100;
    if (after == before) {
        return NONE;
    }
    return after % 2 == 0 ? PLUS : HASH;
}

static const char *print_subs(const gv_bench_plan_t *plan, uint32_t filter, const char *middle,
                              const char *last, char *out)
{
    (void)snprintf(out, GV_BENCH_TOPIC_SIZE, "bench/%s/site%" PRIu32 "/%s/%" PRIu32 "/%s",
                   plan->run, filter / FILTERS_PER_SITE, middle, filter, last);
    return out;
}

const char *gv_bench_plan_topic(const gv_bench_plan_t *plan, uint32_t publisher, char *out)
{
    gv_bench_scenario_t scenario = plan->options->scenario;
    if (scenario == GV_BENCH_SUBS) {
        return print_subs(plan, publisher, "device", "state", out);
    }
    uint32_t number = scenario == GV_BENCH_FAN_OUT ? 0 : publisher;
    (void)snprintf(out, GV_BENCH_TOPIC_SIZE, "bench/%s/%" PRIu32, plan->run, number);
    return out;
}

gv_bench_range_t gv_bench_plan_filters(const gv_bench_plan_t *plan, uint32_t subscriber)
{
    const gv_bench_options_t *options = plan->options;
    if (options->scenario == GV_BENCH_CONNECTIONS) {
        return (gv_bench_range_t){.first = 0, .count = 0};
    }
    if (options->scenario != GV_BENCH_SUBS) {
        return (gv_bench_range_t){.first = subscriber, .count = 1};
    }
    uint64_t total = options->subscriptions;
    uint32_t first = (uint32_t)(total * subscriber / options->subscribers);
    uint32_t end = (uint32_t)(total * (subscriber + 1) / options->subscribers);
    return (gv_bench_range_t){.first = first, .count = end - first};
}

const char *gv_bench_plan_filter(const gv_bench_plan_t *plan, uint32_t filter, char *out)
{
    gv_bench_scenario_t scenario = plan->options->scenario;
    if (scenario == GV_BENCH_SUBS) {
        wildcard_t wildcard = wildcard_of(plan->options, filter);
        return print_subs(plan, filter, wildcard == PLUS ? "+" : "device",
                          wildcard == HASH ? "#" : "state", out);
    }
    if (scenario == GV_BENCH_PAIRS || scenario == GV_BENCH_IDLE) {
        (void)snprintf(out, GV_BENCH_TOPIC_SIZE, "bench/%s/%" PRIu32, plan->run, filter);
    } else if (scenario == GV_BENCH_FAN_OUT) {
        (void)snprintf(out, GV_BENCH_TOPIC_SIZE, "bench/%s/0", plan->run);
    } else {
        (void)snprintf(out, GV_BENCH_TOPIC_SIZE, "%sbench/%s/+",
                       scenario == GV_BENCH_SHARED ? "$share/bench/" : "", plan->run);
    }
    return out;
}

gv_bench_range_t gv_bench_plan_sources(const gv_bench_plan_t *plan, uint32_t subscriber)
{
    if (plan->options->scenario == GV_BENCH_PAIRS) {
        return (gv_bench_range_t){.first = subscriber, .count = 1};
    }
    return (gv_bench_range_t){.first = 0, .count = plan->options->publishers};
}

uint32_t gv_bench_plan_copies(const gv_bench_plan_t *plan)
{
    gv_bench_scenario_t scenario = plan->options->scenario;
    bool is_to_all = scenario == GV_BENCH_FAN_IN || scenario == GV_BENCH_FAN_OUT;
    return is_to_all ? plan->options->subscribers : 1;
}

uint32_t gv_bench_plan_filter_count(const gv_bench_plan_t *plan)
{
    const gv_bench_options_t *options = plan->options;
    if (options->scenario == GV_BENCH_CONNECTIONS) {
        return 0;
    }
    return options->scenario == GV_BENCH_SUBS ? options->subscriptions : options->subscribers;
}
