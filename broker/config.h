/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The configuration: one immutable snapshot of everything an operator can say.
 *
 * Where values come from, later ones win:
 *     1. the defaults (config_table.c, which also has the range and the meaning of each key)
 *     2. the file of `-c FILE` (its syntax: config_reader.h; an example: deploy/grapevine.conf)
 *     3. the environment: GRAPEVINE_CLUSTER__SEEDS=a:7883,b:7883 (two underscores are a dot)
 *     4. the command line: `--set KEY=VALUE` and the short options, which are names for keys
 *
 * A key is reached as its name reads: cluster.dead_after_ms is config->cluster.dead_after_ms.
 * Durations are milliseconds and sizes are bytes, whatever unit they were written in.
 *
 * Life: gv_config_load() makes a snapshot with one reference; it never changes.  A reload makes
 * another.  Threads: any may read and hold a snapshot; loading is for one thread (it reads files).
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/defs.h"
#include "base/err.h"
#include "base/hostport.h"
#include "base/log.h"
#include "broker/core/queue.h"
#include "broker/listener_url.h"
#include "proto/scram/verifier.h"

/* Who may connect without proving who they are. */
typedef enum gv_auth_anonymous {
    GV_AUTH_ANONYMOUS_LOOPBACK, /* the default: only through listeners no other machine reaches */
    GV_AUTH_ANONYMOUS_ALL,      /* auth.anonymous = true */
    GV_AUTH_ANONYMOUS_NONE,     /* auth.anonymous = false */
} gv_auth_anonymous_t;

/* Somebody who may log in, and what checks the password (auth.scram). */
typedef struct gv_user_config {
    char *name;
    gv_scram_verifier_t verifier;
} gv_user_config_t;

typedef struct gv_user_list {
    gv_user_config_t *items;
    size_t count;
} gv_user_list_t;

/* When what was acknowledged is on the disk. */
typedef enum gv_storage_sync {
    GV_STORAGE_SYNC_COMMIT,   /* before the acknowledgement */
    GV_STORAGE_SYNC_INTERVAL, /* within a bounded time after it */
    GV_STORAGE_SYNC_OFF,      /* when the system likes */
} gv_storage_sync_t;

/* What a session gets of a message that several of its subscriptions match. */
typedef enum gv_mqtt_overlaps {
    GV_MQTT_OVERLAPS_MERGE, /* one copy with the highest QoS and all subscription identifiers */
    GV_MQTT_OVERLAPS_EACH,  /* one copy for each of them */
} gv_mqtt_overlaps_t;

/* Texts are never NULL: a text that was not given is "". */
typedef struct gv_config {
    struct {
        char *name;
        char *data;
        uint64_t shards;     /* 0: one per core */
        uint64_t memory_max; /* 0: three quarters of what there is */
    } node;
    struct {
        gv_log_level_t level;
    } log;
    struct {
        gv_listener_config_t *items;
        size_t count;
    } listeners;
    struct {
        char *cert;
        char *key;
        char *ca;
        bool verify_client;
    } tls;
    struct {
        gv_auth_anonymous_t anonymous;
        gv_user_list_t scram;
    } auth;
    struct {
        char *name;
        gv_hostport_t listen;    /* not set: no cluster */
        gv_hostport_t advertise; /* set whenever `listen` is */
        struct {
            gv_hostport_t *items;
            size_t count;
        } seeds;
        char *secret; /* also when it came from secret_file */
        char *secret_file;
        bool insecure; /* also when there is no secret and nothing leaves this machine */
        uint64_t heartbeat_ms;
        uint64_t suspect_after_ms;
        uint64_t dead_after_ms;
        uint64_t suback_wait_ms;
        uint64_t claim_wait_ms;
        uint64_t ready_wait_ms; /* 0: clients are taken at once */
        uint64_t forget_after_ms;
        uint64_t outbox_bytes_max;
        uint64_t spool_after_ms; /* 0: when the node is dead */
    } cluster;
    struct {
        gv_hostport_t listen; /* not set: no admin port */
        char *token;
        bool token_always;
    } admin;
    struct {
        uint64_t packet_size_max;
        uint64_t connect_size_max;
        uint64_t topic_levels_max;
        uint64_t topic_size_max;
        uint64_t client_id_size_max;
        uint64_t subscriptions_max;
        uint64_t sessions_max;     /* of the whole node; 0: no limit */
        uint64_t keepalive_max_ms; /* 0: what the client asks for */
        uint64_t receive_max;
        uint64_t inflight_max;
        uint64_t topic_alias_max;
        uint64_t topic_alias_send_max;
        uint64_t topic_alias_bytes_max;
        uint64_t topic_alias_memory_max;
        uint64_t queue_messages_max;
        uint64_t queue_bytes_max;
        gv_queue_policy_t queue_policy;
        uint64_t output_bytes_max;
        uint64_t slow_reader_timeout_ms;
        uint64_t connect_timeout_ms;
        uint64_t connect_rate; /* these: per second, 0: no limit; of a burst, 0: one second's */
        uint64_t connect_burst;
        uint64_t client_messages_rate;
        uint64_t client_messages_burst;
        uint64_t client_bytes_rate;
        uint64_t client_bytes_burst;
        uint64_t session_expiry_max_ms; /* 0: what the client asks for */
        bool retain_available;
        uint64_t retained_messages_max; /* 0: no limit; as the next */
        uint64_t retained_bytes_max;
        gv_mqtt_overlaps_t overlaps;
        bool payload_format_check;
        uint64_t sys_interval_ms; /* 0: no $SYS topics */
        bool client_events;
    } mqtt;
    struct {
        char *server_reference;
        bool server_moved;
        uint64_t clients_per_second; /* 0: all at once */
        uint64_t stop_timeout_ms;
    } drain;
    struct {
        gv_storage_sync_t sync;
        uint64_t sync_interval_ms; /* interval only */
        uint64_t map_size;
        uint64_t queue_messages_max;
        uint64_t queue_bytes_max;
        uint64_t reserve; /* 0: the larger of 64 MiB and 5 % */
        uint64_t ballast; /* 0: none */
    } storage;

    /* node.name is the host's name, which nobody has chosen: an older name in the data stays. */
    bool is_name_default;

    /* Nothing was configured at all: the node says what that means. */
    bool is_default;
    struct gv_config_hidden *_hidden;
} gv_config_t;

