/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: sums - the floor - what is next - a round - digests - the turn's end - life.
 *
 *               digest sent          answered with sums
 *     IDLE ---------------> ASKED ----------------------> FETCHING
 *       ^                     |  the same, or no answer      |  all lists and copies have come,
 *       '---------------------'------------------------------'  or nothing comes any more
 */
#define GV_MEMORY_OF GV_MEMORY_RETAINED

#include "broker/core/reconcile.h"

#include "base/alloc.h"
#include "base/rng.h"
#include "broker/core/note.h"
#include "proto/cluster.pb-c.h"

/* Between two comparisons, while all is well [ms]; after a pass through all buckets that was of no
 * use it is doubled each time. */
#define PAUSE_MS     2000U
#define PAUSE_MAX_MS 64000U

/* Between the rounds of such a pass [ms]: a node that is full has something to look for in each. */
#define STEP_MS 250U

/* Nobody to ask is linked yet: try again [ms]. */
#define RETRY_MS 50U

/* How long an answer is waited for, and the next list or copy [ms]. */
#define ANSWER_MS   2000U
#define PROGRESS_MS 5000U

/* Stamps younger than this may belong to a write that is between two threads still. */
#define MARK_LAG ((uint64_t)10000 << 16)

/* Digests without an answer, after a start: it is an older version. */
#define UNANSWERED_MAX 2U

#define ARENA_MAX ((size_t)1 << 20)

typedef enum state {
    IDLE,
    ASKED,
    FETCHING,
} state_t;

typedef struct wish {
    gv_link_t link;
    uint64_t bytes;
    size_t size;
    uint8_t body[];
} wish_t;

struct gv_reconcile {
    gv_retained_common_t *common;
    bool (*note)(void *arg, gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body);
    uint64_t (*members)(void *arg);
    void *arg;
    gv_rng_t rng;
    gv_arena_t arena;
    gv_reconcile_stats_t stats;
    uint64_t now_ms;
    uint64_t realtime_ms;
    uint64_t alive;   /* masks of nodes: that are there, ... */
    uint64_t apart;   /* ... that had something else, ... */
    uint64_t answers; /* ... that are owed an answer, ... */
    uint64_t sums;    /* ... with the sums */

    state_t state;
    gv_node_index_t peer;
    gv_node_index_t next_peer; /* preferred; GV_NODE_NONE: any */
    uint64_t next_ms;
    uint64_t pause_ms;
    uint64_t progress_ms;
    uint32_t unanswered;
    bool has_arrived;

    /* the round */
    uint32_t asks[GV_RECONCILE_BUCKETS]; /* buckets to be asked for */
    uint32_t ask_count;
    uint32_t lists_left;
    uint32_t copies_left;
    uint32_t copies_come;
    uint64_t bytes_out;    /* wanted and not here yet */
    uint64_t total_before; /* our sum, when it began */
    gv_list_t wishes;      /* not sent yet */
    uint32_t cursor;       /* the next bucket to look at */
    uint32_t pass_left;    /* buckets until all have been gone through */

    /* the floor */
    uint64_t mark;     /* that is to become the floor; 0: none yet */
    uint64_t mark_for; /* mask of the nodes that were known when it was set */
    uint64_t equal;    /* mask of nodes that had the same, with their clocks beyond the mark */
    bool is_known; /* we know what was written up to the mark; `equal` is of those who do, too */
};

/* ---- sums ------------------------------------------------------------------------------------ */

static uint64_t sum_of(const gv_reconcile_t *r, uint32_t bucket)
{
    return atomic_load_explicit(&r->common->sums[bucket], memory_order_relaxed);
}

static uint64_t total_of(const gv_reconcile_t *r)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
        total += sum_of(r, i);
    }
    return total;
}

static uint64_t bit_of(gv_node_index_t node)
{
    return (uint64_t)1 << node;
}

/* ---- the floor ------------------------------------------------------------------------------- */

/* What is written here from now on, and has not got into the sums yet, has a higher stamp. */
static uint64_t mark_of(const gv_reconcile_t *r)
{
    uint64_t now = gv_hlc_now(&r->common->clock, r->realtime_ms);
    return now > MARK_LAG ? now - MARK_LAG : 0;
}

static void raise_floor(gv_reconcile_t *r, uint64_t floor)
{
    if (floor > atomic_load_explicit(&r->common->floor, memory_order_relaxed)) {
        (void)gv_hlc_follow(&r->common->clock, floor, r->realtime_ms);
        atomic_store_explicit(&r->common->floor, floor, memory_order_relaxed);
    }
}

