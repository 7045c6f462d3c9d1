/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/shelf.h"

#include "base/alloc.h"

static gv_volume_t **at(const gv_shelf_t *shelf, uint32_t position)
{
    return &shelf->_ring[(shelf->_head + position) & (shelf->_capacity - 1)];
}

void gv_shelf_init(gv_shelf_t *shelf, size_t image_bytes_max)
{
    *shelf = (gv_shelf_t){.image_bytes_max = image_bytes_max};
    gv_list_init(&shelf->_cached);
}

static uint64_t live_part(const gv_volume_t *volume)
{
    return volume->bytes == 0 || volume->total == 0
               ? 0
               : (uint64_t)volume->bytes * volume->live / volume->total;
}

static size_t image_bytes(const gv_volume_t *volume)
{
    size_t size = gv_msgbuf_bytes(volume->image).size;
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        if (volume->aparts[i].bytes != NULL) {
            size += gv_msgbuf_bytes(volume->aparts[i].bytes).size;
        }
    }
    return size;
}

bool gv_shelf_has_aparts(const gv_volume_t *volume)
{
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        if (volume->aparts[i].bytes == NULL && !volume->aparts[i].is_damaged) {
            return false;
        }
    }
    return true;
}

void gv_shelf_drop_aparts(gv_volume_t *volume)
{
    for (uint32_t i = 0; i < volume->apart_count; i++) {
        gv_msgbuf_unref(&volume->aparts[i].bytes);
    }
}

static void drop_image(gv_shelf_t *shelf, gv_volume_t *volume)
{
    if (volume->image != NULL) {
        shelf->image_bytes -= image_bytes(volume);
        gv_list_remove(&volume->cached);
        gv_msgbuf_unref(&volume->image);
        gv_shelf_drop_aparts(volume);
    }
}

static void volume_free(gv_shelf_t *shelf, gv_volume_t *volume)
{
    GV_ASSERT(gv_list_is_empty(&volume->waiting));
    if (shelf->_found == volume) {
        shelf->_found = NULL;
    }
    drop_image(shelf, volume);
    gv_shelf_drop_aparts(volume); /* they were being loaded */
    gv_free(volume->aparts);
    shelf->bytes -= volume->bytes;
    shelf->live_bytes -= live_part(volume);
    gv_free(volume);
}

void gv_shelf_deinit(gv_shelf_t *shelf)
{
    while (shelf->_count > 0) {
        gv_shelf_remove_oldest(shelf);
    }
    gv_free(shelf->_ring);
    shelf->_ring = NULL;
}

static void grow(gv_shelf_t *shelf)
{
    uint32_t capacity = shelf->_capacity == 0 ? 16 : shelf->_capacity * 2;
    gv_volume_t **ring = gv_xcalloc(capacity, sizeof(*ring));
    for (uint32_t i = 0; i < shelf->_count; i++) {
        ring[i] = *at(shelf, i);
    }
    gv_free(shelf->_ring);
    shelf->_ring = ring;
    shelf->_head = 0;
    shelf->_capacity = capacity;
}

gv_volume_t *gv_shelf_add(gv_shelf_t *shelf, uint64_t number)
{
    GV_ASSERT(shelf->_count == 0 || (*at(shelf, shelf->_count - 1))->number < number);
    if (shelf->_count == shelf->_capacity) {
        grow(shelf);
    }
    gv_volume_t *volume = GV_NEW(gv_volume_t);
    volume->number = number;
    gv_list_init(&volume->waiting);
    gv_link_init(&volume->cached);
    *at(shelf, shelf->_count++) = volume;
    return volume;
}

static gv_volume_t *search(const gv_shelf_t *shelf, uint64_t number)
{
    uint32_t low = 0;
    uint32_t high = shelf->_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        gv_volume_t *volume = *at(shelf, middle);
        if (volume->number == number) {
            return volume;
        }
        if (volume->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

gv_volume_t *gv_shelf_find(gv_shelf_t *shelf, uint64_t number)
{
    /* Mostly it is the one that was asked for last. */
    if (shelf->_found == NULL || shelf->_found->number != number) {
        shelf->_found = search(shelf, number);
    }
    return shelf->_found;
}

gv_volume_t *gv_shelf_at(const gv_shelf_t *shelf, uint32_t position)
{
    GV_ASSERT(position < shelf->_count);
    return *at(shelf, position);
}

gv_volume_t *gv_shelf_oldest(const gv_shelf_t *shelf)
{
    return shelf->_count == 0 ? NULL : *at(shelf, 0);
}

gv_volume_t *gv_shelf_newest(const gv_shelf_t *shelf)
{
    return shelf->_count == 0 ? NULL : *at(shelf, shelf->_count - 1);
}

void gv_shelf_remove_oldest(gv_shelf_t *shelf)
{
    GV_ASSERT(shelf->_count > 0);
    volume_free(shelf, *at(shelf, 0));
    shelf->_head = (shelf->_head + 1) & (shelf->_capacity - 1);
    shelf->_count--;
}

void gv_shelf_remove(gv_shelf_t *shelf, gv_volume_t *volume)
{
    GV_ASSERT(shelf->_count > 0);
    uint32_t position = --shelf->_count;
    gv_volume_t *after = *at(shelf, position);
    while (after != volume) {
        GV_ASSERT(position > 0);
        gv_volume_t **before = at(shelf, --position);
        gv_volume_t *moved = *before;
        *before = after;
        after = moved;
    }
    volume_free(shelf, volume);
}

void gv_shelf_clear(gv_shelf_t *shelf, gv_volume_t *volume)
{
    shelf->live_bytes -= live_part(volume);
    volume->live = 0;
    volume->total = 0;
}

void gv_shelf_set_durable(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t bytes)
{
    volume->is_durable = true;
    volume->part = NULL;
    volume->bytes = bytes;
    shelf->bytes += bytes;
    shelf->live_bytes += live_part(volume);
}

void gv_shelf_add_live(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t count)
{
    shelf->live_bytes -= live_part(volume);
    volume->live += count;
    volume->total += count;
    shelf->live_bytes += live_part(volume);
}

void gv_shelf_drop_live(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t count)
{
    GV_ASSERT(volume->live >= count);
    shelf->live_bytes -= live_part(volume);
    volume->live -= count;
    shelf->live_bytes += live_part(volume);
}

gv_apart_t *gv_shelf_add_aparts(gv_volume_t *volume, uint32_t count)
{
    GV_ASSERT(volume->aparts == NULL);
    volume->aparts = gv_xcalloc(count, sizeof(*volume->aparts));
    volume->apart_count = count;
    return volume->aparts;
}

void gv_shelf_give_image(gv_shelf_t *shelf, gv_volume_t *volume, gv_msgbuf_t *image)
{
    GV_ASSERT(volume->image == NULL);
    GV_ASSERT(gv_shelf_has_aparts(volume));
    volume->image = image;
    shelf->image_bytes += image_bytes(volume);
    gv_list_append(&shelf->_cached, &volume->cached);
    while (shelf->image_bytes > shelf->image_bytes_max) {
        gv_volume_t *first = gv_container_of(gv_list_first(&shelf->_cached), gv_volume_t, cached);
        if (first == volume) {
            return; /* larger than the budget by itself: it stays until the next */
        }
        drop_image(shelf, first);
    }
}
