/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: origins - turns - what becomes of a turn - verdicts - nodes - the turn's end - life.
 *
 *     NEW -> open turn -> submitted -> durable: the cursors have moved
 *                                  \-> failed: and with it all that followed it; they are doomed
 */
#define GV_MEMORY_OF GV_MEMORY_LOG

#include "broker/core/inbox.h"

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "storage/link_store.h"

/* Another node, with what is known of it or on its way. */
typedef struct origin {
    gv_node_id_t id;
    gv_link_cursor_t durable;   /* number 0: none */
    gv_link_cursor_t submitted; /* where it will be when all is well */
    uint64_t since; /* it was forgotten before this turn; what older ones say is not for it */
    bool is_moved;  /* by the open turn */
    bool has_old;   /* it was forgotten, and a record may be there still */
} origin_t;

/* Where a turn moves a cursor; number 0: it goes. */
typedef struct move {
    gv_node_id_t id;
    gv_link_cursor_t to;
} move_t;

/* One batch, from the first that is new to the disk's answer. */
typedef struct turn {
    gv_link_t link; /* in inbox->submitted; the open one is in no list */
    gv_inbox_t *inbox;
    uint64_t number; /* rises by one from turn to turn */
    gv_batch_t *batch;
    bool is_doomed; /* it follows one that has failed, and will fail too */
    move_t *moves;
    size_t move_count;
    uint64_t *pending; /* tokens of messages that came again */
    size_t pending_count;
    size_t pending_capacity;
} turn_t;

struct gv_inbox {
    gv_store_t *store;
    gv_store_lane_t lane;
    void (*answered)(void *arg, uint64_t token, bool is_refused);
    void *arg;
    origin_t *origins;
    size_t origin_count;
    turn_t *open; /* or NULL */
    gv_list_t submitted;
    uint64_t turns;  /* that have been opened */
    bool is_failing; /* the last batch failed: logged once */
    bool is_finished;
};

/* ---- origins --------------------------------------------------------------------------------- */

static origin_t *find_origin(const gv_inbox_t *inbox, const gv_node_id_t *id)
{
    for (size_t i = 0; i < inbox->origin_count; i++) {
        if (memcmp(&inbox->origins[i].id, id, sizeof(*id)) == 0) {
            return &inbox->origins[i];
        }
    }
    return NULL;
}

static origin_t *origin_for(gv_inbox_t *inbox, const gv_node_id_t *id)
{
    origin_t *origin = find_origin(inbox, id);
    if (origin == NULL) {
        inbox->origins =
            gv_xrealloc(inbox->origins, (inbox->origin_count + 1) * sizeof(inbox->origins[0]));
        origin = &inbox->origins[inbox->origin_count++];
        *origin = (origin_t){.id = *id};
    }
    return origin;
}

/* Whether messages up to this one have been counted by the cursor; those of one run only can be. */
static bool has_passed(const gv_link_cursor_t *cursor, uint64_t run, uint64_t number)
{
    return cursor->run == run && number <= cursor->number;
}

/* Of which nothing is on the disk, or on its way there. */
static void drop_empty_origins(gv_inbox_t *inbox)
{
    for (size_t i = inbox->origin_count; i-- > 0;) {
        const origin_t *origin = &inbox->origins[i];
        if (origin->submitted.number == 0 && !origin->has_old) {
            inbox->origins[i] = inbox->origins[--inbox->origin_count];
        }
    }
}

/* ---- turns ----------------------------------------------------------------------------------- */

static const turn_t *newest_submitted(const gv_inbox_t *inbox)
{
    const turn_t *newest = NULL;
    gv_list_foreach (&inbox->submitted, link) {
        newest = gv_container_of(link, turn_t, link);
    }
    return newest;
}

/*
 * What the turn says builds on those before it.  That is settled when it begins: by its end they
 * may have failed, and been answered, and then nobody but the store remembers.
 */
static turn_t *open_turn(gv_inbox_t *inbox)
{
    if (inbox->open != NULL) {
        return inbox->open;
    }
    turn_t *turn = GV_NEW(turn_t);
    turn->inbox = inbox;
    turn->number = ++inbox->turns;
    gv_batch_new(&turn->batch);
    gv_batch_set_draining(turn->batch); /* whether there is room is the shards' question */
    const turn_t *before = newest_submitted(inbox);
    if (before != NULL && !before->is_doomed) {
        gv_batch_follow(turn->batch);
    }
    inbox->open = turn;
    return turn;
}

static void turn_free(turn_t *turn)
{
    gv_batch_free(&turn->batch);
    gv_free(turn->moves);
    gv_free(turn->pending);
    gv_free(turn);
}

