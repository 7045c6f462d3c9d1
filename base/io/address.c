/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/address.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#define PORT_DIGITS_MAX 5U

static gv_err_t refuse(const char *text, const char *why, gv_error_text_t *error)
{
    if (error != NULL) {
        (void)snprintf(error->text, sizeof(error->text), "'%.100s' is no address: %s", text, why);
    }
    return GV_ERR_INVAL;
}

static bool parse_port(const char *text, uint16_t *port_out)
{
    size_t digits = strlen(text);
    if (digits == 0 || digits > PORT_DIGITS_MAX) {
        return false;
    }
    uint32_t port = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9') {
            return false;
        }
        port = port * 10 + (uint32_t)(*c - '0');
    }
    *port_out = (uint16_t)port;
    return port <= UINT16_MAX;
}

static gv_err_t parse_path(const char *text, gv_endpoint_t *endpoint, gv_error_text_t *error)
{
    if (strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
        return refuse(text, "the path of a unix socket has at most 107 characters", error);
    }
    endpoint->is_unix = true;
    (void)snprintf(endpoint->host, sizeof(endpoint->host), "%s", text);
    return GV_OK;
}

gv_err_t gv_endpoint_parse(const char *text, gv_endpoint_t *endpoint_out, gv_error_text_t *error)
{
    GV_ASSERT(text != NULL);
    GV_ASSERT(endpoint_out != NULL);
    *endpoint_out = (gv_endpoint_t){.is_unix = false};
    if (strchr(text, '/') != NULL) {
        return parse_path(text, endpoint_out, error);
    }
    const char *colon = strrchr(text, ':');
    if (colon == NULL) {
        return refuse(text, "expected host:port", error);
    }
    if (!parse_port(colon + 1, &endpoint_out->port)) {
        return refuse(text, "the port is a number from 0 to 65535", error);
    }
    const char *host = text;
    size_t host_size = (size_t)(colon - text);
    if (host_size >= 2 && host[0] == '[' && host[host_size - 1] == ']') {
        host++;
        host_size -= 2;
        struct in6_addr ignored;
        char number[INET6_ADDRSTRLEN];
        (void)snprintf(number, sizeof(number), "%.*s", (int)host_size, host);
        if (host_size >= sizeof(number) || inet_pton(AF_INET6, number, &ignored) != 1) {
            return refuse(text, "expected an IPv6 address in the brackets", error);
        }
    } else if (memchr(host, ':', host_size) != NULL) {
        return refuse(text, "an IPv6 address stands in brackets, as [::1]:1883", error);
    }
    if (host_size >= sizeof(endpoint_out->host)) {
        return refuse(text, "the host name is too long", error);
    }
    if (host_size == 1 && host[0] == '*') {
        host_size = 0;
    }
    memcpy(endpoint_out->host, host, host_size);
    endpoint_out->host[host_size] = '\0';
    return GV_OK;
}

static gv_err_t unix_address(const char *path, gv_address_t *address)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&address->storage;
    size_t size = strlen(path) + 1;
    if (size > sizeof(un->sun_path)) {
        return GV_ERR_INVAL;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, size);
    address->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size);
    return GV_OK;
}

gv_err_t gv_address_from_endpoint(const gv_endpoint_t *endpoint, gv_address_t *address_out)
{
    GV_ASSERT(endpoint != NULL);
    GV_ASSERT(address_out != NULL);
    *address_out = (gv_address_t){.size = 0};
    if (endpoint->is_unix) {
        return unix_address(endpoint->host, address_out);
    }
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address_out->storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address_out->storage;
    if (inet_pton(AF_INET, endpoint->host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(endpoint->port);
        address_out->size = sizeof(*v4);
        return GV_OK;
    }
    struct in6_addr number = IN6ADDR_ANY_INIT;
    if (endpoint->host[0] == '\0' || inet_pton(AF_INET6, endpoint->host, &number) == 1) {
        *v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(endpoint->port), .sin6_addr = number};
        address_out->size = sizeof(*v6);
        return GV_OK;
    }
    return GV_ERR_NOENT;
}

static const char *inet_text(const gv_address_t *address, char *out)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;
        (void)inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        (void)snprintf(out, GV_ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(v4->sin_port));
        return out;
    }
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address->storage;
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        /* An IPv4 client of a socket for both; the operator knows it by its IPv4 address. */
        (void)inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof(host));
        (void)snprintf(out, GV_ADDRESS_TEXT_SIZE, "%s:%u", host, ntohs(v6->sin6_port));
        return out;
    }
    (void)inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
    (void)snprintf(out, GV_ADDRESS_TEXT_SIZE, "[%s]:%u", host, ntohs(v6->sin6_port));
    return out;
}

const char *gv_address_text(const gv_address_t *address, char *out)
{
    GV_ASSERT(address != NULL);
    GV_ASSERT(out != NULL);
    if (address->size == 0) {
        (void)snprintf(out, GV_ADDRESS_TEXT_SIZE, "unknown");
        return out;
    }
    if (address->storage.ss_family != AF_UNIX) {
        return inet_text(address, out);
    }
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    bool has_path = address->size > offsetof(struct sockaddr_un, sun_path) + 1;
    (void)snprintf(out, GV_ADDRESS_TEXT_SIZE, "%s", has_path ? un->sun_path : "unix");
    return out;
}

uint16_t gv_address_port(const gv_address_t *address)
{
    GV_ASSERT(address != NULL);
    switch (address->storage.ss_family) {
    case AF_INET:
        return ntohs(((const struct sockaddr_in *)&address->storage)->sin_port);
    case AF_INET6:
        return ntohs(((const struct sockaddr_in6 *)&address->storage)->sin6_port);
    default:
        return 0;
    }
}

bool gv_address_is_local(const gv_address_t *address)
{
    GV_ASSERT(address != NULL);
    if (address->size == 0) {
        return false;
    }
    if (address->storage.ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address->storage;
        return ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (address->storage.ss_family == AF_INET6) {
        const struct in6_addr *v6 = &((const struct sockaddr_in6 *)&address->storage)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(v6) ||
               (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == IN_LOOPBACKNET);
    }
    return address->storage.ss_family == AF_UNIX;
}

gv_address_t gv_address_of_peer(int fd)
{
    gv_address_t address = {.size = sizeof(address.storage)};
    if (getpeername(fd, (struct sockaddr *)&address.storage, &address.size) != 0) {
        address.size = 0;
    }
    return address;
}

gv_address_t gv_address_of_socket(int fd)
{
    gv_address_t address = {.size = sizeof(address.storage)};
    if (getsockname(fd, (struct sockaddr *)&address.storage, &address.size) != 0) {
        address.size = 0;
    }
    return address;
}
