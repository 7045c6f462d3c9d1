/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/handshake.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cluster/core/frame_kind.h"
#include "proto/cluster.pb-c.h"

/*
 * Parts of this file: texts - refusing - writing hello and proof - the mac - reading hello, proof,
 * refused - life and state.
 */

/* Our own hello: 63 + 63 + 255 bytes of text, 16 + 32 of id and challenge, the rest is numbers. */
#define OWN_HELLO_MAX ((size_t)640)

#define OUTPUT_MAX (GV_LINKFRAME_HEADER_BYTES + OWN_HELLO_MAX)

struct gv_handshake {
    const gv_handshake_self_t *self;
    gv_handshake_role_t role;
    gv_handshake_state_t state;
    bool is_peer_known;
    gv_peer_identity_t peer;
    uint64_t features; /* both sides' */
    gv_handshake_refusal_t refusal;
    uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES];

    /* Both hellos as they are on the wire: what the proofs are about. */
    size_t own_hello_size;
    size_t peer_hello_size;
    uint8_t own_hello[OWN_HELLO_MAX];
    uint8_t peer_hello[GV_HANDSHAKE_BODY_MAX];

    size_t output_size;
    uint8_t output[OUTPUT_MAX];
};

/* ---- texts -------------------------------------------------------------------------------- */

/* Fit for a log line, a status table and a $SYS topic alike. */
static bool is_plain(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~' || strchr("'\"`\\", *text) != NULL) {
            return false;
        }
    }
    return true;
}

bool gv_handshake_name_is_valid(const char *name)
{
    size_t size = strlen(name);
    return size >= 1 && size <= GV_NODE_NAME_MAX && is_plain(name);
}

/* Takes a text of the peer's; false when it is not fit to be shown or does not fit. */
static bool copy_plain(const char *text, char *out, size_t out_size)
{
    size_t size = strlen(text);
    if (size >= out_size || !is_plain(text)) {
        return false;
    }
    memcpy(out, text, size + 1);
    return true;
}

/* ---- refusing ----------------------------------------------------------------------------- */

static void put_frame(gv_handshake_t *handshake, gv_frame_kind_t kind, gv_bytes_t body)
{
    gv_writer_t w = gv_writer(handshake->output, OUTPUT_MAX);
    gv_linkframe_write(&w, (uint8_t)kind, body);
    GV_ASSERT(!w.failed);
    handshake->output_size = OUTPUT_MAX - gv_writer_left(&w);
}

/* `format` may be NULL when the reason's own text says it all. */
static GV_PRINTF(3, 4) void refuse(gv_handshake_t *handshake, gv_link_close_t reason,
                                   const char *format, ...)
{
    gv_handshake_refusal_t *refusal = &handshake->refusal;
    *refusal = (gv_handshake_refusal_t){.reason = reason, .is_by_peer = false};
    if (format == NULL) {
        (void)snprintf(refusal->text, sizeof(refusal->text), "%s", gv_link_close_text(reason));
    } else {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(refusal->text, sizeof(refusal->text), format, args);
        va_end(args);
    }

    Gv__Refused refused = GV__REFUSED__INIT;
    refused.reason = (uint32_t)reason + 1;
    refused.text = refusal->text;
    uint8_t body[2 * GV_HANDSHAKE_TEXT_SIZE];
    GV_ASSERT(gv__refused__get_packed_size(&refused) <= sizeof(body));
    put_frame(handshake, GV_FRAME_REFUSED, gv_bytes(body, gv__refused__pack(&refused, body)));
    handshake->state = GV_HANDSHAKE_REFUSED;
}

/* ---- writing hello and proof -------------------------------------------------------------- */

static void compose_hello(gv_handshake_t *handshake)
{
    const gv_handshake_self_t *self = handshake->self;
    /* protobuf-c has no const: it only reads these. */
    gv_peer_identity_t identity = self->identity;
    Gv__Hello hello = GV__HELLO__INIT;
    hello.protocol_oldest = self->protocol_oldest;
    hello.protocol_newest = self->protocol_newest;
    hello.cluster = identity.cluster;
    hello.node_id = (ProtobufCBinaryData){.data = identity.id.bytes, .len = GV_NODE_ID_SIZE};
    hello.name = identity.name;
    hello.address = identity.address;
    hello.start_counter = identity.incarnation.start_counter;
    hello.boot_id = identity.incarnation.boot_id;
    hello.challenge =
        (ProtobufCBinaryData){.data = handshake->challenge, .len = sizeof(handshake->challenge)};
    hello.features = self->features;
    char software[] = "grapevine " GV_VERSION;
    hello.software = software;

    GV_ASSERT(gv__hello__get_packed_size(&hello) <= OWN_HELLO_MAX);
    handshake->own_hello_size = gv__hello__pack(&hello, handshake->own_hello);
}

