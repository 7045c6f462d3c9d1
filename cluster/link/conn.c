/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One connection.  Parts of this file: the two priorities out - the end - the handshake - frames in
 * - the beginning.
 */

#include <stdio.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/log.h"
#include "base/msgbuf.h"
#include "cluster/core/frame_kind.h"
#include "cluster/link/link_p.h"

/* A data frame that waits, header and body. */
typedef struct queued {
    gv_link_t link;
    gv_msgbuf_t *bytes;
} queued_t;

static GV_LOOP_ONLY void leave_open(gv_conn_t *conn);

static const char *address_text(const gv_conn_t *conn, char *out)
{
    return gv_address_text(&conn->peer_address, out);
}

/* ---- the two priorities out --------------------------------------------------------------- */

static void drop_queue(gv_conn_t *conn)
{
    gv_link_t *link;
    while ((link = gv_list_take_first(&conn->queue)) != NULL) {
        queued_t *queued = gv_container_of(link, queued_t, link);
        gv_msgbuf_unref(&queued->bytes);
        gv_free(queued);
    }
    conn->queue_bytes = 0;
}

static bool socket_has_room(const gv_conn_t *conn)
{
    return gv_outbuf_size(&conn->stream.out) < GV_LINK_SOCKET_BYTES;
}

/*
 * Data that has waited moves up.  There is always somebody to call this: a frame is queued only
 * behind GV_LINK_SOCKET_BYTES of output, which is over the stream's drain mark.
 */
static void on_drained(gv_stream_t *stream)
{
    gv_conn_t *conn = gv_container_of(stream, gv_conn_t, stream);
    gv_loop_t *loop = conn->links->loop;
    gv_loop_assert_current(loop);
    gv_link_t *link;
    while (socket_has_room(conn) && (link = gv_list_take_first(&conn->queue)) != NULL) {
        queued_t *queued = gv_container_of(link, queued_t, link);
        size_t size = gv_msgbuf_bytes(queued->bytes).size;
        gv_outbuf_append_ref(&stream->out, gv_loop_chunkpool(loop), queued->bytes, 0, size);
        conn->queue_bytes -= size;
        gv_msgbuf_unref(&queued->bytes);
        gv_free(queued);
    }
    gv_stream_dirty(stream);
}

static GV_LOOP_ONLY gv_err_t queue_data(gv_conn_t *conn, gv_bytes_t header, gv_bytes_t body)
{
    size_t size = header.size + body.size;
    if (size > GV_LINK_QUEUE_MAX - conn->queue_bytes) {
        return GV_ERR_LIMIT;
    }
    gv_msgbuf_t *bytes;
    gv_err_t err = gv_msgbuf_new(size, &bytes);
    if (err != GV_OK) {
        return err;
    }
    gv_writer_t w = gv_writer(gv_msgbuf_data(bytes), size);
    gv_writer_put(&w, header);
    gv_writer_put(&w, body);
    GV_ASSERT(!w.failed);
    gv_msgbuf_seal(bytes);

    queued_t *queued = GV_NEW(queued_t);
    queued->bytes = bytes;
    gv_list_append(&conn->queue, &queued->link);
    conn->queue_bytes += size;
    conn->links->stats.data_delayed++;
    return GV_OK;
}

void gv__conn_send(gv_conn_t *conn, gv_link_priority_t priority, uint8_t kind, gv_bytes_t body)
{
    GV_ASSERT(conn->state == GV_CONN_OPEN);
    uint8_t header_bytes[GV_LINKFRAME_HEADER_BYTES];
    gv_linkframe_header(header_bytes, kind, &body, 1);
    gv_bytes_t header = gv_bytes(header_bytes, sizeof(header_bytes));
    conn->links->stats.frames_out++;
    conn->links->stats.bytes_out += body.size;

    gv_err_t err = GV_OK;
    if (priority == GV_LINK_DATA && (!gv_list_is_empty(&conn->queue) || !socket_has_room(conn))) {
        err = queue_data(conn, header, body);
    } else if (gv_outbuf_size(&conn->stream.out) > GV_LINK_QUEUE_MAX) {
        err = GV_ERR_LIMIT;
    } else {
        gv_stream_write(&conn->stream, header);
        gv_stream_write(&conn->stream, body);
    }
    if (err != GV_OK) {
        char text[GV_ADDRESS_TEXT_SIZE];
        gv_log_peer(GV_LOG_WARN, "link_cut", "peer='%s' node='%s' reason='output: %s'",
                    address_text(conn, text), conn->peer.name, gv_err_text(err));
        leave_open(conn); /* the owner hears of it from on_closed(), not inside its own call */
        gv_stream_close(&conn->stream, GV_CLOSE_ABORT);
    }
}

