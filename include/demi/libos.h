/* SPDX-License-Identifier: MIT */
/*
 * Start, sockets, push and pop.
 *
 * Every function returns 0 or a positive errno and leaves its out-parameters untouched on failure.
 * None of them blocks: what takes time yields a queue token whose result a wait call (demi/wait.h)
 * returns. All are thread-safe. Common errors: EINVAL for NULL or a bad argument, ENOSYS before
 * demi_init, EBADF for a descriptor that is not open, EXDEV for a socket of another instance,
 * EOPNOTSUPP where the queue has no such operation, ENOMEM when a table or memory is exhausted.
 */
#ifndef DEMI_LIBOS_H
#define DEMI_LIBOS_H

#include <demi/cc.h>
#include <demi/types.h>
#include <stddef.h>
#include <sys/socket.h>

DEMI_BEGIN_DECLS

/*
 * Starts the library in this thread: reads the configuration (environment, then file) and opens the
 * library OS that it names. The first call makes instance 0; another thread's call gets an instance
 * of its own up to `workers`, else shares instance 0.
 *
 * args may be NULL: no arguments, no profiling. Blocks while the device opens.
 * Errors: EEXIST twice in one thread; EINVAL a bad configuration (standard error names key and
 * accepted values); ENODEV the library OS is not available here; ENOMEM.
 */
DEMI_PUBLIC int demi_init(_In_opt_ const struct demi_args *args);

/*
 * Ends the library: drives accepted pushes to their end as at exit (at most `exit_linger`), then
 * releases everything. All descriptors, tokens and sgas are invalid afterwards; demi_init may be
 * called again. No other thread may be inside a call. Errors: ENOSYS not started; EBUSY another
 * thread is inside the library.
 */
DEMI_PUBLIC int demi_fini(void);

/*
 * Creates a socket queue. domain is AF_INET or AF_INET6, type SOCK_STREAM or SOCK_DGRAM, protocol 0
 * or the one that type implies. SO_REUSEADDR and TCP_NODELAY are on. Errors: EAFNOSUPPORT,
 * ESOCKTNOSUPPORT, EPROTONOSUPPORT, EMFILE, ENFILE.
 */
DEMI_PUBLIC int demi_socket(_Out_ int *sockqd_out, _In_ int domain, _In_ int type,
                            _In_ int protocol);

/* Binds a socket to a local address. Errors: EADDRINUSE, EADDRNOTAVAIL, EINVAL bound already,
 * EACCES. */
DEMI_PUBLIC int demi_bind(_In_ int sockqd, _In_reads_bytes_(size) const struct sockaddr *addr,
                          _In_ socklen_t size);

/* Makes a bound stream socket passive. backlog: 1 or more connections not yet accepted. Errors:
 * EADDRINUSE, EOPNOTSUPP. */
DEMI_PUBLIC int demi_listen(_In_ int sockqd, _In_ int backlog);

/* Accepts one connection: the token yields DEMI_OPC_ACCEPT and the new descriptor. Errors: EINVAL
 * not listening. */
DEMI_PUBLIC int demi_accept(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd);

/*
 * Connects: the token yields DEMI_OPC_CONNECT, or DEMI_OPC_FAILED with ECONNREFUSED, ETIMEDOUT,
 * ENETUNREACH and the like. On a datagram socket it sets the peer. Errors: EISCONN, EALREADY,
 * EAFNOSUPPORT.
 */
DEMI_PUBLIC int demi_connect(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd,
                             _In_reads_bytes_(size) const struct sockaddr *addr,
                             _In_ socklen_t size);

/*
 * Closes a descriptor. Outstanding pops, accepts and connects complete with ECANCELED; issued
 * pushes are carried out and complete with their own result (SO_LINGER {1,0}: reset, ECANCELED).
 */
DEMI_PUBLIC int demi_close(_In_ int qd);

/*
 * Shuts down one or both directions of a connected socket: SHUT_RD, SHUT_WR, SHUT_RDWR. With
 * SHUT_WR the peer sees the end of the stream after everything pushed before. Later pushes fail
 * with EPIPE; later pops after SHUT_RD yield the end of the stream. Errors: ENOTCONN, EINVAL.
 */
