/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hostport.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <arpa/inet.h>

static bool is_ipv4(const char *host, struct in_addr *address_out)
{
    return inet_pton(AF_INET, host, address_out) == 1;
}

static bool is_ipv6(const char *host, struct in6_addr *address_out)
{
    return inet_pton(AF_INET6, host, address_out) == 1;
}

/* Letters, digits and what names and IPv4 addresses have between them.  `_` is common in compose
 * files, though the DNS rules for hosts do not know it. */
static bool is_host_character(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

static bool parse_host(gv_bytes_t host, bool bracketed, gv_hostport_t *out)
{
    if (host.size == 0 || host.size >= sizeof(out->host)) {
        return false;
    }
    memcpy(out->host, host.data, host.size);
    out->host[host.size] = '\0';
    if (bracketed) {
        struct in6_addr ignored;
        return strlen(out->host) == host.size && is_ipv6(out->host, &ignored);
    }
    for (size_t i = 0; i < host.size; i++) {
        if (!is_host_character(host.data[i])) {
            return false;
        }
    }
    return true;
}

static bool parse_port(gv_bytes_t text, uint16_t *port_out)
{
    uint32_t port = 0;
    if (text.size == 0 || text.size > 5) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(text.data[i] - '0');
    }
    *port_out = (uint16_t)port;
    return port <= UINT16_MAX;
}

/* Splits into host and what follows it; the rest is empty or begins with the colon. */
static bool split(gv_bytes_t text, gv_bytes_t *host, gv_bytes_t *rest, bool *bracketed)
{
    *bracketed = text.size > 0 && text.data[0] == '[';
    size_t from = *bracketed ? 1 : 0;
    const uint8_t *stop = NULL;
    if (text.size > from) {
        stop = memchr(text.data + from, *bracketed ? ']' : ':', text.size - from);
    }
    if (stop == NULL) {
        *host = text;
        *rest = GV_BYTES_EMPTY;
        return !*bracketed;
    }
    size_t host_size = (size_t)(stop - text.data) - from;
    size_t rest_at = from + host_size + (*bracketed ? 1 : 0);
    *host = gv_bytes(text.data + from, host_size);
    *rest = gv_bytes(text.data + rest_at, text.size - rest_at);
    return true;
}

gv_err_t gv_hostport_parse(gv_bytes_t text, int port_default, gv_hostport_t *out)
{
    GV_ASSERT(out != NULL);
    GV_ASSERT(port_default >= GV_HOSTPORT_PORT_REQUIRED);
    GV_ASSERT(port_default <= UINT16_MAX);
    memset(out, 0, sizeof(*out));

    gv_bytes_t host, rest;
    bool bracketed;
    bool good = split(text, &host, &rest, &bracketed) && parse_host(host, bracketed, out);
    if (good && rest.size == 0) {
        good = port_default != GV_HOSTPORT_PORT_REQUIRED;
        out->port = good ? (uint16_t)port_default : 0;
    } else if (good) {
        good =
            rest.data[0] == ':' && parse_port(gv_bytes(rest.data + 1, rest.size - 1), &out->port);
    }
    if (!good) {
        memset(out, 0, sizeof(*out));
        return GV_ERR_INVAL;
    }
    return GV_OK;
}

bool gv_hostport_is_loopback(const gv_hostport_t *hostport)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (is_ipv4(hostport->host, &v4)) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (is_ipv6(hostport->host, &v6)) {
        return IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return strcasecmp(hostport->host, "localhost") == 0;
}

bool gv_hostport_is_unspecified(const gv_hostport_t *hostport)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (is_ipv4(hostport->host, &v4)) {
        return v4.s_addr == INADDR_ANY;
    }
    return is_ipv6(hostport->host, &v6) && IN6_IS_ADDR_UNSPECIFIED(&v6);
}

bool gv_hostport_equal(const gv_hostport_t *a, const gv_hostport_t *b)
{
    return a->port == b->port && strcmp(a->host, b->host) == 0;
}

const char *gv_hostport_print(const gv_hostport_t *hostport, char *out)
{
    bool brackets = strchr(hostport->host, ':') != NULL;
    (void)snprintf(out, GV_HOSTPORT_TEXT_SIZE, "%s%s%s:%u", brackets ? "[" : "", hostport->host,
                   brackets ? "]" : "", (unsigned)hostport->port);
    return out;
}
