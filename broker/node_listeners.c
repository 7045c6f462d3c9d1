/* SPDX-License-Identifier: Apache-2.0 */
/* The addresses of a node: clients' listeners, and what status says of them. */
#include "base/alloc.h"
#include "base/log.h"
#include "broker/node_p.h"

static gv_listeners_tls_t tls_of(const gv_config_t *config)
{
    return (gv_listeners_tls_t){
        .cert = config->tls.cert,
        .key = config->tls.key,
        .ca = config->tls.ca,
        .verify_client = config->tls.verify_client,
    };
}

static gv_timer_cb_t on_ready_wait_over;

gv_err_t gv__node_listeners_new(gv_node_t *node, gv_error_text_t *error)
{
    node->shard_loops = gv_xcalloc(node->shard_count, sizeof(gv_loop_t *));
    for (uint16_t i = 0; i < node->shard_count; i++) {
        node->shard_loops[i] = node->shards[i].loop;
    }
    gv_listeners_options_t options = {
        .items = node->config->listeners.items,
        .count = node->config->listeners.count,
        .loops = node->shard_loops,
        .frontends = node->frontends,
        .loop_count = node->shard_count,
        .tls = tls_of(node->config),
    };
    gv_timer_init(&node->ready_timer, on_ready_wait_over);
    return gv_listeners_bind(&options, &node->listeners, error);
}

/* ---- when clients are taken ---------------------------------------------------------------------
 *
 * Addresses are bound when the node is made, so that a port in use is an error of the start, and
 * listened on when the node is in step with the others: until then clients are refused and go
 * elsewhere.  If they came at once, what they publish would miss the sessions of other nodes whose
 * routes are not here yet.
 */

static void open_listeners(gv_node_t *node)
{
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv__node_shard_release_dues(&node->shards[i]);
    }
    gv_error_text_t error;
    if (gv_listeners_open(node->listeners, &error) != GV_OK) {
        gv_log_error("not_started", "error='%s'", error.text);
        gv__node_give_up(node);
        return;
    }
    for (size_t i = 0; i < gv_listeners_count(node->listeners); i++) {
        gv_listeners_info_t info = gv_listeners_info(node->listeners, i);
        if (info.is_bound) {
            gv_log_info("listening", "url='%s' port=%u", info.url, info.port);
        }
    }
}

/* Without seeds there may be no others; whoever comes later finds a node that serves. */
static bool has_to_wait(const gv_node_t *node)
{
    return node->cluster != NULL && node->config->cluster.seeds.count > 0 &&
           node->config->cluster.ready_wait_ms > 0 && !node->has_arrived;
}

void gv__node_listeners_start(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    if (!has_to_wait(node)) {
        open_listeners(node);
        return;
    }
    node->is_waiting = true;
    gv_loop_timer_start(node->main_loop, &node->ready_timer, node->config->cluster.ready_wait_ms);
}

static void stop_waiting(gv_node_t *node)
{
    node->is_waiting = false;
    gv_timer_stop(&node->ready_timer);
}

static void on_ready_wait_over(gv_timer_t *timer)
{
    gv_node_t *node = gv_container_of(timer, gv_node_t, ready_timer);
    gv_loop_assert_current(node->main_loop);
    gv_log_warn("not_in_step", "reason='not all other nodes have answered; clients are taken now'");
    stop_waiting(node);
    open_listeners(node);
}

static void on_arrival(gv_letter_t *letter)
{
    gv_node_t *node = gv_container_of(letter, gv_node_t, arrival_letter);
    node->has_arrived = true;
    if (node->is_waiting) {
        gv_loop_assert_current(node->main_loop);
        stop_waiting(node);
        open_listeners(node);
    }
}

void gv__node_tell_arrival(gv_node_t *node)
{
    gv_loop_assert_current(node->cluster_loop);
    node->is_arrival_told = true;
    node->arrival_letter.deliver = on_arrival;
    gv_loop_send(node->main_loop, &node->arrival_letter);
}

void gv__node_listeners_reload(gv_node_t *node)
{
    gv_listeners_tls_t tls = tls_of(node->config);
    gv_error_text_t error;
    if (gv_listeners_reload_tls(node->listeners, &tls, &error) != GV_OK) {
        gv_log_error("certificates_kept", "reason='%s'", error.text);
    }
}

void gv__node_listeners_close(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    stop_waiting(node);
    gv_listeners_close(node->listeners);
}

void gv__node_listeners_free(gv_node_t *node)
{
    gv_listeners_free(&node->listeners);
    gv_free(node->shard_loops);
}

size_t gv__node_fill_listeners(const gv_node_t *node, gv_status_listener_t **out)
{
    size_t count = gv_listeners_count(node->listeners);
    gv_status_listener_t *items = gv_xcalloc(count + 1, sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        gv_listeners_info_t info = gv_listeners_info(node->listeners, i);
        items[i] = (gv_status_listener_t){
            .url = info.url, .port = info.port, .connections = info.connections};
    }
    *out = items;
    return count;
}
