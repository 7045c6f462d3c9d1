/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/cluster.h"

#include <stdio.h>

#include "base/log.h"
#include "cluster/cluster_p.h"

/*
 * Parts of this file: the turn - from the links to the core - from the core to the links and the
 * broker - start and end - what the broker asks.
 *
 * The core wants to be ticked before and flushed after whatever is done to it.  So everything that
 * comes in defers one job to the end of the turn: there the core gets the time and sends what has
 * gathered, and the loop then writes each link once.  What the broker asks for even later in the
 * turn, from a turn-end hook, finds the job deferred to the next turn, which comes at once.
 */

/* ---- the turn ----------------------------------------------------------------------------- */

static GV_LOOP_ONLY void want_flush(gv_cluster_t *cluster)
{
    if (!cluster->has_left) {
        gv_loop_defer(cluster->loop, &cluster->turn_job);
    }
}

/* Once per turn is enough: the loop's time stands still within it. */
static GV_LOOP_ONLY void tick(gv_cluster_t *cluster)
{
    uint64_t now_ms = gv_loop_now_ms(cluster->loop);
    if (now_ms != cluster->ticked_ms) {
        cluster->ticked_ms = now_ms;
        gv_ccore_tick(cluster->core, now_ms);
    }
}

static GV_LOOP_ONLY void set_timer(gv_cluster_t *cluster)
{
    uint64_t now_ms = gv_loop_now_ms(cluster->loop);
    uint64_t at_ms = gv_ccore_next_deadline_ms(cluster->core);
    gv_loop_timer_start(cluster->loop, &cluster->tick_timer, at_ms > now_ms ? at_ms - now_ms : 0);
}

static void on_turn(gv_job_t *job)
{
    gv_cluster_t *cluster = gv_container_of(job, gv_cluster_t, turn_job);
    gv_loop_assert_current(cluster->loop);
    tick(cluster);
    gv_ccore_flush(cluster->core);
    set_timer(cluster);
}

static void on_tick(gv_timer_t *timer)
{
    gv_cluster_t *cluster = gv_container_of(timer, gv_cluster_t, tick_timer);
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
}

void gv__cluster_init_turn(gv_cluster_t *cluster)
{
    gv_timer_init(&cluster->tick_timer, on_tick);
    cluster->turn_job.run = on_turn;
}

/* ---- from the links to the core ----------------------------------------------------------- */

static void on_link_opened(gv_link_id_t link, const gv_peer_identity_t *peer, uint64_t dial_token,
                           void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    tick(cluster);
    gv_ccore_link_opened(cluster->core, link, peer, dial_token);
    want_flush(cluster);
}

static void on_link_frame(gv_link_id_t link, uint8_t kind, gv_bytes_t body, void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    tick(cluster);
    gv_ccore_link_frame(cluster->core, link, (gv_frame_kind_t)kind, body);
    want_flush(cluster);
}

static void on_link_closed(gv_link_id_t link, void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    tick(cluster);
    gv_ccore_link_closed(cluster->core, link);
    want_flush(cluster);
}

static void on_dial_failed(uint64_t dial_token, void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    tick(cluster);
    gv_ccore_dial_failed(cluster->core, dial_token);
    want_flush(cluster);
}

/* ---- from the core to the links and the broker -------------------------------------------- */

static void port_send(gv_link_id_t link, gv_link_priority_t priority, gv_frame_kind_t kind,
                      gv_bytes_t body, void *arg)
{
    const gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    gv_links_send(cluster->links, link, priority, (uint8_t)kind, body);
}

static void port_dial(const char *address, uint64_t token, void *arg)
{
    const gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    gv_links_dial(cluster->links, address, token);
}

static void port_close(gv_link_id_t link, gv_link_close_t reason, const char *text, void *arg)
{
    const gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    gv_log_debug("link_ended", "link=%llu reason='%s' text='%s'", (unsigned long long)link,
                 gv_link_close_text(reason), text);
    gv_links_end_link(cluster->links, link);
}

static void port_row(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.row(node, key, value, cluster->arg);
}

static void port_node(gv_node_index_t node, gv_node_event_t event, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.node(node, event, cluster->arg);
}

static void port_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.deliver(delivery, msg, cluster->arg);
}

static void port_confirmed(uint64_t token, gv_node_index_t node, gv_forward_result_t result,
                           const gv_forward_t *lost, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.confirmed(token, node, result, lost, cluster->arg);
}

static bool port_overdue(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg, void *arg)
{
    const gv_cluster_t *cluster = arg;
    return cluster->ops.overdue(token, node, msg, cluster->arg);
}

static void port_note(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.note(node, kind, body, cluster->arg);
}

static void port_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.claimed(claim, verdict, cluster->arg);
}

