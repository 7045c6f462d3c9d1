/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * gv_runner: a command that is a loop: starts it on the calling thread, and turns Ctrl-C and
 * SIGTERM into a callback, so that the command can say goodbye to the server.
 *
 *     gv_runner_run(&runner)         until...
 *     gv_runner_stop(&runner)        from any callback on the loop
 *
 * A second signal ends the process.
 */

#include <stdbool.h>

#include <uv.h>

#include "base/err.h"
#include "base/io/loop.h"

/* "grapevine-" and 16 hexadecimal digits. */
#define GV_RUNNER_ID_SIZE 27

typedef struct gv_runner gv_runner_t;

struct gv_runner {
    void (*on_start)(gv_runner_t *runner);  /* set by the owner */
    void (*on_signal)(gv_runner_t *runner); /* set by the owner */
    gv_loop_t *loop;
    gv_letter_t _start;
    uv_signal_t _signals[2];
    bool _is_stopping;
};

/* GV_OK after gv_runner_stop(), or GV_ERR_IO when there is no loop to be had. */
GV_MUST_USE gv_err_t gv_runner_run(gv_runner_t *runner);

GV_LOOP_ONLY void gv_runner_stop(gv_runner_t *runner);

/* A client id that nobody else has. */
void gv_runner_random_id(char out[GV_RUNNER_ID_SIZE]);
