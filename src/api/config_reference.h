/* SPDX-License-Identifier: MIT */
/*
 * What the reference implementation's LIBOS variable and configuration files mean here.
 */
#ifndef DK_API_CONFIG_REFERENCE_H
#define DK_API_CONFIG_REFERENCE_H

#include "api/config_set.h"

/* Sets `net` from the value of LIBOS: 0, or -EINVAL with the error written. */
int dk_config_reference_libos(struct dk_config_set *set, const char *libos);

/* Returns why a top-level section of a reference configuration file has no effect here, or NULL
 * for a name that is not such a section. */
const char *dk_config_reference_section(const char *name);

#endif /* DK_API_CONFIG_REFERENCE_H */
