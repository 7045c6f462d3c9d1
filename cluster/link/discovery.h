/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Discovery: from the address of a seed or a member, as people and peers write it, to the socket
 * addresses worth dialling.
 *
 * A name may stand for several nodes (a headless service, a compose service that was scaled), one
 * of them we ourselves.  So a name is looked up anew at each attempt, all its addresses are tried,
 * and those that led back to ourselves a moment ago are left out.
 *
 * Threads: the loop's.  Memory: one object per lookup, freed by itself.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/io/address.h"
#include "base/io/loop.h"

#define GV_DISCOVERY_ADDRESSES_MAX 16U

typedef struct gv_resolving gv_resolving_t;

/*
 * count addresses, borrowed, without repetition.  count 0: nothing was found, and reason says why
 * in a few words.
 */
typedef void gv_resolved_cb_t(const gv_address_t *addresses, size_t count, const char *reason,
                              void *arg);

/*
 * Looks "host:port" up.  The callback comes exactly once, later, unless the lookup is cancelled or
 * the loop stops; from it on *resolving_out is dead.  GV_ERR_INVAL: the text is no address of a
 * host; no callback then, and the reason is in *error.
 */
GV_MUST_USE GV_LOOP_ONLY gv_err_t gv_resolve(gv_loop_t *loop, const char *address,
                                             gv_resolved_cb_t *on_resolved, void *arg,
                                             gv_resolving_t **resolving_out,
                                             gv_error_text_t *error);

/* The callback will not come.  Sets *resolvingp to NULL; NULL is allowed. */
GV_LOOP_ONLY void gv_resolve_cancel(gv_resolving_t **resolvingp);

/* ---- addresses that lead to ourselves ----------------------------------------------------- */

#define GV_OWN_ADDRESSES_MAX 8U

/* For how long such an address is not dialled again: it may belong to another node tomorrow. */
#define GV_OWN_ADDRESS_KEPT_MS 30000U

/* Zeroed before use. */
typedef struct gv_own_addresses {
    struct {
        gv_address_t address;
        uint64_t until_ms;
    } _entries[GV_OWN_ADDRESSES_MAX];
    size_t _next;
} gv_own_addresses_t;

void gv_own_addresses_note(gv_own_addresses_t *own, const gv_address_t *address, uint64_t now_ms);
bool gv_own_addresses_has(const gv_own_addresses_t *own, const gv_address_t *address,
                          uint64_t now_ms);
