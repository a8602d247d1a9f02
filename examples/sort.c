/* SPDX-License-Identifier: MIT */
/*
 * sort: of the elements that have arrived, the most urgent is popped first; of equally urgent ones
 * the oldest.
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct job {
    int urgency; /* 0: the most urgent */
    char name[16];
};

static struct job job_of(const demi_sgarray_t *sga)
{
    struct job job;

    memcpy(&job, sga->sga_segs[0].sgaseg_buf, sizeof(job));
    return job;
}

static int by_urgency(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)arg;
    return job_of(a).urgency - job_of(b).urgency;
}

static int submit(int qd, int urgency, const char *name)
{
    struct job job = {.urgency = urgency};
    demi_sgarray_t sga = demi_sgaalloc(sizeof(job));
    int err;

    if (sga.sga_numsegs == 0)
        return ENOMEM;
    snprintf(job.name, sizeof(job.name), "%s", name);
    memcpy(sga.sga_segs[0].sgaseg_buf, &job, sizeof(job));
    err = demi_blocking_push(qd, &sga); /* a push on the sorted queue goes to its source */
    demi_sgafree(&sga);
    return err;
}

int main(void)
{
    demi_qresult_t qr;
    int err = demi_init(NULL);
    int jobs, urgent_first;

    if (!err)
        err = demi_queue(&jobs, 0);
    if (!err)
        err = demi_sort(&urgent_first, jobs, by_urgency, NULL);
    if (!err)
        err = submit(urgent_first, 5, "backup");
    if (!err)
        err = submit(urgent_first, 1, "request 1");
    if (!err)
        err = submit(urgent_first, 1, "request 2");
    if (!err)
        err = submit(urgent_first, 0, "heartbeat");
    if (!err)
        err = demi_shutdown(urgent_first, SHUT_WR);
    while (!err && (err = demi_blocking_pop(urgent_first, &qr)) == 0 &&
           qr.qr_value.sga.sga_numsegs > 0) {
        printf("%s\n", job_of(&qr.qr_value.sga).name);
        demi_sgafree(&qr.qr_value.sga);
    }
    if (err) {
        fprintf(stderr, "sort: %s\n", strerror(err));
        return 1;
    }
    return demi_fini();
}
