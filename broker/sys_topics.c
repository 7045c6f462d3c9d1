/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/sys_topics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum {
    VALUE_SIZE = 48,
    TOPICS_MAX = 80,
    LOADS = 9,
    SPANS = 3
};

/* A counter whose growth per minute is averaged. */
typedef struct load {
    uint64_t last;
    double average[SPANS];
} load_t;

struct gv_sys_topics {
    char values[TOPICS_MAX][VALUE_SIZE]; /* as published last, in the order of the report */
    load_t loads[LOADS];
    uint64_t last_ms; /* 0: never */
    uint64_t clients_maximum;
    uint64_t memory_maximum;
    uint64_t messages_sent; /* of the report under way: PUBLISH of all QoS */
};

/* One report under way. */
typedef struct report {
    gv_sys_topics_t *topics;
    const gv_status_t *status;
    gv_sys_topic_cb_t *on_topic;
    void *arg;
    size_t next;
} report_t;

void gv_sys_topics_new(gv_sys_topics_t **topics_out)
{
    *topics_out = GV_NEW(gv_sys_topics_t);
}

void gv_sys_topics_free(gv_sys_topics_t **topicsp)
{
    gv_free(*topicsp);
    *topicsp = NULL;
}

static void put(report_t *report, const char *name, const char *value)
{
    GV_ASSERT(report->next < TOPICS_MAX);
    char *last = report->topics->values[report->next++];
    if (strcmp(last, value) == 0) {
        return;
    }
    (void)snprintf(last, VALUE_SIZE, "%s", value);
    char topic[128];
    int size = snprintf(topic, sizeof(topic), "$SYS/broker/%s", name);
    report->on_topic(gv_bytes(topic, (size_t)size), gv_bytes_text(last), report->arg);
}

static void put_number(report_t *report, const char *name, uint64_t number)
{
    char value[VALUE_SIZE];
    (void)snprintf(value, sizeof(value), "%llu", (unsigned long long)number);
    put(report, name, value);
}

static uint64_t sum_of(const uint64_t by_qos[3])
{
    return by_qos[0] + by_qos[1] + by_qos[2];
}

static uint64_t sum_of_drops(const gv_status_t *status)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < status->drop_count; i++) {
        sum += status->drops[i].count;
    }
    return sum;
}

static uint64_t counter_of(const gv_status_t *status, const char *name)
{
    for (size_t i = 0; i < status->counter_count; i++) {
        if (strcmp(status->counters[i].name, name) == 0) {
            return status->counters[i].value;
        }
    }
    return 0;
}

/* As Mosquitto has it, these are packets of all kinds. */
static uint64_t packets_received(const gv_status_t *status)
{
    return counter_of(status, "packets_received_total");
}

static uint64_t packets_sent(const gv_status_t *status)
{
    return sum_of(status->sent) + counter_of(status, "answers_sent_total");
}

static void put_clients(report_t *report)
{
    const gv_status_t *status = report->status;
    gv_sys_topics_t *topics = report->topics;
    uint64_t offline = status->sessions - status->connections;
    if (status->connections > topics->clients_maximum) {
        topics->clients_maximum = status->connections;
    }
    put_number(report, "clients/total", status->sessions);
    put_number(report, "clients/connected", status->connections);
    put_number(report, "clients/active", status->connections);
    put_number(report, "clients/disconnected", offline);
    put_number(report, "clients/inactive", offline);
    put_number(report, "clients/maximum", topics->clients_maximum);
    put_number(report, "clients/expired", counter_of(status, "sessions_expired_total"));
    put_number(report, "clients/refused", status->connections_refused);
    put_number(report, "clients/rate_refused", counter_of(status, "connects_rate_refused_total"));
    put_number(report, "clients/paced", counter_of(status, "publishers_paced_total"));
}

