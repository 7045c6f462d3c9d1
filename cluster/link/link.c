/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/link.h"

#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cluster/link/link_p.h"

/*
 * Parts of this file: opening and closing - what is said in the log - what the owner asks for.
 */

static gv_bytes_t key_of_conn(const void *value)
{
    const gv_conn_t *conn = value;
    return gv_bytes(&conn->id, sizeof(conn->id));
}

static gv_conn_t *find_open(const gv_links_t *links, gv_link_id_t link)
{
    return gv_map_find(&links->open_conns, gv_bytes(&link, sizeof(link)));
}

/* ---- opening and closing ------------------------------------------------------------------ */

static void on_accepted(gv_socket_t *socket, const gv_address_t *peer, void *arg)
{
    gv_links_t *links = arg;
    gv_loop_assert_current(links->loop);
    if (links->is_closing || links->stranger_count >= GV_LINK_STRANGERS_MAX) {
        links->stats.strangers_refused++;
        gv_socket_close(socket);
        return;
    }
    links->stats.accepted++;
    (void)gv__conn_begin(links, socket, peer, NULL);
}

static void on_all_closed(gv_job_t *job)
{
    gv_links_t *links = gv_container_of(job, gv_links_t, closed_job);
    links->on_closed(links->on_closed_arg);
}

gv_err_t gv_links_open(const gv_links_options_t *options, gv_links_t **links_out,
                       gv_error_text_t *error)
{
    gv_loop_assert_current(options->loop);
    const gv_links_ops_t *ops = &options->ops;
    GV_ASSERT(ops->opened != NULL && ops->frame != NULL);
    GV_ASSERT(ops->closed != NULL && ops->dial_failed != NULL);
    *links_out = NULL;

    gv_links_t *links = GV_NEW(gv_links_t);
    links->loop = options->loop;
    links->self = options->self;
    links->ops = options->ops;
    links->arg = options->arg;
    links->closed_job.run = on_all_closed;
    gv_list_init(&links->conns);
    gv_list_init(&links->diallings);
    /* The keys are our own numbers: nobody can choose them to collide. */
    gv_map_init(&links->open_conns, key_of_conn, 0);
    if (options->listen_fd >= 0) {
        gv_err_t err = gv_listener_open(links->loop, options->listen_fd, NULL, on_accepted, links,
                                        &links->listener, error);
        if (err != GV_OK) {
            gv_map_deinit(&links->open_conns);
            gv_free(links);
            return err;
        }
    }
    *links_out = links;
    return GV_OK;
}

void gv_links_close(gv_links_t *links, gv_links_closed_cb_t *on_closed, void *arg)
{
    gv_loop_assert_current(links->loop);
    GV_ASSERT(!links->is_closing);
    GV_ASSERT(on_closed != NULL);
    links->is_closing = true;
    links->on_closed = on_closed;
    links->on_closed_arg = arg;
    if (links->listener != NULL) {
        gv_listener_close(&links->listener);
    }
    gv__diallings_cancel(links);
    gv_list_foreach_safe (&links->conns, link) {
        gv_conn_t *conn = gv_container_of(link, gv_conn_t, link);
        gv__conn_end(conn, conn->state == GV_CONN_SHAKING ? GV_CLOSE_ABORT : GV_CLOSE_FLUSH);
    }
    if (gv_list_is_empty(&links->conns)) {
        gv_loop_defer(links->loop, &links->closed_job);
    }
}

void gv__links_conn_gone(gv_links_t *links)
{
    if (links->is_closing && gv_list_is_empty(&links->conns)) {
        gv_loop_defer(links->loop, &links->closed_job);
    }
}

void gv_links_free(gv_links_t **linksp)
{
    gv_links_t *links = *linksp;
    *linksp = NULL;
    if (links == NULL) {
        return;
    }
    GV_ASSERT(gv_list_is_empty(&links->conns));
    gv__diallings_free(links);
    gv_map_deinit(&links->open_conns);
    gv_free(links);
}

/* ---- what is said in the log -------------------------------------------------------------- */

/* The end of the host in "host:port": the port of who dials us is another one each time. */
static gv_bytes_t host_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    return gv_bytes(address, colon != NULL ? (size_t)(colon - address) : strlen(address));
}

