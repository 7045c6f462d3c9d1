/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/admin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <check.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/io/os.h"
#include "base/rng.h"
#include "tests/unit/broker/admin/rig.h"

/* ---- a server on a loop's thread, a client on the test's ---------------------------------- */

static gv_admin_call_t *kept; /* by on_keep; used on the loop */

static void on_echo(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(arg, "arg");
    json_t *body = json_pack("{s:o}", "body", gv_admin_json_text(gv_admin_body(call)));
    const char *name = gv_admin_query(call, "name");
    json_object_set_new(body, "name", name != NULL ? json_string(name) : json_null());
    gv_admin_answer_json(call, 200, body);
}

static void on_text(gv_admin_call_t *call, void *arg)
{
    gv_loop_assert_current(loop);
    (void)arg;
    gv_text_t text = GV_TEXT_EMPTY;
    gv_text_add(&text, "grapes");
    gv_admin_answer_text(call, 200, "text/plain", &text);
    ck_assert_uint_eq(gv_text_size(&text), 0);
}

static void on_keep(gv_admin_call_t *call, void *arg)
{
    (void)arg;
    kept = call;
}

static const gv_admin_route_t routes[] = {
    {"GET", "/echo", "says what it got", on_echo, false},
    {"POST", "/echo", "says what it got", on_echo, false},
    {"GET", "/text", "a text", on_text, false},
    {"GET", "/keep", "answered later", on_keep, false},
    {"GET", "/open", "for everybody", on_text, true},
};

static gv_admin_options_t options;

static void open_admin(void)
{
    gv_error_text_t error;
    gv_loop_assert_current(loop);
    gv_err_t err = gv_admin_open(loop, &options, &admin, &error);
    ck_assert_msg(err == GV_OK, "%s", error.text);
    gv_admin_add(admin, routes, sizeof(routes) / sizeof(routes[0]), (void *)(uintptr_t) "arg");
}

static void close_admin(void)
{
    gv_loop_assert_current(loop);
    gv_admin_close(&admin);
    ck_assert_ptr_null(admin);
    gv_admin_close(&admin);
}

static void answer_kept(void)
{
    gv_loop_assert_current(loop);
    ck_assert_ptr_nonnull(kept);
    gv_admin_answer_json(kept, 200, json_pack("{s:i}", "late", 1));
    kept = NULL;
}

static bool is_kept;

static void look_whether_kept(void)
{
    is_kept = kept != NULL;
}

static void wait_until_kept(void)
{
    do {
        usleep(2000);
        on_loop_do(look_whether_kept);
    } while (!is_kept);
}

static void start(void)
{
    gv_os_ignore_sigpipe();
    rig_start_loop();
    options = (gv_admin_options_t){.address = "127.0.0.1:0",
                                   .token = "sesame",
                                   .body_size_max = 1000,
                                   .connections_max = 8,
                                   .idle_s = 1,
                                   .answer_ms = 300};
}

static void stop(void)
{
    on_loop_do(close_admin);
    rig_stop_loop();
}

/* ---- the client --------------------------------------------------------------------------- */

static int connected(void)
{
    int fd = rig_connect();
    struct timeval limit = {.tv_sec = 10};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    return fd;
}

