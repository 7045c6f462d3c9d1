/* SPDX-License-Identifier: Apache-2.0 */

/*
 * SCRAM: what clients send, line by line.  The first line is client first, the second client final;
 * both are read by themselves and played against a server that knows one user ("user", "pencil")
 * and always has the same nonce, so that a corpus can hold a login that succeeds.  Every line is
 * tried as a verifier, a user name and base64, too.
 */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/auth/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool is_inside(gv_bytes_t part, gv_bytes_t whole)
{
    return part.size <= whole.size && part.data >= whole.data &&
           part.data + part.size <= whole.data + whole.size;
}

static gv_bytes_t take_line(gv_bytes_t *rest)
{
    const uint8_t *end = rest->size > 0 ? memchr(rest->data, '\n', rest->size) : NULL;
    gv_bytes_t line = gv_bytes(rest->data, end != NULL ? (size_t)(end - rest->data) : rest->size);
    size_t used = end != NULL ? line.size + 1 : line.size;
    *rest = used > 0 ? gv_bytes(rest->data + used, rest->size - used) : *rest;
    return line;
}

/* ---- reading ------------------------------------------------------------------------------- */

static void try_messages(gv_bytes_t line)
{
    gv_scram_first_t first;
    if (gv_scram_first_read(line, &first) == GV_OK) {
        require(first.header.data == line.data && first.header.size == 3);
        require(first.header.size + first.bare.size == line.size);
        require(is_inside(first.user, first.bare) && is_inside(first.nonce, first.bare));
        require(first.nonce.size > 0 && memchr(first.nonce.data, ',', first.nonce.size) == NULL);
    }
    gv_scram_final_t final;
    if (gv_scram_final_read(line, &final) == GV_OK) {
        require(final.without_proof.data == line.data);
        require(is_inside(final.nonce, final.without_proof));
        require(is_inside(final.binding, final.without_proof));
        require(line.size >= final.without_proof.size + 3 + GV_BASE64_SIZE(GV_SHA256_SIZE));
    }
    uint8_t user[GV_SCRAM_USER_SIZE_MAX];
    size_t user_size = 0;
    bool is_user = gv_scram_user_read(line, user, &user_size) == GV_OK;
    require(is_user == (user_size > 0) && user_size <= line.size);
}

/* There is one spelling of each value. */
static void try_spelling(gv_bytes_t line)
{
    gv_scram_verifier_t verifier;
    if (gv_scram_verifier_read(line, &verifier) == GV_OK) {
        char text[GV_SCRAM_VERIFIER_TEXT_SIZE_MAX];
        gv_writer_t w = gv_writer(text, sizeof(text));
        gv_scram_verifier_write(&w, &verifier);
        require(!w.failed);
        gv_scram_verifier_t again;
        gv_bytes_t written = gv_bytes(text, sizeof(text) - gv_writer_left(&w));
        require(gv_scram_verifier_read(written, &again) == GV_OK);
        require(memcmp(&verifier, &again, sizeof(again)) == 0);
    }
    uint8_t bytes[256];
    uint8_t text[GV_BASE64_SIZE(sizeof(bytes))];
    size_t size = 0;
    if (gv_base64_read(line, bytes, sizeof(bytes), &size) == GV_OK) {
        gv_writer_t w = gv_writer(text, sizeof(text));
        gv_base64_write(&w, gv_bytes(bytes, size));
        require(!w.failed && gv_bytes_equal(line, gv_bytes(text, GV_BASE64_SIZE(size))));
    }
}

/* ---- a whole exchange ---------------------------------------------------------------------- */

static gv_users_t *one_user(void)
{
    static char name[] = "user";
    gv_user_config_t user = {.name = name};
    require(gv_scram_verifier_read(GV_BYTES_LITERAL("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                                                    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                                                    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="),
                                   &user.verifier) == GV_OK);
    return gv_users_new(&user, 1);
}

static void play(gv_bytes_t first, gv_bytes_t final)
{
    static const uint8_t nonce[GV_SCRAM_NONCE_BYTES] = {0};
    static const uint8_t key[GV_SHA256_SIZE] = {0};
    gv_users_t *users = one_user();
    gv_scram_options_t options = {
        .users = users, .fake_key = gv_bytes(key, sizeof(key)), .nonce = nonce};
    gv_scram_t *scram = gv_scram_new(&options);
    gv_users_unref(&users);
    gv_bytes_t answer;
    gv_auth_step_t result = gv_scram_step(scram, first, &answer);
    require(result != GV_AUTH_DONE && (result == GV_AUTH_CONTINUE) == (answer.size > 0));
    if (result == GV_AUTH_CONTINUE) {
        result = gv_scram_step(scram, final, &answer);
        require(result != GV_AUTH_CONTINUE && (result == GV_AUTH_DONE) == (answer.size > 0));
        bool is_user = gv_bytes_equal(gv_scram_user(scram), GV_BYTES_LITERAL("user"));
        require(result == GV_AUTH_REFUSED || is_user);
    }
    gv_scram_free(&scram);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    gv_bytes_t rest = gv_bytes(data, size);
    gv_bytes_t first = take_line(&rest);
    gv_bytes_t final = take_line(&rest);
    try_messages(first);
    try_messages(final);
    try_spelling(first);
    try_spelling(final);
    play(first, final);
    return 0;
}
