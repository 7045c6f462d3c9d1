/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "base/alloc.h"
#include "base/io/tls.h"
#include "base/log.h"
#include "broker/core/client.h"
#include "broker/net/inbuf_p.h"
#include "broker/net/layers_p.h"
#include "broker/net/ws_accept_p.h"
#include "proto/ws/frame.h"
#include "proto/ws/handshake.h"

/*
 * Map: life - to the core - WebSocket: request, frames - TLS - input - output - the core's ports.
 *
 * The core may send a connection away to another shard while it is given input.  What has been read
 * before that point stays where it is: in the stream if it has not been decrypted, in `unread` if
 * it has not been decoded, in `pending` if the core has not used it.  The other shard goes on with
 * all three, in the reverse order.
 */

#define HANDSHAKES_PER_TURN 16U

/* WebSocket of a connection. */
typedef struct ws {
    gv_ws_decoder_t decoder;
    bool is_upgraded; /* the request has been answered; before, `pending` is the request */
} ws_t;

struct gv__layers {
    gv_stream_t *stream;
    gv_conn_t *conn;
    const gv_door_t *door;
    gv__layers_place_t *place; /* NULL between two loops */
    gv_tls_t *tls;             /* or NULL */
    ws_t *ws;                  /* or NULL */
    gv_outbuf_t core_out;
    gv_outbuf_t framed;  /* frames that are to be encrypted */
    gv__inbuf_t pending; /* for the core */
    gv__inbuf_t unread;  /* came along from another shard, to be decoded */
    gv_job_t again_job;
    size_t expected;     /* the core has no use for less */
    uint16_t close_code; /* what our close frame will say */
    bool is_paused;      /* by the core */
    bool is_over;        /* the peer has closed TLS or WebSocket, or broken a rule of theirs */
    bool is_ending;      /* nothing comes from the core any more */
    bool has_ended;      /* and the peer has been told so */
};

/* ---- life ----------------------------------------------------------------------------------- */

static void on_again_job(gv_job_t *job);

static gv_err_t make_parts(gv__layers_t *layers, uint32_t shard)
{
    if (layers->door->ws_path != NULL) {
        layers->ws = gv_try_alloc(sizeof(*layers->ws));
        if (layers->ws == NULL) {
            return GV_ERR_NOMEM;
        }
        *layers->ws = (ws_t){.is_upgraded = false};
    }
    return layers->door->tls == NULL ? GV_OK
                                     : gv_tls_new(layers->door->tls[shard], NULL, &layers->tls);
}

gv_err_t gv__layers_new(const gv_door_t *door, uint32_t shard, gv_stream_t *stream, gv_conn_t *conn,
                        gv__layers_t **layers_out)
{
    *layers_out = NULL;
    gv__layers_t *layers = gv_try_alloc(sizeof(*layers));
    if (layers == NULL) {
        return GV_ERR_NOMEM;
    }
    *layers = (gv__layers_t){.stream = stream,
                             .conn = conn,
                             .door = door,
                             .again_job = {.run = on_again_job},
                             .close_code = GV_WS_NORMAL};
    gv_outbuf_init(&layers->core_out);
    gv_outbuf_init(&layers->framed);
    gv_err_t err = make_parts(layers, shard);
    if (err != GV_OK) {
        gv__layers_free(&layers);
        return err;
    }
    *layers_out = layers;
    return GV_OK;
}

void gv__layers_free(gv__layers_t **layersp)
{
    gv__layers_t *layers = *layersp;
    *layersp = NULL;
    if (layers == NULL) {
        return;
    }
    GV_ASSERT(layers->place == NULL);
    gv_tls_free(&layers->tls);
    gv_free(layers->ws);
    gv_outbuf_clear(&layers->core_out, NULL);
    gv_outbuf_clear(&layers->framed, NULL);
    gv__inbuf_clear(&layers->pending);
    gv__inbuf_clear(&layers->unread);
    gv_free(layers);
}

void gv__layers_enter(gv__layers_t *layers, gv__layers_place_t *place)
{
    gv_loop_assert_current(place->loop);
    GV_ASSERT(layers->place == NULL);
    layers->place = place;
    layers->is_paused = false;
    layers->expected = 0;
    gv_outbuf_join(&layers->core_out, gv_loop_chunkpool(place->loop));
    gv_outbuf_join(&layers->framed, gv_loop_chunkpool(place->loop));
    if (gv__inbuf_size(&layers->pending) > 0 || gv__inbuf_size(&layers->unread) > 0 ||
        layers->is_over) {
        gv_loop_defer(place->loop, &layers->again_job);
    }
}

