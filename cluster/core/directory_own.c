/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/directory_p.h"

/*
 * Connections of this node: claimed, registered, withdrawn, let go.
 *
 * An entry says which registrar has been told.  It is told again when it may have forgotten
 * (gv__own_begin_anew()), another one is when it is the registrar now: both are found by a walk
 * over all entries, some of them in each turn.
 */

static gv_holder_t holder_of(const gv_own_t *own)
{
    return (gv_holder_t){.token = own->token, .desk = own->desk};
}

static void tell_later(gv_directory_t *directory, const gv_own_t *own, gv_claim_verdict_t verdict)
{
    gv_told_t told = {
        .claim = {.key = own->key, .hlc = own->hlc, .user = own->user, .holder = holder_of(own)},
        .verdict = verdict,
    };
    switch (verdict) {
    case GV_CLAIM_GRANTED:
        directory->stats.claims_granted++;
        break;
    case GV_CLAIM_LATE:
        directory->stats.claims_late++;
        break;
    case GV_CLAIM_LOST:
        directory->stats.claims_lost++;
        break;
    case GV_CLAIM_DENIED:
        directory->stats.claims_denied++;
        break;
    }
    gv__fifo_push(&directory->told, &told);
}

static void say_own(gv_directory_t *directory, gv_node_index_t to, const gv_own_t *own,
                    gv_directory_kind_t kind)
{
    gv_word_t word = {.key = own->key, .hlc = own->hlc, .user = own->user, .kind = (uint8_t)kind};
    gv__say(directory, to, &word);
}

/* ---- telling the registrar ----------------------------------------------------------------------
 */

/* Everything up to now: what is claimed there after this is above it, as claims come first. */
static void withdraw(gv_directory_t *directory, gv_own_t *own)
{
    if (own->registrar != GV_NODE_NONE) {
        say_own(directory, own->registrar, own, GV_DIRECTORY_WITHDRAW);
        own->hlc += own->is_pending;
    }
}

static void tell_registrar(gv_directory_t *directory, gv_own_t *own)
{
    gv_node_index_t to = gv_directory_registrar(directory, &own->key);
    if (own->registrar != to) {
        withdraw(directory, own);
    }
    own->registrar = GV_NODE_NONE; /* a new path begins a walk */
    if (gv__party_is_reached(directory, to)) {
        own->registrar = to;
        say_own(directory, to, own, own->is_pending ? GV_DIRECTORY_CLAIM : GV_DIRECTORY_REGISTER);
    }
}

static void grant_late(gv_directory_t *directory, gv_own_t *own)
{
    own->is_pending = false;
    tell_later(directory, own, GV_CLAIM_LATE);
    tell_registrar(directory, own);
}

static void ask(gv_directory_t *directory, gv_own_t *own)
{
    tell_registrar(directory, own);
    if (own->registrar == GV_NODE_NONE) {
        grant_late(directory, own);
    }
}

/* ---- the host's calls ---------------------------------------------------------------------------
 */

/*
 * Who has this key here, or waits for it, has lost it, or may not be disturbed.  A connection that
 * another user may take has ended before he asks: one that is there still has been granted so
 * lately that the host had not heard of it when it let him ask.
 */
static bool yields(gv_directory_t *directory, const gv_own_t *own, const gv_claim_t *claim)
{
    if (own->user != 0 && own->user != claim->user) {
        return false;
    }
    if (own->is_pending) {
        tell_later(directory, own, GV_CLAIM_LOST);
    }
    return true;
}

static void fill(gv_own_t *own, const gv_claim_t *claim)
{
    own->hlc = claim->hlc > own->hlc ? claim->hlc : own->hlc + 1;
    own->user = claim->user;
    own->token = claim->holder.token;
    own->desk = claim->holder.desk;
}

/* The entry of a key; a new one knows no registrar.  NULL: no memory. */
static gv_own_t *entry_of(gv_directory_t *directory, const gv_id_key_t *key)
{
    gv_own_t *own = gv_keytable_find(&directory->own, key);
    if (own == NULL) {
        own = gv_keytable_add(&directory->own, key);
        if (own != NULL) {
            own->registrar = GV_NODE_NONE;
        }
    }
    return own;
}

