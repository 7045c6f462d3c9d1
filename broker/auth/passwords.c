/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/passwords.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/map.h"

/* The last good password of a user, as a keyed hash. */
typedef struct memory {
    uint8_t mac[GV_SHA256_SIZE];
    size_t name_size;
    uint8_t name[];
} memory_t;

struct gv_passwords {
    gv_loop_t *loop;
    atomic_uint waiting;
    atomic_bool is_over; /* nothing is computed any more */
    /* Of the thread alone: */
    gv_users_t *users; /* whose passwords are remembered, or NULL */
    gv_map_t memories;
    uint8_t key[GV_SHA256_SIZE];
};

/* A question on its way there, and its answer on its way back. */
typedef struct job {
    gv_letter_t letter;
    gv_passwords_t *passwords;
    gv_users_t *users; /* a reference */
    gv_loop_t *asking;
    gv_password_cb_t *done;
    void *arg;
    gv_ticket_t ticket;
    bool is_good;
    uint8_t fake_key[GV_SHA256_SIZE];
    size_t user_size;
    size_t password_size;
    uint8_t text[]; /* user, password */
} job_t;

static gv_bytes_t user_of(const job_t *job)
{
    return gv_bytes(job->text, job->user_size);
}

static gv_bytes_t password_of(const job_t *job)
{
    return gv_bytes(job->text + job->user_size, job->password_size);
}

/* ---- remembering --------------------------------------------------------------------------- */

static gv_bytes_t name_of(const void *value)
{
    const memory_t *memory = value;
    return gv_bytes(memory->name, memory->name_size);
}

static void forget_all(gv_passwords_t *passwords)
{
    size_t cursor = 0;
    for (memory_t *memory; (memory = gv_map_next(&passwords->memories, &cursor)) != NULL;) {
        gv_free(memory);
    }
    gv_map_deinit(&passwords->memories);
    gv_map_init(&passwords->memories, name_of, 0);
    gv_users_unref(&passwords->users);
}

/* What is remembered belongs to one set of users; with the next all is new. */
static void turn_to(gv_passwords_t *passwords, gv_users_t *users)
{
    if (passwords->users != users) {
        forget_all(passwords);
        passwords->users = gv_users_ref(users);
    }
}

static void make_mac(const gv_passwords_t *passwords, const job_t *job, uint8_t out[GV_SHA256_SIZE])
{
    gv_bytes_t password = password_of(job);
    gv_hmac_sha256(gv_bytes(passwords->key, sizeof(passwords->key)), &password, 1, out);
}

static bool is_remembered(const gv_passwords_t *passwords, const job_t *job)
{
    const memory_t *memory = gv_map_find(&passwords->memories, user_of(job));
    if (memory == NULL) {
        return false;
    }
    uint8_t mac[GV_SHA256_SIZE];
    make_mac(passwords, job, mac);
    return gv_secret_equal(mac, memory->mac, sizeof(mac));
}

static void remember(gv_passwords_t *passwords, const job_t *job)
{
    gv_bytes_t name = user_of(job);
    memory_t *memory = gv_map_find(&passwords->memories, name);
    if (memory == NULL) {
        memory = gv_xcalloc(1, sizeof(*memory) + name.size);
        memory->name_size = name.size;
        memcpy(memory->name, name.data, name.size);
        gv_map_add(&passwords->memories, memory);
    }
    make_mac(passwords, job, memory->mac);
}

/* ---- checking ------------------------------------------------------------------------------ */

static bool check(gv_passwords_t *passwords, const job_t *job)
{
    turn_to(passwords, job->users);
    const gv_scram_verifier_t *found = gv_users_find(job->users, user_of(job));
    if (found != NULL && is_remembered(passwords, job)) {
        return true;
    }
    gv_scram_verifier_t expected;
    if (found != NULL) {
        expected = *found;
    } else { /* takes as long, and is never right */
        gv_users_invent(job->users, user_of(job), gv_bytes(job->fake_key, sizeof(job->fake_key)),
                        &expected);
    }
    gv_scram_verifier_t made;
    gv_scram_verifier_make(password_of(job), gv_scram_salt(&expected), expected.iterations, &made);
    bool is_good = gv_secret_equal(made.stored_key, expected.stored_key, sizeof(made.stored_key)) &&
                   found != NULL;
    gv_secret_wipe(&made, sizeof(made));
    if (is_good) {
        remember(passwords, job);
    }
    return is_good;
}

