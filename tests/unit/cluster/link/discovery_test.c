/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster/link/discovery.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cluster/on_loop.h"

static gv_loop_t *loop;

typedef struct lookup {
    const char *text;
    gv_err_t err;
    gv_error_text_t error;
    gv_resolving_t *resolving;
    uint32_t answers;
    size_t count;
    char first[GV_ADDRESS_TEXT_SIZE];
    char reason[200];
} lookup_t;

static void on_resolved(const gv_address_t *addresses, size_t count, const char *reason, void *arg)
{
    lookup_t *lookup = arg;
    lookup->answers++;
    lookup->count = count;
    (void)snprintf(lookup->reason, sizeof(lookup->reason), "%s", reason);
    if (count > 0) {
        (void)gv_address_text(&addresses[0], lookup->first);
    }
}

static void begin(void *arg)
{
    lookup_t *lookup = arg;
    gv_loop_assert_current(loop);
    lookup->err =
        gv_resolve(loop, lookup->text, on_resolved, lookup, &lookup->resolving, &lookup->error);
    ck_assert_msg(lookup->answers == 0, "never from inside the call");
}

static void begin_and_cancel(void *arg)
{
    lookup_t *lookup = arg;
    begin(lookup);
    gv_loop_assert_current(loop);
    gv_resolve_cancel(&lookup->resolving);
    ck_assert_ptr_null(lookup->resolving);
}

static bool is_answered(void *arg)
{
    const lookup_t *lookup = arg;
    return lookup->answers > 0;
}

static void set_up(void)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
}

static void tear_down(void)
{
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_loop_free(&loop);
}

static lookup_t look_up(const char *text)
{
    lookup_t lookup = {.text = text};
    on_loop(loop, begin, &lookup);
    ck_assert_int_eq(lookup.err, GV_OK);
    ck_assert(comes_true(loop, is_answered, &lookup, 20000));
    ck_assert_uint_eq(lookup.answers, 1);
    return lookup;
}

START_TEST(numbers_need_no_lookup)
{
    lookup_t four = look_up("127.0.0.1:7883");
    ck_assert_uint_eq(four.count, 1);
    ck_assert_str_eq(four.first, "127.0.0.1:7883");
    lookup_t six = look_up("[::1]:7883");
    ck_assert_uint_eq(six.count, 1);
    ck_assert_str_eq(six.first, "[::1]:7883");
}
END_TEST

START_TEST(a_name_gives_all_its_addresses_once)
{
    lookup_t lookup = look_up("localhost:7883");
    ck_assert_uint_ge(lookup.count, 1);
    ck_assert_uint_le(lookup.count, 2);
    ck_assert(strcmp(lookup.first, "127.0.0.1:7883") == 0 ||
              strcmp(lookup.first, "[::1]:7883") == 0);
}
END_TEST

START_TEST(what_names_no_host_and_port_is_refused_at_once)
{
    static const char *const texts[] = {"",       "host",        ":7883",      "*:7883",
                                        "host:0", "/run/x.sock", "host:99999", "[::1"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        lookup_t lookup = {.text = texts[i]};
        on_loop(loop, begin, &lookup);
        ck_assert_msg(lookup.err == GV_ERR_INVAL, "'%s'", texts[i]);
        ck_assert_uint_gt(strlen(lookup.error.text), 0);
        ck_assert_ptr_null(lookup.resolving);
    }
}
END_TEST

START_TEST(a_cancelled_lookup_answers_nobody)
{
    lookup_t numeric = {.text = "127.0.0.1:1"};
    lookup_t name = {.text = "localhost:1"};
    on_loop(loop, begin_and_cancel, &numeric);
    on_loop(loop, begin_and_cancel, &name);
    (void)look_up("localhost:2"); /* behind them in the same queue */
    ck_assert_uint_eq(numeric.answers, 0);
    ck_assert_uint_eq(name.answers, 0);
}
END_TEST

START_TEST(a_loop_that_stops_ends_its_lookups)
{
    static lookup_t lookup = {.text = "localhost:1"};
    on_loop(loop, begin, &lookup);
    /* The fixture stops the loop now; AddressSanitizer sees whether the lookup was freed. */
}
END_TEST

START_TEST(own_addresses_are_forgotten_after_a_while)
{
    gv_own_addresses_t own = {._next = 0};
    gv_endpoint_t endpoint;
    gv_address_t address;
    gv_address_t other;
    ck_assert_int_eq(gv_endpoint_parse("127.0.0.1:1", &endpoint, NULL), GV_OK);
    ck_assert_int_eq(gv_address_from_endpoint(&endpoint, &address), GV_OK);
    endpoint.port = 2;
    ck_assert_int_eq(gv_address_from_endpoint(&endpoint, &other), GV_OK);

    ck_assert(!gv_own_addresses_has(&own, &address, 1000));
    gv_own_addresses_note(&own, &address, 1000);
    gv_own_addresses_note(&own, &address, 1001);
    ck_assert(gv_own_addresses_has(&own, &address, 1000 + GV_OWN_ADDRESS_KEPT_MS - 1));
    ck_assert(!gv_own_addresses_has(&own, &address, 1000 + GV_OWN_ADDRESS_KEPT_MS));
    ck_assert(!gv_own_addresses_has(&own, &other, 1000));
}
END_TEST

START_TEST(the_oldest_own_address_makes_room)
{
    gv_own_addresses_t own = {._next = 0};
    gv_address_t addresses[GV_OWN_ADDRESSES_MAX + 1];
    gv_endpoint_t endpoint;
    ck_assert_int_eq(gv_endpoint_parse("127.0.0.1:1", &endpoint, NULL), GV_OK);
    for (uint16_t i = 0; i <= GV_OWN_ADDRESSES_MAX; i++) {
        endpoint.port = (uint16_t)(i + 1);
        ck_assert_int_eq(gv_address_from_endpoint(&endpoint, &addresses[i]), GV_OK);
        gv_own_addresses_note(&own, &addresses[i], 1000);
    }
    ck_assert(!gv_own_addresses_has(&own, &addresses[0], 1000));
    for (size_t i = 1; i <= GV_OWN_ADDRESSES_MAX; i++) {
        ck_assert(gv_own_addresses_has(&own, &addresses[i], 1000));
    }
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("discovery");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, numbers_need_no_lookup);
    tcase_add_test(tc, a_name_gives_all_its_addresses_once);
    tcase_add_test(tc, what_names_no_host_and_port_is_refused_at_once);
    tcase_add_test(tc, a_cancelled_lookup_answers_nobody);
    tcase_add_test(tc, a_loop_that_stops_ends_its_lookups);
    tcase_add_test(tc, own_addresses_are_forgotten_after_a_while);
    tcase_add_test(tc, the_oldest_own_address_makes_room);

    Suite *suite = suite_create("cluster/link");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
