/* SPDX-License-Identifier: MIT */
/*
 * One end of a connection that carries a known stream both ways at once (pattern.h).
 *
 *     client -> server   request (struct stream_request), `up` bytes of the stream `seed`
 *     server -> client   `down` bytes of the stream `seed + 1`; when all of the client's were
 *                        received, and they fit, DOWN_IS_GOOD of 8 bytes; end of the stream
 *
 * Who closes first is the request's: a client that does ends its own direction behind the last
 * byte, else it waits for the server's end.
 */
#ifndef TEST_INTEROP_STREAM_H
#define TEST_INTEROP_STREAM_H

#include <demi/types.h>

#include <linux/tcp.h>
#include <stdbool.h>
#include <stdint.h>

#define STREAM_MAGIC  UINT64_C(0x6d61657274736b64)
#define STREAM_GOOD   UINT64_C(0x646f6f67736c6c61)
#define STREAM_PUSHES 4         /* outstanding of one connection */
#define STREAM_PUSH   (1 << 15) /* bytes of the largest */
#define STREAM_TAIL   sizeof(uint64_t)

struct stream_request {
    uint64_t magic;
    uint64_t seed;
    uint64_t up, down;          /* bytes */
    uint64_t server_ends_first; /* 0 or 1 */
};

/* What an end is told by its connection, and what it wants next. */
struct stream {
    int qd;
    bool is_client;
    bool reading; /* a pop is outstanding */
    bool kept;    /* our direction does not end before stream_release() */
    bool ended;   /* our direction: everything is pushed, or shut down */
    bool peer_ended;
    uint32_t num_pushes;
    uint32_t head_len;       /* bytes of the request that a server has, or a client pushed */
    uint64_t sent, received; /* behind the request */
    uint64_t sizes;          /* of pushes: a random number */
    struct stream_request request;
    uint8_t tail[STREAM_TAIL];
    const char *problem;  /* NULL: none */
    struct tcp_info info; /* of who holds the stream: nothing here uses it */
};

/* Begins on a connection; request is a client's, NULL of a server. A client may keep the connection
 * when all is sent and received, until it is released; the server does not end first then. */
void stream_start(struct stream *s, int qd, const struct stream_request *request, bool keep);

/* Whether a client has all that it receives. */
bool stream_has_all(const struct stream *s);

void stream_release(struct stream *s);

/* A result of the connection came, not that of its connect or accept. Frees what was popped. */
void stream_on_result(struct stream *s, demi_qresult_t *qr);

/* Whether it is over: it succeeded, or `problem` says why not. */
bool stream_is_over(const struct stream *s);

#endif /* TEST_INTEROP_STREAM_H */
