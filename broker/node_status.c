/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the admin port shows.  Counters are read where they are (base/stats.h); the cluster's state
 * belongs to the cluster loop, so a request goes there and back as a letter.
 */
#include "base/alloc.h"
#include "broker/node_p.h"

/* Of a request: a message to publish, with its payload as base64 [bytes]. */
#define BODY_SIZE_MAX ((uint32_t)256 * 1024)

/* One request on its way. */
typedef struct inquiry {
    gv_letter_t letter;
    gv_node_t *node;
    gv_status_gathered_cb_t *on_gathered;
    void *arg;
    gv_cluster_status_t *cluster; /* NULL: the node is on its own */
} inquiry_t;

/* ---- counters ---------------------------------------------------------------------------------
 */

enum {
    SHARD_DROPS = 12,
    SHARD_COUNTERS = 38
};

static void add_shard(gv_status_t *status, gv_status_drop_t *drops, gv_status_counter_t *counters,
                      const gv_shard_stats_t *stats, const gv_frontend_stats_t *frontend,
                      const gv_loop_stats_t *loop)
{
    status->connections += gv_counter_get(&stats->connections);
    status->connections_total += gv_counter_get(&stats->connections_total);
    status->connections_refused += gv_counter_get(&stats->connections_refused);
    status->sessions += gv_counter_get(&stats->sessions);
    status->subscriptions += gv_counter_get(&stats->subscriptions);
    status->retained += gv_counter_get(&stats->retained);
    status->queued_messages += gv_counter_get(&stats->queued_messages);
    for (int qos = 0; qos <= 2; qos++) {
        status->received[qos] += gv_counter_get(&stats->received[qos]);
        status->sent[qos] += gv_counter_get(&stats->sent[qos]);
    }
    const gv_counter_t *dropped[] = {
        &stats->dropped_slow_reader, &stats->dropped_queue_full, &stats->dropped_expired,
        &stats->dropped_too_large,   &stats->dropped_offline,    &stats->dropped_no_memory,
        &stats->dropped_refused,     &stats->dropped_store_full, &stats->dropped_damaged,
        &stats->dropped_retained,    &stats->dropped_memory,     &stats->dropped_session_ended,
    };
    for (size_t i = 0; i < sizeof(dropped) / sizeof(dropped[0]); i++) {
        drops[i].count += gv_counter_get(dropped[i]);
    }
    const gv_counter_t *others[] = {
        &stats->protocol_errors,
        &stats->authentications_failed,
        &stats->keepalive_timeouts,
        &stats->slow_readers_closed,
        &stats->queue_full_closed,
        &stats->takeovers,
        &stats->takeovers_elsewhere,
        &stats->drained,
        &stats->wills,
        &stats->publishers_slowed,
        &stats->publishers_paced,
        &stats->connects_rate_refused,
        &stats->connects_memory_refused,
        &stats->subscribes_memory_refused,
        &stats->retained_memory_refused,
        &stats->publishes_memory_refused,
        &stats->sessions_max_refused,
        &stats->publishers_starved,
        &stats->memory_closed,
        &stats->alias_bytes,
        &stats->packets_received,
        &stats->answers_sent,
        &stats->received_payload_bytes,
        &stats->sent_payload_bytes,
        &stats->shared_subscriptions,
        &stats->sessions_expired,
        &stats->retained_bytes,
        &stats->retained_tombstones,
        &stats->retained_outdated,
        &stats->tombstones_dropped,
        &frontend->moved,
        &frontend->failed,
        &frontend->proxy_errors,
        &frontend->tls_errors,
        &frontend->ws_errors,
        &loop->accept_refused,
        &loop->accept_failed,
        &loop->accept_delayed,
    };
    _Static_assert(sizeof(others) / sizeof(others[0]) == SHARD_COUNTERS, "each has its name");
    for (size_t i = 0; i < SHARD_COUNTERS; i++) {
        counters[i].value += gv_counter_get(others[i]);
    }
}

