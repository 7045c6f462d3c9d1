/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending clients elsewhere: for a while, because an operator says so, or for good, at the end.
 *
 *     serving <--undrain-- draining ----SIGTERM---> ending: no listeners, then no clients,
 *        |                    ^                       |      then out of the cluster
 *        +---drain------------'                       '----> stopped; a second signal or
 *        '------------------------SIGTERM-------------^      drain.stop_timeout cuts it short
 *
 * A node that is drained by an operator goes on listening: who connects is told where to go, and
 * nobody else can take its port until it serves again.  Load balancers see /readyz.
 */
#include "base/alloc.h"
#include "base/log.h"
#include "broker/node_p.h"

/* Of a second: what may go at once, and how finely the rest is spread. */
#define BURST_PART 10U

/* One shard's orders; the shard keeps what it follows. */
struct gv_drain_order {
    gv_letter_t letter;
    gv_node_shard_t *shard;
    gv_drain_t drain;
    bool is_over;
    char reference[];
};

static void on_order(gv_letter_t *letter)
{
    gv_drain_order_t *order = gv_container_of(letter, gv_drain_order_t, letter);
    gv_node_shard_t *shard = order->shard;
    if (gv_loop_is_stopping(shard->loop)) {
        gv_free(order);
        return;
    }
    gv_loop_assert_current(shard->loop);
    gv_drain_order_t *before = shard->drain_order;
    if (order->is_over) {
        gv_shard_undrain(shard->shard);
        gv_free(order);
        order = NULL;
    } else {
        gv_shard_drain(shard->shard, &order->drain);
    }
    shard->drain_order = order;
    gv_free(before);
}

static void give_orders(gv_node_t *node, const gv_drain_t *drain)
{
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv_bytes_t reference = drain != NULL ? drain->server_reference : GV_BYTES_EMPTY;
        gv_drain_order_t *order = gv_xcalloc(1, sizeof(*order) + reference.size);
        order->letter.deliver = on_order;
        order->shard = &node->shards[i];
        order->is_over = drain == NULL;
        if (drain != NULL) {
            order->drain = *drain;
            order->drain.server_reference = gv_bytes(order->reference, reference.size);
        }
        if (reference.size > 0) {
            memcpy(order->reference, reference.data, reference.size);
        }
        gv_loop_send(node->shards[i].loop, &order->letter);
    }
}

static gv_rate_t rate_of(uint64_t per_second)
{
    return (gv_rate_t){.per_second = per_second,
                       .burst = per_second >= BURST_PART ? per_second / BURST_PART : 1};
}

static gv_mqtt_reason_t redirection(const gv_node_t *node)
{
    return node->config->drain.server_moved ? GV_MQTT_SERVER_MOVED : GV_MQTT_USE_ANOTHER_SERVER;
}

/* ---- for a while --------------------------------------------------------------------------------
 */

void gv__node_fill_drain(const gv_node_t *node, gv_status_drain_t *out)
{
    uint64_t left = 0;
    for (uint16_t i = 0; i < node->shard_count; i++) {
        left += gv_counter_get(&gv_shard_stats(node->shards[i].shard)->connections);
    }
    *out = (gv_status_drain_t){.state = "no", .server_reference = node->drain_reference};
    if (node->is_draining) {
        out->state = left > 0 ? "draining" : "drained";
        out->clients_left = left;
    }
}

static void keep_reference(gv_node_t *node, const char *reference)
{
    gv_free(node->drain_reference);
    node->drain_reference = reference != NULL ? gv_xstrdup(reference) : NULL;
}

