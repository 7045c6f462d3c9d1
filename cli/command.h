/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The subcommands of `grapevine`.  Each takes its own arguments (argv[0] is its name) and gives the
 * exit status of the program.  Results go to stdout, everything else to stderr: one line that says
 * what is wrong, "grapevine NAME: ...".
 */

#include <stdbool.h>

#include "base/defs.h"

enum {
    GV_EXIT_OK = 0,
    GV_EXIT_FAILED = 1,
    GV_EXIT_USAGE = 2,
    GV_EXIT_NOT_READY = 3, /* status --ready, of a node that answers */
    GV_EXIT_TIMEOUT = 27,  /* sub -W; the number that users of mosquitto_sub know */
};

typedef struct gv_command {
    const char *name;
    const char *about;
    int (*run)(int argc, char **argv);
} gv_command_t;

int gv_command_pub(int argc, char **argv);
int gv_command_sub(int argc, char **argv);
int gv_command_bench(int argc, char **argv);
int gv_command_status(int argc, char **argv);
int gv_command_cluster(int argc, char **argv);
int gv_command_clients(int argc, char **argv);
int gv_command_subscriptions(int argc, char **argv);
int gv_command_routes(int argc, char **argv);
int gv_command_retained(int argc, char **argv);
int gv_command_kick(int argc, char **argv);
int gv_command_drain(int argc, char **argv);
int gv_command_undrain(int argc, char **argv);
int gv_command_passwd(int argc, char **argv);
int gv_command_store(int argc, char **argv);
int gv_command_check_config(int argc, char **argv);

/* Writes "grapevine NAME: TEXT" to stderr and returns `status`. */
GV_MUST_USE int gv_command_fail(const char *name, int status, const char *format, ...)
    GV_PRINTF(3, 4);
