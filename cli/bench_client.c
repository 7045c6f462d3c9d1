/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "cli/bench_client_p.h"

/*
 * A map of this file: making a client - sending - subscribing - publishing - what the broker says -
 * the stream - connecting and leaving.
 */

static const gv_bench_options_t *options_of(const gv_bench_client_t *client)
{
    return client->worker->shared->plan->options;
}

/* ---- making a client ---------------------------------------------------------------------- */

static gv_bench_publisher_t *new_publisher(const gv_bench_plan_t *plan, uint32_t number)
{
    const gv_bench_options_t *options = plan->options;
    gv_bench_publisher_t *publisher = GV_NEW(gv_bench_publisher_t);
    char topic[GV_BENCH_TOPIC_SIZE];
    publisher->number = number;
    gv_bench_message_init(&publisher->message, options->version,
                          gv_bytes_text(gv_bench_plan_topic(plan, number, topic)), options->qos,
                          options->payload_size);
    publisher->window = options->window;
    if (options->qos > 0) {
        publisher->free_ids = gv_xcalloc(publisher->window, sizeof(*publisher->free_ids));
        publisher->sent_ns = gv_xcalloc(publisher->window, sizeof(*publisher->sent_ns));
    }
    return publisher;
}

static gv_bench_subscriber_t *new_subscriber(const gv_bench_plan_t *plan, uint32_t number)
{
    gv_bench_subscriber_t *subscriber = GV_NEW(gv_bench_subscriber_t);
    subscriber->number = number;
    subscriber->filters = gv_bench_plan_filters(plan, number);
    subscriber->sources = gv_bench_plan_sources(plan, number);
    if (subscriber->sources.count > 0) {
        subscriber->trackers = gv_xcalloc(subscriber->sources.count, sizeof(*subscriber->trackers));
    }
    return subscriber;
}

void gv__bench_client_init(gv_bench_client_t *client, gv_bench_worker_t *worker, uint32_t number)
{
    const gv_bench_plan_t *plan = worker->shared->plan;
    uint32_t publishers = plan->options->publishers;
    client->worker = worker;
    if (number < publishers) {
        client->publisher = new_publisher(plan, number);
    } else {
        client->subscriber = new_subscriber(plan, number - publishers);
    }
}

void gv__bench_client_deinit(gv_bench_client_t *client)
{
    GV_ASSERT(client->state == GV_BENCH_CLOSED);
    if (client->publisher != NULL) {
        gv_bench_message_deinit(&client->publisher->message);
        gv_free(client->publisher->free_ids);
        gv_free(client->publisher->sent_ns);
        gv_free(client->publisher);
    }
    if (client->subscriber != NULL) {
        gv_free(client->subscriber->trackers);
        gv_free(client->subscriber);
    }
}

/* ---- sending ------------------------------------------------------------------------------ */

static GV_LOOP_ONLY uint8_t *reserve(gv_bench_client_t *client, size_t size)
{
    gv_bench_worker_t *worker = client->worker;
    if (size <= GV_CHUNK_LARGE) {
        return gv_outbuf_reserve(&client->stream.out, gv_loop_chunkpool(worker->loop), size);
    }
    if (size > worker->scratch_size) {
        worker->scratch = gv_xrealloc(worker->scratch, size);
        worker->scratch_size = size;
    }
    return worker->scratch;
}

/* `size` as reserved, or less. */
static GV_LOOP_ONLY void commit(gv_bench_client_t *client, const uint8_t *room, size_t size)
{
    if (room == client->worker->scratch) {
        gv_outbuf_append(&client->stream.out, gv_loop_chunkpool(client->worker->loop),
                         gv_bytes(room, size));
    } else {
        gv_outbuf_commit(&client->stream.out, size);
    }
}

static GV_LOOP_ONLY void send_ack(gv_bench_client_t *client, gv_mqtt_type_t type,
                                  uint16_t packet_id)
{
    uint8_t *room = reserve(client, GV_MQTT_ACK_SIZE);
    gv_writer_t writer = gv_writer(room, GV_MQTT_ACK_SIZE);
    gv_mqtt_write_ack(&writer, type, packet_id);
    commit(client, room, GV_MQTT_ACK_SIZE);
}

