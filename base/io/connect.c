/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/connect.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/io/loop_p.h"
#include "base/io/os.h"

/*
 *              numeric or path
 *     start ----------------------> TRYING --connected--> done
 *       |                            |  ^ |
 *       | name                failed |  | | all tried, deadline, loop stops
 *       v                            +--+ v
 *     RESOLVING ---addresses found---^    done
 *         +---- unknown, deadline, loop stops ----> done
 *
 * The object is freed when it is done and neither libuv's resolver nor its poll handle uses it.
 */

#define TIMEOUT_MS_DEFAULT      10000U
#define KEEPALIVE_COUNT_DEFAULT 3U

struct gv_connecting {
    gv_loop_t *loop;
    gv_link_t link; /* in the loop's list until done */
    gv_job_t start_job;
    gv_timer_t deadline;
    gv_connect_options_t options;
    gv_connected_cb_t *on_connected;
    void *arg;
    gv_endpoint_t endpoint;
    gv_address_t single; /* the address, if no name had to be resolved */
    uv_getaddrinfo_t lookup;
    struct addrinfo *addresses; /* of the name, libuv's */
    struct addrinfo *next;      /* to be tried */
    uv_poll_t poll;
    int fd; /* being connected, or -1 */
    gv_err_t last_err;
    gv_error_text_t last_reason;
    bool is_resolving; /* libuv's resolver has `lookup` */
    bool is_poll_open; /* libuv has `poll` */
    bool is_single_tried;
    bool is_done;
};

/* ---- ending --------------------------------------------------------------------------------- */

static void free_if_unused(gv_connecting_t *connecting)
{
    if (!connecting->is_done || connecting->is_resolving || connecting->is_poll_open) {
        return;
    }
    uv_freeaddrinfo(connecting->addresses);
    gv_free(connecting);
}

static GV_LOOP_ONLY void try_next(gv_connecting_t *connecting);

static void on_poll_closed(uv_handle_t *handle)
{
    gv_connecting_t *connecting = gv_container_of(handle, gv_connecting_t, poll);
    gv_loop_assert_current(connecting->loop);
    connecting->is_poll_open = false;
    if (connecting->is_done) {
        free_if_unused(connecting);
    } else {
        try_next(connecting);
    }
}

/* Takes the descriptor back from libuv. */
static GV_LOOP_ONLY int leave_poll(gv_connecting_t *connecting)
{
    int fd = connecting->fd;
    connecting->fd = -1;
    if (fd >= 0) {
        uv_close((uv_handle_t *)&connecting->poll, on_poll_closed);
    }
    return fd;
}

