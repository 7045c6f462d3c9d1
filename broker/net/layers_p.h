/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What stands between a stream and the core when a listener is not plain TCP: TLS, WebSocket, or
 * one in the other.
 *
 *     stream --wire bytes--> TLS --> WebSocket --> pending --> core
 *     stream <--- records -- TLS <-- framed <-- WebSocket <-- core_out <-- core
 *
 * Made with the connection and carried along when it moves to another shard.  All input is taken
 * from the stream at once; what the core does not use yet waits in `pending`, which is empty most
 * of the time and owns no memory then.  Output is framed and encrypted in before_flush, and no more
 * of it than the socket is likely to take: the rest waits as it is, where the core sees and counts
 * it.
 *
 * Threads: the connection's loop, except where noted.
 */

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/loop.h"
#include "base/io/stream.h"
#include "broker/core/ports.h"
#include "broker/net/frontend.h"

typedef struct gv__layers gv__layers_t;

/* Output that is ready for the socket; beyond it nothing is added.  Also the drain mark. */
#define GV__LAYERS_OUTPUT_MARK ((size_t)65536)

/* Room that the connections of a loop use in turn, within a call. */
typedef struct gv__scratch {
    uint8_t plain[65536];   /* decrypted */
    uint8_t payload[65536]; /* out of WebSocket frames */
    uint8_t record[16384];  /* collected for one record */
} gv__scratch_t;

/* What the layers of a connection work with; it stays with the loop when they go. */
typedef struct gv__layers_place {
    gv_loop_t *loop;
    gv__scratch_t *scratch;
    gv_frontend_stats_t *stats;
    uint64_t handshake_turn; /* the turn in which `handshakes` are counted */
    uint32_t handshakes;
} gv__layers_place_t;

/* GV_OK, or GV_ERR_NOMEM.  conn and stream are the connection's, for life. */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv__layers_new(const gv_door_t *door, uint32_t shard,
                                                 gv_stream_t *stream, gv_conn_t *conn,
                                                 gv__layers_t **layers_out);

/* Any thread, after gv__layers_leave(): the connection is on no loop. */
void gv__layers_free(gv__layers_t **layersp);

/* The stream is open on this loop.  Input that was brought along is offered soon. */
GV_LOOP_ONLY void gv__layers_enter(gv__layers_t *layers, gv__layers_place_t *place);

/* The stream has left this loop. */
GV_LOOP_ONLY void gv__layers_leave(gv__layers_t *layers);

/* Where the core's output goes: conn->out. */
gv_outbuf_t *gv__layers_out(gv__layers_t *layers);

/* Memory of input that nobody has used yet [bytes]. */
size_t gv__layers_held(const gv__layers_t *layers);

/* The stream's callbacks. */
GV_LOOP_ONLY size_t gv__layers_input(gv__layers_t *layers, gv_bytes_t bytes);
GV_LOOP_ONLY void gv__layers_flush(gv__layers_t *layers);

/* The core's ports.  After gv__layers_end() the next flush writes everything, and the end. */
GV_LOOP_ONLY void gv__layers_pause(gv__layers_t *layers, bool paused);
GV_LOOP_ONLY void gv__layers_expect(gv__layers_t *layers, size_t size);
GV_LOOP_ONLY void gv__layers_end(gv__layers_t *layers);
