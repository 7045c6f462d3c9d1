/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

/*
 * What a shard does while the node's memory is scarce, besides saying no: it looks often whether
 * that is over, and when it has to, it disconnects those clients that hold most and move least.
 *
 * Clients are looked at a slice of the table at a time, so with many of them it is not the very
 * largest that goes first; but nobody's turn takes long.
 */
#include "base/log.h"
#include "broker/core/shard_p.h"

/* Time between two looks, while memory is scarce and while it is not [ms]. */
#define LOOK_SCARCE_MS 100U
#define LOOK_ENOUGH_MS 1000U

/* Places in the table of clients that one round looks at. */
#define SLICE 4096U

/* Clients that one round may end. */
#define ENDS_MAX 16U

/* Who holds less is not worth ending [bytes]. */
#define HELD_MIN ((size_t)16384)

/* Without progress for so long, a client is slow [ms]. */
#define SLOW_MS 1000U

/* More output than this is thrown away at once: its reader would be waited for in vain [bytes]. */
#define FLUSHED_MAX ((size_t)16384)

/* Somebody who holds memory. */
typedef struct holder {
    gv_client_t *client;
    size_t held;
    bool is_slow;
} holder_t;

/* The holders of a round, the one to end first in front. */
typedef struct holders {
    holder_t items[ENDS_MAX];
    size_t count;
} holders_t;

/* ---- who holds what ------------------------------------------------------------------------- */

static holder_t holder_of(gv_client_t *client)
{
    const gv_shard_t *shard = client->shard;
    const gv_conn_ports_t *conn = shard->ports.conn;
    holder_t holder = {.client = client};
    size_t output = gv_outbuf_size(gv__client_out(client));
    size_t input = conn->held != NULL ? conn->held(client->conn) : 0;
    size_t queue = 0;
    if (client->session != NULL) {
        const gv_queue_t *waiting = &client->session->flow->queue;
        queue = waiting->bytes + waiting->count * sizeof(gv_queued_t);
    }
    holder.held = output + input + queue;
    bool takes_nothing = output > 0 && shard->now_ms - client->conn->progress_ms >= SLOW_MS;
    bool sends_nothing = input >= HELD_MIN && client->paused == 0 &&
                         shard->now_ms - client->last_input_ms >= SLOW_MS;
    bool confirms_nothing = queue > 0 && output == 0;
    holder.is_slow = takes_nothing || sends_nothing || confirms_nothing;
    return holder;
}

static bool goes_before(const holder_t *a, const holder_t *b)
{
    return a->is_slow != b->is_slow ? a->is_slow : a->held > b->held;
}

static void insert(holders_t *holders, holder_t holder)
{
    size_t place = holders->count;
    while (place > 0 && goes_before(&holder, &holders->items[place - 1])) {
        place--;
    }
    if (place == ENDS_MAX) {
        return;
    }
    size_t kept = holders->count < ENDS_MAX ? holders->count : ENDS_MAX - 1;
    memmove(&holders->items[place + 1], &holders->items[place], (kept - place) * sizeof(holder_t));
    holders->items[place] = holder;
    holders->count = kept + 1;
}

static void find_holders(gv_shard_t *shard, holders_t *holders)
{
    uint32_t count = shard->client_count < SLICE ? shard->client_count : SLICE;
    for (uint32_t i = 0; i < count; i++) {
        if (shard->relief_cursor >= shard->client_count) {
            shard->relief_cursor = 0;
        }
        gv_client_t *client = shard->clients[shard->relief_cursor++].client;
        if (client == NULL || client->state == GV_CLIENT_CLOSING) {
            continue;
        }
        holder_t holder = holder_of(client);
        if (holder.held >= HELD_MIN) {
            insert(holders, holder);
        }
    }
}

/* ---- giving way ----------------------------------------------------------------------------- */

static void end(gv_shard_t *shard, const holder_t *holder)
{
    gv_client_t *client = holder->client;
    gv_conn_t *conn = client->conn;
    gv_counter_add(&shard->stats.memory_closed, 1);
    gv_log_peer(GV_LOG_WARN, "memory_gave_way", "peer='%s' held_bytes=%zu slow=%d", conn->peer,
                holder->held, holder->is_slow ? 1 : 0);
    bool is_stuck = gv_outbuf_size(gv__client_out(client)) > FLUSHED_MAX;
    gv__client_end(client, GV_MQTT_QUOTA_EXCEEDED, true);
    if (is_stuck && shard->ports.conn->drop != NULL) {
        shard->ports.conn->drop(conn);
    }
}

/* Clients that move are ended only when nothing else helps and it has to be now. */
static void give_way(gv_shard_t *shard, uint64_t excess)
{
    holders_t holders = {.count = 0};
    find_holders(shard, &holders);
    uint64_t wanted = excess / shard->count;
    uint64_t given = 0;
    shard->ports.read_begin(shard->ports.arg);
    for (size_t i = 0; i < holders.count && given <= wanted; i++) {
        const holder_t *holder = &holders.items[i];
        if (!holder->is_slow && (shard->memory_state != GV_MEMORY_CRITICAL || given > 0)) {
            break;
        }
        given += holder->held;
        end(shard, holder);
    }
    shard->ports.read_end(shard->ports.arg);
}

/* ---- looking -------------------------------------------------------------------------------- */

static void arm(gv_shard_t *shard)
{
    uint32_t delay_ms = gv__memory_is_scarce(shard) ? LOOK_SCARCE_MS : LOOK_ENOUGH_MS;
    gv_timer_start(shard->wheel, &shard->memory_timer, shard->now_ms + delay_ms);
}

static void on_look(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, memory_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv__relief_look(shard);
    uint64_t excess = gv_memory_excess(shard->memory, shard->now_ms);
    if (gv__memory_is_scarce(shard) && excess > 0) {
        give_way(shard, excess);
    }
    arm(shard);
}

void gv__relief_init(gv_shard_t *shard)
{
    gv_list_init(&shard->starving);
    gv_timer_init(&shard->memory_timer, on_look);
    if (shard->memory != NULL) {
        shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
        arm(shard);
    }
}

void gv__relief_deinit(gv_shard_t *shard)
{
    gv_timer_stop(&shard->memory_timer);
}

void gv__relief_changed(gv_shard_t *shard, gv_memory_state_t state)
{
    shard->memory_state = (uint8_t)state;
    if (state == GV_MEMORY_ENOUGH) {
        gv_list_t list;
        gv_list_init(&list);
        gv_list_splice(&list, &shard->starving);
        for (gv_link_t *link; (link = gv_list_take_first(&list)) != NULL;) {
            /* Perhaps it waited for credit before; it asks again. */
            gv__client_resume(gv_container_of(link, gv_client_t, link),
                              GV_PAUSE_MEMORY | GV_PAUSE_CREDIT);
        }
    }
    arm(shard);
}

void gv__relief_starve(gv_client_t *client)
{
    gv_shard_t *shard = client->shard;
    if (!gv__memory_is_scarce(shard) || client->ending_reason != 0 ||
        (client->paused & GV_PAUSE_MEMORY) != 0 || client->state != GV_CLIENT_CONNECTED) {
        return;
    }
    gv_counter_add(&shard->stats.publishers_starved, 1);
    gv__client_pause(client, GV_PAUSE_MEMORY);
    gv_list_remove(&client->link);
    gv_list_append(&shard->starving, &client->link);
}