/* The order of the arrays in add_shard(). */
static const gv_status_drop_t drop_names[SHARD_DROPS] = {
    {.reason = "slow_reader"},   {.reason = "queue_full"}, {.reason = "expired"},
    {.reason = "too_large"},     {.reason = "offline"},    {.reason = "no_memory"},
    {.reason = "refused"},       {.reason = "store_full"}, {.reason = "damaged"},
    {.reason = "retained_full"}, {.reason = "memory"},     {.reason = "session_ended"},
};
static const gv_status_counter_t counter_names[SHARD_COUNTERS] = {
    {.name = "protocol_errors_total",
     .help = "connections ended for malformed or forbidden packets"},
    {.name = "authentications_failed_total",
     .help = "clients that could not show who they are, also when they were asked again"},
    {.name = "keepalive_timeouts_total", .help = "clients that were silent for too long"},
    {.name = "slow_readers_closed_total", .help = "clients that took nothing for too long"},
    {.name = "queue_full_closed_total",
     .help = "clients disconnected because their queue was full"},
    {.name = "takeovers_total", .help = "connections replaced by a newer one of the same client"},
    {.name = "takeovers_elsewhere_total",
     .help = "connections closed because their client has connected to another node"},
    {.name = "clients_drained_total", .help = "clients sent away by a drain"},
    {.name = "wills_total", .help = "wills published"},
    {.name = "publishers_slowed_total",
     .help = "pauses of publishers whose subscribers were behind"},
    {.name = "publishers_paced_total", .help = "pauses of clients that sent above their rate"},
    {.name = "connects_rate_refused_total", .help = "CONNECTs above the node's rate"},
    {.name = "connects_memory_refused_total", .help = "new clients refused for want of memory"},
    {.name = "subscribes_memory_refused_total",
     .help = "new subscriptions refused for want of memory"},
    {.name = "retained_memory_refused_total",
     .help = "retained messages refused for want of memory"},
    {.name = "publishes_memory_refused_total",
     .help = "QoS 2 messages of persistent sessions refused for want of memory"},
    {.name = "sessions_max_refused_total", .help = "new clients above mqtt.sessions_max"},
    {.name = "publishers_starved_total",
     .help = "MQTT 3 publishers paused until there is memory for what they publish"},
    {.name = "memory_closed_total", .help = "clients disconnected because they held much memory"},
    {.name = "topic_alias_bytes", .help = "memory of topic aliases", .is_gauge = true},
    {.name = "packets_received_total", .help = "packets of all kinds from clients"},
    {.name = "answers_sent_total", .help = "packets to clients that are not PUBLISH"},
    {.name = "received_payload_bytes_total", .help = "payloads of messages from clients"},
    {.name = "sent_payload_bytes_total", .help = "payloads of messages to clients"},
    {.name = "shared_subscriptions", .help = "subscriptions to shared groups", .is_gauge = true},
    {.name = "sessions_expired_total", .help = "sessions whose client stayed away for too long"},
    {.name = "retained_bytes", .help = "memory of retained messages", .is_gauge = true},
    {.name = "retained_tombstones",
     .help = "deleted retained messages that not all nodes are known to know of",
     .is_gauge = true},
    {.name = "retained_outdated_total",
     .help = "retained messages that came after one that was written later"},
    {.name = "retained_tombstones_dropped_total",
     .help = "deletions forgotten too early, because there were too many"},
    {.name = "connections_moved_total", .help = "connections carried to their client's shard"},
    {.name = "connections_failed_total", .help = "connections lost for want of memory"},
    {.name = "proxy_errors_total", .help = "connections with a missing or wrong PROXY header"},
    {.name = "tls_errors_total", .help = "TLS handshakes that failed, and broken records"},
    {.name = "websocket_errors_total", .help = "WebSocket requests and frames refused"},
    {.name = "accept_refused_total", .help = "connections over a listener's limit"},
    {.name = "accept_failed_total", .help = "connections without a descriptor left for them"},
    {.name = "accept_delayed_total", .help = "times a listener waited because of its accept_rate"},
};