/* ---- the end ------------------------------------------------------------------------------ */

static void stop_being_stranger(gv_conn_t *conn)
{
    if (conn->is_stranger) {
        conn->is_stranger = false;
        GV_ASSERT(conn->links->stranger_count > 0);
        conn->links->stranger_count--;
    }
}

/* The attempt to dial somebody has come to nothing, if this was one. */
static GV_LOOP_ONLY void fail_attempt(gv_conn_t *conn, bool is_self)
{
    gv_dialling_t *dialling = conn->dialling;
    conn->dialling = NULL;
    if (dialling != NULL) {
        gv__dialling_attempt_failed(dialling, is_self);
    }
}

static void leave_open(gv_conn_t *conn)
{
    GV_ASSERT(conn->state == GV_CONN_OPEN);
    conn->state = GV_CONN_ENDING;
    drop_queue(conn);
    void *removed = gv_map_remove(&conn->links->open_conns, gv_bytes(&conn->id, sizeof(conn->id)));
    GV_ASSERT(removed == conn);
}

static void leave_shaking(gv_conn_t *conn)
{
    GV_ASSERT(conn->state == GV_CONN_SHAKING);
    gv_timer_stop(&conn->handshake_timer);
    gv_handshake_free(&conn->handshake);
}

void gv__conn_end(gv_conn_t *conn, gv_close_mode_t mode)
{
    if (conn->state == GV_CONN_OPEN) {
        leave_open(conn);
    } else if (conn->state == GV_CONN_SHAKING) {
        leave_shaking(conn);
        conn->state = GV_CONN_ENDING;
    }
    conn->is_owner_told = false;
    gv_stream_close(&conn->stream, mode);
}

static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    gv_conn_t *conn = gv_container_of(stream, gv_conn_t, stream);
    gv_links_t *links = conn->links;
    gv_loop_assert_current(links->loop);
    char text[GV_ADDRESS_TEXT_SIZE];
    gv_log_debug("link_closed", "peer='%s' node='%s' reason='%s'", address_text(conn, text),
                 conn->peer.name, gv_err_text(why));

    if (conn->state == GV_CONN_OPEN) {
        leave_open(conn);
    } else if (conn->state == GV_CONN_SHAKING) {
        leave_shaking(conn);
        conn->state = GV_CONN_ENDING;
        if (conn->dialling != NULL) {
            gv__links_report_unreachable(links, gv__dialling_address(conn->dialling),
                                         "closed the connection during the handshake");
        }
    }
    fail_attempt(conn, false);
    if (conn->is_owner_told && !links->is_closing) {
        links->ops.closed(conn->id, links->arg);
    }
    stop_being_stranger(conn);
    gv_linkframe_decoder_deinit(&conn->decoder);
    gv_list_remove(&conn->link);
    gv_free(conn);
    gv__links_conn_gone(links);
}

/* ---- the handshake ------------------------------------------------------------------------ */

/* "Where you see me": the host of the connection and the port the peer has named. */
static void complete_address(gv_conn_t *conn)
{
    gv_peer_identity_t *peer = &conn->peer;
    if (peer->address[0] != ':') {
        return;
    }
    char host[GV_ADDRESS_TEXT_SIZE];
    (void)address_text(conn, host);
    char *colon = strrchr(host, ':');
    if (colon == NULL) {
        peer->address[0] = '\0'; /* a unix socket: nobody else can dial it */
        return;
    }
    *colon = '\0';
    char port[16];
    (void)snprintf(port, sizeof(port), "%.15s", peer->address);
    (void)snprintf(peer->address, sizeof(peer->address), "%s%s", host, port);
}

