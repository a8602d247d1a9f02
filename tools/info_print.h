/* SPDX-License-Identifier: MIT */
/*
 * What `demi info` knows, and its two ways to print it.
 */
#ifndef TOOLS_INFO_PRINT_H
#define TOOLS_INFO_PRINT_H

#include <demi/admin.h>

#include <stdbool.h>
#include <stddef.h>

#define INFO_BACKENDS_MAX 64
#define INFO_VALUES_MAX   64

struct info {
    struct demi_backend backends[INFO_BACKENDS_MAX];
    size_t num_backends;
    struct demi_config_value values[INFO_VALUES_MAX];
    size_t num_values;
};

/* Both return an exit code. with_config: the values instead of the backends (text), or too (JSON).
 */
int info_print_text(const struct info *info, bool with_config);
int info_print_json(const struct info *info, bool with_config);

#endif /* TOOLS_INFO_PRINT_H */
