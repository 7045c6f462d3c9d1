/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts: an inbox and shards around one store - verdicts - failures - joins - crashes - forgetting
 * - the end - a cluster of senders, at random.
 */
#include "broker/core/inbox.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/rng.h"
#include "storage/link_store.h"
#include "storage/mem_store.h"

#include "tests/unit/seed.h"

/* ---- an inbox and shards around one store ---------------------------------------------------- */

enum {
    SHARDS = 2,
    PART_MAX = 256,  /* messages in a shard's part */
    PARTS_MAX = 512, /* parts on their way */
    LETTERS_MAX = 1024,
    TOKENS_MAX = 8192,
};

/* Where thousands pass: ck_assert() writes each place it has come to into a file. */
#define SURE(is_so, ...)               \
    do {                               \
        if (!(is_so)) {                \
            ck_abort_msg(__VA_ARGS__); \
        }                              \
    } while (0)

/* What a turn of a shard writes: a row for each message. */
typedef struct part {
    unsigned shard;
    gv_batch_t *batch;
    uint64_t tokens[PART_MAX]; /* of the messages; 0: nobody asks */
    size_t count;
} part_t;

static gv_store_t *store;
static gv_inbox_t *inbox;
static uint64_t run; /* of the senders' processes */
static gv_store_lane_t lanes[SHARDS];
static part_t *open_parts[SHARDS];
static part_t *parts[PARTS_MAX];
static size_t part_count;
static gv_letter_t *letters[LETTERS_MAX];
static size_t letter_count;
static uint64_t joins;                /* one number for each, never again */
static uint64_t rows;                 /* likewise */
static int answers[TOKENS_MAX];       /* of the inbox, by token: 0 none, 1 durable, -1 refused */
static int shard_answers[TOKENS_MAX]; /* of the shards; of several the worst */
static unsigned missing[TOKENS_MAX];  /* shards that have not answered */
static void (*on_shards_done)(uint64_t token, bool is_refused); /* or NULL */
static void (*on_inbox_done)(uint64_t token, bool is_refused);

static const gv_node_id_t node_a = {.bytes = {7}};
static const gv_node_id_t node_b = {.bytes = {8}};

static void on_post(void *arg, gv_letter_t *letter)
{
    (void)arg;
    SURE(letter_count < LETTERS_MAX, "no room for letters");
    letters[letter_count++] = letter;
}

static void on_answered(void *arg, uint64_t token, bool is_refused)
{
    SURE(arg == &answers, "a wrong argument");
    SURE(token < TOKENS_MAX && answers[token] == 0, "token %" PRIu64 " is answered twice", token);
    answers[token] = is_refused ? -1 : 1;
    if (on_inbox_done != NULL) {
        on_inbox_done(token, is_refused);
    }
}

static void start(void)
{
    gv_inbox_options_t options = {
        .store = store, .post = on_post, .answered = on_answered, .arg = &answers};
    gv_inbox_new(&options, &inbox);
    ck_assert_int_eq(gv_inbox_load(inbox), GV_OK);
    for (unsigned i = 0; i < SHARDS; i++) {
        gv_store_lane_init(&lanes[i], store, on_post, NULL);
    }
}

static void open_store(uint64_t seed, gv_store_sync_t sync)
{
    gv_mem_options_t options = {.seed = seed, .sync = sync};
    gv_mem_store_new(&options, &store);
    memset(answers, 0, sizeof(answers));
    memset(shard_answers, 0, sizeof(shard_answers));
    memset(missing, 0, sizeof(missing));
    on_shards_done = NULL;
    on_inbox_done = NULL;
    start();
}

static void set_up(void)
{
    run = 7;
    open_store(1, GV_STORE_SYNC_COMMIT);
}

static void deliver_letters(size_t count)
{
    while (count-- > 0 && letter_count > 0) {
        gv_letter_t *letter = letters[0];
        memmove(letters, letters + 1, --letter_count * sizeof(letters[0]));
        letter->deliver(letter);
    }
}

static void drop_part(part_t **partp)
{
    if (*partp != NULL) {
        gv_batch_free(&(*partp)->batch);
        free(*partp);
        *partp = NULL;
    }
}

static void on_part_stored(gv_err_t result, void *arg)
{
    part_t *part = arg;
    size_t at = 0;
    while (parts[at] != part) {
        at++;
    }
    parts[at] = parts[--part_count];
    for (size_t i = 0; i < part->count; i++) {
        uint64_t token = part->tokens[i];
        if (token == 0) {
            continue;
        }
        if (shard_answers[token] >= 0) {
            shard_answers[token] = result == GV_OK ? 1 : -1;
        }
        SURE(missing[token] > 0, "token %" PRIu64 " is answered twice", token);
        if (--missing[token] == 0 && on_shards_done != NULL) {
            on_shards_done(token, shard_answers[token] < 0);
        }
    }
    drop_part(&part);
}

static part_t *part_of(unsigned shard)
{
    if (open_parts[shard] == NULL) {
        open_parts[shard] = calloc(1, sizeof(part_t));
        SURE(open_parts[shard] != NULL, "no memory");
        open_parts[shard]->shard = shard;
        gv_batch_new(&open_parts[shard]->batch);
    }
    return open_parts[shard];
}

