/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/http_request.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/io/connect.h"
#include "base/io/loop.h"
#include "base/io/stream.h"

typedef struct fetch {
    gv_stream_t stream;
    gv_loop_t *loop;
    gv_letter_t start;
    gv_timer_t timer;
    gv_connecting_t *connecting;
    const char *address;
    uint32_t timeout_ms;
    gv_text_t request;
    gv_text_t received;
    gv_err_t err;
    char problem[256];
    bool is_open;
} fetch_t;

/* ---- taking the answer apart -------------------------------------------------------------- */

/* The bytes up to the next CR LF; false if there is none. */
static bool next_line(gv_reader_t *r, gv_bytes_t *line)
{
    const uint8_t *end = memmem(r->pos, gv_reader_left(r), "\r\n", 2);
    if (end == NULL) {
        return false;
    }
    *line = gv_reader_take(r, (size_t)(end - r->pos));
    (void)gv_reader_take(r, 2);
    return true;
}

/* Digits alone, at most nine of them. */
static bool parse_number(gv_bytes_t text, size_t *out)
{
    size_t value = 0;
    if (text.size == 0 || text.size > 9) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (size_t)(text.data[i] - '0');
    }
    *out = value;
    return true;
}

static bool has_prefix_ignoring_case(gv_bytes_t line, const char *prefix)
{
    size_t size = strlen(prefix);
    return line.size >= size && strncasecmp((const char *)line.data, prefix, size) == 0;
}

gv_err_t gv_http_answer_parse(gv_bytes_t bytes, gv_http_answer_t *out)
{
    static const char length_header[] = "content-length:";
    gv_reader_t r = gv_reader(bytes);
    gv_bytes_t line;
    size_t status = 0;
    /* HTTP/1.x NNN reason */
    bool good = next_line(&r, &line) && has_prefix_ignoring_case(line, "HTTP/1.") &&
                line.size >= 12 && parse_number(gv_bytes(line.data + 9, 3), &status);
    size_t length = SIZE_MAX;
    while (good && (good = next_line(&r, &line)) && line.size > 0) {
        if (has_prefix_ignoring_case(line, length_header)) {
            size_t from = strlen(length_header);
            while (from < line.size && line.data[from] == ' ') {
                from++;
            }
            good = parse_number(gv_bytes(line.data + from, line.size - from), &length);
        }
    }
    if (!good || (length != SIZE_MAX && gv_reader_left(&r) < length)) {
        return GV_ERR_MALFORMED;
    }
    out->status = (unsigned)status;
    gv_text_put(&out->body, gv_bytes(r.pos, length != SIZE_MAX ? length : gv_reader_left(&r)));
    return GV_OK;
}

void gv_http_answer_deinit(gv_http_answer_t *answer)
{
    gv_text_deinit(&answer->body);
}

/* ---- fetching ----------------------------------------------------------------------------- */

/* `problem` is a sentence. */
static GV_LOOP_ONLY void finish(fetch_t *fetch, gv_err_t err, const char *problem)
{
    gv_timer_stop(&fetch->timer);
    fetch->err = err;
    (void)snprintf(fetch->problem, sizeof(fetch->problem), "%s", problem);
    gv_loop_stop(fetch->loop);
}

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    fetch_t *fetch = gv_container_of(stream, fetch_t, stream);
    gv_loop_assert_current(fetch->loop);
    if (gv_text_size(&fetch->received) + bytes.size > GV_HTTP_ANSWER_SIZE_MAX) {
        fetch->err = GV_ERR_LIMIT;
        gv_stream_close(stream, GV_CLOSE_ABORT);
        return bytes.size;
    }
    gv_text_put(&fetch->received, bytes);
    return bytes.size;
}

/* The server closes when it has answered; whether that was everything, the parser sees. */
static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    fetch_t *fetch = gv_container_of(stream, fetch_t, stream);
    gv_loop_assert_current(fetch->loop);
    fetch->is_open = false;
    if (fetch->err == GV_ERR_TIMEOUT) {
        finish(fetch, GV_ERR_TIMEOUT, "the node does not answer in time");
    } else if (fetch->err != GV_OK) {
        finish(fetch, fetch->err, "the node's answer is too long");
    } else if (gv_text_size(&fetch->received) > 0 || why == GV_OK) {
        finish(fetch, GV_OK, "");
    } else {
        finish(fetch, why, "the node closed the connection without an answer");
    }
}

