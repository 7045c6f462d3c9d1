/* SPDX-License-Identifier: Apache-2.0 */
/* Large messages: on the disk once, whatever the number of sessions and shards that want them. */
#include "broker/core/shard_p.h"
#include "house.h"
#include "storage/payload_store.h"

enum {
    SLEEPERS = 12, /* some on each shard */
    LARGE = 5200,  /* two pages */
    SHARDS_MAX = 4,
};

static house_t house;

static guest_t *persistent(const char *id)
{
    return house_connect(&house, GV_MQTT_V5, id, false);
}

/* ---- what is on the disk ----------------------------------------------------------------------
 */

typedef struct disk {
    size_t payloads;
    size_t holders;
    size_t holders_gone; /* whose segment is not there */
    size_t orphans;      /* payloads that nobody holds */
    size_t log_bytes;    /* of all segments */
} disk_t;

static gv_err_t nothing(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key, (void)value, (void)arg;
    return GV_OK;
}

static gv_err_t on_payload(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    disk_t *disk = arg;
    uint64_t number = 0;
    uint64_t holder = 0;
    ck_assert(gv_payload_key_read(key, &number, &holder));
    if (holder == 0) {
        ck_assert_uint_gt(value.size, LARGE);
        disk->payloads++;
        disk->orphans++; /* until its first holder comes, which is the next key */
        return GV_OK;
    }
    ck_assert_uint_eq(value.size, 0);
    disk->holders++;
    disk->orphans = 0;
    gv_key_t segment;
    gv_key_from_number(&segment, holder);
    disk->holders_gone += gv_store_get(house.store, GV_TABLE_QUEUE_LOG, gv_key_bytes(&segment),
                                       nothing, NULL) != GV_OK;
    return GV_OK;
}

static gv_err_t on_segment(gv_bytes_t key, gv_bytes_t value, void *arg)
{
    (void)key;
    disk_t *disk = arg;
    disk->log_bytes += value.size;
    return GV_OK;
}

static disk_t look(void)
{
    disk_t disk = {0};
    ck_assert_int_eq(gv_store_scan(house.store, GV_TABLE_PAYLOADS, on_payload, &disk), GV_OK);
    ck_assert_int_eq(gv_store_scan(house.store, GV_TABLE_QUEUE_LOG, on_segment, &disk), GV_OK);
    ck_assert_uint_eq(disk.holders_gone, 0);
    ck_assert_uint_eq(disk.orphans, 0);
    return disk;
}

/* ---- who waits ---------------------------------------------------------------------------------
 */

static char text[LARGE + 1];

static void publish_large(guest_t *guest, char letter, uint8_t qos)
{
    memset(text, letter, LARGE);
    guest_publish(guest, "t", text, qos, false);
    ck_assert_int_eq(strncmp(guest_next(guest), qos == 1 ? "PUBACK" : "PUBREC", 6), 0);
}

static guest_t *come(int sleeper)
{
    char id[16];
    (void)snprintf(id, sizeof(id), "sleeper%d", sleeper);
    return persistent(id);
}

static void fall_asleep(uint8_t qos)
{
    for (int i = 0; i < SLEEPERS; i++) {
        guest_t *guest = come(i);
        guest_subscribe(guest, "t", qos);
        guest_leave(guest);
    }
}

/* The next packet is this message, whole. */
static void expect_large(guest_t *guest, char letter, const char *how)
{
    static char expected[sizeof(guest->text)];
    memset(text, letter, LARGE);
    (void)snprintf(expected, sizeof(expected), "PUBLISH t %s %s", how, text);
    const char *got = guest_next(guest);
    ck_assert_msg(strcmp(got, expected) == 0, "'%.40s' and not '%.40s'", got, expected);
}

static void wake(int sleeper, const char *letters)
{
    guest_t *guest = come(sleeper);
    for (; *letters != '\0'; letters++) {
        expect_large(guest, *letters, "q1");
        guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
    }
    ck_assert_str_eq(guest_next(guest), "");
    guest_leave(guest);
}

static void open_with(uint16_t shards, size_t image_bytes_max)
{
    house_open(&house, shards);
    house.image_bytes_max = image_bytes_max;
    house_restart(&house);
}

/* ---- tests -------------------------------------------------------------------------------------
 */

START_TEST(it_is_on_the_disk_once)
{
    for (uint16_t shards = 1; shards <= SHARDS_MAX; shards++) {
        open_with(shards, 1 << 20);
        fall_asleep(1);
        publish_large(persistent("alice"), 'a', 1);
        disk_t disk = look();
        ck_assert_uint_eq(disk.payloads, shards > 1);
        ck_assert_uint_eq(disk.holders, shards > 1 ? shards : 0);
        ck_assert(shards == 1 || disk.log_bytes < LARGE);
        for (int i = 0; i < SLEEPERS; i++) {
            ck_assert_uint_eq(look().payloads, shards > 1);
            wake(i, "a");
        }
        house_pass(&house, 3000);
        ck_assert_uint_eq(look().holders, 0);
        ck_assert_uint_eq(look().payloads, 0);
        house_close(&house);
    }
}
END_TEST

