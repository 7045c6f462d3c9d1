/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/core_p.h"

/*
 * Our copies of the others' tables.
 *
 * Rows come in pieces: pushed by their owner, or as answers to our requests, from whoever holds the
 * table.  A piece of a delta is applied to the live table unless it begins after our version (a
 * gap); a piece of a snapshot goes to a staged table, which replaces the live one at once when the
 * last piece has come.  A digest (versions and hashes of all tables) goes to a random peer every
 * second, and tells what to ask for; that is how tables cross a cut link through a third node.
 *
 * A piece that is not the last one leaves a table behind that its owner never had: rows that have
 * moved to a later number are missing.  So such a table is incomplete until it has reached the
 * version its sender had (`target_seq`); it is neither compared nor passed on until then.  If that
 * version is lost for ever, because its owner died, a snapshot of an older one takes its place.
 *
 * Parts of this file: life - applying pieces - snapshots - requests and answers - digests.
 */

#define PULL_PATIENCE_MS 1000U
/* How long we leave it to a linked owner to push what we heard of elsewhere. */
#define OWNER_PATIENCE_MS 500U
/* After so long without progress an incomplete table is given up for any complete one. */
#define STUCK_MS 3000U

typedef enum piece_outcome {
    PIECE_APPLIED,
    PIECE_USELESS, /* nothing new in it */
    PIECE_GAP,     /* does not begin where we are */
    PIECE_BAD,     /* breaks a rule or a limit */
} piece_outcome_t;

/* ---- life ---------------------------------------------------------------------------------------
 */

void gv__replica_init(gv_ccore_t *core, gv_replica_t *replica)
{
    gv_table_init(&replica->table, core->table_seed);
    replica->pull_from = GV_NODE_NONE;
}

static void drop_staged(gv_replica_t *replica)
{
    if (replica->staged != NULL) {
        gv_table_deinit(replica->staged);
        gv_free(replica->staged);
        replica->staged = NULL;
    }
}

void gv__replica_deinit(gv_replica_t *replica)
{
    drop_staged(replica);
    gv_table_deinit(&replica->table);
}

void gv__replica_purge(gv_ccore_t *core, gv_member_t *owner)
{
    gv_replica_t *replica = &owner->replica;
    gv_table_t *table = &replica->table;
    for (gv_row_t *row = gv_table_after(table, 0); row != NULL; row = gv_table_next(table, row)) {
        if (row->value != 0) {
            core->ports.row(owner->index, gv_row_key(row), 0, core->ports.arg);
        }
    }
    gv_incarnation_t incarnation = table->incarnation;
    uint64_t seq = table->seq;
    drop_staged(replica);
    gv_table_clear(table);
    if (core->switches.purge_keeps_version) {
        table->incarnation = incarnation;
        table->seq = seq;
        return;
    }
    replica->is_complete = false;
    replica->wants_snapshot = false;
    replica->target_seq = 0;
}

/* ---- applying pieces
 * ------------------------------------------------------------------------------ */

static bool is_over_limit(const gv_ccore_t *core, const gv_table_t *table)
{
    return table->live_count + table->tombstone_count > core->limits.table_rows ||
           gv_table_bytes(table) > core->limits.table_bytes;
}

/* Puts the piece's rows that are newer than the table into it; the host hears of live ones. */
static bool put_rows(gv_ccore_t *core, const gv_member_t *owner, gv_table_t *table,
                     const Gv__TablePiece *msg)
{
    bool is_live = table == &owner->replica.table;
    uint64_t before_seq = msg->from_seq;
    for (size_t i = 0; i < msg->n_rows; i++) {
        const Gv__Row *row = msg->rows[i];
        gv_bytes_t key = gv_bytes(row->key.data, row->key.len);
        if (key.size == 0 || key.size > GV_ROUTE_KEY_MAX || row->seq <= before_seq ||
            row->seq > msg->to_seq) {
            return false;
        }
        before_seq = row->seq;
        if (row->seq <= table->seq) {
            continue;
        }
        uint32_t before;
        if (gv_table_put(table, key, row->value, row->seq, &before) != GV_OK ||
            is_over_limit(core, table)) {
            return false;
        }
        if (is_live && before != row->value) {
            core->ports.row(owner->index, key, row->value, core->ports.arg);
        }
    }
    if (table->seq < msg->to_seq) {
        table->seq = msg->to_seq;
    }
    gv_table_trim(table, core->limits.tombstones, core->switches.tombstones_keep_floor);
    return true;
}

