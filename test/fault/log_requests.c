/* SPDX-License-Identifier: MIT */
/*
 * log-requests io_uring|threads: logs in files, each time with another request of the library to
 * the system failing, while a log is made, opened, appended to, read, trimmed, and while its file
 * grows. Every call answers with a clean errno; what was acknowledged is there in a next life, in
 * order, and nothing else is; nothing leaks.
 */
#include "../lib/backend.h"
#include "again.h"

#include <demi/storage.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS_MAX = 128 };

/* What the log has by what was said of it: of a trim that failed for good, either. */
static struct {
    uint64_t first, maybe_first, end;
    uint32_t bytes[RECORDS_MAX]; /* of record i, which has pattern i */
} model;

static char file[64], spec[128];
static const char *name; /* of the log: `file`, or one on the device in it */
static bool grows;

static int push_some(demi_qtoken_t *qt_out, int qd, uint32_t bytes)
{
    demi_sgarray_t sga = demi_sgaalloc(bytes);
    if (sga.sga_numsegs == 0)
        return ENOMEM;
    pattern_fill(sga.sga_segs[0].sgaseg_buf, bytes, model.end, 0);
    const int error = demi_push(qt_out, qd, &sga);
    must(demi_sgafree(&sga));
    return error;
}

static bool append(int qd, uint32_t bytes)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    TRY_OP(&qr, qt, push_some(&qt, qd, bytes));
    assert_true(model.end < RECORDS_MAX);
    model.bytes[model.end++] = bytes;
    return true;
}

static bool pop(int qd, uint64_t record)
{
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    int64_t pos = -1;
    for (int pops = 1;; pops++) { /* one that fails moves on */
        TRY(demi_lseek(qd, (int64_t)record, SEEK_SET, &pos));
        TRY(demi_pop(&qt, qd));
        if (!wait_one(&qr, qt))
            return false;
        if (qr.qr_opcode != DEMI_OPC_FAILED)
            break;
        if (!again("demi_pop", (int)qr.qr_ret, pops))
            return false;
    }
    assert_int_equal(sga_bytes(&qr.qr_value.sga), model.bytes[record]);
    pattern_check_sga(&qr.qr_value.sga, record, 0);
    must(demi_sgafree(&qr.qr_value.sga));
    return true;
}

static bool trim(int qd, uint64_t record)
{
    model.maybe_first = record;
    TRY(demi_trim(qd, (int64_t)record));
    model.first = record;
    return true;
}

static bool use_log(void)
{
    int qd = -1;
    TRY(demi_open(&qd, name, O_RDWR | O_CREAT));
    for (uint32_t i = 0; i < 4; i++)
        if (!append(qd, 100 + i * 5000))
            return false;
    for (uint32_t i = 0; grows && i < 40; i++)
        if (!append(qd, 40000))
            return false;
    if (!pop(qd, 0) || !pop(qd, 3) || !trim(qd, 2) || !append(qd, 10) || !pop(qd, model.end - 1))
        return false;
    must(demi_close(qd));
    return true;
}

static bool start(void)
{
    TRY(demi_init(NULL));
    return true;
}

/* In a life without failures. */
static void check(void)
{
    int qd = -1;
    int64_t first = -1, end = -1;
    must(demi_init(NULL));
    const int error = demi_open(&qd, name, O_RDWR);
    must_hold(error == 0 || (model.end == 0 && (error == ENOENT || error == EMEDIUMTYPE)),
              "%llu records were acknowledged, and open says %s", (unsigned long long)model.end,
              errno_name(error));
    if (error == 0) {
        must(demi_lseek(qd, 0, SEEK_END, &end));
        assert_int_equal(end, model.end);
        must(demi_lseek(qd, 0, SEEK_DATA, &first));
        assert_true((uint64_t)first == model.first || (uint64_t)first == model.maybe_first);
        for (int64_t i = first; i < end; i++)
            pop_pattern(qd, model.bytes[i], (uint64_t)i, 0);
        pop_end(qd);
        must(demi_close(qd));
    }
    must(demi_fini());
}

