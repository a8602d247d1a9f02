/* SPDX-License-Identifier: MIT */
/* RFC 9406 section 4.2 in its order; the constants of section 4.3. */
#include "net/tcp/hystart.h"

#define MIN_RTT_THRESH     4000u /* us */
#define MAX_RTT_THRESH     16000u
#define MIN_RTT_DIVISOR    8
#define N_RTT_SAMPLE       8
#define CSS_GROWTH_DIVISOR 4
#define CSS_ROUNDS         5
#define L                  8 /* without pacing: segments that one acknowledgement may add */

#define NONE UINT32_MAX

void dk_hystart_init(struct dk_hystart *h)
{
    *h = (struct dk_hystart){.last_min = NONE, .current_min = NONE, .baseline = NONE};
}

static void begin_round(struct dk_hystart *h, const struct dk_tcp_cc_ack *ack)
{
    if (h->phase == DK_HYSTART_CSS && ++h->rounds >= CSS_ROUNDS)
        h->phase = DK_HYSTART_DONE;
    h->last_min = h->current_min;
    h->current_min = NONE;
    h->samples = 0;
    h->window_end = (uint32_t)ack->snd_nxt;
}

static void take_sample(struct dk_hystart *h, int64_t rtt_ns)
{
    if (rtt_ns < 0)
        return;
    int64_t us = rtt_ns / 1000;
    uint32_t rtt = us < NONE ? (uint32_t)us : NONE - 1;
    if (rtt < h->current_min)
        h->current_min = rtt;
    if (h->samples < UINT8_MAX)
        h->samples++;
}

static uint32_t threshold(uint32_t last_min)
{
    uint32_t thresh = last_min / MIN_RTT_DIVISOR;
    if (thresh < MIN_RTT_THRESH)
        return MIN_RTT_THRESH;
    return thresh > MAX_RTT_THRESH ? MAX_RTT_THRESH : thresh;
}

/* Slow start becomes CSS, or CSS was wrong. */
static void decide(struct dk_hystart *h)
{
    if (h->samples < N_RTT_SAMPLE || h->current_min == NONE)
        return;
    if (h->phase == DK_HYSTART_SLOW_START) {
        if (h->last_min == NONE || h->current_min < (uint64_t)h->last_min + threshold(h->last_min))
            return;
        h->baseline = h->current_min;
        h->phase = DK_HYSTART_CSS;
        h->rounds = 0;
    } else if (h->phase == DK_HYSTART_CSS && h->current_min < h->baseline) {
        h->baseline = NONE;
        h->phase = DK_HYSTART_SLOW_START;
    }
}

uint32_t dk_hystart_ack(struct dk_hystart *h, uint32_t mss, const struct dk_tcp_cc_ack *ack)
{
    if (!h->begun)
        h->window_end = (uint32_t)ack->snd_nxt;
    h->begun = true;
    uint32_t most = L * mss, growth = ack->bytes < most ? ack->bytes : most;
    if (h->phase == DK_HYSTART_CSS)
        growth /= CSS_GROWTH_DIVISOR;
    take_sample(h, ack->rtt_ns);
    decide(h);
    if ((int32_t)((uint32_t)ack->snd_una - h->window_end) >= 0)
        begin_round(h, ack);
    return growth;
}
