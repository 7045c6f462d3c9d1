/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/os.h"

#include "storage/lmdb_store_p.h"
#include "storage/store_p.h"

/*
 * The thread of the LMDB store that reads for loops: a page that is not in the system's cache stops
 * whoever touches it until the disk has answered.
 */

static uint64_t now_ns(void)
{
    return gv_clock_monotonic_ns(gv_os_clock());
}

/* The next load, or NULL: the thread shall end. */
static gv__load_t *wait_for_load(gv__reader_t *reader)
{
    (void)pthread_mutex_lock(&reader->mutex);
    while (gv_list_is_empty(&reader->queue) && !reader->stopping) {
        (void)pthread_cond_wait(&reader->filled, &reader->mutex);
    }
    gv_link_t *link = reader->stopping ? NULL : gv_list_take_first(&reader->queue);
    (void)pthread_mutex_unlock(&reader->mutex);
    return link != NULL ? gv_container_of(link, gv__load_t, link) : NULL;
}

static void *reader_main(void *arg)
{
    gv__lmdb_t *lmdb = arg;
    gv_store_stats_t *stats = &lmdb->base.stats;
    gv_os_name_thread("gv-store-read");
    for (gv__load_t *load; (load = wait_for_load(&lmdb->reader)) != NULL;) {
        gv__load_read(load);
        gv_counter_add(&stats->loads, 1);
        gv_histogram_add(&stats->load_ns, now_ns() - load->asked_ns);
        gv__load_finish(load);
    }
    return NULL;
}

gv_err_t gv__reader_start(gv__lmdb_t *lmdb)
{
    gv__reader_t *reader = &lmdb->reader;
    gv_list_init(&reader->queue);
    (void)pthread_mutex_init(&reader->mutex, NULL);
    (void)pthread_cond_init(&reader->filled, NULL);
    return gv__thread_start(&reader->thread, reader_main, lmdb);
}

void gv__reader_ask(gv__lmdb_t *lmdb, gv__load_t *load)
{
    gv__reader_t *reader = &lmdb->reader;
    load->asked_ns = now_ns();
    (void)pthread_mutex_lock(&reader->mutex);
    GV_ASSERT(!reader->stopping);
    bool was_empty = gv_list_is_empty(&reader->queue);
    gv_list_append(&reader->queue, &load->link);
    (void)pthread_mutex_unlock(&reader->mutex);
    if (was_empty) {
        (void)pthread_cond_signal(&reader->filled);
    }
}

void gv__reader_stop(gv__lmdb_t *lmdb)
{
    gv__reader_t *reader = &lmdb->reader;
    (void)pthread_mutex_lock(&reader->mutex);
    reader->stopping = true;
    (void)pthread_mutex_unlock(&reader->mutex);
    (void)pthread_cond_signal(&reader->filled);
    (void)pthread_join(reader->thread, NULL);
    for (gv_link_t *link; (link = gv_list_take_first(&reader->queue)) != NULL;) {
        gv__load_finish(
            gv_container_of(link, gv__load_t, link)); /* GV_ERR_CLOSED, as it was made */
    }
    (void)pthread_cond_destroy(&reader->filled);
    (void)pthread_mutex_destroy(&reader->mutex);
}