static gv_bytes_t own_hello(const gv_handshake_t *handshake)
{
    return gv_bytes(handshake->own_hello, handshake->own_hello_size);
}

static gv_bytes_t peer_hello(const gv_handshake_t *handshake)
{
    return gv_bytes(handshake->peer_hello, handshake->peer_hello_size);
}

/* ---- the mac ------------------------------------------------------------------------------ */

/* What the side in this role has to send as its proof.  Without a secret that is nothing. */
static gv_err_t compute_mac(const gv_handshake_t *handshake, gv_handshake_role_t role,
                            uint8_t mac_out[GV_HANDSHAKE_MAC_BYTES])
{
    bool is_dialer = handshake->role == GV_HANDSHAKE_DIALER;
    gv_bytes_t dialers = is_dialer ? own_hello(handshake) : peer_hello(handshake);
    gv_bytes_t acceptors = is_dialer ? peer_hello(handshake) : own_hello(handshake);

    /* The sizes are in it so that bytes cannot wander from one hello to the other. */
    uint8_t sizes[8];
    gv_writer_t w = gv_writer(sizes, sizeof(sizes));
    gv_writer_u32(&w, (uint32_t)dialers.size);
    gv_writer_u32(&w, (uint32_t)acceptors.size);
    const gv_bytes_t parts[] = {
        role == GV_HANDSHAKE_DIALER ? GV_BYTES_LITERAL("grapevine link, dialer")
                                    : GV_BYTES_LITERAL("grapevine link, acceptor"),
        gv_bytes(sizes, sizeof(sizes)),
        dialers,
        acceptors,
    };
    const gv_hmac_t *hmac = &handshake->self->hmac;
    return hmac->sha256(hmac->arg, handshake->self->secret, parts, sizeof(parts) / sizeof(parts[0]),
                        mac_out);
}

/* Takes the same time whatever differs, so that a mac cannot be guessed byte by byte. */
static bool is_equal_in_constant_time(const uint8_t *a, const uint8_t *b, size_t size)
{
    volatile uint8_t difference = 0;
    for (size_t i = 0; i < size; i++) {
        difference = (uint8_t)(difference | (a[i] ^ b[i]));
    }
    return difference == 0;
}

/* Returns false, and the handshake is refused, when no proof can be made. */
static bool send_proof(gv_handshake_t *handshake)
{
    uint8_t mac[GV_HANDSHAKE_MAC_BYTES];
    Gv__Proof proof = GV__PROOF__INIT;
    if (handshake->self->secret.size > 0) {
        if (compute_mac(handshake, handshake->role, mac) != GV_OK) {
            refuse(handshake, GV_LINK_CLOSE_SECRET, "the proof cannot be computed");
            return false;
        }
        proof.hmac = (ProtobufCBinaryData){.data = mac, .len = sizeof(mac)};
    }
    uint8_t body[GV_HANDSHAKE_MAC_BYTES + 16];
    GV_ASSERT(gv__proof__get_packed_size(&proof) <= sizeof(body));
    put_frame(handshake, GV_FRAME_PROOF, gv_bytes(body, gv__proof__pack(&proof, body)));
    return true;
}

/* ---- reading ------------------------------------------------------------------------------ */

static bool take_identity(const Gv__Hello *hello, gv_peer_identity_t *peer)
{
    *peer = (gv_peer_identity_t){
        .incarnation = {.start_counter = hello->start_counter, .boot_id = hello->boot_id},
    };
    if (hello->node_id.len != GV_NODE_ID_SIZE ||
        hello->challenge.len != GV_HANDSHAKE_CHALLENGE_BYTES) {
        return false;
    }
    memcpy(peer->id.bytes, hello->node_id.data, GV_NODE_ID_SIZE);
    return copy_plain(hello->cluster, peer->cluster, sizeof(peer->cluster)) &&
           copy_plain(hello->name, peer->name, sizeof(peer->name)) && peer->name[0] != '\0' &&
           copy_plain(hello->address, peer->address, sizeof(peer->address));
}