/* Equal versions must have equal rows.  If not, that is a bug somewhere: say so, and start anew. */
static void mismatch(gv_ccore_t *core, gv_member_t *owner)
{
    core->stats.table_mismatches++;
    owner->replica.wants_snapshot = true;
    gv__report(core, GV_CCORE_EVENT_TABLE_MISMATCH,
               "routes of '%s' at seq %" PRIu64 " differ from the owner's: taking a snapshot",
               owner->name, owner->replica.table.seq);
}

static void check_hash(gv_ccore_t *core, gv_member_t *owner, const Gv__TablePiece *msg)
{
    gv_replica_t *replica = &owner->replica;
    if (msg->to_seq == replica->table.seq && replica->table.hash != msg->hash) {
        mismatch(core, owner);
    }
}

static piece_outcome_t apply_delta(gv_ccore_t *core, gv_member_t *owner,
                                   gv_incarnation_t incarnation, const Gv__TablePiece *msg)
{
    gv_replica_t *replica = &owner->replica;
    gv_table_t *table = &replica->table;
    if (gv_incarnation_compare(incarnation, table->incarnation) != 0) {
        return PIECE_GAP;
    }
    if (msg->from_seq > table->seq && !core->switches.accept_delta_across_gap) {
        return PIECE_GAP;
    }
    if (msg->to_seq < table->seq || (msg->to_seq == table->seq && replica->is_complete)) {
        return PIECE_USELESS;
    }
    if (!put_rows(core, owner, table, msg)) {
        return PIECE_BAD;
    }
    if (msg->sender_seq > replica->target_seq) {
        replica->target_seq = msg->sender_seq;
    }
    replica->is_complete = msg->last && table->seq >= replica->target_seq;
    if (replica->is_complete) {
        check_hash(core, owner, msg);
    }
    return PIECE_APPLIED;
}

/* ---- snapshots
 * ------------------------------------------------------------------------------------ */

/* Tells the host what is different in `next`. */
static void tell_differences(gv_ccore_t *core, const gv_member_t *owner, const gv_table_t *next)
{
    const gv_table_t *table = &owner->replica.table;
    for (gv_row_t *row = gv_table_after(table, 0); row != NULL; row = gv_table_next(table, row)) {
        const gv_row_t *kept = gv_table_find(next, gv_row_key(row));
        if (row->value != 0 && (kept == NULL || kept->value == 0)) {
            core->ports.row(owner->index, gv_row_key(row), 0, core->ports.arg);
        }
    }
    for (gv_row_t *row = gv_table_after(next, 0); row != NULL; row = gv_table_next(next, row)) {
        const gv_row_t *before = gv_table_find(table, gv_row_key(row));
        if (row->value != 0 && (before == NULL || before->value != row->value)) {
            core->ports.row(owner->index, gv_row_key(row), row->value, core->ports.arg);
        }
    }
}

/* Breaks the rule that a snapshot replaces: rows that are not in it stay.  For tests. */
static void merge_into(const gv_ccore_t *core, const gv_table_t *old, gv_table_t *staged)
{
    gv_table_t merged;
    uint32_t before;
    gv_table_init(&merged, core->table_seed);
    for (gv_row_t *row = gv_table_after(old, 0); row != NULL; row = gv_table_next(old, row)) {
        if (row->value != 0 && gv_table_find(staged, gv_row_key(row)) == NULL) {
            GV_ASSERT(gv_table_put(&merged, gv_row_key(row), row->value, 1, &before) == GV_OK);
        }
    }
    for (gv_row_t *row = gv_table_after(staged, 0); row != NULL; row = gv_table_next(staged, row)) {
        GV_ASSERT(gv_table_put(&merged, gv_row_key(row), row->value, row->seq, &before) == GV_OK);
    }
    merged.incarnation = staged->incarnation;
    merged.seq = staged->seq;
    merged.floor = staged->floor;
    gv_table_deinit(staged);
    *staged = merged;
}

