/* SPDX-License-Identifier: Apache-2.0 */
#define GV_MEMORY_OF GV_MEMORY_STORE

#include "storage/store.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#include "storage/batch_p.h"
#include "storage/store_p.h"

/* Records per read transaction of gv_store_scan(): some milliseconds at most. */
#define SCAN_SLICE_RECORDS ((size_t)4096)

/* gv__store_resume_bytes(): a 32nd, but no more than this. */
#define RESUME_PART 32U
#define RESUME_MAX  ((uint64_t)64 << 20)

/* ---- promises ---- */

static const struct {
    const char *name;
    const char *promise;
} sync_modes[] = {
    [GV_STORE_SYNC_COMMIT] = {"commit", "what is acknowledged survives the process and the power"},
    [GV_STORE_SYNC_INTERVAL] =
        {"interval", "what is acknowledged survives the process; a power failure may lose it "
                     "until the next periodic sync"},
    [GV_STORE_SYNC_OFF] = {"off", "what is acknowledged survives the process; a power failure may "
                                  "lose everything since the start"},
};
#define SYNC_MODE_COUNT (sizeof(sync_modes) / sizeof(sync_modes[0]))

bool gv_store_sync_parse(const char *text, gv_store_sync_t *sync_out)
{
    for (size_t i = 0; i < SYNC_MODE_COUNT; i++) {
        if (strcmp(text, sync_modes[i].name) == 0) {
            *sync_out = (gv_store_sync_t)i;
            return true;
        }
    }
    return false;
}

const char *gv_store_sync_name(gv_store_sync_t sync)
{
    GV_ASSERT((size_t)sync < SYNC_MODE_COUNT);
    return sync_modes[sync].name;
}

const char *gv_store_sync_promise(gv_store_sync_t sync)
{
    GV_ASSERT((size_t)sync < SYNC_MODE_COUNT);
    return sync_modes[sync].promise;
}

/* ---- writing ---- */

void gv_store_lane_init(gv_store_lane_t *lane, gv_store_t *store, gv_store_post_t *post, void *arg)
{
    GV_ASSERT(store != NULL);
    GV_ASSERT(post != NULL);
    *lane = (gv_store_lane_t){._store = store, ._post = post, ._post_arg = arg};
}

void gv_store_lane_deinit(gv_store_lane_t *lane)
{
    GV_ASSERT(lane->_pending_count == 0);
    GV_ASSERT(lane->_pending_bytes == 0);
    GV_ASSERT(lane->_loading_count == 0);
    lane->_store = NULL;
}

/* On the lane's thread. */
static void on_completed(gv_letter_t *letter)
{
    gv_batch_t *batch = gv_container_of(letter, gv_batch_t, letter);
    gv_store_lane_t *lane = batch->lane;
    GV_ASSERT(lane->_pending_count > 0);
    GV_ASSERT(lane->_pending_bytes >= gv_batch_bytes(batch));
    lane->_pending_count--;
    lane->_pending_bytes -= gv_batch_bytes(batch);

    gv_store_done_cb_t *on_done = batch->on_done;
    void *arg = batch->on_done_arg;
    gv_err_t result = batch->result;
    gv_batch_free(&batch);
    on_done(result, arg); /* last: it may free the lane */
}

void gv_store_submit(gv_store_lane_t *lane, gv_batch_t **batchp, gv_store_done_cb_t *on_done,
                     void *arg)
{
    gv_batch_t *batch = *batchp;
    *batchp = NULL;
    GV_ASSERT(lane->_store != NULL);
    GV_ASSERT(batch != NULL);
    GV_ASSERT(batch->lane == NULL);
    GV_ASSERT(on_done != NULL);
    batch->lane = lane;
    batch->letter.deliver = on_completed;
    batch->on_done = on_done;
    batch->on_done_arg = arg;
    batch->result = gv_batch_error(batch);
    lane->_pending_count++;
    lane->_pending_bytes += gv_batch_bytes(batch);
    lane->_store->ops->submit(lane->_store, batch);
}

