/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/handshake.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "cluster/core/frame_kind.h"
#include "proto/cluster.pb-c.h"

/* ---- two nodes and the wire between them -------------------------------------------------- */

/* Keyed and sensitive to every byte and border; not a real mac (that one has its own test). */
static gv_err_t toy_mac(void *arg, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                        uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES])
{
    (void)arg;
    for (uint64_t word = 0; word < GV_HANDSHAKE_MAC_BYTES / 8; word++) {
        uint64_t hash = gv_bytes_hash(key, word);
        for (size_t i = 0; i < part_count; i++) {
            hash = gv_bytes_hash(parts[i], hash);
        }
        memcpy(mac_out + 8 * word, &hash, 8);
    }
    return GV_OK;
}

static gv_err_t broken_mac(void *arg, gv_bytes_t key, const gv_bytes_t *parts, size_t part_count,
                           uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES])
{
    (void)arg, (void)key, (void)parts, (void)part_count, (void)mac_out;
    return GV_ERR_IO;
}

typedef struct node {
    gv_handshake_self_t self;
    gv_handshake_t *handshake;
} node_t;

static uint8_t next_challenge;

static node_t node_of(uint8_t number, const char *secret)
{
    node_t node = {
        .self = {.identity = {.incarnation = {.start_counter = number, .boot_id = 100U + number}},
                 .protocol_oldest = 1,
                 .protocol_newest = 1,
                 .features = 0xf0U | number,
                 .secret = gv_bytes_text(secret),
                 .hmac = {.sha256 = toy_mac}},
    };
    gv_peer_identity_t *identity = &node.self.identity;
    memset(identity->id.bytes, number, GV_NODE_ID_SIZE);
    (void)snprintf(identity->name, sizeof(identity->name), "node%u", number);
    (void)snprintf(identity->cluster, sizeof(identity->cluster), "vineyard");
    (void)snprintf(identity->address, sizeof(identity->address), "host%u:7883", number);
    return node;
}

static void begin(node_t *node, gv_handshake_role_t role)
{
    uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES];
    memset(challenge, ++next_challenge, sizeof(challenge));
    gv_handshake_free(&node->handshake);
    gv_handshake_new(&node->self, role, challenge, &node->handshake);
}

static void end(node_t *a, node_t *b)
{
    gv_handshake_free(&a->handshake);
    gv_handshake_free(&b->handshake);
}

/* The one frame a node wants to send; `bytes` keeps it past the node's next step. */
typedef struct sent {
    bool is_there;
    gv_linkframe_t frame;
    uint8_t bytes[4096];
} sent_t;

static void take_sent(const node_t *node, sent_t *sent)
{
    gv_bytes_t output = gv_handshake_output(node->handshake);
    sent->is_there = output.size > 0;
    if (!sent->is_there) {
        return;
    }
    ck_assert_uint_le(output.size, sizeof(sent->bytes));
    memcpy(sent->bytes, output.data, output.size);
    gv_linkframe_decoder_t decoder;
    gv_linkframe_decoder_init(&decoder, GV_HANDSHAKE_BODY_MAX);
    gv_bytes_t input = gv_bytes(sent->bytes, output.size);
    ck_assert_int_eq(gv_linkframe_decode(&decoder, &input, &sent->frame), GV_OK);
    ck_assert_uint_eq(input.size, 0);
    gv_linkframe_decoder_deinit(&decoder);
}

static bool is_waiting(const node_t *node)
{
    gv_handshake_state_t state = gv_handshake_state(node->handshake);
    return state == GV_HANDSHAKE_HELLO_AWAITED || state == GV_HANDSHAKE_PROOF_AWAITED;
}

/* Moves what `from` has to say to `to`; false when there is nothing, or nobody listens. */
static bool pass(const node_t *from, node_t *to)
{
    sent_t sent;
    take_sent(from, &sent);
    if (!sent.is_there || !is_waiting(to)) {
        return false;
    }
    (void)gv_handshake_input(to->handshake, &sent.frame);
    return true;
}

/* A whole handshake. */
static void run(node_t *dialer, node_t *acceptor)
{
    begin(acceptor, GV_HANDSHAKE_ACCEPTOR);
    begin(dialer, GV_HANDSHAKE_DIALER);
    while (pass(dialer, acceptor) && pass(acceptor, dialer)) {
    }
}

