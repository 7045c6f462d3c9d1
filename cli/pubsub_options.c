/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/pubsub_options.h"

#include <string.h>

#include <getopt.h>

#include "base/alloc.h"
#include "base/hostport.h"
#include "base/text.h"
#include "cli/option_value.h"

/*
 * A map of this file: the URL of -L - one option after the other - what must
 * hold in the end - CONNECT - the help text.
 */

#define NEVER_EXPIRES UINT32_MAX

enum {
    OPTION_HELP = 256,
    OPTION_WILL_TOPIC,
    OPTION_WILL_PAYLOAD,
    OPTION_WILL_QOS,
    OPTION_WILL_RETAIN,
};

static const struct option long_options[] = {
    {"help", no_argument, NULL, OPTION_HELP},
    {"host", required_argument, NULL, 'h'},
    {"port", required_argument, NULL, 'p'},
    {"url", required_argument, NULL, 'L'},
    {"topic", required_argument, NULL, 't'},
    {"qos", required_argument, NULL, 'q'},
    {"id", required_argument, NULL, 'i'},
    {"username", required_argument, NULL, 'u'},
    {"pw", required_argument, NULL, 'P'},
    {"protocol-version", required_argument, NULL, 'V'},
    {"keepalive", required_argument, NULL, 'k'},
    {"keep-session", no_argument, NULL, 'c'},
    {"disable-clean-session", no_argument, NULL, 'c'},
    {"session-expiry-interval", required_argument, NULL, 'x'},
    {"debug", no_argument, NULL, 'd'},
    {"property", required_argument, NULL, 'D'},
    {"will-topic", required_argument, NULL, OPTION_WILL_TOPIC},
    {"will-payload", required_argument, NULL, OPTION_WILL_PAYLOAD},
    {"will-qos", required_argument, NULL, OPTION_WILL_QOS},
    {"will-retain", no_argument, NULL, OPTION_WILL_RETAIN},
    {"message", required_argument, NULL, 'm'},
    {"file", required_argument, NULL, 'f'},
    {"stdin-file", no_argument, NULL, 's'},
    {"stdin-line", no_argument, NULL, 'l'},
    {"null-message", no_argument, NULL, 'n'},
    {"retain", no_argument, NULL, 'r'},
    {"verbose", no_argument, NULL, 'v'},
    {NULL, 0, NULL, 0},
};

static const char common_letters[] = "h:p:L:t:q:i:u:P:V:k:cx:dD:";
static const char pub_letters[] = "m:f:slnr";
static const char sub_letters[] = "C:W:vNRE";

/* The parser's state next to its result. */
typedef struct parser {
    gv_pubsub_options_t *options;
    int argc;
    char *const *argv;
    bool is_pub;
    const char *host;
    uint32_t port;
} parser_t;

/* ---- the URL of -L ------------------------------------------------------------------------ */

static void add_topic(gv_pubsub_options_t *options, const char *topic)
{
    options->topics =
        gv_xrealloc(options->topics, (options->topic_count + 1) * sizeof(*options->topics));
    options->topics[options->topic_count++] = topic;
}

/* mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC */
static char *take_url(parser_t *parser, const char *url)
{
    static const char scheme[] = "mqtt://";
    gv_pubsub_options_t *options = parser->options;
    if (options->url_parts != NULL) {
        return gv_xstrdup("-L is given twice");
    }
    char *slash = NULL;
    if (strncmp(url, scheme, strlen(scheme)) == 0) {
        options->url_parts = gv_xstrdup(url + strlen(scheme));
        slash = strchr(options->url_parts, '/');
    }
    if (slash == NULL || slash[1] == '\0') {
        return gv_text_format("-L '%s': expected mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC", url);
    }
    *slash = '\0';
    add_topic(options, slash + 1);
    char *host = options->url_parts;
    char *at = strrchr(host, '@');
    if (at != NULL) {
        *at = '\0';
        options->username = host;
        host = at + 1;
        char *colon = strchr(options->url_parts, ':');
        if (colon != NULL) {
            *colon = '\0';
            options->password = colon + 1;
        }
    }
    gv_hostport_t hostport;
    if (gv_hostport_parse(gv_bytes_text(host), 1883, &hostport) != GV_OK) {
        return gv_text_format("-L: '%s' is not HOST or HOST:PORT", host);
    }
    char text[GV_HOSTPORT_TEXT_SIZE];
    gv_free(options->address);
    options->address = gv_xstrdup(gv_hostport_print(&hostport, text));
    return NULL;
}

/* ---- one option after the other ----------------------------------------------------------- */

