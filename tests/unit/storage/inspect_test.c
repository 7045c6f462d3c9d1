/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/inspect.h"

#include <fcntl.h>

#include "base/rng.h"

#include "proto/record.pb-c.h"
#include "proto/segment.h"

#include "storage/identity.h"
#include "storage/link_store.h"
#include "storage/payload_store.h"
#include "storage/records.h"
#include "storage/session_store.h"

#include "tests/unit/seed.h"
#include "tests/unit/storage/fixture.h"

enum {
    FINDINGS_MAX = 60
};

typedef struct found {
    size_t count;
    char lines[FINDINGS_MAX][256]; /* "TABLE KEY: TEXT" */
} found_t;

static void on_finding(const gv_inspect_finding_t *finding, void *arg)
{
    found_t *found = arg;
    ck_assert_uint_lt(found->count, FINDINGS_MAX);
    (void)snprintf(found->lines[found->count++], sizeof(found->lines[0]), "%s %s: %s",
                   finding->table, finding->key, finding->text);
}

static void assert_found(const found_t *found, const char *line)
{
    size_t i = 0;
    while (i < found->count && strcmp(found->lines[i], line) != 0) {
        i++;
    }
    ck_assert_msg(i < found->count, "not found: %s", line);
}

static gv_inspect_t stats_of(const workdir_t *dir)
{
    gv_inspect_t inspect;
    char why[256] = "";
    gv_err_t err = gv_inspect_stats(dir->path, &inspect, why, sizeof(why));
    ck_assert_msg(err == GV_OK, "%s: %s", gv_err_text(err), why);
    return inspect;
}

static gv_inspect_t check(const workdir_t *dir, found_t *found)
{
    gv_inspect_t inspect;
    char why[256] = "";
    *found = (found_t){.count = 0};
    gv_err_t err = gv_inspect_check(dir->path, &inspect, on_finding, found, why, sizeof(why));
    ck_assert_msg(err == GV_OK, "%s: %s", gv_err_text(err), why);
    return inspect;
}

static const gv_inspect_table_t *table_of(const gv_inspect_t *inspect, gv_table_t table)
{
    ck_assert_uint_eq(inspect->table_count, GV_TABLE_COUNT);
    ck_assert_str_eq(inspect->tables[table].name, gv_table_name(table));
    return &inspect->tables[table];
}

static void write_batch(gv_store_t *store, gv_batch_t **batch)
{
    ck_assert_ok(gv_store_write(store, batch));
}

static void open_identity(gv_store_t *store)
{
    gv_identity_options_t options = {
        .node_name = "north", .cluster_name = "vineyard", .where = "here", .fresh_node_id = {0xab}};
    gv_identity_t identity;
    char why[256];
    ck_assert_ok(gv_identity_open(store, &options, &identity, why, sizeof(why)));
}

static void put_session(gv_batch_t *batch, const char *client_id, uint64_t uid)
{
    gv_session_put(batch, &(gv_stored_session_t){.client_id = text(client_id), .uid = uid});
}

static void put_subscription(gv_batch_t *batch, uint64_t uid, const char *filter)
{
    gv_subscription_put(batch, &(gv_stored_subscription_t){.uid = uid, .filter = text(filter)});
}

START_TEST(a_sound_store_has_counts_and_no_findings)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    open_identity(store);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    put_session(batch, "a", 1);
    put_session(batch, "b", 2);
    put_subscription(batch, 2, "b/#");
    gv_will_put(batch, &(gv_stored_will_t){.uid = 1, .topic = text("will")});
    static const uint16_t ids[] = {5};
    gv_received_put(batch, 2, ids, 1);
    gv_batch_put(batch, GV_TABLE_META, text("orderly_end"), text("1"));
    write_batch(store, &batch);
    gv_store_close(&store);

    gv_inspect_t inspect = stats_of(&dir);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_META)->records, 5);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SESSIONS)->records, 2);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SESSIONS)->bytes, 4096);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_QUEUE_LOG)->bytes, 0);
    ck_assert_str_eq(inspect.node_name, "north");
    ck_assert_str_eq(inspect.cluster_name, "vineyard");
    ck_assert_str_eq(inspect.node_id, "ab000000000000000000000000000000");
    ck_assert_uint_eq(inspect.starts, 1);
    ck_assert_uint_ge(inspect.file_bytes, inspect.used_bytes + inspect.free_bytes);
    ck_assert_uint_ge(inspect.used_bytes, 7 * 4096);
    ck_assert_uint_eq(inspect.map_bytes, GV_LMDB_MAP_SIZE_DEFAULT);

    found_t found;
    inspect = check(&dir, &found);
    ck_assert_uint_eq(found.count, 0);
    ck_assert_uint_eq(inspect.damaged, 0);
    ck_assert_uint_eq(inspect.stray, 0);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SUBSCRIPTIONS)->records, 1);
    workdir_remove(&dir);
}
END_TEST