/* Leaves the loop's lists; what libuv still holds comes back by itself. */
static GV_LOOP_ONLY void end(gv_connecting_t *connecting)
{
    GV_ASSERT(!connecting->is_done);
    connecting->is_done = true;
    gv_list_remove(&connecting->link);
    gv_job_cancel(&connecting->start_job);
    gv_timer_stop(&connecting->deadline);
    if (connecting->is_resolving) {
        (void)uv_cancel((uv_req_t *)&connecting->lookup);
    }
    int fd = leave_poll(connecting);
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* The callback's last word; the object may be gone afterwards. */
static GV_LOOP_ONLY void fail(gv_connecting_t *connecting, gv_err_t err, const char *why)
{
    char reason[sizeof(gv_error_text_t) + GV_HOST_SIZE];
    if (connecting->endpoint.is_unix) {
        (void)snprintf(reason, sizeof(reason), "cannot connect to %s: %s",
                       connecting->endpoint.host, why);
    } else {
        (void)snprintf(reason, sizeof(reason), "cannot connect to %s:%u: %s",
                       connecting->endpoint.host, connecting->endpoint.port, why);
    }
    end(connecting);
    connecting->on_connected(err, NULL, reason, connecting->arg);
    free_if_unused(connecting);
}

static GV_LOOP_ONLY void succeed(gv_connecting_t *connecting)
{
    gv_socket_t socket = gv_socket_init(leave_poll(connecting));
    end(connecting);
    connecting->on_connected(GV_OK, &socket, "", connecting->arg);
    gv_socket_close(&socket); /* no effect if the owner has opened a stream with it */
    free_if_unused(connecting);
}

static void on_deadline(gv_timer_t *timer)
{
    gv_connecting_t *connecting = gv_container_of(timer, gv_connecting_t, deadline);
    gv_loop_assert_current(connecting->loop);
    fail(connecting, GV_ERR_TIMEOUT,
         connecting->is_resolving ? "no answer from the name service" : "no answer");
}

/* ---- trying addresses ----------------------------------------------------------------------- */

/* Remembered until there is no address left to try. */
static void note_failure(gv_connecting_t *connecting, int code)
{
    gv_err_t err = gv_err_from_errno(code);
    /* A unix socket's missing file means the same as a refused connection. */
    connecting->last_err = err == GV_ERR_NOENT || err == GV_ERR_AGAIN ? GV_ERR_CLOSED : err;
    (void)uv_strerror_r(-code, connecting->last_reason.text, sizeof(connecting->last_reason.text));
}

static void set_option(int fd, int level, int option, uint32_t value)
{
    int number = (int)value;
    (void)setsockopt(fd, level, option, &number, sizeof(number));
}

static void set_tcp_options(int fd, const gv_connect_options_t *options)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (options->user_timeout_ms > 0) {
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, options->user_timeout_ms);
    }
    if (options->keepalive_idle_s > 0) {
        uint32_t every_s = options->keepalive_every_s;
        uint32_t count = options->keepalive_count;
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, options->keepalive_idle_s);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL,
                   every_s > 0 ? every_s : options->keepalive_idle_s);
        set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, count > 0 ? count : KEEPALIVE_COUNT_DEFAULT);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    gv_connecting_t *connecting = gv_container_of(poll, gv_connecting_t, poll);
    gv_loop_assert_current(connecting->loop);
    (void)status; /* the socket itself knows more */
    (void)events;
    int code = 0;
    socklen_t size = sizeof(code);
    if (getsockopt(connecting->fd, SOL_SOCKET, SO_ERROR, &code, &size) != 0) {
        code = errno;
    }
    if (code == 0) {
        succeed(connecting);
        return;
    }
    note_failure(connecting, code);
    (void)close(leave_poll(connecting)); /* on_poll_closed() tries the next address */
}

/* Begins to connect.  Returns 0 or an errno value. */
static GV_LOOP_ONLY int try_address(gv_connecting_t *connecting, const struct sockaddr *address,
                                    socklen_t size)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    if (address->sa_family != AF_UNIX) {
        set_tcp_options(fd, &connecting->options);
    }
    int code = 0;
    if (connect(fd, address, size) != 0 && errno != EINPROGRESS) {
        code = errno;
    } else {
        code = -uv_poll_init(&connecting->loop->uv, &connecting->poll, fd);
    }
    if (code != 0) {
        (void)close(fd);
        return code;
    }
    connecting->fd = fd;
    connecting->is_poll_open = true;
    connecting->poll.data = connecting;
    int rc = uv_poll_start(&connecting->poll, UV_WRITABLE, on_poll);
    GV_ASSERT(rc == 0);
    return 0;
}

static GV_LOOP_ONLY void try_next(gv_connecting_t *connecting)
{
    if (connecting->single.size > 0 && !connecting->is_single_tried) {
        connecting->is_single_tried = true;
        int code = try_address(connecting, (const struct sockaddr *)&connecting->single.storage,
                               connecting->single.size);
        if (code == 0) {
            return;
        }
        note_failure(connecting, code);
    }
    while (connecting->next != NULL) {
        struct addrinfo *address = connecting->next;
        connecting->next = address->ai_next;
        int code = try_address(connecting, address->ai_addr, address->ai_addrlen);
        if (code == 0) {
            return;
        }
        note_failure(connecting, code);
    }
    fail(connecting, connecting->last_err, connecting->last_reason.text);
}

/* ---- starting ------------------------------------------------------------------------------- */

