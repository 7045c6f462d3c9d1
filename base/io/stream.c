/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_INPUT

#include "base/io/stream.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/io/leftover_p.h"
#include "base/io/loop_p.h"
#include "base/io/os.h"

/*
 * Map: ending - watching - input - output - closing politely - opening and moving.
 *
 * Changing what is watched costs a system call, so it is done late: a paused stream goes on being
 * watched until input really comes, and writability is only watched after a full socket.
 */

#define INPUT_MAX_DEFAULT  65536U
#define DRAIN_MARK_DEFAULT 262144U

/* Segments in one write. */
#define WRITE_SEGMENTS_MAX 64U

typedef enum stream_state {
    STATE_OPEN = GV__STREAM_OPEN,
    STATE_FLUSHING,
    STATE_LINGERING,
    STATE_CLOSED,
} stream_state_t;

/* A gv_bytes_t is handed to the kernel as an iovec. */
_Static_assert(sizeof(gv_bytes_t) == sizeof(struct iovec), "same layout");
_Static_assert(offsetof(gv_bytes_t, data) == offsetof(struct iovec, iov_base), "same layout");
_Static_assert(offsetof(gv_bytes_t, size) == offsetof(struct iovec, iov_len), "same layout");

/* ---- ending --------------------------------------------------------------------------------- */

void gv__stream_tell_closed(gv_stream_t *stream)
{
    gv_loop_t *loop = stream->_loop;
    gv_loop_assert_current(loop);
    gv_counter_sub(&loop->stats.streams, 1);
    /* The owner may have appended since. */
    gv_outbuf_clear(&stream->out, &loop->chunks);
    stream->_ops->on_closed(stream, (gv_err_t)stream->_why);
}

/* Leaves the loop's lists; the watch and its descriptor are the caller's to end. */
static GV_LOOP_ONLY void leave_loop(gv_stream_t *stream, gv_err_t why)
{
    GV_ASSERT(stream->_state != STATE_CLOSED);
    gv_loop_t *loop = stream->_loop;
    stream->_state = STATE_CLOSED;
    stream->_why = (int16_t)why;
    gv_list_remove(&stream->_dirty_link);
    gv_list_remove(&stream->_due_link);
    gv_list_remove(&stream->_loop_link);
    gv_list_append(&loop->closed, &stream->_loop_link);
}

static GV_LOOP_ONLY void end(gv_stream_t *stream, gv_err_t why)
{
    leave_loop(stream, why);
    gv_watch_close(&stream->_loop->poller, &stream->_watch);
    gv_free(stream->_input);
    stream->_input = NULL;
    gv_outbuf_clear(&stream->out, &gv_stream_loop(stream)->chunks);
}

/* ---- watching ------------------------------------------------------------------------------- */

static uint32_t events_wanted(const gv_stream_t *stream)
{
    uint32_t wanted = stream->_is_write_blocked ? GV_POLL_OUT : 0;
    bool is_reading =
        stream->_state == STATE_LINGERING || (stream->_state == STATE_OPEN && stream->_paused == 0);
    return wanted | (is_reading ? GV_POLL_IN : 0);
}

static GV_LOOP_ONLY void update_watch(gv_stream_t *stream)
{
    if (stream->_state == STATE_CLOSED) {
        return;
    }
    gv_err_t err = gv_watch_set(&stream->_loop->poller, &stream->_watch, events_wanted(stream));
    if (err != GV_OK) {
        end(stream, err);
    }
}

/* ---- input ---------------------------------------------------------------------------------- */

/* Keeps what on_input has not used: of `bytes`, which are *leftoverp's or in the read buffer. */
static gv_err_t keep_rest(gv_leftover_t **leftoverp, gv_bytes_t bytes, size_t used)
{
    if (bytes.data == gv__leftover_bytes(*leftoverp).data) {
        gv__leftover_use(leftoverp, used);
        return GV_OK;
    }
    if (used == bytes.size) {
        gv_free(*leftoverp);
        *leftoverp = NULL;
        return GV_OK;
    }
    return gv__leftover_set(leftoverp, gv_bytes(bytes.data + used, bytes.size - used));
}