START_TEST(where_there_is_no_store_none_is_made)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_inspect_t inspect;
    char why[256];
    ck_assert_int_eq(gv_inspect_stats(dir.path, &inspect, why, sizeof(why)), GV_ERR_NOENT);
    ck_assert_ptr_nonnull(strstr(why, dir.path));
    char path[256];
    workdir_file(&dir, "grapevine.lock", path);
    ck_assert_int_ne(access(path, F_OK), 0);
    workdir_file(&dir, "missing", path);
    ck_assert_int_eq(gv_inspect_stats(path, &inspect, why, sizeof(why)), GV_ERR_NOENT);
    ck_assert_int_ne(access(path, F_OK), 0);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_store_that_a_node_has_open_is_left_alone)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_inspect_t inspect;
    found_t found = {.count = 0};
    uint64_t before;
    uint64_t after;
    char why[256];
    ck_assert_int_eq(gv_inspect_stats(dir.path, &inspect, why, sizeof(why)), GV_ERR_BUSY);
    ck_assert_int_eq(gv_inspect_check(dir.path, &inspect, on_finding, &found, why, sizeof(why)),
                     GV_ERR_BUSY);
    ck_assert_int_eq(gv_inspect_compact(dir.path, &before, &after, why, sizeof(why)), GV_ERR_BUSY);
    ck_assert_ptr_nonnull(strstr(why, "in use"));
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_check_tells_of_damaged_and_stray_records_and_changes_nothing)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    open_identity(store);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    put_session(batch, "a", 1);
    put_session(batch, "twin", 1);
    gv_batch_put(batch, GV_TABLE_SESSIONS, text("torn"), text("no record at all"));
    gv_batch_put(batch, GV_TABLE_RETAINED, text("topic"), GV_BYTES_EMPTY);
    gv_batch_put(batch, GV_TABLE_OUTBOX, text("peer"), text("x"));
    gv_batch_put(batch, GV_TABLE_LINKS, text("sixteen bytes id"), text("x"));
    gv_link_record_put(batch, (const uint8_t *)"a sound node id.",
                       &(gv_link_cursor_t){.run = 1, .number = 7});
    put_subscription(batch, 1, "mine");
    put_subscription(batch, 77, "nobody's");
    gv_will_put(batch, &(gv_stored_will_t){.uid = 78, .topic = text("will")});
    static const uint16_t ids[] = {5};
    gv_received_put(batch, 79, ids, 1);
    write_batch(store, &batch);
    gv_store_close(&store);

    for (int round = 0; round < 2; round++) {
        found_t found;
        gv_inspect_t inspect = check(&dir, &found);
        ck_assert_uint_eq(inspect.damaged, 5);
        ck_assert_uint_eq(inspect.stray, 3);
        ck_assert_uint_eq(found.count, 8);
        assert_found(&found, "sessions torn: damaged");
        assert_found(&found, "sessions 1: the number of two sessions");
        assert_found(&found, "retained topic: damaged");
        assert_found(&found, "outbox peer: damaged");
        assert_found(&found, "links sixteen bytes id: damaged");
        assert_found(&found, "subscriptions 77 nobody\\x27s: of a session that is not there");
        assert_found(&found, "wills 78 will: of a session that is not there");
        assert_found(&found, "inflight 79 : of a session that is not there");
        ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SUBSCRIPTIONS)->stray, 1);
        ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SUBSCRIPTIONS)->damaged, 0);
        ck_assert_uint_eq(table_of(&inspect, GV_TABLE_SESSIONS)->damaged, 2);
    }
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_check_tells_of_an_identity_that_is_none)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    Gv__Record__Identity message = GV__RECORD__IDENTITY__INIT;
    gv_record_put(batch, GV_TABLE_META, text("identity"), &message.base); /* without an id */
    write_batch(store, &batch);
    gv_store_close(&store);
    found_t found;
    gv_inspect_t inspect = check(&dir, &found);
    ck_assert_uint_eq(inspect.damaged, 1);
    assert_found(&found, "meta identity: damaged");
    ck_assert_str_eq(inspect.node_id, "");
    workdir_remove(&dir);
}
END_TEST