void gv__bench_client_ping(gv_bench_client_t *client)
{
    if (client->state != GV_BENCH_READY) {
        return;
    }
    uint8_t *room = reserve(client, GV_MQTT_PING_SIZE);
    gv_writer_t writer = gv_writer(room, GV_MQTT_PING_SIZE);
    gv_mqtt_write_ping(&writer, GV_MQTT_PINGREQ);
    commit(client, room, GV_MQTT_PING_SIZE);
    gv_stream_dirty(&client->stream);
}

/* Something is wrong with this connection; on_closed counts it. */
static GV_LOOP_ONLY void give_up(gv_bench_client_t *client, const char *why)
{
    gv__bench_worker_note(client->worker, "%s", why);
    gv_stream_close(&client->stream, GV_CLOSE_ABORT);
}

/* ---- subscribing -------------------------------------------------------------------------- */

static GV_LOOP_ONLY void send_subscribe(gv_bench_client_t *client, gv_bench_range_t filters)
{
    const gv_bench_plan_t *plan = client->worker->shared->plan;
    gv_bench_subscriber_t *subscriber = client->subscriber;
    gv_mqtt_subscription_t *entries = gv_xcalloc(filters.count, sizeof(*entries));
    char *texts = gv_xalloc((size_t)filters.count * GV_BENCH_TOPIC_SIZE);
    for (uint32_t i = 0; i < filters.count; i++) {
        char *text = texts + (size_t)i * GV_BENCH_TOPIC_SIZE;
        entries[i].text = gv_bytes_text(gv_bench_plan_filter(plan, filters.first + i, text));
        entries[i].qos = plan->options->qos;
    }
    subscriber->packet_id = subscriber->packet_id == UINT16_MAX ? 1 : subscriber->packet_id + 1;
    const gv_mqtt_subscribe_request_t request = {
        .packet_id = subscriber->packet_id, .entries = entries, .count = filters.count};
    const gv_mqtt_peer_t peer = {.version = plan->options->version, .is_server = true};
    size_t size = gv_mqtt_encode_subscribe(&request, &peer, NULL);
    GV_ASSERT(size > 0);
    uint8_t *room = reserve(client, size);
    gv_writer_t writer = gv_writer(room, size);
    (void)gv_mqtt_encode_subscribe(&request, &peer, &writer);
    commit(client, room, size);
    gv_stream_dirty(&client->stream);
    gv_free(texts);
    gv_free(entries);
}

static GV_LOOP_ONLY void subscribe_more(gv_bench_client_t *client)
{
    gv_bench_subscriber_t *subscriber = client->subscriber;
    gv_bench_range_t *left = &subscriber->filters;
    while (left->count > 0 && subscriber->unanswered < GV_BENCH_SUBSCRIBES_MAX) {
        gv_bench_range_t next = *left;
        if (next.count > options_of(client)->batch) {
            next.count = options_of(client)->batch;
        }
        send_subscribe(client, next);
        subscriber->unanswered++;
        left->first += next.count;
        left->count -= next.count;
    }
}

/* ---- publishing --------------------------------------------------------------------------- */

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many messages the window lets through. */
static uint32_t window_left(const gv_bench_client_t *client)
{
    const gv_bench_publisher_t *publisher = client->publisher;
    const gv_bench_shared_t *shared = client->worker->shared;
    if (publisher->free_ids != NULL) {
        return publisher->free_count;
    }
    if (shared->delivered == NULL) {
        return UINT32_MAX;
    }
    /* Pairs with take_message(); only a number, nothing hangs on its order. */
    uint32_t delivered =
        atomic_load_explicit(&shared->delivered[publisher->number], memory_order_relaxed);
    uint32_t copies = gv_bench_plan_copies(shared->plan);
    uint32_t on_the_way = publisher->next * copies - delivered - publisher->forgiven;
    uint32_t limit = publisher->window * copies;
    /* Compared as a signed number: a copy that was forgiven may come after all. */
    return (int32_t)on_the_way >= (int32_t)limit ? 0 : (limit - on_the_way + copies - 1) / copies;
}

static uint64_t intended_ns(const gv_bench_worker_t *worker, const gv_bench_publisher_t *publisher)
{
    double position = (double)publisher->next * worker->publisher_count + publisher->place;
    return worker->start_ns + (uint64_t)(position * worker->interval_ns);
}

