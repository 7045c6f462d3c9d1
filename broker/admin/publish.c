/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/publish.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "proto/mqtt/packet.h"
#include "proto/mqtt/topic.h"

/* Map: looking into JSON - properties - the message - the endpoint. */

/* ---- looking into JSON ---------------------------------------------------------------------- */

static GV_PRINTF(2, 3) bool fail(gv_error_text_t *error, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, arguments);
    va_end(arguments);
    return false;
}

/* Whether an object has no other keys than these. */
static bool has_only(json_t *object, const char *const *keys, size_t count, const char *where,
                     gv_error_text_t *error)
{
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        size_t i = 0;
        while (i < count && strcmp(keys[i], key) != 0) {
            i++;
        }
        if (i == count) {
            char name[60];
            return fail(error, "%s%s: there is no such key", where,
                        gv_bytes_printable(gv_bytes_text(key), name, sizeof(name)));
        }
    }
    return true;
}

static gv_bytes_t bytes_of(const json_t *string)
{
    return gv_bytes(json_string_value(string), json_string_length(string));
}

/* A number that may be missing.  False: it is another thing, or outside of its range. */
static bool take_number(const json_t *object, const char *key, json_int_t max, json_int_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL) {
        return true;
    }
    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0 && *out <= max;
}

/* ---- properties ----------------------------------------------------------------------------- */

/* Strings, in the order in which EMQX lists them. */
static const struct {
    const char *key;
    gv_mqtt_prop_id_t id;
} string_props[] = {
    {"response_topic", GV_MQTT_PROP_RESPONSE_TOPIC},
    {"correlation_data", GV_MQTT_PROP_CORRELATION_DATA},
    {"content_type", GV_MQTT_PROP_CONTENT_TYPE},
};

static bool take_strings(const json_t *object, gv_mqtt_props_t *props, gv_error_text_t *error)
{
    for (size_t i = 0; i < sizeof(string_props) / sizeof(string_props[0]); i++) {
        const json_t *value = json_object_get(object, string_props[i].key);
        if (value == NULL) {
            continue;
        }
        gv_bytes_t text = bytes_of(value);
        if (!json_is_string(value) || text.size > UINT16_MAX) {
            return fail(error, "properties.%s: expected a string", string_props[i].key);
        }
        if (string_props[i].id == GV_MQTT_PROP_RESPONSE_TOPIC &&
            gv_mqtt_topic_check(text) != GV_OK) {
            return fail(error, "properties.response_topic: not a topic to publish to");
        }
        gv_mqtt_props_set_bytes(props, string_props[i].id, text);
    }
    return true;
}

static bool take_numbers(const json_t *object, gv_mqtt_props_t *props, gv_error_text_t *error)
{
    json_int_t format = -1;
    json_int_t expiry_s = -1;
    if (!take_number(object, "payload_format_indicator", 1, &format)) {
        return fail(error, "properties.payload_format_indicator: expected 0 or 1");
    }
    if (!take_number(object, "message_expiry_interval", UINT32_MAX, &expiry_s)) {
        return fail(error, "properties.message_expiry_interval: expected seconds");
    }
    if (format >= 0) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_PAYLOAD_FORMAT, (uint32_t)format);
    }
    if (expiry_s >= 0) {
        gv_mqtt_props_set_number(props, GV_MQTT_PROP_MESSAGE_EXPIRY, (uint32_t)expiry_s);
    }
    return true;
}

/* In wire form, in *block, which is the caller's to free. */
static bool take_user_properties(json_t *object, gv_mqtt_props_t *props, uint8_t **block,
                                 gv_error_text_t *error)
{
    const char *key;
    json_t *value;
    json_t *pairs = json_object_get(object, "user_properties");
    if (pairs == NULL) {
        return true;
    }
    size_t size = 0;
    bool are_strings = json_is_object(pairs);
    json_object_foreach(pairs, key, value)
    {
        are_strings = are_strings && json_is_string(value) && strlen(key) <= UINT16_MAX &&
                      json_string_length(value) <= UINT16_MAX;
        size += 5 + strlen(key) + json_string_length(value);
    }
    if (!are_strings) {
        return fail(error, "properties.user_properties: expected an object of strings");
    }
    *block = gv_xalloc(size > 0 ? size : 1);
    gv_writer_t w = gv_writer(*block, size);
    json_object_foreach(pairs, key, value)
    {
        gv_mqtt_user_property_write(&w, gv_bytes_text(key), bytes_of(value));
    }
    GV_ASSERT(!w.failed);
    props->appended = gv_bytes(*block, size);
    return true;
}

