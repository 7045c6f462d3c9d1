/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/core/directory_p.h"

/*
 * Connections that are registered here, and those that have to be closed for them.
 *
 * A seat names the connection with the highest stamp that owners have told of.  Whoever loses it
 * is asked to let go until he says that he has, or begins anew; who claims waits for that no longer
 * than he wants to.
 */

/* ---- seats --------------------------------------------------------------------------------------
 */

static bool is_valid(const gv_directory_t *directory, const gv_seat_t *seat)
{
    const gv_party_t *owner = &directory->parties[seat->owner];
    return owner->is_there && owner->epoch == seat->epoch;
}

/* The seat of a key, unless it is void. */
static gv_seat_t *find_seat(gv_directory_t *directory, const gv_id_key_t *key)
{
    gv_seat_t *seat = gv_keytable_find(&directory->seats, key);
    return seat != NULL && is_valid(directory, seat) ? seat : NULL;
}

/* False: there is no room. */
static bool take_seat(gv_directory_t *directory, gv_node_index_t owner, const gv_word_t *word)
{
    gv_seat_t *seat = gv_keytable_find(&directory->seats, &word->key);
    if (seat == NULL && gv_keytable_count(&directory->seats) < directory->registered_max) {
        seat = gv_keytable_add(&directory->seats, &word->key);
    }
    if (seat == NULL) {
        directory->stats.registrations_refused++;
        return false;
    }
    seat->hlc = word->hlc;
    seat->user = word->user;
    seat->owner = owner;
    seat->epoch = directory->parties[owner].epoch;
    return true;
}

void gv__registrar_forget(gv_directory_t *directory, gv_node_index_t owner)
{
    directory->parties[owner].epoch++;
    directory->sweep_at = gv_keytable_count(&directory->seats);
}

void gv__registrar_sweep(gv_directory_t *directory)
{
    size_t count = gv_keytable_count(&directory->seats);
    if (directory->sweep_at > count) {
        directory->sweep_at = count;
    }
    for (uint32_t i = 0; i < DIRECTORY_WALK && directory->sweep_at > 0; i++) {
        gv_seat_t *seat = gv_keytable_at(&directory->seats, --directory->sweep_at);
        if (!is_valid(directory, seat)) {
            gv_keytable_remove(&directory->seats, seat);
        }
    }
}

/* ---- letting go ---------------------------------------------------------------------------------
 */

static void say(gv_directory_t *directory, gv_node_index_t to, const gv_word_t *about,
                gv_directory_kind_t kind)
{
    gv_word_t word = {.key = about->key, .hlc = about->hlc, .kind = (uint8_t)kind};
    gv__say(directory, to, &word);
}

static void ask_to_let_go(gv_directory_t *directory, gv_release_t *release)
{
    gv_word_t word = {
        .key = release->key,
        .hlc = release->hlc,
        .winner = directory->parties[release->winner].now.id,
        .kind = GV_DIRECTORY_LET_GO,
    };
    release->asked_ms = directory->now_ms;
    for (uint64_t left = release->waiting; left != 0; left &= left - 1) {
        gv__say(directory, (gv_node_index_t)__builtin_ctzll(left), &word);
    }
}

/*
 * `loser` has an older connection than the one of `winner`, with this stamp.  It is asked to let go
 * until it has, whether we hold it for dead or not.  True: there is somebody to wait for.
 */
static bool release_from(gv_directory_t *directory, gv_node_index_t loser, gv_node_index_t winner,
                         const gv_word_t *newer)
{
    gv_release_t *release = gv_keytable_find(&directory->releases, &newer->key);
    if (release == NULL && loser == winner) {
        return false;
    }
    bool is_asked = gv__party_is_reached(directory, loser);
    if (release == NULL && is_asked &&
        gv_keytable_count(&directory->releases) < DIRECTORY_RELEASES_MAX) {
        release = gv_keytable_add(&directory->releases, &newer->key);
    }
    if (loser != winner && (release == NULL || !is_asked)) {
        directory->parties[loser].again_due = true; /* it is asked when it says that it has one */
    }
    if (release == NULL) {
        return false;
    }
    release->hlc = newer->hlc;
    release->winner = winner;
    release->waiting |= is_asked ? gv__party_bit(loser) : 0;
    release->waiting &= ~gv__party_bit(winner);
    if (release->waiting == 0) {
        gv_keytable_remove(&directory->releases, release);
        return false;
    }
    ask_to_let_go(directory, release);
    if (directory->releases_at_ms == UINT64_MAX) {
        directory->releases_at_ms = directory->now_ms + DIRECTORY_ASK_MS;
    }
    return true;
}

