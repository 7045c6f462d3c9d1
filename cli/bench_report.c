/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_report.h"

#include "cli/admin_command.h"

/*
 * A map of this file: numbers - the parts of the JSON - the text.
 */

/* ---- numbers ------------------------------------------------------------------------------ */

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return to_ns > from_ns ? (double)(to_ns - from_ns) / 1e9 : 0;
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static void set_number(json_t *object, const char *key, double value)
{
    (void)json_object_set_new(object, key, json_real(value));
}

static void set_count(json_t *object, const char *key, uint64_t value)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

static double micros(uint64_t ns)
{
    return (double)ns / 1000;
}

/* Nothing when nothing was measured. */
static void set_quantiles(json_t *object, const char *key, const gv_bench_histogram_t *histogram)
{
    if (gv_bench_histogram_count(histogram) == 0) {
        return;
    }
    json_t *values = json_object();
    set_number(values, "p50", micros(gv_bench_histogram_quantile(histogram, 500)));
    set_number(values, "p90", micros(gv_bench_histogram_quantile(histogram, 900)));
    set_number(values, "p99", micros(gv_bench_histogram_quantile(histogram, 990)));
    set_number(values, "p99.9", micros(gv_bench_histogram_quantile(histogram, 999)));
    set_number(values, "max", micros(gv_bench_histogram_max(histogram)));
    set_count(values, "count", gv_bench_histogram_count(histogram));
    (void)json_object_set_new(object, key, values);
}

/* ---- the parts of the JSON ---------------------------------------------------------------- */

static json_t *setting_part(const gv_bench_options_t *options)
{
    json_t *part = json_object();
    (void)json_object_set_new(part, "protocol",
                              json_string(gv_mqtt_version_text(options->version)));
    set_count(part, "publishers", options->publishers);
    set_count(part, "subscribers", options->subscribers);
    set_count(part, "qos", options->qos);
    set_count(part, "size", options->payload_size);
    set_count(part, "window", options->window);
    set_count(part, "rate", options->rate);
    set_count(part, "threads", options->threads);
    return part;
}

static json_t *connections_part(const gv_bench_result_t *result)
{
    const gv_bench_counts_t *counts = &result->samples[GV_BENCH_AT_END].counts;
    json_t *part = json_object();
    double span = (double)result->connected_ns / 1e9;
    set_count(part, "wanted", result->wanted);
    set_count(part, "connected", counts->connected);
    set_count(part, "failed", counts->connect_failed);
    set_count(part, "lost", counts->disconnected);
    set_number(part, "seconds", span);
    set_number(part, "per_second", ratio((double)counts->connected, span));
    set_quantiles(part, "latency_us", &result->histograms.connect);
    return part;
}

static json_t *subscriptions_part(const gv_bench_result_t *result)
{
    const gv_bench_counts_t *counts = &result->samples[GV_BENCH_AT_READY].counts;
    json_t *part = json_object();
    double span =
        seconds(result->samples[GV_BENCH_AT_START].at_ns, result->samples[GV_BENCH_AT_READY].at_ns);
    set_count(part, "wanted", result->filters);
    set_count(part, "granted", counts->filters);
    set_count(part, "refused", counts->filters_refused);
    set_number(part, "seconds", span);
    set_number(part, "per_second", ratio((double)counts->filters, span));
    return part;
}

static json_t *messages_part(const gv_bench_result_t *result)
{
    const gv_bench_counts_t *from = &result->samples[GV_BENCH_AT_FROM].counts;
    const gv_bench_counts_t *to = &result->samples[GV_BENCH_AT_TO].counts;
    const gv_bench_counts_t *end = &result->samples[GV_BENCH_AT_END].counts;
    double span =
        seconds(result->samples[GV_BENCH_AT_FROM].at_ns, result->samples[GV_BENCH_AT_TO].at_ns);
    json_t *part = json_object();
    set_number(part, "seconds", span);
    set_number(part, "sent_per_second", ratio((double)(to->sent - from->sent), span));
    set_number(part, "received_per_second", ratio((double)(to->received - from->received), span));
    set_number(part, "acknowledged_per_second", ratio((double)(to->acked - from->acked), span));
    set_count(part, "sent", end->sent);
    set_count(part, "acknowledged", end->acked);
    set_count(part, "refused", end->refused);
    set_count(part, "received", end->received);
    set_count(part, "lost", result->lost);
    set_count(part, "duplicates", end->duplicates);
    set_count(part, "late", end->late);
    set_count(part, "strays", end->strays);
    set_quantiles(part, "latency_us", &result->histograms.latency);
    set_quantiles(part, "acknowledge_us", &result->histograms.ack);
    set_quantiles(part, "sending_lag_us", &result->histograms.lag);
    return part;
}

