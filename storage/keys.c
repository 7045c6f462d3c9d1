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

void gv_key_from_text(gv_key_t *key_out, gv_bytes_t text)
{
    GV_ASSERT(text.size >= 1);
    /* A text of full length could be taken for a long one's key, were it not for the NUL. */
    if (text.size <= GV_KEY_SIZE_MAX) {
        memcpy(key_out->data, text.data, text.size);
        key_out->size = text.size;
        return;
    }
    memcpy(key_out->data, text.data, GV_KEY_HEAD_SIZE);
    key_out->data[GV_KEY_HEAD_SIZE] = 0;
    (void)SHA256(text.data, text.size, key_out->data + GV_KEY_HEAD_SIZE + 1);
    key_out->size = GV_KEY_SIZE_MAX;
}
