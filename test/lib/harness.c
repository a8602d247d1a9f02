/* SPDX-License-Identifier: MIT */
/* See harness.h. */
#include "harness.h"

#include <dirent.h>
#include <endian.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STATS_MAX 512

const char *errno_name(int error)
{
    const char *name = error == 0 ? "0" : strerrorname_np(error);
    return name != NULL ? name : "(not an errno)";
}

int harness_expect(int got, int want, int or_want, const char *call, const char *file, int line)
{
    if (got == want || got == or_want)
        return got;
    if (want == or_want)
        print_error("%s\n  returned %s (%d), must be %s\n", call, errno_name(got), got,
                    errno_name(want));
    else
        print_error("%s\n  returned %s (%d), must be %s or %s\n", call, errno_name(got), got,
                    errno_name(want), errno_name(or_want));
    _fail(file, line);
    return got;
}

void harness_fail(const char *what, const char *file, int line, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    print_error("%s: must hold; %s\n", what, message);
    _fail(file, line);
    abort();
}

static char deadline_what[256];

static void deadline_passed(int signum)
{
    (void)signum;
    static const char head[] = "\ndeadline passed in ";
    ssize_t ignored = write(STDERR_FILENO, head, sizeof head - 1);
    ignored = write(STDERR_FILENO, deadline_what, strlen(deadline_what));
    ignored = write(STDERR_FILENO, "\n", 1);
    (void)ignored;
    _exit(99);
}

void deadline_start(const char *what, unsigned seconds)
{
    snprintf(deadline_what, sizeof deadline_what, "%s", what);
    struct sigaction action = {.sa_handler = deadline_passed};
    sigaction(SIGALRM, &action, NULL);
    alarm(seconds);
}

void deadline_stop(void)
{
    alarm(0);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct timespec ms_time(unsigned ms)
{
    return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

demi_qresult_t wait_result(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    memset(&qr, 0xa5, sizeof qr);
    const struct timespec patience = {PATIENCE_S, 0};
    must(demi_wait(&qr, qt, &patience));
    must_hold(qr.qr_qt == qt, "the result is of another token");
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        must_hold(qr.qr_ret > 0, "qr_ret of a failed operation is %lld", (long long)qr.qr_ret);
    else
        must_hold(qr.qr_ret == 0, "qr_ret of a success is %lld", (long long)qr.qr_ret);
    return qr;
}

demi_qresult_t wait_success(demi_qtoken_t qt, demi_opcode_t opcode)
{
    demi_qresult_t qr = wait_result(qt);
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        print_error("operation failed: %s\n", errno_name((int)qr.qr_ret));
    must_hold(qr.qr_opcode == opcode, "opcode is %d, must be %d", (int)qr.qr_opcode, (int)opcode);
    return qr;
}

int wait_failure(demi_qtoken_t qt)
{
    demi_qresult_t qr = wait_result(qt);
    must_hold(qr.qr_opcode == DEMI_OPC_FAILED, "opcode is %d, must be FAILED", (int)qr.qr_opcode);
    return (int)qr.qr_ret;
}

demi_qtoken_t push_start(int qd, const demi_sgarray_t *sga)
{
    demi_qtoken_t qt = 0;
    must(demi_push(&qt, qd, sga));
    must_hold(qt != 0 && qt != ~(demi_qtoken_t)0, "token %llx", (unsigned long long)qt);
    return qt;
}

demi_qtoken_t pop_start(int qd)
{
    demi_qtoken_t qt = 0;
    must(demi_pop(&qt, qd));
    must_hold(qt != 0 && qt != ~(demi_qtoken_t)0, "token %llx", (unsigned long long)qt);
    return qt;
}

void push_all(int qd, const demi_sgarray_t *sga)
{
    static const demi_sgarray_t nothing;
    demi_qresult_t qr = wait_success(push_start(qd, sga), DEMI_OPC_PUSH);
    assert_int_equal(qr.qr_qd, qd);
    demi_sgarray_t left = qr.qr_value.sga;
    assert_memory_equal(&left, &nothing, sizeof left);
}

int push_outcome(int qd, const demi_sgarray_t *sga)
{
    demi_qtoken_t qt = 0;
    int error = demi_push(&qt, qd, sga);
    if (error != 0) {
        must_hold(qt == 0, "the token was written by a call that failed");
        return error;
    }
    demi_qresult_t qr = wait_result(qt);
    return qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0;
}

demi_sgarray_t pop_one(int qd)
{
    demi_qresult_t qr = wait_success(pop_start(qd), DEMI_OPC_POP);
    assert_int_equal(qr.qr_qd, qd);
    return qr.qr_value.sga;
}

void must_be_end(demi_sgarray_t sga)
{
    assert_int_equal(sga.sga_numsegs, 0);
    assert_null(sga.sga_segs[0].sgaseg_buf);
    assert_int_equal(sga.sga_segs[0].sgaseg_len, 0);
    must(demi_sgafree(&sga));
}

void pop_end(int qd)
{
    must_be_end(pop_one(qd));
}

size_t sga_bytes(const demi_sgarray_t *sga)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    return bytes;
}

size_t sga_copy_out(const demi_sgarray_t *sga, void *buf, size_t len)
{
    size_t at = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        size_t left = at < len ? len - at : 0;
        size_t take = sga->sga_segs[i].sgaseg_len < left ? sga->sga_segs[i].sgaseg_len : left;
        if (take > 0)
            memcpy((char *)buf + at, sga->sga_segs[i].sgaseg_buf, take);
        at += sga->sga_segs[i].sgaseg_len;
    }
    return at;
}

