/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/inspect.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

#include "proto/segment.h"

#include "storage/identity.h"
#include "storage/inspect_payloads_p.h"
#include "storage/link_store.h"
#include "storage/lmdb_store_p.h"
#include "storage/lmdb_verify_p.h"
#include "storage/member_store.h"
#include "storage/payload_store.h"
#include "storage/records.h"
#include "storage/retained_store.h"
#include "storage/room_p.h"
#include "storage/session_store.h"

/*
 * Parts of this file:
 *   sizes     what LMDB and the file system say
 *   check     every record: one part per kind of table, and the sessions everything belongs to;
 *             the payloads in inspect_payloads.c
 *   compact
 */

#define DATA_NAME    "data.mdb"
#define COMPACT_NAME "data.mdb.compact"

_Static_assert(GV_TABLE_COUNT <= GV_INSPECT_TABLES_MAX, "room for every table");
_Static_assert(GV_TABLE_QUEUE_LOG < GV_TABLE_PAYLOADS, "references are known before payloads");

/* ---- sizes ---- */

static void take_identity(gv_store_t *store, gv_inspect_t *inspect)
{
    gv_identity_t identity;
    if (gv_identity_read(store, &identity) != GV_OK) {
        return; /* none yet, or damaged, which a check tells of */
    }
    for (size_t i = 0; i < sizeof(identity.node_id); i++) {
        (void)snprintf(inspect->node_id + 2 * i, 3, "%02x", identity.node_id[i]);
    }
    (void)snprintf(inspect->node_name, sizeof(inspect->node_name), "%s", identity.node_name);
    (void)snprintf(inspect->cluster_name, sizeof(inspect->cluster_name), "%s",
                   identity.cluster_name);
    inspect->starts = identity.start_counter;
}

static gv_err_t take_tables(gv__lmdb_t *lmdb, gv_inspect_t *inspect)
{
    MDB_txn *txn = NULL;
    gv_err_t err = gv__err_from_mdb(mdb_txn_begin(lmdb->env, NULL, MDB_RDONLY, &txn));
    if (err != GV_OK) {
        return err;
    }
    inspect->table_count = GV_TABLE_COUNT;
    for (size_t t = 0; t < GV_TABLE_COUNT; t++) {
        inspect->tables[t].name = gv_table_name((gv_table_t)t);
        MDB_stat stat = {.ms_entries = 0};
        if (lmdb->tables[t] != GV__LMDB_NO_TABLE) {
            (void)mdb_stat(txn, lmdb->tables[t], &stat);
        }
        inspect->tables[t].records = stat.ms_entries;
        inspect->tables[t].bytes =
            (stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages) * stat.ms_psize;
    }
    mdb_txn_abort(txn);
    return GV_OK;
}

/* The values are not touched. */
static gv_err_t on_payload_key(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    gv_inspect_t *inspect = arg;
    uint64_t number;
    uint64_t holder;
    if (gv_payload_key_read(key, &number, &holder)) {
        inspect->payloads += holder == 0 ? 1 : 0;
        inspect->payload_bytes += holder == 0 ? value.size : 0;
        inspect->payload_holders += holder == 0 ? 0 : 1;
    }
    return GV_OK;
}

static gv_err_t take_sizes(gv__lmdb_t *lmdb, gv_inspect_t *inspect)
{
    struct stat st;
    if (fstatat(lmdb->dir.fd, DATA_NAME, &st, 0) != 0) {
        return GV_ERR_IO;
    }
    *inspect = (gv_inspect_t){
        .map_bytes = lmdb->map_bytes,
        .file_bytes = (uint64_t)st.st_size,
        .disk_bytes = (uint64_t)st.st_blocks * 512,
        .free_bytes = gv__room_free_pages(lmdb) * lmdb->page_bytes,
    };
    inspect->used_bytes = gv__room_pages(lmdb) * lmdb->page_bytes - inspect->free_bytes;
    take_identity(&lmdb->base, inspect);
    gv_err_t err = take_tables(lmdb, inspect);
    return err == GV_OK ? gv_store_scan(&lmdb->base, GV_TABLE_PAYLOADS, on_payload_key, inspect)
                        : err;
}

/* Opens and takes the sizes.  The store is the caller's to close, unless there is an error. */
static gv_err_t open_and_take_sizes(const char *directory, gv__lmdb_t **lmdb_out,
                                    gv_inspect_t *inspect, gv__why_t why)
{
    gv_err_t err = gv__lmdb_open_offline(directory, lmdb_out, why);
    if (err != GV_OK) {
        return err;
    }
    err = take_sizes(*lmdb_out, inspect);
    if (err != GV_OK) {
        gv__why_set(why, "cannot read the store in '%s': %s", directory, gv_err_text(err));
        gv_store_t *store = &(*lmdb_out)->base;
        gv_store_close(&store);
    }
    return err;
}

