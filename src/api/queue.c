/* SPDX-License-Identifier: MIT */
/*
 * Control calls on queues: creation, names, options, shutdown, close. They take the lead: the
 * leader gives way between two polls.
 */
#include "api/api.h"
#include "compose/memq.h"
#include "core/taker.h"
#include "libos/table.h"

#include <demi/libos.h>
#include <demi/queue.h>

/* A token of a queue may be fresh, and holds it from here on. */
static void settle(struct dk_instance *inst)
{
    dk_lock(&inst->tokens);
    dk_op_settle(inst);
    dk_unlock(&inst->tokens);
}

int dk_api_enter(int qd, struct dk_queue **q_out)
{
    struct dk_instance *inst = dk_api_instance();
    if (!inst)
        return dk_api_missing();
    struct dk_queue *q = dk_queue_lookup(qd);
    if (!q || !dk_queue_get(q))
        return -EBADF;
    if (q->anywhere) {
        settle(inst);
        *q_out = q;
        return 0;
    }
    int r = q->inst == inst ? 0 : -EXDEV;
    if (r == 0) {
        dk_lead_take(inst);
        dk_run_posted(inst);
        settle(inst); /* now: until here another thread may have pushed on q (led.h) */
        if (q->state != DK_QUEUE_OPEN) { /* closed while we waited for the lead */
            dk_lead_drop(inst);
            r = -EBADF;
        }
    }
    if (r < 0)
        dk_queue_put(q);
    *q_out = q;
    return r;
}

int dk_api_leave(struct dk_queue *q, int r)
{
    if (!q->anywhere)
        dk_lead_drop(q->inst);
    dk_queue_put(q);
    dk_taker_run_woken();
    return dk_public(r);
}

int demi_socket(int *sockqd_out, int domain, int type, int protocol)
{
    DK_PROFILE("demi_socket");
    struct dk_instance *inst = dk_api_instance();
    if (!sockqd_out)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    if (!dk_api.libos->socket)
        return EAFNOSUPPORT;
    dk_lead_take(inst);
    int r = dk_api.libos->socket(inst, domain, type, protocol, sockqd_out);
    dk_lead_drop(inst);
    return dk_public(r);
}

int demi_queue(int *qd_out, uint32_t capacity)
{
    struct dk_instance *inst = dk_api_instance();
    if (!qd_out)
        return EINVAL;
    if (!inst)
        return dk_public(dk_api_missing());
    return dk_public(dk_memq_create(qd_out, inst, capacity));
}

int demi_bind(int sockqd, const struct sockaddr *addr, socklen_t size)
{
    struct dk_queue *q;
    if (!addr || size < sizeof(sa_family_t) || size > sizeof(struct sockaddr_storage))
        return EINVAL;
    int r = dk_api_enter(sockqd, &q);
    if (r < 0)
        return dk_public(r);
    return dk_api_leave(q, q->ops->bind ? q->ops->bind(q, addr, size) : -EOPNOTSUPP);
}

int demi_listen(int sockqd, int backlog)
{
    struct dk_queue *q;
    int r = dk_api_enter(sockqd, &q);
    if (r < 0)
        return dk_public(r);
    if (!q->ops->listen)
        r = -EOPNOTSUPP;
    else
        r = backlog < 1 ? -EINVAL : q->ops->listen(q, backlog);
    return dk_api_leave(q, r);
}

int demi_shutdown(int qd, int how)
{
    struct dk_queue *q;
    int r = dk_api_enter(qd, &q);
    if (r < 0)
        return dk_public(r);
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        r = -EINVAL;
    else
        r = dk_queue_shutdown(q, how);
    return dk_api_leave(q, r);
}

int demi_close(int qd)
{
    DK_PROFILE("demi_close");
    struct dk_queue *q;
    int r = dk_api_enter(qd, &q);
    if (r < 0)
        return dk_public(r);
    if (dk_queue_set_closed(q)) {
        q->ops->close(q);
        dk_taker_queue_closed(q);
    } else {
        r = -EBADF;
    }
    return dk_api_leave(q, r);
}

int demi_setsockopt(int qd, int level, int optname, const void *optval, socklen_t optlen)
{
    struct dk_queue *q;
    if (!optval)
        return EINVAL;
    int r = dk_api_enter(qd, &q);
    if (r < 0)
        return dk_public(r);
    return dk_api_leave(q, q->ops->setsockopt
                               ? q->ops->setsockopt(q, level, optname, optval, optlen)
                               : -EOPNOTSUPP);
}

int demi_getsockopt(int qd, int level, int optname, void *optval, socklen_t *optlen)
{
    struct dk_queue *q;
    if (!optval || !optlen)
        return EINVAL;
    int r = dk_api_enter(qd, &q);
    if (r < 0)
        return dk_public(r);
    return dk_api_leave(q, q->ops->getsockopt
                               ? q->ops->getsockopt(q, level, optname, optval, optlen)
                               : -EOPNOTSUPP);
}

static int get_name(int qd, enum dk_queue_name which, struct sockaddr *addr, socklen_t *addrlen)
{
    struct dk_queue *q;
    if (!addr || !addrlen)
        return EINVAL;
    int r = dk_api_enter(qd, &q);
    if (r < 0)
        return dk_public(r);
    return dk_api_leave(q, q->ops->name ? q->ops->name(q, which, addr, addrlen) : -EOPNOTSUPP);
}

int demi_getpeername(int qd, struct sockaddr *addr, socklen_t *addrlen)
{
    return get_name(qd, DK_QUEUE_PEER, addr, addrlen);
}

int demi_getsockname(int qd, struct sockaddr *addr, socklen_t *addrlen)
{
    return get_name(qd, DK_QUEUE_LOCAL, addr, addrlen);
}