static GV_LOOP_ONLY void publish(gv_bench_client_t *client, uint64_t now_ns)
{
    gv_bench_worker_t *worker = client->worker;
    gv_bench_publisher_t *publisher = client->publisher;
    gv_bench_stamp_t stamp = {
        .publisher = publisher->number, .number = publisher->next, .sent_ns = now_ns};
    if (worker->interval_ns > 0) {
        stamp.sent_ns = intended_ns(worker, publisher);
        if (stamp.sent_ns >= worker->measured_from_ns) {
            uint64_t lag = now_ns > stamp.sent_ns ? now_ns - stamp.sent_ns : 0;
            gv_bench_histogram_add(&worker->histograms.lag, lag, 1);
        }
    }
    uint16_t packet_id = 0;
    if (publisher->free_ids != NULL) {
        packet_id = publisher->free_ids[--publisher->free_count];
        publisher->sent_ns[packet_id - 1] = stamp.sent_ns;
    }
    uint8_t *room = reserve(client, publisher->message.size);
    gv_bench_message_write(&publisher->message, room, packet_id, &stamp);
    commit(client, room, publisher->message.size);
    publisher->next++;
}

void gv__bench_client_top_up(gv_bench_client_t *client, uint64_t now_ns)
{
    gv_bench_worker_t *worker = client->worker;
    gv_bench_publisher_t *publisher = client->publisher;
    size_t waiting = gv_outbuf_size(&client->stream.out);
    if (client->state != GV_BENCH_READY || !worker->is_publishing ||
        waiting >= GV_BENCH_BURST_SIZE) {
        return;
    }
    size_t burst =
        (GV_BENCH_BURST_SIZE - waiting + publisher->message.size - 1) / publisher->message.size;
    uint32_t count = smaller((uint32_t)burst, window_left(client));
    if (worker->interval_ns > 0) {
        count = smaller(count, publisher->due - publisher->next);
    }
    if (count == 0) {
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        publish(client, now_ns);
    }
    gv_counter_add(&worker->counters.sent, count);
    gv_stream_dirty(&client->stream);
}

/* ---- what the broker says ----------------------------------------------------------------- */

static GV_LOOP_ONLY bool take_connack(gv_bench_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_bench_worker_t *worker = client->worker;
    const gv_mqtt_peer_t peer = {.version = options_of(client)->version, .is_server = true};
    gv_mqtt_connack_t connack;
    gv_mqtt_reason_t reason;
    if (gv_mqtt_decode_connack(frame, &peer, &connack, &reason) != GV_OK) {
        return false;
    }
    if (connack.reason != GV_MQTT_SUCCESS) {
        gv__bench_worker_note(worker, "the broker refuses the connection: %s",
                              gv_mqtt_reason_text((uint8_t)connack.reason));
        return false;
    }
    client->state = GV_BENCH_READY;
    gv_counter_add(&worker->counters.connected, 1);
    gv_bench_histogram_add(&worker->histograms.connect, gv__bench_now_ns() - client->began_ns, 1);
    gv_bench_publisher_t *publisher = client->publisher;
    if (publisher != NULL && publisher->free_ids != NULL) {
        if (gv_mqtt_props_has(&connack.props, GV_MQTT_PROP_RECEIVE_MAXIMUM)) {
            publisher->window = smaller(publisher->window, connack.props.receive_maximum);
        }
        for (uint32_t i = 0; i < publisher->window; i++) {
            publisher->free_ids[i] = (uint16_t)(publisher->window - i);
        }
        publisher->free_count = publisher->window;
    }
    if (client->subscriber != NULL) {
        subscribe_more(client);
    }
    gv__bench_worker_client_settled(worker);
    return true;
}

static GV_LOOP_ONLY bool take_suback(gv_bench_client_t *client, const gv_mqtt_frame_t *frame)
{
    gv_bench_worker_t *worker = client->worker;
    const gv_mqtt_peer_t peer = {.version = options_of(client)->version, .is_server = true};
    gv_mqtt_suback_t suback;
    gv_mqtt_reason_t reason;
    if (client->subscriber == NULL || client->subscriber->unanswered == 0 ||
        gv_mqtt_decode_suback(frame, &peer, &suback, &reason) != GV_OK) {
        return false;
    }
    client->subscriber->unanswered--;
    for (size_t i = 0; i < suback.codes.size; i++) {
        if (suback.codes.data[i] < GV_MQTT_UNSPECIFIED_ERROR) {
            gv_counter_add(&worker->counters.filters, 1);
        } else {
            gv_counter_add(&worker->counters.filters_refused, 1);
            gv__bench_worker_note(worker, "the broker refuses a subscription: %s",
                                  gv_mqtt_reason_text(suback.codes.data[i]));
        }
    }
    subscribe_more(client);
    return true;
}