static void fill_loops(const gv_node_t *node, gv_status_t *status, gv_status_shard_t *shards)
{
    for (uint16_t i = 0; i < node->shard_count; i++) {
        const gv_loop_stats_t *loop = gv_loop_stats(node->shards[i].loop);
        const gv_shard_stats_t *stats = gv_shard_stats(node->shards[i].shard);
        status->received_bytes += gv_counter_get(&loop->bytes_in);
        status->sent_bytes += gv_counter_get(&loop->bytes_out);
        gv_histogram_t *turns = GV_NEW(gv_histogram_t);
        gv_histogram_merge(turns, &loop->turn_ns);
        shards[i] = (gv_status_shard_t){
            .connections = gv_counter_get(&stats->connections),
            .sessions = gv_counter_get(&stats->sessions),
            .turns = gv_counter_get(&loop->turns),
            .turn_p50_ns = gv_histogram_quantile(turns, 500),
            .turn_p99_ns = gv_histogram_quantile(turns, 990),
            .lag_ns = gv_counter_get(&loop->lag_ns),
        };
        gv_free(turns);
    }
    status->shards = shards;
    status->shard_count = node->shard_count;
}

/* ---- the cluster ------------------------------------------------------------------------------
 */

#define ID_TEXT_SIZE (GV_NODE_ID_SIZE * 2 + 1)

static const char *id_text(const gv_node_id_t *id, char *out)
{
    for (size_t i = 0; i < GV_NODE_ID_SIZE; i++) {
        (void)snprintf(out + i * 2, 3, "%02x", id->bytes[i]);
    }
    return out;
}

static uint64_t heard_ago(const gv_node_view_t *view)
{
    return view->heard_ms == UINT32_MAX ? GV_STATUS_NEVER : view->heard_ms;
}

/* What a node thinks of itself has no link and no silence in it: it hears itself, now. */
static gv_status_view_t view_of(const gv_cluster_member_t *seen, const char *id,
                                const gv_node_view_t *view, bool is_self)
{
    return (gv_status_view_t){
        .node = seen->member.name,
        .id = id,
        .state = gv_member_state_text(view->state),
        .is_linked = is_self || view->is_linked,
        .incarnation = view->incarnation.start_counter,
        .last_heard_ms = is_self ? 0 : heard_ago(view),
        .rtt_us = view->rtt_us,
        .table_incarnation = view->table_incarnation.start_counter,
        .table_seq = view->table_seq,
        .table_hash = view->table_hash,
        .table_rows = view->table_rows,
    };
}

static const char *relay_name(const gv_cluster_status_t *cluster, gv_node_index_t relay)
{
    for (size_t i = 0; i < cluster->member_count; i++) {
        if (relay != GV_NODE_NONE && cluster->members[i].index == relay) {
            return cluster->members[i].member.name;
        }
    }
    return NULL;
}

static gv_status_node_t node_of(const gv_cluster_status_t *cluster, size_t i, const char *id)
{
    const gv_cluster_member_t *member = &cluster->members[i];
    const gv_node_view_t *view = &member->member.view;
    return (gv_status_node_t){
        .node = member->member.name,
        .id = id,
        .address = member->member.address,
        .state = gv_member_state_text(view->state),
        .relay = relay_name(cluster, member->member.relay),
        .is_self = i == 0,
        .is_linked = view->is_linked,
        .has_path = member->member.has_path,
        .incarnation = view->incarnation.start_counter,
        .last_heard_ms = i == 0 ? 0 : heard_ago(view),
        .rtt_us = view->rtt_us,
        .routes = view->table_rows,
        .route_bytes = member->member.table_bytes,
        .forward_queued_messages = member->member.forward_queued_messages,
        .forward_queued_bytes = member->member.forward_queued_bytes,
        .outbox_messages = member->outbox_messages,
        .outbox_bytes = member->outbox_bytes,
        .view_age_ms = member->member.view_age_ms,
    };
}

