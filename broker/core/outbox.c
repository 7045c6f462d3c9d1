/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: messages and records - boxes - writing - reading - handing over - confirmations - nodes -
 * the turn.
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/outbox.h"

#include <inttypes.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "cluster/core/forward_codec.h"
#include "storage/outbox_store.h"

/* A record is closed when it has so much [bytes], or so many messages. */
#define RECORD_BYTES    ((size_t)256 << 10)
#define RECORD_MESSAGES 4096U

/* So many records of a box may be on their way to the disk; what comes meanwhile shares the next.
 */
#define WRITES_MAX 2U

/* What may wait in memory for a box that is nearly empty, while its node is there [bytes]. */
#define HELD_BYTES_MAX ((size_t)4 << 20)

/* The pause after a node has refused something [ms]. */
#define REFUSED_PAUSE_MS 1000U

typedef struct message {
    uint8_t *body; /* as it goes over a link */
    size_t size;
    uint64_t expires_at_ms; /* real time; 0: never */
    uint64_t token;         /* of who waits for it to be durable */
} message_t;

typedef enum record_state {
    RECORD_WRITING,
    RECORD_STORED,
    RECORD_LOADING,
    RECORD_SENT, /* handed over, not all of it confirmed */
} record_state_t;

typedef struct box box_t;

typedef struct record {
    gv_link_t link; /* in box->records, or in outbox->orphans */
    gv_outbox_t *outbox;
    box_t *box; /* NULL: its node has been forgotten meanwhile */
    gv_outbox_place_t place;
    size_t bytes;
    message_t *messages; /* place.count; NULL: on disk only */
    bool *done;          /* place.count: confirmed, or expired; NULL: none */
    uint32_t missing;    /* SENT: answers to come */
    uint32_t slot;       /* SENT: its number in tokens */
    record_state_t state;
} record_t;

struct box {
    gv_node_id_t id;
    gv_node_index_t node; /* GV_NODE_NONE: not met yet */
    bool is_there;        /* the node can be reached */
    uint64_t retry_at_ms; /* it has refused something */
    uint64_t next_number;
    gv_list_t records; /* by number */
    uint32_t unhanded; /* records that are not SENT */
    uint32_t writes;
    message_t *gathered; /* not in a record yet */
    size_t gathered_count;
    size_t gathered_capacity;
    size_t gathered_bytes;
    uint64_t messages; /* all that wait */
    uint64_t bytes;
};

struct gv_outbox {
    gv_store_t *store;
    gv_store_lane_t lane;
    uint64_t bytes_max;
    gv_outbox_ports_t ports;
    box_t **boxes;
    size_t box_count;
    struct {
        gv_node_id_t id;
        bool is_known;
        bool is_there;
    } nodes[GV_NODES_MAX];
    record_t **slots; /* SENT records */
    uint32_t slot_count;
    gv_list_t orphans; /* WRITING or LOADING, of boxes that are gone */
    gv_batch_t *deletes;
    bool is_failing; /* the last write failed: logged once */
    bool is_finished;
    gv_outbox_stats_t stats;
};

static uint64_t token_of(const record_t *record, uint32_t index)
{
    return GV_OUTBOX_TOKEN | (uint64_t)record->slot << 24 | index;
}

_Static_assert(RECORD_MESSAGES <= 1U << 24, "an index has 24 bits of a token");

/* ---- messages and records -------------------------------------------------------------------- */

static void drop_messages(message_t **messagesp, size_t count)
{
    for (size_t i = 0; *messagesp != NULL && i < count; i++) {
        gv_free((*messagesp)[i].body);
    }
    gv_free(*messagesp);
    *messagesp = NULL;
}

static record_t *record_new(box_t *box, gv_outbox_t *outbox, const gv_outbox_place_t *place)
{
    record_t *record = GV_NEW(record_t);
    record->outbox = outbox;
    record->box = box;
    record->place = *place;
    gv_list_append(&box->records, &record->link);
    box->unhanded++;
    if (place->number >= box->next_number) {
        box->next_number = place->number + 1;
    }
    return record;
}

static void record_free(record_t *record)
{
    gv_list_remove(&record->link);
    drop_messages(&record->messages, record->place.count);
    gv_free(record->done);
    gv_free(record);
}

