/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/options.h"

#include <string.h>

#include <getopt.h>

#include "base/alloc.h"
#include "base/text.h"

/* Codes of options without a letter; above every character. */
enum {
    OPTION_SET = 256,
    OPTION_CHECK_CONFIG,
    OPTION_KEYS,
    OPTION_KEY, /* OPTION_KEY + i: short_options[i] */
};

/* Options that are a name for a key.  A list is collected: `--seed a --seed b` is "a,b". */
static const struct {
    const char *name;
    const char *source;
    const char *key;
    bool is_list;
} short_options[] = {
    {"node", "--node", "node.name", false},    {"data", "--data", "node.data", false},
    {"listen", "--listen", "listeners", true}, {"cluster", "--cluster", "cluster.listen", false},
    {"seed", "--seed", "cluster.seeds", true}, {"admin", "--admin", "admin.listen", false},
};

static const struct option long_options[] = {
    {"config", required_argument, NULL, 'c'},
    {"set", required_argument, NULL, OPTION_SET},
    {"node", required_argument, NULL, OPTION_KEY + 0},
    {"data", required_argument, NULL, OPTION_KEY + 1},
    {"listen", required_argument, NULL, OPTION_KEY + 2},
    {"cluster", required_argument, NULL, OPTION_KEY + 3},
    {"seed", required_argument, NULL, OPTION_KEY + 4},
    {"admin", required_argument, NULL, OPTION_KEY + 5},
    {"check-config", no_argument, NULL, OPTION_CHECK_CONFIG},
    {"keys", no_argument, NULL, OPTION_KEYS},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static void assign(gv_options_t *options, const char *source, char *key, char *value)
{
    options->assignments = gv_xrealloc(options->assignments, (options->assignment_count + 1) *
                                                                 sizeof(*options->assignments));
    options->assignments[options->assignment_count++] =
        (gv_config_assignment_t){.source = source, .key = key, .value = value};
}

static void assign_short(gv_options_t *options, size_t i, const char *value)
{
    if (short_options[i].is_list) {
        for (size_t j = 0; j < options->assignment_count; j++) {
            gv_config_assignment_t *earlier = &options->assignments[j];
            if (earlier->source == short_options[i].source) {
                char *longer = gv_text_format("%s,%s", earlier->value, value);
                gv_free((char *)(uintptr_t)earlier->value);
                earlier->value = longer;
                return;
            }
        }
    }
    assign(options, short_options[i].source, gv_xstrdup(short_options[i].key), gv_xstrdup(value));
}

static char *assign_key_value(gv_options_t *options, const char *argument)
{
    const char *equals = strchr(argument, '=');
    if (equals == NULL || equals == argument) {
        return gv_text_format("--set %s: expected --set KEY=VALUE", argument);
    }
    char *key = gv_text_format("%.*s", (int)(equals - argument), argument);
    assign(options, "--set", key, gv_xstrdup(equals + 1));
    return NULL;
}

/* getopt_long() says a bad letter in optopt, and a bad word only by where it has come to. */
static char *refuse(const char *problem, char *const *argv)
{
    if (optopt > 0 && optopt < OPTION_SET) {
        return gv_text_format("-%c %s", optopt, problem);
    }
    return gv_text_format("%s %s", argv[optind - 1], problem);
}

static char *take_option(gv_options_t *options, int code, char *const *argv)
{
    switch (code) {
    case 'c':
        options->file = optarg;
        return NULL;
    case 'h':
        options->action = GV_ACTION_HELP;
        return NULL;
    case 'V':
        options->action = GV_ACTION_VERSION;
        return NULL;
    case OPTION_SET:
        return assign_key_value(options, optarg);
    case OPTION_CHECK_CONFIG:
        options->action = GV_ACTION_CHECK_CONFIG;
        return NULL;
    case OPTION_KEYS:
        options->action = GV_ACTION_KEYS;
        return NULL;
    case ':':
        return refuse("needs a value", argv);
    case '?':
        return refuse("is not an option; --help shows all", argv);
    default:
        assign_short(options, (size_t)(code - OPTION_KEY), optarg);
        return NULL;
    }
}

gv_err_t gv_options_parse(int argc, char *const *argv, gv_options_t *out, char **problem_out)
{
    GV_ASSERT(out != NULL);
    GV_ASSERT(problem_out != NULL);
    memset(out, 0, sizeof(*out));
    *problem_out = NULL;

    optind = 0; /* starts again, also after an earlier call */
    opterr = 0;
    int code;
    while (*problem_out == NULL &&
           (code = getopt_long(argc, argv, "+:c:hV", long_options, NULL)) != -1) {
        *problem_out = take_option(out, code, argv);
    }
    if (*problem_out == NULL && optind < argc) {
        *problem_out =
            gv_text_format("unexpected argument '%s'; --help shows all options", argv[optind]);
    }
    return *problem_out == NULL ? GV_OK : GV_ERR_INVAL;
}

void gv_options_deinit(gv_options_t *options)
{
    for (size_t i = 0; i < options->assignment_count; i++) {
        gv_free((char *)(uintptr_t)options->assignments[i].key);
        gv_free((char *)(uintptr_t)options->assignments[i].value);
    }
    gv_free(options->assignments);
    memset(options, 0, sizeof(*options));
}

void gv_options_print_help(FILE *out)
{
    (void)fputs(
        "grapevined: a node of the Grapevine MQTT broker\n"
        "\n"
        "usage: grapevined [-c FILE] [--set KEY=VALUE]... [OPTION]...\n"
        "\n"
        "  -c, --config FILE      read a configuration file (example: deploy/grapevine.conf)\n"
        "      --set KEY=VALUE    set one configuration key; may be repeated\n"
        "      --node NAME        node.name: name of this node\n"
        "      --data DIR         node.data: directory of everything that survives a restart\n"
        "      --listen URL       listeners: tcp:// tls:// ws:// wss:// unix://; may be repeated\n"
        "      --cluster HOST:PORT  cluster.listen: where the other nodes connect\n"
        "      --seed HOST:PORT   cluster.seeds: a node to ask for the others; may be repeated\n"
        "      --admin HOST:PORT  admin.listen: the admin HTTP server\n"
        "\n"
        "      --check-config     check the configuration and exit: 0 good, 1 not\n"
        "      --keys             list all configuration keys with their defaults\n"
        "  -h, --help             this text\n"
        "  -V, --version          the version\n"
        "\n"
        "Every key can also be given in the environment: GRAPEVINE_CLUSTER__SEEDS=a:7883,b:7883\n"
        "(two underscores are a dot).  The command line wins over the environment, and that\n"
        "over the file.  Without any configuration a node listens on loopback only.\n",
        out);
}
