/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "broker/admin/admin.h"

/* jansson's integers are signed; a count beyond 2^63 is a bug somewhere else, not a crash here. */
static json_t *number(uint64_t value)
{
    return json_integer(value <= INT64_MAX ? (json_int_t)value : INT64_MAX);
}

static json_t *text(const char *value)
{
    return value != NULL ? gv_admin_json_text(gv_bytes_text(value)) : json_null();
}

static json_t *number_or_null(uint64_t value, uint64_t none)
{
    return value != none ? number(value) : json_null();
}

/* Hashes do not fit the numbers of JSON's readers (2^53). */
static json_t *hash(uint64_t value)
{
    char digits[17];
    (void)snprintf(digits, sizeof(digits), "%016" PRIx64, value);
    return json_string(digits);
}

static void add(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);
    GV_ASSERT(rc == 0);
}

static json_t *add_object(json_t *object, const char *key)
{
    json_t *inner = json_object();
    add(object, key, inner);
    return inner;
}

static json_t *add_array(json_t *object, const char *key)
{
    json_t *inner = json_array();
    add(object, key, inner);
    return inner;
}

static json_t *append_object(json_t *array)
{
    json_t *inner = json_object();
    int rc = json_array_append_new(array, inner);
    GV_ASSERT(rc == 0);
    return inner;
}

/* ---- this node ---------------------------------------------------------------------------- */

static void add_readiness(json_t *object, const gv_status_t *status)
{
    add(object, "ready", json_boolean(status->not_ready_count == 0));
    json_t *reasons = add_array(object, "reasons");
    for (size_t i = 0; i < status->not_ready_count; i++) {
        (void)json_array_append_new(reasons, text(status->not_ready[i]));
    }
}

json_t *gv_status_drain_json(const gv_status_drain_t *drain)
{
    GV_ASSERT(drain != NULL);
    json_t *object = json_object();
    add(object, "state", text(drain->state));
    bool has_reference = drain->server_reference != NULL && drain->server_reference[0] != '\0';
    add(object, "server_reference", text(has_reference ? drain->server_reference : NULL));
    add(object, "clients_left", number(drain->clients_left));
    return object;
}

static void add_by_qos(json_t *object, const char *key, const uint64_t counts[3])
{
    json_t *inner = add_object(object, key);
    add(inner, "qos0", number(counts[0]));
    add(inner, "qos1", number(counts[1]));
    add(inner, "qos2", number(counts[2]));
}

static void add_traffic(json_t *object, const gv_status_t *status)
{
    json_t *messages = add_object(object, "messages");
    add_by_qos(messages, "received", status->received);
    add_by_qos(messages, "sent", status->sent);
    json_t *dropped = add_object(messages, "dropped");
    for (size_t i = 0; i < status->drop_count; i++) {
        add(dropped, status->drops[i].reason, number(status->drops[i].count));
    }
    json_t *bytes = add_object(object, "bytes");
    add(bytes, "received", number(status->received_bytes));
    add(bytes, "sent", number(status->sent_bytes));
    json_t *counters = add_object(object, "counters");
    for (size_t i = 0; i < status->counter_count; i++) {
        add(counters, status->counters[i].name, number(status->counters[i].value));
    }
}

static void add_shards(json_t *object, const gv_status_t *status)
{
    json_t *shards = add_array(object, "shards");
    for (size_t i = 0; i < status->shard_count; i++) {
        const gv_status_shard_t *shard = &status->shards[i];
        json_t *entry = append_object(shards);
        add(entry, "shard", number(i));
        add(entry, "connections", number(shard->connections));
        add(entry, "sessions", number(shard->sessions));
        add(entry, "turns", number(shard->turns));
        add(entry, "turn_p50_us", number(shard->turn_p50_ns / 1000));
        add(entry, "turn_p99_us", number(shard->turn_p99_ns / 1000));
        add(entry, "lag_us", number(shard->lag_ns / 1000));
    }
}

