/* SPDX-License-Identifier: MIT */
#include "libos/module.h"

#include "libos/table.h"
#include "os/module.h"

int dk_module_find(const char *name, const void **driver_out, const char **why_out)
{
    static _Thread_local char why[DK_MODULE_WHY_MAX];
    const struct dk_module *module;
    const void *linked = dk_libos_linked(name);
    *why_out = why;
    int r = linked ? 0 : dk_module_load(name, &module, why);
    if (r == 0)
        *driver_out = linked ? linked : module->driver;
    return r;
}