/* As a PUBLISH has them, and as whoever reads one takes them. */
static bool encode(const gv_mqtt_props_t *props, gv_publish_request_t *out, gv_error_text_t *error)
{
    size_t size = gv_mqtt_props_size(props) + 4;
    out->_props = gv_xalloc(size);
    gv_writer_t w = gv_writer(out->_props, size);
    gv_mqtt_props_write(props, &w);
    GV_ASSERT(!w.failed);
    out->props = gv_bytes(out->_props, size - gv_writer_left(&w));
    gv_reader_t r = gv_reader(out->props);
    gv_mqtt_props_t check;
    gv_mqtt_reason_t reason;
    if (gv_mqtt_props_decode(&r, GV_MQTT_PUBLISH, &check, &reason) != GV_OK) {
        return fail(error, "properties: %s", gv_mqtt_reason_text((uint8_t)reason));
    }
    return true;
}

static bool take_props(json_t *body, gv_publish_request_t *out, gv_error_text_t *error)
{
    static const char *const keys[] = {"payload_format_indicator",
                                       "message_expiry_interval",
                                       "response_topic",
                                       "correlation_data",
                                       "content_type",
                                       "user_properties"};
    json_t *object = json_object_get(body, "properties");
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    uint8_t *user = NULL;
    if (object != NULL && !json_is_object(object)) {
        return fail(error, "properties: expected an object");
    }
    bool is_good = object == NULL ||
                   (has_only(object, keys, sizeof(keys) / sizeof(keys[0]), "properties.", error) &&
                    take_numbers(object, &props, error) && take_strings(object, &props, error) &&
                    take_user_properties(object, &props, &user, error));
    is_good = is_good && encode(&props, out, error);
    gv_free(user);
    return is_good;
}

/* ---- the message ---------------------------------------------------------------------------- */

static bool take_topic(const json_t *body, gv_publish_request_t *out, gv_error_text_t *error)
{
    const json_t *topic = json_object_get(body, "topic");
    if (!json_is_string(topic)) {
        return fail(error, "topic: expected a string");
    }
    out->topic = bytes_of(topic);
    if (gv_mqtt_topic_check(out->topic) != GV_OK) {
        return fail(error, "topic: empty, too long, with a wildcard, or not a text of MQTT");
    }
    return true;
}

static bool take_payload(const json_t *body, gv_publish_request_t *out, gv_error_text_t *error)
{
    const json_t *payload = json_object_get(body, "payload");
    const json_t *encoding = json_object_get(body, "payload_encoding");
    const char *name = encoding != NULL ? json_string_value(encoding) : "plain";
    if (!json_is_string(payload)) {
        return fail(error, "payload: expected a string");
    }
    out->payload = bytes_of(payload);
    if (name != NULL && strcmp(name, "plain") == 0) {
        return true;
    }
    if (name == NULL || strcmp(name, "base64") != 0) {
        return fail(error, "payload_encoding: expected plain or base64");
    }
    size_t size = 0;
    size_t room = out->payload.size / 4 * 3 + 1;
    out->_payload = gv_xalloc(room);
    if (gv_base64_read(out->payload, out->_payload, room, &size) != GV_OK) {
        return fail(error, "payload: not base64");
    }
    out->payload = gv_bytes(out->_payload, size);
    return true;
}

static bool take_manner(const json_t *body, gv_publish_request_t *out, gv_error_text_t *error)
{
    json_int_t qos = 0;
    const json_t *retain = json_object_get(body, "retain");
    if (!take_number(body, "qos", 2, &qos)) {
        return fail(error, "qos: expected 0, 1 or 2");
    }
    if (retain != NULL && !json_is_boolean(retain)) {
        return fail(error, "retain: expected true or false");
    }
    out->qos = (uint8_t)qos;
    out->retain = json_is_true(retain);
    return true;
}

