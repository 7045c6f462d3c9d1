/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "broker/admin/status.h"
#include "proto/mqtt/utf8.h"
#include "storage/lmdb_store.h"

typedef struct check {
    gv_config_t *config;
    gv__config_complain_t *complain;
    void *arg;
} check_t;

static GV_PRINTF(3, 4) void complain(const check_t *check, const char *key, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    check->complain(key, text, check->arg);
}

/* ---- listeners and who may use them ------------------------------------------------------- */

/* On such a listener every client has shown a certificate. */
static bool has_mutual_tls(const gv_config_t *config, const gv_listener_config_t *listener)
{
    return gv_listener_has_tls(listener) && config->tls.verify_client;
}

static void check_listener(const check_t *check, gv_listener_config_t *listener)
{
    const gv_config_t *config = check->config;
    bool here_only = config->auth.anonymous == GV_AUTH_ANONYMOUS_LOOPBACK && listener->is_loopback;
    listener->anonymous_allowed = config->auth.anonymous == GV_AUTH_ANONYMOUS_ALL || here_only ||
                                  has_mutual_tls(config, listener);
    bool is_useless = !listener->anonymous_allowed && config->auth.scram.count == 0;
    if (is_useless && config->auth.anonymous == GV_AUTH_ANONYMOUS_NONE) {
        complain(check, "auth.anonymous",
                 "false and no users: nobody can log in at %s; expected some in auth.scram",
                 listener->url);
    } else if (is_useless) {
        complain(check, "listeners",
                 "%s is open to other machines and no authentication is configured; expected a "
                 "loopback address, users in auth.scram, or auth.anonymous = true to let everybody "
                 "in",
                 listener->url);
    }
    if (gv_listener_has_tls(listener) &&
        (config->tls.cert[0] == '\0' || config->tls.key[0] == '\0')) {
        complain(check, "listeners", "%s needs a certificate; expected tls.cert and tls.key",
                 listener->url);
    }
}

static bool same_place(const gv_listener_config_t *a, const gv_listener_config_t *b)
{
    bool unix_a = a->scheme == GV_LISTENER_UNIX;
    bool unix_b = b->scheme == GV_LISTENER_UNIX;
    if (unix_a || unix_b) {
        return unix_a && unix_b && strcmp(a->path, b->path) == 0;
    }
    return a->address.port != 0 && gv_hostport_equal(&a->address, &b->address);
}

/* Every listener shares its port among our loops, so the system would not notice. */
static void check_duplicates(const check_t *check)
{
    const gv_config_t *config = check->config;
    for (size_t i = 0; i < config->listeners.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (same_place(&config->listeners.items[i], &config->listeners.items[j])) {
                complain(check, "listeners", "%s and %s are the same address",
                         config->listeners.items[j].url, config->listeners.items[i].url);
            }
        }
    }
}

static void check_tls(const check_t *check)
{
    if (check->config->tls.verify_client && check->config->tls.ca[0] == '\0') {
        complain(check, "tls.verify_client", "true without tls.ca; expected the authorities' file");
    }
}

/* ---- the cluster -------------------------------------------------------------------------- */

static void read_secret(const check_t *check)
{
    gv_config_t *config = check->config;
    if (config->cluster.secret_file[0] == '\0') {
        return;
    }
    if (config->cluster.secret[0] != '\0') {
        complain(check, "cluster.secret_file",
                 "cluster.secret is set too; expected one of the two");
        return;
    }
    size_t size = 0;
    char *secret = gv__config_read_file(config->cluster.secret_file, &size);
    if (secret == NULL) {
        complain(check, "cluster.secret_file", "'%s' cannot be read: %s",
                 config->cluster.secret_file, strerror(errno));
        return;
    }
    /* Editors and echo end a file with a line end that is no part of the secret. */
    while (size > 0 && strchr("\r\n \t", secret[size - 1]) != NULL) {
        secret[--size] = '\0';
    }
    if (size == 0 || strlen(secret) != size) {
        complain(check, "cluster.secret_file", "'%s' is empty or not text",
                 config->cluster.secret_file);
        gv_free(secret);
        return;
    }
    gv_free(config->cluster.secret);
    config->cluster.secret = secret;
}