static gv_handshake_state_t feed(node_t *node, uint8_t kind, gv_bytes_t body)
{
    gv_linkframe_t frame = {.kind = kind, .body = body};
    return gv_handshake_input(node->handshake, &frame);
}

static void assert_refused(const node_t *node, gv_link_close_t reason, bool is_by_peer)
{
    ck_assert_int_eq(gv_handshake_state(node->handshake), GV_HANDSHAKE_REFUSED);
    const gv_handshake_refusal_t *refusal = gv_handshake_refusal(node->handshake);
    ck_assert_msg(refusal->reason == reason, "reason %d: %s", (int)refusal->reason, refusal->text);
    ck_assert(refusal->is_by_peer == is_by_peer);
    ck_assert_uint_gt(strlen(refusal->text), 0);
}

static void assert_open(const node_t *node)
{
    ck_assert_int_eq(gv_handshake_state(node->handshake), GV_HANDSHAKE_OPEN);
}

/* ---- agreeing ----------------------------------------------------------------------------- */

START_TEST(two_nodes_with_one_secret_get_to_know_each_other)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    run(&a, &b);
    assert_open(&a);
    assert_open(&b);

    const gv_peer_identity_t *peer = gv_handshake_peer(a.handshake);
    ck_assert_str_eq(peer->name, "node2");
    ck_assert_str_eq(peer->cluster, "vineyard");
    ck_assert_str_eq(peer->address, "host2:7883");
    ck_assert_uint_eq(peer->id.bytes[0], 2);
    ck_assert_uint_eq(peer->incarnation.boot_id, 102);
    ck_assert_uint_eq(peer->incarnation.start_counter, 2);
    ck_assert_uint_eq(peer->protocol, 1);
    ck_assert_str_eq(gv_handshake_peer(b.handshake)->name, "node1");
    ck_assert_uint_eq(gv_handshake_features(a.handshake), 0xf0);
    ck_assert_uint_eq(gv_handshake_features(b.handshake), 0xf0);
    end(&a, &b);
}
END_TEST

START_TEST(two_nodes_without_a_secret_agree)
{
    node_t a = node_of(1, "");
    node_t b = node_of(2, "");
    run(&a, &b);
    assert_open(&a);
    assert_open(&b);
    end(&a, &b);
}
END_TEST

START_TEST(the_highest_version_both_speak_is_used)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    a.self.protocol_oldest = 2;
    a.self.protocol_newest = 5;
    b.self.protocol_newest = 3;
    run(&a, &b);
    assert_open(&a);
    assert_open(&b);
    ck_assert_uint_eq(gv_handshake_peer(a.handshake)->protocol, 3);
    ck_assert_uint_eq(gv_handshake_peer(b.handshake)->protocol, 3);
    end(&a, &b);
}
END_TEST

START_TEST(the_longest_texts_fit)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    gv_peer_identity_t *identity = &a.self.identity;
    memset(identity->name, 'n', sizeof(identity->name) - 1);
    memset(identity->address, 'a', sizeof(identity->address) - 1);
    memset(identity->cluster, 'c', sizeof(identity->cluster) - 1);
    identity->incarnation.start_counter = UINT64_MAX;
    a.self.features = UINT64_MAX;
    b.self.identity = a.self.identity;
    b.self.identity.id.bytes[0] = 77;
    run(&a, &b);
    assert_open(&a);
    assert_open(&b);
    ck_assert_str_eq(gv_handshake_peer(b.handshake)->address, identity->address);
    end(&a, &b);
}
END_TEST

/* ---- refusing ----------------------------------------------------------------------------- */

START_TEST(another_cluster_is_refused_and_told_why)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    (void)snprintf(b.self.identity.cluster, sizeof(b.self.identity.cluster), "orchard");
    run(&a, &b);
    assert_refused(&b, GV_LINK_CLOSE_CLUSTER, false);
    assert_refused(&a, GV_LINK_CLOSE_CLUSTER, true);
    end(&a, &b);
}
END_TEST

START_TEST(no_common_version_is_refused_with_both_ranges)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    a.self.protocol_oldest = 3;
    a.self.protocol_newest = 4;
    b.self.protocol_newest = 2;
    run(&a, &b);
    assert_refused(&b, GV_LINK_CLOSE_VERSION, false);
    assert_refused(&a, GV_LINK_CLOSE_VERSION, true);
    ck_assert_ptr_nonnull(strstr(gv_handshake_refusal(a.handshake)->text, "1 to 2"));
    ck_assert_ptr_nonnull(strstr(gv_handshake_refusal(a.handshake)->text, "3 to 4"));
    end(&a, &b);
}
END_TEST

