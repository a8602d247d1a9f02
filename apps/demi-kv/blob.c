/* SPDX-License-Identifier: MIT */
/*
 * Large values in memory of the library (blob.h).
 */
#include "blob.h"

#include "numbers.h"

#include <demi/sga.h>
#include <string.h>

/* "$", the length, CR LF. */
static uint32_t header_bytes(uint32_t len)
{
    return 1 + kv_digits(len) + 2;
}

bool kv_blob_create(struct kv_blob *blob, uint32_t len)
{
    uint32_t header = header_bytes(len);
    demi_sgarray_t sga = demi_sgaalloc((size_t)header + len + 2);
    char *p = sga.sga_segs[0].sgaseg_buf;

    if (!sga.sga_buf)
        return false;
    p[0] = '$';
    kv_format_u64(p + 1, len);
    memcpy(p + header - 2, "\r\n", 2);
    memcpy(p + header + len, "\r\n", 2);
    *blob = (struct kv_blob){.handle = sga.sga_buf, .data = p + header, .len = len};
    return true;
}

bool kv_blob_create_growable(struct kv_blob *blob, const char *p, uint32_t len, uint32_t cap)
{
    demi_sgarray_t sga = demi_sgaalloc(cap);

    if (!sga.sga_buf)
        return false;
    *blob = (struct kv_blob){
        .handle = sga.sga_buf, .data = sga.sga_segs[0].sgaseg_buf, .len = len, .cap = cap};
    memcpy(blob->data, p, len);
    return true;
}

bool kv_blob_share(struct kv_blob *blob, const demi_sgarray_t *sga, char *data, uint32_t len)
{
    demi_sgarray_t clone;

    if (data[-1] != '\n' || memcmp(data + len, "\r\n", 2) != 0 || demi_sgaclone(&clone, sga) != 0)
        return false;
    *blob = (struct kv_blob){.handle = clone.sga_buf, .data = data, .len = len};
    return true;
}

static demi_sgarray_t view(const struct kv_blob *blob, char *p, uint32_t len)
{
    demi_sgarray_t sga = {.sga_buf = blob->handle, .sga_numsegs = 1};

    sga.sga_segs[0].sgaseg_buf = p;
    sga.sga_segs[0].sgaseg_len = len;
    return sga;
}

void kv_blob_free(struct kv_blob *blob)
{
    demi_sgarray_t sga = view(blob, blob->data, blob->len);

    if (blob->handle)
        demi_sgafree(&sga);
    blob->handle = NULL;
}

demi_sgarray_t kv_blob_bytes(const struct kv_blob *blob)
{
    return view(blob, blob->data, blob->len);
}

demi_sgarray_t kv_blob_reply(const struct kv_blob *blob)
{
    uint32_t header = header_bytes(blob->len);

    return view(blob, blob->data - header, header + blob->len + 2);
}