static void send_text(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* What comes until the server closes. */
static const char *receive_all(int fd)
{
    static char answer[65536];
    size_t size = 0;
    ssize_t got;
    while (size < sizeof(answer) - 1 &&
           (got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    answer[size] = '\0';
    return answer;
}

static const char *asked(const char *request)
{
    int fd = connected();
    send_text(fd, request);
    const char *answer = receive_all(fd);
    close(fd);
    return answer;
}

/* A request without a body on a connection of its own. */
static const char *ask(const char *method, const char *path, const char *headers)
{
    char request[512];
    (void)snprintf(request, sizeof(request),
                   "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n", method, path,
                   headers);
    return asked(request);
}

static unsigned status_of(const char *answer)
{
    unsigned status = 0;
    return sscanf(answer, "HTTP/1.1 %u", &status) == 1 ? status : 0;
}

/* A text member of the JSON body, as "(none)" if there is none. */
static const char *member_of(const char *answer, const char *key)
{
    static char value[256];
    const char *body = strstr(answer, "\r\n\r\n");
    json_t *object = body != NULL ? json_loads(body + 4, 0, NULL) : NULL;
    const char *text = json_string_value(json_object_get(object, key));
    (void)snprintf(value, sizeof(value), "%s", text != NULL ? text : "(none)");
    json_decref(object);
    return value;
}

/* ---- tests -------------------------------------------------------------------------------- */

START_TEST(routes_answer_and_the_index_lists_them)
{
    start();
    on_loop_do(open_admin);
    const char *answer = ask("GET", "/text", "");
    ck_assert_uint_eq(status_of(answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "Content-Type: text/plain\r\n"));
    ck_assert_ptr_nonnull(strstr(answer, "\r\n\r\ngrapes"));
    answer = ask("GET", "/echo?name=a%20b%22", "");
    ck_assert_str_eq(member_of(answer, "name"), "a b\"");
    answer = ask("GET", "/", "");
    ck_assert_uint_eq(status_of(answer), 200);
    ck_assert_str_eq(member_of(answer, "version"), GV_VERSION);
    ck_assert_ptr_nonnull(strstr(answer, "\"/keep\""));
    answer = ask("HEAD", "/text", "");
    ck_assert_uint_eq(status_of(answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "Content-Length: 6\r\n"));
    ck_assert_ptr_null(strstr(answer, "grapes"));
    stop();
}
END_TEST

START_TEST(wrong_paths_and_methods_are_told_in_json)
{
    start();
    on_loop_do(open_admin);
    const char *answer = ask("GET", "/nothing", "");
    ck_assert_uint_eq(status_of(answer), 404);
    ck_assert_str_eq(member_of(answer, "code"), "NOT_FOUND");
    ck_assert_uint_eq(status_of(ask("GET", "/ech", "")), 404);
    ck_assert_uint_eq(status_of(ask("GET", "/echo/", "")), 404);
    answer = ask("DELETE", "/echo", "");
    ck_assert_uint_eq(status_of(answer), 405);
    ck_assert_str_eq(member_of(answer, "code"), "METHOD_NOT_ALLOWED");
    ck_assert_ptr_nonnull(strstr(answer, "Allow: GET, POST\r\n"));
    stop();
}
END_TEST

/* A browser on this machine does what any web page says. */
START_TEST(web_pages_may_look_but_not_touch)
{
    start();
    on_loop_do(open_admin);
    const char *origin = "Origin: http://evil.example\r\n";
    ck_assert_uint_eq(status_of(ask("GET", "/echo", origin)), 200);
    ck_assert_uint_eq(status_of(ask("POST", "/echo", "")), 200);
    const char *answer = ask("POST", "/echo", origin);
    ck_assert_uint_eq(status_of(answer), 403);
    ck_assert_str_eq(member_of(answer, "code"), "FORBIDDEN");
    answer =
        ask("POST", "/echo", "Origin: http://console.example\r\nAuthorization: Bearer sesame\r\n");
    ck_assert_uint_eq(status_of(answer), 200);
    stop();
}
END_TEST

START_TEST(bodies_are_taken_up_to_the_limit)
{
    start();
    on_loop_do(open_admin);
    const char *head = "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
    char request[4000];
    (void)snprintf(request, sizeof(request), "%sContent-Length: 4\r\n\r\n\"a\n\xFF", head);
    ck_assert_str_eq(member_of(asked(request), "body"), "\"a\\x0a\\xff");
    (void)snprintf(request, sizeof(request), "%sContent-Length: 1000\r\n\r\n%01000d", head, 7);
    ck_assert_uint_eq(status_of(asked(request)), 200);
    (void)snprintf(request, sizeof(request), "%sContent-Length: 1001\r\n\r\n", head);
    const char *answer = asked(request);
    ck_assert_uint_eq(status_of(answer), 413);
    ck_assert_str_eq(member_of(answer, "code"), "TOO_LARGE");
    (void)snprintf(request, sizeof(request), "%sContent-Length: 99999999999999999999\r\n\r\n",
                   head);
    ck_assert_uint_ge(status_of(asked(request)), 400);
    (void)snprintf(request, sizeof(request),
                   "%sTransfer-Encoding: chunked\r\n\r\n5\r\ngrape\r\n0\r\n\r\n", head);
    ck_assert_str_eq(member_of(asked(request), "body"), "grape");
    /* The connection ends instead of an endless body. */
    (void)snprintf(request, sizeof(request),
                   "%sTransfer-Encoding: chunked\r\n\r\n7d0\r\n%02000d\r\n", head, 7);
    ck_assert_uint_eq(status_of(asked(request)), 0);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "")), 200);
    stop();
}
END_TEST

