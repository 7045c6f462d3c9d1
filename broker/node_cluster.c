/* SPDX-License-Identifier: Apache-2.0 */
/* The cluster loop: the hub (broker/core) and the cluster (cluster/) introduced to each other. */
#include "base/alloc.h"
#include "base/log.h"
#include "broker/node_p.h"
#include "storage/post.h"

/* ---- hub -> cluster ---------------------------------------------------------------------------
 */

/*
 * On the cluster loop.  NULL at the end of the node: the hub still gets letters when the cluster is
 * freed (gv_node_free()), and what it asks for then changes nothing any more.
 */
static gv_cluster_t *cluster_of(void *arg) GV_ASSERTS(gv_role_loop);
static gv_cluster_t *cluster_of(void *arg)
{
    const gv_node_t *node = arg;
    gv_loop_assert_current(node->cluster != NULL ? node->cluster_loop : gv_loop_current());
    return node->cluster;
}

static void route_set(void *arg, gv_bytes_t key, uint32_t value)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_err_t err = gv_cluster_route_set(cluster, key, value);
        GV_ASSERT(err == GV_OK); /* the router has taken the filter, so its length is fine */
    }
}

static void barrier(void *arg, uint64_t token)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_barrier(cluster, token);
    }
}

static void publish(void *arg, const gv_forward_t *message, uint64_t nodes, uint64_t token)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_publish(cluster, message, nodes, token);
    }
}

static void applied(void *arg, gv_delivery_t delivery, const gv_delivery_outcome_t *outcome)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_applied(cluster, delivery, outcome);
    }
}

static void pause_credit(void *arg, bool is_paused)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_pause_credit(cluster, is_paused);
    }
}

static void claim(void *arg, const gv_claim_t *wanted)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_claim(cluster, wanted);
    }
}

static void enroll(void *arg, const gv_claim_t *held)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_register(cluster, held);
    }
}

static void release(void *arg, const gv_id_key_t *key, gv_holder_t holder)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_withdraw(cluster, key, holder);
    }
}

static void let_gone(void *arg, const gv_letting_t *letting)
{
    gv_cluster_t *cluster = cluster_of(arg);
    if (cluster != NULL) {
        gv_cluster_let_gone(cluster, letting);
    }
}

static bool note(void *arg, gv_node_index_t index, gv_frame_kind_t kind, gv_bytes_t body)
{
    gv_cluster_t *cluster = cluster_of(arg);
    return cluster != NULL && gv_cluster_note(cluster, index, kind, body);
}

static uint64_t members(void *arg)
{
    const gv_cluster_t *cluster = cluster_of(arg);
    return cluster != NULL ? gv_cluster_members(cluster) : 0;
}

/* From here on only as long as the cluster is there: it has asked, or has just started. */

static void who(void *arg, gv_node_index_t index, gv_remembered_t *member_out)
{
    gv_cluster_who(cluster_of(arg), index, member_out);
}

static gv_node_index_t remember(void *arg, const gv_remembered_t *member)
{
    return gv_cluster_remember(cluster_of(arg), member);
}

static gv_err_t remember_row(void *arg, gv_node_index_t index, gv_bytes_t key, uint32_t value)
{
    return gv_cluster_remember_row(cluster_of(arg), index, key, value);
}

/* ---- cluster -> hub ---------------------------------------------------------------------------
 */

static void on_row(gv_node_index_t index, gv_bytes_t key, uint32_t value, void *arg)
{
    gv_hub_on_row(((gv_node_t *)arg)->hub, index, key, value);
}

static void on_node(gv_node_index_t index, gv_node_event_t event, void *arg)
{
    gv_hub_on_node(((gv_node_t *)arg)->hub, index, event);
}

static void on_deliver(const gv_delivery_t *delivery, const gv_forward_t *message, void *arg)
{
    gv_hub_on_deliver(((gv_node_t *)arg)->hub, delivery, message);
}

static void on_confirmed(uint64_t token, gv_node_index_t index, gv_forward_result_t result,
                         const gv_forward_t *lost, void *arg)
{
    gv_hub_on_confirmed(((gv_node_t *)arg)->hub, token, index, result, lost);
}

static bool on_overdue(uint64_t *token, gv_node_index_t index, const gv_forward_t *message,
                       void *arg)
{
    return gv_hub_on_overdue(((gv_node_t *)arg)->hub, token, index, message);
}

static void on_note(gv_node_index_t index, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    gv_hub_on_note(((gv_node_t *)arg)->hub, index, kind, body);
}

