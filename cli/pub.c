/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/mqtt_client.h"
#include "cli/pubsub_options.h"
#include "cli/runner.h"

/*
 * A map of this file: the command's state - what is to be sent - lines of standard input - what the
 * client tells - the command.
 *
 * The message is read before connecting; lines (-l) are read as fast as the server takes them.
 */

#define READ_SIZE ((size_t)64 * 1024)

typedef struct pub {
    gv_runner_t runner;
    gv_pubsub_options_t options;
    gv_mqtt_client_t *client; /* NULL when it has ended */
    gv_text_t input;          /* the message, or what was read and not sent */
    size_t input_used;        /* lines */
    uv_fs_t read;
    char *read_buffer;
    bool is_reading;
    bool input_ended;
    uint64_t sent;
    uint64_t done;
    int status;
} pub_t;

static GV_LOOP_ONLY void go_on(pub_t *pub);

static void say(const pub_t *pub, const char *format, ...) GV_PRINTF(2, 3);
static void say(const pub_t *pub, const char *format, ...)
{
    if (pub->options.is_debugging) {
        va_list arguments;
        va_start(arguments, format);
        (void)vfprintf(stderr, format, arguments);
        va_end(arguments);
    }
}

/* ---- what is to be sent ------------------------------------------------------------------- */

static bool read_all(FILE *file, gv_text_t *out)
{
    char part[4096];
    size_t size;
    while ((size = fread(part, 1, sizeof(part), file)) > 0 &&
           gv_text_size(out) <= GV_MQTT_PACKET_SIZE_MAX) {
        gv_text_put(out, gv_bytes(part, size));
    }
    return ferror(file) == 0;
}

/* Returns an exit status. */
static int load_message(pub_t *pub)
{
    const gv_pubsub_options_t *options = &pub->options;
    if (options->source == GV_PUB_MESSAGE) {
        gv_text_put(&pub->input, gv_bytes_text(options->payload));
    } else if (options->source == GV_PUB_STDIN) {
        if (!read_all(stdin, &pub->input)) {
            return gv_command_fail("pub", GV_EXIT_FAILED, "cannot read standard input: %s",
                                   strerror(errno));
        }
    } else if (options->source == GV_PUB_FILE) {
        FILE *file = fopen(options->payload, "re");
        bool good = file != NULL && read_all(file, &pub->input);
        int problem = errno;
        if (file != NULL) {
            (void)fclose(file);
        }
        if (!good) {
            return gv_command_fail("pub", GV_EXIT_FAILED, "cannot read %s: %s", options->payload,
                                   strerror(problem));
        }
    }
    return GV_EXIT_OK;
}

static GV_LOOP_ONLY void close_client(pub_t *pub)
{
    if (pub->client != NULL) {
        gv_mqtt_client_close(pub->client, GV_MQTT_SUCCESS);
    }
}

/* Nothing more is going to be sent, and the server has all of it. */
static GV_LOOP_ONLY void close_when_through(pub_t *pub)
{
    bool all_sent = pub->options.source != GV_PUB_LINES ||
                    (pub->input_ended && pub->input_used == gv_text_size(&pub->input));
    if (all_sent && pub->done == pub->sent) {
        close_client(pub);
    }
}

static GV_LOOP_ONLY void publish(pub_t *pub, gv_bytes_t payload)
{
    const gv_pubsub_options_t *options = &pub->options;
    const gv_mqtt_publish_t message = {.topic = gv_bytes_text(options->topics[0]),
                                       .payload = payload,
                                       .qos = options->qos,
                                       .retain = options->retain,
                                       .props = options->properties.props[GV_PROPS_PUBLISH]};
    uint16_t packet_id;
    pub->sent++;
    gv_err_t err = gv_mqtt_client_publish(pub->client, &message, &packet_id);
    if (err != GV_OK) {
        pub->done++;
        pub->status = gv_command_fail("pub", GV_EXIT_FAILED, "message not sent: %s",
                                      err == GV_ERR_TOO_LARGE ? "larger than the server takes"
                                                              : gv_err_text(err));
    } else {
        say(pub, "publish: id=%u bytes=%zu\n", packet_id, payload.size);
    }
}

/* ---- lines of standard input -------------------------------------------------------------- */

static void on_read(uv_fs_t *request)
{
    pub_t *pub = request->data;
    gv_loop_assert_current(pub->runner.loop);
    ssize_t size = request->result;
    uv_fs_req_cleanup(request);
    pub->is_reading = false;
    if (size > 0) {
        gv_text_put(&pub->input, gv_bytes(pub->read_buffer, (size_t)size));
    } else {
        pub->input_ended = true;
        if (size < 0) {
            pub->status = gv_command_fail("pub", GV_EXIT_FAILED, "cannot read standard input: %s",
                                          uv_strerror((int)size));
        }
    }
    go_on(pub);
}

/* On a thread of libuv's, because standard input may be anything, and may take its time. */
static GV_LOOP_ONLY void read_more(pub_t *pub)
{
    if (pub->is_reading || pub->input_ended) {
        return;
    }
    pub->is_reading = true;
    uv_buf_t buffer = uv_buf_init(pub->read_buffer, (unsigned)READ_SIZE);
    pub->read.data = pub;
    int rc =
        uv_fs_read(gv_loop_uv(pub->runner.loop), &pub->read, STDIN_FILENO, &buffer, 1, -1, on_read);
    GV_ASSERT(rc == 0);
}

