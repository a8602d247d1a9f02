/* SPDX-License-Identifier: MIT */
/* Timers fire when their nanosecond has come, in order, and the wheel says when to come back. */
#include "base/random.h"
#include "base/timer_wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#define MS     INT64_C(1000000)
#define SECOND (1000 * MS)
#define YEAR   (365 * 24 * 3600 * SECOND)

enum { FIRED_MAX = 4096, MODEL_TIMERS = 300 };

static struct {
    struct dk_timer *timers[FIRED_MAX];
    int64_t due[FIRED_MAX];
    int n;
} fired;

static struct dk_wheel wheel;

static void note(struct dk_timer *timer, int64_t now)
{
    assert_true(timer->due <= now);
    assert_false(dk_timer_is_running(timer));
    assert_true(fired.n < FIRED_MAX);
    fired.due[fired.n] = timer->due;
    fired.timers[fired.n++] = timer;
}

static int start(void **state)
{
    (void)state;
    dk_wheel_init(&wheel, 1000 * SECOND);
    fired.n = 0;
    return 0;
}

static void test_timer_wheel_without_timers_is_never_due(void **state)
{
    (void)state;
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
    dk_wheel_advance(&wheel, 1000 * SECOND);
    dk_wheel_advance(&wheel, 5000 * SECOND);
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
}

/* From the same tick to the end of time: each distance is in another level. */
static void test_timer_at_any_distance_fires_at_its_nanosecond(void **state)
{
    (void)state;
    static const int64_t distances[] = {0,        1,          1000,          MS,
                                        2 * MS,   63 * MS,    67108863,      67108864,
                                        200 * MS, 4 * SECOND, 5 * SECOND,    7200 * SECOND,
                                        YEAR,     100 * YEAR, 2 * 3600 * MS, 40 * MS};
    struct dk_timer timer;
    int64_t now = 1000 * SECOND;
    dk_timer_init(&timer, note);
    for (size_t i = 0; i < sizeof(distances) / sizeof(distances[0]); i++) {
        int64_t due = now + distances[i];
        dk_timer_start(&wheel, &timer, due);
        assert_true(dk_wheel_next_due(&wheel) == due);
        if (distances[i] > 0)
            dk_wheel_advance(&wheel, due - 1);
        assert_int_equal(fired.n, (int)i);
        assert_true(dk_timer_is_running(&timer));
        assert_true(dk_wheel_next_due(&wheel) == due);
        dk_wheel_advance(&wheel, due);
        assert_int_equal(fired.n, (int)i + 1);
        assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
        now = due;
    }
}

static void test_timer_at_the_end_of_time_waits(void **state)
{
    (void)state;
    struct dk_timer never, last;
    dk_timer_init(&never, note);
    dk_timer_init(&last, note);
    dk_timer_start(&wheel, &never, INT64_MAX);
    dk_timer_start(&wheel, &last, INT64_MAX - 1);
    dk_wheel_advance(&wheel, 200 * YEAR);
    assert_int_equal(fired.n, 0);
    dk_wheel_advance(&wheel, INT64_MAX - 1);
    assert_int_equal(fired.n, 1);
    assert_ptr_equal(fired.timers[0], &last);
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
}

static void test_timer_in_the_past_fires_at_the_next_advance(void **state)
{
    (void)state;
    struct dk_timer timers[3];
    static const int64_t due[] = {999 * SECOND, -5, 0};
    for (int i = 0; i < 3; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], due[i]);
    }
    assert_true(dk_wheel_next_due(&wheel) == -5);
    dk_wheel_advance(&wheel, 1000 * SECOND);
    assert_int_equal(fired.n, 3);
    assert_ptr_equal(fired.timers[0], &timers[1]);
    assert_ptr_equal(fired.timers[1], &timers[2]);
    assert_ptr_equal(fired.timers[2], &timers[0]);
}

