/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_shelf: the log segments in which a shard has deliveries, oldest first, with how many of them
 * are not done; and the images of some of them, to send from without asking the disk.
 *
 * A segment's image stays from the moment it is built, or is loaded when a session needs it, and
 * goes when the images together are over the budget, the oldest arrival first.  With it come and go
 * the bodies that stand apart (proto/segment.h).
 *
 * A segment may be deleted when nothing in it is live and no older one is there: the marks in it
 * speak of deliveries in it and in older ones.
 *
 * Threads: the shard's.  Memory: about 100 bytes per segment, and the budget.
 */

#include "base/list.h"
#include "base/msgbuf.h"

typedef struct gv_part gv_part_t;

/* A body of a segment that stands apart. */
typedef struct gv_apart {
    uint64_t number;    /* of the payload */
    uint32_t body;      /* its index in the segment */
    uint32_t offset;    /* where it begins in ... */
    gv_msgbuf_t *bytes; /* ... what has been read of the store; NULL: there is no image */
    bool is_damaged;    /* it cannot be had */
} gv_apart_t;

typedef struct gv_volume {
    uint64_t number;   /* of the segment */
    uint32_t live;     /* deliveries of this shard that are not durably done */
    uint32_t total;    /* that there ever were */
    uint32_t bytes;    /* on disk, with what stands apart; 0 until it is there */
    uint64_t begun_ms; /* when the first delivery came, monotonic; 0: in an earlier run */
    bool is_old;       /* written before this start: others may have deliveries in it as well */
    bool is_durable;   /* committed (or failed for good): not the journal's any more */
    bool is_loading;   /* its image has been asked for */
    bool is_damaged;   /* its image cannot be had */
    bool is_cleaned;   /* what is live in it has been written anew, or is to be when it is loaded */
    gv_part_t *part;   /* while it is being written: there its messages are */
    gv_msgbuf_t *image;
    gv_apart_t *aparts; /* by body; of an old one not before its image has come */
    uint32_t apart_count;
    gv_link_t cached;  /* in the shelf's list while there is an image */
    gv_list_t waiting; /* who wants its image, or its commit: gv_durable_t.waits */
} gv_volume_t;

/* Public only so that its owner can embed it.  Names that start with _ are not for callers. */
typedef struct gv_shelf {
    gv_volume_t **_ring; /* in order of number */
    uint32_t _head;
    uint32_t _count;
    uint32_t _capacity;  /* power of two */
    gv_volume_t *_found; /* by the last search, or NULL */
    gv_list_t _cached;   /* images, oldest arrival first */
    size_t image_bytes;
    size_t image_bytes_max;
    uint64_t bytes;      /* on disk, all volumes */
    uint64_t live_bytes; /* of these, estimated by the part of the deliveries that are live */
} gv_shelf_t;

void gv_shelf_init(gv_shelf_t *shelf, size_t image_bytes_max);

/* Nobody waits any more. */
void gv_shelf_deinit(gv_shelf_t *shelf);

/* A new volume; its number is above all others. */
gv_volume_t *gv_shelf_add(gv_shelf_t *shelf, uint64_t number);

/* The volume with this number, or NULL. */
gv_volume_t *gv_shelf_find(gv_shelf_t *shelf, uint64_t number);

/* The newest, or NULL. */
gv_volume_t *gv_shelf_newest(const gv_shelf_t *shelf);

/* The volume at a position, 0 is the oldest; it is below the count. */
gv_volume_t *gv_shelf_at(const gv_shelf_t *shelf, uint32_t position);

/* The oldest, or NULL; and taking it off, when nobody waits for it. */
gv_volume_t *gv_shelf_oldest(const gv_shelf_t *shelf);
void gv_shelf_remove_oldest(gv_shelf_t *shelf);

/* Taken off again: nothing came of it.  It is one of the newest. */
void gv_shelf_remove(gv_shelf_t *shelf, gv_volume_t *volume);

/* Nothing came of what was in it, but something will. */
void gv_shelf_clear(gv_shelf_t *shelf, gv_volume_t *volume);

static inline uint32_t gv_shelf_count(const gv_shelf_t *shelf)
{
    return shelf->_count;
}

/* It is on disk now, with so many bytes. */
void gv_shelf_set_durable(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t bytes);

/* So many deliveries more are live, or fewer. */
void gv_shelf_add_live(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t count);
void gv_shelf_drop_live(gv_shelf_t *shelf, gv_volume_t *volume, uint32_t count);

/* So many bodies of it stand apart; to be filled in.  Once in its life. */
gv_apart_t *gv_shelf_add_aparts(gv_volume_t *volume, uint32_t count);

/* Whether all of them are there, but for the damaged ones, as they have to be with an image. */
bool gv_shelf_has_aparts(const gv_volume_t *volume);

/* There will be no image: what was read of what stands apart goes. */
void gv_shelf_drop_aparts(gv_volume_t *volume);

/* Keeps an image, the caller's reference, and what stands apart; others may go for it. */
void gv_shelf_give_image(gv_shelf_t *shelf, gv_volume_t *volume, gv_msgbuf_t *image);
