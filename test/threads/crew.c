/* SPDX-License-Identifier: MIT */
/* See crew.h. */
#include "crew.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

struct member {
    pthread_t thread;
    int index;
};

static struct member members[CREW_MAX];
static int num_members;
static pthread_barrier_t start_line;
static crew_fn crew_run;
static void *crew_arg;
static atomic_bool failed;
static pthread_mutex_t failure_lock = PTHREAD_MUTEX_INITIALIZER;
static char failure[512];

static void *member_run(void *arg)
{
    struct member *member = arg;
    pthread_barrier_wait(&start_line);
    crew_run(member->index, crew_arg);
    return NULL;
}

int crew_rounds(int n)
{
    return backend_spins() ? n / 10 : n;
}

void crew_start(int n, crew_fn fn, void *arg)
{
    assert_true(n <= CREW_MAX);
    failed = false;
    failure[0] = '\0';
    crew_run = fn;
    crew_arg = arg;
    assert_int_equal(pthread_barrier_init(&start_line, NULL, (unsigned)n), 0);
    for (num_members = 0; num_members < n; num_members++) {
        members[num_members].index = num_members;
        assert_int_equal(
            pthread_create(&members[num_members].thread, NULL, member_run, &members[num_members]),
            0);
    }
}

void crew_join(void)
{
    while (num_members > 0)
        assert_int_equal(pthread_join(members[--num_members].thread, NULL), 0);
    pthread_barrier_destroy(&start_line);
    must_hold(!failed, "%s", failure);
}

bool crew_failed(void)
{
    return failed;
}

const char *crew_failure(void)
{
    return failure;
}

void crew_fails(const char *what, const char *file, int line)
{
    crew_fails_errno(what, 0, file, line);
}

void crew_fails_errno(const char *what, int error, const char *file, int line)
{
    pthread_mutex_lock(&failure_lock);
    if (!failed)
        snprintf(failure, sizeof failure, "%s:%d: %s: %s", file, line, what,
                 error != 0 ? errno_name(error) : "does not hold");
    failed = true;
    pthread_mutex_unlock(&failure_lock);
}

int crew_wait(demi_qresult_t *qr, demi_qtoken_t qt, demi_opcode_t opcode)
{
    const struct timespec patience = {PATIENCE_S, 0};
    const int error = demi_wait(qr, qt, &patience);
    if (error != 0)
        return error;
    if (qr->qr_opcode == DEMI_OPC_FAILED)
        return (int)qr->qr_ret;
    return qr->qr_opcode == opcode && qr->qr_qt == qt ? 0 : EPROTO;
}

int crew_push_tag(int qd, uint64_t tag)
{
    demi_sgarray_t sga = demi_sgaalloc(sizeof tag);
    if (sga.sga_buf == NULL)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, &tag, sizeof tag);
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    int error = demi_push(&qt, qd, &sga);
    const int free_error = demi_sgafree(&sga);
    if (error == 0)
        error = crew_wait(&qr, qt, DEMI_OPC_PUSH);
    return error != 0 ? error : free_error;
}

int crew_pop_tag(int qd, uint64_t *tag_out)
{
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    int error = demi_pop(&qt, qd);
    if (error == 0)
        error = crew_wait(&qr, qt, DEMI_OPC_POP);
    if (error != 0)
        return error;
    demi_sgarray_t sga = qr.qr_value.sga;
    if (sga.sga_numsegs != 1 || sga.sga_segs[0].sgaseg_len != sizeof *tag_out)
        return EMSGSIZE;
    memcpy(tag_out, sga.sga_segs[0].sgaseg_buf, sizeof *tag_out);
    return demi_sgafree(&sga);
}
