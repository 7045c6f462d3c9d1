/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/lmdb_store.h"

#include <fcntl.h>
#include <signal.h>

#include <sys/wait.h>

#include <lmdb.h>

#include "base/rng.h"

#include "proto/record.pb-c.h"

#include "storage/records.h"
#include "storage/retained_store.h"

#include "tests/unit/storage/fixture.h"

static void put_now(gv_store_t *store, const char *key, const char *value)
{
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text(key), text(value));
    ck_assert_ok(gv_store_write(store, &batch));
}

static void open_fails(const gv_lmdb_options_t *options, gv_err_t expected, const char *part_of_why)
{
    char why[256];
    gv_store_t *store;
    ck_assert_int_eq(gv_lmdb_store_open(options, &store, why, sizeof(why)), expected);
    ck_assert_ptr_null(store);
    ck_assert_msg(strstr(why, part_of_why) != NULL, "'%s' is not in: %s", part_of_why, why);
    ck_assert_ptr_null(strchr(why, '\n'));
}

static gv_lmdb_options_t options_at(const workdir_t *dir)
{
    gv_lmdb_options_t options;
    gv_lmdb_options_init(&options);
    options.directory = dir->path;
    return options;
}

START_TEST(what_was_written_is_there_after_a_restart_in_every_mode)
{
    for (int mode = GV_STORE_SYNC_COMMIT; mode <= GV_STORE_SYNC_OFF; mode++) {
        workdir_t dir;
        workdir_make(&dir);
        gv_lmdb_options_t options = options_at(&dir);
        options.sync = (gv_store_sync_t)mode;
        gv_store_t *store = lmdb_open(&options);
        ck_assert_int_eq(gv_store_sync_mode(store), mode);
        put_now(store, "key", "value");
        gv_store_close(&store);
        store = lmdb_open(&options);
        assert_value(store, "key", text("value"));
        gv_store_close(&store);
        workdir_remove(&dir);
    }
}
END_TEST

static gv_err_t on_inner(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    (void)value;
    (void)arg;
    return GV_OK;
}

/* While the outer transaction is open; a younger one that begins and ends changes nothing. */
static gv_err_t on_outer(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)value;
    gv_store_t *store = arg;
    uint64_t first_ns = 0;
    while (first_ns == 0) { /* the clock moves on */
        first_ns = gv_store_oldest_reader_ns(store);
    }
    ck_assert_ok(gv_store_get(store, GV_TABLE_RETAINED, key, on_inner, NULL));
    ck_assert_uint_ge(gv_store_oldest_reader_ns(store), first_ns);
    return GV_OK;
}

START_TEST(the_age_of_the_oldest_reader_is_told)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    put_now(store, "key", "value");
    ck_assert_uint_eq(gv_store_oldest_reader_ns(store), 0);
    ck_assert_ok(gv_store_get(store, GV_TABLE_RETAINED, text("key"), on_outer, store));
    ck_assert_uint_eq(gv_store_oldest_reader_ns(store), 0);
    ck_assert_ok(gv_store_scan(store, GV_TABLE_RETAINED, on_outer, store));
    ck_assert_uint_eq(gv_store_oldest_reader_ns(store), 0);
    ck_assert_int_eq(gv_store_get(store, GV_TABLE_RETAINED, text("none"), on_outer, store),
                     GV_ERR_NOENT);
    ck_assert_uint_eq(gv_store_oldest_reader_ns(store), 0);
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_second_opener_is_refused_in_this_process_and_in_another)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    open_fails(&options, GV_ERR_BUSY, "in use by another process");
    pid_t child = fork();
    if (child == 0) {
        char why[256];
        gv_store_t *second;
        _exit(gv_lmdb_store_open(&options, &second, why, sizeof(why)) == GV_ERR_BUSY ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
    put_now(store, "still", "working");
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

START_TEST(sizes_that_make_no_sense)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    options.map_size = 100;
    open_fails(&options, GV_ERR_INVAL, "too small");
    options.map_size = 100 << 20; /* less than twice the default reserve */
    open_fails(&options, GV_ERR_INVAL, "too small");
    options.reserve_bytes = 60 << 20;
    open_fails(&options, GV_ERR_INVAL, "too small");
    options.map_size = (uint64_t)1 << 47; /* all there is */
    open_fails(&options, GV_ERR_NOMEM, "ulimit -v");
    options.map_size = 100 << 20;
    options.reserve_bytes = 10 << 20;
    gv_store_t *store = lmdb_open(&options);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->size_bytes), 100 << 20);
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(store)->limit_bytes), 90 << 20);
    gv_store_close(&store);
    workdir_remove(&dir);
}
END_TEST

