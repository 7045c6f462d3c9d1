/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/properties.h"

#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "base/alloc.h"

static gv_properties_t properties;

/* `line` is split at spaces; gives the problem, or NULL. */
static char *add(const char *line, size_t *used)
{
    static char copy[256];
    char *words[8];
    size_t count = 0;
    ck_assert_uint_lt(strlen(line), sizeof(copy));
    memcpy(copy, line, strlen(line) + 1);
    char *rest;
    for (char *word = strtok_r(copy, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest)) {
        words[count++] = word;
    }
    return gv_properties_add(&properties, words, count, used);
}

START_TEST(each_goes_to_its_packet)
{
    size_t used;
    ck_assert_ptr_null(add("connect session-expiry-interval 60 -t x", &used));
    ck_assert_uint_eq(used, 3);
    ck_assert_ptr_null(add("publish user-property a b -t", &used));
    ck_assert_uint_eq(used, 4);
    ck_assert_ptr_null(add("publish user-property c d", &used));
    ck_assert_ptr_null(add("will will-delay-interval 4294967295", &used));
    ck_assert_ptr_null(add("subscribe subscription-identifier 268435455", &used));
    const gv_mqtt_props_t *props = properties.props;
    ck_assert_uint_eq(props[GV_PROPS_CONNECT].session_expiry_s, 60);
    ck_assert_uint_eq(props[GV_PROPS_WILL].will_delay_s, UINT32_MAX);
    ck_assert_uint_eq(props[GV_PROPS_SUBSCRIBE].subscription_id, 268435455);
    ck_assert_uint_eq(props[GV_PROPS_PUBLISH].present, 0);
    ck_assert(gv_bytes_equal(props[GV_PROPS_PUBLISH].appended, gv_bytes("\x26\x00\x01"
                                                                        "a\x00\x01"
                                                                        "b\x26\x00\x01"
                                                                        "c\x00\x01"
                                                                        "d",
                                                                        14)));
    gv_properties_deinit(&properties);
}
END_TEST

START_TEST(mistakes_are_named)
{
    static const char *const bad[][2] = {
        {"publish", "-D needs PACKET NAME VALUE"},
        {"publish content-type", "-D needs PACKET NAME VALUE"},
        {"pubish content-type x", "-D pubish: expected connect, will, publish or subscribe"},
        {"publish content x", "-D publish: no property 'content'"},
        {"connect content-type x", "-D connect: content-type does not belong there"},
        {"publish topic-alias 1", "-D publish: no property 'topic-alias'"},
        {"publish user-property a", "user-property needs a name and a value"},
        {"publish message-expiry-interval -1",
         "message-expiry-interval is '-1'; expected a number up to 4294967295"},
        {"publish message-expiry-interval 4294967296",
         "message-expiry-interval is '4294967296'; expected a number up to 4294967295"},
        {"publish message-expiry-interval 99999999999999999999999",
         "message-expiry-interval is '99999999999999999999999'; expected a number up to "
         "4294967295"},
        {"connect receive-maximum x", "receive-maximum is 'x'; expected a number up to 65535"},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        size_t used;
        char *problem = add(bad[i][0], &used);
        ck_assert_ptr_nonnull(problem);
        ck_assert_str_eq(problem, bad[i][1]);
        gv_free(problem);
    }
    gv_properties_deinit(&properties);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("properties");
    tcase_add_test(tc, each_goes_to_its_packet);
    tcase_add_test(tc, mistakes_are_named);

    Suite *suite = suite_create("cli");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