gv_err_t gv_inspect_stats(const char *directory, gv_inspect_t *inspect_out, char *why,
                          size_t why_size)
{
    GV_ASSERT(why_size > 0);
    gv__lmdb_t *lmdb;
    gv_err_t err = open_and_take_sizes(directory, &lmdb, inspect_out,
                                       (gv__why_t){.text = why, .size = why_size});
    if (err == GV_OK) {
        gv_store_t *store = &lmdb->base;
        gv_store_close(&store);
    }
    return err;
}

/* ---- check ---- */

typedef struct check {
    gv_store_t *store;
    gv_inspect_t *inspect;
    gv_inspect_finding_cb_t *on_finding;
    void *arg;
    gv_table_t table; /* that is being walked */
    gv__held_t held;  /* what segments refer to */
    uint64_t *uids;   /* of all intact sessions; sorted from the second table on */
    size_t uid_count;
    size_t uid_capacity;
} check_t;

/* A gv__held_fault_cb_t. */
static void count_fault(gv_table_t table, bool is_stray, const char *key, const char *text,
                        void *arg)
{
    check_t *check = arg;
    gv_inspect_table_t *counts = &check->inspect->tables[table];
    counts->stray += is_stray ? 1 : 0;
    check->inspect->stray += is_stray ? 1 : 0;
    counts->damaged += is_stray ? 0 : 1;
    check->inspect->damaged += is_stray ? 0 : 1;
    gv_inspect_finding_t finding = {.table = gv_table_name(table), .key = key, .text = text};
    check->on_finding(&finding, check->arg);
}

static void count_damaged(check_t *check, gv_bytes_t key, const char *text)
{
    char printable[160];
    count_fault(check->table, false, gv_bytes_printable(key, printable, sizeof(printable)), text,
                check);
}

static void count_damaged_number(check_t *check, uint64_t number, const char *text)
{
    char digits[32];
    (void)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    count_damaged(check, gv_bytes_text(digits), text);
}

/* The loaders' word for it. */
static void on_damaged(gv_table_t table, gv_bytes_t key, void *arg)
{
    check_t *check = arg;
    GV_ASSERT(table == check->table);
    count_damaged(check, key, "damaged");
}

static int compare_uids(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return left < right ? -1 : left > right ? 1 : 0;
}

static gv_err_t on_session(const gv_stored_session_t *session, void *arg)
{
    check_t *check = arg;
    if (check->uid_count == check->uid_capacity) {
        check->uid_capacity = check->uid_capacity == 0 ? 1024 : check->uid_capacity * 2;
        check->uids = gv_xrealloc(check->uids, check->uid_capacity * sizeof(uint64_t));
    }
    check->uids[check->uid_count++] = session->uid;
    return GV_OK;
}

/* Something of a session: `what` names it for people. */
static void belong(check_t *check, uint64_t uid, gv_bytes_t what)
{
    if (bsearch(&uid, check->uids, check->uid_count, sizeof(uid), compare_uids) != NULL) {
        return;
    }
    char key[160];
    char name[128];
    (void)snprintf(key, sizeof(key), "%" PRIu64 " %s", uid,
                   gv_bytes_printable(what, name, sizeof(name)));
    count_fault(check->table, true, key, "of a session that is not there", check);
}

static gv_err_t on_subscription(const gv_stored_subscription_t *subscription, void *arg)
{
    belong(arg, subscription->uid, subscription->filter);
    return GV_OK;
}

static gv_err_t on_will(const gv_stored_will_t *will, void *arg)
{
    belong(arg, will->uid, will->topic);
    return GV_OK;
}

static gv_err_t on_received(const gv_stored_received_t *received, void *arg)
{
    belong(arg, received->uid, GV_BYTES_EMPTY);
    return GV_OK;
}

static gv_err_t on_retained(const gv_stored_retained_t *retained, void *arg)
{
    (void)retained;
    (void)arg;
    return GV_OK;
}

static gv_err_t on_link(const uint8_t *node_id, const gv_link_cursor_t *cursor, void *arg)
{
    (void)node_id;
    (void)cursor;
    (void)arg;
    return GV_OK;
}

static gv_err_t on_member(const gv_stored_member_t *member, void *arg)
{
    (void)member, (void)arg;
    return GV_OK;
}

