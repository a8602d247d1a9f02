/* SPDX-License-Identifier: MIT */
/*
 * Modules: parts of the library that lie in files of their own, and are loaded when they are asked
 * for. What a module needs from elsewhere (DPDK) is then needed by nobody else.
 *
 * A module is a shared object NAME.so that exports one struct dk_module as `dk_module_v1`, and
 * calls the library by what it exports as DEMIKERNEL_PRIVATE (src/demikernel.map). Both share
 * structures, so it works with the build of the library that it was built with and with no other:
 * the build id is of all sources and of the options of the build.
 *
 * It is sought in the folders of DEMI_MODULE_PATH (separated by colons; not by a program that runs
 * with privileges of its file: secure_getenv(3)), then in demikernel/ beside the library. The first
 * file of the name is the one. A module stays loaded for ever.
 *
 * A program into which the library is linked statically cannot load any: a module would bring a
 * second library along.
 */
#ifndef DK_OS_MODULE_H
#define DK_OS_MODULE_H

#include "base/compiler.h"

#include <stddef.h>
#include <stdint.h>

#define DK_MODULE_SYMBOL  "dk_module_v1"
#define DK_MODULE_WHY_MAX 320

struct dk_module {
    const char *build;  /* DK_BUILD_ID, <dk_build_id.h> */
    const char *name;   /* that of its file */
    const void *driver; /* what it is for who asked */
};

/*
 * Loads a module. 0, or what to do in why: -ENOENT (there is no such file), -ELIBBAD (it cannot be
 * loaded, or is no module), -ESTALE (of another build), -ENOSYS (a static program).
 */
DK_EXPORT int dk_module_load(const char *name, const struct dk_module **module_out,
                             char why[DK_MODULE_WHY_MAX]);

/* The build of the library, DK_BUILD_ID, for a program that calls what DEMIKERNEL_PRIVATE has. */
DK_EXPORT const char *dk_module_build(void);

#endif /* DK_OS_MODULE_H */
