/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Logging: one line per event, `LEVEL event_word key=value key='text'`.
 *
 *     gv_log_warn("takeover_stale", "client='%s' epoch=%" PRIu64, id, epoch);
 *
 * The event word is fixed (grep it, count it).  Variable text stands in single quotes and is made
 * printable by the caller with gv_bytes_printable().  No payloads, no passwords.
 *
 * Lines that a peer can cause are rate limited per call site: at most GV_LOG_BURST in a second,
 * then one line that says how many were left out (gv_log_peer()).
 *
 * Threads: any.  The sink is set once, before threads start; it gets whole lines and must be able
 * to take them from any thread (the default writes one line to stderr with one write).
 */

#include <stdatomic.h>
#include <stdint.h>

#include "base/defs.h"

typedef enum gv_log_level {
    GV_LOG_ERROR,
    GV_LOG_WARN,
    GV_LOG_INFO,
    GV_LOG_DEBUG,
} gv_log_level_t;

#define GV_LOG_BURST 10U

/*
 * `line` ends with its only newline and is NUL-terminated.  It has at most 1023 bytes, the longer
 * ones cut with "..."; control bytes that a caller has let through are question marks.
 */
typedef void gv_log_sink_t(gv_log_level_t level, const char *line, void *arg);

/* Milliseconds since 1970 for the time stamp and the rate limits; a port, like all time. */
typedef uint64_t gv_log_now_t(void);

/* NULL sink: stderr.  NULL now: no time stamps, and no rate limits. */
void gv_log_configure(gv_log_level_t level, gv_log_now_t *now, gv_log_sink_t *sink, void *arg);

/* May be called at any time from any thread (SIGHUP). */
void gv_log_set_level(gv_log_level_t level);

/* "error", "warn", "info", "debug" -> level; false if it is none of these. */
_Bool gv_log_level_parse(const char *text, gv_log_level_t *level_out);

_Bool gv_log_is_on(gv_log_level_t level);

void gv_log_write(gv_log_level_t level, const char *event, const char *format, ...) GV_PRINTF(3, 4);

#define gv_log_at(level, event, ...)                     \
    do {                                                 \
        if (gv_log_is_on(level)) {                       \
            gv_log_write((level), (event), __VA_ARGS__); \
        }                                                \
    } while (0)

#define gv_log_error(event, ...) gv_log_at(GV_LOG_ERROR, event, __VA_ARGS__)
#define gv_log_warn(event, ...)  gv_log_at(GV_LOG_WARN, event, __VA_ARGS__)
#define gv_log_info(event, ...)  gv_log_at(GV_LOG_INFO, event, __VA_ARGS__)
#define gv_log_debug(event, ...) gv_log_at(GV_LOG_DEBUG, event, __VA_ARGS__)

typedef struct gv_log_limit {
    atomic_uint_least64_t _window; /* the second, above 8 bits of lines written in it */
    atomic_uint_least32_t _left_out;
} gv_log_limit_t;

/* Whether a line may be written now; if so *left_out is how many were not since the last one. */
_Bool gv_log_limit_pass(gv_log_limit_t *limit, uint32_t *left_out);

/* As gv_log_at(), for what a peer can cause: rate limited per call site. */
#define gv_log_peer(level, event, format, ...)                                                \
    do {                                                                                      \
        static gv_log_limit_t gv_log_limit_here;                                              \
        uint32_t gv_log_left_out = 0;                                                         \
        if (gv_log_is_on(level) && gv_log_limit_pass(&gv_log_limit_here, &gv_log_left_out)) { \
            gv_log_write((level), (event), format " left_out=%u", __VA_ARGS__,                \
                         (unsigned)gv_log_left_out);                                          \
        }                                                                                     \
    } while (0)
