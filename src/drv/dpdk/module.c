/* SPDX-License-Identifier: MIT */
/*
 * The driver as a module (os/module.h).
 */
#include "drv/dpdk/dpdk.h"
#include "os/module.h"

#include <dk_build_id.h>

DK_EXPORT extern const struct dk_module dk_module_v1;

const struct dk_module dk_module_v1 = {
    .build = DK_BUILD_ID,
    .name = "dpdk",
    .driver = &dk_dpdk_driver,
};
