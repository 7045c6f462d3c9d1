/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The port with whole shards above it: what becomes of an exchange when it ends well, badly, or not
 * at all.  Which packet is answered how is tested over sockets
 * (tests/mqtt/conformance_auth_test.py).
 */
#include "broker/auth/auth.h"

#include "broker/core/shard_p.h"

#include "../core/house.h"
#include "scram_client.h"

static gv_auth_t auth;

/* Never the same twice, always the same in a run. */
static void count_up(void *out, size_t size)
{
    static uint8_t count;
    memset(out, ++count, size);
}

static void open_house(house_t *house, uint16_t shards)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame", "bob", "builder");
    gv_auth_init(&auth, users, GV_BYTES_LITERAL("secret"), count_up);
    gv_users_unref(&users);
    house_open_with(house, shards, gv_auth_ports(&auth));
}

static void close_house(house_t *house)
{
    house_close(house); /* which finds a login that was left behind */
    gv_auth_deinit(&auth);
}

static gv_mqtt_props_t scram_props(const char *data)
{
    gv_mqtt_props_t props = GV_MQTT_PROPS_NONE;
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_AUTHENTICATION_METHOD,
                            GV_BYTES_LITERAL("SCRAM-SHA-256"));
    gv_mqtt_props_set_bytes(&props, GV_MQTT_PROP_AUTHENTICATION_DATA, gv_bytes_text(data));
    return props;
}

static guest_t *begin(house_t *house, const char *id, const scram_client_t *client)
{
    guest_t *guest = house_visit(house, GV_MQTT_V5);
    guest->conn.anonymous_allowed = false;
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = gv_bytes_text(id),
                                             .clean_start = true,
                                             .keep_alive_s = 600,
                                             .props = scram_props(scram_client_first(client))});
    return guest;
}

static void send_auth(guest_t *guest, gv_mqtt_reason_t reason, const char *data)
{
    uint8_t bytes[1024];
    gv_mqtt_auth_t packet = {.reason = reason, .props = scram_props(data)};
    gv_mqtt_peer_t server = guest_server(guest);
    gv_writer_t w = gv_writer(bytes, sizeof(bytes));
    size_t size = gv_mqtt_encode_auth(&packet, &server, &w);
    ck_assert_uint_gt(size, 0);
    guest_send(guest, bytes, size);
}

/* Takes the AUTH that has come, which is a challenge, and answers it. */
static void answer_challenge(guest_t *guest, scram_client_t *client)
{
    gv_mqtt_frame_t frame;
    gv_bytes_t all = gv_bytes(guest->received, guest->received_size);
    ck_assert_int_eq(gv_mqtt_frame(all, GV_MQTT_PACKET_SIZE_MAX, &frame), GV_OK);
    ck_assert_int_eq(frame.type, GV_MQTT_AUTH);
    gv_mqtt_auth_t packet;
    gv_mqtt_reason_t reason;
    gv_mqtt_peer_t server = guest_server(guest);
    ck_assert_int_eq(gv_mqtt_decode_auth(&frame, &server, &packet, &reason), GV_OK);
    ck_assert_int_eq(packet.reason, GV_MQTT_CONTINUE_AUTHENTICATION);
    (void)scram_client_final(client, packet.props.authentication_data);
    ck_assert_str_eq(guest_next(guest), "AUTH");
    send_auth(guest, GV_MQTT_CONTINUE_AUTHENTICATION, client->final);
}

static scram_client_t alice(void)
{
    return (scram_client_t){.user = "alice", .password = "sesame"};
}

static guest_t *log_in(house_t *house, const char *id)
{
    scram_client_t client = alice();
    guest_t *guest = begin(house, id, &client);
    answer_challenge(guest, &client);
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    return guest;
}

static size_t logins(const house_t *house)
{
    size_t count = 0;
    for (uint16_t i = 0; i < house->shard_count; i++) {
        count += gv_map_count(&house->shards[i]->logins);
    }
    return count;
}

static uint64_t failures(const house_t *house)
{
    uint64_t count = 0;
    for (uint16_t i = 0; i < house->shard_count; i++) {
        count += gv_counter_get(&gv_shard_stats(house->shards[i])->authentications_failed);
    }
    return count;
}

START_TEST(clients_log_in_on_the_shard_of_their_id)
{
    house_t house;
    open_house(&house, 2);
    static const char *const ids[] = {"a", "b", "c", "d", "e", "f"};
    uint32_t shards = 0;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        guest_t *guest = log_in(&house, ids[i]);
        shards |= 1U << guest->shard;
        guest_subscribe(guest, "t", 1);
    }
    ck_assert_uint_eq(shards, 3);
    ck_assert_uint_eq(logins(&house), 6);
    close_house(&house);
}
END_TEST

