/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the files of proto/mqtt, and nobody else's. */

#include "proto/mqtt/packet.h"

/* A set of packet types is a mask of these; the will inside CONNECT counts as type 0. */
#define PLACE(type) ((uint16_t)(1u << (type)))

/*
 * May this packet carry this code, sent by a server or by a client?  ([MQTT-3.2.2-8],
 * [MQTT-3.4.2-1], [MQTT-3.9.3-2], [MQTT-3.14.2-1] ...: one table of the standard per packet.)
 */
GV_MUST_USE bool gv__mqtt_reason_fits(uint8_t reason, gv_mqtt_type_t type, bool from_server);

/*
 * Size and writing of a block of which only the properties in `mask` are taken; the bit of the user
 * property stands for props->appended.  gv_mqtt_props_size() is this with all bits set.
 */
size_t gv__mqtt_props_size(const gv_mqtt_props_t *props, uint64_t mask);
void gv__mqtt_props_write(const gv_mqtt_props_t *props, uint64_t mask, gv_writer_t *w);
