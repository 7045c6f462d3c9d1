/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/passwords.h"

#include "scram_client.h"

enum {
    ANSWERS_MAX = 512,
};

/* A loop that asks, on the test's thread, and what it was answered. */
static gv_loop_t *loop;
static gv_passwords_t *passwords;
static gv_users_t *users;
static char answers[ANSWERS_MAX + 1]; /* by ticket number: '+', '-', or ' ' for none yet */
static int expected;

static void on_answer(const gv_ticket_t *ticket, bool is_good, void *arg)
{
    ck_assert_ptr_eq(arg, &answers);
    gv_loop_assert_current(loop);
    ck_assert_uint_lt(ticket->number, ANSWERS_MAX);
    ck_assert_int_eq(answers[ticket->number], ' ');
    answers[ticket->number] = is_good ? '+' : '-';
    if (--expected == 0) {
        gv_loop_stop(loop);
    }
}

static bool ask_bytes(uint32_t number, gv_bytes_t user, gv_bytes_t password)
{
    static const uint8_t key[GV_SHA256_SIZE] = {1};
    gv_password_question_t question = {
        .users = users,
        .fake_key = gv_bytes(key, sizeof(key)),
        .user = user,
        .password = password,
        .ticket = {.number = number},
        .loop = loop,
        .done = on_answer,
        .arg = &answers,
    };
    return gv_passwords_check(passwords, &question);
}

static void ask(uint32_t number, const char *user, const char *password)
{
    ck_assert(ask_bytes(number, gv_bytes_text(user), gv_bytes_text(password)));
}

static void setup(void)
{
    memset(answers, ' ', ANSWERS_MAX);
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    ck_assert_int_eq(gv_passwords_new(&passwords), GV_OK);
    users = SCRAM_USERS("alice", "sesame", "bob", "builder");
}

static void teardown(void)
{
    gv_passwords_free(&passwords);
    gv_loop_free(&loop);
    gv_users_unref(&users);
}

static void await_answers(int count)
{
    expected = count;
    ck_assert_int_eq(gv_passwords_start(passwords), GV_OK);
    gv_loop_run(loop);
    gv_passwords_stop(passwords);
}

START_TEST(each_question_is_answered)
{
    ask(0, "alice", "sesame");
    ask(1, "alice", "sesam");
    ask(2, "alice", "builder");
    ask(3, "bob", "builder");
    ask(4, "carol", "sesame");
    ask(5, "", "sesame");
    ask(6, "alice", "");
    ask(7, "alice", "sesame"); /* remembered from the first time */
    ask(8, "alice", "sesam");  /* and still not this one */
    await_answers(9);
    answers[9] = '\0';
    ck_assert_str_eq(answers, "+--+---+-");
}
END_TEST

START_TEST(what_is_too_long_is_wrong)
{
    static uint8_t text[65535];
    memset(text, 'x', sizeof(text));
    ck_assert(ask_bytes(0, GV_BYTES_LITERAL("alice"), gv_bytes(text, sizeof(text))));
    ck_assert(ask_bytes(1, gv_bytes(text, sizeof(text)), GV_BYTES_LITERAL("sesame")));
    ck_assert(ask_bytes(2, GV_BYTES_LITERAL("alice\0"), GV_BYTES_LITERAL("sesame")));
    ck_assert(ask_bytes(3, GV_BYTES_LITERAL("alice"), GV_BYTES_LITERAL("sesame\0")));
    await_answers(4);
    answers[4] = '\0';
    ck_assert_str_eq(answers, "----");
}
END_TEST

START_TEST(the_longest_password_is_a_password)
{
    static char text[GV_PASSWORD_SIZE_MAX + 1];
    memset(text, 'x', sizeof(text) - 1);
    gv_users_unref(&users);
    users = SCRAM_USERS("alice", text);
    ask(0, "alice", text);
    text[sizeof(text) - 2] = 'y';
    ask(1, "alice", text);
    await_answers(2);
    answers[2] = '\0';
    ck_assert_str_eq(answers, "+-");
}
END_TEST

START_TEST(too_many_questions_are_not_taken)
{
    for (uint32_t i = 0; i < GV_PASSWORDS_WAITING_MAX; i++) {
        ask(i, "alice", "sesame");
    }
    gv_bytes_t name = GV_BYTES_LITERAL("alice");
    ck_assert(!ask_bytes(GV_PASSWORDS_WAITING_MAX, name, GV_BYTES_LITERAL("sesame")));
    await_answers(GV_PASSWORDS_WAITING_MAX);
    answers[GV_PASSWORDS_WAITING_MAX] = '\0';
    ck_assert_ptr_null(strchr(answers, '-'));
    ck_assert_ptr_null(strchr(answers, ' '));
}
END_TEST

START_TEST(a_password_that_has_changed_is_not_remembered)
{
    ask(0, "alice", "sesame");
    gv_users_unref(&users);
    users = SCRAM_USERS("alice", "changed");
    ask(1, "alice", "sesame");
    ask(2, "alice", "changed");
    await_answers(3);
    answers[3] = '\0';
    ck_assert_str_eq(answers, "+-+");
}
END_TEST

START_TEST(questions_that_never_ran_are_freed)
{
    ask(0, "alice", "sesame");
    ask(1, "alice", "sesame");
    /* The teardown frees the thread's loop and then ours: nobody is called, nothing leaks. */
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("passwords");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, each_question_is_answered);
    tcase_add_test(tc, what_is_too_long_is_wrong);
    tcase_add_test(tc, the_longest_password_is_a_password);
    tcase_add_test(tc, too_many_questions_are_not_taken);
    tcase_add_test(tc, a_password_that_has_changed_is_not_remembered);
    tcase_add_test(tc, questions_that_never_ran_are_freed);

    Suite *suite = suite_create("broker/auth");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