void gv__layers_leave(gv__layers_t *layers)
{
    gv_loop_assert_current(layers->place->loop);
    gv_job_cancel(&layers->again_job);
    gv_outbuf_leave(&layers->core_out, gv_loop_chunkpool(layers->place->loop));
    gv_outbuf_leave(&layers->framed, gv_loop_chunkpool(layers->place->loop));
    layers->place = NULL;
}

gv_outbuf_t *gv__layers_out(gv__layers_t *layers)
{
    return &layers->core_out;
}

size_t gv__layers_held(const gv__layers_t *layers)
{
    return layers->pending.capacity + layers->unread.capacity;
}

static GV_LOOP_ONLY gv_chunkpool_t *pool_of(const gv__layers_t *layers)
{
    return gv_loop_chunkpool(layers->place->loop);
}

/*
 * The peer wants it to end, or has to put up with it: but not before the core has had what came
 * before that, and not on a shard that the connection is about to leave.
 */
static GV_LOOP_ONLY void end_if_over(gv__layers_t *layers)
{
    bool core_has_to_wait = layers->is_paused && gv__inbuf_size(&layers->pending) > 0;
    if (layers->is_over && gv_stream_is_open(layers->stream) && !core_has_to_wait) {
        layers->is_ending = true;
        gv_stream_close(layers->stream, GV_CLOSE_FLUSH);
    }
}

/* ---- to the core ---------------------------------------------------------------------------- */

/* How many of the bytes the core has used; none, if it cannot listen now. */
static GV_LOOP_ONLY size_t offer(gv__layers_t *layers, gv_bytes_t bytes)
{
    if (!gv_stream_is_open(layers->stream) || layers->is_paused || bytes.size == 0 ||
        bytes.size < layers->expected) {
        return 0;
    }
    layers->expected = 0;
    return gv_client_input(layers->conn->client, bytes);
}

/* Keeps bytes for later, if there is going to be a later. */
static GV_LOOP_ONLY void keep(gv__layers_t *layers, gv__inbuf_t *inbuf, gv_bytes_t bytes)
{
    if (layers->is_ending) {
        return;
    }
    if (gv__inbuf_append(inbuf, bytes) != GV_OK && gv_stream_is_open(layers->stream)) {
        gv_log_peer(GV_LOG_WARN, "input_not_kept", "peer='%s' reason='out of memory'",
                    layers->conn->peer);
        gv_stream_close(layers->stream, GV_CLOSE_ABORT);
    }
}

/* Bytes for the core, behind those that wait. */
static GV_LOOP_ONLY void give_core(gv__layers_t *layers, gv_bytes_t bytes)
{
    if (gv__inbuf_size(&layers->pending) == 0) {
        size_t used = offer(layers, bytes);
        keep(layers, &layers->pending, gv_bytes(bytes.data + used, bytes.size - used));
        return;
    }
    keep(layers, &layers->pending, bytes);
    gv__inbuf_use(&layers->pending, offer(layers, gv__inbuf_bytes(&layers->pending)));
}

/* ---- WebSocket ------------------------------------------------------------------------------ */

/* Where frames go: to be encrypted, or out. */
static gv_outbuf_t *frames_out(gv__layers_t *layers)
{
    return layers->tls != NULL ? &layers->framed : &layers->stream->out;
}

static GV_LOOP_ONLY void put_out(gv__layers_t *layers, gv_bytes_t bytes)
{
    gv_outbuf_append(frames_out(layers), pool_of(layers), bytes);
    gv_stream_dirty(layers->stream);
}

static GV_LOOP_ONLY void put_frame_header(gv__layers_t *layers, gv_ws_opcode_t opcode, size_t size)
{
    uint8_t header[GV_WS_HEADER_MAX];
    gv_writer_t w = gv_writer(header, sizeof(header));
    gv_ws_write_header(&w, opcode, size);
    put_out(layers, gv_bytes(header, sizeof(header) - gv_writer_left(&w)));
}

