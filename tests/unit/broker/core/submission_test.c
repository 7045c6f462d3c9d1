/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/submission.h"

#include "broker/core/shard_p.h"
#include "house.h"

static house_t house;
static int answers;
static gv_submission_t submission;

static void on_done(gv_submission_t *done)
{
    ck_assert_ptr_eq(done, &submission);
    answers++;
}

static void setup(void)
{
    house_open(&house, 2);
    answers = 0;
}

static void teardown(void)
{
    house_close(&house);
}

/* On the first shard, whoever is where.  Returns what gv_shard_submit() says. */
static bool submit(const char *topic, const char *payload, uint8_t qos, bool retain)
{
    submission = (gv_submission_t){
        .topic = gv_bytes_text(topic),
        .payload = gv_bytes_text(payload),
        .props = GV_MQTT_PROPS_NONE,
        .done = on_done,
        .qos = qos,
        .retain = retain,
    };
    return gv_shard_submit(house.shards[0], &submission);
}

/* A guest of this shard. */
static guest_t *guest_of_shard(uint16_t shard, uint32_t expiry_s)
{
    for (int i = 0;; i++) {
        char id[16];
        (void)snprintf(id, sizeof(id), "guest%d", i);
        if (gv_shard_home(gv_bytes_text(id), house.shards[0]->hash_seed, 2) != shard) {
            continue;
        }
        guest_t *guest = house_visit(&house, GV_MQTT_V5);
        gv_mqtt_connect_t connect = {.client_id = gv_bytes_text(id), .clean_start = true};
        gv_mqtt_props_set_number(&connect.props, GV_MQTT_PROP_SESSION_EXPIRY, expiry_s);
        guest_connect(guest, connect);
        ck_assert_str_eq(guest_next(guest), "CONNACK 00");
        return guest;
    }
}

START_TEST(who_is_online_gets_it_and_nobody_waits_for_qos_0)
{
    guest_t *here = guest_of_shard(0, 0);
    guest_t *there = guest_of_shard(1, 0);
    guest_subscribe(here, "t", 0);
    guest_subscribe(there, "t", 0);
    ck_assert(submit("t", "x", 0, false));
    ck_assert_uint_eq(submission.reason, GV_MQTT_SUCCESS);
    house_settle(&house);
    ck_assert_str_eq(guest_next(here), "PUBLISH t q0 x");
    ck_assert_str_eq(guest_next(there), "PUBLISH t q0 x");
    ck_assert(submit("nobody", "x", 2, false));
    ck_assert_uint_eq(submission.reason, GV_MQTT_NO_MATCHING_SUBSCRIBERS);
    house_settle(&house);
    ck_assert_int_eq(answers, 0);
}
END_TEST

START_TEST(for_sessions_that_stay_it_is_answered_when_it_is_on_disk)
{
    for (uint16_t shard = 0; shard < 2; shard++) {
        guest_t *guest = guest_of_shard(shard, 100);
        guest_subscribe(guest, "t", 2);
        guest_leave(guest);
    }
    house_settle(&house);
    house.is_store_slow = true;
    ck_assert(!submit("t", "x", 2, false));
    house_settle(&house);
    ck_assert_int_eq(answers, 0);
    house.is_store_slow = false;
    house_settle(&house);
    ck_assert_int_eq(answers, 1);
    ck_assert_uint_eq(submission.reason, GV_MQTT_SUCCESS);
}
END_TEST

START_TEST(a_retained_one_is_answered_when_it_is_on_disk)
{
    ck_assert(!submit("t", "kept", 1, true));
    ck_assert_int_eq(answers, 0);
    house_settle(&house);
    ck_assert_int_eq(answers, 1);
    ck_assert_uint_eq(submission.reason, GV_MQTT_NO_MATCHING_SUBSCRIBERS);
    guest_t *guest = guest_of_shard(0, 0);
    guest_subscribe(guest, "t", 1);
    ck_assert_str_eq(guest_next(guest), "PUBLISH t q1 r kept");
}
END_TEST

START_TEST(what_clients_may_not_publish_is_refused_too)
{
    house.limits.topic_levels_max = 2;
    ck_assert(submit("a/b/c", "x", 1, false));
    ck_assert_uint_eq(submission.reason, GV_MQTT_TOPIC_NAME_INVALID);
    ck_assert(submit("$SYS/a", "x", 1, false));
    ck_assert_uint_eq(submission.reason, GV_MQTT_NOT_AUTHORIZED);
    house.limits.retain_available = false;
    ck_assert(submit("a", "x", 1, true));
    ck_assert_uint_eq(submission.reason, GV_MQTT_RETAIN_NOT_SUPPORTED);
}
END_TEST

START_TEST(a_shard_that_ends_forgets_those_that_wait)
{
    guest_t *guest = guest_of_shard(0, 100);
    guest_subscribe(guest, "t", 1);
    guest_leave(guest);
    house_settle(&house);
    house.is_store_slow = true;
    ck_assert(!submit("t", "x", 1, false));
    house_die(&house, GV_MEM_CRASH_PROCESS, 0);
    ck_assert_int_eq(answers, 0);
    house_revive(&house);
    house.is_store_slow = false;
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("submission");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, who_is_online_gets_it_and_nobody_waits_for_qos_0);
    tcase_add_test(tc, for_sessions_that_stay_it_is_answered_when_it_is_on_disk);
    tcase_add_test(tc, a_retained_one_is_answered_when_it_is_on_disk);
    tcase_add_test(tc, what_clients_may_not_publish_is_refused_too);
    tcase_add_test(tc, a_shard_that_ends_forgets_those_that_wait);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