static char *take_source(gv_pubsub_options_t *options, gv_pub_source_t source, const char *payload)
{
    if (options->source != GV_PUB_NOT_SAID) {
        return gv_xstrdup("only one of -m, -f, -n, -s, -l can be the message");
    }
    options->source = source;
    options->payload = payload;
    return NULL;
}

static char *take_property(parser_t *parser)
{
    /* optarg is the first word; getopt would stop at the others. */
    char *const *words = &parser->argv[optind - 1];
    size_t used;
    char *problem = gv_properties_add(&parser->options->properties, words,
                                      (size_t)(parser->argc - optind + 1), &used);
    optind += used > 0 ? (int)used - 1 : 0;
    return problem;
}

static char *take_pub_option(parser_t *parser, int code)
{
    switch (code) {
    case 'm':
        return take_source(parser->options, GV_PUB_MESSAGE, optarg);
    case 'f':
        return take_source(parser->options, GV_PUB_FILE, optarg);
    case 's':
        return take_source(parser->options, GV_PUB_STDIN, NULL);
    case 'l':
        return take_source(parser->options, GV_PUB_LINES, NULL);
    case 'n':
        return take_source(parser->options, GV_PUB_NULL, NULL);
    default:
        parser->options->retain = true;
        return NULL;
    }
}

static char *take_sub_option(parser_t *parser, int code)
{
    gv_pubsub_options_t *options = parser->options;
    switch (code) {
    case 'C':
        return gv_take_number("-C", optarg, 1, UINT32_MAX, &options->count);
    case 'W':
        return gv_take_number("-W", optarg, 1, 1000000, &options->timeout_s);
    case 'v':
        options->is_verbose = true;
        return NULL;
    case 'N':
        options->no_newline = true;
        return NULL;
    case 'R':
        options->skip_retained = true;
        return NULL;
    default:
        options->exit_on_suback = true;
        return NULL;
    }
}

static char *take_will_option(gv_pubsub_options_t *options, int code)
{
    switch (code) {
    case OPTION_WILL_TOPIC:
        options->will_topic = optarg;
        return NULL;
    case OPTION_WILL_PAYLOAD:
        options->will_payload = optarg;
        return NULL;
    case OPTION_WILL_QOS:
        return gv_take_qos("--will-qos", optarg, &options->will_qos);
    default:
        options->will_retain = true;
        return NULL;
    }
}

static char *take_session_option(gv_pubsub_options_t *options, int code)
{
    uint32_t number = 0;
    char *problem = NULL;
    switch (code) {
    case 'k':
        problem = gv_take_number("-k", optarg, 0, UINT16_MAX, &number);
        options->keep_alive_s = (uint16_t)number;
        return problem;
    case 'x':
        options->has_expiry = true;
        return gv_take_number("-x", optarg, 0, UINT32_MAX, &options->expiry_s);
    case 'c':
        options->keep_session = true;
        return NULL;
    case 'i':
        options->client_id = optarg;
        return NULL;
    case 'u':
        options->username = optarg;
        return NULL;
    default:
        options->password = optarg;
        return NULL;
    }
}

static char *refuse(const char *problem, char *const *argv)
{
    if (optopt > 0 && optopt < OPTION_HELP) {
        return gv_text_format("-%c %s", optopt, problem);
    }
    return gv_text_format("%s %s", argv[optind - 1], problem);
}

static char *take_option(parser_t *parser, int code)
{
    gv_pubsub_options_t *options = parser->options;
    switch (code) {
    case OPTION_HELP:
        options->is_help = true;
        return NULL;
    case 'h':
        parser->host = optarg;
        return NULL;
    case 'p':
        return gv_take_number("-p", optarg, 1, UINT16_MAX, &parser->port);
    case 'L':
        return take_url(parser, optarg);
    case 't':
        add_topic(options, optarg);
        return NULL;
    case 'q':
        return gv_take_qos("-q", optarg, &options->qos);
    case 'V':
        return gv_take_version("-V", optarg, &options->version);
    case 'd':
        options->is_debugging = true;
        return NULL;
    case 'D':
        return take_property(parser);
    case ':':
        return refuse("needs a value", parser->argv);
    case '?':
        return refuse("is not an option here; --help shows all", parser->argv);
    default:
        break;
    }
    if (code > OPTION_HELP) {
        return take_will_option(options, code);
    }
    if (strchr("kxciuP", code) != NULL) {
        return take_session_option(options, code);
    }
    bool of_pub = strchr(pub_letters, code) != NULL;
    if (of_pub != parser->is_pub) { /* a long name of the other command */
        return gv_text_format("%s is not an option here; --help shows all",
                              parser->argv[optind - 1]);
    }
    return of_pub ? take_pub_option(parser, code) : take_sub_option(parser, code);
}

