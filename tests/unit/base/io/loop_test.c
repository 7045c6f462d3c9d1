/* SPDX-License-Identifier: Apache-2.0 */
#include "base/io/loop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

#include "tests/unit/base/io/loop_fixture.h"

/* What happened, in order: one letter per event. */
static char story[256];

static void tell(char event)
{
    size_t size = strlen(story);
    GV_ASSERT(size + 1 < sizeof(story));
    story[size] = event;
    story[size + 1] = '\0';
}

typedef struct errand {
    gv_letter_t letter;
    gv_job_t job;
    gv_timer_t timer;
    gv_loop_t *loop;
    char event;
    int left;
} errand_t;

static gv_loop_t *loop;

static gv_loop_t *new_loop(void)
{
    gv_loop_t *made = NULL;
    ck_assert_int_eq(gv_loop_new(NULL, &made), GV_OK);
    return made;
}

static void on_told_job(gv_job_t *job)
{
    tell(gv_container_of(job, errand_t, job)->event);
}

static void on_told_letter(gv_letter_t *letter)
{
    tell(gv_container_of(letter, errand_t, letter)->event);
}

/* ---- life ----------------------------------------------------------------------------------- */

START_TEST(loop_that_never_ran_can_be_freed)
{
    loop = new_loop();
    errand_t errand = {.letter.deliver = on_told_letter, .event = 'L'};
    gv_loop_send(loop, &errand.letter);
    gv_loop_free(&loop);
    ck_assert_ptr_null(loop);
    ck_assert_str_eq(story, "L"); /* letters are delivered, or what they carry would leak */
    gv_loop_free(&loop);
}
END_TEST

START_TEST(stop_before_run_ends_the_run_at_once)
{
    loop = new_loop();
    gv_loop_stop(loop);
    gv_loop_stop(loop);
    gv_loop_run(loop);
    ck_assert(gv_loop_is_stopping(loop));
    gv_loop_free(&loop);
}
END_TEST

START_TEST(stop_before_free_of_a_loop_that_never_ran)
{
    loop = new_loop();
    gv_loop_stop(loop);
    gv_loop_free(&loop);
}
END_TEST

static void on_find_stopping(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    gv_loop_assert_current(errand->loop);
    tell(gv_loop_is_stopping(errand->loop) ? 's' : '?');
}

START_TEST(late_letters_are_delivered_and_find_the_loop_stopping)
{
    loop = started_loop(3);
    ck_assert_uint_eq(gv_loop_index(loop), 3);
    ck_assert_str_eq(gv_loop_name(loop), "test");
    gv_loop_stop(loop);
    gv_loop_join(loop);
    errand_t errand = {.letter.deliver = on_find_stopping, .loop = loop};
    gv_loop_send(loop, &errand.letter);
    gv_loop_free(&loop);
    ck_assert_str_eq(story, "s");
}
END_TEST

static void send_again(gv_letter_t *letter)
{
    errand_t *errand = gv_container_of(letter, errand_t, letter);
    if (errand->left-- > 0) {
        gv_loop_send(errand->loop, letter);
    }
}

START_TEST(letters_that_beget_letters_do_not_keep_a_loop_from_ending)
{
    loop = started_loop(0);
    errand_t errand = {.letter.deliver = send_again, .loop = loop, .left = 100000};
    gv_loop_send(loop, &errand.letter);
    end_loop(&loop);
    ck_assert_int_eq(errand.left, -1); /* gv_loop_free() has seen it to its end */
}
END_TEST

static void note_current(gv_loop_t *on, void *arg)
{
    *(bool *)arg = gv_loop_current() == on;
}

START_TEST(each_thread_knows_its_loop)
{
    bool is_current = false;
    int data = 7;
    loop = new_loop();
    gv_loop_set_data(loop, &data);
    ck_assert_int_eq(gv_loop_start(loop), GV_OK);
    ck_assert_ptr_null(gv_loop_current());
    call_on(loop, note_current, &is_current);
    ck_assert(is_current);
    ck_assert_ptr_eq(gv_loop_data(loop), &data);
    end_loop(&loop);
}
END_TEST

START_TEST(use_from_another_thread_aborts)
{
    loop = started_loop(0);
    gv_loop_assert_current(loop);
}
END_TEST

/* ---- the turn ------------------------------------------------------------------------------- */

static void defer_more(gv_job_t *job)
{
    errand_t *errand = gv_container_of(job, errand_t, job);
    gv_loop_assert_current(errand->loop);
    tell(errand->event);
    if (errand->left-- > 0) {
        gv_loop_defer(errand->loop, job);
        gv_loop_defer(errand->loop, job); /* is waiting already */
    } else {
        gv_loop_stop(errand->loop);
    }
}

static void start_turn(gv_letter_t *letter)
{
    errand_t *jobs = gv_container_of(letter, errand_t, letter);
    gv_loop_assert_current(loop);
    tell('L');
    gv_loop_on_turn_end(loop, &jobs[2].job);
    gv_loop_defer(loop, &jobs[0].job);
    gv_loop_defer(loop, &jobs[1].job);
    gv_loop_defer(loop, &jobs[3].job);
    gv_job_cancel(&jobs[3].job);
}