void gv_store_complete(gv_batch_t *batch, gv_err_t result)
{
    GV_ASSERT(!gv_link_is_linked(&batch->link));
    batch->result = result;
    batch->lane->_post(batch->lane->_post_arg, &batch->letter);
}

size_t gv_store_lane_pending(const gv_store_lane_t *lane)
{
    return lane->_pending_count;
}

size_t gv_store_lane_pending_bytes(const gv_store_lane_t *lane)
{
    return lane->_pending_bytes;
}

gv_err_t gv_store_write(gv_store_t *store, gv_batch_t **batchp)
{
    gv_batch_t *batch = *batchp;
    *batchp = NULL;
    GV_ASSERT(batch != NULL);
    GV_ASSERT(batch->lane == NULL);
    GV_ASSERT(batch->join_count == 0);
    batch->result = gv_batch_error(batch);
    return store->ops->write(store, batch);
}

/* ---- reading ---- */

gv_err_t gv_store_get(gv_store_t *store, gv_table_t table, gv_bytes_t key,
                      gv_store_record_cb_t *on_record, void *arg)
{
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    GV_ASSERT(key.size >= 1);
    GV_ASSERT(key.size <= GV_KEY_SIZE_MAX);
    return store->ops->get(store, table, key, on_record, arg);
}

gv_err_t gv_store_last(gv_store_t *store, gv_table_t table, gv_key_t *key_out)
{
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    key_out->size = 0;
    return store->ops->last(store, table, key_out);
}

void gv_store_cursor_init(gv_store_cursor_t *cursor)
{
    cursor->_key_size = 0;
    cursor->_after = false;
}

void gv_store_cursor_init_at(gv_store_cursor_t *cursor, gv_bytes_t from)
{
    GV_ASSERT(from.size >= 1);
    GV_ASSERT(from.size <= GV_KEY_SIZE_MAX);
    cursor->_key_size = from.size;
    cursor->_after = false;
    memcpy(cursor->_key, from.data, from.size);
}

void gv__store_cursor_pass(gv_store_cursor_t *cursor, gv_bytes_t key)
{
    gv_store_cursor_init_at(cursor, key);
    cursor->_after = true;
}

gv_err_t gv_store_scan_slice(gv_store_t *store, gv_table_t table, gv_store_cursor_t *cursor,
                             size_t records_max, gv_store_record_cb_t *on_record, void *arg,
                             bool *ended)
{
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    GV_ASSERT(records_max > 0);
    *ended = false;
    return store->ops->scan_slice(store, table, cursor, records_max, on_record, arg, ended);
}

gv_err_t gv_store_scan(gv_store_t *store, gv_table_t table, gv_store_record_cb_t *on_record,
                       void *arg)
{
    gv_store_cursor_t cursor;
    gv_store_cursor_init(&cursor);
    gv_err_t err = GV_OK;
    bool ended = false;
    while (err == GV_OK && !ended) {
        err =
            gv_store_scan_slice(store, table, &cursor, SCAN_SLICE_RECORDS, on_record, arg, &ended);
    }
    return err;
}

/* ---- loads ---- */

static gv_err_t on_read(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    gv__load_t *load = arg;
    gv_err_t err = gv_msgbuf_new(value.size, &load->value);
    if (err == GV_OK) {
        if (value.size > 0) {
            memcpy(gv_msgbuf_data(load->value), value.data, value.size);
        }
        gv_msgbuf_seal(load->value);
    }
    return err;
}

void gv__load_read(gv__load_t *load)
{
    gv_store_t *store = load->lane->_store;
    load->result =
        store->ops->get(store, load->table, gv_bytes(load->key, load->key_size), on_read, load);
}

void gv__load_finish(gv__load_t *load)
{
    GV_ASSERT(!gv_link_is_linked(&load->link));
    GV_ASSERT((load->result == GV_OK) == (load->value != NULL));
    load->lane->_post(load->lane->_post_arg, &load->letter);
}

void gv__load_free(gv__load_t *load)
{
    gv_msgbuf_unref(&load->value);
    gv_free(load);
}