static void on_answer(gv_letter_t *letter)
{
    job_t *job = gv_container_of(letter, job_t, letter);
    if (!gv_loop_is_stopping(job->asking)) {
        gv_loop_assert_current(job->asking);
        job->done(&job->ticket, job->is_good, job->arg);
    }
    gv_users_unref(&job->users);
    gv_secret_wipe(job, sizeof(*job) + job->user_size + job->password_size);
    gv_free(job);
}

static void on_question(gv_letter_t *letter)
{
    job_t *job = gv_container_of(letter, job_t, letter);
    gv_passwords_t *passwords = job->passwords;
    if (!atomic_load_explicit(&passwords->is_over, memory_order_relaxed)) {
        gv_loop_assert_current(passwords->loop);
        job->is_good = check(passwords, job);
    }
    atomic_fetch_sub_explicit(&passwords->waiting, 1, memory_order_relaxed);
    job->letter.deliver = on_answer;
    gv_loop_send(job->asking, &job->letter);
}

static bool has_nul(gv_bytes_t bytes)
{
    return bytes.size > 0 && memchr(bytes.data, '\0', bytes.size) != NULL;
}

bool gv_passwords_check(gv_passwords_t *passwords, const gv_password_question_t *question)
{
    GV_ASSERT(question->fake_key.size == GV_SHA256_SIZE);
    /* Relaxed: it only counts. */
    if (atomic_fetch_add_explicit(&passwords->waiting, 1, memory_order_relaxed) >=
        GV_PASSWORDS_WAITING_MAX) {
        atomic_fetch_sub_explicit(&passwords->waiting, 1, memory_order_relaxed);
        return false;
    }
    /* Nobody's name or password; an empty name is as wrong, and takes as long.  HMAC would not see
     * a NUL at the end of a password. */
    bool is_none = question->user.size > GV_SCRAM_USER_SIZE_MAX ||
                   question->password.size > GV_PASSWORD_SIZE_MAX || has_nul(question->password);
    gv_bytes_t user = is_none ? GV_BYTES_EMPTY : question->user;
    gv_bytes_t password = is_none ? GV_BYTES_EMPTY : question->password;
    job_t *job = gv_xcalloc(1, sizeof(*job) + user.size + password.size);
    job->letter.deliver = on_question;
    job->passwords = passwords;
    job->users = gv_users_ref(question->users);
    job->asking = question->loop;
    job->done = question->done;
    job->arg = question->arg;
    job->ticket = question->ticket;
    memcpy(job->fake_key, question->fake_key.data, sizeof(job->fake_key));
    job->user_size = user.size;
    job->password_size = password.size;
    gv_writer_t w = gv_writer(job->text, user.size + password.size);
    gv_writer_put(&w, user);
    gv_writer_put(&w, password);
    gv_loop_send(passwords->loop, &job->letter);
    return true;
}

/* ---- life ---------------------------------------------------------------------------------- */

gv_err_t gv_passwords_new(gv_passwords_t **passwords_out)
{
    *passwords_out = NULL;
    gv_loop_options_t options = {.name = "passwords", .letters_per_turn = 16};
    gv_loop_t *loop = NULL;
    gv_err_t err = gv_loop_new(&options, &loop);
    if (err != GV_OK) {
        return err;
    }
    gv_passwords_t *passwords = GV_NEW(gv_passwords_t);
    passwords->loop = loop;
    atomic_init(&passwords->waiting, 0);
    atomic_init(&passwords->is_over, false);
    gv_map_init(&passwords->memories, name_of, 0);
    gv_os_random(passwords->key, sizeof(passwords->key));
    *passwords_out = passwords;
    return GV_OK;
}

gv_err_t gv_passwords_start(gv_passwords_t *passwords)
{
    return gv_loop_start(passwords->loop);
}

void gv_passwords_stop(gv_passwords_t *passwords)
{
    atomic_store_explicit(&passwords->is_over, true, memory_order_relaxed);
    gv_loop_stop(passwords->loop);
    gv_loop_join(passwords->loop);
}

void gv_passwords_free(gv_passwords_t **passwordsp)
{
    gv_passwords_t *passwords = *passwordsp;
    *passwordsp = NULL;
    if (passwords == NULL) {
        return;
    }
    /* Questions that are still in its box are answered now. */
    atomic_store_explicit(&passwords->is_over, true, memory_order_relaxed);
    gv_loop_free(&passwords->loop);
    forget_all(passwords);
    gv_map_deinit(&passwords->memories);
    gv_secret_wipe(passwords, sizeof(*passwords));
    gv_free(passwords);
}