/* Everything the rendering of one answer points to. */
typedef struct cluster_texts {
    char (*ids)[ID_TEXT_SIZE];
    gv_status_node_t *nodes;
    gv_status_view_t *views;
} cluster_texts_t;

static void fill_cluster(gv_status_t *status, const gv_cluster_status_t *cluster,
                         cluster_texts_t *texts)
{
    size_t count = cluster->member_count;
    texts->ids = gv_xcalloc(count, sizeof(*texts->ids));
    texts->nodes = gv_xcalloc(count, sizeof(*texts->nodes));
    texts->views = gv_xcalloc(count * count, sizeof(*texts->views));
    for (size_t i = 0; i < count; i++) {
        (void)id_text(&cluster->members[i].member.id, texts->ids[i]);
    }
    for (size_t viewer = 0; viewer < count; viewer++) {
        gv_status_node_t *node = &texts->nodes[viewer];
        *node = node_of(cluster, viewer, texts->ids[viewer]);
        gv_status_view_t *views = texts->views + viewer * count;
        for (size_t seen = 0; seen < count; seen++) {
            const gv_cluster_view_t *view = &cluster->views[viewer * count + seen];
            if (view->is_known) {
                views[node->view_count++] =
                    view_of(&cluster->members[seen], texts->ids[seen], &view->view, seen == viewer);
            }
        }
        node->views = views;
    }
    status->cluster = cluster->cluster_name;
    status->nodes = texts->nodes;
    status->node_count = count;
}

static void cluster_texts_free(cluster_texts_t *texts)
{
    gv_free(texts->ids);
    gv_free(texts->nodes);
    gv_free(texts->views);
}

/* ---- the answer -------------------------------------------------------------------------------
 */

static size_t fill_not_ready(const gv_node_t *node, const char **reasons)
{
    size_t count = 0;
    if (node->is_draining) {
        reasons[count++] = "draining";
    }
    if (node->is_waiting) {
        reasons[count++] = "clients are not taken before the other nodes have answered";
    } else if (!gv_listeners_are_open(node->listeners)) {
        reasons[count++] = "listeners are not open yet";
    }
    if (node->cluster != NULL &&
        !atomic_load_explicit(&node->is_cluster_synced, memory_order_relaxed)) {
        reasons[count++] = "route tables of other nodes are not complete yet";
    }
    return count;
}

enum {
    MORE_COUNTERS = 64
};

static gv_status_times_t times_of(const gv_histogram_t *histogram)
{
    gv_histogram_t now = {0}; /* it goes on while we count */
    gv_histogram_merge(&now, histogram);
    gv_status_times_t times = {.p50_ns = gv_histogram_quantile(&now, 500),
                               .p99_ns = gv_histogram_quantile(&now, 990),
                               .count = gv_histogram_count(&now),
                               .sum_ns = gv_histogram_sum(&now)};
    for (unsigned i = 0; i < GV_STATUS_TIME_BUCKETS; i++) {
        times.below[i] = gv_histogram_below(&now, GV_STATUS_TIME_FIRST + i);
    }
    return times;
}

static gv_status_storage_t storage_of(const gv_store_t *store)
{
    const gv_store_stats_t *stats = gv_store_stats(store);
    return (gv_status_storage_t){
        .sync = gv_store_sync_name(gv_store_sync_mode(store)),
        .promise = gv_store_sync_promise(gv_store_sync_mode(store)),
        .used_bytes = gv_counter_get(&stats->used_bytes),
        .limit_bytes = gv_counter_get(&stats->limit_bytes),
        .max_bytes = gv_counter_get(&stats->size_bytes),
        .is_full = gv_store_is_full(store),
        .waiting_batches = gv_counter_get(&stats->queued_batches),
        .batches_p50 = gv_histogram_quantile(&stats->batches_per_commit, 500),
        .commit = times_of(&stats->commit_ns),
        .durable = times_of(&stats->done_ns),
        .load = times_of(&stats->load_ns),
        .oldest_reader_ns = gv_store_oldest_reader_ns(store),
    };
}

