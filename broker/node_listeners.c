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
    return gv_listeners_bind(&options, &node->listeners, error);
}

void gv__node_listeners_open(gv_node_t *node)
{
    gv_listeners_open(node->listeners);
    for (size_t i = 0; i < gv_listeners_count(node->listeners); i++) {
        gv_listeners_info_t info = gv_listeners_info(node->listeners, i);
        if (info.is_bound) {
            gv_log_info("listening", "url='%s' port=%u", info.url, info.port);
        }
    }
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