static void add_listeners(json_t *object, const gv_status_t *status)
{
    json_t *listeners = add_array(object, "listeners");
    for (size_t i = 0; i < status->listener_count; i++) {
        const gv_status_listener_t *listener = &status->listeners[i];
        json_t *entry = append_object(listeners);
        add(entry, "url", text(listener->url));
        add(entry, "port", number(listener->port));
        add(entry, "connections", number(listener->connections));
    }
}

static void add_times(json_t *object, const char *key, const gv_status_times_t *times)
{
    json_t *entry = add_object(object, key);
    add(entry, "p50_us", number(times->p50_ns / 1000));
    add(entry, "p99_us", number(times->p99_ns / 1000));
}

static void add_log(json_t *object, const gv_status_log_t *log)
{
    json_t *entry = add_object(object, "message_log");
    add(entry, "queued_bytes", number(log->queued_bytes));
    add(entry, "pending_bytes", number(log->pending_bytes));
    add(entry, "segments", number(log->segments));
    add(entry, "bytes", number(log->bytes));
    add(entry, "live_bytes", number(log->live_bytes));
    add(entry, "head", number(log->head));
    add(entry, "tail", number(log->tail));
    add(entry, "memory_bytes", number(log->memory_bytes));
    add(entry, "cleaned_segments", number(log->cleaned_segments));
    json_t *restored = add_object(entry, "restored");
    add(restored, "sessions", number(log->restored_sessions));
    add(restored, "messages", number(log->restored_messages));
    add(restored, "ms", number(log->restored_ms));
}

static void add_memory(json_t *object, const gv_status_memory_t *memory)
{
    json_t *entry = add_object(object, "memory");
    add(entry, "state", text(memory->state));
    add(entry, "max_bytes", number(memory->max_bytes));
    add(entry, "in_use_bytes", number(memory->in_use_bytes));
    add(entry, "resident_bytes", number(memory->resident_bytes));
    add(entry, "scarce_times", number(memory->scarce_times));
    add(entry, "critical_times", number(memory->critical_times));
    json_t *parts = add_object(entry, "by_kind");
    for (size_t i = 0; i < memory->part_count; i++) {
        add(parts, memory->parts[i].kind, number(memory->parts[i].bytes));
    }
}

static void add_storage(json_t *object, const gv_status_storage_t *storage)
{
    json_t *entry = add_object(object, "storage");
    add(entry, "sync", text(storage->sync));
    add(entry, "promise", text(storage->promise));
    add(entry, "used_bytes", number(storage->used_bytes));
    add(entry, "limit_bytes", number(storage->limit_bytes));
    add(entry, "max_bytes", number(storage->max_bytes));
    add(entry, "full", json_boolean(storage->is_full));
    add(entry, "waiting_batches", number(storage->waiting_batches));
    add(entry, "batches_per_commit_p50", number(storage->batches_p50));
    add_times(entry, "commit", &storage->commit);
    add_times(entry, "durable", &storage->durable);
    add_times(entry, "load", &storage->load);
    add(entry, "oldest_reader_us", number(storage->oldest_reader_ns / 1000));
}

json_t *gv_status_json(const gv_status_t *status)
{
    GV_ASSERT(status != NULL);
    json_t *object = json_object();
    add(object, "node", text(status->node));
    add(object, "id", text(status->id));
    add(object, "version", text(status->version));
    add(object, "incarnation", number(status->incarnation));
    add(object, "uptime_ms", number(status->uptime_ms));
    add_readiness(object, status);
    add(object, "drain", gv_status_drain_json(&status->drain));
    json_t *connections = add_object(object, "connections");
    add(connections, "current", number(status->connections));
    add(connections, "total", number(status->connections_total));
    add(connections, "refused", number(status->connections_refused));
    add(object, "sessions", number(status->sessions));
    add(object, "subscriptions", number(status->subscriptions));
    add(object, "routes", number(status->routes));
    add(object, "retained", number(status->retained));
    add(object, "queued_messages", number(status->queued_messages));
    add_traffic(object, status);
    add_memory(object, &status->memory);
    add_storage(object, &status->storage);
    add_log(object, &status->log);
    add(object, "cluster", text(status->cluster));
    add_listeners(object, status);
    add_shards(object, status);
    return object;
}