/* May we be linked with who says this?  If not, the handshake is refused. */
static bool check_hello(gv_handshake_t *handshake, const Gv__Hello *hello)
{
    const gv_handshake_self_t *self = handshake->self;
    const gv_peer_identity_t *own = &self->identity;
    gv_peer_identity_t *peer = &handshake->peer;
    if (!take_identity(hello, peer)) {
        refuse(handshake, GV_LINK_CLOSE_MALFORMED, "the hello is malformed");
        return false;
    }
    handshake->is_peer_known = true;

    if (strcmp(peer->cluster, own->cluster) != 0) {
        refuse(handshake, GV_LINK_CLOSE_CLUSTER, "node '%s' is of another cluster than '%s'",
               own->name, peer->name);
        return false;
    }
    uint32_t oldest = self->protocol_oldest > hello->protocol_oldest ? self->protocol_oldest
                                                                     : hello->protocol_oldest;
    uint32_t newest = self->protocol_newest < hello->protocol_newest ? self->protocol_newest
                                                                     : hello->protocol_newest;
    if (newest < oldest) {
        refuse(handshake, GV_LINK_CLOSE_VERSION,
               "no common protocol: '%s' speaks %" PRIu32 " to %" PRIu32 ", '%s' %" PRIu32
               " to %" PRIu32,
               own->name, self->protocol_oldest, self->protocol_newest, peer->name,
               hello->protocol_oldest, hello->protocol_newest);
        return false;
    }
    peer->protocol = newest;
    handshake->features = self->features & hello->features;

    if (memcmp(peer->id.bytes, own->id.bytes, GV_NODE_ID_SIZE) == 0) {
        bool is_self = peer->incarnation.boot_id == own->incarnation.boot_id;
        refuse(handshake, is_self ? GV_LINK_CLOSE_SELF : GV_LINK_CLOSE_DUPLICATE, NULL);
        return false;
    }
    return true;
}

static void on_hello(gv_handshake_t *handshake, gv_bytes_t body)
{
    gv_writer_t w = gv_writer(handshake->peer_hello, sizeof(handshake->peer_hello));
    gv_writer_put(&w, body);
    GV_ASSERT(!w.failed);
    handshake->peer_hello_size = body.size;

    Gv__Hello *hello = gv__hello__unpack(NULL, body.size, body.data);
    if (hello == NULL) {
        refuse(handshake, GV_LINK_CLOSE_MALFORMED, "the hello is malformed");
        return;
    }
    bool is_fine = check_hello(handshake, hello);
    gv__hello__free_unpacked(hello, NULL);
    if (!is_fine) {
        return;
    }

    if (handshake->role == GV_HANDSHAKE_ACCEPTOR) {
        put_frame(handshake, GV_FRAME_HELLO, own_hello(handshake));
    } else if (!send_proof(handshake)) {
        return;
    }
    handshake->state = GV_HANDSHAKE_PROOF_AWAITED;
}

/* Does the mac show that the peer knows the secret?  If not, the handshake is refused. */
static bool check_mac(gv_handshake_t *handshake, gv_bytes_t mac)
{
    bool have_secret = handshake->self->secret.size > 0;
    if (have_secret != (mac.size > 0)) {
        refuse(handshake, GV_LINK_CLOSE_NO_SECRET, "node '%s' has %s cluster secret, '%s' has %s",
               handshake->self->identity.name, have_secret ? "a" : "no", handshake->peer.name,
               have_secret ? "none" : "one");
        return false;
    }
    if (!have_secret) {
        return true;
    }
    uint8_t expected[GV_HANDSHAKE_MAC_BYTES];
    gv_handshake_role_t peer_role =
        handshake->role == GV_HANDSHAKE_DIALER ? GV_HANDSHAKE_ACCEPTOR : GV_HANDSHAKE_DIALER;
    if (compute_mac(handshake, peer_role, expected) != GV_OK) {
        refuse(handshake, GV_LINK_CLOSE_SECRET, "the proof cannot be checked");
        return false;
    }
    if (mac.size != sizeof(expected) ||
        !is_equal_in_constant_time(mac.data, expected, sizeof(expected))) {
        refuse(handshake, GV_LINK_CLOSE_SECRET, NULL);
        return false;
    }
    return true;
}

static void on_proof(gv_handshake_t *handshake, gv_bytes_t body)
{
    Gv__Proof *proof = gv__proof__unpack(NULL, body.size, body.data);
    if (proof == NULL) {
        refuse(handshake, GV_LINK_CLOSE_MALFORMED, "the proof is malformed");
        return;
    }
    bool is_proved = check_mac(handshake, gv_bytes(proof->hmac.data, proof->hmac.len));
    gv__proof__free_unpacked(proof, NULL);
    if (!is_proved) {
        return;
    }
    if (handshake->role == GV_HANDSHAKE_ACCEPTOR && !send_proof(handshake)) {
        return;
    }
    handshake->state = GV_HANDSHAKE_OPEN;
}