START_TEST(one_connection_serves_several_requests)
{
    start();
    on_loop_do(open_admin);
    const char *answer = asked("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                               "GET /text HTTP/1.1\r\nHost: x\r\n\r\n"
                               "GET /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ck_assert_uint_eq(status_of(answer), 404);
    const char *second = strstr(answer, "HTTP/1.1 200");
    ck_assert_ptr_nonnull(second);
    ck_assert_ptr_nonnull(strstr(second + 1, "HTTP/1.1 200"));
    stop();
}
END_TEST

START_TEST(an_answer_may_come_later)
{
    start();
    options.answer_ms = 60000;
    on_loop_do(open_admin);
    int fd = connected();
    send_text(fd, "GET /keep HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_until_kept();
    /* Somebody who waits disturbs nobody. */
    ck_assert_uint_eq(status_of(ask("GET", "/text", "")), 200);
    on_loop_do(answer_kept);
    const char *answer = receive_all(fd);
    ck_assert_uint_eq(status_of(answer), 200);
    ck_assert_ptr_nonnull(strstr(answer, "\"late\": 1"));
    close(fd);
    stop();
}
END_TEST

START_TEST(nobody_waits_for_ever_and_a_late_answer_goes_nowhere)
{
    start();
    on_loop_do(open_admin);
    const char *answer = ask("GET", "/keep", "");
    ck_assert_uint_eq(status_of(answer), 504);
    ck_assert_str_eq(member_of(answer, "code"), "TIMEOUT");
    on_loop_do(answer_kept);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "")), 200);
    stop();
}
END_TEST

START_TEST(a_client_that_left_is_answered_all_the_same)
{
    start();
    on_loop_do(open_admin);
    int fd = connected();
    send_text(fd, "GET /keep HTTP/1.1\r\nHost: x\r\n\r\n");
    wait_until_kept();
    close(fd);
    on_loop_do(answer_kept);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "")), 200);
    stop();
}
END_TEST

START_TEST(closing_ends_waiting_calls_and_their_answers_come_to_nothing)
{
    start();
    options.answer_ms = 60000;
    on_loop_do(open_admin);
    int fd = connected();
    send_text(fd, "GET /keep HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    wait_until_kept();
    on_loop_do(close_admin);
    const char *answer = receive_all(fd);
    ck_assert_uint_eq(status_of(answer), 503);
    close(fd);
    on_loop_do(answer_kept);
    stop();
}
END_TEST

START_TEST(strangers_need_the_token)
{
    start();
    options.token_always = true;
    on_loop_do(open_admin);
    const char *answer = ask("GET", "/text", "");
    ck_assert_uint_eq(status_of(answer), 401);
    ck_assert_str_eq(member_of(answer, "code"), "UNAUTHORIZED");
    ck_assert_ptr_nonnull(strstr(answer, "WWW-Authenticate: Bearer\r\n"));
    ck_assert_uint_eq(status_of(ask("GET", "/nothing", "")), 401);
    static const char *const wrong[] = {
        "Authorization: Bearer sesam\r\n",  "Authorization: Bearer sesamee\r\n",
        "Authorization: Bearer \r\n",       "Authorization: Basic sesame\r\n",
        "Authorization: Bearersesame\r\n",  "Authorization: \r\n",
        "Authorization: Bearer Sesame\r\n",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        ck_assert_uint_eq(status_of(ask("GET", "/text", wrong[i])), 401);
    }
    ck_assert_uint_eq(status_of(ask("GET", "/text", "Authorization: Bearer sesame\r\n")), 200);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "authorization: bearer sesame\r\n")), 200);
    ck_assert_uint_eq(status_of(ask("GET", "/open", "")), 200);
    stop();
}
END_TEST

START_TEST(without_a_token_strangers_are_never_let_in)
{
    start();
    options.token_always = true;
    options.token = NULL;
    on_loop_do(open_admin);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "Authorization: Bearer \r\n")), 401);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "Authorization: Bearer\r\n")), 401);
    stop();
}
END_TEST

/* More dead connections than there may be: they hold their places for idle_s, not for ever. */
START_TEST(garbage_on_the_port_disturbs_nobody)
{
    start();
    on_loop_do(open_admin);
    gv_rng_t rng;
    gv_rng_init(&rng, 20261121, 3);
    for (int i = 0; i < 30; i++) {
        uint8_t garbage[300];
        uint32_t size = gv_rng_below(&rng, sizeof(garbage)) + 1;
        gv_rng_fill(&rng, garbage, size);
        if (i % 3 == 0) {
            memcpy(garbage, "GET / HTTP/1.1\r\n", size < 16 ? size : 16);
        }
        int fd = connected();
        (void)send(fd, garbage, size, MSG_NOSIGNAL);
        close(fd);
    }
    /* An MQTT CONNECT, and a request head without an end. */
    int fd = connected();
    (void)send(fd, "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", 14, MSG_NOSIGNAL);
    close(fd);
    fd = connected();
    send_text(fd, "GET / HTTP/1.1\r\n");
    char header[] = "X-Padding: 0123456789012345678901234567890123456789\r\n";
    for (int i = 0; i < 2000 && send(fd, header, strlen(header), MSG_NOSIGNAL) > 0; i++) {
    }
    close(fd);
    ck_assert_uint_eq(status_of(ask("GET", "/text", "")), 200);
    stop();
}
END_TEST

