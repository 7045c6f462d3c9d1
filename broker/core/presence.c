/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Telling that clients come and go, on $SYS/brokers/NODE/clients/CLIENTID/connected and
 * .../disconnected.  The router is asked first whether anybody wants to hear it: where nobody does,
 * which is nearly everywhere, a connection costs one look into it, and no text is made.
 */
#include "base/alloc.h"
#include "broker/core/shard_p.h"

/* Nearly every topic is shorter than this. */
#define USUAL_TOPIC_SIZE 512U

/* What would be another topic, or none, is written as %XX in a client id; so is the % itself. */
static bool is_plain(uint8_t byte)
{
    return byte != '/' && byte != '+' && byte != '#' && byte != '%';
}

static size_t escaped_size(gv_bytes_t id)
{
    size_t size = 0;
    for (size_t i = 0; i < id.size; i++) {
        size += is_plain(id.data[i]) ? 1 : 3;
    }
    return size;
}

static void put_escaped(gv_writer_t *w, gv_bytes_t id)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < id.size; i++) {
        uint8_t byte = id.data[i];
        if (is_plain(byte)) {
            gv_writer_u8(w, byte);
        } else {
            gv_writer_u8(w, '%');
            gv_writer_u8(w, (uint8_t)digits[byte >> 4]);
            gv_writer_u8(w, (uint8_t)digits[byte & 15]);
        }
    }
}

static bool is_wanted(gv_shard_t *shard, gv_bytes_t topic)
{
    gv_matches_t *matches = &shard->matches;
    uint64_t alive = atomic_load_explicit(shard->nodes_alive, memory_order_relaxed);
    gv_router_match(shard->router, topic, alive, 0, matches);
    return matches->hit_count > 0 || (matches->nodes & alive) != 0 || matches->node_share_count > 0;
}

static void tell(gv_shard_t *shard, gv_presence_t *presence)
{
    gv_bytes_t prefix = shard->presence_prefix;
    gv_bytes_t suffix =
        presence->is_connected ? GV_BYTES_LITERAL("/connected") : GV_BYTES_LITERAL("/disconnected");
    size_t size = prefix.size + escaped_size(presence->client_id) + suffix.size;
    if (size > UINT16_MAX) {
        return; /* no topic is that long */
    }
    uint8_t usual[USUAL_TOPIC_SIZE];
    uint8_t *topic = size <= sizeof(usual) ? usual : gv_try_alloc(size);
    if (topic == NULL) {
        return;
    }
    gv_writer_t w = gv_writer(topic, size);
    gv_writer_put(&w, prefix);
    put_escaped(&w, presence->client_id);
    gv_writer_put(&w, suffix);
    presence->topic = gv_bytes(topic, size);
    if (is_wanted(shard, presence->topic)) {
        shard->ports.presence(shard->ports.arg, presence);
    }
    if (topic != usual) {
        gv_free(topic);
    }
}

static bool is_told(const gv_shard_t *shard)
{
    return shard->limits->client_events && shard->presence_prefix.size > 0;
}

static gv_presence_t presence_of(const gv_client_t *client)
{
    return (gv_presence_t){
        .client_id = gv_session_id(client->session),
        .peer = client->conn->peer,
        .port = client->conn->port,
        .version = client->peer.version,
        .keep_alive_s = client->keep_alive_s,
        .expiry_s = client->session->expiry_s,
    };
}

void gv__presence_connected(const gv_client_t *client, const gv_mqtt_connect_t *connect)
{
    if (!is_told(client->shard)) {
        return;
    }
    gv_presence_t presence = presence_of(client);
    presence.is_connected = true;
    presence.clean_start = connect->clean_start;
    /* The name that was proven, before the one that was only said. */
    gv_bytes_t user = gv__auth_user(client);
    presence.has_username = connect->has_username || user.size > 0;
    presence.username = user.size > 0 ? user : connect->username;
    tell(client->shard, &presence);
}

void gv__presence_disconnected(const gv_client_t *client, gv_mqtt_reason_t reason, bool is_lost)
{
    if (!is_told(client->shard)) {
        return;
    }
    gv_presence_t presence = presence_of(client);
    presence.username = gv__auth_user(client);
    presence.has_username = presence.username.size > 0;
    presence.reason = reason;
    presence.is_lost = is_lost;
    tell(client->shard, &presence);
}