bool gv_publish_request_parse(gv_bytes_t body, gv_publish_request_t *out, gv_error_text_t *error)
{
    static const char *const keys[] = {"topic", "payload", "payload_encoding",
                                       "qos",   "retain",  "properties"};
    *out = (gv_publish_request_t){.qos = 0};
    json_error_t at;
    out->_body = json_loadb(body.data != NULL ? (const char *)body.data : "", body.size,
                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &at);
    if (out->_body == NULL) {
        char reason[120];
        return fail(error, "not JSON, line %d: %s", at.line,
                    gv_bytes_printable(gv_bytes_text(at.text), reason, sizeof(reason)));
    }
    if (!json_is_object(out->_body)) {
        return fail(error, "expected a JSON object with topic and payload");
    }
    return has_only(out->_body, keys, sizeof(keys) / sizeof(keys[0]), "", error) &&
           take_topic(out->_body, out, error) && take_payload(out->_body, out, error) &&
           take_manner(out->_body, out, error) && take_props(out->_body, out, error);
}

void gv_publish_request_deinit(gv_publish_request_t *request)
{
    json_decref(request->_body);
    gv_free(request->_payload);
    gv_free(request->_props);
    *request = (gv_publish_request_t){.qos = 0};
}

/* ---- the endpoint --------------------------------------------------------------------------- */

static GV_LOOP_ONLY void answer_reason(gv_admin_call_t *call, gv_mqtt_reason_t reason)
{
    const char *text = gv_mqtt_reason_text((uint8_t)reason);
    if (!gv_mqtt_reason_is_error((uint8_t)reason)) {
        gv_admin_answer_json(call, reason == GV_MQTT_SUCCESS ? 200 : 202,
                             json_pack("{s:i, s:s}", "reason_code", (int)reason, "message", text));
        return;
    }
    bool is_for_now = reason == GV_MQTT_QUOTA_EXCEEDED || reason == GV_MQTT_UNSPECIFIED_ERROR;
    char message[120];
    (void)snprintf(message, sizeof(message), "0x%02x, %s", (unsigned)reason, text);
    gv_admin_answer_error(call, is_for_now ? 503 : 400, is_for_now ? "NO_ROOM" : "BAD_REQUEST",
                          message);
}

void gv_publish_answer(gv_admin_call_t *call, gv_err_t err, gv_mqtt_reason_t reason)
{
    if (err == GV_ERR_BUSY) {
        gv_admin_answer_error(call, 503, "BUSY", "too many messages wait to be safe");
    } else if (err != GV_OK) {
        gv_admin_answer_error(call, 503, "SHUTTING_DOWN", "the node is shutting down");
    } else {
        answer_reason(call, reason);
    }
}

static void on_done(gv_err_t err, gv_mqtt_reason_t reason, void *arg)
{
    gv_loop_assert_current(gv_loop_current());
    gv_publish_answer(arg, err, reason);
}

static void on_publish(gv_admin_call_t *call, void *arg)
{
    const gv_publish_ops_t *ops = arg;
    gv_loop_assert_current(gv_loop_current());
    if (!gv_admin_accept_parameters(call, NULL, 0)) {
        return;
    }
    gv_error_text_t error;
    gv_publish_request_t request;
    if (gv_publish_request_parse(gv_admin_body(call), &request, &error)) {
        ops->publish(ops->arg, &request, on_done, call);
    } else {
        gv_admin_answer_error(call, 400, "BAD_REQUEST", error.text);
    }
    gv_publish_request_deinit(&request);
}

static const gv_admin_route_t routes[] = {
    {"POST", "/api/v1/publish", "publishes a message", on_publish, false},
};

void gv_admin_add_publish_routes(gv_admin_t *admin, const gv_publish_ops_t *ops)
{
    GV_ASSERT(ops != NULL);
    GV_ASSERT(ops->publish != NULL);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t)ops);
}
