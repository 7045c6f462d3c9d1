/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/poller.h"

#include <stdlib.h>
#include <unistd.h>

#include <check.h>
#include <sys/socket.h>

static gv_poller_t poller;

/* Both ends of a connection; the first one is watched. */
typedef struct line {
    gv_watch_t watch;
    int other_fd;
    uint32_t told; /* events, since the last look */
    unsigned times;
    struct line *ends; /* the callback ends this one's watch */
} line_t;

static void on_ready(gv_watch_t *watch, uint32_t events)
{
    line_t *line = gv_container_of(watch, line_t, watch);
    line->told |= events;
    line->times++;
    if (line->ends != NULL) {
        gv_watch_end(&poller, &line->ends->watch);
    }
}

static void open_line(line_t *line)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *line = (line_t){.other_fd = fds[1]};
    gv_watch_init(&line->watch, fds[0], on_ready);
}

static void close_line(line_t *line)
{
    gv_watch_end(&poller, &line->watch);
    (void)close(line->watch.fd);
    (void)close(line->other_fd);
}

static void say_something(const line_t *line)
{
    ck_assert_int_eq(write(line->other_fd, "x", 1), 1);
}

/* What one wait that does not block tells about a line. */
static uint32_t look(line_t *line)
{
    line->told = 0;
    line->times = 0;
    gv_poller_wait(&poller, 0);
    gv_poller_tell(&poller);
    return line->told;
}

static void set_up(void)
{
    ck_assert_int_eq(gv_poller_open(&poller), GV_OK);
}

static void tear_down(void)
{
    gv_poller_close(&poller);
}

START_TEST(only_what_is_asked_for_is_told_and_told_again)
{
    line_t line;
    open_line(&line);
    say_something(&line);
    ck_assert_uint_eq(look(&line), 0);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_IN), GV_OK);
    ck_assert_uint_eq(look(&line), GV_POLL_IN);
    ck_assert_uint_eq(look(&line), GV_POLL_IN);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_OUT), GV_OK);
    ck_assert_uint_eq(look(&line), GV_POLL_OUT);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_IN | GV_POLL_OUT), GV_OK);
    ck_assert_uint_eq(look(&line), GV_POLL_IN | GV_POLL_OUT);
    ck_assert_uint_eq(line.times, 1);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, 0), GV_OK);
    ck_assert_uint_eq(look(&line), 0);
    close_line(&line);
}
END_TEST

START_TEST(what_is_to_be_told_once_is_told_again_when_it_happens_again)
{
    line_t line;
    open_line(&line);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_IN | GV_POLL_ONCE), GV_OK);
    say_something(&line);
    ck_assert_uint_eq(look(&line), GV_POLL_IN);
    ck_assert_uint_eq(look(&line), 0);
    say_something(&line);
    ck_assert_uint_eq(look(&line), GV_POLL_IN);
    close_line(&line);
}
END_TEST

START_TEST(a_peer_that_hangs_up_makes_all_ready_that_was_asked_for)
{
    line_t line;
    open_line(&line);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_IN), GV_OK);
    (void)shutdown(line.other_fd, SHUT_RDWR);
    ck_assert_uint_eq(look(&line), GV_POLL_IN);
    ck_assert_uint_eq(gv_watch_events(&line.watch), GV_POLL_IN);
    close_line(&line);
}
END_TEST

START_TEST(an_error_is_told_once_and_ends_the_watch)
{
    /* The reading end of a pipe is gone: EPOLLERR at the writing one. */
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    line_t line = {.other_fd = -1};
    gv_watch_init(&line.watch, fds[1], on_ready);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_OUT), GV_OK);
    (void)close(fds[0]);
    ck_assert_uint_eq(look(&line), GV_POLL_ERROR);
    ck_assert_uint_eq(gv_watch_events(&line.watch), 0);
    ck_assert_uint_eq(look(&line), 0);
    (void)close(fds[1]);
}
END_TEST

/* Both have something; whoever is told first ends the other. */
START_TEST(a_callback_may_end_a_watch_that_has_events_waiting)
{
    line_t one;
    line_t two;
    open_line(&one);
    open_line(&two);
    one.ends = &two;
    two.ends = &one;
    ck_assert_int_eq(gv_watch_set(&poller, &one.watch, GV_POLL_IN), GV_OK);
    ck_assert_int_eq(gv_watch_set(&poller, &two.watch, GV_POLL_IN), GV_OK);
    say_something(&one);
    say_something(&two);
    (void)look(&one);
    ck_assert_uint_eq(one.times + two.times, 1);
    close_line(&one);
    close_line(&two);
}
END_TEST

START_TEST(closing_ends_a_watch)
{
    line_t line;
    open_line(&line);
    ck_assert_int_eq(gv_watch_set(&poller, &line.watch, GV_POLL_IN), GV_OK);
    say_something(&line);
    gv_poller_wait(&poller, 0);
    gv_watch_close(&poller, &line.watch);
    ck_assert_int_eq(line.watch.fd, -1);
    gv_poller_tell(&poller);
    ck_assert_uint_eq(line.times, 0);
    ck_assert_uint_eq(look(&line), 0);
    (void)close(line.other_fd);
}
END_TEST

START_TEST(more_than_a_batch_is_told_in_turns)
{
    enum {
        LINES = GV_POLL_BATCH + 10
    };
    static line_t lines[LINES];
    for (int i = 0; i < LINES; i++) {
        open_line(&lines[i]);
        ck_assert_int_eq(gv_watch_set(&poller, &lines[i].watch, GV_POLL_IN), GV_OK);
        say_something(&lines[i]);
    }
    for (int turn = 0; turn < 2; turn++) {
        gv_poller_wait(&poller, 0);
        gv_poller_tell(&poller);
    }
    for (int i = 0; i < LINES; i++) {
        ck_assert_uint_ge(lines[i].times, 1);
        close_line(&lines[i]);
    }
}
END_TEST

START_TEST(what_cannot_be_watched_is_an_error)
{
    char path[] = "/tmp/grapevine-poller-XXXXXX";
    gv_watch_t watch;
    gv_watch_init(&watch, mkstemp(path), on_ready);
    (void)unlink(path);
    ck_assert_int_eq(gv_watch_set(&poller, &watch, GV_POLL_IN), GV_ERR_IO);
    ck_assert_uint_eq(gv_watch_events(&watch), 0);
    (void)close(watch.fd);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("poller");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, only_what_is_asked_for_is_told_and_told_again);
    tcase_add_test(tc, what_is_to_be_told_once_is_told_again_when_it_happens_again);
    tcase_add_test(tc, a_peer_that_hangs_up_makes_all_ready_that_was_asked_for);
    tcase_add_test(tc, an_error_is_told_once_and_ends_the_watch);
    tcase_add_test(tc, a_callback_may_end_a_watch_that_has_events_waiting);
    tcase_add_test(tc, closing_ends_a_watch);
    tcase_add_test(tc, more_than_a_batch_is_told_in_turns);
    tcase_add_test(tc, what_cannot_be_watched_is_an_error);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
