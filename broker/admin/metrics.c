/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/metrics.h"

#include <inttypes.h>
#include <string.h>

/* One family: its HELP and TYPE lines; the samples follow. */
static void begin(gv_text_t *out, const char *name, const char *type, const char *help)
{
    gv_text_add(out, "# HELP grapevine_%s %s\n# TYPE grapevine_%s %s\n", name, help, name, type);
}

static void one(gv_text_t *out, const char *name, bool is_gauge, const char *help, uint64_t value)
{
    begin(out, name, is_gauge ? "gauge" : "counter", help);
    gv_text_add(out, "grapevine_%s %" PRIu64 "\n", name, value);
}

/* A label's value: \ " and line ends are escaped [Prometheus, exposition formats]. */
static void put_label(gv_text_t *out, const char *key, const char *value)
{
    gv_text_add(out, "%s=\"", key);
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\n') {
            gv_text_add(out, "\\n");
        } else {
            gv_text_add(out, "%s%c", *p == '\\' || *p == '"' ? "\\" : "", *p);
        }
    }
    gv_text_add(out, "\"");
}

static void labelled(gv_text_t *out, const char *name, const char *key, const char *label,
                     uint64_t value)
{
    gv_text_add(out, "grapevine_%s{", name);
    put_label(out, key, label);
    gv_text_add(out, "} %" PRIu64 "\n", value);
}

static void put_seconds(gv_text_t *out, uint64_t ns)
{
    gv_text_add(out, " %" PRIu64 ".%09" PRIu64 "\n", ns / 1000000000U, ns % 1000000000U);
}

static void put_node(gv_text_t *out, const gv_status_t *status)
{
    begin(out, "build_info", "gauge", "Version and name of this node.");
    gv_text_add(out, "grapevine_build_info{");
    put_label(out, "node", status->node);
    gv_text_add(out, ",");
    put_label(out, "version", status->version);
    gv_text_add(out, "} 1\n");
    one(out, "ready", true, "1 when the node serves clients.", status->not_ready_count == 0);
    begin(out, "uptime_seconds", "gauge", "Time since the start.");
    gv_text_add(out, "grapevine_uptime_seconds");
    put_seconds(out, status->uptime_ms * 1000000U);
    one(out, "incarnation", true, "Number of starts of this node.", status->incarnation);
    one(out, "connections", true, "Clients connected now.", status->connections);
    one(out, "connections_total", false, "Clients connected since the start.",
        status->connections_total);
    one(out, "connections_refused_total", false, "Clients refused.", status->connections_refused);
    one(out, "sessions", true, "Sessions, with and without a connection.", status->sessions);
    one(out, "subscriptions", true, "Subscriptions of all sessions.", status->subscriptions);
    one(out, "routes", true, "Routes this node knows, its own and those of others.",
        status->routes);
    one(out, "retained_messages", true, "Retained messages.", status->retained);
    one(out, "queued_messages", true, "Messages waiting for sessions.", status->queued_messages);
}

static void put_by_qos(gv_text_t *out, const char *name, const uint64_t counts[3])
{
    labelled(out, name, "qos", "0", counts[0]);
    labelled(out, name, "qos", "1", counts[1]);
    labelled(out, name, "qos", "2", counts[2]);
}

static void put_traffic(gv_text_t *out, const gv_status_t *status)
{
    begin(out, "messages_received_total", "counter", "PUBLISH packets from clients.");
    put_by_qos(out, "messages_received_total", status->received);
    begin(out, "messages_sent_total", "counter", "PUBLISH packets to clients.");
    put_by_qos(out, "messages_sent_total", status->sent);
    one(out, "received_bytes_total", false, "Bytes from clients.", status->received_bytes);
    one(out, "sent_bytes_total", false, "Bytes to clients.", status->sent_bytes);
    begin(out, "messages_dropped_total", "counter", "Messages that were dropped, by reason.");
    for (size_t i = 0; i < status->drop_count; i++) {
        labelled(out, "messages_dropped_total", "reason", status->drops[i].reason,
                 status->drops[i].count);
    }
    for (size_t i = 0; i < status->counter_count; i++) {
        const gv_status_counter_t *counter = &status->counters[i];
        one(out, counter->name, counter->is_gauge, counter->help, counter->value);
    }
}

