/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"
#include "broker/config_p.h"

#define KEYS                                        \
    "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:" \
    "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
#define ONE     "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS
#define ANOTHER "SCRAM-SHA-256$4096:AAAA$" KEYS

static bool takes(gv_user_list_t *users, const char *name, const char *text, bool may_replace)
{
    char *problem = gv__config_user_set(users, name, text, may_replace);
    bool is_taken = problem == NULL;
    /* Whatever is wrong with a verifier, it is not repeated. */
    ck_assert(is_taken || text[0] == '\0' || strstr(problem, text) == NULL);
    gv_free(problem);
    return is_taken;
}

START_TEST(users_are_added_and_replaced)
{
    gv_user_list_t users = {.items = NULL};
    ck_assert(takes(&users, "alice", ONE, false));
    ck_assert(takes(&users, "bob", ONE, false));
    ck_assert(!takes(&users, "alice", ANOTHER, false));
    ck_assert_uint_eq(users.items[0].verifier.salt_size, 16);
    ck_assert(takes(&users, "alice", ANOTHER, true));
    ck_assert_uint_eq(users.count, 2);
    ck_assert_str_eq(users.items[0].name, "alice");
    ck_assert_uint_eq(users.items[0].verifier.salt_size, 3);
    /* What is refused leaves the old one. */
    ck_assert(!takes(&users, "alice", "sesame", true));
    ck_assert(!takes(&users, "carol", "sesame", true));
    ck_assert_uint_eq(users.count, 2);
    ck_assert_uint_eq(users.items[0].verifier.salt_size, 3);
    gv__config_users_release(&users);
    ck_assert_uint_eq(users.count, 0);
}
END_TEST

START_TEST(names_are_texts_of_a_bounded_size)
{
    gv_user_list_t users = {.items = NULL};
    char name[257];
    memset(name, 'n', sizeof(name));
    name[256] = '\0';
    ck_assert(!takes(&users, name, ONE, false));
    name[255] = '\0';
    ck_assert(takes(&users, name, ONE, false));
    ck_assert(takes(&users, "j\xc3\xbcrgen, = \"$", ONE, false));
    ck_assert(!takes(&users, "", ONE, false));
    ck_assert(!takes(&users, "\xff", ONE, false));
    gv__config_users_release(&users);
}
END_TEST

START_TEST(lists_are_equal_when_all_of_them_is)
{
    static const char *const others[][2] = {
        {"alice", ANOTHER},
        {"alicia", ONE},
        {"alice", "SCRAM-SHA-256$4097:W22ZaJ0SNY7soEsUEjb6gQ==$" KEYS},
        {"alice", "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                  "XG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                  "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="},
        {"alice", "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                  "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
                  "xfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="}};
    gv_user_list_t users = {.items = NULL};
    ck_assert(takes(&users, "alice", ONE, false));
    gv_user_list_t copy = {.items = NULL};
    gv__config_users_copy(&users, &copy);
    ck_assert(gv__config_users_equal(&users, &copy));
    ck_assert_ptr_ne(users.items[0].name, copy.items[0].name);
    ck_assert(takes(&copy, "bob", ONE, false));
    ck_assert(!gv__config_users_equal(&users, &copy));
    gv__config_users_release(&copy);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        ck_assert(takes(&copy, others[i][0], others[i][1], false));
        ck_assert(!gv__config_users_equal(&users, &copy));
        gv__config_users_release(&copy);
    }
    gv__config_users_release(&users);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("config_users");
    tcase_add_test(tc, users_are_added_and_replaced);
    tcase_add_test(tc, names_are_texts_of_a_bounded_size);
    tcase_add_test(tc, lists_are_equal_when_all_of_them_is);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
