/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/scram.h"

#include <signal.h>

#include "scram_client.h"

static const uint8_t nonce[GV_SCRAM_NONCE_BYTES] = "\x01\x02\x03 from a test";
static const uint8_t key[GV_SHA256_SIZE] = "a key";

static gv_scram_t *exchange(gv_users_t *users)
{
    gv_scram_options_t options = {
        .users = users, .fake_key = gv_bytes(key, sizeof(key)), .nonce = nonce};
    return gv_scram_new(&options);
}

static gv_auth_step_t first(gv_scram_t *scram, scram_client_t *client, gv_bytes_t *answer)
{
    return gv_scram_step(scram, gv_bytes_text(scram_client_first(client)), answer);
}

/* A whole exchange; GV_AUTH_CONTINUE means that there was not even a challenge. */
static gv_auth_step_t login(gv_users_t *users, scram_client_t *client)
{
    gv_scram_t *scram = exchange(users);
    gv_bytes_t answer;
    gv_auth_step_t result = GV_AUTH_CONTINUE;
    if (first(scram, client, &answer) == GV_AUTH_CONTINUE) {
        const char *final = scram_client_final(client, answer);
        result = gv_scram_step(scram, gv_bytes_text(final), &answer);
        if (result == GV_AUTH_DONE) {
            ck_assert(gv_bytes_equal(answer, gv_bytes_text(client->success)));
        } else {
            ck_assert_uint_eq(answer.size, 0);
        }
    }
    gv_scram_free(&scram);
    ck_assert_ptr_null(scram);
    return result;
}

START_TEST(who_knows_the_password_is_let_in_and_sees_that_we_know_it)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame", "a,b=c", "comma");
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "alice", .password = "sesame"}),
                     GV_AUTH_DONE);
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "a=2Cb=3Dc", .password = "comma"}),
                     GV_AUTH_DONE);
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "alice", .password = "sesam"}),
                     GV_AUTH_REFUSED);
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "alice", .password = ""}),
                     GV_AUTH_REFUSED);
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "alice", .password = "comma"}),
                     GV_AUTH_REFUSED);
    /* Strangers get as far as everybody, whatever they say then. */
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "zoe", .password = "sesame"}),
                     GV_AUTH_REFUSED);
    ck_assert_int_eq(login(users, &(scram_client_t){.user = "a=2", .password = "comma"}),
                     GV_AUTH_CONTINUE);
    gv_users_unref(&users);
}
END_TEST

START_TEST(the_user_is_known_by_the_name_that_was_meant)
{
    gv_users_t *users = SCRAM_USERS("a,b=c", "comma");
    gv_scram_t *scram = exchange(users);
    ck_assert_uint_eq(gv_scram_user(scram).size, 0);
    gv_bytes_t answer;
    ck_assert_int_eq(first(scram, &(scram_client_t){.user = "a=2Cb=3Dc"}, &answer),
                     GV_AUTH_CONTINUE);
    ck_assert(gv_bytes_equal(gv_scram_user(scram), GV_BYTES_LITERAL("a,b=c")));
    gv_scram_free(&scram);
    gv_users_unref(&users);
}
END_TEST

START_TEST(an_exchange_keeps_the_users_it_began_with)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    gv_scram_t *scram = exchange(users);
    gv_users_unref(&users);
    gv_bytes_t answer;
    scram_client_t client = {.user = "alice", .password = "sesame"};
    ck_assert_int_eq(first(scram, &client, &answer), GV_AUTH_CONTINUE);
    const char *final = scram_client_final(&client, answer);
    ck_assert_int_eq(gv_scram_step(scram, gv_bytes_text(final), &answer), GV_AUTH_DONE);
    gv_scram_free(&scram);
}
END_TEST

