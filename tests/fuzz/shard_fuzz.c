/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Several clients play with a whole node: connects of all versions, takeovers, subscriptions of all
 * kinds, publishes at all QoS, acknowledgements right and wrong, connections that break, slow
 * readers, damaged packets, time that passes, threads whose letters arrive when it pleases, a disk
 * that takes its time, and a node that dies at any moment.
 * After every step what the node has said is held against the rules (shard_rules.c); in the end
 * everybody behaves, nothing acknowledged may be missing, and nothing of all may be left.
 *
 * The input: two bytes for the node's limits, then steps of four bytes: what and who, and three for
 * how.  Every input is a play.  GV_FUZZ_TRACE=1 in the environment tells it as a story.
 */
#include <stdlib.h>

#include "base/log.h"
#include "shard_play.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- failing --------------------------------------------------------------------------------- */

_Noreturn void play_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("broken rule: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputs("\n", stderr);
    va_end(args);
    abort();
}

void play_trace(const char *format, ...)
{
    static int is_on = -1;
    if (is_on < 0) {
        is_on = getenv("GV_FUZZ_TRACE") != NULL ? 1 : 0;
    }
    if (is_on > 0) {
        va_list args;
        va_start(args, format);
        (void)vfprintf(stderr, format, args);
        va_end(args);
    }
}

/* house.h uses the macros of Check, which call these; here is no test that could fail, so we do. */
void _mark_point(const char *file, int line)
{
    (void)file, (void)line;
}

void _ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    (void)msg;
    play_fail("%s:%d: %s", file, line, expr);
}

/* ---- steps ----------------------------------------------------------------------------------- */

typedef enum kind {
    CONNECT,
    PUBLISH,
    PUBLISH_ODDLY, /* again, by an alias, not the text it should be */
    SUBSCRIBE,
    UNSUBSCRIBE,
    ACKNOWLEDGE,
    ACKNOWLEDGE_WRONGLY,
    LEAVE, /* with DISCONNECT, without, sent away by the node, or the node dies */
    PASS_TIME,
    READ, /* slowly, from now on; or some bytes */
    HEAR, /* the node hears: some bytes of what was sent */
    WORK, /* a shard ends its turn, a letter arrives, the disk works */
    DAMAGE,
    RANT,
    PING,
    SETTLE,
} kind_t;

typedef struct step {
    kind_t kind;
    role_t *role;
    bool settles;
    uint8_t how[3];
} step_t;

static void step_connect(play_t *play, const step_t *step)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V5, GV_MQTT_V311, GV_MQTT_V5, GV_MQTT_V31};
    static const uint32_t expiries_s[] = {0, 1, 100, GV_EXPIRY_NEVER};
    static const uint16_t receive[] = {0, 1, 2, 5};
    static const uint32_t packet_sizes[] = {0, 0, 40, 300};
    static const uint16_t keep_alives_s[] = {0, 0, 2, 60};
    const uint8_t *how = step->how;
    play_connect_t options = {
        .clean_start = (how[0] & 4) != 0,
        .expiry_s = expiries_s[how[0] >> 3 & 3],
        .receive_max = receive[how[0] >> 5 & 3],
        .has_will = (how[0] & 0x80) != 0,
        .alias_max = how[1] & 7,
        .packet_size_max = packet_sizes[how[1] >> 3 & 3],
        .keep_alive_s = keep_alives_s[how[1] >> 5 & 3],
        .is_terse = (how[1] & 0x80) != 0,
    };
    if (how[2] == 255) { /* a stranger who says nothing yet */
        (void)play_visit(play, GV_MQTT_V5);
        return;
    }
    play_connect(play, step->role, versions[how[0] & 3], &options);
}

static void step_publish(play_t *play, const step_t *step)
{
    static const uint16_t sizes[] = {0, 0, 20, 300, 1500, 5000, 0, 60};
    const uint8_t *how = step->how;
    play_publish_t options = {
        .topic = how[0] % TOPICS,
        .qos = how[1] % 3,
        .retain = how[1] >= 224,
        .has_expiry = (how[2] & 0x18) == 0x18,
        .size = sizes[how[2] & 7],
    };
    if (step->kind == PUBLISH_ODDLY) {
        options.alias = (uint8_t)(how[2] % (ALIASES + 1));
        options.by_alias = (how[2] & 0x40) != 0;
        options.is_forbidden = (how[2] & 0x80) != 0;
        options.has_expiry = false;
        options.size = 0;
        if (how[0] >= 192) {
            play_publish_again(play, step->role->seat, how[1]);
            return;
        }
    }
    play_publish(play, step->role->seat, &options);
}

