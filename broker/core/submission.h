/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_submission: a message that is published on behalf of nobody's connection, by an operator, and
 * is answered when it is as safe as a PUBACK or PUBREC would say.
 *
 *     gv_shard_submit() -----> true: submission->reason is the answer
 *                      `-----> false: done() is called with it in a later turn
 *
 * It is judged, routed and retained like a client's; at QoS 2 its receivers get it at QoS 2, but
 * who submits has no packet id: submitted again, it is another message.
 *
 * Threads: the shard's.  Memory: the caller's, until it is answered; gv_shard_free() forgets those
 * that are not.
 */

#include "base/list.h"
#include "broker/core/shard.h"
#include "proto/mqtt/props.h"

typedef struct gv_submission gv_submission_t;

struct gv_submission {
    gv_bytes_t topic; /* a valid topic name */
    gv_bytes_t payload;
    gv_mqtt_props_t props; /* of a PUBLISH, with its raw block */
    void (*done)(gv_submission_t *submission);
    uint8_t qos;
    bool retain;
    uint8_t reason; /* the answer: gv_mqtt_reason_t */
    gv_link_t _link;
    uint64_t _number;
    uint16_t _missing;
};

GV_MUST_USE bool gv_shard_submit(gv_shard_t *shard, gv_submission_t *submission);