enum {
    BODY_SIZE_MAX = 256
};

/* Returns its size. */
static size_t write_body(uint8_t body[BODY_SIZE_MAX], const char *payload)
{
    gv_writer_t w = gv_writer(body, BODY_SIZE_MAX);
    gv_segment_message_t message = {.topic = text("topic"), .payload = text(payload), .qos = 1};
    gv_segment_put_body(&w, &message);
    return BODY_SIZE_MAX - gv_writer_left(&w);
}

/*
 * A segment with one message that two sessions wait for, and which may stand apart; returns its
 * image's size.
 */
static size_t write_segment(uint8_t *image, size_t image_size, uint64_t number, uint32_t body_index,
                            uint64_t apart)
{
    uint8_t bodies[BODY_SIZE_MAX];
    const uint32_t ends[] = {(uint32_t)write_body(bodies, "a-mark-in-the-body")};
    uint8_t items[256];
    gv_writer_t item = gv_writer(items, sizeof(items));
    for (uint64_t session = 1; session <= 2; session++) {
        gv_segment_delivery_t delivery = {
            .session = session, .number = 5, .body = body_index, .qos = 1};
        gv_segment_put_delivery(&item, &delivery, NULL, 0);
    }
    const bool wanted[] = {true};
    gv_segment_parts_t parts = {
        .number = number,
        .items = gv_bytes(items, sizeof(items) - gv_writer_left(&item)),
        .bodies = gv_bytes(bodies, ends[0]),
        .body_count = 1,
        .ends = ends,
        .wanted = wanted,
        .apart = &apart,
    };
    size_t size = gv_segment_size(&parts);
    ck_assert_uint_le(size, image_size);
    gv_segment_write(image, &parts);
    return size;
}

static void put_image(gv_batch_t *batch, uint64_t number, const uint8_t *image, size_t size)
{
    gv_key_t key;
    gv_key_from_number(&key, number);
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, gv_key_bytes(&key), gv_bytes(image, size));
}

START_TEST(a_check_reads_every_message_of_the_log)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    uint8_t image[1024];
    size_t size = write_segment(image, sizeof(image), 1, 0, 0);
    put_image(batch, 1, image, size);
    put_image(batch, 2, image, size); /* its number is another */
    size = write_segment(image, sizeof(image), 3, 0, 0);
    image[size - 1] ^= 1; /* in the last body */
    put_image(batch, 3, image, size);
    size = write_segment(image, sizeof(image), 4, 1, 0); /* of a body that is not there */
    put_image(batch, 4, image, size);
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, text("short"), text("no segment"));
    write_batch(store, &batch);
    gv_store_close(&store);

    found_t found;
    gv_inspect_t inspect = check(&dir, &found);
    ck_assert_uint_eq(inspect.damaged, 4);
    ck_assert_uint_eq(found.count, 4);
    assert_found(&found, "queue_log 2: damaged");
    assert_found(&found, "queue_log 3: a message in it is damaged");
    assert_found(&found, "queue_log 4: damaged");
    assert_found(&found, "queue_log short: no segment's key");
    workdir_remove(&dir);
}
END_TEST

/* ---- payloads -------------------------------------------------------------------------------- */

/* A sound segment whose only message is this payload. */
static void put_referring(gv_batch_t *batch, uint64_t segment, uint64_t payload)
{
    uint8_t image[1024];
    size_t size = write_segment(image, sizeof(image), segment, 0, payload);
    put_image(batch, segment, image, size);
}

static void share(gv_batch_t *batch, uint64_t payload, uint64_t holder)
{
    uint8_t body[BODY_SIZE_MAX];
    gv_payload_share(batch, payload, holder,
                     gv_bytes(body, write_body(body, "a-mark-in-the-body")));
}

static void put_payload_record(gv_batch_t *batch, uint64_t payload, uint64_t holder,
                               const char *value)
{
    gv_key_t key;
    gv_key_from_number_pair(&key, payload, holder);
    gv_batch_put(batch, GV_TABLE_PAYLOADS, gv_key_bytes(&key), text(value));
}

