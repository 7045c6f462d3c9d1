/* SPDX-License-Identifier: Apache-2.0 */
#include "base/timerwheel.h"

#include "base/alloc.h"

/*
 * Read a deadline as digits of base 64.  A timer waits on the level of the highest digit in which
 * its deadline differs from the wheel's time, in the slot with that digit of the deadline:
 *
 *     level 0   64 slots of 1 ms        same 64 ms as now
 *     level 1   64 slots of 64 ms       same 4 s
 *     ...
 *     level 5   64 slots of 12 days     same 2 years
 *     far       one list                everything later
 *
 * That holds at every moment: when the wheel's time reaches the first millisecond of a slot, the
 * slot's timers move down (or are due), before anything else happens.  Three things follow.
 *   - Where a timer is can be computed from its deadline: stopping needs no search.
 *   - Used slots are always ahead of now's digit: the lowest bit of a level's bitmap is the next.
 *   - Timers of the same deadline are always in the same list, in the order they were started.
 */

#define LEVELS     6U
#define DIGIT_BITS 6U
#define SLOTS      (1U << DIGIT_BITS)
#define FAR_SHIFT  (LEVELS * DIGIT_BITS)

typedef struct level {
    uint64_t used; /* bit n: slot n has timers */
    gv_list_t slot[SLOTS];
} level_t;

struct gv_timerwheel {
    uint64_t now_ms;
    bool firing;
    gv_list_t due; /* deadline not after now_ms */
    gv_list_t far;
    level_t level[LEVELS];
};

_Static_assert(sizeof(gv_timer_t) <= 40, "the header promises it");

static unsigned digit_at(uint64_t ms, unsigned level)
{
    return (unsigned)(ms >> (level * DIGIT_BITS)) & (SLOTS - 1);
}

/* Only for a deadline that is not `far` and not `due`. */
static unsigned level_of(const gv_timerwheel_t *wheel, uint64_t at_ms)
{
    return (63U - (unsigned)__builtin_clzll(at_ms ^ wheel->now_ms)) / DIGIT_BITS;
}

static bool is_far(const gv_timerwheel_t *wheel, uint64_t at_ms)
{
    return (at_ms ^ wheel->now_ms) >> FAR_SHIFT != 0;
}

static void put(gv_timerwheel_t *wheel, gv_timer_t *timer)
{
    uint64_t at_ms = timer->_at_ms;
    if (at_ms <= wheel->now_ms) {
        gv_list_append(&wheel->due, &timer->_link);
    } else if (is_far(wheel, at_ms)) {
        gv_list_append(&wheel->far, &timer->_link);
    } else {
        level_t *level = &wheel->level[level_of(wheel, at_ms)];
        unsigned slot = digit_at(at_ms, level_of(wheel, at_ms));
        gv_list_append(&level->slot[slot], &timer->_link);
        level->used |= (uint64_t)1 << slot;
    }
}

static void take_out(gv_timerwheel_t *wheel, gv_timer_t *timer)
{
    uint64_t at_ms = timer->_at_ms;
    gv_list_remove(&timer->_link);
    if (at_ms <= wheel->now_ms || is_far(wheel, at_ms)) {
        return;
    }
    level_t *level = &wheel->level[level_of(wheel, at_ms)];
    unsigned slot = digit_at(at_ms, level_of(wheel, at_ms));
    if (gv_list_is_empty(&level->slot[slot])) {
        level->used &= ~((uint64_t)1 << slot);
    }
}

/* Puts every timer of a list again, in its order, after the wheel's time has changed. */
static void put_again(gv_timerwheel_t *wheel, gv_list_t *list)
{
    gv_list_t moving;
    gv_list_init(&moving);
    gv_list_splice(&moving, list);
    for (gv_link_t *link; (link = gv_list_take_first(&moving)) != NULL;) {
        put(wheel, gv_container_of(link, gv_timer_t, _link));
    }
}

/*
 * The lowest level with a timer, and in *at_ms when its first slot begins; lower levels begin
 * sooner than higher ones.  LEVELS stands for `far`, LEVELS + 1 for none (*at_ms is UINT64_MAX).
 */
static unsigned next_level(const gv_timerwheel_t *wheel, uint64_t *at_ms)
{
    for (unsigned i = 0; i < LEVELS; i++) {
        if (wheel->level[i].used != 0) {
            unsigned slot = (unsigned)__builtin_ctzll(wheel->level[i].used);
            uint64_t above = wheel->now_ms >> ((i + 1) * DIGIT_BITS);
            *at_ms = (above << DIGIT_BITS | slot) << (i * DIGIT_BITS);
            return i;
        }
    }
    if (!gv_list_is_empty(&wheel->far)) {
        *at_ms = ((wheel->now_ms >> FAR_SHIFT) + 1) << FAR_SHIFT;
        return LEVELS;
    }
    *at_ms = UINT64_MAX;
    return LEVELS + 1;
}