static void test_timers_of_one_tick_fire_in_order_of_due_then_start(void **state)
{
    (void)state;
    enum { N = 100 };
    struct dk_timer timers[N];
    int64_t base = 1000 * SECOND + 500 * MS;
    for (int i = 0; i < N; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], base + i * 37 % 10);
    }
    dk_wheel_advance(&wheel, base + 4);
    assert_int_equal(fired.n, N / 2);
    dk_wheel_advance(&wheel, base + SECOND);
    assert_int_equal(fired.n, N);
    for (int i = 1; i < N; i++) {
        assert_true(fired.due[i - 1] <= fired.due[i]);
        if (fired.due[i - 1] == fired.due[i])
            assert_true(fired.timers[i - 1] < fired.timers[i]);
    }
}

static void test_timer_started_again_fires_once_at_the_new_time(void **state)
{
    (void)state;
    struct dk_timer timer;
    dk_timer_init(&timer, note);
    dk_timer_start(&wheel, &timer, 1001 * SECOND);
    dk_timer_start(&wheel, &timer, 1003 * SECOND);
    dk_wheel_advance(&wheel, 1002 * SECOND);
    assert_int_equal(fired.n, 0);
    dk_timer_start(&wheel, &timer, 1002 * SECOND + 1);
    dk_wheel_advance(&wheel, 1010 * SECOND);
    assert_int_equal(fired.n, 1);
    assert_true(fired.due[0] == 1002 * SECOND + 1);
}

static void test_timer_stopped_does_not_fire(void **state)
{
    (void)state;
    struct dk_timer a, b;
    dk_timer_init(&a, note);
    dk_timer_init(&b, note);
    dk_timer_stop(&wheel, &a); /* not running: nothing */
    dk_timer_start(&wheel, &a, 1001 * SECOND);
    dk_timer_start(&wheel, &b, 1001 * SECOND);
    dk_timer_stop(&wheel, &a);
    assert_false(dk_timer_is_running(&a));
    assert_true(dk_timer_is_running(&b));
    dk_timer_stop(&wheel, &b);
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
    dk_wheel_advance(&wheel, 1002 * SECOND);
    assert_int_equal(fired.n, 0);
}

/* The slot remembers the stopped one's time: early once, then exact. */
static void test_timer_wheel_after_a_stop_is_early_once_at_most(void **state)
{
    (void)state;
    struct dk_timer a, b;
    int64_t base = 1001 * SECOND;
    dk_timer_init(&a, note);
    dk_timer_init(&b, note);
    dk_timer_start(&wheel, &a, base);
    dk_timer_start(&wheel, &b, base + 300);
    dk_timer_stop(&wheel, &a);
    assert_true(dk_wheel_next_due(&wheel) <= base + 300);
    dk_wheel_advance(&wheel, dk_wheel_next_due(&wheel));
    assert_int_equal(fired.n, 0);
    assert_true(dk_wheel_next_due(&wheel) == base + 300);
    dk_wheel_advance(&wheel, base + 300);
    assert_int_equal(fired.n, 1);
}

static void test_timer_wheel_time_that_goes_back_is_passed_over(void **state)
{
    (void)state;
    struct dk_timer timer;
    dk_timer_init(&timer, note);
    dk_wheel_advance(&wheel, 2000 * SECOND);
    dk_timer_start(&wheel, &timer, 2001 * SECOND);
    dk_wheel_advance(&wheel, 1500 * SECOND);
    assert_int_equal(fired.n, 0);
    dk_wheel_advance(&wheel, 2001 * SECOND);
    assert_int_equal(fired.n, 1);
}

static void start_at_once(struct dk_timer *timer, int64_t now)
{
    note(timer, now);
    dk_timer_start(&wheel, timer, now);
}

static void test_timer_that_starts_itself_at_once_fires_once_per_advance(void **state)
{
    (void)state;
    struct dk_timer timer;
    dk_timer_init(&timer, start_at_once);
    dk_timer_start(&wheel, &timer, 1001 * SECOND);
    for (int i = 1; i < 5; i++) {
        dk_wheel_advance(&wheel, 1001 * SECOND + i / 2 * MS);
        assert_int_equal(fired.n, i);
        assert_true(dk_timer_is_running(&timer));
        assert_true(dk_wheel_next_due(&wheel) == 1001 * SECOND + i / 2 * MS);
    }
}

static struct dk_timer victim;