/* The shard's open part cannot be written. */
static void spoil(unsigned shard)
{
    ck_assert_ptr_null(gv_batch_put_room(part_of(shard)->batch, GV_TABLE_RETAINED,
                                         GV_BYTES_LITERAL("huge"), (size_t)1 << 32));
}

/* A row is (shard, its place) -> (node, number). */
static void give_to_shard(unsigned shard, const gv_node_id_t *from, uint64_t number, uint64_t token)
{
    part_t *part = part_of(shard);
    SURE(part->count < PART_MAX, "no room in a part");
    uint8_t key[9] = {(uint8_t)shard};
    uint8_t value[9] = {from->bytes[0]};
    gv_writer_t w = gv_writer(key + 1, 8);
    gv_writer_u64(&w, ++rows);
    w = gv_writer(value + 1, 8);
    gv_writer_u64(&w, number);
    gv_batch_append(part->batch, GV_TABLE_RETAINED, gv_bytes(key, 9), gv_bytes(value, 9));
    gv_batch_join(part->batch, ++joins, 2);
    gv_inbox_join(inbox, joins);
    part->tokens[part->count++] = token;
    missing[token]++;
}

/* As a journal does it. */
static void shard_turn_end(unsigned shard)
{
    part_t *part = open_parts[shard];
    open_parts[shard] = NULL;
    if (part == NULL) {
        return;
    }
    if (gv_store_lane_pending(&lanes[shard]) > 0) {
        gv_batch_follow(part->batch);
    }
    SURE(part_count < PARTS_MAX, "no room for parts");
    parts[part_count++] = part;
    gv_store_submit(&lanes[shard], &part->batch, on_part_stored, part);
}

static void turn_end(void)
{
    gv_inbox_turn_end(inbox);
    shard_turn_end(0);
    shard_turn_end(1);
}

static void settle(void)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        turn_end();
        while (gv_mem_store_step(store)) {
            quiet = 0;
        }
        deliver_letters(LETTERS_MAX);
    }
}

static void stop(void)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        drop_part(&open_parts[i]);
    }
    while (part_count > 0) {
        drop_part(&parts[--part_count]);
    }
    gv_inbox_free(&inbox);
}

static void tear_down(void)
{
    gv_mem_store_set_fault(store, GV_OK, 0);
    settle();
    stop();
    gv_store_close(&store);
}

static void crash(gv_mem_crash_t how)
{
    deliver_letters(LETTERS_MAX); /* what was posted is heard before */
    gv_mem_store_crash(store, how);
    stop();
    start();
}

static gv_err_t take_cursor(const uint8_t *node_id, const gv_link_cursor_t *cursor, void *arg)
{
    uint64_t *cursors = arg; /* by the first byte of the node's id */
    SURE(node_id[0] < 16, "not one of ours");
    SURE(cursor->run == run, "of another run");
    cursors[node_id[0]] = cursor->number;
    return GV_OK;
}

/* On the disk; 0: none. */
static uint64_t cursor_of(const gv_node_id_t *node)
{
    uint64_t cursors[16] = {0};
    ck_assert_int_eq(gv_link_record_scan(store, take_cursor, cursors), GV_OK);
    return cursors[node->bytes[0]];
}

static gv_err_t count_row(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    (void)value;
    ++*(size_t *)arg;
    return GV_OK;
}

static size_t rows_on_disk(void)
{
    size_t count = 0;
    ck_assert_int_eq(gv_store_scan(store, GV_TABLE_RETAINED, count_row, &count), GV_OK);
    return count;
}

static gv_inbox_verdict_t judge_of(const gv_node_id_t *node, uint64_t number, uint64_t previous,
                                   uint64_t token)
{
    gv_forward_exact_t exact = {.run = run, .number = number, .previous = previous};
    return gv_inbox_judge(inbox, node, &exact, token);
}

static gv_inbox_verdict_t judge(uint64_t number, uint64_t previous, uint64_t token)
{
    return judge_of(&node_a, number, previous, token);
}

/* A new message, for one shard. */
static void take(uint64_t number, uint64_t previous, unsigned shard, uint64_t token)
{
    ck_assert_int_eq(judge(number, previous, 0), GV_INBOX_NEW);
    give_to_shard(shard, &node_a, number, token);
}

/* ---- verdicts -------------------------------------------------------------------------------- */

START_TEST(a_message_is_new_then_pending_then_known)
{
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(5, 0, 1), GV_INBOX_PENDING);
    gv_inbox_turn_end(inbox);
    ck_assert_int_eq(judge(5, 0, 2), GV_INBOX_PENDING);
    ck_assert_int_eq(judge(4, 0, 3), GV_INBOX_PENDING); /* as good as: 5 says all before it came */
    ck_assert_int_eq(answers[1], 0);
    settle();
    for (unsigned token = 1; token <= 3; token++) {
        ck_assert_int_eq(answers[token], 1);
    }
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_KNOWN);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_KNOWN);
    ck_assert_uint_eq(cursor_of(&node_a), 5);
    ck_assert_int_eq(judge_of(&node_b, 5, 0, 0), GV_INBOX_NEW);
    ck_assert_uint_eq(cursor_of(&node_b), 0);
    settle();
    ck_assert_uint_eq(cursor_of(&node_b), 5);
    ck_assert_uint_eq(cursor_of(&node_a), 5);
}
END_TEST