static void take_snapshot(gv_ccore_t *core, gv_member_t *owner, const Gv__TablePiece *msg)
{
    gv_replica_t *replica = &owner->replica;
    gv_table_t *staged = replica->staged;
    replica->staged = NULL;
    /* The sender may have dropped tombstones up to its floor before it sent us anything. */
    if (staged->floor < msg->floor) {
        staged->floor = msg->floor;
    }
    if (core->switches.snapshot_merges) {
        merge_into(core, &replica->table, staged);
    }
    tell_differences(core, owner, staged);
    gv_table_deinit(&replica->table);
    replica->table = *staged;
    gv_free(staged);
    replica->is_complete = true;
    replica->target_seq = 0;
    replica->wants_snapshot = false;
    core->stats.table_snapshots++;
    check_hash(core, owner, msg);
}

static void begin_staging(gv_ccore_t *core, gv_replica_t *replica, gv_incarnation_t incarnation)
{
    drop_staged(replica);
    replica->staged = GV_NEW(gv_table_t);
    gv_table_init(replica->staged, core->table_seed);
    replica->staged->incarnation = incarnation;
    replica->staged_target_seq = 0;
}

/*
 * Two snapshots may come at once, pushed by the owner and asked of another.  A sender with an older
 * table than the one that began would bring back rows that were withdrawn in between; one that has
 * dropped tombstones since then would leave such rows in.
 */
static bool fits_staged(const gv_replica_t *replica, const Gv__TablePiece *msg)
{
    return msg->sender_seq >= replica->staged_begin_seq && msg->floor <= replica->staged_begin_seq;
}

static piece_outcome_t stage(gv_ccore_t *core, gv_member_t *owner, gv_incarnation_t incarnation,
                             const Gv__TablePiece *msg)
{
    gv_replica_t *replica = &owner->replica;
    int order = gv_incarnation_compare(incarnation, replica->table.incarnation);
    if (order < 0) {
        return PIECE_GAP;
    }
    if (msg->from_seq == 0) {
        begin_staging(core, replica, incarnation);
        replica->staged_begin_seq = msg->sender_seq;
    }
    gv_table_t *staged = replica->staged;
    if (staged == NULL || gv_incarnation_compare(incarnation, staged->incarnation) != 0 ||
        msg->from_seq > staged->seq || !fits_staged(replica, msg)) {
        return PIECE_GAP;
    }
    if (!put_rows(core, owner, staged, msg)) {
        drop_staged(replica);
        return PIECE_BAD;
    }
    if (msg->sender_seq > replica->staged_target_seq) {
        replica->staged_target_seq = msg->sender_seq;
    }
    if (!msg->last) {
        return PIECE_APPLIED;
    }
    if (staged->seq < replica->staged_target_seq) {
        return PIECE_USELESS; /* begun by a sender with a newer version: that one is needed */
    }
    if (order == 0 && staged->seq < replica->table.seq && replica->is_complete) {
        /* Deltas have overtaken it. */
        if (!replica->wants_snapshot) {
            drop_staged(replica);
        }
        return PIECE_USELESS;
    }
    take_snapshot(core, owner, msg);
    return PIECE_APPLIED;
}

/* ---- pieces, requests, answers
 * -------------------------------------------------------------------- */

