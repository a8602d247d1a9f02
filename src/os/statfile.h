/* SPDX-License-Identifier: MIT */
/*
 * The statistics file: the counters of this process, where other processes can read them.
 *
 * The counters themselves are in the mapped file, so a reader sees their current values and this
 * process does nothing for it. The file is named by the process's number and belongs to its user,
 * in the directory of statdir.h; it is removed at the end of the process or of the library, and
 * what a killed process left is removed when the next one starts. statread.h reads it.
 *
 * FORMAT, version 1. Numbers are in the byte order of the machine, which the magic number shows.
 *
 * - At 0 the header, struct dk_statfile_header, 64 bytes. Its first 32 bytes are the same in every
 *   version. The magic number is written last: a file that has none yet is being made.
 * - From 64 to used_bytes blocks, one behind the other, each a multiple of 64 bytes. A block is
 *   complete before used_bytes includes it; blocks are added while readers read. What is behind
 *   used_bytes means nothing.
 * - A block is struct dk_statfile_block, 128 bytes; then num_counters counters of 8 bytes; then as
 *   many names of 48 bytes, in the same order; then zeros. Counters of one name in several blocks
 *   are parts of a sum.
 * - A block may have one value that is a word: when text_name is not empty, it is texts[current].
 *   A new word is written to the other place, and then current is changed. A text of one name in
 *   several blocks is that of the first.
 * - Names are 1 to 47 bytes out of a-z 0-9 . _ and end with a zero byte. Words are printable ASCII
 *   and end with a zero byte.
 *
 * One file at a time. Opening, adding and closing are the caller's to serialise; the counters are
 * written by their owners with relaxed atomics. The address range of the mapping is reserved once
 * and never given back, so that a thread that still counts while the library ends does no harm.
 */
#ifndef DK_OS_STATFILE_H
#define DK_OS_STATFILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define DK_STATFILE_MAGIC      UINT64_C(0x0a73746174736b64) /* "dkstats\n" */
#define DK_STATFILE_VERSION    1
#define DK_STATFILE_ALIGN      64
#define DK_STATFILE_NAME_BYTES 48
#define DK_STATFILE_TEXT_BYTES 32
#define DK_STATFILE_MAX_BYTES  (2u << 20)

struct dk_statfile_header {
    uint64_t magic;
    uint32_t version;
    uint32_t pid;
    uint64_t start_ticks;   /* as in struct dk_process */
    uint64_t pid_namespace; /* as in struct dk_process */
    uint32_t used_bytes;
    uint32_t reserved[7];
};

struct dk_statfile_block {
    uint32_t bytes; /* all of it */
    uint32_t num_counters;
    uint32_t current; /* 0 or 1 */
    uint32_t reserved;
    char text_name[DK_STATFILE_NAME_BYTES];
    char texts[2][DK_STATFILE_TEXT_BYTES];
    uint64_t counters[];
};

_Static_assert(sizeof(struct dk_statfile_header) == 64, "the format says so");
_Static_assert(sizeof(struct dk_statfile_block) == 128, "the format says so");

/* Creates the file in the user's directory (statdir.h), with room for bytes in all, at most
 * DK_STATFILE_MAX_BYTES. 0 or a negative errno. */
int dk_statfile_open(const char *dir, uid_t uid, uint32_t bytes);

/*
 * Adds a block: counters of these names, all zero, and a word (text_name NULL: none). Returns it,
 * or NULL when no file is open or it is full. It is there until dk_statfile_close or a rewind.
 */
struct dk_statfile_block *dk_statfile_add(const char *const names[], size_t num_counters,
                                          const char *text_name, const char *text);

/* Changes a block's word; block may be NULL. */
void dk_statfile_set_text(struct dk_statfile_block *block, const char *text);

/* How much is in use, and taking back what was added since. */
uint32_t dk_statfile_mark(void);
void dk_statfile_rewind(uint32_t mark);

/* Removes the file; what is mapped stays. Async-signal-safe. Idempotent. */
void dk_statfile_unlink(void);

/* Ends the file: nobody counts in its blocks any more. */
void dk_statfile_close(void);

/* Around fork(2): the child gets memory of its own at the same place, with what the counters were
 * at the fork, and has no file. */
void dk_statfile_before_fork(void);
void dk_statfile_after_fork(void);

#endif /* DK_OS_STATFILE_H */
