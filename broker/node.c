/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A node is built from the ground up (store, router, loops, shards, cluster, listeners, admin) and
 * taken down in the reverse order.  Everything that can go wrong for an operator's reason goes
 * wrong in gv_node_new(), before anything runs.
 */
#include "broker/node.h"

#include <signal.h>
#include <string.h>

#include "base/alloc.h"
#include "base/io/rcu.h"
#include "base/log.h"
#include "base/text.h"
#include "broker/node_p.h"
#include "storage/lmdb_store.h"

/* Of retained messages that were deleted or have expired; some 200 bytes each. */
#define RETAINED_TOMBSTONES_MAX 131072U

/* ---- building ---------------------------------------------------------------------------------
 */

static gv_limits_t limits_of(const gv_config_t *config)
{
    return (gv_limits_t){
        .packet_size_max = (uint32_t)config->mqtt.packet_size_max,
        .connect_size_max = (uint32_t)config->mqtt.connect_size_max,
        .client_id_size_max = (uint32_t)config->mqtt.client_id_size_max,
        .topic_size_max = (uint32_t)config->mqtt.topic_size_max,
        .topic_levels_max = (uint32_t)config->mqtt.topic_levels_max,
        .subscriptions_max = (uint32_t)config->mqtt.subscriptions_max,
        .sessions_max = config->mqtt.sessions_max,
        .keepalive_max_s = (uint32_t)(config->mqtt.keepalive_max_ms / 1000),
        .connect_timeout_ms = (uint32_t)config->mqtt.connect_timeout_ms,
        .connects = {config->mqtt.connect_rate, config->mqtt.connect_burst},
        .client_messages = {config->mqtt.client_messages_rate, config->mqtt.client_messages_burst},
        .client_bytes = {config->mqtt.client_bytes_rate, config->mqtt.client_bytes_burst},
        .session_expiry_max_s = config->mqtt.session_expiry_max_ms == 0
                                    ? UINT32_MAX
                                    : (uint32_t)(config->mqtt.session_expiry_max_ms / 1000),
        .receive_max = (uint16_t)config->mqtt.receive_max,
        .inflight_max = (uint16_t)config->mqtt.inflight_max,
        .topic_alias_max = (uint16_t)config->mqtt.topic_alias_max,
        .topic_alias_send_max = (uint16_t)config->mqtt.topic_alias_send_max,
        .topic_alias_bytes_max = (uint32_t)config->mqtt.topic_alias_bytes_max,
        .topic_alias_memory_max = config->mqtt.topic_alias_memory_max,
        .queue_messages_max = (uint32_t)config->mqtt.queue_messages_max,
        .queue_bytes_max = config->mqtt.queue_bytes_max,
        .stored_queue_messages_max = (uint32_t)config->storage.queue_messages_max,
        .stored_queue_bytes_max = config->storage.queue_bytes_max,
        .queue_policy = config->mqtt.queue_policy,
        .output_bytes_max = config->mqtt.output_bytes_max,
        .output_bytes_soft = config->mqtt.output_bytes_max / 4,
        .slow_reader_timeout_ms = (uint32_t)config->mqtt.slow_reader_timeout_ms,
        .retain_available = config->mqtt.retain_available,
        .retained_messages_max = config->mqtt.retained_messages_max,
        .retained_tombstones_max = RETAINED_TOMBSTONES_MAX,
        .retained_bytes_max = config->mqtt.retained_bytes_max,
        .overlaps_each = config->mqtt.overlaps == GV_MQTT_OVERLAPS_EACH,
        .client_events = config->mqtt.client_events,
        .payload_format_check = config->mqtt.payload_format_check,
    };
}

static gv_store_sync_t sync_of(gv_storage_sync_t sync)
{
    switch (sync) {
    case GV_STORAGE_SYNC_COMMIT:
        return GV_STORE_SYNC_COMMIT;
    case GV_STORAGE_SYNC_INTERVAL:
        return GV_STORE_SYNC_INTERVAL;
    case GV_STORAGE_SYNC_OFF:
        return GV_STORE_SYNC_OFF;
    }
    return GV_STORE_SYNC_COMMIT;
}