static void ask(gv_ccore_t *core, gv_member_t *owner, const gv_member_t *holder)
{
    gv_replica_t *replica = &owner->replica;
    if (holder->active == NULL) {
        return;
    }
    Gv__TableRequest request = GV__TABLE_REQUEST__INIT;
    const gv_table_t *from = replica->staged != NULL ? replica->staged : &replica->table;
    request.owner_id = gv_codec_put_id(&owner->id);
    request.start_counter = from->incarnation.start_counter;
    request.boot_id = from->incarnation.boot_id;
    request.from_seq = from->seq;
    request.staged = replica->staged != NULL;
    request.staged_begin_seq = replica->staged != NULL ? replica->staged_begin_seq : 0;
    request.snapshot = replica->wants_snapshot && replica->staged == NULL;
    gv__send(core, holder->active, GV_FRAME_TABLE_REQUEST, &request.base);
    replica->pull_from = holder->index;
    replica->pull_until_ms = core->now_ms + PULL_PATIENCE_MS;
}

static bool is_piece_valid(const Gv__TablePiece *msg)
{
    return msg->start_counter <= GV_COUNTER_MAX && msg->to_seq <= GV_COUNTER_MAX &&
           msg->from_seq <= msg->to_seq && msg->sender_seq <= GV_COUNTER_MAX &&
           msg->sender_seq >= msg->to_seq && (!msg->last || msg->floor <= msg->to_seq);
}

bool gv__on_table_piece(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TablePiece *msg,
                        bool is_answer)
{
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->owner_id, &id) || !is_piece_valid(msg)) {
        return false;
    }
    gv_member_t *owner = gv__member_by_id(core, &id);
    gv_member_t *sender = link->member;
    if (!is_answer && owner != sender) {
        return false; /* only owners push */
    }
    if (owner == NULL || owner->index == GV_NODE_SELF || owner->replica.is_purged ||
        (is_answer && owner->replica.pull_from != sender->index)) {
        return true;
    }
    gv_replica_t *replica = &owner->replica;
    gv_incarnation_t incarnation = {msg->start_counter, msg->boot_id};
    piece_outcome_t outcome = msg->snapshot ? stage(core, owner, incarnation, msg)
                                            : apply_delta(core, owner, incarnation, msg);
    replica->ack_due = true;
    if (outcome == PIECE_BAD) {
        return false;
    }
    if (outcome == PIECE_APPLIED) {
        core->stats.table_pieces_applied++;
        replica->progress_ms = core->now_ms;
        replica->behind_ms = 0;
        replica->notice_due = replica->is_complete;
        replica->relayed_ack_due = replica->is_complete;
    }
    if (outcome == PIECE_GAP) {
        core->stats.table_pieces_refused++;
        replica->ack_resync = replica->ack_resync || !is_answer;
    }
    if (is_answer) {
        replica->pull_from = GV_NODE_NONE;
        if (outcome == PIECE_APPLIED && (!msg->last || replica->wants_snapshot)) {
            ask(core, owner, sender);
        }
    }
    return true;
}

bool gv__on_table_request(gv_ccore_t *core, gv_peer_link_t *link, const Gv__TableRequest *msg)
{
    gv_node_id_t id;
    if (!gv_codec_get_id(&msg->owner_id, &id)) {
        return false;
    }
    const gv_member_t *owner = gv__member_by_id(core, &id);
    if (owner == NULL || !owner->replica.is_complete || owner->replica.wants_snapshot ||
        (owner->index != GV_NODE_SELF && core->switches.no_relay_answers)) {
        return true;
    }
    const gv_table_t *table = &owner->replica.table;
    gv_incarnation_t theirs = {msg->start_counter, msg->boot_id};
    int order = gv_incarnation_compare(theirs, table->incarnation);
    if (order > 0 || (order == 0 && msg->from_seq > table->seq)) {
        return true; /* they know better */
    }
    /* As in push_to(): a snapshot under way needs the withdrawals since it was begun. */
    uint64_t needed_seq = msg->staged ? msg->staged_begin_seq : msg->from_seq;
    bool can_go_on = order == 0 && !msg->snapshot && needed_seq >= table->floor;
    Gv__TablePiece piece;
    gv__build_piece(core, owner, !can_go_on || msg->staged, can_go_on ? msg->from_seq : 0, &piece);
    gv__send(core, link, GV_FRAME_TABLE_ANSWER, &piece.base);
    return true;
}