/* A byte more, less or other anywhere in client final is a refusal. */
START_TEST(no_other_final_message_is_taken)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    scram_client_t client = {.user = "alice", .password = "sesame"};
    size_t size = 1;
    for (size_t at = 0; at < size; at++) {
        for (int change = 0; change < 3; change++) {
            gv_scram_t *scram = exchange(users);
            gv_bytes_t answer;
            ck_assert_int_eq(first(scram, &client, &answer), GV_AUTH_CONTINUE);
            char message[sizeof(client.final) + 1];
            (void)snprintf(message, sizeof(message), "%s", scram_client_final(&client, answer));
            size = strlen(message);
            if (change == 0) {
                message[at] ^= 1;
            } else if (change == 1) {
                memmove(message + at, message + at + 1, size - at);
            } else {
                memmove(message + at + 1, message + at, size - at + 1);
            }
            gv_auth_step_t result = gv_scram_step(scram, gv_bytes_text(message), &answer);
            ck_assert_msg(result == GV_AUTH_REFUSED, "change %d at %zu was taken", change, at);
            gv_scram_free(&scram);
        }
    }
    gv_users_unref(&users);
}
END_TEST

START_TEST(an_answer_to_another_challenge_is_worth_nothing)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    scram_client_t client = {.user = "alice", .password = "sesame"};
    gv_scram_t *recorded = exchange(users);
    gv_bytes_t answer;
    ck_assert_int_eq(first(recorded, &client, &answer), GV_AUTH_CONTINUE);
    (void)scram_client_final(&client, answer);
    gv_scram_free(&recorded);

    static const uint8_t fresh[GV_SCRAM_NONCE_BYTES] = "\x01\x02\x03 from 2 test";
    gv_scram_options_t options = {
        .users = users, .fake_key = gv_bytes(key, sizeof(key)), .nonce = fresh};
    gv_scram_t *scram = gv_scram_new(&options);
    ck_assert_int_eq(first(scram, &client, &answer), GV_AUTH_CONTINUE);
    ck_assert_int_eq(gv_scram_step(scram, gv_bytes_text(client.final), &answer), GV_AUTH_REFUSED);
    gv_scram_free(&scram);
    gv_users_unref(&users);
}
END_TEST

START_TEST(the_longest_messages_fit)
{
    gv_users_t *users =
        SCRAM_USERS("a salt of sixty-four bytes, which is the longest there may be...", "x");
    gv_scram_t *scram = exchange(users);
    char message[1024];
    memset(message, 'r', sizeof(message));
    memcpy(message, "y,,n=zoe,r=", 11);
    gv_bytes_t answer;
    ck_assert_int_eq(gv_scram_step(scram, gv_bytes(message, sizeof(message)), &answer),
                     GV_AUTH_CONTINUE);
    ck_assert_uint_gt(answer.size, sizeof(message) - 11);
    gv_scram_free(&scram);
    gv_users_unref(&users);
}
END_TEST

START_TEST(after_the_end_there_is_no_step)
{
    gv_users_t *users = SCRAM_USERS("alice", "sesame");
    gv_scram_t *scram = exchange(users);
    gv_bytes_t answer;
    ck_assert_int_eq(gv_scram_step(scram, GV_BYTES_EMPTY, &answer), GV_AUTH_REFUSED);
    (void)gv_scram_step(scram, GV_BYTES_EMPTY, &answer);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("scram");
    tcase_set_timeout(tc, 60); /* a thousand passwords are hashed */
    tcase_add_test(tc, who_knows_the_password_is_let_in_and_sees_that_we_know_it);
    tcase_add_test(tc, the_user_is_known_by_the_name_that_was_meant);
    tcase_add_test(tc, an_exchange_keeps_the_users_it_began_with);
    tcase_add_test(tc, no_other_final_message_is_taken);
    tcase_add_test(tc, an_answer_to_another_challenge_is_worth_nothing);
    tcase_add_test(tc, the_longest_messages_fit);
    tcase_add_test_raise_signal(tc, after_the_end_there_is_no_step, SIGABRT);

    Suite *suite = suite_create("broker/auth");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