static void assert_sound_payloads(const workdir_t *dir)
{
    gv_inspect_t inspect = stats_of(dir);
    uint8_t body[BODY_SIZE_MAX];
    size_t size = GV_RECORD_HEAD_SIZE + write_body(body, "a-mark-in-the-body");
    ck_assert_uint_eq(inspect.payloads, 2);
    ck_assert_uint_eq(inspect.payload_bytes, 2 * size);
    ck_assert_uint_eq(inspect.payload_holders, 3);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_PAYLOADS)->records, 5);
    found_t found;
    inspect = check(dir, &found);
    ck_assert_uint_eq(found.count, 0);
    ck_assert_uint_eq(inspect.damaged + inspect.stray, 0);
    ck_assert_uint_eq(inspect.payloads, 2);
}

START_TEST(payloads_that_segments_share_are_sound_before_and_after_compacting)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    put_referring(batch, 10, 7);
    put_referring(batch, 11, 7);
    put_referring(batch, 12, UINT64_MAX);
    put_referring(batch, 13, 0);
    share(batch, 7, 11);
    share(batch, 7, 10);
    share(batch, UINT64_MAX, 12);
    write_batch(store, &batch);
    gv_store_close(&store);

    assert_sound_payloads(&dir);
    uint64_t before;
    uint64_t after;
    char why[256] = "";
    ck_assert_ok(gv_inspect_compact(dir.path, &before, &after, why, sizeof(why)));
    assert_sound_payloads(&dir);
    workdir_remove(&dir);
}
END_TEST

/* What a segment misses is damage; what nobody misses is stray. */
static void put_disagreements(gv_batch_t *batch)
{
    put_referring(batch, 11, 2); /* neither payload nor holder */
    put_referring(batch, 12, 3); /* a holder only */
    put_payload_record(batch, 3, 12, "");
    put_referring(batch, 13, 4); /* held by another, that is not there */
    share(batch, 4, 99);
    share(batch, 5, 1); /* a payload only */
    gv_key_t key;
    gv_key_from_number_pair(&key, 5, 1);
    gv_batch_delete(batch, GV_TABLE_PAYLOADS, gv_key_bytes(&key));
    share(batch, 20, 10); /* by a segment that refers to another one */
    put_referring(batch, 10, 1);
    share(batch, 1, 10);
    put_referring(batch, 30, 50); /* above all that is there */
}

START_TEST(payloads_and_segments_that_do_not_agree_are_told_of)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    put_disagreements(batch);
    write_batch(store, &batch);
    gv_store_close(&store);

    found_t found;
    gv_inspect_t inspect = check(&dir, &found);
    assert_found(&found, "queue_log 11 payload 2: a payload that is not there");
    assert_found(&found, "queue_log 12 payload 3: a payload that is not there");
    assert_found(&found, "queue_log 13 payload 4: a payload that it does not hold");
    assert_found(&found, "queue_log 30 payload 50: a payload that is not there");
    assert_found(&found, "payloads 4 holder 99: not of a segment that refers to it");
    assert_found(&found, "payloads 5: a payload that no segment holds");
    assert_found(&found, "payloads 20 holder 10: not of a segment that refers to it");
    ck_assert_uint_eq(found.count, 7);
    ck_assert_uint_eq(inspect.damaged, 4);
    ck_assert_uint_eq(inspect.stray, 3);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_QUEUE_LOG)->damaged, 4);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_PAYLOADS)->stray, 3);
    workdir_remove(&dir);
}
END_TEST

START_TEST(damaged_payloads_and_holders_are_told_of)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    put_referring(batch, 10, 1);
    share(batch, 1, 10);
    put_payload_record(batch, 1, 10, "a holder has no value");
    put_referring(batch, 11, 2);
    share(batch, 2, 11);
    put_payload_record(batch, 2, 0, "no record");
    put_referring(batch, 12, 3);
    uint8_t body[BODY_SIZE_MAX];
    size_t size = write_body(body, "another length");
    gv_payload_share(batch, 3, 12, gv_bytes(body, size));
    put_referring(batch, 13, 4);
    gv_payload_share(batch, 4, 13, text("an intact record, and no message"));
    gv_batch_put(batch, GV_TABLE_PAYLOADS, text("short"), text("x"));
    gv_batch_append(batch, GV_TABLE_QUEUE_LOG, gv_bytes("\0\0\0\0\0\0\0\x20", 8), text("torn"));
    share(batch, 8, 32); /* what the torn one refers to nobody knows */
    put_payload_record(batch, 9, 32, "");
    write_batch(store, &batch);
    gv_store_close(&store);

    found_t found;
    gv_inspect_t inspect = check(&dir, &found);
    assert_found(&found, "payloads 1 holder 10: damaged");
    assert_found(&found, "payloads 2: damaged");
    assert_found(&found, "queue_log 12 payload 3: a payload of another length");
    assert_found(&found, "payloads 4: damaged");
    assert_found(&found, "payloads short: no payload's key");
    assert_found(&found, "queue_log 32: damaged");
    assert_found(&found, "payloads 9 holder 32: of a payload that is not there");
    ck_assert_uint_eq(found.count, 7);
    ck_assert_uint_eq(inspect.damaged, 7);
    ck_assert_uint_eq(inspect.stray, 0);
    workdir_remove(&dir);
}
END_TEST

