/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "broker/net/frontend.h"

#include <string.h>

#include <netinet/in.h>

#include "base/alloc.h"
#include "base/log.h"
#include "broker/core/client.h"
#include "broker/net/layers_p.h"
#include "proto/proxy/proxy.h"

/*
 * Map: the connection's end - progress of writing - the PROXY header - the stream's callbacks -
 * moving to another shard - the core's ports - opening - the front end itself.
 */

/* How far the progress of a silent connection's output may be out of date [ms]. */
#define PROGRESS_EVERY_MS 500U

/* Packets that wait behind an unfinished one: one read's worth. */
#define INPUT_BEHIND_PACKET 65536U

/* The core's own pauses are one reason for the stream. */
enum {
    PAUSED_BY_CORE = 1
};

struct gv_frontend {
    gv_loop_t *loop;
    gv_shard_t *shard;
    gv_frontend_t *const *frontends;
    gv_list_t writing; /* connections that had output since the last look at their progress */
    gv_timer_t progress_timer;
    gv__layers_place_t place; /* its scratch is made with the first connection that needs it */
    gv_frontend_stats_t stats;
};

/* A connection on its way to another shard. */
typedef struct moving {
    gv_letter_t letter;
    gv_socket_t socket;
    struct connection *connection;
    gv_loop_t *loop; /* the one it goes to */
    uint16_t shard;
} moving_t;

typedef struct connection {
    gv_stream_t stream;
    gv_conn_t conn;
    gv_frontend_t *frontend;
    const gv_door_t *door;
    gv_link_t writing_link;
    gv__layers_t *layers; /* NULL: the stream's bytes are the core's */
    moving_t *moving;     /* from gv_conn_ports_t.move until it has arrived */
    bool waits_for_proxy;
    char peer[]; /* who has connected; conn.peer is another when a PROXY header has told it */
} connection_t;

static connection_t *connection_of(gv_stream_t *stream)
{
    return gv_container_of(stream, connection_t, stream);
}

static connection_t *connection_of_conn(gv_conn_t *conn)
{
    return gv_container_of(conn, connection_t, conn);
}

/* ---- the connection's end ------------------------------------------------------------------- */

/* conn.peer is constant to the core; when it is not part of the connection it is ours to free. */
static void peer_free(connection_t *connection)
{
    if (connection->conn.peer != connection->peer) {
        gv_free((void *)(uintptr_t)connection->conn.peer);
    }
}

static void connection_free(connection_t *connection)
{
    if (connection->door->admission != NULL) {
        gv_admission_leave(connection->door->admission);
    }
    gv__layers_free(&connection->layers);
    gv_free(connection->moving);
    peer_free(connection);
    gv_free(connection);
}

static GV_LOOP_ONLY void leave_frontend(connection_t *connection)
{
    if (connection->layers != NULL) {
        gv__layers_leave(connection->layers);
    }
    gv_list_remove(&connection->writing_link);
    gv_counter_sub(&connection->frontend->stats.connections, 1);
}

/* ---- progress of writing -------------------------------------------------------------------- */

static GV_LOOP_ONLY void note_progress(connection_t *connection)
{
    connection->conn.progress_ms =
        gv_loop_now_ms(connection->frontend->loop) - gv_stream_stalled_ms(&connection->stream);
}

/*
 * The core wants to know since when a connection's output has not moved.  The stream tells that
 * when it is asked, but nobody asks while the core is silent and the socket drains by itself; so
 * connections with output are looked at now and then until they are empty.
 */
static void on_progress_timer(gv_timer_t *timer)
{
    gv_frontend_t *frontend = gv_container_of(timer, gv_frontend_t, progress_timer);
    gv_loop_assert_current(frontend->loop);
    gv_list_foreach_safe (&frontend->writing, link) {
        connection_t *connection = gv_container_of(link, connection_t, writing_link);
        note_progress(connection);
        bool is_drained = gv_outbuf_size(connection->conn.out) == 0;
        if (is_drained) {
            gv_list_remove(link);
        }
        if (connection->moving != NULL) {
            continue; /* it has no client at the moment */
        }
        if (is_drained) {
            gv_client_drained(connection->conn.client);
        } else {
            gv_client_check_output(connection->conn.client);
        }
    }
    if (!gv_list_is_empty(&frontend->writing)) {
        gv_loop_timer_start(frontend->loop, timer, PROGRESS_EVERY_MS);
    }
}

static GV_LOOP_ONLY void watch_progress(connection_t *connection)
{
    gv_frontend_t *frontend = connection->frontend;
    if (gv_link_is_linked(&connection->writing_link)) {
        return;
    }
    gv_list_append(&frontend->writing, &connection->writing_link);
    /* Nobody has looked while it was silent, and the core may ask before this is flushed. */
    note_progress(connection);
    if (!gv_timer_is_armed(&frontend->progress_timer)) {
        gv_loop_timer_start(frontend->loop, &frontend->progress_timer, PROGRESS_EVERY_MS);
    }
}

