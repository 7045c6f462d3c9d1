/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/directory_p.h"

/*
 * Notes: all words for a node that have gathered in a turn, and at most one piece of registrations.
 *
 * A note says in which piece everything was begun anew, so that what is said after that is not
 * taken for what came before, whichever note arrives first.
 */

/* ---- sending ------------------------------------------------------------------------------------
 */

static void pack_word(const gv_word_t *word, Gv__DirectoryEntry *entry)
{
    gv__directory_entry__init(entry);
    entry->kind = word->kind;
    /* Packing only reads. */
    entry->key =
        (ProtobufCBinaryData){.len = sizeof(word->key), .data = (uint8_t *)(uintptr_t)&word->key};
    entry->hlc = word->hlc;
    entry->user = word->user;
    entry->seen = word->seen;
    if (word->kind == GV_DIRECTORY_LET_GO) {
        entry->winner = gv_codec_put_id(&word->winner);
    }
}

/* Puts words into the scratch behind `used` of them that are there already. */
static Gv__DirectoryEntry **pack_words(gv_directory_t *directory, const gv_word_t *words,
                                       size_t count, size_t used)
{
    if (directory->entries == NULL) {
        size_t most = DIRECTORY_WORDS + DIRECTORY_PIECE;
        directory->entries = gv_xcalloc(most, sizeof(*directory->entries));
        directory->pointers = gv_xcalloc(most, sizeof(*directory->pointers));
        for (size_t i = 0; i < most; i++) {
            directory->pointers[i] = &directory->entries[i];
        }
    }
    for (size_t i = 0; i < count; i++) {
        pack_word(&words[i], &directory->entries[used + i]);
    }
    return directory->pointers + used;
}

void gv__note_deinit(gv_directory_t *directory)
{
    gv_free(directory->entries);
    gv_free(directory->pointers);
}

/* The next piece, if it is time for one.  Gives how many registrations are in it. */
static size_t next_piece(gv_directory_t *directory, gv_party_t *party, Gv__DirectoryNote *note)
{
    if (party->outstanding != 0 || (!party->must_begin && party->pieces.count == 0)) {
        return 0;
    }
    party->number++;
    if (party->must_begin) {
        party->begun = party->number;
        party->must_begin = false;
        directory->stats.registrations_begun++;
    }
    party->outstanding = party->number;
    party->sent_ms = directory->now_ms;
    note->number = party->number;
    return party->pieces.count < DIRECTORY_PIECE ? party->pieces.count : DIRECTORY_PIECE;
}

static void drop_first(gv_words_t *words, size_t count)
{
    words->count -= count;
    if (words->count == 0) {
        gv__words_clear(words); /* a burst's memory goes back */
    } else {
        memmove(words->items, words->items + count, words->count * sizeof(*words->items));
    }
}

static bool is_again_due(const gv_directory_t *directory, const gv_party_t *party)
{
    return party->again_due && party->again_at_ms <= directory->now_ms;
}

static void send_note(gv_directory_t *directory, gv_node_index_t to, const gv_word_t *words,
                      size_t count)
{
    gv_party_t *party = &directory->parties[to];
    Gv__DirectoryNote note = GV__DIRECTORY_NOTE__INIT;
    size_t piece = next_piece(directory, party, &note);
    note.begun = party->begun;
    note.heard = party->heard_begun;
    note.n_registrations = piece;
    note.registrations = pack_words(directory, party->pieces.items, piece, 0);
    note.n_entries = count;
    note.entries = pack_words(directory, words, count, piece);
    note.acknowledged = party->ack_due ? party->taken : 0;
    note.again = is_again_due(directory, party);
    if (note.again) {
        party->again_at_ms = directory->now_ms + DIRECTORY_ASK_MS;
    }
    party->ack_due = false;
    directory->ports.send(to, &note, directory->ports.arg);
    drop_first(&party->pieces, piece);
}

