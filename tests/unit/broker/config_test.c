/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/config.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/text.h"

/* A verifier (proto/scram/verifier.h) without quotes around it. */
#define PENCIL                                      \
    "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"  \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define PENCIL_5000                                 \
    "SCRAM-SHA-256$5000:W22ZaJ0SNY7soEsUEjb6gQ==$"  \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="

/* ---- helpers ------------------------------------------------------------------------------ */

static const gv_config_t *config;
static gv_config_report_t report;

static void forget(void)
{
    gv_config_unref(&config);
    gv_config_report_deinit(&report);
}

/* A file of the test's own; the name in messages is the path that was given. */
static const char *file_with(const char *text)
{
    static char path[] = "/tmp/grapevine-config-test-XXXXXX";
    static bool made;
    if (!made) {
        int fd = mkstemp(path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        made = true;
    }
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(text, 1, strlen(text), file), strlen(text));
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

static gv_err_t load(const gv_config_sources_t *sources)
{
    forget();
    return gv_config_load(sources, &config, &report);
}

static gv_err_t load_text(const char *text)
{
    const char *path = file_with(text);
    gv_err_t err = load(&(gv_config_sources_t){.file = path, .host_name = "host"});
    unlink(path);
    return err;
}

/* The first line of the report, the file's name replaced by F. */
static const char *first_line(void)
{
    static char line[1024];
    ck_assert_uint_ge(report.count, 1);
    const char *text = report.lines[0];
    static const char prefix[] = "/tmp/grapevine-config-test-";
    if (strncmp(text, prefix, strlen(prefix)) == 0) {
        (void)snprintf(line, sizeof(line), "F%s", text + strlen(prefix) + 6);
        return line;
    }
    return text;
}

/* ---- the file ----------------------------------------------------------------------------- */

START_TEST(nothing_configured_is_a_node_on_loopback)
{
    ck_assert_int_eq(load(&(gv_config_sources_t){.host_name = "grape-1"}), GV_OK);
    ck_assert(config->is_default);
    ck_assert_str_eq(config->node.name, "grape-1");
    ck_assert_str_eq(config->node.data, "./grapevine-data");
    ck_assert_uint_eq(config->listeners.count, 2);
    ck_assert_str_eq(config->listeners.items[0].url, "tcp://127.0.0.1:1883");
    ck_assert(!config->listeners.items[0].optional);
    ck_assert(config->listeners.items[0].anonymous_allowed);
    ck_assert_str_eq(config->listeners.items[1].address.host, "::1");
    ck_assert(config->listeners.items[1].optional);
    ck_assert(config->listeners.items[1].is_loopback);
    ck_assert(!gv_hostport_is_set(&config->cluster.listen));
    ck_assert_str_eq(config->admin.listen.host, "127.0.0.1");
    ck_assert_uint_eq(config->admin.listen.port, 18083);
    ck_assert_uint_eq(config->mqtt.packet_size_max, 1048576);
    ck_assert_uint_eq(config->cluster.forget_after_ms, 86400000);
    ck_assert_int_eq(config->storage.sync, GV_STORAGE_SYNC_COMMIT);
    ck_assert_uint_eq(config->storage.sync_interval_ms, 1000);
    ck_assert_uint_eq(config->storage.ballast, 16 << 20);
    ck_assert_uint_eq(report.count, 0);
    forget();
}
END_TEST

START_TEST(every_type_is_read_from_the_file)
{
    ck_assert_int_eq(load_text("node { name = n1; data = \"/var/lib/grape vine\"; shards: 4 }\n"
                               "log.level debug\n"
                               "auth.anonymous = yes\n"
                               "listeners = [ tcp://0.0.0.0:1883, # for everybody\n"
                               "  { url = \"tcp://[::]:0\", proxy_protocol = true,\n"
                               "    connections_max = 10 },\n"
                               "  'unix:///run/g.sock', ]\n"
                               "cluster {\n"
                               "  listen = 127.0.0.1\n"
                               "  seeds = [\"127.0.0.1:1\", \"localhost\"]\n"
                               "  heartbeat_ms = 100; suspect_after_ms = 1s\n"
                               "}\n"
                               "cluster { dead_after_ms = 2s }\n"
                               "/* limits */ mqtt { packet_size_max = 2MiB, keepalive_max = 90\n"
                               "  queue_policy = disconnect\n retain_available = off }\n"),
                     GV_OK);
    ck_assert(!config->is_default);
    ck_assert_str_eq(config->node.name, "n1");
    ck_assert_str_eq(config->node.data, "/var/lib/grape vine");
    ck_assert_uint_eq(config->node.shards, 4);
    ck_assert_int_eq(config->log.level, GV_LOG_DEBUG);
    ck_assert_int_eq(config->auth.anonymous, GV_AUTH_ANONYMOUS_ALL);
    ck_assert_uint_eq(config->listeners.count, 3);
    const gv_listener_config_t *listener = config->listeners.items;
    ck_assert(listener[0].anonymous_allowed);
    ck_assert(!listener[0].proxy_protocol);
    ck_assert_str_eq(listener[1].address.host, "::");
    ck_assert(listener[1].proxy_protocol);
    ck_assert_uint_eq(listener[1].connections_max, 10);
    ck_assert_int_eq(listener[2].scheme, GV_LISTENER_UNIX);
    ck_assert_str_eq(listener[2].path, "/run/g.sock");
    ck_assert_uint_eq(config->cluster.listen.port, 7883);
    ck_assert_str_eq(config->cluster.advertise.host, "127.0.0.1");
    ck_assert_uint_eq(config->cluster.seeds.count, 2);
    ck_assert_uint_eq(config->cluster.seeds.items[0].port, 1);
    ck_assert_uint_eq(config->cluster.heartbeat_ms, 100);
    ck_assert_uint_eq(config->cluster.suspect_after_ms, 1000);
    ck_assert_uint_eq(config->cluster.dead_after_ms, 2000);
    ck_assert_uint_eq(config->mqtt.packet_size_max, 2 * 1048576);
    ck_assert_uint_eq(config->mqtt.keepalive_max_ms, 90000);
    ck_assert_int_eq(config->mqtt.queue_policy, GV_QUEUE_DISCONNECT);
    ck_assert(!config->mqtt.retain_available);
    forget();
}
END_TEST

START_TEST(json_is_taken_too)
{
    ck_assert_int_eq(load_text("{\"node\": {\"name\": \"j\\u00e4\\\\\"},\n \"x\": 1}"),
                     GV_ERR_INVAL);
    ck_assert_str_eq(first_line(),
                     "F:1: node.name: 'j\\xc3\\xa4\\x5c' is not a good name; expected at "
                     "most 63 letters, digits and . _ - @");
    ck_assert_int_eq(load_text("{\"node\": {\"name\": \"j\", \"shards\": 2}, \"cluster\": "
                               "{\"seeds\": []}}\n"),
                     GV_OK);
    ck_assert_uint_eq(config->node.shards, 2);
    forget();
}
END_TEST

static const struct {
    const char *text;
    const char *message;
} bad_files[] = {
    {"mqtt.recieve_max = 5\n",
     "F:1: mqtt.recieve_max: unknown key; did you mean mqtt.receive_max?"},
    {"\n\nmqtt {\n  packet_max = 5\n}\n",
     "F:4: mqtt.packet_max: unknown key; did you mean mqtt.packet_size_max?"},
    {"seeds = [a:1]\n", "F:1: seeds: unknown key; did you mean cluster.seeds?"},
    {"clutser { seeds = [a:1] }", "F:1: clutser.seeds: unknown key; did you mean cluster.seeds?"},
    {"zzz = 1\n", "F:1: zzz: unknown key; `grapevined --keys` lists all"},
    {"mqtt.receive_max = many\n", "F:1: mqtt.receive_max: 'many' is not a whole number; expected a "
                                  "whole number from 1 to 65535"},
    {"mqtt.receive_max = 70000\n",
     "F:1: mqtt.receive_max: '70000' is out of range; expected a whole "
     "number from 1 to 65535"},
    {"mqtt.receive_max = -1\n",
     "F:1: mqtt.receive_max: '-1' is out of range; expected a whole number "
     "from 1 to 65535"},
    {"mqtt.receive_max = 99999999999999999999999\n",
     "F:1: mqtt.receive_max: '99999999999999999999999' is out of range; expected a "
     "whole number from "
     "1 to 65535"},
    {"mqtt.receive_max = \"\"\n",
     "F:1: mqtt.receive_max: '' is not a whole number; expected a whole "
     "number from 1 to 65535"},
    {"mqtt.receive_max = [1, 2]\n", "F:1: mqtt.receive_max: '[ ... ]' is not one value; expected a "
                                    "whole number from 1 to 65535"},
    {"mqtt.receive_max { x = 1 }\n",
     "F:1: mqtt.receive_max: '{ ... }' is not one value; expected a "
     "whole number from 1 to 65535"},
    {"mqtt = 5\n", "F:1: mqtt: unknown key; `grapevined --keys` lists all"},
    {"mqtt.packet_size_max = 64KB\n", "F:1: mqtt.packet_size_max: '64KB' is not a size "
                                      "(B, KiB, MiB, GiB, TiB); expected a size from "
                                      "64B to 256MiB"},
    {"storage.map_size = 20000000TiB\n",
     "F:1: storage.map_size: '20000000TiB' is not a size (B, KiB, MiB, GiB, TiB); "
     "expected a size "
     "from 16MiB to 64TiB"},
    {"cluster.heartbeat_ms = 2x\n", "F:1: cluster.heartbeat_ms: '2x' is not a duration "
                                    "(ms, s, m, h, d); expected a duration from "
                                    "10ms to 1m (a plain number is milliseconds)"},
    {"mqtt.connect_timeout = 2h\n",
     "F:1: mqtt.connect_timeout: '2h' is out of range; expected a duration "
     "from 100ms to 1h (a plain number is seconds)"},
    {"cluster.insecure = maybe\n",
     "F:1: cluster.insecure: 'maybe' is neither; expected true or false"},
    {"storage.sync = never\n", "F:1: storage.sync: 'never' is none of its values; "
                               "expected commit, interval or off"},
    {"node.name = 'a/b'\n",
     "F:1: node.name: 'a/b' is not a good name; expected at most 63 letters, "
     "digits and . _ - @"},
    {"admin.listen = 127.0.0.1:99999\n",
     "F:1: admin.listen: '127.0.0.1:99999' is not an address; expected HOST:PORT"},
    {"cluster.seeds = [a:1,\n b:x]\n",
     "F:2: cluster.seeds: 'b:x' is not an address; expected a list of HOST:PORT"},
    {"cluster.seeds = [[a:1]]\n",
     "F:1: cluster.seeds: '[ ... ]' is no value of this list; expected "
     "a list of HOST:PORT"},
    {"listeners = [http://a:1]\n", "F:1: listeners: 'http://a:1' is not a listener URL; expected "
                                   "tcp://HOST:PORT, or tls:// ws:// wss:// unix://"},
    {"listeners = [tcp://:1883]\n",
     "F:1: listeners: ':1883' is not an address; expected tcp://HOST:PORT, with "
     "0.0.0.0 or [::] for "
     "all interfaces"},
    {"listeners = [tcp://127.0.0.1/x]\n",
     "F:1: listeners: a path in a tcp:// URL; expected tcp://HOST:PORT"},
    {"listeners = [unix://run]\n", "F:1: listeners: 'run' is not a socket path; expected "
                                   "unix:///PATH, shorter than 108"},
    {"listeners = [tcp://127.0.0.1?proxy=true]\n",
     "F:1: listeners: unknown listener option 'proxy'; expected proxy_protocol, "
     "connections_max or accept_rate"},
    {"listeners = [\n { url = tcp://127.0.0.1:1\n   proxy_protocol = 7 }]\n",
     "F:3: listeners: proxy_protocol is '7'; expected true or false"},
    {"listeners = [{ proxy_protocol = true }]\n",
     "F:1: listeners: a listener without url; expected { url = \"tcp://HOST:PORT\" }"},
    {"listeners = [\n{ url = [a] }]\n", "F:2: listeners: url is not a word; expected url = VALUE"},
    {"listeners = [tcp://127.0.0.1:1, tcp://127.0.0.1:1]\n",
     "F:1: listeners: tcp://127.0.0.1:1 and tcp://127.0.0.1:1 are the same address"},
    {"listeners = [tcp://0.0.0.0:1883]\n",
     "F:1: listeners: tcp://0.0.0.0:1883 is open to other machines and no "
     "authentication is "
     "configured; expected a loopback address, users in auth.scram, or "
     "auth.anonymous = true to let everybody in"},
    {"auth.anonymous = 7\n",
     "F:1: auth.anonymous: '7' is none of its values; expected loopback, true or false"},
    {"listeners = [tcp://127.0.0.1]\nauth.anonymous = false\n",
     "F:2: auth.anonymous: false and no users: nobody can log in at tcp://127.0.0.1; "
     "expected some in auth.scram"},
    {"auth.scram { alice = sesame }\n",
     "F:1: auth.scram: no verifier for user 'alice'; expected what `grapevine passwd` prints, "
     "SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY with at least 4096 iterations"},
    {"auth.scram = sesame\n",
     "F:1: auth.scram: '...' is not a section; expected { NAME = \"SCRAM-SHA-256$...\" }"},
    {"auth.scram {\n alice = " PENCIL "\n\n bob {} }\n",
     "F:4: auth.scram: bob is not one value; expected NAME = \"SCRAM-SHA-256$...\""},
    {"auth.scram {\n alice = " PENCIL "\n alice = " PENCIL " }\n",
     "F:3: auth.scram: user 'alice' is given twice"},
    {"auth.scram.alice = " PENCIL "\nauth.scram.alice = " PENCIL "\n",
     "F:2: auth.scram: user 'alice' is given twice"},
    {"auth.scram.alice = " PENCIL "\nauth.scram { bob = " PENCIL " }\n",
     "F:2: auth.scram: given twice; first at F:1"},
    {"auth.scram. = " PENCIL "\n", "F:1: auth.scram: a user's name is UTF-8 of 1 to 255 bytes"},
    {"listeners = [tls://127.0.0.1]\n", "F:1: listeners: tls://127.0.0.1 needs a "
                                        "certificate; expected tls.cert and tls.key"},
    {"tls.verify_client = true\n",
     "F:1: tls.verify_client: true without tls.ca; expected the authorities' file"},
    {"cluster.seeds = [a:1]\n", "F:1: cluster.seeds: set without cluster.listen; expected "
                                "cluster.listen = HOST:PORT (or --cluster)"},
    {"cluster.listen = 0.0.0.0\n",
     "F:1: cluster.listen: other machines can join and there is no secret; expected "
     "cluster.secret_file, cluster.secret, or cluster.insecure = true"},
    {"cluster { listen = 127.0.0.1\n seeds = [far:1] }\n",
     "F:1: cluster.listen: other machines can join and there is no secret; expected "
     "cluster.secret_file, cluster.secret, or cluster.insecure = true"},
    {"cluster { listen = 127.0.0.1\n advertise = 0.0.0.0 }\n",
     "F:2: cluster.advertise: nobody can connect to a wildcard address; expected "
     "HOST:PORT of this "
     "node"},
    {"cluster { listen = 127.0.0.1\n secret_file = /nonexistent/s }\n",
     "F:2: cluster.secret_file: '/nonexistent/s' cannot be read: No such file or "
     "directory"},
    {"cluster { listen = 127.0.0.1\n secret_file = /dev/null }\n",
     "F:2: cluster.secret_file: '/dev/null' is empty or not text"},
    {"cluster { listen = 127.0.0.1\n secret = x\n secret_file = /dev/null }\n",
     "F:3: cluster.secret_file: cluster.secret is set too; expected one of the two"},
    {"cluster { listen = 127.0.0.1\n\n dead_after_ms = 1s }\n",
     "F:3: cluster.dead_after_ms: not longer than cluster.suspect_after_ms"},
    {"cluster { listen = 127.0.0.1\n heartbeat_ms = 1s }\n",
     "default: cluster.suspect_after_ms: not longer than cluster.heartbeat_ms; "
     "expected at least "
     "twice of it"},
    {"storage.map_size = 1GiB\nstorage.reserve = 513MiB\n",
     "F:2: storage.reserve: more than half of storage.map_size"},
    {"storage.map_size = 100MiB\n",
     "F:1: storage.map_size: too small for the reserve of 64 MiB; expected twice of that, or a "
     "smaller storage.reserve"},
    {"admin.token_always = true\n",
     "F:1: admin.token_always: true without a token; expected admin.token"},
    {"node.data = ''\n", "F:1: node.data: empty; expected a directory"},
    {"node.shards = 1\nnode { shards = 2 }\n", "F:2: node.shards: given twice; first at F:1"},
    /* syntax */
    {"node {\n", "F:1: the section opened here is never closed; expected }"},
    {"a = [1, 2\n", "F:1: the list opened here is never closed; expected ]"},
    {"a = [1 2]\n", "F:1: '2' after a value of a list; expected , or ]"},
    {"a = \"x\nb = 2\n", "F:1: the quote opened here is not closed on the same line; expected \""},
    {"\n/* x\n\n", "F:2: the comment opened here is never closed; expected */"},
    {"a = \"\\q\"\n", "F:1: unknown escape after \\; expected one of \" ' \\ / n r t b f uXXXX"},
    {"a = \"\\u12\"\n", "F:1: \\u is not followed by four hexadecimal digits"},
    {"a = \"\\ud800\"\n", "F:1: \\uD800 is not a character that may stand in a text"},
    {"a = b c\n", "F:1: a: 'c' after the value; a text with spaces or signs needs \"quotes\""},
    {"a =\n", "F:1: a: no value; expected KEY = VALUE"},
    {"a\n", "F:1: a: no value; expected KEY = VALUE"},
    {"a = ;\n", "F:1: a: no value; expected KEY = VALUE"},
    {"= 1\n", "F:1: '=' where a key should be"},
    {"}\n", "F:1: '}' where a key should be"},
    {"a = }\n", "F:1: '}' where a value should be"},
    {"a = b#c\n", "F:1: # inside a word; write the text in \"quotes\", or a space before #"},
    {"{ a = 1 } b\n", "F:1: text after the closing }"},
    {"a=[[[[[[[[[[[[[[[[[[[[[[\n", "F:1: sections and lists are nested more than 16 deep"},
    {"\x01\n", "F:1: '\\x01' where a key should be"},
};

/* The temporary name also stands in the middle of a "given twice". */
static void shorten(char *text)
{
    static const char prefix[] = "/tmp/grapevine-config-test-";
    char *found = strstr(text, prefix);
    if (found != NULL) {
        size_t skip = strlen(prefix) + 6;
        *found = 'F';
        memmove(found + 1, found + skip, strlen(found + skip) + 1);
    }
}

START_TEST(each_mistake_in_a_file_is_named_with_its_line)
{
    ck_assert_int_eq(load_text(bad_files[_i].text), GV_ERR_INVAL);
    ck_assert_ptr_null(config);
    char line[1024];
    (void)snprintf(line, sizeof(line), "%s", first_line());
    shorten(line);
    ck_assert_str_eq(line, bad_files[_i].message);
    forget();
}
END_TEST

START_TEST(all_bad_keys_of_a_file_are_reported)
{
    ck_assert_int_eq(load_text("a = 1\nmqtt.receive_max = 0\nb = 2\n"), GV_ERR_INVAL);
    ck_assert_uint_eq(report.count, 3);
    forget();
}
END_TEST

START_TEST(a_file_that_cannot_be_read)
{
    ck_assert_int_eq(load(&(gv_config_sources_t){.file = "/nonexistent/x", .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "/nonexistent/x: cannot be read: No such file or directory");
    ck_assert_int_eq(load(&(gv_config_sources_t){.file = "/tmp", .host_name = "h"}), GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "/tmp: cannot be read: Is a directory");
    ck_assert_int_eq(load(&(gv_config_sources_t){.file = "/dev/zero", .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "/dev/zero:1: the file is larger than 1024 KiB");
    forget();
}
END_TEST

START_TEST(a_very_long_line_is_only_a_long_line)
{
    gv_text_t text = GV_TEXT_EMPTY;
    gv_text_add(&text, "admin.token = \"%0500000d\"\n", 7);
    ck_assert_int_eq(load_text(gv_text_get(&text)), GV_OK);
    ck_assert_uint_eq(strlen(config->admin.token), 500000);
    gv_text_clear(&text);
    gv_text_add(&text, "%0500000d = 1\n", 7);
    ck_assert_int_eq(load_text(gv_text_get(&text)), GV_ERR_INVAL);
    gv_text_deinit(&text);
    forget();
}
END_TEST

/* ---- the other sources
 * --------------------------------------------------------------------
 */

static char *environment[] = {(char *)(uintptr_t) "PATH=/bin",
                              (char *)(uintptr_t) "GRAPEVINE_CLUSTER__SEEDS=127.0.0.1:1, "
                                                  "localhost:2",
                              (char *)(uintptr_t) "GRAPEVINE_CLUSTER__LISTEN=127.0.0.1:3",
                              (char *)(uintptr_t) "GRAPEVINE_MQTT__RECEIVE_MAX=7",
                              (char *)(uintptr_t) "GRAPEVINE_PORT=tcp://10.0.0.1:1883",
                              (char *)(uintptr_t) "GRAPEVINE_LISTENER=tcp://10.0.0.1:1883",
                              NULL};

START_TEST(environment_wins_over_file_and_command_line_over_both)
{
    const gv_config_assignment_t assignments[] = {
        {"--set", "mqtt.inflight_max", "9"},
        {"--listen", "listeners", "tcp://127.0.0.1:11,tcp://127.0.0.1:12"},
    };
    const char *path = file_with("mqtt { receive_max = 5, inflight_max = 5, "
                                 "topic_alias_max = 5 }\n"
                                 "listeners = tcp://127.0.0.1:10\n"
                                 "cluster.seeds = [a:1, b:2, c:3]\n");
    ck_assert_int_eq(load(&(gv_config_sources_t){.file = path,
                                                 .environment = environment,
                                                 .assignments = assignments,
                                                 .assignment_count = 2,
                                                 .host_name = "h"}),
                     GV_OK);
    unlink(path);
    ck_assert_uint_eq(config->mqtt.topic_alias_max, 5);
    ck_assert_uint_eq(config->mqtt.receive_max, 7);
    ck_assert_uint_eq(config->mqtt.inflight_max, 9);
    ck_assert_uint_eq(config->cluster.seeds.count, 2);
    ck_assert_str_eq(config->cluster.seeds.items[1].host, "localhost");
    ck_assert_uint_eq(config->listeners.count, 2);
    ck_assert_uint_eq(config->listeners.items[1].address.port, 12);
    ck_assert_uint_eq(report.count, 1);
    ck_assert_str_eq(report.lines[0], "environment GRAPEVINE_LISTENER: ignored; did "
                                      "you mean listeners?");
    forget();
}
END_TEST

START_TEST(mistakes_in_environment_and_command_line_name_their_source)
{
    char *bad[] = {(char *)(uintptr_t) "GRAPEVINE_MQTT__RECEIVE_MAX=x", NULL};
    ck_assert_int_eq(load(&(gv_config_sources_t){.environment = bad, .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "environment GRAPEVINE_MQTT__RECEIVE_MAX: "
                                   "mqtt.receive_max: 'x' is "
                                   "not a whole number; expected a whole "
                                   "number from 1 to 65535");
    char *unknown[] = {(char *)(uintptr_t) "GRAPEVINE_MQTT__RECEIVED_MAX=1", NULL};
    ck_assert_int_eq(load(&(gv_config_sources_t){.environment = unknown, .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "environment GRAPEVINE_MQTT__RECEIVED_MAX: "
                                   "mqtt.received_max: unknown key; did "
                                   "you mean mqtt.receive_max?");
    const gv_config_assignment_t assignments[] = {{"--set", "node.nam", "x"},
                                                  {"--seed", "cluster.seeds", "a:b"}};
    ck_assert_int_eq(load(&(gv_config_sources_t){
                         .assignments = assignments, .assignment_count = 2, .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_uint_eq(report.count, 2);
    ck_assert_str_eq(report.lines[0], "--set: node.nam: unknown key; did you "
                                      "mean node.name?");
    ck_assert_str_eq(report.lines[1], "--seed: cluster.seeds: 'a:b' is not an "
                                      "address; expected a "
                                      "list of HOST:PORT");
    forget();
}
END_TEST

START_TEST(the_host_name_has_to_be_usable_only_if_it_is_used)
{
    ck_assert_int_eq(load(&(gv_config_sources_t){.host_name = "bad name"}), GV_ERR_INVAL);
    ck_assert_int_eq(load(&(gv_config_sources_t){.host_name = ""}), GV_ERR_INVAL);
    ck_assert_int_eq(load(&(gv_config_sources_t){.host_name = NULL}), GV_ERR_INVAL);
    ck_assert_str_eq(first_line(), "default: node.name: the host name "
                                   "cannot be used: it is empty");
    ck_assert_int_eq(load_text("node.name = n"), GV_OK);
    forget();
}
END_TEST

START_TEST(secret_comes_from_its_file_without_the_line_end)
{
    char path[] = "/tmp/grapevine-secret-XXXXXX";
    int fd = mkstemp(path);
    ck_assert_int_eq(write(fd, "sesame\r\n", 8), 8);
    close(fd);
    const gv_config_assignment_t assignments[] = {{"--set", "cluster.secret_file", path},
                                                  {"--cluster", "cluster.listen", "0.0.0.0:7000"}};
    ck_assert_int_eq(load(&(gv_config_sources_t){
                         .assignments = assignments, .assignment_count = 2, .host_name = "h"}),
                     GV_OK);
    unlink(path);
    ck_assert_str_eq(config->cluster.secret, "sesame");
    /* A wildcard cannot be advertised: the name is. */
    ck_assert_str_eq(config->cluster.advertise.host, "h");
    ck_assert_uint_eq(config->cluster.advertise.port, 7000);
    forget();
}
END_TEST

START_TEST(users_are_authentication)
{
    ck_assert_int_eq(load_text("listeners = [tcp://0.0.0.0, tcp://127.0.0.1]\n"
                               "auth.scram { alice = " PENCIL "\n \"a b,\" = " PENCIL_5000 " }\n"
                               "\"auth.scram.x@y.z\" = " PENCIL "\n"),
                     GV_OK);
    ck_assert(!config->listeners.items[0].anonymous_allowed);
    ck_assert(config->listeners.items[1].anonymous_allowed);
    ck_assert_uint_eq(config->auth.scram.count, 3);
    ck_assert_str_eq(config->auth.scram.items[0].name, "alice");
    ck_assert_str_eq(config->auth.scram.items[1].name, "a b,");
    ck_assert_uint_eq(config->auth.scram.items[1].verifier.iterations, 5000);
    ck_assert_str_eq(config->auth.scram.items[2].name, "x@y.z");
    forget();
    ck_assert_int_eq(load_text("auth { anonymous = false; scram.bob = " PENCIL " }\n"), GV_OK);
    ck_assert(!config->listeners.items[0].anonymous_allowed);
    ck_assert_uint_eq(config->auth.scram.count, 1);
    forget();
}
END_TEST

START_TEST(users_of_later_sources_are_added_or_replace_those_of_earlier_ones)
{
    char *variables[] = {(char *)(uintptr_t) "GRAPEVINE_AUTH__SCRAM__BOB=" PENCIL_5000, NULL};
    const gv_config_assignment_t assignments[] = {{"--set", "auth.scram.carol", PENCIL},
                                                  {"--set", "auth.scram.carol", PENCIL_5000}};
    const char *path = file_with("auth.scram { alice = " PENCIL "; bob = " PENCIL " }\n");
    const gv_config_sources_t sources = {.file = path,
                                         .environment = variables,
                                         .assignments = assignments,
                                         .assignment_count = 2,
                                         .host_name = "h"};
    ck_assert_int_eq(load(&sources), GV_OK);
    ck_assert_uint_eq(config->auth.scram.count, 3);
    ck_assert_uint_eq(config->auth.scram.items[0].verifier.iterations, 4096);
    ck_assert_uint_eq(config->auth.scram.items[1].verifier.iterations, 5000);
    ck_assert_uint_eq(config->auth.scram.items[2].verifier.iterations, 5000);

    /* A reload takes the new ones. */
    (void)file_with("auth.scram { dave = " PENCIL " }\n");
    const gv_config_t *fresh;
    gv_config_changes_t changes;
    gv_config_report_t problems;
    ck_assert_int_eq(gv_config_reload(config, &sources, &fresh, &changes, &problems), GV_OK);
    ck_assert_uint_eq(changes.applied_count, 1);
    ck_assert_str_eq(changes.applied[0], "auth.scram");
    ck_assert_str_eq(fresh->auth.scram.items[0].name, "dave");
    gv_config_changes_deinit(&changes);
    gv_config_report_deinit(&problems);
    gv_config_unref(&fresh);
    forget();

    const gv_config_assignment_t wrong = {"--set", "auth.scram.carol", "sesame"};
    ck_assert_int_eq(load(&(gv_config_sources_t){
                         .assignments = &wrong, .assignment_count = 1, .host_name = "h"}),
                     GV_ERR_INVAL);
    ck_assert_ptr_nonnull(strstr(first_line(), "--set: auth.scram: no verifier for user 'carol'"));
    ck_assert_ptr_null(strstr(first_line(), "sesame"));
    unlink(path);
    forget();
}
END_TEST

START_TEST(mutual_tls_is_authentication)
{
    ck_assert_int_eq(load_text("listeners = tls://0.0.0.0\n"
                               "tls { cert = c, key = k, ca = a, verify_client = true }\n"),
                     GV_OK);
    ck_assert(config->listeners.items[0].anonymous_allowed);
    ck_assert_uint_eq(config->listeners.items[0].address.port, 8883);
    forget();
}
END_TEST

/* ---- reload
 * -------------------------------------------------------------------------------
 */

START_TEST(reload_takes_what_it_can_and_names_the_rest)
{
    ck_assert_int_eq(load_text("log.level = info\nnode { name = "
                               "a, shards = 1 }\n"
                               "cluster { listen = 127.0.0.1, "
                               "seeds = [localhost:1] }\n"),
                     GV_OK);
    const char *path = file_with("log.level = debug\nnode { name = b, "
                                 "shards = 2 }\n"
                                 "auth.anonymous = true\n"
                                 "listeners = [tcp://0.0.0.0]\n");
    const gv_config_t *fresh;
    gv_config_changes_t changes;
    gv_config_report_t problems;
    const gv_config_sources_t sources = {.file = path, .host_name = "h"};
    ck_assert_int_eq(gv_config_reload(config, &sources, &fresh, &changes, &problems), GV_OK);
    ck_assert_uint_eq(changes.applied_count, 1);
    ck_assert_str_eq(changes.applied[0], "log.level");
    gv_text_t keys = GV_TEXT_EMPTY;
    for (size_t i = 0; i < changes.needs_restart_count; i++) {
        gv_text_add(&keys, "%s ", changes.needs_restart[i]);
    }
    ck_assert_str_eq(gv_text_get(&keys), "node.name node.shards listeners auth.anonymous "
                                         "cluster.listen cluster.advertise cluster.seeds "
                                         "cluster.insecure ");
    gv_text_deinit(&keys);
    /* The new snapshot tells what is in force.
     */
    ck_assert_int_eq(fresh->log.level, GV_LOG_DEBUG);
    ck_assert_int_eq(config->log.level, GV_LOG_INFO);
    ck_assert_str_eq(fresh->node.name, "a");
    ck_assert_uint_eq(fresh->node.shards, 1);
    ck_assert_uint_eq(fresh->listeners.count, 2);
    ck_assert_str_eq(fresh->cluster.seeds.items[0].host, "localhost");
    gv_config_changes_deinit(&changes);
    gv_config_report_deinit(&problems);
    gv_config_unref(&fresh);

    (void)file_with("log.level = loud\n");
    ck_assert_int_eq(gv_config_reload(config, &sources, &fresh, &changes, &problems), GV_ERR_INVAL);
    ck_assert_ptr_null(fresh);
    ck_assert_uint_eq(problems.count, 1);
    gv_config_changes_deinit(&changes);
    gv_config_report_deinit(&problems);
    unlink(path);
    forget();
}
END_TEST

START_TEST(snapshot_lives_as_long_as_its_last_holder)
{
    ck_assert_int_eq(load_text("node.name = n"), GV_OK);
    const gv_config_t *mine = gv_config_ref(config);
    gv_config_unref(&config);
    ck_assert_ptr_null(config);
    ck_assert_str_eq(mine->node.name, "n");
    gv_config_unref(&mine);
    gv_config_unref(&mine);
    forget();
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config");
    tcase_add_test(tc, nothing_configured_is_a_node_on_loopback);
    tcase_add_test(tc, every_type_is_read_from_the_file);
    tcase_add_test(tc, json_is_taken_too);
    tcase_add_loop_test(tc, each_mistake_in_a_file_is_named_with_its_line, 0,
                        (int)(sizeof(bad_files) / sizeof(bad_files[0])));
    tcase_add_test(tc, all_bad_keys_of_a_file_are_reported);
    tcase_add_test(tc, a_file_that_cannot_be_read);
    tcase_add_test(tc, a_very_long_line_is_only_a_long_line);
    tcase_add_test(tc, environment_wins_over_file_and_command_line_over_both);
    tcase_add_test(tc, mistakes_in_environment_and_command_line_name_their_source);
    tcase_add_test(tc, the_host_name_has_to_be_usable_only_if_it_is_used);
    tcase_add_test(tc, secret_comes_from_its_file_without_the_line_end);
    tcase_add_test(tc, mutual_tls_is_authentication);
    tcase_add_test(tc, users_are_authentication);
    tcase_add_test(tc, users_of_later_sources_are_added_or_replace_those_of_earlier_ones);
    tcase_add_test(tc, reload_takes_what_it_can_and_names_the_rest);
    tcase_add_test(tc, snapshot_lives_as_long_as_its_last_holder);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
