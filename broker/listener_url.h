/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where clients connect, as one URL:
 *
 *     tcp://127.0.0.1:1883            tls://[::]:8883            ports may be left out
 *     ws://0.0.0.0:8083/mqtt          wss://0.0.0.0:8084/mqtt    the path too: /mqtt
 *     unix:///run/grapevine.sock
 *     tcp://0.0.0.0:1883?proxy_protocol=true&connections_max=10000
 *
 * Threads: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/hostport.h"

typedef enum gv_listener_scheme {
    GV_LISTENER_TCP,
    GV_LISTENER_TLS,
    GV_LISTENER_WS,
    GV_LISTENER_WSS,
    GV_LISTENER_UNIX,
} gv_listener_scheme_t;

typedef struct gv_listener_config {
    char *url; /* as it was written, for messages and status */
    gv_listener_scheme_t scheme;
    gv_hostport_t address;    /* not for unix */
    char *path;               /* ws, wss: of the HTTP request; unix: of the socket; else "" */
    uint64_t connections_max; /* 0: no limit of its own */
    uint64_t accept_rate;     /* connections per second, more wait; 0: no limit */
    bool proxy_protocol;      /* connections begin with a PROXY header */
    bool optional;            /* not an error if the address does not exist here ([::1]) */
    bool is_loopback;         /* nobody on another machine gets there */
    bool anonymous_allowed;   /* set by gv_config_load() */
} gv_listener_config_t;

static inline bool gv_listener_has_tls(const gv_listener_config_t *listener)
{
    return listener->scheme == GV_LISTENER_TLS || listener->scheme == GV_LISTENER_WSS;
}

/*
 * Takes a URL apart.  Returns NULL and *out, to be released with gv_listener_config_deinit(), or a
 * text that says what is wrong, to be freed with gv_free(); *out needs no deinit then.
 */
GV_MUST_USE char *gv_listener_url_parse(const char *url, gv_listener_config_t *out);

/* One of the options behind the `?`, by name.  NULL, or what is wrong, to be freed. */
GV_MUST_USE char *gv_listener_option_set(gv_listener_config_t *listener, const char *name,
                                         const char *value);

/* A copy of its own, to be released with gv_listener_config_deinit(). */
void gv_listener_config_copy(const gv_listener_config_t *from, gv_listener_config_t *out);

void gv_listener_config_deinit(gv_listener_config_t *listener);