/* Somebody remembers who belongs to the cluster since then. */
static void lower_horizon(gv_reconcile_t *r, uint64_t horizon)
{
    if (horizon < atomic_load_explicit(&r->common->horizon, memory_order_relaxed)) {
        atomic_store_explicit(&r->common->horizon, horizon, memory_order_relaxed);
    }
}

static void begin_mark(gv_reconcile_t *r)
{
    r->mark = mark_of(r);
    r->mark_for = r->members(r->arg);
    r->equal = 0;
    r->is_known = false;
}

static void found_equal(gv_reconcile_t *r, gv_node_index_t node, uint64_t its_mark)
{
    uint64_t members = r->members(r->arg);
    if (r->mark == 0 || (members & ~r->mark_for) != 0) {
        begin_mark(r);
    }
    if (its_mark < r->mark) {
        return;
    }
    r->equal |= bit_of(node);
    if ((members & ~r->equal) != 0) {
        return;
    }
    if (r->is_known) {
        raise_floor(r, r->mark);
        begin_mark(r);
    } else {
        r->is_known = true;
        r->equal = 0;
    }
}

/* ---- what is next ---------------------------------------------------------------------------- */

static void rest(gv_reconcile_t *r, uint64_t ms)
{
    r->state = IDLE;
    r->next_ms = r->now_ms + ms;
}

/* Somebody with a link: the preferred one, one that differs, or any. */
static gv_node_index_t pick(gv_reconcile_t *r)
{
    uint64_t from = r->alive & r->apart;
    from = from != 0 && gv_rng_chance(&r->rng, 50) ? from : r->alive;
    if (r->next_peer != GV_NODE_NONE && (r->alive & bit_of(r->next_peer)) != 0) {
        from = bit_of(r->next_peer);
    }
    r->next_peer = GV_NODE_NONE;
    uint32_t skip = gv_rng_below(&r->rng, (uint32_t)__builtin_popcountll(from));
    for (; skip > 0; skip--) {
        from &= from - 1;
    }
    return (gv_node_index_t)__builtin_ctzll(from);
}

/* ---- a round --------------------------------------------------------------------------------- */

static void drop_wishes(gv_reconcile_t *r)
{
    for (gv_link_t *link; (link = gv_list_take_first(&r->wishes)) != NULL;) {
        gv_free(gv_container_of(link, wish_t, link));
    }
}

/* The round is over.  A pass that has changed nothing here is not tried again so soon. */
static void end_round(gv_reconcile_t *r)
{
    bool is_useful = r->copies_come > 0 && total_of(r) != r->total_before;
    drop_wishes(r);
    r->ask_count = 0;
    r->has_arrived |= r->pass_left == 0;
    if (is_useful) {
        r->pause_ms = PAUSE_MS;
        r->next_peer = r->peer;
        rest(r, 0);
    } else if (r->pass_left > 0) {
        r->next_peer = r->peer;
        rest(r, STEP_MS);
    } else {
        rest(r, r->pause_ms);
        r->pause_ms = r->pause_ms * 2 < PAUSE_MAX_MS ? r->pause_ms * 2 : PAUSE_MAX_MS;
    }
}

static void end_round_if_done(gv_reconcile_t *r)
{
    if (r->lists_left == 0 && r->copies_left == 0) {
        end_round(r);
    }
}

static void begin_round(gv_reconcile_t *r, const uint64_t *sums)
{
    r->state = FETCHING;
    r->progress_ms = r->now_ms;
    r->ask_count = 0;
    r->copies_left = 0;
    r->copies_come = 0;
    r->bytes_out = 0;
    r->total_before = total_of(r);
    if (r->pass_left == 0) {
        r->pass_left = GV_RETAINED_BUCKETS;
    }
    for (; r->pass_left > 0 && r->ask_count < GV_RECONCILE_BUCKETS; r->pass_left--) {
        uint32_t bucket = r->cursor;
        r->cursor = (r->cursor + 1) % GV_RETAINED_BUCKETS;
        if (sums[bucket] != sum_of(r, bucket)) {
            r->asks[r->ask_count++] = bucket;
        }
    }
    r->lists_left = r->ask_count;
    gv_counter_add(&r->stats.differences, r->ask_count);
    end_round_if_done(r);
}

void gv_reconcile_on_wish(gv_reconcile_t *r, const gv_reconcile_wish_t *wish)
{
    if (r->state != FETCHING || wish->node != r->peer) {
        return; /* of a round that is over */
    }
    r->progress_ms = r->now_ms;
    r->lists_left -= wish->is_last && r->lists_left > 0;
    if (wish->is_cut) {
        r->pass_left = GV_RETAINED_BUCKETS; /* to be gone through once more */
    }
    if (wish->count > 0) {
        wish_t *copy = gv_xalloc(sizeof(*copy) + wish->body.size);
        *copy = (wish_t){.bytes = wish->bytes, .size = wish->body.size};
        memcpy(copy->body, wish->body.data, wish->body.size);
        gv_list_append(&r->wishes, &copy->link);
        r->copies_left += wish->count;
    }
    end_round_if_done(r);
}