/* More is left, or asked for, than a packet may have; and not because on_input had no time. */
static bool is_over_limit(const gv_stream_t *stream)
{
    if (stream->_expected > stream->_input_max) {
        return true;
    }
    return gv__leftover_size(stream->_input) >= stream->_input_max && stream->_paused == 0 &&
           !gv_link_is_linked(&stream->_due_link);
}

/*
 * Calls on_input and stores the rest.  Meanwhile the leftover is not the stream's, so that closing
 * or detaching from inside the call cannot free the bytes that are being looked at.
 */
static GV_LOOP_ONLY void call_on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    GV_ASSERT(loop->calling == NULL);
    gv_leftover_t *leftover = stream->_input;
    stream->_input = NULL;
    stream->_expected = 0;
    loop->calling = stream;
    size_t used = stream->_ops->on_input(stream, bytes);
    loop->calling = NULL;
    GV_ASSERT(used <= bytes.size);

    gv_socket_t *detached = loop->detached;
    loop->detached = NULL;
    if (!gv_stream_is_open(stream) && detached == NULL) {
        gv_free(leftover);
        return;
    }
    gv_err_t err = keep_rest(&leftover, bytes, used);
    if (detached != NULL) {
        detached->_input = leftover;
        if (err != GV_OK) {
            gv_socket_close(detached); /* who opens it next finds it closed */
        }
        return;
    }
    stream->_input = leftover;
    if (err == GV_OK && is_over_limit(stream)) {
        err = GV_ERR_LIMIT;
    }
    if (err != GV_OK) {
        end(stream, err);
    }
}

/* Nothing came (AGAIN), or the end. */
static GV_LOOP_ONLY void on_nothing_read(gv_stream_t *stream, ssize_t got)
{
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    end(stream, got == 0 ? GV_ERR_CLOSED : gv_err_from_errno(errno));
}

static GV_LOOP_ONLY ssize_t receive(gv_stream_t *stream, void *room, size_t size)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    ssize_t got = recv(stream->_watch.fd, room, size, MSG_DONTWAIT);
    gv_counter_add(&loop->stats.reads, 1);
    if (got > 0) {
        gv_counter_add(&loop->stats.bytes_in, (uint64_t)got);
        stream->_bytes_in += (uint64_t)got;
    }
    return got;
}

/* Little or nothing is left over: read behind a copy of it into the loop's buffer. */
static GV_LOOP_ONLY void read_joined(gv_stream_t *stream)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_bytes_t before = gv__leftover_bytes(stream->_input);
    ssize_t got = receive(stream, loop->read_buffer + before.size, GV_READ_SIZE);
    if (got <= 0) {
        on_nothing_read(stream, got);
        return;
    }
    if (before.size > 0) {
        memcpy(loop->read_buffer, before.data, before.size);
    }
    gv_bytes_t bytes = gv_bytes(loop->read_buffer, before.size + (size_t)got);
    if (bytes.size >= stream->_expected) {
        call_on_input(stream, bytes);
        return;
    }
    gv_err_t err = gv__leftover_set(&stream->_input, bytes);
    if (err != GV_OK) {
        end(stream, err);
    }
}

/* Much is left over: read behind it, where it is. */
static GV_LOOP_ONLY void read_behind(gv_stream_t *stream)
{
    gv_err_t err = gv__leftover_grow(&stream->_input, stream->_expected);
    if (err != GV_OK) {
        end(stream, err);
        return;
    }
    size_t size;
    uint8_t *room = gv__leftover_room(stream->_input, &size);
    ssize_t got = receive(stream, room, size < GV_READ_SIZE ? size : GV_READ_SIZE);
    if (got <= 0) {
        on_nothing_read(stream, got);
        return;
    }
    gv__leftover_add(stream->_input, (size_t)got);
    if (gv__leftover_size(stream->_input) >= stream->_expected) {
        call_on_input(stream, gv__leftover_bytes(stream->_input));
    }
}