START_TEST(a_sender_that_lies_is_refused)
{
    ck_assert_int_eq(judge(0, 0, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(5, 5, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(5, 6, 0), GV_INBOX_REFUSED);
    settle();
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->batches), 0);
    ck_assert_int_eq(judge(UINT64_MAX, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(0, 0, 0), GV_INBOX_REFUSED);
    settle();
    ck_assert_int_eq(judge(UINT64_MAX, UINT64_MAX - 1, 0), GV_INBOX_KNOWN);
}
END_TEST

START_TEST(a_new_run_counts_from_the_beginning)
{
    ck_assert_int_eq(judge(8, 0, 0), GV_INBOX_NEW);
    settle();
    run = 3;
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_REFUSED); /* the first one has not come */
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(2, 1, 1), GV_INBOX_PENDING);
    run = 7; /* nobody has heard of the new one's durability, and the old cursor holds */
    ck_assert_int_eq(judge(8, 0, 0), GV_INBOX_KNOWN);
    run = 3;
    settle();
    ck_assert_int_eq(answers[1], 1);
    ck_assert_int_eq(judge(2, 0, 0), GV_INBOX_KNOWN);
    crash(GV_MEM_CRASH_POWER);
    ck_assert_uint_eq(cursor_of(&node_a), 2);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_KNOWN);
    ck_assert_int_eq(judge(3, 2, 0), GV_INBOX_NEW);
}
END_TEST

START_TEST(what_was_sent_before_must_have_come)
{
    ck_assert_int_eq(judge(5, 4, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(4, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(5, 4, 0), GV_INBOX_NEW);
    gv_inbox_turn_end(inbox);
    ck_assert_int_eq(judge(9, 7, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(9, 5, 0), GV_INBOX_NEW); /* there need not be a 6 */
    settle();
    ck_assert_int_eq(judge(12, 11, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(12, 9, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(20, 0, 0), GV_INBOX_NEW); /* all before it are settled */
    ck_assert_int_eq(judge_of(&node_b, 12, 9, 0), GV_INBOX_REFUSED);
}
END_TEST

/* ---- failures -------------------------------------------------------------------------------- */

static void refuse_by(gv_err_t fault)
{
    take(1, 0, 0, 1);
    settle();
    gv_mem_store_set_fault(store, fault, 100);
    take(2, 1, 0, 2);
    turn_end();
    take(3, 2, 0, 3);
    ck_assert_int_eq(judge(2, 1, 4), GV_INBOX_PENDING);
    ck_assert_int_eq(judge(3, 2, 5), GV_INBOX_PENDING);
    settle();
    for (unsigned token = 2; token <= 3; token++) {
        ck_assert_int_eq(shard_answers[token], -1);
        ck_assert_int_eq(answers[token + 2], -1);
    }
    gv_mem_store_set_fault(store, GV_OK, 0);
    ck_assert_uint_eq(cursor_of(&node_a), 1);
    ck_assert_int_eq(judge(4, 3, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(3, 2, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_KNOWN);
    take(2, 0, 0, 6);
    take(3, 2, 0, 7);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 3);
    ck_assert_uint_eq(rows_on_disk(), 3);
}

START_TEST(a_disk_that_fails_leaves_the_cursors_where_they_were)
{
    refuse_by(GV_ERR_IO);
}
END_TEST

START_TEST(so_does_a_disk_that_is_full)
{
    refuse_by(GV_ERR_FULL);
}
END_TEST

/* What is promised already has to go through; whether more is promised, the shards decide. */
START_TEST(a_cursor_may_use_the_reserve)
{
    stop();
    gv_store_close(&store);
    gv_mem_options_t options = {.seed = 1, .size_bytes = 4096, .reserve_bytes = 4096};
    gv_mem_store_new(&options, &store);
    start();
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(1, 0, 1), GV_INBOX_PENDING);
    settle();
    ck_assert_int_eq(answers[1], 1);
    take(2, 1, 0, 2);
    settle();
    ck_assert_int_eq(shard_answers[2], -1);
    ck_assert_uint_eq(cursor_of(&node_a), 1);
}
END_TEST

/* One shard cannot write its part: the other one's, and all that came after, go with it. */
START_TEST(those_that_came_after_fail_with_it)
{
    take(1, 0, 0, 1);
    spoil(0);
    take(2, 1, 1, 2);
    turn_end();
    take(3, 2, 1, 3);
    ck_assert_int_eq(judge_of(&node_b, 1, 0, 0), GV_INBOX_NEW);
    turn_end();
    ck_assert_int_eq(judge_of(&node_b, 1, 0, 4), GV_INBOX_PENDING);
    settle();
    ck_assert_int_eq(shard_answers[1], -1);
    ck_assert_int_eq(shard_answers[2], -1);
    ck_assert_int_eq(shard_answers[3], -1);
    ck_assert_int_eq(answers[4], -1);
    ck_assert_uint_eq(rows_on_disk(), 0);
    ck_assert_uint_eq(cursor_of(&node_a) + cursor_of(&node_b), 0);
    take(1, 0, 0, 5);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 1);
}
END_TEST

/* By its end nothing else is on its way any more, and it must fail all the same. */
START_TEST(a_turn_that_hears_of_a_failure_fails_too)
{
    take(1, 0, 0, 1);
    spoil(0);
    turn_end();
    take(2, 1, 1, 2);
    ck_assert_int_eq(judge(2, 1, 3), GV_INBOX_PENDING);
    gv_mem_store_settle(store);
    deliver_letters(LETTERS_MAX);
    ck_assert_int_eq(shard_answers[1], -1);
    ck_assert_int_eq(answers[3], -1);
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_REFUSED); /* not before the next turn */
    gv_inbox_forget(inbox, &node_b);                    /* of whom there is nothing */
    settle();
    ck_assert_int_eq(shard_answers[2], -1); /* the part was not left waiting */
    ck_assert_uint_eq(cursor_of(&node_a), 0);
    ck_assert_uint_eq(rows_on_disk(), 0);
    take(1, 0, 0, 4);
    take(2, 1, 0, 5);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 2);
}
END_TEST

/* Else there would be no end of it while messages come. */
START_TEST(what_is_sent_again_does_not_follow_what_has_failed)
{
    take(1, 0, 0, 1);
    spoil(0);
    turn_end();
    take(2, 1, 1, 2);
    ck_assert_int_eq(judge(2, 1, 3), GV_INBOX_PENDING);
    turn_end();
    gv_mem_store_settle(store);
    while (answers[3] == 0) {
        deliver_letters(1);
    }
    ck_assert_int_eq(answers[3], -1); /* at once, with the first */
    ck_assert_uint_gt(letter_count, 0);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_NEW);
    gv_inbox_turn_end(inbox);
    ck_assert_int_eq(judge(1, 0, 4), GV_INBOX_PENDING); /* with the new one */
    settle();
    ck_assert_int_eq(answers[4], 1);
    ck_assert_int_eq(shard_answers[2], -1);
    ck_assert_uint_eq(cursor_of(&node_a), 1);
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_NEW);
}
END_TEST