/* ---- what must hold in the end ------------------------------------------------------------ */

static char *check_topics(const gv_pubsub_options_t *options, bool is_pub)
{
    if (options->topic_count == 0) {
        return gv_xstrdup(is_pub ? "-t TOPIC is missing" : "-t FILTER is missing");
    }
    if (is_pub && options->topic_count > 1) {
        return gv_xstrdup("a message has one topic");
    }
    for (size_t i = 0; i < options->topic_count; i++) {
        gv_bytes_t topic = gv_bytes_text(options->topics[i]);
        gv_mqtt_filter_t filter;
        gv_err_t err = is_pub ? gv_mqtt_topic_check(topic) : gv_mqtt_filter_parse(topic, &filter);
        if (err != GV_OK) {
            return gv_text_format("'%s' is not a topic%s", options->topics[i],
                                  is_pub ? " to publish to" : " filter");
        }
    }
    if (options->will_topic != NULL &&
        gv_mqtt_topic_check(gv_bytes_text(options->will_topic)) != GV_OK) {
        return gv_text_format("'%s' is not a topic for a will", options->will_topic);
    }
    return NULL;
}

static char *check(parser_t *parser)
{
    gv_pubsub_options_t *options = parser->options;
    bool has_will_option =
        options->will_payload != NULL || options->will_qos > 0 || options->will_retain;
    bool has_properties = false;
    for (size_t i = 0; i < GV_PROPS_PLACES; i++) {
        has_properties = has_properties || options->properties.props[i].present != 0 ||
                         options->properties.props[i].appended.size > 0;
    }
    if (has_will_option && options->will_topic == NULL) {
        return gv_xstrdup("a will needs --will-topic");
    }
    if ((has_properties || options->has_expiry) && options->version < GV_MQTT_V5) {
        return gv_xstrdup("-D and -x need -V 5");
    }
    if (options->keep_session && options->client_id[0] == '\0') {
        return gv_xstrdup("-c needs a client id (-i): the session is found again by it");
    }
    if (options->password != NULL && options->username == NULL && options->version < GV_MQTT_V5) {
        return gv_xstrdup("-P needs a user name (-u)");
    }
    if (parser->is_pub && options->source == GV_PUB_NOT_SAID) {
        return gv_xstrdup("one of -m MESSAGE, -f FILE, -n, -s, -l is missing");
    }
    return check_topics(options, parser->is_pub);
}

/* Leaves the address alone when -L has set it. */
static char *finish_address(parser_t *parser)
{
    gv_pubsub_options_t *options = parser->options;
    if (options->address != NULL) {
        return NULL;
    }
    gv_hostport_t hostport = {.port = 0};
    bool is_ipv6 = strchr(parser->host, ':') != NULL && parser->host[0] != '[';
    char *text = gv_text_format(is_ipv6 ? "[%s]:%u" : "%s:%u", parser->host, parser->port);
    if (gv_hostport_parse(gv_bytes_text(text), GV_HOSTPORT_PORT_REQUIRED, &hostport) != GV_OK) {
        gv_free(text);
        return gv_text_format("-h '%s' is not a host name or address", parser->host);
    }
    options->address = text;
    return NULL;
}

