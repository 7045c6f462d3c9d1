/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whole clusters in one process: three nodes, each on a loop and a thread of its own, over
 * loopback. This is the test of status.c too, through which most of it looks.
 */

#include "cluster/cluster.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/rng.h"
#include "tests/unit/cluster/on_loop.h"

#define PATIENCE_MS 20000U

/* ---- a node as small as one can be -------------------------------------------------------- */

enum {
    NODES = 3,
    ROWS = 500,
    DELIVERIES_MAX = 64
};

typedef struct node {
    gv_loop_t *loop;
    gv_cluster_t *cluster;
    uint8_t number; /* 1.. */
    uint64_t start_counter;
    const char *secret;
    const char *cluster_name;
    char name[16];
    char address[GV_ADDRESS_TEXT_SIZE];
    bool has_left;

    /* What was written down by the ops; the loop's. */
    uint32_t rows[GV_NODES_MAX][ROWS]; /* by node index and number in the key */
    uint32_t rows_held;
    bool is_routable[GV_NODES_MAX];
    gv_delivery_t unapplied[DELIVERIES_MAX];
    size_t unapplied_count;
    gv_job_t apply_job;
    uint32_t delivered;
    uint64_t delivered_hash; /* of topic, payload and QoS of the last one */
    uint32_t confirmed[GV_FORWARD_FULL + 1];
    uint32_t barriers;
    uint32_t barriers_in_time;
} node_t;

static node_t nodes[NODES];

static uint32_t row_number(gv_bytes_t key)
{
    char text[32] = {0};
    ck_assert_uint_lt(key.size, sizeof(text));
    memcpy(text, key.data, key.size);
    unsigned number = ROWS;
    ck_assert_int_eq(sscanf(text, "filter/%u", &number), 1);
    ck_assert_uint_lt(number, ROWS);
    return number;
}

static void on_row(gv_node_index_t index, gv_bytes_t key, uint32_t value, void *arg)
{
    node_t *node = arg;
    uint32_t *row = &node->rows[index][row_number(key)];
    if (*row == 0 && value != 0) {
        node->rows_held++;
    } else if (*row != 0 && value == 0) {
        node->rows_held--;
    }
    *row = value;
}

static void on_node(gv_node_index_t index, gv_node_event_t event, void *arg)
{
    node_t *node = arg;
    node->is_routable[index] = event == GV_NODE_ROUTABLE;
}

static uint64_t hash_of(const gv_forward_t *msg)
{
    return gv_bytes_hash(msg->payload, gv_bytes_hash(msg->topic, msg->qos));
}

/* As the broker does it: written down here, answered at the end of the turn. */
static void on_deliver(const gv_delivery_t *delivery, const gv_forward_t *msg, void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    node->delivered++;
    node->delivered_hash = hash_of(msg);
    if (delivery->seq != 0) {
        ck_assert_uint_lt(node->unapplied_count, DELIVERIES_MAX);
        node->unapplied[node->unapplied_count++] = *delivery;
        gv_loop_defer(node->loop, &node->apply_job);
    }
}

static void apply(gv_job_t *job)
{
    node_t *node = gv_container_of(job, node_t, apply_job);
    gv_loop_assert_current(node->loop);
    for (size_t i = 0; i < node->unapplied_count; i++) {
        gv_cluster_applied(node->cluster, node->unapplied[i], NULL);
    }
    node->unapplied_count = 0;
}

static void on_confirmed(uint64_t token, gv_node_index_t index, gv_forward_result_t result,
                         const gv_forward_t *lost, void *arg)
{
    node_t *node = arg;
    (void)token, (void)lost;
    ck_assert_uint_ne(index, GV_NODE_SELF);
    node->confirmed[result]++;
}

static bool on_overdue(uint64_t *token, gv_node_index_t node, const gv_forward_t *msg, void *arg)
{
    (void)token, (void)node, (void)msg, (void)arg;
    return true;
}

static void on_note(gv_node_index_t node, gv_frame_kind_t kind, gv_bytes_t body, void *arg)
{
    (void)node, (void)kind, (void)body, (void)arg;
}

static void on_claimed(const gv_claim_t *claim, gv_claim_verdict_t verdict, void *arg)
{
    (void)claim, (void)verdict, (void)arg;
}

