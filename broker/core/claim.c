/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One live connection per client id in the cluster, as a shard sees it (cluster/core/directory.h).
 *
 *     CONNECT, somebody may have the id elsewhere ---> CLAIM to the hub; the client waits
 *        CLAIMED, granted ---> CONNECT is offered again, and goes on where it was
 *        CLAIMED, lost or denied ---> the connection ends
 *     LET_GO ---> a newer connection has come elsewhere: this one ends as in a takeover
 *     the connection ends ---> RELEASE
 *
 * With no other node there nobody is asked, and nobody told: when one turns up, the hub asks for
 * all connections (ENLIST), which then go to it in pieces.
 */
#define GV_MEMORY_OF GV_MEMORY_CONNECTIONS

#include "base/alloc.h"
#include "base/crypto.h"
#include "broker/core/shard_p.h"
#include "cluster/core/core.h"

/* Connections looked at in one piece, and the pause between two of them [ms]. */
#define ENLIST_PIECE    1000U
#define ENLIST_PAUSE_MS 1U

/* A client between CONNECT and CONNACK that has asked for its id. */
typedef struct claiming {
    uint32_t index; /* the client's: the key */
    bool is_granted;
    gv_id_key_t key;
    uint64_t hlc;
} claiming_t;

/* ---- keys ------------------------------------------------------------------------------------ */

static gv_bytes_t claiming_key(const void *value)
{
    const claiming_t *claiming = value;
    return gv_bytes(&claiming->index, sizeof(claiming->index));
}

static gv_id_key_t key_of(gv_bytes_t id)
{
    uint8_t hash[GV_SHA256_SIZE];
    gv_id_key_t key;
    gv_sha256(id, hash);
    memcpy(&key, hash, sizeof(key));
    return key;
}

/* The same on all nodes; 0 is nobody. */
static uint32_t user_of(const gv_client_t *client)
{
    gv_bytes_t user = gv__auth_user(client);
    return user.size == 0 ? 0 : (uint32_t)gv_bytes_hash(user, 0) | 1U;
}

static claiming_t *claiming_of(const gv_client_t *client)
{
    return client->claim == GV_CLAIM_ASKED
               ? gv_map_find(&client->shard->claims, gv_bytes(&client->index, sizeof(uint32_t)))
               : NULL;
}

static bool is_alone(const gv_shard_t *shard)
{
    /* Relaxed: who sees it a moment later is enlisted. */
    return atomic_load_explicit(shard->nodes_alive, memory_order_relaxed) == 0;
}

static uint64_t stamp(gv_shard_t *shard)
{
    uint64_t realtime_ms = shard->ports.realtime_ms(shard->ports.arg);
    return gv_hlc_next(&shard->retained_common->clock, realtime_ms);
}

/* ---- to the hub ------------------------------------------------------------------------------ */

static void tell_hub(const gv_client_t *client, gv_entry_kind_t kind, const gv_id_key_t *key,
                     uint64_t hlc)
{
    gv_shard_t *shard = client->shard;
    gv_publish_t nothing = {.qos = 0};
    gv_entry_claim_t claim = {.key = *key, .hlc = hlc, .user = user_of(client)};
    gv_entry_t *entry =
        gv_office_append(&shard->office, gv__desk_forward(shard), &nothing, sizeof(claim));
    GV_ASSERT(entry != NULL);
    entry->kind = (uint8_t)kind;
    entry->ticket = gv__client_ticket(client, 0);
    memcpy(gv_parcel_extra(entry), &claim, sizeof(claim));
}

static void forget(claiming_t *claiming, gv_client_t *client)
{
    (void)gv_map_remove(&client->shard->claims, claiming_key(claiming));
    gv_free(claiming);
    client->claim = GV_CLAIM_NONE;
}

void gv__claims_init(gv_shard_t *shard)
{
    gv_map_init(&shard->claims, claiming_key, shard->hash_seed);
    gv_timer_init(&shard->enlist_timer, gv__on_enlist_timer);
}

void gv__claims_deinit(gv_shard_t *shard)
{
    GV_ASSERT(gv_map_count(&shard->claims) == 0);
    gv_map_deinit(&shard->claims);
    gv_timer_stop(&shard->enlist_timer);
}

/* ---- before CONNACK -------------------------------------------------------------------------- */

bool gv__claim_is_granted(const gv_client_t *client)
{
    const claiming_t *claiming = claiming_of(client);
    return claiming != NULL && claiming->is_granted;
}

bool gv__claim_must_wait(gv_client_t *client, gv_bytes_t id)
{
    gv_shard_t *shard = client->shard;
    if (!shard->retained_common->is_clustered || client->claim != GV_CLAIM_NONE ||
        is_alone(shard)) {
        return client->claim == GV_CLAIM_ASKED && !gv__claim_is_granted(client);
    }
    gv__connect_take_over(shard, id); /* only one of this node may ask */
    claiming_t *claiming = GV_NEW(claiming_t);
    claiming->index = client->index;
    claiming->key = key_of(id);
    claiming->hlc = stamp(shard);
    gv_map_add(&shard->claims, claiming);
    client->claim = GV_CLAIM_ASKED;
    tell_hub(client, GV_ENTRY_CLAIM, &claiming->key, claiming->hlc);
    gv__client_pause(client, GV_PAUSE_CLAIM);
    return true;
}

