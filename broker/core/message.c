/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/message.h"

/* What stands at the front of a kept buffer; topic, properties and payload follow in this order. */
typedef struct kept_head {
    uint64_t expires_at_ms;
    uint64_t publisher;
    uint32_t props_size;
    uint16_t topic_size;
    uint8_t qos;
    uint8_t retain;
} kept_head_t;

_Static_assert(sizeof(kept_head_t) == 24, "no holes: the head is copied as bytes");

gv_err_t gv_publish_keep(gv_publish_t *publish, gv_msgbuf_t **out)
{
    GV_ASSERT(publish->topic.size <= UINT16_MAX);
    GV_ASSERT(publish->props.size <= UINT32_MAX);
    *out = NULL;
    if (publish->kept != NULL) {
        *out = gv_msgbuf_ref(publish->kept);
        return GV_OK;
    }
    size_t size =
        sizeof(kept_head_t) + publish->topic.size + publish->props.size + publish->payload.size;
    gv_msgbuf_t *buf = NULL;
    gv_err_t err = gv_msgbuf_new(size, &buf);
    if (err != GV_OK) {
        return err;
    }
    kept_head_t head = {
        .expires_at_ms = publish->expires_at_ms,
        .publisher = publish->publisher,
        .props_size = (uint32_t)publish->props.size,
        .topic_size = (uint16_t)publish->topic.size,
        .qos = publish->qos,
        .retain = publish->retain ? 1 : 0,
    };
    gv_writer_t w = gv_writer(gv_msgbuf_data(buf), size);
    gv_writer_put(&w, gv_bytes(&head, sizeof(head)));
    gv_writer_put(&w, publish->topic);
    gv_writer_put(&w, publish->props);
    gv_writer_put(&w, publish->payload);
    GV_ASSERT(!w.failed);
    gv_msgbuf_seal(buf);
    publish->kept = buf;
    *out = gv_msgbuf_ref(buf);
    return GV_OK;
}

gv_publish_t gv_publish_of(gv_msgbuf_t *kept)
{
    gv_bytes_t all = gv_msgbuf_bytes(kept);
    kept_head_t head;
    GV_ASSERT(all.size >= sizeof(head));
    memcpy(&head, all.data, sizeof(head));
    const uint8_t *topic = all.data + sizeof(head);
    const uint8_t *props = topic + head.topic_size;
    const uint8_t *payload = props + head.props_size;
    return (gv_publish_t){
        .topic = gv_bytes(topic, head.topic_size),
        .props = gv_bytes(props, head.props_size),
        .payload = gv_bytes(payload, (size_t)(all.data + all.size - payload)),
        .kept = kept,
        .expires_at_ms = head.expires_at_ms,
        .publisher = head.publisher,
        .qos = head.qos,
        .retain = head.retain != 0,
    };
}

size_t gv_publish_payload_offset(const gv_publish_t *publish)
{
    return sizeof(kept_head_t) + publish->topic.size + publish->props.size;
}

void gv_publish_done(gv_publish_t *publish)
{
    gv_msgbuf_unref(&publish->kept);
}