static void on_let_go(const gv_letting_t *letting, void *arg)
{
    (void)letting, (void)arg;
}

static void on_barrier(uint64_t token, bool in_time, void *arg)
{
    node_t *node = arg;
    (void)token;
    node->barriers++;
    node->barriers_in_time += in_time ? 1 : 0;
}

static void on_start_counter(uint64_t start_counter, void *arg)
{
    node_t *node = arg;
    node->start_counter = start_counter;
}

static void start_cluster(void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    gv_error_text_t error;
    ck_assert_int_eq(gv_cluster_start(node->cluster, &error), GV_OK);
}

/* A new life of node `number`; listen NULL: any free port; seed NULL: none. */
static void start_at(node_t *node, uint8_t number, const char *listen, const char *seed)
{
    static uint64_t boot_id = 1000;
    const node_t before = *node; /* and seed may point into it */
    char seed_text[GV_ADDRESS_TEXT_SIZE] = "";
    (void)snprintf(seed_text, sizeof(seed_text), "%s", seed != NULL ? seed : "");
    *node = (node_t){.number = number, .start_counter = before.start_counter + 1};
    node->secret = before.secret != NULL ? before.secret : "sesame";
    node->cluster_name = before.cluster_name != NULL ? before.cluster_name : "vineyard";
    node->apply_job.run = apply;
    (void)snprintf(node->name, sizeof(node->name), "node%u", number);
    ck_assert_int_eq(gv_loop_new(NULL, &node->loop), GV_OK);

    gv_cluster_options_t options;
    gv_cluster_options_init(&options);
    options.loop = node->loop;
    memset(options.node_id.bytes, number, GV_NODE_ID_SIZE);
    options.incarnation =
        (gv_incarnation_t){.start_counter = node->start_counter, .boot_id = ++boot_id};
    options.node_name = node->name;
    options.cluster_name = node->cluster_name;
    options.listen = listen != NULL ? listen : "127.0.0.1:0";
    const char *const seeds[] = {seed_text};
    options.seeds = seeds;
    options.seed_count = seed_text[0] != '\0' ? 1 : 0;
    options.secret = gv_bytes_text(node->secret);
    options.ops = (gv_cluster_ops_t){
        .row = on_row,
        .node = on_node,
        .deliver = on_deliver,
        .confirmed = on_confirmed,
        .overdue = on_overdue,
        .note = on_note,
        .claimed = on_claimed,
        .let_go = on_let_go,
        .barrier = on_barrier,
        .start_counter = on_start_counter,
    };
    options.arg = node;
    gv_error_text_t error;
    gv_err_t err = gv_cluster_new(&options, &node->cluster, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    (void)snprintf(node->address, sizeof(node->address), "%s", gv_cluster_address(node->cluster));
    ck_assert_int_eq(gv_loop_start(node->loop), GV_OK);
    on_loop(node->loop, start_cluster, node);
}

static void start(node_t *node, uint8_t number, const char *seed)
{
    start_at(node, number, NULL, seed);
}

/* As a crash looks to the others: the sockets close, nobody says goodbye. */
static void stop_abruptly(node_t *node)
{
    gv_loop_stop(node->loop);
    gv_loop_join(node->loop);
    gv_cluster_free(&node->cluster);
    gv_loop_free(&node->loop);
}

static void on_left(void *arg)
{
    node_t *node = arg;
    node->has_left = true;
}

static void leave(void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    gv_cluster_leave(node->cluster, on_left, node);
}

static bool has_left(void *arg)
{
    const node_t *node = arg;
    return node->has_left;
}

/* ---- looking ------------------------------------------------------------------------------ */

/* How `viewer` sees node `number`, itself or through another's gossiped view. */
typedef struct sight {
    node_t *viewer;
    uint8_t number;
    gv_member_state_t state;
    bool is_linked;
} sight_t;

static const gv_cluster_member_t *member_of(const gv_cluster_status_t *status, uint8_t number)
{
    for (size_t i = 0; i < status->member_count; i++) {
        if (status->members[i].member.id.bytes[0] == number) {
            return &status->members[i];
        }
    }
    return NULL;
}

static bool is_seen_so(void *arg)
{
    const sight_t *sight = arg;
    gv_loop_assert_current(sight->viewer->loop);
    gv_cluster_status_t *status;
    gv_cluster_status_new(sight->viewer->cluster, &status);
    const gv_cluster_member_t *member = member_of(status, sight->number);
    bool is_so = member != NULL && member->member.view.state == sight->state &&
                 member->member.view.is_linked == sight->is_linked &&
                 (!sight->is_linked || member->has_link);
    gv_cluster_status_free(&status);
    return is_so;
}

static bool sees(node_t *viewer, uint8_t number, gv_member_state_t state, bool is_linked,
                 uint32_t timeout_ms)
{
    sight_t sight = {viewer, number, state, is_linked};
    return comes_true(viewer->loop, is_seen_so, &sight, timeout_ms);
}

static void assert_all_linked(void)
{
    for (size_t i = 0; i < NODES; i++) {
        for (uint8_t number = 1; number <= NODES; number++) {
            ck_assert_msg(nodes[i].number == number ||
                              sees(&nodes[i], number, GV_MEMBER_ALIVE, true, PATIENCE_MS),
                          "node%u does not see node%u", nodes[i].number, number);
        }
    }
}

typedef struct count {
    node_t *node;
    const uint32_t *counter;
    uint32_t expected;
} count_t;

static bool has_count(void *arg)
{
    const count_t *count = arg;
    return *count->counter == count->expected;
}

static void assert_reaches(node_t *node, const uint32_t *counter, uint32_t expected)
{
    count_t count = {node, counter, expected};
    ck_assert(comes_true(node->loop, has_count, &count, PATIENCE_MS));
}

typedef struct status_request {
    node_t *node;
    gv_cluster_status_t *status;
} status_request_t;

static void take_status(void *arg)
{
    status_request_t *request = arg;
    gv_loop_assert_current(request->node->loop);
    gv_cluster_status_new(request->node->cluster, &request->status);
}

static gv_cluster_status_t *status_of(node_t *node)
{
    status_request_t request = {node, NULL};
    on_loop(node->loop, take_status, &request);
    return request.status;
}

/* ---- the fixture: three nodes that have found each other ---------------------------------- */

static void set_up(void)
{
    memset(nodes, 0, sizeof(nodes));
    start(&nodes[0], 1, NULL);
    start(&nodes[1], 2, nodes[0].address);
    start(&nodes[2], 3, nodes[1].address); /* hears of node 1 from node 2 */
    assert_all_linked();
}

static void tear_down(void)
{
    for (size_t i = 0; i < NODES; i++) {
        if (nodes[i].loop != NULL) {
            stop_abruptly(&nodes[i]);
        }
    }
}

START_TEST(three_nodes_find_each_other_by_seeds)
{
    gv_cluster_status_t *status = status_of(&nodes[2]);
    ck_assert_uint_eq(status->member_count, 3);
    ck_assert_str_eq(status->cluster_name, "vineyard");
    ck_assert_str_eq(status->listen, nodes[2].address);
    ck_assert_str_eq(status->members[0].member.name, "node3");
    ck_assert(status->has_secret);
    ck_assert(!status->is_leaving);
    ck_assert_uint_eq(status->identity_conflicts, 0);
    const gv_cluster_member_t *first = member_of(status, 1);
    ck_assert_ptr_nonnull(first);
    ck_assert_str_eq(first->member.name, "node1");
    ck_assert_str_eq(first->member.address, nodes[0].address);
    gv_cluster_status_free(&status);
    ck_assert_ptr_null(status);
}
END_TEST

/* Node 3 shows how node 2 sees node 1. */
static bool knows_all_views(void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    gv_cluster_status_t *status;
    gv_cluster_status_new(node->cluster, &status);
    size_t known = 0;
    for (size_t i = 0; i < status->member_count * status->member_count; i++) {
        known += status->views[i].is_known && status->views[i].view.state == GV_MEMBER_ALIVE;
    }
    gv_cluster_status_free(&status);
    return known >= (size_t)NODES * (NODES - 1);
}

START_TEST(every_node_can_show_every_nodes_view)
{
    for (size_t i = 0; i < NODES; i++) {
        ck_assert(comes_true(nodes[i].loop, knows_all_views, &nodes[i], PATIENCE_MS));
    }
}
END_TEST

/* ---- routes ------------------------------------------------------------------------------- */

typedef struct routes {
    node_t *node;
    uint32_t from;
    uint32_t to;
    uint32_t value;
    bool wants_barrier;
} routes_t;

static void set_routes(void *arg)
{
    const routes_t *routes = arg;
    gv_loop_assert_current(routes->node->loop);
    for (uint32_t i = routes->from; i < routes->to; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "filter/%u", (unsigned)i);
        ck_assert_int_eq(
            gv_cluster_route_set(routes->node->cluster, gv_bytes_text(key), routes->value), GV_OK);
    }
    if (routes->wants_barrier) {
        gv_cluster_barrier(routes->node->cluster, 1);
    }
}

