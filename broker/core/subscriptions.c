/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_SUBSCRIPTIONS

#include "broker/core/subscriptions.h"

#include "base/alloc.h"
#include "broker/core/session.h"

/* How long an index rests before it is used again. */
#define REST_MS 1000U

typedef struct gv_free_slot {
    uint64_t released_ms;
    uint32_t index;
} gv_free_slot_t;

static gv_bytes_t text_of(const void *value)
{
    return gv_filter_text(value);
}

static void drop_many(gv_filter_t *filter)
{
    if (filter->_capacity > 0) {
        gv_free(filter->_many);
        filter->_capacity = 0;
        filter->_one = NULL;
    }
}

void gv_subscriptions_init(gv_subscriptions_t *table, uint64_t hash_seed)
{
    *table = (gv_subscriptions_t){0};
    gv_map_init(&table->_by_text, text_of, hash_seed);
}

void gv_subscriptions_deinit(gv_subscriptions_t *table)
{
    for (uint32_t i = 0; i < table->_index_count; i++) {
        gv_filter_t *filter = table->_by_index[i];
        if (filter != NULL) {
            GV_ASSERT(filter->count == 0);
            drop_many(filter);
            gv_free(filter);
        }
    }
    gv_free(table->_by_index);
    gv_free(table->_generations);
    gv_free(table->_free);
    gv_map_deinit(&table->_by_text);
}

gv_filter_t *gv_subscriptions_find(const gv_subscriptions_t *table, gv_bytes_t text)
{
    return gv_map_find(&table->_by_text, text);
}

/* ---- slots ----------------------------------------------------------------------------------- */

static void remember_free(gv_subscriptions_t *table, gv_free_slot_t slot)
{
    if (table->_free_count == table->_free_capacity) {
        uint32_t capacity = table->_free_capacity == 0 ? 64 : table->_free_capacity * 2;
        gv_free_slot_t *ring = gv_xcalloc(capacity, sizeof(*ring));
        for (uint32_t i = 0; i < table->_free_count; i++) {
            ring[i] = table->_free[(table->_free_head + i) % table->_free_capacity];
        }
        gv_free(table->_free);
        table->_free = ring;
        table->_free_head = 0;
        table->_free_capacity = capacity;
    }
    uint32_t at = (table->_free_head + table->_free_count) % table->_free_capacity;
    table->_free[at] = slot;
    table->_free_count++;
}

static gv_err_t take_index(gv_subscriptions_t *table, uint32_t *index_out)
{
    const gv_free_slot_t *oldest = table->_free_count > 0 ? &table->_free[table->_free_head] : NULL;
    bool has_rested = oldest != NULL && table->_released_ms - oldest->released_ms >= REST_MS;
    if (has_rested || table->_index_count == GV_FILTERS_MAX) {
        if (!has_rested) {
            return GV_ERR_LIMIT;
        }
        *index_out = oldest->index;
        table->_free_head = (table->_free_head + 1) % table->_free_capacity;
        table->_free_count--;
        return GV_OK;
    }
    if (table->_index_count == table->_index_capacity) {
        uint32_t capacity = table->_index_capacity == 0 ? 64 : table->_index_capacity * 2;
        table->_by_index = gv_xrealloc(table->_by_index, capacity * sizeof(gv_filter_t *));
        table->_generations = gv_xrealloc(table->_generations, capacity);
        table->_index_capacity = capacity;
    }
    *index_out = table->_index_count++;
    table->_generations[*index_out] = 0;
    return GV_OK;
}

static gv_err_t filter_new(gv_subscriptions_t *table, gv_bytes_t text, bool is_shared,
                           gv_filter_t **out)
{
    GV_ASSERT(text.size <= UINT16_MAX);
    uint32_t index = 0;
    gv_err_t err = take_index(table, &index);
    if (err != GV_OK) {
        return err;
    }
    gv_filter_t *filter = gv_xcalloc(1, sizeof(*filter) + text.size);
    filter->slot = (uint32_t)table->_generations[index] << 24 | index;
    filter->size = (uint16_t)text.size;
    filter->is_shared = is_shared;
    memcpy(filter->text, text.data, text.size);
    table->_by_index[index] = filter;
    gv_map_add(&table->_by_text, filter);
    *out = filter;
    return GV_OK;
}