/* ---- the PROXY header ----------------------------------------------------------------------- */

/* The client's address as text, or NULL: the connection's own one counts. */
static char *proxied_peer(const gv_proxy_header_t *header)
{
    gv_address_t address = {.size = 0};
    char text[GV_ADDRESS_TEXT_SIZE];
    switch (header->family) {
    case GV_PROXY_OWN:
        return NULL;
    case GV_PROXY_UNIX:
        return gv_xstrdup(header->path[0] != '\0'
                              ? gv_bytes_printable(gv_bytes_text(header->path), text, sizeof(text))
                              : "unix");
    case GV_PROXY_IPV4: {
        struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
        *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(header->port)};
        memcpy(&v4->sin_addr, header->address, sizeof(v4->sin_addr));
        address.size = sizeof(*v4);
        break;
    }
    case GV_PROXY_IPV6: {
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(header->port)};
        memcpy(&v6->sin6_addr, header->address, sizeof(v6->sin6_addr));
        address.size = sizeof(*v6);
        break;
    }
    }
    return gv_xstrdup(gv_address_text(&address, text));
}

/* Returns how many bytes are used up.  Without a right header nothing else is listened to. */
static GV_LOOP_ONLY size_t take_proxy_header(connection_t *connection, gv_bytes_t bytes)
{
    gv_proxy_header_t header;
    gv_err_t err = gv_proxy_decode(bytes, &header);
    if (err == GV_ERR_AGAIN) {
        gv_stream_expect(&connection->stream, (uint32_t)header.size);
        return 0;
    }
    if (err != GV_OK) {
        gv_counter_add(&connection->frontend->stats.proxy_errors, 1);
        gv_log_peer(GV_LOG_INFO, "proxy_header_refused", "peer='%s' reason='%s'", connection->peer,
                    gv_err_text(err));
        gv_stream_close(&connection->stream, GV_CLOSE_FLUSH);
        return bytes.size;
    }
    connection->waits_for_proxy = false;
    char *peer = proxied_peer(&header);
    if (peer != NULL) {
        connection->conn.peer = peer;
    }
    return header.size;
}

/* ---- the stream's callbacks ----------------------------------------------------------------- */

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    connection_t *connection = connection_of(stream);
    gv_loop_assert_current(gv_stream_loop(stream));
    size_t used = 0;
    if (connection->waits_for_proxy) {
        used = take_proxy_header(connection, bytes);
        if (connection->waits_for_proxy || used == bytes.size) {
            return used;
        }
    }
    gv_bytes_t rest = gv_bytes(bytes.data + used, bytes.size - used);
    return used + (connection->layers != NULL ? gv__layers_input(connection->layers, rest)
                                              : gv_client_input(connection->conn.client, rest));
}

/* There is room for more of what the layers, or the core, hold back. */
static void on_drained(gv_stream_t *stream)
{
    gv_loop_assert_current(gv_stream_loop(stream));
    if (connection_of(stream)->layers != NULL) {
        gv_stream_dirty(stream);
    }
    gv_client_drained(connection_of(stream)->conn.client);
}

static void before_flush(gv_stream_t *stream)
{
    connection_t *connection = connection_of(stream);
    gv_loop_assert_current(gv_stream_loop(stream));
    connection->conn.has_output = false;
    note_progress(connection);
    if (connection->layers != NULL) {
        gv__layers_flush(connection->layers);
    }
}

static GV_LOOP_ONLY void hand_over(connection_t *connection);

static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    connection_t *connection = connection_of(stream);
    gv_loop_t *loop = gv_stream_loop(stream);
    gv_loop_assert_current(loop);
    if (why == GV_ERR_NOMEM) { /* to the core all ends are the same */
        gv_log_peer(GV_LOG_WARN, "input_not_kept", "peer='%s' reason='%s'", connection->conn.peer,
                    gv_err_text(why));
    }
    if (connection->moving != NULL) {
        leave_frontend(connection);
        hand_over(connection);
        return;
    }
    gv_client_closed(&connection->conn.client);
    gv_outbuf_clear(connection->conn.out, gv_loop_chunkpool(loop)); /* words nobody will hear */
    leave_frontend(connection);
    connection_free(connection);
}

static const gv_stream_ops_t stream_ops = {
    .on_input = on_input,
    .on_drained = on_drained,
    .before_flush = before_flush,
    .on_closed = on_closed,
};

/* ---- moving to another shard ---------------------------------------------------------------- */