static void on_refused(gv_handshake_t *handshake, gv_bytes_t body)
{
    gv_handshake_refusal_t *refusal = &handshake->refusal;
    *refusal = (gv_handshake_refusal_t){.reason = GV_LINK_CLOSE_MALFORMED, .is_by_peer = true};
    handshake->state = GV_HANDSHAKE_REFUSED;

    const char *text = "";
    Gv__Refused *refused = gv__refused__unpack(NULL, body.size, body.data);
    if (refused != NULL) {
        if (refused->reason >= 1 && refused->reason <= (uint32_t)GV_LINK_CLOSE_TIMEOUT + 1) {
            refusal->reason = (gv_link_close_t)(refused->reason - 1);
        }
        text = refused->text;
    }
    /* The words are the peer's, and it has proved nothing: only their printable form is kept. */
    (void)gv_bytes_printable(
        gv_bytes_text(text[0] != '\0' ? text : gv_link_close_text(refusal->reason)), refusal->text,
        sizeof(refusal->text));
    if (refused != NULL) {
        gv__refused__free_unpacked(refused, NULL);
    }
}

/* ---- life and state ----------------------------------------------------------------------- */

void gv_handshake_new(const gv_handshake_self_t *self, gv_handshake_role_t role,
                      const uint8_t challenge[GV_HANDSHAKE_CHALLENGE_BYTES],
                      gv_handshake_t **handshake_out)
{
    GV_ASSERT(self->hmac.sha256 != NULL || self->secret.size == 0);
    GV_ASSERT(gv_handshake_name_is_valid(self->identity.cluster));
    GV_ASSERT(gv_handshake_name_is_valid(self->identity.name));

    gv_handshake_t *handshake = GV_NEW(gv_handshake_t);
    handshake->self = self;
    handshake->role = role;
    handshake->state = GV_HANDSHAKE_HELLO_AWAITED;
    memcpy(handshake->challenge, challenge, sizeof(handshake->challenge));
    compose_hello(handshake);
    if (role == GV_HANDSHAKE_DIALER) {
        put_frame(handshake, GV_FRAME_HELLO, own_hello(handshake));
    }
    *handshake_out = handshake;
}

void gv_handshake_free(gv_handshake_t **handshakep)
{
    gv_free(*handshakep);
    *handshakep = NULL;
}

gv_handshake_state_t gv_handshake_input(gv_handshake_t *handshake, const gv_linkframe_t *frame)
{
    GV_ASSERT(handshake->state == GV_HANDSHAKE_HELLO_AWAITED ||
              handshake->state == GV_HANDSHAKE_PROOF_AWAITED);
    handshake->output_size = 0;

    bool is_hello_due = handshake->state == GV_HANDSHAKE_HELLO_AWAITED;
    if (frame->body.size > GV_HANDSHAKE_BODY_MAX) {
        refuse(handshake, GV_LINK_CLOSE_LIMIT, NULL);
    } else if (frame->kind == GV_FRAME_REFUSED) {
        on_refused(handshake, frame->body);
    } else if (frame->kind == GV_FRAME_HELLO && is_hello_due) {
        on_hello(handshake, frame->body);
    } else if (frame->kind == GV_FRAME_PROOF && !is_hello_due) {
        on_proof(handshake, frame->body);
    } else {
        refuse(handshake, GV_LINK_CLOSE_MALFORMED, "not the frame that is due in a handshake");
    }
    return handshake->state;
}

void gv_handshake_expire(gv_handshake_t *handshake)
{
    GV_ASSERT(handshake->state == GV_HANDSHAKE_HELLO_AWAITED ||
              handshake->state == GV_HANDSHAKE_PROOF_AWAITED);
    refuse(handshake, GV_LINK_CLOSE_TIMEOUT, NULL);
}

gv_bytes_t gv_handshake_output(const gv_handshake_t *handshake)
{
    return gv_bytes(handshake->output, handshake->output_size);
}

gv_handshake_state_t gv_handshake_state(const gv_handshake_t *handshake)
{
    return handshake->state;
}

const gv_peer_identity_t *gv_handshake_peer(const gv_handshake_t *handshake)
{
    return handshake->is_peer_known ? &handshake->peer : NULL;
}

uint64_t gv_handshake_features(const gv_handshake_t *handshake)
{
    GV_ASSERT(handshake->state == GV_HANDSHAKE_OPEN);
    return handshake->features;
}

const gv_handshake_refusal_t *gv_handshake_refusal(const gv_handshake_t *handshake)
{
    GV_ASSERT(handshake->state == GV_HANDSHAKE_REFUSED);
    return &handshake->refusal;
}