static GV_LOOP_ONLY void read_once(gv_stream_t *stream)
{
    if (gv__leftover_size(stream->_input) <= GV_READ_JOIN_MAX) {
        read_joined(stream);
    } else {
        read_behind(stream);
    }
}

/* What is left over shall be offered again at the turn's end, if it may be. */
static GV_LOOP_ONLY void make_due(gv_stream_t *stream)
{
    if (stream->_state == STATE_OPEN && !gv_link_is_linked(&stream->_due_link)) {
        gv_list_append(&gv_stream_loop(stream)->due, &stream->_due_link);
    }
}

void gv__stream_offer_input(gv_stream_t *stream)
{
    size_t size = gv__leftover_size(stream->_input);
    if (stream->_state != STATE_OPEN || stream->_paused != 0 || size == 0 ||
        size < stream->_expected) {
        return;
    }
    call_on_input(stream, gv__leftover_bytes(stream->_input));
}

void gv_stream_pause(gv_stream_t *stream, uint8_t reasons)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    stream->_paused |= reasons; /* on_readable() stops watching when something comes */
    if (stream->_is_write_broken && stream->_paused != 0) {
        gv_stream_dirty(stream); /* neither reading nor writing: the flush ends it */
    }
}

void gv_stream_resume(gv_stream_t *stream, uint8_t reasons)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    bool was_paused = stream->_paused != 0;
    stream->_paused &= (uint8_t)~reasons;
    if (!was_paused || stream->_paused != 0 || stream->_state != STATE_OPEN) {
        return;
    }
    /* Inside on_input the leftover is not known yet; offering an empty one does no harm. */
    if (stream->_input != NULL || gv_stream_loop(stream)->calling == stream) {
        make_due(stream);
    }
    update_watch(stream);
}

void gv_stream_expect(gv_stream_t *stream, uint32_t total)
{
    GV_ASSERT(gv_stream_loop(stream)->calling == stream);
    stream->_expected = total;
}

void gv_stream_repeat_input(gv_stream_t *stream)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    make_due(stream);
}

size_t gv_stream_input_held(const gv_stream_t *stream)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    return stream->_input == NULL ? 0 : stream->_input->_capacity;
}

void gv_stream_set_input_max(gv_stream_t *stream, uint32_t input_max)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    GV_ASSERT(input_max > 0);
    stream->_input_max = input_max;
}

/* ---- output --------------------------------------------------------------------------------- */

/*
 * The peer takes no more.  It may have said goodbye before that, and a clean goodbye is not an
 * error to the layers above: so what it sent is read to its end, if we are reading.
 */
static GV_LOOP_ONLY void on_write_failed(gv_stream_t *stream, int code)
{
    bool is_hung_up = code == EPIPE || code == ECONNRESET;
    if (!is_hung_up || stream->_state != STATE_OPEN || stream->_paused != 0) {
        end(stream, gv_err_from_errno(code));
        return;
    }
    stream->_is_write_broken = true;
    stream->_is_write_blocked = false;
    gv_outbuf_clear(&stream->out, &gv_stream_loop(stream)->chunks);
    update_watch(stream);
}

