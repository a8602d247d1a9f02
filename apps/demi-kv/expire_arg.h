/* SPDX-License-Identifier: MIT */
/*
 * Options that say when a key expires, as SET and GETEX have them.
 */
#ifndef KV_EXPIRE_ARG_H
#define KV_EXPIRE_ARG_H

#include "command.h"

enum kv_time_unit {
    KV_SECONDS = 1 << 0,
    KV_ABSOLUTE = 1 << 1, /* counted from 1970, else from now */
};

/* Reads argument i as a time to expire at, above 0; false after the error reply. */
bool kv_expire_time(const struct kv_call *call, uint32_t i, unsigned unit, int64_t *when_ms);

/* What SET and GETEX may say. */
enum kv_set_flags {
    KV_SET_NX = 1 << 0,
    KV_SET_XX = 1 << 1,
    KV_SET_GET = 1 << 2,
    KV_SET_KEEPTTL = 1 << 3,
    KV_SET_PERSIST = 1 << 4,
    KV_SET_EX = 1 << 5,
    KV_SET_PX = 1 << 6,
    KV_SET_EXAT = 1 << 7,
    KV_SET_PXAT = 1 << 8,
};
#define KV_SET_TIMES (KV_SET_EX | KV_SET_PX | KV_SET_EXAT | KV_SET_PXAT)

struct kv_set_options {
    unsigned flags;    /* enum kv_set_flags */
    unsigned unit;     /* enum kv_time_unit of the time */
    uint32_t time_arg; /* the argument that is the time, 0: none */
};

/* Reads the options from argument `first` on, those in `allowed`; false after the error reply. */
bool kv_set_options_read(const struct kv_call *call, uint32_t first, unsigned allowed,
                         struct kv_set_options *out);

/*
 * Reads the time that they give, KV_EXPIRE_NEVER for none; false after the error reply. A step of
 * its own because GETEX looks for the key in between.
 */
bool kv_set_options_time(const struct kv_call *call, const struct kv_set_options *options,
                         int64_t *when_ms);

#endif /* KV_EXPIRE_ARG_H */
