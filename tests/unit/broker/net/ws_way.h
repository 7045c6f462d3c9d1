/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Visitors that come through WebSocket, over another way (plain or TLS). */

#include "tests/unit/broker/net/rig.h"
#include "tests/unit/proto/ws/client_frame.h"

typedef struct ws_client {
    const visitor_way_t *way; /* below */
    void *data;
    uint8_t bytes[1 << 20]; /* received, not looked at */
    size_t size;
    size_t frame_max;    /* payload per frame that is sent; 0: all in one */
    uint32_t pongs;      /* received */
    uint16_t close_code; /* received; 0: no close frame */
} ws_client_t;

static inline void ws_send_below(visitor_t *visitor, const void *bytes, size_t size)
{
    ws_client_t *client = visitor->data;
    visitor->data = client->data;
    client->way->send(visitor, bytes, size);
    visitor->data = client;
}

static inline bool ws_fill(visitor_t *visitor)
{
    ws_client_t *client = visitor->data;
    visitor->data = client->data;
    ssize_t got = client->way->receive(visitor, client->bytes + client->size,
                                       sizeof(client->bytes) - client->size);
    visitor->data = client;
    client->size += got > 0 ? (size_t)got : 0;
    return got > 0;
}

static inline void ws_forget(ws_client_t *client, size_t size)
{
    memmove(client->bytes, client->bytes + size, client->size - size);
    client->size -= size;
}

static inline void ws_send_frame(visitor_t *visitor, client_frame_t frame)
{
    size_t room = frame.payload.size + 32;
    uint8_t *bytes = gv_xalloc(room);
    gv_writer_t w = gv_writer(bytes, room);
    write_client_frame(&w, frame);
    ck_assert(!w.failed);
    ws_send_below(visitor, bytes, room - gv_writer_left(&w));
    gv_free(bytes);
}

/* One message in frames of the size that the test has chosen. */
static inline void ws_send(visitor_t *visitor, const void *bytes, size_t size)
{
    ws_client_t *client = visitor->data;
    size_t frame_max = client->frame_max > 0 ? client->frame_max : size;
    uint8_t opcode = GV_WS_BINARY;
    for (size_t sent = 0; sent < size;) {
        size_t part = size - sent < frame_max ? size - sent : frame_max;
        bool is_final = sent + part == size;
        ws_send_frame(visitor,
                      (client_frame_t){.first = (uint8_t)((is_final ? 0x80 : 0) | opcode),
                                       .width = 1,
                                       .payload = gv_bytes((const uint8_t *)bytes + sent, part)});
        opcode = GV_WS_CONTINUATION;
        sent += part;
    }
}

/* Payload of the next binary frame of the server; 0 at the end. */
static inline ssize_t ws_receive(visitor_t *visitor, void *room, size_t room_size)
{
    ws_client_t *client = visitor->data;
    for (;;) {
        gv_reader_t r = gv_reader(gv_bytes(client->bytes, client->size));
        uint8_t first = gv_reader_u8(&r);
        uint64_t size = gv_reader_u8(&r);
        ck_assert(r.failed || size <= 127); /* not masked */
        size = size == 126 ? gv_reader_u16(&r) : size == 127 ? gv_reader_u64(&r) : size;
        gv_bytes_t payload = gv_reader_take(&r, (size_t)size);
        if (r.failed) {
            if (!ws_fill(visitor)) {
                return 0;
            }
            continue;
        }
        size_t frame_size = (size_t)(r.pos - client->bytes);
        uint8_t opcode = first & 0x0f;
        ck_assert_uint_eq(first & 0xf0, 0x80);
        if (opcode == GV_WS_CLOSE) {
            gv_reader_t code = gv_reader(payload);
            client->close_code = payload.size > 0 ? gv_reader_u16(&code) : GV_WS_NO_CODE;
        } else if (opcode == GV_WS_PONG) {
            client->pongs++;
        } else {
            ck_assert_uint_eq(opcode, GV_WS_BINARY);
            ck_assert_uint_le(payload.size, room_size);
            ck_assert_uint_gt(payload.size, 0);
            memcpy(room, payload.data, payload.size);
            ws_forget(client, frame_size);
            return (ssize_t)payload.size;
        }
        ws_forget(client, frame_size);
    }
}

static inline void ws_leave(visitor_t *visitor)
{
    ws_client_t *client = visitor->data;
    visitor->data = client->data;
    if (client->way->leave != NULL) {
        client->way->leave(visitor);
    }
    gv_free(client);
}

static const visitor_way_t ws_way = {.send = ws_send, .receive = ws_receive, .leave = ws_leave};

#define WS_REQUEST                                    \
    "GET /mqtt HTTP/1.1\r\nHost: localhost\r\n"       \
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"   \
    "Sec-WebSocket-Version: 13\r\n"                   \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" \
    "Sec-WebSocket-Protocol: mqtt\r\n\r\n"

/* Speaks WebSocket from now on, but has not said anything. */
static inline ws_client_t *ws_begin(visitor_t *visitor)
{
    ws_client_t *client = GV_NEW(ws_client_t);
    client->way = visitor->way;
    client->data = visitor->data;
    visitor->way = &ws_way;
    visitor->data = client;
    return client;
}

/* Receives the answer's head; the status line is compared. */
static inline void ws_expect_answer(visitor_t *visitor, const char *status_line)
{
    ws_client_t *client = visitor->data;
    const uint8_t *end = NULL;
    while ((end = memmem(client->bytes, client->size, "\r\n\r\n", 4)) == NULL) {
        ck_assert(ws_fill(visitor));
    }
    gv_bytes_t head = gv_bytes(client->bytes, (size_t)(end - client->bytes) + 4);
    ck_assert_msg(gv_bytes_has_prefix(head, gv_bytes_text(status_line)), "%.*s", (int)head.size,
                  (const char *)head.data);
    bool is_accepted = memmem(head.data, head.size, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 28) != NULL;
    ck_assert_int_eq(is_accepted, strstr(status_line, "101") != NULL);
    ws_forget(client, head.size);
}

static inline void ws_upgrade(visitor_t *visitor)
{
    (void)ws_begin(visitor);
    ws_send_below(visitor, WS_REQUEST, strlen(WS_REQUEST));
    ws_expect_answer(visitor, "HTTP/1.1 101 Switching Protocols\r\n");
}