/* From the beginning of the measurement until everything has arrived. */
static double cpu_us_per_message(const gv_bench_result_t *result, uint64_t from_cpu_ns,
                                 uint64_t end_cpu_ns)
{
    uint64_t received = result->samples[GV_BENCH_AT_END].counts.received -
                        result->samples[GV_BENCH_AT_FROM].counts.received;
    return ratio(seconds(from_cpu_ns, end_cpu_ns) * 1e6, (double)received);
}

static json_t *broker_part(const gv_bench_options_t *options, const gv_bench_result_t *result)
{
    const gv_bench_sample_t *start = &result->samples[GV_BENCH_AT_START];
    const gv_bench_sample_t *ready = &result->samples[GV_BENCH_AT_READY];
    const gv_bench_sample_t *from = &result->samples[GV_BENCH_AT_FROM];
    const gv_bench_sample_t *to = &result->samples[GV_BENCH_AT_TO];
    const gv_bench_sample_t *end = &result->samples[GV_BENCH_AT_END];
    json_t *part = json_object();
    set_count(part, "threads", end->broker.threads);
    set_count(part, "rss_start", start->broker.rss_bytes);
    set_count(part, "rss_ready", ready->broker.rss_bytes);
    set_count(part, "rss_end", end->broker.rss_bytes);
    double grown = (double)ready->broker.rss_bytes - (double)start->broker.rss_bytes;
    if (options->scenario == GV_BENCH_SUBS) {
        set_number(part, "bytes_per_subscription", ratio(grown, (double)ready->counts.filters));
        set_number(part, "cpu_us_per_subscription",
                   ratio(seconds(start->broker.cpu_ns, ready->broker.cpu_ns) * 1e6,
                         (double)ready->counts.filters));
    } else if (!gv_bench_has_messages(options)) {
        set_number(part, "bytes_per_connection", ratio(grown, (double)ready->counts.connected));
        set_number(part, "cpu_us_per_connection",
                   ratio(seconds(start->broker.cpu_ns, ready->broker.cpu_ns) * 1e6,
                         (double)ready->counts.connected));
    }
    double used = seconds(from->broker.cpu_ns, to->broker.cpu_ns);
    set_number(part, "cpu_percent", 100 * ratio(used, seconds(from->at_ns, to->at_ns)));
    if (gv_bench_has_messages(options) && options->subscribers > 0) {
        set_number(part, "cpu_us_per_message",
                   cpu_us_per_message(result, from->broker.cpu_ns, end->broker.cpu_ns));
    }
    return part;
}

static json_t *generator_part(const gv_bench_options_t *options, const gv_bench_result_t *result)
{
    const gv_bench_sample_t *from = &result->samples[GV_BENCH_AT_FROM];
    const gv_bench_sample_t *to = &result->samples[GV_BENCH_AT_TO];
    const gv_bench_sample_t *end = &result->samples[GV_BENCH_AT_END];
    json_t *part = json_object();
    double used = seconds(from->own_cpu_ns, to->own_cpu_ns);
    set_number(part, "cpu_percent", 100 * ratio(used, seconds(from->at_ns, to->at_ns)));
    if (gv_bench_has_messages(options) && options->subscribers > 0) {
        set_number(part, "cpu_us_per_message",
                   cpu_us_per_message(result, from->own_cpu_ns, end->own_cpu_ns));
    }
    return part;
}

json_t *gv_bench_report_json(const gv_bench_options_t *options, const gv_bench_result_t *result)
{
    json_t *report = json_object();
    (void)json_object_set_new(report, "scenario",
                              json_string(gv_bench_scenario_name(options->scenario)));
    (void)json_object_set_new(report, "setting", setting_part(options));
    (void)json_object_set_new(report, "connections", connections_part(result));
    if (result->filters > 0) {
        (void)json_object_set_new(report, "subscriptions", subscriptions_part(result));
    }
    if (gv_bench_has_messages(options)) {
        (void)json_object_set_new(report, "messages", messages_part(result));
    }
    if (options->pid_count > 0) {
        (void)json_object_set_new(report, "broker", broker_part(options, result));
    }
    (void)json_object_set_new(report, "generator", generator_part(options, result));
    (void)json_object_set_new(report, "interrupted", json_boolean(result->is_interrupted));
    if (result->problem[0] != '\0') {
        (void)json_object_set_new(report, "problem", json_string(result->problem));
    }
    return report;
}