/* The node has let go, or cannot be waited for.  With the last of them the winner has it. */
static void released(gv_directory_t *directory, gv_release_t *release, uint64_t nodes)
{
    release->waiting &= ~nodes;
    if (release->waiting != 0) {
        return;
    }
    gv_word_t about = {.key = release->key, .hlc = release->hlc};
    gv_node_index_t winner = (gv_node_index_t)release->winner;
    gv_keytable_remove(&directory->releases, release);
    const gv_seat_t *seat = find_seat(directory, &about.key);
    bool is_full = gv_keytable_count(&directory->seats) >= directory->registered_max;
    /* If its seat is void or another's by now, it has claimed again, or will. */
    if (seat == NULL ? is_full : seat->owner == winner && seat->hlc == about.hlc) {
        say(directory, winner, &about, GV_DIRECTORY_GRANTED);
    }
}

void gv__registrar_ask_again(gv_directory_t *directory)
{
    directory->releases_at_ms = UINT64_MAX;
    for (size_t i = gv_keytable_count(&directory->releases); i-- > 0;) {
        gv_release_t *release = gv_keytable_at(&directory->releases, i);
        uint64_t gone = 0;
        for (uint64_t left = release->waiting; left != 0; left &= left - 1) {
            gv_node_index_t node = (gv_node_index_t)__builtin_ctzll(left);
            gone |= gv__party_is_reached(directory, node) ? 0 : gv__party_bit(node);
        }
        for (uint64_t left = gone; left != 0; left &= left - 1) {
            directory->parties[__builtin_ctzll(left)].again_due = true;
        }
        if (gone == release->waiting) {
            released(directory, release, gone);
            continue;
        }
        release->waiting &= ~gone;
        if (directory->now_ms - release->asked_ms >= DIRECTORY_ASK_MS) {
            ask_to_let_go(directory, release);
        }
    }
    if (gv_keytable_count(&directory->releases) > 0) {
        directory->releases_at_ms = directory->now_ms + DIRECTORY_ASK_MS;
    }
}

/* ---- what owners say ----------------------------------------------------------------------------
 */

/* The connection has the highest stamp now; it is granted when nobody has an older one. */
static void seat_and_grant(gv_directory_t *directory, gv_node_index_t owner, const gv_word_t *word,
                           gv_node_index_t before)
{
    (void)take_seat(directory, owner, word);
    if (!release_from(directory, before, owner, word)) {
        say(directory, owner, word, GV_DIRECTORY_GRANTED);
    }
}

static void on_claim(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    const gv_seat_t *seat = find_seat(directory, &word->key);
    if (seat == NULL || seat->owner == from) {
        /* A newer one of the same node is that node's own business, but not what it replaces. */
        if (seat == NULL || seat->hlc <= word->hlc) {
            seat_and_grant(directory, from, word, from);
        }
        return;
    }
    if (seat->user != 0 && seat->user != word->user &&
        directory->parties[seat->owner].now.is_routable) {
        say(directory, from, word, GV_DIRECTORY_DENIED);
        return;
    }
    if (gv__is_older(directory, word->hlc, from, seat->hlc,
                     &directory->parties[seat->owner].now.id)) {
        gv_word_t again = {
            .key = word->key, .hlc = word->hlc, .seen = seat->hlc, .kind = GV_DIRECTORY_AGAIN};
        gv__say(directory, from, &again);
        return;
    }
    seat_and_grant(directory, from, word, seat->owner);
}

static void on_register(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    const gv_seat_t *seat = find_seat(directory, &word->key);
    if (seat == NULL) {
        (void)take_seat(directory, from, word);
    } else if (seat->owner == from) {
        if (seat->hlc < word->hlc) {
            seat_and_grant(directory, from, word, from);
        }
    } else if (gv__is_older(directory, word->hlc, from, seat->hlc,
                            &directory->parties[seat->owner].now.id)) {
        gv_word_t newer = {.key = seat->key, .hlc = seat->hlc};
        (void)release_from(directory, from, seat->owner, &newer);
    } else {
        seat_and_grant(directory, from, word, seat->owner);
    }
}

static void on_withdraw(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    gv_seat_t *seat = find_seat(directory, &word->key);
    /* An owner's stamps rise: what is older has been replaced there. */
    if (seat != NULL && seat->owner == from && seat->hlc <= word->hlc) {
        gv_keytable_remove(&directory->seats, seat);
    }
}

static void on_left(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    gv_release_t *release = gv_keytable_find(&directory->releases, &word->key);
    if (release != NULL && release->hlc == word->hlc &&
        (release->waiting & gv__party_bit(from)) != 0) {
        released(directory, release, gv__party_bit(from));
    }
}

void gv__registrar_hear(gv_directory_t *directory, gv_node_index_t from, const gv_word_t *word)
{
    switch (word->kind) {
    case GV_DIRECTORY_CLAIM:
        on_claim(directory, from, word);
        return;
    case GV_DIRECTORY_REGISTER:
        on_register(directory, from, word);
        return;
    case GV_DIRECTORY_WITHDRAW:
        on_withdraw(directory, from, word);
        return;
    default:
        GV_ASSERT(word->kind == GV_DIRECTORY_LEFT);
        on_left(directory, from, word);
    }
}
