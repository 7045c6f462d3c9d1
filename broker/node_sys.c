/* SPDX-License-Identifier: Apache-2.0 */
/* $SYS/broker topics: the main loop asks for a snapshot, a shard publishes what has changed. */
#include "base/alloc.h"
#include "broker/node_p.h"

/* Messages on their way to the shard that publishes them; they are kept messages. */
typedef struct bundle {
    gv_letter_t letter;
    gv_node_shard_t *shard;
    size_t count;
    gv_msgbuf_t *messages[80];
} bundle_t;

static void on_bundle(gv_letter_t *letter)
{
    bundle_t *bundle = gv_container_of(letter, bundle_t, letter);
    for (size_t i = 0; i < bundle->count; i++) {
        if (!gv_loop_is_stopping(bundle->shard->loop)) {
            gv_publish_t publish = gv_publish_of(bundle->messages[i]);
            publish.kept = NULL; /* small: copied where it goes, and the view's bytes are ours */
            gv_shard_publish(bundle->shard->shard, &publish);
        }
        gv_msgbuf_unref(&bundle->messages[i]);
    }
    gv_free(bundle);
}

static void on_topic(gv_bytes_t topic, gv_bytes_t payload, void *arg)
{
    bundle_t *bundle = arg;
    gv_publish_t publish = {.topic = topic, .payload = payload, .retain = true};
    GV_ASSERT(bundle->count < sizeof(bundle->messages) / sizeof(bundle->messages[0]));
    if (gv_publish_keep(&publish, &bundle->messages[bundle->count]) == GV_OK) {
        bundle->count++;
    }
    gv_publish_done(&publish);
}

static void on_gathered(const gv_status_t *status, void *arg)
{
    gv_node_t *node = arg;
    gv_loop_assert_current(node->main_loop);
    node->is_sys_asking = false;
    if (node->sys_topics == NULL) {
        return; /* the node has been stopped since we asked */
    }
    bundle_t *bundle = GV_NEW(bundle_t);
    bundle->shard = &node->shards[0];
    bundle->letter.deliver = on_bundle;
    gv_sys_topics_report(node->sys_topics, status, gv_loop_now_ms(node->main_loop), on_topic,
                         bundle);
    gv_loop_send(bundle->shard->loop, &bundle->letter);
}

static void on_due(gv_timer_t *timer)
{
    gv_node_t *node = gv_container_of(timer, gv_node_t, sys_timer);
    gv_loop_assert_current(node->main_loop);
    if (!node->is_sys_asking) {
        node->is_sys_asking = true;
        node->status_source.gather(node->status_source.arg, on_gathered, node);
    }
    gv__node_sys_start(node);
}

void gv__node_sys_start(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    uint64_t interval_ms = node->config->mqtt.sys_interval_ms;
    if (node->sys_topics == NULL) {
        gv_sys_topics_new(&node->sys_topics);
        gv_timer_init(&node->sys_timer, on_due);
        interval_ms = interval_ms > 0 ? 100 : 0; /* the first ones soon */
    }
    if (interval_ms > 0) {
        gv_loop_timer_start(node->main_loop, &node->sys_timer, interval_ms);
    } else {
        gv_timer_stop(&node->sys_timer);
    }
}

void gv__node_sys_stop(gv_node_t *node)
{
    if (node->sys_topics != NULL) {
        gv_timer_stop(&node->sys_timer);
        gv_sys_topics_free(&node->sys_topics);
    }
}
