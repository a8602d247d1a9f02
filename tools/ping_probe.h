/* SPDX-License-Identifier: MIT */
/*
 * Sends probes over connections of its own and collects the replies. Each connection has one probe
 * under way at a time; each reply is checked byte by byte.
 *
 * With a rate, a round trip counts from when its probe was due if all connections were waiting for
 * replies then: a stall of the peer shows in every probe that it delayed, not in one.
 *
 * It ends although the peer does not answer: a TCP connection is given up at the first probe
 * without reply in time, a UDP socket after PING_LOSSES_MAX in a row.
 */
#ifndef TOOLS_PING_PROBE_H
#define TOOLS_PING_PROBE_H

#include "address.h"
#include "hist.h"

#include <stdbool.h>
#include <stdint.h>

#define PING_LOSSES_MAX 20

struct ping_options {
    struct address address;
    bool udp;
    uint64_t size;   /* bytes of a probe, 1 or more */
    uint64_t count;  /* probes measured */
    uint64_t warmup; /* probes before those */
    uint64_t rate;   /* probes per second over all connections; 0: as fast as replies come */
    uint64_t connections;
    uint64_t timeout_ns; /* of one probe, and of connecting */
    bool progress;       /* show on standard error how far it is */
};

/* Of the measured probes, without those of the warm-up. */
struct ping_totals {
    uint64_t sent;
    uint64_t answered;
    uint64_t lost;    /* no reply in time, or the connection ended; corrupt ones too */
    uint64_t corrupt; /* the reply was wrong */
    uint64_t stray;   /* datagrams that answer no probe under way: late or duplicate */
    uint64_t broken;  /* connections given up */
    uint64_t elapsed_ns;
    struct hist hist;
};

/* Runs all probes, unless session_stopped. COMMAND_OK when connected and tried, COMMAND_FAILED
 * after a message otherwise; whether all were answered is in the totals. */
int ping_probe(const struct ping_options *options, struct ping_totals *totals);

#endif /* TOOLS_PING_PROBE_H */