/* ---- joins ----------------------------------------------------------------------------------- */

START_TEST(a_cursor_is_not_durable_before_what_it_stands_for)
{
    take(1, 0, 0, 1);
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_NEW);
    give_to_shard(0, &node_a, 2, 2);
    give_to_shard(1, &node_a, 2, 2);
    gv_inbox_turn_end(inbox);
    ck_assert_int_eq(judge(1, 0, 3), GV_INBOX_PENDING);
    ck_assert_int_eq(judge(3, 2, 0), GV_INBOX_NEW); /* for nobody; it waits in line */
    gv_inbox_turn_end(inbox);
    shard_turn_end(0);
    gv_mem_store_settle(store);
    deliver_letters(LETTERS_MAX);
    ck_assert_uint_eq(cursor_of(&node_a), 0);
    ck_assert_uint_eq(rows_on_disk(), 0);
    ck_assert_int_eq(judge(2, 1, 4), GV_INBOX_PENDING);
    ck_assert_int_eq(answers[3], 0);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 3);
    ck_assert_uint_eq(rows_on_disk(), 3);
    ck_assert_int_eq(answers[3], 1);
    ck_assert_int_eq(answers[4], 1);
    ck_assert_int_eq(shard_answers[2], 1);
}
END_TEST

START_TEST(a_turn_of_joins_only_is_submitted)
{
    give_to_shard(0, &node_a, 1, 1);
    settle();
    ck_assert_int_eq(shard_answers[1], 1);
    ck_assert_uint_eq(cursor_of(&node_a), 0);
}
END_TEST

START_TEST(a_turn_is_one_batch_and_one_record_for_each_node)
{
    for (uint64_t number = 1; number <= 100; number++) {
        ck_assert_int_eq(judge(number, number - 1, 0), GV_INBOX_NEW);
        ck_assert_int_eq(judge_of(&node_b, number, 0, 0), GV_INBOX_NEW);
    }
    settle();
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->batches), 1);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->changes), 2);
    settle();
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->batches), 1);
}
END_TEST

/* ---- crashes --------------------------------------------------------------------------------- */

START_TEST(a_crash_at_any_moment_leaves_the_cursor_with_its_messages)
{
    unsigned seen[5] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        for (unsigned steps = 0; steps < 10; steps++) {
            open_store(seed, GV_STORE_SYNC_COMMIT);
            for (uint64_t number = 1; number <= 4; number++) {
                take(number, number - 1, number % 2, number);
                turn_end();
            }
            for (unsigned i = 0; i < steps; i++) {
                (void)gv_mem_store_step(store);
            }
            crash(seed % 2 == 0 ? GV_MEM_CRASH_POWER : GV_MEM_CRASH_PROCESS);
            uint64_t cursor = cursor_of(&node_a);
            ck_assert_uint_eq(rows_on_disk(), cursor);
            for (uint64_t number = 1; number <= 4; number++) {
                ck_assert(shard_answers[number] != 1 || number <= cursor);
                ck_assert_int_eq(judge(number, number == cursor + 1 ? 0 : number - 1, 0),
                                 number <= cursor ? GV_INBOX_KNOWN : GV_INBOX_NEW);
            }
            seen[cursor]++;
            tear_down();
        }
    }
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_uint_gt(seen[i], 10);
    }
}
END_TEST

