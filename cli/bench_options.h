/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of `grapevine bench`.
 *
 * Life: gv_bench_options_parse() fills; the texts point into argv, there is nothing to release.
 * Threads: getopt_long() has global state: main thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/defs.h"
#include "base/err.h"
#include "proto/mqtt/packet.h"

typedef enum gv_bench_scenario {
    GV_BENCH_CONNECTIONS, /* connect as fast as possible, stay, say goodbye */
    GV_BENCH_IDLE,        /* the same with a subscription each: what does doing nothing cost? */
    GV_BENCH_SUBS,        /* many different subscriptions */
    GV_BENCH_FAN_IN,      /* many publishers, each its topic; every subscriber gets all */
    GV_BENCH_FAN_OUT,     /* one topic; every subscriber gets all */
    GV_BENCH_PAIRS,       /* each publisher has its subscriber */
    GV_BENCH_SHARED,      /* the subscribers are one shared group */
} gv_bench_scenario_t;

#define GV_BENCH_PIDS_MAX    16
#define GV_BENCH_TARGETS_MAX 64

typedef struct gv_bench_targets {
    const char *address[GV_BENCH_TARGETS_MAX]; /* as the user wrote them */
    size_t count;
} gv_bench_targets_t;

typedef struct gv_bench_options {
    bool is_help;
    bool is_json;
    bool is_quiet;
    gv_bench_scenario_t scenario;
    gv_bench_targets_t targets[2]; /* of publishers; of subscribers and idle connections */
    uint32_t publishers;
    uint32_t subscribers; /* or connections, in scenarios without messages */
    uint32_t subscriptions;
    uint32_t wildcard_percent;
    uint32_t batch; /* filters in one SUBSCRIBE */
    gv_mqtt_version_t version;
    uint8_t qos;
    uint32_t payload_size; /* [bytes] */
    uint32_t window;       /* messages of one publisher on the way; 0: any number (QoS 0 only) */
    uint32_t rate;         /* of all publishers together [1/s]; 0: as fast as possible */
    uint32_t duration_s;
    uint32_t warmup_s;
    uint32_t drain_s; /* how long to wait for messages that do not come any more */
    uint32_t threads;
    uint32_t concurrency; /* connections being made at a time */
    uint16_t keep_alive_s;
    bool is_persistent;   /* subscribers' sessions outlive their connections, for a minute */
    const char *username; /* NULL: none */
    const char *password;
    uint32_t pids[GV_BENCH_PIDS_MAX]; /* of the brokers */
    size_t pid_count;
} gv_bench_options_t;

/*
 * argv[0] is skipped.  GV_OK, or GV_ERR_INVAL with one line in *problem_out (gv_free).
 */
GV_MUST_USE gv_err_t gv_bench_options_parse(int argc, char *const *argv, gv_bench_options_t *out,
                                            char **problem_out);

/* "fan-in"; never NULL. */
const char *gv_bench_scenario_name(gv_bench_scenario_t scenario);

/* There are publishers. */
static inline bool gv_bench_has_messages(const gv_bench_options_t *options)
{
    return options->publishers > 0;
}

void gv_bench_print_help(FILE *out);
