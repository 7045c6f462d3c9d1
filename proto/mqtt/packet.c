/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/mqtt/packet.h"

const char *gv_mqtt_type_text(gv_mqtt_type_t type)
{
    static const char *const texts[] = {
        [GV_MQTT_CONNECT] = "CONNECT",   [GV_MQTT_CONNACK] = "CONNACK",
        [GV_MQTT_PUBLISH] = "PUBLISH",   [GV_MQTT_PUBACK] = "PUBACK",
        [GV_MQTT_PUBREC] = "PUBREC",     [GV_MQTT_PUBREL] = "PUBREL",
        [GV_MQTT_PUBCOMP] = "PUBCOMP",   [GV_MQTT_SUBSCRIBE] = "SUBSCRIBE",
        [GV_MQTT_SUBACK] = "SUBACK",     [GV_MQTT_UNSUBSCRIBE] = "UNSUBSCRIBE",
        [GV_MQTT_UNSUBACK] = "UNSUBACK", [GV_MQTT_PINGREQ] = "PINGREQ",
        [GV_MQTT_PINGRESP] = "PINGRESP", [GV_MQTT_DISCONNECT] = "DISCONNECT",
        [GV_MQTT_AUTH] = "AUTH",
    };
    return type >= GV_MQTT_CONNECT && type <= GV_MQTT_AUTH ? texts[type] : "unknown packet";
}

const char *gv_mqtt_version_text(gv_mqtt_version_t version)
{
    switch (version) {
    case GV_MQTT_V31:
        return "3.1";
    case GV_MQTT_V311:
        return "3.1.1";
    case GV_MQTT_V5:
        return "5.0";
    case GV_MQTT_VERSION_UNKNOWN:
        break;
    }
    return "unknown";
}
