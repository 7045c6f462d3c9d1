/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/admin.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/listener.h"
#include "base/io/os.h"
#include "base/log.h"
#include "broker/admin/admin_p.h"
#include "broker/admin/url.h"

/*
 * A map of this file: which route, and who may - what libmicrohttpd calls - running it - opening
 * and closing.  Calls and their answers are in call.c.
 */

#define REQUEST_HEAD_SIZE_MAX ((size_t)32 * 1024)

/* ---- which route, and who may ------------------------------------------------------------- */

static bool is_method(const char *asked, const char *of_route)
{
    return strcmp(asked, of_route) == 0 ||
           (strcmp(asked, "HEAD") == 0 && strcmp(of_route, "GET") == 0);
}

/* Values in paths are looked for in what was sent, all other paths in what that means. */
static bool is_path(const gv_admin_route_t *route, const gv_admin_call_t *call, const char *path,
                    gv_bytes_t *value_out)
{
    bool has_value = strchr(route->path, '{') != NULL;
    return gv_url_match(route->path, has_value ? call->sent_path : path, value_out);
}

/*
 * With the path and method, or NULL; `allowed` gets the methods of routes with that path.
 * *value_out is the value in the path, as it was sent.
 */
static const gv_admin_route_t *find_route(const gv_admin_call_t *call, const char *method,
                                          const char *path, gv_text_t *allowed, void **arg_out,
                                          gv_bytes_t *value_out)
{
    const gv_admin_t *admin = call->admin;
    for (size_t i = 0; i < admin->group_count; i++) {
        const gv__route_group_t *group = &admin->groups[i];
        for (size_t j = 0; j < group->count; j++) {
            const gv_admin_route_t *route = &group->routes[j];
            gv_bytes_t value;
            if (!is_path(route, call, path, &value)) {
                continue;
            }
            if (is_method(method, route->method)) {
                *arg_out = group->arg;
                *value_out = value;
                return route;
            }
            gv_text_add(allowed, "%s%s", gv_text_size(allowed) > 0 ? ", " : "", route->method);
        }
    }
    return NULL;
}

static bool is_from_this_machine(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL || info->client_addr == NULL) {
        return false;
    }
    gv_address_t address = {.size = 0};
    address.size = info->client_addr->sa_family == AF_INET    ? sizeof(struct sockaddr_in)
                   : info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                              : sizeof(sa_family_t);
    memcpy(&address.storage, info->client_addr, address.size);
    return gv_address_is_local(&address);
}

/* Takes the same time wherever the first difference is. */
static bool is_same_secret(const char *given, const char *secret)
{
    size_t given_size = strlen(given);
    size_t secret_size = strlen(secret);
    unsigned difference = given_size != secret_size;
    for (size_t i = 0; i < given_size; i++) {
        difference |= (unsigned char)given[i] ^ (unsigned char)secret[i % (secret_size + 1)];
    }
    return difference == 0;
}

static bool has_token(const gv_admin_call_t *call)
{
    const char *header =
        MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "Authorization");
    static const char scheme[] = "Bearer ";
    return call->admin->token[0] != '\0' && header != NULL &&
           strncasecmp(header, scheme, strlen(scheme)) == 0 &&
           is_same_secret(header + strlen(scheme), call->admin->token);
}

/*
 * A browser on this machine sends what a web page of anybody's tells it to, and says so in Origin:
 * such a page may change nothing, unless it knows the token.
 */
static bool is_from_a_web_page(const gv_admin_call_t *call, const char *method)
{
    bool is_reading = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    return !is_reading && !has_token(call) &&
           MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "Origin") != NULL;
}

