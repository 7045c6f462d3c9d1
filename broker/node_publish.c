/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from the admin port: to the shard of their topic, so that those of one topic stay in
 * order, and back when they are safe.
 *
 * That may take as long as another node, or a client, takes.  So the node does not wait for them
 * when it stops: who has asked is answered, and the orders are freed with the node.
 */
#include "base/alloc.h"
#include "broker/core/submission.h"
#include "broker/node_p.h"

/* Messages under way at a time. */
#define ORDERS_MAX 1024U

typedef struct order {
    gv_letter_t letter;
    gv_link_t link; /* in node->publishes; the main loop's, as is done */
    gv_node_t *node;
    gv_publish_done_cb_t *done; /* NULL: has been answered */
    void *done_arg;
    gv_submission_t submission; /* the shard's, while the letter is there */
    gv_node_shard_t *shard;
    uint8_t bytes[]; /* topic, payload, properties */
} order_t;

static void order_free(order_t *order)
{
    gv_list_remove(&order->link);
    order->node->publish_count--;
    gv_free(order);
}

static void on_back(gv_letter_t *letter)
{
    order_t *order = gv_container_of(letter, order_t, letter);
    if (order->done != NULL) {
        order->done(GV_OK, (gv_mqtt_reason_t)order->submission.reason, order->done_arg);
    }
    order_free(order);
}

/* On the shard's thread. */
static void on_safe(gv_submission_t *submission)
{
    order_t *order = gv_container_of(submission, order_t, submission);
    order->letter.deliver = on_back;
    gv_loop_send(order->node->main_loop, &order->letter);
}

static void on_asked(gv_letter_t *letter)
{
    order_t *order = gv_container_of(letter, order_t, letter);
    if (gv_loop_is_stopping(order->shard->loop)) {
        return; /* freed with the node */
    }
    gv_loop_assert_current(order->shard->loop);
    if (gv_shard_submit(order->shard->shard, &order->submission)) {
        on_safe(&order->submission);
    }
}

static gv_bytes_t put(gv_bytes_t bytes, uint8_t **end)
{
    uint8_t *begin = *end;
    if (bytes.size > 0) {
        memcpy(begin, bytes.data, bytes.size);
    }
    *end += bytes.size;
    return gv_bytes(begin, bytes.size);
}

static void publish(void *arg, const gv_publish_request_t *request, gv_publish_done_cb_t *done,
                    void *done_arg)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    if (node->is_stopping || node->publish_count == ORDERS_MAX) {
        done(node->is_stopping ? GV_ERR_CLOSED : GV_ERR_BUSY, GV_MQTT_SUCCESS, done_arg);
        return;
    }
    order_t *order = gv_xcalloc(1, sizeof(*order) + request->topic.size + request->payload.size +
                                       request->props.size);
    order->node = node;
    order->done = done;
    order->done_arg = done_arg;
    uint8_t *end = order->bytes;
    order->submission = (gv_submission_t){
        .topic = put(request->topic, &end),
        .payload = put(request->payload, &end),
        .qos = request->qos,
        .retain = request->retain,
        .done = on_safe,
    };
    gv_reader_t props = gv_reader(put(request->props, &end));
    gv_mqtt_reason_t reason;
    gv_err_t err = gv_mqtt_props_decode(&props, GV_MQTT_PUBLISH, &order->submission.props, &reason);
    GV_ASSERT(err == GV_OK); /* the request has been checked */
    order->shard =
        &node->shards[gv_shard_home(order->submission.topic, node->hash_seed, node->shard_count)];
    gv_list_append(&node->publishes, &order->link);
    node->publish_count++;
    order->letter.deliver = on_asked;
    gv_loop_send(order->shard->loop, &order->letter);
}

void gv__node_publish_init(gv_node_t *node)
{
    gv_list_init(&node->publishes);
    node->publish_ops = (gv_publish_ops_t){.publish = publish, .arg = node};
}

void gv__node_publish_stop(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    gv_list_foreach (&node->publishes, link) {
        order_t *order = gv_container_of(link, order_t, link);
        if (order->done != NULL) {
            order->done(GV_ERR_CLOSED, GV_MQTT_SUCCESS, order->done_arg);
            order->done = NULL;
        }
    }
}

void gv__node_publish_deinit(gv_node_t *node)
{
    for (gv_link_t *link; (link = gv_list_first(&node->publishes)) != NULL;) {
        order_free(gv_container_of(link, order_t, link));
    }
}