START_TEST(who_is_refused_leaves_nothing_behind)
{
    house_t house;
    open_house(&house, 2);
    scram_client_t liar = {.user = "alice", .password = "sesam"};
    guest_t *guest = begin(&house, "liar", &liar);
    answer_challenge(guest, &liar);
    ck_assert_str_eq(guest_next(guest), "CONNACK 87");
    ck_assert(guest->is_gone);
    liar.user = "=";
    guest = begin(&house, "liar", &liar);
    ck_assert_str_eq(guest_next(guest), "CONNACK 87");
    ck_assert_uint_eq(logins(&house), 0);
    ck_assert_uint_eq(failures(&house), 2);
    ck_assert_ptr_null(gv_session_find(house.shards[guest->shard], GV_BYTES_LITERAL("liar")));
    close_house(&house);
}
END_TEST

START_TEST(who_goes_away_in_the_middle_leaves_nothing_behind)
{
    house_t house;
    open_house(&house, 1);
    scram_client_t client = alice();
    guest_leave(begin(&house, "quitter", &client));
    ck_assert_uint_eq(logins(&house), 0);
    guest_t *guest = log_in(&house, "quitter");
    send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
    guest_leave(guest);
    ck_assert_uint_eq(logins(&house), 0);
    ck_assert_uint_eq(failures(&house), 0);
    close_house(&house);
}
END_TEST

START_TEST(who_does_not_go_on_is_closed_in_time)
{
    house_t house;
    open_house(&house, 1);
    scram_client_t client = alice();
    guest_t *slow = begin(&house, "slow", &client);
    house_pass(&house, house.limits.connect_timeout_ms - 100);
    ck_assert(!slow->is_gone);
    house_pass(&house, 200);
    ck_assert(slow->is_gone);

    guest_t *guest = log_in(&house, "again");
    send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
    ck_assert_str_eq(guest_next(guest), "AUTH");
    house_pass(&house, house.limits.connect_timeout_ms - 100);
    ck_assert_str_eq(guest_next(guest), "");
    house_pass(&house, 200);
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 87");
    ck_assert(guest->is_gone);
    ck_assert_uint_eq(logins(&house), 0);
    close_house(&house);
}
END_TEST

START_TEST(who_has_shown_it_again_stays)
{
    house_t house;
    open_house(&house, 1);
    guest_t *guest = log_in(&house, "again");
    for (int i = 0; i < 3; i++) {
        scram_client_t client = alice();
        send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
        answer_challenge(guest, &client);
        ck_assert_str_eq(guest_next(guest), "AUTH");
        house_pass(&house, house.limits.connect_timeout_ms + 100);
    }
    guest_subscribe(guest, "t", 0);
    close_house(&house);
}
END_TEST

START_TEST(nobody_becomes_somebody_else)
{
    house_t house;
    open_house(&house, 1);
    guest_t *guest = log_in(&house, "id");
    scram_client_t bob = {.user = "bob", .password = "builder"};
    send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&bob));
    answer_challenge(guest, &bob);
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 87");
    ck_assert_uint_eq(failures(&house), 1);
    close_house(&house);
}
END_TEST

START_TEST(who_waits_for_connack_is_told_that_we_leave)
{
    house_t house;
    open_house(&house, 1);
    scram_client_t client = alice();
    guest_t *guest = begin(&house, "late", &client);
    ck_assert_str_eq(guest_next(guest), "AUTH");
    gv_drain_t orders = {.reason = GV_MQTT_SERVER_SHUTTING_DOWN};
    gv_shard_drain(house.shards[0], &orders);
    house_settle(&house);
    ck_assert_str_eq(guest_next(guest), "CONNACK 88");
    ck_assert_str_eq(guest_next(guest), "");
    ck_assert(guest->is_gone);
    close_house(&house);
}
END_TEST