gv_err_t gv_pubsub_options_parse(int argc, char *const *argv, gv_pubsub_options_t *out,
                                 char **problem_out)
{
    GV_ASSERT(argc > 0);
    GV_ASSERT(out != NULL);
    memset(out, 0, sizeof(*out));
    out->version = GV_MQTT_V5;
    out->keep_alive_s = 60;
    out->client_id = "";
    *problem_out = NULL;

    parser_t parser = {.options = out,
                       .argc = argc,
                       .argv = argv,
                       .is_pub = strcmp(argv[0], "pub") == 0,
                       .host = "localhost",
                       .port = 1883};
    char letters[64];
    (void)snprintf(letters, sizeof(letters), "+:%s%s", common_letters,
                   parser.is_pub ? pub_letters : sub_letters);
    optind = 0; /* starts again, also after an earlier call */
    opterr = 0;
    int code;
    while (*problem_out == NULL &&
           (code = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
        *problem_out = take_option(&parser, code);
    }
    if (*problem_out == NULL && optind < argc) {
        *problem_out = gv_text_format("unexpected argument '%s'", argv[optind]);
    }
    if (*problem_out == NULL && !out->is_help) {
        *problem_out = finish_address(&parser);
    }
    if (*problem_out == NULL && !out->is_help) {
        *problem_out = check(&parser);
    }
    return *problem_out == NULL ? GV_OK : GV_ERR_INVAL;
}

void gv_pubsub_options_deinit(gv_pubsub_options_t *options)
{
    gv_properties_deinit(&options->properties);
    gv_free(options->topics);
    gv_free(options->address);
    gv_free(options->url_parts);
    memset(options, 0, sizeof(*options));
}

/* ---- CONNECT ------------------------------------------------------------------------------ */

void gv_pubsub_connect(const gv_pubsub_options_t *options, const char *client_id,
                       gv_mqtt_connect_t *out)
{
    const char *id = options->client_id[0] != '\0' ? options->client_id : client_id;
    memset(out, 0, sizeof(*out));
    out->version = options->version;
    out->clean_start = !options->keep_session;
    out->keep_alive_s = options->keep_alive_s;
    out->client_id = gv_bytes_text(id);
    out->has_username = options->username != NULL;
    out->has_password = options->password != NULL;
    out->username = gv_bytes_text(options->username != NULL ? options->username : "");
    out->password = gv_bytes_text(options->password != NULL ? options->password : "");
    out->props = options->properties.props[GV_PROPS_CONNECT];
    bool is_said = gv_mqtt_props_has(&out->props, GV_MQTT_PROP_SESSION_EXPIRY);
    if (options->has_expiry) {
        gv_mqtt_props_set_number(&out->props, GV_MQTT_PROP_SESSION_EXPIRY, options->expiry_s);
    } else if (options->keep_session && options->version >= GV_MQTT_V5 && !is_said) {
        /* What "clean session 0" meant before version 5. */
        gv_mqtt_props_set_number(&out->props, GV_MQTT_PROP_SESSION_EXPIRY, NEVER_EXPIRES);
    }
    out->has_will = options->will_topic != NULL;
    if (out->has_will) {
        const char *payload = options->will_payload != NULL ? options->will_payload : "";
        out->will = (gv_mqtt_will_t){.topic = gv_bytes_text(options->will_topic),
                                     .payload = gv_bytes_text(payload),
                                     .qos = options->will_qos,
                                     .retain = options->will_retain,
                                     .props = options->properties.props[GV_PROPS_WILL]};
    }
}

/* ---- the help text ------------------------------------------------------------------------ */

void gv_pubsub_print_help(const char *command, FILE *out)
{
    static const char pub[] =
        "usage: grapevine pub -t TOPIC (-m MESSAGE | -f FILE | -n | -s | -l) [OPTION]...\n"
        "\n"
        "  -m, --message TEXT     the message\n"
        "  -f, --file FILE        a file is the message\n"
        "  -n, --null-message     an empty message\n"
        "  -s, --stdin-file       all of standard input is the message\n"
        "  -l, --stdin-line       each line of standard input is a message\n"
        "  -r, --retain           the server keeps it for later subscribers\n";
    static const char sub[] =
        "usage: grapevine sub -t FILTER [-t FILTER]... [OPTION]...\n"
        "\n"
        "  -v, --verbose          print the topic before each message\n"
        "  -N                     no line end after each message\n"
        "  -R                     do not print retained messages\n"
        "  -C COUNT               exit after so many messages\n"
        "  -W SECONDS             exit after so many seconds, with status 27\n"
        "  -E                     exit when subscribed\n";
    static const char common[] =
        "  -h, --host HOST        default localhost\n"
        "  -p, --port PORT        default 1883\n"
        "  -L, --url URL          mqtt://[USER[:PASSWORD]@]HOST[:PORT]/TOPIC, instead of -h -p -t\n"
        "  -t, --topic TOPIC\n"
        "  -q, --qos QOS          0, 1 or 2; default 0\n"
        "  -V VERSION             3.1, 3.1.1 or 5 (default)\n"
        "  -i, --id ID            client id; default: chosen at random\n"
        "  -u, --username NAME    -P, --pw PASSWORD\n"
        "  -k, --keepalive S      default 60\n"
        "  -c, --keep-session     the session stays when we disconnect, and is taken up again\n"
        "  -x SECONDS             how long it stays (-V 5)\n"
        "  -D PACKET NAME VALUE   a property (-V 5): connect, will, publish or subscribe;\n"
        "                         -D publish user-property NAME VALUE\n"
        "      --will-topic TOPIC --will-payload TEXT --will-qos QOS --will-retain\n"
        "  -d, --debug            say on standard error what happens\n";
    (void)fputs(strcmp(command, "pub") == 0 ? pub : sub, out);
    (void)fputs(common, out);
}
