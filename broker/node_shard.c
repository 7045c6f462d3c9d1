/* SPDX-License-Identifier: Apache-2.0 */
/* One shard on its thread: the real world behind the ports of broker/core. */
#include <inttypes.h>

#include "base/alloc.h"
#include "base/io/rcu.h"
#include "base/log.h"
#include "broker/client_event.h"
#include "broker/node_p.h"
#include "storage/post.h"
#include "storage/retained_store.h"

/* Log segments kept in memory to send from, all shards together [bytes]. */
#define IMAGE_BYTES_MAX ((size_t)64 << 20)

/* A log that is larger, all shards together, is cleaned when more than half is done with [bytes].
 */
#define CLEAN_BYTES_MIN ((uint64_t)64 << 20)

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

uint64_t gv__node_realtime_ms(void *arg)
{
    (void)arg;
    return gv_clock_realtime_ms(gv_os_clock());
}

/* ---- from the disk ----------------------------------------------------------------------------
 */

static gv_err_t load_one(const gv_stored_retained_t *record, void *arg)
{
    gv_node_t *node = arg;
    uint64_t now_ms = gv_clock_realtime_ms(gv_os_clock());
    gv_publish_t publish = {
        .topic = record->topic,
        .payload = record->payload,
        .props = record->properties,
        .qos = record->qos,
        .retain = true,
    };
    if (record->expires_at_ms != 0) {
        /* What has expired meanwhile is loaded too: its shard deletes it. */
        uint64_t left_ms = record->expires_at_ms > now_ms ? record->expires_at_ms - now_ms : 0;
        publish.expires_at_ms = gv__node_monotonic_ms(NULL) + left_ms;
    }
    gv_msgbuf_t *kept = NULL;
    gv_err_t err = gv_publish_keep(&publish, &kept);
    if (err == GV_OK) {
        gv_stamp_t stamp = {.hlc = record->hlc};
        memcpy(stamp.node, record->node_id, sizeof(stamp.node));
        uint32_t bucket = gv_retained_bucket(record->topic, node->retained_common.seed);
        uint16_t home = gv_retained_home(bucket, node->shard_count);
        gv_shard_retain_load(node->shards[home].shard, kept, &stamp);
        gv_msgbuf_unref(&kept);
        gv_publish_done(&publish);
    }
    return err;
}

gv_err_t gv__node_load(gv_node_t *node, gv_error_text_t *error)
{
    gv_shard_t *shards[GV_ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < node->shard_count; i++) {
        shards[i] = node->shards[i].shard;
        gv_shard_hold_dues(shards[i]);
    }
    uint64_t began_ms = gv_clock_monotonic_ms(gv_os_clock());
    gv_err_t err = gv_retained_load(node->store, load_one, node);
    if (err == GV_OK) {
        err = gv_restore(shards, node->shard_count, node->hub, &node->log, node->store,
                         &node->restored);
    }
    if (err == GV_OK) {
        err = gv_hub_restore(node->hub);
    }
    if (err != GV_OK) {
        (void)snprintf(error->text, sizeof(error->text), "cannot read the store in '%s': %s",
                       node->config->node.data, gv_err_text(err));
        return err;
    }
    const gv_restored_t *restored = &node->restored;
    node->restored_ms = gv_clock_monotonic_ms(gv_os_clock()) - began_ms;
    gv_log_info("restored",
                "sessions=%" PRIu64 " subscriptions=%" PRIu64 " messages=%" PRIu64 " wills=%" PRIu64
                " damaged=%" PRIu64 " ms=%" PRIu64,
                restored->sessions, restored->subscriptions, restored->messages, restored->wills,
                restored->damaged, node->restored_ms);
    return GV_OK;
}

/* ---- clients that come and go -----------------------------------------------------------------
 */

static void on_presence(void *arg, const gv_presence_t *presence)
{
    gv_node_shard_t *shard = arg;
    char *json = gv_client_event_json(presence, shard->node->identity.node_name,
                                      gv_clock_realtime_ms(gv_os_clock()));
    gv_publish_t publish = {.topic = presence->topic, .payload = gv_bytes_text(json)};
    if (shard->event_count == shard->event_capacity) {
        shard->event_capacity = shard->event_capacity == 0 ? 8 : shard->event_capacity * 2;
        shard->events = gv_xrealloc(shard->events, shard->event_capacity * sizeof(gv_msgbuf_t *));
    }
    if (gv_publish_keep(&publish, &shard->events[shard->event_count]) == GV_OK) {
        shard->event_count++;
    }
    gv_publish_done(&publish);
    gv_free(json);
}

/* Publishing ends no connection before the turn does, so that none is added meanwhile. */
static void publish_events(gv_node_shard_t *shard)
{
    for (size_t i = 0; i < shard->event_count; i++) {
        gv_publish_t publish = gv_publish_of(shard->events[i]);
        publish.kept = NULL; /* small: copied where it goes, and the view's bytes are ours */
        gv_shard_publish(shard->shard, &publish);
        gv_msgbuf_unref(&shard->events[i]);
    }
    shard->event_count = 0;
}

/* ---- turn, reload ----------------------------------------------------------------------
 */

