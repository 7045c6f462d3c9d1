/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_options.h"

#include <string.h>

#include <getopt.h>

#include "base/alloc.h"
#include "base/hostport.h"
#include "base/text.h"
#include "cli/bench_message.h"
#include "cli/option_value.h"

/*
 * A map of this file: the scenarios and what they begin with - targets - one option after the
 * other - what must hold in the end - the help text.
 */

#define DEFAULT_TARGET "127.0.0.1:1883"

/* ---- the scenarios ------------------------------------------------------------------------ */

typedef struct scenario {
    const char *name;
    const char *about;
    uint32_t publishers;
    uint32_t subscribers;
    uint32_t duration_s;
} scenario_t;

static const scenario_t scenarios[] = {
    [GV_BENCH_CONNECTIONS] = {"connections", "connect as fast as possible, stay, disconnect", 0,
                              1000, 1},
    [GV_BENCH_IDLE] = {"idle", "connections with one subscription each that do nothing", 0, 1000,
                       5},
    [GV_BENCH_SUBS] = {"subs", "many different subscriptions", 0, 10, 1},
    [GV_BENCH_FAN_IN] = {"fan-in", "many publishers, each its own topic; subscribers get all", 100,
                         1, 5},
    [GV_BENCH_FAN_OUT] = {"fan-out", "one topic; each subscriber gets all", 1, 100, 5},
    [GV_BENCH_PAIRS] = {"pairs", "each publisher has one subscriber", 4, 4, 5},
    [GV_BENCH_SHARED] = {"shared", "the subscribers are one shared group", 4, 4, 5},
};

#define SCENARIO_COUNT (sizeof(scenarios) / sizeof(scenarios[0]))

const char *gv_bench_scenario_name(gv_bench_scenario_t scenario)
{
    GV_ASSERT((size_t)scenario < SCENARIO_COUNT);
    return scenarios[scenario].name;
}

static char *take_scenario(const char *name, gv_bench_options_t *out)
{
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        if (strcmp(scenarios[i].name, name) == 0) {
            out->scenario = (gv_bench_scenario_t)i;
            out->publishers = scenarios[i].publishers;
            out->subscribers = scenarios[i].subscribers;
            out->duration_s = scenarios[i].duration_s;
            return NULL;
        }
    }
    return gv_text_format("no scenario '%s'; grapevine bench --help lists them", name);
}

/* ---- targets ------------------------------------------------------------------------ */

static char *take_target(const char *name, const char *text, gv_bench_targets_t *targets)
{
    gv_hostport_t hostport;
    if (gv_hostport_parse(gv_bytes_text(text), 1883, &hostport) != GV_OK) {
        return gv_text_format("--%s: '%s' is not HOST or HOST:PORT", name, text);
    }
    if (targets->count == GV_BENCH_TARGETS_MAX) {
        return gv_text_format("--%s: more than %d", name, GV_BENCH_TARGETS_MAX);
    }
    targets->address[targets->count++] = text;
    return NULL;
}

/* ---- one option after the other ----------------------------------------------------------- */

/* Options with a number: where it goes and what it may be. */
typedef struct number_option {
    const char *name;
    size_t offset;
    uint32_t min;
    uint32_t max;
} number_option_t;

static const number_option_t numbers[] = {
    {"publishers", offsetof(gv_bench_options_t, publishers), 0, 100000},
    {"subscribers", offsetof(gv_bench_options_t, subscribers), 0, 1000000},
    {"connections", offsetof(gv_bench_options_t, subscribers), 1, 1000000},
    {"subscriptions", offsetof(gv_bench_options_t, subscriptions), 1, 100000000},
    {"wildcards", offsetof(gv_bench_options_t, wildcard_percent), 0, 100},
    {"batch", offsetof(gv_bench_options_t, batch), 1, 1000},
    {"size", offsetof(gv_bench_options_t, payload_size), GV_BENCH_STAMP_SIZE, 16777216},
    {"window", offsetof(gv_bench_options_t, window), 0, 65535},
    {"rate", offsetof(gv_bench_options_t, rate), 0, 100000000},
    {"duration", offsetof(gv_bench_options_t, duration_s), 0, 1000000},
    {"warm-up", offsetof(gv_bench_options_t, warmup_s), 0, 1000000},
    {"drain", offsetof(gv_bench_options_t, drain_s), 0, 1000000},
    {"threads", offsetof(gv_bench_options_t, threads), 1, 64},
    {"concurrency", offsetof(gv_bench_options_t, concurrency), 1, 100000},
};

#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

enum {
    OPTION_NUMBER = 1000, /* and its place in `numbers` */
    OPTION_TARGET = 2000,
    OPTION_PUB_TARGET,
    OPTION_SUB_TARGET,
    OPTION_QOS,
    OPTION_KEEP_ALIVE,
    OPTION_PROTOCOL,
    OPTION_USERNAME,
    OPTION_PASSWORD,
    OPTION_PID,
    OPTION_JSON,
    OPTION_QUIET,
    OPTION_PERSISTENT,
    OPTION_HELP,
};

