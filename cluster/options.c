/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Making a cluster out of its options: what can be wrong is said here, before anything runs.
 */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/listener.h"
#include "base/io/os.h"
#include "cluster/cluster_p.h"
#include "cluster/link/hmac.h"

static GV_PRINTF(2, 3) gv_err_t invalid(gv_error_text_t *error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    return GV_ERR_INVAL;
}

static bool is_set(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static gv_err_t check_name(const char *what, const char *name, gv_error_text_t *error)
{
    if (!is_set(name) || !gv_handshake_name_is_valid(name)) {
        return invalid(error, "%s '%.70s': expected 1 to %u printable characters without blanks",
                       what, is_set(name) ? name : "", GV_NODE_NAME_MAX);
    }
    return GV_OK;
}

/* HOST:PORT; port 0 is for what is listened on. */
static bool is_host_and_port(const char *address, uint16_t port_min)
{
    gv_endpoint_t endpoint;
    return strlen(address) <= GV_NODE_ADDRESS_MAX &&
           gv_endpoint_parse(address, &endpoint, NULL) == GV_OK && !endpoint.is_unix &&
           endpoint.host[0] != '\0' && endpoint.port >= port_min;
}

static gv_err_t check_destination(const char *what, const char *address, uint16_t port_min,
                                  gv_error_text_t *error)
{
    if (!is_host_and_port(address, port_min)) {
        return invalid(error, "%s '%.100s': expected HOST:PORT", what, address);
    }
    return GV_OK;
}

bool gv__cluster_is_destination(const char *address)
{
    return is_host_and_port(address, 1);
}

static gv_err_t check_options(const gv_cluster_options_t *options, gv_error_text_t *error)
{
    gv_err_t err = check_name("node name", options->node_name, error);
    if (err == GV_OK) {
        err = check_name("cluster name", options->cluster_name, error);
    }
    if (err == GV_OK && is_set(options->advertise)) {
        err = check_destination("cluster advertise address", options->advertise, 0, error);
    }
    for (size_t i = 0; i < options->seed_count && err == GV_OK; i++) {
        err = check_destination("cluster seed", options->seeds[i], 1, error);
    }
    bool is_alone = !is_set(options->listen) && options->seed_count == 0;
    if (err == GV_OK && options->secret.size == 0 && !options->is_insecure && !is_alone) {
        (void)invalid(error,
                      "the cluster has no secret: set one, or say that it is to be insecure");
        err = GV_ERR_DENIED;
    }
    return err;
}

static gv_err_t bind_port(gv_cluster_t *cluster, const char *listen, gv_error_text_t *error)
{
    cluster->listen_fd = -1;
    if (!is_set(listen)) {
        return GV_OK;
    }
    gv_endpoint_t endpoint;
    gv_err_t err = gv_endpoint_parse(listen, &endpoint, error);
    if (err != GV_OK) {
        return err;
    }
    if (endpoint.is_unix) {
        return invalid(error, "cluster listen address '%.100s': expected HOST:PORT", listen);
    }
    uint32_t count;
    err = gv_listen_bind(listen, 1, &cluster->listen_fd, &count, error);
    if (err != GV_OK) {
        cluster->listen_fd = -1;
        return err;
    }
    gv_address_t bound = gv_address_of_socket(cluster->listen_fd);
    (void)gv_address_text(&bound, cluster->listen);
    return GV_OK;
}

static bool is_wildcard(const char *address)
{
    return strncmp(address, "0.0.0.0:", 8) == 0 || strncmp(address, "[::]:", 5) == 0;
}

/* What we tell others to dial: said by the operator, or where we listen, or "where you see me". */
static void settle_address(const gv_cluster_t *cluster, const char *advertise, char *out,
                           size_t out_size)
{
    const char *address = is_set(advertise) ? advertise : cluster->listen;
    if (address[0] == '\0') {
        out[0] = '\0';
        return;
    }
    const char *host_end = strrchr(address, ':');
    size_t host_size = is_wildcard(address) ? 0 : (size_t)(host_end - address);
    const char *port = strcmp(host_end, ":0") == 0 ? strrchr(cluster->listen, ':') : host_end;
    (void)snprintf(out, out_size, "%.*s%s", (int)host_size, address, port != NULL ? port : "");
}

static void settle_self(gv_cluster_t *cluster, const gv_cluster_options_t *options)
{
    gv_peer_identity_t *identity = &cluster->self.identity;
    *identity = (gv_peer_identity_t){.id = options->node_id, .incarnation = options->incarnation};
    (void)snprintf(identity->name, sizeof(identity->name), "%s", options->node_name);
    (void)snprintf(identity->cluster, sizeof(identity->cluster), "%s", options->cluster_name);
    settle_address(cluster, options->advertise, identity->address, sizeof(identity->address));

    cluster->secret = gv_xalloc(options->secret.size);
    if (options->secret.size > 0) {
        memcpy(cluster->secret, options->secret.data, options->secret.size);
    }
    cluster->self.secret = gv_bytes(cluster->secret, options->secret.size);
    cluster->self.hmac = gv_hmac_openssl();
    cluster->self.protocol_oldest = GV_PROTOCOL_VERSION_OLDEST;
    cluster->self.protocol_newest = GV_PROTOCOL_VERSION;
}

static void settle_core_options(gv_cluster_t *cluster, const gv_cluster_options_t *options)
{
    cluster->seed_count = options->seed_count;
    cluster->seeds = gv_xcalloc(options->seed_count + 1, sizeof(cluster->seeds[0]));
    for (size_t i = 0; i < options->seed_count; i++) {
        cluster->seeds[i] = gv_xstrdup(options->seeds[i]);
    }
    gv_ccore_options_t *core = &cluster->core_options;
    gv_ccore_options_init(core);
    core->self = cluster->self.identity;
    if (core->self.address[0] == ':') {
        core->self.address[0] = '\0'; /* each peer completes it by itself */
    }
    core->seeds = (const char *const *)cluster->seeds;
    core->seed_count = cluster->seed_count;
    core->timing = options->timing;
    core->limits = options->limits;
    gv_os_random(&core->random_seed, sizeof(core->random_seed));
}

void gv_cluster_options_init(gv_cluster_options_t *options)
{
    gv_ccore_options_t core;
    gv_ccore_options_init(&core);
    *options = (gv_cluster_options_t){.timing = core.timing, .limits = core.limits};
}

gv_err_t gv_cluster_new(const gv_cluster_options_t *options, gv_cluster_t **cluster_out,
                        gv_error_text_t *error)
{
    const gv_cluster_ops_t *ops = &options->ops;
    GV_ASSERT(options->loop != NULL);
    GV_ASSERT(ops->row != NULL && ops->node != NULL && ops->deliver != NULL);
    GV_ASSERT(ops->confirmed != NULL && ops->overdue != NULL && ops->barrier != NULL &&
              ops->start_counter != NULL);
    *cluster_out = NULL;

    gv_err_t err = check_options(options, error);
    if (err != GV_OK) {
        return err;
    }
    gv_cluster_t *cluster = GV_NEW(gv_cluster_t);
    cluster->loop = options->loop;
    cluster->ops = options->ops;
    cluster->arg = options->arg;
    err = bind_port(cluster, options->listen, error);
    if (err != GV_OK) {
        gv_free(cluster);
        return err;
    }
    settle_self(cluster, options);
    settle_core_options(cluster, options);
    gv__cluster_init_turn(cluster);
    *cluster_out = cluster;
    return GV_OK;
}

void gv_cluster_free(gv_cluster_t **clusterp)
{
    gv_cluster_t *cluster = *clusterp;
    *clusterp = NULL;
    if (cluster == NULL) {
        return;
    }
    gv_timer_stop(&cluster->tick_timer);
    gv_links_free(&cluster->links);
    gv_ccore_free(&cluster->core);
    if (cluster->listen_fd >= 0) {
        (void)close(cluster->listen_fd);
    }
    for (size_t i = 0; i < cluster->seed_count; i++) {
        gv_free(cluster->seeds[i]);
    }
    gv_free(cluster->seeds);
    explicit_bzero(cluster->secret, cluster->self.secret.size);
    gv_free(cluster->secret);
    gv_free(cluster);
}
