/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three nodes that lose messages and links, whose clocks are wrong, that crash and come back; after
 * quiet they have the same retained messages, and what was deleted stays deleted (P7).
 *
 * RECONCILE_SEEDS=FIRST-LAST runs other seeds than the usual ones.
 */
#include "broker/core/reconcile.h"

#include "broker/core/shard_p.h"
#include "cluster/core/forward_codec.h"
#include "house.h"

enum {
    NODES = 3,
    TOPICS = 12,
    STEPS = 400,
    SEEDS = 24,
};

/* ---- the network ----------------------------------------------------------------------------- */

typedef enum frame_what {
    FRAME_PUBLISH,
    FRAME_APPLIED,
    FRAME_NOTE,
} frame_what_t;

typedef struct frame {
    gv_link_t link;
    frame_what_t what;
    size_t from;
    size_t to;
    gv_frame_kind_t kind;
    uint64_t token;
    uint64_t expiry_ms;
    size_t size;
    uint8_t body[];
} frame_t;

static house_t nodes[NODES];
static bool is_cut[NODES]
                  [NODES]; /* in both directions; who does not hear another holds it for dead */
static unsigned loss;      /* of QoS 0 and notes [percent] */
static gv_list_t frames;
static gv_rng_t rng;
static uint64_t note_count;

static uint32_t below(uint32_t bound)
{
    return gv_rng_below(&rng, bound);
}

/* How a node names another: 1 and 2, in the order of their places. */
static gv_node_index_t index_of(size_t viewer, size_t node)
{
    return (gv_node_index_t)((node + NODES - viewer) % NODES);
}

static size_t node_at(size_t viewer, gv_node_index_t index)
{
    return (viewer + index) % NODES;
}

static size_t number_of(const void *arg)
{
    return (size_t)((const house_t *)arg - nodes);
}

static frame_t *send_frame(frame_what_t what, size_t from, size_t to, size_t size)
{
    frame_t *frame = gv_xcalloc(1, sizeof(*frame) + size);
    frame->what = what;
    frame->from = from;
    frame->to = to;
    frame->size = size;
    gv_list_append(&frames, &frame->link);
    return frame;
}

static void on_route_set(void *arg, gv_bytes_t key, uint32_t value)
{
    (void)arg, (void)key, (void)value;
}

static void on_barrier(void *arg, uint64_t token)
{
    gv_hub_on_barrier(((house_t *)arg)->hub, token, true);
}

static void on_publish(void *arg, const gv_forward_t *message, uint64_t mask, uint64_t token)
{
    size_t from = number_of(arg);
    for (gv_node_index_t index = 1; index < NODES; index++) {
        size_t to = node_at(from, index);
        bool is_lost = is_cut[from][to] || (message->qos == 0 && below(100) < loss);
        if ((mask >> index & 1) == 0 || (is_lost && message->qos == 0)) {
            continue;
        }
        frame_t *frame = send_frame(FRAME_PUBLISH, from, to, gv_forward_size(message));
        gv_forward_encode(message, frame->body, frame->size);
        frame->token = token;
        frame->expiry_ms = message->expiry_ms;
    }
}

static void on_applied(void *arg, gv_delivery_t delivery, const gv_delivery_outcome_t *outcome)
{
    size_t from = number_of(arg);
    frame_t *frame = send_frame(FRAME_APPLIED, from, node_at(from, delivery.from), 0);
    frame->token = delivery.seq - 1;
    ck_assert(!outcome->is_refused || nodes[from].limits.retained_messages_max != 0);
}

static void on_pause(void *arg, bool is_paused)
{
    (void)arg, (void)is_paused;
}

static bool on_note(void *arg, gv_node_index_t index, gv_frame_kind_t kind, gv_bytes_t body)
{
    size_t from = number_of(arg);
    size_t to = node_at(from, index);
    ck_assert_uint_le(body.size, GV_FRAME_BODY_MAX);
    note_count++;
    if (is_cut[from][to]) {
        return false;
    }
    if (below(100) >= loss) {
        frame_t *frame = send_frame(FRAME_NOTE, from, to, body.size);
        frame->kind = kind;
        memcpy(frame->body, body.data, body.size);
    }
    return true;
}

/* As the cluster remembers them: a node that starts is told by those it sees. */
static uint64_t known[NODES];

