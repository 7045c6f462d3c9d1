/* SPDX-License-Identifier: Apache-2.0 */

/* What gv_cluster_new() refuses, and with what words.  (Running clusters: cluster_test.c.) */

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/io/loop.h"
#include "cluster/cluster.h"

static void ignore_row(gv_node_index_t node, gv_bytes_t key, uint32_t value, void *arg)
{
    (void)node, (void)key, (void)value, (void)arg;
}

static void ignore_node(gv_node_index_t node, gv_node_event_t event, void *arg)
{
    (void)node, (void)event, (void)arg;
}

static void ignore_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    (void)delivery, (void)msg, (void)arg;
}

static void ignore_confirmed(uint64_t token, gv_node_index_t node, gv_forward_result_t result,
                             const gv_forward_t *lost, void *arg)
{
    (void)token, (void)node, (void)result, (void)lost, (void)arg;
}

static bool ignore_overdue(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg,
                           void *arg)
{
    (void)token, (void)node, (void)msg, (void)arg;
    return true;
}

static void ignore_note(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    (void)node, (void)kind, (void)body, (void)arg;
}

static void ignore_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    (void)claim, (void)verdict, (void)arg;
}

static void ignore_let_go(const gv_letting_t *letting, void *arg)
{
    (void)letting, (void)arg;
}

static void ignore_barrier(uint64_t token, bool in_time, void *arg)
{
    (void)token, (void)in_time, (void)arg;
}

static void ignore_start_counter(uint64_t start_counter, void *arg)
{
    (void)start_counter, (void)arg;
}

static gv_loop_t *loop;
static gv_cluster_options_t options;
static gv_error_text_t error;

static void set_up(void)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    gv_cluster_options_init(&options);
    options.loop = loop;
    options.node_id.bytes[0] = 1;
    options.node_name = "node1";
    options.cluster_name = "vineyard";
    options.listen = "127.0.0.1:0";
    options.secret = GV_BYTES_LITERAL("sesame");
    options.ops = (gv_cluster_ops_t){
        .row = ignore_row,
        .node = ignore_node,
        .deliver = ignore_deliver,
        .confirmed = ignore_confirmed,
        .overdue = ignore_overdue,
        .note = ignore_note,
        .claimed = ignore_claimed,
        .let_go = ignore_let_go,
        .barrier = ignore_barrier,
        .start_counter = ignore_start_counter,
    };
}

static void tear_down(void)
{
    gv_loop_free(&loop);
}

/* The options are refused with this error, and the words name what is wrong. */
static void assert_refused(gv_err_t expected, const char *word)
{
    gv_cluster_t *cluster;
    error.text[0] = '\0';
    ck_assert_int_eq(gv_cluster_new(&options, &cluster, &error), expected);
    ck_assert_ptr_null(cluster);
    ck_assert_msg(strstr(error.text, word) != NULL, "'%s' says nothing of '%s'", error.text, word);
    ck_assert_ptr_null(strchr(error.text, '\n'));
}

static gv_cluster_t *make(void)
{
    gv_cluster_t *cluster;
    gv_err_t err = gv_cluster_new(&options, &cluster, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    return cluster;
}

START_TEST(port_0_becomes_a_number)
{
    gv_cluster_t *cluster = make();
    const char *address = gv_cluster_address(cluster);
    ck_assert_int_eq(strncmp(address, "127.0.0.1:", 10), 0);
    ck_assert_uint_gt(strtoul(address + 10, NULL, 10), 0);
    gv_cluster_free(&cluster);
    ck_assert_ptr_null(cluster);
    gv_cluster_free(&cluster);
}
END_TEST

START_TEST(names_must_be_short_and_plain)
{
    options.node_name = "";
    assert_refused(GV_ERR_INVAL, "node name");
    options.node_name = NULL;
    assert_refused(GV_ERR_INVAL, "node name");
    options.node_name = "two words";
    assert_refused(GV_ERR_INVAL, "two words");
    options.node_name = "node1";
    options.cluster_name = "a-name-that-is-far-too-long-to-be-shown-in-any-table-or-any-topic";
    assert_refused(GV_ERR_INVAL, "cluster name");
}
END_TEST

START_TEST(no_secret_needs_the_operators_word)
{
    options.secret = GV_BYTES_EMPTY;
    assert_refused(GV_ERR_DENIED, "secret");
    options.is_insecure = true;
    gv_cluster_t *cluster = make();
    gv_cluster_free(&cluster);
}
END_TEST

START_TEST(a_node_on_its_own_needs_no_secret_and_has_no_address)
{
    options.secret = GV_BYTES_EMPTY;
    options.listen = NULL;
    gv_cluster_t *cluster = make();
    ck_assert_str_eq(gv_cluster_address(cluster), "");
    gv_cluster_free(&cluster);
}
END_TEST

START_TEST(an_address_in_use_is_said_so)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(listen(fd, 1), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    char text[32];
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    options.listen = text;
    assert_refused(GV_ERR_BUSY, text);
    ck_assert_ptr_nonnull(strstr(error.text, "in use"));
    (void)close(fd);
}
END_TEST

START_TEST(addresses_that_cannot_be_are_refused)
{
    options.listen = "no port";
    assert_refused(GV_ERR_INVAL, "no port");
    options.listen = "/run/cluster.sock";
    assert_refused(GV_ERR_INVAL, "/run/cluster.sock");
    options.listen = "192.0.2.1:0"; /* a documentation address: nobody has it */
    assert_refused(GV_ERR_IO, "192.0.2.1");
    options.listen = "127.0.0.1:0";
    options.advertise = "/run/cluster.sock";
    assert_refused(GV_ERR_INVAL, "/run/cluster.sock");
    options.advertise = ":7883";
    assert_refused(GV_ERR_INVAL, ":7883");
    options.advertise = NULL;
    static const char *const seeds[] = {"127.0.0.1:7883", "seed-without-port"};
    options.seeds = seeds;
    options.seed_count = 2;
    assert_refused(GV_ERR_INVAL, "seed-without-port");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("options");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, port_0_becomes_a_number);
    tcase_add_test(tc, names_must_be_short_and_plain);
    tcase_add_test(tc, no_secret_needs_the_operators_word);
    tcase_add_test(tc, a_node_on_its_own_needs_no_secret_and_has_no_address);
    tcase_add_test(tc, an_address_in_use_is_said_so);
    tcase_add_test(tc, addresses_that_cannot_be_are_refused);

    Suite *suite = suite_create("cluster");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
