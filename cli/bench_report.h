/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What a run has shown, for people and for programs.  Threads: any.
 */

#include <jansson.h>

#include "base/defs.h"
#include "base/text.h"
#include "cli/bench_run.h"

/*
 * All numbers as JSON: times in microseconds or seconds as their names say, sizes in bytes.  The
 * part about the broker is there only when its process was named.  The caller owns it.
 */
GV_MUST_USE json_t *gv_bench_report_json(const gv_bench_options_t *options,
                                         const gv_bench_result_t *result);

/* The same JSON as a text for people, appended to out. */
void gv_bench_report_print(const json_t *report, gv_text_t *out);