void gv_reconcile_on_copy(gv_reconcile_t *r, gv_node_index_t from, uint64_t bytes)
{
    gv_counter_add(&r->stats.fetched, 1);
    if (r->state != FETCHING || from != r->peer || r->copies_left == 0) {
        return;
    }
    r->progress_ms = r->now_ms;
    r->copies_left--;
    r->copies_come++;
    r->bytes_out = bytes < r->bytes_out ? r->bytes_out - bytes : 0;
    end_round_if_done(r);
}

/* ---- digests --------------------------------------------------------------------------------- */

static void set_apart(gv_reconcile_t *r, gv_node_index_t node, bool is_apart)
{
    r->apart = is_apart ? r->apart | bit_of(node) : r->apart & ~bit_of(node);
    gv_counter_set(&r->stats.nodes_apart, (uint64_t)__builtin_popcountll(r->apart & r->alive));
}

/* An answer to what we have asked. */
static void on_answer(gv_reconcile_t *r, const Gv__RetainedDigest *digest, bool is_equal)
{
    r->unanswered = 0;
    gv_counter_add(&r->stats.compared, 1);
    if (is_equal) {
        r->has_arrived = true;
        r->pause_ms = PAUSE_MS;
        rest(r, PAUSE_MS);
    } else if (digest->n_sums == GV_RETAINED_BUCKETS) {
        begin_round(r, digest->sums);
    } else {
        rest(r, r->pause_ms);
    }
}

static void take_digest(gv_reconcile_t *r, gv_node_index_t from, const Gv__RetainedDigest *digest)
{
    bool is_equal = digest->total == total_of(r);
    raise_floor(r, digest->floor);
    if (digest->horizon != 0) {
        lower_horizon(r, digest->horizon);
    }
    set_apart(r, from, !is_equal);
    if (is_equal) {
        found_equal(r, from, digest->mark);
    }
    if (digest->answer) {
        if (r->state == ASKED && from == r->peer) {
            on_answer(r, digest, is_equal);
        }
        return;
    }
    r->answers |= bit_of(from);
    r->sums = is_equal ? r->sums & ~bit_of(from) : r->sums | bit_of(from);
    if (!is_equal && r->state == IDLE && r->next_ms > r->now_ms + r->pause_ms) {
        r->next_ms = r->now_ms + r->pause_ms;
    }
}

bool gv_reconcile_on_digest(gv_reconcile_t *r, gv_node_index_t from, gv_bytes_t body)
{
    ProtobufCAllocator allocator = gv_arena_allocator(&r->arena);
    const Gv__RetainedDigest *digest =
        gv__retained_digest__unpack(&allocator, body.size, body.data);
    bool is_sound = digest != NULL && digest->mark < GV_HLC_MAX && digest->floor < GV_HLC_MAX;
    if (is_sound) {
        take_digest(r, from, digest);
    }
    gv_arena_reset(&r->arena);
    return is_sound;
}

static bool send_digest(gv_reconcile_t *r, gv_node_index_t to, bool is_answer, bool has_sums)
{
    uint64_t *sums = NULL;
    Gv__RetainedDigest digest = GV__RETAINED_DIGEST__INIT;
    digest.mark = mark_of(r); /* before the sums are read */
    /* It holds even if the clock is set back now. */
    (void)gv_hlc_follow(&r->common->clock, digest.mark, r->realtime_ms);
    digest.floor = atomic_load_explicit(&r->common->floor, memory_order_relaxed);
    digest.horizon = atomic_load_explicit(&r->common->horizon, memory_order_relaxed);
    digest.total = total_of(r);
    digest.answer = is_answer;
    if (has_sums) {
        sums = gv_xcalloc(GV_RETAINED_BUCKETS, sizeof(*sums));
        for (uint32_t i = 0; i < GV_RETAINED_BUCKETS; i++) {
            sums[i] = sum_of(r, i);
        }
        digest.n_sums = GV_RETAINED_BUCKETS;
        digest.sums = sums;
    }
    size_t size = gv__retained_digest__get_packed_size(&digest);
    uint8_t *packed = gv_xalloc(size + 1);
    (void)gv__retained_digest__pack(&digest, packed);
    bool is_sent = r->note(r->arg, to, GV_FRAME_RETAINED_DIGEST, gv_bytes(packed, size));
    gv_free(packed);
    gv_free(sums);
    return is_sent;
}