START_TEST(routes_are_everywhere_when_the_barrier_is_through)
{
    routes_t routes = {&nodes[0], 0, 300, 7, true};
    on_loop(nodes[0].loop, set_routes, &routes);
    assert_reaches(&nodes[0], &nodes[0].barriers, 1);
    ck_assert_uint_eq(nodes[0].barriers_in_time, 1);
    for (size_t i = 1; i < NODES; i++) {
        /* Not "soon": now. */
        count_t count = {&nodes[i], &nodes[i].rows_held, 300};
        ck_assert(comes_true(nodes[i].loop, has_count, &count, 0));
    }
}
END_TEST

START_TEST(routes_withdrawn_are_gone_everywhere)
{
    routes_t routes = {&nodes[1], 0, 100, 1, false};
    on_loop(nodes[1].loop, set_routes, &routes);
    assert_reaches(&nodes[2], &nodes[2].rows_held, 100);
    routes.to = 60;
    routes.value = 0;
    on_loop(nodes[1].loop, set_routes, &routes);
    assert_reaches(&nodes[0], &nodes[0].rows_held, 40);
    assert_reaches(&nodes[2], &nodes[2].rows_held, 40);
}
END_TEST

/* ---- messages ----------------------------------------------------------------------------- */

typedef struct message {
    node_t *node;
    size_t size;
    uint8_t qos;
    uint64_t hash;
} message_t;