/* What is there, and what is found, by another way: by asking for each of them. */
START_TEST(random_disagreements_are_all_found)
{
    enum {
        PAYLOADS = 12,
        SEGMENTS = 12
    };
    uint64_t seed = test_seed("disagreements");
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 0);
    for (int round = 0; round < 20; round++) {
        uint64_t refers_to[SEGMENTS + 1]; /* 0: the segment is not there */
        bool holds[PAYLOADS + 1][SEGMENTS + 1] = {{false}};
        bool is_there[PAYLOADS + 1];
        size_t holders[PAYLOADS + 1] = {0};
        workdir_t dir;
        workdir_make(&dir);
        gv_store_t *store = lmdb_open_at(&dir);
        gv_batch_t *batch;
        gv_batch_new(&batch);
        for (uint64_t segment = 1; segment <= SEGMENTS; segment++) {
            refers_to[segment] = gv_rng_below(&rng, PAYLOADS + 1);
            if (refers_to[segment] != 0) {
                put_referring(batch, segment, refers_to[segment]);
            }
        }
        for (uint64_t payload = 1; payload <= PAYLOADS; payload++) {
            for (uint64_t segment = 1; segment <= SEGMENTS; segment++) {
                bool is_meant = refers_to[segment] == payload;
                holds[payload][segment] = gv_rng_chance(&rng, is_meant ? 90 : 2);
                if (holds[payload][segment]) {
                    share(batch, payload, segment);
                    holders[payload]++;
                }
            }
            is_there[payload] = holders[payload] > 0 && gv_rng_chance(&rng, 90);
            gv_key_t key;
            gv_payload_key(&key, payload);
            if (!is_there[payload]) {
                gv_batch_delete(batch, GV_TABLE_PAYLOADS, gv_key_bytes(&key));
            }
        }
        write_batch(store, &batch);
        gv_store_close(&store);

        uint64_t damaged = 0;
        uint64_t stray = 0;
        for (uint64_t segment = 1; segment <= SEGMENTS; segment++) {
            uint64_t payload = refers_to[segment];
            damaged += payload != 0 && (!is_there[payload] || !holds[payload][segment]) ? 1 : 0;
            for (uint64_t other = 1; other <= PAYLOADS; other++) {
                stray += other != payload && holds[other][segment] ? 1 : 0;
            }
        }
        found_t found;
        gv_inspect_t inspect = check(&dir, &found);
        ck_assert_uint_eq(inspect.damaged, damaged);
        ck_assert_uint_eq(inspect.stray, stray);
        ck_assert_uint_eq(found.count, damaged + stray);
        workdir_remove(&dir);
    }
}
END_TEST

/* A node does not read the outbox when it starts; a check does. */
START_TEST(a_check_reads_every_page)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_store_t *store = lmdb_open_at(&dir);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (uint16_t i = 0; i < 500; i++) {
        uint8_t key[] = {(uint8_t)(i >> 8), (uint8_t)i};
        gv_batch_put(batch, GV_TABLE_OUTBOX, gv_bytes(key, 2), text("a-mark-in-every-record"));
    }
    write_batch(store, &batch);
    gv_store_close(&store);

    char path[256];
    workdir_file(&dir, "data.mdb", path);
    int fd = open(path, O_RDWR);
    uint8_t page[4096];
    off_t damaged = 0;
    for (off_t at = 0; damaged == 0 && pread(fd, page, sizeof(page), at) == sizeof(page);
         at += (off_t)sizeof(page)) {
        if (memmem(page, sizeof(page), "a-mark", 6) != NULL) {
            damaged = at;
        }
    }
    ck_assert_int_gt(damaged, 0);
    ck_assert_int_eq(pwrite(fd, "\xff\xff", 2, damaged + 12), 2); /* where its free space begins */
    (void)close(fd);

    (void)stats_of(&dir);
    gv_inspect_t inspect;
    found_t found = {.count = 0};
    char why[256];
    ck_assert_int_eq(gv_inspect_check(dir.path, &inspect, on_finding, &found, why, sizeof(why)),
                     GV_ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(why, "is damaged"));
    workdir_remove(&dir);
}
END_TEST