static void on_resolved(uv_getaddrinfo_t *lookup, int status, struct addrinfo *addresses)
{
    gv_connecting_t *connecting = gv_container_of(lookup, gv_connecting_t, lookup);
    gv_loop_assert_current(connecting->loop);
    connecting->is_resolving = false;
    connecting->addresses = addresses;
    connecting->next = addresses;
    if (connecting->is_done) {
        free_if_unused(connecting);
    } else if (status != 0) {
        gv_err_t err = gv_err_from_uv(status);
        fail(connecting, err == GV_ERR_NOENT ? err : GV_ERR_IO, uv_strerror(status));
    } else {
        try_next(connecting);
    }
}

/* Not in gv_connect() itself: whatever fails here calls back, and that must be later. */
static void on_start(gv_job_t *job)
{
    gv_connecting_t *connecting = gv_container_of(job, gv_connecting_t, start_job);
    gv_loop_assert_current(connecting->loop);
    if (connecting->single.size > 0) {
        try_next(connecting);
        return;
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", connecting->endpoint.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int rc = uv_getaddrinfo(&connecting->loop->uv, &connecting->lookup, on_resolved,
                            connecting->endpoint.host, port, &hints);
    if (rc != 0) {
        fail(connecting, GV_ERR_IO, uv_strerror(rc));
        return;
    }
    connecting->is_resolving = true;
}

gv_err_t gv_connect(gv_loop_t *loop, const char *address, const gv_connect_options_t *options,
                    gv_connected_cb_t *on_connected, void *arg, gv_connecting_t **connecting_out)
{
    static const gv_connect_options_t defaults = {.timeout_ms = 0};
    gv_loop_assert_current(loop);
    GV_ASSERT(on_connected != NULL);
    *connecting_out = NULL;
    if (gv_loop_is_stopping(loop)) {
        return GV_ERR_CLOSED;
    }
    gv_endpoint_t endpoint;
    gv_err_t err = gv_endpoint_parse(address, &endpoint, NULL);
    if (err != GV_OK) {
        return err;
    }
    if (!endpoint.is_unix && (endpoint.host[0] == '\0' || endpoint.port == 0)) {
        return GV_ERR_INVAL; /* good for listening only */
    }
    gv_connecting_t *connecting = GV_NEW(gv_connecting_t);
    connecting->endpoint = endpoint;
    if (gv_address_from_endpoint(&endpoint, &connecting->single) != GV_OK) {
        connecting->single.size = 0; /* a name */
    }
    connecting->loop = loop;
    connecting->options = options != NULL ? *options : defaults;
    connecting->on_connected = on_connected;
    connecting->arg = arg;
    connecting->fd = -1;
    connecting->last_err = GV_ERR_NOENT;
    (void)snprintf(connecting->last_reason.text, sizeof(connecting->last_reason.text),
                   "the name has no address");
    connecting->start_job.run = on_start;
    gv_timer_init(&connecting->deadline, on_deadline);
    gv_list_append(&loop->connectings, &connecting->link);
    uint32_t timeout_ms = connecting->options.timeout_ms;
    gv_loop_timer_start(loop, &connecting->deadline,
                        timeout_ms > 0 ? timeout_ms : TIMEOUT_MS_DEFAULT);
    gv_loop_defer(loop, &connecting->start_job);
    *connecting_out = connecting;
    return GV_OK;
}

void gv_connect_cancel(gv_connecting_t **connectingp)
{
    GV_ASSERT(connectingp != NULL);
    gv_connecting_t *connecting = *connectingp;
    *connectingp = NULL;
    if (connecting == NULL) {
        return;
    }
    gv_loop_assert_current(connecting->loop);
    end(connecting);
    free_if_unused(connecting);
}

void gv__connectings_stop(gv_loop_t *loop)
{
    for (gv_link_t *link; (link = gv_list_first(&loop->connectings)) != NULL;) {
        fail(gv_container_of(link, gv_connecting_t, link), GV_ERR_CLOSED, "shutting down");
    }
}