static void port_let_go(const gv_letting_t *letting, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.let_go(letting, cluster->arg);
}

static void port_barrier(uint64_t token, bool in_time, void *arg)
{
    const gv_cluster_t *cluster = arg;
    cluster->ops.barrier(token, in_time, cluster->arg);
}

static void port_start_counter(uint64_t start_counter, void *arg)
{
    gv_cluster_t *cluster = arg;
    cluster->self.identity.incarnation.start_counter = start_counter;
    cluster->ops.start_counter(start_counter, cluster->arg);
}

static gv_log_level_t level_of(gv_ccore_event_t event)
{
    switch (event) {
    case GV_CCORE_EVENT_MEMBER:
    case GV_CCORE_EVENT_LINK:
        return GV_LOG_INFO;
    case GV_CCORE_EVENT_REFUSED_PEER:
        return GV_LOG_WARN;
    case GV_CCORE_EVENT_DUPLICATE_IDENTITY:
    case GV_CCORE_EVENT_TABLE_MISMATCH:
        return GV_LOG_ERROR;
    }
    return GV_LOG_ERROR;
}

/*
 * Changes are always told; what is wrong once a minute, or it would be told at each attempt.  It
 * has a line, and so a rate limit, of its own: nodes that come and go must not use that up.
 */
static void port_report(gv_ccore_event_t event, const char *text, void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    gv_log_level_t level = level_of(event);
    cluster->identity_conflicts += event == GV_CCORE_EVENT_DUPLICATE_IDENTITY ? 1 : 0;
    if (level == GV_LOG_INFO) {
        gv_log_peer(level, event == GV_CCORE_EVENT_MEMBER ? "cluster_member" : "cluster_event",
                    "%s", text);
    } else if (gv_notices_is_news(&cluster->notices, gv_bytes_text(text), (uint64_t)event,
                                  gv_loop_now_ms(cluster->loop))) {
        gv_log_peer(level, "cluster_event", "%s", text);
    }
}

/* ---- start and end ------------------------------------------------------------------------ */

static GV_LOOP_ONLY void start_core(gv_cluster_t *cluster)
{
    gv_ccore_options_t *options = &cluster->core_options;
    options->now_ms = gv_loop_now_ms(cluster->loop);
    options->ports = (gv_ccore_ports_t){
        .send = port_send,
        .dial = port_dial,
        .close = port_close,
        .row = port_row,
        .node = port_node,
        .deliver = port_deliver,
        .confirmed = port_confirmed,
        .overdue = port_overdue,
        .note = port_note,
        .claimed = port_claimed,
        .let_go = port_let_go,
        .barrier = port_barrier,
        .start_counter = port_start_counter,
        .report = port_report,
        .arg = cluster,
    };
    gv_ccore_new(options, &cluster->core);
}

gv_err_t gv_cluster_start(gv_cluster_t *cluster, gv_error_text_t *error)
{
    gv_loop_assert_current(cluster->loop);
    GV_ASSERT(cluster->core == NULL);
    const gv_links_options_t options = {
        .loop = cluster->loop,
        .self = &cluster->self,
        .listen_fd = cluster->listen_fd,
        .ops = {.opened = on_link_opened,
                .frame = on_link_frame,
                .closed = on_link_closed,
                .dial_failed = on_dial_failed},
        .arg = cluster,
    };
    gv_err_t err = gv_links_open(&options, &cluster->links, error);
    if (err != GV_OK) {
        return err;
    }
    cluster->listen_fd = -1; /* the links' now */
    start_core(cluster);
    want_flush(cluster);
    if (cluster->listen[0] != '\0') {
        gv_log_info("cluster_started",
                    "cluster='%s' node='%s' listen='%s' advertise='%s' secret=%s",
                    cluster->self.identity.cluster, cluster->self.identity.name, cluster->listen,
                    cluster->self.identity.address, cluster->self.secret.size > 0 ? "yes" : "no");
    }
    return GV_OK;
}

static void on_links_closed(void *arg)
{
    gv_cluster_t *cluster = arg;
    gv_loop_assert_current(cluster->loop);
    cluster->has_left = true;
    gv_timer_stop(&cluster->tick_timer);
    gv_job_cancel(&cluster->turn_job);
    cluster->on_left(cluster->on_left_arg);
}

void gv_cluster_leave(gv_cluster_t *cluster, gv_cluster_left_cb_t *on_left, void *arg)
{
    gv_loop_assert_current(cluster->loop);
    GV_ASSERT(cluster->core != NULL);
    GV_ASSERT(!cluster->is_leaving);
    GV_ASSERT(on_left != NULL);
    cluster->is_leaving = true;
    cluster->on_left = on_left;
    cluster->on_left_arg = arg;
    gv_ccore_leave(cluster->core);
    tick(cluster);
    gv_ccore_flush(cluster->core); /* the goodbyes are in the links' output now */
    gv_links_close(cluster->links, on_links_closed, cluster);
}

