/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/core/core.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/alloc.h"
#include "cluster/core/core_p.h"
#include "cluster/core/directory.h"

/*
 * Parts of this file: texts - options, new, free - sending and closing - fifo - the turn - frames.
 */

#define ARENA_MAX          ((size_t)33554432)
#define TICK_MS            50U
#define LATE_TICK_MIN_MS   300U
#define REPORT_TEXT_MAX    512
#define CLUSTER_NAME_SHOWN 64

/* ---- texts ---------------------------------------------------------------------------------- */

const char *gv_link_close_text(gv_link_close_t reason)
{
    switch (reason) {
    case GV_LINK_CLOSE_MALFORMED:
        return "malformed frame";
    case GV_LINK_CLOSE_LIMIT:
        return "limit exceeded";
    case GV_LINK_CLOSE_REPLACED:
        return "replaced by another link";
    case GV_LINK_CLOSE_SELF:
        return "dialled myself";
    case GV_LINK_CLOSE_DUPLICATE:
        return "node id in use by another live node";
    case GV_LINK_CLOSE_STALE:
        return "an older life of this node";
    case GV_LINK_CLOSE_CLUSTER:
        return "another cluster";
    case GV_LINK_CLOSE_VERSION:
        return "no common protocol version";
    case GV_LINK_CLOSE_FULL:
        return "the cluster is full";
    case GV_LINK_CLOSE_SILENT:
        return "silent";
    case GV_LINK_CLOSE_LEAVING:
        return "shutting down";
    case GV_LINK_CLOSE_SECRET:
        return "the shared secrets differ";
    case GV_LINK_CLOSE_NO_SECRET:
        return "one side has a shared secret, the other has none";
    case GV_LINK_CLOSE_TIMEOUT:
        return "the handshake took too long";
    }
    return "unknown reason";
}

const char *gv_member_state_text(gv_member_state_t state)
{
    switch (state) {
    case GV_MEMBER_ALIVE:
        return "alive";
    case GV_MEMBER_SUSPECT:
        return "suspect";
    case GV_MEMBER_DEAD:
        return "dead";
    case GV_MEMBER_LEFT:
        return "left";
    }
    return "unknown";
}

/* ---- options, new, free -----------------------------------------------------------------------
 */

void gv_ccore_options_init(gv_ccore_options_t *options)
{
    *options = (gv_ccore_options_t){.now_ms = 0};
    options->timing = (gv_ccore_timing_t){
        /* 600 + 300 + 1500: a silent node is suspect within 1 s and dead within 2.5 s. */
        .heartbeat = 200,
        .silence = 600,
        .probe = 300,
        .suspect = 1500,
        .echo = 1500,
        .gossip = 1000,
        .view = 500,
        .dial_min = 100,
        .dial_max = 1000,
        .withdraw = 200,
        .barrier = 500,
        .claim = 500,
        .resend_relayed = 2000,
        .resend_direct = 10000,
        .overdue = 200,
        .purge = (uint64_t)24 * 3600 * 1000,
        .forget = (uint64_t)24 * 3600 * 1000,
    };
    options->limits = (gv_ccore_limits_t){
        .table_rows = 16000000,
        .table_bytes = (uint64_t)4 << 30,
        .forward_queue_bytes = (uint64_t)64 << 20,
        .overdue_bytes = (uint64_t)16 << 20,
        .forward_window_bytes = (uint64_t)8 << 20,
        .forward_message_bytes = (uint64_t)257 << 20,
        .tombstones = 4096,
        .registered_max = 4000000,
        .piece_bytes = 65536,
    };
}

static void copy_seeds(gv_ccore_t *core, const gv_ccore_options_t *options)
{
    core->seed_count = options->seed_count;
    core->seeds = gv_xcalloc(options->seed_count + 1, sizeof(core->seeds[0]));
    for (size_t i = 0; i < options->seed_count; i++) {
        core->seeds[i] = (gv_seed_t){
            .address = gv_xstrdup(options->seeds[i]),
            .dial = {.next_ms = options->now_ms, .backoff_ms = options->timing.dial_min},
            .member = GV_NODE_NONE,
        };
    }
}

