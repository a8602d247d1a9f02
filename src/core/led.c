/* SPDX-License-Identifier: MIT */
/*
 * What is rare with pushes under the lead (led.h).
 */
#include "core/led.h"

int dk_led_make_failed(struct dk_instance *inst, struct dk_queue *q, int error,
                       demi_qtoken_t *qt_out)
{
    struct dk_op *op;
    dk_add_u32(&q->holds, 1);
    int r = dk_op_alloc(&op, inst, q, DEMI_OPC_PUSH);
    if (r < 0)
        return r;
    *qt_out = dk_op_token(op);
    dk_op_complete(op, error);
    return 0;
}
