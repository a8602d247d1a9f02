/* SPDX-License-Identifier: MIT */
/*
 * Types of the public interface.
 *
 * The structures have the published sizes of the reference implementation (SOSP'21): 12-byte
 * segments, no padding, four-byte alignment. A pointer to a member wider than four bytes may
 * therefore be misaligned: copy such members by value.
 */
#ifndef DEMI_TYPES_H
#define DEMI_TYPES_H

#include <demi/cc.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

DEMI_BEGIN_DECLS

/* Largest number of segments in one scatter-gather array. */
#define DEMI_SGARRAY_MAXSIZE 8

#define DEMI_PACKED __attribute__((packed, aligned(4)))

/* Names one outstanding operation. 0 and ~0 are never issued; a token is used up by the wait that
 * returns its result. */
typedef uint64_t demi_qtoken_t;

/* One contiguous piece of an element. */
typedef struct demi_sgaseg {
    void *sgaseg_buf;    /* first byte */
    uint32_t sgaseg_len; /* bytes */
} DEMI_PACKED demi_sgaseg_t;

/* A scatter-gather array: one atomic element of a queue. Copies of the structure are one sga: free
 * one of them. */
typedef struct demi_sgarray {
    void *sga_buf; /* the library's ownership handle; NULL in an sga that the application built
                      itself */
    uint32_t sga_numsegs; /* segments in use; 0 after a pop: end of stream */
    demi_sgaseg_t sga_segs[DEMI_SGARRAY_MAXSIZE];
    struct sockaddr_in sga_addr; /* sender of a datagram; AF_UNSPEC when it has no IPv4 address (see
                                    demi_sga_peer) */
} DEMI_PACKED demi_sgarray_t;

/* What an operation was, or that it failed. */
typedef enum demi_opcode {
    DEMI_OPC_INVALID = 0,
    DEMI_OPC_PUSH,
    DEMI_OPC_POP,
    DEMI_OPC_ACCEPT,
    DEMI_OPC_CONNECT,
    DEMI_OPC_CLOSE,
    DEMI_OPC_FAILED, /* qr_ret holds a positive errno */
} demi_opcode_t;

/* The new connection that an accept yields. */
typedef struct demi_accept_result {
    int32_t qd;
    struct sockaddr_in
        addr; /* peer; AF_UNSPEC when it has no IPv4 address (see demi_getpeername) */
} DEMI_PACKED demi_accept_result_t;

/* The result of one operation. */
typedef struct demi_qresult {
    enum demi_opcode qr_opcode;
    int32_t qr_qd;
    demi_qtoken_t qr_qt;
    int64_t qr_ret; /* 0, or a positive errno with DEMI_OPC_FAILED */
    union {
        demi_sgarray_t sga; /* popped element, owned by the application; all zero after a push */
        demi_accept_result_t ares; /* after an accept */
    } qr_value;
} DEMI_PACKED demi_qresult_t;

/* Called by the profiler with the name of a scope (not NUL-terminated), its length and its duration
 * in nanoseconds. */
typedef void (*demi_callback_t)(const char *name, uint32_t name_len, uint64_t duration_ns);

/* Arguments of demi_init. */
struct demi_args {
    int argc;
    char *const *argv;
    demi_callback_t callback; /* or NULL */
} DEMI_PACKED;

DEMI_END_DECLS

#endif /* DEMI_TYPES_H */
