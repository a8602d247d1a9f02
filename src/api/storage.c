/* SPDX-License-Identifier: MIT */
/*
 * Logs: the public side of libos/log. All of these are control calls: they take the lead, and wait
 * for the device.
 */
#include "api/api.h"
#include "core/taker.h"
#include "libos/log/log.h"

#include <demi/storage.h>

/* Of a file that demi_open makes: what is in it is its owner's. */
#define DEFAULT_MODE 0600

static struct dk_logs_options options(void)
{
    return (struct dk_logs_options){.device = dk_api.store};
}

static int open_log(int *qd_out, const char *path, int flags, mode_t mode)
{
    struct dk_instance *inst = dk_api_instance();
    const struct dk_logs_options o = options();
    if (!qd_out || !path)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    if (!*path)
        return ENOENT;
    dk_lead_take(inst);
    dk_run_posted(inst);
    int r = dk_logs_open(inst, &o, path, flags, mode, qd_out);
    dk_lead_drop(inst);
    dk_taker_run_woken();
    return dk_public(r);
}

int demi_open(int *qd_out, const char *path, int flags)
{
    DK_PROFILE("demi_open");
    return open_log(qd_out, path, flags, DEFAULT_MODE);
}

int demi_creat(int *qd_out, const char *path, mode_t mode)
{
    DK_PROFILE("demi_creat");
    return open_log(qd_out, path, O_RDWR | O_CREAT | O_TRUNC, mode);
}

int demi_unlink(const char *path)
{
    struct dk_instance *inst = dk_api_instance();
    const struct dk_logs_options o = options();
    if (!path)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    if (!*path)
        return ENOENT;
    dk_lead_take(inst);
    dk_run_posted(inst);
    int r = dk_logs_unlink(inst, &o, path);
    dk_lead_drop(inst);
    dk_taker_run_woken();
    return dk_public(r);
}

int demi_lseek(int qd, int64_t record, int whence, int64_t *pos_out)
{
    struct dk_queue *q;
    if (!pos_out)
        return EINVAL;
    int r = dk_api_enter(qd, &q);
    return r < 0 ? dk_public(r) : dk_api_leave(q, dk_logs_seek(q, record, whence, pos_out));
}

int demi_truncate(int qd, int64_t record)
{
    struct dk_queue *q;
    int r = dk_api_enter(qd, &q);
    return r < 0 ? dk_public(r) : dk_api_leave(q, dk_logs_truncate(q, record));
}

int demi_trim(int qd, int64_t record)
{
    struct dk_queue *q;
    int r = dk_api_enter(qd, &q);
    return r < 0 ? dk_public(r) : dk_api_leave(q, dk_logs_trim(q, record));
}