void gv__claim_attached(gv_client_t *client, bool is_assigned)
{
    gv_shard_t *shard = client->shard;
    if (!shard->retained_common->is_clustered) {
        return;
    }
    claiming_t *claiming = claiming_of(client);
    client->session->connected_hlc = claiming != NULL ? claiming->hlc : stamp(shard);
    if (claiming != NULL) {
        forget(claiming, client);
        client->claim = GV_CLAIM_KNOWN;
    } else if (is_assigned && !is_alone(shard)) {
        gv_id_key_t key = key_of(gv_session_id(client->session));
        tell_hub(client, GV_ENTRY_ENROLL, &key, client->session->connected_hlc);
        client->claim = GV_CLAIM_KNOWN;
    }
}

void gv__claim_left(gv_client_t *client)
{
    claiming_t *claiming = claiming_of(client);
    if (claiming != NULL) {
        tell_hub(client, GV_ENTRY_RELEASE, &claiming->key, claiming->hlc);
        forget(claiming, client);
    } else if (client->claim == GV_CLAIM_KNOWN && client->session != NULL) {
        gv_id_key_t key = key_of(gv_session_id(client->session));
        tell_hub(client, GV_ENTRY_RELEASE, &key, client->session->connected_hlc);
        client->claim = GV_CLAIM_NONE;
    }
}

/* ---- from the hub ---------------------------------------------------------------------------- */

void gv__take_claimed(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_entry_claim_t claim;
    memcpy(&claim, gv_parcel_extra(entry), sizeof(claim));
    gv_client_t *client = gv__client_of(shard, &entry->ticket);
    claiming_t *claiming = client != NULL ? claiming_of(client) : NULL;
    if (claiming == NULL || claiming->is_granted) {
        return; /* it has gone, and has said so */
    }
    switch ((gv_claim_verdict_t)claim.verdict) {
    case GV_CLAIM_GRANTED:
    case GV_CLAIM_LATE:
        claiming->is_granted = true;
        claiming->hlc = claim.hlc;
        (void)gv_hlc_follow(&shard->retained_common->clock, claim.hlc,
                            shard->ports.realtime_ms(shard->ports.arg));
        gv__client_resume(client, GV_PAUSE_CLAIM);
        return;
    case GV_CLAIM_LOST: /* a newer one has come meanwhile; CONNACK has no word for that */
        gv_counter_add(&shard->stats.connections_refused, 1);
        gv__client_end(client, GV_MQTT_SUCCESS, false);
        return;
    case GV_CLAIM_DENIED:
        (void)gv__connect_refuse(client, client->peer.version, GV_MQTT_NOT_AUTHORIZED);
    }
}

void gv__take_let_go(gv_shard_t *shard, gv_entry_t *entry)
{
    gv_client_t *client = gv__client_of(shard, &entry->ticket);
    if (client == NULL || client->state == GV_CLIENT_CLOSING) {
        return;
    }
    if (client->state == GV_CLIENT_CONNECTED) {
        gv_counter_add(&shard->stats.takeovers_elsewhere, 1);
        gv__client_end(client, GV_MQTT_SESSION_TAKEN_OVER, true);
    } else {
        gv__client_end(client, GV_MQTT_SUCCESS, false);
    }
}

/* ---- another node has come ------------------------------------------------------------------- */

static void enlist(gv_client_t *client)
{
    if (client->state == GV_CLIENT_CONNECTED && client->claim == GV_CLAIM_NONE) {
        gv_id_key_t key = key_of(gv_session_id(client->session));
        tell_hub(client, GV_ENTRY_ENROLL, &key, client->session->connected_hlc);
        client->claim = GV_CLAIM_KNOWN;
    }
}

/* Walks down the table; who comes meanwhile asks by himself. */
void gv__on_enlist_timer(gv_timer_t *timer)
{
    gv_shard_t *shard = gv_container_of(timer, gv_shard_t, enlist_timer);
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    for (uint32_t i = 0; i < ENLIST_PIECE && shard->enlist_left > 0; i++) {
        gv_client_t *client = shard->clients[--shard->enlist_left].client;
        if (client != NULL) {
            enlist(client);
        }
    }
    if (shard->enlist_left > 0) {
        gv_timer_start(shard->wheel, timer, shard->now_ms + ENLIST_PAUSE_MS);
    }
}

void gv__take_enlist(gv_shard_t *shard)
{
    shard->enlist_left = shard->client_count;
    gv_timer_start(shard->wheel, &shard->enlist_timer, shard->now_ms);
}