static bool stays_on_this_machine(const gv_config_t *config)
{
    bool inside = gv_hostport_is_loopback(&config->cluster.listen);
    for (size_t i = 0; inside && i < config->cluster.seeds.count; i++) {
        inside = gv_hostport_is_loopback(&config->cluster.seeds.items[i]);
    }
    return inside;
}

static void fill_advertise(const check_t *check)
{
    gv_config_t *config = check->config;
    gv_hostport_t *advertise = &config->cluster.advertise;
    if (gv_hostport_is_unspecified(advertise)) {
        complain(check, "cluster.advertise",
                 "nobody can connect to a wildcard address; expected HOST:PORT of this node");
    } else if (!gv_hostport_is_set(advertise)) {
        *advertise = config->cluster.listen;
        if (gv_hostport_is_unspecified(advertise)) {
            /* In containers and most networks the others can look up our name. */
            _Static_assert(sizeof(advertise->host) > 64, "a name fits");
            memcpy(advertise->host, config->node.name, strlen(config->node.name) + 1);
        }
    }
}

static void check_cluster(const check_t *check)
{
    gv_config_t *config = check->config;
    if (!gv_hostport_is_set(&config->cluster.listen)) {
        if (config->cluster.seeds.count > 0) {
            complain(
                check, "cluster.seeds",
                "set without cluster.listen; expected cluster.listen = HOST:PORT (or --cluster)");
        }
        return;
    }
    fill_advertise(check);
    read_secret(check);
    bool has_secret = config->cluster.secret[0] != '\0' || config->cluster.secret_file[0] != '\0';
    if (!has_secret && stays_on_this_machine(config)) {
        config->cluster.insecure = true;
    }
    if (!has_secret && !config->cluster.insecure) {
        complain(check, "cluster.listen",
                 "other machines can join and there is no secret; expected cluster.secret_file, "
                 "cluster.secret, or cluster.insecure = true");
    }
    if (config->cluster.suspect_after_ms <= config->cluster.heartbeat_ms) {
        complain(check, "cluster.suspect_after_ms",
                 "not longer than cluster.heartbeat_ms; expected at least twice of it");
    }
    if (config->cluster.dead_after_ms <= config->cluster.suspect_after_ms) {
        complain(check, "cluster.dead_after_ms", "not longer than cluster.suspect_after_ms");
    }
}

static void check_storage(const check_t *check)
{
    const gv_config_t *config = check->config;
    bool is_given = config->storage.reserve != 0;
    uint64_t reserve =
        is_given ? config->storage.reserve : gv_lmdb_reserve_default(config->storage.map_size);
    if (reserve <= config->storage.map_size / 2) {
        return;
    }
    if (is_given) {
        complain(check, "storage.reserve", "more than half of storage.map_size");
    } else {
        complain(check, "storage.map_size",
                 "too small for the reserve of %llu MiB; expected twice of that, or a smaller "
                 "storage.reserve",
                 (unsigned long long)(reserve >> 20));
    }
}

void gv__config_check(gv_config_t *config, gv__config_complain_t *complain_cb, void *arg)
{
    GV_ASSERT(config != NULL);
    GV_ASSERT(complain_cb != NULL);
    check_t check = {.config = config, .complain = complain_cb, .arg = arg};
    for (size_t i = 0; i < config->listeners.count; i++) {
        check_listener(&check, &config->listeners.items[i]);
    }
    check_duplicates(&check);
    check_tls(&check);
    check_cluster(&check);
    check_storage(&check);
    if (config->admin.token_always && config->admin.token[0] == '\0') {
        complain(&check, "admin.token_always", "true without a token; expected admin.token");
    }
    if (strlen(config->drain.server_reference) > GV_SERVER_REFERENCE_SIZE_MAX ||
        !gv_mqtt_text_valid(gv_bytes_text(config->drain.server_reference))) {
        complain(&check, "drain.server_reference", "expected a short text, like HOST:PORT");
    }
    if (config->node.data[0] == '\0') {
        complain(&check, "node.data", "empty; expected a directory");
    }
}