static size_t fill_counters(const gv_node_t *node, const gv_cluster_status_t *cluster,
                            gv_status_counter_t *out)
{
    const gv_hub_stats_t *hub = gv_hub_stats(node->hub);
    const gv_store_stats_t *store = gv_store_stats(node->store);
    size_t n = 0;
#define ADD(name_, help_, gauge_, value_) \
    out[n++] = (gv_status_counter_t){     \
        .name = (name_), .help = (help_), .is_gauge = (gauge_), .value = (value_)}
    ADD("router_filters", "distinct filters known", true, gv_counter_get(&hub->filters));
    ADD("router_bytes", "memory of the router", true, gv_counter_get(&hub->router_bytes));
    ADD("forwarded_total", "messages given to other nodes", false, gv_counter_get(&hub->forwarded));
    ADD("forward_received_total", "messages taken from other nodes", false,
        gv_counter_get(&hub->received));
    ADD("forward_received_again_total", "of these, that were known already", false,
        gv_counter_get(&hub->received_again));
    ADD("forward_gone_total", "messages for nodes that were gone", false,
        gv_counter_get(&hub->forward_gone));
    ADD("forward_in_doubt_total",
        "messages of QoS 2 refused because the node they were sent to died", false,
        gv_counter_get(&hub->forward_in_doubt));
    const gv_outbox_stats_t *outbox = gv_outbox_stats(gv_hub_outbox(node->hub));
    ADD("outbox_messages", "messages on disk for nodes that are away", true,
        gv_counter_get(&outbox->messages));
    ADD("outbox_bytes", "bytes of them", true, gv_counter_get(&outbox->bytes));
    ADD("outbox_stored_total", "messages kept for nodes that were away", false,
        gv_counter_get(&outbox->stored));
    ADD("outbox_early_total", "of these, while the node was silent and not dead yet", false,
        gv_counter_get(&outbox->early));
    ADD("outbox_sent_total", "of these, that have arrived", false, gv_counter_get(&outbox->sent));
    ADD("outbox_refused_total", "messages refused because there was no room to keep them", false,
        gv_counter_get(&outbox->refused));
    ADD("outbox_expired_total", "kept messages that expired", false,
        gv_counter_get(&outbox->expired));
    ADD("outbox_lost_total", "kept messages of nodes that were forgotten, or damaged", false,
        gv_counter_get(&outbox->lost));
    ADD("forward_refused_total", "messages refused because the queue for a node was full", false,
        gv_counter_get(&hub->forward_full));
    ADD("forward_no_room_total", "messages refused because another node had no room for them",
        false, gv_counter_get(&hub->forward_no_room));
    const gv_roster_stats_t *roster = gv_hub_roster_stats(node->hub);
    ADD("roster_waiting", "changes of what is remembered of other nodes, not on the disk yet", true,
        gv_counter_get(&roster->waiting));
    ADD("roster_lost_total", "such changes for which there was no room", false,
        gv_counter_get(&roster->lost));
    const gv_reconcile_stats_t *reconcile = gv_hub_reconcile_stats(node->hub);
    ADD("retained_compared_total", "comparisons of retained messages with another node", false,
        gv_counter_get(&reconcile->compared));
    ADD("retained_nodes_apart", "nodes that had other retained messages when last compared", true,
        gv_counter_get(&reconcile->nodes_apart));
    ADD("retained_differences_total", "parts of the retained messages found to differ", false,
        gv_counter_get(&reconcile->differences));
    ADD("retained_fetched_total", "retained messages and deletions fetched from other nodes", false,
        gv_counter_get(&reconcile->fetched));
    ADD("retained_copies_sent_total", "of these, sent to other nodes", false,
        gv_counter_get(&hub->copies_sent));
    ADD("retained_clock_ahead_total",
        "retained messages of nodes whose clock is more than an hour ahead", false,
        gv_counter_get(&hub->clocks_ahead));
    ADD("suback_late_total", "SUBACKs sent before all nodes had confirmed the route", false,
        gv_counter_get(&hub->barriers_late));
    ADD("store_commits_total", "transactions of the store", false, gv_counter_get(&store->commits));
    ADD("store_batches_total", "batches in them", false, gv_counter_get(&store->batches));
    ADD("store_changes_total", "changes in them", false, gv_counter_get(&store->changes));
    ADD("store_bytes_total", "keys and values in them", false, gv_counter_get(&store->bytes));
    ADD("store_loads_total", "values read back for a client that came", false,
        gv_counter_get(&store->loads));
    ADD("store_failed_syncs_total", "periodic syncs the disk did not take", false,
        gv_counter_get(&store->failed_syncs));
    ADD("store_refused_full_total", "batches refused because the store was full", false,
        gv_counter_get(&store->refused_full));
    ADD("store_failed_total", "batches the disk did not take", false,
        gv_counter_get(&store->failed_io));
    ADD("store_damaged_total", "records found damaged", false,
        atomic_load_explicit(&store->damaged, memory_order_relaxed));
    if (cluster != NULL) {
        ADD("cluster_qos0_dropped_total", "QoS 0 messages for other nodes dropped", false,
            cluster->core.qos0_dropped_no_path + cluster->core.qos0_dropped_no_credit +
                cluster->core.qos0_dropped_incomplete + cluster->core.qos0_dropped_late);
        ADD("cluster_forwards_resent_total", "messages sent to another node again", false,
            cluster->core.forwards_resent);
        ADD("cluster_forwards_relayed_total", "frames passed on for others", false,
            cluster->core.forwards_relayed);
        const gv_directory_stats_t *directory = &cluster->directory;
        ADD("directory_registered",
            "connections of all nodes whose client ids this node looks after", true,
            directory->registered);
        ADD("directory_held", "connections of this node that the others can find", true,
            directory->held);
        ADD("directory_claims_total", "CONNECTs that asked whether their client id is free", false,
            directory->claims);
        ADD("directory_claims_granted_total", "of these, with the answer that it is", false,
            directory->claims_granted);
        ADD("directory_claims_late_total", "of these, let in without an answer", false,
            directory->claims_late);
        ADD("directory_claims_lost_total", "of these, given up for a newer one elsewhere", false,
            directory->claims_lost);
        ADD("directory_claims_denied_total", "of these, refused: the id is another user's", false,
            directory->claims_denied);
        ADD("directory_claims_again_total", "of these, asked again because a clock is behind",
            false, directory->claims_again);
        ADD("directory_registrations_sent_total", "changes told to the nodes that look after ids",
            false, directory->registrations_sent);
        ADD("directory_refused_total", "connections not registered here, for there are too many",
            false, directory->registrations_refused);
        ADD("cluster_table_mismatches_total", "equal versions of a table that were not equal",
            false, cluster->core.table_mismatches);
        ADD("cluster_identity_conflicts_total", "signs of two nodes with one identity", false,
            cluster->identity_conflicts);
        ADD("cluster_frames_bad_total", "links lost because of a damaged frame", false,
            cluster->links.frames_bad + cluster->core.frames_bad);
        ADD("cluster_garbage_total", "connections to the cluster port without a handshake", false,
            cluster->links.garbage);
    }
#undef ADD
    GV_ASSERT(n <= MORE_COUNTERS);
    return n;
}

