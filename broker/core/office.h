/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_office: a thread's post office: the open parcel for each destination, the parcels that are on
 * their way, and those that have come back and are empty again.
 *
 * Parcels come back when the other side has worked through them.  That is the credit: when more
 * than GV_OFFICE_OUT_MAX are out to one destination, gv_office_is_full() says so and the owner
 * stops taking input until some are back.  Appending itself never fails for want of credit, so that
 * a message that has been started is also finished.
 *
 * A desk whose parcels stay away for long by their nature (routes wait for other nodes) is given
 * patience: it says nothing about how busy the others are, so it does not count there, and its
 * parcels are sent a few at a time.
 *
 * Threads: the owner's.
 */

#include "broker/core/parcel.h"
#include "broker/core/ports.h"
#include "broker/core/router.h"

#define GV_OFFICE_OUT_MAX 32U

typedef struct gv_office_desk {
    void *to;             /* the receiver */
    gv_letter_cb_t *take; /* its letter callback */
    gv_parcel_t *open;    /* being filled, or NULL */
    uint32_t out;         /* parcels on their way */
    uint32_t patience;    /* with so many out, an open parcel waits to become fuller; 0: never */
    uint16_t to_index;
} gv_office_desk_t;

typedef struct gv_office {
    void *owner;
    gv_letter_cb_t *returned; /* the owner's letter callback for parcels that come back */
    const gv_ports_t *ports;
    gv_office_desk_t *desks;
    uint16_t desk_count;
    uint16_t index; /* the owner's own */
    gv_list_t free;
    uint32_t free_count;
    uint32_t full_count; /* desks without patience that have more than GV_OFFICE_OUT_MAX out */
} gv_office_t;

void gv_office_init(gv_office_t *office, void *owner, uint16_t index, uint16_t desk_count,
                    gv_letter_cb_t *returned, const gv_ports_t *ports);
void gv_office_deinit(gv_office_t *office);

/* Says who sits at the other end of a desk. */
void gv_office_connect(gv_office_t *office, uint16_t desk, uint16_t to_index, void *to,
                       gv_letter_cb_t *take);

/*
 * An entry in the open parcel for a desk (see gv_parcel_append()).  NULL when there is no memory
 * for a message that is larger than usual parcels.
 */
gv_entry_t *gv_office_append(gv_office_t *office, uint16_t desk, const gv_publish_t *publish,
                             size_t extra_size);

/* Makes a desk patient. */
void gv_office_set_patience(gv_office_t *office, uint16_t desk, uint32_t patience);

/* Parcels of a desk that have not come back. */
static inline uint32_t gv_office_out(const gv_office_t *office, uint16_t desk)
{
    return office->desks[desk].out;
}

/* Sends all open parcels. */
void gv_office_send(gv_office_t *office);

/* A parcel of ours has come back and its entries have been looked at. */
void gv_office_reuse(gv_office_t *office, gv_parcel_t *parcel);

static inline bool gv_office_is_full(const gv_office_t *office)
{
    return office->full_count > 0;
}

/* Sends a parcel that was received back to where it came from. */
void gv_office_return(const gv_office_t *office, gv_parcel_t *parcel);
