/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * $SYS/broker/...: what a node says about itself as MQTT messages, under the names Mosquitto gave
 * them, so that people's dashboards go on working.
 *
 * gv_sys_topics_report() is given a snapshot now and then and calls back for each topic whose value
 * has changed since the last time.  Averages (load/...) are exponentially smoothed over 1, 5 and 15
 * minutes, per minute, as Mosquitto's.
 *
 * Threads: the owner's.  Memory: the last value of each topic, some kilobytes.
 */

#include <stdint.h>

#include "base/bytes.h"
#include "broker/admin/status.h"

typedef struct gv_sys_topics gv_sys_topics_t;

typedef void gv_sys_topic_cb_t(gv_bytes_t topic, gv_bytes_t payload, void *arg);

void gv_sys_topics_new(gv_sys_topics_t **topics_out);
void gv_sys_topics_free(gv_sys_topics_t **topicsp);

/* now_ms: monotonic.  The views given to the callback are valid during the call. */
void gv_sys_topics_report(gv_sys_topics_t *topics, const gv_status_t *status, uint64_t now_ms,
                          gv_sys_topic_cb_t *on_topic, void *arg);
