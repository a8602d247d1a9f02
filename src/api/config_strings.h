/* SPDX-License-Identifier: MIT */
/*
 * Strings that live as long as the process, each distinct one kept once. demi_config_get and
 * demi_stats_pid return them: their caller frees nothing, and two threads may ask at the same time.
 */
#ifndef DK_API_CONFIG_STRINGS_H
#define DK_API_CONFIG_STRINGS_H

/* Returns the kept copy of text, or NULL without memory. */
const char *dk_config_string(const char *text);

#endif /* DK_API_CONFIG_STRINGS_H */
