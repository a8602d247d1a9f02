/* SPDX-License-Identifier: MIT */
/*
 * Where tests of block devices have theirs: a folder of their own in the current directory, a loop
 * device, and a small file system on one. The last two need root; without, they say so.
 */
#ifndef DEMI_TEST_UNIT_BLK_PLACE_H
#define DEMI_TEST_UNIT_BLK_PLACE_H

#include <stdint.h>

/* Group setup and teardown of cmocka. */
int blk_place_make(void **state);
int blk_place_remove(void **state);

/* The path of a file in the folder; of the last few calls. */
const char *blk_place_path(const char *name);

/* Makes a loop device over a new file: its path; NULL: said why not. One at a time. */
const char *blk_loop_attach(uint64_t bytes);
/* As that, over the file of the last one as it is, of a device that cannot be written. */
const char *blk_loop_attach_read_only(void);
const char *blk_loop_path(void);
void blk_loop_detach(void);

/* Makes a small ext4 and mounts it, in a mount namespace of this process: its folder; NULL: said
 * why not. One at a time. */
const char *blk_small_folder(uint64_t bytes);
void blk_small_folder_remove(void);

#endif /* DEMI_TEST_UNIT_BLK_PLACE_H */