json_t *gv_status_ready_json(const gv_status_t *status)
{
    GV_ASSERT(status != NULL);
    json_t *object = json_object();
    add_readiness(object, status);
    return object;
}

/* ---- the cluster -------------------------------------------------------------------------- */

json_t *gv_status_nodes_json(const gv_status_t *status)
{
    GV_ASSERT(status != NULL);
    json_t *list = json_array();
    for (size_t i = 0; i < status->node_count; i++) {
        const gv_status_node_t *node = &status->nodes[i];
        json_t *entry = append_object(list);
        add(entry, "node", text(node->node));
        add(entry, "id", text(node->id));
        add(entry, "address", text(node->address));
        add(entry, "node_status", text(node->state));
        add(entry, "self", json_boolean(node->is_self));
        add(entry, "incarnation", number(node->incarnation));
        add(entry, "link_up", json_boolean(node->is_linked));
        add(entry, "reachable", json_boolean(node->is_self || node->has_path));
        add(entry, "relay", text(node->relay));
        add(entry, "last_heard_ms", number_or_null(node->last_heard_ms, GV_STATUS_NEVER));
        add(entry, "rtt_us", number_or_null(node->rtt_us, 0));
        add(entry, "routes", number(node->routes));
        add(entry, "route_bytes", number(node->route_bytes));
        add(entry, "queued_messages", number(node->forward_queued_messages));
        add(entry, "queued_bytes", number(node->forward_queued_bytes));
        add(entry, "outbox_messages", number(node->outbox_messages));
        add(entry, "outbox_bytes", number(node->outbox_bytes));
    }
    json_t *object = json_object();
    add(object, "data", list);
    return object;
}

static void add_view(json_t *views, const gv_status_view_t *view)
{
    char version[48];
    (void)snprintf(version, sizeof(version), "%" PRIu64 ".%" PRIu64, view->table_incarnation,
                   view->table_seq);
    json_t *entry = append_object(views);
    add(entry, "node", text(view->node));
    add(entry, "id", text(view->id));
    add(entry, "state", text(view->state));
    add(entry, "incarnation", number(view->incarnation));
    add(entry, "last_heard_ms", number_or_null(view->last_heard_ms, GV_STATUS_NEVER));
    add(entry, "link_up", json_boolean(view->is_linked));
    add(entry, "rtt_us", number_or_null(view->rtt_us, 0));
    add(entry, "table_version", json_string(version));
    add(entry, "table_hash", hash(view->table_hash));
    add(entry, "table_rows", number(view->table_rows));
}

json_t *gv_status_cluster_json(const gv_status_t *status)
{
    GV_ASSERT(status != NULL);
    json_t *object = json_object();
    add(object, "cluster", text(status->cluster));
    add(object, "node", text(status->node));
    json_t *nodes = add_array(object, "nodes");
    for (size_t i = 0; i < status->node_count; i++) {
        const gv_status_node_t *node = &status->nodes[i];
        json_t *entry = append_object(nodes);
        add(entry, "node", text(node->node));
        add(entry, "id", text(node->id));
        add(entry, "address", text(node->address));
        add(entry, "state", text(node->state));
        add(entry, "view_age_ms", number_or_null(node->view_age_ms, GV_STATUS_NEVER));
        json_t *views = add_array(entry, "views");
        for (size_t j = 0; j < node->view_count; j++) {
            add_view(views, &node->views[j]);
        }
    }
    return object;
}
