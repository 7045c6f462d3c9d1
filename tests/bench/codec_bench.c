/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What the MQTT codec costs: nanoseconds to cut off and decode a small PUBLISH, to write the head
 * of one, to patch a ready head, to write an acknowledgement, to check and match topics.
 *
 *     build/release/bench/codec_bench
 *
 * Each figure is the best of several runs over packets that lie in the cache, as those do that have
 * just been received.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/mqtt/packet.h"
#include "proto/mqtt/utf8.h"

enum {
    PACKETS = 256, /* different ones, so that no branch is learnt by heart */
    ROUNDS = 2000,
    RUNS = 7
};

/* Keeps the compiler from leaving out what is measured. */
static uint64_t checksum;

typedef struct stream {
    uint8_t bytes[PACKETS * 256];
    size_t size;
} stream_t;

typedef struct workload {
    gv_mqtt_version_t version;
    uint8_t qos;
    gv_bytes_t properties; /* v5: length and block */
    stream_t stream;
} workload_t;

static double now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* Prints the best of several runs; each `work` is `count` operations. */
static void measure(const char *name, void (*work)(void *arg), void *arg, double count)
{
    double best = 1e18;
    for (int run = 0; run < RUNS; run++) {
        double start = now_ns();
        work(arg);
        double took = now_ns() - start;
        best = took < best ? took : best;
    }
    (void)printf("%-52s %8.1f ns\n", name, best / count);
}

/* ---- decoding ----------------------------------------------------------------------------- */

/* 64 bytes of payload under topics of 20 to 27 bytes. */
static void fill(workload_t *load)
{
    static const uint8_t payload[64] = "{\"temperature\": 21.5}";
    gv_writer_t w = gv_writer(load->stream.bytes, sizeof(load->stream.bytes));
    for (int i = 0; i < PACKETS; i++) {
        char topic[32];
        (void)snprintf(topic, sizeof(topic), "plant/%d/line/%d/sensor%.*s", i % 10, i, i % 8,
                       "abcdefgh");
        gv_mqtt_publish_head_t head = {.topic = gv_bytes_text(topic),
                                       .travel = load->properties,
                                       .payload_size = sizeof(payload),
                                       .qos = load->qos,
                                       .packet_id = (uint16_t)(i + 1)};
        (void)gv_mqtt_publish_head_write(&head, load->version, &w, NULL);
        gv_writer_put(&w, gv_bytes(payload, sizeof(payload)));
    }
    load->stream.size = sizeof(load->stream.bytes) - gv_writer_left(&w);
    if (w.failed) {
        abort();
    }
}

static void decode_stream(void *arg)
{
    const workload_t *load = arg;
    gv_mqtt_peer_t sender = {.version = load->version};
    for (int round = 0; round < ROUNDS; round++) {
        gv_bytes_t left = gv_bytes(load->stream.bytes, load->stream.size);
        gv_mqtt_frame_t frame;
        while (gv_mqtt_frame(left, 65536, &frame) == GV_OK) {
            gv_mqtt_publish_t publish;
            gv_mqtt_reason_t reason;
            if (gv_mqtt_decode_publish(&frame, &sender, &publish, &reason) != GV_OK) {
                abort();
            }
            checksum += publish.topic.size + publish.packet_id;
            left = gv_bytes(left.data + frame.size, left.size - frame.size);
        }
    }
}

/* ---- encoding ----------------------------------------------------------------------------- */

typedef struct head_load {
    gv_mqtt_version_t version;
    gv_mqtt_publish_head_t head;
} head_load_t;

static void write_heads(void *arg)
{
    head_load_t *load = arg;
    uint8_t room[256];
    for (int i = 0; i < PACKETS * ROUNDS; i++) {
        gv_writer_t w = gv_writer(room, sizeof(room));
        load->head.packet_id = (uint16_t)(i | 1);
        size_t offset;
        checksum += gv_mqtt_publish_head_write(&load->head, load->version, &w, &offset) + room[4];
    }
}

