/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/net/listeners.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"

/* One configured address. */
typedef struct item {
    gv_door_t door;
    gv_admission_t admission;
    char *url;
    char *ws_path;                      /* or NULL */
    char address[GV_ADDRESS_TEXT_SIZE]; /* bound to */
    uint16_t port;
    int *fds; /* by loop, until they are opened; NULL: not bound */
    uint32_t fd_count;
    gv_listener_t **open; /* by loop, each touched by its loop only */
    bool is_unix;
} item_t;

/* A letter to one loop. */
typedef struct errand {
    gv_letter_t letter;
    gv_listeners_t *listeners;
    uint32_t loop_index;
} errand_t;

struct gv_listeners {
    item_t *items;
    size_t count;
    gv_loop_t **loops;
    uint32_t loop_count;
    gv_tlsctx_t **tls;  /* by loop, each touched by its loop only; NULL: no TLS listener */
    errand_t *openings; /* by loop */
    errand_t *closings;
    bool is_opened;
    bool is_closed;
    atomic_uint_least32_t failed;     /* a plain count */
    atomic_uint_least32_t loops_open; /* loops that have opened their sockets; a plain count */
};

/* ---- binding -------------------------------------------------------------------------------- */

/* Sockets that do not listen yet may share an address without the system objecting. */
static gv_err_t check_bound_once(const gv_listeners_t *listeners, const item_t *item,
                                 gv_error_text_t *error)
{
    for (const item_t *other = listeners->items; other < item; other++) {
        if (other->fds != NULL && strcmp(other->address, item->address) == 0) {
            (void)snprintf(error->text, sizeof(error->text),
                           "cannot listen on '%.80s': it is configured twice", item->address);
            return GV_ERR_BUSY;
        }
    }
    return GV_OK;
}

static gv_err_t bind_item(const gv_listeners_t *listeners, item_t *item,
                          const gv_listener_config_t *config, gv_error_text_t *error)
{
    char text[GV_HOSTPORT_TEXT_SIZE];
    const char *address = item->is_unix ? config->path : gv_hostport_print(&config->address, text);
    item->fds = gv_xcalloc(listeners->loop_count, sizeof(*item->fds));
    gv_err_t err =
        gv_listen_bind(address, listeners->loop_count, item->fds, &item->fd_count, error);
    if (err != GV_OK) {
        gv_free(item->fds);
        item->fds = NULL;
        return err;
    }
    gv_address_t bound = gv_address_of_socket(item->fds[0]);
    item->port = gv_address_port(&bound);
    item->door.port = item->port;
    (void)gv_address_text(&bound, item->address);
    return check_bound_once(listeners, item, error);
}

static gv_err_t init_item(gv_listeners_t *listeners, item_t *item,
                          const gv_listener_config_t *config, const gv_listeners_options_t *options,
                          gv_error_text_t *error)
{
    item->url = gv_xstrdup(config->url);
    if (config->scheme == GV_LISTENER_WS || config->scheme == GV_LISTENER_WSS) {
        item->ws_path = gv_xstrdup(config->path);
    }
    item->is_unix = config->scheme == GV_LISTENER_UNIX;
    uint64_t connections_max = config->connections_max;
    gv_admission_init(&item->admission,
                      connections_max < UINT32_MAX ? (uint32_t)connections_max : UINT32_MAX,
                      (uint32_t)config->accept_rate);
    item->door = (gv_door_t){
        .frontends = options->frontends,
        .admission = &item->admission,
        .tls = gv_listener_has_tls(config) ? listeners->tls : NULL,
        .ws_path = item->ws_path,
        .anonymous_allowed = config->anonymous_allowed,
        .proxy_protocol = config->proxy_protocol,
    };
    item->open = gv_xcalloc(options->loop_count, sizeof(gv_listener_t *));
    gv_err_t err = bind_item(listeners, item, config, error);
    if (err == GV_ERR_IO && config->optional) {
        gv_log_info("listener_left_out", "url='%s' reason='%s'", item->url, error->text);
        error->text[0] = '\0';
        return GV_OK;
    }
    return err;
}

static gv_err_t load_tls(const gv_listeners_tls_t *tls, gv_tlsctx_t **ctx_out,
                         gv_error_text_t *error)
{
    gv_tlsctx_options_t options = {
        .role = GV_TLS_SERVER,
        .cert = tls->cert,
        .key = tls->key,
        .ca = tls->ca,
        .verify_client = tls->verify_client,
    };
    return gv_tlsctx_new(&options, ctx_out, error);
}