START_TEST(a_cursor_that_is_damaged_is_not_there)
{
    ck_assert_int_eq(judge(3, 0, 0), GV_INBOX_NEW);
    settle();
    ck_assert(gv_mem_store_damage(store, GV_TABLE_LINKS));
    ck_assert_int_eq(judge_of(&node_b, 4, 0, 0), GV_INBOX_NEW);
    settle();
    stop();
    start();
    ck_assert_uint_eq(atomic_load(&gv_store_stats(store)->damaged), 1);
    ck_assert_int_eq(judge(3, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge_of(&node_b, 4, 0, 0), GV_INBOX_KNOWN);
}
END_TEST

/* ---- forgetting ------------------------------------------------------------------------------ */

START_TEST(a_node_that_is_forgotten_begins_anew)
{
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge_of(&node_b, 6, 0, 0), GV_INBOX_NEW);
    settle();
    gv_inbox_forget(inbox, &node_a);
    ck_assert_int_eq(judge(4, 3, 0), GV_INBOX_REFUSED);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 0);
    ck_assert_uint_eq(cursor_of(&node_b), 6);
    gv_inbox_forget(inbox, &node_a); /* nothing is left to write */
    uint64_t batches = gv_counter_get(&gv_store_stats(store)->batches);
    settle();
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->batches), batches);
    ck_assert_int_eq(judge(4, 0, 0), GV_INBOX_NEW);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 4);
}
END_TEST

START_TEST(what_was_on_its_way_does_not_bring_it_back)
{
    take(5, 0, 0, 1);
    turn_end();
    ck_assert_int_eq(judge(5, 0, 2), GV_INBOX_PENDING);
    take(6, 5, 0, 3); /* in the turn in which it is forgotten */
    ck_assert_int_eq(judge(6, 5, 4), GV_INBOX_PENDING);
    gv_inbox_forget(inbox, &node_a);
    settle();
    ck_assert_int_eq(shard_answers[1], 1);
    ck_assert_int_eq(shard_answers[3], 1);
    ck_assert_int_eq(answers[2], 1);
    ck_assert_int_eq(answers[4], 1);
    ck_assert_uint_eq(cursor_of(&node_a), 0);
    ck_assert_int_eq(judge(7, 6, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_NEW);
}
END_TEST

/* It is back at once, with smaller numbers, while all of it is on its way. */
START_TEST(old_numbers_are_not_taken_for_those_of_the_new_life)
{
    take(50, 0, 0, 1);
    turn_end();
    take(51, 50, 0, 2);
    gv_inbox_forget(inbox, &node_a);
    take(3, 0, 1, 3);
    gv_inbox_turn_end(inbox);
    ck_assert_int_eq(judge(3, 0, 4), GV_INBOX_PENDING);
    ck_assert_int_eq(judge(5, 4, 0), GV_INBOX_REFUSED);
    take(5, 3, 1, 5);
    gv_inbox_turn_end(inbox);
    shard_turn_end(0);
    gv_mem_store_settle(store); /* 50 becomes durable; the others wait for the shard of 3 */
    deliver_letters(LETTERS_MAX);
    ck_assert_uint_eq(cursor_of(&node_a), 50);
    ck_assert_int_eq(answers[4], 0);
    ck_assert_int_eq(judge(4, 3, 6), GV_INBOX_PENDING);
    spoil(1);
    settle();
    ck_assert_int_eq(answers[4], -1);
    ck_assert_int_eq(answers[6], -1);
    ck_assert_int_eq(judge(5, 3, 0), GV_INBOX_REFUSED);
    take(3, 0, 1, 7);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 3);
    ck_assert_int_eq(judge(3, 0, 0), GV_INBOX_KNOWN);
    ck_assert_int_eq(judge(5, 3, 0), GV_INBOX_NEW);
}
END_TEST

START_TEST(a_deletion_that_fails_goes_with_the_next_batch)
{
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_NEW);
    settle();
    gv_mem_store_set_fault(store, GV_ERR_IO, 100);
    gv_inbox_forget(inbox, &node_a);
    settle();
    gv_mem_store_set_fault(store, GV_OK, 0);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 5);
    ck_assert_int_eq(judge_of(&node_b, 1, 0, 0), GV_INBOX_NEW);
    settle();
    ck_assert_uint_eq(cursor_of(&node_a), 0);
    ck_assert_uint_eq(cursor_of(&node_b), 1);
    ck_assert_int_eq(judge(5, 0, 0), GV_INBOX_NEW);
}
END_TEST

/* ---- the end --------------------------------------------------------------------------------- */

START_TEST(after_the_end_nothing_is_asked_of_the_store)
{
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_NEW);
    settle();
    take(2, 1, 0, 1);
    ck_assert_int_eq(judge(2, 1, 2), GV_INBOX_PENDING);
    gv_inbox_finish(inbox); /* the turn goes, its shard may wait for it */
    shard_turn_end(0);
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(2, 1, 0), GV_INBOX_REFUSED);
    ck_assert_int_eq(judge(3, 2, 0), GV_INBOX_REFUSED);
    gv_inbox_forget(inbox, &node_a);
    gv_inbox_join(inbox, 1000);
    settle();
    ck_assert_int_eq(shard_answers[1], 1);
    ck_assert_int_eq(answers[2], 1);
    ck_assert_uint_eq(cursor_of(&node_a), 2);
}
END_TEST

START_TEST(a_store_that_closes_answers_what_still_waits)
{
    take(1, 0, 0, 1);
    ck_assert_int_eq(judge(1, 0, 2), GV_INBOX_PENDING);
    gv_inbox_finish(inbox);
    gv_store_close(&store); /* the shard never came to its part */
    deliver_letters(LETTERS_MAX);
    ck_assert_int_eq(answers[2], -1);
    stop();
    set_up(); /* for who tears down */
}
END_TEST