/* The pattern comes in words of eight bytes, each a hash of its number. */
static uint64_t pattern_word(uint64_t seed, uint64_t number)
{
    uint64_t x = (number ^ seed * 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu;
    return (x ^ x >> 33) * 0xc4ceb9fe1a85ec53u;
}

uint8_t pattern_byte(uint64_t seed, uint64_t at)
{
    return (uint8_t)(pattern_word(seed, at / 8) >> at % 8 * 8);
}

void pattern_fill(void *buf, size_t len, uint64_t seed, uint64_t at)
{
    uint8_t *byte = buf;
    size_t i = 0;
    for (; i < len && (at + i) % 8 != 0; i++)
        byte[i] = pattern_byte(seed, at + i);
    for (; i + 8 <= len; i += 8) {
        const uint64_t word = htole64(pattern_word(seed, (at + i) / 8));
        memcpy(byte + i, &word, 8);
    }
    for (; i < len; i++)
        byte[i] = pattern_byte(seed, at + i);
}

size_t pattern_length(const void *buf, size_t len, uint64_t seed, uint64_t at)
{
    const uint8_t *byte = buf;
    for (size_t i = 0; i < len; i++) {
        if ((at + i) % 8 == 0 && i + 8 <= len) {
            const uint64_t word = htole64(pattern_word(seed, (at + i) / 8));
            if (memcmp(byte + i, &word, 8) == 0) {
                i += 7;
                continue;
            }
        }
        if (byte[i] != pattern_byte(seed, at + i))
            return i;
    }
    return len;
}

void pattern_check(const void *buf, size_t len, uint64_t seed, uint64_t at)
{
    const uint8_t *byte = buf;
    const size_t i = pattern_length(buf, len, seed, at);
    if (i < len)
        must_hold(false, "byte %llu (%zu of this piece of %zu) is %02x, must be %02x",
                  (unsigned long long)(at + i), i, len, byte[i], pattern_byte(seed, at + i));
}

void pattern_check_sga(const demi_sgarray_t *sga, uint64_t seed, uint64_t at)
{
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        pattern_check(sga->sga_segs[i].sgaseg_buf, sga->sga_segs[i].sgaseg_len, seed, at);
        at += sga->sga_segs[i].sgaseg_len;
    }
}

demi_sgarray_t pattern_sga(size_t len, uint64_t seed, uint64_t at)
{
    demi_sgarray_t sga = demi_sgaalloc(len);
    assert_non_null(sga.sga_buf);
    assert_int_equal(sga.sga_numsegs, 1);
    assert_int_equal(sga.sga_segs[0].sgaseg_len, len);
    pattern_fill(sga.sga_segs[0].sgaseg_buf, len, seed, at);
    return sga;
}