static gv_err_t init_tls(gv_listeners_t *listeners, const gv_listeners_options_t *options,
                         gv_error_text_t *error)
{
    bool is_needed = false;
    for (size_t i = 0; i < options->count; i++) {
        is_needed = is_needed || gv_listener_has_tls(&options->items[i]);
    }
    if (!is_needed) {
        return GV_OK;
    }
    gv_tlsctx_t *ctx = NULL;
    gv_err_t err = load_tls(&options->tls, &ctx, error);
    if (err != GV_OK) {
        return err;
    }
    listeners->tls = gv_xcalloc(options->loop_count, sizeof(gv_tlsctx_t *));
    for (uint32_t i = 0; i < options->loop_count; i++) {
        listeners->tls[i] = gv_tlsctx_ref(ctx);
    }
    gv_tlsctx_unref(&ctx);
    return GV_OK;
}

gv_err_t gv_listeners_bind(const gv_listeners_options_t *options, gv_listeners_t **listeners_out,
                           gv_error_text_t *error)
{
    GV_ASSERT(options->loop_count > 0);
    GV_ASSERT(error != NULL);
    *listeners_out = NULL;
    error->text[0] = '\0';
    gv_listeners_t *listeners = GV_NEW(gv_listeners_t);
    listeners->items = gv_xcalloc(options->count, sizeof(*listeners->items));
    listeners->loops = options->loops;
    listeners->loop_count = options->loop_count;
    listeners->openings = gv_xcalloc(options->loop_count, sizeof(errand_t));
    listeners->closings = gv_xcalloc(options->loop_count, sizeof(errand_t));
    gv_err_t err = init_tls(listeners, options, error);
    for (size_t i = 0; i < options->count && err == GV_OK; i++) {
        listeners->count++;
        err = init_item(listeners, &listeners->items[i], &options->items[i], options, error);
    }
    if (err != GV_OK) {
        gv_listeners_free(&listeners);
        return err;
    }
    *listeners_out = listeners;
    return GV_OK;
}

/* ---- opening and closing -------------------------------------------------------------------- */

static GV_LOOP_ONLY void open_item(gv_listeners_t *listeners, item_t *item, uint32_t loop_index)
{
    if (item->fds == NULL || loop_index >= item->fd_count) {
        return;
    }
    gv_listener_options_t options = {
        .admission = &item->admission,
        .spread_over = item->is_unix ? listeners->loops : NULL,
        .spread_count = item->is_unix ? listeners->loop_count : 0,
    };
    gv_error_text_t error;
    int fd = item->fds[loop_index];
    item->fds[loop_index] = -1;
    gv_err_t err = gv_listener_open(listeners->loops[loop_index], fd, &options, gv_frontend_accept,
                                    &item->door, &item->open[loop_index], &error);
    if (err != GV_OK) {
        (void)close(fd);
        gv_log_error("listener_failed", "url='%s' reason='%s'", item->url, error.text);
        atomic_fetch_add_explicit(&listeners->failed, 1, memory_order_relaxed);
    }
}

static void on_open(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    gv_listeners_t *listeners = errand->listeners;
    gv_loop_t *loop = listeners->loops[errand->loop_index];
    if (gv_loop_is_stopping(loop)) {
        return;
    }
    gv_loop_assert_current(loop);
    for (size_t i = 0; i < listeners->count; i++) {
        open_item(listeners, &listeners->items[i], errand->loop_index);
    }
    atomic_fetch_add_explicit(&listeners->loops_open, 1, memory_order_relaxed);
}

static void on_close(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    gv_listeners_t *listeners = errand->listeners;
    gv_loop_t *loop = listeners->loops[errand->loop_index];
    if (gv_loop_is_stopping(loop)) {
        return; /* it has closed them itself */
    }
    gv_loop_assert_current(loop);
    for (size_t i = 0; i < listeners->count; i++) {
        gv_listener_close(&listeners->items[i].open[errand->loop_index]);
    }
}

static void send_errands(gv_listeners_t *listeners, errand_t *errands, gv_letter_cb_t *deliver)
{
    for (uint32_t i = 0; i < listeners->loop_count; i++) {
        errands[i] =
            (errand_t){.letter = {.deliver = deliver}, .listeners = listeners, .loop_index = i};
        gv_loop_send(listeners->loops[i], &errands[i].letter);
    }
}

/*
 * Two programs of one user may both have bound an address that nobody listened on then, and would
 * now get half of the clients each.  Binding it once more fails if the other listens already.
 */