static GV_LOOP_ONLY void count_message(gv_bench_client_t *client, const gv_bench_stamp_t *stamp,
                                       uint64_t now_ns)
{
    gv_bench_worker_t *worker = client->worker;
    gv_bench_subscriber_t *subscriber = client->subscriber;
    uint32_t source = stamp->publisher - subscriber->sources.first;
    if (source >= subscriber->sources.count) {
        gv_counter_add(&worker->counters.strays, 1);
        return;
    }
    switch (gv_bench_tracker_take(&subscriber->trackers[source], stamp->number)) {
    case GV_BENCH_IN_ORDER:
        break;
    case GV_BENCH_LATE:
        gv_counter_add(&worker->counters.late, 1);
        break;
    case GV_BENCH_DUPLICATE:
        gv_counter_add(&worker->counters.duplicates, 1);
        break;
    }
    gv_counter_add(&worker->counters.received, 1);
    if (stamp->sent_ns >= worker->measured_from_ns) {
        uint64_t latency = now_ns > stamp->sent_ns ? now_ns - stamp->sent_ns : 0;
        gv_bench_histogram_add(&worker->histograms.latency, latency, 1);
    }
    if (worker->shared->delivered != NULL) {
        (void)atomic_fetch_add_explicit(&worker->shared->delivered[stamp->publisher], 1,
                                        memory_order_relaxed);
    }
}

static GV_LOOP_ONLY bool take_message(gv_bench_client_t *client, const gv_mqtt_frame_t *frame,
                                      uint64_t now_ns)
{
    uint16_t packet_id;
    gv_bench_stamp_t stamp;
    gv_err_t err = gv_bench_message_read(frame, options_of(client)->version, &packet_id, &stamp);
    if (client->subscriber == NULL || err == GV_ERR_MALFORMED) {
        return false;
    }
    if (err == GV_OK) {
        count_message(client, &stamp, now_ns);
    } else {
        gv_counter_add(&client->worker->counters.strays, 1);
    }
    if (packet_id != 0) {
        send_ack(client, (frame->flags & 0x06) == 0x02 ? GV_MQTT_PUBACK : GV_MQTT_PUBREC,
                 packet_id);
    }
    return true;
}

/* A message of ours is through, or has been refused. */
static GV_LOOP_ONLY void take_last_ack(gv_bench_client_t *client, uint16_t packet_id,
                                       uint8_t reason, uint64_t now_ns)
{
    gv_bench_worker_t *worker = client->worker;
    gv_bench_publisher_t *publisher = client->publisher;
    gv_counter_add(reason >= GV_MQTT_UNSPECIFIED_ERROR ? &worker->counters.refused
                                                       : &worker->counters.acked,
                   1);
    uint64_t sent_ns = publisher->sent_ns[packet_id - 1];
    if (sent_ns >= worker->measured_from_ns && now_ns > sent_ns) {
        gv_bench_histogram_add(&worker->histograms.ack, now_ns - sent_ns, 1);
    }
    publisher->free_ids[publisher->free_count++] = packet_id;
}

static GV_LOOP_ONLY bool take_ack(gv_bench_client_t *client, const gv_mqtt_frame_t *frame,
                                  uint64_t now_ns)
{
    const gv_bench_publisher_t *publisher = client->publisher;
    if (frame->body.size < 2) {
        return false;
    }
    uint16_t packet_id = (uint16_t)(frame->body.data[0] << 8 | frame->body.data[1]);
    uint8_t reason = frame->body.size > 2 ? frame->body.data[2] : 0;
    if (frame->type == GV_MQTT_PUBREL) {
        send_ack(client, GV_MQTT_PUBCOMP, packet_id);
        return client->subscriber != NULL;
    }
    if (publisher == NULL || publisher->free_ids == NULL || packet_id == 0 ||
        packet_id > publisher->window || publisher->free_count == publisher->window) {
        return false;
    }
    if (frame->type == GV_MQTT_PUBREC && reason < GV_MQTT_UNSPECIFIED_ERROR) {
        send_ack(client, GV_MQTT_PUBREL, packet_id);
    } else {
        take_last_ack(client, packet_id, reason, now_ns);
    }
    return true;
}

