/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/users.h"

#include <stdatomic.h>

#include "base/alloc.h"
#include "base/map.h"

typedef struct user {
    gv_scram_verifier_t verifier;
    size_t name_size;
    uint8_t name[GV_SCRAM_USER_SIZE_MAX];
} user_t;

struct gv_users {
    atomic_uint_least32_t refs;
    gv_map_t by_name;
    size_t count;
    user_t items[];
};

static gv_bytes_t name_of(const void *value)
{
    const user_t *user = value;
    return gv_bytes(user->name, user->name_size);
}

gv_users_t *gv_users_new(const gv_user_config_t *items, size_t count)
{
    gv_users_t *users = gv_xcalloc(1, sizeof(*users) + count * sizeof(users->items[0]));
    atomic_init(&users->refs, 1);
    /* The keys are the operator's: no seed is needed. */
    gv_map_init(&users->by_name, name_of, 0);
    users->count = count;
    for (size_t i = 0; i < count; i++) {
        user_t *user = &users->items[i];
        user->verifier = items[i].verifier;
        user->name_size = strlen(items[i].name);
        GV_ASSERT(user->name_size <= sizeof(user->name));
        memcpy(user->name, items[i].name, user->name_size);
        gv_map_add(&users->by_name, user);
    }
    return users;
}

gv_users_t *gv_users_ref(gv_users_t *users)
{
    uint32_t before = atomic_fetch_add_explicit(&users->refs, 1, memory_order_relaxed);
    GV_ASSERT(before > 0);
    return users;
}

void gv_users_unref(gv_users_t **usersp)
{
    gv_users_t *users = *usersp;
    *usersp = NULL;
    if (users == NULL) {
        return;
    }
    /* acq_rel: all holders' reads come before the free. */
    uint32_t before = atomic_fetch_sub_explicit(&users->refs, 1, memory_order_acq_rel);
    GV_ASSERT(before > 0);
    if (before == 1) {
        gv_map_deinit(&users->by_name);
        gv_secret_wipe(users->items, users->count * sizeof(users->items[0]));
        gv_free(users);
    }
}

size_t gv_users_count(const gv_users_t *users)
{
    return users->count;
}

const gv_scram_verifier_t *gv_users_find(const gv_users_t *users, gv_bytes_t name)
{
    const user_t *user = gv_map_find(&users->by_name, name);
    return user != NULL ? &user->verifier : NULL;
}

void gv_users_invent(const gv_users_t *users, gv_bytes_t name, gv_bytes_t key,
                     gv_scram_verifier_t *out)
{
    GV_ASSERT(users->count > 0);
    const gv_scram_verifier_t *model = &users->items[0].verifier;
    *out = (gv_scram_verifier_t){.iterations = model->iterations, .salt_size = model->salt_size};
    uint8_t hash[GV_SHA256_SIZE];
    for (size_t at = 0; at < model->salt_size; at += sizeof(hash)) {
        uint8_t part = (uint8_t)at;
        const gv_bytes_t parts[] = {GV_BYTES_LITERAL("salt"), gv_bytes(&part, 1), name};
        gv_hmac_sha256(key, parts, 3, hash);
        size_t left = model->salt_size - at;
        memcpy(out->salt + at, hash, left < sizeof(hash) ? left : sizeof(hash));
    }
    const gv_bytes_t stored[] = {GV_BYTES_LITERAL("stored"), name};
    gv_hmac_sha256(key, stored, 2, out->stored_key);
    const gv_bytes_t server[] = {GV_BYTES_LITERAL("server"), name};
    gv_hmac_sha256(key, server, 2, out->server_key);
}