static uint64_t on_members(void *arg)
{
    return known[number_of(arg)];
}

static void on_who(void *arg, gv_node_index_t index, gv_remembered_t *member_out)
{
    *member_out = (gv_remembered_t){.id.bytes = {nodes[node_at(number_of(arg), index)].number}};
}

/* A message arrives, or the link has broken meanwhile and its node is told so. */
static void arrive(const frame_t *frame)
{
    gv_hub_t *to = nodes[frame->to].hub;
    gv_node_index_t from = index_of(frame->to, frame->from);
    bool is_lost = is_cut[frame->from][frame->to];
    gv_bytes_t shared[GV_FORWARD_SHARED_MAX];
    gv_forward_t message = {0};
    if (frame->what == FRAME_NOTE && !is_lost) {
        gv_hub_on_note(to, from, frame->kind, gv_bytes(frame->body, frame->size));
    } else if (frame->what == FRAME_APPLIED && !is_lost && frame->token != 0) {
        gv_hub_on_confirmed(to, frame->token, from, GV_FORWARD_APPLIED, NULL);
    } else if (frame->what == FRAME_PUBLISH) {
        ck_assert_int_eq(gv_forward_decode(gv_bytes(frame->body, frame->size), shared, &message),
                         GV_OK);
        message.expiry_ms = frame->expiry_ms;
        gv_delivery_t delivery = {.from = from, .seq = message.qos > 0 ? frame->token + 1 : 0};
        if (!is_lost) {
            gv_hub_on_deliver(to, &delivery, &message);
        } else if (message.qos > 0 && frame->token != 0) {
            gv_hub_on_confirmed(nodes[frame->from].hub, frame->token,
                                index_of(frame->from, frame->to), GV_FORWARD_GONE, &message);
        }
    }
}

static void settle(void)
{
    for (bool goes_on = true; goes_on;) {
        for (size_t i = 0; i < NODES; i++) {
            house_settle(&nodes[i]);
        }
        goes_on = false;
        for (gv_link_t *link; (link = gv_list_take_first(&frames)) != NULL;) {
            frame_t *frame = gv_container_of(link, frame_t, link);
            arrive(frame);
            gv_free(frame);
            goes_on = true;
        }
    }
}