static gv_err_t on_member_route(const uint8_t *node_id, gv_bytes_t filter, void *arg)
{
    (void)node_id, (void)filter, (void)arg;
    return GV_OK;
}

/* Who waits for what, and where each session stands. */
static bool are_items_sound(const gv_segment_view_t *segment)
{
    uint32_t offset = 0;
    gv_segment_item_t item;
    while (gv_segment_next(segment, &offset, &item)) {
        if (item.kind == GV_SEGMENT_DELIVERY && item.delivery.body >= segment->body_count) {
            return false;
        }
    }
    return offset == segment->items.size;
}

/* Segments of the log have a format of their own (proto/segment.h). */
static gv_err_t on_segment(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    check_t *check = arg;
    gv_reader_t r = gv_reader(key);
    uint64_t number = gv_reader_u64(&r);
    if (r.failed || gv_reader_left(&r) > 0) {
        count_damaged(check, key, "no segment's key");
        return GV_OK;
    }
    gv_segment_view_t segment;
    if (gv_segment_open(value, number, &segment) != GV_OK || !are_items_sound(&segment)) {
        count_damaged_number(check, number, "damaged");
        gv__held_unread(&check->held, number);
        return GV_OK;
    }
    gv__held_segment(&check->held, &segment);
    bool is_body_damaged = false;
    for (uint32_t i = 0; i < segment.body_count && !is_body_damaged; i++) {
        gv_segment_message_t message;
        is_body_damaged = gv_segment_body(&segment, i, &message) == GV_ERR_CORRUPT;
    }
    if (is_body_damaged) {
        count_damaged_number(check, number, "a message in it is damaged");
    }
    return GV_OK;
}

/* Of tables whose records nobody here understands: the envelope. */
static gv_err_t on_any_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    check_t *check = arg;
    gv_bytes_t body;
    if (gv_record_open(check->table, key, value, &body) != GV_OK) {
        gv_store_note_damaged(check->store, check->table, key);
    }
    return GV_OK;
}

static gv_err_t check_sessions(check_t *check)
{
    gv_err_t err = gv_session_load(check->store, on_session, check);
    if (check->uid_count > 0) {
        qsort(check->uids, check->uid_count, sizeof(uint64_t), compare_uids);
    }
    for (size_t i = 1; i < check->uid_count; i++) {
        if (check->uids[i - 1] == check->uids[i]) {
            count_damaged_number(check, check->uids[i], "the number of two sessions");
        }
    }
    return err;
}

/* A mark that is there or not, and says nothing else (broker/core/restore.c). */
#define KEY_ORDERLY_END GV_BYTES_LITERAL("orderly_end")

static gv_err_t on_meta(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    return gv_bytes_equal(key, KEY_ORDERLY_END) ? GV_OK : on_any_record(key, value, arg);
}

static gv_err_t check_meta(check_t *check)
{
    gv_err_t err = gv_store_scan(check->store, GV_TABLE_META, on_meta, check);
    if (err != GV_OK || check->inspect->damaged > 0) {
        return err;
    }
    /* Intact, each of them, and still not what a node can start with. */
    gv_identity_t identity;
    err = gv_identity_read(check->store, &identity);
    if (err == GV_ERR_CORRUPT) {
        count_damaged(check, gv_bytes_text("identity"), "damaged");
        err = GV_OK;
    }
    return err == GV_ERR_NOENT ? GV_OK : err;
}

static gv_err_t check_table(check_t *check)
{
    switch (check->table) {
    case GV_TABLE_META:
        return check_meta(check);
    case GV_TABLE_RETAINED:
        return gv_retained_load(check->store, on_retained, check);
    case GV_TABLE_SESSIONS:
        return check_sessions(check);
    case GV_TABLE_SUBSCRIPTIONS:
        return gv_subscription_load(check->store, on_subscription, check);
    case GV_TABLE_WILLS:
        return gv_will_load(check->store, on_will, check);
    case GV_TABLE_INFLIGHT:
        return gv_received_load(check->store, on_received, check);
    case GV_TABLE_QUEUE_LOG:
        return gv_store_scan(check->store, check->table, on_segment, check);
    case GV_TABLE_QUEUE_INDEX:
    case GV_TABLE_OUTBOX:
    case GV_TABLE_EXACT:
        return gv_store_scan(check->store, check->table, on_any_record, check);
    case GV_TABLE_LINKS:
        return gv_link_record_scan(check->store, on_link, check);
    case GV_TABLE_PAYLOADS:
        return gv__held_check(&check->held, check->store);
    case GV_TABLE_MEMBERS:
        return gv_member_record_scan(check->store, on_member, check);
    case GV_TABLE_MEMBER_ROUTES:
        return gv_member_route_scan(check->store, on_member_route, check);
    }
    return GV_OK;
}