static GV_LOOP_ONLY void ask(gv_admin_call_t *call, const char *method, const char *path)
{
    gv_text_t allowed = GV_TEXT_EMPTY;
    void *arg = NULL;
    gv_bytes_t value = GV_BYTES_EMPTY;
    const gv_admin_route_t *route = find_route(call, method, path, &allowed, &arg, &value);
    bool is_known = route != NULL || gv_text_size(&allowed) > 0;
    bool may_ask = (route != NULL && route->is_open) || has_token(call) ||
                   (!call->admin->token_always && is_from_this_machine(call->connection));
    if (!may_ask) {
        /* Strangers are not told which paths exist. */
        gv__call_refuse(call, 401, "UNAUTHORIZED",
                        "expected Authorization: Bearer TOKEN (admin.token)");
        if (call->response != NULL) {
            (void)MHD_add_response_header(call->response, "WWW-Authenticate", "Bearer");
        }
    } else if (is_from_a_web_page(call, method)) {
        gv__call_refuse(call, 403, "FORBIDDEN", "web pages need the token to change something");
    } else if (!is_known) {
        gv__call_refuse(call, 404, "NOT_FOUND", "no such path; / lists all");
    } else if (route == NULL) {
        gv__call_refuse(call, 405, "METHOD_NOT_ALLOWED",
                        "this path takes other methods, see Allow");
        if (call->response != NULL) {
            (void)MHD_add_response_header(call->response, "Allow", gv_text_get(&allowed));
        }
    } else if (!gv__call_take_value(call, value)) {
        gv__call_refuse(call, 400, "BAD_REQUEST", "the path has a % that is no escape, or a NUL");
    } else {
        call->state = GV__CALL_ASKED;
        call->is_with_handler = true;
        route->handler(call, arg);
    }
    gv_text_deinit(&allowed);
}

/* ---- what libmicrohttpd calls ------------------------------------------------------------- */

static bool announces_too_much(const gv_admin_call_t *call)
{
    const char *length =
        MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, "Content-Length");
    /* Ten digits are more than any limit of ours. */
    if (length == NULL) {
        return false;
    }
    uint64_t size = 0;
    for (size_t i = 0; length[i] >= '0' && length[i] <= '9' && i < 10; i++) {
        size = size * 10 + (uint64_t)(length[i] - '0');
    }
    return strlen(length) > 10 || size > call->admin->body_size_max;
}

static void take_body(gv_admin_call_t *call, const char *data, size_t size)
{
    if (gv_text_size(&call->body) + size > call->admin->body_size_max) {
        call->body_too_large = true;
        return;
    }
    gv_text_put(&call->body, gv_bytes(data, size));
}

static enum MHD_Result send_response(const gv_admin_call_t *call)
{
    if (call->response == NULL) {
        return MHD_NO; /* no memory: only closing is left */
    }
    return MHD_queue_response(call->connection, call->status, call->response);
}

/* The first of a request: its URI as it was sent. */
static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
    gv_admin_t *admin = arg;
    gv_loop_assert_current(admin->loop);
    return gv__call_new(admin, connection, uri);
}

static enum MHD_Result on_access(void *arg, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *upload,
                                 size_t *upload_size, void **callp)
{
    (void)version;
    gv_admin_t *admin = arg;
    gv_loop_assert_current(admin->loop);
    gv_admin_call_t *call = *callp;
    if (!call->has_head) {
        call->has_head = true;
        if (announces_too_much(call)) {
            gv__call_refuse(call, 413, "TOO_LARGE", "the request's body is too large");
            return send_response(call);
        }
        return MHD_YES;
    }
    if (*upload_size > 0) {
        take_body(call, upload, *upload_size);
        *upload_size = 0;
        /* A chunked body has no announced end, and no answer may be sent in the middle of it. */
        return call->body_too_large ? MHD_NO : MHD_YES;
    }
    if (call->state == GV__CALL_READING) {
        ask(call, method, url);
    }
    if (call->state == GV__CALL_ANSWERED) {
        return send_response(call);
    }
    call->is_suspended = true;
    MHD_suspend_connection(connection);
    gv_loop_timer_start(admin->loop, &call->timer, admin->answer_ms);
    return MHD_YES;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **callp,
                         enum MHD_RequestTerminationCode why)
{
    (void)connection;
    (void)why;
    gv_admin_t *admin = arg;
    gv_loop_assert_current(admin->loop);
    gv_admin_call_t *call = *callp;
    *callp = NULL;
    if (call != NULL) {
        gv__call_let_go(call);
    }
}