static void put_turn(gv_text_t *out, size_t shard, const char *quantile, uint64_t ns)
{
    gv_text_add(out, "grapevine_loop_turn_seconds{shard=\"%zu\",quantile=\"%s\"}", shard, quantile);
    put_seconds(out, ns);
}

static void put_shards(gv_text_t *out, const gv_status_t *status)
{
    begin(out, "loop_turn_seconds", "gauge",
          "Working time of a loop's turn since the start, by quantile.");
    for (size_t i = 0; i < status->shard_count; i++) {
        put_turn(out, i, "0.5", status->shards[i].turn_p50_ns);
        put_turn(out, i, "0.99", status->shards[i].turn_p99_ns);
    }
    begin(out, "loop_lag_seconds", "gauge", "Longest recent turn: how long an event may wait.");
    for (size_t i = 0; i < status->shard_count; i++) {
        gv_text_add(out, "grapevine_loop_lag_seconds{shard=\"%zu\"}", i);
        put_seconds(out, status->shards[i].lag_ns);
    }
    begin(out, "shard_connections", "gauge", "Clients connected now, by shard.");
    for (size_t i = 0; i < status->shard_count; i++) {
        gv_text_add(out, "grapevine_shard_connections{shard=\"%zu\"} %" PRIu64 "\n", i,
                    status->shards[i].connections);
    }
}

