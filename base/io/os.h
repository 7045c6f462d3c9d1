/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The operating system behind the ports: real clocks, real randomness, limits, names, and the
 * translation of its error codes.
 *
 * Threads: any, except where noted.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/defs.h"
#include "base/err.h"

/* CLOCK_MONOTONIC and CLOCK_REALTIME. */
const gv_clock_t *gv_os_clock(void);

/* Milliseconds since 1970, in the shape gv_log_configure() wants. */
uint64_t gv_os_log_now(void);

/* Random bytes fit for keys and nonces; stops the process if the system has none. */
void gv_os_random(void *out, size_t size);

/* Processors this process may run on; at least 1. */
uint32_t gv_os_cpu_count(void);

/*
 * Raises the limit of open descriptors as far as allowed, at most to `wanted`.  Returns the limit
 * in force afterwards.
 */
uint64_t gv_os_raise_fd_limit(uint64_t wanted);

/* This machine's name; "localhost" if it has none.  out_size at least 2; returns out. */
const char *gv_os_hostname(char *out, size_t out_size);

/* A write to a closed connection must be an error, not a signal.  Once, before threads start. */
void gv_os_ignore_sigpipe(void);

/*
 * Signals that ask a program to end or to reload (SIGTERM, SIGINT, SIGHUP) wait until they are
 * released: by the thread that will handle them, when it can.  Held by main() before there are
 * other threads, they stay held in these, and so come to the main thread only.
 */
void gv_os_hold_signals(void);
void gv_os_release_signals(void);

/* Names the calling thread for ps and debuggers (15 characters are shown). */
void gv_os_name_thread(const char *name);

gv_err_t gv_err_from_errno(int code);
/* libuv's codes are negated errno values, except those of name resolution. */
gv_err_t gv_err_from_uv(int code);