static gv_batch_t *deletes(gv_outbox_t *outbox)
{
    if (outbox->deletes == NULL) {
        gv_batch_new(&outbox->deletes);
    }
    return outbox->deletes;
}

static void show(gv_outbox_t *outbox)
{
    uint64_t messages = 0;
    uint64_t bytes = 0;
    for (size_t i = 0; i < outbox->box_count; i++) {
        messages += outbox->boxes[i]->messages;
        bytes += outbox->boxes[i]->bytes;
    }
    gv_counter_set(&outbox->stats.messages, messages);
    gv_counter_set(&outbox->stats.bytes, bytes);
}

/* ---- boxes ----------------------------------------------------------------------------------- */

static box_t *find_box(const gv_outbox_t *outbox, const gv_node_id_t *id)
{
    for (size_t i = 0; i < outbox->box_count; i++) {
        if (memcmp(&outbox->boxes[i]->id, id, sizeof(*id)) == 0) {
            return outbox->boxes[i];
        }
    }
    return NULL;
}

static box_t *box_for(gv_outbox_t *outbox, const gv_node_id_t *id)
{
    box_t *box = find_box(outbox, id);
    if (box == NULL) {
        box = GV_NEW(box_t);
        box->id = *id;
        box->node = GV_NODE_NONE;
        /* Above all there ever were, also of this node before it was forgotten. */
        box->next_number = outbox->ports.realtime_ms(outbox->ports.arg) << 16;
        gv_list_init(&box->records);
        outbox->boxes =
            gv_xrealloc(outbox->boxes, (outbox->box_count + 1) * sizeof(outbox->boxes[0]));
        outbox->boxes[outbox->box_count++] = box;
    }
    return box;
}

static box_t *box_of_node(const gv_outbox_t *outbox, gv_node_index_t node)
{
    bool is_known = node < GV_NODES_MAX && outbox->nodes[node].is_known;
    return is_known ? find_box(outbox, &outbox->nodes[node].id) : NULL;
}

