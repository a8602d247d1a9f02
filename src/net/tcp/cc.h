/* SPDX-License-Identifier: MIT */
/*
 * The contract of congestion control.
 *
 * TCP finds out what was acknowledged and what was lost; an algorithm says how many bytes may be in
 * flight, and how fast they may leave. It keeps cwnd, ssthresh and pacing_rate, and what else it
 * needs in `own`. It sends nothing, keeps no list, reads no clock, computes with integers. No
 * function blocks; none fails.
 *
 * What recovery does with it: on_loss sets ssthresh, and cwnd to what is right when all is
 * repaired. How much is sent until then (RFC 6582, 6937) is the business of recovery, which may
 * write cwnd between on_loss and on_recovered; with `own_recovery` it leaves cwnd alone, and
 * on_ack goes on setting it.
 */
#ifndef DK_NET_TCP_CC_H
#define DK_NET_TCP_CC_H

#include <stdbool.h>
#include <stdint.h>

#define DK_TCP_CC_OWN 7

struct dk_tcp_cc_ops;

struct dk_tcp_cc {
    union {
        uint64_t own[DK_TCP_CC_OWN];
        struct {                  /* with DK_TCP_CC_RATE */
            void *state;          /* state_bytes of the caller's, zeroed, as `own` is not enough */
            uint64_t pacing_rate; /* bytes per second; 0: as fast as cwnd allows */
            uint64_t unused[DK_TCP_CC_OWN - 3];
            void *caller; /* not to be touched */
        };
    };
    const struct dk_tcp_cc_ops *ops;
    uint32_t cwnd; /* bytes, one segment at least */
    uint32_t ssthresh;
    uint32_t mss; /* of what is sent; lowered with the path MTU */
    /* on_ack need not be called while no more than half of the window is used: it would not grow,
     * and there is nothing to learn. */
    bool skips_unused;
};

/*
 * A sample of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation): what was delivered
 * from the sending of the newest segment that an acknowledgement covers until now. Bytes. `lost`
 * and `tx_in_flight` are for the sender's model of the path: bytes marked lost since that segment
 * left, and in flight when it had left, itself included.
 */
struct dk_tcp_rate {
    uint64_t total;       /* delivered since the connection began */
    uint64_t prior_total; /* the same when the newest segment left */
    uint32_t delivered;   /* in the interval: total - prior_total; 0: there is no sample */
    uint32_t newly;       /* delivered by this acknowledgement */
    int64_t interval_ns;  /* 0: too short to tell a rate */
    uint32_t tx_in_flight;
    uint32_t lost;
    uint32_t in_flight; /* now */
    bool is_app_limited;
};

/* What one acknowledgement told, cumulatively or selectively. */
struct dk_tcp_cc_ack {
    uint32_t bytes;   /* newly acknowledged, cumulatively; 0: nothing but selectively */
    uint32_t flight;  /* snd_nxt - snd_una before it */
    int64_t rtt_ns;   /* of this acknowledgement, or -1: not measured */
    int64_t srtt_ns;  /* smoothed (RFC 6298), or -1 */
    uint64_t snd_una; /* after it */
    uint64_t snd_nxt;
    bool in_recovery;
    bool ece;                       /* it echoes congestion (RFC 3168), which was agreed on */
    const struct dk_tcp_rate *rate; /* with DK_TCP_CC_RATE; else NULL */
};

/* A segment that is lost. */
struct dk_tcp_cc_lost {
    uint32_t bytes;
    uint32_t tx_in_flight; /* when it had left, itself included */
    uint32_t lost_since;   /* bytes marked lost since it left, itself included */
    uint64_t total;        /* as in struct dk_tcp_rate */
    bool is_app_limited;
    bool has_sack; /* several losses of one round trip can be told apart */
};

/* What an algorithm needs to be told or given. */
#define DK_TCP_CC_ECN          (1u << 0) /* agrees on ECN whatever the configuration, and exactly */
#define DK_TCP_CC_OWN_RECOVERY (1u << 1) /* sets cwnd during recovery itself */
#define DK_TCP_CC_RATE         (1u << 3) /* reads delivery rates, has a state, may pace */
#define DK_TCP_CC_NO_ECN       (1u << 2) /* does not react to echoes: sends nothing capable */

struct dk_tcp_cc_ops {
    const char *name;
    uint32_t state_bytes; /* of cc->state; 0: `own` is enough */
    uint32_t flags;
    /* The connection is established: mss is set. rtt_ns of the handshake, or -1. */
    void (*init)(struct dk_tcp_cc *cc, int64_t rtt_ns, int64_t now);
    /* Something was acknowledged: outside of recovery, and with in_recovery set inside. */
    void (*on_ack)(struct dk_tcp_cc *cc, const struct dk_tcp_cc_ack *ack, int64_t now);
    /* A loss was detected by acknowledgements: recovery begins. Sets ssthresh and cwnd. */
    void (*on_loss)(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);
    /* Everything that was sent before the loss is acknowledged. */
    void (*on_recovered)(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);
    /* The retransmission timer fired; first: for what was not retransmitted by it before. */
    void (*on_rto)(struct dk_tcp_cc *cc, uint32_t flight, bool first, int64_t now);
    /* The last on_loss or on_rto was for nothing (RFC 3522, 4015, 5682, 9438 section 4.9): what it
     * changed is as it was, or better. Once for each. */
    void (*on_spurious)(struct dk_tcp_cc *cc, int64_t now);
    /* Congestion is echoed, outside of recovery; once in a window of data (RFC 3168 section 6.1.2).
     */
    void (*on_ecn)(struct dk_tcp_cc *cc, uint32_t flight, int64_t now);
    /* Nothing was in flight for longer than the RTO (RFC 5681 section 4.1). */
    void (*on_idle)(struct dk_tcp_cc *cc, int64_t idle_ns, int64_t now);
    /* The segment size changed; cc->mss is the new one already. */
    void (*on_mss)(struct dk_tcp_cc *cc, uint32_t former_mss);
    /* A segment was marked as lost. NULL: of no interest. */
    void (*on_lost)(struct dk_tcp_cc *cc, const struct dk_tcp_cc_lost *lost);
};

extern const struct dk_tcp_cc_ops dk_tcp_cubic;
extern const struct dk_tcp_cc_ops dk_tcp_newreno;
extern const struct dk_tcp_cc_ops dk_tcp_dctcp;
extern const struct dk_tcp_cc_ops dk_tcp_bbr;

/* All of them by number, the default first; NULL behind the last. */
const struct dk_tcp_cc_ops *dk_tcp_cc_get(uint32_t number);

/* The number of one that is called so ("newreno" is reno); -ENOENT. */
int dk_tcp_cc_find(const char *name);

/* RFC 6928. */
uint32_t dk_tcp_cc_initial_window(uint32_t mss);

#endif /* DK_NET_TCP_CC_H */
