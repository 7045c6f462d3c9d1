/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/properties.h"

#include <string.h>

#include "base/alloc.h"

static const char *const place_names[GV_PROPS_PLACES] = {"connect", "will", "publish", "subscribe"};

#define IN_CONNECT   (1U << GV_PROPS_CONNECT)
#define IN_WILL      (1U << GV_PROPS_WILL)
#define IN_PUBLISH   (1U << GV_PROPS_PUBLISH)
#define IN_SUBSCRIBE (1U << GV_PROPS_SUBSCRIBE)
#define IN_ALL       (IN_CONNECT | IN_WILL | IN_PUBLISH | IN_SUBSCRIBE)

typedef struct known {
    const char *name;
    gv_mqtt_prop_id_t id;
    unsigned places;
    uint64_t max; /* of a number; 0: a text */
} known_t;

/* Those a client may send; topic aliases are the client's own business. */
static const known_t known[] = {
    {"session-expiry-interval", GV_MQTT_PROP_SESSION_EXPIRY, IN_CONNECT, UINT32_MAX},
    {"receive-maximum", GV_MQTT_PROP_RECEIVE_MAXIMUM, IN_CONNECT, UINT16_MAX},
    {"maximum-packet-size", GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, IN_CONNECT, UINT32_MAX},
    {"request-problem-information", GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION, IN_CONNECT, 1},
    {"request-response-information", GV_MQTT_PROP_REQUEST_RESPONSE_INFORMATION, IN_CONNECT, 1},
    {"will-delay-interval", GV_MQTT_PROP_WILL_DELAY, IN_WILL, UINT32_MAX},
    {"payload-format-indicator", GV_MQTT_PROP_PAYLOAD_FORMAT, IN_WILL | IN_PUBLISH, 1},
    {"message-expiry-interval", GV_MQTT_PROP_MESSAGE_EXPIRY, IN_WILL | IN_PUBLISH, UINT32_MAX},
    {"content-type", GV_MQTT_PROP_CONTENT_TYPE, IN_WILL | IN_PUBLISH, 0},
    {"response-topic", GV_MQTT_PROP_RESPONSE_TOPIC, IN_WILL | IN_PUBLISH, 0},
    {"correlation-data", GV_MQTT_PROP_CORRELATION_DATA, IN_WILL | IN_PUBLISH, 0},
    {"subscription-identifier", GV_MQTT_PROP_SUBSCRIPTION_ID, IN_SUBSCRIBE, 268435455},
    {"user-property", GV_MQTT_PROP_USER_PROPERTY, IN_ALL, 0},
};

static bool parse_number(const char *text, uint64_t max, uint32_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; text[i] != '\0'; i++) {
        if (text[i] < '0' || text[i] > '9' || i > 10) {
            return false;
        }
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    *out = (uint32_t)value;
    return text[0] != '\0' && value <= max;
}

static const known_t *find(const char *name)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(known[i].name, name) == 0) {
            return &known[i];
        }
    }
    return NULL;
}

static char *add_user_property(gv_properties_t *properties, size_t place, const char *name,
                               const char *value)
{
    gv_bytes_t name_bytes = gv_bytes_text(name);
    gv_bytes_t value_bytes = gv_bytes_text(value);
    if (name_bytes.size > UINT16_MAX || value_bytes.size > UINT16_MAX) {
        return gv_xstrdup("a user property's name and value have at most 65535 bytes");
    }
    size_t size = 5 + name_bytes.size + value_bytes.size;
    uint8_t *bytes = gv_xalloc(size);
    gv_writer_t w = gv_writer(bytes, size);
    gv_mqtt_user_property_write(&w, name_bytes, value_bytes);
    GV_ASSERT(!w.failed);
    gv_text_t *user = &properties->user[place];
    gv_text_put(user, gv_bytes(bytes, size));
    gv_free(bytes);
    properties->props[place].appended = gv_bytes(gv_text_get(user), gv_text_size(user));
    return NULL;
}

static char *set(gv_properties_t *properties, size_t place, const known_t *property,
                 const char *value)
{
    gv_mqtt_props_t *props = &properties->props[place];
    if (property->max > 0) {
        uint32_t number;
        if (!parse_number(value, property->max, &number)) {
            return gv_text_format("%s is '%s'; expected a number up to %llu", property->name, value,
                                  (unsigned long long)property->max);
        }
        gv_mqtt_props_set_number(props, property->id, number);
        return NULL;
    }
    if (strlen(value) > UINT16_MAX) {
        return gv_text_format("%s has at most 65535 bytes", property->name);
    }
    gv_mqtt_props_set_bytes(props, property->id, gv_bytes_text(value));
    return NULL;
}

char *gv_properties_add(gv_properties_t *properties, char *const *words, size_t count,
                        size_t *used_out)
{
    *used_out = 0;
    if (count < 3) {
        return gv_xstrdup("-D needs PACKET NAME VALUE");
    }
    size_t place = 0;
    while (place < GV_PROPS_PLACES && strcmp(place_names[place], words[0]) != 0) {
        place++;
    }
    if (place == GV_PROPS_PLACES) {
        return gv_text_format("-D %s: expected connect, will, publish or subscribe", words[0]);
    }
    const known_t *property = find(words[1]);
    if (property == NULL) {
        return gv_text_format("-D %s: no property '%s'", words[0], words[1]);
    }
    if ((property->places & 1U << place) == 0) {
        return gv_text_format("-D %s: %s does not belong there", words[0], words[1]);
    }
    if (property->id != GV_MQTT_PROP_USER_PROPERTY) {
        *used_out = 3;
        return set(properties, place, property, words[2]);
    }
    if (count < 4) {
        return gv_xstrdup("user-property needs a name and a value");
    }
    *used_out = 4;
    return add_user_property(properties, place, words[2], words[3]);
}

void gv_properties_deinit(gv_properties_t *properties)
{
    for (size_t i = 0; i < GV_PROPS_PLACES; i++) {
        gv_text_deinit(&properties->user[i]);
    }
}