START_TEST(an_inbox_goes_with_what_it_has_in_its_hands)
{
    ck_assert_int_eq(judge(1, 0, 0), GV_INBOX_NEW);
    ck_assert_int_eq(judge(1, 0, 1), GV_INBOX_PENDING);
    gv_inbox_free(&inbox);
    ck_assert_ptr_null(inbox);
    ck_assert_int_eq(answers[1], 0);
    start();
}
END_TEST

/* ---- a cluster of senders, at random --------------------------------------------------------- */

enum {
    SENDERS = 3,
    MESSAGES = 40, /* of each */
    WINDOW = 8,
    STEPS = 2000, /* of trouble; then all is well */
    STEPS_MAX = 200000,
    SEEDS = 1000,
};

typedef struct message {
    uint64_t number;
    uint8_t shards; /* mask */
    bool is_settled;
} message_t;

/* A message on its way; its number in `transits` is its token. */
typedef struct transit {
    unsigned sender;
    unsigned message;
    unsigned life;  /* of the link */
    unsigned round; /* of the sender */
    uint64_t previous;
} transit_t;

/*
 * Hands its messages over in order, a window of them at a time.  Upon a refusal it begins again
 * with the first that is not settled; when the link has broken, too.
 */
typedef struct sender {
    gv_node_id_t id;
    message_t messages[MESSAGES];
    unsigned published; /* so many there are by now; they come in bursts */
    unsigned next;
    unsigned begun; /* where the round did */
    unsigned far;   /* it has ever come */
    unsigned safe;  /* before it: settled on its disk, too */
    unsigned life;
    unsigned round;
    uint64_t link[TOKENS_MAX]; /* tokens, in order */
    size_t link_first;
    size_t link_end;
    bool may_be_gone; /* forgotten, and nothing that is settled has been written since */
    unsigned gone_at; /* so far it had come when it was forgotten */
} sender_t;

typedef struct answer {
    uint64_t token;
    bool is_refused;
} answer_t;

static struct {
    uint64_t seed;
    gv_rng_t rng;
    sender_t senders[SENDERS];
    transit_t transits[TOKENS_MAX];
    uint64_t transit_count;
    answer_t answers[TOKENS_MAX];
    size_t answer_count;
    size_t seen[4]; /* by verdict */
    size_t crashes;
    size_t forgotten;
    size_t failed; /* refused by shards */
} model;

static bool chance(uint32_t percent)
{
    return gv_rng_chance(&model.rng, percent);
}

static void add_answer(uint64_t token, bool is_refused)
{
    SURE(model.answer_count < TOKENS_MAX, "no room for answers");
    model.answers[model.answer_count++] = (answer_t){.token = token, .is_refused = is_refused};
}

static void on_model_shards_done(uint64_t token, bool is_refused)
{
    model.failed += is_refused;
    add_answer(token, is_refused);
}

static unsigned first_unsettled(const sender_t *sender)
{
    unsigned first = 0;
    while (first < MESSAGES && sender->messages[first].is_settled) {
        first++;
    }
    return first;
}

static void begin_again(sender_t *sender)
{
    sender->round++;
    sender->begun = first_unsettled(sender);
    sender->next = sender->begun;
}

/* What was on the link is lost, and so are the answers. */
static void break_link(sender_t *sender)
{
    sender->life++;
    sender->link_first = sender->link_end;
    begin_again(sender);
}

static uint64_t previous_of(const sender_t *sender)
{
    for (unsigned i = sender->next; i-- > sender->begun;) {
        if (!sender->messages[i].is_settled) {
            return sender->messages[i].number;
        }
    }
    return 0;
}

static void hand_over(unsigned which)
{
    sender_t *sender = &model.senders[which];
    while (sender->next < MESSAGES && sender->messages[sender->next].is_settled) {
        sender->next++;
    }
    unsigned first = first_unsettled(sender);
    if (sender->next == sender->published && sender->published < MESSAGES && chance(8)) {
        unsigned left = MESSAGES - sender->published;
        sender->published += 1 + gv_rng_below(&model.rng, left < 12 ? left : 12);
    }
    if (sender->next == sender->published || sender->next == first + WINDOW) {
        return;
    }
    uint64_t token = ++model.transit_count;
    SURE(token < TOKENS_MAX, "no room for tokens");
    model.transits[token] = (transit_t){.sender = which,
                                        .message = sender->next,
                                        .life = sender->life,
                                        .round = sender->round,
                                        .previous = previous_of(sender)};
    sender->link[sender->link_end++] = token;
    sender->next++;
    sender->far = sender->next > sender->far ? sender->next : sender->far;
}

static void receive(sender_t *sender)
{
    if (sender->link_first == sender->link_end) {
        return;
    }
    uint64_t token = sender->link[sender->link_first++];
    const transit_t *transit = &model.transits[token];
    const message_t *message = &sender->messages[transit->message];
    gv_inbox_verdict_t verdict = judge_of(&sender->id, message->number, transit->previous, token);
    model.seen[verdict]++;
    if (verdict == GV_INBOX_NEW) {
        for (unsigned shard = 0; shard < SHARDS; shard++) {
            if ((message->shards & 1U << shard) != 0) {
                give_to_shard(shard, &sender->id, message->number, token);
            }
        }
    } else if (verdict != GV_INBOX_PENDING) {
        add_answer(token, verdict == GV_INBOX_REFUSED);
    }
}

