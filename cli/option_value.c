/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/option_value.h"

#include <string.h>

#include "base/text.h"

char *gv_take_number(const char *option, const char *text, uint32_t min, uint32_t max,
                     uint32_t *out)
{
    uint64_t value = 0;
    size_t size = strlen(text);
    bool is_number = size > 0 && size <= 10 && strspn(text, "0123456789") == size;
    for (size_t i = 0; is_number && i < size; i++) {
        value = value * 10 + (uint64_t)(text[i] - '0');
    }
    if (!is_number || value < min || value > max) {
        return gv_text_format("%s '%s': expected a number from %u to %u", option, text,
                              (unsigned)min, (unsigned)max);
    }
    *out = (uint32_t)value;
    return NULL;
}

char *gv_take_qos(const char *option, const char *text, uint8_t *out)
{
    uint32_t qos = 0;
    char *problem = gv_take_number(option, text, 0, 2, &qos);
    *out = (uint8_t)qos;
    return problem;
}

char *gv_take_version(const char *option, const char *text, gv_mqtt_version_t *out)
{
    static const struct {
        const char *text;
        gv_mqtt_version_t version;
    } versions[] = {
        {"3.1", GV_MQTT_V31},    {"31", GV_MQTT_V31},   {"mqttv31", GV_MQTT_V31},
        {"3.1.1", GV_MQTT_V311}, {"311", GV_MQTT_V311}, {"mqttv311", GV_MQTT_V311},
        {"5", GV_MQTT_V5},       {"5.0", GV_MQTT_V5},   {"mqttv5", GV_MQTT_V5},
    };
    for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
        if (strcmp(versions[i].text, text) == 0) {
            *out = versions[i].version;
            return NULL;
        }
    }
    return gv_text_format("%s '%s': expected 3.1, 3.1.1 or 5", option, text);
}
