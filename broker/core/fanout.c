/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/fanout.h"

#include "base/alloc.h"
#include "broker/core/session.h"

/* A variant's memory is given back after a message that was much larger than usual. */
#define VARIANT_KEEP_MAX ((size_t)65536)

void gv_fanout_deinit(gv_fanout_t *fanout)
{
    for (size_t i = 0; i < GV_FANOUT_VARIANTS; i++) {
        gv_free(fanout->variants[i].bytes);
    }
    gv_free(fanout->odd.bytes);
    gv_free(fanout->targets);
    gv_free(fanout->pairs);
    gv_free(fanout->ids);
    *fanout = (gv_fanout_t){0};
}

/*
 * The nearest second, and not 0 while there is some time left.  Rounding up would give back more
 * than was received: the clocks of two loops stand a little apart.
 */
static uint32_t seconds_of(uint64_t left_ms)
{
    uint64_t seconds = (left_ms + 500) / 1000;
    return seconds == 0 && left_ms > 0 ? 1 : (uint32_t)seconds;
}

void gv_fanout_begin(gv_fanout_t *fanout, gv_publish_t *publish, uint64_t now_ms)
{
    fanout->publish = publish;
    fanout->has_congested = false;
    fanout->is_journaled = false;
    fanout->has_refused = false;
    fanout->given_on = 0;
    fanout->ticket = NULL;
    fanout->is_lent = false;
    fanout->is_passed_on = false;
    fanout->is_joined = false;
    fanout->is_replay = false;
    fanout->journal_stamp = 0;
    fanout->has_expiry = publish->expires_at_ms != 0;
    if (fanout->has_expiry) {
        /* [MQTT-3.3.2-6]: what is left of the time; a message due this instant has 0 left. */
        uint64_t left_ms = publish->expires_at_ms > now_ms ? publish->expires_at_ms - now_ms : 0;
        fanout->expiry_s = seconds_of(left_ms);
    }
    fanout->is_shared = publish->payload.size >= GV_PAYLOAD_SHARED_MIN;
    fanout->topic_hash = 0;
    fanout->made = 0;
}

static bool make(gv_fanout_t *fanout, gv_fanout_variant_t *variant, const gv_fanout_form_t *form)
{
    const gv_publish_t *publish = fanout->publish;
    gv_mqtt_publish_head_t head = {
        .topic = form->topic == GV_FANOUT_ALIAS ? GV_BYTES_EMPTY : publish->topic,
        .travel = publish->props,
        .payload_size = publish->payload.size,
        .subscription_ids = form->ids,
        .subscription_id_count = form->id_count,
        .expiry_s = fanout->expiry_s,
        .has_expiry = fanout->has_expiry,
        .qos = form->has_id ? 1 : 0,
        .packet_id = 1,
        .topic_alias = form->topic == GV_FANOUT_TOPIC ? 0 : 1,
    };
    size_t inline_size = fanout->is_shared ? 0 : publish->payload.size;
    size_t room = gv_mqtt_publish_head_bound(&head) + inline_size;
    bool is_wasteful = variant->capacity > VARIANT_KEEP_MAX && room < VARIANT_KEEP_MAX;
    if (variant->capacity < room || is_wasteful) {
        gv_free(variant->bytes);
        variant->capacity = room < 1024 ? 1024 : room;
        variant->bytes = gv_try_alloc(variant->capacity);
        if (variant->bytes == NULL) {
            variant->capacity = 0;
            return false;
        }
    }
    gv_writer_t w = gv_writer(variant->bytes, room);
    size_t size = gv_mqtt_publish_head_write(&head, form->version, &w, &variant->id_offset);
    if (size == 0) {
        return false;
    }
    variant->alias_offset = gv_mqtt_publish_alias_offset(&head, size);
    gv_writer_put(&w, gv_bytes(publish->payload.data, inline_size));
    GV_ASSERT(!w.failed);
    variant->size = size + inline_size;
    return true;
}

const gv_fanout_variant_t *gv__fanout_make(gv_fanout_t *fanout, const gv_fanout_form_t *form)
{
    bool is_v5 = form->version >= GV_MQTT_V5;
    GV_ASSERT(is_v5 || form->topic == GV_FANOUT_TOPIC);
    if (is_v5 && form->id_count > 0) {
        return make(fanout, &fanout->odd, form) ? &fanout->odd : NULL;
    }
    size_t index = gv__fanout_index(form);
    if (!make(fanout, &fanout->variants[index], form)) {
        return NULL;
    }
    fanout->made |= UINT32_C(1) << index;
    return &fanout->variants[index];
}

/* ---- collecting ------------------------------------------------------------------------------ */

void gv_fanout_collect_begin(gv_fanout_t *fanout)
{
    fanout->turn++;
    if (fanout->turn == 0) {
        /* 0 is "never collected"; after 2^32 messages a stale mark of the same number is possible
         * only in a session that has had no message for that long, and does no more than look up a
         * target that is checked below. */
        fanout->turn = 1;
    }
    fanout->target_count = 0;
    fanout->pair_count = 0;
}

static uint32_t target_of(gv_fanout_t *fanout, gv_session_t *session)
{
    uint32_t index = session->fanout_index;
    if (session->fanout_turn == fanout->turn && index < fanout->target_count &&
        fanout->targets[index].session == session) {
        return index;
    }
    if (fanout->target_count == fanout->target_capacity) {
        fanout->target_capacity = fanout->target_capacity == 0 ? 64 : fanout->target_capacity * 2;
        fanout->targets =
            gv_xrealloc(fanout->targets, fanout->target_capacity * sizeof(*fanout->targets));
    }
    index = fanout->target_count++;
    fanout->targets[index] = (gv_fanout_target_t){.session = session};
    session->fanout_turn = fanout->turn;
    session->fanout_index = index;
    return index;
}

void gv_fanout_collect(gv_fanout_t *fanout, const gv_subscription_t *subscription)
{
    uint32_t index = target_of(fanout, subscription->session);
    gv_fanout_target_t *target = &fanout->targets[index];
    uint8_t qos = subscription->options & GV_SUB_QOS_MASK;
    target->qos = target->qos > qos ? target->qos : qos;
    target->retain_as_published |= (subscription->options & GV_SUB_RETAIN_AS_PUBLISHED) != 0;
    if (subscription->id == 0) {
        return;
    }
    if (fanout->pair_count == fanout->pair_capacity) {
        fanout->pair_capacity = fanout->pair_capacity == 0 ? 64 : fanout->pair_capacity * 2;
        fanout->pairs = gv_xrealloc(fanout->pairs, fanout->pair_capacity * sizeof(*fanout->pairs));
        fanout->ids = gv_xrealloc(fanout->ids, fanout->pair_capacity * sizeof(*fanout->ids));
    }
    fanout->pairs[fanout->pair_count++] =
        (gv_fanout_pair_t){.target = index, .id = subscription->id};
    target->id_count++;
}

void gv_fanout_collect_end(gv_fanout_t *fanout)
{
    if (fanout->pair_count == 0) {
        return;
    }
    uint32_t first = 0;
    for (uint32_t i = 0; i < fanout->target_count; i++) {
        fanout->targets[i].first_id = first;
        first += fanout->targets[i].id_count;
        fanout->targets[i].id_count = 0;
    }
    for (uint32_t i = 0; i < fanout->pair_count; i++) {
        gv_fanout_target_t *target = &fanout->targets[fanout->pairs[i].target];
        fanout->ids[target->first_id + target->id_count++] = fanout->pairs[i].id;
    }
}