static const gv_stream_ops_t stream_ops = {.on_input = on_input, .on_closed = on_closed};

static void on_connected(gv_err_t err, gv_socket_t *socket, const char *reason, void *arg)
{
    fetch_t *fetch = arg;
    gv_loop_assert_current(fetch->loop);
    fetch->connecting = NULL;
    if (err == GV_OK) {
        err = gv_stream_open(&fetch->stream, fetch->loop, &stream_ops, NULL, socket);
        reason = gv_err_text(err);
        if (err != GV_OK) {
            gv_socket_close(socket);
        }
    }
    if (err != GV_OK) {
        finish(fetch, err, reason);
        return;
    }
    fetch->is_open = true;
    gv_stream_write(&fetch->stream, gv_bytes_text(gv_text_get(&fetch->request)));
}

static void on_timeout(gv_timer_t *timer)
{
    fetch_t *fetch = gv_container_of(timer, fetch_t, timer);
    gv_loop_assert_current(fetch->loop);
    if (fetch->is_open) {
        fetch->err = GV_ERR_TIMEOUT;
        gv_stream_close(&fetch->stream, GV_CLOSE_ABORT);
    }
}

static void on_start(gv_letter_t *letter)
{
    fetch_t *fetch = gv_container_of(letter, fetch_t, start);
    gv_loop_assert_current(fetch->loop);
    const gv_connect_options_t options = {.timeout_ms = fetch->timeout_ms};
    gv_err_t err =
        gv_connect(fetch->loop, fetch->address, &options, on_connected, fetch, &fetch->connecting);
    if (err != GV_OK) {
        finish(fetch, err, "that is no HOST:PORT");
        return;
    }
    gv_loop_timer_start(fetch->loop, &fetch->timer, fetch->timeout_ms);
}

static void write_request(fetch_t *fetch, const char *method, const char *path, const char *token)
{
    gv_text_add(&fetch->request, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n", method,
                path, fetch->address);
    if (strcmp(method, "GET") != 0) {
        gv_text_add(&fetch->request, "Content-Length: 0\r\n");
    }
    if (token != NULL && token[0] != '\0') {
        gv_text_add(&fetch->request, "Authorization: Bearer %s\r\n", token);
    }
    gv_text_add(&fetch->request, "\r\n");
}

gv_err_t gv_http_request(const char *method, const char *address, const char *path,
                         const char *token, uint32_t timeout_ms, gv_http_answer_t *out)
{
    GV_ASSERT(method != NULL);
    GV_ASSERT(address != NULL);
    GV_ASSERT(path != NULL);
    memset(out, 0, sizeof(*out));

    fetch_t *fetch = GV_NEW(fetch_t);
    fetch->address = address;
    fetch->timeout_ms = timeout_ms;
    fetch->start.deliver = on_start;
    gv_timer_init(&fetch->timer, on_timeout);
    write_request(fetch, method, path, token);
    gv_err_t err = gv_loop_new(NULL, &fetch->loop);
    if (err == GV_OK) {
        gv_loop_send(fetch->loop, &fetch->start);
        gv_loop_run(fetch->loop);
        gv_loop_free(&fetch->loop);
        err = fetch->err;
    }
    if (err == GV_OK) {
        const char *received = gv_text_get(&fetch->received);
        err = gv_http_answer_parse(gv_bytes(received, gv_text_size(&fetch->received)), out);
        (void)snprintf(fetch->problem, sizeof(fetch->problem),
                       "that is no admin port: the answer is not HTTP");
    }
    (void)snprintf(out->problem, sizeof(out->problem), "%s", err != GV_OK ? fetch->problem : "");
    gv_text_deinit(&fetch->request);
    gv_text_deinit(&fetch->received);
    gv_free(fetch);
    return err;
}