/* What a peer can cause; libmicrohttpd's sentences end with a newline. */
static GV_PRINTF(2, 0) void on_message(void *arg, const char *format, va_list arguments)
{
    (void)arg;
    char text[256];
    char printable[300];
    int size = vsnprintf(text, sizeof(text), format, arguments);
    size_t length = size < 0 ? 0 : strcspn(text, "\n");
    gv_log_peer(GV_LOG_DEBUG, "admin_http", "text='%s'",
                gv_bytes_printable(gv_bytes(text, length), printable, sizeof(printable)));
}

/* ---- running it from the loop ------------------------------------------------------------- */

static unsigned connection_count(const gv_admin_t *admin)
{
    return MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS)->num_connections;
}

static GV_LOOP_ONLY void run(gv_admin_t *admin)
{
    /*
     * At its limit of connections libmicrohttpd takes the listening socket out of its epoll set,
     * and puts it back at the beginning of the run after the one in which a connection ended;
     * without that run nobody would be accepted any more.
     */
    unsigned before;
    do {
        before = connection_count(admin);
        (void)MHD_run(admin->daemon);
    } while (connection_count(admin) < before);
    MHD_UNSIGNED_LONG_LONG wait_ms;
    if (MHD_get_timeout(admin->daemon, &wait_ms) == MHD_YES) {
        gv_loop_timer_start(admin->loop, &admin->timer, wait_ms);
    } else {
        gv_timer_stop(&admin->timer);
    }
}

void gv__admin_wake(gv_admin_t *admin)
{
    gv_loop_timer_start(admin->loop, &admin->timer, 0);
}

static void on_timer(gv_timer_t *timer)
{
    gv_admin_t *admin = gv_container_of(timer, gv_admin_t, timer);
    gv_loop_assert_current(admin->loop);
    run(admin);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    gv_admin_t *admin = gv_container_of(poll, gv_admin_t, poll);
    gv_loop_assert_current(admin->loop);
    run(admin);
}

/* ---- opening and closing ------------------------------------------------------------------ */

static GV_LOOP_ONLY void answer_index(gv_admin_call_t *call, void *arg)
{
    const gv_admin_t *admin = arg;
    json_t *list = json_array();
    for (size_t i = 0; i < admin->group_count; i++) {
        for (size_t j = 0; j < admin->groups[i].count; j++) {
            const gv_admin_route_t *route = &admin->groups[i].routes[j];
            json_t *entry = json_pack("{s:s, s:s, s:s}", "method", route->method, "path",
                                      route->path, "about", route->doc);
            (void)json_array_append_new(list, entry);
        }
    }
    gv_admin_answer_json(call, 200,
                         json_pack("{s:s, s:s, s:o}", "name", "grapevine", "version", GV_VERSION,
                                   "endpoints", list));
}

static void on_index(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(call->admin->loop);
    answer_index(call, arg);
}

static const gv_admin_route_t index_route = {
    .method = "GET", .path = "/", .doc = "this list", .handler = on_index, .is_open = true};

static gv_err_t bind_and_listen(const char *address, int *fd_out, gv_error_text_t *error)
{
    uint32_t count;
    gv_err_t err = gv_listen_bind(address, 1, fd_out, &count, error);
    if (err != GV_OK) {
        return err;
    }
    if (listen(*fd_out, 64) != 0) {
        err = gv_err_from_errno(errno);
        (void)snprintf(error->text, sizeof(error->text), "cannot listen on %s: %s", address,
                       strerror(errno));
        (void)close(*fd_out);
    }
    return err;
}

/*
 * The idle time is short because libmicrohttpd (0.9.75, epoll) does not notice the end of a
 * connection that arrived together with the beginning of a request: such a one keeps its place
 * until it has been idle for so long.
 */
static struct MHD_Daemon *start_daemon(gv_admin_t *admin, const gv_admin_options_t *options, int fd)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_access,
        admin, MHD_OPTION_EXTERNAL_LOGGER, on_message, admin, MHD_OPTION_LISTEN_SOCKET, fd,
        MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(options->connections_max != 0 ? options->connections_max : 256),
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)(options->idle_s != 0 ? options->idle_s : 5),
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, REQUEST_HEAD_SIZE_MAX, MHD_OPTION_URI_LOG_CALLBACK,
        on_uri, admin, MHD_OPTION_NOTIFY_COMPLETED, on_completed, admin, MHD_OPTION_END);
}