static void hear_answer(void)
{
    if (model.answer_count == 0) {
        return;
    }
    size_t at = gv_rng_below(&model.rng, (uint32_t)model.answer_count);
    answer_t answer = model.answers[at];
    model.answers[at] = model.answers[--model.answer_count];
    const transit_t *transit = &model.transits[answer.token];
    sender_t *sender = &model.senders[transit->sender];
    if (transit->life != sender->life) {
        return;
    }
    if (!answer.is_refused) {
        sender->messages[transit->message].is_settled = true;
        sender->may_be_gone = sender->may_be_gone && transit->message < sender->gone_at;
    } else if (transit->round == sender->round) {
        begin_again(sender);
    }
}

/* What was settled last may not have been on its disk. */
static void crash_sender(sender_t *sender)
{
    unsigned first = first_unsettled(sender);
    unsigned back = first > sender->safe ? gv_rng_below(&model.rng, first - sender->safe + 1) : 0;
    for (unsigned i = first - back; i < first; i++) {
        sender->messages[i].is_settled = chance(50);
    }
    sender->safe = first_unsettled(sender);
    break_link(sender);
}

/* All it ever sent is settled, and on its disk. */
static void forget_sender(sender_t *sender)
{
    unsigned first = first_unsettled(sender);
    if (first == 0 || first < sender->far) {
        return;
    }
    break_link(sender);
    sender->safe = first;
    sender->may_be_gone = true;
    sender->gone_at = first;
    gv_inbox_forget(inbox, &sender->id);
    model.forgotten++;
}

/* What the rows say. */
typedef struct sight {
    uint8_t shards[SENDERS][MESSAGES];
    uint64_t newest[SHARDS][SENDERS];
} sight_t;

static gv_err_t see_row(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    sight_t *sight = arg;
    unsigned shard = key.data[0];
    unsigned which = value.data[0] - 1U;
    gv_reader_t r = gv_reader(gv_bytes(value.data + 1, 8));
    uint64_t number = gv_reader_u64(&r);
    unsigned i = 0;
    while (model.senders[which].messages[i].number != number) {
        i++;
        SURE(i < MESSAGES, "a message that nobody sent");
    }
    SURE((sight->shards[which][i] & 1U << shard) == 0, "seed %" PRIu64 ": %u of %u came twice",
         model.seed, i, which);
    SURE(number > sight->newest[shard][which], "seed %" PRIu64 ": %u of %u came late", model.seed,
         i, which);
    sight->shards[which][i] |= (uint8_t)(1U << shard);
    sight->newest[shard][which] = number;
    return GV_OK;
}

/* What is on the disk is what the cursor says, and all that was confirmed is among it. */
static void check_disk(void)
{
    sight_t sight = {0};
    uint64_t cursors[16] = {0};
    ck_assert_int_eq(gv_store_scan(store, GV_TABLE_RETAINED, see_row, &sight), GV_OK);
    ck_assert_int_eq(gv_link_record_scan(store, take_cursor, cursors), GV_OK);
    for (unsigned which = 0; which < SENDERS; which++) {
        sender_t *sender = &model.senders[which];
        uint64_t newest = 0;
        unsigned count = 0;
        for (unsigned i = 0; i < MESSAGES; i++) {
            const message_t *message = &sender->messages[i];
            uint8_t shards = sight.shards[which][i];
            SURE(shards == 0 || shards == message->shards,
                 "seed %" PRIu64 ": %u of %u came in part", model.seed, i, which);
            SURE(shards == 0 || count == i, "seed %" PRIu64 ": %u of %u has come, %u not",
                 model.seed, i, which, count);
            SURE(shards != 0 || !message->is_settled, "seed %" PRIu64 ": %u of %u is lost",
                 model.seed, i, which);
            count += shards != 0;
            newest = shards != 0 ? message->number : newest;
        }
        uint64_t cursor = cursors[sender->id.bytes[0]];
        /* A batch that failed may be there after one crash, and not after the next. */
        bool may_be_gone = sender->may_be_gone && count <= sender->gone_at;
        SURE(cursor == newest || (cursor == 0 && may_be_gone), "seed %" PRIu64 ": cursor of %u",
             model.seed, which);
    }
}

static void crash_receiver(void)
{
    gv_mem_crash_t how = gv_store_sync_mode(store) == GV_STORE_SYNC_COMMIT && chance(50)
                             ? GV_MEM_CRASH_POWER
                             : GV_MEM_CRASH_PROCESS;
    crash(how);
    model.crashes++;
    model.answer_count = 0;
    for (unsigned i = 0; i < SENDERS; i++) {
        break_link(&model.senders[i]);
    }
    check_disk();
}

static void make_trouble(void)
{
    sender_t *sender = &model.senders[gv_rng_below(&model.rng, SENDERS)];
    switch (gv_rng_below(&model.rng, 8)) {
    case 0:
        crash_receiver();
        break;
    case 1:
        crash_sender(sender);
        break;
    case 2:
        break_link(sender);
        break;
    case 3:
        gv_mem_store_set_fault(store, chance(50) ? GV_ERR_IO : GV_ERR_FULL, 30);
        break;
    case 4:
    case 5:
        gv_mem_store_set_fault(store, GV_OK, 0);
        break;
    case 6:
        spoil(gv_rng_below(&model.rng, SHARDS));
        break;
    default:
        forget_sender(sender);
    }
}

