/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/keys.h"

#include <string.h>

#include <openssl/sha.h>

_Static_assert(GV_KEY_HEAD_SIZE + 1 + SHA256_DIGEST_LENGTH == GV_KEY_SIZE_MAX,
               "a long text's key is exactly as long as a key may be");

const char *gv_table_name(gv_table_t table)
{
    static const char *const names[] = {
#define X(name, number, text) [name] = (text),
        GV_TABLE_MAP(X)
#undef X
    };
    _Static_assert(sizeof(names) / sizeof(names[0]) == GV_TABLE_COUNT, "one name per table");
    GV_ASSERT((unsigned)table < GV_TABLE_COUNT);
    return names[table];
}

gv_bytes_t gv_key_bytes(const gv_key_t *key)
{
    return gv_bytes(key->data, key->size);
}

/* Fills the key from `at` on, to at most GV_KEY_SIZE_MAX. */
static void put_text(gv_key_t *key, size_t at, gv_bytes_t text)
{
    GV_ASSERT(text.size >= 1);
    /* A text of full length could be taken for a long one's key, were it not for the NUL. */
    if (text.size <= GV_KEY_SIZE_MAX - at) {
        memcpy(key->data + at, text.data, text.size);
        key->size = at + text.size;
        return;
    }
    memcpy(key->data + at, text.data, GV_KEY_HEAD_SIZE - at);
    key->data[GV_KEY_HEAD_SIZE] = 0;
    (void)SHA256(text.data, text.size, key->data + GV_KEY_HEAD_SIZE + 1);
    key->size = GV_KEY_SIZE_MAX;
}

void gv_key_from_text(gv_key_t *key_out, gv_bytes_t text)
{
    put_text(key_out, 0, text);
}

void gv_key_from_number(gv_key_t *key_out, uint64_t number)
{
    gv_writer_t w = gv_writer(key_out->data, sizeof(key_out->data));
    gv_writer_u64(&w, number);
    key_out->size = sizeof(number);
}

void gv_key_from_number_pair(gv_key_t *key_out, uint64_t number, uint64_t under)
{
    gv_writer_t w = gv_writer(key_out->data, sizeof(key_out->data));
    gv_writer_u64(&w, number);
    gv_writer_u64(&w, under);
    key_out->size = sizeof(number) + sizeof(under);
}

void gv_key_from_number_text(gv_key_t *key_out, uint64_t number, gv_bytes_t text)
{
    gv_key_from_number(key_out, number);
    put_text(key_out, sizeof(number), text);
}

void gv_key_from_node_text(gv_key_t *key_out, const uint8_t *node_id, gv_bytes_t text)
{
    memcpy(key_out->data, node_id, GV_NODE_ID_SIZE);
    put_text(key_out, GV_NODE_ID_SIZE, text);
}