static void patch_heads(void *arg)
{
    head_load_t *load = arg;
    uint8_t ready[256];
    size_t offset;
    gv_writer_t w = gv_writer(ready, sizeof(ready));
    size_t size = gv_mqtt_publish_head_write(&load->head, load->version, &w, &offset);
    uint8_t room[256];
    for (int i = 0; i < PACKETS * ROUNDS; i++) {
        memcpy(room, ready, size);
        gv_mqtt_publish_patch(room, offset, (uint16_t)i, false);
        __asm__ volatile("" ::"r"(room) : "memory");
    }
    checksum += room[0];
}

static void write_acks(void *arg)
{
    (void)arg;
    uint8_t room[1024];
    for (int i = 0; i < ROUNDS; i++) {
        gv_writer_t w = gv_writer(room, sizeof(room));
        for (int j = 0; j < PACKETS; j++) {
            gv_mqtt_write_ack(&w, GV_MQTT_PUBACK, (uint16_t)(j + 1));
        }
        __asm__ volatile("" ::"r"(room) : "memory");
    }
}

/* ---- topics ------------------------------------------------------------------------------- */

static void check_topics(void *arg)
{
    const gv_bytes_t *topic = arg;
    for (int i = 0; i < PACKETS * ROUNDS; i++) {
        checksum += (uint64_t)gv_mqtt_text_scan(*topic);
    }
}

static void match_topics(void *arg)
{
    const gv_bytes_t *filter = arg;
    gv_bytes_t topic = GV_BYTES_LITERAL("plant/7/line/12/sensor");
    for (int i = 0; i < PACKETS * ROUNDS; i++) {
        checksum += gv_mqtt_topic_matches(topic, *filter);
    }
}

int main(void)
{
    static workload_t load;
    const double count = (double)PACKETS * ROUNDS;
    gv_bytes_t block = GV_BYTES_LITERAL("\x01\x01\x03\x00\x10"
                                        "application/json"
                                        "\x26\x00\x05trace\x00\x10"
                                        "0123456789abcdef");

    for (gv_mqtt_version_t version = GV_MQTT_V311; version <= GV_MQTT_V5; version++) {
        for (uint8_t qos = 0; qos <= 1; qos++) {
            char name[64];
            load = (workload_t){.version = version, .qos = qos};
            fill(&load);
            (void)snprintf(name, sizeof(name), "decode PUBLISH %s QoS %d",
                           gv_mqtt_version_text(version), qos);
            measure(name, decode_stream, &load, count);
        }
    }
    load = (workload_t){.version = GV_MQTT_V5, .qos = 1, .properties = block};
    fill(&load);
    measure("decode PUBLISH 5.0 QoS 1 with three properties", decode_stream, &load, count);

    head_load_t heads = {.version = GV_MQTT_V311,
                         .head = {.topic = GV_BYTES_LITERAL("plant/7/line/12/sensor"),
                                  .payload_size = 64,
                                  .qos = 1,
                                  .packet_id = 1}};
    measure("write head 3.1.1 QoS 1", write_heads, &heads, count);
    heads.version = GV_MQTT_V5;
    measure("write head 5.0 QoS 1", write_heads, &heads, count);
    static const uint32_t ids[] = {1};
    heads.head.subscription_ids = ids;
    heads.head.subscription_id_count = 1;
    heads.head.has_expiry = true;
    heads.head.expiry_s = 60;
    heads.head.travel = block;
    measure("write head 5.0 QoS 1 with properties, id, expiry", write_heads, &heads, count);
    measure("copy a ready head and patch the packet id", patch_heads, &heads, count);
    measure("write PUBACK", write_acks, NULL, count);

    gv_bytes_t topic = GV_BYTES_LITERAL("plant/7/line/12/sensor");
    measure("scan a topic of 22 bytes", check_topics, &topic, count);
    gv_bytes_t utf8 = GV_BYTES_LITERAL("k\xc3\xbc"
                                       "che/t\xc3\xbcr/m\xc3\xa4rz/caf\xc3\xa9");
    measure("scan a topic of 22 bytes with umlauts", check_topics, &utf8, count);
    gv_bytes_t filter = GV_BYTES_LITERAL("plant/+/line/#");
    measure("match it with plant/+/line/#", match_topics, &filter, count);
    return checksum == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
