/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a node allows its clients: one immutable struct, filled from the configuration (mqtt.*
 * keys). A reload makes a new one; connections take it up as they come.
 */

#include <stdbool.h>
#include <stdint.h>

#include "broker/core/queue.h"

typedef struct gv_limits {
    uint32_t packet_size_max;  /* largest packet accepted [bytes] */
    uint32_t connect_size_max; /* largest CONNECT accepted [bytes] */
    uint32_t client_id_size_max;
    uint32_t topic_size_max;
    uint32_t topic_levels_max;
    uint32_t subscriptions_max; /* per session */
    uint32_t keepalive_max_s;   /* 0: as the client likes */
    uint32_t connect_timeout_ms;
    uint32_t session_expiry_max_s; /* 0xffffffff: as the client likes */
    uint16_t receive_max;          /* unacknowledged QoS > 0 publishes we take at a time */
    uint16_t inflight_max;         /* and give at a time, if the client does not say less */
    uint16_t topic_alias_max;
    uint32_t queue_messages_max;
    uint64_t queue_bytes_max;
    gv_queue_policy_t queue_policy;
    uint64_t output_bytes_max;       /* waiting in one connection; above it QoS 0 is dropped */
    uint64_t output_bytes_soft;      /* above it its publishers are slowed */
    uint32_t slow_reader_timeout_ms; /* without any progress */
    bool retain_available;
} gv_limits_t;
