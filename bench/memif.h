/* SPDX-License-Identifier: MIT */
/*
 * Parts of memif-echo: an echo of 64 bytes between two processes, each of which spins on a core of
 * its own, by one of four ways. All send the same message back and forth and count by the same
 * meter; the message's number is written anew for each, and compared when it is back.
 *
 *     memif_raw.c     a port of DPDK and nothing else
 *     memif_demi.c    sockets of the library, of a datagram or a stream
 *     memif_linux.c   sockets of Linux
 */
#ifndef BENCH_MEMIF_H
#define BENCH_MEMIF_H

#include <stdbool.h>
#include <stdint.h>

#define MEMIF_BYTES           64u
#define MEMIF_CONNECTIONS_MAX 1024u

/* Ends the process with a line on stderr unless it holds. */
void memif_must(bool holds, const char *what);

/* The server says so when it can be connected to. */
void memif_ready(void);

/* ---- the meter: of the process that asks */

/* Counts a message that is back; false: enough were. */
bool memif_count(void);

/* Writes the next number into a message of a connection. */
void memif_number(uint32_t connection, void *message);

/* Ends the process unless a message has the number that its connection's last one was given, and
 * its length. */
void memif_check(uint32_t connection, const void *message, uint64_t bytes);

/* ---- the ways; serving ends with the process */

/* Turns frames round. */
_Noreturn void memif_raw_serve(const char *socket);
void memif_raw_ask(const char *socket, uint32_t frame_bytes);

/* type: SOCK_DGRAM or SOCK_STREAM. Where the library finds its device, the environment says. */
_Noreturn void memif_demi_serve(int type);
void memif_demi_ask(int type, uint32_t connections);

/* Over loopback; the port is told and given. */
_Noreturn void memif_linux_serve(uint32_t connections);
void memif_linux_ask(uint16_t port, uint32_t connections);

#endif /* BENCH_MEMIF_H */
