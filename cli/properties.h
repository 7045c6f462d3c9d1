/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * MQTT 5 properties as they are written on the command line, after mosquitto's clients:
 *
 *     -D publish content-type text/plain      -D connect session-expiry-interval 60
 *     -D publish user-property colour red
 *
 * Texts are borrowed (argv).
 */

#include <stddef.h>

#include "base/text.h"
#include "proto/mqtt/props.h"

typedef enum gv_props_place {
    GV_PROPS_CONNECT,
    GV_PROPS_WILL,
    GV_PROPS_PUBLISH,
    GV_PROPS_SUBSCRIBE,
    GV_PROPS_PLACES, /* how many there are */
} gv_props_place_t;

typedef struct gv_properties {
    gv_mqtt_props_t props[GV_PROPS_PLACES]; /* as gv_mqtt_encode_...() takes them */
    gv_text_t user[GV_PROPS_PLACES];
} gv_properties_t;

void gv_properties_deinit(gv_properties_t *properties);

/*
 * Takes one -D.  `words` is what follows it: place, name, value, and for user-property a second
 * value; *used_out is how many of them belong to it.  Returns NULL, or a text that says what is
 * wrong (gv_free).
 */
GV_MUST_USE char *gv_properties_add(gv_properties_t *properties, char *const *words, size_t count,
                                    size_t *used_out);