demi_sgarray_t built_sga(void *buf, size_t len)
{
    demi_sgarray_t sga;
    memset(&sga, 0, sizeof sga);
    sga.sga_numsegs = 1;
    sga.sga_segs[0].sgaseg_buf = buf;
    sga.sga_segs[0].sgaseg_len = (uint32_t)len;
    return sga;
}

void pop_pattern(int qd, size_t len, uint64_t seed, uint64_t at)
{
    size_t got = 0;
    while (got < len) {
        demi_sgarray_t sga = pop_one(qd);
        must_hold(sga.sga_numsegs > 0, "the stream ended after %zu of %zu bytes", got, len);
        size_t piece = sga_bytes(&sga);
        must_hold(piece > 0, "an empty piece of a stream");
        must_hold(got + piece <= len, "%zu bytes too many", got + piece - len);
        pattern_check_sga(&sga, seed, at + got);
        got += piece;
        must(demi_sgafree(&sga));
    }
}

static bool stat_find(const char *name, struct demi_stat *stat_out)
{
    static struct demi_stat stats[STATS_MAX];
    size_t n = 0;
    must(demi_stats(stats, STATS_MAX, &n));
    must_hold(n <= STATS_MAX, "%zu counters: raise STATS_MAX", n);
    for (size_t i = 0; i < n; i++)
        if (strcmp(stats[i].name, name) == 0) {
            *stat_out = stats[i];
            return true;
        }
    return false;
}

bool stat_value(const char *name, uint64_t *value_out)
{
    struct demi_stat stat;
    if (!stat_find(name, &stat))
        return false;
    *value_out = stat.value;
    return true;
}

const char *stat_text(const char *name)
{
    struct demi_stat stat;
    return stat_find(name, &stat) ? stat.text : NULL;
}

uint64_t seed_choose(const char *what)
{
    const char *given = getenv("TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : now_ns() ^ (uint64_t)getpid() << 32;
    print_message("%s: TEST_SEED=0x%llx\n", what, (unsigned long long)seed);
    return seed;
}

uint64_t random_next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint32_t random_below(uint64_t *state, uint32_t bound)
{
    return (uint32_t)((random_next(state) >> 32) * bound >> 32);
}

int open_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    if (dir == NULL)
        return -1;
    int count = 0;
    while (readdir(dir) != NULL)
        count++;
    closedir(dir);
    return count - 3; /* ".", ".." and the directory itself */
}

bool under_sanitizer(void)
{
    return SLOWNESS > 1;
}

int child_fork(void)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGSYS, SIGABRT};
    fflush(NULL);
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    const pid_t pid = fork();
    if (pid != 0)
        unsetenv("CMOCKA_TEST_ABORT");
    must_hold(pid >= 0, "fork: %s", errno_name(errno));
    if (pid == 0) {
        for (size_t i = 0; i < COUNT_OF(crashes); i++)
            signal(crashes[i], SIG_DFL);
        alarm(2 * PATIENCE_S);
    }
    return pid;
}

void child_fails(const char *what, const char *file, int line)
{
    fprintf(stderr, "%s:%d: in a child: %s\n", file, line, what);
    child_exit(1);
}

void child_exit(int status)
{
    if (status != 0)
        fprintf(stderr, "child %d: ends with status %d, errno %s\n", (int)getpid(), status,
                errno_name(errno));
    _exit(status);
}

int child_wait(int pid)
{
    const uint64_t give_up = now_ns() + 2 * PATIENCE_S * 1000000000ull;
    int status = 0;
    for (;;) {
        pid_t got = waitpid(pid, &status, WNOHANG);
        if (got == pid)
            return status;
        must_hold(got == 0 || errno == EINTR, "waitpid: %s", errno_name(errno));
        if (now_ns() > give_up) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            must_hold(false, "child %d does not end", pid);
        }
        const struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
    }
}