static const struct option other_options[] = {
    {"target", required_argument, NULL, OPTION_TARGET},
    {"pub-target", required_argument, NULL, OPTION_PUB_TARGET},
    {"sub-target", required_argument, NULL, OPTION_SUB_TARGET},
    {"qos", required_argument, NULL, OPTION_QOS},
    {"keep-alive", required_argument, NULL, OPTION_KEEP_ALIVE},
    {"protocol", required_argument, NULL, OPTION_PROTOCOL},
    {"username", required_argument, NULL, OPTION_USERNAME},
    {"password", required_argument, NULL, OPTION_PASSWORD},
    {"broker-pid", required_argument, NULL, OPTION_PID},
    {"json", no_argument, NULL, OPTION_JSON},
    {"quiet", no_argument, NULL, OPTION_QUIET},
    {"persistent", no_argument, NULL, OPTION_PERSISTENT},
    {"help", no_argument, NULL, OPTION_HELP},
};

#define OTHER_COUNT (sizeof(other_options) / sizeof(other_options[0]))

static char *take_pid(gv_bench_options_t *out)
{
    if (out->pid_count == GV_BENCH_PIDS_MAX) {
        return gv_text_format("--broker-pid: more than %d", GV_BENCH_PIDS_MAX);
    }
    return gv_take_number("--broker-pid", optarg, 1, 0x7fffffff, &out->pids[out->pid_count++]);
}

static char *take_other(int code, gv_bench_options_t *out)
{
    uint32_t value = 0;
    char *problem = NULL;
    switch (code) {
    case OPTION_TARGET:
        problem = take_target("target", optarg, &out->targets[0]);
        return problem != NULL ? problem : take_target("target", optarg, &out->targets[1]);
    case OPTION_PUB_TARGET:
        return take_target("pub-target", optarg, &out->targets[0]);
    case OPTION_SUB_TARGET:
        return take_target("sub-target", optarg, &out->targets[1]);
    case OPTION_QOS:
        problem = gv_take_number("--qos", optarg, 0, 2, &value);
        out->qos = (uint8_t)value;
        return problem;
    case OPTION_KEEP_ALIVE:
        problem = gv_take_number("--keep-alive", optarg, 0, 65535, &value);
        out->keep_alive_s = (uint16_t)value;
        return problem;
    case OPTION_PROTOCOL:
        return gv_take_version("--protocol", optarg, &out->version);
    case OPTION_USERNAME:
        out->username = optarg;
        return NULL;
    case OPTION_PASSWORD:
        out->password = optarg;
        return NULL;
    case OPTION_PID:
        return take_pid(out);
    case OPTION_JSON:
        out->is_json = true;
        return NULL;
    case OPTION_QUIET:
        out->is_quiet = true;
        return NULL;
    case OPTION_PERSISTENT:
        out->is_persistent = true;
        return NULL;
    default:
        out->is_help = true;
        return NULL;
    }
}

static char *take_option(int code, const char *word, gv_bench_options_t *out)
{
    if (code == '?' || code == ':') {
        return gv_text_format("option '%s': %s; grapevine bench --help lists them", word,
                              code == ':' ? "needs a value" : "unknown or ambiguous");
    }
    if (code >= OPTION_NUMBER && code < OPTION_NUMBER + (int)NUMBER_COUNT) {
        const number_option_t *option = &numbers[code - OPTION_NUMBER];
        uint32_t *place = (uint32_t *)(void *)((char *)out + option->offset);
        char name[32];
        (void)snprintf(name, sizeof(name), "--%s", option->name);
        return gv_take_number(name, optarg, option->min, option->max, place);
    }
    return take_other(code, out);
}

static void all_options(struct option out[NUMBER_COUNT + OTHER_COUNT + 1])
{
    memset(out, 0, (NUMBER_COUNT + OTHER_COUNT + 1) * sizeof(*out));
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        out[i] = (struct option){
            .name = numbers[i].name, .has_arg = required_argument, .val = OPTION_NUMBER + (int)i};
    }
    memcpy(out + NUMBER_COUNT, other_options, sizeof(other_options));
}

/* ---- what must hold in the end ------------------------------------------------------------ */

static char *check(gv_bench_options_t *out)
{
    bool has_topics = out->scenario >= GV_BENCH_FAN_IN;
    /* With acknowledgements a publisher sees something: what sleeping sessions cost. */
    if (out->subscribers == 0 && (out->scenario != GV_BENCH_FAN_IN || out->qos == 0)) {
        return gv_xstrdup(
            "--subscribers 0: nobody would see anything (but of fan-in with --qos 1)");
    }
    if (has_topics && out->publishers == 0) {
        return gv_text_format("%s needs publishers", gv_bench_scenario_name(out->scenario));
    }
    if (!has_topics && out->publishers > 0 && out->scenario != GV_BENCH_SUBS) {
        return gv_text_format("%s has no publishers", gv_bench_scenario_name(out->scenario));
    }
    if (out->scenario == GV_BENCH_PAIRS && out->publishers != out->subscribers) {
        return gv_xstrdup("pairs needs as many publishers as subscribers");
    }
    if (out->scenario == GV_BENCH_SUBS && out->subscriptions < out->publishers) {
        return gv_xstrdup("subs with publishers needs a subscription for each of them");
    }
    if (out->qos > 0 && out->window == 0) {
        return gv_xstrdup("--window 0 is for QoS 0");
    }
    if (out->password != NULL && out->username == NULL) {
        return gv_xstrdup("--password without --username");
    }
    if (out->is_persistent && out->version != GV_MQTT_V5) {
        return gv_xstrdup("--persistent needs --protocol 5, where a session may end by itself");
    }
    return NULL;
}