void gv_ccore_new(const gv_ccore_options_t *options, gv_ccore_t **core_out)
{
    const gv_ccore_ports_t *ports = &options->ports;
    GV_ASSERT(ports->send != NULL && ports->dial != NULL && ports->close != NULL);
    GV_ASSERT(ports->row != NULL && ports->node != NULL && ports->deliver != NULL);
    GV_ASSERT(ports->confirmed != NULL && ports->overdue != NULL && ports->barrier != NULL &&
              ports->note != NULL);
    GV_ASSERT(ports->claimed != NULL && ports->let_go != NULL);
    GV_ASSERT(ports->start_counter != NULL && ports->report != NULL);
    GV_ASSERT(options->self.cluster[0] != '\0');
    GV_ASSERT(options->self.name[0] != '\0');
    GV_ASSERT(options->self.incarnation.start_counter > 0);
    GV_ASSERT(options->limits.piece_bytes > 0);
    GV_ASSERT(options->limits.piece_bytes <= 65536); /* two of them and a key fit a frame */

    gv_ccore_t *core = GV_NEW(gv_ccore_t);
    core->ports = options->ports;
    core->timing = options->timing;
    core->limits = options->limits;
    core->switches = options->switches;
    core->now_ms = options->now_ms;
    memcpy(core->cluster, options->self.cluster, sizeof(core->cluster));
    gv_rng_init(&core->rng, options->random_seed, 1);
    core->table_seed = gv_rng_u64(&core->rng);
    gv_list_init(&core->links);
    gv__fifo_init(&core->withdrawals, sizeof(gv_withdrawal_t));
    gv__fifo_init(&core->barriers, sizeof(gv_barrier_entry_t));
    gv__fifo_init(&core->results, sizeof(gv_result_t));
    gv_list_init(&core->notes);
    gv_arena_init(&core->arena, ARENA_MAX);
    copy_seeds(core, options);
    core->gossip_ms = core->now_ms;
    core->view_ms = core->now_ms;

    gv_member_t *self = gv__member_add(core, &options->self.id, options->self.incarnation);
    GV_ASSERT(self->index == GV_NODE_SELF);
    memcpy(self->name, options->self.name, sizeof(self->name));
    memcpy(self->address, options->self.address, sizeof(self->address));
    self->replica.table.incarnation = self->incarnation;
    self->replica.is_complete = true;
    gv__directory_init(core);
    *core_out = core;
}

void gv_ccore_free(gv_ccore_t **corep)
{
    gv_ccore_t *core = *corep;
    *corep = NULL;
    if (core == NULL) {
        return;
    }
    gv_list_foreach_safe (&core->links, link) {
        gv_list_remove(link);
        gv_free(gv_container_of(link, gv_peer_link_t, _link));
    }
    for (size_t i = 0; i < core->member_end; i++) {
        if (core->members[i] != NULL) {
            gv__member_free(core, core->members[i]);
        }
    }
    for (size_t i = 0; i < core->seed_count; i++) {
        gv_free(core->seeds[i].address);
    }
    gv_free(core->seeds);
    gv__fifo_deinit(&core->withdrawals);
    gv__fifo_deinit(&core->barriers);
    gv__results_deinit(core);
    gv__notes_deinit(core);
    gv_directory_free(&core->directory);
    gv__partings_deinit(core);
    gv_arena_deinit(&core->arena);
    gv_free(core->scratch);
    gv_free(core);
}

/* ---- sending and closing ----------------------------------------------------------------------
 */

uint64_t gv__since(const gv_ccore_t *core, uint64_t then_ms)
{
    return core->now_ms > then_ms ? core->now_ms - then_ms : 0;
}

uint8_t *gv__scratch(gv_ccore_t *core, size_t size)
{
    if (size > core->scratch_capacity) {
        core->scratch = gv_xrealloc(core->scratch, size);
        core->scratch_capacity = size;
    }
    return core->scratch;
}

void *gv__build(gv_ccore_t *core, size_t count, size_t size)
{
    /* count + 1: an empty array is an address too, for memset and for protobuf-c. */
    void *room = gv_arena_alloc(&core->arena, (count + 1) * size);
    GV_ASSERT(room != NULL);
    memset(room, 0, (count + 1) * size);
    return room;
}

