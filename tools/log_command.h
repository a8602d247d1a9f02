/* SPDX-License-Identifier: MIT */
/*
 * demi log: a store as its device has it, without the library OS: the one part of `demi` that uses
 * the inside of the library. A process that has the device keeps it; this one says so and ends.
 */
#ifndef TOOLS_LOG_COMMAND_H
#define TOOLS_LOG_COMMAND_H

#include "command.h"

#include "store/store.h"
#include "store/walk.h"

struct log_options {
    const char *device;
    const char *name; /* of the log; NULL: not said */
    bool force;       /* create: over what is there */
    bool json;        /* list, stat */
    bool null;        /* append, cat: records end with NUL */
    bool whole;       /* append: one record; cat: nothing between records */
    uint64_t size;    /* create: of a file, 0: not said */
    uint64_t segment; /* create: bytes of a segment, 0: not said */
    uint64_t from;    /* cat, dump: record, UINT64_MAX: the oldest; trim: it is kept */
    uint64_t count;   /* cat, dump: records, UINT64_MAX: all */
};

/* An open store; says what is wrong, and is NULL then. */
struct dk_store *log_open_store(const struct log_options *options, bool read_only);

/* The log that is named, or the one of a file. Says what is wrong, and is NULL then. */
struct dk_log *log_open_log(struct dk_store *store, const struct log_options *options,
                            uint32_t flags);

/* Opens the device alone. */
struct dk_blkdev *log_open_device(const struct log_options *options, bool read_only);

/* Waits until something is done. */
void log_wait(struct dk_store *store);

/* Says an errno (negative) of an object. Returns COMMAND_FAILED. */
int log_fail(const char *what, const char *name, int error);

/* A bar on a terminal, nothing elsewhere. */
struct log_progress {
    uint64_t total, next_ns;
    bool shown;
};

void log_progress_begin(struct log_progress *p, uint64_t total);
void log_progress_show(struct log_progress *p, uint64_t done);
void log_progress_end(struct log_progress *p);

int log_create(const struct log_options *options);
int log_list(const struct log_options *options);
int log_stat(const struct log_options *options);
int log_append(const struct log_options *options);
int log_cat(const struct log_options *options);
int log_verify(const struct log_options *options);
int log_dump(const struct log_options *options);
int log_trim(const struct log_options *options);
int log_unlink(const struct log_options *options);

#endif /* TOOLS_LOG_COMMAND_H */