static gv_status_log_t log_of(const gv_node_t *node)
{
    gv_status_log_t log = {
        .restored_sessions = node->restored.sessions,
        .restored_messages = node->restored.messages,
        .restored_ms = node->restored_ms,
    };
    for (uint16_t i = 0; i < node->shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(node->shards[i].shard);
        log.queued_bytes += gv_counter_get(&stats->queued_bytes);
        log.pending_bytes += gv_counter_get(&stats->pending_bytes);
        log.segments += gv_counter_get(&stats->log_segments);
        log.bytes += gv_counter_get(&stats->log_bytes);
        log.live_bytes += gv_counter_get(&stats->log_live_bytes);
        log.memory_bytes += gv_counter_get(&stats->image_bytes);
        log.cleaned_segments += gv_counter_get(&stats->segments_cleaned);
        uint64_t head = gv_counter_get(&stats->log_head);
        uint64_t tail = gv_counter_get(&stats->log_tail);
        if (head != 0 && (log.head == 0 || head < log.head)) {
            log.head = head;
        }
        log.tail = tail > log.tail ? tail : log.tail;
    }
    return log;
}

/* Shared buffers that are retained messages or log segments count as what they are. */
static void move_part(gv_status_memory_part_t *parts, gv_memory_kind_t to, uint64_t bytes)
{
    uint64_t *messages = &parts[GV_MEMORY_MESSAGES].bytes;
    uint64_t moved = bytes < *messages ? bytes : *messages;
    *messages -= moved;
    parts[to].bytes += moved;
}