static void publish_to_all(void *arg)
{
    message_t *message = arg;
    gv_loop_assert_current(message->node->loop);
    uint8_t *payload = gv_xalloc(message->size);
    gv_rng_t rng;
    gv_rng_init(&rng, message->size, 1);
    gv_rng_fill(&rng, payload, message->size);
    gv_forward_t forward = {
        .topic = GV_BYTES_LITERAL("cellar/temperature"),
        .payload = gv_bytes(payload, message->size),
        .uid = {.boot_id = 5, .seq = 6},
        .expiry_ms = GV_FORWARD_NO_EXPIRY,
        .qos = message->qos,
    };
    memset(forward.uid.node.bytes, message->node->number, GV_NODE_ID_SIZE);
    message->hash = hash_of(&forward);
    gv_cluster_publish(message->node->cluster, &forward,
                       gv_cluster_routable(message->node->cluster), 99);
    gv_free(payload);
}

static void assert_delivered(const message_t *message, uint32_t count)
{
    for (size_t i = 0; i < NODES; i++) {
        if (&nodes[i] != message->node) {
            assert_reaches(&nodes[i], &nodes[i].delivered, count);
            ck_assert_uint_eq(nodes[i].delivered_hash, message->hash);
        }
    }
}

START_TEST(a_publish_reaches_the_others_and_is_confirmed)
{
    message_t message = {&nodes[2], 64, 1, 0};
    on_loop(nodes[2].loop, publish_to_all, &message);
    assert_delivered(&message, 1);
    assert_reaches(&nodes[2], &nodes[2].confirmed[GV_FORWARD_APPLIED], 2);
    message.qos = 0;
    on_loop(nodes[2].loop, publish_to_all, &message);
    assert_delivered(&message, 2);
    ck_assert_uint_eq(nodes[2].delivered, 0);
}
END_TEST