static void stop_victim(struct dk_timer *timer, int64_t now)
{
    note(timer, now);
    dk_timer_stop(&wheel, &victim);
}

/* The victim was due too, and already taken out of its slot. */
static void test_timer_stopped_by_one_that_fires_does_not_fire(void **state)
{
    (void)state;
    struct dk_timer first, third;
    dk_timer_init(&first, stop_victim);
    dk_timer_init(&victim, note);
    dk_timer_init(&third, note);
    dk_timer_start(&wheel, &first, 1001 * SECOND);
    dk_timer_start(&wheel, &victim, 1001 * SECOND);
    dk_timer_start(&wheel, &third, 1001 * SECOND);
    dk_wheel_advance(&wheel, 1001 * SECOND);
    assert_int_equal(fired.n, 2);
    assert_ptr_equal(fired.timers[1], &third);
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
}

static void delay_victim(struct dk_timer *timer, int64_t now)
{
    note(timer, now);
    dk_timer_start(&wheel, &victim, now + 1);
}

static void test_timer_started_again_by_one_that_fires_waits(void **state)
{
    (void)state;
    struct dk_timer first;
    dk_timer_init(&first, delay_victim);
    dk_timer_init(&victim, note);
    dk_timer_start(&wheel, &first, 1001 * SECOND);
    dk_timer_start(&wheel, &victim, 1001 * SECOND);
    dk_wheel_advance(&wheel, 1001 * SECOND);
    assert_int_equal(fired.n, 1);
    assert_true(dk_wheel_next_due(&wheel) == 1001 * SECOND + 1);
    dk_wheel_advance(&wheel, 1001 * SECOND + 1);
    assert_int_equal(fired.n, 2);
}

static void free_timer(struct dk_timer *timer, int64_t now)
{
    note(timer, now);
    free(timer);
}

static void test_timer_freed_by_its_function_is_not_touched(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        struct dk_timer *timer = malloc(sizeof(*timer));
        assert_non_null(timer);
        dk_timer_init(timer, free_timer);
        dk_timer_start(&wheel, timer, 1001 * SECOND + i % 3);
    }
    dk_wheel_advance(&wheel, 1002 * SECOND);
    assert_int_equal(fired.n, 10);
}

/* Random operations beside a model that looks at every timer. */
static struct dk_timer model[MODEL_TIMERS];

static int64_t first_due(void)
{
    int64_t first = INT64_MAX;
    for (int i = 0; i < MODEL_TIMERS; i++)
        if (dk_timer_is_running(&model[i]) && model[i].due < first)
            first = model[i].due;
    return first;
}

static int count_due(int64_t now)
{
    int n = 0;
    for (int i = 0; i < MODEL_TIMERS; i++)
        n += dk_timer_is_running(&model[i]) && model[i].due <= now;
    return n;
}

static void advance_model(int64_t now)
{
    int expected = count_due(now);
    fired.n = 0;
    assert_true(dk_wheel_next_due(&wheel) <= first_due());
    dk_wheel_advance(&wheel, now);
    assert_int_equal(fired.n, expected);
    assert_int_equal(count_due(now), 0);
    for (int i = 1; i < fired.n; i++)
        assert_true(fired.due[i - 1] <= fired.due[i]);
    assert_true(dk_wheel_next_due(&wheel) > now);
}

/* Distances of all sizes: a bit length, then bits. */
static int64_t some_distance(struct dk_random *random)
{
    uint32_t bits = 1 + dk_random_below(random, 45);
    return (int64_t)(dk_random_u64(random) >> (64 - bits));
}

static void run_model(uint64_t seed, bool stops)
{
    struct dk_random random;
    int64_t now = 0;
    dk_random_init(&random, seed);
    dk_wheel_init(&wheel, now);
    for (int i = 0; i < MODEL_TIMERS; i++)
        dk_timer_init(&model[i], note);
    for (int i = 0; i < 20000; i++) {
        struct dk_timer *timer = &model[dk_random_below(&random, MODEL_TIMERS)];
        uint32_t what = dk_random_below(&random, 8);
        if (what < 5 && (stops || !dk_timer_is_running(timer)))
            dk_timer_start(&wheel, timer, now + some_distance(&random));
        else if (what == 5 && stops)
            dk_timer_stop(&wheel, timer);
        else if (what == 6)
            advance_model(now += some_distance(&random) >> 3);
        else if (what == 7 && dk_wheel_next_due(&wheel) != INT64_MAX)
            advance_model(now = dk_wheel_next_due(&wheel) > now ? dk_wheel_next_due(&wheel) : now);
        if (!stops)
            assert_true(dk_wheel_next_due(&wheel) == first_due());
    }
}