/* The first turn that brings the cursor so far. */
static turn_t *turn_with(const gv_inbox_t *inbox, const origin_t *origin,
                         const gv_forward_exact_t *exact)
{
    gv_list_foreach (&inbox->submitted, link) {
        turn_t *turn = gv_container_of(link, turn_t, link);
        bool is_for_it = turn->number >= origin->since && !turn->is_doomed;
        for (size_t i = 0; is_for_it && i < turn->move_count; i++) {
            const move_t *move = &turn->moves[i];
            if (has_passed(&move->to, exact->run, exact->number) &&
                memcmp(&move->id, &origin->id, sizeof(move->id)) == 0) {
                return turn;
            }
        }
    }
    GV_ASSERT(inbox->open != NULL);
    GV_ASSERT(!inbox->open->is_doomed);
    return inbox->open;
}

static void add_pending(turn_t *turn, uint64_t token)
{
    if (turn->pending_count == turn->pending_capacity) {
        turn->pending_capacity = turn->pending_capacity == 0 ? 16 : turn->pending_capacity * 2;
        turn->pending = gv_xrealloc(turn->pending, turn->pending_capacity * sizeof(uint64_t));
    }
    turn->pending[turn->pending_count++] = token;
}

static void answer_pending(turn_t *turn, bool is_refused)
{
    const gv_inbox_t *inbox = turn->inbox;
    for (size_t i = 0; i < turn->pending_count; i++) {
        inbox->answered(inbox->arg, turn->pending[i], is_refused);
    }
    turn->pending_count = 0;
}

/* ---- what becomes of a turn ------------------------------------------------------------------ */

static void note_result(gv_inbox_t *inbox, gv_err_t result)
{
    bool is_failure = result != GV_OK && result != GV_ERR_CLOSED;
    if (is_failure && !inbox->is_failing) {
        gv_log_error("inbox_not_stored", "error='%s'", gv_err_text(result));
    }
    inbox->is_failing = is_failure;
}

static void take_moves(gv_inbox_t *inbox, const turn_t *turn)
{
    for (size_t i = 0; i < turn->move_count; i++) {
        origin_t *origin = find_origin(inbox, &turn->moves[i].id);
        if (origin != NULL && turn->number >= origin->since) {
            origin->durable = turn->moves[i].to;
            origin->has_old = false; /* it is gone, or written over */
        }
    }
    drop_empty_origins(inbox);
}

/* The cursors are back where the disk has them.  All on their way followed the one that failed. */
static void roll_back(gv_inbox_t *inbox)
{
    gv_list_foreach (&inbox->submitted, link) {
        gv_container_of(link, turn_t, link)->is_doomed = true;
    }
    if (inbox->open != NULL) {
        inbox->open->is_doomed = true;
    }
    for (size_t i = 0; i < inbox->origin_count; i++) {
        inbox->origins[i].submitted = inbox->origins[i].durable;
        inbox->origins[i].is_moved = false;
    }
    drop_empty_origins(inbox);
}

static void refuse_doomed(gv_inbox_t *inbox)
{
    gv_list_foreach (&inbox->submitted, link) {
        answer_pending(gv_container_of(link, turn_t, link), true);
    }
    if (inbox->open != NULL) {
        answer_pending(inbox->open, true);
    }
}

static void on_stored(gv_err_t result, void *arg)
{
    turn_t *turn = arg;
    gv_inbox_t *inbox = turn->inbox;
    GV_ASSERT(gv_list_first(&inbox->submitted) == &turn->link);
    GV_ASSERT(result != GV_OK || !turn->is_doomed);
    gv_list_remove(&turn->link);
    note_result(inbox, result);
    bool is_first_to_fail = result != GV_OK && !turn->is_doomed;
    if (result == GV_OK) {
        take_moves(inbox, turn);
    } else if (is_first_to_fail) {
        roll_back(inbox);
    }
    answer_pending(turn, result != GV_OK);
    turn_free(turn);
    if (is_first_to_fail) {
        refuse_doomed(inbox);
    }
}

/* ---- verdicts -------------------------------------------------------------------------------- */

gv_inbox_verdict_t gv_inbox_judge(gv_inbox_t *inbox, const gv_node_id_t *from,
                                  const gv_forward_exact_t *exact, uint64_t token)
{
    if (inbox->is_finished || exact->previous >= exact->number) {
        return GV_INBOX_REFUSED;
    }
    static const origin_t unknown;
    const origin_t *found = find_origin(inbox, from);
    const origin_t *origin = found != NULL ? found : &unknown;
    if (has_passed(&origin->durable, exact->run, exact->number)) {
        return GV_INBOX_KNOWN;
    }
    if (has_passed(&origin->submitted, exact->run, exact->number)) {
        add_pending(turn_with(inbox, origin, exact), token);
        return GV_INBOX_PENDING;
    }
    bool is_next =
        exact->previous == 0 || has_passed(&origin->submitted, exact->run, exact->previous);
    if (!is_next || (inbox->open != NULL && inbox->open->is_doomed)) {
        return GV_INBOX_REFUSED;
    }
    (void)open_turn(inbox);
    origin_t *moved = origin_for(inbox, from);
    moved->submitted = (gv_link_cursor_t){.run = exact->run, .number = exact->number};
    moved->is_moved = true;
    return GV_INBOX_NEW;
}