/* ---- compact ----------------------------------------------------------------------------------
 */

static void fill_and_delete(const workdir_t *dir)
{
    static const uint8_t value[10000];
    gv_store_t *store = lmdb_open_at(dir);
    for (int i = 0; i < 50; i++) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        for (int j = 0; j < 20; j++) {
            int number = 20 * i + j;
            gv_batch_put(batch, GV_TABLE_RETAINED, gv_bytes(&number, sizeof(number)),
                         gv_bytes(value, sizeof(value)));
        }
        write_batch(store, &batch);
    }
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (int number = 0; number < 990; number++) {
        gv_batch_delete(batch, GV_TABLE_RETAINED, gv_bytes(&number, sizeof(number)));
    }
    write_batch(store, &batch);
    gv_store_close(&store);
}

START_TEST(compacting_gives_free_pages_back_and_keeps_the_rest)
{
    workdir_t dir;
    workdir_make(&dir);
    fill_and_delete(&dir);
    gv_inspect_t inspect = stats_of(&dir);
    ck_assert_uint_gt(inspect.free_bytes, 8 << 20);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_RETAINED)->records, 10);

    char path[256]; /* as an attempt that was killed leaves it */
    workdir_file(&dir, "data.mdb.compact", path);
    FILE *leftover = fopen(path, "w");
    ck_assert_int_ge(fputs("half a file", leftover), 0);
    ck_assert_int_eq(fclose(leftover), 0);

    uint64_t before;
    uint64_t after;
    char why[256] = "";
    gv_err_t err = gv_inspect_compact(dir.path, &before, &after, why, sizeof(why));
    ck_assert_msg(err == GV_OK, "%s", why);
    ck_assert_uint_eq(before, inspect.file_bytes);
    ck_assert_uint_lt(after, 1 << 20);
    ck_assert_int_ne(access(path, F_OK), 0);

    gv_inspect_t compacted = stats_of(&dir);
    ck_assert_uint_eq(compacted.file_bytes, after);
    ck_assert_uint_eq(compacted.free_bytes, 0);
    ck_assert_uint_eq(compacted.map_bytes, inspect.map_bytes);
    gv_store_t *store = lmdb_open_at(&dir);
    ck_assert_uint_eq(count_records(store, GV_TABLE_RETAINED), 10);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("new"), text("value"));
    write_batch(store, &batch);
    gv_store_close(&store);
    store = lmdb_open_at(&dir);
    assert_value(store, "new", text("value"));
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_store_that_cannot_be_written_again_stays_as_it_is)
{
    workdir_t dir;
    workdir_make(&dir);
    fill_and_delete(&dir);
    char path[256];
    workdir_file(&dir, "data.mdb.compact", path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    uint64_t before;
    uint64_t after;
    char why[256] = "";
    ck_assert_int_ne(gv_inspect_compact(dir.path, &before, &after, why, sizeof(why)), GV_OK);
    ck_assert_ptr_nonnull(strstr(why, "cannot write"));
    gv_inspect_t inspect = stats_of(&dir);
    ck_assert_uint_eq(inspect.file_bytes, before);
    ck_assert_uint_eq(table_of(&inspect, GV_TABLE_RETAINED)->records, 10);
    ck_assert_int_eq(rmdir(path), 0);
    workdir_remove(&dir);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("inspect");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_sound_store_has_counts_and_no_findings);
    tcase_add_test(tc, where_there_is_no_store_none_is_made);
    tcase_add_test(tc, a_store_that_a_node_has_open_is_left_alone);
    tcase_add_test(tc, a_check_tells_of_damaged_and_stray_records_and_changes_nothing);
    tcase_add_test(tc, a_check_tells_of_an_identity_that_is_none);
    tcase_add_test(tc, a_check_reads_every_message_of_the_log);
    tcase_add_test(tc, payloads_that_segments_share_are_sound_before_and_after_compacting);
    tcase_add_test(tc, payloads_and_segments_that_do_not_agree_are_told_of);
    tcase_add_test(tc, damaged_payloads_and_holders_are_told_of);
    tcase_add_test(tc, random_disagreements_are_all_found);
    tcase_add_test(tc, a_check_reads_every_page);
    tcase_add_test(tc, compacting_gives_free_pages_back_and_keeps_the_rest);
    tcase_add_test(tc, a_store_that_cannot_be_written_again_stays_as_it_is);
    return run_case("storage", tc);
}
