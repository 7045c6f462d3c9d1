/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/office.h"

#include "base/alloc.h"

/* Empty parcels kept for the next turn. */
#define FREE_MAX 16U

void gv_office_init(gv_office_t *office, void *owner, uint16_t index, uint16_t desk_count,
                    gv_letter_cb_t *returned, const gv_ports_t *ports)
{
    *office = (gv_office_t){
        .owner = owner,
        .index = index,
        .desk_count = desk_count,
        .returned = returned,
        .ports = ports,
        .desks = gv_xcalloc(desk_count, sizeof(gv_office_desk_t)),
    };
    gv_list_init(&office->free);
}

void gv_office_deinit(gv_office_t *office)
{
    for (uint16_t i = 0; i < office->desk_count; i++) {
        gv_parcel_free(&office->desks[i].open);
    }
    for (gv_link_t *link; (link = gv_list_take_first(&office->free)) != NULL;) {
        gv_parcel_t *parcel = gv_container_of(link, gv_parcel_t, link);
        gv_parcel_free(&parcel);
    }
    gv_free(office->desks);
}

void gv_office_connect(gv_office_t *office, uint16_t desk, uint16_t to_index, void *to,
                       gv_letter_cb_t *take)
{
    GV_ASSERT(desk < office->desk_count);
    office->desks[desk].to = to;
    office->desks[desk].to_index = to_index;
    office->desks[desk].take = take;
}

void gv_office_set_patience(gv_office_t *office, uint16_t desk, uint32_t patience)
{
    office->desks[desk].patience = patience;
}

static gv_parcel_t *parcel_of_size(gv_office_t *office, size_t needed)
{
    if (needed > GV_PARCEL_SIZE) {
        return gv_parcel_new(needed);
    }
    gv_link_t *link = gv_list_take_first(&office->free);
    if (link != NULL) {
        office->free_count--;
        return gv_container_of(link, gv_parcel_t, link);
    }
    gv_parcel_t *parcel = gv_parcel_new(GV_PARCEL_SIZE);
    GV_ASSERT(parcel != NULL);
    return parcel;
}

static void send(gv_office_t *office, gv_office_desk_t *desk)
{
    gv_parcel_t *parcel = desk->open;
    desk->open = NULL;
    parcel->letter.deliver = desk->take;
    parcel->to = desk->to;
    parcel->to_index = desk->to_index;
    parcel->from = office->owner;
    parcel->from_index = office->index;
    parcel->way_back = office->returned;
    parcel->desk = (uint16_t)(desk - office->desks);
    desk->out++;
    if (desk->out == GV_OFFICE_OUT_MAX + 1 && desk->patience == 0) {
        office->full_count++;
    }
    office->ports->post(office->ports->arg, desk->to_index, &parcel->letter);
}

gv_entry_t *gv_office_append(gv_office_t *office, uint16_t desk_index, const gv_publish_t *publish,
                             size_t extra_size)
{
    GV_ASSERT(desk_index < office->desk_count);
    gv_office_desk_t *desk = &office->desks[desk_index];
    if (desk->open != NULL) {
        gv_entry_t *entry = gv_parcel_append(desk->open, publish, extra_size);
        if (entry != NULL) {
            return entry;
        }
        send(office, desk);
    }
    desk->open = parcel_of_size(office, gv_parcel_entry_size(publish, extra_size));
    if (desk->open == NULL) {
        return NULL;
    }
    gv_entry_t *entry = gv_parcel_append(desk->open, publish, extra_size);
    GV_ASSERT(entry != NULL);
    return entry;
}

void gv_office_send(gv_office_t *office)
{
    for (uint16_t i = 0; i < office->desk_count; i++) {
        gv_office_desk_t *desk = &office->desks[i];
        if (desk->open != NULL && (desk->patience == 0 || desk->out < desk->patience)) {
            send(office, desk);
        }
    }
}

void gv_office_reuse(gv_office_t *office, gv_parcel_t *parcel)
{
    gv_office_desk_t *desk = &office->desks[parcel->desk];
    if (desk->out == GV_OFFICE_OUT_MAX + 1 && desk->patience == 0) {
        office->full_count--;
    }
    GV_ASSERT(desk->out > 0);
    desk->out--;
    if (parcel->capacity == GV_PARCEL_SIZE && office->free_count < FREE_MAX) {
        gv_parcel_reset(parcel);
        gv_list_prepend(&office->free, &parcel->link);
        office->free_count++;
    } else {
        gv_parcel_free(&parcel);
    }
}

void gv_office_return(const gv_office_t *office, gv_parcel_t *parcel)
{
    parcel->letter.deliver = parcel->way_back;
    office->ports->post(office->ports->arg, parcel->from_index, &parcel->letter);
}
