/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/scram.h"

#include "base/alloc.h"
#include "proto/scram/scram.h"

/* Client first, then what we add to it: our nonce, the salt, the iterations. */
#define CHALLENGE_SIZE_MAX (GV_SCRAM_MESSAGE_SIZE_MAX + 256U)

typedef enum scram_state {
    WAITS_FOR_FIRST,
    WAITS_FOR_FINAL,
    OVER,
} scram_state_t;

struct gv_scram {
    scram_state_t state;
    bool is_stranger;
    uint8_t fake_key[GV_SHA256_SIZE];
    uint8_t nonce[GV_BASE64_SIZE(GV_SCRAM_NONCE_BYTES)];
    gv_users_t *users; /* until the verifier is found */
    gv_scram_verifier_t verifier;
    uint8_t user[GV_SCRAM_USER_SIZE_MAX];
    size_t user_size;
    uint8_t header[8]; /* of client first: "n,," or "y,,", base64 */
    size_t header_size;
    uint8_t first[GV_SCRAM_MESSAGE_SIZE_MAX]; /* without its header */
    size_t first_size;
    uint8_t challenge[CHALLENGE_SIZE_MAX]; /* server first */
    size_t challenge_size;
    size_t client_nonce_size; /* the nonces stand in the challenge, behind "r=" */
    uint8_t success[GV_SCRAM_SUCCESS_SIZE];
};

gv_scram_t *gv_scram_new(const gv_scram_options_t *options)
{
    GV_ASSERT(options->fake_key.size == GV_SHA256_SIZE);
    gv_scram_t *scram = GV_NEW(gv_scram_t);
    scram->state = WAITS_FOR_FIRST;
    scram->users = gv_users_ref(options->users);
    memcpy(scram->fake_key, options->fake_key.data, sizeof(scram->fake_key));
    gv_writer_t w = gv_writer(scram->nonce, sizeof(scram->nonce));
    gv_base64_write(&w, gv_bytes(options->nonce, GV_SCRAM_NONCE_BYTES));
    return scram;
}

void gv_scram_free(gv_scram_t **scramp)
{
    gv_scram_t *scram = *scramp;
    *scramp = NULL;
    if (scram != NULL) {
        gv_users_unref(&scram->users);
        gv_secret_wipe(scram, sizeof(*scram));
        gv_free(scram);
    }
}

gv_bytes_t gv_scram_user(const gv_scram_t *scram)
{
    return gv_bytes(scram->user, scram->user_size);
}

static void find_verifier(gv_scram_t *scram)
{
    const gv_scram_verifier_t *found = gv_users_find(scram->users, gv_scram_user(scram));
    scram->is_stranger = found == NULL;
    if (found != NULL) {
        scram->verifier = *found;
    } else {
        gv_users_invent(scram->users, gv_scram_user(scram),
                        gv_bytes(scram->fake_key, sizeof(scram->fake_key)), &scram->verifier);
    }
    gv_users_unref(&scram->users);
}

static bool keep(uint8_t *to, size_t to_size, size_t *size_out, gv_bytes_t bytes)
{
    if (bytes.size > to_size) {
        return false;
    }
    memcpy(to, bytes.data, bytes.size);
    *size_out = bytes.size;
    return true;
}

static gv_auth_step_t take_first(gv_scram_t *scram, gv_bytes_t message, gv_bytes_t *answer_out)
{
    gv_scram_first_t first;
    if (gv_scram_first_read(message, &first) != GV_OK ||
        gv_scram_user_read(first.user, scram->user, &scram->user_size) != GV_OK ||
        !keep(scram->first, sizeof(scram->first), &scram->first_size, first.bare)) {
        return GV_AUTH_REFUSED;
    }
    gv_writer_t header = gv_writer(scram->header, sizeof(scram->header));
    gv_base64_write(&header, first.header);
    scram->header_size = sizeof(scram->header) - gv_writer_left(&header);

    find_verifier(scram);
    scram->client_nonce_size = first.nonce.size;
    gv_writer_t w = gv_writer(scram->challenge, sizeof(scram->challenge));
    gv_scram_challenge_write(&w, first.nonce, gv_bytes(scram->nonce, sizeof(scram->nonce)),
                             gv_scram_salt(&scram->verifier), scram->verifier.iterations);
    GV_ASSERT(!header.failed && !w.failed);
    scram->challenge_size = sizeof(scram->challenge) - gv_writer_left(&w);
    scram->state = WAITS_FOR_FINAL;
    *answer_out = gv_bytes(scram->challenge, scram->challenge_size);
    return GV_AUTH_CONTINUE;
}

/* The nonces as they stand in the challenge. */
static gv_bytes_t whole_nonce(const gv_scram_t *scram)
{
    return gv_bytes(scram->challenge + 2, scram->client_nonce_size + sizeof(scram->nonce));
}

static gv_auth_step_t take_final(gv_scram_t *scram, gv_bytes_t message, gv_bytes_t *answer_out)
{
    gv_scram_final_t final;
    if (gv_scram_final_read(message, &final) != GV_OK ||
        !gv_bytes_equal(final.nonce, whole_nonce(scram)) ||
        !gv_bytes_equal(final.binding, gv_bytes(scram->header, scram->header_size))) {
        return GV_AUTH_REFUSED;
    }
    gv_scram_exchange_text_t text = {
        .parts = {gv_bytes(scram->first, scram->first_size), GV_BYTES_LITERAL(","),
                  gv_bytes(scram->challenge, scram->challenge_size), GV_BYTES_LITERAL(","),
                  final.without_proof},
    };
    bool holds = gv_scram_proof_holds(&scram->verifier, &text, final.proof);
    if (!holds || scram->is_stranger) {
        return GV_AUTH_REFUSED;
    }
    uint8_t signature[GV_SHA256_SIZE];
    gv_scram_sign(&scram->verifier, &text, signature);
    gv_writer_t w = gv_writer(scram->success, sizeof(scram->success));
    gv_scram_success_write(&w, signature);
    *answer_out = gv_bytes(scram->success, sizeof(scram->success));
    return GV_AUTH_DONE;
}

gv_auth_step_t gv_scram_step(gv_scram_t *scram, gv_bytes_t message, gv_bytes_t *answer_out)
{
    *answer_out = GV_BYTES_EMPTY;
    scram_state_t state = scram->state;
    scram->state = OVER;
    switch (state) {
    case WAITS_FOR_FIRST:
        return take_first(scram, message, answer_out);
    case WAITS_FOR_FINAL:
        return take_final(scram, message, answer_out);
    case OVER:
        break;
    }
    GV_ASSERT(state != OVER);
    return GV_AUTH_REFUSED;
}
