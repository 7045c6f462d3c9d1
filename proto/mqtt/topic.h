/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Topic names and topic filters (section 4.7 of both standards, shared subscriptions 4.8.2).
 *
 * A topic is a string of levels with '/' between them; an empty level is a level ("/a" has two).
 * Nothing is normalised: two topics are the same when their bytes are [MQTT-4.7.3-4].
 *
 * All functions are one pass over the bytes.  Threads: any.  Memory: none, views only.
 */

#include "base/bytes.h"
#include "base/err.h"

/* Longest topic name or filter [bytes]: its length field has 16 bits [MQTT-4.7.3-3]. */
#define GV_MQTT_TOPIC_SIZE_MAX 65535u

/*
 * May `topic` be published to?
 *
 * GV_OK; GV_ERR_MALFORMED when it is no valid string (reason 0x81); GV_ERR_INVAL when it is empty,
 * longer than GV_MQTT_TOPIC_SIZE_MAX, or has a wildcard (reason 0x90).
 */
GV_MUST_USE gv_err_t gv_mqtt_topic_check(gv_bytes_t topic);

/* A filter, taken apart.  Views into the text that was parsed. */
typedef struct gv_mqtt_filter {
    gv_bytes_t filter; /* what topics are matched with; without "$share/group/" */
    gv_bytes_t group;  /* share name; empty when this is an ordinary subscription */
    bool has_wildcard; /* in `filter` */
} gv_mqtt_filter_t;

static inline bool gv_mqtt_filter_is_shared(const gv_mqtt_filter_t *filter)
{
    return filter->group.size > 0;
}

/*
 * Checks a filter as a client writes it and takes it apart.
 *
 * "$share/group/filter" is shared; "$share" and "$sharex/a/b" are ordinary filters, because only
 * the whole first level makes a share.  Wildcards stand as whole levels, # only as the last.
 *
 * GV_OK; GV_ERR_MALFORMED when it is no valid string (reason 0x81); GV_ERR_INVAL when it is a
 * string but no filter (reason 0x8F).  On an error *out is all empty.
 */
GV_MUST_USE gv_err_t gv_mqtt_filter_parse(gv_bytes_t text, gv_mqtt_filter_t *out);

/*
 * Does a valid topic match a valid filter (without "$share/group/")?  A filter that begins with a
 * wildcard does not match a topic that begins with '$' [MQTT-4.7.2-1].
 */
GV_MUST_USE bool gv_mqtt_topic_matches(gv_bytes_t topic, gv_bytes_t filter);

/*
 * Walks the levels of a topic or filter:
 *
 *     gv_mqtt_levels_t levels = gv_mqtt_levels(topic);
 *     for (gv_bytes_t level; gv_mqtt_levels_next(&levels, &level);) { ... }
 *
 * The empty text has one empty level, like every other text without '/'.
 */
typedef struct gv_mqtt_levels {
    const uint8_t *_pos; /* NULL after the last level */
    const uint8_t *_end;
} gv_mqtt_levels_t;

static inline gv_mqtt_levels_t gv_mqtt_levels(gv_bytes_t text)
{
    /* An address is needed as "not yet at the end", also for an empty view without one. */
    const uint8_t *start = text.size > 0 ? text.data : (const uint8_t *)"";
    return (gv_mqtt_levels_t){._pos = start, ._end = start + text.size};
}

static inline bool gv_mqtt_levels_next(gv_mqtt_levels_t *levels, gv_bytes_t *level)
{
    const uint8_t *pos = levels->_pos;
    if (pos == NULL) {
        return false;
    }
    /* Levels are short: a plain loop beats the call of memchr(). */
    const uint8_t *slash = pos;
    while (slash < levels->_end && *slash != '/') {
        slash++;
    }
    *level = (gv_bytes_t){.data = pos, .size = (size_t)(slash - pos)};
    levels->_pos = slash < levels->_end ? slash + 1 : NULL;
    return true;
}
