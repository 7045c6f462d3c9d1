/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_pending_table: things that somebody else has to answer, by numbers that are used again.
 *
 * A number and its generation name an entry; after the entry was given back nothing is found under
 * that name, so an answer that comes late or twice meets nobody.
 *
 * Threads: the owner's.  Memory: entries stay where they are numbered, their addresses are valid
 * until the next gv_pending_take().
 */

#include "broker/core/parcel.h"
#include "cluster/core/core.h"

typedef struct gv_pending {
    union {
        gv_ticket_t ticket;     /* outgoing: who is waiting */
        gv_delivery_t delivery; /* incoming: what is to be applied */
    };
    uint64_t tried;     /* outgoing: nodes that had no member of the group, a bit each */
    uint64_t *returned; /* incoming: keys of groups without a member here; owned, or NULL */
    uint64_t copied;    /* incoming: size of a copy of a retained message [bytes]; 0: it is none */
    uint32_t returned_count;
    uint32_t missing; /* answers to come */
    uint32_t generation;
    uint32_t _next_free; /* index + 1 */
    uint32_t uncounted;  /* outgoing: of those missing, those that who waits does not wait for */
    uint8_t reason;      /* the worst so far; 0: all is well */
} gv_pending_t;

typedef struct gv_pending_table {
    gv_pending_t *items;
    uint32_t count;
    uint32_t _capacity;
    uint32_t _free;
} gv_pending_table_t;

/* A new entry, zeroed but for its generation; gives its number. */
uint32_t gv_pending_take(gv_pending_table_t *table);

/* Frees what the entry has, and its number. */
void gv_pending_give_back(gv_pending_table_t *table, uint32_t index);

/* NULL when there is no such entry any more. */
gv_pending_t *gv_pending_at(const gv_pending_table_t *table, uint32_t index, uint32_t generation);

/* One more group that has no member here. */
void gv_pending_return(gv_pending_t *pending, uint64_t key);

void gv_pending_deinit(gv_pending_table_t *table);