/* ---- the text ----------------------------------------------------------------------------- */

static double real_at(const json_t *report, const char *path)
{
    return json_number_value(gv_json_at(report, path));
}

static void print_quantiles(const json_t *part, const char *key, const char *name, gv_text_t *out)
{
    const json_t *values = json_object_get(part, key);
    if (values == NULL) {
        return;
    }
    gv_text_add(out, "  %-14s", name);
    static const char *const columns[] = {"p50", "p90", "p99", "p99.9", "max"};
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]); i++) {
        gv_text_add(out, "  %s %.1f", columns[i],
                    json_number_value(json_object_get(values, columns[i])));
    }
    gv_text_add(out, " us\n");
}

static void print_messages(const json_t *report, gv_text_t *out)
{
    const json_t *part = json_object_get(report, "messages");
    if (part == NULL) {
        return;
    }
    gv_text_add(out, "messages: %.0f sent/s, %.0f acknowledged/s, %.0f received/s in %.1f s\n",
                real_at(part, "sent_per_second"), real_at(part, "acknowledged_per_second"),
                real_at(part, "received_per_second"), real_at(part, "seconds"));
    gv_text_add(out,
                "  sent %lld  acknowledged %lld  refused %lld  received %lld  lost %lld  "
                "duplicates %lld  late %lld  strays %lld\n",
                gv_json_number(part, "sent"), gv_json_number(part, "acknowledged"),
                gv_json_number(part, "refused"), gv_json_number(part, "received"),
                gv_json_number(part, "lost"), gv_json_number(part, "duplicates"),
                gv_json_number(part, "late"), gv_json_number(part, "strays"));
    print_quantiles(part, "latency_us", "latency", out);
    print_quantiles(part, "acknowledge_us", "acknowledged", out);
    print_quantiles(part, "sending_lag_us", "sent late by", out);
}

static void print_if_there(const json_t *part, const char *key, int digits, const char *unit,
                           gv_text_t *out)
{
    const json_t *value = json_object_get(part, key);
    if (value != NULL) {
        gv_text_add(out, ", %.*f %s", digits, json_number_value(value), unit);
    }
}

static void print_broker(const json_t *report, gv_text_t *out)
{
    const json_t *part = json_object_get(report, "broker");
    if (part == NULL) {
        return;
    }
    gv_text_add(out, "broker: %.0f %% CPU, %.1f MiB", real_at(part, "cpu_percent"),
                real_at(part, "rss_end") / 1048576);
    print_if_there(part, "cpu_us_per_message", 3, "us per message received", out);
    print_if_there(part, "cpu_us_per_connection", 1, "us per connection", out);
    print_if_there(part, "bytes_per_connection", 0, "bytes per connection", out);
    print_if_there(part, "cpu_us_per_subscription", 2, "us per subscription", out);
    print_if_there(part, "bytes_per_subscription", 0, "bytes per subscription", out);
    gv_text_add(out, "\n");
}

void gv_bench_report_print(const json_t *report, gv_text_t *out)
{
    gv_text_add(out, "%s: %lld connections in %.3f s (%.0f/s), %lld failed, %lld lost\n",
                gv_json_text(report, "scenario"), gv_json_number(report, "connections.connected"),
                real_at(report, "connections.seconds"), real_at(report, "connections.per_second"),
                gv_json_number(report, "connections.failed"),
                gv_json_number(report, "connections.lost"));
    print_quantiles(json_object_get(report, "connections"), "latency_us", "CONNACK after", out);
    if (json_object_get(report, "subscriptions") != NULL) {
        gv_text_add(out, "subscriptions: %lld in %.3f s (%.0f/s), %lld refused\n",
                    gv_json_number(report, "subscriptions.granted"),
                    real_at(report, "subscriptions.seconds"),
                    real_at(report, "subscriptions.per_second"),
                    gv_json_number(report, "subscriptions.refused"));
    }
    print_messages(report, out);
    print_broker(report, out);
    gv_text_add(out, "generator: %.0f %% CPU", real_at(report, "generator.cpu_percent"));
    print_if_there(json_object_get(report, "generator"), "cpu_us_per_message", 3,
                   "us per message received", out);
    gv_text_add(out, "\n");
}
