/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/listener_url.h"

#include <string.h>

#include "base/alloc.h"
#include "base/bucket.h"
#include "base/text.h"
#include "broker/config_p.h"

typedef struct scheme {
    const char *prefix;
    gv_listener_scheme_t scheme;
    uint16_t port;
    const char *path; /* when the URL has none */
} scheme_t;

static const scheme_t schemes[] = {
    {"tcp://", GV_LISTENER_TCP, 1883, ""},    {"tls://", GV_LISTENER_TLS, 8883, ""},
    {"ws://", GV_LISTENER_WS, 8083, "/mqtt"}, {"wss://", GV_LISTENER_WSS, 8084, "/mqtt"},
    {"unix://", GV_LISTENER_UNIX, 0, ""},
};

/* What bind() takes, with its NUL. */
#define UNIX_PATH_SIZE_MAX 108

static const scheme_t *scheme_of(const char *url)
{
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        if (strncmp(url, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            return &schemes[i];
        }
    }
    return NULL;
}

static char *parse_unix(const char *rest, gv_listener_config_t *out)
{
    if (rest[0] != '/' || strlen(rest) >= UNIX_PATH_SIZE_MAX) {
        return gv_text_format("'%s' is not a socket path; expected unix:///PATH, shorter than %d",
                              rest, UNIX_PATH_SIZE_MAX);
    }
    out->path = gv_xstrdup(rest);
    out->is_loopback = true;
    return NULL;
}

static char *parse_network(const scheme_t *scheme, const char *rest, gv_listener_config_t *out)
{
    size_t host_size = strcspn(rest, "/");
    const char *path = rest[host_size] != '\0' ? rest + host_size : scheme->path;
    if (gv_hostport_parse(gv_bytes(rest, host_size), scheme->port, &out->address) != GV_OK) {
        return gv_text_format(
            "'%.*s' is not an address; expected %sHOST:PORT, with 0.0.0.0 or [::] "
            "for all interfaces",
            (int)host_size, rest, scheme->prefix);
    }
    if (path[0] != '\0' && scheme->path[0] == '\0') {
        return gv_text_format("a path in a %s URL; expected %sHOST:PORT", scheme->prefix,
                              scheme->prefix);
    }
    out->path = gv_xstrdup(path);
    out->is_loopback = gv_hostport_is_loopback(&out->address);
    return NULL;
}

char *gv_listener_option_set(gv_listener_config_t *listener, const char *name, const char *value)
{
    if (strcmp(name, "proxy_protocol") == 0) {
        if (!gv__config_parse_bool(value, &listener->proxy_protocol)) {
            return gv_text_format("proxy_protocol is '%s'; expected true or false", value);
        }
        return NULL;
    }
    if (strcmp(name, "connections_max") == 0) {
        if (!gv__config_parse_integer(value, &listener->connections_max)) {
            return gv_text_format("connections_max is '%s'; expected a whole number", value);
        }
        return NULL;
    }
    if (strcmp(name, "accept_rate") == 0) {
        if (!gv__config_parse_integer(value, &listener->accept_rate) ||
            listener->accept_rate > GV_BUCKET_RATE_MAX) {
            return gv_text_format("accept_rate is '%s'; expected connections per second", value);
        }
        return NULL;
    }
    return gv_text_format("unknown listener option '%s'; expected proxy_protocol, connections_max "
                          "or accept_rate",
                          name);
}

/* name=value&name=value; changes `query`. */
static char *parse_query(char *query, gv_listener_config_t *out)
{
    char *problem = NULL;
    char *rest;
    for (char *option = strtok_r(query, "&", &rest); problem == NULL && option != NULL;
         option = strtok_r(NULL, "&", &rest)) {
        char *equals = strchr(option, '=');
        if (equals == NULL) {
            return gv_text_format("listener option '%s' has no value; expected NAME=VALUE", option);
        }
        *equals = '\0';
        problem = gv_listener_option_set(out, option, equals + 1);
    }
    return problem;
}

char *gv_listener_url_parse(const char *url, gv_listener_config_t *out)
{
    GV_ASSERT(url != NULL);
    GV_ASSERT(out != NULL);
    memset(out, 0, sizeof(*out));

    const scheme_t *scheme = scheme_of(url);
    if (scheme == NULL) {
        return gv_text_format(
            "'%s' is not a listener URL; expected tcp://HOST:PORT, or tls:// ws:// "
            "wss:// unix://",
            url);
    }
    out->scheme = scheme->scheme;
    out->url = gv_xstrdup(url);
    char *rest = gv_xstrdup(url + strlen(scheme->prefix));
    char *query = strchr(rest, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    char *problem = scheme->scheme == GV_LISTENER_UNIX ? parse_unix(rest, out)
                                                       : parse_network(scheme, rest, out);
    if (problem == NULL && query != NULL) {
        problem = parse_query(query, out);
    }
    gv_free(rest);
    if (problem != NULL) {
        gv_listener_config_deinit(out);
    }
    return problem;
}

void gv_listener_config_copy(const gv_listener_config_t *from, gv_listener_config_t *out)
{
    GV_ASSERT(from != NULL);
    GV_ASSERT(out != NULL);
    *out = *from;
    out->url = gv_xstrdup(from->url);
    out->path = gv_xstrdup(from->path);
}

void gv_listener_config_deinit(gv_listener_config_t *listener)
{
    GV_ASSERT(listener != NULL);
    gv_free(listener->url);
    gv_free(listener->path);
    memset(listener, 0, sizeof(*listener));
}
