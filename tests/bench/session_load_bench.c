/* SPDX-License-Identifier: Apache-2.0 */

/*
 * How long a node needs to read its sessions when it starts: sessions with one subscription each.
 *
 *     session_load_bench [DIRECTORY [SESSIONS]]
 */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <unistd.h>

#include "base/io/os.h"

#include "storage/lmdb_store.h"
#include "storage/session_store.h"

enum {
    PER_BATCH = 10000
};

static gv_store_t *open_store(const char *directory)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = directory;
    options.sync = GV_STORE_SYNC_OFF;
    gv_store_t *store;
    char why[256];
    if (gv_lmdb_store_open(&options, &store, why, sizeof(why)) != GV_OK) {
        (void)fprintf(stderr, "session_load_bench: %s\n", why);
        exit(1);
    }
    return store;
}

static void put_session(gv_batch_t *batch, uint64_t uid)
{
    char client_id[32];
    char filter[64];
    (void)snprintf(client_id, sizeof(client_id), "sensor-%" PRIu64, uid * 2654435761U % 1000000007);
    (void)snprintf(filter, sizeof(filter), "building/%" PRIu64 "/sensor/%" PRIu64, uid % 100, uid);
    gv_session_put(batch, &(gv_stored_session_t){.client_id = gv_bytes_text(client_id),
                                                 .uid = uid,
                                                 .expiry_s = 3600,
                                                 .left_at_ms = 1700000000000});
    gv_subscription_put(batch, &(gv_stored_subscription_t){
                                   .uid = uid, .filter = gv_bytes_text(filter), .options = 1});
}

static void fill(gv_store_t *store, uint64_t sessions)
{
    for (uint64_t uid = 1; uid <= sessions;) {
        gv_batch_t *batch;
        gv_batch_new(&batch);
        for (int i = 0; i < PER_BATCH && uid <= sessions; i++) {
            put_session(batch, uid++);
        }
        if (gv_store_write(store, &batch) != GV_OK) {
            (void)fprintf(stderr, "session_load_bench: cannot write\n");
            exit(1);
        }
    }
}

static gv_err_t on_session(const gv_stored_session_t *session, void *arg)
{
    *(uint64_t *)arg += session->uid != 0 ? 1 : 0;
    return GV_OK;
}

static gv_err_t on_subscription(const gv_stored_subscription_t *subscription, void *arg)
{
    *(uint64_t *)arg += subscription->uid != 0 ? 1 : 0;
    return GV_OK;
}

static double seconds_since(uint64_t then_ns)
{
    return (double)(gv_clock_monotonic_ns(gv_os_clock()) - then_ns) / 1e9;
}

int main(int argc, char **argv)
{
    const char *parent = argc > 1 ? argv[1] : ".";
    uint64_t sessions = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
    char directory[256];
    (void)snprintf(directory, sizeof(directory), "%s/session-load-bench-%d", parent, (int)getpid());
    gv_store_t *store = open_store(directory);
    fill(store, sessions);
    gv_store_close(&store);

    uint64_t begun_at_ns = gv_clock_monotonic_ns(gv_os_clock());
    store = open_store(directory);
    printf("open and verify        %6.2f s\n", seconds_since(begun_at_ns));
    uint64_t count = 0;
    begun_at_ns = gv_clock_monotonic_ns(gv_os_clock());
    gv_err_t err = gv_session_load(store, on_session, &count);
    printf("%9" PRIu64 " sessions     %6.2f s\n", count, seconds_since(begun_at_ns));
    count = 0;
    begun_at_ns = gv_clock_monotonic_ns(gv_os_clock());
    err = err == GV_OK ? gv_subscription_load(store, on_subscription, &count) : err;
    printf("%9" PRIu64 " subscriptions%6.2f s\n", count, seconds_since(begun_at_ns));
    gv_store_close(&store);
    static const char *const names[] = {"data.mdb", "lock.mdb", "grapevine.lock"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[512];
        (void)snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(directory);
    return err == GV_OK ? 0 : 1;
}
