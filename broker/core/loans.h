/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_loans: numbers for things that were lent, to be named by in letters.
 *
 * A loan is known by its index and the index's generation; when it has ended they name nothing,
 * whoever still has them.
 *
 * Threads: the owner's.  Memory: as many as there ever were at a time.
 */

#include <stdint.h>

#include "base/defs.h"

typedef struct gv_loan {
    uint64_t uid;    /* of the session that lends ... */
    uint64_t number; /* ... this message */
    uint32_t generation;
    uint32_t _next_free; /* index + 1, or 0 */
} gv_loan_t;

/* Public only so that its owner can embed it.  Zeros are an empty table. */
typedef struct gv_loans {
    gv_loan_t *_items;
    uint32_t _count;
    uint32_t _capacity;
    uint32_t _free; /* index + 1, or 0 */
} gv_loans_t;

void gv_loans_deinit(gv_loans_t *loans);

/* A new loan's index. */
uint32_t gv_loans_add(gv_loans_t *loans, uint64_t uid, uint64_t number);

/* The loan at an index that was just added. */
static inline const gv_loan_t *gv_loans_at(const gv_loans_t *loans, uint32_t index)
{
    return &loans->_items[index];
}

/* The loan of that name, borrowed until the next add, or NULL. */
gv_loan_t *gv_loans_find(const gv_loans_t *loans, uint32_t index, uint32_t generation);

/* The loan of that message, or NULL; looks through all of them. */
gv_loan_t *gv_loans_of(const gv_loans_t *loans, uint64_t uid, uint64_t number);

/* Ends it. */
void gv_loans_end(gv_loans_t *loans, gv_loan_t *loan);