/* One gathered write.  Returns false if the stream cannot go on writing in this turn. */
static GV_LOOP_ONLY bool write_once(gv_stream_t *stream)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_bytes_t vec[WRITE_SEGMENTS_MAX];
    size_t count = gv_outbuf_iovec(&stream->out, vec, WRITE_SEGMENTS_MAX);
    size_t offered = 0;
    for (size_t i = 0; i < count; i++) {
        offered += vec[i].size;
    }
    struct msghdr message = {.msg_iov = (struct iovec *)(void *)vec, .msg_iovlen = count};
    ssize_t sent = sendmsg(stream->_watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    gv_counter_add(&loop->stats.writes, 1);
    if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
        on_write_failed(stream, errno);
        return false;
    }
    size_t written = sent > 0 ? (size_t)sent : 0;
    if (stream->_state == STATE_OPEN && (written > 0 || !stream->_is_write_blocked)) {
        stream->_progress_ms = gv_loop_now_ms(loop);
    }
    gv_outbuf_consume(&stream->out, &loop->chunks, written);
    gv_counter_add(&loop->stats.bytes_out, written);
    /* Less than offered: the socket is full, no need to be told so by another call. */
    if (written < offered && !stream->_is_write_blocked) {
        gv_counter_add(&loop->stats.writes_blocked, 1);
    }
    stream->_is_write_blocked = written < offered;
    return true;
}

static GV_LOOP_ONLY void begin_lingering(gv_stream_t *stream)
{
    if (shutdown(stream->_watch.fd, SHUT_WR) != 0) {
        end(stream, GV_OK); /* the peer is gone already */
        return;
    }
    stream->_state = STATE_LINGERING;
}

/* Writes what there is, as far as the socket takes it, and tells who waits for that. */
static GV_LOOP_ONLY void write_out(gv_stream_t *stream)
{
    size_t size = gv_outbuf_size(&stream->out);
    stream->_is_above_mark = stream->_is_above_mark || size > stream->_drain_mark;
    if (size > 0 && !write_once(stream)) {
        return;
    }
    size = gv_outbuf_size(&stream->out);
    if (size > 0 && !stream->_is_write_blocked) {
        gv_stream_dirty(stream); /* more segments than one write takes: next turn */
    }
    if (size == 0 && stream->_state == STATE_FLUSHING) {
        begin_lingering(stream);
    }
    update_watch(stream);
    if (stream->_is_above_mark && size <= stream->_drain_mark / 2) {
        stream->_is_above_mark = false;
        if (stream->_state == STATE_OPEN && stream->_ops->on_drained != NULL) {
            stream->_ops->on_drained(stream);
            gv_stream_loop(stream)->is_turn_wanted = true;
        }
    }
}

void gv__stream_flush(gv_stream_t *stream)
{
    if (stream->_ops->before_flush != NULL) {
        stream->_ops->before_flush(stream);
    }
    gv_list_remove(&stream->_dirty_link);
    if (stream->_state == STATE_CLOSED) {
        return;
    }
    if (stream->_is_write_broken) {
        gv_outbuf_clear(&stream->out, &gv_stream_loop(stream)->chunks);
        if (stream->_state != STATE_OPEN || stream->_paused != 0) {
            end(stream, GV_ERR_CLOSED);
        }
        return;
    }
    if (stream->_is_write_blocked) {
        size_t size = gv_outbuf_size(&stream->out);
        stream->_is_above_mark = stream->_is_above_mark || size > stream->_drain_mark;
        return; /* on_ready() goes on when the socket has room */
    }
    write_out(stream);
}

void gv_stream_dirty(gv_stream_t *stream)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_loop_assert_current(loop);
    bool is_writing = stream->_state == STATE_OPEN || stream->_state == STATE_FLUSHING;
    if (is_writing && !gv_link_is_linked(&stream->_dirty_link)) {
        gv_list_append(&loop->dirty, &stream->_dirty_link);
    }
}

void gv_stream_write(gv_stream_t *stream, gv_bytes_t bytes)
{
    gv_outbuf_append(&stream->out, &gv_stream_loop(stream)->chunks, bytes);
    gv_stream_dirty(stream);
}

uint64_t gv_stream_stalled_ms(const gv_stream_t *stream)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_loop_assert_current(loop);
    if (stream->_state != STATE_OPEN || !stream->_is_write_blocked) {
        return 0;
    }
    return gv_loop_now_ms(loop) - stream->_progress_ms;
}

