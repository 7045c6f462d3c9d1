/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: changes - writing - at the start - life.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/roster.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "broker/core/texts.h"
#include "storage/member_store.h"

/* In one batch: a node that meets a large table writes it beside what others wait for. */
#define BATCH_CHANGES 4096U

/* After a batch that failed [ms]. */
#define RETRY_MS 1000U

typedef enum change_kind {
    CHANGE_MEMBER,
    CHANGE_MEMBER_GONE,
    CHANGE_ROUTE,
    CHANGE_ROUTE_GONE,
} change_kind_t;

/* Text: the route's filter; or the member's name, and behind it its address. */
typedef struct change {
    gv_link_t link;
    gv_node_id_t node;
    uint64_t gone_at_ms;
    uint16_t size;
    uint8_t name_size;
    uint8_t kind; /* change_kind_t */
    uint8_t text[];
} change_t;

/* A member of an earlier run. */
typedef struct loaded_member {
    gv_remembered_t member;
    uint64_t gone_at_ms;
    gv_texts_t routes; /* their filters */
} loaded_member_t;

struct gv_roster {
    gv_store_t *store;
    gv_store_lane_t lane;
    gv_list_t changes; /* not durable, oldest first */
    size_t submitted;  /* of them, on their way to the disk */
    uint64_t change_bytes;
    uint64_t now_ms;
    uint64_t retry_ms; /* not before */
    bool is_failing;   /* the last batch failed: logged once */
    bool is_finished;
    loaded_member_t *members;
    size_t member_count;
    gv_roster_stats_t stats;
};

/* ---- changes --------------------------------------------------------------------------------- */

static void show(gv_roster_t *roster, int64_t more)
{
    gv_counter_set(&roster->stats.waiting, gv_counter_get(&roster->stats.waiting) + (uint64_t)more);
}

/* NULL: there is no room for it. */
static change_t *add_change(gv_roster_t *roster, const gv_node_id_t *node, change_kind_t kind,
                            size_t size)
{
    GV_ASSERT(size <= UINT16_MAX);
    if (roster->change_bytes + sizeof(change_t) + size > GV_ROSTER_BYTES_MAX) {
        gv_counter_add(&roster->stats.lost, 1);
        return NULL;
    }
    change_t *change = gv_xalloc(sizeof(*change) + size);
    *change = (change_t){.node = *node, .size = (uint16_t)size, .kind = (uint8_t)kind};
    gv_list_append(&roster->changes, &change->link);
    roster->change_bytes += sizeof(*change) + size;
    show(roster, 1);
    return change;
}

static void drop_first_change(gv_roster_t *roster)
{
    change_t *change = gv_container_of(gv_list_take_first(&roster->changes), change_t, link);
    roster->change_bytes -= sizeof(*change) + change->size;
    gv_free(change);
    show(roster, -1);
}

void gv_roster_set_member(gv_roster_t *roster, const gv_remembered_t *member, uint64_t gone_at_ms)
{
    size_t name_size = strlen(member->name);
    size_t size = name_size + strlen(member->address);
    change_t *change = add_change(roster, &member->id, CHANGE_MEMBER, size);
    if (change != NULL) {
        change->gone_at_ms = gone_at_ms;
        change->name_size = (uint8_t)name_size;
        memcpy(change->text, member->name, name_size);
        memcpy(change->text + name_size, member->address, size - name_size);
    }
}

void gv_roster_forget(gv_roster_t *roster, const gv_node_id_t *node)
{
    (void)add_change(roster, node, CHANGE_MEMBER_GONE, 0);
}

