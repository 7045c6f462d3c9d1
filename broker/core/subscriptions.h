/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who on this shard has subscribed to what.
 *
 * The router (router.h) says which filters match a topic and knows each of them on this shard by a
 * slot number.  This table turns the slot into the subscriptions that hang on the filter.  A filter
 * exists from its first subscription until the router has confirmed that it is gone; only then may
 * its slot be used again, and then under another generation, so that a message matched against an
 * older version of the router finds nothing instead of a stranger.
 *
 *     slot = generation (8 bits) | index (24 bits)
 *
 * A generation is the same again after 256 uses of its index, and an index rests for a second after
 * each.  What carries a slot (a match, a parcel on its way, a replay) would have to be older than
 * four minutes, of which this shard has been running and another thread has not, to find a
 * stranger.  Sessions keep slots for longer, but of groups only that they belong to (see
 * gv_left_group_t).
 *
 * A shared subscription `$share/group/filter` is a filter of its own with members.
 *
 * Threads: the shard's.  Memory: 40 bytes and the text per filter, 40 per subscription.
 */

#include "base/bytes.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"

#define GV_FILTERS_MAX ((uint32_t)1 << 24)
/* Subscriptions to one filter on one shard. */
#define GV_FILTER_MEMBERS_MAX (((uint32_t)1 << 24) - 1)

typedef struct gv_session gv_session_t;
typedef struct gv_filter gv_filter_t;

enum {
    GV_SUB_QOS_MASK = 3,
    GV_SUB_NO_LOCAL = 4,
    GV_SUB_RETAIN_AS_PUBLISHED = 8,
};

typedef struct gv_subscription {
    gv_session_t *session;
    gv_filter_t *filter;
    gv_link_t link;         /* in the session's list */
    uint32_t id;            /* subscription identifier; 0 is none */
    uint32_t options : 8;   /* GV_SUB_... */
    uint32_t position : 24; /* in filter->members */
} gv_subscription_t;

_Static_assert(sizeof(gv_subscription_t) == 40, "there may be millions");

struct gv_filter {
    union {
        gv_subscription_t **_many;
        gv_subscription_t *_one; /* while _capacity is 0: there is at most one */
    };
    uint32_t count;
    uint32_t _capacity;
    uint32_t slot;
    union {
        uint32_t turn;    /* shared: whose turn it is */
        uint32_t lasting; /* else: members whose sessions outlive their connections */
    };
    uint32_t online;     /* shared: members that are online */
    uint32_t announced;  /* the weight the router was last told */
    uint32_t unsets_out; /* times the router is to forget it and has not answered */
    uint16_t size;       /* of the text [bytes] */
    bool is_shared;
    bool is_leaving; /* the router has been told to forget it */
    uint8_t text[];
};

static inline gv_subscription_t *gv_filter_member(const gv_filter_t *filter, uint32_t position)
{
    return filter->_capacity > 0 ? filter->_many[position] : filter->_one;
}

static inline gv_bytes_t gv_filter_text(const gv_filter_t *filter)
{
    return gv_bytes(filter->text, filter->size);
}

/* Public only so that a shard can embed it.  Names that start with _ are not for callers. */
typedef struct gv_subscriptions {
    gv_map_t _by_text;
    gv_filter_t **_by_index;
    uint8_t *_generations;
    uint32_t _index_count;
    uint32_t _index_capacity;
    struct gv_free_slot *_free; /* ring of indices to use again, oldest first */
    uint32_t _free_head;
    uint32_t _free_count;
    uint32_t _free_capacity;
    uint64_t _released_ms; /* the newest release: as good a clock as is needed here */
    size_t subscription_count;
} gv_subscriptions_t;

void gv_subscriptions_init(gv_subscriptions_t *table, uint64_t hash_seed);

/* All sessions have left before. */
void gv_subscriptions_deinit(gv_subscriptions_t *table);

/* The filter of a slot, or NULL if that slot's generation has passed. */
static inline gv_filter_t *gv_subscriptions_at(const gv_subscriptions_t *table, uint32_t slot)
{
    uint32_t index = slot & (GV_FILTERS_MAX - 1);
    gv_filter_t *filter = index < table->_index_count ? table->_by_index[index] : NULL;
    return filter != NULL && filter->slot == slot ? filter : NULL;
}

/* The filter with this text, or NULL. */
gv_filter_t *gv_subscriptions_find(const gv_subscriptions_t *table, gv_bytes_t text);

/*
 * The session's subscription to this filter, added or replaced.  *is_new tells which.
 * GV_ERR_LIMIT when the shard has GV_FILTERS_MAX filters, or this one GV_FILTER_MEMBERS_MAX
 * members.
 */
GV_MUST_USE gv_err_t gv_subscriptions_add(gv_subscriptions_t *table, gv_session_t *session,
                                          gv_bytes_t text, bool is_shared, uint8_t options,
                                          uint32_t id, gv_subscription_t **out, bool *is_new);

/* The session's subscription to this filter, or NULL. */
gv_subscription_t *gv_subscriptions_of(const gv_filter_t *filter, const gv_session_t *session);

/*
 * Takes the subscription out and frees it.  Its filter stays, perhaps without members: the caller
 * tells the router then, and calls gv_subscriptions_release() when the router has answered.
 */
void gv_subscriptions_remove(gv_subscriptions_t *table, gv_subscription_t *subscription);

/* Frees a filter that has no members and that the router does not know any more. */
void gv_subscriptions_release(gv_subscriptions_t *table, gv_filter_t *filter, uint64_t now_ms);

/* All filters, in no particular order; *cursor starts at 0; NULL ends it. */
gv_filter_t *gv_subscriptions_next(const gv_subscriptions_t *table, uint32_t *cursor);
