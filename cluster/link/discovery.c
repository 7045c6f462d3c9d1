/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/discovery.h"

#include <stdio.h>
#include <string.h>

#include <netdb.h>
#include <uv.h>

#include "base/alloc.h"

struct gv_resolving {
    uv_getaddrinfo_t request; /* its data is this object */
    gv_loop_t *loop;
    gv_job_t answer;               /* for what is known without a lookup */
    gv_resolved_cb_t *on_resolved; /* NULL: cancelled */
    void *arg;
    const char *reason;
    size_t count;
    gv_address_t addresses[GV_DISCOVERY_ADDRESSES_MAX];
};

static bool is_same(const gv_address_t *a, const gv_address_t *b)
{
    return a->size == b->size && memcmp(&a->storage, &b->storage, a->size) == 0;
}

static void add(gv_resolving_t *resolving, const struct sockaddr *address, socklen_t size)
{
    if (resolving->count == GV_DISCOVERY_ADDRESSES_MAX ||
        size > sizeof(resolving->addresses[0].storage)) {
        return;
    }
    gv_address_t *added = &resolving->addresses[resolving->count];
    *added = (gv_address_t){.size = size};
    memcpy(&added->storage, address, size);
    for (size_t i = 0; i < resolving->count; i++) {
        if (is_same(&resolving->addresses[i], added)) {
            return;
        }
    }
    resolving->count++;
}

/* Tells the owner, if there still is one, and ends. */
static void finish(gv_resolving_t *resolving)
{
    if (resolving->on_resolved != NULL && !gv_loop_is_stopping(resolving->loop)) {
        resolving->on_resolved(resolving->addresses, resolving->count, resolving->reason,
                               resolving->arg);
    }
    gv_free(resolving);
}

static void on_answer(gv_job_t *job)
{
    finish(gv_container_of(job, gv_resolving_t, answer));
}

static void on_looked_up(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    gv_resolving_t *resolving = request->data;
    for (const struct addrinfo *info = found; status == 0 && info != NULL; info = info->ai_next) {
        add(resolving, info->ai_addr, info->ai_addrlen);
    }
    resolving->reason = status == 0 ? "the name has no address" : uv_strerror(status);
    uv_freeaddrinfo(found);
    finish(resolving);
}

/* Begins the lookup, or defers the answer when it is known already. */
static GV_LOOP_ONLY void begin(gv_resolving_t *resolving, const gv_endpoint_t *endpoint)
{
    gv_address_t address;
    if (gv_address_from_endpoint(endpoint, &address) == GV_OK) {
        add(resolving, (const struct sockaddr *)&address.storage, address.size);
        gv_loop_defer(resolving->loop, &resolving->answer);
        return;
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)endpoint->port);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(gv_loop_uv(resolving->loop), &resolving->request, on_looked_up,
                            endpoint->host, port, &hints);
    if (rc != 0) {
        resolving->reason = uv_strerror(rc);
        gv_loop_defer(resolving->loop, &resolving->answer);
    }
}

gv_err_t gv_resolve(gv_loop_t *loop, const char *address, gv_resolved_cb_t *on_resolved, void *arg,
                    gv_resolving_t **resolving_out, gv_error_text_t *error)
{
    gv_loop_assert_current(loop);
    GV_ASSERT(on_resolved != NULL);
    *resolving_out = NULL;

    gv_endpoint_t endpoint;
    gv_err_t err = gv_endpoint_parse(address, &endpoint, error);
    if (err == GV_OK && (endpoint.is_unix || endpoint.host[0] == '\0' || endpoint.port == 0)) {
        (void)snprintf(error->text, sizeof(error->text), "'%.100s' names no host and port",
                       address);
        err = GV_ERR_INVAL;
    }
    if (err != GV_OK) {
        return err;
    }
    gv_resolving_t *resolving = GV_NEW(gv_resolving_t);
    resolving->request.data = resolving;
    resolving->loop = loop;
    resolving->answer.run = on_answer;
    resolving->on_resolved = on_resolved;
    resolving->arg = arg;
    resolving->reason = "";
    *resolving_out = resolving;
    begin(resolving, &endpoint);
    return GV_OK;
}

void gv_resolve_cancel(gv_resolving_t **resolvingp)
{
    gv_resolving_t *resolving = *resolvingp;
    *resolvingp = NULL;
    if (resolving != NULL) {
        gv_loop_assert_current(resolving->loop);
        /* A lookup that has begun cannot be stopped; its answer then meets nobody and frees it. */
        resolving->on_resolved = NULL;
    }
}

/* ---- addresses that lead to ourselves ----------------------------------------------------- */

void gv_own_addresses_note(gv_own_addresses_t *own, const gv_address_t *address, uint64_t now_ms)
{
    if (gv_own_addresses_has(own, address, now_ms)) {
        return;
    }
    own->_entries[own->_next].address = *address;
    own->_entries[own->_next].until_ms = now_ms + GV_OWN_ADDRESS_KEPT_MS;
    own->_next = (own->_next + 1) % GV_OWN_ADDRESSES_MAX;
}

bool gv_own_addresses_has(const gv_own_addresses_t *own, const gv_address_t *address,
                          uint64_t now_ms)
{
    for (size_t i = 0; i < GV_OWN_ADDRESSES_MAX; i++) {
        if (own->_entries[i].until_ms > now_ms && is_same(&own->_entries[i].address, address)) {
            return true;
        }
    }
    return false;
}
