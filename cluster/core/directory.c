/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/directory.h"

#include "base/alloc.h"
#include "cluster/core/directory_p.h"

/* Words to ourselves cause others, but never in a circle; this is far above any real chain. */
#define ROUNDS_MAX 16

/* ---- life -------------------------------------------------------------------------------------
 */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9U;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

/* The same on all nodes. */
static uint64_t weight_seed_of(const gv_node_id_t *id)
{
    return gv_bytes_hash(gv_bytes(id->bytes, GV_NODE_ID_SIZE), 0);
}

void gv_directory_new(const gv_directory_options_t *options, gv_directory_t **directory_out)
{
    GV_ASSERT(options->ports.send != NULL);
    GV_ASSERT(options->ports.claimed != NULL && options->ports.let_go != NULL);
    gv_directory_t *directory = GV_NEW(gv_directory_t);
    directory->ports = options->ports;
    directory->wait_ms = options->wait_ms;
    directory->registered_max = options->registered_max;
    gv_keytable_init(&directory->own, sizeof(gv_own_t));
    gv_keytable_init(&directory->seats, sizeof(gv_seat_t));
    gv_keytable_init(&directory->releases, sizeof(gv_release_t));
    gv__fifo_init(&directory->deadlines, sizeof(gv_deadline_t));
    gv__fifo_init(&directory->told, sizeof(gv_told_t));
    directory->party_end = 1;
    directory->parties[GV_NODE_SELF] = (gv_party_t){
        .now = {.id = options->self, .is_routable = true},
        .is_there = true,
        .weight_seed = weight_seed_of(&options->self),
    };
    *directory_out = directory;
}

void gv_directory_free(gv_directory_t **directoryp)
{
    gv_directory_t *directory = *directoryp;
    *directoryp = NULL;
    if (directory == NULL) {
        return;
    }
    for (size_t i = 0; i < directory->party_end; i++) {
        gv__words_clear(&directory->parties[i].words);
        gv__words_clear(&directory->parties[i].pieces);
    }
    gv_keytable_deinit(&directory->own);
    gv_keytable_deinit(&directory->seats);
    gv_keytable_deinit(&directory->releases);
    gv__fifo_deinit(&directory->deadlines);
    gv__fifo_deinit(&directory->told);
    gv__note_deinit(directory);
    gv_free(directory);
}

const gv_directory_stats_t *gv_directory_stats(const gv_directory_t *directory)
{
    return &directory->stats;
}

/* ---- parties ----------------------------------------------------------------------------------
 */

static void drop_party(gv_directory_t *directory, gv_node_index_t node)
{
    gv_party_t *party = &directory->parties[node];
    gv__registrar_forget(directory, node);
    gv__words_clear(&party->words);
    gv__words_clear(&party->pieces);
    *party = (gv_party_t){.epoch = party->epoch};
    gv__own_walk_again(directory, gv__party_bit(node));
}

void gv_directory_forget_peer(gv_directory_t *directory, gv_node_index_t node)
{
    GV_ASSERT(node != GV_NODE_SELF);
    if (directory->parties[node].is_there) {
        drop_party(directory, node);
    }
}

void gv_directory_set_peer(gv_directory_t *directory, gv_node_index_t node,
                           const gv_directory_peer_t *peer)
{
    GV_ASSERT(node != GV_NODE_SELF && node < GV_NODES_MAX);
    gv_party_t *party = &directory->parties[node];
    directory->party_end = node >= directory->party_end ? node + 1U : directory->party_end;
    bool is_new = !party->is_there || !gv_node_id_equal(&party->now.id, &peer->id);
    if (is_new) {
        gv_directory_forget_peer(directory, node);
        party->is_there = true;
        party->weight_seed = weight_seed_of(&peer->id);
    }
    gv_directory_peer_t before = party->now;
    party->now = *peer;
    bool is_other_life = is_new || before.boot_id != peer->boot_id;
    if (is_other_life) {
        party->heard_begun = 0;
        party->taken = 0;
        gv__registrar_forget(directory, node);
    }
    if (is_other_life || before.path != peer->path) {
        gv__own_begin_anew(directory, node);
        directory->releases_at_ms = directory->now_ms;
    }
    if (before.is_routable != peer->is_routable) {
        gv__own_walk_again(directory, 0);
        directory->releases_at_ms = directory->now_ms;
    }
}