static void test_timer_wheel_beside_a_model_is_never_late_and_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++) {
        print_message("# seed %d\n", (int)seed);
        run_model(seed, true);
    }
}

static void test_timer_wheel_without_stops_is_due_exactly(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++)
        run_model(seed, false);
}

/* A thousand timers, half of them stopped: what next_due says is followed, as a sleeper would. */
static void test_timer_wheel_followed_by_next_due_does_not_spin(void **state)
{
    (void)state;
    enum { N = 1000 };
    static struct dk_timer timers[N];
    struct dk_random random;
    int64_t now = 0, due;
    int turns = 0;
    dk_random_init(&random, 5);
    dk_wheel_init(&wheel, 0);
    for (int i = 0; i < N; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], 1 + some_distance(&random));
    }
    for (int i = 0; i < N; i += 2)
        dk_timer_stop(&wheel, &timers[i]);
    while ((due = dk_wheel_next_due(&wheel)) != INT64_MAX) {
        assert_true(due > now);
        now = due;
        dk_wheel_advance(&wheel, now);
        turns++;
    }
    assert_int_equal(fired.n, N / 2);
    assert_true(turns <= N); /* each stop costs one turn at most */
}

/* Where the model's deadlines have moved to, which the wheel learns only by asking. */
static int64_t moved_to[MODEL_TIMERS];

static int64_t ask(struct dk_timer *timer)
{
    assert_true(timer->due <= moved_to[timer - model]);
    return moved_to[timer - model];
}

static void note_or_start_again(struct dk_timer *timer, int64_t now)
{
    if (moved_to[timer - model] > now)
        dk_timer_start(&wheel, timer, moved_to[timer - model]);
    else
        note(timer, now);
}

static int count_moved_due(int64_t now)
{
    int n = 0;
    for (int i = 0; i < MODEL_TIMERS; i++)
        n += dk_timer_is_running(&model[i]) && moved_to[i] <= now;
    return n;
}

/* Deadlines move on, or are given up, without the wheel: it is never late, and asks by itself. */
static void test_timer_wheel_that_asks_for_deadlines_is_never_late(void **state)
{
    (void)state;
    struct dk_random random;
    int64_t now = 0;
    dk_random_init(&random, 11);
    dk_wheel_init(&wheel, now);
    wheel.revise = ask;
    for (int i = 0; i < MODEL_TIMERS; i++)
        dk_timer_init(&model[i], note_or_start_again);
    for (int i = 0; i < 20000; i++) {
        uint32_t at = dk_random_below(&random, MODEL_TIMERS), what = dk_random_below(&random, 8);
        bool runs = dk_timer_is_running(&model[at]);
        if (what < 3 && !runs)
            dk_timer_start(&wheel, &model[at], moved_to[at] = now + some_distance(&random));
        else if (what < 5 && runs && moved_to[at] != INT64_MAX)
            moved_to[at] += some_distance(&random);
        else if (what == 5 && runs && dk_random_below(&random, 8) == 0)
            moved_to[at] = INT64_MAX;
        else if (what == 6) {
            now += some_distance(&random) >> 3;
            int expected = count_moved_due(now);
            fired.n = 0;
            dk_wheel_advance(&wheel, now);
            assert_int_equal(fired.n, expected);
        }
    }
}

enum { MANY = 1000 };

static uint32_t asked;

static int64_t ask_many(struct dk_timer *timer)
{
    (void)timer;
    asked++;
    return 1300 * MS;
}

