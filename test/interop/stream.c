/* SPDX-License-Identifier: MIT */
/*
 * stream.h has the protocol. Both directions go on by themselves: pushes as long as there are fewer
 * than STREAM_PUSHES, one pop at a time.
 */
#include "stream.h"

#include "pattern.h"

#include <demi/libos.h>
#include <demi/sga.h>

#include <errno.h>

static void fail(struct stream *s, const char *problem)
{
    if (!s->problem)
        s->problem = problem;
}

static bool request_is_known(const struct stream *s)
{
    return s->is_client || s->head_len == sizeof(s->request);
}

/* Bytes of the pattern in each direction, without the request and the tail. */
static uint64_t to_send(const struct stream *s)
{
    return s->is_client ? s->request.up : s->request.down;
}

static uint64_t to_receive(const struct stream *s)
{
    return s->is_client ? s->request.down : s->request.up;
}

static uint64_t seed_of_sent(const struct stream *s)
{
    return s->request.seed + !s->is_client;
}

/* Writes what is next into out: bytes written, 0 if nothing may be sent now. */
static size_t next_bytes(struct stream *s, uint8_t *out, size_t space)
{
    const uint64_t good = STREAM_GOOD;
    uint64_t left = to_send(s) - s->sent;
    if (s->is_client && s->head_len == 0) {
        s->head_len = sizeof(s->request);
        memcpy(out, &s->request, sizeof(s->request));
        return sizeof(s->request);
    }
    if (left > 0) {
        size_t n = space < left ? space : (size_t)left;
        pattern_fill(seed_of_sent(s), s->sent, out, n);
        s->sent += n;
        return n;
    }
    if (s->is_client || s->received < to_receive(s))
        return 0;
    s->ended = true;
    memcpy(out, &good, sizeof(good));
    return sizeof(good);
}

/* Pushes sizes of all kinds: a third of them are below 64 bytes. */
static size_t next_size(struct stream *s)
{
    s->sizes = pattern_mix(s->sizes);
    size_t max = s->sizes % 3 == 0 ? 64 : STREAM_PUSH;
    size_t size = 1 + (s->sizes >> 8) % max;
    return size > sizeof(s->request) ? size : sizeof(s->request);
}

static bool push_next(struct stream *s)
{
    demi_qtoken_t qt;
    demi_sgarray_t sga = demi_sgaalloc(next_size(s));
    if (sga.sga_numsegs == 0) {
        fail(s, "no memory");
        return false;
    }
    size_t len = next_bytes(s, sga.sga_segs[0].sgaseg_buf, sga.sga_segs[0].sgaseg_len);
    sga.sga_segs[0].sgaseg_len = (uint32_t)len;
    int err = len > 0 ? demi_push(&qt, s->qd, &sga) : 0;
    demi_sgafree(&sga);
    if (err != 0)
        fail(s, "a push was refused");
    s->num_pushes += len > 0 && err == 0;
    return len > 0 && err == 0;
}

/* A client that ends first does so behind its last byte: what was pushed still goes out. */
static void end_client(struct stream *s)
{
    s->ended = true;
    if (!s->request.server_ends_first && demi_shutdown(s->qd, SHUT_WR) != 0)
        fail(s, "shutdown failed");
}

static void go_on(struct stream *s)
{
    demi_qtoken_t qt;
    if (request_is_known(s))
        while (!s->ended && s->num_pushes < STREAM_PUSHES && push_next(s))
            ;
    if (s->is_client && !s->ended && !s->kept && s->sent == s->request.up && s->head_len > 0)
        end_client(s);
    if (!s->reading && !s->peer_ended && !s->problem) {
        s->reading = demi_pop(&qt, s->qd) == 0;
        if (!s->reading)
            fail(s, "a pop was refused");
    }
}

void stream_start(struct stream *s, int qd, const struct stream_request *request, bool keep)
{
    *s = (struct stream){.qd = qd, .is_client = request != NULL, .kept = request && keep};
    if (request)
        s->request = *request;
    s->sizes = s->request.seed ^ (uint64_t)qd;
    go_on(s);
}

bool stream_has_all(const struct stream *s)
{
    return s->is_client && s->received == to_receive(s) + STREAM_TAIL;
}

void stream_release(struct stream *s)
{
    s->kept = false;
    go_on(s);
}

/* Takes what belongs to the request, in a server; returns how many bytes. */
static size_t take_request(struct stream *s, const uint8_t *bytes, size_t len)
{
    size_t want = sizeof(s->request) - s->head_len, n = len < want ? len : want;
    memcpy((uint8_t *)&s->request + s->head_len, bytes, n);
    s->head_len += (uint32_t)n;
    if (s->head_len == sizeof(s->request) && s->request.magic != STREAM_MAGIC)
        fail(s, "no request: not this protocol");
    return n;
}

/* What follows a client's pattern. */
static void take_tail(struct stream *s, const uint8_t *bytes, size_t len)
{
    uint64_t at = s->received - to_receive(s);
    if (!s->is_client || len > STREAM_TAIL - at) {
        fail(s, "more bytes than were sent");
        return;
    }
    memcpy(s->tail + at, bytes, len);
    s->received += len;
}

static void take(struct stream *s, const uint8_t *bytes, size_t len)
{
    if (!request_is_known(s)) {
        size_t n = take_request(s, bytes, len);
        bytes += n;
        len -= n;
    }
    if (!request_is_known(s))
        return;
    uint64_t left = s->received < to_receive(s) ? to_receive(s) - s->received : 0;
    size_t n = len < left ? len : (size_t)left;
    if (!pattern_fits(s->request.seed + s->is_client, s->received, bytes, n))
        fail(s, "bytes differ from those that were sent");
    s->received += n;
    if (len > n)
        take_tail(s, bytes + n, len - n);
}

static void on_end(struct stream *s)
{
    const uint64_t good = STREAM_GOOD;
    s->peer_ended = true;
    if (!request_is_known(s) || s->received < to_receive(s))
        fail(s, "the stream ended early");
    else if (s->is_client && s->received < to_receive(s) + STREAM_TAIL)
        fail(s, "the server does not say that it received all");
    else if (s->is_client && memcmp(s->tail, &good, sizeof(good)) != 0)
        fail(s, "the server received other bytes");
}

static void on_pop(struct stream *s, demi_sgarray_t *sga)
{
    s->reading = false;
    if (sga->sga_numsegs == 0) {
        on_end(s);
        return;
    }
    for (uint32_t i = 0; i < sga->sga_numsegs; i++) {
        const demi_sgaseg_t seg = sga->sga_segs[i];
        take(s, seg.sgaseg_buf, seg.sgaseg_len);
    }
    demi_sgafree(sga);
}

void stream_on_result(struct stream *s, demi_qresult_t *qr)
{
    demi_sgarray_t sga;
    switch (qr->qr_opcode) {
    case DEMI_OPC_PUSH:
        s->num_pushes--;
        break;
    case DEMI_OPC_POP:
        memcpy(&sga, &qr->qr_value.sga, sizeof(sga));
        on_pop(s, &sga);
        break;
    default:
        fail(s, strerror((int)qr->qr_ret));
        break;
    }
    if (!s->problem)
        go_on(s);
}

/* A server whose client waits for its end does not wait for the client's. */
bool stream_is_over(const struct stream *s)
{
    if (s->problem)
        return true;
    bool waits = s->is_client || !request_is_known(s) || !s->request.server_ends_first;
    return s->ended && s->num_pushes == 0 && (s->peer_ended || !waits);
}
