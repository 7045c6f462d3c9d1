/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config_p.h"

#include <stddef.h>
#include <string.h>

#include "base/bucket.h"

#define KIB ((uint64_t)1024)
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)
#define TIB (1024 * GIB)

#define RATE_MAX GV_BUCKET_RATE_MAX

#define SECOND ((uint64_t)1000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)

static const gv__config_choice_t log_levels[] = {
    {"error", GV_LOG_ERROR},
    {"warn", GV_LOG_WARN},
    {"info", GV_LOG_INFO},
    {"debug", GV_LOG_DEBUG},
    {NULL, 0},
};

static const gv__config_choice_t anonymous[] = {
    {"loopback", GV_AUTH_ANONYMOUS_LOOPBACK},
    {"true", GV_AUTH_ANONYMOUS_ALL},
    {"false", GV_AUTH_ANONYMOUS_NONE},
    {NULL, 0},
};

static const gv__config_choice_t queue_policies[] = {
    {"drop_oldest", GV_QUEUE_DROP_OLDEST},
    {"drop_newest", GV_QUEUE_DROP_NEWEST},
    {"disconnect", GV_QUEUE_DISCONNECT},
    {NULL, 0},
};

static const gv__config_choice_t overlaps[] = {
    {"merge", GV_MQTT_OVERLAPS_MERGE},
    {"each", GV_MQTT_OVERLAPS_EACH},
    {NULL, 0},
};

static const gv__config_choice_t storage_syncs[] = {
    {"commit", GV_STORAGE_SYNC_COMMIT},
    {"interval", GV_STORAGE_SYNC_INTERVAL},
    {"off", GV_STORAGE_SYNC_OFF},
    {NULL, 0},
};

/* One row per key: the C member has the key's name. */
#define AT(member)            .offset = offsetof(gv_config_t, member)
#define RANGE(low, high)      .min = (low), .max = (high)
#define BOOL(member)          .type = GV__CONFIG_BOOL, AT(member)
#define INTEGER(member, l, h) .type = GV__CONFIG_INTEGER, AT(member), RANGE(l, h)
#define SIZE(member, l, h)    .type = GV__CONFIG_SIZE, AT(member), RANGE(l, h)
#define MILLIS(member, l, h)  .type = GV__CONFIG_DURATION, AT(member), RANGE(l, h), .unit_ms = 1
#define SECONDS(member, l, h) \
    .type = GV__CONFIG_DURATION, AT(member), RANGE(l, h), .unit_ms = SECOND
#define TEXT(member)            .type = GV__CONFIG_TEXT, AT(member)
#define NAME(member)            .type = GV__CONFIG_NAME, AT(member)
#define CHOICE(member, words)   .type = GV__CONFIG_CHOICE, AT(member), .choices = (words)
#define ADDRESS(member, port)   .type = GV__CONFIG_ADDRESS, AT(member), .port_default = (port)
#define ADDRESSES(member, port) .type = GV__CONFIG_ADDRESSES, AT(member), .port_default = (port)
#define LISTENERS(member)       .type = GV__CONFIG_LISTENERS, AT(member)
#define USERS(member)           .type = GV__CONFIG_USERS, AT(member)
#define ON_RELOAD               .reloadable = true

