/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A node's status as Prometheus reads it: text format 0.0.4, every name begins with grapevine_.
 *
 * Threads: the admin loop.
 */

#include "base/text.h"
#include "broker/admin/status.h"

/* Appends all metrics to `out`. */
void gv_metrics_put(const gv_status_t *status, gv_text_t *out);