/* The next line without its end, and false if it is not there yet. */
static bool next_line(pub_t *pub, gv_bytes_t *line)
{
    const char *text = gv_text_get(&pub->input);
    size_t left = gv_text_size(&pub->input) - pub->input_used;
    const char *start = text + pub->input_used;
    const char *end = left > 0 ? memchr(start, '\n', left) : NULL;
    if (end == NULL && !(pub->input_ended && left > 0)) {
        return false;
    }
    size_t size = end != NULL ? (size_t)(end - start) : left;
    pub->input_used += end != NULL ? size + 1 : size;
    *line = gv_bytes(start, size);
    return true;
}

/* Forgets the lines that were sent. */
static void drop_used_input(pub_t *pub)
{
    gv_text_t rest = GV_TEXT_EMPTY;
    gv_text_put(&rest, gv_bytes(gv_text_get(&pub->input) + pub->input_used,
                                gv_text_size(&pub->input) - pub->input_used));
    gv_text_deinit(&pub->input);
    pub->input = rest;
    pub->input_used = 0;
}

/* Sends what there is, as far as the server takes it; and ends when there is nothing more. */
static GV_LOOP_ONLY void go_on(pub_t *pub)
{
    gv_bytes_t line;
    bool is_full = false;
    while (pub->client != NULL && !(is_full = !gv_mqtt_client_can_publish(pub->client)) &&
           next_line(pub, &line)) {
        publish(pub, line);
    }
    if (is_full || pub->client == NULL) {
        return;
    }
    drop_used_input(pub);
    if (!pub->input_ended) {
        read_more(pub);
    } else {
        close_when_through(pub);
    }
}

/* ---- what the client tells ---------------------------------------------------------------- */

static void on_connected(gv_mqtt_client_t *client, const gv_mqtt_connack_t *connack)
{
    pub_t *pub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(pub->runner.loop);
    say(pub, "connected: session_present=%d\n", connack->session_present);
    if (pub->options.source == GV_PUB_LINES) {
        go_on(pub);
        return;
    }
    publish(pub, gv_bytes(gv_text_get(&pub->input), gv_text_size(&pub->input)));
    close_when_through(pub);
}

static void on_acked(gv_mqtt_client_t *client, uint16_t packet_id, gv_mqtt_reason_t reason)
{
    pub_t *pub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(pub->runner.loop);
    pub->done++;
    say(pub, "acknowledged: id=%u reason='%s'\n", packet_id, gv_mqtt_reason_text((uint8_t)reason));
    if (reason >= GV_MQTT_UNSPECIFIED_ERROR) {
        pub->status = gv_command_fail("pub", GV_EXIT_FAILED, "the server refused the message: %s",
                                      gv_mqtt_reason_text((uint8_t)reason));
    }
    close_when_through(pub);
}

static void on_ready(gv_mqtt_client_t *client)
{
    pub_t *pub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(pub->runner.loop);
    if (pub->options.source == GV_PUB_LINES) {
        go_on(pub);
    }
}

static void on_closed(gv_mqtt_client_t *client, gv_err_t why, const char *text)
{
    pub_t *pub = gv_mqtt_client_arg(client);
    gv_loop_assert_current(pub->runner.loop);
    pub->client = NULL;
    if (why != GV_OK) {
        pub->status = gv_command_fail("pub", GV_EXIT_FAILED, "%s", text);
    }
    if (pub->is_reading) {
        /* A read of a terminal cannot be called back, and the loop would wait for it. */
        _exit(pub->status);
    }
    gv_runner_stop(&pub->runner);
}

static const gv_mqtt_client_ops_t client_ops = {.on_connected = on_connected,
                                                .on_acked = on_acked,
                                                .on_ready = on_ready,
                                                .on_closed = on_closed};

/* ---- the command -------------------------------------------------------------------------- */

static void on_start(gv_runner_t *runner)
{
    pub_t *pub = gv_container_of(runner, pub_t, runner);
    gv_loop_assert_current(runner->loop);
    char id[GV_RUNNER_ID_SIZE];
    gv_runner_random_id(id);
    gv_mqtt_connect_t connect;
    gv_pubsub_connect(&pub->options, id, &connect);
    const gv_mqtt_client_options_t options = {.address = pub->options.address, .connect = &connect};
    gv_err_t err = gv_mqtt_client_open(runner->loop, &options, &client_ops, pub, &pub->client);
    if (err != GV_OK) {
        pub->status = gv_command_fail("pub", GV_EXIT_FAILED, "cannot connect to %s: %s",
                                      pub->options.address, gv_err_text(err));
        gv_runner_stop(runner);
    }
}

static void on_signal(gv_runner_t *runner)
{
    pub_t *pub = gv_container_of(runner, pub_t, runner);
    gv_loop_assert_current(runner->loop);
    pub->status = GV_EXIT_FAILED;
    close_client(pub);
}

static int run(pub_t *pub)
{
    int status = load_message(pub);
    if (status != GV_EXIT_OK) {
        return status;
    }
    pub->read_buffer = gv_xalloc(READ_SIZE);
    pub->runner.on_start = on_start;
    pub->runner.on_signal = on_signal;
    if (gv_runner_run(&pub->runner) != GV_OK) {
        return gv_command_fail("pub", GV_EXIT_FAILED, "the system gives no event loop");
    }
    return pub->status;
}

int gv_command_pub(int argc, char **argv)
{
    pub_t pub = {.status = GV_EXIT_OK};
    char *problem;
    int status = GV_EXIT_OK;
    if (gv_pubsub_options_parse(argc, argv, &pub.options, &problem) != GV_OK) {
        status = gv_command_fail("pub", GV_EXIT_USAGE, "%s", problem);
        gv_free(problem);
    } else if (pub.options.is_help) {
        gv_pubsub_print_help("pub", stdout);
    } else {
        status = run(&pub);
    }
    gv_pubsub_options_deinit(&pub.options);
    gv_text_deinit(&pub.input);
    gv_free(pub.read_buffer);
    return status;
}