static GV_LOOP_ONLY void answer_request(gv__layers_t *layers, const gv_ws_request_t *request,
                                        gv_err_t err)
{
    uint8_t answer[GV_WS_ANSWER_MAX];
    gv_writer_t w = gv_writer(answer, sizeof(answer));
    if (err == GV_OK) {
        uint8_t accept[GV__WS_ACCEPT_SIZE];
        gv__ws_accept(request->key, accept);
        gv_ws_write_accept(&w, gv_bytes(accept, sizeof(accept)), request->protocol);
    } else {
        gv_ws_write_refusal(&w, request->status);
    }
    GV_ASSERT(!w.failed);
    put_out(layers, gv_bytes(answer, sizeof(answer) - gv_writer_left(&w)));
}

static GV_LOOP_ONLY void count_ws_error(gv__layers_t *layers, uint16_t code)
{
    gv_counter_add(&layers->place->stats->ws_errors, 1);
    gv_log_peer(GV_LOG_INFO, "websocket_refused", "peer='%s' code=%u", layers->conn->peer,
                (unsigned)code);
}

static GV_LOOP_ONLY size_t take_frames(gv__layers_t *layers, gv_bytes_t bytes);

/* The request gathers in `pending`.  Whatever comes, all of it is taken. */
static GV_LOOP_ONLY void take_request(gv__layers_t *layers, gv_bytes_t bytes)
{
    keep(layers, &layers->pending, bytes);
    gv_bytes_t all = gv__inbuf_bytes(&layers->pending);
    gv_ws_request_t request;
    gv_err_t err = gv_ws_request_read(all, gv_bytes_text(layers->door->ws_path), &request);
    if (err == GV_ERR_AGAIN || !gv_stream_is_open(layers->stream)) {
        return;
    }
    answer_request(layers, &request, err);
    if (err != GV_OK) {
        count_ws_error(layers, request.status);
        gv__inbuf_clear(&layers->pending);
        layers->is_over = true;
        end_if_over(layers);
        return;
    }
    /* `pending` is for the core from now on; what came behind the request are frames. */
    gv__inbuf_t head = layers->pending;
    layers->pending = (gv__inbuf_t){.data = NULL};
    layers->ws->is_upgraded = true;
    gv_bytes_t rest = gv_bytes(all.data + request.size, all.size - request.size);
    size_t used = take_frames(layers, rest);
    keep(layers, &layers->unread, gv_bytes(rest.data + used, rest.size - used));
    gv__inbuf_clear(&head);
}

/* Who pings without reading our pongs gets no more of them. */
static GV_LOOP_ONLY void answer_ping(gv__layers_t *layers, gv_bytes_t bytes)
{
    if (gv_outbuf_size(frames_out(layers)) <= GV__LAYERS_OUTPUT_MARK) {
        put_frame_header(layers, GV_WS_PONG, bytes.size);
        put_out(layers, bytes);
    }
}

static GV_LOOP_ONLY void on_ws_over(gv__layers_t *layers, gv_err_t err, uint16_t code)
{
    if (err != GV_OK) {
        count_ws_error(layers, code);
    }
    layers->is_over = true;
    layers->close_code = code; /* the peer's own code is repeated */
}

/*
 * Decodes frames and gives the core their payload, many frames at a time.  Returns how many bytes
 * are used: all, unless the connection leaves or ends in the middle.
 */
static GV_LOOP_ONLY size_t take_frames(gv__layers_t *layers, gv_bytes_t bytes)
{
    uint8_t *room = layers->place->scratch->payload;
    const size_t room_size = sizeof(layers->place->scratch->payload);
    gv_bytes_t input = bytes;
    size_t filled = 0;
    gv_err_t err = GV_OK;
    while (err == GV_OK && gv_stream_is_open(layers->stream)) {
        gv_ws_event_t event;
        err = gv_ws_decode(&layers->ws->decoder, &input, room + filled, room_size - filled, &event);
        if (err == GV_OK && event.opcode == GV_WS_BINARY) {
            filled += event.bytes.size;
        } else if (err == GV_OK && event.opcode == GV_WS_PING) {
            answer_ping(layers, event.bytes);
        }
        if (err == GV_ERR_MALFORMED || (err == GV_OK && event.opcode == GV_WS_CLOSE)) {
            on_ws_over(layers, err, event.code);
        }
        if (filled == room_size || err != GV_OK || layers->is_over) {
            give_core(layers, gv_bytes(room, filled)); /* what came before the end counts */
            filled = 0;
        }
        end_if_over(layers);
    }
    return bytes.size - input.size;
}

/* ---- input ---------------------------------------------------------------------------------- */