/* On the lane's thread. */
static void on_load_finished(gv_letter_t *letter)
{
    gv__load_t *load = gv_container_of(letter, gv__load_t, letter);
    GV_ASSERT(load->lane->_loading_count > 0);
    load->lane->_loading_count--;
    gv_store_loaded_cb_t *on_loaded = load->on_loaded;
    void *arg = load->arg;
    gv_err_t result = load->result;
    gv_msgbuf_t *value = load->value;
    load->value = NULL;
    gv__load_free(load);
    on_loaded(result, value, arg); /* last: it may free the lane */
}

void gv_store_load(gv_store_lane_t *lane, gv_table_t table, gv_bytes_t key,
                   gv_store_loaded_cb_t *on_loaded, void *arg)
{
    GV_ASSERT(lane->_store != NULL);
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    GV_ASSERT(key.size >= 1);
    GV_ASSERT(key.size <= GV_KEY_SIZE_MAX);
    GV_ASSERT(on_loaded != NULL);
    gv__load_t *load = gv_xalloc(sizeof(*load) + key.size);
    *load = (gv__load_t){
        .letter.deliver = on_load_finished,
        .lane = lane,
        .on_loaded = on_loaded,
        .arg = arg,
        .result = GV_ERR_CLOSED,
        .table = table,
        .key_size = key.size,
    };
    memcpy(load->key, key.data, key.size);
    lane->_loading_count++;
    lane->_store->ops->load(lane->_store, load);
}

size_t gv_store_lane_loading(const gv_store_lane_t *lane)
{
    return lane->_loading_count;
}

/* ---- figures ---- */

const gv_store_stats_t *gv_store_stats(const gv_store_t *store)
{
    return &store->stats;
}

bool gv_store_is_full(const gv_store_t *store)
{
    return atomic_load_explicit(&store->is_full, memory_order_relaxed); /* a hint */
}

void gv__store_set_full(gv_store_t *store, bool is_full)
{
    if (is_full == gv_store_is_full(store)) {
        return;
    }
    atomic_store_explicit(&store->is_full, is_full, memory_order_relaxed);
    const gv_store_stats_t *stats = &store->stats;
    if (is_full) {
        gv_log_peer(GV_LOG_WARN, "store_full", "used=%" PRIu64 " limit=%" PRIu64,
                    gv_counter_get(&stats->used_bytes), gv_counter_get(&stats->limit_bytes));
    } else {
        gv_log_peer(GV_LOG_INFO, "store_has_room", "used=%" PRIu64 " limit=%" PRIu64,
                    gv_counter_get(&stats->used_bytes), gv_counter_get(&stats->limit_bytes));
    }
}

uint64_t gv__store_resume_bytes(uint64_t capacity)
{
    return capacity / RESUME_PART < RESUME_MAX ? capacity / RESUME_PART : RESUME_MAX;
}

uint64_t gv__store_reserve_left(uint64_t room, uint64_t reserve)
{
    return room >= reserve ? 100 : room * 100 / reserve;
}

gv_store_sync_t gv_store_sync_mode(const gv_store_t *store)
{
    return store->sync;
}

uint64_t gv_store_oldest_reader_ns(const gv_store_t *store)
{
    return store->ops->oldest_reader_ns != NULL ? store->ops->oldest_reader_ns(store) : 0;
}

void gv_store_note_damaged(gv_store_t *store, gv_table_t table, gv_bytes_t key)
{
    /* Relaxed: a count, nothing hangs on it. */
    (void)atomic_fetch_add_explicit(&store->stats.damaged, 1, memory_order_relaxed);
    if (store->on_damaged != NULL) {
        store->on_damaged(table, key, store->on_damaged_arg);
        return;
    }
    char text[128];
    gv_log_peer(GV_LOG_ERROR, "record_damaged", "table=%s key='%s'", gv_table_name(table),
                gv_bytes_printable(key, text, sizeof(text)));
}

/* ---- end ---- */

void gv_store_close(gv_store_t **storep)
{
    GV_ASSERT(storep != NULL);
    gv_store_t *store = *storep;
    *storep = NULL;
    if (store != NULL) {
        store->ops->close(store);
    }
}
