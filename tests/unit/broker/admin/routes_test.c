/* SPDX-License-Identifier: Apache-2.0 */
#include "broker/admin/routes.h"

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <check.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/broker/admin/status_sample.h"

static gv_loop_t *loop;
static gv_admin_t *admin;
static uint16_t port;

/* ---- a source that gathers at once, or a turn later --------------------------------------- */

static gv_status_t current;
static bool is_slow;
static gv_job_t later;
static gv_status_gathered_cb_t *waiting_cb;
static void *waiting_arg;

static void on_later(gv_job_t *job)
{
    (void)job;
    waiting_cb(&current, waiting_arg);
}

static void gather(void *source_arg, gv_status_gathered_cb_t *on_gathered, void *arg)
{
    gv_loop_assert_current(loop);
    ck_assert_str_eq(source_arg, "source");
    if (!is_slow) {
        on_gathered(&current, arg);
        return;
    }
    waiting_cb = on_gathered;
    waiting_arg = arg;
    gv_loop_defer(loop, &later);
}

static const gv_status_source_t source = {.gather = gather, .arg = (void *)(uintptr_t) "source"};

/* ---- the client --------------------------------------------------------------------------- */

static void expect(const char *path, const char *status, const char *part)
{
    char answer[32768];
    size_t size = 0;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int size_sent = snprintf(answer, sizeof(answer),
                             "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(send(fd, answer, (size_t)size_sent, MSG_NOSIGNAL), size_sent);
    ssize_t got;
    while ((got = recv(fd, answer + size, sizeof(answer) - 1 - size, 0)) > 0) {
        size += (size_t)got;
    }
    answer[size] = '\0';
    close(fd);
    ck_assert_msg(strncmp(answer + strlen("HTTP/1.1 "), status, 3) == 0 &&
                      strstr(answer, part) != NULL,
                  "%s: expected %s with %s, got\n%s", path, status, part, answer);
}

/* ---- the server on its loop --------------------------------------------------------------- */

typedef struct errand {
    gv_letter_t letter;
    void (*run)(void);
    sem_t done;
} errand_t;

static void on_errand(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    errand->run();
    sem_post(&errand->done);
}

static void on_loop_do(void (*run)(void))
{
    errand_t errand = {.letter = {.deliver = on_errand}, .run = run};
    sem_init(&errand.done, 0, 0);
    gv_loop_send(loop, &errand.letter);
    sem_wait(&errand.done);
    sem_destroy(&errand.done);
}

static void open_admin(void)
{
    gv_loop_assert_current(loop);
    gv_error_text_t error;
    const gv_admin_options_t options = {.address = "127.0.0.1:0"};
    ck_assert_int_eq(gv_admin_open(loop, &options, &admin, &error), GV_OK);
    gv_admin_add_status_routes(admin, &source);
    port = gv_admin_port(admin);
    current = sample;
    later.run = on_later;
}

static void become_slow(void)
{
    is_slow = true;
}

static void become_ready(void)
{
    current.not_ready_count = 0;
}

static void close_admin(void)
{
    gv_loop_assert_current(loop);
    gv_admin_close(&admin);
}

START_TEST(every_endpoint_answers_at_once_and_later)
{
    ck_assert_int_eq(gv_loop_new(NULL, &loop), GV_OK);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
    on_loop_do(open_admin);
    expect("/livez", "200", "\"alive\": true");
    expect("/readyz", "503", "tables are not synced");
    expect("/metrics", "200", "\ngrapevine_connections 3\n");
    expect("/metrics", "200", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect("/api/v1/status", "200", "\"uptime_ms\": 61500");
    expect("/api/v1/nodes", "200", "\"node_status\": \"suspect\"");
    expect("/api/v1/cluster", "200", "\"table_hash\": \"fedcba9876543210\"");
    expect("/", "200", "/api/v1/cluster");
    on_loop_do(become_slow);
    expect("/readyz", "503", "tables are not synced");
    expect("/api/v1/status", "200", "\"uptime_ms\": 61500");
    on_loop_do(become_ready);
    expect("/readyz", "200", "\"ready\": true");
    on_loop_do(close_admin);
    gv_loop_stop(loop);
    gv_loop_join(loop);
    gv_loop_free(&loop);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("routes");
    tcase_add_test(tc, every_endpoint_answers_at_once_and_later);
    tcase_set_timeout(tc, 30);

    Suite *suite = suite_create("broker");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
