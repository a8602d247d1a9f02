/* SPDX-License-Identifier: MIT */
/*
 * Several pollers of one instance: sockets and logs in one wait.
 *
 * The first poller of an instance is its poller, and nothing comes between. When a second one
 * joins, a poller over both takes their place: it polls each, and sleeps over their descriptors and
 * a kick. Where all children but one are quiet and serve no queue, it sleeps in that one: `arm`,
 * `block` and `kick` of a child are called for that, and `kick` once when the place is taken: a
 * thread that armed the child before sleeps in it, or is about to.
 */
#ifndef DK_CORE_POLLERS_H
#define DK_CORE_POLLERS_H

#include "core/instance.h"

#define DK_POLLERS_MAX 4

/*
 * Gives inst one more poller, its own from success on. 0 or a negative errno (-ENOMEM, -EMFILE, the
 * error of a child's descriptor). The lead is held.
 */
int dk_instance_add_poller(struct dk_instance *inst, struct dk_poller *p);

#endif /* DK_CORE_POLLERS_H */