static void live_on(void)
{
    uint32_t what = gv_rng_below(&model.rng, 100);
    unsigned which = gv_rng_below(&model.rng, SENDERS);
    if (what < 20) {
        hand_over(which);
    } else if (what < 40) {
        receive(&model.senders[which]);
    } else if (what < 52) {
        gv_inbox_turn_end(inbox);
    } else if (what < 66) {
        shard_turn_end(gv_rng_below(&model.rng, SHARDS));
    } else if (what < 82) {
        (void)gv_mem_store_step(store);
    } else if (what < 90) {
        deliver_letters(1 + gv_rng_below(&model.rng, 3));
    } else {
        hear_answer();
    }
}

static bool is_all_settled(void)
{
    bool is_all = true;
    for (unsigned i = 0; i < SENDERS; i++) {
        is_all = is_all && first_unsettled(&model.senders[i]) == MESSAGES;
    }
    return is_all;
}

static void make_senders(void)
{
    for (unsigned which = 0; which < SENDERS; which++) {
        sender_t *sender = &model.senders[which];
        *sender = (sender_t){.id = {.bytes = {(uint8_t)(which + 1)}}};
        uint64_t number = chance(50) ? 0 : UINT64_C(1) << 57;
        for (unsigned i = 0; i < MESSAGES; i++) {
            number += 1 + gv_rng_below(&model.rng, 3);
            sender->messages[i] = (message_t){
                .number = number,
                .shards = (uint8_t)(1 + gv_rng_below(&model.rng, (1U << SHARDS) - 1)),
            };
        }
    }
}

static void live(uint64_t seed)
{
    model.seed = seed;
    gv_rng_init(&model.rng, seed, 1);
    model.transit_count = 0;
    model.answer_count = 0;
    make_senders();
    on_shards_done = on_model_shards_done;
    on_inbox_done = add_answer;
    uint32_t trouble = gv_rng_below(&model.rng, 40); /* of 1000 */
    unsigned step = 0;
    for (; step < STEPS || !is_all_settled(); step++) {
        SURE(step < STEPS_MAX, "seed %" PRIu64 ": it does not end", seed);
        if (step == STEPS) {
            gv_mem_store_set_fault(store, GV_OK, 0);
        }
        if (step < STEPS && gv_rng_below(&model.rng, 1000) < trouble) {
            make_trouble();
        } else {
            live_on();
        }
    }
    settle();
    check_disk();
}

START_TEST(each_message_comes_once_and_in_order)
{
    model.crashes = 0;
    model.forgotten = 0;
    model.failed = 0;
    memset(model.seen, 0, sizeof(model.seen));
    uint64_t first = test_seed("broker/core/inbox");
    for (uint64_t seed = first; seed < first + SEEDS; seed++) {
        open_store(seed, seed % 3 == 0 ? GV_STORE_SYNC_INTERVAL : GV_STORE_SYNC_COMMIT);
        live(seed);
        tear_down();
    }
    /* A check that has seen only one side of it checks nothing. */
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_uint_gt(model.seen[i], SEEDS);
    }
    ck_assert_uint_gt(model.crashes, SEEDS / 4);
    ck_assert_uint_gt(model.forgotten, SEEDS / 10);
    ck_assert_uint_gt(model.failed, SEEDS);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/inbox");
    TCase *tcase = tcase_create("inbox");
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, a_message_is_new_then_pending_then_known);
    tcase_add_test(tcase, a_sender_that_lies_is_refused);
    tcase_add_test(tcase, a_new_run_counts_from_the_beginning);
    tcase_add_test(tcase, what_was_sent_before_must_have_come);
    tcase_add_test(tcase, a_disk_that_fails_leaves_the_cursors_where_they_were);
    tcase_add_test(tcase, so_does_a_disk_that_is_full);
    tcase_add_test(tcase, a_cursor_may_use_the_reserve);
    tcase_add_test(tcase, those_that_came_after_fail_with_it);
    tcase_add_test(tcase, a_turn_that_hears_of_a_failure_fails_too);
    tcase_add_test(tcase, what_is_sent_again_does_not_follow_what_has_failed);
    tcase_add_test(tcase, a_cursor_is_not_durable_before_what_it_stands_for);
    tcase_add_test(tcase, a_turn_of_joins_only_is_submitted);
    tcase_add_test(tcase, a_turn_is_one_batch_and_one_record_for_each_node);
    tcase_add_test(tcase, a_cursor_that_is_damaged_is_not_there);
    tcase_add_test(tcase, a_node_that_is_forgotten_begins_anew);
    tcase_add_test(tcase, what_was_on_its_way_does_not_bring_it_back);
    tcase_add_test(tcase, old_numbers_are_not_taken_for_those_of_the_new_life);
    tcase_add_test(tcase, a_deletion_that_fails_goes_with_the_next_batch);
    tcase_add_test(tcase, after_the_end_nothing_is_asked_of_the_store);
    tcase_add_test(tcase, a_store_that_closes_answers_what_still_waits);
    tcase_add_test(tcase, an_inbox_goes_with_what_it_has_in_its_hands);
    suite_add_tcase(suite, tcase);
    TCase *random = tcase_create("random");
    tcase_set_timeout(random, 120);
    tcase_add_test(random, a_crash_at_any_moment_leaves_the_cursor_with_its_messages);
    tcase_add_test(random, each_message_comes_once_and_in_order);
    suite_add_tcase(suite, random);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