static gv_err_t begin(void *arg, const gv_drain_request_t *request, gv_status_drain_t *state_out)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    if (node->is_ending) {
        return GV_ERR_CLOSED;
    }
    const gv_config_t *config = node->config;
    const char *reference = request->server_reference != NULL ? request->server_reference
                                                              : config->drain.server_reference;
    uint64_t per_second = request->has_clients_per_second ? request->clients_per_second
                                                          : config->drain.clients_per_second;
    keep_reference(node, reference);
    gv_drain_t drain = {
        .reason = redirection(node),
        .server_reference = gv_bytes_text(reference),
        .clients = rate_of(per_second),
        .bucket = &node->drained,
    };
    node->is_draining = true;
    give_orders(node, &drain);
    gv_log_info("draining", "connections=%llu clients_per_second=%llu",
                (unsigned long long)gv__node_connections(node), (unsigned long long)per_second);
    gv__node_fill_drain(node, state_out);
    return GV_OK;
}

static gv_err_t end(void *arg, gv_status_drain_t *state_out)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    if (node->is_ending) {
        return GV_ERR_CLOSED;
    }
    if (node->is_draining) {
        node->is_draining = false;
        keep_reference(node, NULL);
        give_orders(node, NULL);
        gv_log_info("drain_over", "connections=%llu",
                    (unsigned long long)gv__node_connections(node));
    }
    gv__node_fill_drain(node, state_out);
    return GV_OK;
}

/* ---- for good -----------------------------------------------------------------------------------
 */

static bool has_ended(const gv_node_t *node)
{
    return gv__node_connections(node) == 0 &&
           atomic_load_explicit(&node->has_cluster_left, memory_order_acquire);
}

static void on_end_timer(gv_timer_t *timer)
{
    gv_node_t *node = gv_container_of(timer, gv_node_t, end_timer);
    gv_loop_assert_current(node->main_loop);
    if (gv__node_connections(node) == 0 && !node->is_leaving) {
        /* Only now: what clients sent last is on its way to the other nodes. */
        node->is_leaving = true;
        gv__node_cluster_leave(node);
    }
    if (has_ended(node) || gv_loop_now_ms(node->main_loop) >= node->end_until_ms) {
        gv__node_stop(node);
        return;
    }
    gv_loop_timer_start(node->main_loop, timer, 20);
}

/* As slowly as the operator likes, but half of the time is for who is slow to go. */
static uint64_t clients_per_second_at_end(const gv_node_t *node, uint64_t connections)
{
    uint64_t wanted = node->config->drain.clients_per_second;
    uint64_t needed = connections * 2000 / node->config->drain.stop_timeout_ms + 1;
    needed = needed < GV_BUCKET_RATE_MAX ? needed : GV_BUCKET_RATE_MAX;
    return wanted == 0 || wanted > needed ? wanted : needed;
}

void gv__node_end(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    uint64_t connections = gv__node_connections(node);
    if (node->is_ending) {
        gv_log_warn("drain_cut_short", "connections=%llu", (unsigned long long)connections);
        gv__node_stop(node);
        return;
    }
    node->is_draining = true;
    node->is_ending = true;
    gv_log_info("stopping", "connections=%llu", (unsigned long long)connections);
    gv__node_listeners_close(node);
    if (node->drain_reference == NULL && node->config->drain.server_reference[0] != '\0') {
        keep_reference(node, node->config->drain.server_reference);
    }
    bool has_reference = node->drain_reference != NULL && node->drain_reference[0] != '\0';
    gv_drain_t drain = {
        .reason = has_reference ? redirection(node) : GV_MQTT_SERVER_SHUTTING_DOWN,
        .server_reference = has_reference ? gv_bytes_text(node->drain_reference) : GV_BYTES_EMPTY,
        .clients = rate_of(clients_per_second_at_end(node, connections)),
        .bucket = &node->drained,
        .is_final = true,
    };
    give_orders(node, &drain);
    node->end_until_ms = gv_loop_now_ms(node->main_loop) + node->config->drain.stop_timeout_ms;
    gv_loop_timer_start(node->main_loop, &node->end_timer, 20);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

void gv__node_drain_init(gv_node_t *node)
{
    gv_bucket_init(&node->drained);
    gv_timer_init(&node->end_timer, on_end_timer);
    node->drain_ops = (gv_drain_ops_t){.begin = begin, .end = end, .arg = node};
}

void gv__node_drain_deinit(gv_node_t *node)
{
    keep_reference(node, NULL);
}
