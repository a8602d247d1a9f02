/* SPDX-License-Identifier: MIT */
#include "libos/module.h"

#include "libos/table.h"
#include "os/module.h"

#include <errno.h>
#include <stdio.h>

/* What there is to do where this build was made without the module. */
static void explain(const char *name, char why[DK_MODULE_WHY_MAX])
{
    const char *left_out = dk_libos_left_out(name);
    if (left_out)
        snprintf(why, DK_MODULE_WHY_MAX,
                 "the library was built %s, so there is no module %s: install what it needs "
                 "(doc/dependencies.md) and build it again",
                 left_out, name);
}

int dk_module_find(const char *name, const void **driver_out, const char **why_out)
{
    static _Thread_local char why[DK_MODULE_WHY_MAX];
    const struct dk_module *module;
    const void *linked = dk_libos_linked(name);
    *why_out = why;
    int r = linked ? 0 : dk_module_load(name, &module, why);
    if (r == -ENOENT || r == -ENOSYS)
        explain(name, why);
    if (r == 0)
        *driver_out = linked ? linked : module->driver;
    return r;
}