void gv_directory_claim(gv_directory_t *directory, const gv_claim_t *claim)
{
    GV_ASSERT(claim->hlc > 0);
    directory->stats.claims++;
    gv_own_t *own = gv_keytable_find(&directory->own, &claim->key);
    gv_own_t aside = {.key = claim->key};
    if (own != NULL && !yields(directory, own, claim)) {
        fill(&aside, claim);
        tell_later(directory, &aside, GV_CLAIM_DENIED);
        return;
    }
    own = entry_of(directory, &claim->key);
    if (own == NULL) { /* it comes in, and is not known here */
        fill(&aside, claim);
        tell_later(directory, &aside, GV_CLAIM_LATE);
        return;
    }
    fill(own, claim);
    own->is_pending = true;
    gv_deadline_t deadline = {.key = claim->key,
                              .holder = claim->holder,
                              .at_ms = directory->now_ms + directory->wait_ms};
    gv__fifo_push(&directory->deadlines, &deadline);
    ask(directory, own);
}

void gv_directory_register(gv_directory_t *directory, const gv_claim_t *claim)
{
    gv_own_t *own = entry_of(directory, &claim->key);
    if (own != NULL && !gv_holder_equal(holder_of(own), claim->holder)) {
        if (own->is_pending) {
            tell_later(directory, own, GV_CLAIM_LOST);
            own->is_pending = false;
        }
        fill(own, claim);
        tell_registrar(directory, own);
    }
}

void gv_directory_withdraw(gv_directory_t *directory, const gv_id_key_t *key, gv_holder_t holder)
{
    gv_own_t *own = gv_keytable_find(&directory->own, key);
    if (own != NULL && gv_holder_equal(holder_of(own), holder)) {
        withdraw(directory, own);
        gv_keytable_remove(&directory->own, own);
    }
}

void gv__own_expire(gv_directory_t *directory)
{
    const gv_deadline_t *next;
    while ((next = gv__fifo_peek(&directory->deadlines)) != NULL &&
           next->at_ms <= directory->now_ms) {
        gv_own_t *own = gv_keytable_find(&directory->own, &next->key);
        if (own != NULL && own->is_pending && gv_holder_equal(holder_of(own), next->holder)) {
            grant_late(directory, own);
        }
        gv__fifo_pop(&directory->deadlines);
    }
}

/* ---- what registrars say ------------------------------------------------------------------------
 */

static void say_left(gv_directory_t *directory, gv_node_index_t to, const gv_id_key_t *key,
                     uint64_t hlc)
{
    gv_word_t word = {.key = *key, .hlc = hlc, .kind = GV_DIRECTORY_LEFT};
    gv__say(directory, to, &word);
}

static void on_granted(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    gv_own_t *own = gv_keytable_find(&directory->own, &word->key);
    if (own == NULL || own->hlc != word->hlc) {
        /* Who has claimed it is gone, or has claimed it anew. */
        gv_word_t gone = *word;
        gone.kind = GV_DIRECTORY_WITHDRAW;
        gv__say(directory, from, &gone);
        return;
    }
    if (own->is_pending) {
        own->is_pending = false;
        own->registrar = from;
        tell_later(directory, own, GV_CLAIM_GRANTED);
        if (directory->parties[from].known_begun < directory->parties[from].begun) {
            tell_registrar(directory, own); /* it will forget what it has just granted */
        }
    }
}

static void on_again(gv_directory_t *directory, const gv_word_t *word)
{
    gv_own_t *own = gv_keytable_find(&directory->own, &word->key);
    if (own != NULL && own->is_pending && own->hlc == word->hlc) {
        directory->stats.claims_again++;
        own->hlc = (word->seen > own->hlc ? word->seen : own->hlc) + 1;
        ask(directory, own);
    }
}

static void on_denied(gv_directory_t *directory, const gv_word_t *word)
{
    gv_own_t *own = gv_keytable_find(&directory->own, &word->key);
    if (own != NULL && own->is_pending && own->hlc == word->hlc) {
        tell_later(directory, own, GV_CLAIM_DENIED);
        gv_keytable_remove(&directory->own, own);
    }
}

