/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Questions of the admin port that shards answer, or the router's writer: a letter there, and back.
 */
#include <stdio.h>

#include "broker/node_p.h"

static void on_back(gv_letter_t *letter)
{
    gv_walk_t *walk = gv_container_of(letter, gv_walk_t, letter);
    gv_node_t *node = walk->host_arg;
    gv_loop_assert_current(node->main_loop);
    gv_walk_returned(walk, node->is_stopping);
    node->inquiry_count--;
    gv__node_stop_if_idle(node);
}

/* Of routes: on the cluster loop, where the router's writer is. */
static void on_asked_router(gv_letter_t *letter)
{
    gv_walk_t *walk = gv_container_of(letter, gv_walk_t, letter);
    gv_node_t *node = walk->host_arg;
    gv_loop_assert_current(node->cluster_loop);
    gv_walk_router_slice(walk, node->router);
    letter->deliver = on_back;
    gv_loop_send(node->main_loop, letter);
}

static void on_asked(gv_letter_t *letter)
{
    gv_walk_t *walk = gv_container_of(letter, gv_walk_t, letter);
    gv_node_t *node = walk->host_arg;
    gv_node_shard_t *shard = &node->shards[walk->at.shard];
    /* The main loop goes on until its inquiries are back, and the shards' go on longer than it. */
    gv_loop_assert_current(shard->loop);
    gv_walk_slice(walk, shard->shard);
    letter->deliver = on_back;
    gv_loop_send(node->main_loop, letter);
}

static void send_walk(void *arg, gv_walk_t *walk)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    walk->host_arg = node;
    bool is_of_router = walk->kind->router_slice != NULL;
    walk->letter.deliver = is_of_router ? on_asked_router : on_asked;
    node->inquiry_count++;
    gv_loop_send(is_of_router ? node->cluster_loop : node->shards[walk->at.shard].loop,
                 &walk->letter);
}

static void node_name(void *arg, uint8_t index, char *out, size_t out_size)
{
    const gv_node_t *node = arg;
    out[0] = '\0';
    if (node->cluster == NULL) {
        return;
    }
    gv_loop_assert_current(node->cluster_loop);
    gv_cluster_status_t *status = NULL;
    gv_cluster_status_new(node->cluster, &status);
    for (size_t i = 0; i < status->member_count; i++) {
        if (status->members[i].index == index) {
            (void)snprintf(out, out_size, "%s", status->members[i].member.name);
        }
    }
    gv_cluster_status_free(&status);
}

static const gv_shard_stats_t *stats_of(void *arg, uint16_t shard)
{
    const gv_node_t *node = arg;
    return gv_shard_stats(node->shards[shard].shard);
}

void gv__node_walk_init(gv_node_t *node)
{
    node->walk_host = (gv_walk_host_t){
        .send = send_walk,
        .stats = stats_of,
        .node_name = node_name,
        .arg = node,
        .node = node->identity.node_name,
        .hash_seed = node->hash_seed,
        .retained_seed = node->retained_common.seed,
        .shard_count = node->shard_count,
    };
    node->retained_source =
        (gv_retained_source_t){.host = &node->walk_host, .publish = &node->publish_ops};
}