void gv__send(gv_ccore_t *core, const gv_peer_link_t *link, gv_frame_kind_t kind,
              const ProtobufCMessage *msg)
{
    size_t size = protobuf_c_message_get_packed_size(msg);
    GV_ASSERT(size <= GV_FRAME_BODY_MAX);
    uint8_t *packed = gv__scratch(core, size + 1);
    size_t written = protobuf_c_message_pack(msg, packed);
    GV_ASSERT(written == size);
    core->ports.send(link->id, GV_LINK_CONTROL, kind, gv_bytes(packed, size), core->ports.arg);
}

void gv__close(gv_ccore_t *core, gv_peer_link_t *link, gv_link_close_t reason, const char *text)
{
    Gv__Refused goodbye = GV__REFUSED__INIT;
    goodbye.reason = (uint32_t)reason + 1;
    goodbye.text = (char *)(uintptr_t)text; /* packing only reads */
    gv__send(core, link, GV_FRAME_GOODBYE, &goodbye.base);
    core->stats.links_closed++;
    core->ports.close(link->id, reason, text, core->ports.arg);
    gv__link_forget(core, link);
}

void gv__report(gv_ccore_t *core, gv_ccore_event_t event, const char *format, ...)
{
    char text[REPORT_TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    core->ports.report(event, text, core->ports.arg);
}

/* ---- fifo -------------------------------------------------------------------------------------
 */

#define FIFO_CAPACITY_MIN ((size_t)16)

void gv__fifo_init(gv_fifo_t *fifo, size_t entry_size)
{
    *fifo = (gv_fifo_t){._entry_size = entry_size};
}

void gv__fifo_deinit(gv_fifo_t *fifo)
{
    gv_free(fifo->_entries);
}

static uint8_t *fifo_slot(const gv_fifo_t *fifo, size_t i)
{
    size_t slot = (fifo->_head + i) % fifo->_capacity;
    return (uint8_t *)fifo->_entries + slot * fifo->_entry_size;
}

/* Copies the entries into an array of another capacity. */
static void fifo_resize(gv_fifo_t *fifo, size_t capacity)
{
    uint8_t *entries = gv_xcalloc(capacity, fifo->_entry_size);
    for (size_t i = 0; i < fifo->_count; i++) {
        memcpy(entries + i * fifo->_entry_size, fifo_slot(fifo, i), fifo->_entry_size);
    }
    gv_free(fifo->_entries);
    fifo->_entries = entries;
    fifo->_capacity = capacity;
    fifo->_head = 0;
}

void gv__fifo_push(gv_fifo_t *fifo, const void *entry)
{
    if (fifo->_count == fifo->_capacity) {
        fifo_resize(fifo, fifo->_capacity == 0 ? FIFO_CAPACITY_MIN : fifo->_capacity * 2);
    }
    fifo->_count++;
    memcpy(fifo_slot(fifo, fifo->_count - 1), entry, fifo->_entry_size);
}

void *gv__fifo_peek(const gv_fifo_t *fifo)
{
    return fifo->_count == 0 ? NULL : fifo_slot(fifo, 0);
}

size_t gv__fifo_count(const gv_fifo_t *fifo)
{
    return fifo->_count;
}

void *gv__fifo_at(const gv_fifo_t *fifo, size_t i)
{
    GV_ASSERT(i < fifo->_count);
    return fifo_slot(fifo, i);
}

void gv__fifo_pop(gv_fifo_t *fifo)
{
    GV_ASSERT(fifo->_count > 0);
    fifo->_head = (fifo->_head + 1) % fifo->_capacity;
    fifo->_count--;
    if (fifo->_capacity > FIFO_CAPACITY_MIN && fifo->_count < fifo->_capacity / 8) {
        fifo_resize(fifo, fifo->_capacity / 2); /* a burst's memory goes back */
    }
}

/* ---- the turn ---------------------------------------------------------------------------------
 */

/*
 * A call that may run ports begins: ports must not come back in.  When it ends the host knows of
 * all that a node was not given.  If it were told later only, the node might be back by then, and
 * what the host publishes meanwhile would overtake what it gets back.
 */
static void enter(gv_ccore_t *core)
{
    GV_ASSERT(core != NULL);
    GV_ASSERT(!core->in_port_phase);
    core->in_port_phase = true;
}

static void leave(gv_ccore_t *core)
{
    GV_ASSERT(core->in_port_phase);
    gv__results_flush(core);
    gv_arena_reset(&core->arena);
    core->in_port_phase = false;
}

/* More than this between two ticks, and it was us who slept. */
static uint64_t late_after_ms(const gv_ccore_t *core)
{
    uint64_t ms = core->timing.heartbeat + TICK_MS;
    return ms > LATE_TICK_MIN_MS ? ms : LATE_TICK_MIN_MS;
}

void gv_ccore_tick(gv_ccore_t *core, uint64_t now_ms)
{
    enter(core);
    GV_ASSERT(now_ms >= core->now_ms);
    bool is_late = now_ms - core->now_ms > late_after_ms(core);
    core->now_ms = now_ms;
    if (is_late && !core->switches.ignore_late_tick) {
        core->stats.wakeups_late++;
        gv__peers_forgive_silence(core);
        gv__members_forgive_silence(core);
        gv__overdue_forgive_silence(core);
        gv__barriers_woke(core);
    }
    gv__peers_tick(core);
    gv__members_tick(core);
    gv__tombstones_tick(core);
    gv__gossip_tick(core);
    gv__routes_tick(core);
    gv__replicas_tick(core);
    leave(core);
}

uint64_t gv_ccore_next_deadline_ms(const gv_ccore_t *core)
{
    uint64_t deadline = core->now_ms + TICK_MS;
    uint64_t routes = gv__routes_deadline(core);
    uint64_t barriers = gv__barriers_deadline(core);
    uint64_t directory = gv__directory_deadline(core);
    deadline = routes < deadline ? routes : deadline;
    deadline = directory < deadline ? directory : deadline;
    return barriers < deadline ? barriers : deadline;
}

/* The last words of a clean shutdown, behind everything else on the links. */
static void say_goodbye(gv_ccore_t *core)
{
    gv_list_foreach_safe (&core->links, l) {
        gv_peer_link_t *link = gv_container_of(l, gv_peer_link_t, _link);
        gv__close(core, link, GV_LINK_CLOSE_LEAVING, "this node is shutting down");
    }
    core->said_goodbye = true;
}

void gv_ccore_flush(gv_ccore_t *core)
{
    enter(core);
    gv__choose_paths(core);
    gv__gossip_flush(core);
    gv__routes_flush(core);
    gv__barriers_flush(core);
    gv__replicas_flush(core);
    gv__detours_flush(core);
    gv__receive_flush(core);
    gv__forward_flush(core);
    gv__notes_flush(core);
    gv__directory_flush(core);
    gv__results_flush(core);
    gv__overdue_flush(core);
    if (core->is_leaving && !core->said_goodbye) {
        say_goodbye(core);
    }
    leave(core);
}

void gv_ccore_leave(gv_ccore_t *core)
{
    GV_ASSERT(!core->in_port_phase);
    if (core->is_leaving) {
        return;
    }
    core->is_leaving = true;
    gv_member_t *self = gv__self(core);
    self->state = GV_MEMBER_LEFT;
    self->fact_for = UINT64_MAX;
    gv__foreach_peer(core, m)
    {
        gv__channel_out_abandon(core, m);
    }
}

/* ---- links ------------------------------------------------------------------------------------
 */

void gv_ccore_link_opened(gv_ccore_t *core, gv_link_id_t link, const gv_peer_identity_t *peer,
                          uint64_t dial_token)
{
    enter(core);
    gv__on_link_opened(core, link, peer, dial_token);
    leave(core);
}

void gv_ccore_link_closed(gv_ccore_t *core, gv_link_id_t link)
{
    enter(core);
    gv__on_link_closed(core, link);
    leave(core);
}

void gv_ccore_dial_failed(gv_ccore_t *core, uint64_t dial_token)
{
    enter(core);
    gv__on_dial_failed(core, dial_token);
    leave(core);
}

/* ---- frames -----------------------------------------------------------------------------------
 */

/* Decodes, handles; a message that cannot be decoded, or that the handler refuses, is malformed. */
#define HANDLE(type, name, call)                                                  \
    do {                                                                          \
        Gv__##type *msg = gv__##name##__unpack(&allocator, body.size, body.data); \
        return msg != NULL && (call);                                             \
    } while (0)

static bool dispatch(gv_ccore_t *core, gv_peer_link_t *link, gv_frame_kind_t kind, gv_bytes_t body)
{
    ProtobufCAllocator allocator = gv_arena_allocator(&core->arena);
    /* A life of the node that is not the current one may only learn and say who is what. */
    bool is_current = gv__link_is_current(link);
    switch (kind) {
    case GV_FRAME_HEARTBEAT:
        HANDLE(Heartbeat, heartbeat, gv__on_heartbeat(core, link, msg));
    case GV_FRAME_FACTS:
        HANDLE(Facts, facts, gv__on_facts(core, link, msg));
    case GV_FRAME_GOODBYE:
        HANDLE(Refused, refused, gv__on_goodbye(core, link, msg));
    case GV_FRAME_VIEW:
        HANDLE(View, view, !is_current || gv__on_view(core, link, msg));
    case GV_FRAME_PROBE:
        HANDLE(Probe, probe, !is_current || gv__on_probe(core, link, msg));
    case GV_FRAME_PROBE_ANSWER:
        HANDLE(ProbeAnswer, probe_answer, !is_current || gv__on_probe_answer(core, link, msg));
    case GV_FRAME_DIGEST:
        HANDLE(Digest, digest, gv__on_digest(core, link, msg));
    case GV_FRAME_TABLE_PIECE:
        HANDLE(TablePiece, table_piece, !is_current || gv__on_table_piece(core, link, msg, false));
    case GV_FRAME_TABLE_ANSWER:
        HANDLE(TablePiece, table_piece, !is_current || gv__on_table_piece(core, link, msg, true));
    case GV_FRAME_TABLE_ACK:
        HANDLE(TableAck, table_ack, !is_current || gv__on_table_ack(core, link, msg));
    case GV_FRAME_TABLE_REQUEST:
        HANDLE(TableRequest, table_request, !is_current || gv__on_table_request(core, link, msg));
    case GV_FRAME_TABLE_ACK_RELAY:
        HANDLE(RelayedAck, relayed_ack, !is_current || gv__on_relayed_ack(core, link, msg, true));
    case GV_FRAME_TABLE_ACK_RELAYED:
        HANDLE(RelayedAck, relayed_ack, !is_current || gv__on_relayed_ack(core, link, msg, false));
    case GV_FRAME_FORWARD:
    case GV_FRAME_FORWARD_RELAY:
    case GV_FRAME_FORWARD_ACK:
    case GV_FRAME_FORWARD_ACK_RELAY:
        return !is_current || gv__on_forward(core, link, kind, body);
    case GV_FRAME_RETAINED_DIGEST:
    case GV_FRAME_RETAINED_ASK:
    case GV_FRAME_RETAINED_LIST:
    case GV_FRAME_RETAINED_WANT:
        if (is_current) {
            core->ports.note(link->member->index, kind, body, core->ports.arg);
        }
        return true;
    case GV_FRAME_DIRECTORY:
        HANDLE(DirectoryNote, directory_note,
               !is_current || gv__on_directory(core, link, msg, false));
    case GV_FRAME_DIRECTORY_RELAY:
        HANDLE(DirectoryNote, directory_note,
               !is_current || gv__on_directory(core, link, msg, true));
    case GV_FRAME_HELLO:
    case GV_FRAME_PROOF:
    case GV_FRAME_REFUSED:
        return false; /* after the handshake these have no meaning */
    }
    return true; /* from a newer peer */
}

void gv_ccore_link_frame(gv_ccore_t *core, gv_link_id_t id, gv_frame_kind_t kind, gv_bytes_t body)
{
    gv_peer_link_t *link = gv__peer_link(core, id);
    if (link == NULL) {
        return;
    }
    enter(core);
    gv__link_heard(core, link);
    bool is_fine = body.size <= GV_FRAME_BODY_MAX && dispatch(core, link, kind, body);
    link = gv__peer_link(core, id); /* the frame may have closed it */
    if (!is_fine) {
        core->stats.frames_bad++;
        if (link != NULL) {
            char text[CLUSTER_NAME_SHOWN];
            (void)snprintf(text, sizeof(text), "malformed frame of kind %u, %zu bytes",
                           (unsigned)kind, body.size);
            gv__report(core, GV_CCORE_EVENT_LINK, "link to '%s' closed: %s", link->member->name,
                       text);
            gv__close(core, link, GV_LINK_CLOSE_MALFORMED, text);
        }
    }
    leave(core);
}
