/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_stream: a connected socket on a loop.
 *
 * Input: when the socket is readable the stream reads once into the loop's shared buffer and calls
 * on_input, which answers how many bytes it has used.  The rest is kept until more has arrived and
 * offered again together with it; a connection without an unfinished packet owns no input buffer.
 *
 * Output: the owner appends to stream->out and marks the stream dirty; at the end of the turn the
 * loop writes everything that came together with one system call per stream.
 *
 *     gv_socket_init(fd) or an accepted / connected socket
 *     gv_stream_open()      the stream is the owner's (embedded) and belongs to this loop
 *       ...
 *     gv_stream_close()  or  gv_stream_detach()    to continue on another loop
 *     on_closed()           exactly once; from here on the memory is the owner's again
 *
 * Callbacks come from the loop only, never from inside a function of this header.  After
 * gv_stream_close() or gv_stream_detach() nothing is called but on_closed (and before_flush, while
 * GV_CLOSE_FLUSH still writes).  When the peer ends the connection or it fails, the stream closes
 * itself: on_closed tells why.
 *
 *     OPEN --close(FLUSH)--> FLUSHING --all written--> LINGERING --EOF--> CLOSED
 *       |                        |                         |
 *       +---- close(ABORT), detach, EOF, error, deadline --+------------> CLOSED
 *
 * Lingering (shutdown, then discarding what still arrives) is there because closing a socket with
 * unread input sends a reset, and a reset destroys data the peer has not read yet, such as the
 * DISCONNECT that says why.
 *
 * Threads: the loop's, everywhere.
 * Memory: 152 bytes, plus chunks for waiting output, plus the unused input.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/defs.h"
#include "base/err.h"
#include "base/io/loop.h"
#include "base/io/poller.h"
#include "base/list.h"
#include "base/outbuf.h"

typedef struct gv_stream gv_stream_t;
typedef struct gv_leftover gv_leftover_t;

/* ---- a connection between two loops --------------------------------------------------------- */

/* A connection that is on no loop at the moment; may be handed to another thread as it is. */
typedef struct gv_socket {
    int fd;                /* non-blocking, or -1 */
    gv_leftover_t *_input; /* bytes read and not used */
    gv_outbuf_t _out;      /* bytes not written */
    uint64_t bytes_in;     /* so far */
} gv_socket_t;

/* A fresh connection.  fd now belongs to the socket. */
GV_ANY_THREAD gv_socket_t gv_socket_init(int fd);

/* Closes it and frees what it carries.  No effect when it has been closed or opened already. */
GV_ANY_THREAD void gv_socket_close(gv_socket_t *socket);

/* ---- the stream ----------------------------------------------------------------------------- */

typedef struct gv_stream_ops {
    /*
     * bytes: everything not used yet, at least as much as gv_stream_expect() asked for.  Returns
     * how many bytes from the front are used up.  What is left is offered again when more has
     * arrived, after a pause, or after gv_stream_repeat_input().
     */
    size_t (*on_input)(gv_stream_t *stream, gv_bytes_t bytes);

    /* Output had been over the drain mark and is now at or below half of it.  May be NULL. */
    void (*on_drained)(gv_stream_t *stream);

    /*
     * The stream is about to be written: the last chance to append to stream->out, for a layer that
     * turns what its user sent into wire bytes (TLS records, WebSocket frames).  May be NULL.
     */
    void (*before_flush)(gv_stream_t *stream);

    /*
     * The end.  GV_OK: closed or detached by us.  GV_ERR_CLOSED: the peer closed or reset.
     * GV_ERR_TIMEOUT: the peer's machine does not answer.  GV_ERR_LIMIT: on_input left input_max or
     * more bytes, or expected more.  GV_ERR_NOMEM, GV_ERR_IO: the obvious.  After GV_CLOSE_FLUSH
     * anything but GV_OK means that not everything could be written.
     */
    void (*on_closed)(gv_stream_t *stream, gv_err_t why);
} gv_stream_ops_t;

typedef struct gv_stream_options {
    uint32_t input_max;  /* see gv_stream_set_input_max(); 0: 64 KiB */
    uint32_t drain_mark; /* see on_drained [bytes]; 0: 256 KiB */
    uint8_t paused;      /* reasons, see gv_stream_pause() */
} gv_stream_options_t;

/* The state the inline functions below have to know; the others are stream.c's. */
#define GV__STREAM_OPEN 1