/* When the first far timer is far no more. */
static uint64_t far_begins_ms(const gv_timerwheel_t *wheel)
{
    uint64_t first_ms = UINT64_MAX;
    gv_list_foreach (&wheel->far, link) {
        uint64_t at_ms = gv_container_of(link, gv_timer_t, _link)->_at_ms;
        first_ms = at_ms < first_ms ? at_ms : first_ms;
    }
    return first_ms >> FAR_SHIFT << FAR_SHIFT;
}

/* Moves the wheel's time; what has become due is on the due list afterwards, earliest first. */
static void move_to(gv_timerwheel_t *wheel, uint64_t now_ms)
{
    for (;;) {
        uint64_t at_ms;
        unsigned i = next_level(wheel, &at_ms);
        if (i == LEVELS && at_ms <= now_ms) {
            /* Once in two years it may look at them all; or one leap would be many little steps. */
            at_ms = far_begins_ms(wheel);
        }
        if (i > LEVELS || at_ms > now_ms) {
            wheel->now_ms = now_ms;
            return;
        }
        wheel->now_ms = at_ms;
        if (i == LEVELS) {
            put_again(wheel, &wheel->far);
        } else {
            unsigned slot = digit_at(at_ms, i);
            wheel->level[i].used &= ~((uint64_t)1 << slot);
            put_again(wheel, &wheel->level[i].slot[slot]);
        }
    }
}

void gv_timerwheel_new(uint64_t now_ms, gv_timerwheel_t **wheel_out)
{
    GV_ASSERT(wheel_out != NULL);
    gv_timerwheel_t *wheel = GV_NEW(gv_timerwheel_t);
    wheel->now_ms = now_ms;
    gv_list_init(&wheel->due);
    gv_list_init(&wheel->far);
    for (unsigned i = 0; i < LEVELS; i++) {
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            gv_list_init(&wheel->level[i].slot[slot]);
        }
    }
    *wheel_out = wheel;
}

static void stop_all(gv_list_t *list)
{
    for (gv_link_t *link; (link = gv_list_take_first(list)) != NULL;) {
        gv_container_of(link, gv_timer_t, _link)->_wheel = NULL;
    }
}

void gv_timerwheel_free(gv_timerwheel_t **wheelp)
{
    GV_ASSERT(wheelp != NULL);
    gv_timerwheel_t *wheel = *wheelp;
    *wheelp = NULL;
    if (wheel == NULL) {
        return;
    }
    GV_ASSERT(!wheel->firing);
    stop_all(&wheel->due);
    stop_all(&wheel->far);
    for (unsigned i = 0; i < LEVELS; i++) {
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            stop_all(&wheel->level[i].slot[slot]);
        }
    }
    gv_free(wheel);
}

uint32_t gv_timerwheel_advance(gv_timerwheel_t *wheel, uint64_t now_ms)
{
    GV_ASSERT(now_ms >= wheel->now_ms);
    GV_ASSERT(!wheel->firing);
    move_to(wheel, now_ms);

    /* A list of its own: what callbacks start for now waits, or a timer could keep us for ever. */
    gv_list_t firing;
    gv_list_init(&firing);
    gv_list_splice(&firing, &wheel->due);
    wheel->firing = true;
    uint32_t fired = 0;
    for (gv_link_t *link; (link = gv_list_take_first(&firing)) != NULL;) {
        gv_timer_t *timer = gv_container_of(link, gv_timer_t, _link);
        timer->_wheel = NULL;
        timer->_on_expired(timer);
        fired++;
    }
    wheel->firing = false;
    return fired;
}

uint64_t gv_timerwheel_next_ms(const gv_timerwheel_t *wheel, uint64_t now_ms)
{
    if (!gv_list_is_empty(&wheel->due)) {
        return 0;
    }
    uint64_t at_ms;
    if (next_level(wheel, &at_ms) > LEVELS) {
        return UINT64_MAX;
    }
    return at_ms > now_ms ? at_ms - now_ms : 0;
}

void gv_timer_init(gv_timer_t *timer, gv_timer_cb_t *on_expired)
{
    GV_ASSERT(timer != NULL);
    GV_ASSERT(on_expired != NULL);
    *timer = (gv_timer_t){._on_expired = on_expired};
}

void gv_timer_start(gv_timerwheel_t *wheel, gv_timer_t *timer, uint64_t at_ms)
{
    GV_ASSERT(wheel != NULL);
    GV_ASSERT(timer->_on_expired != NULL);
    GV_ASSERT(timer->_wheel == NULL || timer->_wheel == wheel);
    gv_timer_stop(timer);
    timer->_wheel = wheel;
    timer->_at_ms = at_ms;
    put(wheel, timer);
}

void gv_timer_stop(gv_timer_t *timer)
{
    if (timer->_wheel != NULL) {
        take_out(timer->_wheel, timer);
        timer->_wheel = NULL;
    }
}
