/* SPDX-License-Identifier: Apache-2.0 */
/* One shard on its thread: the real world behind the ports of broker/core. */
#include "base/alloc.h"
#include "base/io/rcu.h"
#include "base/log.h"
#include "broker/node_p.h"
#include "storage/post.h"
#include "storage/retained_store.h"

/* ---- ports ------------------------------------------------------------------------------------
 */

void gv__node_post(void *arg, uint16_t to, gv_letter_t *letter)
{
    gv_node_t *node = arg;
    gv_loop_t *loop = to == GV_HUB_INDEX ? node->cluster_loop : node->shards[to].loop;
    if (loop == NULL) { /* freed already: see gv_node_free() */
        letter->_next = node->late_letters;
        node->late_letters = letter;
        return;
    }
    gv_loop_send(loop, letter);
}

void gv__node_read_begin(void *arg)
{
    (void)arg;
    gv_rcu_read_begin();
}

void gv__node_read_end(void *arg)
{
    (void)arg;
    gv_rcu_read_end();
}

uint64_t gv__node_monotonic_ms(void *arg)
{
    (void)arg;
    const gv_loop_t *loop = gv_loop_current();
    if (loop == NULL) {
        return gv_clock_monotonic_ms(gv_os_clock()); /* before and after the loops run */
    }
    gv_loop_assert_current(loop);
    return gv_loop_now_ms(loop);
}

static void shard_post(void *arg, uint16_t to, gv_letter_t *letter)
{
    gv__node_post(((gv_node_shard_t *)arg)->node, to, letter);
}

/* ---- retained messages on disk ----------------------------------------------------------------
 */

/* Tickets are copied as bytes; this is how long one may be. */
#define TICKET_SIZE_MAX 32U

typedef struct gv_retain_group {
    gv_node_shard_t *shard;
    size_t count;
    size_t capacity;
    uint8_t (*tickets)[TICKET_SIZE_MAX];
} gv_retain_group_t;

static void on_retained_stored(gv_err_t result, void *arg)
{
    gv_retain_group_t *group = arg;
    if (result != GV_OK) {
        gv_log_peer(GV_LOG_ERROR, "retained_not_stored", "messages=%zu error='%s'", group->count,
                    gv_err_text(result));
    }
    for (size_t i = 0; i < group->count; i++) {
        gv_shard_retain_stored(group->shard->shard, group->tickets[i], result);
    }
    gv_free(group->tickets);
    gv_free(group);
}

/* A stamp above all that this shard has given, near the time of day (design 6.2, P7). */
static uint64_t next_stamp(gv_node_shard_t *shard)
{
    uint64_t now = gv_clock_realtime_ms(gv_os_clock()) << 16;
    shard->hlc = now > shard->hlc ? now : shard->hlc + 1;
    return shard->hlc;
}

static uint64_t real_deadline_ms(const gv_publish_t *publish)
{
    if (publish->expires_at_ms == 0) {
        return 0;
    }
    uint64_t now_ms = gv__node_monotonic_ms(NULL);
    uint64_t left_ms = publish->expires_at_ms > now_ms ? publish->expires_at_ms - now_ms : 0;
    return gv_clock_realtime_ms(gv_os_clock()) + left_ms;
}

static bool retain_store(void *arg, gv_bytes_t topic, gv_msgbuf_t *kept, const void *ticket,
                         size_t ticket_size)
{
    gv_node_shard_t *shard = arg;
    GV_ASSERT(ticket_size <= TICKET_SIZE_MAX);
    if (shard->retained == NULL) {
        gv_batch_new(&shard->retained);
        shard->waiting = GV_NEW(gv_retain_group_t);
        shard->waiting->shard = shard;
    }
    if (kept == NULL) {
        gv_retained_delete(shard->retained, topic);
    } else {
        gv_publish_t publish = gv_publish_of(kept);
        gv_stored_retained_t record = {
            .topic = publish.topic,
            .payload = publish.payload,
            .properties = publish.props,
            .qos = publish.qos,
            .expires_at_ms = real_deadline_ms(&publish),
            .hlc = next_stamp(shard),
        };
        memcpy(record.node_id, shard->node->identity.node_id, sizeof(record.node_id));
        gv_retained_put(shard->retained, &record);
    }
    gv_retain_group_t *group = shard->waiting;
    if (group->count == group->capacity) {
        group->capacity = group->capacity == 0 ? 8 : group->capacity * 2;
        group->tickets = gv_xrealloc(group->tickets, group->capacity * TICKET_SIZE_MAX);
    }
    memcpy(group->tickets[group->count++], ticket, ticket_size);
    return true;
}

/* What became retained in this turn is one batch. */
static void submit_retained(gv_node_shard_t *shard)
{
    if (shard->retained != NULL) {
        gv_retain_group_t *group = shard->waiting;
        shard->waiting = NULL;
        if (shard->node->store == NULL) { /* a last letter, after the store was closed */
            gv_batch_free(&shard->retained);
            on_retained_stored(GV_ERR_CLOSED, group);
            return;
        }
        gv_store_submit(&shard->lane, &shard->retained, on_retained_stored, group);
    }
}