void gv_roster_set_route(gv_roster_t *roster, const gv_node_id_t *node, gv_bytes_t filter,
                         bool is_lasting)
{
    change_t *change =
        add_change(roster, node, is_lasting ? CHANGE_ROUTE : CHANGE_ROUTE_GONE, filter.size);
    if (change != NULL) {
        memcpy(change->text, filter.data, filter.size);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put(gv_batch_t *batch, const change_t *change)
{
    const uint8_t *node_id = change->node.bytes;
    gv_bytes_t text = gv_bytes(change->text, change->size);
    switch ((change_kind_t)change->kind) {
    case CHANGE_MEMBER: {
        gv_stored_member_t member = {
            .node_id = node_id,
            .name = gv_bytes(text.data, change->name_size),
            .address = gv_bytes(text.data + change->name_size, text.size - change->name_size),
            .gone_at_ms = change->gone_at_ms,
        };
        gv_member_record_put(batch, &member);
        break;
    }
    case CHANGE_MEMBER_GONE:
        gv_member_record_delete(batch, node_id);
        break;
    case CHANGE_ROUTE:
        gv_member_route_put(batch, node_id, text);
        break;
    case CHANGE_ROUTE_GONE:
        gv_member_route_delete(batch, node_id, text);
        break;
    }
}

static void on_stored(gv_err_t result, void *arg)
{
    gv_roster_t *roster = arg;
    if (result == GV_OK) {
        for (; roster->submitted > 0; roster->submitted--) {
            drop_first_change(roster);
        }
    } else if (result != GV_ERR_CLOSED && !roster->is_failing) {
        gv_log_error("roster_not_stored", "error='%s'", gv_err_text(result));
    }
    roster->submitted = 0;
    roster->is_failing = result != GV_OK;
    roster->retry_ms = result == GV_OK ? 0 : roster->now_ms + RETRY_MS;
}

static void submit(gv_roster_t *roster, size_t count_max)
{
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_list_foreach (&roster->changes, link) {
        if (roster->submitted == count_max) {
            break;
        }
        put(batch, gv_container_of(link, change_t, link));
        roster->submitted++;
    }
    gv_store_submit(&roster->lane, &batch, on_stored, roster);
}

static bool is_writing(const gv_roster_t *roster)
{
    return gv_store_lane_pending(&roster->lane) > 0;
}

void gv_roster_turn_end(gv_roster_t *roster, uint64_t now_ms)
{
    roster->now_ms = now_ms;
    if (!roster->is_finished && !gv_list_is_empty(&roster->changes) && !is_writing(roster) &&
        now_ms >= roster->retry_ms) {
        submit(roster, BATCH_CHANGES);
    }
}

void gv_roster_finish(gv_roster_t *roster)
{
    roster->is_finished = true;
    if (!is_writing(roster) && !gv_list_is_empty(&roster->changes)) {
        submit(roster, SIZE_MAX);
    } /* else the disk is slow: the rest is learned again */
}

/* ---- at the start ---------------------------------------------------------------------------- */

static bool take_text(char *out, size_t size, gv_bytes_t text)
{
    if (text.size >= size || memchr(text.data, '\0', text.size) != NULL) {
        return false;
    }
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

static gv_err_t load_member(const gv_stored_member_t *stored, void *arg)
{
    gv_roster_t *roster = arg;
    loaded_member_t loaded = {.gone_at_ms = stored->gone_at_ms};
    memcpy(loaded.member.id.bytes, stored->node_id, GV_NODE_ID_SIZE);
    if (!take_text(loaded.member.name, sizeof(loaded.member.name), stored->name) ||
        !take_text(loaded.member.address, sizeof(loaded.member.address), stored->address)) {
        gv_store_note_damaged(roster->store, GV_TABLE_MEMBERS,
                              gv_bytes(stored->node_id, GV_NODE_ID_SIZE));
        return GV_OK;
    }
    roster->members =
        gv_xrealloc(roster->members, (roster->member_count + 1) * sizeof(roster->members[0]));
    roster->members[roster->member_count++] = loaded;
    return GV_OK;
}

static loaded_member_t *find_loaded(const gv_roster_t *roster, const uint8_t *node_id)
{
    for (size_t i = 0; i < roster->member_count; i++) {
        if (memcmp(roster->members[i].member.id.bytes, node_id, GV_NODE_ID_SIZE) == 0) {
            return &roster->members[i];
        }
    }
    return NULL;
}

static gv_err_t load_route(const uint8_t *node_id, gv_bytes_t filter, void *arg)
{
    gv_roster_t *roster = arg;
    loaded_member_t *member = find_loaded(roster, node_id);
    if (filter.size > UINT16_MAX) {
        return GV_OK; /* not ours */
    }
    if (member == NULL) {
        gv_node_id_t forgotten;
        memcpy(forgotten.bytes, node_id, sizeof(forgotten.bytes));
        gv_roster_set_route(roster, &forgotten, filter, false);
        return GV_OK;
    }
    gv_texts_add(&member->routes, filter);
    return GV_OK;
}

gv_err_t gv_roster_load(gv_roster_t *roster)
{
    gv_err_t err = gv_member_record_scan(roster->store, load_member, roster);
    return err == GV_OK ? gv_member_route_scan(roster->store, load_route, roster) : err;
}

static void drop_loaded(gv_roster_t *roster)
{
    for (size_t i = 0; i < roster->member_count; i++) {
        gv_texts_clear(&roster->members[i].routes);
    }
    gv_free(roster->members);
    roster->members = NULL;
    roster->member_count = 0;
}

void gv_roster_recall(gv_roster_t *roster, const gv_roster_recall_t *recall, uint64_t realtime_ms)
{
    for (size_t i = 0; i < roster->member_count; i++) {
        loaded_member_t *loaded = &roster->members[i];
        bool is_past = loaded->gone_at_ms != 0 && loaded->gone_at_ms < realtime_ms;
        loaded->member.gone_ms = is_past ? realtime_ms - loaded->gone_at_ms : 0;
        gv_node_index_t node = recall->member(recall->arg, &loaded->member);
        gv_reader_t r = gv_texts_read(&loaded->routes);
        while (node != GV_NODE_NONE && gv_reader_left(&r) > 0) {
            recall->route(recall->arg, node, gv_texts_next(&r));
        }
    }
    drop_loaded(roster);
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv_roster_new(const gv_roster_options_t *options, gv_roster_t **roster_out)
{
    gv_roster_t *roster = GV_NEW(gv_roster_t);
    roster->store = options->store;
    gv_store_lane_init(&roster->lane, options->store, options->post, options->post_arg);
    gv_list_init(&roster->changes);
    *roster_out = roster;
}

void gv_roster_free(gv_roster_t **rosterp)
{
    gv_roster_t *roster = *rosterp;
    *rosterp = NULL;
    if (!is_writing(roster)) {
        gv_store_lane_deinit(&roster->lane);
    } /* else the store has crashed (storage/mem_store.h), and its lanes with it */
    while (!gv_list_is_empty(&roster->changes)) {
        drop_first_change(roster);
    }
    drop_loaded(roster);
    gv_free(roster);
}

const gv_roster_stats_t *gv_roster_stats(const gv_roster_t *roster)
{
    return &roster->stats;
}