static GV_LOOP_ONLY void become_open(gv_conn_t *conn)
{
    gv_links_t *links = conn->links;
    conn->peer = *gv_handshake_peer(conn->handshake);
    leave_shaking(conn);
    stop_being_stranger(conn);
    complete_address(conn);
    conn->state = GV_CONN_OPEN;
    conn->id = ++links->last_id;
    conn->opened_at_ms = gv_loop_now_ms(links->loop);
    conn->is_owner_told = true;
    gv_linkframe_decoder_limit(&conn->decoder, GV_FRAME_BODY_MAX);
    gv_map_add(&links->open_conns, conn);
    links->stats.opened++;

    uint64_t token = 0;
    if (conn->dialling != NULL) {
        token = gv__dialling_token(conn->dialling);
        gv__dialling_succeeded(conn->dialling);
        conn->dialling = NULL;
    }
    links->ops.opened(conn->id, &conn->peer, token, links->arg);
}

/* The refusal is told to the peer (if it was not the peer's own), to the log, to who dialled. */
static GV_LOOP_ONLY void become_refused(gv_conn_t *conn)
{
    gv_handshake_refusal_t refusal = *gv_handshake_refusal(conn->handshake);
    char text[GV_ADDRESS_TEXT_SIZE];
    const char *address =
        conn->dialling != NULL ? gv__dialling_address(conn->dialling) : address_text(conn, text);
    gv__links_report_refusal(conn->links, address, gv_handshake_peer(conn->handshake), &refusal,
                             conn->is_dialled);
    leave_shaking(conn);
    conn->state = GV_CONN_ENDING;
    gv_stream_close(&conn->stream, GV_CLOSE_FLUSH);
    fail_attempt(conn, refusal.reason == GV_LINK_CLOSE_SELF);
}

static GV_LOOP_ONLY void on_handshake_frame(gv_conn_t *conn, const gv_linkframe_t *frame)
{
    gv_handshake_state_t state = gv_handshake_input(conn->handshake, frame);
    gv_stream_write(&conn->stream, gv_handshake_output(conn->handshake));
    if (state == GV_HANDSHAKE_OPEN) {
        become_open(conn);
    } else if (state == GV_HANDSHAKE_REFUSED) {
        become_refused(conn);
    }
}

static void on_handshake_timer(gv_timer_t *timer)
{
    gv_conn_t *conn = gv_container_of(timer, gv_conn_t, handshake_timer);
    gv_loop_assert_current(conn->links->loop);
    GV_ASSERT(conn->state == GV_CONN_SHAKING);
    gv_handshake_expire(conn->handshake);
    gv_stream_write(&conn->stream, gv_handshake_output(conn->handshake));
    become_refused(conn);
}

/* ---- frames in ---------------------------------------------------------------------------- */

static GV_LOOP_ONLY void on_bad_bytes(gv_conn_t *conn, gv_err_t err)
{
    gv_links_t *links = conn->links;
    char text[GV_ADDRESS_TEXT_SIZE];
    if (conn->state == GV_CONN_OPEN) {
        links->stats.frames_bad++;
        gv_log_peer(GV_LOG_WARN, "link_bad_frame", "peer='%s' node='%s' reason='%s'",
                    address_text(conn, text), conn->peer.name, gv_err_text(err));
        leave_open(conn);
        gv_stream_close(&conn->stream, GV_CLOSE_ABORT);
        return;
    }
    links->stats.garbage++;
    gv_log_debug("link_garbage", "peer='%s' reason='%s'", address_text(conn, text),
                 gv_err_text(err));
    if (conn->dialling != NULL) {
        gv__links_report_unreachable(links, gv__dialling_address(conn->dialling),
                                     "what answers there is not a node");
    }
    leave_shaking(conn);
    conn->state = GV_CONN_ENDING;
    gv_stream_close(&conn->stream, GV_CLOSE_ABORT);
    fail_attempt(conn, false);
}

