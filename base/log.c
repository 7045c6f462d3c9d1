/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The longest line with its newline and NUL: one write, and room for every line we mean to write.
 */
#define LINE_SIZE 1024U

static const char *const level_names[] = {
    [GV_LOG_ERROR] = "error",
    [GV_LOG_WARN] = "warn",
    [GV_LOG_INFO] = "info",
    [GV_LOG_DEBUG] = "debug",
};
static const char *const level_marks[] = {
    [GV_LOG_ERROR] = "ERROR",
    [GV_LOG_WARN] = "WARN",
    [GV_LOG_INFO] = "INFO",
    [GV_LOG_DEBUG] = "DEBUG",
};

static void write_to_stderr(gv_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    /* stderr has no buffer: one call is one write. */
    (void)fwrite(line, 1, strlen(line), stderr);
}

/* All but the level is written once, before there are threads. */
static struct {
    atomic_int level;
    gv_log_now_t *now;
    gv_log_sink_t *sink;
    void *sink_arg;
} settings = {.level = GV_LOG_INFO, .sink = write_to_stderr};

void gv_log_configure(gv_log_level_t level, gv_log_now_t *now, gv_log_sink_t *sink, void *arg)
{
    settings.now = now;
    settings.sink = sink != NULL ? sink : write_to_stderr;
    settings.sink_arg = arg;
    gv_log_set_level(level);
}

void gv_log_set_level(gv_log_level_t level)
{
    GV_ASSERT(level <= GV_LOG_DEBUG);
    atomic_store_explicit(&settings.level, (int)level, memory_order_relaxed);
}

_Bool gv_log_level_parse(const char *text, gv_log_level_t *level_out)
{
    for (unsigned i = 0; i <= GV_LOG_DEBUG; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level_out = (gv_log_level_t)i;
            return true;
        }
    }
    return false;
}

_Bool gv_log_is_on(gv_log_level_t level)
{
    return (int)level <= atomic_load_explicit(&settings.level, memory_order_relaxed);
}

/* The date of a day since 1970-01-01, proleptic Gregorian; years begin in March inside. */
static void date_of(uint64_t day, unsigned *year, unsigned *month, unsigned *day_of_month)
{
    uint64_t since_0000_march = day + 719468;
    uint64_t era = since_0000_march / 146097; /* 400 years */
    uint64_t in_era = since_0000_march % 146097;
    uint64_t year_of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    uint64_t in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month_from_march = (5 * in_year + 2) / 153;
    *day_of_month = (unsigned)(in_year - (153 * month_from_march + 2) / 5 + 1);
    *month = (unsigned)(month_from_march < 10 ? month_from_march + 3 : month_from_march - 9);
    *year = (unsigned)(era * 400 + year_of_era + (*month <= 2 ? 1 : 0));
}

/* The text so far; `length` never passes LINE_SIZE - 2, where the newline goes. */
typedef struct line {
    char text[LINE_SIZE];
    size_t length;
} line_t;

static void line_cut(line_t *line)
{
    static const char dots[] = "...";
    size_t end = LINE_SIZE - 2 - strlen(dots);
    /* Not through the middle of a UTF-8 character. */
    while (end > 0 && ((unsigned char)line->text[end] & 0xc0) == 0x80) {
        end--;
    }
    memcpy(line->text + end, dots, strlen(dots));
    line->length = end + strlen(dots);
}

static GV_PRINTF(2, 0) void line_vadd(line_t *line, const char *format, va_list args)
{
    size_t room = LINE_SIZE - 1 - line->length; /* with the NUL */
    int wanted = vsnprintf(line->text + line->length, room, format, args);
    if (wanted < 0) {
        return;
    }
    if ((size_t)wanted >= room) {
        line_cut(line);
    } else {
        line->length += (size_t)wanted;
    }
}

static GV_PRINTF(2, 3) void line_add(line_t *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    line_vadd(line, format, args);
    va_end(args);
}

static void line_add_stamp(line_t *line, uint64_t now_ms)
{
    unsigned year = 0;
    unsigned month = 0;
    unsigned day = 0;
    unsigned in_day_ms = (unsigned)(now_ms % 86400000U);
    date_of(now_ms / 86400000U, &year, &month, &day);
    line_add(line, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ ", year, month, day, in_day_ms / 3600000,
             in_day_ms / 60000 % 60, in_day_ms / 1000 % 60, in_day_ms % 1000);
}

void gv_log_write(gv_log_level_t level, const char *event, const char *format, ...)
{
    GV_ASSERT(level <= GV_LOG_DEBUG);
    GV_ASSERT(event != NULL);

    line_t line;
    line.length = 0;
    if (settings.now != NULL) {
        line_add_stamp(&line, settings.now());
    }
    line_add(&line, "%s %s ", level_marks[level], event);
    va_list args;
    va_start(args, format);
    line_vadd(&line, format, args);
    va_end(args);

    /* Whatever a caller has let through: a line stays one line, and a terminal stays sane. */
    for (size_t i = 0; i < line.length; i++) {
        unsigned char c = (unsigned char)line.text[i];
        if (c < 0x20 || c == 0x7f) {
            line.text[i] = '?';
        }
    }
    line.text[line.length] = '\n';
    line.text[line.length + 1] = '\0';
    settings.sink(level, line.text, settings.sink_arg);
}

_Bool gv_log_limit_pass(gv_log_limit_t *limit, uint32_t *left_out)
{
    *left_out = 0;
    if (settings.now == NULL) {
        return true;
    }
    /* Relaxed: the window orders nothing but itself. */
    uint64_t second = settings.now() / 1000;
    uint64_t window = atomic_load_explicit(&limit->_window, memory_order_relaxed);
    uint64_t next;
    do {
        if (window >> 8 != second) {
            next = second << 8 | 1;
        } else if ((window & 0xff) < GV_LOG_BURST) {
            next = window + 1;
        } else {
            atomic_fetch_add_explicit(&limit->_left_out, 1, memory_order_relaxed);
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&limit->_window, &window, next,
                                                    memory_order_relaxed, memory_order_relaxed));
    *left_out = atomic_exchange_explicit(&limit->_left_out, 0, memory_order_relaxed);
    return true;
}
