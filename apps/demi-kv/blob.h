/* SPDX-License-Identifier: MIT */
/*
 * A large value: bytes in memory of the library, so that they leave by reference.
 *
 * There are two forms. A *wire* blob stands in its buffer as it goes out, and never changes:
 *
 *     $<length> CR LF  <bytes>  CR LF
 *                      ^ data
 *
 * A *growable* blob is what APPEND makes: bytes with room behind them, up to `cap`. Bytes below
 * `len` never change (they may be on their way to somebody), so growing writes behind them only.
 *
 * The struct is small because entries embed it; one owner, moved by plain assignment.
 */
#ifndef KV_BLOB_H
#define KV_BLOB_H

#include <demi/types.h>
#include <stdbool.h>
#include <stdint.h>

/* Values from this size on are blobs; smaller ones are copied into replies. */
#define KV_BLOB_MIN (16 * 1024)

struct kv_blob {
    void *handle; /* the library's handle of the buffer; NULL: no blob */
    char *data;
    uint32_t len;
    uint32_t cap; /* bytes at data when growable; 0: wire form */
};

/* Makes a wire blob of len bytes, whose bytes the caller fills in. false without memory. */
bool kv_blob_create(struct kv_blob *blob, uint32_t len);

/* Makes a growable blob of len bytes copied from p, with room for cap. false without memory. */
bool kv_blob_create_growable(struct kv_blob *blob, const char *p, uint32_t len, uint32_t cap);

/*
 * Makes a wire blob by reference of the bytes at data, which lie in the received sga with their
 * header before them. Fails when what is around them is not CR LF, or without memory.
 */
bool kv_blob_share(struct kv_blob *blob, const demi_sgarray_t *sga, char *data, uint32_t len);

/* Frees a blob, or does nothing for none. Bytes on their way out stay until they are out. */
void kv_blob_free(struct kv_blob *blob);

/* The bytes, or for a wire blob the whole reply, as an sga to push (and not to free). */
demi_sgarray_t kv_blob_bytes(const struct kv_blob *blob);
demi_sgarray_t kv_blob_reply(const struct kv_blob *blob);

/* What the blob costs, about. */
static inline uint64_t kv_blob_cost(const struct kv_blob *blob)
{
    return blob->cap ? blob->cap : blob->len;
}

#endif /* KV_BLOB_H */