static void on_turn_end(gv_job_t *job)
{
    gv_node_shard_t *shard = gv_container_of(job, gv_node_shard_t, turn_end);
    publish_events(shard);
    gv_shard_turn_end(shard->shard);
}

static void on_start(gv_letter_t *letter)
{
    gv_node_shard_t *shard = gv_container_of(letter, gv_node_shard_t, start_letter);
    gv_loop_assert_current(shard->loop);
    gv_loop_on_turn_end(shard->loop, &shard->turn_end);
}

static void on_dues_release(gv_letter_t *letter)
{
    gv_node_shard_t *shard = gv_container_of(letter, gv_node_shard_t, dues_letter);
    gv_loop_assert_current(shard->loop);
    gv_shard_release_dues(shard->shard);
}

void gv__node_shard_release_dues(gv_node_shard_t *shard)
{
    shard->dues_letter.deliver = on_dues_release;
    gv_loop_send(shard->loop, &shard->dues_letter);
}

/* New limits on their way to the shard's thread. */
typedef struct reload {
    gv_letter_t letter;
    gv_node_shard_t *shard;
    gv_limits_t limits;
    gv_users_t *users; /* a reference */
} reload_t;

static void on_reload(gv_letter_t *letter)
{
    reload_t *reload = gv_container_of(letter, reload_t, letter);
    gv_node_shard_t *shard = reload->shard;
    if (!gv_loop_is_stopping(shard->loop)) {
        gv_loop_assert_current(shard->loop);
        shard->limits = reload->limits;
        gv_auth_set_users(&shard->auth, gv_users_ref(reload->users));
    }
    gv_users_unref(&reload->users);
    gv_free(reload);
}

void gv__node_shard_reload(gv_node_shard_t *shard, gv_limits_t limits)
{
    reload_t *reload = GV_NEW(reload_t);
    reload->letter.deliver = on_reload;
    reload->shard = shard;
    reload->limits = limits;
    reload->users = gv_users_ref(shard->node->users);
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

/* Of a small node not more than an eighth. */
static size_t image_bytes_max(const gv_node_t *node)
{
    uint64_t part = gv_memory_max(&node->memory) / 8;
    return part < IMAGE_BYTES_MAX ? (size_t)part : IMAGE_BYTES_MAX;
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
    /* What all nodes of a cluster know, or what stays the same on this one. */
    const char *secret = node->config->cluster.secret;
    gv_bytes_t node_id = gv_bytes(node->identity.node_id, sizeof(node->identity.node_id));
    gv_auth_init(&shard->auth, node->users, secret[0] != '\0' ? gv_bytes_text(secret) : node_id,
                 gv_os_random);
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
        .nodes_away = &node->nodes_away,
        .nodes_full = &node->nodes_full,
        .connects = &node->connects,
        .retained_common = &node->retained_common,
        .memory = &node->memory,
        .wheel = gv_loop_wheel(shard->loop),
        .pool = gv_loop_chunkpool(shard->loop),
        .presence_prefix = gv_bytes_text(node->presence_prefix),
        .journal =
            {
                .store = node->store,
                .post = gv_store_post_to_loop,
                .post_arg = shard->loop,
                .log = &node->log,
                .image_bytes_max = image_bytes_max(node) / node->shard_count,
                .clean_bytes_min = CLEAN_BYTES_MIN / node->shard_count,
            },
        .start_number = node->identity.start_counter,
        .ports =
            {
                .arg = shard,
                .post = shard_post,
                .read_begin = gv__node_read_begin,
                .read_end = gv__node_read_end,
                .monotonic_ms = gv__node_monotonic_ms,
                .presence = on_presence,
                .realtime_ms = gv__node_realtime_ms,
                .conn = gv_frontend_ports(),
                .auth = gv_auth_ports(&shard->auth),
            },
    };
    memcpy(options.node_id, node->identity.node_id, sizeof(options.node_id));
    gv_shard_new(&options, &shard->shard);
    gv_auth_check_passwords(&shard->auth, node->passwords, shard->loop, shard->shard);
    gv_frontend_options_t frontend_options = {
        .loop = shard->loop,
        .shard = shard->shard,
        .frontends = node->frontends,
    };
    gv_frontend_new(&frontend_options, &node->frontends[index]);
    shard->turn_end.run = on_turn_end;
    shard->start_letter.deliver = on_start;
    return GV_OK;
}

void gv__node_shard_settle(gv_node_shard_t *shard)
{
    gv_loop_free(&shard->loop);
}

void gv__node_shard_free(gv_node_shard_t *shard)
{
    uint16_t index = (uint16_t)(shard - shard->node->shards);
    gv_frontend_free(&shard->node->frontends[index]);
    gv_shard_free(&shard->shard);
    gv_free(shard->drain_order);
    for (size_t i = 0; i < shard->event_count; i++) {
        gv_msgbuf_unref(&shard->events[i]);
    }
    gv_free(shard->events);
    gv_auth_deinit(&shard->auth);
}

uint64_t gv__node_connections(const gv_node_t *node)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < node->shard_count; i++) {
        count += gv_counter_get(&gv_frontend_stats(node->frontends[i])->connections);
    }
    return count;
}
