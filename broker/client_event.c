/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/client_event.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "base/bytes.h"
#include "broker/admin/admin.h"

static void add(json_t *object, const char *key, json_t *value)
{
    int rc = json_object_set_new(object, key, value);
    GV_ASSERT(rc == 0);
}

/* The client's address without its port, and the port of ours that it came to. */
static void add_address(json_t *object, const gv_presence_t *presence)
{
    const char *peer = presence->peer;
    const char *colon = strrchr(peer, ':');
    size_t size = colon != NULL ? (size_t)(colon - peer) : strlen(peer);
    bool is_bracketed = size >= 2 && peer[0] == '[' && peer[size - 1] == ']';
    gv_bytes_t host = is_bracketed ? gv_bytes(peer + 1, size - 2) : gv_bytes(peer, size);
    add(object, "ipaddress", gv_admin_json_text(host));
    if (presence->port != 0) {
        add(object, "sockport", json_integer(presence->port));
    }
}

/* EMQX's words where it has one; the others are the standard's. */
static void add_reason(json_t *object, const gv_presence_t *presence)
{
    char text[64];
    const char *word = NULL;
    if (presence->is_lost) {
        word = "tcp_closed";
    } else if (presence->reason == GV_MQTT_SUCCESS) {
        word = "normal";
    } else if (presence->reason == GV_MQTT_KEEP_ALIVE_TIMEOUT) {
        word = "keepalive_timeout";
    } else if (presence->reason == GV_MQTT_SESSION_TAKEN_OVER) {
        word = "takenover";
    } else if (presence->reason == GV_MQTT_ADMINISTRATIVE_ACTION) {
        word = "kicked";
    } else {
        (void)snprintf(text, sizeof(text), "%s", gv_mqtt_reason_text((uint8_t)presence->reason));
        for (char *space; (space = strchr(text, ' ')) != NULL;) {
            *space = '_';
        }
        word = text;
    }
    add(object, "reason", json_string(word));
}

char *gv_client_event_json(const gv_presence_t *presence, const char *node, uint64_t now_ms)
{
    json_t *object = json_object();
    add(object, "node", json_string(node));
    add(object, "clientid", gv_admin_json_text(presence->client_id));
    add_address(object, presence);
    add(object, "proto_name", json_string(presence->version == GV_MQTT_V31 ? "MQIsdp" : "MQTT"));
    add(object, "proto_ver", json_integer(presence->version));
    add(object, "username",
        presence->has_username ? gv_admin_json_text(presence->username) : json_null());
    if (presence->is_connected) {
        add(object, "keepalive", json_integer(presence->keep_alive_s));
        add(object, "clean_start", json_boolean(presence->clean_start));
        add(object, "expiry_interval", json_integer(presence->expiry_s));
        add(object, "connack", json_integer(0));
        add(object, "connected_at", json_integer((json_int_t)now_ms));
    } else {
        add_reason(object, presence);
        add(object, "disconnected_at", json_integer((json_int_t)now_ms));
    }
    add(object, "ts", json_integer((json_int_t)now_ms));
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    GV_ASSERT(text != NULL);
    return text;
}