START_TEST(a_node_that_dials_itself_notices)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(1, "sesame");
    run(&a, &b);
    assert_refused(&b, GV_LINK_CLOSE_SELF, false);
    assert_refused(&a, GV_LINK_CLOSE_SELF, true);
    end(&a, &b);
}
END_TEST

START_TEST(two_processes_with_one_identity_are_refused)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(1, "sesame");
    b.self.identity.incarnation.boot_id++;
    run(&a, &b);
    assert_refused(&b, GV_LINK_CLOSE_DUPLICATE, false);
    assert_refused(&a, GV_LINK_CLOSE_DUPLICATE, true);
    end(&a, &b);
}
END_TEST

START_TEST(a_wrong_secret_is_refused_on_both_sides)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "Sesame");
    run(&a, &b);
    assert_refused(&b, GV_LINK_CLOSE_SECRET, false);
    assert_refused(&a, GV_LINK_CLOSE_SECRET, true);
    end(&a, &b);
}
END_TEST

START_TEST(the_acceptor_proves_nothing_to_who_has_proved_nothing)
{
    node_t a = node_of(1, "guess");
    node_t b = node_of(2, "sesame");
    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    begin(&a, GV_HANDSHAKE_DIALER);
    sent_t sent;
    ck_assert(pass(&a, &b));
    take_sent(&b, &sent);
    ck_assert_uint_eq(sent.frame.kind, GV_FRAME_HELLO);
    ck_assert(pass(&b, &a));
    ck_assert(pass(&a, &b));
    take_sent(&b, &sent);
    ck_assert_uint_eq(sent.frame.kind, GV_FRAME_REFUSED);
    end(&a, &b);
}
END_TEST

START_TEST(a_secret_on_one_side_only_is_refused)
{
    node_t with = node_of(1, "sesame");
    node_t without = node_of(2, "");
    run(&with, &without);
    assert_refused(&without, GV_LINK_CLOSE_NO_SECRET, false);
    assert_refused(&with, GV_LINK_CLOSE_NO_SECRET, true);

    run(&without, &with);
    assert_refused(&with, GV_LINK_CLOSE_NO_SECRET, false);
    assert_refused(&without, GV_LINK_CLOSE_NO_SECRET, true);
    end(&with, &without);
}
END_TEST

START_TEST(a_mac_that_fails_opens_nothing)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    a.self.hmac.sha256 = broken_mac;
    run(&a, &b);
    assert_refused(&a, GV_LINK_CLOSE_SECRET, false);
    run(&b, &a);
    assert_refused(&a, GV_LINK_CLOSE_SECRET, false);
    end(&a, &b);
}
END_TEST

START_TEST(time_over_is_told_to_the_peer)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    begin(&a, GV_HANDSHAKE_DIALER);
    gv_handshake_expire(b.handshake);
    assert_refused(&b, GV_LINK_CLOSE_TIMEOUT, false);
    ck_assert(pass(&b, &a));
    assert_refused(&a, GV_LINK_CLOSE_TIMEOUT, true);
    end(&a, &b);
}
END_TEST

/* ---- attacks ------------------------------------------------------------------------------ */

START_TEST(a_recorded_handshake_cannot_be_replayed)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    sent_t hello;
    sent_t proof;
    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    begin(&a, GV_HANDSHAKE_DIALER);
    take_sent(&a, &hello);
    ck_assert(pass(&a, &b) && pass(&b, &a));
    take_sent(&a, &proof);
    ck_assert(pass(&a, &b));
    assert_open(&b);

    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    ck_assert_int_eq(gv_handshake_input(b.handshake, &hello.frame), GV_HANDSHAKE_PROOF_AWAITED);
    (void)gv_handshake_input(b.handshake, &proof.frame);
    assert_refused(&b, GV_LINK_CLOSE_SECRET, false);
    end(&a, &b);
}
END_TEST

START_TEST(a_reflected_hello_is_our_own)
{
    node_t a = node_of(1, "sesame");
    begin(&a, GV_HANDSHAKE_DIALER);
    sent_t hello;
    take_sent(&a, &hello);
    (void)gv_handshake_input(a.handshake, &hello.frame);
    assert_refused(&a, GV_LINK_CLOSE_SELF, false);
    gv_handshake_free(&a.handshake);
}
END_TEST

