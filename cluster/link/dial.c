/* SPDX-License-Identifier: Apache-2.0 */
#include "base/alloc.h"
#include "cluster/link/link_p.h"

#include <stdio.h>

/*
 *     lookup -> address 1: connect, handshake -> open: done
 *                   | failed
 *                   v
 *               address 2 ... none left: dial_failed
 */
struct gv_dialling {
    gv_link_t link; /* in links->diallings */
    gv_links_t *links;
    uint64_t token;
    char text[GV_NODE_ADDRESS_MAX + 1];
    gv_job_t failed; /* for what fails before anything has begun */
    gv_resolving_t *resolving;
    gv_connecting_t *connecting;
    gv_conn_t *conn; /* the attempt that is shaking hands */
    gv_address_t addresses[GV_DISCOVERY_ADDRESSES_MAX];
    size_t count;
    size_t next;
};

uint64_t gv__dialling_token(const gv_dialling_t *dialling)
{
    return dialling->token;
}

const char *gv__dialling_address(const gv_dialling_t *dialling)
{
    return dialling->text;
}

/* ---- ends --------------------------------------------------------------------------------- */

void gv__dialling_succeeded(gv_dialling_t *dialling)
{
    gv_list_remove(&dialling->link);
    gv_free(dialling);
}

static GV_LOOP_ONLY void fail(gv_dialling_t *dialling)
{
    gv_links_t *links = dialling->links;
    uint64_t token = dialling->token;
    gv_list_remove(&dialling->link);
    gv_free(dialling);
    links->stats.dials_failed++;
    if (!links->is_closing) {
        links->ops.dial_failed(token, links->arg);
    }
}

static void on_failed(gv_job_t *job)
{
    gv_dialling_t *dialling = gv_container_of(job, gv_dialling_t, failed);
    gv_loop_assert_current(dialling->links->loop);
    fail(dialling);
}

void gv__diallings_cancel(gv_links_t *links)
{
    gv_list_foreach_safe (&links->diallings, link) {
        gv_dialling_t *dialling = gv_container_of(link, gv_dialling_t, link);
        gv_job_cancel(&dialling->failed);
        gv_resolve_cancel(&dialling->resolving);
        gv_connect_cancel(&dialling->connecting);
        if (dialling->conn != NULL) {
            dialling->conn->dialling = NULL;
        }
        gv_list_remove(&dialling->link);
        gv_free(dialling);
    }
}

void gv__diallings_free(gv_links_t *links)
{
    gv_link_t *link;
    while ((link = gv_list_take_first(&links->diallings)) != NULL) {
        gv_free(gv_container_of(link, gv_dialling_t, link));
    }
}

/* ---- one address after the other ---------------------------------------------------------- */

static GV_LOOP_ONLY void try_next(gv_dialling_t *dialling);

static void on_connected(gv_err_t err, gv_socket_t *socket, const char *reason, void *arg)
{
    gv_dialling_t *dialling = arg;
    gv_links_t *links = dialling->links;
    gv_loop_assert_current(links->loop);
    dialling->connecting = NULL;
    if (err != GV_OK) {
        gv__links_report_unreachable(links, dialling->text, reason);
        try_next(dialling);
        return;
    }
    links->stats.dialled++;
    dialling->conn =
        gv__conn_begin(links, socket, &dialling->addresses[dialling->next - 1], dialling);
    if (dialling->conn == NULL) {
        try_next(dialling);
    }
}

static void try_next(gv_dialling_t *dialling)
{
    gv_links_t *links = dialling->links;
    static const gv_connect_options_t options = {
        .timeout_ms = GV_LINK_DIAL_TIMEOUT_MS,
        .user_timeout_ms = GV_LINK_USER_TIMEOUT_MS,
    };
    while (dialling->next < dialling->count && !gv_loop_is_stopping(links->loop)) {
        const gv_address_t *address = &dialling->addresses[dialling->next++];
        char text[GV_ADDRESS_TEXT_SIZE];
        if (!gv_own_addresses_has(&links->own, address, gv_loop_now_ms(links->loop)) &&
            gv_connect(links->loop, gv_address_text(address, text), &options, on_connected,
                       dialling, &dialling->connecting) == GV_OK) {
            return;
        }
    }
    fail(dialling);
}

void gv__dialling_attempt_failed(gv_dialling_t *dialling, bool is_self)
{
    gv_links_t *links = dialling->links;
    dialling->conn = NULL;
    if (is_self) {
        gv_own_addresses_note(&links->own, &dialling->addresses[dialling->next - 1],
                              gv_loop_now_ms(links->loop));
    }
    try_next(dialling);
}

static void on_resolved(const gv_address_t *addresses, size_t count, const char *reason, void *arg)
{
    gv_dialling_t *dialling = arg;
    gv_links_t *links = dialling->links;
    gv_loop_assert_current(links->loop);
    GV_ASSERT(count <= GV_DISCOVERY_ADDRESSES_MAX);
    dialling->resolving = NULL;
    for (size_t i = 0; i < count; i++) {
        dialling->addresses[i] = addresses[i];
    }
    dialling->count = count;
    if (count == 0) {
        gv__links_report_unreachable(links, dialling->text, reason);
    }
    try_next(dialling);
}

void gv__dialling_begin(gv_links_t *links, const char *address, uint64_t dial_token)
{
    gv_dialling_t *dialling = GV_NEW(gv_dialling_t);
    dialling->links = links;
    dialling->token = dial_token;
    dialling->failed.run = on_failed;
    (void)snprintf(dialling->text, sizeof(dialling->text), "%s", address);
    gv_list_append(&links->diallings, &dialling->link);

    gv_error_text_t error;
    if (gv_resolve(links->loop, dialling->text, on_resolved, dialling, &dialling->resolving,
                   &error) != GV_OK) {
        gv__links_report_unreachable(links, dialling->text, error.text);
        gv_loop_defer(links->loop, &dialling->failed);
    }
}
