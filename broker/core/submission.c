/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/submission.h"

#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* ---- who waits ------------------------------------------------------------------------------- */

/* There are as many as calls of the admin port: a list will do. */
static gv_submission_t *find(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    uint64_t number = (uint64_t)ticket->generation << 32 | ticket->number;
    gv_list_foreach (&shard->submissions, link) {
        gv_submission_t *submission = gv_container_of(link, gv_submission_t, _link);
        if (submission->_number == number) {
            return submission;
        }
    }
    return NULL;
}

void gv__submission_expect(gv_shard_t *shard, const gv_ticket_t *ticket)
{
    gv_submission_t *submission = find(shard, ticket);
    if (submission != NULL) {
        submission->_missing++;
    }
}

void gv__submission_confirm(gv_shard_t *shard, const gv_ticket_t *ticket, gv_mqtt_reason_t reason)
{
    gv_submission_t *submission = find(shard, ticket);
    if (submission == NULL) {
        return;
    }
    GV_ASSERT(submission->_missing > 0);
    if (gv_mqtt_reason_is_error((uint8_t)reason)) {
        submission->reason = (uint8_t)reason;
    }
    if (--submission->_missing == 0) {
        gv_list_remove(&submission->_link);
        submission->done(submission);
    }
}

void gv__submissions_forget(gv_shard_t *shard)
{
    while (gv_list_take_first(&shard->submissions) != NULL) {
    }
}

/* ---- the message ----------------------------------------------------------------------------- */

/* What travels of its properties; GV_ERR_NOMEM.  *block_out is the caller's to free. */
static gv_err_t travelling(const gv_mqtt_props_t *props, gv_bytes_t *out, uint8_t **block_out)
{
    *out = GV_BYTES_EMPTY;
    *block_out = NULL;
    size_t size = gv_mqtt_props_travel_size(props);
    if (size == 0) {
        return GV_OK;
    }
    *block_out = gv_try_alloc(size);
    if (*block_out == NULL) {
        return GV_ERR_NOMEM;
    }
    gv_writer_t w = gv_writer(*block_out, size);
    gv_mqtt_props_travel_write(props, &w);
    *out = gv_bytes(*block_out, size);
    return GV_OK;
}

static gv_mqtt_reason_t reason_of(const gv_routed_t *routed)
{
    return routed->has_failed     ? GV_MQTT_QUOTA_EXCEEDED
           : !routed->has_matched ? GV_MQTT_NO_MATCHING_SUBSCRIBERS
                                  : GV_MQTT_SUCCESS;
}

static gv_routed_t route(gv_shard_t *shard, const gv_submission_t *submission,
                         const gv_ticket_t *ticket)
{
    gv_publish_t publish = {
        .topic = submission->topic,
        .payload = submission->payload,
        .qos = submission->qos,
        .retain = submission->retain,
    };
    if (gv_mqtt_props_has(&submission->props, GV_MQTT_PROP_MESSAGE_EXPIRY)) {
        publish.expires_at_ms = shard->now_ms + (uint64_t)submission->props.message_expiry_s * 1000;
    }
    uint8_t *block;
    if (travelling(&submission->props, &publish.props, &block) != GV_OK) {
        return (gv_routed_t){.has_failed = true};
    }
    gv_routed_t routed =
        gv__route(shard, &publish, ticket, submission->qos > 0 ? GV_ROUTE_CONFIRM : GV_ROUTE_PLAIN);
    gv_free(block);
    return routed;
}

bool gv_shard_submit(gv_shard_t *shard, gv_submission_t *submission)
{
    GV_ASSERT(submission->done != NULL);
    GV_ASSERT(submission->qos <= 2);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    gv__relief_look(shard);
    submission->reason =
        (uint8_t)gv__judge_message(shard->limits, submission->topic, &submission->props,
                                   submission->payload, submission->retain);
    if (gv_mqtt_reason_is_error(submission->reason)) {
        gv_counter_add(&shard->stats.dropped_refused, 1);
        return true;
    }
    gv_counter_add(&shard->stats.received[submission->qos], 1);
    gv_counter_add(&shard->stats.received_payload_bytes, submission->payload.size);
    submission->_number = ++shard->next_submission;
    gv_ticket_t ticket = {
        .client = GV_TICKET_SUBMISSION,
        .generation = (uint32_t)(submission->_number >> 32),
        .number = (uint32_t)submission->_number,
        .shard = shard->index,
    };
    shard->ports.read_begin(shard->ports.arg);
    gv_routed_t routed = route(shard, submission, &ticket);
    shard->ports.read_end(shard->ports.arg);
    submission->reason = (uint8_t)reason_of(&routed);
    submission->_missing = routed.missing;
    if (submission->qos == 0 || routed.missing == 0) {
        return true;
    }
    gv_list_append(&shard->submissions, &submission->_link);
    return false;
}