static void on_let_go(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    gv_own_t *own = gv_keytable_find(&directory->own, &word->key);
    if (own == NULL || !gv__is_older(directory, own->hlc, GV_NODE_SELF, word->hlc, &word->winner)) {
        say_left(directory, from, &word->key, word->hlc);
        return;
    }
    withdraw(directory, own); /* whoever thinks that it has it */
    if (own->is_pending) {
        tell_later(directory, own, GV_CLAIM_LOST);
        say_left(directory, from, &word->key, word->hlc);
    } else {
        gv_letting_t letting = {
            .key = word->key,
            .hlc = word->hlc,
            .winner = word->winner,
            .boot_id = directory->parties[from].now.boot_id,
            .holder = holder_of(own),
            .registrar = from,
        };
        directory->stats.let_go++;
        gv__tell_answers(directory); /* that it may come in is said before that it has to go */
        directory->ports.let_go(&letting, directory->ports.arg);
    }
    gv_keytable_remove(&directory->own, own);
}

void gv_directory_let_gone(gv_directory_t *directory, const gv_letting_t *letting)
{
    if (directory->parties[letting->registrar].now.boot_id == letting->boot_id) {
        say_left(directory, letting->registrar, &letting->key, letting->hlc);
    }
}

void gv__own_hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    switch (word->kind) {
    case GV_DIRECTORY_GRANTED:
        on_granted(directory, from, word);
        return;
    case GV_DIRECTORY_AGAIN:
        on_again(directory, word);
        return;
    case GV_DIRECTORY_DENIED:
        on_denied(directory, word);
        return;
    default:
        GV_ASSERT(word->kind == GV_DIRECTORY_LET_GO);
        on_let_go(directory, from, word);
    }
}

/* ---- the walk -----------------------------------------------------------------------------------
 */

void gv__own_walk_again(gv_directory_t *directory, uint64_t stale)
{
    bool is_over = directory->walk_at == 0;
    directory->walk_stale = stale | (is_over ? 0 : directory->walk_stale);
    directory->walk_at = gv_keytable_count(&directory->own);
}

void gv__own_begin_anew(gv_directory_t *directory, gv_node_index_t registrar)
{
    gv_party_t *party = &directory->parties[registrar];
    gv__words_clear(&party->pieces);
    party->outstanding = 0;
    party->must_begin = true;
    party->has_missed = false;
    gv__own_walk_again(directory, gv__party_bit(registrar));
}

typedef enum walk_step {
    WALK_GOES_ON,
    WALK_WAITS,
} walk_step_t;

/* A registrar whose queue is full is waited for, unless it is slow. */
static walk_step_t make_room(gv_directory_t *directory, gv_own_t *own, gv_node_index_t to)
{
    gv_party_t *party = &directory->parties[to];
    if (party->outstanding == 0 || directory->now_ms - party->sent_ms < DIRECTORY_STALL_MS) {
        return WALK_WAITS;
    }
    party->has_missed = true;
    own->registrar = GV_NODE_NONE;
    return WALK_GOES_ON;
}

static walk_step_t look_at(gv_directory_t *directory, gv_own_t *own)
{
    gv_node_index_t to = gv_directory_registrar(directory, &own->key);
    bool is_stale = (directory->walk_stale >> to & 1) != 0;
    if (own->registrar == to && !is_stale) {
        return WALK_GOES_ON;
    }
    if (!own->is_pending && to != GV_NODE_SELF &&
        directory->parties[to].pieces.count >= DIRECTORY_QUEUE_MAX) {
        return make_room(directory, own, to);
    }
    tell_registrar(directory, own);
    return WALK_GOES_ON;
}

void gv__own_walk(gv_directory_t *directory)
{
    size_t count = gv_keytable_count(&directory->own);
    if (directory->walk_at > count) {
        directory->walk_at = count;
    }
    directory->is_stalled = false;
    for (uint32_t i = 0; i < DIRECTORY_WALK && directory->walk_at > 0; i++) {
        gv_own_t *own = gv_keytable_at(&directory->own, directory->walk_at - 1);
        if (look_at(directory, own) == WALK_WAITS) {
            directory->is_stalled = true;
            return;
        }
        directory->walk_at--;
    }
}