/* ---- the turn's end -------------------------------------------------------------------------- */

static void send_answers(gv_reconcile_t *r)
{
    for (uint64_t left = r->answers; left != 0; left &= left - 1) {
        gv_node_index_t node = (gv_node_index_t)__builtin_ctzll(left);
        (void)send_digest(r, node, true, (r->sums & bit_of(node)) != 0);
    }
    r->answers = 0;
}

static void send_asks(gv_reconcile_t *r)
{
    for (uint32_t i = 0; i < r->ask_count; i++) {
        gv_note_t note = {.bucket = r->asks[i]};
        size_t size = 0;
        uint8_t *packed = gv_note_pack(&note, true, &size);
        (void)r->note(r->arg, r->peer, GV_FRAME_RETAINED_ASK, gv_bytes(packed, size));
        gv_free(packed);
    }
    r->ask_count = 0;
}

static void send_wishes(gv_reconcile_t *r)
{
    for (gv_link_t *link; (link = gv_list_first(&r->wishes)) != NULL;) {
        wish_t *wish = gv_container_of(link, wish_t, link);
        if (r->bytes_out > 0 && r->bytes_out + wish->bytes > GV_RECONCILE_BYTES) {
            return;
        }
        r->bytes_out += wish->bytes;
        (void)r->note(r->arg, r->peer, GV_FRAME_RETAINED_WANT, gv_bytes(wish->body, wish->size));
        gv_list_remove(link);
        gv_free(wish);
    }
}

static void ask(gv_reconcile_t *r)
{
    r->peer = pick(r);
    if (!send_digest(r, r->peer, false, false)) {
        rest(r, RETRY_MS);
        return;
    }
    r->state = ASKED;
    r->progress_ms = r->now_ms;
}

static void give_up(gv_reconcile_t *r)
{
    r->unanswered++;
    r->has_arrived |= r->unanswered >= UNANSWERED_MAX;
    rest(r, r->has_arrived ? r->pause_ms : 0);
}

void gv_reconcile_turn_end(gv_reconcile_t *r, uint64_t now_ms, uint64_t realtime_ms)
{
    r->now_ms = now_ms;
    r->realtime_ms = realtime_ms;
    send_answers(r);
    if (r->state == ASKED && now_ms >= r->progress_ms + ANSWER_MS) {
        give_up(r);
    }
    if (r->state == FETCHING) {
        send_asks(r);
        send_wishes(r);
        if (now_ms >= r->progress_ms + PROGRESS_MS) {
            end_round(r);
        }
    }
    if (r->state == IDLE && r->alive != 0 && now_ms >= r->next_ms) {
        ask(r);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void gv_reconcile_on_node(gv_reconcile_t *r, gv_node_index_t node, gv_node_event_t event)
{
    uint64_t bit = bit_of(node);
    r->alive = event == GV_NODE_ROUTABLE ? r->alive | bit : r->alive & ~bit;
    if (event == GV_NODE_FORGOTTEN) {
        r->mark_for &= ~bit; /* another one may get its number */
        r->equal &= ~bit;
    }
    if (event == GV_NODE_ROUTABLE) {
        r->next_peer = node;
        r->pause_ms = PAUSE_MS;
        r->next_ms = r->state == IDLE ? 0 : r->next_ms;
    } else {
        r->answers &= ~bit;
        set_apart(r, node, false);
        if (r->state != IDLE && r->peer == node) {
            drop_wishes(r);
            rest(r, 0);
        }
    }
}

bool gv_reconcile_has_arrived(const gv_reconcile_t *r)
{
    return r->has_arrived || r->alive == 0;
}

const gv_reconcile_stats_t *gv_reconcile_stats(const gv_reconcile_t *r)
{
    return &r->stats;
}

void gv_reconcile_new(const gv_reconcile_options_t *options, gv_reconcile_t **reconcile_out)
{
    gv_reconcile_t *r = GV_NEW(gv_reconcile_t);
    r->common = options->common;
    r->note = options->note;
    r->members = options->members;
    r->arg = options->arg;
    r->next_peer = GV_NODE_NONE;
    r->pause_ms = PAUSE_MS;
    gv_rng_init(&r->rng, options->random_seed, 2);
    gv_arena_init(&r->arena, ARENA_MAX);
    gv_list_init(&r->wishes);
    *reconcile_out = r;
}

void gv_reconcile_free(gv_reconcile_t **reconcilep)
{
    gv_reconcile_t *r = *reconcilep;
    *reconcilep = NULL;
    drop_wishes(r);
    gv_arena_deinit(&r->arena);
    gv_free(r);
}