static void step_acknowledge(play_t *play, const step_t *step)
{
    seat_t *seat = step->role->seat;
    if (step->kind == ACKNOWLEDGE_WRONGLY) {
        play_wrong_ack(play, seat, (gv_mqtt_type_t)(GV_MQTT_PUBACK + step->how[0] % 4),
                       (uint16_t)(1 + step->how[1] % 32));
        return;
    }
    for (int count = step->how[0] % 16; count >= 0; count--) {
        play_ack(play, seat, step->how[1], step->how[2] == 1);
    }
}

static void step_leave(play_t *play, const step_t *step)
{
    seat_t *seat = step->role->seat;
    if (step->how[0] < 128) {
        play_cut(play, seat);
    } else if (step->how[0] >= 250 && step->how[0] < 255) {
        play_crash(play, step->how[2] % 2 == 0 ? GV_MEM_CRASH_PROCESS : GV_MEM_CRASH_POWER,
                   step->how[1] % 16);
    } else if (step->how[0] < 250) {
        play_disconnect(play, seat, (step->how[1] & 1) != 0, step->how[2]);
    } else if (step->how[1] == 255) {
        static const gv_drain_t drain = {.reason = GV_MQTT_SERVER_SHUTTING_DOWN, .is_final = true};
        play->is_draining = true;
        for (uint16_t i = 0; i < play->house.shard_count; i++) {
            gv_shard_drain(play->house.shards[i], &drain);
        }
    }
}

static void pass_time(play_t *play, uint64_t ms)
{
    house_t *house = &play->house;
    house->now_ms += ms;
    (void)gv_timerwheel_advance(house->wheel, house->now_ms);
    for (size_t i = 0; i < play->seat_count; i++) {
        guest_t *guest = play->seats[i]->guest;
        if (!guest->is_gone && gv_outbuf_size(&guest->out) > 0) {
            gv_client_check_output(guest->conn.client);
        }
    }
}

static void step_pass_time(play_t *play, const step_t *step)
{
    static const uint32_t spans_ms[] = {1, 5, 10, 100, 1000, 1500, 3000, 12000, 25000, 100000};
    pass_time(play, spans_ms[step->how[0] % 10]);
    if (step->how[0] == 255) {
        pass_time(play, (uint64_t)SESSION_EXPIRY_MAX_S * 1000);
    }
}

static void step_read(const step_t *step)
{
    guest_t *guest = step->role->seat->guest;
    guest->is_slow = step->how[0] < 192;
    (void)guest_take(guest, (size_t)step->how[1] * 16 + step->how[2]);
}

static void step_hear(const step_t *step)
{
    guest_t *guest = step->role->seat->guest;
    size_t all = guest->input_size;
    size_t part = (size_t)step->how[0] * 8 + step->how[1];
    if (part < all) {
        guest->input_size = part;
        (void)guest_offer(guest);
        /* What was not taken stands in front of what was not offered. */
        size_t taken = part - guest->input_size;
        memmove(guest->input + guest->input_size, guest->input + part, all - part);
        guest->input_size = all - taken;
    } else {
        (void)guest_offer(guest);
    }
}

static void step_work(play_t *play, const step_t *step)
{
    house_t *house = &play->house;
    house_free_retired(house);
    if (step->how[0] < 64) {
        gv_hub_turn_end(house->hub);
    } else if (step->how[0] < 128) {
        gv_shard_turn_end(house->shards[step->how[1] % house->shard_count]);
    } else if (step->how[0] < 192) {
        (void)house_deliver(house, step->how[1], true);
    } else if (step->how[0] < 240) {
        (void)gv_mem_store_step(house->store);
    } else {
        house->is_store_slow = step->how[1] % 2 == 0; /* works by the line above only */
    }
}

static void step_rant(play_t *play, const step_t *step)
{
    if (step->role->seat != NULL) {
        play_rant(play, step->role->seat, step->how, sizeof(step->how));
        return;
    }
    for (size_t i = 0; i < play->seat_count; i++) {
        if (!play->seats[i]->has_connect && !play->seats[i]->guest->is_gone) {
            play_rant(play, play->seats[i], step->how, sizeof(step->how));
            (void)guest_offer(play->seats[i]->guest);
        }
    }
}