START_TEST(it_is_read_back_from_the_disk)
{
    for (size_t image_bytes_max = 1; image_bytes_max <= 1 << 20; image_bytes_max <<= 20) {
        open_with(3, image_bytes_max);
        fall_asleep(1);
        guest_t *alice = persistent("alice");
        for (const char *letter = "abcdef"; *letter != '\0'; letter++) {
            publish_large(alice, *letter, 1);
        }
        ck_assert_uint_eq(look().payloads, 6);
        wake(0, "abcdef");
        house_pass(&house, 300); /* that it has been acknowledged is written by now */
        house_crash(&house, GV_MEM_CRASH_POWER, 0);
        publish_large(persistent("alice"), 'g', 1); /* under a number that is new */
        ck_assert_uint_eq(look().payloads, 7);
        wake(0, "g");
        for (int i = 1; i < SLEEPERS; i++) {
            wake(i, "abcdefg");
        }
        house_pass(&house, 3000);
        ck_assert_uint_eq(look().payloads, 0);
        house_close(&house);
    }
}
END_TEST

START_TEST(it_goes_through_all_stages_of_qos_2)
{
    open_with(3, 1);
    fall_asleep(2);
    publish_large(persistent("alice"), 'a', 2);
    for (int i = 0; i < SLEEPERS; i++) {
        guest_t *guest = come(i);
        expect_large(guest, 'a', "q2");
        guest_leave(guest);
    }
    house_crash(&house, GV_MEM_CRASH_PROCESS, 0);
    for (int i = 0; i < SLEEPERS; i++) {
        guest_t *guest = come(i);
        expect_large(guest, 'a', "q2 dup");
        guest_ack(guest, GV_MQTT_PUBREC, 1);
        ck_assert_str_eq(guest_next(guest), "PUBREL 1 00");
        guest_ack(guest, GV_MQTT_PUBCOMP, 1);
        guest_leave(guest);
    }
    house_pass(&house, 3000);
    ck_assert_uint_eq(look().payloads, 0);
    house_close(&house);
}
END_TEST

START_TEST(restarts_with_other_shards_change_nothing)
{
    open_with(4, 1 << 20);
    fall_asleep(1);
    publish_large(persistent("alice"), 'a', 1);
    for (uint16_t shards = 1; shards <= SHARDS_MAX; shards++) {
        house.next_shard_count = shards;
        house_restart(&house);
        ck_assert_uint_eq(look().payloads, 1);
        wake(shards, "a");
    }
    for (int i = 0; i < SLEEPERS; i++) {
        wake(i, i >= 1 && i <= SHARDS_MAX ? "" : "a");
    }
    house_pass(&house, 3000);
    ck_assert_uint_eq(look().payloads, 0);
    house_close(&house);
}
END_TEST

static uint64_t cleaned(void)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < house.shard_count; i++) {
        count += gv_counter_get(&gv_shard_stats(house.shards[i])->segments_cleaned);
    }
    return count;
}

/* One who does not come does not keep what came after: the log is cleaned, and refers to it anew.
 */
START_TEST(cleaning_moves_what_refers_to_it)
{
    open_with(3, 1);
    fall_asleep(1);
    guest_t *alice = persistent("alice");
    publish_large(alice, 'a', 1);
    for (int i = 1; i < SLEEPERS; i++) {
        wake(i, "a");
        guest_t *guest = come(i);
        guest_subscribe(guest, "passes", 1);
        guest_leave(guest);
    }
    char passing[1000];
    memset(passing, 'x', sizeof(passing) - 1);
    passing[sizeof(passing) - 1] = '\0';
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 300; i++) {
            guest_publish(alice, "passes", passing, 1, false);
            while (*guest_next(alice) != '\0') {
            }
        }
        for (int i = 1; i < SLEEPERS; i++) {
            guest_t *guest = come(i);
            while (*guest_next(guest) != '\0') {
                guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
            }
            guest_leave(guest);
        }
        house_pass(&house, 3000);
        ck_assert_uint_eq(look().payloads, 1);
        ck_assert_uint_eq(look().holders, 1);
    }
    ck_assert_uint_gt(cleaned(), 0);
    house_crash(&house, GV_MEM_CRASH_POWER, 0);
    wake(0, "a");
    house_pass(&house, 3000);
    ck_assert_uint_eq(look().payloads, 0);
    house_close(&house);
}
END_TEST

