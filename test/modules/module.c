/* SPDX-License-Identifier: MIT */
/* A module, as good as its macros: BUILD and NAME. Without NAME it exports something else. */
#include "os/module.h"

#include <dk_build_id.h>

#ifdef NAME
DK_EXPORT extern const struct dk_module dk_module_v1;
const struct dk_module dk_module_v1 = {.build = BUILD, .name = NAME, .driver = "of " NAME};
#else
DK_EXPORT extern const int dk_other;
const int dk_other = 1;
#endif
