/* SPDX-License-Identifier: MIT */
/*
 * The contract of congestion control.
 *
 * TCP finds out what was acknowledged and what was lost; an algorithm says how many bytes may be in
 * flight. It keeps cwnd and ssthresh, and what else it needs in `own`. It sends nothing, keeps no
 * list, reads no clock. No function blocks; none fails.
 */
#ifndef DK_NET_TCP_CC_H
#define DK_NET_TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

#define DK_TCP_CC_OWN 8

struct dk_tcp_cc_ops;

struct dk_tcp_cc {
    const struct dk_tcp_cc_ops *ops;
    uint32_t cwnd; /* bytes, one segment at least */
    uint32_t ssthresh;
    uint32_t mss; /* of what is sent; lowered with the path MTU */
    uint32_t unused;
    uint64_t own[DK_TCP_CC_OWN];
};

/* What one acknowledgement of new data told. */
struct dk_tcp_cc_ack {
    uint32_t bytes;     /* newly acknowledged */
    uint32_t flight;    /* bytes in flight before it */
    int64_t rtt_ns;     /* of this acknowledgement, or -1: not measured */
    int64_t min_rtt_ns; /* least so far, or -1 */
    uint64_t snd_una;   /* after it */
    uint64_t snd_nxt;
    bool in_recovery;
};

struct dk_tcp_cc_ops {
    const char *name;
    /* The connection is established: mss is set. */
    void (*init)(struct dk_tcp_cc *cc, int64_t now);
    /* New data was acknowledged: outside of recovery, and with in_recovery set inside. */
    void (*on_ack)(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now);
    /* A loss was detected by acknowledgements: recovery begins. Sets ssthresh and cwnd. */
    void (*on_loss)(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);
    /* Everything that was sent before the loss is acknowledged. */
    void (*on_recovered)(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);
    /* The retransmission timer fired; first: for what was not retransmitted by it before. */
    void (*on_rto)(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now);
    /* The last on_loss or on_rto was for nothing (RFC 3522, 4015, 5682): what it changed is as it
     * was, or better. Once for each. */
    void (*on_spurious)(struct dk_tcp_cc *cc, int64_t now);
    /* Nothing was sent for longer than the RTO (RFC 5681 section 4.1). */
    void (*on_idle)(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now);
    /* The segment size changed; cc->mss is the new one already. */
    void (*on_mss)(struct dk_tcp_cc *cc, uint32_t former_mss);
};

extern const struct dk_tcp_cc_ops dk_tcp_newreno;

/* RFC 6928. */
uint32_t dk_tcp_cc_initial_window(uint32_t mss);

#endif /* DK_NET_TCP_CC_H */
