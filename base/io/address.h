/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Socket addresses and their texts: "127.0.0.1:1883", "[::1]:1883", "broker.example:1883",
 * "/run/grapevine.sock" (a path with a slash in it is a unix socket), ":1883" or "*:1883" (every
 * address of this machine, IPv4 and IPv6).
 *
 * Threads: any.  Memory: plain values.
 */

#include <stdbool.h>
#include <stdint.h>

#include <sys/socket.h>

#include "base/defs.h"
#include "base/err.h"

#define GV_ADDRESS_TEXT_SIZE 128
#define GV_HOST_SIZE         256

/* A reason in words, for the operator. */
typedef struct gv_error_text {
    char text[512];
} gv_error_text_t;

typedef struct gv_address {
    struct sockaddr_storage storage;
    socklen_t size;
} gv_address_t;

/* The text taken apart; nothing is looked up. */
typedef struct gv_endpoint {
    bool is_unix;
    char host[GV_HOST_SIZE]; /* or the path; "" means every address */
    uint16_t port;
} gv_endpoint_t;

/* GV_OK, or GV_ERR_INVAL with the reason in *error (may be NULL). */
GV_MUST_USE gv_err_t gv_endpoint_parse(const char *text, gv_endpoint_t *endpoint_out,
                                       gv_error_text_t *error);

/*
 * An address without a name service: numeric hosts, unix paths, "".  GV_ERR_NOENT: the host is a
 * name and has to be resolved.  GV_ERR_INVAL: a path that is too long.
 */
GV_MUST_USE gv_err_t gv_address_from_endpoint(const gv_endpoint_t *endpoint,
                                              gv_address_t *address_out);

/* Writes "1.2.3.4:5", "[::1]:5", a path or "unix" to out (GV_ADDRESS_TEXT_SIZE); returns out. */
const char *gv_address_text(const gv_address_t *address, char *out);

/* 0 for a unix socket. */
uint16_t gv_address_port(const gv_address_t *address);

/* The address is loopback or a unix socket. */
bool gv_address_is_local(const gv_address_t *address);

/* Of a connected socket; an empty address (size 0) when the system does not know. */
gv_address_t gv_address_of_peer(int fd);
gv_address_t gv_address_of_socket(int fd);