/* ---- events --------------------------------------------------------------------------------- */

static GV_LOOP_ONLY void on_readable(gv_stream_t *stream)
{
    if (stream->_state == STATE_LINGERING) {
        uint8_t *discarded = gv_stream_loop(stream)->read_buffer;
        ssize_t got = receive(stream, discarded, GV_READ_SIZE);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            end(stream, GV_OK);
        }
        return;
    }
    if (stream->_state != STATE_OPEN || stream->_paused != 0) {
        update_watch(stream); /* stops watching */
        return;
    }
    /* While input waits to be offered again nothing is read; the event comes again next turn. */
    if (!gv_link_is_linked(&stream->_due_link)) {
        read_once(stream);
    }
}

/*
 * The socket has an error and is not watched any more.  What had arrived before is still to be
 * read, one read per turn, until the error itself comes out of recv(): now, or after the pause.
 */
static GV_LOOP_ONLY void on_socket_error(gv_stream_t *stream)
{
    if (stream->_state == STATE_OPEN && stream->_paused == 0) {
        on_readable(stream);
        update_watch(stream);
        return;
    }
    if (stream->_state == STATE_OPEN && !stream->_is_write_blocked) {
        return; /* gv_stream_resume() watches again */
    }
    int code = 0;
    socklen_t size = sizeof(code);
    (void)getsockopt(stream->_watch.fd, SOL_SOCKET, SO_ERROR, &code, &size);
    gv_err_t why = code != 0 ? gv_err_from_errno(code) : GV_ERR_CLOSED;
    end(stream, stream->_state == STATE_LINGERING ? GV_OK : why);
}

static void on_ready(gv_watch_t *watch, uint32_t events)
{
    gv_stream_t *stream = gv_container_of(watch, gv_stream_t, _watch);
    gv_loop_assert_current(stream->_loop);
    if ((events & GV_POLL_ERROR) != 0) {
        on_socket_error(stream);
        return;
    }
    if ((events & GV_POLL_OUT) != 0 && stream->_is_write_blocked) {
        write_out(stream);
    }
    if ((events & GV_POLL_IN) != 0 && stream->_state != STATE_CLOSED) {
        on_readable(stream);
    }
}

/* ---- closing politely ----------------------------------------------------------------------- */

/* The deadline of all lingerers is the same span, so the list is in the order of their ends. */
static GV_LOOP_ONLY void set_linger_timer(gv_loop_t *loop)
{
    gv_link_t *first = gv_list_first(&loop->lingering);
    if (first != NULL && !gv_timer_is_armed(&loop->linger_timer)) {
        gv_stream_t *stream = gv_container_of(first, gv_stream_t, _due_link);
        gv_timer_start(loop->wheel, &loop->linger_timer, stream->_progress_ms);
    }
}

void gv__stream_on_linger_timer(gv_timer_t *timer)
{
    gv_loop_t *loop = gv_container_of(timer, gv_loop_t, linger_timer);
    gv_loop_assert_current(loop);
    for (gv_link_t *link; (link = gv_list_first(&loop->lingering)) != NULL;) {
        gv_stream_t *stream = gv_container_of(link, gv_stream_t, _due_link);
        if (stream->_progress_ms > gv_loop_now_ms(loop)) {
            break;
        }
        end(stream, stream->_state == STATE_FLUSHING ? GV_ERR_TIMEOUT : GV_OK);
    }
    set_linger_timer(loop);
}

/* From here on _due_link and _progress_ms have their second meaning. */
static GV_LOOP_ONLY void begin_flushing(gv_stream_t *stream)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_list_remove(&stream->_due_link);
    gv_free(stream->_input);
    stream->_input = NULL;
    stream->_state = STATE_FLUSHING;
    stream->_progress_ms = gv_loop_now_ms(loop) + loop->linger_ms;
    gv_list_append(&loop->lingering, &stream->_due_link);
    set_linger_timer(loop);
    gv_stream_dirty(stream);
}