/* ---- digests
 * -------------------------------------------------------------------------------------- */

static void send_versions(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *const *owners,
                          size_t count, bool is_answer)
{
    Gv__Digest digest = GV__DIGEST__INIT;
    Gv__TableVersion *versions = gv__build(core, count, sizeof(*versions));
    digest.tables = gv__build(core, count, sizeof(digest.tables[0]));
    digest.answer = is_answer;
    for (size_t i = 0; i < count; i++) {
        const gv_member_t *owner = owners[i];
        if (owner->replica.is_purged || owner->replica.table.incarnation.start_counter == 0) {
            continue;
        }
        const gv_table_t *table = &owner->replica.table;
        Gv__TableVersion *version = &versions[digest.n_tables];
        gv__table_version__init(version);
        version->owner_id = gv_codec_put_id(&owner->id);
        version->start_counter = table->incarnation.start_counter;
        version->boot_id = table->incarnation.boot_id;
        version->seq = table->seq;
        version->hash = table->hash;
        version->complete = owner->replica.is_complete && !owner->replica.wants_snapshot;
        digest.tables[digest.n_tables++] = version;
    }
    gv__send(core, link, GV_FRAME_DIGEST, &digest.base);
}

void gv__send_versions(gv_ccore_t *core, gv_peer_link_t *link, const gv_member_t *const *owners,
                       size_t count)
{
    send_versions(core, link, owners, count, true);
}

void gv__send_digest(gv_ccore_t *core, gv_peer_link_t *link, bool is_answer)
{
    const gv_member_t *owners[GV_NODES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < core->member_end; i++) {
        if (core->members[i] != NULL) {
            owners[count++] = core->members[i];
        }
    }
    send_versions(core, link, owners, count, is_answer);
}

/* -1, 0, 1: whether what the peer holds is older or newer than what we hold. */
static int compare_version(const Gv__TableVersion *theirs, const gv_table_t *table)
{
    gv_incarnation_t incarnation = {theirs->start_counter, theirs->boot_id};
    int order = gv_incarnation_compare(incarnation, table->incarnation);
    if (order != 0) {
        return order;
    }
    return theirs->seq == table->seq ? 0 : (theirs->seq < table->seq ? -1 : 1);
}

/* The peer holds something newer.  A linked owner gets a little time to push it to us. */
static void consider_asking(gv_ccore_t *core, gv_member_t *owner, const gv_member_t *holder)
{
    gv_replica_t *replica = &owner->replica;
    if (replica->pull_from != GV_NODE_NONE || replica->is_purged) {
        return;
    }
    if (owner->is_linked && owner->state == GV_MEMBER_ALIVE) {
        if (replica->behind_ms == 0) {
            replica->behind_ms = core->now_ms;
        }
        if (gv__since(core, replica->behind_ms) < OWNER_PATIENCE_MS) {
            return;
        }
    }
    ask(core, owner, holder);
}

static bool is_stuck(const gv_ccore_t *core, const gv_replica_t *replica)
{
    return gv__since(core, replica->progress_ms) > STUCK_MS;
}

/* Returns whether the peer is behind us. */
static bool compare_with(gv_ccore_t *core, gv_member_t *owner, const gv_member_t *teller,
                         const Gv__TableVersion *theirs)
{
    gv_replica_t *replica = &owner->replica;
    int order = compare_version(theirs, &replica->table);
    if (owner->index == GV_NODE_SELF) {
        if (order > 0) {
            gv__raise_start_counter(core,
                                    (gv_incarnation_t){theirs->start_counter, theirs->boot_id});
        }
        return order < 0;
    }
    bool is_complete = replica->is_complete && !replica->wants_snapshot;
    if (order == 0 && theirs->complete && is_complete && theirs->hash != replica->table.hash) {
        mismatch(core, owner);
        is_complete = false;
    }
    bool is_same_life = theirs->boot_id == replica->table.incarnation.boot_id;
    if (theirs->complete && order > 0) {
        consider_asking(core, owner, teller);
    } else if (theirs->complete && !is_complete && is_same_life && is_stuck(core, replica)) {
        replica->wants_snapshot = true;
        drop_staged(replica);
        consider_asking(core, owner, teller);
    }
    return is_complete && (order < 0 || (order == 0 && !theirs->complete));
}

