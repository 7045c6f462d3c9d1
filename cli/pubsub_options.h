/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The command line of `pub` and `sub`: the options mosquitto's clients have, by the same letters.
 *
 * Life: gv_pubsub_options_parse() fills (texts point into argv), gv_pubsub_options_deinit()
 * releases.  Threads: getopt_long() has global state: main thread.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "cli/properties.h"
#include "proto/mqtt/packet.h"

typedef enum gv_pub_source {
    GV_PUB_NOT_SAID,
    GV_PUB_MESSAGE, /* -m */
    GV_PUB_FILE,    /* -f */
    GV_PUB_NULL,    /* -n */
    GV_PUB_STDIN,   /* -s: all of it is one message */
    GV_PUB_LINES,   /* -l: each line is one */
} gv_pub_source_t;

typedef struct gv_pubsub_options {
    bool is_help;
    char *address; /* HOST:PORT */
    gv_mqtt_version_t version;
    const char *client_id; /* "": chosen by the caller */
    const char *username;  /* NULL: none */
    const char *password;
    uint16_t keep_alive_s;
    bool keep_session; /* -c */
    bool has_expiry;   /* -x */
    uint32_t expiry_s;
    uint8_t qos;
    bool is_debugging;
    const char **topics; /* or filters */
    size_t topic_count;
    gv_properties_t properties;

    const char *will_topic; /* NULL: no will */
    const char *will_payload;
    uint8_t will_qos;
    bool will_retain;

    gv_pub_source_t source;
    const char *payload; /* -m: the message; -f: the file's name */
    bool retain;

    uint32_t count;      /* -C; 0: any */
    uint32_t timeout_s;  /* -W; 0: none */
    bool is_verbose;     /* -v */
    bool no_newline;     /* -N */
    bool skip_retained;  /* -R */
    bool exit_on_suback; /* -E */

    char *url_parts; /* what -L was taken apart into; the texts above point into it */
} gv_pubsub_options_t;

/*
 * argv[0] is "pub" or "sub" and decides which options there are.  GV_OK, or GV_ERR_INVAL with one
 * line in *problem_out (gv_free).  *out needs a deinit in both cases.
 */
GV_MUST_USE gv_err_t gv_pubsub_options_parse(int argc, char *const *argv, gv_pubsub_options_t *out,
                                             char **problem_out);

void gv_pubsub_options_deinit(gv_pubsub_options_t *options);

/*
 * The CONNECT these options ask for.  `client_id` is used when there was no -i.  The views point
 * into the options and the id.
 */
void gv_pubsub_connect(const gv_pubsub_options_t *options, const char *client_id,
                       gv_mqtt_connect_t *out);

void gv_pubsub_print_help(const char *command, FILE *out);