static void on_claimed(const gv_claim_t *claimed, gv_claim_verdict_t verdict, void *arg)
{
    gv_hub_on_claimed(((gv_node_t *)arg)->hub, claimed, verdict);
}

static void on_let_go(const gv_letting_t *letting, void *arg)
{
    gv_hub_on_let_go(((gv_node_t *)arg)->hub, letting);
}

static void on_barrier(uint64_t token, bool in_time, void *arg)
{
    gv_hub_on_barrier(((gv_node_t *)arg)->hub, token, in_time);
}

/*
 * Others remember a newer life of this node than its data directory does: an old copy was restored.
 * The boot id keeps the two lives apart until the next start counts on from the disk.
 */
static void on_start_counter(uint64_t start_counter, void *arg)
{
    (void)arg;
    gv_log_warn("start_counter_behind", "known_to_others=%llu", (unsigned long long)start_counter);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void on_turn_end(gv_job_t *job)
{
    gv_node_t *node = gv_container_of(job, gv_node_t, hub_turn_end);
    gv_loop_assert_current(gv_loop_current()); /* also while node->cluster_loop is being freed */
    gv_hub_turn_end(node->hub);
    if (node->cluster != NULL) {
        atomic_store_explicit(&node->is_cluster_synced, gv_cluster_is_synced(node->cluster),
                              memory_order_relaxed);
        if (!node->is_arrival_told && gv_cluster_has_arrived(node->cluster) &&
            gv_hub_has_arrived(node->hub)) {
            gv__node_tell_arrival(node);
        }
    }
}

static void fail(gv_node_t *node, const char *text)
{
    gv_log_error("cluster_not_started", "error='%s'", text);
    gv__node_give_up(node);
}

static void on_start(gv_letter_t *letter)
{
    gv_node_t *node = gv_container_of(letter, gv_node_t, cluster_start_letter);
    gv_loop_assert_current(node->cluster_loop);
    gv_loop_on_turn_end(node->cluster_loop, &node->hub_turn_end);
    gv_error_text_t error;
    if (node->cluster != NULL && gv_cluster_start(node->cluster, &error) != GV_OK) {
        fail(node, error.text);
        return;
    }
    gv_hub_announce_restored(node->hub); /* in this turn: no other node is linked yet */
}

static void on_left(void *arg)
{
    atomic_store_explicit(&((gv_node_t *)arg)->has_cluster_left, true, memory_order_release);
}

static void on_leave(gv_letter_t *letter)
{
    gv_node_t *node = gv_container_of(letter, gv_node_t, cluster_leave_letter);
    gv_loop_assert_current(node->cluster_loop);
    if (node->cluster == NULL) {
        on_left(node);
    } else {
        gv_cluster_leave(node->cluster, on_left, node);
    }
}

void gv__node_cluster_start(gv_node_t *node)
{
    node->cluster_start_letter.deliver = on_start;
    gv_loop_send(node->cluster_loop, &node->cluster_start_letter);
}

void gv__node_cluster_leave(gv_node_t *node)
{
    node->cluster_leave_letter.deliver = on_leave;
    gv_loop_send(node->cluster_loop, &node->cluster_leave_letter);
}

static void new_hub(gv_node_t *node)
{
    uint64_t random_seed = 0;
    gv_os_random(&random_seed, sizeof(random_seed));
    gv_hub_options_t options = {
        .shard_count = node->shard_count,
        .hash_seed = node->hash_seed,
        .random_seed = random_seed,
        .router = node->router,
        .nodes_alive = &node->nodes_alive,
        .nodes_away = &node->nodes_away,
        .nodes_full = &node->nodes_full,
        .log = &node->log,
        .store = node->store,
        .store_post = gv_store_post_to_loop,
        .store_post_arg = node->cluster_loop,
        .outbox_bytes_max = node->config->cluster.outbox_bytes_max,
        .spool_after_ms = node->config->cluster.spool_after_ms,
        .run = node->boot_id,
        .retained_common = &node->retained_common,
        .ports =
            {
                .arg = node,
                .post = gv__node_post,
                .read_begin = gv__node_read_begin,
                .read_end = gv__node_read_end,
                .monotonic_ms = gv__node_monotonic_ms,
                .realtime_ms = gv__node_realtime_ms,
            },
    };
    gv_hub_new(&options, &node->hub);
    node->hub_turn_end.run = on_turn_end;
}

static gv_err_t new_cluster(gv_node_t *node, gv_error_text_t *error)
{
    const gv_config_t *config = node->config;
    gv_cluster_options_t options;
    gv_cluster_options_init(&options);
    char listen[GV_HOSTPORT_TEXT_SIZE];
    char advertise[GV_HOSTPORT_TEXT_SIZE];
    size_t seed_count = config->cluster.seeds.count;
    char(*seed_texts)[GV_HOSTPORT_TEXT_SIZE] = gv_xcalloc(seed_count + 1, sizeof(*seed_texts));
    const char **seeds = gv_xcalloc(seed_count + 1, sizeof(*seeds));
    for (size_t i = 0; i < seed_count; i++) {
        seeds[i] = gv_hostport_print(&config->cluster.seeds.items[i], seed_texts[i]);
    }
    options.loop = node->cluster_loop;
    memcpy(options.node_id.bytes, node->identity.node_id, sizeof(options.node_id.bytes));
    options.incarnation =
        (gv_incarnation_t){.start_counter = node->identity.start_counter, .boot_id = node->boot_id};
    options.node_name = node->identity.node_name;
    options.cluster_name = config->cluster.name;
    options.listen = gv_hostport_print(&config->cluster.listen, listen);
    bool is_advertise_usable = gv_hostport_is_set(&config->cluster.advertise) &&
                               !gv_hostport_is_unspecified(&config->cluster.advertise) &&
                               config->cluster.advertise.port != 0;
    options.advertise =
        is_advertise_usable ? gv_hostport_print(&config->cluster.advertise, advertise) : NULL;
    options.seeds = seeds;
    options.seed_count = seed_count;
    options.secret = gv_bytes_text(config->cluster.secret);
    /* Without a secret the configuration is accepted only where nobody else can get in. */
    options.is_insecure =
        config->cluster.insecure || gv_hostport_is_loopback(&config->cluster.listen);
    options.timing.heartbeat = (uint32_t)config->cluster.heartbeat_ms;
    /* Two thirds of the way to "suspect" we listen ourselves, then we ask others. */
    options.timing.silence = (uint32_t)(config->cluster.suspect_after_ms * 2 / 3);
    options.timing.probe = (uint32_t)(config->cluster.suspect_after_ms / 3);
    options.timing.suspect =
        (uint32_t)(config->cluster.dead_after_ms - config->cluster.suspect_after_ms);
    options.timing.overdue = (uint32_t)config->cluster.spool_after_ms;
    options.timing.barrier = (uint32_t)config->cluster.suback_wait_ms;
    /* What is published for a node that is away is kept until it is forgotten: so are its rows. */
    options.timing.purge = config->cluster.forget_after_ms;
    options.timing.claim = (uint32_t)config->cluster.claim_wait_ms;
    options.timing.forget = config->cluster.forget_after_ms;
    options.ops = (gv_cluster_ops_t){
        .row = on_row,
        .node = on_node,
        .deliver = on_deliver,
        .confirmed = on_confirmed,
        .overdue = on_overdue,
        .note = on_note,
        .claimed = on_claimed,
        .let_go = on_let_go,
        .barrier = on_barrier,
        .start_counter = on_start_counter,
    };
    options.arg = node;
    gv_err_t err = gv_cluster_new(&options, &node->cluster, error);
    gv_free(seeds);
    gv_free(seed_texts);
    return err;
}

gv_err_t gv__node_cluster_new(gv_node_t *node, gv_error_text_t *error)
{
    new_hub(node);
    if (!gv_hostport_is_set(&node->config->cluster.listen)) {
        return GV_OK;
    }
    gv_err_t err = new_cluster(node, error);
    if (err == GV_OK) {
        gv_log_info("cluster_listening", "address='%s'", gv_cluster_address(node->cluster));
    }
    return err;
}

void gv__node_connect_threads(gv_node_t *node)
{
    gv_shard_t *shards[GV_ROUTER_SHARDS_MAX];
    void *receivers[GV_ROUTER_SHARDS_MAX];
    for (uint16_t i = 0; i < node->shard_count; i++) {
        shards[i] = node->shards[i].shard;
        receivers[i] = shards[i];
    }
    for (uint16_t i = 0; i < node->shard_count; i++) {
        gv_shard_connect(shards[i], shards, node->hub);
    }
    gv_hub_cluster_t cluster = {
        .arg = node,
        .route_set = route_set,
        .barrier = barrier,
        .publish = publish,
        .applied = applied,
        .pause_credit = pause_credit,
        .claim = claim,
        .enroll = enroll,
        .release = release,
        .let_gone = let_gone,
        .note = note,
        .members = members,
        .who = who,
        .remember = remember,
        .remember_row = remember_row,
    };
    gv_hub_connect(node->hub, receivers, node->cluster != NULL ? &cluster : NULL);
}