static void box_free(gv_outbox_t *outbox, box_t *box)
{
    for (gv_link_t *link; (link = gv_list_first(&box->records)) != NULL;) {
        record_free(gv_container_of(link, record_t, link));
    }
    drop_messages(&box->gathered, box->gathered_count);
    size_t at = 0;
    while (outbox->boxes[at] != box) {
        at++;
    }
    outbox->boxes[at] = outbox->boxes[--outbox->box_count];
    gv_free(box);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void refuse(gv_outbox_t *outbox, uint64_t token)
{
    gv_counter_add(&outbox->stats.refused, 1);
    outbox->ports.answered(outbox->ports.arg, token, true);
}

void gv_outbox_put(gv_outbox_t *outbox, gv_node_index_t node, const gv_forward_t *message,
                   uint64_t token)
{
    GV_ASSERT(node < GV_NODES_MAX);
    GV_ASSERT(outbox->nodes[node].is_known);
    gv_forward_t plain = *message;
    plain.shared_count = 0;
    size_t size = gv_forward_size(&plain);
    box_t *box = box_for(outbox, &outbox->nodes[node].id);
    box->node = node;
    box->is_there = outbox->nodes[node].is_there;
    if (outbox->is_finished || box->bytes + size > outbox->bytes_max ||
        gv_store_is_full(outbox->store)) {
        refuse(outbox, token);
        return;
    }
    if (box->gathered_count == box->gathered_capacity) {
        box->gathered_capacity = box->gathered_capacity == 0 ? 64 : box->gathered_capacity * 2;
        box->gathered = gv_xrealloc(box->gathered, box->gathered_capacity * sizeof(message_t));
    }
    message_t *kept = &box->gathered[box->gathered_count++];
    *kept = (message_t){.body = gv_xalloc(size), .size = size, .token = token};
    gv_forward_encode(&plain, kept->body, size);
    if (message->expiry_ms != GV_FORWARD_NO_EXPIRY) {
        kept->expires_at_ms = outbox->ports.realtime_ms(outbox->ports.arg) + message->expiry_ms;
    }
    box->gathered_bytes += size;
    box->messages++;
    box->bytes += size;
}

static void note_failure(gv_outbox_t *outbox, gv_err_t result)
{
    if (result != GV_OK && !outbox->is_failing) {
        gv_log_error("outbox_not_stored", "error='%s'", gv_err_text(result));
    }
    outbox->is_failing = result != GV_OK;
}

static void on_stored(gv_err_t result, void *arg)
{
    record_t *record = arg;
    gv_outbox_t *outbox = record->outbox;
    box_t *box = record->box;
    note_failure(outbox, result);
    for (uint32_t i = 0; i < record->place.count; i++) {
        gv_counter_add(result == GV_OK ? &outbox->stats.stored : &outbox->stats.refused, 1);
        outbox->ports.answered(outbox->ports.arg, record->messages[i].token, result != GV_OK);
    }
    if (box == NULL) {
        gv_outbox_record_delete(deletes(outbox), &record->place);
        record_free(record);
        return;
    }
    box->writes--;
    if (result != GV_OK) {
        box->messages -= record->place.count;
        box->bytes -= record->bytes;
        box->unhanded--;
        record_free(record);
        return;
    }
    record->state = RECORD_STORED;
    if (!box->is_there) {
        drop_messages(&record->messages, record->place.count);
    }
}

/* The first messages that were gathered become a record. */
static void write_some(gv_outbox_t *outbox, box_t *box)
{
    uint32_t count = 0;
    size_t bytes = 0;
    while (count < box->gathered_count && count < RECORD_MESSAGES &&
           (count == 0 || bytes + box->gathered[count].size <= RECORD_BYTES)) {
        bytes += box->gathered[count++].size;
    }
    gv_outbox_place_t place = {.number = box->next_number, .count = count};
    memcpy(place.node_id, box->id.bytes, sizeof(place.node_id));
    record_t *record = record_new(box, outbox, &place);
    record->state = RECORD_WRITING;
    record->bytes = bytes;
    record->messages = gv_xcalloc(count, sizeof(message_t));
    memcpy(record->messages, box->gathered, count * sizeof(message_t));
    box->gathered_count -= count;
    box->gathered_bytes -= bytes;
    memmove(box->gathered, box->gathered + count, box->gathered_count * sizeof(message_t));

    gv_outbox_message_t *views = gv_xcalloc(count, sizeof(*views));
    for (uint32_t i = 0; i < count; i++) {
        views[i] = (gv_outbox_message_t){
            .body = gv_bytes(record->messages[i].body, record->messages[i].size),
            .expires_at_ms = record->messages[i].expires_at_ms};
    }
    gv_batch_t *batch = NULL;
    gv_batch_new(&batch);
    gv_outbox_record_put(batch, &place, views);
    gv_free(views);
    box->writes++;
    gv_store_submit(&outbox->lane, &batch, on_stored, record);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void take_message(uint32_t index, const gv_outbox_message_t *message, void *arg)
{
    record_t *record = arg;
    message_t *kept = &record->messages[index];
    *kept = (message_t){.body = gv_xalloc(message->body.size),
                        .size = message->body.size,
                        .expires_at_ms = message->expires_at_ms};
    memcpy(kept->body, message->body.data, message->body.size);
}

/* What of a record is not done waits no more. */
static void count_out(record_t *record)
{
    uint64_t left = record->place.count;
    for (uint32_t i = 0; record->done != NULL && i < record->place.count; i++) {
        left -= record->done[i];
    }
    record->box->messages -= left;
    record->box->bytes -= record->bytes;
}

static void on_loaded(gv_err_t result, gv_msgbuf_t *value, void *arg)
{
    record_t *record = arg;
    gv_outbox_t *outbox = record->outbox;
    box_t *box = record->box;
    bool is_usable = box != NULL && box->is_there && !outbox->is_finished;
    if (!is_usable || result == GV_ERR_CLOSED || result == GV_ERR_NOMEM) {
        gv_msgbuf_unref(&value);
        record->state = RECORD_STORED;
        if (box == NULL) {
            record_free(record);
        }
        return;
    }
    if (result == GV_OK) {
        record->messages = gv_xcalloc(record->place.count, sizeof(message_t));
        result =
            gv_outbox_record_read(&record->place, gv_msgbuf_bytes(value), take_message, record);
    }
    gv_msgbuf_unref(&value);
    record->state = RECORD_STORED;
    if (result == GV_OK) {
        return;
    }
    /* It stays on the disk, as evidence; those behind it go on. */
    gv_key_t key;
    gv_outbox_key(&key, &record->place);
    gv_store_note_damaged(outbox->store, GV_TABLE_OUTBOX, gv_key_bytes(&key));
    gv_counter_add(&outbox->stats.lost, record->place.count);
    count_out(record);
    box->unhanded--;
    record_free(record);
}

static void load(gv_outbox_t *outbox, record_t *record)
{
    gv_key_t key;
    gv_outbox_key(&key, &record->place);
    record->state = RECORD_LOADING;
    gv_store_load(&outbox->lane, GV_TABLE_OUTBOX, gv_key_bytes(&key), on_loaded, record);
}

/* ---- handing over ---------------------------------------------------------------------------- */

static uint32_t take_slot(gv_outbox_t *outbox, record_t *record)
{
    uint32_t slot = 0;
    while (slot < outbox->slot_count && outbox->slots[slot] != NULL) {
        slot++; /* there are few: a window for each node */
    }
    if (slot == outbox->slot_count) {
        outbox->slot_count++;
        outbox->slots = gv_xrealloc(outbox->slots, outbox->slot_count * sizeof(outbox->slots[0]));
    }
    outbox->slots[slot] = record;
    return slot;
}

/* False: it is not worth sending, or cannot be read. */
static bool publish(gv_outbox_t *outbox, const box_t *box, const message_t *message, uint64_t token)
{
    uint64_t now_ms = outbox->ports.realtime_ms(outbox->ports.arg);
    if (message->expires_at_ms != 0 && message->expires_at_ms <= now_ms) {
        gv_counter_add(&outbox->stats.expired, 1);
        return false;
    }
    gv_forward_t forward;
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    if (gv_forward_decode(gv_bytes(message->body, message->size), shared, &forward) != GV_OK) {
        gv_counter_add(&outbox->stats.lost, 1);
        return false;
    }
    forward.expiry_ms =
        message->expires_at_ms == 0 ? GV_FORWARD_NO_EXPIRY : message->expires_at_ms - now_ms;
    outbox->ports.publish(outbox->ports.arg, &forward, box->node, token);
    return true;
}

/* All of it is done: it leaves the disk. */
static void finish(record_t *record)
{
    record->box->bytes -= record->bytes;
    gv_outbox_record_delete(deletes(record->outbox), &record->place);
    record_free(record);
}

static void set_done(record_t *record, uint32_t index)
{
    record->done[index] = true;
    record->box->messages--;
}

static void hand_over(gv_outbox_t *outbox, record_t *record)
{
    box_t *box = record->box;
    if (record->done == NULL) {
        record->done = gv_xcalloc(record->place.count, sizeof(bool));
    }
    record->state = RECORD_SENT;
    record->slot = take_slot(outbox, record);
    record->missing = 0;
    box->unhanded--;
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (record->done[i]) {
            continue;
        }
        if (publish(outbox, box, &record->messages[i], token_of(record, i))) {
            record->missing++;
        } else {
            set_done(record, i);
        }
    }
    drop_messages(&record->messages, record->place.count);
    if (record->missing == 0) {
        outbox->slots[record->slot] = NULL;
        finish(record);
    }
}

/* Records in order, as far as the window and the disk allow. */
static void hand_over_some(gv_outbox_t *outbox, box_t *box)
{
    uint32_t on_their_way = 0;
    bool is_in_order = true;
    gv_list_foreach_safe (&box->records, link) {
        record_t *record = gv_container_of(link, record_t, link);
        if (++on_their_way > GV_OUTBOX_WINDOW) {
            return;
        }
        if (record->state == RECORD_STORED && record->messages == NULL) {
            load(outbox, record);
        }
        if (record->state == RECORD_STORED && is_in_order) {
            hand_over(outbox, record);
        } else if (record->state != RECORD_SENT) {
            is_in_order = false;
        }
    }
}

/* Everything before it has been handed over: it need not be written. */
static void hand_over_gathered(gv_outbox_t *outbox, box_t *box)
{
    for (size_t i = 0; i < box->gathered_count; i++) {
        const message_t *message = &box->gathered[i];
        box->messages--;
        box->bytes -= message->size;
        if (!publish(outbox, box, message, message->token)) {
            outbox->ports.answered(outbox->ports.arg, message->token, false);
        }
    }
    drop_messages(&box->gathered, box->gathered_count);
    box->gathered_count = 0;
    box->gathered_capacity = 0;
    box->gathered_bytes = 0;
}

/* ---- confirmations --------------------------------------------------------------------------- */

void gv_outbox_on_confirmed(gv_outbox_t *outbox, uint64_t token, gv_forward_result_t result)
{
    uint32_t slot = (uint32_t)((token & ~GV_OUTBOX_TOKEN) >> 24);
    record_t *record = slot < outbox->slot_count ? outbox->slots[slot] : NULL;
    if (record == NULL) {
        return; /* its node has been forgotten meanwhile */
    }
    box_t *box = record->box;
    if (result == GV_FORWARD_APPLIED || result == GV_FORWARD_RETURNED) {
        gv_counter_add(&outbox->stats.sent, 1);
        set_done(record, (uint32_t)(token & 0xffffffU));
    } else if (result == GV_FORWARD_REFUSED || result == GV_FORWARD_FULL) {
        box->retry_at_ms = outbox->ports.monotonic_ms(outbox->ports.arg) + REFUSED_PAUSE_MS;
    }
    if (--record->missing > 0) {
        return;
    }
    outbox->slots[slot] = NULL;
    for (uint32_t i = 0; i < record->place.count; i++) {
        if (!record->done[i]) {
            record->state = RECORD_STORED; /* once more, what is not done of it */
            box->unhanded++;
            return;
        }
    }
    finish(record);
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void forget(gv_outbox_t *outbox, box_t *box)
{
    if (box->messages > 0) {
        gv_log_info("outbox_forgotten", "messages=%" PRIu64 " bytes=%" PRIu64, box->messages,
                    box->bytes);
    }
    gv_counter_add(&outbox->stats.lost, box->messages - box->gathered_count);
    for (size_t i = 0; i < box->gathered_count; i++) {
        outbox->ports.answered(outbox->ports.arg, box->gathered[i].token, false);
    }
    gv_list_foreach_safe (&box->records, link) {
        record_t *record = gv_container_of(link, record_t, link);
        if (record->state == RECORD_SENT) {
            outbox->slots[record->slot] = NULL;
        }
        if (record->state != RECORD_WRITING) {
            gv_outbox_record_delete(deletes(outbox), &record->place);
        }
        if (record->state == RECORD_WRITING || record->state == RECORD_LOADING) {
            gv_list_remove(link);
            record->box = NULL;
            gv_list_append(&outbox->orphans, link);
        }
    }
    box_free(outbox, box);
}

/* What is on disk is not kept in memory for a node that is away. */
static void drop_images(box_t *box)
{
    gv_list_foreach (&box->records, link) {
        record_t *record = gv_container_of(link, record_t, link);
        if (!box->is_there && record->state == RECORD_STORED) {
            drop_messages(&record->messages, record->place.count);
        }
    }
}

void gv_outbox_on_node(gv_outbox_t *outbox, gv_node_index_t node, const gv_node_id_t *id,
                       gv_node_event_t event)
{
    GV_ASSERT(node < GV_NODES_MAX);
    if (event != GV_NODE_FORGOTTEN) {
        outbox->nodes[node].id = *id;
        outbox->nodes[node].is_known = true;
    }
    outbox->nodes[node].is_there = event == GV_NODE_ROUTABLE;
    box_t *box = box_of_node(outbox, node);
    if (box != NULL) {
        box->node = node;
        box->is_there = event == GV_NODE_ROUTABLE;
        box->retry_at_ms = 0;
        drop_images(box);
    }
    if (event == GV_NODE_FORGOTTEN) {
        if (box != NULL) {
            forget(outbox, box);
        }
        outbox->nodes[node].is_known = false;
    }
}

bool gv_outbox_is_open(const gv_outbox_t *outbox, gv_node_index_t node)
{
    const box_t *box = outbox->box_count == 0 ? NULL : box_of_node(outbox, node);
    return box != NULL && (box->unhanded > 0 || box->gathered_count > 0);
}

void gv_outbox_waiting(const gv_outbox_t *outbox, gv_node_index_t node, uint64_t *messages_out,
                       uint64_t *bytes_out)
{
    const box_t *box = box_of_node(outbox, node);
    *messages_out = box != NULL ? box->messages : 0;
    *bytes_out = box != NULL ? box->bytes : 0;
}

/* ---- the turn -------------------------------------------------------------------------------- */

static void pump(gv_outbox_t *outbox, box_t *box)
{
    bool may_send =
        box->is_there && outbox->ports.monotonic_ms(outbox->ports.arg) >= box->retry_at_ms;
    if (may_send) {
        hand_over_some(outbox, box);
    }
    if (may_send && box->unhanded == 0) {
        hand_over_gathered(outbox, box);
    }
    bool may_hold =
        may_send && box->unhanded <= GV_OUTBOX_WINDOW && box->gathered_bytes <= HELD_BYTES_MAX;
    while (!may_hold && box->gathered_count > 0 && box->writes < WRITES_MAX) {
        write_some(outbox, box);
    }
}

static void on_deleted(gv_err_t result, void *arg)
{
    note_failure(arg, result); /* what was to go is sent again after a restart */
}

static void submit_deletes(gv_outbox_t *outbox)
{
    if (outbox->deletes != NULL) {
        gv_store_submit(&outbox->lane, &outbox->deletes, on_deleted, outbox);
    }
}

void gv_outbox_turn_end(gv_outbox_t *outbox)
{
    if (outbox->is_finished || (outbox->box_count == 0 && outbox->deletes == NULL)) {
        return;
    }
    for (size_t i = outbox->box_count; i-- > 0;) {
        box_t *box = outbox->boxes[i];
        pump(outbox, box);
        if (gv_list_is_empty(&box->records) && box->gathered_count == 0) {
            box_free(outbox, box);
        }
    }
    submit_deletes(outbox);
    show(outbox);
}

void gv_outbox_finish(gv_outbox_t *outbox)
{
    submit_deletes(outbox);
    outbox->is_finished = true; /* who waits for what was gathered is not told anything */
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv_outbox_new(const gv_outbox_options_t *options, gv_outbox_t **outbox_out)
{
    gv_outbox_t *outbox = GV_NEW(gv_outbox_t);
    outbox->store = options->store;
    outbox->bytes_max = options->bytes_max;
    outbox->ports = options->ports;
    gv_store_lane_init(&outbox->lane, options->store, options->post, options->post_arg);
    gv_list_init(&outbox->orphans);
    *outbox_out = outbox;
}

static gv_err_t take_record(const gv_outbox_place_t *place, size_t bytes, void *arg)
{
    gv_outbox_t *outbox = arg;
    gv_node_id_t id;
    memcpy(id.bytes, place->node_id, sizeof(id.bytes));
    box_t *box = box_for(outbox, &id);
    record_t *record = record_new(box, outbox, place);
    record->state = RECORD_STORED;
    record->bytes = bytes;
    box->messages += place->count;
    box->bytes += bytes;
    return GV_OK;
}

gv_err_t gv_outbox_load(gv_outbox_t *outbox)
{
    gv_err_t err = gv_outbox_record_scan(outbox->store, take_record, outbox);
    show(outbox);
    return err;
}

void gv_outbox_free(gv_outbox_t **outboxp)
{
    gv_outbox_t *outbox = *outboxp;
    *outboxp = NULL;
    if (gv_store_lane_pending(&outbox->lane) == 0 && gv_store_lane_loading(&outbox->lane) == 0) {
        gv_store_lane_deinit(&outbox->lane);
    } /* else the store has crashed (storage/mem_store.h), and its lanes with it */
    while (outbox->box_count > 0) {
        box_free(outbox, outbox->boxes[0]);
    }
    for (gv_link_t *link; (link = gv_list_first(&outbox->orphans)) != NULL;) {
        record_free(gv_container_of(link, record_t, link));
    }
    gv_batch_free(&outbox->deletes);
    gv_free(outbox->boxes);
    gv_free(outbox->slots);
    gv_free(outbox);
}

const gv_outbox_stats_t *gv_outbox_stats(const gv_outbox_t *outbox)
{
    return &outbox->stats;
}