gv_node_index_t gv_directory_registrar(const gv_directory_t *directory, const gv_id_key_t *key)
{
    gv_node_index_t best = GV_NODE_SELF;
    uint64_t best_weight = 0;
    for (size_t i = 0; i < directory->party_end; i++) {
        const gv_party_t *party = &directory->parties[i];
        if (!party->is_there || !party->now.is_routable) {
            continue;
        }
        uint64_t weight = mix(mix(key->words[0] ^ party->weight_seed) + key->words[1]);
        bool is_higher = weight > best_weight;
        if (weight == best_weight && i != GV_NODE_SELF) {
            is_higher = memcmp(party->now.id.bytes, directory->parties[best].now.id.bytes,
                               GV_NODE_ID_SIZE) > 0;
        }
        if (is_higher || i == GV_NODE_SELF) {
            best = (gv_node_index_t)i;
            best_weight = weight;
        }
    }
    return best;
}

/* ---- words ------------------------------------------------------------------------------------
 */

void gv__words_push(gv_words_t *words, const gv_word_t *word)
{
    if (words->count == words->capacity) {
        words->capacity = words->capacity == 0 ? 16 : words->capacity * 2;
        words->items = gv_xrealloc(words->items, words->capacity * sizeof(*word));
    }
    words->items[words->count++] = *word;
}

void gv__words_clear(gv_words_t *words)
{
    gv_free(words->items);
    *words = (gv_words_t){.count = 0};
}

static bool is_registration(const gv_word_t *word)
{
    return word->kind == GV_DIRECTORY_REGISTER || word->kind == GV_DIRECTORY_WITHDRAW;
}

void gv__say(gv_directory_t *directory, gv_node_index_t to, const gv_word_t *word)
{
    gv_party_t *party = &directory->parties[to];
    if (!gv__party_is_reached(directory, to)) {
        return;
    }
    bool is_piece = is_registration(word) && to != GV_NODE_SELF;
    gv__words_push(is_piece ? &party->pieces : &party->words, word);
    directory->stats.registrations_sent += is_piece;
}

void gv__hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    switch ((gv_directory_kind_t)word->kind) {
    case GV_DIRECTORY_CLAIM:
    case GV_DIRECTORY_LEFT:
    case GV_DIRECTORY_REGISTER:
    case GV_DIRECTORY_WITHDRAW:
        gv__registrar_hear(directory, from, word);
        return;
    case GV_DIRECTORY_GRANTED:
    case GV_DIRECTORY_AGAIN:
    case GV_DIRECTORY_DENIED:
    case GV_DIRECTORY_LET_GO:
        gv__own_hear(directory, from, word);
        return;
    }
    /* From a newer peer. */
}

static void hear_ourselves(gv_directory_t *directory)
{
    gv_party_t *self = &directory->parties[GV_NODE_SELF];
    for (int round = 0; self->words.count > 0; round++) {
        GV_ASSERT(round < ROUNDS_MAX);
        gv_words_t words = self->words;
        self->words = (gv_words_t){.count = 0};
        for (size_t i = 0; i < words.count; i++) {
            gv__hear(directory, GV_NODE_SELF, &words.items[i]);
        }
        gv__words_clear(&words);
    }
}

/* ---- the turn ---------------------------------------------------------------------------------
 */

void gv__tell_answers(gv_directory_t *directory)
{
    const gv_told_t *next;
    while ((next = gv__fifo_peek(&directory->told)) != NULL) {
        gv_told_t told = *next;
        gv__fifo_pop(&directory->told);
        directory->ports.claimed(&told.claim, told.verdict, directory->ports.arg);
    }
}

void gv_directory_flush(gv_directory_t *directory, uint64_t now_ms)
{
    directory->now_ms = now_ms;
    gv__own_expire(directory);
    if (directory->releases_at_ms <= now_ms) {
        gv__registrar_ask_again(directory);
    }
    gv__own_walk(directory);
    gv__registrar_sweep(directory);
    hear_ourselves(directory);
    for (size_t i = 1; i < directory->party_end; i++) {
        if (directory->parties[i].is_there) {
            gv__note_flush(directory, (gv_node_index_t)i);
        }
    }
    gv__tell_answers(directory);
    directory->stats.registered = gv_keytable_count(&directory->seats);
    directory->stats.held = gv_keytable_count(&directory->own);
}

uint64_t gv_directory_deadline_ms(const gv_directory_t *directory)
{
    const gv_deadline_t *first = gv__fifo_peek(&directory->deadlines);
    uint64_t at_ms = first != NULL ? first->at_ms : UINT64_MAX;
    bool is_walking = directory->walk_at > 0 && !directory->is_stalled;
    return is_walking || directory->sweep_at > 0 ? directory->now_ms : at_ms;
}
