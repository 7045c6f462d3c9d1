/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Publishing over HTTP, in EMQX's shape:
 *
 *     POST /api/v1/publish
 *     {"topic": "a/b", "payload": "text", "payload_encoding": "plain", "qos": 1, "retain": false,
 *      "properties": {"content_type": "...", "user_properties": {"name": "value"}, ...}}
 *
 * It is answered when the message is as safe as a PUBACK would say: 200, or 202 when nobody has
 * subscribed to it; 400 when it is no message that may be published, 503 when there is no room.
 *
 * Threads: the admin loop.
 */

#include "broker/admin/admin.h"
#include "proto/mqtt/reason.h"

/* A message from a request's body.  gv_publish_request_deinit() in each case. */
typedef struct gv_publish_request {
    gv_bytes_t topic; /* valid */
    gv_bytes_t payload;
    gv_bytes_t props; /* length and block, as in a PUBLISH, valid there */
    uint8_t qos;
    bool retain;
    json_t *_body; /* what topic and payload point to, unless ... */
    uint8_t *_payload;
    uint8_t *_props;
} gv_publish_request_t;

/* False: *error says what is wrong. */
GV_MUST_USE bool gv_publish_request_parse(gv_bytes_t body, gv_publish_request_t *out,
                                          gv_error_text_t *error);

void gv_publish_request_deinit(gv_publish_request_t *request);

/*
 * GV_OK and how it went, or GV_ERR_BUSY: too many are under way; GV_ERR_CLOSED: the node is ending.
 * On the admin loop, once, before publish() returns or later.
 */
typedef void gv_publish_done_cb_t(gv_err_t err, gv_mqtt_reason_t reason, void *arg);

typedef struct gv_publish_ops {
    /* The request is borrowed for the call. */
    void (*publish)(void *arg, const gv_publish_request_t *request, gv_publish_done_cb_t *done,
                    void *done_arg);
    void *arg;
} gv_publish_ops_t;

/* Answers a call with what gv_publish_done_cb_t was told. */
GV_LOOP_ONLY void gv_publish_answer(gv_admin_call_t *call, gv_err_t err, gv_mqtt_reason_t reason);

/* `ops` is borrowed for the life of the server. */
GV_LOOP_ONLY void gv_admin_add_publish_routes(gv_admin_t *admin, const gv_publish_ops_t *ops);