static void fill_memory(gv_node_t *node, gv_status_memory_t *memory,
                        gv_status_memory_part_t parts[GV_MEMORY_KINDS])
{
    for (int kind = 0; kind < GV_MEMORY_KINDS; kind++) {
        parts[kind] = (gv_status_memory_part_t){
            .kind = gv_memory_kind_name((gv_memory_kind_t)kind),
            .bytes = gv_alloc_in_use_for((gv_memory_kind_t)kind),
        };
    }
    for (uint16_t i = 0; i < node->shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(node->shards[i].shard);
        move_part(parts, GV_MEMORY_RETAINED, gv_counter_get(&stats->retained_bytes));
        move_part(parts, GV_MEMORY_LOG, gv_counter_get(&stats->image_bytes));
    }
    gv_memory_state_t state = gv_memory_state(&node->memory);
    *memory = (gv_status_memory_t){
        .state = gv_memory_state_name(state),
        .is_scarce = state != GV_MEMORY_ENOUGH,
        .is_critical = state == GV_MEMORY_CRITICAL,
        .max_bytes = gv_memory_max(&node->memory),
        .in_use_bytes = gv_alloc_in_use(),
        .resident_bytes = atomic_load_explicit(&node->resident_bytes, memory_order_relaxed),
        .scarce_times = gv_memory_times(&node->memory, GV_MEMORY_SCARCE),
        .critical_times = gv_memory_times(&node->memory, GV_MEMORY_CRITICAL),
        .parts = parts,
        .part_count = GV_MEMORY_KINDS,
    };
}

static void answer(inquiry_t *inquiry)
{
    gv_node_t *node = inquiry->node;
    gv_status_drop_t drops[SHARD_DROPS];
    gv_status_counter_t counters[SHARD_COUNTERS + MORE_COUNTERS];
    gv_status_shard_t shards[GV_ROUTER_SHARDS_MAX];
    gv_status_memory_part_t memory_parts[GV_MEMORY_KINDS];
    gv_status_listener_t *listeners = NULL;
    const char *reasons[4];
    char id[ID_TEXT_SIZE];
    gv_node_id_t node_id;
    memcpy(node_id.bytes, node->identity.node_id, sizeof(node_id.bytes));
    memcpy(drops, drop_names, sizeof(drops));
    memcpy(counters, counter_names, sizeof(counter_names));
    gv_status_t status = {
        .node = node->identity.node_name,
        .id = id_text(&node_id, id),
        .version = GV_VERSION,
        .incarnation = node->identity.start_counter,
        .uptime_ms = gv_clock_monotonic_ms(gv_os_clock()) - node->started_ms,
        .not_ready = reasons,
        .not_ready_count = fill_not_ready(node, reasons),
        .routes = gv_counter_get(&gv_hub_stats(node->hub)->routes),
        .drops = drops,
        .drop_count = SHARD_DROPS,
        .counters = counters,
        .storage = storage_of(node->store),
        .log = log_of(node),
    };
    for (uint16_t i = 0; i < node->shard_count; i++) {
        add_shard(&status, drops, counters, gv_shard_stats(node->shards[i].shard),
                  gv_frontend_stats(node->frontends[i]), gv_loop_stats(node->shards[i].loop));
    }
    fill_loops(node, &status, shards);
    fill_memory(node, &status.memory, memory_parts);
    gv__node_fill_drain(node, &status.drain);
    status.counter_count =
        SHARD_COUNTERS + fill_counters(node, inquiry->cluster, counters + SHARD_COUNTERS);
    status.listener_count = gv__node_fill_listeners(node, &listeners);
    status.listeners = listeners;
    cluster_texts_t texts = {0};
    if (inquiry->cluster != NULL) {
        fill_cluster(&status, inquiry->cluster, &texts);
    }
    inquiry->on_gathered(&status, inquiry->arg);
    cluster_texts_free(&texts);
    gv_free(listeners);
    gv_cluster_status_free(&inquiry->cluster);
    gv_free(inquiry);
    node->inquiry_count--;
    gv__node_stop_if_idle(node);
}