/* One KEY=VALUE of the command line. */
typedef struct gv_config_assignment {
    const char *source; /* for messages: "--set", "--listen" */
    const char *key;
    const char *value;
} gv_config_assignment_t;

/* Everything a load looks at; all borrowed. */
typedef struct gv_config_sources {
    const char *file;         /* NULL: none */
    char *const *environment; /* NULL, or as environ */
    const gv_config_assignment_t *assignments;
    size_t assignment_count;
    const char *host_name; /* the default of node.name */
} gv_config_sources_t;

/* Lines of text for the operator, in the order they were found. */
typedef struct gv_config_report {
    char **lines;
    size_t count;
} gv_config_report_t;

void gv_config_report_deinit(gv_config_report_t *report);

/*
 * Loads and checks.  Returns GV_OK and a snapshot, with warnings in *report_out, or GV_ERR_INVAL
 * with at least one line in *report_out; *config_out is NULL then.  A line reads
 *     FILE:LINE: KEY: what is wrong; expected ...
 * or names the environment variable or the option instead of file and line.  The report is the
 * caller's to deinit in both cases.
 */
GV_MUST_USE gv_err_t gv_config_load(const gv_config_sources_t *sources,
                                    const gv_config_t **config_out, gv_config_report_t *report_out);

/* What a reload found; names of keys, static texts. */
typedef struct gv_config_changes {
    const char **applied;
    size_t applied_count;
    const char **needs_restart;
    size_t needs_restart_count;
} gv_config_changes_t;

void gv_config_changes_deinit(gv_config_changes_t *changes);

/*
 * Loads again (SIGHUP).  The new snapshot takes what can change while running and keeps the old
 * value of everything else, so that it always tells what is in force; *changes_out says which key
 * went which way and is the caller's to deinit.  Errors as gv_config_load(): the old snapshot
 * stays.
 */
GV_MUST_USE gv_err_t gv_config_reload(const gv_config_t *old, const gv_config_sources_t *sources,
                                      const gv_config_t **config_out,
                                      gv_config_changes_t *changes_out,
                                      gv_config_report_t *report_out);

/* One more holder.  Returns config. */
GV_MUST_USE GV_ANY_THREAD const gv_config_t *gv_config_ref(const gv_config_t *config);

/* One holder fewer, *configp = NULL; the last one frees.  NULL is allowed. */
GV_ANY_THREAD void gv_config_unref(const gv_config_t **configp);

/* All keys with type, default and meaning, for people (`grapevined --keys`). */
void gv_config_print_keys(FILE *out);
