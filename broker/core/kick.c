/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operator ends a connection, and the session behind it.  The will is published: only the client
 * itself can take it back [MQTT-3.1.2-10], and with the session its delay ends [MQTT-3.1.3-9].
 */
#include "broker/core/shard_p.h"

gv_err_t gv_shard_kick(gv_shard_t *shard, gv_bytes_t client_id, bool keep_session,
                       bool *was_connected)
{
    *was_connected = false;
    gv_session_t *session = gv_session_find(shard, client_id);
    if (session == NULL) {
        return GV_ERR_NOENT;
    }
    shard->now_ms = shard->ports.monotonic_ms(shard->ports.arg);
    shard->ports.read_begin(shard->ports.arg);
    if (session->client != NULL) {
        *was_connected = true;
        gv__client_end(session->client, GV_MQTT_ADMINISTRATIVE_ACTION, true);
        session = gv_session_find(shard, client_id); /* it may have ended with its connection */
    }
    if (session != NULL && !keep_session) {
        gv_session_end(&session);
    }
    shard->ports.read_end(shard->ports.arg);
    return GV_OK;
}