static bool scenario(void)
{
    memset(&model, 0, sizeof model);
    (void)unlink(file);
    const bool done = start() && use_log();
    inject_disarm();
    (void)must_either(demi_fini(), 0, ENOSYS);
    check();
    return done;
}

/* Hundreds of lives on a disk would take its time: they are in memory where that has files. Direct
 * I/O, which there is not, is the matter of drv_blk_file_test. */
static void choose_place(bool threads)
{
    const char *folder = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ".";
    snprintf(file, sizeof file, "%s/requests.%d.log", folder, (int)getpid());
    snprintf(spec, sizeof spec, "file:%s,size=1M,create,buffered%s", file,
             threads ? ",threads" : "");
}

/* What is made once and kept, is made before anything is counted. */
static void warm_up(bool on_device)
{
    static const int none[] = {0};
    grows = on_device;
    name = on_device ? "log" : file;
    setenv("DEMI_STORE", on_device ? spec : "none", 1);
    allowed = none;
    lasting = false;
    for (int i = 0; i < 2; i++)
        assert_true(scenario());
    deadline_start("faults", 5 * DEADLINE_S);
}

static const int memory_errors[] = {ENOMEM, 0};
/* EUCLEAN: a device whose format could not be finished, while nothing works. */
static const int file_errors[] = {EIO, 0}, lasting_file_errors[] = {EIO, EUCLEAN, 0};
static const int descriptor_errors[] = {EMFILE, 0};
static const int thread_errors[] = {EAGAIN, 0};
static const int no_errors[] = {0};

static void fail_all(bool on_device, bool is_lasting)
{
    warm_up(on_device);
    fail_each(scenario, INJECT_MEMORY, ENOMEM, memory_errors, is_lasting);
    fail_each(scenario, INJECT_FILE, EIO, is_lasting ? lasting_file_errors : file_errors,
              is_lasting);
    fail_each(scenario, INJECT_DESCRIPTOR, EMFILE, descriptor_errors, is_lasting);
}

static void test_log_in_a_file_each_request_fails_once(void **state)
{
    (void)state;
    fail_all(false, false);
}

static void test_log_in_a_file_requests_fail_from_each_on(void **state)
{
    (void)state;
    fail_all(false, true);
}

static void test_log_that_grows_each_request_fails_once(void **state)
{
    (void)state;
    fail_all(true, false);
}

static void test_log_that_grows_requests_fail_from_each_on(void **state)
{
    (void)state;
    fail_all(true, true);
}

static void test_submit_refused_for_the_moment_is_not_seen(void **state)
{
    (void)state;
    warm_up(true);
    fail_each(scenario, INJECT_SUBMIT, EAGAIN, no_errors, false);
    fail_each(scenario, INJECT_SUBMIT, EINTR, no_errors, false);
}

static void test_threads_refused_from_each_on(void **state)
{
    (void)state;
    warm_up(true);
    fail_each(scenario, INJECT_THREAD, EAGAIN, thread_errors, true);
}

int main(int argc, char **argv)
{
    const bool threads = argc == 2 && strcmp(argv[1], "threads") == 0;
    if (argc != 2 || (!threads && strcmp(argv[1], "io_uring") != 0)) {
        fprintf(stderr, "usage: log-requests io_uring|threads\n");
        return 2;
    }
    choose_place(threads);
    setenv("DEMI_NET", "memory", 1);
#define FAULT(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)
    const struct CMUnitTest ring_tests[] = {
        FAULT(test_log_in_a_file_each_request_fails_once),
        FAULT(test_log_in_a_file_requests_fail_from_each_on),
        FAULT(test_log_that_grows_each_request_fails_once),
        FAULT(test_log_that_grows_requests_fail_from_each_on),
        FAULT(test_submit_refused_for_the_moment_is_not_seen),
    };
    const struct CMUnitTest thread_tests[] = {
        FAULT(test_log_that_grows_each_request_fails_once),
        FAULT(test_log_that_grows_requests_fail_from_each_on),
        FAULT(test_threads_refused_from_each_on),
    };
    const int failed = threads ? cmocka_run_group_tests_name("threads", thread_tests, NULL, NULL)
                               : cmocka_run_group_tests_name("io_uring", ring_tests, NULL, NULL);
    (void)unlink(file);
    return failed;
}
