/* SPDX-License-Identifier: Apache-2.0 */
/* Joining, leaving and forgetting: from the admin port to the cluster loop and back. */
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "broker/node_p.h"

typedef struct order {
    gv_letter_t letter;
    gv_node_t *node;
    gv_err_t (*run)(gv_node_t *node, const char *text);
    gv_members_done_cb_t *done;
    void *done_arg;
    gv_err_t err;
    char text[];
} order_t;

/* ---- on the cluster loop ------------------------------------------------------------------------
 */

static gv_err_t join(gv_node_t *node, const char *seed)
{
    gv_loop_assert_current(node->cluster_loop);
    return gv_cluster_join(node->cluster, seed);
}

static bool is_meant(const gv_member_status_t *member, const char *name_or_id)
{
    char id[GV_NODE_ID_SIZE * 2 + 1];
    for (size_t i = 0; i < GV_NODE_ID_SIZE; i++) {
        (void)snprintf(id + i * 2, 3, "%02x", member->id.bytes[i]);
    }
    return strcmp(member->name, name_or_id) == 0 || strcmp(id, name_or_id) == 0;
}

/*
 * A name may be that of several: of a node that was replaced and of those that replaced it.  All of
 * them that are gone are forgotten.
 */
static gv_err_t forget(gv_node_t *node, const char *name_or_id)
{
    gv_loop_assert_current(node->cluster_loop);
    gv_cluster_status_t *status = NULL;
    gv_cluster_status_new(node->cluster, &status);
    gv_err_t result = GV_ERR_NOENT;
    for (size_t i = 0; i < status->member_count; i++) {
        const gv_cluster_member_t *member = &status->members[i];
        if (!is_meant(&member->member, name_or_id)) {
            continue;
        }
        gv_err_t err = member->index == GV_NODE_SELF
                           ? GV_ERR_BUSY
                           : gv_cluster_forget(node->cluster, member->index);
        if (err == GV_OK || result == GV_ERR_NOENT) {
            result = err;
        }
    }
    gv_cluster_status_free(&status);
    return result;
}

/* ---- there and back -----------------------------------------------------------------------------
 */

static void finish(order_t *order)
{
    gv_node_t *node = order->node;
    order->done(order->err, order->done_arg);
    gv_free(order);
    node->inquiry_count--;
    gv__node_stop_if_idle(node);
}

static void on_back(gv_letter_t *letter)
{
    finish(gv_container_of(letter, order_t, letter));
}

static void on_asked(gv_letter_t *letter)
{
    order_t *order = gv_container_of(letter, order_t, letter);
    gv_node_t *node = order->node;
    gv_loop_assert_current(node->cluster_loop);
    order->err = order->run(node, order->text);
    order->letter.deliver = on_back;
    gv_loop_send(node->main_loop, &order->letter);
}

static void ask(gv_node_t *node, gv_err_t (*run)(gv_node_t *node, const char *text),
                const char *text, gv_members_done_cb_t *done, void *done_arg)
{
    gv_loop_assert_current(node->main_loop);
    if (node->cluster == NULL || node->is_ending) {
        done(GV_ERR_CLOSED, done_arg);
        return;
    }
    size_t size = strlen(text) + 1;
    order_t *order = gv_xcalloc(1, sizeof(*order) + size);
    order->node = node;
    order->run = run;
    order->done = done;
    order->done_arg = done_arg;
    memcpy(order->text, text, size);
    order->letter.deliver = on_asked;
    node->inquiry_count++;
    gv_loop_send(node->cluster_loop, &order->letter);
}

static void ask_to_join(void *arg, const char *seed, gv_members_done_cb_t *done, void *done_arg)
{
    ask(arg, join, seed, done, done_arg);
}

static void ask_to_forget(void *arg, const char *name_or_id, gv_members_done_cb_t *done,
                          void *done_arg)
{
    ask(arg, forget, name_or_id, done, done_arg);
}

static gv_err_t leave(void *arg)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    if (node->cluster == NULL) {
        return GV_ERR_CLOSED;
    }
    if (node->is_ending) {
        return GV_ERR_BUSY;
    }
    gv_log_info("leaving_cluster", "cluster='%s'", node->config->cluster.name);
    gv__node_end(node);
    return GV_OK;
}

void gv__node_members_init(gv_node_t *node)
{
    node->members_ops = (gv_members_ops_t){
        .join = ask_to_join, .forget = ask_to_forget, .leave = leave, .arg = node};
}
