/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Strings, topics and filters.  The first byte of the input is the size of the topic, the filter
 * follows.  Matching is held against a matcher that follows the definition level by level.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/mqtt/topic.h"
#include "proto/mqtt/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool is_just(gv_bytes_t level, char c)
{
    return level.size == 1 && level.data[0] == (uint8_t)c;
}

/* Takes the first level off; false when there was none left. */
static bool split(gv_bytes_t *text, gv_bytes_t *level)
{
    if (text->data == NULL) {
        return false;
    }
    const uint8_t *slash = memchr(text->data, '/', text->size);
    if (slash == NULL) {
        *level = *text;
        *text = GV_BYTES_EMPTY;
    } else {
        *level = gv_bytes(text->data, (size_t)(slash - text->data));
        *text = gv_bytes(slash + 1, text->size - level->size - 1);
    }
    return true;
}

static bool reference_matches(gv_bytes_t topic, gv_bytes_t filter)
{
    gv_bytes_t want;
    gv_bytes_t have;
    if (!split(&filter, &want)) {
        return topic.data == NULL;
    }
    if (is_just(want, '#')) {
        return true;
    }
    return split(&topic, &have) && (is_just(want, '+') || gv_bytes_equal(want, have)) &&
           reference_matches(topic, filter);
}

static void check_levels(gv_bytes_t text)
{
    size_t slashes = 0;
    for (size_t i = 0; i < text.size; i++) {
        slashes += text.data[i] == '/';
    }
    size_t count = 0;
    size_t bytes = 0;
    gv_mqtt_levels_t levels = gv_mqtt_levels(text);
    for (gv_bytes_t level; gv_mqtt_levels_next(&levels, &level); count++) {
        require(level.size == 0 || memchr(level.data, '/', level.size) == NULL);
        bytes += level.size;
    }
    require(count == slashes + 1);
    require(bytes == text.size - slashes);
}

static void check_filter(gv_bytes_t text, const gv_mqtt_filter_t *parts)
{
    bool shared = gv_mqtt_filter_is_shared(parts);
    size_t prefix = shared ? sizeof("$share/") - 1 + parts->group.size + 1 : 0;
    require(text.size == prefix + parts->filter.size);
    require(parts->filter.size > 0 && parts->filter.data == text.data + prefix);
    require(!shared || gv_mqtt_text_scan(parts->group) == GV_MQTT_TEXT_PLAIN);
    bool has_wildcard = gv_mqtt_text_scan(parts->filter) == GV_MQTT_TEXT_WILDCARD;
    require(parts->has_wildcard == has_wildcard);
    /* What has no wildcard is a topic, and matches itself only. */
    require((gv_mqtt_topic_check(parts->filter) == GV_OK) == !has_wildcard);
    require(has_wildcard || gv_mqtt_topic_matches(parts->filter, parts->filter));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || data[0] > size - 1) {
        return 0;
    }
    gv_bytes_t topic = gv_bytes(data + 1, data[0]);
    gv_bytes_t text = gv_bytes(data + 1 + data[0], size - 1 - data[0]);

    bool is_string = gv_mqtt_text_valid(topic);
    bool has_nul = topic.size > 0 && memchr(topic.data, 0, topic.size) != NULL;
    require(is_string == (gv_mqtt_payload_is_utf8(topic) && !has_nul));
    check_levels(topic);

    gv_mqtt_filter_t parts;
    bool is_topic = gv_mqtt_topic_check(topic) == GV_OK;
    bool is_filter = gv_mqtt_filter_parse(text, &parts) == GV_OK;
    require(!is_topic || is_string);
    if (is_filter) {
        check_filter(text, &parts);
    }
    if (is_topic && is_filter) {
        uint8_t first = parts.filter.data[0];
        bool hidden = topic.data[0] == '$' && (first == '+' || first == '#');
        bool expected = !hidden && reference_matches(topic, parts.filter);
        require(gv_mqtt_topic_matches(topic, parts.filter) == expected);
    }
    return 0;
}