START_TEST(a_publish_of_20_megabytes_leaves_the_links_alive)
{
    message_t message = {&nodes[0], (size_t)20 << 20, 1, 0};
    on_loop(nodes[0].loop, publish_to_all, &message);
    count_t count = {&nodes[0], &nodes[0].confirmed[GV_FORWARD_APPLIED], 2};
    ck_assert(comes_true(nodes[0].loop, has_count, &count, 60000));
    assert_delivered(&message, 1);
    gv_cluster_status_t *status = status_of(&nodes[0]);
    ck_assert_uint_eq(status->core.links_closed, 0);
    gv_cluster_status_free(&status);
}
END_TEST

/* ---- a node stops, and comes back --------------------------------------------------------- */

START_TEST(a_node_that_crashes_is_suspect_then_dead_and_attracts_nothing)
{
    routes_t routes = {&nodes[2], 0, 50, 3, false};
    on_loop(nodes[2].loop, set_routes, &routes);
    assert_reaches(&nodes[0], &nodes[0].rows_held, 50);

    uint64_t began_ms = now_ms();
    stop_abruptly(&nodes[2]);
    ck_assert_msg(sees(&nodes[0], 3, GV_MEMBER_SUSPECT, false, 2000), "the reset is a hint");
    ck_assert(sees(&nodes[0], 3, GV_MEMBER_DEAD, false, PATIENCE_MS));
    ck_assert(sees(&nodes[1], 3, GV_MEMBER_DEAD, false, PATIENCE_MS));
    uint64_t took_ms = now_ms() - began_ms;
    /* The promise is 3 s, which the simulator holds it to; this machine may be busy. */
    ck_assert_msg(took_ms < PATIENCE_MS, "dead after %u ms", (unsigned)took_ms);
    ck_assert_msg(nodes[0].rows_held == 50, "hidden, not deleted");

    message_t message = {&nodes[0], 10, 1, 0};
    on_loop(nodes[0].loop, publish_to_all, &message);
    assert_reaches(&nodes[0], &nodes[0].confirmed[GV_FORWARD_APPLIED], 1);
    ck_assert_uint_eq(nodes[0].confirmed[GV_FORWARD_GONE], 0);
}
END_TEST

START_TEST(a_node_that_comes_back_has_everything_and_is_believed)
{
    routes_t routes = {&nodes[0], 0, 200, 3, false};
    on_loop(nodes[0].loop, set_routes, &routes);
    routes_t own = {&nodes[2], 200, 250, 3, false};
    on_loop(nodes[2].loop, set_routes, &own);
    assert_reaches(&nodes[2], &nodes[2].rows_held, 200);
    assert_reaches(&nodes[0], &nodes[0].rows_held, 50);

    stop_abruptly(&nodes[2]);
    ck_assert(sees(&nodes[0], 3, GV_MEMBER_DEAD, false, PATIENCE_MS));
    /* Another port, as a container with another address; no routes of its own any more. */
    uint64_t began_ms = now_ms();
    start(&nodes[2], 3, nodes[0].address);
    assert_all_linked();
    assert_reaches(&nodes[2], &nodes[2].rows_held, 200);
    /* Usually a third of a second; the promise is 2 s, and this machine may be busy. */
    ck_assert_uint_lt(now_ms() - began_ms, PATIENCE_MS);
    assert_reaches(&nodes[0], &nodes[0].rows_held, 0);
    assert_reaches(&nodes[1], &nodes[1].rows_held, 200);
}
END_TEST

START_TEST(a_node_that_leaves_is_known_to_have_left_at_once)
{
    uint64_t began_ms = now_ms();
    on_loop(nodes[1].loop, leave, &nodes[1]);
    ck_assert(sees(&nodes[0], 2, GV_MEMBER_LEFT, false, PATIENCE_MS));
    ck_assert(sees(&nodes[2], 2, GV_MEMBER_LEFT, false, PATIENCE_MS));
    ck_assert(comes_true(nodes[1].loop, has_left, &nodes[1], PATIENCE_MS));
    ck_assert_uint_lt(now_ms() - began_ms, PATIENCE_MS);
    stop_abruptly(&nodes[1]);
    ck_assert(sees(&nodes[0], 3, GV_MEMBER_ALIVE, true, PATIENCE_MS));

    start(&nodes[1], 2, nodes[0].address);
    assert_all_linked();
}
END_TEST