static GV_LOOP_ONLY void on_frame(gv_conn_t *conn, const gv_linkframe_t *frame)
{
    gv_links_t *links = conn->links;
    if (frame->kind < GV_FRAME_CORE_FIRST) {
        on_bad_bytes(conn, GV_ERR_PROTOCOL); /* a second handshake */
        return;
    }
    links->stats.frames_in++;
    links->stats.bytes_in += frame->body.size;
    links->ops.frame(conn->id, frame->kind, frame->body, links->arg);
}

/* Everything is used at once: an unfinished frame is the decoder's. */
static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    gv_conn_t *conn = gv_container_of(stream, gv_conn_t, stream);
    gv_loop_assert_current(conn->links->loop);
    gv_bytes_t input = bytes;
    while (conn->state != GV_CONN_ENDING) {
        gv_linkframe_t frame;
        gv_err_t err = gv_linkframe_decode(&conn->decoder, &input, &frame);
        if (err == GV_ERR_AGAIN) {
            break;
        }
        if (err != GV_OK) {
            on_bad_bytes(conn, err);
        } else if (conn->state == GV_CONN_SHAKING) {
            on_handshake_frame(conn, &frame);
        } else {
            on_frame(conn, &frame);
        }
    }
    return bytes.size;
}

/* ---- the beginning ------------------------------------------------------------------------ */

static void set_option(int fd, int option, int value)
{
    /* Fails on a unix socket, and then does not matter. */
    (void)setsockopt(fd, IPPROTO_TCP, option, &value, sizeof(value));
}

static gv_handshake_t *begin_handshake(const gv_conn_t *conn)
{
    uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES];
    gv_os_random(challenge, sizeof(challenge));
    gv_handshake_t *handshake;
    gv_handshake_new(conn->links->self,
                     conn->is_dialled ? GV_HANDSHAKE_DIALER : GV_HANDSHAKE_ACCEPTOR, challenge,
                     &handshake);
    return handshake;
}

gv_conn_t *gv__conn_begin(gv_links_t *links, gv_socket_t *socket, const gv_address_t *peer_address,
                          gv_dialling_t *dialling)
{
    static const gv_stream_ops_t ops = {
        .on_input = on_input, .on_drained = on_drained, .on_closed = on_closed};
    static const gv_stream_options_t options = {.drain_mark = GV_LINK_SOCKET_BYTES / 2};
    _Static_assert(GV_LINK_SOCKET_BYTES / 2 < GV_LINK_SOCKET_BYTES, "see on_drained()");

    gv_conn_t *conn = GV_NEW(gv_conn_t);
    if (gv_stream_open(&conn->stream, links->loop, &ops, &options, socket) != GV_OK) {
        gv_socket_close(socket);
        gv_free(conn);
        return NULL;
    }
    int fd = gv_stream_fd(&conn->stream);
    set_option(fd, TCP_NODELAY, 1);
    set_option(fd, TCP_USER_TIMEOUT, (int)GV_LINK_USER_TIMEOUT_MS);
    set_option(fd, TCP_NOTSENT_LOWAT, (int)GV_LINK_SOCKET_BYTES / 2);

    conn->links = links;
    conn->state = GV_CONN_SHAKING;
    conn->dialling = dialling;
    conn->is_dialled = dialling != NULL;
    conn->is_stranger = dialling == NULL;
    conn->peer_address = *peer_address;
    gv_linkframe_decoder_init(&conn->decoder, GV_HANDSHAKE_BODY_MAX);
    gv_list_init(&conn->queue);
    gv_list_append(&links->conns, &conn->link);
    links->stranger_count += conn->is_stranger ? 1 : 0;

    conn->handshake = begin_handshake(conn);
    gv_stream_write(&conn->stream, gv_handshake_output(conn->handshake));
    gv_timer_init(&conn->handshake_timer, on_handshake_timer);
    gv_loop_timer_start(links->loop, &conn->handshake_timer, GV_HANDSHAKE_TIMEOUT_MS);
    return conn;
}
