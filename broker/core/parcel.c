/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_PARCELS

#include "broker/core/parcel.h"

#include "base/alloc.h"

_Static_assert(sizeof(gv_entry_t) % 8 == 0, "entries follow each other 8-aligned");
_Static_assert(offsetof(gv_parcel_t, data) % 8 == 0, "the first entry is 8-aligned");

static size_t round_up(size_t size)
{
    return (size + 7) & ~(size_t)7;
}

gv_parcel_t *gv_parcel_new(size_t capacity)
{
    size_t size = sizeof(gv_parcel_t) + capacity;
    gv_parcel_t *parcel = capacity > GV_PARCEL_SIZE ? gv_try_alloc(size) : gv_xalloc(size);
    if (parcel == NULL) {
        return NULL;
    }
    *parcel = (gv_parcel_t){.capacity = capacity};
    return parcel;
}

static void drop_references(gv_parcel_t *parcel)
{
    if (parcel->kept_count == 0) {
        return; /* another thread has had the entries: better not looked at without need */
    }
    for (gv_entry_t *e = gv_parcel_first(parcel); e != NULL; e = gv_parcel_next(parcel, e)) {
        gv_msgbuf_unref(&e->kept);
    }
    parcel->kept_count = 0;
}

void gv_parcel_free(gv_parcel_t **parcelp)
{
    if (*parcelp != NULL) {
        drop_references(*parcelp);
        gv_free(*parcelp);
        *parcelp = NULL;
    }
}

void gv_parcel_reset(gv_parcel_t *parcel)
{
    drop_references(parcel);
    parcel->used = 0;
    parcel->count = 0;
    parcel->is_silent = false;
}

size_t gv_parcel_entry_size(const gv_publish_t *publish, size_t extra_size)
{
    size_t inline_size = publish->kept != NULL
                             ? 0
                             : publish->topic.size + publish->props.size + publish->payload.size;
    return round_up(sizeof(gv_entry_t) + round_up(extra_size) + inline_size);
}

gv_entry_t *gv_parcel_append(gv_parcel_t *parcel, const gv_publish_t *publish, size_t extra_size)
{
    size_t size = gv_parcel_entry_size(publish, extra_size);
    if (size > parcel->capacity - parcel->used) {
        return NULL;
    }
    gv_entry_t *entry = (gv_entry_t *)(void *)(parcel->data + parcel->used);
    *entry = (gv_entry_t){
        .size = (uint32_t)size,
        .extra_size = (uint32_t)round_up(extra_size),
        .qos = publish->qos,
        .flags = publish->retain ? GV_ENTRY_RETAINED : 0,
        .expires_at_ms = publish->expires_at_ms,
        .publisher = publish->publisher,
        .payload_number = publish->payload_number,
    };
    if (publish->kept != NULL) {
        entry->kept = gv_msgbuf_ref(publish->kept);
        parcel->kept_count++;
    } else {
        entry->topic_size = (uint16_t)publish->topic.size;
        entry->props_size = (uint32_t)publish->props.size;
        entry->payload_size = (uint32_t)publish->payload.size;
        gv_writer_t w = gv_writer((uint8_t *)(entry + 1) + entry->extra_size,
                                  size - sizeof(*entry) - entry->extra_size);
        gv_writer_put(&w, publish->topic);
        gv_writer_put(&w, publish->props);
        gv_writer_put(&w, publish->payload);
        GV_ASSERT(!w.failed);
    }
    parcel->used += size;
    parcel->count++;
    return entry;
}

gv_publish_t gv_parcel_publish(const gv_entry_t *entry)
{
    if (entry->kept != NULL) {
        gv_publish_t publish = gv_publish_of(entry->kept);
        publish.payload_number = entry->payload_number;
        return publish;
    }
    const uint8_t *topic = (const uint8_t *)(entry + 1) + entry->extra_size;
    const uint8_t *props = topic + entry->topic_size;
    return (gv_publish_t){
        .topic = gv_bytes(topic, entry->topic_size),
        .props = gv_bytes(props, entry->props_size),
        .payload = gv_bytes(props + entry->props_size, entry->payload_size),
        .expires_at_ms = entry->expires_at_ms,
        .publisher = entry->publisher,
        .payload_number = entry->payload_number,
        .qos = entry->qos,
        .retain = (entry->flags & GV_ENTRY_RETAINED) != 0,
    };
}

gv_entry_t *gv_parcel_first(gv_parcel_t *parcel)
{
    return parcel->used == 0 ? NULL : (gv_entry_t *)(void *)parcel->data;
}

gv_entry_t *gv_parcel_next(gv_parcel_t *parcel, gv_entry_t *entry)
{
    uint8_t *next = (uint8_t *)entry + entry->size;
    return next == parcel->data + parcel->used ? NULL : (gv_entry_t *)(void *)next;
}