/* Public only so that owners can embed it.  `out` is theirs to append to. */
struct gv_stream {
    gv_watch_t _watch;
    gv_loop_t *_loop;
    const gv_stream_ops_t *_ops;
    gv_outbuf_t out;
    gv_link_t _loop_link;  /* in the loop's list of all; CLOSED: of those to be told so */
    gv_link_t _dirty_link; /* in the loop's list of streams to flush */
    gv_link_t _due_link;   /* OPEN: input to be offered again; then: in the list of lingerers */
    gv_leftover_t *_input; /* bytes not used, or NULL */
    uint64_t _bytes_in;
    uint64_t _progress_ms; /* OPEN: last progress of writing; then: when lingering ends */
    uint32_t _expected;    /* do not call on_input before there are so many bytes */
    uint32_t _input_max;
    uint32_t _drain_mark;
    uint8_t _state;
    uint8_t _paused;
    bool _is_above_mark;
    bool _is_write_blocked;
    bool _is_write_broken; /* the peer takes no more; what it has sent is still read */
    int16_t _why;          /* gv_err_t for on_closed */
};

_Static_assert(sizeof(gv_stream_t) <= 152, "100 000 idle connections pay for this");

/*
 * Puts a connection onto the loop and starts reading.  options may be NULL.
 *
 * GV_OK: the socket's content is the stream's now (socket->fd is -1).  GV_ERR_NOMEM or GV_ERR_IO:
 * the socket stays the caller's and the stream is as if never opened.  Input the socket brought
 * along is offered at the end of this turn.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_stream_open(gv_stream_t *stream, gv_loop_t *loop,
                                                 const gv_stream_ops_t *ops,
                                                 const gv_stream_options_t *options,
                                                 gv_socket_t *socket);

/*
 * Takes an open connection off the loop, with the input that was not used and the output that was
 * not written.  May be called from on_input; the bytes that call returns as used are used.  In that
 * case the socket is complete only when on_input has returned, therefore: hand it on in on_closed.
 */
GV_LOOP_ONLY void gv_stream_detach(gv_stream_t *stream, gv_socket_t *socket_out);

typedef enum gv_close_mode {
    GV_CLOSE_ABORT, /* at once; the peer may see a reset */
    GV_CLOSE_FLUSH, /* write what waits, shut down, wait for the peer's end; at most linger_ms */
} gv_close_mode_t;

/* Ends the connection.  A second call does nothing, except that ABORT cuts a FLUSH short. */
GV_LOOP_ONLY void gv_stream_close(gv_stream_t *stream, gv_close_mode_t mode);

/* False from gv_stream_close(), gv_stream_detach() or the first failure on. */
static inline bool gv_stream_is_open(const gv_stream_t *stream)
{
    return stream->_state == GV__STREAM_OPEN;
}

static inline gv_loop_t *gv_stream_loop(const gv_stream_t *stream)
{
    return stream->_loop;
}

/* ---- output --------------------------------------------------------------------------------- */

/* There is something in stream->out, or something for before_flush: write at the turn's end. */
GV_LOOP_ONLY void gv_stream_dirty(gv_stream_t *stream);

/* Copies bytes to stream->out and marks it dirty. */
GV_LOOP_ONLY void gv_stream_write(gv_stream_t *stream, gv_bytes_t bytes);

/* More waits than the drain mark: on_drained is going to be called. */
static inline bool gv_stream_is_above_mark(const gv_stream_t *stream)
{
    return stream->_is_above_mark || gv_outbuf_size(&stream->out) > stream->_drain_mark;
}

/* For how long the peer has taken nothing although something waits [ms]; 0 if nothing waits. */
GV_LOOP_ONLY uint64_t gv_stream_stalled_ms(const gv_stream_t *stream);

/* ---- input ---------------------------------------------------------------------------------- */

/*
 * Stops calling on_input and, if input comes, reading, until all reasons (bits, the owner's choice)
 * have been resumed.  What on_input left is then offered again, at the end of the turn.
 */
GV_LOOP_ONLY void gv_stream_pause(gv_stream_t *stream, uint8_t reasons);
GV_LOOP_ONLY void gv_stream_resume(gv_stream_t *stream, uint8_t reasons);

/*
 * From on_input: the packet that begins at the first unused byte has `total` bytes; do not call
 * again before they are there.  Holds for the next call only.  Memory grows with what arrives, not
 * with what was announced.
 */
GV_LOOP_ONLY void gv_stream_expect(gv_stream_t *stream, uint32_t total);

/*
 * From on_input: I have left complete packets because my budget for this turn is used.  Offers them
 * again at the end of this turn, or in the next one if that has come already; nothing is read until
 * then.
 */
GV_LOOP_ONLY void gv_stream_repeat_input(gv_stream_t *stream);

/* Memory of input that on_input has left or not seen yet [bytes]. */
GV_LOOP_ONLY size_t gv_stream_input_held(const gv_stream_t *stream);

/* How many bytes on_input may leave unused (the longest packet). */
GV_LOOP_ONLY void gv_stream_set_input_max(gv_stream_t *stream, uint32_t input_max);

static inline uint64_t gv_stream_bytes_in(const gv_stream_t *stream)
{
    return stream->_bytes_in;
}

/* The descriptor, borrowed: for getsockopt and the like. */
static inline int gv_stream_fd(const gv_stream_t *stream)
{
    return stream->_watch.fd;
}