static gv_err_t forget(node_t *node, uint8_t number)
{
    gv_loop_assert_current(node->loop);
    gv_node_id_t id;
    memset(id.bytes, number, sizeof(id.bytes));
    return gv_cluster_forget(node->cluster, gv_cluster_index_of(node->cluster, &id));
}

static void forget_the_living(void *arg)
{
    ck_assert_int_eq(forget(arg, 3), GV_ERR_BUSY);
    ck_assert_int_eq(forget(arg, 77), GV_ERR_NOENT);
}

/* Again and again: what another node has just said about it may still be on its way. */
static bool has_forgotten(void *arg)
{
    node_t *node = arg;
    gv_loop_assert_current(node->loop);
    ck_assert_int_ne(forget(node, 3), GV_ERR_BUSY);
    gv_cluster_status_t *status;
    gv_cluster_status_new(node->cluster, &status);
    size_t count = status->member_count;
    gv_cluster_status_free(&status);
    return count == 2;
}

START_TEST(only_a_node_that_is_gone_can_be_forgotten)
{
    on_loop(nodes[0].loop, forget_the_living, &nodes[0]);
    on_loop(nodes[2].loop, leave, &nodes[2]);
    ck_assert(sees(&nodes[0], 3, GV_MEMBER_LEFT, false, PATIENCE_MS));
    ck_assert(comes_true(nodes[0].loop, has_forgotten, &nodes[0], PATIENCE_MS));
}
END_TEST

/* ---- who does not belong ------------------------------------------------------------------ */

static void throw_garbage(const char *address, uint64_t seed)
{
    gv_rng_t rng;
    gv_rng_init(&rng, seed, 1);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET,
        .sin_port = htons((uint16_t)strtoul(strrchr(address, ':') + 1, NULL, 10)),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    uint8_t bytes[300];
    size_t size = 1 + gv_rng_below(&rng, sizeof(bytes));
    gv_rng_fill(&rng, bytes, size);
    (void)send(fd, bytes, size, MSG_NOSIGNAL);
    (void)close(fd);
}

START_TEST(garbage_at_the_port_disturbs_nobody)
{
    for (uint64_t i = 0; i < 200; i++) {
        throw_garbage(nodes[0].address, i);
    }
    routes_t routes = {&nodes[0], 0, 10, 1, true};
    on_loop(nodes[0].loop, set_routes, &routes);
    assert_reaches(&nodes[0], &nodes[0].barriers_in_time, 1);
    assert_all_linked();
    gv_cluster_status_t *status = status_of(&nodes[0]);
    ck_assert_uint_gt(status->links.garbage, 0);
    ck_assert_uint_eq(status->core.links_closed, 0);
    gv_cluster_status_free(&status);
}
END_TEST

/* Starts a fourth node that must stay alone, and gives its status at the end. */
static gv_cluster_status_t *status_of_outsider(uint8_t number, const char *secret,
                                               const char *cluster_name)
{
    node_t outsider = {.secret = secret, .cluster_name = cluster_name};
    start(&outsider, number, nodes[0].address);
    sleep_ms(1500);
    gv_cluster_status_t *status = status_of(&outsider);
    stop_abruptly(&outsider);
    return status;
}

START_TEST(a_wrong_secret_stays_outside)
{
    gv_cluster_status_t *outsider = status_of_outsider(4, "open", "vineyard");
    ck_assert_uint_eq(outsider->member_count, 1);
    ck_assert_uint_gt(outsider->links.refused[GV_LINK_CLOSE_SECRET], 0);
    gv_cluster_status_free(&outsider);
    gv_cluster_status_t *status = status_of(&nodes[0]);
    ck_assert_uint_eq(status->member_count, 3);
    ck_assert_uint_gt(status->links.refused[GV_LINK_CLOSE_SECRET], 0);
    gv_cluster_status_free(&status);
}
END_TEST

START_TEST(another_cluster_stays_outside)
{
    gv_cluster_status_t *outsider = status_of_outsider(4, "sesame", "orchard");
    ck_assert_uint_eq(outsider->member_count, 1);
    ck_assert_uint_gt(outsider->links.refused[GV_LINK_CLOSE_CLUSTER], 0);
    gv_cluster_status_free(&outsider);
}
END_TEST

