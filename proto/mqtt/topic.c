/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/topic.h"

#include "proto/mqtt/utf8.h"

gv_err_t gv_mqtt_topic_check(gv_bytes_t topic)
{
    /* [MQTT-4.7.3-1] at least one character, [MQTT-4.7.3-3] at most 65535 bytes. */
    if (topic.size == 0 || topic.size > GV_MQTT_TOPIC_SIZE_MAX) {
        return GV_ERR_INVAL;
    }
    switch (gv_mqtt_text_scan(topic)) {
    case GV_MQTT_TEXT_PLAIN:
        return GV_OK;
    case GV_MQTT_TEXT_WILDCARD:
        return GV_ERR_INVAL; /* [MQTT-4.7.0-1], [MQTT-3.3.2-2] */
    case GV_MQTT_TEXT_BAD:
        break;
    }
    return GV_ERR_MALFORMED; /* [MQTT-4.7.3-2], [MQTT-3.3.2-1] */
}

static bool is_wildcard(uint8_t byte)
{
    return byte == '+' || byte == '#';
}

/* Each wildcard fills its level [MQTT-4.7.1-2], and # stands in the last one [MQTT-4.7.1-1]. */
static bool wildcards_are_placed_well(gv_bytes_t filter)
{
    for (size_t i = 0; i < filter.size; i++) {
        if (!is_wildcard(filter.data[i])) {
            continue;
        }
        bool starts_level = i == 0 || filter.data[i - 1] == '/';
        bool ends_text = i + 1 == filter.size;
        bool ends_level = ends_text || filter.data[i + 1] == '/';
        if (!starts_level || !ends_level || (filter.data[i] == '#' && !ends_text)) {
            return false;
        }
    }
    return true;
}

/*
 * Takes "group/" off the front of `rest` (what follows "$share/"): false when the group is empty
 * [MQTT-4.8.2-1], has a wildcard, or no filter follows it [MQTT-4.8.2-2].
 */
static bool take_group(gv_bytes_t *rest, gv_bytes_t *group)
{
    size_t size = 0;
    while (size < rest->size && rest->data[size] != '/') {
        if (is_wildcard(rest->data[size])) {
            return false;
        }
        size++;
    }
    if (size == 0 || size + 1 >= rest->size) {
        return false;
    }
    *group = gv_bytes(rest->data, size);
    *rest = gv_bytes(rest->data + size + 1, rest->size - size - 1);
    return true;
}

gv_err_t gv_mqtt_filter_parse(gv_bytes_t text, gv_mqtt_filter_t *out)
{
    static const char share[] = "$share/";
    const size_t share_size = sizeof(share) - 1;

    *out = (gv_mqtt_filter_t){.has_wildcard = false};
    if (text.size == 0 || text.size > GV_MQTT_TOPIC_SIZE_MAX) {
        return GV_ERR_INVAL;
    }
    gv_mqtt_text_t found = gv_mqtt_text_scan(text);
    if (found == GV_MQTT_TEXT_BAD) {
        return GV_ERR_MALFORMED; /* [MQTT-3.8.3-1], [MQTT-3.10.3-1] */
    }

    gv_bytes_t filter = text;
    gv_bytes_t group = GV_BYTES_EMPTY;
    if (text.size >= share_size && memcmp(text.data, share, share_size) == 0) {
        filter = gv_bytes(text.data + share_size, text.size - share_size);
        if (!take_group(&filter, &group)) {
            return GV_ERR_INVAL;
        }
    }
    bool has_wildcard = found == GV_MQTT_TEXT_WILDCARD;
    if (has_wildcard && !wildcards_are_placed_well(filter)) {
        return GV_ERR_INVAL;
    }
    *out = (gv_mqtt_filter_t){.filter = filter, .group = group, .has_wildcard = has_wildcard};
    return GV_OK;
}

bool gv_mqtt_topic_matches(gv_bytes_t topic, gv_bytes_t filter)
{
    GV_ASSERT(topic.size > 0);
    GV_ASSERT(filter.size > 0);
    if (topic.data[0] == '$' && is_wildcard(filter.data[0])) {
        return false; /* [MQTT-4.7.2-1] */
    }
    gv_mqtt_levels_t topic_levels = gv_mqtt_levels(topic);
    gv_mqtt_levels_t filter_levels = gv_mqtt_levels(filter);
    gv_bytes_t have;
    gv_bytes_t want;
    while (gv_mqtt_levels_next(&filter_levels, &want)) {
        /* In a valid filter a level that begins with a wildcard is nothing but that wildcard. */
        if (want.size > 0 && want.data[0] == '#') {
            return true; /* all that is left, and nothing left: "a/#" matches "a" */
        }
        if (!gv_mqtt_levels_next(&topic_levels, &have)) {
            return false;
        }
        if (want.size > 0 && want.data[0] == '+') {
            continue;
        }
        if (!gv_bytes_equal(have, want)) {
            return false;
        }
    }
    return !gv_mqtt_levels_next(&topic_levels, &have);
}
