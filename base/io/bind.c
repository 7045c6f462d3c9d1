/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/bind.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <uv.h>

#include "base/io/bind_p.h"
#include "base/io/os.h"

#define UNIX_SOCKET_MODE 0660

gv_err_t gv__bind_failed(const char *address, int code, gv_error_text_t *error)
{
    char why[96];
    const char *text = code == EADDRINUSE ? "address in use by another program"
                                          : uv_strerror_r(-code, why, sizeof(why));
    (void)snprintf(error->text, sizeof(error->text), "cannot listen on '%.80s': %.90s", address,
                   text);
    gv_err_t err = gv_err_from_errno(code);
    /* Nothing else is promised by the header. */
    return err == GV_ERR_BUSY || err == GV_ERR_DENIED ? err : GV_ERR_IO;
}

static void set_option(int fd, int level, int option, int value)
{
    /* All of these are improvements only: what cannot be set is done without. */
    (void)setsockopt(fd, level, option, &value, sizeof(value));
}

/* A bound TCP socket, or -1 with errno. */
static int bind_tcp(const gv_address_t *address, bool is_shared)
{
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    set_option(fd, SOL_SOCKET, SO_REUSEPORT, is_shared ? 1 : 0);
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* accepted sockets inherit it */
    if (family == AF_INET6) {
        set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0); /* [::] takes IPv4 too */
    }
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) == 0) {
        return fd;
    }
    int code = errno;
    (void)close(fd);
    errno = code;
    return -1;
}

static void close_all(const int *fds, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        (void)close(fds[i]);
    }
}

/*
 * Binds `count` sockets to one address.  Returns 0 or an errno value.
 *
 * SO_REUSEPORT would also let a second program of the same user in, which would then get half of
 * our clients.  So a socket without it is bound first, only to find out whether somebody listens.
 */
static int bind_tcp_shared(const gv_address_t *wanted, uint32_t count, int *fds)
{
    int probe = bind_tcp(wanted, false);
    if (probe < 0) {
        return errno;
    }
    (void)close(probe);
    gv_address_t address = *wanted;
    for (uint32_t i = 0; i < count; i++) {
        fds[i] = bind_tcp(&address, true);
        if (fds[i] < 0) {
            int code = errno;
            close_all(fds, i);
            return code;
        }
        address = gv_address_of_socket(fds[i]); /* port 0 has become a number */
    }
    return 0;
}

/* True if the file is a socket nobody listens on: left by a process that was killed. */
static bool is_stale_socket(const gv_address_t *address)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    struct stat info;
    if (lstat(un->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode)) {
        return false;
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int rc = connect(fd, (const struct sockaddr *)&address->storage, address->size);
    bool is_stale = rc != 0 && errno == ECONNREFUSED;
    (void)close(fd);
    return is_stale;
}

static int bind_unix(const gv_address_t *address, int *fd_out)
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    if (is_stale_socket(address)) {
        (void)unlink(un->sun_path);
    }
    /* Before it listens nobody can connect, so the mode is right in time. */
    if (bind(fd, (const struct sockaddr *)&address->storage, address->size) != 0 ||
        chmod(un->sun_path, UNIX_SOCKET_MODE) != 0) {
        int code = errno;
        (void)close(fd);
        return code;
    }
    *fd_out = fd;
    return 0;
}

/* Tries the addresses of a name, IPv4 first, until one can be bound. */
static gv_err_t bind_name(const char *text, const gv_endpoint_t *endpoint, uint32_t count, int *fds,
                          gv_error_text_t *error)
{
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", endpoint->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(endpoint->host, port, &hints, &found);
    if (rc != 0) {
        (void)snprintf(error->text, sizeof(error->text), "cannot listen on '%.80s': %.90s", text,
                       gai_strerror(rc));
        return GV_ERR_NOENT;
    }
    int code = EADDRNOTAVAIL;
    static const int families[] = {AF_INET, AF_INET6};
    for (size_t f = 0; f < 2 && code != 0; f++) {
        for (struct addrinfo *a = found; a != NULL && code != 0; a = a->ai_next) {
            if (a->ai_family == families[f]) {
                gv_address_t address = {.size = a->ai_addrlen};
                memcpy(&address.storage, a->ai_addr, a->ai_addrlen);
                code = bind_tcp_shared(&address, count, fds);
            }
        }
    }
    freeaddrinfo(found);
    return code == 0 ? GV_OK : gv__bind_failed(text, code, error);
}

/* Every address: IPv6 and IPv4 in one socket, or IPv4 alone where the system has no IPv6. */
static int bind_everywhere(const gv_endpoint_t *endpoint, const gv_address_t *both, uint32_t count,
                           int *fds)
{
    int code = bind_tcp_shared(both, count, fds);
    if (code != EAFNOSUPPORT && code != EADDRNOTAVAIL) {
        return code;
    }
    gv_address_t address = {.size = sizeof(struct sockaddr_in)};
    struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
    *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(endpoint->port)};
    return bind_tcp_shared(&address, count, fds);
}

gv_err_t gv_listen_bind(const char *address_text, uint32_t count, int *fds, uint32_t *count_out,
                        gv_error_text_t *error)
{
    GV_ASSERT(count > 0);
    GV_ASSERT(fds != NULL);
    GV_ASSERT(error != NULL);
    *count_out = 0;
    error->text[0] = '\0';
    gv_endpoint_t endpoint;
    gv_err_t err = gv_endpoint_parse(address_text, &endpoint, error);
    if (err != GV_OK) {
        return err;
    }
    gv_address_t address;
    err = gv_address_from_endpoint(&endpoint, &address);
    if (err == GV_ERR_NOENT) {
        err = bind_name(address_text, &endpoint, count, fds, error);
    } else {
        GV_ASSERT(err == GV_OK); /* gv_endpoint_parse() has checked the path's length */
        int code = endpoint.is_unix           ? bind_unix(&address, fds)
                   : endpoint.host[0] == '\0' ? bind_everywhere(&endpoint, &address, count, fds)
                                              : bind_tcp_shared(&address, count, fds);
        err = code == 0 ? GV_OK : gv__bind_failed(address_text, code, error);
    }
    if (err == GV_OK) {
        *count_out = endpoint.is_unix ? 1 : count;
    }
    return err;
}