/* Every page, logs included, before LMDB follows any of them. */
static gv_err_t verify(int directory_fd, const char *name, const char *directory, gv__why_t why)
{
    int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC);
    gv__lmdb_fault_t fault = {"cannot be read", 0};
    gv_err_t err = fd >= 0 ? gv__lmdb_verify(fd, true, &fault) : GV_ERR_IO;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (err != GV_OK) {
        gv__why_set(why, "'%s/%s' %s (page %" PRIu64 "): restore it from a backup", directory, name,
                    fault.text, fault.page);
    }
    return err;
}

gv_err_t gv_inspect_check(const char *directory, gv_inspect_t *inspect_out,
                          gv_inspect_finding_cb_t *on_finding, void *arg, char *why,
                          size_t why_size)
{
    GV_ASSERT(on_finding != NULL);
    GV_ASSERT(why_size > 0);
    gv__why_t explanation = {.text = why, .size = why_size};
    gv__lmdb_t *lmdb;
    gv_err_t err = open_and_take_sizes(directory, &lmdb, inspect_out, explanation);
    if (err != GV_OK) {
        return err;
    }
    check_t check = {
        .store = &lmdb->base, .inspect = inspect_out, .on_finding = on_finding, .arg = arg};
    gv__held_init(&check.held, count_fault, &check);
    lmdb->base.on_damaged = on_damaged;
    lmdb->base.on_damaged_arg = &check;
    err = verify(lmdb->dir.fd, DATA_NAME, directory, explanation);
    for (size_t t = 0; err == GV_OK && t < GV_TABLE_COUNT; t++) {
        check.table = (gv_table_t)t;
        err = check_table(&check);
        if (err != GV_OK) {
            gv__why_set(explanation, "cannot read the store in '%s': %s", directory,
                        gv_err_text(err));
        }
    }
    gv__held_deinit(&check.held);
    gv_free(check.uids);
    gv_store_close(&check.store);
    return err;
}

/* ---- compact ---- */

static gv_err_t copy(gv__lmdb_t *lmdb, gv__why_t why)
{
    int fd = openat(lmdb->dir.fd, COMPACT_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd >= 0 ? mdb_env_copyfd2(lmdb->env, fd, MDB_CP_COMPACT) : errno;
    if (rc == MDB_SUCCESS && fsync(fd) != 0) {
        rc = errno;
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc != MDB_SUCCESS) {
        gv__why_set(why, "cannot write '%s/" COMPACT_NAME "': %s", lmdb->dir.path,
                    mdb_strerror(rc));
        return gv__err_from_mdb(rc);
    }
    return verify(lmdb->dir.fd, COMPACT_NAME, lmdb->dir.path, why);
}

static gv_err_t put_in_place(gv__lmdb_t *lmdb, uint64_t *after_out, gv__why_t why)
{
    struct stat st;
    if (fstatat(lmdb->dir.fd, COMPACT_NAME, &st, 0) != 0 ||
        renameat(lmdb->dir.fd, COMPACT_NAME, lmdb->dir.fd, DATA_NAME) != 0 ||
        fsync(lmdb->dir.fd) != 0) {
        gv__why_set(why, "cannot replace '%s/" DATA_NAME "': %s", lmdb->dir.path,
                    strerrordesc_np(errno));
        return GV_ERR_IO;
    }
    *after_out = (uint64_t)st.st_size;
    return GV_OK;
}

gv_err_t gv_inspect_compact(const char *directory, uint64_t *before_out, uint64_t *after_out,
                            char *why, size_t why_size)
{
    GV_ASSERT(why_size > 0);
    *before_out = 0;
    *after_out = 0;
    gv__why_t explanation = {.text = why, .size = why_size};
    gv_inspect_t inspect;
    gv__lmdb_t *lmdb;
    gv_err_t err = open_and_take_sizes(directory, &lmdb, &inspect, explanation);
    if (err != GV_OK) {
        return err;
    }
    *before_out = inspect.file_bytes;
    err = copy(lmdb, explanation);
    if (err == GV_OK) {
        err = put_in_place(lmdb, after_out, explanation);
    }
    if (err != GV_OK) {
        (void)unlinkat(lmdb->dir.fd, COMPACT_NAME, 0);
    }
    gv_store_t *store = &lmdb->base;
    gv_store_close(&store);
    return err;
}