/* Bytes without TLS.  What cannot be used here any more is kept for the other shard. */
static GV_LOOP_ONLY void take_plain(gv__layers_t *layers, gv_bytes_t bytes)
{
    if (layers->ws == NULL) {
        give_core(layers, bytes);
    } else if (!layers->ws->is_upgraded) {
        take_request(layers, bytes);
    } else {
        size_t used = take_frames(layers, bytes);
        keep(layers, &layers->unread, gv_bytes(bytes.data + used, bytes.size - used));
    }
}

/* The peer is told what it has done wrong by an alert, if it understands that. */
static GV_LOOP_ONLY void on_tls_over(gv__layers_t *layers, gv_err_t why)
{
    if (why == GV_ERR_MALFORMED) {
        gv_counter_add(&layers->place->stats->tls_errors, 1);
        gv_log_peer(GV_LOG_INFO, "tls_failed", "peer='%s' reason='%s'", layers->conn->peer,
                    gv_tls_error(layers->tls));
    }
    layers->is_over = true;
    end_if_over(layers);
}

/*
 * A handshake costs about a millisecond of signing: when many clients come at once, the others
 * shall not wait for all of them.  False: not in this turn.
 */
static GV_LOOP_ONLY bool may_shake_hands(gv__layers_place_t *place)
{
    uint64_t turn = gv_counter_get(&gv_loop_stats(place->loop)->turns);
    if (place->handshake_turn != turn) {
        place->handshake_turn = turn;
        place->handshakes = 0;
    }
    return place->handshakes++ < HANDSHAKES_PER_TURN;
}

/* Returns how many bytes have been decrypted: all, unless the connection leaves in the middle. */
static GV_LOOP_ONLY size_t take_records(gv__layers_t *layers, gv_bytes_t bytes)
{
    uint8_t *room = layers->place->scratch->plain;
    gv_tls_sink_t sink = {.out = &layers->stream->out, .pool = pool_of(layers)};
    gv_bytes_t wire = bytes;
    gv_err_t err = GV_OK;
    while (err == GV_OK && gv_stream_is_open(layers->stream)) {
        size_t size = 0;
        err = gv_tls_receive(layers->tls, &wire, sink, room, sizeof(layers->place->scratch->plain),
                             &size);
        if (err == GV_OK) {
            take_plain(layers, gv_bytes(room, size));
        } else if (err != GV_ERR_AGAIN && !layers->is_over) {
            on_tls_over(layers, err);
        }
    }
    /* The handshake's answers, and output that had to wait for what has come. */
    if (gv_outbuf_size(&layers->stream->out) > 0 || gv_outbuf_size(&layers->core_out) > 0 ||
        gv_outbuf_size(&layers->framed) > 0) {
        gv_stream_dirty(layers->stream);
    }
    return bytes.size - wire.size;
}

/* First what waits for the core, then what has to be decoded. */
static GV_LOOP_ONLY void go_on(gv__layers_t *layers)
{
    bool is_for_core = layers->ws == NULL || layers->ws->is_upgraded;
    if (is_for_core && gv__inbuf_size(&layers->pending) > 0) {
        gv__inbuf_use(&layers->pending, offer(layers, gv__inbuf_bytes(&layers->pending)));
    }
    if (gv__inbuf_size(&layers->unread) > 0 && gv_stream_is_open(layers->stream)) {
        gv__inbuf_t unread = layers->unread;
        layers->unread = (gv__inbuf_t){.data = NULL};
        take_plain(layers, gv__inbuf_bytes(&unread));
        gv__inbuf_clear(&unread);
    }
    end_if_over(layers);
}

static void on_again_job(gv_job_t *job)
{
    gv__layers_t *layers = gv_container_of(job, gv__layers_t, again_job);
    gv_loop_assert_current(layers->place->loop);
    go_on(layers);
}

size_t gv__layers_input(gv__layers_t *layers, gv_bytes_t bytes)
{
    gv_loop_assert_current(layers->place->loop);
    if (gv__inbuf_size(&layers->unread) > 0) {
        go_on(layers); /* it was there before these bytes */
        if (!gv_stream_is_open(layers->stream)) {
            return 0;
        }
    }
    if (layers->tls == NULL) {
        take_plain(layers, bytes);
        return bytes.size;
    }
    if (!gv_tls_is_open(layers->tls) && !may_shake_hands(layers->place)) {
        gv_stream_repeat_input(layers->stream);
        return 0;
    }
    return take_records(layers, bytes);
}

