/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hub between the shards, which hold connections, and the directory of the cluster, which knows
 * who holds which (cluster/core/directory.h).
 */
#include "broker/core/hub_p.h"

static gv_holder_t holder_of(const gv_ticket_t *ticket)
{
    return (gv_holder_t){.token = (uint64_t)ticket->generation << 32 | ticket->client,
                         .desk = ticket->shard};
}

static gv_ticket_t ticket_of(const gv_holder_t *holder)
{
    return (gv_ticket_t){.client = (uint32_t)holder->token,
                         .generation = (uint32_t)(holder->token >> 32),
                         .shard = holder->desk};
}

static gv_entry_t *append(gv_hub_t *hub, const gv_holder_t *holder, gv_entry_kind_t kind,
                          size_t extra_size)
{
    gv_publish_t nothing = {.qos = 0};
    gv_entry_t *entry = gv_office_append(&hub->office, holder->desk, &nothing, extra_size);
    GV_ASSERT(entry != NULL);
    entry->kind = (uint8_t)kind;
    entry->ticket = ticket_of(holder);
    return entry;
}

void gv__hub_take_claim(gv_hub_t *hub, gv_entry_t *entry)
{
    GV_ASSERT(hub->has_cluster);
    gv_entry_claim_t said;
    memcpy(&said, gv_parcel_extra(entry), sizeof(said));
    gv_claim_t claim = {
        .key = said.key, .hlc = said.hlc, .user = said.user, .holder = holder_of(&entry->ticket)};
    if (entry->kind == GV_ENTRY_CLAIM) {
        hub->cluster.claim(hub->cluster.arg, &claim);
    } else if (entry->kind == GV_ENTRY_ENROLL) {
        hub->cluster.enroll(hub->cluster.arg, &claim);
    } else {
        hub->cluster.release(hub->cluster.arg, &claim.key, claim.holder);
    }
}

void gv_hub_on_claimed(gv_hub_t *hub, const gv_claim_t *claim, gv_claim_verdict_t verdict)
{
    gv_entry_claim_t answer = {
        .key = claim->key, .hlc = claim->hlc, .user = claim->user, .verdict = (uint32_t)verdict};
    gv_entry_t *entry = append(hub, &claim->holder, GV_ENTRY_CLAIMED, sizeof(answer));
    memcpy(gv_parcel_extra(entry), &answer, sizeof(answer));
}

void gv_hub_on_let_go(gv_hub_t *hub, const gv_letting_t *letting)
{
    gv_entry_t *entry = append(hub, &letting->holder, GV_ENTRY_LET_GO, sizeof(*letting));
    memcpy(gv_parcel_extra(entry), letting, sizeof(*letting));
}

/* The shard has closed it: the parcel is back. */
void gv__hub_let_gone(gv_hub_t *hub, gv_entry_t *entry)
{
    gv_letting_t letting;
    memcpy(&letting, gv_parcel_extra(entry), sizeof(letting));
    hub->cluster.let_gone(hub->cluster.arg, &letting);
}

void gv__hub_enlist(gv_hub_t *hub)
{
    for (uint16_t i = 0; i < hub->shard_count; i++) {
        gv_holder_t nobody = {.desk = i};
        (void)append(hub, &nobody, GV_ENTRY_ENLIST, 0);
    }
}