START_TEST(users_that_are_taken_away_cannot_show_it_again)
{
    house_t house;
    open_house(&house, 1);
    scram_client_t client = alice();
    guest_t *begun = begin(&house, "begun", &client);
    guest_t *guest = log_in(&house, "in");
    gv_auth_set_users(&auth, SCRAM_USERS("bob", "builder"));
    /* What began with the old users ends with them. */
    answer_challenge(begun, &client);
    ck_assert_str_eq(guest_next(begun), "CONNACK 00");
    send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
    answer_challenge(guest, &client);
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 87");
    /* Without users the method is offered no more. */
    gv_auth_set_users(&auth, gv_users_new(NULL, 0));
    send_auth(begun, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
    ck_assert_str_eq(guest_next(begun), "DISCONNECT 87");
    ck_assert_str_eq(guest_next(begin(&house, "new", &client)), "CONNACK 8c");
    close_house(&house);
}
END_TEST

/* ---- passwords in CONNECT -------------------------------------------------------------------- */

/* What the port was asked last, and whether it is asked at all. */
static struct {
    char text[64];
    gv_ticket_t ticket;
    bool is_busy;
} question;

static bool wants_passwords(void *arg)
{
    (void)arg;
    return true;
}

static bool check_password(void *arg, gv_bytes_t user, gv_bytes_t password,
                           const gv_ticket_t *ticket)
{
    (void)arg;
    (void)snprintf(question.text, sizeof(question.text), "%.*s:%.*s", (int)user.size,
                   (const char *)user.data, (int)password.size, (const char *)password.data);
    question.ticket = *ticket;
    return !question.is_busy;
}

static void open_with_passwords(house_t *house, uint16_t shards)
{
    memset(&question, 0, sizeof(question));
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    gv_auth_init(&auth, users, GV_BYTES_LITERAL("secret"), count_up);
    gv_users_unref(&users);
    gv_auth_ports_t ports = gv_auth_ports(&auth);
    ck_assert(!ports.wants_passwords(ports.arg)); /* nobody has said who checks them */
    ports.wants_passwords = wants_passwords;
    ports.check_password = check_password;
    house_open_with(house, shards, ports);
}

static guest_t *with_password(house_t *house, gv_mqtt_version_t version, const char *id)
{
    guest_t *guest = house_visit(house, version);
    guest->conn.anonymous_allowed = false;
    guest_connect(guest, (gv_mqtt_connect_t){.client_id = gv_bytes_text(id),
                                             .clean_start = true,
                                             .keep_alive_s = 600,
                                             .has_username = true,
                                             .username = GV_BYTES_LITERAL("alice"),
                                             .has_password = true,
                                             .password = GV_BYTES_LITERAL("sesame")});
    return guest;
}

static void answer_question(house_t *house, bool is_good)
{
    gv_shard_password_checked(house->shards[question.ticket.shard], &question.ticket, is_good);
    house_settle(house);
}

START_TEST(a_connect_waits_for_its_password)
{
    static const gv_mqtt_version_t versions[] = {GV_MQTT_V31, GV_MQTT_V311, GV_MQTT_V5};
    static const char *const ids[] = {"a", "b", "c", "d"};
    house_t house;
    open_with_passwords(&house, 2);
    for (size_t i = 0; i < 12; i++) {
        guest_t *guest = with_password(&house, versions[i % 3], ids[i / 3]);
        ck_assert_str_eq(question.text, "alice:sesame");
        ck_assert_uint_eq(question.ticket.shard, guest->shard);
        ck_assert_str_eq(guest_next(guest), "");
        /* What comes behind it waits, and is not lost. */
        guest_push_subscribe(guest, (gv_mqtt_subscription_t){.text = GV_BYTES_LITERAL("t")}, 0);
        house_settle(&house);
        ck_assert(guest->is_paused);
        ck_assert_str_eq(guest_next(guest), "");
        answer_question(&house, true);
        ck_assert_str_eq(guest_next(guest), "CONNACK 00");
        ck_assert_str_eq(guest_next(guest), "SUBACK 00");
        guest_leave(guest);
    }
    ck_assert_uint_eq(logins(&house), 0);
    ck_assert_uint_eq(failures(&house), 0);
    close_house(&house);
}
END_TEST

START_TEST(who_has_a_wrong_password_stays_outside)
{
    house_t house;
    open_with_passwords(&house, 1);
    guest_t *guest = with_password(&house, GV_MQTT_V5, "a");
    answer_question(&house, false);
    ck_assert_str_eq(guest_next(guest), "CONNACK 86");
    ck_assert(guest->is_gone);
    ck_assert_uint_eq(failures(&house), 1);
    /* Nobody has to wait longer than there is room for. */
    question.is_busy = true;
    guest = with_password(&house, GV_MQTT_V5, "a");
    ck_assert_str_eq(guest_next(guest), "CONNACK 89");
    ck_assert(guest->is_gone);
    ck_assert_uint_eq(logins(&house), 0);
    close_house(&house);
}
END_TEST

START_TEST(answers_that_come_too_late_are_for_nobody)
{
    house_t house;
    open_with_passwords(&house, 1);
    guest_leave(with_password(&house, GV_MQTT_V311, "a"));
    ck_assert_uint_eq(logins(&house), 0);
    answer_question(&house, true);

    guest_t *slow = with_password(&house, GV_MQTT_V311, "a");
    gv_ticket_t late = question.ticket;
    house_pass(&house, house.limits.connect_timeout_ms + 100);
    ck_assert(slow->is_gone);
    /* The next connection has the same place in the table. */
    guest_t *guest = with_password(&house, GV_MQTT_V311, "a");
    ck_assert_uint_eq(question.ticket.client, late.client);
    gv_shard_password_checked(house.shards[0], &late, true);
    house_settle(&house);
    ck_assert_str_eq(guest_next(guest), "");
    answer_question(&house, true);
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    answer_question(&house, false); /* once more, which is once too often */
    guest_subscribe(guest, "t", 0);
    close_house(&house);
}
END_TEST

START_TEST(a_login_by_password_has_no_method_to_show_it_again)
{
    house_t house;
    open_with_passwords(&house, 1);
    guest_t *guest = with_password(&house, GV_MQTT_V5, "a");
    answer_question(&house, true);
    ck_assert_str_eq(guest_next(guest), "CONNACK 00");
    scram_client_t client = alice();
    send_auth(guest, GV_MQTT_REAUTHENTICATE, scram_client_first(&client));
    ck_assert_str_eq(guest_next(guest), "DISCONNECT 82");
    close_house(&house);
}
END_TEST

START_TEST(who_waits_when_the_node_drains_is_sent_away)
{
    house_t house;
    open_with_passwords(&house, 1);
    guest_t *guest = with_password(&house, GV_MQTT_V5, "a");
    gv_drain_t orders = {.reason = GV_MQTT_USE_ANOTHER_SERVER};
    gv_shard_drain(house.shards[0], &orders);
    house_settle(&house);
    ck_assert_str_eq(guest_next(guest), "");
    answer_question(&house, true);
    ck_assert_str_eq(guest_next(guest), "CONNACK 9c");
    ck_assert(guest->is_gone);
    close_house(&house);
}
END_TEST

START_TEST(salts_of_strangers_hang_on_the_secret)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    uint8_t salts[3][8];
    static const char *const secrets[] = {"one", "one", "two"};
    for (size_t i = 0; i < 3; i++) {
        gv_auth_t own;
        gv_auth_init(&own, users, gv_bytes_text(secrets[i]), count_up);
        gv_auth_ports_t port = gv_auth_ports(&own);
        gv_exchange_t *exchange = port.begin(port.arg, GV_BYTES_LITERAL("SCRAM-SHA-256"));
        ck_assert_ptr_nonnull(exchange);
        ck_assert_ptr_null(port.begin(port.arg, GV_BYTES_LITERAL("SCRAM-SHA-1")));
        gv_bytes_t answer;
        ck_assert_int_eq(port.step(exchange, GV_BYTES_LITERAL("n,,n=zoe,r=x"), &answer),
                         GV_AUTH_CONTINUE);
        /* r=x, 24 characters of ours, s= */
        ck_assert_uint_gt(answer.size, 3 + 24 + 3 + sizeof(salts[i]));
        memcpy(salts[i], answer.data + 3 + 24 + 3, sizeof(salts[i]));
        ck_assert(gv_bytes_equal(port.user(exchange), GV_BYTES_LITERAL("zoe")));
        port.end(&exchange);
        ck_assert_ptr_null(exchange);
        gv_auth_deinit(&own);
    }
    ck_assert_mem_eq(salts[0], salts[1], sizeof(salts[0]));
    ck_assert_mem_ne(salts[0], salts[2], sizeof(salts[0]));
    gv_users_unref(&users);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("auth");
    tcase_add_test(tc, clients_log_in_on_the_shard_of_their_id);
    tcase_add_test(tc, who_is_refused_leaves_nothing_behind);
    tcase_add_test(tc, who_goes_away_in_the_middle_leaves_nothing_behind);
    tcase_add_test(tc, who_does_not_go_on_is_closed_in_time);
    tcase_add_test(tc, who_has_shown_it_again_stays);
    tcase_add_test(tc, nobody_becomes_somebody_else);
    tcase_add_test(tc, who_waits_for_connack_is_told_that_we_leave);
    tcase_add_test(tc, users_that_are_taken_away_cannot_show_it_again);
    tcase_add_test(tc, salts_of_strangers_hang_on_the_secret);
    tcase_add_test(tc, a_connect_waits_for_its_password);
    tcase_add_test(tc, who_has_a_wrong_password_stays_outside);
    tcase_add_test(tc, answers_that_come_too_late_are_for_nobody);
    tcase_add_test(tc, a_login_by_password_has_no_method_to_show_it_again);
    tcase_add_test(tc, who_waits_when_the_node_drains_is_sent_away);

    Suite *suite = suite_create("broker/auth");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
