/* SPDX-License-Identifier: MIT */
/*
 * What every test here stands on: expectations that name the errno they got, waits that cannot last
 * for ever, a byte pattern that tells each place of a stream from every other, and a seeded
 * generator. Uses the public interface only. Not thread-safe: helper threads of a test report
 * through flags, because a failed cmocka assertion may only jump in the thread that runs the test.
 */
#ifndef DEMI_TEST_HARNESS_H
#define DEMI_TEST_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <demi/admin.h>
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <time.h>

/* A sanitizer slows a program down, and checks for leaks at the end of each child. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWNESS 3
#else
#define SLOWNESS 1
#endif

/* Longest wait for something that must happen; failing it is failing the test. */
#define PATIENCE_S (15 * SLOWNESS)

/* Longest run of one test, by alarm(2): longer than for a child, which is two of the above. */
#define DEADLINE_S (40 * SLOWNESS)

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

#define ZERO_TIME (&(const struct timespec){0, 0})

/* The call returns 0; or exactly the errno; or one of the two. The last two return it. */
#define must(call)              ((void)harness_expect((call), 0, 0, #call, __FILE__, __LINE__))
#define must_fail(call, e)      ((void)harness_expect((call), (e), (e), #call, __FILE__, __LINE__))
#define must_either(call, x, y) harness_expect((call), (x), (y), #call, __FILE__, __LINE__)

/* The condition holds, or the test fails with the formatted message. */
#define must_hold(condition, ...)                                                                  \
    ((condition) ? (void)0 : harness_fail(#condition, __FILE__, __LINE__, __VA_ARGS__))

int harness_expect(int got, int want, int or_want, const char *call, const char *file, int line);
void harness_fail(const char *what, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5), noreturn));

/* "EINVAL", "0". */
const char *errno_name(int error);

/* Per-test bound: SIGALRM names the test that hangs, and ends the process. */
void deadline_start(const char *what, unsigned seconds);
void deadline_stop(void);

/* Monotonic nanoseconds. */
uint64_t now_ns(void);
struct timespec ms_time(unsigned ms);

/* Waits with patience; the first fails the test unless there is a result, the second also unless it
 * is a success of that opcode, the third returns the errno of a failed operation. */
demi_qresult_t wait_result(demi_qtoken_t qt);
demi_qresult_t wait_success(demi_qtoken_t qt, demi_opcode_t opcode);
int wait_failure(demi_qtoken_t qt);

/* Pushes and waits for its success, checking the whole result. */
void push_all(int qd, const demi_sgarray_t *sga);
demi_qtoken_t push_start(int qd, const demi_sgarray_t *sga);
demi_qtoken_t pop_start(int qd);

/* The errno with which a push fails, at the call or in its result; 0 when it succeeds. */
int push_outcome(int qd, const demi_sgarray_t *sga);

/* Pops one element; the caller frees it. */
demi_sgarray_t pop_one(int qd);

/* Fails the test unless the sga is the end of a stream; frees it. */
void must_be_end(demi_sgarray_t sga);
void pop_end(int qd);

/* Sum of the segments' lengths. */
size_t sga_bytes(const demi_sgarray_t *sga);

/* Copies the segments one after another into buf, at most len bytes; returns sga_bytes. */
size_t sga_copy_out(const demi_sgarray_t *sga, void *buf, size_t len);

/* Byte `at` of the pattern of `seed`; fill and check of a run of it. pattern_length says how many
 * bytes are as they must be, in any thread. */
uint8_t pattern_byte(uint64_t seed, uint64_t at);
void pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t at);
size_t pattern_length(const void *buf, size_t len, uint64_t seed, uint64_t at);
void pattern_check(const void *buf, size_t len, uint64_t seed, uint64_t at);
void pattern_check_sga(const demi_sgarray_t *sga, uint64_t seed, uint64_t at);

/* A new sga of one segment filled with the pattern from `at`. */
demi_sgarray_t pattern_sga(size_t len, uint64_t seed, uint64_t at);

/* An sga over the test's own memory. */
demi_sgarray_t built_sga(void *buf, size_t len);

/* Pops until exactly len bytes came, all of the pattern from `at`. */
void pop_pattern(int qd, size_t len, uint64_t seed, uint64_t at);

/* A counter of demi_stats by name: its value, or its text. false when there is none. */
bool stat_value(const char *name, uint64_t *value_out);
const char *stat_text(const char *name);

/* splitmix64. seed_choose takes TEST_SEED from the environment or the clock, and prints it. */
uint64_t seed_choose(const char *what);
uint64_t random_next(uint64_t *state);
uint32_t random_below(uint64_t *state, uint32_t bound);

/* Open descriptors of this process. */
int open_fds(void);

/* Whether this program runs under ASan or TSan (slower, no address-space games). */
bool under_sanitizer(void);

/*
 * fork(2) for tests: 0 in the child, which has a deadline of its own and dies of a crash or a
 * failed assertion (cmocka would go on with the parent's next test). It checks with CHILD, which
 * says what failed and ends it.
 */
int child_fork(void);

#define CHILD(condition) ((condition) ? (void)0 : child_fails(#condition, __FILE__, __LINE__))

void child_fails(const char *what, const char *file, int line) __attribute__((noreturn));

/* Ends a child process without atexit hooks or cmocka reports; says why on stderr when not 0. */
void child_exit(int status) __attribute__((noreturn));

/* Waits for the child with patience; returns its wait status. */
int child_wait(int pid);

#endif /* DEMI_TEST_HARNESS_H */
