/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/ws/handshake.h"

#include <strings.h>

/* ---- bytes and words ------------------------------------------------------------------------ */

static bool equal_ignoring_case(gv_bytes_t a, gv_bytes_t b)
{
    return a.size == b.size &&
           (a.size == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.size) == 0);
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

static gv_bytes_t trimmed(gv_bytes_t text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text = gv_bytes(text.data + 1, text.size - 1);
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

/* What stands before the separator (or the end) is taken off *text, and the separator too. */
static gv_bytes_t take_until(gv_bytes_t *text, uint8_t separator)
{
    const uint8_t *found = text->size > 0 ? memchr(text->data, separator, text->size) : NULL;
    size_t size = found != NULL ? (size_t)(found - text->data) : text->size;
    gv_bytes_t taken = gv_bytes(text->data, size);
    size_t skipped = found != NULL ? size + 1 : size;
    *text = gv_bytes(text->data + skipped, text->size - skipped);
    return taken;
}

/* `word` is in a list like "keep-alive, Upgrade". */
static bool has_word(gv_bytes_t list, gv_bytes_t word)
{
    while (list.size > 0) {
        if (equal_ignoring_case(trimmed(take_until(&list, ',')), word)) {
            return true;
        }
    }
    return false;
}

/* Printable, blanks, and bytes above ASCII: no other control characters, no bare line ends. */
static bool is_text(gv_bytes_t bytes)
{
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Characters of a header's name (RFC 9110, 5.6.2). */
static bool is_name(gv_bytes_t bytes)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t byte = bytes.data[i];
        bool is_alphanumeric = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                               (byte >= 'A' && byte <= 'Z');
        if (!is_alphanumeric && (byte == '\0' || strchr(others, byte) == NULL)) {
            return false;
        }
    }
    return bytes.size > 0;
}