/*
 *     this loop                                    the other loop
 *     port_move(): takes the stream off the loop
 *     on_closed(): hand_over() -----letter-------> on_arrival(): opens stream and client again
 *
 * on_closed() is the moment from which the stream's memory is ours, and from which the socket holds
 * all input that was not used.
 */
static GV_LOOP_ONLY gv_err_t open_on(gv_frontend_t *frontend, connection_t *connection,
                                     gv_socket_t *socket);

static void on_arrival(gv_letter_t *letter)
{
    moving_t *moving = gv_container_of(letter, moving_t, letter);
    connection_t *connection = moving->connection;
    if (gv_loop_is_stopping(moving->loop)) {
        gv_socket_close(&moving->socket);
        connection_free(connection);
        return;
    }
    gv_loop_assert_current(moving->loop);
    gv_frontend_t *frontend = connection->door->frontends[moving->shard];
    if (open_on(frontend, connection, &moving->socket) != GV_OK) {
        gv_counter_add(&frontend->stats.failed, 1);
        gv_socket_close(&moving->socket);
        connection_free(connection);
        return;
    }
    connection->moving = NULL;
    gv_free(moving);
}

static void hand_over(connection_t *connection)
{
    moving_t *moving = connection->moving;
    gv_counter_add(&connection->frontend->stats.moved, 1);
    connection->frontend = NULL;
    gv_loop_send(moving->loop, &moving->letter);
}

/* ---- the core's ports ----------------------------------------------------------------------- */

static void port_output(gv_conn_t *conn)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    gv_stream_dirty(&connection->stream);
    watch_progress(connection);
}

static void port_close(gv_conn_t *conn)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    if (connection->layers != NULL) {
        gv__layers_end(connection->layers);
    }
    gv_stream_close(&connection->stream, GV_CLOSE_FLUSH);
}

static void port_pause(gv_conn_t *conn, bool paused)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    if (paused) {
        gv_stream_pause(&connection->stream, PAUSED_BY_CORE);
    } else {
        gv_stream_resume(&connection->stream, PAUSED_BY_CORE);
    }
    if (connection->layers != NULL) {
        gv__layers_pause(connection->layers, paused);
    }
}

static size_t port_held(const gv_conn_t *conn)
{
    const connection_t *connection = gv_container_of(conn, connection_t, conn);
    gv_loop_assert_current(connection->frontend->loop);
    return gv_stream_input_held(&connection->stream) +
           (connection->layers != NULL ? gv__layers_held(connection->layers) : 0);
}

static void port_drop(gv_conn_t *conn)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    gv_stream_close(&connection->stream, GV_CLOSE_ABORT);
}

static void port_expect(gv_conn_t *conn, size_t size)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    GV_ASSERT(size <= UINT32_MAX);
    if (connection->layers != NULL) {
        gv__layers_expect(connection->layers, size);
    } else {
        /* The core has judged this size: how large packets may be is not for us to know. */
        gv_stream_set_input_max(&connection->stream, (uint32_t)size + INPUT_BEHIND_PACKET);
        gv_stream_expect(&connection->stream, (uint32_t)size);
    }
}

static void port_move(gv_conn_t *conn, uint16_t shard)
{
    connection_t *connection = connection_of_conn(conn);
    gv_loop_assert_current(connection->frontend->loop);
    GV_ASSERT(connection->moving == NULL);
    GV_ASSERT(conn->client == NULL);
    moving_t *moving = GV_NEW(moving_t);
    moving->letter.deliver = on_arrival;
    moving->connection = connection;
    moving->shard = shard;
    moving->loop = connection->frontend->frontends[shard]->loop;
    connection->moving = moving;
    gv_stream_detach(&connection->stream, &moving->socket);
}

const gv_conn_ports_t *gv_frontend_ports(void)
{
    static const gv_conn_ports_t ports = {
        .output = port_output,
        .close = port_close,
        .pause = port_pause,
        .expect = port_expect,
        .move = port_move,
        .held = port_held,
        .drop = port_drop,
    };
    return &ports;
}

/* ---- opening -------------------------------------------------------------------------------- */

static gv_stream_options_t stream_options(const connection_t *connection)
{
    if (connection->layers != NULL) { /* they leave nothing but a PROXY header in the stream */
        return (gv_stream_options_t){.drain_mark = GV__LAYERS_OUTPUT_MARK};
    }
    return (gv_stream_options_t){.input_max = 2 * INPUT_BEHIND_PACKET};
}