static void pass(uint64_t ms)
{
    for (uint64_t passed = 0; passed < ms; passed += 50) {
        for (size_t i = 0; i < NODES; i++) {
            house_t *house = &nodes[i];
            house->now_ms += 50;
            (void)gv_timerwheel_advance(house->wheel, house->now_ms);
        }
        settle();
    }
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void see(size_t viewer, size_t node)
{
    for (size_t n = 0; n < NODES && !is_cut[viewer][node]; n++) {
        bool is_told = n == node || (n != viewer && (known[node] >> index_of(node, n) & 1) != 0);
        known[viewer] |= is_told ? (uint64_t)1 << index_of(viewer, n) : 0;
    }
    gv_hub_on_node(nodes[viewer].hub, index_of(viewer, node),
                   is_cut[viewer][node] ? GV_NODE_HIDDEN : GV_NODE_ROUTABLE);
}

/* There is nobody to ask for a client id. */
static void on_claim(void *arg, const gv_claim_t *claim)
{
    const house_t *house = arg;
    gv_hub_on_claimed(house->hub, claim, GV_CLAIM_GRANTED);
}

static void on_enroll(void *arg, const gv_claim_t *claim)
{
    (void)arg, (void)claim;
}

static void on_release(void *arg, const gv_id_key_t *key, gv_holder_t holder)
{
    (void)arg, (void)key, (void)holder;
}

static void on_let_gone(void *arg, const gv_letting_t *letting)
{
    (void)arg, (void)letting;
}

static void connect_hub(size_t i)
{
    house_t *house = &nodes[i];
    gv_hub_cluster_t ops = {
        .arg = house,
        .route_set = on_route_set,
        .barrier = on_barrier,
        .publish = on_publish,
        .applied = on_applied,
        .pause_credit = on_pause,
        .claim = on_claim,
        .enroll = on_enroll,
        .release = on_release,
        .let_gone = on_let_gone,
        .note = on_note,
        .members = on_members,
        .who = on_who,
    };
    void *shards[HOUSE_SHARDS_MAX];
    for (uint16_t s = 0; s < house->shard_count; s++) {
        shards[s] = house->shards[s];
    }
    gv_hub_connect(house->hub, shards, &ops);
}

static void set_cut(size_t a, size_t b, bool cut)
{
    if (a == b || is_cut[a][b] == cut) {
        return;
    }
    is_cut[a][b] = cut;
    is_cut[b][a] = cut;
    see(a, b);
    see(b, a);
}

static void heal(void)
{
    for (size_t a = 0; a < NODES; a++) {
        for (size_t b = 0; b < a; b++) {
            set_cut(a, b, false);
        }
    }
    settle();
}

/* It dies, or ends in order, and comes back; the others notice both. */
static void restart(size_t i, bool is_crash)
{
    bool was_cut[NODES];
    for (size_t n = 0; n < NODES; n++) {
        was_cut[n] = is_cut[i][n];
        set_cut(i, n, true);
    }
    settle();
    nodes[i].next_shard_count = (uint16_t)(1 + below(HOUSE_SHARDS_MAX));
    if (is_crash) {
        house_crash(&nodes[i], GV_MEM_CRASH_PROCESS, below(8));
    } else {
        house_restart(&nodes[i]);
    }
    connect_hub(i);
    known[i] = 0;
    for (size_t n = 0; n < NODES; n++) {
        if (n != i) {
            set_cut(i, n, was_cut[n]);
        }
    }
}

static void open_nodes(uint64_t seed)
{
    gv_rng_init(&rng, seed, 1);
    gv_list_init(&frames);
    memset(is_cut, 0, sizeof(is_cut));
    memset(known, 0, sizeof(known));
    loss = 0;
    for (size_t i = 0; i < NODES; i++) {
        house_open_member(&nodes[i], 2, (uint8_t)(i + 1));
    }
    for (size_t i = 0; i < NODES; i++) {
        connect_hub(i);
        for (size_t n = 0; n < NODES; n++) {
            if (n != i) {
                see(i, n);
            }
        }
    }
    settle();
}

static void close_nodes(void)
{
    for (size_t i = 0; i < NODES; i++) {
        for (size_t g = 0; g < nodes[i].guest_count; g++) {
            guest_leave(nodes[i].guests[g]);
        }
    }
    settle();
    for (size_t i = 0; i < NODES; i++) {
        house_close(&nodes[i]);
    }
    for (gv_link_t *link; (link = gv_list_take_first(&frames)) != NULL;) {
        gv_free(gv_container_of(link, frame_t, link));
    }
}

/* ---- what clients do and see ----------------------------------------------------------------- */

static void write_with(size_t i, const char *topic, const char *payload, uint8_t qos,
                       uint32_t expiry_s)
{
    guest_t *guest = house_connect(&nodes[i], GV_MQTT_V5, "writer", true);
    uint8_t bytes[512];
    gv_mqtt_publish_t publish = {.topic = gv_bytes_text(topic),
                                 .payload = gv_bytes_text(payload),
                                 .packet_id = qos > 0 ? 1 : 0,
                                 .qos = qos,
                                 .retain = true};
    if (expiry_s > 0) {
        gv_mqtt_props_set_number(&publish.props, GV_MQTT_PROP_MESSAGE_EXPIRY, expiry_s);
    }
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_publish(&publish, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_send(guest, bytes, size);
    guest_leave(guest);
}

static void write_at(size_t i, const char *topic, const char *payload, uint8_t qos)
{
    write_with(i, topic, payload, qos, 0);
}

static gv_shard_t *home_of(house_t *house, const char *topic)
{
    uint32_t bucket = gv_retained_bucket(gv_bytes_text(topic), house->retained_common->seed);
    return house->shards[gv_retained_home(bucket, house->shard_count)];
}

/* What a node answers for a topic; "" is nothing. */
static const char *kept_at(size_t i, const char *topic)
{
    static char texts[NODES][64];
    gv_msgbuf_t *kept =
        gv_retained_find(&home_of(&nodes[i], topic)->retained, gv_bytes_text(topic));
    gv_bytes_t payload = kept == NULL ? GV_BYTES_EMPTY : gv_publish_of(kept).payload;
    (void)snprintf(texts[i], sizeof(texts[i]), "%.*s", (int)payload.size,
                   (const char *)payload.data);
    return texts[i];
}

static void check_all(const char *topic, const char *expected)
{
    for (size_t i = 0; i < NODES; i++) {
        const char *kept = kept_at(i, topic);
        ck_assert_msg(strcmp(kept, expected) == 0, "n%zu has '%s' for %s, not '%s'", i, kept, topic,
                      expected);
    }
}

static size_t tombstones_at(size_t i)
{
    size_t count = 0;
    for (uint16_t s = 0; s < nodes[i].shard_count; s++) {
        count += gv_retained_tombstones(&nodes[i].shards[s]->retained);
    }
    return count;
}

static uint64_t fetched_by(size_t i)
{
    return gv_counter_get(&gv_hub_reconcile_stats(nodes[i].hub)->fetched);
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(what_was_lost_on_the_way_is_fetched)
{
    open_nodes(1);
    pass(3000);
    loss = 100;
    write_at(0, "a", "one", 0);
    settle();
    ck_assert_str_eq(kept_at(1, "a"), "");
    loss = 0;
    pass(8000);
    check_all("a", "one");
    ck_assert_uint_eq(fetched_by(1), 1);
    ck_assert_uint_eq(fetched_by(2), 1);
    ck_assert_uint_eq(fetched_by(0), 0);
    close_nodes();
}
END_TEST

static void check_no_tombstones(void)
{
    for (size_t i = 0; i < NODES; i++) {
        ck_assert_uint_eq(tombstones_at(i), 0);
    }
}

/* Nobody hears of this node, nor does it of anybody. */
static void cut_off(size_t node)
{
    for (size_t i = 0; i < NODES; i++) {
        if (i != node) {
            set_cut(i, node, true);
        }
    }
}

START_TEST(the_last_writer_wins_on_both_sides_of_a_partition)
{
    open_nodes(1);
    write_at(0, "a", "before", 1);
    settle();
    check_all("a", "before");
    cut_off(2);
    write_at(2, "a", "there", 1);
    write_at(2, "b", "there", 1);
    pass(100);
    write_at(0, "a", "here", 1);
    pass(100);
    write_at(2, "b", "", 0);
    pass(100);
    write_at(1, "b", "here", 2);
    settle();
    heal();
    pass(1000);
    check_all("a", "here");
    check_all("b", "here");
    close_nodes();
}
END_TEST

START_TEST(a_deletion_wins_over_what_was_written_before_it)
{
    open_nodes(1);
    write_at(0, "a", "before", 1);
    settle();
    cut_off(2);
    write_at(2, "a", "there", 1);
    pass(100);
    write_at(0, "a", "", 1);
    restart(2, false);
    heal();
    pass(1000);
    check_all("a", "");
    close_nodes();
}
END_TEST

/* A late copy of an older message; and one of a message whose tombstone is gone. */
START_TEST(what_comes_late_does_not_come_back)
{
    open_nodes(1);
    write_at(0, "a", "", 1);
    settle();
    for (int round = 0; round < 2; round++) {
        uint64_t hlc = 1700000000000U << 16; /* before the houses were opened */
        gv_forward_t late = {.topic = GV_BYTES_LITERAL("a"),
                             .payload = GV_BYTES_LITERAL("late"),
                             .expiry_ms = GV_FORWARD_NO_EXPIRY,
                             .write = {.hlc = hlc},
                             .retain = true};
        gv_delivery_t delivery = {.from = 1};
        gv_hub_on_deliver(nodes[2].hub, &delivery, &late);
        settle();
        ck_assert_str_eq(kept_at(2, "a"), "");
        pass(60000);
        check_no_tombstones();
    }
    close_nodes();
}
END_TEST

START_TEST(tombstones_stay_while_a_node_is_away)
{
    open_nodes(1);
    write_at(0, "a", "x", 1);
    settle();
    cut_off(2);
    write_at(1, "a", "", 1);
    pass(120000);
    ck_assert_uint_eq(tombstones_at(0), 1);
    ck_assert_uint_eq(tombstones_at(1), 1);
    ck_assert_str_eq(kept_at(2, "a"), "x");
    restart(0, true);
    ck_assert_uint_eq(tombstones_at(0), 1);
    heal();
    pass(60000);
    check_all("a", "");
    check_no_tombstones();
    close_nodes();
}
END_TEST

/* Nobody remembers the one that is not back yet; it must not bring back what was deleted. */
START_TEST(a_node_that_comes_back_late_after_all_have_failed_brings_nothing_back)
{
    open_nodes(1);
    write_at(0, "a", "x", 1);
    settle();
    cut_off(2);
    write_at(1, "a", "", 1);
    settle();
    set_cut(0, 1, true);
    restart(0, true);
    restart(1, true);
    set_cut(0, 1, false);
    write_at(0, "b", "y", 1);
    write_at(0, "b", "", 1);
    pass(120000);
    ck_assert_uint_eq(tombstones_at(0), 1); /* of b they know that everybody does */
    ck_assert_uint_eq(tombstones_at(1), 1);
    heal();
    pass(3000);
    check_all("a", "");
    /* It ends with time. */
    pass((uint64_t)1000 * 1000);
    for (size_t i = 0; i < NODES; i++) {
        nodes[i].clock_ahead_ms = 86400000;
    }
    pass(3000);
    check_no_tombstones();
    check_all("a", "");
    close_nodes();
}
END_TEST

/* It has missed that another took the message's place, and that this one has expired. */
START_TEST(what_an_expired_message_has_replaced_does_not_come_back)
{
    open_nodes(1);
    write_at(0, "a", "old", 1);
    settle();
    cut_off(2);
    write_with(1, "a", "short", 1, 5);
    pass(10000);
    ck_assert_str_eq(kept_at(0, "a"), "");
    heal();
    pass(3000);
    check_all("a", "");
    close_nodes();
}
END_TEST

START_TEST(stamps_rise_though_the_clock_is_set_back)
{
    open_nodes(1);
    write_at(0, "a", "one", 1);
    write_at(0, "b", "one", 1);
    write_at(0, "b", "", 1);
    settle();
    restart(0, false);
    nodes[0].clock_ahead_ms = -1800000;
    write_at(0, "a", "two", 1);
    write_at(0, "b", "two", 1);
    settle();
    check_all("a", "two");
    check_all("b", "two");
    /* And who has read what another node wrote writes after it. */
    write_at(2, "a", "three", 1);
    settle();
    write_at(0, "a", "four", 1);
    settle();
    check_all("a", "four");
    close_nodes();
}
END_TEST

static gv_stamp_t stamp_at(size_t i, const char *topic)
{
    gv_retained_write_t last;
    ck_assert(gv_retained_look(&home_of(&nodes[i], topic)->retained, gv_bytes_text(topic), &last));
    return last.stamp;
}

START_TEST(stamps_rise_above_what_is_forgotten)
{
    open_nodes(1);
    write_at(0, "a", "one", 1);
    write_at(0, "a", "", 1);
    settle();
    gv_stamp_t before = stamp_at(0, "a");
    pass(60000);
    ck_assert_uint_eq(tombstones_at(0), 0);
    set_cut(0, 1, true);
    set_cut(0, 2, true);
    restart(0, true);
    nodes[0].clock_ahead_ms = -1800000;
    write_at(0, "a", "two", 1);
    gv_stamp_t after = stamp_at(0, "a");
    ck_assert_int_gt(gv_stamp_compare(&after, &before), 0);
    heal();
    pass(3000);
    check_all("a", "two");
    close_nodes();
}
END_TEST

/* Its clock is not followed, but who overwrites what it has written wins all the same. */
START_TEST(a_clock_that_is_far_ahead_takes_nobody_with_it)
{
    open_nodes(1);
    nodes[2].clock_ahead_ms = (int64_t)30 * 86400 * 1000;
    write_at(2, "a", "future", 1);
    settle();
    check_all("a", "future");
    ck_assert_uint_eq(gv_counter_get(&gv_hub_stats(nodes[0].hub)->clocks_ahead), 1);
    write_at(0, "a", "now", 1);
    write_at(0, "b", "now", 1);
    pass(60000);
    check_all("a", "now");
    write_at(1, "b", "later", 1);
    settle();
    check_all("b", "later");
    close_nodes();
}
END_TEST

START_TEST(much_is_fetched_in_pieces)
{
    enum {
        MANY = 3000
    };
    open_nodes(1);
    cut_off(2);
    char topic[32];
    char payload[1024];
    memset(payload, 'x', sizeof(payload) - 1);
    payload[sizeof(payload) - 1] = '\0';
    guest_t *guest = house_connect(&nodes[0], GV_MQTT_V311, "writer", true);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(topic, sizeof(topic), "many/%d", i);
        guest_publish(guest, topic, payload, 0, true);
        settle();
    }
    ck_assert(!gv_hub_has_arrived(nodes[2].hub) || nodes[2].nodes_alive == 0);
    restart(2, false);
    heal();
    ck_assert(!gv_hub_has_arrived(nodes[2].hub) || fetched_by(2) >= MANY);
    pass(5000);
    ck_assert(gv_hub_has_arrived(nodes[2].hub));
    ck_assert_uint_eq(fetched_by(2), MANY);
    /* Quiet again: a digest every two seconds and its answer, of each node. */
    note_count = 0;
    pass(10000);
    ck_assert_uint_le(note_count, 36);
    close_nodes();
}
END_TEST

/* What it lacks and cannot have does not keep it from what it can have. */
START_TEST(a_full_node_soon_has_what_there_is_room_for)
{
    enum {
        MANY = 3000
    };
    open_nodes(1);
    nodes[2].limits.retained_messages_max = 10;
    cut_off(2);
    char topic[32];
    guest_t *guest = house_connect(&nodes[0], GV_MQTT_V311, "writer", true);
    for (int i = 0; i < MANY; i++) {
        (void)snprintf(topic, sizeof(topic), "many/%d", i);
        guest_publish(guest, topic, "one", 0, true);
        settle();
    }
    guest_leave(guest);
    heal();
    pass(300000);
    ck_assert_uint_le(fetched_by(2), 100); /* some were asked for at the same time */
    for (int i = 0; i == 0 || strcmp(kept_at(2, topic), "one") != 0; i++) {
        (void)snprintf(topic, sizeof(topic), "many/%d", i);
    }
    loss = 100;
    write_at(0, topic, "two", 0);
    settle();
    ck_assert_str_eq(kept_at(2, topic), "one");
    loss = 0;
    pass(120000);
    check_all(topic, "two");
    nodes[2].limits.retained_messages_max = 0;
    pass(120000);
    ck_assert_uint_ge(fetched_by(2), MANY);
    close_nodes();
}
END_TEST

static void delete_many(size_t i, unsigned first, unsigned count)
{
    char topic[32];
    guest_t *guest = house_connect(&nodes[i], GV_MQTT_V311, "writer", true);
    for (unsigned n = first; n < first + count; n++) {
        (void)snprintf(topic, sizeof(topic), "many/%u", n);
        guest_publish(guest, topic, "", 0, true);
        if (n % 32 == 0) {
            settle();
        }
    }
    guest_leave(guest);
    settle();
}

/* However fast they come, and without any time to pass. */
START_TEST(tombstones_are_not_more_than_they_may_be)
{
    enum {
        MAX = 2000,
        MORE = 500
    };
    open_nodes(1);
    nodes[0].limits.retained_tombstones_max = MAX;
    set_cut(0, 1, true);
    set_cut(0, 2, true);
    write_at(0, "a", "one", 1);
    delete_many(0, 0, MAX + MORE);
    write_at(0, "a", "", 1);
    settle();
    ck_assert_uint_eq(tombstones_at(0), MAX);
    ck_assert_str_eq(kept_at(0, "a"), "");
    close_nodes();
}
END_TEST

/* Not only so many in a second: clients may delete more than that. */
START_TEST(tombstones_that_have_served_go_at_once)
{
    enum {
        MANY = 2500
    };
    open_nodes(1);
    delete_many(0, 0, MANY);
    ck_assert_uint_eq(tombstones_at(0), MANY);
    for (int i = 0; i < 120 && tombstones_at(0) == MANY; i++) {
        pass(1000);
    }
    pass(6000);
    check_no_tombstones();
    close_nodes();
}
END_TEST

/*
 * With messages that expire the clocks stay right: a message lives, after a restart, until the time
 * of the day that was written down, so a clock that jumps ends it sooner on that node.
 */
static void act(bool has_expiry)
{
    char topic[16];
    char payload[32];
    static unsigned serial;
    size_t i = below(NODES);
    uint32_t what = below(100);
    if (what < 60) {
        (void)snprintf(topic, sizeof(topic), "t/%u", (unsigned)below(TOPICS));
        (void)snprintf(payload, sizeof(payload), "%u", ++serial);
        payload[0] = below(3) == 0 ? '\0' : payload[0]; /* a deletion */
        write_with(i, topic, payload, (uint8_t)below(3),
                   has_expiry && below(8) == 0 ? 1 + below(20) : 0);
    } else if (what < 70) {
        set_cut(i, below(NODES), below(2) == 0);
    } else if (what < 74) {
        restart(i, below(2) == 0);
    } else if (what < 78) {
        nodes[i].clock_ahead_ms = has_expiry ? 0 : (int64_t)below(7200000) - 3600000;
    } else if (what < 80) {
        loss = below(2) == 0 ? 0 : below(60);
    } else {
        pass(below(10) == 0 ? 20000 : 100);
    }
    if (below(2) == 0) {
        settle();
    }
}

static void check_same(uint64_t seed)
{
    char topic[16];
    for (unsigned t = 0; t < TOPICS; t++) {
        (void)snprintf(topic, sizeof(topic), "t/%u", t);
        char first[64];
        (void)snprintf(first, sizeof(first), "%s", kept_at(0, topic));
        for (size_t i = 1; i < NODES; i++) {
            ck_assert_msg(strcmp(first, kept_at(i, topic)) == 0,
                          "seed %llu: %s is '%s' on n0 and '%s' on n%zu", (unsigned long long)seed,
                          topic, first, kept_at(i, topic), i);
        }
    }
}

static void storm(uint64_t seed)
{
    open_nodes(seed);
    for (int step = 0; step < STEPS; step++) {
        act(seed % 2 == 0);
    }
    loss = 0;
    heal();
    pass(40000);
    check_same(seed);

    /* What is deleted now stays deleted, whoever was told what when; and is forgotten. */
    char topic[16];
    for (size_t i = 0; i < NODES; i++) {
        nodes[i].clock_ahead_ms = 0;
    }
    restart(below(NODES), true);
    set_cut(0, 1 + below(NODES - 1), true);
    size_t deleter = below(NODES);
    for (unsigned t = 0; t < TOPICS; t++) {
        (void)snprintf(topic, sizeof(topic), "t/%u", t);
        write_at(deleter, topic, "", 0);
    }
    pass(5000);
    heal();
    pass(60000);
    for (unsigned t = 0; t < TOPICS; t++) {
        (void)snprintf(topic, sizeof(topic), "t/%u", t);
        check_all(topic, "");
    }
    pass((uint64_t)2 * 3600 * 1000 / 20); /* clocks that were an hour ahead are followed so long */
    for (size_t i = 0; i < NODES; i++) {
        restart(i, false);
    }
    pass(20000);
    check_same(seed);
    close_nodes();
}

START_TEST(all_nodes_end_up_with_the_same)
{
    unsigned long first = 1;
    unsigned long last = SEEDS;
    const char *seeds = getenv("RECONCILE_SEEDS");
    if (seeds != NULL) {
        ck_assert_int_eq(sscanf(seeds, "%lu-%lu", &first, &last), 2);
    }
    for (unsigned long seed = first; seed <= last; seed++) {
        storm(seed);
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("reconcile");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, what_was_lost_on_the_way_is_fetched);
    tcase_add_test(tc, the_last_writer_wins_on_both_sides_of_a_partition);
    tcase_add_test(tc, a_deletion_wins_over_what_was_written_before_it);
    tcase_add_test(tc, what_comes_late_does_not_come_back);
    tcase_add_test(tc, tombstones_stay_while_a_node_is_away);
    tcase_add_test(tc, a_node_that_comes_back_late_after_all_have_failed_brings_nothing_back);
    tcase_add_test(tc, what_an_expired_message_has_replaced_does_not_come_back);
    tcase_add_test(tc, stamps_rise_though_the_clock_is_set_back);
    tcase_add_test(tc, stamps_rise_above_what_is_forgotten);
    tcase_add_test(tc, a_clock_that_is_far_ahead_takes_nobody_with_it);
    tcase_add_test(tc, much_is_fetched_in_pieces);
    tcase_add_test(tc, a_full_node_soon_has_what_there_is_room_for);
    tcase_add_test(tc, tombstones_are_not_more_than_they_may_be);
    tcase_add_test(tc, tombstones_that_have_served_go_at_once);
    tcase_add_test(tc, all_nodes_end_up_with_the_same);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