/* Somebody without the secret accepts our call, and sends our own proof back. */
START_TEST(a_reflected_proof_is_worth_nothing)
{
    node_t a = node_of(1, "sesame");
    node_t thief = node_of(2, "");
    begin(&thief, GV_HANDSHAKE_ACCEPTOR);
    begin(&a, GV_HANDSHAKE_DIALER);
    ck_assert(pass(&a, &thief) && pass(&thief, &a));
    sent_t proof;
    take_sent(&a, &proof);
    ck_assert_uint_eq(proof.frame.kind, GV_FRAME_PROOF);
    (void)gv_handshake_input(a.handshake, &proof.frame);
    assert_refused(&a, GV_LINK_CLOSE_SECRET, false);
    end(&a, &thief);
}
END_TEST

/* One handshake in which one byte of one hello is changed on its way. */
static void run_with_change(node_t *a, node_t *b, bool is_of_dialer, size_t pos)
{
    sent_t sent;
    begin(b, GV_HANDSHAKE_ACCEPTOR);
    begin(a, GV_HANDSHAKE_DIALER);
    take_sent(a, &sent);
    if (is_of_dialer) {
        sent.bytes[GV_LINKFRAME_HEADER_BYTES + pos] ^= 1;
    }
    (void)gv_handshake_input(b->handshake, &sent.frame);
    take_sent(b, &sent);
    if (!is_of_dialer) {
        sent.bytes[GV_LINKFRAME_HEADER_BYTES + pos] ^= 1;
    }
    (void)gv_handshake_input(a->handshake, &sent.frame);
    while (pass(a, b) && pass(b, a)) {
    }
}

START_TEST(a_changed_byte_in_a_hello_never_opens_a_link)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    begin(&a, GV_HANDSHAKE_DIALER);
    sent_t sent;
    take_sent(&a, &sent);
    /* Both hellos are of one size here. */
    for (size_t pos = 0; pos < sent.frame.body.size; pos++) {
        for (int is_of_dialer = 0; is_of_dialer < 2; is_of_dialer++) {
            run_with_change(&a, &b, is_of_dialer == 1, pos);
            ck_assert_int_ne(gv_handshake_state(a.handshake), GV_HANDSHAKE_OPEN);
            ck_assert_int_ne(gv_handshake_state(b.handshake), GV_HANDSHAKE_OPEN);
        }
    }
    end(&a, &b);
}
END_TEST

/* ---- nonsense ----------------------------------------------------------------------------- */

START_TEST(every_truncated_hello_is_refused)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    begin(&a, GV_HANDSHAKE_DIALER);
    sent_t hello;
    take_sent(&a, &hello);
    size_t accepted = 0;
    for (size_t size = 0; size < hello.frame.body.size; size++) {
        begin(&b, GV_HANDSHAKE_ACCEPTOR);
        gv_handshake_state_t state =
            feed(&b, GV_FRAME_HELLO, gv_bytes(hello.frame.body.data, size));
        accepted += state == GV_HANDSHAKE_PROOF_AWAITED ? 1 : 0;
    }
    /* The last two fields may be missing (features, software); the proof notices that, too. */
    ck_assert_uint_le(accepted, 2);
    end(&a, &b);
}
END_TEST

START_TEST(every_truncated_proof_is_refused)
{
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    for (size_t cut = 1; cut <= GV_HANDSHAKE_MAC_BYTES; cut++) {
        begin(&b, GV_HANDSHAKE_ACCEPTOR);
        begin(&a, GV_HANDSHAKE_DIALER);
        ck_assert(pass(&a, &b) && pass(&b, &a));
        sent_t sent;
        take_sent(&a, &sent);
        Gv__Proof *proof = gv__proof__unpack(NULL, sent.frame.body.size, sent.frame.body.data);
        ck_assert_ptr_nonnull(proof);
        proof->hmac.len -= cut;
        uint8_t body[64];
        size_t size = gv__proof__pack(proof, body);
        gv__proof__free_unpacked(proof, NULL);
        ck_assert_int_eq(feed(&b, GV_FRAME_PROOF, gv_bytes(body, size)), GV_HANDSHAKE_REFUSED);
    }
    end(&a, &b);
}
END_TEST