/* Makes the connection one of this front end's; on an error the socket stays the caller's. */
static gv_err_t open_on(gv_frontend_t *frontend, connection_t *connection, gv_socket_t *socket)
{
    gv_stream_options_t options = stream_options(connection);
    gv_err_t err =
        gv_stream_open(&connection->stream, frontend->loop, &stream_ops, &options, socket);
    if (err != GV_OK) {
        return err;
    }
    connection->frontend = frontend;
    gv_counter_add(&frontend->stats.connections, 1);
    if (connection->layers != NULL) {
        if (frontend->place.scratch == NULL) {
            frontend->place.scratch = gv_xalloc(sizeof(*frontend->place.scratch));
        }
        gv__layers_enter(connection->layers, &frontend->place);
    }
    connection->conn = (gv_conn_t){
        .out = connection->layers != NULL ? gv__layers_out(connection->layers)
                                          : &connection->stream.out,
        .progress_ms = gv_loop_now_ms(frontend->loop),
        .peer = connection->conn.peer,
        .port = connection->door->port,
        .anonymous_allowed = connection->door->anonymous_allowed,
    };
    gv_client_open(frontend->shard, &connection->conn);
    return GV_OK;
}

static GV_LOOP_ONLY gv_err_t make_connection(const gv_frontend_t *frontend, const gv_door_t *door,
                                             const gv_address_t *peer,
                                             connection_t **connection_out)
{
    char text[GV_ADDRESS_TEXT_SIZE];
    size_t text_size = strlen(gv_address_text(peer, text)) + 1;
    /* The text begins inside the padding at the structure's end. */
    size_t size = offsetof(connection_t, peer) + text_size;
    connection_t *connection =
        gv_try_alloc(size > sizeof(connection_t) ? size : sizeof(connection_t));
    if (connection == NULL) {
        return GV_ERR_NOMEM;
    }
    *connection = (connection_t){.door = door, .waits_for_proxy = door->proxy_protocol};
    memcpy(connection->peer, text, text_size);
    connection->conn.peer = connection->peer;
    gv_err_t err = GV_OK;
    if (door->tls != NULL || door->ws_path != NULL) {
        err = gv__layers_new(door, gv_loop_index(frontend->loop), &connection->stream,
                             &connection->conn, &connection->layers);
    }
    if (err != GV_OK) {
        gv_free(connection);
        return err;
    }
    *connection_out = connection;
    return GV_OK;
}

static GV_LOOP_ONLY gv_err_t accept_on(gv_frontend_t *frontend, const gv_door_t *door,
                                       const gv_address_t *peer, gv_socket_t *socket)
{
    connection_t *connection = NULL;
    gv_err_t err = make_connection(frontend, door, peer, &connection);
    if (err != GV_OK) {
        return err;
    }
    err = open_on(frontend, connection, socket);
    if (err != GV_OK) {
        gv__layers_free(&connection->layers);
        gv_free(connection);
    }
    return err;
}

void gv_frontend_accept(gv_socket_t *socket, const gv_address_t *peer, void *arg)
{
    const gv_door_t *door = arg;
    gv_loop_t *loop = gv_loop_current();
    gv_loop_assert_current(loop);
    gv_frontend_t *frontend = door->frontends[gv_loop_index(loop)];
    GV_ASSERT(frontend->loop == loop);
    gv_counter_add(&frontend->stats.accepted, 1);
    gv_err_t err = accept_on(frontend, door, peer, socket);
    if (err == GV_OK) {
        return;
    }
    gv_counter_add(&frontend->stats.failed, 1);
    gv_log_peer(GV_LOG_WARN, "connection_not_opened", "reason='%s'", gv_err_text(err));
    gv_socket_close(socket);
    if (door->admission != NULL) {
        gv_admission_leave(door->admission);
    }
}

/* ---- the front end itself ------------------------------------------------------------------- */

void gv_frontend_new(const gv_frontend_options_t *options, gv_frontend_t **frontend_out)
{
    GV_ASSERT(options->loop != NULL);
    GV_ASSERT(options->shard != NULL);
    GV_ASSERT(options->frontends != NULL);
    gv_frontend_t *frontend = GV_NEW(gv_frontend_t);
    frontend->loop = options->loop;
    frontend->shard = options->shard;
    frontend->frontends = options->frontends;
    frontend->place = (gv__layers_place_t){.loop = options->loop, .stats = &frontend->stats};
    gv_list_init(&frontend->writing);
    gv_timer_init(&frontend->progress_timer, on_progress_timer);
    *frontend_out = frontend;
}

void gv_frontend_free(gv_frontend_t **frontendp)
{
    gv_frontend_t *frontend = *frontendp;
    *frontendp = NULL;
    if (frontend == NULL) {
        return;
    }
    GV_ASSERT(gv_counter_get(&frontend->stats.connections) == 0);
    gv_free(frontend->place.scratch);
    gv_free(frontend);
}

const gv_frontend_stats_t *gv_frontend_stats(const gv_frontend_t *frontend)
{
    return &frontend->stats;
}
