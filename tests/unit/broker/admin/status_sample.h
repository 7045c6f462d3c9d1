/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A snapshot with something of everything, for the tests of its forms. */

#include "broker/admin/status.h"

static const char *const sample_reasons[] = {"tables are not synced"};
static const gv_status_drop_t sample_drops[] = {{"queue_full", 5}, {"expired", 0}};
static const gv_status_counter_t sample_counters[] = {
    {"forwards_sent_total", "Messages sent to other nodes.", false, 77},
    {"store_entries", "Entries of the store.", true, 8},
};
static const gv_status_memory_part_t sample_memory[] = {{"sessions", 800000}, {"other", 30000}};
static const gv_status_shard_t sample_shards[] = {
    {.connections = 2,
     .sessions = 3,
     .turns = 9,
     .turn_p50_ns = 1500,
     .turn_p99_ns = 2000001500,
     .lag_ns = 40000},
    {.connections = 1},
};
static const gv_status_listener_t sample_listeners[] = {
    {.url = "tcp://127.0.0.1:0", .port = 4711, .connections = 3}};
static const gv_status_view_t sample_views[] = {{.node = "n2",
                                                 .id = "bb",
                                                 .state = "suspect",
                                                 .is_linked = true,
                                                 .incarnation = 4,
                                                 .last_heard_ms = 120,
                                                 .rtt_us = 350,
                                                 .table_incarnation = 4,
                                                 .table_seq = 1000,
                                                 .table_hash = UINT64_C(0xfedcba9876543210),
                                                 .table_rows = 6}};
static const gv_status_node_t sample_nodes[] = {{.node = "n1",
                                                 .id = "aa",
                                                 .address = "127.0.0.1:7883",
                                                 .state = "alive",
                                                 .is_self = true,
                                                 .incarnation = 3,
                                                 .views = sample_views,
                                                 .view_count = 1,
                                                 .routes = 10},
                                                {.node = "n\"2\\",
                                                 .id = "bb",
                                                 .address = "127.0.0.1:7884",
                                                 .state = "suspect",
                                                 .relay = "n3",
                                                 .has_path = true,
                                                 .incarnation = 4,
                                                 .last_heard_ms = GV_STATUS_NEVER,
                                                 .routes = 6,
                                                 .route_bytes = 600,
                                                 .forward_queued_messages = 12,
                                                 .forward_queued_bytes = 1200,
                                                 .view_age_ms = GV_STATUS_NEVER}};

static const gv_status_t sample = {
    .node = "n1",
    .id = "aa",
    .version = "1.2.3",
    .incarnation = 3,
    .uptime_ms = 61500,
    .not_ready = sample_reasons,
    .not_ready_count = 1,
    .connections = 3,
    .connections_total = 30,
    .sessions = 4,
    .subscriptions = 5,
    .routes = 16,
    .retained = 6,
    .received = {100, 10, 1},
    .sent = {200, 20, 2},
    .received_bytes = 1234,
    .sent_bytes = UINT64_MAX,
    .drops = sample_drops,
    .drop_count = 2,
    .counters = sample_counters,
    .counter_count = 2,
    .shards = sample_shards,
    .shard_count = 2,
    .listeners = sample_listeners,
    .listener_count = 1,
    .log = {.live_bytes = 77, .head = 5, .tail = 9, .restored_ms = 12},
    .memory = {.state = "scarce",
               .is_scarce = true,
               .max_bytes = 1000000,
               .in_use_bytes = 830000,
               .resident_bytes = 900000,
               .scarce_times = 3,
               .critical_times = 1,
               .parts = sample_memory,
               .part_count = 2},
    .storage = {.sync = "commit",
                .promise = "on disk before it is acknowledged",
                .used_bytes = 4096,
                .limit_bytes = 6144,
                .oldest_reader_ns = 2500000,
                .max_bytes = 8192,
                .is_full = true,
                .batches_p50 = 17,
                .commit = {.p50_ns = 400000, .p99_ns = 5000000},
                .durable = {.p50_ns = 600000, .p99_ns = 7000000}},
    .cluster = "grapes",
    .nodes = sample_nodes,
    .node_count = 2,
};