static gv_err_t check_free_still(const item_t *item, gv_error_text_t *error)
{
    if (item->fds == NULL || item->is_unix) {
        return GV_OK;
    }
    int fd;
    uint32_t count;
    gv_err_t err = gv_listen_bind(item->address, 1, &fd, &count, error);
    if (err == GV_OK) {
        (void)close(fd);
    }
    return err == GV_ERR_BUSY ? err : GV_OK;
}

gv_err_t gv_listeners_open(gv_listeners_t *listeners, gv_error_text_t *error)
{
    GV_ASSERT(!listeners->is_opened);
    for (size_t i = 0; i < listeners->count; i++) {
        gv_err_t err = check_free_still(&listeners->items[i], error);
        if (err != GV_OK) {
            return err;
        }
    }
    error->text[0] = '\0';
    listeners->is_opened = true;
    send_errands(listeners, listeners->openings, on_open);
    return GV_OK;
}

void gv_listeners_close(gv_listeners_t *listeners)
{
    if (!listeners->is_opened || listeners->is_closed) {
        return;
    }
    listeners->is_closed = true;
    send_errands(listeners, listeners->closings, on_close);
}

/* ---- new certificates ----------------------------------------------------------------------- */

typedef struct tls_errand {
    gv_letter_t letter;
    gv_listeners_t *listeners;
    gv_tlsctx_t *ctx;
    uint32_t loop_index;
} tls_errand_t;

static void on_new_tls(gv_letter_t *letter)
{
    tls_errand_t *errand = gv_container_of(letter, tls_errand_t, letter);
    gv_tlsctx_t **slot = &errand->listeners->tls[errand->loop_index];
    gv_tlsctx_unref(slot);
    *slot = errand->ctx;
    gv_free(errand);
}

gv_err_t gv_listeners_reload_tls(gv_listeners_t *listeners, const gv_listeners_tls_t *tls,
                                 gv_error_text_t *error)
{
    error->text[0] = '\0';
    if (listeners->tls == NULL) {
        return GV_OK;
    }
    gv_tlsctx_t *ctx = NULL;
    gv_err_t err = load_tls(tls, &ctx, error);
    if (err != GV_OK) {
        return err;
    }
    for (uint32_t i = 0; i < listeners->loop_count; i++) {
        tls_errand_t *errand = GV_NEW(tls_errand_t);
        *errand = (tls_errand_t){.letter = {.deliver = on_new_tls},
                                 .listeners = listeners,
                                 .ctx = gv_tlsctx_ref(ctx),
                                 .loop_index = i};
        gv_loop_send(listeners->loops[i], &errand->letter);
    }
    gv_tlsctx_unref(&ctx);
    return GV_OK;
}

/* ---- what they are -------------------------------------------------------------------------- */

bool gv_listeners_are_open(const gv_listeners_t *listeners)
{
    return atomic_load_explicit(&listeners->loops_open, memory_order_relaxed) ==
           listeners->loop_count;
}

uint32_t gv_listeners_failed(const gv_listeners_t *listeners)
{
    return atomic_load_explicit(&listeners->failed, memory_order_relaxed);
}

size_t gv_listeners_count(const gv_listeners_t *listeners)
{
    return listeners->count;
}

gv_listeners_info_t gv_listeners_info(const gv_listeners_t *listeners, size_t index)
{
    GV_ASSERT(index < listeners->count);
    const item_t *item = &listeners->items[index];
    return (gv_listeners_info_t){
        .url = item->url,
        .port = item->port,
        .connections = gv_admission_open(&item->admission),
        .is_bound = item->fds != NULL,
    };
}

void gv_listeners_free(gv_listeners_t **listenersp)
{
    gv_listeners_t *listeners = *listenersp;
    *listenersp = NULL;
    if (listeners == NULL) {
        return;
    }
    for (size_t i = 0; i < listeners->count; i++) {
        item_t *item = &listeners->items[i];
        for (uint32_t j = 0; j < item->fd_count; j++) {
            if (item->fds[j] >= 0) {
                (void)close(item->fds[j]); /* was never opened */
            }
        }
        gv_free(item->fds);
        gv_free(item->open);
        gv_free(item->url);
        gv_free(item->ws_path);
    }
    for (uint32_t i = 0; listeners->tls != NULL && i < listeners->loop_count; i++) {
        gv_tlsctx_unref(&listeners->tls[i]);
    }
    gv_free(listeners->tls);
    gv_free(listeners->items);
    gv_free(listeners->openings);
    gv_free(listeners->closings);
    gv_free(listeners);
}
