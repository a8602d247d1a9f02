/* SPDX-License-Identifier: MIT */
/*
 * Logs over devices that are full, slow, or fail: what was acknowledged is read as it was pushed,
 * what was not is an error of its push, and the log goes on.
 */
#include "../lib/harness.h"

#include <demi/storage.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORD = 3000 };

static const char *made_by_other; /* before the next lock another process makes this log */

static void make_by_other(const char *path)
{
    char program[] = "logs", name[200], *argv[] = {program, name, NULL};
    pid_t pid;
    int status = -1;
    snprintf(name, sizeof name, "%s", path);
    must(posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* The C library's, with a moment before it. */
int flock(int fd, int operation)
{
    const char *path = made_by_other;
    made_by_other = NULL;
    if (path)
        make_by_other(path);
    return (int)syscall(SYS_flock, fd, operation);
}

static struct {
    uint32_t synced; /* folders */
    bool fails;
} folders;

/* The C library's; folders are counted, and fail when they are to. */
int fsync(int fd)
{
    struct stat st;
    assert_int_equal(fstat(fd, &st), 0);
    if (S_ISDIR(st.st_mode)) {
        folders.synced++;
        if (folders.fails) {
            errno = EIO;
            return -1;
        }
    }
    return (int)syscall(SYS_fsync, fd);
}

static void start(const char *store)
{
    setenv("DEMI_NET", "memory", 1);
    setenv("DEMI_STORE", store, 1);
    must(demi_init(NULL));
}

static int setup(void **state)
{
    (void)state;
    deadline_start("logs", DEADLINE_S);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)demi_fini();
    deadline_stop();
    return 0;
}

static int open_log(const char *name)
{
    int qd = -1;
    must(demi_open(&qd, name, O_RDWR | O_CREAT));
    return qd;
}

static int64_t seek(int qd, int64_t record, int whence)
{
    int64_t pos = -1;
    must(demi_lseek(qd, record, whence, &pos));
    return pos;
}

/* How many records there are; the position stays. */
static int64_t end_of(int qd)
{
    const int64_t was = seek(qd, 0, SEEK_CUR);
    const int64_t end = seek(qd, 0, SEEK_END);
    seek(qd, was, SEEK_SET);
    return end;
}

/* Pushes a record of the pattern `seed`: 0, or the errno that it fails with. */
static int push_record(int qd, uint64_t seed)
{
    demi_sgarray_t sga = pattern_sga(RECORD, seed, 0);
    const int error = push_outcome(qd, &sga);
    must(demi_sgafree(&sga));
    return error;
}

static void test_full_device_pushes_again_after_a_trim(void **state)
{
    (void)state;
    start("memblk,bytes=4M");
    int qd = open_log("log"), other = open_log("other");
    uint64_t n = 0;
    int error;
    assert_int_equal(push_record(other, 1), 0);
    while ((error = push_record(qd, n)) == 0)
        n++;
    assert_int_equal(error, ENOSPC);
    assert_true(n > 100);
    for (int i = 0; i < 5; i++)
        must_fail(push_record(qd, n), ENOSPC);
    assert_int_equal(end_of(qd), n);
    pop_pattern(other, RECORD, 1, 0); /* it is not concerned */
    must(demi_trim(qd, (int64_t)n / 2));
    for (uint64_t i = 0; i < n / 4; i++)
        must(push_record(qd, n + i));
    for (uint64_t i = n / 2; i < n + n / 4; i++)
        pop_pattern(qd, RECORD, i, 0);
    pop_end(qd);
    must(demi_unlink("log")); /* and all of it comes back */
    must(demi_close(qd));
    for (uint64_t i = 0; i < n / 2; i++)
        must(push_record(other, 1));
}

/* Of pushes that are outstanding together all fail from the first on that has no room. */
static void test_full_device_fails_all_that_is_outstanding_behind(void **state)
{
    (void)state;
    enum { N = 2000 };
    static demi_qtoken_t qts[N];
    start("memblk,bytes=4M");
    int qd = open_log("log");
    int64_t good = 0;
    bool failed = false;
    for (uint64_t i = 0; i < N; i++) {
        demi_sgarray_t sga = pattern_sga(RECORD, i, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
    }
    for (uint64_t i = 0; i < N; i++) {
        demi_qresult_t qr = wait_result(qts[i]);
        must_hold(!failed || qr.qr_opcode == DEMI_OPC_FAILED, "record %llu is there without others",
                  (unsigned long long)i);
        failed |= qr.qr_opcode == DEMI_OPC_FAILED;
        if (failed)
            assert_int_equal(qr.qr_ret, ENOSPC);
        good += !failed;
    }
    assert_true(failed && good > 100);
    assert_int_equal(end_of(qd), good);
    for (int64_t i = 0; i < good; i++)
        pop_pattern(qd, RECORD, (uint64_t)i, 0);
    pop_end(qd);
}

/* Starts over a device in memory with faults, of a seed with which at least a log can be made. */
static int start_faulty(const char *faults, const char *what)
{
    char store[200];
    uint64_t seed = seed_choose(what) % 1000000;
    for (int tries = 0; tries < 1000; tries++) {
        int qd = -1;
        snprintf(store, sizeof store, "fault(seed=%llu,%s):memblk",
                 (unsigned long long)(seed + (uint64_t)tries), faults);
        start(store);
        const int error = demi_open(&qd, "log", O_RDWR | O_CREAT);
        if (error == 0)
            return qd;
        must_hold(error == EIO || error == EUCLEAN || error == EMEDIUMTYPE, "open fails with %s",
                  errno_name(error));
        must(demi_fini());
    }
    fail_msg("no log can be made");
    return -1;
}

/* Pushes n records over a device that fails now and then; keeps which record has which pattern. */
static uint64_t push_some(int qd, uint64_t n, uint64_t seeds[])
{
    uint64_t good = 0, failed = 0;
    for (uint64_t i = 0; i < n; i++) {
        const int error = push_record(qd, i);
        must_hold(error == 0 || error == EIO, "a push fails with %s", errno_name(error));
        if (error == 0)
            seeds[good++] = i;
        failed += error != 0;
    }
    print_message("%llu pushes acknowledged, %llu failed\n", (unsigned long long)good,
                  (unsigned long long)failed);
    assert_true(good > 0 && failed > 0);
    return good;
}

static void test_failing_writes_fail_their_pushes_and_no_others(void **state)
{
    (void)state;
    static uint64_t seeds[400];
    int qd = start_faulty("write_error=3%,flush_error=1%", __func__);
    uint64_t good = push_some(qd, COUNT_OF(seeds), seeds);
    assert_int_equal(end_of(qd), good);
    for (uint64_t i = 0; i < good; i++)
        pop_pattern(qd, RECORD, seeds[i], 0);
    pop_end(qd);
}

/* Two logs of one device, each with a push at the same time: what fails one is not the other's. */
static void test_failing_write_of_one_log_leaves_another_alone(void **state)
{
    (void)state;
    enum { ROUNDS = 400 };
    static uint64_t seeds[2][ROUNDS];
    uint64_t good[2] = {0}, alone[2] = {0};
    int qds[2] = {start_faulty("write_error=5%", __func__), -1};
    while (qds[1] < 0)
        (void)must_either(demi_open(&qds[1], "other", O_RDWR | O_CREAT), 0, EIO);
    for (uint64_t i = 0; i < ROUNDS; i++) {
        demi_qtoken_t qts[2];
        bool is_good[2];
        for (uint64_t l = 0; l < 2; l++) {
            demi_sgarray_t sga = pattern_sga(RECORD, 2 * i + l, 0);
            qts[l] = push_start(qds[l], &sga);
            must(demi_sgafree(&sga));
        }
        for (uint64_t l = 0; l < 2; l++) {
            demi_qresult_t qr = wait_result(qts[l]);
            is_good[l] = qr.qr_opcode == DEMI_OPC_PUSH;
            if (is_good[l])
                seeds[l][good[l]++] = 2 * i + l;
            else
                assert_int_equal(qr.qr_ret, EIO);
        }
        alone[0] += !is_good[0] && is_good[1];
        alone[1] += !is_good[1] && is_good[0];
    }
    assert_true(alone[0] > 0 && alone[1] > 0);
    for (int l = 0; l < 2; l++) {
        assert_int_equal(end_of(qds[l]), good[l]);
        for (uint64_t i = 0; i < good[l]; i++)
            pop_pattern(qds[l], RECORD, seeds[l][i], 0);
        pop_end(qds[l]);
    }
}

static void test_failing_reads_fail_their_pops_or_are_tried_again(void **state)
{
    (void)state;
    enum { N = 300 };
    int qd = start_faulty("read_error=4%", __func__);
    for (uint64_t i = 0; i < N; i++)
        must(push_record(qd, i));
    uint64_t popped = 0, random = seed_choose("places");
    for (int n = 0; n < N; n++) {
        const uint64_t i = random_below(&random, N);
        seek(qd, (int64_t)i, SEEK_SET);
        demi_qresult_t qr = wait_result(pop_start(qd));
        if (qr.qr_opcode == DEMI_OPC_FAILED) {
            assert_int_equal(qr.qr_ret, EIO);
            assert_int_equal(seek(qd, 0, SEEK_CUR), i + 1); /* it moves on over what failed */
            continue;
        }
        pattern_check_sga(&qr.qr_value.sga, i, 0);
        must(demi_sgafree(&qr.qr_value.sga));
        popped++;
    }
    print_message("%llu of %d records read\n", (unsigned long long)popped, N);
    assert_true(popped > 0);
}

/* Whatever the device makes of what it was given: a record is what was pushed, or an error. */
static void test_rotten_or_misdirected_blocks_are_never_popped(void **state)
{
    (void)state;
    enum { N = 300 };
    uint64_t errors = 0;
    int qd = start_faulty("rot=5%,misdirect=5%", __func__);
    for (uint64_t i = 0; i < N; i++)
        must(push_record(qd, i));
    for (uint64_t i = 0; i < N; i++) {
        demi_qresult_t qr = wait_result(pop_start(qd));
        if (qr.qr_opcode == DEMI_OPC_POP) {
            assert_int_equal(sga_bytes(&qr.qr_value.sga), RECORD);
            pattern_check_sga(&qr.qr_value.sga, i, 0);
            must(demi_sgafree(&qr.qr_value.sga));
        } else {
            assert_int_equal(qr.qr_ret, EIO);
            errors++;
        }
    }
    print_message("%llu of %d records are damaged\n", (unsigned long long)errors, N);
}

static void test_slow_device_acknowledges_late_and_in_order(void **state)
{
    (void)state;
    enum { N = 20 };
    demi_qtoken_t qts[N];
    demi_qresult_t qr;
    int at;
    start("fault(seed=1,delay=20ms,jitter=20ms):memblk");
    int qd = open_log("log");
    const uint64_t begin = now_ns();
    for (uint64_t i = 0; i < N; i++) {
        demi_sgarray_t sga = pattern_sga(RECORD, i, 0);
        qts[i] = push_start(qd, &sga);
        must(demi_sgafree(&sga));
        must_fail(demi_wait(&qr, qts[i], ZERO_TIME), ETIMEDOUT); /* each in a batch of its own */
    }
    for (uint64_t i = 0; i < N; i++) {
        must(demi_wait_any(&qr, &at, qts + i, (int)(N - i), NULL));
        assert_int_equal(at, 0);
        assert_int_equal(qr.qr_opcode, DEMI_OPC_PUSH);
    }
    must_hold(now_ns() - begin >= 20000000, "acknowledged before it was written");
    for (uint64_t i = 0; i < N; i++)
        pop_pattern(qd, RECORD, i, 0);
}

/* Nobody pushes any more, and a thread sleeps: the end is told to the metadata, once. */
static void test_end_of_an_idle_log_is_told_while_a_thread_sleeps(void **state)
{
    (void)state;
    const struct timespec one_second = {.tv_sec = 1};
    demi_qresult_t qr;
    uint64_t before = 0, after = 0;
    int qd = -1;
    start("memblk");
    must(demi_open(&qd, "log", O_RDWR | O_CREAT | DEMI_O_FOLLOW));
    must(push_record(qd, 1));
    pop_pattern(qd, RECORD, 1, 0);
    assert_true(stat_value("blk.writes", &before));
    demi_qtoken_t pop = pop_start(qd);
    must_fail(demi_wait(&qr, pop, &one_second), ETIMEDOUT);
    assert_true(stat_value("blk.writes", &after));
    assert_int_equal(after, before + 2); /* both copies of it */
    must_fail(demi_wait(&qr, pop, &one_second), ETIMEDOUT);
    assert_true(stat_value("blk.writes", &after));
    assert_int_equal(after, before + 2);
}

/* Two processes make a log in the same file at the same time: what is in it stays. */
static void make_together(bool empty)
{
    static const char path[] = "logs-together";
    int qd = -1;
    unlink(path);
    if (empty)
        fclose(fopen(path, "w"));
    start("none");
    made_by_other = path;
    must(demi_open(&qd, path, O_RDWR | O_CREAT));
    assert_null(made_by_other);
    assert_int_equal(end_of(qd), 1);
    pop_pattern(qd, RECORD, 7, 0);
    must(demi_close(qd));
    unlink(path);
    made_by_other = path;
    must_fail(demi_open(&qd, path, O_RDWR | O_CREAT | O_EXCL), EEXIST);
    qd = open_log(path);
    pop_pattern(qd, RECORD, 7, 0);
    unlink(path);
}

static void test_file_that_two_make_has_the_log_of_the_first(void **state)
{
    (void)state;
    make_together(false);
}

static void test_empty_file_that_two_make_a_log_of_has_that_of_the_first(void **state)
{
    (void)state;
    make_together(true);
}

/* Power may fail at any time after: so the folder is written, or the call says that it was not. */
static void test_name_of_a_file_lasts_when_it_was_made_or_removed(void **state)
{
    (void)state;
    static const char path[] = "logs-lasting";
    int qd = -1;
    unlink(path);
    start("none");
    folders.synced = 0;
    qd = open_log(path);
    assert_true(folders.synced > 0);
    must(demi_close(qd));
    folders.synced = 0;
    must(demi_unlink(path));
    assert_int_equal(folders.synced, 1);
    folders.fails = true;
    must_fail(demi_open(&qd, path, O_RDWR | O_CREAT), EIO);
    folders.fails = false;
    qd = open_log(path);
    folders.fails = true;
    must_fail(demi_unlink(path), EIO);
    folders.fails = false;
    must_fail(demi_unlink(path), ENOENT);
    must(demi_fini());
    folders.synced = 0;
    start("file:logs-lasting,create,size=16M"); /* a device that is a file, too */
    (void)open_log("log");
    assert_int_equal(folders.synced, 1);
    unlink(path);
}

/* The other process. */
static int make_and_push(const char *path)
{
    start("none");
    int qd = open_log(path);
    must(push_record(qd, 7));
    must(demi_close(qd));
    must(demi_fini());
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2)
        return make_and_push(argv[1]);
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_full_device_pushes_again_after_a_trim),
        TEST(test_full_device_fails_all_that_is_outstanding_behind),
        TEST(test_failing_writes_fail_their_pushes_and_no_others),
        TEST(test_failing_write_of_one_log_leaves_another_alone),
        TEST(test_failing_reads_fail_their_pops_or_are_tried_again),
        TEST(test_rotten_or_misdirected_blocks_are_never_popped),
        TEST(test_slow_device_acknowledges_late_and_in_order),
        TEST(test_end_of_an_idle_log_is_told_while_a_thread_sleeps),
        TEST(test_file_that_two_make_has_the_log_of_the_first),
        TEST(test_empty_file_that_two_make_a_log_of_has_that_of_the_first),
        TEST(test_name_of_a_file_lasts_when_it_was_made_or_removed),
    };
    return cmocka_run_group_tests_name("logs", tests, NULL, NULL);
}