/* ---- there and back ---------------------------------------------------------------------------
 */

static void on_back(gv_letter_t *letter)
{
    answer(gv_container_of(letter, inquiry_t, letter));
}

static void on_asked(gv_letter_t *letter)
{
    inquiry_t *inquiry = gv_container_of(letter, inquiry_t, letter);
    gv_node_t *node = inquiry->node;
    gv_loop_assert_current(node->cluster_loop);
    gv_cluster_status_new(node->cluster, &inquiry->cluster);
    for (size_t i = 0; i < inquiry->cluster->member_count; i++) {
        gv_cluster_member_t *member = &inquiry->cluster->members[i];
        gv_outbox_waiting(gv_hub_outbox(node->hub), member->index, &member->outbox_messages,
                          &member->outbox_bytes);
    }
    inquiry->letter.deliver = on_back;
    gv_loop_send(node->main_loop, &inquiry->letter);
}

static void gather(void *source_arg, gv_status_gathered_cb_t *on_gathered, void *arg)
{
    gv_node_t *node = source_arg;
    inquiry_t *inquiry = GV_NEW(inquiry_t);
    inquiry->node = node;
    inquiry->on_gathered = on_gathered;
    inquiry->arg = arg;
    node->inquiry_count++;
    if (node->cluster == NULL) {
        answer(inquiry);
        return;
    }
    inquiry->letter.deliver = on_asked;
    gv_loop_send(node->cluster_loop, &inquiry->letter);
}

void gv__node_status_init(gv_node_t *node)
{
    node->status_source = (gv_status_source_t){.gather = gather, .arg = node};
}

gv_err_t gv__node_admin_open(gv_node_t *node, gv_error_text_t *error)
{
    char address[GV_HOSTPORT_TEXT_SIZE];
    gv_admin_options_t options = {
        .address = gv_hostport_print(&node->config->admin.listen, address),
        .token = node->config->admin.token,
        .token_always = node->config->admin.token_always,
        .body_size_max = BODY_SIZE_MAX,
    };
    gv_loop_assert_current(node->main_loop);
    gv_err_t err = gv_admin_open(node->main_loop, &options, &node->admin, error);
    if (err == GV_OK) {
        gv_admin_add_status_routes(node->admin, &node->status_source);
        gv_admin_add_drain_routes(node->admin, &node->drain_ops);
        gv_admin_add_member_routes(node->admin, &node->members_ops);
        gv_admin_add_client_routes(node->admin, &node->walk_host);
        gv_admin_add_subscription_routes(node->admin, &node->walk_host);
        gv_admin_add_publish_routes(node->admin, &node->publish_ops);
        gv_admin_add_route_routes(node->admin, &node->walk_host);
        gv_admin_add_retained_routes(node->admin, &node->retained_source);
        gv_log_info("admin_listening", "port=%u", gv_admin_port(node->admin));
    }
    return err;
}