static void put_messages(report_t *report)
{
    const gv_status_t *status = report->status;
    uint64_t stored = status->queued_messages + status->retained;
    put_number(report, "messages/received", packets_received(status));
    put_number(report, "messages/sent", packets_sent(status));
    put_number(report, "messages/stored", stored);
    put_number(report, "publish/messages/received", sum_of(status->received));
    put_number(report, "publish/messages/sent", sum_of(status->sent));
    put_number(report, "publish/messages/dropped", sum_of_drops(status));
    put_number(report, "publish/bytes/received",
               counter_of(status, "received_payload_bytes_total"));
    put_number(report, "publish/bytes/sent", counter_of(status, "sent_payload_bytes_total"));
    put_number(report, "bytes/received", status->received_bytes);
    put_number(report, "bytes/sent", status->sent_bytes);
    put_number(report, "subscriptions/count", status->subscriptions);
    put_number(report, "shared_subscriptions/count", counter_of(status, "shared_subscriptions"));
    put_number(report, "retained messages/count", status->retained);
    put_number(report, "store/messages/count", stored);
    put_number(report, "store/messages/bytes",
               status->log.queued_bytes + counter_of(status, "retained_bytes"));
    gv_sys_topics_t *topics = report->topics;
    if (status->memory.in_use_bytes > topics->memory_maximum) {
        topics->memory_maximum = status->memory.in_use_bytes;
    }
    put_number(report, "heap/current", status->memory.in_use_bytes);
    put_number(report, "heap/maximum", topics->memory_maximum);
}

static void advance(load_t *load, uint64_t now, double minutes)
{
    static const double spans[SPANS] = {1, 5, 15};
    double per_minute = (double)(now - load->last) / minutes;
    load->last = now;
    for (int i = 0; i < SPANS; i++) {
        double weight = exp(-minutes / spans[i]);
        load->average[i] = per_minute + (load->average[i] - per_minute) * weight;
    }
}

static void put_loads(report_t *report, uint64_t now_ms)
{
    const gv_status_t *status = report->status;
    const struct {
        const char *name;
        uint64_t now;
    } loads[LOADS] = {
        {"messages/received", packets_received(status)},
        {"messages/sent", packets_sent(status)},
        {"publish/received", sum_of(status->received)},
        {"publish/sent", sum_of(status->sent)},
        {"publish/dropped", sum_of_drops(status)},
        {"bytes/received", status->received_bytes},
        {"bytes/sent", status->sent_bytes},
        {"sockets", status->connections_total + status->connections_refused},
        {"connections", status->connections_total},
    };
    gv_sys_topics_t *topics = report->topics;
    double minutes = (double)(now_ms - topics->last_ms) / 60000.0;
    for (int i = 0; i < LOADS; i++) {
        load_t *load = &topics->loads[i];
        if (topics->last_ms == 0) {
            load->last = loads[i].now;
        } else if (minutes > 0) {
            advance(load, loads[i].now, minutes);
        }
        static const char *const spans[SPANS] = {"1min", "5min", "15min"};
        for (int s = 0; s < SPANS; s++) {
            char name[64];
            char value[VALUE_SIZE];
            (void)snprintf(name, sizeof(name), "load/%s/%s", loads[i].name, spans[s]);
            (void)snprintf(value, sizeof(value), "%.2f", load->average[s]);
            put(report, name, value);
        }
    }
    topics->last_ms = now_ms;
}

void gv_sys_topics_report(gv_sys_topics_t *topics, const gv_status_t *status, uint64_t now_ms,
                          gv_sys_topic_cb_t *on_topic, void *arg)
{
    GV_ASSERT(on_topic != NULL);
    report_t report = {.topics = topics, .status = status, .on_topic = on_topic, .arg = arg};
    char value[VALUE_SIZE];
    (void)snprintf(value, sizeof(value), "grapevine version %s", status->version);
    put(&report, "version", value);
    (void)snprintf(value, sizeof(value), "%llu seconds",
                   (unsigned long long)(status->uptime_ms / 1000));
    put(&report, "uptime", value);
    put_clients(&report);
    put_messages(&report);
    put_loads(&report, now_ms);
}