/* base64 of 16 bytes: 22 characters, of which the last has only two bits, and "==". */
static bool is_key(gv_bytes_t key)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (key.size != GV_WS_KEY_SIZE || key.data[22] != '=' || key.data[23] != '=') {
        return false;
    }
    for (size_t i = 0; i < 22; i++) {
        if (key.data[i] == '\0' || strchr(digits, key.data[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* ---- the request ---------------------------------------------------------------------------- */

/* What the headers have said. */
typedef struct headers {
    gv_bytes_t key;
    gv_bytes_t protocol;
    uint32_t hosts;
    uint32_t keys;
    uint32_t versions;
    bool is_version_13;
    bool has_upgrade;
    bool has_connection;
} headers_t;

static gv_err_t refuse(gv_ws_request_t *out, uint16_t status)
{
    out->status = status;
    return GV_ERR_MALFORMED;
}

/* "GET /mqtt?query HTTP/1.1" */
static gv_err_t read_request_line(gv_bytes_t line, gv_bytes_t path, gv_ws_request_t *out)
{
    gv_bytes_t method = take_until(&line, ' ');
    gv_bytes_t target = take_until(&line, ' ');
    if (!gv_bytes_equal(method, GV_BYTES_LITERAL("GET")) || target.size == 0 ||
        !gv_bytes_equal(line, GV_BYTES_LITERAL("HTTP/1.1"))) {
        return refuse(out, 400);
    }
    return gv_bytes_equal(take_until(&target, '?'), path) ? GV_OK : refuse(out, 404);
}

/* Of the protocols that are offered, in the client's order, the first we speak. */
static void choose_protocol(gv_bytes_t list, headers_t *headers)
{
    static const char *const spoken[] = {"mqtt", "mqttv3.1"};
    while (list.size > 0 && headers->protocol.size == 0) {
        gv_bytes_t offered = trimmed(take_until(&list, ','));
        for (size_t i = 0; i < sizeof(spoken) / sizeof(spoken[0]); i++) {
            if (gv_bytes_equal(offered, gv_bytes_text(spoken[i]))) {
                headers->protocol = offered;
            }
        }
    }
}

static void note_header(gv_bytes_t name, gv_bytes_t value, headers_t *headers)
{
    if (equal_ignoring_case(name, GV_BYTES_LITERAL("Host"))) {
        headers->hosts++;
    } else if (equal_ignoring_case(name, GV_BYTES_LITERAL("Upgrade"))) {
        headers->has_upgrade |= has_word(value, GV_BYTES_LITERAL("websocket"));
    } else if (equal_ignoring_case(name, GV_BYTES_LITERAL("Connection"))) {
        headers->has_connection |= has_word(value, GV_BYTES_LITERAL("upgrade"));
    } else if (equal_ignoring_case(name, GV_BYTES_LITERAL("Sec-WebSocket-Version"))) {
        headers->versions++;
        headers->is_version_13 = gv_bytes_equal(value, GV_BYTES_LITERAL("13"));
    } else if (equal_ignoring_case(name, GV_BYTES_LITERAL("Sec-WebSocket-Key"))) {
        headers->keys++;
        headers->key = value;
    } else if (equal_ignoring_case(name, GV_BYTES_LITERAL("Sec-WebSocket-Protocol"))) {
        choose_protocol(value, headers);
    }
}

static gv_err_t read_header(gv_bytes_t line, headers_t *headers, gv_ws_request_t *out)
{
    if (line.size == 0 || memchr(line.data, ':', line.size) == NULL) {
        return refuse(out, 400);
    }
    gv_bytes_t value = line;
    gv_bytes_t name = take_until(&value, ':');
    if (!is_name(name) || !is_text(value)) {
        return refuse(out, 400);
    }
    note_header(name, trimmed(value), headers);
    return GV_OK;
}

static gv_err_t judge(const headers_t *headers, gv_ws_request_t *out)
{
    if (!headers->has_upgrade || !headers->has_connection) {
        return refuse(out, 426);
    }
    if (headers->versions != 1 || !headers->is_version_13) {
        return refuse(out, headers->versions > 1 ? 400 : 426);
    }
    if (headers->hosts != 1 || headers->keys != 1 || !is_key(headers->key) ||
        headers->protocol.size == 0) {
        return refuse(out, 400);
    }
    out->key = headers->key;
    out->protocol = headers->protocol;
    return GV_OK;
}

/* The size of the request with its empty line, or 0 if that has not come yet. */
static size_t find_end(gv_bytes_t input)
{
    for (size_t i = 3; i < input.size; i++) {
        if (input.data[i] == '\n' && memcmp(input.data + i - 3, "\r\n\r\n", 4) == 0) {
            return i + 1;
        }
    }
    return 0;
}

gv_err_t gv_ws_request_read(gv_bytes_t input, gv_bytes_t path, gv_ws_request_t *out)
{
    *out = (gv_ws_request_t){.size = 0};
    gv_bytes_t get = GV_BYTES_LITERAL("GET ");
    size_t compared = input.size < get.size ? input.size : get.size;
    if (compared > 0 && memcmp(input.data, get.data, compared) != 0) {
        return refuse(out, 400); /* no need to wait for the end of garbage */
    }
    gv_bytes_t searched =
        gv_bytes(input.data, input.size < GV_WS_REQUEST_MAX ? input.size : GV_WS_REQUEST_MAX);
    size_t size = find_end(searched);
    if (size == 0) {
        return input.size < GV_WS_REQUEST_MAX ? GV_ERR_AGAIN : refuse(out, 431);
    }
    out->size = size;
    gv_bytes_t lines = gv_bytes(input.data, size - 2); /* without the empty one */
    headers_t headers = {.hosts = 0};
    bool is_first = true;
    gv_err_t err = GV_OK;
    while (lines.size > 0 && err == GV_OK) {
        gv_bytes_t line = take_until(&lines, '\n');
        if (line.size == 0 || line.data[line.size - 1] != '\r') {
            return refuse(out, 400);
        }
        line.size--;
        err = is_first ? read_request_line(line, path, out) : read_header(line, &headers, out);
        is_first = false;
    }
    return err != GV_OK ? err : judge(&headers, out);
}

/* ---- the answers ---------------------------------------------------------------------------- */

static void put(gv_writer_t *w, const char *text)
{
    gv_writer_put(w, gv_bytes_text(text));
}

void gv_ws_write_accept(gv_writer_t *w, gv_bytes_t accept, gv_bytes_t protocol)
{
    put(w, "HTTP/1.1 101 Switching Protocols\r\n"
           "Upgrade: websocket\r\n"
           "Connection: Upgrade\r\n"
           "Sec-WebSocket-Accept: ");
    gv_writer_put(w, accept);
    put(w, "\r\nSec-WebSocket-Protocol: ");
    gv_writer_put(w, protocol);
    put(w, "\r\n\r\n");
}

void gv_ws_write_refusal(gv_writer_t *w, uint16_t status)
{
    switch (status) {
    case 404:
        put(w, "HTTP/1.1 404 Not Found\r\n");
        break;
    case 426:
        put(w, "HTTP/1.1 426 Upgrade Required\r\n"
               "Upgrade: websocket\r\n"
               "Sec-WebSocket-Version: 13\r\n");
        break;
    case 431:
        put(w, "HTTP/1.1 431 Request Header Fields Too Large\r\n");
        break;
    default:
        put(w, "HTTP/1.1 400 Bad Request\r\n");
        break;
    }
    put(w, status == 426 ? "Connection: Upgrade, close\r\n" : "Connection: close\r\n");
    put(w, "Content-Length: 0\r\n\r\n");
}