static void set_defaults(gv_bench_options_t *out)
{
    *out = (gv_bench_options_t){
        .version = GV_MQTT_V311,
        .subscriptions = 10000,
        .wildcard_percent = 20,
        .batch = 100,
        .payload_size = 64,
        .window = UINT32_MAX, /* not said */
        .warmup_s = 1,
        .drain_s = 3,
        .threads = 1,
        .concurrency = 64,
        .keep_alive_s = 60,
    };
}

gv_err_t gv_bench_options_parse(int argc, char *const *argv, gv_bench_options_t *out,
                                char **problem_out)
{
    struct option options[NUMBER_COUNT + OTHER_COUNT + 1];
    all_options(options);
    set_defaults(out);
    char *problem = NULL;
    /* The scenario first, because it decides what the numbers are when they are not said. */
    bool is_word = argc > 1 && argv[1][0] != '-';
    if (is_word) {
        problem = take_scenario(argv[1], out);
    }
    optind = is_word ? 2 : 1;
    opterr = 0;
    while (problem == NULL) {
        const char *word = optind < argc ? argv[optind] : "";
        int code = getopt_long(argc, argv, "+:", options, NULL);
        if (code < 0) {
            break;
        }
        problem = take_option(code, word, out);
    }
    if (problem == NULL && !out->is_help && optind < argc) {
        problem = gv_text_format("'%s' is not an option", argv[optind]);
    }
    if (problem == NULL && !out->is_help && !is_word) {
        problem = gv_xstrdup("which scenario? grapevine bench --help lists them");
    }
    if (out->window == UINT32_MAX) {
        out->window = out->qos > 0 ? 64 : 0;
    }
    for (int i = 0; i < 2; i++) {
        if (out->targets[i].count == 0) {
            out->targets[i].address[out->targets[i].count++] = DEFAULT_TARGET;
        }
    }
    if (problem == NULL && !out->is_help) {
        problem = check(out);
    }
    *problem_out = problem;
    return problem == NULL ? GV_OK : GV_ERR_INVAL;
}

/* ---- the help text ------------------------------------------------------------------------ */

void gv_bench_print_help(FILE *out)
{
    (void)fputs("usage: grapevine bench SCENARIO [OPTION]...\n"
                "\n"
                "Puts load on a broker and measures it.  The scenarios:\n"
                "\n",
                out);
    for (size_t i = 0; i < SCENARIO_COUNT; i++) {
        (void)fprintf(out, "  %-12s %s\n", scenarios[i].name, scenarios[i].about);
    }
    (void)fputs(
        "\n"
        "Where:\n"
        "  --target HOST:PORT      a broker (127.0.0.1:1883); several: clients take turns\n"
        "  --pub-target HOST:PORT  for publishers only\n"
        "  --sub-target HOST:PORT  for subscribers and idle connections only\n"
        "  --protocol VERSION      3.1, 3.1.1 (default) or 5\n"
        "  --username U --password P\n"
        "  --broker-pid PID        read that process's CPU time and memory too; repeatable\n"
        "\n"
        "What:\n"
        "  --publishers N --subscribers N\n"
        "                          fan-in with acknowledgements goes without subscribers too: "
        "what\n"
        "                          sessions cost that sleep (grapevine sub -i ID -c -x 600 -t\n"
        "                          'bench/#' -q 1 -E)\n"
        "  --connections N         of connections and idle\n"
        "  --subscriptions N       of subs, spread over the subscribers (10000)\n"
        "  --wildcards PERCENT     of them with wildcards (20)\n"
        "  --batch N               filters in one SUBSCRIBE (100)\n"
        "  --qos 0|1|2             of messages and subscriptions (0)\n"
        "  --size BYTES            of the payload, at least 16 (64)\n"
        "  --persistent            the subscribers have persistent sessions (with --protocol 5)\n"
        "  --window N              messages of one publisher on the way: not acknowledged, or at\n"
        "                          QoS 0 not received by all (QoS 0: no limit; else 64)\n"
        "  --rate N                messages a second, all publishers together; latency is then\n"
        "                          counted from the time a message should have been sent\n"
        "                          (0: as fast as possible)\n"
        "\n"
        "How:\n"
        "  --warm-up S             seconds before the measurement (1)\n"
        "  --duration S            seconds of measurement, or of holding connections\n"
        "  --drain S               seconds without a message before the rest counts as lost (3)\n"
        "  --concurrency N         connections being made at a time (64)\n"
        "  --keep-alive S          (60)\n"
        "  --threads N             of the load generator (1)\n"
        "  --json                  the result as JSON\n"
        "  --quiet                 no progress lines\n",
        out);
}