static void take_step(play_t *play, const step_t *step)
{
    bool is_seated = play_is_seated(step->role->seat);
    switch (step->kind) {
    case CONNECT:
        step_connect(play, step);
        break;
    case PASS_TIME:
        step_pass_time(play, step);
        break;
    case WORK:
        step_work(play, step);
        break;
    case RANT:
        step_rant(play, step);
        break;
    case SETTLE:
        house_settle(&play->house);
        break;
    case PUBLISH:
    case PUBLISH_ODDLY:
        if (is_seated) {
            step_publish(play, step);
        }
        break;
    case SUBSCRIBE:
        if (is_seated) {
            play_subscribe(play, step->role->seat, step->how);
        }
        break;
    case UNSUBSCRIBE:
        if (is_seated) {
            play_unsubscribe(play, step->role->seat, step->how[0]);
        }
        break;
    case ACKNOWLEDGE:
    case ACKNOWLEDGE_WRONGLY:
        if (is_seated) {
            step_acknowledge(play, step);
        }
        break;
    case LEAVE:
        if (is_seated) {
            step_leave(play, step);
        }
        break;
    case READ:
        if (is_seated) {
            step_read(step);
        }
        break;
    case HEAR:
        if (is_seated) {
            step_hear(step);
        }
        break;
    case DAMAGE:
        if (is_seated) {
            step->role->seat->damage = step->how[0];
            step->role->seat->damage_at = step->how[1];
        }
        break;
    case PING:
        if (is_seated) {
            play_ping(step->role->seat);
        }
        break;
    }
    if (step->settles) {
        house_settle(&play->house);
    }
    play_watch(play);
}

/* ---- beginning and end ----------------------------------------------------------------------- */

/* The witness reads and acknowledges everything at once. */
static void attend(play_t *play)
{
    seat_t *seat = play->roles[WITNESS].seat;
    while (play_is_seated(seat) && gv_outbuf_size(&seat->guest->out) > 0) {
        (void)guest_collect(seat->guest);
        while (seat->owed_count > 0) {
            play_ack(play, seat, 0, false);
        }
        while (guest_offer(seat->guest)) {
        }
        play_watch(play);
    }
}

static void begin(play_t *play, uint8_t a, uint8_t b)
{
    static const uint16_t windows[] = {16, 1, 2, 5};
    static const uint16_t receive[] = {64, 2, 5, 20};
    house_open(&play->house, (uint16_t)(1 + a % 3));
    gv_limits_t *limits = &play->house.limits;
    limits->session_expiry_max_s = SESSION_EXPIRY_MAX_S;
    limits->inflight_max = windows[a >> 2 & 3];
    limits->receive_max = receive[a >> 4 & 3];
    limits->queue_policy = (gv_queue_policy_t)(b % 3);
    limits->queue_messages_max = (b & 4) != 0 ? 3 : 10000;
    limits->stored_queue_messages_max = limits->queue_messages_max;
    limits->output_bytes_max = (b & 8) != 0 ? 2000 : 1 << 20;
    limits->output_bytes_soft = limits->output_bytes_max / 4;
    for (int i = 0; i < ROLES; i++) {
        /* A damaged byte does not make one role of another. */
        memset(play->roles[i].id, 'a' + i, 6);
    }
    play_connect_t options = {.clean_start = true, .expiry_s = GV_EXPIRY_NEVER};
    play_connect(play, &play->roles[WITNESS], GV_MQTT_V5, &options);
    play_subscribe(play, play->roles[WITNESS].seat, (const uint8_t[]){2, 2, 0});
    house_settle(&play->house);
    play_watch(play);
}

static bool has_work(const play_t *play)
{
    for (size_t i = 0; i < play->seat_count; i++) {
        const seat_t *seat = play->seats[i];
        if (play_is_seated(seat) &&
            (seat->owed_count > 0 ||
             (seat->guest->input_size > 0 && !seat->is_wild && seat->role != NULL))) {
            return true;
        }
    }
    return false;
}