/* ---- stores we must not touch --------------------------------------------------------------- */

START_TEST(a_newer_format_is_refused_and_left_alone)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    Gv__Record__Format format = GV__RECORD__FORMAT__INIT;
    char written_by[] = "9.9";
    format.format = 2;
    format.written_by = written_by;
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_record_put(batch, GV_TABLE_META, text("format"), &format.base);
    ck_assert_ok(gv_store_write(store, &batch));
    gv_store_close(&store);
    for (int i = 0; i < 2; i++) {
        open_fails(&options, GV_ERR_VERSION, "has format 2, made by Grapevine 9.9");
    }
    workdir_remove(&dir);
}
END_TEST

START_TEST(a_damaged_format_is_refused)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_META, text("format"), text("garbage"));
    ck_assert_ok(gv_store_write(store, &batch));
    gv_store_close(&store);
    open_fails(&options, GV_ERR_CORRUPT, "not Grapevine's, or its head is damaged");
    workdir_remove(&dir);
}
END_TEST

START_TEST(an_lmdb_store_of_somebody_else_is_refused_and_left_alone)
{
    workdir_t dir;
    workdir_make(&dir);
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, dir.path, 0, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    MDB_val val = {.mv_size = 5, .mv_data = "other"};
    ck_assert_int_eq(mdb_put(txn, dbi, &val, &val, 0), 0);
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);

    gv_lmdb_options_t options = options_at(&dir);
    open_fails(&options, GV_ERR_CORRUPT, "not Grapevine's");

    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, dir.path, MDB_RDONLY, 0600), 0);
    MDB_stat stat;
    ck_assert_int_eq(mdb_env_stat(env, &stat), 0);
    ck_assert_uint_eq(stat.ms_entries, 1);
    mdb_env_close(env);
    workdir_remove(&dir);
}
END_TEST

/* Cut anywhere, or full of garbage: an answer, never a signal. */
START_TEST(a_cut_or_garbled_file_is_refused)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    static char value[20001];
    memset(value, 'v', sizeof(value) - 1);
    for (int i = 0; i < 50; i++) {
        char key[8];
        (void)snprintf(key, sizeof(key), "%d", i);
        put_now(store, key, value);
    }
    gv_store_close(&store);

    char data[256];
    workdir_file(&dir, "data.mdb", data);
    static const off_t sizes[] = {1000000, 65536, 8192, 8191, 4096, 100, 1, 0};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        ck_assert_int_eq(truncate(data, sizes[i]), 0);
        open_fails(&options, GV_ERR_CORRUPT, data);
    }
    int fd = open(data, O_WRONLY);
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(write(fd, "garbage garbage ", 16), 16);
    }
    close(fd);
    open_fails(&options, GV_ERR_CORRUPT, "is not an LMDB file");
    workdir_remove(&dir);
}
END_TEST

/*
 * Damage anywhere in the file.  It may be refused, and records may be missing with their damage
 * counted; the process must not die of it.
 */
typedef enum damage {
    DAMAGE_BIT,      /* one bit anywhere */
    DAMAGE_HEAD_BIT, /* one bit in the first bytes of a page, where its structure is */
    DAMAGE_ZEROS,    /* a page of zeros */
    DAMAGE_GARBAGE,  /* a page of anything */
    DAMAGE_COUNT,
} damage_t;

enum {
    PAGE = 4096,
    TOPICS = 3000,
    DAMAGES_EACH = 40
};

static gv_err_t on_retained(const gv_stored_retained_t *retained, void *arg)
{
    (void)retained;
    ++*(size_t *)arg;
    return GV_OK;
}

static void put_topics(gv_store_t *store)
{
    static const uint8_t payload[6000];
    gv_batch_t *batch;
    gv_batch_new(&batch);
    for (int i = 0; i < TOPICS; i++) {
        char topic[32];
        (void)snprintf(topic, sizeof(topic), "topic/%d", i);
        gv_stored_retained_t retained = {.topic = text(topic),
                                         .payload = gv_bytes(payload, i % 50 == 0 ? 6000 : 100)};
        gv_retained_put(batch, &retained);
    }
    ck_assert_ok(gv_store_write(store, &batch));
}