/* False: not what we can go on with. */
static GV_LOOP_ONLY bool take_packet(gv_bench_client_t *client, const gv_mqtt_frame_t *frame,
                                     uint64_t now_ns)
{
    if (client->state == GV_BENCH_CONNECTING) {
        return frame->type == GV_MQTT_CONNACK && take_connack(client, frame);
    }
    if (frame->type == GV_MQTT_PUBLISH) {
        return take_message(client, frame, now_ns);
    }
    if (frame->type >= GV_MQTT_PUBACK && frame->type <= GV_MQTT_PUBCOMP) {
        return take_ack(client, frame, now_ns);
    }
    if (frame->type == GV_MQTT_SUBACK) {
        return take_suback(client, frame);
    }
    if (frame->type == GV_MQTT_DISCONNECT) {
        gv__bench_worker_note(client->worker, "the broker disconnects: %s",
                              gv_mqtt_reason_text(frame->body.size > 0 ? frame->body.data[0] : 0));
        return false;
    }
    return frame->type == GV_MQTT_PINGRESP;
}

/* ---- the stream --------------------------------------------------------------------------- */

static gv_bench_client_t *client_of(gv_stream_t *stream)
{
    return gv_container_of(stream, gv_bench_client_t, stream);
}

static size_t on_input(gv_stream_t *stream, gv_bytes_t bytes)
{
    gv_bench_client_t *client = client_of(stream);
    gv_loop_assert_current(client->worker->loop);
    uint64_t now_ns = gv__bench_now_ns();
    size_t used = 0;
    while (client->state != GV_BENCH_LEAVING) {
        gv_mqtt_frame_t frame;
        gv_err_t err = gv_mqtt_frame(gv_bytes(bytes.data + used, bytes.size - used),
                                     GV_MQTT_PACKET_SIZE_MAX, &frame);
        if (err == GV_ERR_AGAIN) {
            if (frame.size > 0) {
                gv_stream_expect(stream, (uint32_t)frame.size);
            }
            break;
        }
        if (err != GV_OK || !take_packet(client, &frame, now_ns)) {
            give_up(client, "the broker does not speak MQTT as expected");
            return bytes.size;
        }
        used += frame.size;
    }
    if (client->publisher != NULL) {
        gv__bench_client_top_up(client, now_ns);
    }
    if (gv_outbuf_size(&stream->out) > 0 && gv_stream_is_open(stream)) {
        gv_stream_dirty(stream);
    }
    return client->state == GV_BENCH_LEAVING ? bytes.size : used;
}

static void on_drained(gv_stream_t *stream)
{
    gv_bench_client_t *client = client_of(stream);
    gv_loop_assert_current(client->worker->loop);
    if (client->publisher != NULL) {
        gv__bench_client_top_up(client, gv__bench_now_ns());
    }
}

static void on_closed(gv_stream_t *stream, gv_err_t why)
{
    gv_bench_client_t *client = client_of(stream);
    gv_bench_worker_t *worker = client->worker;
    gv_loop_assert_current(worker->loop);
    gv_bench_client_state_t state = client->state;
    client->state = GV_BENCH_CLOSED;
    if (state == GV_BENCH_CONNECTING) {
        gv__bench_worker_note(worker, "cannot connect: %s",
                              why == GV_ERR_CLOSED ? "refused, or no way there" : gv_err_text(why));
        gv_counter_add(&worker->counters.connect_failed, 1);
        gv__bench_worker_client_settled(worker);
    } else if (state == GV_BENCH_READY) {
        gv__bench_worker_note(worker, "a connection was lost: %s", gv_err_text(why));
        gv_counter_add(&worker->counters.disconnected, 1);
    }
    gv__bench_worker_client_closed(worker);
}

static const gv_stream_ops_t stream_ops = {
    .on_input = on_input, .on_drained = on_drained, .on_closed = on_closed};