const char *gv_cluster_address(const gv_cluster_t *cluster)
{
    return cluster->listen;
}

/* ---- what the broker asks ----------------------------------------------------------------- */

gv_err_t gv_cluster_route_set(gv_cluster_t *cluster, gv_bytes_t key, uint32_t value)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    return gv_ccore_route_set(cluster->core, key, value);
}

void gv_cluster_barrier(gv_cluster_t *cluster, uint64_t token)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_barrier(cluster->core, token);
}

void gv_cluster_publish(gv_cluster_t *cluster, const gv_forward_t *msg, uint64_t node_mask,
                        uint64_t token)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_publish(cluster->core, msg, node_mask, token);
}

void gv_cluster_applied(gv_cluster_t *cluster, gv_delivery_t delivery,
                        const gv_delivery_outcome_t *outcome)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_applied(cluster->core, delivery, outcome);
}

bool gv_cluster_note(gv_cluster_t *cluster, gv_node_index_t node, gv_frame_kind_t kind,
                     gv_bytes_t body)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    return gv_ccore_note(cluster->core, node, kind, body);
}

gv_node_index_t gv_cluster_remember(gv_cluster_t *cluster, const gv_remembered_t *member)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    return gv_ccore_remember(cluster->core, member);
}

gv_err_t gv_cluster_remember_row(gv_cluster_t *cluster, gv_node_index_t node, gv_bytes_t key,
                                 uint32_t value)
{
    gv_loop_assert_current(cluster->loop);
    return gv_ccore_remember_row(cluster->core, node, key, value);
}

void gv_cluster_claim(gv_cluster_t *cluster, const gv_claim_t *claim)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_claim(cluster->core, claim);
}

void gv_cluster_register(gv_cluster_t *cluster, const gv_claim_t *claim)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_register(cluster->core, claim);
}

void gv_cluster_withdraw(gv_cluster_t *cluster, const gv_id_key_t *key, gv_holder_t holder)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_withdraw(cluster->core, key, holder);
}

void gv_cluster_let_gone(gv_cluster_t *cluster, const gv_letting_t *letting)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_let_gone(cluster->core, letting);
}

void gv_cluster_pause_credit(gv_cluster_t *cluster, bool is_paused)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    gv_ccore_pause_credit(cluster->core, is_paused);
}

gv_err_t gv_cluster_join(gv_cluster_t *cluster, const char *address)
{
    gv_loop_assert_current(cluster->loop);
    if (!gv__cluster_is_destination(address)) {
        return GV_ERR_INVAL;
    }
    want_flush(cluster);
    return gv_ccore_join(cluster->core, address);
}

gv_err_t gv_cluster_forget(gv_cluster_t *cluster, gv_node_index_t node)
{
    gv_loop_assert_current(cluster->loop);
    want_flush(cluster);
    return gv_ccore_forget(cluster->core, node);
}

uint64_t gv_cluster_routable(const gv_cluster_t *cluster)
{
    gv_loop_assert_current(cluster->loop);
    return gv_ccore_routable(cluster->core);
}

uint64_t gv_cluster_members(const gv_cluster_t *cluster)
{
    gv_loop_assert_current(cluster->loop);
    return gv_ccore_members(cluster->core) & ~((uint64_t)1 << GV_NODE_SELF);
}

gv_node_index_t gv_cluster_index_of(const gv_cluster_t *cluster, const gv_node_id_t *id)
{
    gv_loop_assert_current(cluster->loop);
    return gv_ccore_index_of(cluster->core, id);
}

void gv_cluster_who(const gv_cluster_t *cluster, gv_node_index_t node, gv_remembered_t *member_out)
{
    gv_loop_assert_current(cluster->loop);
    gv_member_status_t status;
    bool is_there = gv_ccore_member(cluster->core, node, &status);
    GV_ASSERT(is_there);
    *member_out = (gv_remembered_t){.id = status.id};
    memcpy(member_out->name, status.name, sizeof(member_out->name));
    memcpy(member_out->address, status.address, sizeof(member_out->address));
}

bool gv_cluster_is_synced(const gv_cluster_t *cluster)
{
    gv_loop_assert_current(cluster->loop);
    return cluster->core != NULL && gv_ccore_is_synced(cluster->core);
}

bool gv_cluster_has_arrived(const gv_cluster_t *cluster)
{
    gv_loop_assert_current(cluster->loop);
    return cluster->core != NULL && gv_ccore_has_arrived(cluster->core);
}
