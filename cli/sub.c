/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/mqtt_client.h"
#include "cli/pubsub_options.h"
#include "cli/runner.h"

/*
 * A map of this file: the command's state - what the client tells - connecting, again when the
 * connection is lost - the command.
 *
 * Like mosquitto_sub it gives up when the first connection fails, and comes back by itself when one
 * is lost later.
 */

#define RECONNECT_MS 1000

typedef struct sub {
    gv_runner_t runner;
    gv_pubsub_options_t options;
    gv_mqtt_client_t *client; /* NULL between two connections */
    gv_timer_t retry;
    gv_timer_t deadline;
    gv_job_t flush;
    char id[GV_RUNNER_ID_SIZE];
    uint32_t received;
    bool was_connected;
    bool is_leaving;
    bool is_lost; /* the client has ended the connection, and why is still to be told */
    int status;
} sub_t;

static void say(const sub_t *sub, const char *format, ...) GV_PRINTF(2, 3);
static void say(const sub_t *sub, const char *format, ...)
{
    if (sub->options.is_debugging) {
        va_list arguments;
        va_start(arguments, format);
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
}

static GV_LOOP_ONLY void leave(sub_t *sub, int status)
{
    if (sub->is_leaving) {
        return;
    }
    sub->is_leaving = true;
    sub->status = status;
    if (sub->client != NULL) {
        sub->is_lost = gv_mqtt_client_is_closing(sub->client);
        gv_mqtt_client_close(sub->client, GV_MQTT_SUCCESS);
    } else {
        gv_timer_stop(&sub->retry);
        gv_runner_stop(&sub->runner);
    }
}

/* ---- what the client tells ---------------------------------------------------------------- */

static GV_LOOP_ONLY void subscribe(sub_t *sub)
{
    const gv_pubsub_options_t *options = &sub->options;
    gv_mqtt_subscription_t *entries = gv_xcalloc(options->topic_count, sizeof(*entries));
    for (size_t i = 0; i < options->topic_count; i++) {
        entries[i].text = gv_bytes_text(options->topics[i]);
        entries[i].qos = options->qos;
    }
    const gv_mqtt_subscribe_request_t request = {.entries = entries,
                                                 .count = options->topic_count,
                                                 .props =
                                                     options->properties.props[GV_PROPS_SUBSCRIBE]};
    gv_err_t err = gv_mqtt_client_subscribe(sub->client, &request);
    gv_free(entries);
    if (err != GV_OK) {
        leave(sub,
              gv_command_fail("sub", GV_EXIT_FAILED, "cannot subscribe: %s", gv_err_text(err)));
    }
}

static void on_connected(gv_mqtt_client_t *client, const gv_mqtt_connack_t *connack)
{
    sub_t *sub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(sub->runner.loop);
    sub->was_connected = true;
    say(sub, "connected: session_present=%d\n", connack->session_present);
    subscribe(sub);
}

static void on_subscribed(gv_mqtt_client_t *client, const gv_mqtt_suback_t *suback)
{
    sub_t *sub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(sub->runner.loop);
    size_t refused = 0;
    for (size_t i = 0; i < suback->codes.size; i++) {
        uint8_t code = suback->codes.data[i];
        const char *filter = i < sub->options.topic_count ? sub->options.topics[i] : "?";
        say(sub, "subscribed: filter='%s' reason='%s'\n", filter, gv_mqtt_reason_text(code));
        if (code >= GV_MQTT_UNSPECIFIED_ERROR) {
            refused++;
            sub->status = gv_command_fail("sub", GV_EXIT_FAILED,
                                          "the server refused the subscription to '%s': %s", filter,
                                          gv_mqtt_reason_text(code));
        }
    }
    if (refused == suback->codes.size) {
        leave(sub, GV_EXIT_FAILED);
    } else if (sub->options.exit_on_suback) {
        leave(sub, sub->status);
    }
}

static void print_message(const sub_t *sub, const gv_mqtt_publish_t *message)
{
    if (sub->options.is_verbose) {
        (void)fwrite(message->topic.data, 1, message->topic.size, stdout);
        (void)fputc(' ', stdout);
    }
    (void)fwrite(message->payload.data, 1, message->payload.size, stdout);
    if (!sub->options.no_newline) {
        (void)fputc('\n', stdout);
    }
}

static void on_message(gv_mqtt_client_t *client, const gv_mqtt_publish_t *message)
{
    sub_t *sub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(sub->runner.loop);
    if (sub->is_leaving || (message->retain && sub->options.skip_retained)) {
        return;
    }
    print_message(sub, message);
    sub->received++;
    if (ferror(stdout) != 0) {
        leave(sub, gv_command_fail("sub", GV_EXIT_FAILED, "cannot write to standard output"));
    } else if (sub->received == sub->options.count) {
        leave(sub, sub->status);
    }
}

static void on_closed(gv_mqtt_client_t *client, gv_err_t why, const char *text)
{
    sub_t *sub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(sub->runner.loop);
    sub->client = NULL;
    int status = GV_EXIT_FAILED;
    if (!sub->is_leaving || sub->is_lost) {
        status = gv_command_fail("sub", GV_EXIT_FAILED, "%s", text);
    }
    if (sub->is_leaving) {
        gv_runner_stop(&sub->runner);
        return;
    }
    if (!sub->was_connected || why == GV_ERR_DENIED) {
        leave(sub, status);
    } else {
        gv_loop_timer_start(sub->runner.loop, &sub->retry, RECONNECT_MS);
    }
}

static const gv_mqtt_client_ops_t client_ops = {.on_connected = on_connected,
                                                .on_message = on_message,
                                                .on_subscribed = on_subscribed,
                                                .on_closed = on_closed};

/* ---- connecting, again when the connection is lost ---------------------------------------- */

static GV_LOOP_ONLY void open_client(sub_t *sub)
{
    gv_mqtt_connect_t connect;
    gv_pubsub_connect(&sub->options, sub->id, &connect);
    const gv_mqtt_client_options_t options = {.address = sub->options.address, .connect = &connect};
    gv_err_t err = gv_mqtt_client_open(sub->runner.loop, &options, &client_ops, sub, &sub->client);
    if (err != GV_OK) {
        leave(sub, gv_command_fail("sub", GV_EXIT_FAILED, "cannot connect to %s: %s",
                                   sub->options.address, gv_err_text(err)));
    }
}

static void on_retry(gv_timer_t *timer)
{
    sub_t *sub = gv_container_of(timer, sub_t, retry);
    gv_loop_assert_current(sub->runner.loop);
    open_client(sub);
}

static void on_deadline(gv_timer_t *timer)
{
    sub_t *sub = gv_container_of(timer, sub_t, deadline);
    gv_loop_assert_current(sub->runner.loop);
    leave(sub, gv_command_fail("sub", GV_EXIT_TIMEOUT, "timed out after %u s",
                               (unsigned)sub->options.timeout_s));
}

/* Once per turn: a reader of ours sees messages at once, and a flood is written in large pieces. */
static void on_turn_end(gv_job_t *job)
{
    (void)job;
    (void)fflush(stdout);
}

/* ---- the command -------------------------------------------------------------------------- */

static void on_start(gv_runner_t *runner)
{
    sub_t *sub = gv_container_of(runner, sub_t, runner);
    gv_loop_assert_current(runner->loop);
    sub->flush.run = on_turn_end;
    gv_loop_on_turn_end(runner->loop, &sub->flush);
    if (sub->options.timeout_s > 0) {
        gv_loop_timer_start(runner->loop, &sub->deadline, (uint64_t)sub->options.timeout_s * 1000);
    }
    open_client(sub);
}

static void on_signal(gv_runner_t *runner)
{
    sub_t *sub = gv_container_of(runner, sub_t, runner);
    gv_loop_assert_current(runner->loop);
    leave(sub, sub->status);
}

static int run(sub_t *sub)
{
    gv_timer_init(&sub->retry, on_retry);
    gv_timer_init(&sub->deadline, on_deadline);
    gv_runner_random_id(sub->id);
    sub->runner.on_start = on_start;
    sub->runner.on_signal = on_signal;
    if (gv_runner_run(&sub->runner) != GV_OK) {
        return gv_command_fail("sub", GV_EXIT_FAILED, "the system gives no event loop");
    }
    (void)fflush(stdout);
    return sub->status;
}

int gv_command_sub(int argc, char **argv)
{
    sub_t sub = {.status = GV_EXIT_OK};
    char *problem;
    int status = GV_EXIT_OK;
    if (gv_pubsub_options_parse(argc, argv, &sub.options, &problem) != GV_OK) {
        status = gv_command_fail("sub", GV_EXIT_USAGE, "%s", problem);
        gv_free(problem);
    } else if (sub.options.is_help) {
        gv_pubsub_print_help("sub", stdout);
    } else {
        status = run(&sub);
    }
    gv_pubsub_options_deinit(&sub.options);
    return status;
}
