/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/bench_options.h"
#include "cli/bench_report.h"
#include "cli/bench_run.h"
#include "cli/command.h"

static void print(const gv_bench_options_t *options, const gv_bench_result_t *result)
{
    json_t *report = gv_bench_report_json(options, result);
    gv_text_t text = GV_TEXT_EMPTY;
    if (options->is_json) {
        (void)json_dumpf(report, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        gv_text_add(&text, "\n");
    } else {
        gv_bench_report_print(report, &text);
    }
    (void)fputs(gv_text_get(&text), stdout);
    gv_text_deinit(&text);
    json_decref(report);
}

/* At QoS 0 a message may be lost; everything else that goes wrong makes the run a failure. */
static int status_of(const gv_bench_options_t *options, const gv_bench_result_t *result)
{
    if (result->problem[0] != '\0') {
        return gv_command_fail("bench", GV_EXIT_FAILED, "%s", result->problem);
    }
    if (result->is_interrupted) {
        return gv_command_fail("bench", GV_EXIT_FAILED, "interrupted");
    }
    if (result->samples[GV_BENCH_AT_END].counts.refused > 0) {
        return gv_command_fail("bench", GV_EXIT_FAILED, "the broker refused messages");
    }
    if (options->qos > 0 && result->lost > 0) {
        return gv_command_fail("bench", GV_EXIT_FAILED, "acknowledged messages did not arrive");
    }
    return GV_EXIT_OK;
}

int gv_command_bench(int argc, char **argv)
{
    gv_bench_options_t options;
    char *problem;
    if (gv_bench_options_parse(argc, argv, &options, &problem) != GV_OK) {
        int status = gv_command_fail("bench", GV_EXIT_USAGE, "%s", problem);
        gv_free(problem);
        return status;
    }
    if (options.is_help) {
        gv_bench_print_help(stdout);
        return GV_EXIT_OK;
    }
    gv_bench_result_t *result = GV_NEW(gv_bench_result_t);
    int status;
    if (gv_bench_run(&options, result) != GV_OK) {
        status = gv_command_fail("bench", GV_EXIT_FAILED, "%s", result->problem);
    } else {
        print(&options, result);
        status = status_of(&options, result);
    }
    gv_free(result);
    return status;
}