/* libmicrohttpd alone would leave whoever waits outside until something else happens. */
START_TEST(when_the_house_is_full_the_next_comes_in_as_soon_as_one_leaves)
{
    start();
    options.idle_s = 60;
    on_loop_do(open_admin);
    int guests[8];
    for (size_t i = 0; i < 8; i++) {
        guests[i] = connected();
        send_text(guests[i], "GET /text HTTP/1.1\r\nHost: x\r\n\r\n");
        char first;
        ck_assert_int_eq(recv(guests[i], &first, 1, 0), 1);
    }
    int outside = connected();
    send_text(outside, "GET /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    usleep(50000);
    close(guests[0]);
    ck_assert_uint_eq(status_of(receive_all(outside)), 200);
    close(outside);
    for (size_t i = 1; i < 8; i++) {
        close(guests[i]);
    }
    stop();
}
END_TEST

static gv_err_t second_err;
static gv_error_text_t second_error;

static void open_second(void)
{
    gv_loop_assert_current(loop);
    gv_admin_t *second;
    char address[32];
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", (unsigned)gv_admin_port(admin));
    gv_admin_options_t again = {.address = address};
    second_err = gv_admin_open(loop, &again, &second, &second_error);
    ck_assert_ptr_null(second);
}

START_TEST(an_address_in_use_is_an_error_with_a_sentence)
{
    start();
    on_loop_do(open_admin);
    on_loop_do(open_second);
    ck_assert_int_eq(second_err, GV_ERR_BUSY);
    ck_assert_str_ne(second_error.text, "");
    stop();
}
END_TEST

START_TEST(odd_bytes_become_valid_json)
{
    json_t *text = gv_admin_json_text(GV_BYTES_LITERAL("plain \"\\\n\xC3\xA9"));
    ck_assert_str_eq(json_string_value(text), "plain \"\\\n\xC3\xA9");
    char *dumped = json_dumps(text, JSON_ENCODE_ANY);
    ck_assert_str_eq(dumped, "\"plain \\\"\\\\\\n\xC3\xA9\"");
    gv_free(dumped);
    json_decref(text);
    text = gv_admin_json_text(gv_bytes("a\0b", 3));
    ck_assert_uint_eq(json_string_length(text), 3);
    json_decref(text);
    text = gv_admin_json_text(GV_BYTES_LITERAL("bad \xC3("));
    ck_assert_str_eq(json_string_value(text), "bad \\xc3(");
    json_decref(text);
    text = gv_admin_json_text(GV_BYTES_EMPTY);
    ck_assert_str_eq(json_string_value(text), "");
    json_decref(text);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("admin");
    tcase_add_test(tc, routes_answer_and_the_index_lists_them);
    tcase_add_test(tc, wrong_paths_and_methods_are_told_in_json);
    tcase_add_test(tc, web_pages_may_look_but_not_touch);
    tcase_add_test(tc, bodies_are_taken_up_to_the_limit);
    tcase_add_test(tc, one_connection_serves_several_requests);
    tcase_add_test(tc, an_answer_may_come_later);
    tcase_add_test(tc, nobody_waits_for_ever_and_a_late_answer_goes_nowhere);
    tcase_add_test(tc, a_client_that_left_is_answered_all_the_same);
    tcase_add_test(tc, closing_ends_waiting_calls_and_their_answers_come_to_nothing);
    tcase_add_test(tc, strangers_need_the_token);
    tcase_add_test(tc, without_a_token_strangers_are_never_let_in);
    tcase_add_test(tc, garbage_on_the_port_disturbs_nobody);
    tcase_add_test(tc, when_the_house_is_full_the_next_comes_in_as_soon_as_one_leaves);
    tcase_add_test(tc, an_address_in_use_is_an_error_with_a_sentence);
    tcase_add_test(tc, odd_bytes_become_valid_json);
    tcase_set_timeout(tc, 30);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