bool gv__on_digest(gv_ccore_t *core, gv_peer_link_t *link, const Gv__Digest *msg)
{
    if (!msg->answer) {
        gv__arrival_told(core, link);
    }
    if (!gv__link_is_current(link)) {
        return true;
    }
    if (msg->n_tables > GV_NODES_MAX) {
        return false;
    }
    uint64_t mentioned = 0;
    bool is_behind = false;
    for (size_t i = 0; i < msg->n_tables; i++) {
        const Gv__TableVersion *theirs = msg->tables[i];
        gv_node_id_t id;
        if (!gv_codec_get_id(&theirs->owner_id, &id) || theirs->start_counter > GV_COUNTER_MAX ||
            theirs->seq > GV_COUNTER_MAX) {
            return false;
        }
        gv_member_t *owner = gv__member_by_id(core, &id);
        if (owner != NULL) {
            mentioned |= gv__bit(owner);
            is_behind = compare_with(core, owner, link->member, theirs) || is_behind;
        }
    }
    gv__foreach_peer(core, m)
    {
        is_behind = is_behind || (m->replica.is_complete && (mentioned & gv__bit(m)) == 0);
    }
    if (is_behind && !msg->answer) {
        gv__send_digest(core, link, true);
    }
    return true;
}

/* ---- the turn
 * ------------------------------------------------------------------------------------- */

void gv__replicas_tick(gv_ccore_t *core)
{
    gv__foreach_peer(core, owner)
    {
        gv_replica_t *replica = &owner->replica;
        if (replica->pull_from != GV_NODE_NONE && replica->pull_until_ms <= core->now_ms) {
            replica->pull_from = GV_NODE_NONE;
        }
        bool is_stuck =
            replica->wants_snapshot ||
            (!replica->is_complete && gv__since(core, replica->progress_ms) > PULL_PATIENCE_MS);
        if (is_stuck && owner->is_linked && !replica->is_purged &&
            replica->pull_from == GV_NODE_NONE) {
            ask(core, owner, owner);
        }
    }
}

static void send_ack(gv_ccore_t *core, gv_member_t *owner)
{
    gv_replica_t *replica = &owner->replica;
    Gv__TableAck ack = GV__TABLE_ACK__INIT;
    ack.start_counter = replica->table.incarnation.start_counter;
    ack.boot_id = replica->table.incarnation.boot_id;
    ack.seq = replica->table.seq;
    ack.complete = replica->is_complete && !replica->wants_snapshot;
    ack.resync = replica->ack_resync;
    if (replica->staged != NULL) {
        ack.staged_start_counter = replica->staged->incarnation.start_counter;
        ack.staged_boot_id = replica->staged->incarnation.boot_id;
        ack.staged_seq = replica->staged->seq;
        ack.staged_begin_seq = replica->staged_begin_seq;
    }
    gv__send(core, owner->active, GV_FRAME_TABLE_ACK, &ack.base);
    replica->ack_due = false;
    replica->ack_resync = false;
}

void gv__replicas_flush(gv_ccore_t *core)
{
    gv__foreach_peer(core, m)
    {
        if (m->active != NULL && m->replica.ack_due) {
            send_ack(core, m);
        }
        if (m->active != NULL && m->digest_due) {
            gv__send_digest(core, m->active, false);
            m->digest_due = false;
            gv_arena_reset(&core->arena);
        }
    }
}
