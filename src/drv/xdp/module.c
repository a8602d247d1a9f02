/* SPDX-License-Identifier: MIT */
/*
 * The driver as a module (os/module.h).
 */
#include "drv/xdp/xdp.h"
#include "os/module.h"

#include <dk_build_id.h>

DK_EXPORT extern const struct dk_module dk_module_v1;

const struct dk_module dk_module_v1 = {
    .build = DK_BUILD_ID,
    .name = "xdp",
    .driver = &dk_xdp_driver,
};
