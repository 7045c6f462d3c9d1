/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/runner.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/io/os.h"

static void on_signal(uv_signal_t *signal, int number)
{
    gv_runner_t *runner = signal->data;
    gv_loop_assert_current(runner->loop);
    (void)number;
    /* From here on the system's own way: the process ends. */
    (void)uv_signal_stop(signal);
    runner->on_signal(runner);
}

static void on_start(gv_letter_t *letter)
{
    gv_runner_t *runner = gv_container_of(letter, gv_runner_t, _start);
    gv_loop_assert_current(runner->loop);
    static const int numbers[] = {SIGINT, SIGTERM};
    for (int i = 0; i < 2; i++) {
        uv_signal_t *signal = &runner->_signals[i];
        int rc = uv_signal_init(gv_loop_uv(runner->loop), signal);
        GV_ASSERT(rc == 0);
        signal->data = runner;
        (void)uv_signal_start(signal, on_signal, numbers[i]);
    }
    runner->on_start(runner);
}

gv_err_t gv_runner_run(gv_runner_t *runner)
{
    GV_ASSERT(runner->on_start != NULL);
    GV_ASSERT(runner->on_signal != NULL);
    gv_err_t err = gv_loop_new(NULL, &runner->loop);
    if (err != GV_OK) {
        return err;
    }
    runner->_start.deliver = on_start;
    runner->_is_stopping = false;
    gv_loop_send(runner->loop, &runner->_start);
    gv_loop_run(runner->loop);
    gv_loop_free(&runner->loop);
    return GV_OK;
}

void gv_runner_stop(gv_runner_t *runner)
{
    gv_loop_assert_current(runner->loop);
    if (runner->_is_stopping) {
        return;
    }
    runner->_is_stopping = true;
    uv_close((uv_handle_t *)&runner->_signals[0], NULL);
    uv_close((uv_handle_t *)&runner->_signals[1], NULL);
    gv_loop_stop(runner->loop);
}

void gv_runner_random_id(char out[GV_RUNNER_ID_SIZE])
{
    uint64_t number;
    gv_os_random(&number, sizeof(number));
    (void)snprintf(out, GV_RUNNER_ID_SIZE, "grapevine-%016" PRIx64, number);
}
