/* SPDX-License-Identifier: MIT */
/*
 * A command that has not arrived whole (input.h).
 */
#include "input.h"

#include <stdlib.h>
#include <string.h>

/* Bytes taken at a time when it is not known how many the command needs. */
#define PIECE_BYTES 512

#define MIN_CAP 128

/* Makes room for n more bytes in the buffer. */
static bool reserve(struct kv_input *in, uint32_t n)
{
    uint64_t wanted = (uint64_t)in->len + n, cap = in->cap ? in->cap : MIN_CAP;
    char *buf;

    if (wanted <= in->cap)
        return true;
    while (cap < wanted)
        cap *= 2;
    if (in->bytes + (cap - in->cap) > in->limit || cap > RESP_OUTSIDE ||
        !(buf = realloc(in->buf, cap)))
        return false;
    in->bytes += cap - in->cap;
    in->buf = buf;
    in->cap = (uint32_t)cap;
    return true;
}

static bool append(struct kv_input *in, const char *bytes, uint32_t len)
{
    if (!reserve(in, len))
        return false;
    memcpy(in->buf + in->len, bytes, len);
    in->len += len;
    return true;
}

/* Whether the argument at scan.pos is large and has no blob yet. */
static bool wants_blob(const struct resp_scan *scan)
{
    return scan->bulk >= KV_BLOB_MIN;
}

static bool add_blob(struct kv_input *in, uint32_t len)
{
    struct kv_blob *blobs = realloc(in->blobs, (in->num_blobs + 1) * sizeof(*blobs));

    if (!blobs)
        return false;
    in->blobs = blobs;
    if (in->bytes + len > in->limit || !kv_blob_create(&blobs[in->num_blobs], len))
        return false;
    in->num_blobs++;
    in->bytes += len;
    in->missing = len + RESP_BULK_END_BYTES;
    return true;
}

/* Copies what belongs to the incomplete blob; the two bytes behind it are skipped unseen. */
static uint32_t fill_blob(struct kv_input *in, const char *bytes, uint32_t len)
{
    struct kv_blob *blob = &in->blobs[in->num_blobs - 1];
    uint32_t take = len < in->missing ? len : in->missing;
    uint32_t at = blob->len + RESP_BULK_END_BYTES - in->missing;
    uint32_t room = at < blob->len ? blob->len - at : 0;

    memcpy(blob->data + at, bytes, take < room ? take : room);
    in->missing -= take;
    return take;
}

/* Moves the beginning of a large argument from the end of the buffer to a blob. */
static enum resp_status begin_blob(struct kv_input *in)
{
    if (!add_blob(in, (uint32_t)in->scan.bulk))
        return RESP_NO_MEMORY;
    fill_blob(in, in->buf + in->scan.pos, in->len - in->scan.pos);
    in->len = in->scan.pos;
    return RESP_MORE;
}

struct kv_input *kv_input_create(const struct resp_scan *scan, const char *bytes, uint32_t len,
                                 uint64_t limit)
{
    struct kv_input *in = calloc(1, sizeof(*in));
    uint32_t keep = wants_blob(scan) ? scan->pos : len;

    if (!in)
        return NULL;
    in->limit = limit;
    resp_init(&in->scan, scan->limits);
    if (!resp_copy(&in->scan, scan) || !append(in, bytes, keep) ||
        (wants_blob(scan) && !add_blob(in, (uint32_t)scan->bulk))) {
        kv_input_free(in);
        return NULL;
    }
    if (wants_blob(scan))
        fill_blob(in, bytes + keep, len - keep);
    return in;
}

/* Takes a piece into the buffer and scans it. */
static enum resp_status feed_piece(struct kv_input *in, const char *bytes, uint32_t len,
                                   uint32_t *taken)
{
    uint32_t need = in->scan.need > 1 ? in->scan.need : PIECE_BYTES;
    enum resp_status status;

    *taken = len < need ? len : need;
    if (!append(in, bytes, *taken))
        return RESP_NO_MEMORY;
    status = resp_scan(&in->scan, in->buf, in->len);
    if (status == RESP_COMMAND)
        *taken -= in->len - in->scan.pos; /* the beginning of the next command goes back */
    else if (status == RESP_MORE && wants_blob(&in->scan))
        status = begin_blob(in);
    return status;
}

enum resp_status kv_input_feed(struct kv_input *in, const char *bytes, uint32_t len, uint32_t *used)
{
    enum resp_status status = RESP_MORE;

    for (*used = 0; status == RESP_MORE && *used < len;) {
        uint32_t taken;
        if (in->missing > 0) {
            taken = fill_blob(in, bytes + *used, len - *used);
            if (in->missing == 0)
                status = resp_take_outside(&in->scan, in->num_blobs - 1);
        } else {
            status = feed_piece(in, bytes + *used, len - *used, &taken);
        }
        *used += taken;
    }
    return status;
}

void kv_input_free(struct kv_input *in)
{
    for (uint32_t i = 0; i < in->num_blobs; i++)
        kv_blob_free(&in->blobs[i]);
    free(in->blobs);
    free(in->buf);
    resp_fini(&in->scan);
    free(in);
}