static gv_err_t open_store(gv_node_t *node, gv_error_text_t *error)
{
    const gv_config_t *config = node->config;
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = config->node.data;
    options.sync = sync_of(config->storage.sync);
    options.sync_interval_ms = (uint32_t)config->storage.sync_interval_ms;
    options.map_size = config->storage.map_size;
    options.reserve_bytes = config->storage.reserve;
    options.ballast_bytes = config->storage.ballast;
    gv_err_t err = gv_lmdb_store_open(&options, &node->store, error->text, sizeof(error->text));
    if (err != GV_OK) {
        return err;
    }
    gv_identity_options_t identity = {
        .node_name = config->is_name_default ? "" : config->node.name,
        .default_name = config->node.name,
        .cluster_name = config->cluster.name,
        .where = config->node.data,
    };
    gv_os_random(identity.fresh_node_id, sizeof(identity.fresh_node_id));
    return gv_identity_open(node->store, &identity, &node->identity, error->text,
                            sizeof(error->text));
}

static void retire(void *arg, void *ptr, void (*free_fn)(void *))
{
    (void)arg;
    gv_rcu_retire(ptr, free_fn);
}

static void new_router(gv_node_t *node)
{
    gv_os_random(&node->hash_seed, sizeof(node->hash_seed));
    gv_os_random(&node->boot_id, sizeof(node->boot_id));
    const gv_config_t *config = node->config;
    gv_retained_common_init(&node->retained_common, node->identity.hlc_floor);
    /* Not to be guessed by those who publish, and the same on all nodes of the cluster. */
    node->retained_common.seed =
        gv_bytes_hash(gv_bytes_text(config->cluster.secret),
                      gv_bytes_hash(gv_bytes_text(config->cluster.name), 0));
    node->retained_common.forget_ms = config->cluster.forget_after_ms;
    node->retained_common.is_clustered = gv_hostport_is_set(&config->cluster.listen);
    gv_router_options_t options = {.hash_seed = node->hash_seed, .retire = retire};
    gv_router_new(&options, &node->router);
}

/* The users of the configuration in force. */
static void new_users(gv_node_t *node)
{
    const gv_user_list_t *users = &node->config->auth.scram;
    gv_users_unref(&node->users);
    node->users = gv_users_new(users->items, users->count);
}

static gv_err_t new_loop(const char *name, gv_loop_t **loop_out, gv_error_text_t *error)
{
    gv_loop_options_t options = {.name = name};
    gv_err_t err = gv_loop_new(&options, loop_out);
    if (err != GV_OK) {
        (void)snprintf(error->text, sizeof(error->text), "cannot make an event loop: %s",
                       gv_err_text(err));
    }
    return err;
}

static gv_err_t new_loops(gv_node_t *node, gv_error_text_t *error)
{
    uint64_t wanted = node->config->node.shards;
    uint64_t count = wanted != 0 ? wanted : gv_os_cpu_count();
    node->shard_count = (uint16_t)(count < GV_ROUTER_SHARDS_MAX ? count : GV_ROUTER_SHARDS_MAX);
    node->shards = gv_xcalloc(node->shard_count, sizeof(*node->shards));
    node->frontends = gv_xcalloc(node->shard_count, sizeof(gv_frontend_t *));
    gv__node_memory_init(node);
    gv_err_t err = new_loop("main", &node->main_loop, error);
    if (err == GV_OK) {
        err = new_loop("cluster", &node->cluster_loop, error);
    }
    if (err == GV_OK) {
        err = gv_passwords_new(&node->passwords);
    }
    for (uint16_t i = 0; err == GV_OK && i < node->shard_count; i++) {
        err = gv__node_shard_new(node, i, limits_of(node->config), error);
    }
    return err;
}

static gv_err_t build(gv_node_t *node, gv_error_text_t *error)
{
    gv_err_t err = open_store(node, error);
    if (err != GV_OK) {
        return err;
    }
    node->presence_prefix = gv_text_format("$SYS/brokers/%s/clients/", node->identity.node_name);
    new_users(node);
    new_router(node);
    err = new_loops(node, error);
    if (err != GV_OK) {
        return err;
    }
    err = gv__node_cluster_new(node, error);
    if (err != GV_OK) {
        return err;
    }
    gv__node_connect_threads(node);
    err = gv__node_load(node, error);
    if (err != GV_OK) {
        return err;
    }
    return gv__node_listeners_new(node, error);
}

