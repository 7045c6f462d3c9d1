/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "base/io/tls.h"
#include "base/log.h"
#include "broker/core/client.h"
#include "broker/net/inbuf_p.h"
#include "broker/net/layers_p.h"

struct gv__layers {
    gv_stream_t *stream;
    gv_conn_t *conn;
    const gv__layers_place_t *place; /* NULL between two loops */
    gv_tls_t *tls;
    gv_outbuf_t core_out;
    gv__inbuf_t pending; /* for the core */
    gv_job_t offer_job;
    size_t expected; /* the core has no use for less */
    bool is_paused;  /* by the core */
    bool is_ending;  /* nothing comes from the core any more */
    bool has_ended;  /* and the peer has been told so */
};

/* ---- life ----------------------------------------------------------------------------------- */

static void on_offer_job(gv_job_t *job);

gv_err_t gv__layers_new(const gv_door_t *door, uint32_t shard, gv_stream_t *stream, gv_conn_t *conn,
                        gv__layers_t **layers_out)
{
    *layers_out = NULL;
    gv__layers_t *layers = gv_try_alloc(sizeof(*layers));
    if (layers == NULL) {
        return GV_ERR_NOMEM;
    }
    *layers = (gv__layers_t){.stream = stream, .conn = conn, .offer_job = {.run = on_offer_job}};
    gv_outbuf_init(&layers->core_out);
    gv_err_t err = gv_tls_new(door->tls[shard], NULL, &layers->tls);
    if (err != GV_OK) {
        gv_free(layers);
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
    gv_outbuf_clear(&layers->core_out, NULL);
    gv__inbuf_clear(&layers->pending);
    gv_free(layers);
}

void gv__layers_enter(gv__layers_t *layers, const gv__layers_place_t *place)
{
    gv_loop_assert_current(place->loop);
    GV_ASSERT(layers->place == NULL);
    layers->place = place;
    layers->is_paused = false;
    layers->expected = 0;
    gv_outbuf_join(&layers->core_out, gv_loop_chunkpool(place->loop));
    if (gv__inbuf_size(&layers->pending) > 0) {
        gv_loop_defer(place->loop, &layers->offer_job);
    }
}

void gv__layers_leave(gv__layers_t *layers)
{
    gv_loop_assert_current(layers->place->loop);
    gv_job_cancel(&layers->offer_job);
    gv_outbuf_leave(&layers->core_out, gv_loop_chunkpool(layers->place->loop));
    layers->place = NULL;
}

gv_outbuf_t *gv__layers_out(gv__layers_t *layers)
{
    return &layers->core_out;
}

static GV_LOOP_ONLY gv_tls_sink_t tls_sink(gv__layers_t *layers)
{
    return (gv_tls_sink_t){.out = &layers->stream->out,
                           .pool = gv_loop_chunkpool(layers->place->loop)};
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

/* Bytes for the core, behind those that wait. */
static GV_LOOP_ONLY void give_core(gv__layers_t *layers, gv_bytes_t bytes)
{
    gv_err_t err = GV_OK;
    if (gv__inbuf_size(&layers->pending) == 0) {
        size_t used = offer(layers, bytes);
        err = gv__inbuf_append(&layers->pending, gv_bytes(bytes.data + used, bytes.size - used));
    } else {
        err = gv__inbuf_append(&layers->pending, bytes);
        gv__inbuf_use(&layers->pending, offer(layers, gv__inbuf_bytes(&layers->pending)));
    }
    if (err != GV_OK && gv_stream_is_open(layers->stream)) {
        gv_log_peer(GV_LOG_WARN, "input_not_kept", "peer='%s' reason='%s'", layers->conn->peer,
                    gv_err_text(err));
        gv_stream_close(layers->stream, GV_CLOSE_ABORT);
    }
}

static void on_offer_job(gv_job_t *job)
{
    gv__layers_t *layers = gv_container_of(job, gv__layers_t, offer_job);
    gv_loop_assert_current(layers->place->loop);
    if (gv__inbuf_size(&layers->pending) > 0) {
        gv__inbuf_use(&layers->pending, offer(layers, gv__inbuf_bytes(&layers->pending)));
    }
}

void gv__layers_pause(gv__layers_t *layers, bool paused)
{
    layers->is_paused = paused;
    if (!paused && gv__inbuf_size(&layers->pending) > 0) {
        gv_loop_defer(layers->place->loop, &layers->offer_job);
    }
}

void gv__layers_expect(gv__layers_t *layers, size_t size)
{
    layers->expected = size;
}

/* ---- from the stream ------------------------------------------------------------------------ */

/* The peer is told what it has done wrong by an alert, if it understands that. */
static GV_LOOP_ONLY void on_tls_end(gv__layers_t *layers, gv_err_t why)
{
    if (why == GV_ERR_MALFORMED) {
        gv_counter_add(&layers->place->stats->tls_errors, 1);
        gv_log_peer(GV_LOG_INFO, "tls_failed", "peer='%s' reason='%s'", layers->conn->peer,
                    gv_tls_error(layers->tls));
    }
    layers->is_ending = true;
    gv_stream_close(layers->stream, GV_CLOSE_FLUSH);
}

/*
 * Returns how many bytes have been decrypted: all, unless the connection leaves this shard in the
 * middle, and the rest with it.
 */
size_t gv__layers_input(gv__layers_t *layers, gv_bytes_t bytes)
{
    gv_loop_assert_current(layers->place->loop);
    uint8_t *room = layers->place->scratch->plain;
    gv_bytes_t wire = bytes;
    gv_err_t err = GV_OK;
    while (err == GV_OK && gv_stream_is_open(layers->stream)) {
        size_t size = 0;
        err = gv_tls_receive(layers->tls, &wire, tls_sink(layers), room,
                             sizeof(layers->place->scratch->plain), &size);
        if (err == GV_OK) {
            give_core(layers, gv_bytes(room, size));
        } else if (err != GV_ERR_AGAIN) {
            on_tls_end(layers, err);
        }
    }
    /* The handshake's answers, and output that had to wait for what has come. */
    if (gv_outbuf_size(&layers->stream->out) > 0 || gv_outbuf_size(&layers->core_out) > 0) {
        gv_stream_dirty(layers->stream);
    }
    return bytes.size - wire.size;
}

/* ---- to the stream -------------------------------------------------------------------------- */

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

/* False: it cannot be encrypted now, or never. */
static GV_LOOP_ONLY bool encrypt_piece(gv__layers_t *layers, gv_outbuf_t *from)
{
    gv_chunkpool_t *pool = gv_loop_chunkpool(layers->place->loop);
    gv_bytes_t piece = first_piece(from, layers->place->scratch->record);
    size_t size = piece.size;
    gv_err_t err = gv_tls_send(layers->tls, &piece, tls_sink(layers));
    gv_outbuf_consume(from, pool, size - piece.size);
    return err == GV_OK;
}

void gv__layers_flush(gv__layers_t *layers)
{
    gv_loop_assert_current(layers->place->loop);
    const gv_outbuf_t *wire = &layers->stream->out;
    bool goes_on = true;
    while (goes_on && gv_outbuf_size(&layers->core_out) > 0 &&
           (layers->is_ending || gv_outbuf_size(wire) <= GV__LAYERS_OUTPUT_MARK)) {
        goes_on = encrypt_piece(layers, &layers->core_out);
    }
    if (layers->is_ending && !layers->has_ended) {
        layers->has_ended = true;
        gv_tls_close(layers->tls, tls_sink(layers));
    }
}

void gv__layers_end(gv__layers_t *layers)
{
    layers->is_ending = true;
}