/* Everybody reads, and says what he owes, until nobody owes anything. */
static void calm_down(play_t *play)
{
    play->house.is_store_slow = false;
    for (int round = 0; round < 10 || has_work(play); round++) {
        play_must(round < 3000, "it never becomes quiet");
        for (size_t i = 0; i < play->seat_count; i++) {
            seat_t *seat = play->seats[i];
            seat->guest->is_slow = false;
            seat->damage = 0;
            while (play_is_seated(seat) && seat->role != NULL && seat->owed_count > 0) {
                play_ack(play, seat, 0, false);
            }
            if (seat->role == NULL) {
                seat->owed_count = 0;
            }
        }
        pass_time(play, 10);
        house_settle(&play->house);
        play_watch(play);
    }
}

/* What was acknowledged has reached the witness, and everybody has had his answers. */
static void check_promises(const play_t *play)
{
    uint64_t dropped = 0;
    for (uint16_t i = 0; i < play->house.shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(play->house.shards[i]);
        dropped += gv_counter_get(&stats->dropped_queue_full);
        dropped += gv_counter_get(&stats->dropped_no_memory);
    }
    for (size_t i = 0; i < play->seat_count; i++) {
        const seat_t *seat = play->seats[i];
        bool is_sure = play_is_seated(seat) && seat->role != NULL && !seat->role->is_lost;
        play_must(!is_sure || seat->answer_count == 0, "%s still waits for %zu answers",
                  seat->role->id, seat->answer_count);
    }
    play_must(play->wills_seen <= play->wills_due || play->has_damage,
              "%u wills, and no more than %u died", play->wills_seen, play->wills_due);
    if (play->is_draining || dropped > 0 || play->roles[WITNESS].is_lost) {
        return;
    }
    for (uint16_t i = 0; i < play->message_count; i++) {
        const message_t *message = &play->messages[i];
        bool is_due = message->is_acked && !message->is_lost && !message->has_expiry;
        play_must(!is_due || message->is_witnessed, "message %u was acknowledged and is lost", i);
    }
}

/* When everybody has gone for good nothing is left. */
static void end(play_t *play)
{
    for (size_t i = 0; i < play->seat_count; i++) {
        if (!play->seats[i]->guest->is_gone) {
            play_cut(play, play->seats[i]);
        }
    }
    play_clear_table(play);
    house_settle(&play->house);
    for (int i = 0; i < 3; i++) { /* wills that were delayed, and what they cause */
        pass_time(play, (uint64_t)SESSION_EXPIRY_MAX_S * 1000 + 1000);
        house_settle(&play->house);
    }
    house_t *house = &play->house;
    for (uint16_t i = 0; i < house->shard_count; i++) {
        const gv_shard_stats_t *stats = gv_shard_stats(house->shards[i]);
        uint32_t cursor = 0;
        play_must(gv_counter_get(&stats->connections) == 0, "connections are left");
        play_must(gv_counter_get(&stats->sessions) == 0, "sessions are left");
        play_must(gv_counter_get(&stats->subscriptions) == 0, "subscriptions are left");
        play_must(gv_counter_get(&stats->queued_messages) == 0, "messages are left");
        play_must(gv_counter_get(&stats->alias_bytes) == 0, "aliases are left");
        play_must(house->shards[i]->routes_out == 0, "routes are under way");
        play_must(gv_subscriptions_next(&house->shards[i]->subscriptions, &cursor) == NULL,
                  "filters are left");
    }
    play_must(gv_chunkpool_bytes_out(&house->pool) == 0, "output is left");
    house_close(house);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static play_t play;
    gv_log_set_level(GV_LOG_ERROR);
    memset(&play, 0, sizeof(play));
    gv_reader_t reader = gv_reader(gv_bytes(data, size));
    uint8_t a = gv_reader_u8(&reader);
    begin(&play, a, gv_reader_u8(&reader));
    while (gv_reader_left(&reader) >= 4) {
        uint8_t first = gv_reader_u8(&reader);
        step_t step = {
            .kind = (kind_t)(first & 15),
            .role = &play.roles[(first >> 4 & 7) % WITNESS],
            .settles = (first & 0x80) != 0,
        };
        for (size_t i = 0; i < sizeof(step.how); i++) {
            step.how[i] = gv_reader_u8(&reader);
        }
        take_step(&play, &step);
        attend(&play);
        play_clear_table(&play);
    }
    calm_down(&play);
    check_promises(&play);
    end(&play);
    return 0;
}
