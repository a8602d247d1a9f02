/* SPDX-License-Identifier: MIT */
/*
 * A command that has not arrived whole.
 *
 * Most commands arrive whole and are executed where they were received. One that does not is put
 * together here: small parts in one growing buffer, each large argument in a blob of exactly its
 * size, into which its bytes are copied once, as they come. Only what belongs to this command is
 * taken from what arrives: the rest is again executed in place.
 */
#ifndef KV_INPUT_H
#define KV_INPUT_H

#include "blob.h"
#include "resp.h"

struct kv_input {
    struct resp_scan scan;
    char *buf; /* the command's bytes without its large arguments */
    uint32_t len;
    uint32_t cap;
    struct kv_blob *blobs; /* large arguments, in order; the last may be incomplete */
    uint32_t num_blobs;
    uint32_t missing; /* bytes that the last blob, with the CR LF behind it, still lacks */
    uint64_t bytes;   /* of all memory above */
    uint64_t limit;   /* of bytes */
};

/*
 * Begins with the first len bytes of a command, as far as `scan` came in them (RESP_MORE). NULL
 * without memory. limit: bytes that the command may take.
 */
struct kv_input *kv_input_create(const struct resp_scan *scan, const char *bytes, uint32_t len,
                                 uint64_t limit);

/*
 * Goes on with what arrived; *used is how much of it belonged to the command. After RESP_COMMAND
 * the arguments stand in scan, buf and blobs. RESP_NO_MEMORY also when the limit is exceeded.
 */
enum resp_status kv_input_feed(struct kv_input *in, const char *bytes, uint32_t len,
                               uint32_t *used);

/* Frees it with the blobs that nobody took. */
void kv_input_free(struct kv_input *in);

#endif /* KV_INPUT_H */