/* clang-format off */
const gv__config_row_t gv__config_table[] = {
    {.key = "node.name", NAME(node.name), .fallback = "",
     .doc = "name of this node in status and to the other nodes; empty: the host name"},
    {.key = "node.data", TEXT(node.data), .fallback = "./grapevine-data",
     .doc = "directory of everything that survives a restart"},
    {.key = "node.shards", INTEGER(node.shards, 0, 256), .fallback = "0",
     .doc = "event loops that serve clients; 0: one per core"},
    {.key = "node.memory_max", SIZE(node.memory_max, 0, 64 * TIB), .fallback = "0", ON_RELOAD,
     .doc = "most memory of this node; less than that is left, and it refuses what is new; 0: three quarters of the machine's or the container's"},

    {.key = "log.level", CHOICE(log.level, log_levels), .fallback = "info", ON_RELOAD,
     .doc = "the least severe messages that are written"},

    {.key = "listeners", LISTENERS(listeners),
     .fallback = "tcp://127.0.0.1:1883,tcp://[::1]:1883",
     .doc = "where clients connect: tcp:// tls:// ws:// wss:// unix://"},

    {.key = "tls.cert", TEXT(tls.cert), .fallback = "", ON_RELOAD,
     .doc = "PEM file with the certificate chain of tls:// and wss:// listeners"},
    {.key = "tls.key", TEXT(tls.key), .fallback = "", ON_RELOAD,
     .doc = "PEM file with its private key"},
    {.key = "tls.ca", TEXT(tls.ca), .fallback = "", ON_RELOAD,
     .doc = "PEM file with the authorities that client certificates are checked against"},
    {.key = "tls.verify_client", BOOL(tls.verify_client), .fallback = "false",
     .doc = "refuse clients without a certificate that tls.ca vouches for"},

    {.key = "auth.anonymous", CHOICE(auth.anonymous, anonymous), .fallback = "loopback",
     .doc = "clients without a login are allowed: on listeners of this machine only, on all (true), on none (false)"},
    {.key = "auth.scram", USERS(auth.scram), .fallback = "", ON_RELOAD,
     .doc = "users who log in, by SCRAM-SHA-256 or password, and their verifiers (`grapevine passwd` makes them)"},

    {.key = "cluster.name", NAME(cluster.name), .fallback = "grapevine",
     .doc = "nodes with another cluster name are refused"},
    {.key = "cluster.listen", ADDRESS(cluster.listen, 7883), .fallback = "",
     .doc = "HOST:PORT for the other nodes; empty: this node is alone"},
    {.key = "cluster.advertise", ADDRESS(cluster.advertise, 7883), .fallback = "",
     .doc = "HOST:PORT where the others reach this node; empty: cluster.listen, or the host name if that is a wildcard"},
    {.key = "cluster.seeds", ADDRESSES(cluster.seeds, 7883), .fallback = "",
     .doc = "some nodes to ask for the others when starting; this node may be among them"},
    {.key = "cluster.secret", TEXT(cluster.secret), .fallback = "",
     .doc = "shared secret that every node of the cluster has to know"},
    {.key = "cluster.secret_file", TEXT(cluster.secret_file), .fallback = "",
     .doc = "file to read the secret from, instead of cluster.secret"},
    {.key = "cluster.insecure", BOOL(cluster.insecure), .fallback = "false",
     .doc = "allow a cluster without a secret beyond this machine"},
    {.key = "cluster.heartbeat_ms", MILLIS(cluster.heartbeat_ms, 10, 60 * SECOND), .fallback = "250",
     .doc = "how often linked nodes send each other a sign of life"},
    {.key = "cluster.suspect_after_ms", MILLIS(cluster.suspect_after_ms, 20, 600 * SECOND), .fallback = "1000",
     .doc = "silence after which a node is suspected"},
    {.key = "cluster.dead_after_ms", MILLIS(cluster.dead_after_ms, 40, HOUR), .fallback = "2500",
     .doc = "silence after which a node that nobody else hears is dead"},
    {.key = "cluster.suback_wait_ms", MILLIS(cluster.suback_wait_ms, 0, 60 * SECOND), .fallback = "500",
     .doc = "longest wait for the other nodes to confirm a subscription before its SUBACK"},
    {.key = "cluster.claim_wait_ms", MILLIS(cluster.claim_wait_ms, 0, 60 * SECOND), .fallback = "500",
     .doc = "longest wait of a CONNECT until an older connection of its client id on another node is closed"},
    {.key = "cluster.ready_wait_ms", MILLIS(cluster.ready_wait_ms, 0, 10 * 60 * SECOND), .fallback = "5000",
     .doc = "longest wait, at the start, for the routes of the other nodes before clients are taken; 0: none"},
    {.key = "cluster.forget_after", SECONDS(cluster.forget_after_ms, 60 * SECOND, 3650 * DAY), .fallback = "24h",
     .doc = "time after which a dead node is forgotten"},
    {.key = "cluster.outbox_bytes_max", SIZE(cluster.outbox_bytes_max, 0, TIB), .fallback = "1GiB",
     .doc = "messages kept on disk for a node that is away; more are refused"},
    {.key = "cluster.spool_after_ms", MILLIS(cluster.spool_after_ms, 0, HOUR), .fallback = "200",
     .doc = "time without any confirmation after which what is on its way to a node is kept on disk too; 0: not before it is dead"},

    {.key = "admin.listen", ADDRESS(admin.listen, 18083), .fallback = "127.0.0.1:18083",
     .doc = "HOST:PORT of the admin HTTP server; empty: none"},
    {.key = "admin.token", TEXT(admin.token), .fallback = "", ON_RELOAD,
     .doc = "token that admin requests from other machines have to bring; empty: they are refused"},
    {.key = "admin.token_always", BOOL(admin.token_always), .fallback = "false",
     .doc = "ask this machine for the token too, for example because a reverse proxy runs on it"},

    {.key = "mqtt.packet_size_max", SIZE(mqtt.packet_size_max, 64, 256 * MIB), .fallback = "1MiB", ON_RELOAD,
     .doc = "largest packet taken from a client"},
    {.key = "mqtt.connect_size_max", SIZE(mqtt.connect_size_max, 64, 256 * MIB), .fallback = "8KiB", ON_RELOAD,
     .doc = "largest packet taken before a client is connected"},
    {.key = "mqtt.topic_levels_max", INTEGER(mqtt.topic_levels_max, 1, 65535), .fallback = "128", ON_RELOAD,
     .doc = "most levels in a topic or filter"},
    {.key = "mqtt.topic_size_max", SIZE(mqtt.topic_size_max, 1, 65535), .fallback = "65535", ON_RELOAD,
     .doc = "longest topic or filter"},
    {.key = "mqtt.client_id_size_max", SIZE(mqtt.client_id_size_max, 23, 65535), .fallback = "1024", ON_RELOAD,
     .doc = "longest client id"},
    {.key = "mqtt.subscriptions_max", INTEGER(mqtt.subscriptions_max, 1, 100000000), .fallback = "100000", ON_RELOAD,
     .doc = "most subscriptions of one session"},
    {.key = "mqtt.sessions_max", INTEGER(mqtt.sessions_max, 0, 1000000000000), .fallback = "0", ON_RELOAD,
     .doc = "most sessions of this node, with and without a connection; new ones are refused; 0: no limit"},
    {.key = "mqtt.keepalive_max", SECONDS(mqtt.keepalive_max_ms, 0, 65535 * SECOND), .fallback = "0", ON_RELOAD,
     .doc = "longest keep-alive a client gets; 0: what it asks for"},
    {.key = "mqtt.receive_max", INTEGER(mqtt.receive_max, 1, 65535), .fallback = "1024", ON_RELOAD,
     .doc = "unacknowledged QoS 1 and 2 messages a client may have sent us"},
    {.key = "mqtt.inflight_max", INTEGER(mqtt.inflight_max, 1, 65535), .fallback = "256", ON_RELOAD,
     .doc = "unacknowledged QoS 1 and 2 messages we send to a client"},
    {.key = "mqtt.topic_alias_max", INTEGER(mqtt.topic_alias_max, 0, 65535), .fallback = "64", ON_RELOAD,
     .doc = "topic aliases a client may use; 0: none"},
    {.key = "mqtt.topic_alias_send_max", INTEGER(mqtt.topic_alias_send_max, 0, 1024), .fallback = "32", ON_RELOAD,
     .doc = "topic aliases we use to a client that takes so many; 0: none"},
    {.key = "mqtt.topic_alias_bytes_max", SIZE(mqtt.topic_alias_bytes_max, KIB, GIB), .fallback = "64KiB", ON_RELOAD,
     .doc = "topics behind the aliases of one connection, each way; a client that sends more is disconnected"},
    {.key = "mqtt.topic_alias_memory_max", SIZE(mqtt.topic_alias_memory_max, 64 * KIB, TIB), .fallback = "64MiB", ON_RELOAD,
     .doc = "memory of the topic aliases of all connections"},
    {.key = "mqtt.queue_messages_max", INTEGER(mqtt.queue_messages_max, 1, 1000000000), .fallback = "100000", ON_RELOAD,
     .doc = "most messages waiting for one session in memory: one that ends with its connection"},
    {.key = "mqtt.queue_bytes_max", SIZE(mqtt.queue_bytes_max, KIB, TIB), .fallback = "64MiB", ON_RELOAD,
     .doc = "most bytes waiting for it"},
    {.key = "mqtt.queue_policy", CHOICE(mqtt.queue_policy, queue_policies), .fallback = "drop_oldest", ON_RELOAD,
     .doc = "what happens when that is reached"},
    {.key = "mqtt.output_bytes_max", SIZE(mqtt.output_bytes_max, 4 * KIB, GIB), .fallback = "8MiB", ON_RELOAD,
     .doc = "most bytes waiting to be written to one connection"},
    {.key = "mqtt.slow_reader_timeout", SECONDS(mqtt.slow_reader_timeout_ms, SECOND, HOUR), .fallback = "30s", ON_RELOAD,
     .doc = "a client that takes no byte for so long while some wait is disconnected"},
    {.key = "mqtt.connect_timeout", SECONDS(mqtt.connect_timeout_ms, 100, HOUR), .fallback = "10s", ON_RELOAD,
     .doc = "time from the connection to the end of CONNECT"},
    {.key = "mqtt.connect_rate", INTEGER(mqtt.connect_rate, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "clients that may connect per second to this node, more are refused; 0: no limit"},
    {.key = "mqtt.connect_burst", INTEGER(mqtt.connect_burst, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "how many of them may come at once; 0: those of one second"},
    {.key = "mqtt.client_messages_rate", INTEGER(mqtt.client_messages_rate, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "messages a client may publish per second before it is slowed; 0: no limit"},
    {.key = "mqtt.client_messages_burst", INTEGER(mqtt.client_messages_burst, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "how many of them may come at once; 0: those of one second"},
    {.key = "mqtt.client_bytes_rate", SIZE(mqtt.client_bytes_rate, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "bytes a client may send per second before it is slowed; 0: no limit"},
    {.key = "mqtt.client_bytes_burst", SIZE(mqtt.client_bytes_burst, 0, RATE_MAX), .fallback = "0", ON_RELOAD,
     .doc = "how many of them may come at once; 0: those of one second"},
    {.key = "mqtt.session_expiry_max", SECONDS(mqtt.session_expiry_max_ms, 0, 36500 * DAY), .fallback = "0", ON_RELOAD,
     .doc = "longest life of a session without a connection; 0: what the client asks for"},
    {.key = "mqtt.retain_available", BOOL(mqtt.retain_available), .fallback = "true", ON_RELOAD,
     .doc = "retained messages are kept"},
    {.key = "mqtt.retained_messages_max", INTEGER(mqtt.retained_messages_max, 0, 1000000000), .fallback = "5000000", ON_RELOAD,
     .doc = "most retained messages of the node; 0: no limit"},
    {.key = "mqtt.retained_bytes_max", SIZE(mqtt.retained_bytes_max, 0, TIB), .fallback = "2GiB", ON_RELOAD,
     .doc = "most memory of retained messages; 0: no limit"},
    {.key = "mqtt.payload_format_check", BOOL(mqtt.payload_format_check), .fallback = "true", ON_RELOAD,
     .doc = "refuse a payload whose format indicator says UTF-8 when it is not"},
    {.key = "mqtt.overlaps", CHOICE(mqtt.overlaps, overlaps), .fallback = "merge", ON_RELOAD,
     .doc = "when several subscriptions of a client match: one message with all their identifiers, or one for each"},
    {.key = "mqtt.sys_interval", SECONDS(mqtt.sys_interval_ms, 0, HOUR), .fallback = "10s", ON_RELOAD,
     .doc = "how often $SYS/broker topics are published; 0: never"},
    {.key = "mqtt.client_events", BOOL(mqtt.client_events), .fallback = "true", ON_RELOAD,
     .doc = "tell on $SYS/brokers/NODE/clients/CLIENTID/connected and disconnected who comes and goes"},

    {.key = "drain.server_reference", TEXT(drain.server_reference), .fallback = "", ON_RELOAD,
     .doc = "where clients are sent when this node is drained or stopped, as HOST:PORT; empty: nowhere in particular"},
    {.key = "drain.server_moved", BOOL(drain.server_moved), .fallback = "false", ON_RELOAD,
     .doc = "they are told to stay there (server moved) instead of for now (use another server)"},
    {.key = "drain.clients_per_second", INTEGER(drain.clients_per_second, 0, RATE_MAX), .fallback = "500", ON_RELOAD,
     .doc = "how many are sent away per second; 0: all at once"},
    {.key = "drain.stop_timeout", SECONDS(drain.stop_timeout_ms, 100, HOUR), .fallback = "5s", ON_RELOAD,
     .doc = "time that SIGTERM gives clients to go; if need be more go per second"},

    {.key = "storage.sync", CHOICE(storage.sync, storage_syncs), .fallback = "commit",
     .doc = "acknowledged messages are on the disk: always, up to a bounded time ago, or some time"},
    {.key = "storage.sync_interval", MILLIS(storage.sync_interval_ms, 10, HOUR), .fallback = "1s",
     .doc = "how often the disk is synced with sync = interval"},
    {.key = "storage.map_size", SIZE(storage.map_size, 16 * MIB, 64 * TIB), .fallback = "16GiB",
     .doc = "most disk space of the store; reserved as addresses, not as disk"},
    {.key = "storage.reserve", SIZE(storage.reserve, 0, 64 * TIB), .fallback = "0",
     .doc = "part of map_size, and of the disk up to 64MiB, that new messages may not use; 0: the larger of 64MiB and 5 %"},
    {.key = "storage.queue_messages_max", INTEGER(storage.queue_messages_max, 1, 50000000), .fallback = "10000000", ON_RELOAD,
     .doc = "most messages waiting for one session that is stored; then mqtt.queue_policy"},
    {.key = "storage.queue_bytes_max", SIZE(storage.queue_bytes_max, KIB, 64 * TIB), .fallback = "4GiB", ON_RELOAD,
     .doc = "most bytes waiting for it"},
    {.key = "storage.ballast", SIZE(storage.ballast, 0, TIB), .fallback = "16MiB",
     .doc = "a file that is deleted when the disk is full, to have room to deliver what waits; 0: none"},
};
/* clang-format on */

const size_t gv__config_table_count = sizeof(gv__config_table) / sizeof(gv__config_table[0]);

const gv__config_row_t *gv__config_find(const char *key)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        if (strcmp(gv__config_table[i].key, key) == 0) {
            return &gv__config_table[i];
        }
    }
    return NULL;
}

const gv__config_row_t *gv__config_find_users(const char *key, const char **name_out)
{
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const gv__config_row_t *row = &gv__config_table[i];
        size_t size = strlen(row->key);
        if (row->type == GV__CONFIG_USERS && strncmp(key, row->key, size) == 0 &&
            key[size] == '.') {
            *name_out = key + size + 1;
            return row;
        }
    }
    *name_out = NULL;
    return NULL;
}

/* ---- did you mean ------------------------------------------------------------------------- */

#define KEY_SIZE_MAX 48

/* Levenshtein's distance; both texts are shorter than KEY_SIZE_MAX. */
static size_t distance(const char *a, const char *b)
{
    size_t row[KEY_SIZE_MAX];
    size_t b_size = strlen(b);
    for (size_t j = 0; j <= b_size; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_size; j++) {
            size_t best = diagonal + (a[i] == b[j] ? 0 : 1);
            best = row[j] + 1 < best ? row[j] + 1 : best;
            best = row[j + 1] + 1 < best ? row[j + 1] + 1 : best;
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    return row[b_size];
}

static const char *last_part(const char *key)
{
    const char *dot = strrchr(key, '.');
    return dot != NULL ? dot + 1 : key;
}

const char *gv__config_suggest(const char *key)
{
    if (strlen(key) >= KEY_SIZE_MAX) {
        return NULL;
    }
    /* A third of the letters may be wrong: what is further away is another word. */
    size_t nearest = strlen(key) / 3 + 1;
    const char *found = NULL;
    for (size_t i = 0; i < gv__config_table_count; i++) {
        const char *candidate = gv__config_table[i].key;
        /* The right name in the wrong section is nearer than any other word. */
        size_t here =
            strcmp(last_part(candidate), last_part(key)) == 0 ? 0 : distance(key, candidate);
        if (here < nearest) {
            nearest = here;
            found = candidate;
        }
    }
    return found;
}
