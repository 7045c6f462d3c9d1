/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a node allows its clients: one immutable struct, filled from the configuration (mqtt.*
 * keys). A reload makes a new one; connections take it up as they come.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bucket.h"
#include "broker/core/queue.h"

typedef struct gv_limits {
    uint32_t packet_size_max;  /* largest packet accepted [bytes] */
    uint32_t connect_size_max; /* largest CONNECT accepted [bytes] */
    uint32_t client_id_size_max;
    uint32_t topic_size_max;
    uint32_t topic_levels_max;
    uint32_t subscriptions_max; /* per session */
    uint64_t sessions_max;      /* of the whole node; 0: no limit */
    uint32_t keepalive_max_s;   /* 0: as the client likes */
    uint32_t connect_timeout_ms;
    gv_rate_t connects;              /* CONNECTs of the whole node */
    gv_rate_t client_messages;       /* PUBLISH packets of one client */
    gv_rate_t client_bytes;          /* and all its packets [bytes] */
    uint32_t session_expiry_max_s;   /* 0xffffffff: as the client likes */
    uint16_t receive_max;            /* unacknowledged QoS > 0 publishes we take at a time */
    uint16_t inflight_max;           /* and give at a time, if the client does not say less */
    uint16_t topic_alias_max;        /* topic aliases a client may use */
    uint16_t topic_alias_send_max;   /* and we use to a client, if it does not take less */
    uint32_t topic_alias_bytes_max;  /* topics behind the aliases of one connection, each way */
    uint64_t topic_alias_memory_max; /* all that aliases of all connections of the node take */
    uint32_t queue_messages_max;     /* waiting for a session, in memory */
    uint64_t queue_bytes_max;
    uint32_t stored_queue_messages_max; /* waiting for a session, on disk */
    uint64_t stored_queue_bytes_max;
    gv_queue_policy_t queue_policy;
    uint64_t output_bytes_max;       /* waiting in one connection; above it QoS 0 is dropped */
    uint64_t output_bytes_soft;      /* above it its publishers are slowed */
    uint32_t slow_reader_timeout_ms; /* without any progress */
    uint64_t retained_messages_max;  /* of the node; 0: no limit, as the next */
    uint64_t retained_bytes_max;
    uint64_t retained_tombstones_max; /* of the node; above it the oldest go, 0: no limit */
    bool retain_available;
    bool overlaps_each;        /* a session that matches n times gets n copies, not one */
    bool client_events;        /* clients that come and go are told on $SYS/brokers/... */
    bool payload_format_check; /* payloads that claim to be UTF-8 have to be */
} gv_limits_t;