DEMI_PUBLIC int demi_shutdown(_In_ int qd, _In_ int how);

/*
 * Pushes one element. Memory is lent until the token completes: the application may free the sga,
 * or the objects of demi_malloc that it points into, at once, but must not write to them. Errors:
 * EINVAL zero segments, more than DEMI_SGARRAY_MAXSIZE, NULL with a length, a freed sga, or a
 * segment in memory of the heap that is free or that it overlaps the end of; ENOTCONN; EPIPE;
 * EMSGSIZE (in the result) a datagram too large.
 */
DEMI_PUBLIC int demi_push(_Out_ demi_qtoken_t *qt_out, _In_ int qd, _In_ const demi_sgarray_t *sga);

/*
 * Pushes one element to an address. On a connected stream the address is ignored, as sendto(2)
 * does. Errors: as demi_push; EAFNOSUPPORT, EDESTADDRREQ.
 */
DEMI_PUBLIC int demi_pushto(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd,
                            _In_ const demi_sgarray_t *sga,
                            _In_reads_bytes_(size) const struct sockaddr *dest_addr,
                            _In_ socklen_t size);

/*
 * Pops the next element; the application owns it and frees it with demi_sgafree. On a stream it is
 * what has arrived, at least one byte, in one segment (DEMI_MAXSEGS: or more); zero segments are
 * the end of the stream, on this and every further pop. Errors: ENOTCONN; EINVAL the socket
 * listens; EBUSY a derived queue pops it.
 */
DEMI_PUBLIC int demi_pop(_Out_ demi_qtoken_t *qt_out, _In_ int qd);

/*
 * Sets a socket option. SOL_SOCKET: SO_REUSEADDR, SO_REUSEPORT, SO_LINGER, SO_KEEPALIVE, SO_RCVBUF,
 * SO_SNDBUF, SO_BROADCAST; IPPROTO_TCP: TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
 * TCP_USER_TIMEOUT; IPPROTO_IPV6: IPV6_V6ONLY; SOL_DEMI: DEMI_MAXSEGS. Errors: ENOPROTOOPT,
 * EINVAL.
 */
DEMI_PUBLIC int demi_setsockopt(_In_ int qd, _In_ int level, _In_ int optname,
                                _In_reads_bytes_(optlen) const void *optval, _In_ socklen_t optlen);

/* The level of options of the library's own. The first two are only read. */
#define SOL_DEMI     0x44454d49
#define DEMI_TRAFFIC 1 /* struct demi_traffic */
#define DEMI_FAILED  2 /* int: an error ended the connection, or of datagrams, met one */
#define DEMI_MAXSEGS 3 /* int, 1 to DEMI_SGARRAY_MAXSIZE, first 1: segments of a pop, at most */

/* What passed through a socket so far, whoever popped and pushed it. */
struct demi_traffic {
    uint64_t popped;
    uint64_t popped_bytes;
    uint64_t pushed;
    uint64_t pushed_bytes;
};

/* Reads a socket option: those of demi_setsockopt, SOL_DEMI, SO_ERROR, SO_TYPE, SO_DOMAIN,
 * SO_PROTOCOL, SO_ACCEPTCONN. */
DEMI_PUBLIC int demi_getsockopt(_In_ int qd, _In_ int level, _In_ int optname,
                                _Out_writes_to_(*optlen, *optlen) void *optval,
                                _Inout_ socklen_t *optlen);

/* Returns the peer's address. *addrlen: space in, size out (the address is truncated to fit).
 * Errors: ENOTCONN. */
DEMI_PUBLIC int demi_getpeername(_In_ int qd,
                                 _Out_writes_to_(*addrlen, *addrlen) struct sockaddr *addr,
                                 _Inout_ socklen_t *addrlen);

/* Returns the local address. *addrlen: space in, size out. */
DEMI_PUBLIC int demi_getsockname(_In_ int qd,
                                 _Out_writes_to_(*addrlen, *addrlen) struct sockaddr *addr,
                                 _Inout_ socklen_t *addrlen);

DEMI_END_DECLS

#endif /* DEMI_LIBOS_H */