void gv_subscriptions_release(gv_subscriptions_t *table, gv_filter_t *filter, uint64_t now_ms)
{
    GV_ASSERT(filter->count == 0);
    GV_ASSERT(now_ms >= table->_released_ms);
    table->_released_ms = now_ms;
    uint32_t index = filter->slot & (GV_FILTERS_MAX - 1);
    GV_ASSERT(table->_by_index[index] == filter);
    table->_by_index[index] = NULL;
    table->_generations[index]++;
    remember_free(table, (gv_free_slot_t){.released_ms = now_ms, .index = index});
    void *removed = gv_map_remove(&table->_by_text, gv_filter_text(filter));
    GV_ASSERT(removed == filter);
    drop_many(filter);
    gv_free(filter);
}

gv_filter_t *gv_subscriptions_next(const gv_subscriptions_t *table, uint32_t *cursor)
{
    while (*cursor < table->_index_count) {
        gv_filter_t *filter = table->_by_index[(*cursor)++];
        if (filter != NULL) {
            return filter;
        }
    }
    return NULL;
}

/* ---- members --------------------------------------------------------------------------------- */

static void grow(gv_filter_t *filter)
{
    uint32_t capacity = filter->_capacity == 0 ? 4 : filter->_capacity * 2;
    gv_subscription_t **many = filter->_capacity == 0 ? NULL : filter->_many;
    gv_subscription_t *one = filter->_capacity == 0 ? filter->_one : NULL;
    many = gv_xrealloc(many, capacity * sizeof(gv_subscription_t *));
    if (one != NULL) {
        many[0] = one;
    }
    filter->_many = many;
    filter->_capacity = capacity;
}

static void member_add(gv_filter_t *filter, gv_subscription_t *subscription)
{
    subscription->position = filter->count & GV_FILTER_MEMBERS_MAX;
    if (filter->count == 0 && filter->_capacity == 0) {
        filter->_one = subscription;
    } else {
        if (filter->_capacity == 0 || filter->count == filter->_capacity) {
            grow(filter);
        }
        filter->_many[filter->count] = subscription;
    }
    filter->count++;
}

static void member_remove(gv_filter_t *filter, gv_subscription_t *subscription)
{
    GV_ASSERT(filter->count > 0);
    filter->count--;
    if (filter->_capacity == 0) {
        filter->_one = NULL;
        return;
    }
    gv_subscription_t *last = filter->_many[filter->count];
    filter->_many[subscription->position] = last;
    last->position = subscription->position;
    if (filter->count == 1) {
        last = filter->_many[0];
        drop_many(filter);
        filter->_one = last;
    }
}

gv_subscription_t *gv_subscriptions_of(const gv_filter_t *filter, const gv_session_t *session)
{
    /* Walks the shorter of the two: the filter's members or the session's subscriptions. */
    if (filter->count <= session->subscription_count) {
        for (uint32_t i = 0; i < filter->count; i++) {
            gv_subscription_t *subscription = gv_filter_member(filter, i);
            if (subscription->session == session) {
                return subscription;
            }
        }
        return NULL;
    }
    gv_list_foreach (&session->subscriptions, link) {
        gv_subscription_t *subscription = gv_container_of(link, gv_subscription_t, link);
        if (subscription->filter == filter) {
            return subscription;
        }
    }
    return NULL;
}

gv_err_t gv_subscriptions_add(gv_subscriptions_t *table, gv_session_t *session, gv_bytes_t text,
                              bool is_shared, uint8_t options, uint32_t id, gv_subscription_t **out,
                              bool *is_new)
{
    *out = NULL;
    *is_new = false;
    gv_filter_t *filter = gv_subscriptions_find(table, text);
    gv_subscription_t *subscription = NULL;
    if (filter != NULL) {
        subscription = gv_subscriptions_of(filter, session);
    } else {
        gv_err_t err = filter_new(table, text, is_shared, &filter);
        if (err != GV_OK) {
            return err;
        }
    }
    if (subscription == NULL && filter->count == GV_FILTER_MEMBERS_MAX) {
        return GV_ERR_LIMIT;
    }
    if (subscription == NULL) {
        subscription = GV_NEW(gv_subscription_t);
        subscription->session = session;
        subscription->filter = filter;
        gv_list_append(&session->subscriptions, &subscription->link);
        session->subscription_count++;
        table->subscription_count++;
        member_add(filter, subscription);
        *is_new = true;
    }
    subscription->options = options;
    subscription->id = id;
    *out = subscription;
    return GV_OK;
}

void gv_subscriptions_remove(gv_subscriptions_t *table, gv_subscription_t *subscription)
{
    gv_list_remove(&subscription->link);
    subscription->session->subscription_count--;
    table->subscription_count--;
    member_remove(subscription->filter, subscription);
    gv_free(subscription);
}
