/* SPDX-License-Identifier: MIT */
/*
 * Reads a configuration file: YAML, one mapping of keys to single values.
 */
#ifndef DK_API_CONFIG_FILE_H
#define DK_API_CONFIG_FILE_H

#include "api/config_set.h"

#include <stdbool.h>

/* Largest file that is read. */
#define DK_CONFIG_FILE_MAX_BYTES 1048576

/*
 * Reads the file at path into a set. `reference`: the file may have been written for the reference
 * implementation, so an unknown key is a warning instead of an error. 0, or -EINVAL or -ENOMEM with
 * the error written. path must live as long as the set. Blocks to read.
 */
int dk_config_file_read(struct dk_config_set *set, const char *path, bool reference);

#endif /* DK_API_CONFIG_FILE_H */