static gv_err_t load_one(const gv_stored_retained_t *record, void *arg)
{
    gv_node_t *node = arg;
    uint64_t now_ms = gv_clock_realtime_ms(gv_os_clock());
    if (record->is_tombstone || (record->expires_at_ms != 0 && record->expires_at_ms <= now_ms)) {
        return GV_OK;
    }
    gv_publish_t publish = {
        .topic = record->topic,
        .payload = record->payload,
        .props = record->properties,
        .qos = record->qos,
        .retain = true,
    };
    if (record->expires_at_ms != 0) {
        publish.expires_at_ms = gv__node_monotonic_ms(NULL) + (record->expires_at_ms - now_ms);
    }
    gv_msgbuf_t *kept = NULL;
    gv_err_t err = gv_publish_keep(&publish, &kept);
    if (err == GV_OK) {
        uint16_t home = gv_shard_home(record->topic, node->hash_seed, node->shard_count);
        gv_shard_retain_load(node->shards[home].shard, kept);
        gv_msgbuf_unref(&kept);
        gv_publish_done(&publish);
    }
    return err;
}

gv_err_t gv__node_load_retained(gv_node_t *node)
{
    return gv_retained_load(node->store, load_one, node);
}

/* ---- turn, drain, reload ----------------------------------------------------------------------
 */

static void on_turn_end(gv_job_t *job)
{
    gv_node_shard_t *shard = gv_container_of(job, gv_node_shard_t, turn_end);
    gv_shard_turn_end(shard->shard);
    submit_retained(shard);
}

static void on_start(gv_letter_t *letter)
{
    gv_node_shard_t *shard = gv_container_of(letter, gv_node_shard_t, start_letter);
    gv_loop_assert_current(shard->loop);
    gv_loop_on_turn_end(shard->loop, &shard->turn_end);
}

static void on_drain(gv_letter_t *letter)
{
    gv_node_shard_t *shard = gv_container_of(letter, gv_node_shard_t, drain_letter);
    gv_shard_drain(shard->shard);
}

/* New limits on their way to the shard's thread. */
typedef struct reload {
    gv_letter_t letter;
    gv_node_shard_t *shard;
    gv_limits_t limits;
} reload_t;

static void on_reload(gv_letter_t *letter)
{
    reload_t *reload = gv_container_of(letter, reload_t, letter);
    gv_node_shard_t *shard = reload->shard;
    if (!gv_loop_is_stopping(shard->loop)) {
        gv_loop_assert_current(shard->loop);
        shard->limits = reload->limits;
        gv_frontend_set_packet_size_max(shard->node->frontends[gv_loop_index(shard->loop)],
                                        reload->limits.packet_size_max);
    }
    gv_free(reload);
}

void gv__node_shard_reload(gv_node_shard_t *shard, gv_limits_t limits)
{
    reload_t *reload = GV_NEW(reload_t);
    reload->letter.deliver = on_reload;
    reload->shard = shard;
    reload->limits = limits;
    gv_loop_send(shard->loop, &reload->letter);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static gv_err_t open_loop(gv_node_t *node, gv_node_shard_t *shard, uint16_t index,
                          gv_error_text_t *error)
{
    char name[16];
    (void)snprintf(name, sizeof(name), "shard-%u", index);
    /* A letter is a parcel with hundreds of messages: few of them, then sockets again. */
    gv_loop_options_t options = {.name = name, .index = index, .letters_per_turn = 16};
    gv_err_t err = gv_loop_new(&options, &shard->loop);
    if (err != GV_OK) {
        (void)snprintf(error->text, sizeof(error->text), "cannot make an event loop: %s",
                       gv_err_text(err));
        return err;
    }
    shard->node = node;
    return GV_OK;
}

gv_err_t gv__node_shard_new(gv_node_t *node, uint16_t index, gv_limits_t limits,
                            gv_error_text_t *error)
{
    gv_node_shard_t *shard = &node->shards[index];
    gv_err_t err = open_loop(node, shard, index, error);
    if (err != GV_OK) {
        return err;
    }
    shard->limits = limits;
    uint64_t random_seed = 0;
    gv_os_random(&random_seed, sizeof(random_seed));
    gv_shard_options_t options = {
        .index = index,
        .count = node->shard_count,
        .hash_seed = node->hash_seed,
        .random_seed = random_seed,
        .limits = &shard->limits,
        .router = node->router,
        .nodes_alive = &node->nodes_alive,
        .wheel = gv_loop_wheel(shard->loop),
        .pool = gv_loop_chunkpool(shard->loop),
        .ports =
            {
                .arg = shard,
                .post = shard_post,
                .read_begin = gv__node_read_begin,
                .read_end = gv__node_read_end,
                .monotonic_ms = gv__node_monotonic_ms,
                .retain_store = retain_store,
                .conn = gv_frontend_ports(),
            },
    };
    gv_shard_new(&options, &shard->shard);
    gv_store_lane_init(&shard->lane, node->store, gv_store_post_to_loop, shard->loop);
    gv_frontend_options_t frontend_options = {
        .loop = shard->loop,
        .shard = shard->shard,
        .frontends = node->frontends,
        .packet_size_max = limits.packet_size_max,
    };
    gv_frontend_new(&frontend_options, &node->frontends[index]);
    shard->hlc = node->identity.hlc_floor;
    shard->turn_end.run = on_turn_end;
    shard->start_letter.deliver = on_start;
    shard->drain_letter.deliver = on_drain;
    return GV_OK;
}

void gv__node_shard_settle(gv_node_shard_t *shard)
{
    gv_batch_free(&shard->retained); /* only if it never ran a turn to its end */
    gv_loop_free(&shard->loop);
}

void gv__node_shard_free(gv_node_shard_t *shard)
{
    uint16_t index = (uint16_t)(shard - shard->node->shards);
    gv_store_lane_deinit(&shard->lane);
    gv_frontend_free(&shard->node->frontends[index]);
    gv_shard_free(&shard->shard);
}

uint64_t gv__node_connections(const gv_node_t *node)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < node->shard_count; i++) {
        count += gv_counter_get(&gv_frontend_stats(node->frontends[i])->connections);
    }
    return count;
}
