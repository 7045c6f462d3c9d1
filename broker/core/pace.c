/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a client may send: messages and bytes per second.  What it has sent is taken, and paid
 * for afterwards: while its buckets are in debt its input is not read, so that TCP slows it down
 * and nothing is lost.
 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* The longest sleep before the limits, which may have changed, are looked at again [ms]. */
#define PACE_LOOK_MS 1000U

struct gv_pace {
    gv_timer_t timer; /* while the client is paused */
    gv_client_t *client;
    gv_bucket_t messages;
    gv_bucket_t bytes;
};

static void sleep_off(gv_pace_t *pace, uint64_t debt_ms)
{
    gv_shard_t *shard = pace->client->shard;
    uint64_t sleep_ms = debt_ms < PACE_LOOK_MS ? debt_ms : PACE_LOOK_MS;
    gv_timer_start(shard->wheel, &pace->timer, shard->now_ms + sleep_ms);
}

/* Charges both buckets; returns for how long the deeper one is in debt. */
static uint64_t charge(gv_pace_t *pace, uint64_t messages, uint64_t bytes)
{
    const gv_shard_t *shard = pace->client->shard;
    const gv_limits_t *limits = shard->limits;
    uint64_t a =
        gv_bucket_charge(&pace->messages, &limits->client_messages, messages, shard->now_ms);
    uint64_t b = gv_bucket_charge(&pace->bytes, &limits->client_bytes, bytes, shard->now_ms);
    return a > b ? a : b;
}

static void on_slept(gv_timer_t *timer)
{
    gv_pace_t *pace = gv_container_of(timer, gv_pace_t, timer);
    gv_shard_t *shard = pace->client->shard;
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    uint64_t debt_ms = charge(pace, 0, 0);
    if (debt_ms > 0) {
        sleep_off(pace, debt_ms);
    } else {
        gv__client_resume(pace->client, GV_PAUSE_RATE);
    }
}

static gv_pace_t *pace_of(gv_client_t *client)
{
    gv_shard_t *shard = client->shard;
    if (client->index >= shard->pace_capacity) {
        uint32_t before = shard->pace_capacity;
        shard->pace_capacity = shard->client_capacity;
        shard->paces = gv_xrealloc(shard->paces, shard->pace_capacity * sizeof(gv_pace_t *));
        for (uint32_t i = before; i < shard->pace_capacity; i++) {
            shard->paces[i] = NULL;
        }
    }
    gv_pace_t **pacep = &shard->paces[client->index];
    if (*pacep == NULL) {
        *pacep = GV_NEW(gv_pace_t);
        (*pacep)->client = client;
        gv_timer_init(&(*pacep)->timer, on_slept);
        gv_bucket_init(&(*pacep)->messages);
        gv_bucket_init(&(*pacep)->bytes);
    }
    return *pacep;
}

void gv__pace_charge(gv_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_shard_t *shard = client->shard;
    gv_pace_t *pace = pace_of(client);
    uint64_t debt_ms = charge(pace, frame->type == GV_MQTT_PUBLISH ? 1 : 0, frame->size);
    if (debt_ms > 0 && (client->paused & GV_PAUSE_RATE) == 0) {
        gv_counter_add(&shard->stats.publishers_paced, 1);
        gv__client_pause(client, GV_PAUSE_RATE);
        sleep_off(pace, debt_ms);
    }
}

void gv__pace_forget(gv_client_t *client)
{
    gv_shard_t *shard = client->shard;
    if (client->index < shard->pace_capacity && shard->paces[client->index] != NULL) {
        gv_timer_stop(&shard->paces[client->index]->timer);
        gv_free(shard->paces[client->index]);
        shard->paces[client->index] = NULL;
    }
}
