/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/scram/scram.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/mqtt/utf8.h"

/* What stands before the next comma (or the end) is taken off *text, and the comma too. */
static gv_bytes_t take_item(gv_bytes_t *text)
{
    const uint8_t *comma = text->size > 0 ? memchr(text->data, ',', text->size) : NULL;
    size_t size = comma != NULL ? (size_t)(comma - text->data) : text->size;
    gv_bytes_t item = gv_bytes(text->data, size);
    size_t skipped = comma != NULL ? size + 1 : size;
    *text = skipped > 0 ? gv_bytes(text->data + skipped, text->size - skipped) : *text;
    return item;
}

/* The value of an item "NAME=VALUE"; false when it is another one. */
static bool value_of(gv_bytes_t item, char name, gv_bytes_t *value)
{
    if (item.size < 2 || item.data[0] != (uint8_t)name || item.data[1] != '=') {
        return false;
    }
    *value = gv_bytes(item.data + 2, item.size - 2);
    return true;
}

static bool is_letter(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

/* An extension nobody has to understand: "x=...". */
static bool is_extension(gv_bytes_t item)
{
    return item.size > 2 && is_letter(item.data[0]) && item.data[1] == '=';
}

/* Behind it there is nothing, not even a comma. */
static bool is_last(gv_bytes_t item, gv_bytes_t message)
{
    return item.data + item.size == message.data + message.size;
}

/* Printable ASCII; a comma cannot be in an item. */
static bool is_nonce(gv_bytes_t nonce)
{
    for (size_t i = 0; i < nonce.size; i++) {
        if (nonce.data[i] <= ' ' || nonce.data[i] > '~') {
            return false;
        }
    }
    return nonce.size > 0;
}

/* ---- client first -------------------------------------------------------------------------- */

/* "n,," or "y,,". */
static gv_err_t read_header(gv_bytes_t *rest, gv_scram_first_t *out)
{
    const uint8_t *start = rest->data;
    size_t size = rest->size;
    gv_bytes_t flag = take_item(rest);
    if (flag.size > 1 && flag.data[0] == 'p' && flag.data[1] == '=') {
        return GV_ERR_PROTOCOL; /* channel binding, which the method's name has not promised */
    }
    if (flag.size != 1 || (flag.data[0] != 'n' && flag.data[0] != 'y') || rest->size == 0) {
        return GV_ERR_MALFORMED;
    }
    gv_bytes_t other = GV_BYTES_EMPTY;
    gv_bytes_t item = take_item(rest);
    if (item.size > 0) {
        /* To be somebody else than the one whose password it is. */
        return value_of(item, 'a', &other) ? GV_ERR_PROTOCOL : GV_ERR_MALFORMED;
    }
    out->header = gv_bytes(start, size - rest->size);
    return GV_OK;
}

gv_err_t gv_scram_first_read(gv_bytes_t message, gv_scram_first_t *out)
{
    *out = (gv_scram_first_t){.header = GV_BYTES_EMPTY};
    gv_bytes_t rest = message;
    gv_err_t err =
        message.size > GV_SCRAM_MESSAGE_SIZE_MAX ? GV_ERR_MALFORMED : read_header(&rest, out);
    if (err != GV_OK) {
        return err;
    }
    out->bare = rest;
    gv_bytes_t must;
    gv_bytes_t item = take_item(&rest);
    if (value_of(item, 'm', &must)) {
        return GV_ERR_PROTOCOL;
    }
    bool is_good = value_of(item, 'n', &out->user);
    gv_bytes_t last = take_item(&rest);
    if (!is_good || !value_of(last, 'r', &out->nonce) || !is_nonce(out->nonce)) {
        return GV_ERR_MALFORMED;
    }
    while (!is_last(last, message)) {
        last = take_item(&rest);
        if (!is_extension(last)) {
            return GV_ERR_MALFORMED;
        }
    }
    return GV_OK;
}

gv_err_t gv_scram_user_read(gv_bytes_t escaped, uint8_t out[GV_SCRAM_USER_SIZE_MAX],
                            size_t *size_out)
{
    *size_out = 0;
    gv_reader_t r = gv_reader(escaped);
    gv_writer_t w = gv_writer(out, GV_SCRAM_USER_SIZE_MAX);
    while (gv_reader_left(&r) > 0) {
        uint8_t byte = gv_reader_u8(&r);
        if (byte == '=') {
            gv_bytes_t code = gv_reader_take(&r, 2);
            bool is_comma = gv_bytes_equal(code, GV_BYTES_LITERAL("2C"));
            if (!is_comma && !gv_bytes_equal(code, GV_BYTES_LITERAL("3D"))) {
                return GV_ERR_MALFORMED;
            }
            byte = is_comma ? ',' : '=';
        }
        gv_writer_u8(&w, byte);
    }
    size_t size = GV_SCRAM_USER_SIZE_MAX - gv_writer_left(&w);
    if (w.failed || size == 0 || !gv_mqtt_text_valid(gv_bytes(out, size))) {
        return GV_ERR_MALFORMED;
    }
    *size_out = size;
    return GV_OK;
}

/* ---- server first -------------------------------------------------------------------------- */

void gv_scram_challenge_write(gv_writer_t *w, gv_bytes_t client_nonce, gv_bytes_t server_nonce,
                              gv_bytes_t salt, uint32_t iterations)
{
    gv_writer_put(w, GV_BYTES_LITERAL("r="));
    gv_writer_put(w, client_nonce);
    gv_writer_put(w, server_nonce);
    gv_writer_put(w, GV_BYTES_LITERAL(",s="));
    gv_base64_write(w, salt);
    char text[16];
    int size = snprintf(text, sizeof(text), ",i=%" PRIu32, iterations);
    gv_writer_put(w, gv_bytes(text, (size_t)size));
}

/* ---- client final -------------------------------------------------------------------------- */

static bool read_proof(gv_bytes_t text, uint8_t out[GV_SHA256_SIZE])
{
    size_t size = 0;
    return gv_base64_read(text, out, GV_SHA256_SIZE, &size) == GV_OK && size == GV_SHA256_SIZE;
}

gv_err_t gv_scram_final_read(gv_bytes_t message, gv_scram_final_t *out)
{
    *out = (gv_scram_final_t){.without_proof = GV_BYTES_EMPTY};
    gv_bytes_t rest = message;
    if (message.size > GV_SCRAM_MESSAGE_SIZE_MAX ||
        !value_of(take_item(&rest), 'c', &out->binding) ||
        !value_of(take_item(&rest), 'r', &out->nonce) || !is_nonce(out->nonce)) {
        return GV_ERR_MALFORMED;
    }
    /* Extensions may stand before the proof, which is the last item. */
    gv_bytes_t item = take_item(&rest);
    gv_bytes_t proof;
    while (!value_of(item, 'p', &proof)) {
        if (!is_extension(item)) {
            return GV_ERR_MALFORMED;
        }
        item = take_item(&rest);
    }
    if (!is_last(item, message) || !read_proof(proof, out->proof)) {
        return GV_ERR_MALFORMED;
    }
    out->without_proof = gv_bytes(message.data, (size_t)(item.data - message.data) - 1);
    return GV_OK;
}

/* ---- server final -------------------------------------------------------------------------- */

void gv_scram_success_write(gv_writer_t *w, const uint8_t signature[GV_SHA256_SIZE])
{
    gv_writer_put(w, GV_BYTES_LITERAL("v="));
    gv_base64_write(w, gv_bytes(signature, GV_SHA256_SIZE));
}