void gv_stream_close(gv_stream_t *stream, gv_close_mode_t mode)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    if (stream->_state == STATE_CLOSED) {
        return;
    }
    if (mode == GV_CLOSE_ABORT) {
        end(stream, GV_OK);
    } else if (stream->_state == STATE_OPEN) {
        begin_flushing(stream);
    }
}

/* ---- opening and moving --------------------------------------------------------------------- */

gv_socket_t gv_socket_init(int fd)
{
    gv_socket_t socket = {.fd = fd};
    gv_outbuf_init(&socket._out);
    return socket;
}

void gv_socket_close(gv_socket_t *socket)
{
    GV_ASSERT(socket != NULL);
    if (socket->fd >= 0) {
        (void)close(socket->fd);
    }
    gv_free(socket->_input);
    gv_outbuf_clear(&socket->_out, NULL);
    *socket = gv_socket_init(-1);
}

static void take_over(gv_stream_t *stream, gv_loop_t *loop, gv_socket_t *socket)
{
    stream->_input = socket->_input;
    stream->out = socket->_out;
    stream->_bytes_in = socket->bytes_in;
    gv_outbuf_join(&stream->out, &loop->chunks);
    *socket = gv_socket_init(-1);
}

gv_err_t gv_stream_open(gv_stream_t *stream, gv_loop_t *loop, const gv_stream_ops_t *ops,
                        const gv_stream_options_t *options, gv_socket_t *socket)
{
    static const gv_stream_options_t defaults = {.paused = 0};
    gv_loop_assert_current(loop);
    GV_ASSERT(ops->on_input != NULL);
    GV_ASSERT(ops->on_closed != NULL);
    const gv_stream_options_t *wanted = options != NULL ? options : &defaults;
    if (socket->fd < 0 || gv_loop_is_stopping(loop)) {
        return GV_ERR_CLOSED;
    }
    *stream = (gv_stream_t){
        ._loop = loop,
        ._ops = ops,
        ._input_max = wanted->input_max > 0 ? wanted->input_max : INPUT_MAX_DEFAULT,
        ._drain_mark = wanted->drain_mark > 0 ? wanted->drain_mark : DRAIN_MARK_DEFAULT,
        ._paused = wanted->paused,
        ._state = STATE_OPEN,
    };
    gv_watch_init(&stream->_watch, socket->fd, on_ready);
    gv_err_t err = gv_watch_set(&loop->poller, &stream->_watch, events_wanted(stream));
    if (err != GV_OK) {
        return err;
    }
    take_over(stream, loop, socket);
    gv_list_append(&loop->streams, &stream->_loop_link);
    gv_counter_add(&loop->stats.streams, 1);
    if (stream->_input != NULL) {
        make_due(stream);
    }
    if (gv_outbuf_size(&stream->out) > 0) {
        gv_stream_dirty(stream);
    }
    return GV_OK;
}

void gv_stream_detach(gv_stream_t *stream, gv_socket_t *socket_out)
{
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_loop_assert_current(loop);
    GV_ASSERT(stream->_state == STATE_OPEN);
    *socket_out = gv_socket_init(stream->_watch.fd);
    socket_out->_input = stream->_input;
    socket_out->_out = stream->out;
    socket_out->bytes_in = stream->_bytes_in;
    gv_outbuf_leave(&stream->out, &loop->chunks);
    gv_outbuf_init(&stream->out);
    stream->_input = NULL;
    leave_loop(stream, GV_OK);
    gv_watch_end(&loop->poller, &stream->_watch);
    stream->_watch.fd = -1;
    if (loop->calling == stream) {
        loop->detached = socket_out; /* call_on_input() adds what the call leaves */
    }
}
