/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users in the configuration: a section `auth.scram` whose keys are names, or single keys
 * auth.scram.NAME.  A verifier is never repeated in a message.
 */
#include <string.h>

#include "base/alloc.h"
#include "broker/config_p.h"
#include "proto/mqtt/utf8.h"
#include "proto/scram/scram.h"

char *gv__config_user_set(gv_user_list_t *users, const char *name, const char *text,
                          bool may_replace)
{
    gv_bytes_t name_bytes = gv_bytes_text(name);
    if (name_bytes.size == 0 || name_bytes.size > GV_SCRAM_USER_SIZE_MAX ||
        !gv_mqtt_text_valid(name_bytes)) {
        return gv_text_format("a user's name is UTF-8 of 1 to %u bytes", GV_SCRAM_USER_SIZE_MAX);
    }
    gv_user_config_t *user = NULL;
    for (size_t i = 0; i < users->count && user == NULL; i++) {
        user = strcmp(users->items[i].name, name) == 0 ? &users->items[i] : NULL;
    }
    if (user != NULL && !may_replace) {
        return gv_text_format("user '%s' is given twice", name);
    }
    gv_scram_verifier_t verifier;
    if (gv_scram_verifier_read(gv_bytes_text(text), &verifier) != GV_OK) {
        return gv_text_format("no verifier for user '%s'; expected what `grapevine passwd` prints, "
                              "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY with at least %u "
                              "iterations",
                              name, GV_SCRAM_ITERATIONS_MIN);
    }
    if (user == NULL) {
        users->items = gv_xrealloc(users->items, (users->count + 1) * sizeof(*users->items));
        user = &users->items[users->count++];
        user->name = gv_xstrdup(name);
    }
    user->verifier = verifier;
    return NULL;
}

char *gv__config_users_set(gv_user_list_t *users, const gv_config_node_t *section,
                           const gv_config_node_t **where_out)
{
    char *problem = NULL;
    for (const gv_config_node_t *item = section->first; item != NULL && problem == NULL;
         item = item->next) {
        *where_out = item;
        problem = item->kind != GV_CONFIG_WORD
                      ? gv_text_format("%s is not one value; expected NAME = \"%s$...\"", item->key,
                                       GV_SCRAM_METHOD)
                      : gv__config_user_set(users, item->key, item->text, false);
    }
    return problem;
}

bool gv__config_users_equal(const gv_user_list_t *a, const gv_user_list_t *b)
{
    bool equal = a->count == b->count;
    for (size_t i = 0; equal && i < a->count; i++) {
        const gv_scram_verifier_t *x = &a->items[i].verifier;
        const gv_scram_verifier_t *y = &b->items[i].verifier;
        equal = strcmp(a->items[i].name, b->items[i].name) == 0 && x->iterations == y->iterations &&
                gv_bytes_equal(gv_scram_salt(x), gv_scram_salt(y)) &&
                memcmp(x->stored_key, y->stored_key, sizeof(x->stored_key)) == 0 &&
                memcmp(x->server_key, y->server_key, sizeof(x->server_key)) == 0;
    }
    return equal;
}

void gv__config_users_copy(const gv_user_list_t *from, gv_user_list_t *to)
{
    to->count = from->count;
    to->items = gv_xcalloc(from->count, sizeof(*to->items));
    for (size_t i = 0; i < from->count; i++) {
        to->items[i] = from->items[i];
        to->items[i].name = gv_xstrdup(from->items[i].name);
    }
}

void gv__config_users_release(gv_user_list_t *users)
{
    for (size_t i = 0; i < users->count; i++) {
        gv_free(users->items[i].name);
    }
    if (users->count > 0) {
        gv_secret_wipe(users->items, users->count * sizeof(*users->items));
    }
    gv_free(users->items);
    *users = (gv_user_list_t){.items = NULL};
}