/* ---- connecting and leaving --------------------------------------------------------------- */

/* A socket on its way to the broker, or -1 with errno. */
static int start_connecting(const gv_address_t *address)
{
    int fd = socket(address->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&address->storage, address->size) != 0 &&
        errno != EINPROGRESS) {
        int code = errno;
        (void)close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

/* How long a persistent session stays when the run is over [s]. */
#define PERSISTENT_S 60U

static GV_LOOP_ONLY void send_connect(gv_bench_client_t *client)
{
    const gv_bench_plan_t *plan = client->worker->shared->plan;
    const gv_bench_options_t *options = plan->options;
    char id[40];
    bool is_publisher = client->publisher != NULL;
    (void)snprintf(id, sizeof(id), "b-%s-%c%" PRIu32, plan->run, is_publisher ? 'p' : 's',
                   is_publisher ? client->publisher->number : client->subscriber->number);
    gv_mqtt_connect_t packet = {.version = options->version,
                                .clean_start = true,
                                .keep_alive_s = options->keep_alive_s,
                                .client_id = gv_bytes_text(id),
                                .has_username = options->username != NULL,
                                .has_password = options->password != NULL};
    if (options->is_persistent && !is_publisher) {
        gv_mqtt_props_set_number(&packet.props, GV_MQTT_PROP_SESSION_EXPIRY, PERSISTENT_S);
    }
    if (packet.has_username) {
        packet.username = gv_bytes_text(options->username);
    }
    if (packet.has_password) {
        packet.password = gv_bytes_text(options->password);
    }
    size_t size = gv_mqtt_encode_connect(&packet, NULL);
    GV_ASSERT(size > 0);
    uint8_t *room = reserve(client, size);
    gv_writer_t writer = gv_writer(room, size);
    (void)gv_mqtt_encode_connect(&packet, &writer);
    commit(client, room, size);
    gv_stream_dirty(&client->stream);
}

void gv__bench_client_open(gv_bench_client_t *client)
{
    gv_bench_worker_t *worker = client->worker;
    const gv_bench_shared_t *shared = worker->shared;
    int role = client->publisher != NULL ? 0 : 1;
    uint32_t number = role == 0 ? client->publisher->number : client->subscriber->number;
    const gv_bench_targets_t *targets = &shared->plan->options->targets[role];
    const gv_stream_options_t options = {.input_max = GV_MQTT_PACKET_SIZE_MAX,
                                         .drain_mark = GV_BENCH_BURST_SIZE - 1};
    client->began_ns = gv__bench_now_ns();
    int fd = start_connecting(&shared->addresses[role][number % targets->count]);
    gv_err_t err = gv_err_from_errno(errno);
    if (fd >= 0) {
        gv_socket_t socket = gv_socket_init(fd);
        err = gv_stream_open(&client->stream, worker->loop, &stream_ops, &options, &socket);
        gv_socket_close(&socket);
    }
    if (fd < 0 || err != GV_OK) {
        gv__bench_worker_note(worker, "cannot connect: %s", gv_err_text(err));
        gv_counter_add(&worker->counters.connect_failed, 1);
        gv__bench_worker_client_settled(worker);
        gv__bench_worker_client_closed(worker);
        return;
    }
    client->state = GV_BENCH_CONNECTING;
    send_connect(client);
}

void gv__bench_client_leave(gv_bench_client_t *client)
{
    if (client->state != GV_BENCH_CONNECTING && client->state != GV_BENCH_READY) {
        return;
    }
    bool is_ready = client->state == GV_BENCH_READY;
    client->state = GV_BENCH_LEAVING;
    if (!is_ready) {
        gv_stream_close(&client->stream, GV_CLOSE_ABORT);
        return;
    }
    const gv_mqtt_disconnect_t packet = {.reason = GV_MQTT_SUCCESS};
    const gv_mqtt_peer_t peer = {.version = options_of(client)->version, .is_server = true};
    size_t size = gv_mqtt_encode_disconnect(&packet, &peer, NULL);
    uint8_t *room = reserve(client, size);
    gv_writer_t writer = gv_writer(room, size);
    (void)gv_mqtt_encode_disconnect(&packet, &peer, &writer);
    commit(client, room, size);
    gv_stream_close(&client->stream, GV_CLOSE_FLUSH);
}
