/* SPDX-License-Identifier: MIT */
/*
 * Modules by their names: those that this build has linked in (-Dstatic_backends), and those that
 * are loaded (os/module.h).
 */
#ifndef DK_LIBOS_MODULE_H
#define DK_LIBOS_MODULE_H

/* What a module is (dk_module.driver). 0, or a negative errno and *why_out, good until the next
 * call of this thread. */
int dk_module_find(const char *name, const void **driver_out, const char **why_out);

#endif /* DK_LIBOS_MODULE_H */