START_TEST(a_copied_data_directory_is_noticed_on_both_sides)
{
    /* The identity of the node it dials, and then of another one. */
    gv_cluster_status_t *twin = status_of_outsider(1, "sesame", "vineyard");
    ck_assert_uint_gt(twin->links.refused[GV_LINK_CLOSE_DUPLICATE], 0);
    gv_cluster_status_free(&twin);
    twin = status_of_outsider(3, "sesame", "vineyard");
    ck_assert_uint_gt(twin->identity_conflicts, 0);
    gv_cluster_status_free(&twin);
    gv_cluster_status_t *status = status_of(&nodes[0]);
    ck_assert_uint_gt(status->links.refused[GV_LINK_CLOSE_DUPLICATE], 0);
    ck_assert_uint_gt(status->identity_conflicts, 0);
    gv_cluster_status_free(&status);
    assert_all_linked();
}
END_TEST

/* ---- addresses ---------------------------------------------------------------------------- */

START_TEST(a_node_that_does_not_know_its_address_is_found_all_the_same)
{
    for (size_t i = 0; i < NODES; i++) {
        stop_abruptly(&nodes[i]);
    }
    start_at(&nodes[0], 1, "0.0.0.0:0", NULL);
    char seed[64];
    (void)snprintf(seed, sizeof(seed), "localhost:%s", strrchr(nodes[0].address, ':') + 1);
    start_at(&nodes[1], 2, "0.0.0.0:0", seed);
    start_at(&nodes[2], 3, "0.0.0.0:0", seed);
    assert_all_linked();
    gv_cluster_status_t *status = status_of(&nodes[2]);
    const gv_cluster_member_t *member = member_of(status, 2);
    ck_assert_ptr_nonnull(member);
    ck_assert_int_eq(strncmp(member->member.address, "127.0.0.1:", 10), 0);
    ck_assert_str_eq(strrchr(member->member.address, ':'), strrchr(nodes[1].address, ':'));
    gv_cluster_status_free(&status);
}
END_TEST

START_TEST(a_node_on_its_own_answers_itself)
{
    stop_abruptly(&nodes[1]);
    stop_abruptly(&nodes[2]);
    stop_abruptly(&nodes[0]);
    start(&nodes[0], 1, nodes[0].address); /* its own old address as a seed: nobody there */
    routes_t routes = {&nodes[0], 0, 10, 1, true};
    on_loop(nodes[0].loop, set_routes, &routes);
    assert_reaches(&nodes[0], &nodes[0].barriers_in_time, 1);
    on_loop(nodes[0].loop, leave, &nodes[0]);
    ck_assert(comes_true(nodes[0].loop, has_left, &nodes[0], PATIENCE_MS));
}
END_TEST

int main(void)
{
    gv_os_ignore_sigpipe();
    gv_log_configure(GV_LOG_ERROR, NULL, NULL, NULL);
    TCase *tc = tcase_create("cluster");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, three_nodes_find_each_other_by_seeds);
    tcase_add_test(tc, every_node_can_show_every_nodes_view);
    tcase_add_test(tc, routes_are_everywhere_when_the_barrier_is_through);
    tcase_add_test(tc, routes_withdrawn_are_gone_everywhere);
    tcase_add_test(tc, a_publish_reaches_the_others_and_is_confirmed);
    tcase_add_test(tc, a_publish_of_20_megabytes_leaves_the_links_alive);
    tcase_add_test(tc, a_node_that_crashes_is_suspect_then_dead_and_attracts_nothing);
    tcase_add_test(tc, a_node_that_comes_back_has_everything_and_is_believed);
    tcase_add_test(tc, a_node_that_leaves_is_known_to_have_left_at_once);
    tcase_add_test(tc, only_a_node_that_is_gone_can_be_forgotten);
    tcase_add_test(tc, garbage_at_the_port_disturbs_nobody);
    tcase_add_test(tc, a_wrong_secret_stays_outside);
    tcase_add_test(tc, another_cluster_stays_outside);
    tcase_add_test(tc, a_copied_data_directory_is_noticed_on_both_sides);
    tcase_add_test(tc, a_node_that_does_not_know_its_address_is_found_all_the_same);
    tcase_add_test(tc, a_node_on_its_own_answers_itself);

    Suite *suite = suite_create("cluster");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