static void put_times(gv_text_t *out, const char *name, const char *help,
                      const gv_status_times_t *times)
{
    begin(out, name, "histogram", help);
    for (unsigned i = 0; i < GV_STATUS_TIME_BUCKETS; i++) {
        gv_text_add(out, "grapevine_%s_bucket{le=\"%.9f\"} %" PRIu64 "\n", name,
                    (double)((uint64_t)1 << (GV_STATUS_TIME_FIRST + i)) / 1e9, times->below[i]);
    }
    gv_text_add(out, "grapevine_%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, times->count);
    gv_text_add(out, "grapevine_%s_sum", name);
    put_seconds(out, times->sum_ns);
    gv_text_add(out, "grapevine_%s_count %" PRIu64 "\n", name, times->count);
}

static void put_memory(gv_text_t *out, const gv_status_memory_t *memory)
{
    begin(out, "memory_bytes", "gauge", "Memory in use, by what it is for.");
    for (size_t i = 0; i < memory->part_count; i++) {
        labelled(out, "memory_bytes", "kind", memory->parts[i].kind, memory->parts[i].bytes);
    }
    one(out, "memory_in_use_bytes", true, "Memory in use.", memory->in_use_bytes);
    one(out, "memory_max_bytes", true, "Most memory this node may use; 0: no limit.",
        memory->max_bytes);
    one(out, "memory_resident_bytes", true, "Memory of the process as the system counts it.",
        memory->resident_bytes);
    one(out, "memory_scarce", true, "1 when new clients, subscriptions and the like are refused.",
        memory->is_scarce);
    one(out, "memory_critical", true, "1 when clients that hold much are disconnected.",
        memory->is_critical);
    one(out, "memory_scarce_total", false, "How often memory became scarce.", memory->scarce_times);
    one(out, "memory_critical_total", false, "How often memory became critical.",
        memory->critical_times);
}

static void put_storage(gv_text_t *out, const gv_status_storage_t *storage)
{
    one(out, "storage_used_bytes", true, "Disk space the store uses.", storage->used_bytes);
    one(out, "storage_limit_bytes", true, "Above it new messages are refused.",
        storage->limit_bytes);
    one(out, "storage_max_bytes", true, "Disk space the store may use.", storage->max_bytes);
    one(out, "storage_full", true, "1 when new messages are refused for want of room.",
        storage->is_full);
    one(out, "storage_waiting_batches", true, "Changes that wait for the writer.",
        storage->waiting_batches);
    one(out, "storage_batches_per_commit", true, "Batches that share a commit, median.",
        storage->batches_p50);
    put_times(out, "storage_commit_seconds", "A transaction with its sync.", &storage->commit);
    put_times(out, "storage_durable_seconds", "From a batch's submission to its durability.",
              &storage->durable);
    put_times(out, "storage_load_seconds", "Reading what is not in memory.", &storage->load);
    begin(out, "storage_oldest_reader_seconds", "gauge",
          "Age of the oldest read transaction, which keeps pages from being used again.");
    gv_text_add(out, "grapevine_storage_oldest_reader_seconds");
    put_seconds(out, storage->oldest_reader_ns);
}

static void put_log(gv_text_t *out, const gv_status_log_t *log)
{
    one(out, "queued_bytes", true, "Messages of persistent sessions, waiting or unacknowledged.",
        log->queued_bytes);
    one(out, "log_pending_bytes", true, "Bytes that are not durable yet.", log->pending_bytes);
    one(out, "log_segments", true, "Segments of the message log.", log->segments);
    one(out, "log_head", true, "Number of its oldest segment; 0: there is none.", log->head);
    one(out, "log_tail", true, "Number of its newest segment.", log->tail);
    one(out, "log_bytes", true, "Bytes of the message log.", log->bytes);
    one(out, "log_live_bytes", true, "Of these, still needed (estimate).", log->live_bytes);
    one(out, "log_memory_bytes", true, "Segments kept in memory.", log->memory_bytes);
    one(out, "log_cleaned_segments_total", false, "Segments written anew to make room.",
        log->cleaned_segments);
}

/* A family with one sample per other node of the cluster. */
static void put_peers(gv_text_t *out, const gv_status_t *status, const char *name, const char *help,
                      uint64_t (*value_of)(const gv_status_node_t *node))
{
    begin(out, name, "gauge", help);
    for (size_t i = 0; i < status->node_count; i++) {
        if (!status->nodes[i].is_self) {
            labelled(out, name, "peer", status->nodes[i].node, value_of(&status->nodes[i]));
        }
    }
}

static uint64_t is_alive(const gv_status_node_t *node)
{
    return strcmp(node->state, "alive") == 0;
}

static uint64_t is_linked(const gv_status_node_t *node)
{
    return node->is_linked;
}

static uint64_t rtt_us(const gv_status_node_t *node)
{
    return node->rtt_us;
}

static uint64_t routes(const gv_status_node_t *node)
{
    return node->routes;
}

static uint64_t queued_messages(const gv_status_node_t *node)
{
    return node->forward_queued_messages;
}

static uint64_t queued_bytes(const gv_status_node_t *node)
{
    return node->forward_queued_bytes;
}

static uint64_t outbox_messages(const gv_status_node_t *node)
{
    return node->outbox_messages;
}

static uint64_t outbox_bytes(const gv_status_node_t *node)
{
    return node->outbox_bytes;
}

static void put_cluster(gv_text_t *out, const gv_status_t *status)
{
    one(out, "cluster_nodes", true, "Members of the cluster that this node knows.",
        status->node_count);
    put_peers(out, status, "peer_alive", "1 when this node holds the other for alive.", is_alive);
    put_peers(out, status, "peer_link_up", "1 when there is a working link to the other.",
              is_linked);
    put_peers(out, status, "peer_rtt_microseconds", "Round trip to the other; 0: not measured.",
              rtt_us);
    put_peers(out, status, "peer_routes", "Routes of the other that this node holds.", routes);
    put_peers(out, status, "peer_queued_messages", "Messages waiting here for the other.",
              queued_messages);
    put_peers(out, status, "peer_queued_bytes", "Bytes waiting here for the other.", queued_bytes);
    put_peers(out, status, "peer_outbox_messages", "Messages on disk here for the other.",
              outbox_messages);
    put_peers(out, status, "peer_outbox_bytes", "Bytes of them.", outbox_bytes);
}

void gv_metrics_put(const gv_status_t *status, gv_text_t *out)
{
    GV_ASSERT(status != NULL);
    GV_ASSERT(out != NULL);
    put_node(out, status);
    put_traffic(out, status);
    put_shards(out, status);
    put_memory(out, &status->memory);
    put_storage(out, &status->storage);
    put_log(out, &status->log);
    if (status->cluster != NULL) {
        put_cluster(out, status);
    }
}
