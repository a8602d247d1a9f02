/* SPDX-License-Identifier: MIT */
/* loader MODULE: loads a module by its name; prints "loaded DRIVER", or the errno and why not. */
#include "os/module.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    const struct dk_module *module;
    char why[DK_MODULE_WHY_MAX] = "";
    if (argc != 2)
        return 2;
    int r = dk_module_load(argv[1], &module, why);
    if (r == 0)
        printf("loaded %s\n", (const char *)module->driver);
    else
        printf("%s: %s\n", strerrorname_np(-r), why);
    return 0;
}
