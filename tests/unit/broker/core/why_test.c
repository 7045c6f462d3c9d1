/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/core/shard_p.h"

#include "house.h"

static house_t house;

static void setup(void)
{
    house_open(&house, 2);
    house.limits.topic_levels_max = 3;
}

static void teardown(void)
{
    house_close(&house);
}

/* Whether what the guest has received has this text somewhere. */
static bool has_heard(const guest_t *guest, const char *text)
{
    return memmem(guest->received, guest->received_size, text, strlen(text)) != NULL;
}

static guest_t *house_connect_with(const char *id, gv_mqtt_prop_id_t prop, uint32_t value)
{
    guest_t *guest = house_visit(&house, GV_MQTT_V5);
    gv_mqtt_connect_t connect = {.client_id = gv_bytes_text(id), .clean_start = true};
    gv_mqtt_props_set_number(&connect.props, prop, value);
    guest_connect(guest, connect);
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    return guest;
}

START_TEST(every_sentence_is_short_and_plain)
{
    int count = 0;
    for (int type = GV_MQTT_CONNECT; type <= GV_MQTT_AUTH; type++) {
        for (int reason = 0; reason < 256; reason++) {
            gv_bytes_t why = gv__why((gv_mqtt_type_t)type, (gv_mqtt_reason_t)reason);
            count += why.size > 0;
            ck_assert(why.size == 0 || reason >= 0x80);
            ck_assert_uint_lt(why.size, 120);
            for (size_t i = 0; i < why.size; i++) {
                ck_assert(why.data[i] >= ' ' && why.data[i] <= '~');
            }
        }
    }
    ck_assert_int_gt(count, 20);
}
END_TEST

START_TEST(refusals_say_which_limit)
{
    guest_t *guest = house_connect(&house, GV_MQTT_V5, "a", true);
    guest_publish(guest, "1/2/3/4", "x", 1, false);
    ck_assert(has_heard(guest, "mqtt.topic_levels_max"));
    ck_assert_str_eq(guest_next(guest), "PUBACK 1 90");
    guest_publish(guest, "1/2/3", "x", 1, false);
    ck_assert_uint_eq(guest->received_size, 5); /* with a reason, without a string */
    (void)guest_next(guest);
    (void)house_connect(&house, GV_MQTT_V5, "a", true);
    ck_assert(has_heard(guest, "another connection uses this client id"));
    guest_t *will = house_visit(&house, GV_MQTT_V5);
    guest_connect(will, (gv_mqtt_connect_t){.client_id = gv_bytes_text("w"),
                                            .has_will = true,
                                            .will = {.topic = gv_bytes_text("1/2/3/4")}});
    ck_assert(has_heard(will, "the topic of the will is longer"));
}
END_TEST

/* At once, and behind a route that has to be confirmed first. */
START_TEST(suback_names_the_filter)
{
    guest_t *guest = house_connect(&house, GV_MQTT_V5, "a", true);
    gv_mqtt_subscription_t bad = {.text = GV_BYTES_LITERAL("1/2/3/4")};
    guest_push_subscribe(guest, bad, 0);
    house_settle(&house);
    ck_assert(has_heard(guest, "1/2/3/4: not a filter, or longer"));
    ck_assert_str_eq(guest_next(guest), "SUBACK 8f");
    guest_push_subscribe(guest, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("new")}, 0);
    guest_push_subscribe(guest, bad, 0);
    house_settle(&house);
    ck_assert_str_eq(guest_next(guest), "SUBACK 00");
    ck_assert(has_heard(guest, "1/2/3/4: not a filter, or longer"));
    ck_assert_str_eq(guest_next(guest), "SUBACK 8f");
}
END_TEST

/* 99 letters and then some of two bytes each: not cut in the middle of one. */
START_TEST(a_long_filter_is_cut_between_characters)
{
    char text[300];
    memset(text, 'x', 99);
    for (size_t i = 99; i + 1 < 200; i += 2) {
        text[i] = '\xc3';
        text[i + 1] = '\xa4';
    }
    (void)snprintf(text + 199, sizeof(text) - 199, "/2/3/4");
    guest_t *guest = house_connect(&house, GV_MQTT_V5, "a", true);
    guest_push_subscribe(guest, (gv_mqtt_subscription_t){.text = gv_bytes_text(text)}, 0);
    house_settle(&house);
    ck_assert(has_heard(guest, "xxx...: not a filter"));
    ck_assert_str_eq(guest_next(guest), "SUBACK 8f"); /* it could be decoded */
}
END_TEST

START_TEST(who_wants_no_reasons_gets_none)
{
    guest_t *terse = house_connect_with("terse", GV_MQTT_PROP_REQUEST_PROBLEM_INFORMATION, 0);
    guest_publish(terse, "1/2/3/4", "x", 1, false);
    guest_push_subscribe(terse, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("1/2/3/4")}, 0);
    house_settle(&house);
    (void)house_connect(&house, GV_MQTT_V5, "terse", true);
    ck_assert_uint_eq(terse->received_size, 5 + 6 + 3);
    ck_assert_str_eq(guest_next(terse), "PUBACK 1 90");
    ck_assert_str_eq(guest_next(terse), "SUBACK 8f");
    ck_assert_str_eq(guest_next(terse), "DISCONNECT 8e");
}
END_TEST

/* [MQTT-3.1.2-24] and its likes: the reason is more important than the sentence. */
START_TEST(a_sentence_that_does_not_fit_is_left_out)
{
    guest_t *small = house_connect_with("small", GV_MQTT_PROP_MAXIMUM_PACKET_SIZE, 30);
    guest_publish(small, "1/2/3/4", "x", 2, false);
    ck_assert_uint_le(small->received_size, 30);
    ck_assert_str_eq(guest_next(small), "PUBREC 1 90");
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("why");
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_sentence_is_short_and_plain);
    tcase_add_test(tc, refusals_say_which_limit);
    tcase_add_test(tc, suback_names_the_filter);
    tcase_add_test(tc, a_long_filter_is_cut_between_characters);
    tcase_add_test(tc, who_wants_no_reasons_gets_none);
    tcase_add_test(tc, a_sentence_that_does_not_fit_is_left_out);
    Suite *suite = suite_create("broker/core");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
