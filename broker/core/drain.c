/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending clients away, a few at a time: a node that is drained all at once makes its whole fleet
 * arrive somewhere else in the same second.
 */
#include "broker/core/shard_p.h"

/* How often a shard asks whether more clients may go [ms]. */
#define DRAIN_LOOK_MS 20U

/* And, at the end of the table, whether all are gone [ms]. */
#define DRAIN_AGAIN_MS 1000U

/*
 * Walks down the table from where it stopped.  Who has not sent CONNECT yet is told where to go
 * when it does, unless the node ends.
 */
static void send_some_away(gv_shard_t *shard)
{
    const gv_drain_t *drain = shard->drain;
    while (shard->drain_left > 0) {
        gv_client_t *client = shard->clients[shard->drain_left - 1].client;
        bool is_connected = client != NULL && client->state == GV_CLIENT_CONNECTED;
        if (is_connected && !gv_bucket_try(drain->bucket, &drain->clients, shard->now_ms)) {
            gv_timer_start(shard->wheel, &shard->drain_timer, shard->now_ms + DRAIN_LOOK_MS);
            return;
        }
        shard->drain_left--;
        if (is_connected) {
            gv_counter_add(&shard->stats.drained, 1);
            gv__client_end(client, drain->reason, true);
        } else if (client != NULL && client->state == GV_CLIENT_AUTHENTICATES) {
            (void)gv__connect_refuse(client, client->peer.version, gv__drain_refusal(shard));
        } else if (client != NULL && drain->is_final) {
            gv__client_end(client, GV_MQTT_SUCCESS, false);
        }
    }
    if (gv_counter_get(&shard->stats.connections) > 0) { /* somebody was on his way in */
        shard->drain_left = shard->client_count;
        gv_timer_start(shard->wheel, &shard->drain_timer, shard->now_ms + DRAIN_AGAIN_MS);
    }
}

static void go_on(gv_shard_t *shard)
{
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->ports.read_begin(shard->ports.arg);
    send_some_away(shard);
    shard->ports.read_end(shard->ports.arg);
}

static void on_drain_timer(gv_timer_t *timer)
{
    go_on(gv_container_of(timer, gv_shard_t, drain_timer));
}

void gv__drain_init(gv_shard_t *shard)
{
    gv_timer_init(&shard->drain_timer, on_drain_timer);
}

void gv_shard_drain(gv_shard_t *shard, const gv_drain_t *drain)
{
    GV_ASSERT(drain != NULL);
    GV_ASSERT(drain->clients.per_second == 0 || drain->bucket != NULL);
    gv_timer_stop(&shard->drain_timer);
    shard->drain = drain;
    shard->drain_left = shard->client_count;
    go_on(shard);
}

void gv_shard_undrain(gv_shard_t *shard)
{
    gv_timer_stop(&shard->drain_timer);
    shard->drain = NULL;
    shard->drain_left = 0;
}

gv_bytes_t gv__drain_reference(const gv_shard_t *shard, gv_mqtt_reason_t reason)
{
    bool is_elsewhere = reason == GV_MQTT_USE_ANOTHER_SERVER || reason == GV_MQTT_SERVER_MOVED;
    return is_elsewhere && shard->drain != NULL ? shard->drain->server_reference : GV_BYTES_EMPTY;
}

gv_mqtt_reason_t gv__drain_refusal(const gv_shard_t *shard)
{
    if (shard->drain == NULL) {
        return GV_MQTT_SUCCESS;
    }
    /* CONNACK has no word for shutting down. */
    return shard->drain->reason == GV_MQTT_SERVER_SHUTTING_DOWN ? GV_MQTT_SERVER_UNAVAILABLE
                                                                : shard->drain->reason;
}