START_TEST(a_damaged_one_is_lost_and_nothing_else)
{
    open_with(3, 1);
    fall_asleep(1);
    guest_t *alice = persistent("alice");
    publish_large(alice, 'a', 1);
    ck_assert(gv_mem_store_damage(house.store, GV_TABLE_PAYLOADS));
    publish_large(alice, 'b', 1);
    guest_publish(alice, "t", "small", 1, false);
    house_restart(&house);
    for (int i = 0; i < SLEEPERS; i++) {
        guest_t *guest = come(i);
        expect_large(guest, 'b', "q1");
        ck_assert_str_eq(guest_next(guest), "PUBLISH t q1 small");
        ck_assert_str_eq(guest_next(guest), "");
        guest_leave(guest);
    }
    ck_assert_uint_gt(gv_counter_get(&gv_store_stats(house.store)->damaged), 0);
    house_close(&house);
}
END_TEST

/* A sleeper that takes one message after the other. */
static guest_t *come_for_one(int sleeper)
{
    char id[16];
    (void)snprintf(id, sizeof(id), "sleeper%d", sleeper);
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = gv_bytes_text(id)};
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, GV_EXPIRY_NEVER);
    gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_RECEIVE_MAXIMUM, 1);
    guest_connect(guest, connect);
    ck_assert_int_eq(strncmp(guest_next(guest), "CONNACK 00", 10), 0);
    return guest;
}

/* For reading it, or, where that is in memory, for sending it. */
static void comes_when_there_is_memory(bool is_on_disk)
{
    open_with(3, is_on_disk ? 1 : 1 << 20);
    fall_asleep(1);
    guest_t *alice = persistent("alice");
    publish_large(alice, 'a', 1);
    publish_large(alice, 'b', 1);
    if (is_on_disk) {
        house_restart(&house);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        guest_t *guest = come_for_one(i);
        expect_large(guest, 'a', "q1");
        gv_alloc_set_max(1);
        guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
        ck_assert_str_eq(guest_next(guest), "");
        house_pass(&house, 1000);
        ck_assert_str_eq(guest_next(guest), "");
        gv_alloc_set_max(0);
        house_pass(&house, 1000);
        expect_large(guest, 'b', "q1");
        guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
        guest_leave(guest);
    }
    ck_assert_uint_eq(gv_counter_get(&gv_store_stats(house.store)->damaged), 0);
    house_pass(&house, 3000);
    ck_assert_uint_eq(look().payloads, 0);
    house_close(&house);
}

START_TEST(what_there_is_no_memory_for_comes_when_there_is)
{
    comes_when_there_is_memory(true);
    comes_when_there_is_memory(false);
}
END_TEST

START_TEST(a_node_ends_that_has_no_memory_for_what_waits)
{
    open_with(3, 1);
    fall_asleep(1);
    guest_t *alice = persistent("alice");
    publish_large(alice, 'a', 1);
    publish_large(alice, 'b', 1);
    house_restart(&house);
    guest_t *guest = come_for_one(0);
    expect_large(guest, 'a', "q1");
    gv_alloc_set_max(1);
    guest_ack(guest, GV_MQTT_PUBACK, guest->last_packet_id);
    ck_assert_str_eq(guest_next(guest), "");
    gv_alloc_set_max(0);
    house_restart(&house);
    wake(0, "b");
    house_close(&house);
}
END_TEST

START_TEST(a_failed_commit_leaves_nothing_of_it)
{
    open_with(3, 1 << 20);
    fall_asleep(1);
    guest_t *alice = persistent("alice");
    gv_mem_store_set_fault(house.store, GV_ERR_FULL, 100);
    memset(text, 'a', LARGE);
    guest_publish(alice, "t", text, 1, false);
    ck_assert_str_eq(guest_next(alice), "PUBACK 1 97");
    ck_assert_uint_eq(look().payloads, 0);
    gv_mem_store_set_fault(house.store, GV_OK, 0);
    house_pass(&house, 5000);
    publish_large(alice, 'b', 1);
    ck_assert_uint_eq(look().payloads, 1);
    for (int i = 0; i < SLEEPERS; i++) {
        wake(i, "b");
    }
    house_pass(&house, 3000);
    ck_assert_uint_eq(look().payloads, 0);
    house_close(&house);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("broker/core/journal: what stands apart");
    TCase *tcase = tcase_create("apart");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, it_is_on_the_disk_once);
    tcase_add_test(tcase, it_is_read_back_from_the_disk);
    tcase_add_test(tcase, it_goes_through_all_stages_of_qos_2);
    tcase_add_test(tcase, restarts_with_other_shards_change_nothing);
    tcase_add_test(tcase, cleaning_moves_what_refers_to_it);
    tcase_add_test(tcase, a_damaged_one_is_lost_and_nothing_else);
    tcase_add_test(tcase, what_there_is_no_memory_for_comes_when_there_is);
    tcase_add_test(tcase, a_node_ends_that_has_no_memory_for_what_waits);
    tcase_add_test(tcase, a_failed_commit_leaves_nothing_of_it);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
