/* SPDX-License-Identifier: MIT */
/*
 * BBR, version 3, as draft-ietf-ccwg-bbr has it: a model of the path instead of a reaction to loss.
 *
 *      bbr_model.c   the model: bandwidth, round trip, how much may be in flight, ACK aggregation
 *      cc_bbr.c      states, and what follows for pacing rate and window
 *
 *      STARTUP --> DRAIN --> DOWN --> CRUISE --> REFILL --> UP --> DOWN ...
 *                               any of them --> PROBE_RTT --> CRUISE (or STARTUP)
 *
 * Names are the draft's. Bandwidths are bytes per second, volumes bytes, times nanoseconds. What
 * the draft calls infinite is the largest number.
 */
#ifndef DK_NET_TCP_BBR_H
#define DK_NET_TCP_BBR_H

#include "net/tcp/cc_window.h"

#define DK_BBR_BW_NONE       UINT64_MAX
#define DK_BBR_INFLIGHT_NONE UINT32_MAX
#define DK_BBR_RTT_NONE      INT64_MAX

enum dk_bbr_state {
    DK_BBR_STARTUP,
    DK_BBR_DRAIN,
    DK_BBR_DOWN,
    DK_BBR_CRUISE,
    DK_BBR_REFILL,
    DK_BBR_UP,
    DK_BBR_PROBE_RTT,
    DK_BBR_STATES,
};

enum dk_bbr_ack_phase {
    DK_BBR_ACKS_INIT,
    DK_BBR_ACKS_REFILLING,
    DK_BBR_ACKS_PROBE_STARTING,
    DK_BBR_ACKS_PROBE_FEEDBACK,
    DK_BBR_ACKS_PROBE_STOPPING,
};

struct dk_bbr {
    uint64_t max_bw[2]; /* of the former cycle of probing, and of this one */
    uint64_t bw_shortterm, bw_latest;
    uint64_t bw; /* that all follows from */
    uint64_t full_bw;
    uint64_t next_round_delivered, loss_round_delivered;
    uint64_t limited_until; /* samples from before say less than the path can */
    int64_t min_rtt_ns, min_rtt_stamp;
    int64_t probe_rtt_done; /* 0: not known yet */
    int64_t cycle_stamp, bw_probe_wait_ns;
    int64_t extra_acked_since;
    int64_t now; /* of the last acknowledgement */
    uint64_t extra_acked_delivered;
    uint32_t extra_acked[2]; /* largest of the former rounds, and of these */
    uint32_t extra_acked_rounds;
    uint32_t inflight_longterm, inflight_shortterm, inflight_latest;
    uint32_t probe_rtt_cwnd, prior_cwnd;
    uint32_t probe_up_acked_per_inc, bw_probe_up_acked;
    uint32_t round_count, drain_start_round, rounds_since_probe_up;
    uint32_t loss_events; /* acknowledgements with losses in this round */
    uint64_t undo_bw_shortterm;
    uint32_t undo_inflight_shortterm, undo_inflight_longterm;
    uint8_t state, undo_state; /* enum dk_bbr_state; undo: DK_BBR_STATES is none */
    uint8_t ack_phase;
    uint8_t full_bw_count, bw_probe_up_rounds;
    bool full_bw_now, full_bw_reached;
    bool round_start, loss_round_start, loss_in_round, loss_seen;
    bool min_rtt_expired, probe_rtt_round_done, idle_restart;
    bool is_bw_probe_sample, prev_probe_too_high, prev_probe_precautionary;
    bool in_recovery, has_sack;
};

/* An acknowledgement, as the steps below see it. */
struct dk_bbr_sample {
    const struct dk_tcp_rate *rate;
    uint64_t delivery_rate; /* 0: none */
    int64_t rtt_ns;         /* or -1 */
    int64_t now;
    uint32_t tx_in_flight, lost, in_flight;
    bool is_app_limited, is_cwnd_limited;
};

static inline struct dk_bbr *dk_bbr_of(struct dk_tcp_cc *cc)
{
    return cc->state;
}

static inline uint64_t dk_bbr_max_bw(const struct dk_bbr *b)
{
    return b->max_bw[0] > b->max_bw[1] ? b->max_bw[0] : b->max_bw[1];
}

static inline bool dk_bbr_in_probe_bw(const struct dk_bbr *b)
{
    return b->state >= DK_BBR_DOWN && b->state <= DK_BBR_UP;
}

/* 4 segments: BBR.MinPipeCwnd. */
static inline uint32_t dk_bbr_min_pipe(const struct dk_tcp_cc *cc)
{
    return 4 * cc->mss;
}

/* bw * min_rtt * percent / 100, or the initial window where no round trip is known. */
uint32_t dk_bbr_bdp(const struct dk_tcp_cc *cc, const struct dk_bbr *b, uint64_t bw,
                    uint32_t percent);

/* As that, with what offloads and delayed acknowledgements need besides. */
uint32_t dk_bbr_inflight(const struct dk_tcp_cc *cc, const struct dk_bbr *b, uint32_t bytes);
uint32_t dk_bbr_inflight_with_headroom(const struct dk_tcp_cc *cc, const struct dk_bbr *b);

void dk_bbr_reset_short_term(struct dk_bbr *b);
void dk_bbr_reset_congestion(struct dk_bbr *b);
void dk_bbr_reset_full_bw(struct dk_bbr *b, uint64_t full_bw);

/* First part of what is done for each acknowledgement: the model. */
void dk_bbr_update_model(struct dk_tcp_cc *cc, struct dk_bbr *b, const struct dk_bbr_sample *s);
/* Last part: what the next acknowledgement needs. */
void dk_bbr_advance_model(struct dk_bbr *b, const struct dk_bbr_sample *s);

void dk_bbr_advance_max_bw(struct dk_bbr *b);

/* Whether so much was lost of what was in flight that it was too much. */
bool dk_bbr_is_inflight_too_high(const struct dk_bbr *b, uint32_t lost, uint32_t tx_in_flight);

/* Saves what dk_bbr_restore brings back when the loss was none. */
void dk_bbr_save_upon_loss(struct dk_tcp_cc *cc, struct dk_bbr *b);
void dk_bbr_restore(struct dk_tcp_cc *cc, struct dk_bbr *b);
void dk_bbr_save_cwnd(struct dk_tcp_cc *cc, struct dk_bbr *b);

#endif /* DK_NET_TCP_BBR_H */