static void damage_page(int fd, damage_t damage, off_t page, gv_rng_t *rng)
{
    uint8_t bytes[PAGE];
    ck_assert_int_eq(pread(fd, bytes, PAGE, page * PAGE), PAGE);
    uint32_t bit = gv_rng_below(rng, damage == DAMAGE_BIT ? PAGE * 8 : 64 * 8);
    if (damage == DAMAGE_ZEROS) {
        memset(bytes, 0, PAGE);
    } else if (damage == DAMAGE_GARBAGE) {
        gv_rng_fill(rng, bytes, PAGE);
    } else {
        bytes[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    ck_assert_int_eq(pwrite(fd, bytes, PAGE, page * PAGE), PAGE);
}

/* In a child: what a start does.  0: all there, 1: refused, 2: records missing and counted. */
static _Noreturn void start_on_damage(const gv_lmdb_options_t *options)
{
    char why[256];
    gv_store_t *store;
    if (gv_lmdb_store_open(options, &store, why, sizeof(why)) != GV_OK) {
        _exit(1);
    }
    size_t count = 0;
    gv_err_t err = gv_retained_load(store, on_retained, &count);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_put(batch, GV_TABLE_RETAINED, text("topic/77"), text("x"));
    err = err != GV_OK ? err : gv_store_write(store, &batch);
    uint64_t damaged = atomic_load(&gv_store_stats(store)->damaged);
    gv_store_close(&store);
    _exit(err != GV_OK || count + damaged != TOPICS ? 3 : damaged > 0 ? 2 : 0);
}

START_TEST(no_damage_to_the_file_ends_the_process)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    gv_store_t *store = lmdb_open(&options);
    put_topics(store);
    gv_store_close(&store);

    char data[256];
    workdir_file(&dir, "data.mdb", data);
    int fd = open(data, O_RDWR);
    ck_assert_int_ge(fd, 0);
    off_t pages = data_pages(fd);
    uint8_t *pristine = malloc((size_t)pages * PAGE);
    ck_assert_int_eq(pread(fd, pristine, (size_t)pages * PAGE, 0), pages * PAGE);
    gv_rng_t rng;
    gv_rng_init(&rng, 1, (uint64_t)_i);
    int outcomes[4] = {0};
    for (int i = 0; i < DAMAGES_EACH; i++) {
        off_t page = 2 + gv_rng_below(&rng, (uint32_t)pages - 2);
        damage_page(fd, (damage_t)_i, page, &rng);
        pid_t child = fork();
        if (child == 0) {
            start_on_damage(&options);
        }
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert_msg(WIFEXITED(status), "signal %d, page %ld", WTERMSIG(status), (long)page);
        ck_assert_int_lt(WEXITSTATUS(status), 4);
        outcomes[WEXITSTATUS(status)]++;
        ck_assert_int_eq(ftruncate(fd, pages * PAGE), 0);
        ck_assert_int_eq(pwrite(fd, pristine, (size_t)pages * PAGE, 0), pages * PAGE);
    }
    ck_assert_int_eq(outcomes[3], 0);
    ck_assert_int_gt(_i == DAMAGE_BIT ? outcomes[2] : outcomes[1], DAMAGES_EACH / 4);
    free(pristine);
    close(fd);
    workdir_remove(&dir);
}
END_TEST

/* ---- kill -9 -------------------------------------------------------------------------------- */

/*
 * The child's two lanes submit numbered batches, as in mem_store_test.c, and it writes a byte into
 * the pipe for each that was acknowledged.  The parent kills it at some moment and looks.
 */
enum {
    KILLS = 30,
    LANES = 2,
    WINDOW = 40
};

typedef struct submitter {
    gv_store_lane_t lane;
    uint32_t number;
    uint32_t submitted;
    int pipe;
} submitter_t;

static void on_acknowledged(gv_err_t result, void *arg)
{
    submitter_t *submitter = arg;
    uint8_t lane = (uint8_t)submitter->number;
    if (result != GV_OK || write(submitter->pipe, &lane, 1) != 1) {
        _exit(1);
    }
}

static void key_of(uint8_t key[8], uint32_t lane, uint32_t n)
{
    gv_writer_t w = gv_writer(key, 8);
    gv_writer_u32(&w, lane);
    gv_writer_u32(&w, n);
}

static void submit_next(submitter_t *submitter)
{
    uint32_t n = ++submitter->submitted;
    uint8_t record[8];
    uint8_t last[8];
    key_of(record, submitter->number, n);
    key_of(last, submitter->number, 0);
    gv_batch_t *batch;
    gv_batch_new(&batch);
    gv_batch_append(batch, GV_TABLE_OUTBOX, gv_bytes(record, 8), gv_bytes(record, 8));
    gv_batch_put(batch, GV_TABLE_LINKS, gv_bytes(last, 8), gv_bytes(&n, sizeof(n)));
    gv_store_submit(&submitter->lane, &batch, on_acknowledged, submitter);
}

static _Noreturn void child_main(const gv_lmdb_options_t *options, const uint32_t last[LANES],
                                 int pipe)
{
    gv_store_t *store = lmdb_open(options);
    letterbox_t box;
    letterbox_init(&box);
    submitter_t submitters[LANES];
    for (uint32_t i = 0; i < LANES; i++) {
        submitters[i] = (submitter_t){.number = i, .submitted = last[i], .pipe = pipe};
        gv_store_lane_init(&submitters[i].lane, store, letterbox_post, &box);
    }
    for (;;) {
        for (int i = 0; i < LANES; i++) {
            while (gv_store_lane_pending(&submitters[i].lane) < WINDOW) {
                submit_next(&submitters[i]);
            }
        }
        letterbox_deliver(&box, true);
    }
}

typedef struct finding {
    uint32_t last[LANES];
    uint32_t records[LANES];
} finding_t;

static gv_err_t on_last(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    gv_reader_t r = gv_reader(key);
    uint32_t lane = gv_reader_u32(&r);
    memcpy(&((finding_t *)arg)->last[lane], value.data, sizeof(uint32_t));
    return GV_OK;
}

static gv_err_t on_record(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    gv_reader_t r = gv_reader(key);
    ck_assert(gv_bytes_equal(key, value));
    ((finding_t *)arg)->records[gv_reader_u32(&r)]++;
    return GV_OK;
}

static void kill_and_look(gv_store_sync_t sync)
{
    workdir_t dir;
    workdir_make(&dir);
    gv_lmdb_options_t options = options_at(&dir);
    options.sync = sync;
    options.sync_interval_ms = 10;
    gv_rng_t rng;
    gv_rng_init(&rng, (uint64_t)getpid(), 0);
    finding_t finding = {.last = {0}};
    uint32_t found = 0;
    for (int kills = 0; kills < KILLS; kills++) {
        int ends[2];
        ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
        pid_t child = fork();
        if (child == 0) {
            child_main(&options, finding.last, ends[1]);
        }
        close(ends[1]);
        uint32_t acknowledged[LANES];
        memcpy(acknowledged, finding.last, sizeof(acknowledged));
        uint32_t wanted = gv_rng_below(&rng, 400);
        bool killed = false;
        uint8_t lane;
        for (uint32_t n = 0; read(ends[0], &lane, 1) == 1; n++) {
            acknowledged[lane]++;
            if (n == wanted) {
                ck_assert_int_eq(kill(child, SIGKILL), 0);
                killed = true; /* what is in the pipe already counts as well */
            }
        }
        close(ends[0]);
        int status;
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(killed);
        ck_assert(WIFSIGNALED(status));

        gv_store_t *store = lmdb_open(&options);
        finding = (finding_t){.last = {0}};
        ck_assert_ok(gv_store_scan(store, GV_TABLE_LINKS, on_last, &finding));
        ck_assert_ok(gv_store_scan(store, GV_TABLE_OUTBOX, on_record, &finding));
        gv_store_close(&store);
        for (int i = 0; i < LANES; i++) {
            ck_assert_uint_ge(finding.last[i], acknowledged[i]);
            ck_assert_uint_le(finding.last[i], acknowledged[i] + WINDOW);
            ck_assert_uint_eq(finding.records[i], finding.last[i]);
            found += finding.last[i] > acknowledged[i] ? 1 : 0;
        }
    }
    ck_assert_uint_gt(found, 0); /* the kills did come between commit and acknowledgement */
    workdir_remove(&dir);
}

START_TEST(kill_9_loses_nothing_acknowledged)
{
    kill_and_look((gv_store_sync_t)_i);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("lmdb_store");
    tcase_set_timeout(tc, 100);
    tcase_add_test(tc, what_was_written_is_there_after_a_restart_in_every_mode);
    tcase_add_test(tc, the_age_of_the_oldest_reader_is_told);
    tcase_add_test(tc, a_second_opener_is_refused_in_this_process_and_in_another);
    tcase_add_test(tc, sizes_that_make_no_sense);
    tcase_add_test(tc, a_newer_format_is_refused_and_left_alone);
    tcase_add_test(tc, a_damaged_format_is_refused);
    tcase_add_test(tc, an_lmdb_store_of_somebody_else_is_refused_and_left_alone);
    tcase_add_test(tc, a_cut_or_garbled_file_is_refused);
    tcase_add_loop_test(tc, no_damage_to_the_file_ends_the_process, 0, DAMAGE_COUNT);
    tcase_add_loop_test(tc, kill_9_loses_nothing_acknowledged, GV_STORE_SYNC_COMMIT,
                        GV_STORE_SYNC_OFF + 1);
    return run_case("storage", tc);
}
