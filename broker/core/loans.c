/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/loans.h"

#include <stdbool.h>

#include "base/alloc.h"

void gv_loans_deinit(gv_loans_t *loans)
{
    gv_free(loans->_items);
    *loans = (gv_loans_t){0};
}

static uint32_t take_index(gv_loans_t *loans)
{
    if (loans->_free != 0) {
        uint32_t index = loans->_free - 1;
        loans->_free = loans->_items[index]._next_free;
        return index;
    }
    if (loans->_count == loans->_capacity) {
        loans->_capacity = loans->_capacity == 0 ? 16 : loans->_capacity * 2;
        loans->_items = gv_xrealloc(loans->_items, loans->_capacity * sizeof(*loans->_items));
    }
    loans->_items[loans->_count].generation = 1;
    return loans->_count++;
}

uint32_t gv_loans_add(gv_loans_t *loans, uint64_t uid, uint64_t number)
{
    GV_ASSERT(uid != 0);
    uint32_t index = take_index(loans);
    gv_loan_t *loan = &loans->_items[index];
    loan->uid = uid;
    loan->number = number;
    return index;
}

gv_loan_t *gv_loans_find(const gv_loans_t *loans, uint32_t index, uint32_t generation)
{
    bool is_there = index < loans->_count && loans->_items[index].generation == generation;
    return is_there ? &loans->_items[index] : NULL;
}

gv_loan_t *gv_loans_of(const gv_loans_t *loans, uint64_t uid, uint64_t number)
{
    for (uint32_t i = 0; i < loans->_count; i++) {
        gv_loan_t *loan = &loans->_items[i];
        if (loan->uid == uid && loan->number == number) {
            return loan;
        }
    }
    return NULL;
}

void gv_loans_end(gv_loans_t *loans, gv_loan_t *loan)
{
    GV_ASSERT(loan >= loans->_items);
    GV_ASSERT(loan < loans->_items + loans->_count);
    loan->generation++;
    loan->uid = 0;
    loan->_next_free = loans->_free;
    loans->_free = (uint32_t)(loan - loans->_items) + 1;
}