/* A slot of a higher level is spread by asking, and what moved on does not come down to fire. */
static void test_timers_that_moved_on_are_asked_once_and_do_not_fire(void **state)
{
    (void)state;
    static struct dk_timer timers[MANY];
    dk_wheel_init(&wheel, 0);
    wheel.revise = ask_many;
    asked = 0;
    for (int i = 0; i < MANY; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], 200 * MS + i);
    }
    dk_wheel_advance(&wheel, 250 * MS);
    assert_int_equal(asked, MANY);
    assert_int_equal(fired.n, 0);
    assert_true(dk_wheel_next_due(&wheel) == 1300 * MS);
    asked = 0;
    dk_wheel_advance(&wheel, 1299 * MS);
    assert_int_equal(fired.n, 0);
    dk_wheel_advance(&wheel, 1300 * MS);
    assert_int_equal(fired.n, MANY);
}

/* Timers of one time whose slot was spread, from list to list, fire in the order of their start. */
static void test_timers_of_a_higher_level_fire_in_order_of_start(void **state)
{
    (void)state;
    static struct dk_timer timers[MANY];
    dk_wheel_init(&wheel, 0);
    for (int i = 0; i < MANY; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], 7000 * SECOND);
    }
    dk_wheel_advance(&wheel, 7000 * SECOND);
    assert_int_equal(fired.n, MANY);
    for (int i = 0; i < MANY; i++)
        assert_ptr_equal(fired.timers[i], &timers[i]);
}

/* A slot with several lists is empty only when all of them are. */
static void test_timer_stopped_leaves_the_others_of_its_slot(void **state)
{
    (void)state;
    struct dk_timer timers[3];
    dk_wheel_init(&wheel, 0);
    for (int i = 0; i < 3; i++) {
        dk_timer_init(&timers[i], note);
        dk_timer_start(&wheel, &timers[i], 10 * SECOND + i);
    }
    for (int i = 0; i < 2; i++) {
        dk_timer_stop(&wheel, &timers[i]);
        assert_true(dk_wheel_next_due(&wheel) == 10 * SECOND);
    }
    dk_timer_stop(&wheel, &timers[2]);
    assert_true(dk_wheel_next_due(&wheel) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_timer_wheel_without_timers_is_never_due, start),
        cmocka_unit_test_setup(test_timer_at_any_distance_fires_at_its_nanosecond, start),
        cmocka_unit_test_setup(test_timer_at_the_end_of_time_waits, start),
        cmocka_unit_test_setup(test_timer_in_the_past_fires_at_the_next_advance, start),
        cmocka_unit_test_setup(test_timers_of_one_tick_fire_in_order_of_due_then_start, start),
        cmocka_unit_test_setup(test_timer_started_again_fires_once_at_the_new_time, start),
        cmocka_unit_test_setup(test_timer_stopped_does_not_fire, start),
        cmocka_unit_test_setup(test_timer_stopped_leaves_the_others_of_its_slot, start),
        cmocka_unit_test_setup(test_timers_of_a_higher_level_fire_in_order_of_start, start),
        cmocka_unit_test_setup(test_timers_that_moved_on_are_asked_once_and_do_not_fire, start),
        cmocka_unit_test_setup(test_timer_wheel_that_asks_for_deadlines_is_never_late, start),
        cmocka_unit_test_setup(test_timer_wheel_after_a_stop_is_early_once_at_most, start),
        cmocka_unit_test_setup(test_timer_wheel_time_that_goes_back_is_passed_over, start),
        cmocka_unit_test_setup(test_timer_that_starts_itself_at_once_fires_once_per_advance, start),
        cmocka_unit_test_setup(test_timer_stopped_by_one_that_fires_does_not_fire, start),
        cmocka_unit_test_setup(test_timer_started_again_by_one_that_fires_waits, start),
        cmocka_unit_test_setup(test_timer_freed_by_its_function_is_not_touched, start),
        cmocka_unit_test_setup(test_timer_wheel_beside_a_model_is_never_late_and_in_order, start),
        cmocka_unit_test_setup(test_timer_wheel_without_stops_is_due_exactly, start),
        cmocka_unit_test_setup(test_timer_wheel_followed_by_next_due_does_not_spin, start),
    };
    return cmocka_run_group_tests_name("timer-wheel", tests, NULL, NULL);
}
