/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/auth.h"

#include "broker/auth/scram.h"
#include "proto/scram/scram.h"

/* With one method an exchange of the port is one of SCRAM. */
static gv_scram_t *scram_of(gv_exchange_t *exchange)
{
    return (gv_scram_t *)exchange;
}

static gv_exchange_t *begin(void *arg, gv_bytes_t method)
{
    gv_auth_t *auth = arg;
    if (gv_users_count(auth->_users) == 0 ||
        !gv_bytes_equal(method, GV_BYTES_LITERAL(GV_SCRAM_METHOD))) {
        return NULL;
    }
    uint8_t nonce[GV_SCRAM_NONCE_BYTES];
    auth->_random(nonce, sizeof(nonce));
    gv_scram_options_t options = {
        .users = auth->_users,
        .fake_key = gv_bytes(auth->_fake_key, sizeof(auth->_fake_key)),
        .nonce = nonce,
    };
    return (gv_exchange_t *)gv_scram_new(&options);
}

static gv_auth_step_t step(gv_exchange_t *exchange, gv_bytes_t data, gv_bytes_t *answer_out)
{
    return gv_scram_step(scram_of(exchange), data, answer_out);
}

static gv_bytes_t user(const gv_exchange_t *exchange)
{
    return gv_scram_user((const gv_scram_t *)exchange);
}

static void end(gv_exchange_t **exchangep)
{
    gv_scram_t *scram = scram_of(*exchangep);
    *exchangep = NULL;
    gv_scram_free(&scram);
}

static bool wants_passwords(void *arg)
{
    const gv_auth_t *auth = arg;
    return auth->_passwords != NULL && gv_users_count(auth->_users) > 0;
}

static void on_checked(const gv_ticket_t *ticket, bool is_good, void *arg)
{
    const gv_auth_t *auth = arg;
    gv_loop_assert_current(auth->_loop);
    gv_shard_password_checked(auth->_shard, ticket, is_good);
}

static bool check_password(void *arg, gv_bytes_t name, gv_bytes_t password,
                           const gv_ticket_t *ticket)
{
    gv_auth_t *auth = arg;
    gv_password_question_t question = {
        .users = auth->_users,
        .fake_key = gv_bytes(auth->_fake_key, sizeof(auth->_fake_key)),
        .user = name,
        .password = password,
        .ticket = *ticket,
        .loop = auth->_loop,
        .done = on_checked,
        .arg = auth,
    };
    return gv_passwords_check(auth->_passwords, &question);
}

void gv_auth_init(gv_auth_t *auth, gv_users_t *users, gv_bytes_t secret,
                  void (*random)(void *out, size_t size))
{
    *auth = (gv_auth_t){._users = gv_users_ref(users), ._random = random};
    gv_hmac_sha256(secret, &GV_BYTES_LITERAL("salts of users that do not exist"), 1,
                   auth->_fake_key);
}

void gv_auth_deinit(gv_auth_t *auth)
{
    gv_users_unref(&auth->_users);
    gv_secret_wipe(auth->_fake_key, sizeof(auth->_fake_key));
}

void gv_auth_check_passwords(gv_auth_t *auth, gv_passwords_t *passwords, gv_loop_t *loop,
                             gv_shard_t *shard)
{
    auth->_passwords = passwords;
    auth->_loop = loop;
    auth->_shard = shard;
}

void gv_auth_set_users(gv_auth_t *auth, gv_users_t *users)
{
    gv_users_unref(&auth->_users);
    auth->_users = users;
}

gv_auth_ports_t gv_auth_ports(gv_auth_t *auth)
{
    return (gv_auth_ports_t){
        .arg = auth,
        .begin = begin,
        .step = step,
        .user = user,
        .end = end,
        .wants_passwords = wants_passwords,
        .check_password = check_password,
    };
}