void gv__note_flush(gv_directory_t *directory, gv_node_index_t to)
{
    gv_party_t *party = &directory->parties[to];
    if (party->now.path == 0) {
        gv__words_clear(&party->words);
        return;
    }
    if (party->outstanding != 0 && directory->now_ms - party->sent_ms >= DIRECTORY_ACK_MS) {
        gv__own_begin_anew(directory, to);
    }
    bool is_piece_due = party->outstanding == 0 && (party->must_begin || party->pieces.count > 0);
    size_t sent = 0;
    while (sent < party->words.count || is_piece_due || party->ack_due ||
           is_again_due(directory, party)) {
        size_t count = party->words.count - sent;
        count = count < DIRECTORY_WORDS ? count : DIRECTORY_WORDS;
        send_note(directory, to, count > 0 ? party->words.items + sent : NULL, count);
        sent += count;
        is_piece_due = false;
    }
    gv__words_clear(&party->words);
}

/* ---- receiving ----------------------------------------------------------------------------------
 */

static bool read_word(const Gv__DirectoryEntry *entry, gv_word_t *word)
{
    if (entry->key.len != sizeof(word->key) || entry->hlc == 0 || entry->hlc >= DIRECTORY_HLC_MAX ||
        entry->seen >= DIRECTORY_HLC_MAX || entry->kind > UINT8_MAX) {
        return false;
    }
    *word = (gv_word_t){
        .hlc = entry->hlc,
        .seen = entry->seen,
        .user = entry->user,
        .kind = (uint8_t)entry->kind,
    };
    memcpy(&word->key, entry->key.data, sizeof(word->key));
    return entry->kind != GV_DIRECTORY_LET_GO || gv_codec_get_id(&entry->winner, &word->winner);
}

static bool hear_all(gv_directory_t *directory, gv_node_index_t from,
                     Gv__DirectoryEntry *const *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        gv_word_t word;
        if (!read_word(entries[i], &word)) {
            return false;
        }
        gv__hear(directory, from, &word);
    }
    return true;
}

/* The owner has begun anew, perhaps in a piece that is still on its way. */
static void hear_begun(gv_directory_t *directory, gv_node_index_t from, uint64_t begun)
{
    gv_party_t *party = &directory->parties[from];
    if (begun > party->heard_begun) {
        party->heard_begun = begun;
        party->taken = begun - 1;
        party->again_due = false;
        gv__registrar_forget(directory, from);
    }
}

/* Whether the registrations in a note are the next ones. */
static bool is_next_piece(gv_directory_t *directory, gv_node_index_t from, uint64_t number)
{
    gv_party_t *party = &directory->parties[from];
    if (number == 0) {
        return false;
    }
    if (number > party->taken + 1) {
        party->again_due = true; /* one is missing */
        return false;
    }
    party->ack_due = true;
    if (number <= party->taken) {
        return false;
    }
    party->taken = number;
    return true;
}

static void hear_acknowledged(gv_directory_t *directory, gv_node_index_t from, uint64_t number)
{
    gv_party_t *party = &directory->parties[from];
    if (number == 0 || number != party->outstanding) {
        return;
    }
    party->outstanding = 0;
    if (party->has_missed && party->pieces.count == 0) {
        party->has_missed = false;
        gv__own_walk_again(directory, 0);
    }
}

bool gv_directory_take(gv_directory_t *directory, gv_node_index_t from,
                       const Gv__DirectoryNote *note)
{
    GV_ASSERT(from != GV_NODE_SELF && from < GV_NODES_MAX);
    if (!directory->parties[from].is_there) {
        return true;
    }
    if (note->number > GV_COUNTER_MAX || note->begun > GV_COUNTER_MAX) {
        return false;
    }
    hear_begun(directory, from, note->begun);
    directory->parties[from].known_begun = note->heard;
    hear_acknowledged(directory, from, note->acknowledged);
    if (note->again) {
        gv__own_begin_anew(directory, from);
    }
    if (!hear_all(directory, from, note->entries, note->n_entries)) {
        return false;
    }
    return !is_next_piece(directory, from, note->number) ||
           hear_all(directory, from, note->registrations, note->n_registrations);
}