/* ---- output --------------------------------------------------------------------------------- */

/* The beginning of what waits, as large as one record may be: in place, or gathered in room. */
static gv_bytes_t first_piece(const gv_outbuf_t *out, uint8_t *room)
{
    enum {
        SEGMENTS = 16
    };
    gv_bytes_t vec[SEGMENTS];
    size_t count = gv_outbuf_iovec(out, vec, SEGMENTS);
    if (count == 1 || vec[0].size >= GV_TLS_RECORD_MAX) {
        size_t size = vec[0].size < GV_TLS_RECORD_MAX ? vec[0].size : GV_TLS_RECORD_MAX;
        return gv_bytes(vec[0].data, size);
    }
    gv_writer_t w = gv_writer(room, GV_TLS_RECORD_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t left = gv_writer_left(&w);
        gv_writer_put(&w, gv_bytes(vec[i].data, vec[i].size < left ? vec[i].size : left));
    }
    return gv_bytes(room, GV_TLS_RECORD_MAX - gv_writer_left(&w));
}

/* One record.  False: it cannot be encrypted now, or never. */
static GV_LOOP_ONLY bool encrypt_piece(gv__layers_t *layers, gv_outbuf_t *from)
{
    gv_bytes_t piece = first_piece(from, layers->place->scratch->record);
    size_t size = piece.size;
    gv_tls_sink_t sink = {.out = &layers->stream->out, .pool = pool_of(layers)};
    gv_err_t err = gv_tls_send(layers->tls, &piece, sink);
    gv_outbuf_consume(from, pool_of(layers), size - piece.size);
    return err == GV_OK;
}

/* One frame out of what the core has written. */
static GV_LOOP_ONLY bool frame_piece(gv__layers_t *layers)
{
    if (!layers->ws->is_upgraded) {
        return false;
    }
    gv_bytes_t piece = first_piece(&layers->core_out, layers->place->scratch->record);
    put_frame_header(layers, GV_WS_BINARY, piece.size);
    put_out(layers, piece);
    gv_outbuf_consume(&layers->core_out, pool_of(layers), piece.size);
    return true;
}

/* One step of output on its way to the socket.  False: nothing can be done now. */
static GV_LOOP_ONLY bool pass_on(gv__layers_t *layers)
{
    if (gv_outbuf_size(&layers->framed) > 0) {
        return encrypt_piece(layers, &layers->framed);
    }
    if (gv_outbuf_size(&layers->core_out) == 0) {
        return false;
    }
    return layers->ws != NULL ? frame_piece(layers) : encrypt_piece(layers, &layers->core_out);
}

static GV_LOOP_ONLY void say_goodbye(gv__layers_t *layers)
{
    if (layers->ws != NULL && layers->ws->is_upgraded) {
        uint8_t bytes[4];
        gv_writer_t w = gv_writer(bytes, sizeof(bytes));
        gv_ws_write_close(&w, layers->close_code);
        put_out(layers, gv_bytes(bytes, sizeof(bytes) - gv_writer_left(&w)));
    }
    while (pass_on(layers)) {
    }
    if (layers->tls != NULL) {
        gv_tls_sink_t sink = {.out = &layers->stream->out, .pool = pool_of(layers)};
        gv_tls_close(layers->tls, sink);
    }
}

void gv__layers_flush(gv__layers_t *layers)
{
    gv_loop_assert_current(layers->place->loop);
    if (layers->has_ended) {
        return; /* what the core still says has no place behind a close */
    }
    const gv_outbuf_t *wire = &layers->stream->out;
    while ((layers->is_ending || gv_outbuf_size(wire) <= GV__LAYERS_OUTPUT_MARK) &&
           pass_on(layers)) {
    }
    if (layers->is_ending) {
        layers->has_ended = true;
        say_goodbye(layers);
    }
}

/* ---- the core's ports ----------------------------------------------------------------------- */

void gv__layers_pause(gv__layers_t *layers, bool paused)
{
    layers->is_paused = paused;
    if (!paused && gv__inbuf_size(&layers->pending) > 0) {
        gv_loop_defer(layers->place->loop, &layers->again_job);
    }
}

void gv__layers_expect(gv__layers_t *layers, size_t size)
{
    layers->expected = size;
}

void gv__layers_end(gv__layers_t *layers)
{
    layers->is_ending = true;
}