/* What becomes of a hello with one field spoilt. */
static gv_handshake_state_t hello_with(void (*spoil)(Gv__Hello *))
{
    static uint8_t id[GV_NODE_ID_SIZE + 1] = {9};
    static uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES + 1] = {8};
    static char name[] = "node9";
    static char cluster[] = "vineyard";
    static char address[] = "host9:7883";
    Gv__Hello hello = GV__HELLO__INIT;
    hello.protocol_oldest = hello.protocol_newest = 1;
    hello.node_id = (ProtobufCBinaryData){.data = id, .len = GV_NODE_ID_SIZE};
    hello.challenge = (ProtobufCBinaryData){.data = challenge, .len = GV_HANDSHAKE_CHALLENGE_BYTES};
    hello.name = name;
    hello.cluster = cluster;
    hello.address = address;
    spoil(&hello);

    uint8_t body[1024];
    ck_assert_uint_le(gv__hello__get_packed_size(&hello), sizeof(body));
    size_t size = gv__hello__pack(&hello, body);
    node_t b = node_of(2, "sesame");
    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    gv_handshake_state_t state = feed(&b, GV_FRAME_HELLO, gv_bytes(body, size));
    if (state == GV_HANDSHAKE_REFUSED) {
        assert_refused(&b, GV_LINK_CLOSE_MALFORMED, false);
    }
    gv_handshake_free(&b.handshake);
    return state;
}

static void spoil_nothing(Gv__Hello *hello)
{
    (void)hello;
}

static void shorten_id(Gv__Hello *hello)
{
    hello->node_id.len--;
}

static void lengthen_id(Gv__Hello *hello)
{
    hello->node_id.len++;
}

static void lengthen_challenge(Gv__Hello *hello)
{
    hello->challenge.len++;
}

static void empty_name(Gv__Hello *hello)
{
    static char text[] = "";
    hello->name = text;
}

static void quote_in_name(Gv__Hello *hello)
{
    static char text[] = "no'de";
    hello->name = text;
}

static void newline_in_name(Gv__Hello *hello)
{
    static char text[] = "node\nerror";
    hello->name = text;
}

static void long_address(Gv__Hello *hello)
{
    static char text[GV_NODE_ADDRESS_MAX + 2];
    memset(text, 'a', sizeof(text) - 1);
    hello->address = text;
}

START_TEST(a_hello_with_one_spoilt_field_is_malformed)
{
    ck_assert_int_eq(hello_with(spoil_nothing), GV_HANDSHAKE_PROOF_AWAITED);
    ck_assert_int_eq(hello_with(shorten_id), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(lengthen_id), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(lengthen_challenge), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(empty_name), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(quote_in_name), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(newline_in_name), GV_HANDSHAKE_REFUSED);
    ck_assert_int_eq(hello_with(long_address), GV_HANDSHAKE_REFUSED);
}
END_TEST

START_TEST(frames_out_of_turn_are_refused)
{
    static const uint8_t first[] = {GV_FRAME_PROOF, GV_FRAME_HEARTBEAT, GV_FRAME_FORWARD, 0, 255};
    node_t a = node_of(1, "sesame");
    node_t b = node_of(2, "sesame");
    for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++) {
        begin(&b, GV_HANDSHAKE_ACCEPTOR);
        ck_assert_int_eq(feed(&b, first[i], GV_BYTES_LITERAL("")), GV_HANDSHAKE_REFUSED);
        assert_refused(&b, GV_LINK_CLOSE_MALFORMED, false);
    }
    begin(&b, GV_HANDSHAKE_ACCEPTOR);
    begin(&a, GV_HANDSHAKE_DIALER);
    ck_assert_msg(pass(&a, &b) && pass(&a, &b), "the same hello twice");
    assert_refused(&b, GV_LINK_CLOSE_MALFORMED, false);
    end(&a, &b);
}
END_TEST