void gv_inbox_join(gv_inbox_t *inbox, uint64_t join)
{
    if (!inbox->is_finished) {
        gv_batch_join(open_turn(inbox)->batch, join, 2);
    }
}

/* ---- nodes ----------------------------------------------------------------------------------- */

void gv_inbox_forget(gv_inbox_t *inbox, const gv_node_id_t *node)
{
    origin_t *origin = find_origin(inbox, node);
    if (origin == NULL || inbox->is_finished) {
        return;
    }
    /*
     * What is on its way becomes durable, or not, as if nothing had happened, but its cursor does
     * not come back with it.  A deletion that fails is not tried at once: a disk that fails would
     * be kept busy with it.
     */
    origin->durable = (gv_link_cursor_t){.number = 0};
    origin->submitted = origin->durable;
    origin->since = open_turn(inbox)->number;
    origin->is_moved = false;
    origin->has_old = true;
}

/* ---- the turn's end -------------------------------------------------------------------------- */

/* False: this turn does not move it. */
static bool write_cursor(turn_t *turn, const origin_t *origin)
{
    if (origin->is_moved) {
        gv_link_record_put(turn->batch, origin->id.bytes, &origin->submitted);
    } else if (origin->has_old && origin->submitted.number == 0) {
        gv_link_record_delete(turn->batch, origin->id.bytes);
    } else {
        return false;
    }
    return true;
}

static void write_cursors(gv_inbox_t *inbox, turn_t *turn)
{
    turn->moves = gv_xcalloc(inbox->origin_count, sizeof(move_t));
    for (size_t i = 0; i < inbox->origin_count; i++) {
        origin_t *origin = &inbox->origins[i];
        if (write_cursor(turn, origin)) {
            turn->moves[turn->move_count++] = (move_t){.id = origin->id, .to = origin->submitted};
        }
        origin->is_moved = false;
    }
}

void gv_inbox_turn_end(gv_inbox_t *inbox)
{
    turn_t *turn = inbox->open;
    if (turn == NULL) {
        return;
    }
    inbox->open = NULL;
    if (!turn->is_doomed) {
        write_cursors(inbox, turn);
    } /* else it goes all the same: shards may wait for it with their parts */
    gv_list_append(&inbox->submitted, &turn->link);
    gv_store_submit(&inbox->lane, &turn->batch, on_stored, turn);
}

void gv_inbox_finish(gv_inbox_t *inbox)
{
    gv_inbox_turn_end(inbox);
    inbox->is_finished = true;
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv_inbox_new(const gv_inbox_options_t *options, gv_inbox_t **inbox_out)
{
    GV_ASSERT(options->answered != NULL);
    gv_inbox_t *inbox = GV_NEW(gv_inbox_t);
    inbox->store = options->store;
    inbox->answered = options->answered;
    inbox->arg = options->arg;
    gv_store_lane_init(&inbox->lane, options->store, options->post, options->post_arg);
    gv_list_init(&inbox->submitted);
    *inbox_out = inbox;
}

static gv_err_t take_record(const uint8_t *node_id, const gv_link_cursor_t *cursor, void *arg)
{
    gv_node_id_t id;
    memcpy(id.bytes, node_id, sizeof(id.bytes));
    origin_t *origin = origin_for(arg, &id);
    origin->durable = *cursor;
    origin->submitted = *cursor;
    return GV_OK;
}

gv_err_t gv_inbox_load(gv_inbox_t *inbox)
{
    GV_ASSERT(inbox->turns == 0);
    return gv_link_record_scan(inbox->store, take_record, inbox);
}

void gv_inbox_free(gv_inbox_t **inboxp)
{
    gv_inbox_t *inbox = *inboxp;
    *inboxp = NULL;
    if (gv_store_lane_pending(&inbox->lane) == 0) {
        gv_store_lane_deinit(&inbox->lane);
    } /* else the store has crashed (storage/mem_store.h), and its lanes with it */
    for (gv_link_t *link; (link = gv_list_take_first(&inbox->submitted)) != NULL;) {
        turn_free(gv_container_of(link, turn_t, link));
    }
    if (inbox->open != NULL) {
        turn_free(inbox->open);
    }
    gv_free(inbox->origins);
    gv_free(inbox);
}