gv_err_t gv_admin_open(gv_loop_t *loop, const gv_admin_options_t *options, gv_admin_t **admin_out,
                       gv_error_text_t *error)
{
    gv_loop_assert_current(loop);
    GV_ASSERT(options != NULL);
    GV_ASSERT(admin_out != NULL);
    *admin_out = NULL;

    int fd;
    gv_err_t err = bind_and_listen(options->address, &fd, error);
    if (err != GV_OK) {
        return err;
    }
    gv_address_t bound = gv_address_of_socket(fd);
    gv_admin_t *admin = GV_NEW(gv_admin_t);
    admin->loop = loop;
    admin->port = gv_address_port(&bound);
    admin->token = gv_xstrdup(options->token != NULL ? options->token : "");
    admin->body_size_max = options->body_size_max != 0 ? options->body_size_max : 64 * 1024;
    admin->token_always = options->token_always;
    admin->answer_ms = options->answer_ms != 0 ? options->answer_ms : 5000;
    gv_list_init(&admin->calls);
    gv_timer_init(&admin->timer, on_timer);
    gv_admin_add(admin, &index_route, 1, admin);

    admin->daemon = start_daemon(admin, options, fd);
    const union MHD_DaemonInfo *info =
        admin->daemon != NULL ? MHD_get_daemon_info(admin->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    int rc =
        info != NULL ? uv_poll_init(gv_loop_uv(loop), &admin->poll, info->epoll_fd) : UV_EMFILE;
    if (rc != 0) {
        (void)snprintf(error->text, sizeof(error->text), "no HTTP server on %s: %s",
                       options->address, uv_strerror(rc));
        if (admin->daemon != NULL) {
            MHD_stop_daemon(admin->daemon);
        } else {
            (void)close(fd);
        }
        gv_free(admin->groups);
        gv_free(admin->token);
        gv_free(admin);
        return gv_err_from_uv(rc);
    }
    rc = uv_poll_start(&admin->poll, UV_READABLE, on_readable);
    GV_ASSERT(rc == 0);
    *admin_out = admin;
    return GV_OK;
}

static void on_poll_closed(uv_handle_t *handle)
{
    gv_admin_t *admin = gv_container_of((uv_poll_t *)(void *)handle, gv_admin_t, poll);
    gv_free(admin->groups);
    gv_free(admin->token);
    gv_free(admin);
}

void gv_admin_close(gv_admin_t **adminp)
{
    GV_ASSERT(adminp != NULL);
    gv_admin_t *admin = *adminp;
    *adminp = NULL;
    if (admin == NULL) {
        return;
    }
    gv_loop_assert_current(admin->loop);
    /* libmicrohttpd does not stop with connections suspended. */
    for (gv_link_t *link = gv_list_first(&admin->calls); link != NULL;
         link = gv_list_next(&admin->calls, link)) {
        gv_admin_call_t *call = gv_container_of(link, gv_admin_call_t, link);
        if (call->is_suspended) {
            gv__call_refuse(call, 503, "SHUTTING_DOWN", "the node is shutting down");
        }
    }
    (void)MHD_run(admin->daemon);
    (void)uv_poll_stop(&admin->poll);
    uv_close((uv_handle_t *)&admin->poll, on_poll_closed);
    MHD_stop_daemon(admin->daemon);
    gv_timer_stop(&admin->timer);
    GV_ASSERT(gv_list_is_empty(&admin->calls));
}

void gv_admin_add(gv_admin_t *admin, const gv_admin_route_t *routes, size_t count, void *arg)
{
    GV_ASSERT(routes != NULL);
    admin->groups = gv_xrealloc(admin->groups, (admin->group_count + 1) * sizeof(*admin->groups));
    admin->groups[admin->group_count++] =
        (gv__route_group_t){.routes = routes, .count = count, .arg = arg};
}

void gv_admin_set_token(gv_admin_t *admin, const char *token)
{
    gv_loop_assert_current(admin->loop);
    gv_free(admin->token);
    admin->token = gv_xstrdup(token);
}

uint16_t gv_admin_port(const gv_admin_t *admin)
{
    return admin->port;
}