START_TEST(the_peers_words_are_made_printable)
{
    node_t a = node_of(1, "sesame");
    begin(&a, GV_HANDSHAKE_DIALER);
    char text[] = "go\naway\x1b[31m";
    Gv__Refused refused = GV__REFUSED__INIT;
    refused.reason = 4711;
    refused.text = text;
    uint8_t body[64];
    size_t size = gv__refused__pack(&refused, body);
    ck_assert_int_eq(feed(&a, GV_FRAME_REFUSED, gv_bytes(body, size)), GV_HANDSHAKE_REFUSED);
    assert_refused(&a, GV_LINK_CLOSE_MALFORMED, true);
    const char *shown = gv_handshake_refusal(a.handshake)->text;
    ck_assert_ptr_nonnull(strstr(shown, "away"));
    for (const char *c = shown; *c != '\0'; c++) {
        ck_assert_int_ge(*c, ' ');
    }
    gv_handshake_free(&a.handshake);
}
END_TEST

START_TEST(random_frames_open_nothing)
{
    gv_rng_t rng;
    gv_rng_init(&rng, UINT64_C(20) + (uint64_t)_i, 1);
    node_t a = node_of(1, "sesame");
    for (int round = 0; round < 2000; round++) {
        begin(&a, gv_rng_chance(&rng, 50) ? GV_HANDSHAKE_DIALER : GV_HANDSHAKE_ACCEPTOR);
        while (is_waiting(&a)) {
            uint8_t body[GV_HANDSHAKE_BODY_MAX + 1];
            uint32_t bound = gv_rng_chance(&rng, 10) ? (uint32_t)sizeof(body) + 1 : 60;
            size_t size = gv_rng_below(&rng, bound);
            gv_rng_fill(&rng, body, size);
            (void)feed(&a, (uint8_t)gv_rng_below(&rng, 5), gv_bytes(body, size));
        }
        ck_assert_int_eq(gv_handshake_state(a.handshake), GV_HANDSHAKE_REFUSED);
    }
    gv_handshake_free(&a.handshake);
}
END_TEST

START_TEST(names_are_short_and_plain)
{
    char longest[GV_NODE_NAME_MAX + 2];
    memset(longest, 'x', sizeof(longest));
    longest[GV_NODE_NAME_MAX] = '\0';
    ck_assert(gv_handshake_name_is_valid(longest));
    longest[GV_NODE_NAME_MAX] = 'x';
    longest[GV_NODE_NAME_MAX + 1] = '\0';
    ck_assert(!gv_handshake_name_is_valid(longest));
    ck_assert(gv_handshake_name_is_valid("grape-1.example@dc"));
    ck_assert(!gv_handshake_name_is_valid(""));
    ck_assert(!gv_handshake_name_is_valid("two words"));
    ck_assert(!gv_handshake_name_is_valid("quo\"te"));
    ck_assert(!gv_handshake_name_is_valid("\xc3\xa4"));
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("handshake");
    tcase_add_test(tc, two_nodes_with_one_secret_get_to_know_each_other);
    tcase_add_test(tc, two_nodes_without_a_secret_agree);
    tcase_add_test(tc, the_highest_version_both_speak_is_used);
    tcase_add_test(tc, the_longest_texts_fit);
    tcase_add_test(tc, another_cluster_is_refused_and_told_why);
    tcase_add_test(tc, no_common_version_is_refused_with_both_ranges);
    tcase_add_test(tc, a_node_that_dials_itself_notices);
    tcase_add_test(tc, two_processes_with_one_identity_are_refused);
    tcase_add_test(tc, a_wrong_secret_is_refused_on_both_sides);
    tcase_add_test(tc, the_acceptor_proves_nothing_to_who_has_proved_nothing);
    tcase_add_test(tc, a_secret_on_one_side_only_is_refused);
    tcase_add_test(tc, a_mac_that_fails_opens_nothing);
    tcase_add_test(tc, time_over_is_told_to_the_peer);
    tcase_add_test(tc, a_recorded_handshake_cannot_be_replayed);
    tcase_add_test(tc, a_reflected_hello_is_our_own);
    tcase_add_test(tc, a_reflected_proof_is_worth_nothing);
    tcase_add_test(tc, a_changed_byte_in_a_hello_never_opens_a_link);
    tcase_add_test(tc, every_truncated_hello_is_refused);
    tcase_add_test(tc, every_truncated_proof_is_refused);
    tcase_add_test(tc, a_hello_with_one_spoilt_field_is_malformed);
    tcase_add_test(tc, frames_out_of_turn_are_refused);
    tcase_add_test(tc, the_peers_words_are_made_printable);
    tcase_add_loop_test(tc, random_frames_open_nothing, 0, 3);
    tcase_add_test(tc, names_are_short_and_plain);

    Suite *suite = suite_create("cluster/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
