/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/auth/users.h"

#include "scram_client.h"

START_TEST(users_are_found_by_their_whole_name)
{
    gv_users_t *users = SCRAM_USERS("alice", "a", "bob", "b");
    ck_assert_uint_eq(gv_users_count(users), 2);
    const gv_scram_verifier_t *bob = gv_users_find(users, GV_BYTES_LITERAL("bob"));
    ck_assert_ptr_nonnull(bob);
    ck_assert_mem_eq(bob->salt, "bob", 3);
    ck_assert_ptr_null(gv_users_find(users, GV_BYTES_LITERAL("bo")));
    ck_assert_ptr_null(gv_users_find(users, GV_BYTES_LITERAL("bobb")));
    ck_assert_ptr_null(gv_users_find(users, GV_BYTES_LITERAL("Bob")));
    ck_assert_ptr_null(gv_users_find(users, GV_BYTES_EMPTY));
    gv_users_t *second = gv_users_ref(users);
    gv_users_unref(&users);
    ck_assert_ptr_null(users);
    ck_assert_ptr_nonnull(gv_users_find(second, GV_BYTES_LITERAL("alice")));
    gv_users_unref(&second);
    gv_users_unref(&second);
}
END_TEST

START_TEST(nobody_is_a_set_of_users_too)
{
    gv_users_t *users = gv_users_new(NULL, 0);
    ck_assert_uint_eq(gv_users_count(users), 0);
    ck_assert_ptr_null(gv_users_find(users, GV_BYTES_LITERAL("alice")));
    gv_users_unref(&users);
}
END_TEST

START_TEST(strangers_look_like_users_and_always_the_same)
{
    gv_users_t *users = SCRAM_USERS("a name of forty bytes, that makes a salt", "a");
    gv_scram_verifier_t one;
    gv_scram_verifier_t same;
    gv_scram_verifier_t other;
    gv_bytes_t key = GV_BYTES_LITERAL("key");
    gv_users_invent(users, GV_BYTES_LITERAL("zoe"), key, &one);
    gv_users_invent(users, GV_BYTES_LITERAL("zoe"), key, &same);
    ck_assert_uint_eq(one.iterations, GV_SCRAM_ITERATIONS_MIN);
    ck_assert_uint_eq(one.salt_size, 40);
    ck_assert(gv_bytes_equal(gv_scram_salt(&one), gv_scram_salt(&same)));
    ck_assert_mem_eq(one.stored_key, same.stored_key, GV_SHA256_SIZE);
    /* More than one hash makes a long salt, and no part of it is another's. */
    ck_assert_mem_ne(one.salt, one.salt + GV_SHA256_SIZE, 8);
    ck_assert_mem_ne(one.salt, one.stored_key, GV_SHA256_SIZE);
    ck_assert_mem_ne(one.stored_key, one.server_key, GV_SHA256_SIZE);
    gv_users_invent(users, GV_BYTES_LITERAL("yves"), key, &other);
    ck_assert_mem_ne(one.salt, other.salt, 40);
    gv_users_invent(users, GV_BYTES_LITERAL("zoe"), GV_BYTES_LITERAL("kez"), &other);
    ck_assert_mem_ne(one.salt, other.salt, 40);
    gv_users_unref(&users);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("users");
    tcase_add_test(tc, users_are_found_by_their_whole_name);
    tcase_add_test(tc, nobody_is_a_set_of_users_too);
    tcase_add_test(tc, strangers_look_like_users_and_always_the_same);

    Suite *suite = suite_create("broker/auth");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