gv_err_t gv_node_new(const gv_config_t *config, gv_node_t **node_out, gv_error_text_t *error)
{
    *node_out = NULL;
    error->text[0] = '\0';
    gv_node_t *node = GV_NEW(gv_node_t);
    node->config = gv_config_ref(config);
    node->started_ms = gv_clock_monotonic_ms(gv_os_clock());
    gv_bucket_init(&node->connects);
    gv__node_drain_init(node);
    gv__node_members_init(node);
    gv__node_publish_init(node);
    gv_log_init(&node->log);
    gv_rcu_thread_register();
    gv_err_t err = build(node, error);
    if (err != GV_OK) {
        gv_node_free(&node);
        return err;
    }
    gv__node_status_init(node);
    gv__node_walk_init(node);
    *node_out = node;
    return GV_OK;
}

void gv_node_on_reload(gv_node_t *node, gv_node_reload_cb_t *reload, void *arg)
{
    node->reload = reload;
    node->reload_arg = arg;
}

void gv_node_free(gv_node_t **nodep)
{
    gv_node_t *node = *nodep;
    *nodep = NULL;
    if (node->cluster != NULL) {
        gv_cluster_free(&node->cluster);
    }
    if (node->store != NULL) {
        gv_store_close(&node->store);
    }
    gv_passwords_free(&node->passwords); /* its answers go to the shards' loops */
    /* Letters that are still under way are delivered here, and free what they carry. */
    for (uint16_t i = 0; i < node->shard_count; i++) {
        if (node->shards[i].loop != NULL) {
            gv__node_shard_settle(&node->shards[i]);
        }
    }
    if (node->cluster_loop != NULL) {
        gv_loop_free(&node->cluster_loop);
    }
    /* And what they were answered with, when the asking loop was freed before the other. */
    while (node->late_letters != NULL) {
        gv_letter_t *letter = node->late_letters;
        node->late_letters = letter->_next;
        letter->deliver(letter);
    }
    gv__node_listeners_free(node); /* connections on their way to another shard needed them */
    for (uint16_t i = 0; i < node->shard_count; i++) {
        if (node->shards[i].shard != NULL) {
            gv__node_shard_free(&node->shards[i]);
        }
    }
    if (node->hub != NULL) {
        gv_hub_free(&node->hub);
    }
    if (node->main_loop != NULL) {
        gv_loop_free(&node->main_loop);
    }
    gv__node_publish_deinit(node);
    gv_rcu_barrier();
    if (node->router != NULL) {
        gv_router_free(&node->router);
    }
    gv_rcu_thread_unregister();
    gv_log_deinit(&node->log);
    gv_free(node->shards);
    gv_free(node->frontends);
    gv__node_memory_deinit(node);
    gv__node_drain_deinit(node);
    gv_free(node->presence_prefix);
    gv_users_unref(&node->users);
    gv_config_unref(&node->config);
    gv_free(node);
}

void gv__node_stop_if_idle(gv_node_t *node)
{
    if (node->is_stopping && node->inquiry_count == 0) {
        gv_loop_stop(node->main_loop);
    }
}

void gv__node_stop(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    gv__node_publish_stop(node);
    gv_admin_close(&node->admin);
    gv__node_sys_stop(node);
    gv_os_hold_signals(); /* one more would end the process before the store is closed */
    gv_timer_stop(&node->memory_timer);
    for (size_t i = 0; i < sizeof(node->signals) / sizeof(node->signals[0]); i++) {
        uv_handle_t *handle = (uv_handle_t *)&node->signals[i];
        if (node->has_signals && !uv_is_closing(handle)) {
            uv_close(handle, NULL);
        }
    }
    gv_timer_stop(&node->end_timer);
    gv__node_listeners_close(node);
    node->is_stopping = true;
    gv__node_stop_if_idle(node);
}

static void on_give_up(gv_letter_t *letter)
{
    gv__node_stop(gv_container_of(letter, gv_node_t, give_up_letter));
}

void gv__node_give_up(gv_node_t *node)
{
    if (!atomic_exchange_explicit(&node->has_failed, true, memory_order_relaxed)) {
        node->give_up_letter.deliver = on_give_up;
        gv_loop_send(node->main_loop, &node->give_up_letter);
    }
}