START_TEST(letters_then_jobs_then_hooks_and_deferred_again_means_next_turn)
{
    loop = new_loop();
    errand_t jobs[4] = {
        {.letter.deliver = start_turn}, {.event = 'b'}, {.event = '.'}, {.event = 'x'}};
    for (int i = 0; i < 4; i++) {
        jobs[i].loop = loop;
        jobs[i].job.run = on_told_job;
    }
    jobs[0].event = 'a';
    jobs[0].left = 2;
    jobs[0].job.run = defer_more;
    gv_loop_send(loop, &jobs[0].letter);
    gv_loop_run(loop);
    story[8] = '\0'; /* what the turns of stopping add is of no interest */
    ck_assert_str_eq(story, "Lab.a.a.");
    gv_loop_free(&loop);
}
END_TEST

static void on_timer(gv_timer_t *timer)
{
    errand_t *errand = gv_container_of(timer, errand_t, timer);
    gv_loop_assert_current(errand->loop);
    tell(errand->event);
    if (errand->left == 0) {
        gv_loop_stop(errand->loop);
    }
}

static void start_timers(gv_letter_t *letter)
{
    errand_t *errands = gv_container_of(letter, errand_t, letter);
    gv_loop_assert_current(loop);
    static const uint64_t after_ms[] = {60, 10, 30, 20};
    for (int i = 0; i < 4; i++) {
        gv_timer_init(&errands[i].timer, on_timer);
        gv_loop_timer_start(loop, &errands[i].timer, after_ms[i]);
    }
    gv_timer_stop(&errands[2].timer);
}

START_TEST(timers_fire_in_time_and_the_loop_sleeps_meanwhile)
{
    loop = new_loop();
    errand_t errands[4] = {{.event = 'd'},
                           {.event = 'a', .left = 1},
                           {.event = 'x', .left = 1},
                           {.event = 'b', .left = 1}};
    for (int i = 0; i < 4; i++) {
        errands[i].loop = loop;
    }
    errands[0].letter.deliver = start_timers;
    gv_loop_send(loop, &errands[0].letter);
    uint64_t before = now_ms();
    gv_loop_run(loop);
    ck_assert_uint_ge(now_ms() - before, 59);
    ck_assert_str_eq(story, "abd");
    ck_assert_uint_lt(gv_counter_get(&gv_loop_stats(loop)->turns), 30);
    gv_loop_free(&loop);
}
END_TEST

static void keep_busy(gv_loop_t *on, void *arg)
{
    (void)on;
    (void)arg;
    uint64_t until = now_ms() + 50;
    while (now_ms() < until) {
    }
}

static void look_at_nothing(gv_loop_t *on, void *arg)
{
    (void)on;
    (void)arg;
}

START_TEST(lag_shows_a_long_turn_and_decays)
{
    loop = started_loop(0);
    call_on(loop, keep_busy, NULL);
    call_on(loop, look_at_nothing, NULL);
    const gv_loop_stats_t *stats = gv_loop_stats(loop);
    uint64_t lag_ns = gv_counter_get(&stats->lag_ns);
    ck_assert_uint_ge(lag_ns, 30000000);
    ck_assert_uint_ge(gv_histogram_quantile(&stats->turn_ns, 1000), 40000000);
    for (int i = 0; i < 20; i++) {
        call_on(loop, look_at_nothing, NULL);
    }
    ck_assert_uint_lt(gv_counter_get(&stats->lag_ns), lag_ns / 2);
    end_loop(&loop);
}
END_TEST

/* A letter flood is taken in pieces, so that sockets and timers get their turn. */
START_TEST(letters_over_the_budget_wait_for_the_next_turn)
{
    gv_loop_options_t options = {.letters_per_turn = 10};
    ck_assert_int_eq(gv_loop_new(&options, &loop), GV_OK);
    errand_t errands[95];
    for (int i = 0; i < 95; i++) {
        errands[i] = (errand_t){.letter.deliver = on_told_letter, .event = 'L'};
        gv_loop_send(loop, &errands[i].letter);
    }
    gv_loop_stop(loop);
    gv_loop_run(loop);
    ck_assert_uint_eq(strlen(story), 95);
    ck_assert_uint_ge(gv_counter_get(&gv_loop_stats(loop)->turns), 10);
    gv_loop_free(&loop);
}
END_TEST

static void use_signal(gv_loop_t *on, void *arg)
{
    static uv_signal_t foreign;
    (void)arg;
    gv_loop_assert_current(on);
    GV_ASSERT(uv_signal_init(gv_loop_uv(on), &foreign) == 0);
}

START_TEST(stopping_closes_foreign_handles_too)
{
    loop = started_loop(0);
    call_on(loop, use_signal, NULL);
    end_loop(&loop);
}
END_TEST

int main(void)
{
    TCase *tc = tcase_create("loop");
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, loop_that_never_ran_can_be_freed);
    tcase_add_test(tc, stop_before_run_ends_the_run_at_once);
    tcase_add_test(tc, stop_before_free_of_a_loop_that_never_ran);
    tcase_add_test(tc, late_letters_are_delivered_and_find_the_loop_stopping);
    tcase_add_test(tc, letters_that_beget_letters_do_not_keep_a_loop_from_ending);
    tcase_add_test(tc, each_thread_knows_its_loop);
    tcase_add_test_raise_signal(tc, use_from_another_thread_aborts, SIGABRT);
    tcase_add_test(tc, letters_then_jobs_then_hooks_and_deferred_again_means_next_turn);
    tcase_add_test(tc, timers_fire_in_time_and_the_loop_sleeps_meanwhile);
    tcase_add_test(tc, lag_shows_a_long_turn_and_decays);
    tcase_add_test(tc, letters_over_the_budget_wait_for_the_next_turn);
    tcase_add_test(tc, stopping_closes_foreign_handles_too);
    Suite *suite = suite_create("base/io");
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