/* Nothing is wrong: a seed list may name ourselves, and two nodes may dial each other at once. */
static bool is_ordinary(gv_link_close_t reason)
{
    return reason == GV_LINK_CLOSE_SELF || reason == GV_LINK_CLOSE_REPLACED ||
           reason == GV_LINK_CLOSE_LEAVING;
}

void gv__links_report_refusal(gv_links_t *links, const char *address,
                              const gv_peer_identity_t *peer, const gv_handshake_refusal_t *refusal,
                              bool is_dialled)
{
    links->stats.refused[refusal->reason]++;
    /* Somebody who has not even said who he is, at our port: not worth a line. */
    bool is_unknown_caller = !is_dialled && peer == NULL;
    gv_bytes_t about = is_dialled ? gv_bytes_text(address) : host_of(address);
    uint64_t what =
        (uint64_t)refusal->reason << 2 | (is_dialled ? 2U : 0U) | (refusal->is_by_peer ? 1U : 0U);
    bool is_loud = !is_ordinary(refusal->reason) && !is_unknown_caller &&
                   gv_notices_is_news(&links->notices, about, what, gv_loop_now_ms(links->loop));
    gv_log_peer(is_loud ? GV_LOG_WARN : GV_LOG_DEBUG, "link_refused",
                "peer='%s' node='%s' dialled=%s by=%s reason='%s'", address,
                peer != NULL ? peer->name : "", is_dialled ? "yes" : "no",
                refusal->is_by_peer ? "peer" : "us", refusal->text);
}

void gv__links_report_unreachable(gv_links_t *links, const char *address, const char *reason)
{
    bool is_loud = gv_notices_is_news(&links->notices, gv_bytes_text(address), UINT64_MAX,
                                      gv_loop_now_ms(links->loop));
    gv_log_at(is_loud ? GV_LOG_INFO : GV_LOG_DEBUG, "peer_unreachable", "address='%s' reason='%s'",
              address, reason);
}

/* ---- what the owner asks for -------------------------------------------------------------- */

void gv_links_dial(gv_links_t *links, const char *address, uint64_t dial_token)
{
    gv_loop_assert_current(links->loop);
    GV_ASSERT(dial_token != 0);
    GV_ASSERT(!links->is_closing);
    gv__dialling_begin(links, address, dial_token);
}

void gv_links_send(gv_links_t *links, gv_link_id_t link, gv_link_priority_t priority, uint8_t kind,
                   gv_bytes_t body)
{
    gv_loop_assert_current(links->loop);
    GV_ASSERT(kind >= GV_FRAME_CORE_FIRST);
    GV_ASSERT(body.size <= GV_FRAME_BODY_MAX);
    gv_conn_t *conn = find_open(links, link);
    if (conn != NULL) {
        gv__conn_send(conn, priority, kind, body);
    }
}

void gv_links_end_link(gv_links_t *links, gv_link_id_t link)
{
    gv_loop_assert_current(links->loop);
    gv_conn_t *conn = find_open(links, link);
    if (conn != NULL) {
        gv__conn_end(conn, GV_CLOSE_FLUSH);
    }
}

const gv_links_stats_t *gv_links_stats(const gv_links_t *links)
{
    return &links->stats;
}

bool gv_links_info(const gv_links_t *links, const gv_node_id_t *node, gv_link_info_t *info_out)
{
    gv_loop_assert_current(links->loop);
    bool is_found = false;
    gv_list_foreach (&links->conns, link) {
        const gv_conn_t *conn = gv_container_of(link, gv_conn_t, link);
        if (conn->state != GV_CONN_OPEN ||
            memcmp(conn->peer.id.bytes, node->bytes, sizeof(node->bytes)) != 0) {
            continue;
        }
        *info_out = (gv_link_info_t){
            .link = conn->id,
            .is_dialled = conn->is_dialled,
            .protocol = conn->peer.protocol,
            .opened_ms = gv_loop_now_ms(links->loop) - conn->opened_at_ms,
            .queue_bytes = conn->queue_bytes + gv_outbuf_size(&conn->stream.out),
            .stalled_ms = gv_stream_stalled_ms(&conn->stream),
        };
        (void)gv_address_text(&conn->peer_address, info_out->address);
        is_found = true;
    }
    return is_found;
}