/* ---- reload -----------------------------------------------------------------------------------
 */

static void reload(gv_node_t *node)
{
    gv_loop_assert_current(node->main_loop);
    const gv_config_t *config = NULL;
    if (node->reload == NULL || node->reload(node->config, &config, node->reload_arg) != GV_OK) {
        return;
    }
    gv_config_unref(&node->config);
    node->config = config;
    gv_log_set_level(config->log.level);
    if (node->admin != NULL) {
        gv_admin_set_token(node->admin, config->admin.token);
    }
    gv__node_sys_start(node);
    gv__node_memory_set(node);
    new_users(node);
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv__node_shard_reload(&node->shards[i], limits_of(config));
    }
    gv__node_listeners_reload(node);
}

static void on_signal(uv_signal_t *handle, int number)
{
    gv_node_t *node = handle->data;
    gv_loop_assert_current(node->main_loop);
    if (number == SIGHUP) {
        reload(node);
    } else {
        gv_log_info("signal", "number=%d", number);
        gv__node_end(node);
    }
}

/* ---- running ----------------------------------------------------------------------------------
 */

static gv_err_t watch_signals(gv_node_t *node)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    gv_loop_assert_current(node->main_loop);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int rc = uv_signal_init(gv_loop_uv(node->main_loop), &node->signals[i]);
        GV_ASSERT(rc == 0); /* fails only without a loop */
        node->signals[i].data = node;
    }
    node->has_signals = true;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (uv_signal_start(&node->signals[i], on_signal, numbers[i]) != 0) {
            return GV_ERR_IO;
        }
    }
    gv_os_release_signals(); /* those that came during the start come now */
    return GV_OK;
}

/* The main loop's own start, as its first letter: from here on it is the current loop. */
static void on_main_start(gv_letter_t *letter)
{
    gv_node_t *node = gv_container_of(letter, gv_node_t, main_start_letter);
    gv_loop_assert_current(node->main_loop);
    gv_error_text_t error = {.text = ""};
    gv_err_t err = watch_signals(node);
    if (err != GV_OK) {
        (void)snprintf(error.text, sizeof(error.text), "cannot watch for signals");
    }
    if (err == GV_OK && gv_hostport_is_set(&node->config->admin.listen)) {
        err = gv__node_admin_open(node, &error);
    }
    if (err != GV_OK) {
        gv_log_error("not_started", "error='%s'", error.text);
        gv__node_give_up(node);
        return;
    }
    gv__node_listeners_start(node);
    gv__node_sys_start(node);
    gv__node_memory_start(node);
    gv_log_info("started", "node='%s' version='%s' shards=%u start=%llu", node->identity.node_name,
                GV_VERSION, node->shard_count, (unsigned long long)node->identity.start_counter);
}

static gv_err_t start_threads(gv_node_t *node)
{
    gv_err_t err = gv_loop_start(node->cluster_loop);
    if (err == GV_OK) {
        err = gv_passwords_start(node->passwords);
    }
    for (uint16_t i = 0; err == GV_OK && i < node->shard_count; i++) {
        err = gv_loop_start(node->shards[i].loop);
        if (err == GV_OK) {
            gv_loop_send(node->shards[i].loop, &node->shards[i].start_letter);
        }
    }
    return err;
}

static void stop_threads(gv_node_t *node)
{
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv_loop_stop(node->shards[i].loop);
    }
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv_loop_join(node->shards[i].loop);
    }
    gv_passwords_stop(node->passwords);
    gv_loop_stop(node->cluster_loop);
    gv_loop_join(node->cluster_loop);
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv_shard_finish(node->shards[i].shard);
    }
    gv_hub_finish(node->hub);
}

gv_err_t gv_node_run(gv_node_t *node)
{
    gv_err_t err = start_threads(node);
    if (err == GV_OK) {
        gv__node_cluster_start(node);
        node->main_start_letter.deliver = on_main_start;
        gv_loop_send(node->main_loop, &node->main_start_letter);
        gv_loop_run(node->main_loop);
    }
    stop_threads(node);
    if (atomic_load_explicit(&node->has_failed, memory_order_relaxed)) {
        err = GV_ERR_IO;
    }
    gv_log_info("stopped", "node='%s'", node->identity.node_name);
    return err;
}
