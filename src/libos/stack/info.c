/* SPDX-License-Identifier: MIT */
/*
 * TCP_INFO: the state of a connection in Linux's struct tcp_info, of which a caller with an older
 * one gets the beginning.
 *
 * Filled in: state, ca_state (open, recovery, loss), retransmits, backoff, options, wscale, rto,
 * snd_mss, rcv_mss, unacked, sacked, lost, retrans, last_data_sent, last_data_recv, last_ack_recv,
 * pmtu, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, rcv_space, total_retrans, pacing_rate,
 * bytes_acked, bytes_received, notsent_bytes, min_rtt, delivery_rate and whether the application
 * limited it, snd_wnd. The others are zero: what they count is not counted. The delivery rate is
 * measured with BBR; with others it is what is in flight in a round trip.
 */
#include "libos/stack/sock.h"

#include <errno.h>
#include <linux/tcp.h>

#define NS_PER_US 1000
#define NS_PER_MS 1000000

/* Linux's enum of states, of which its header for user programs has no names. */
enum {
    LINUX_ESTABLISHED = 1,
    LINUX_SYN_SENT,
    LINUX_SYN_RECV,
    LINUX_FIN_WAIT1,
    LINUX_FIN_WAIT2,
    LINUX_TIME_WAIT,
    LINUX_CLOSE,
    LINUX_CLOSE_WAIT,
    LINUX_LAST_ACK,
    LINUX_LISTEN,
    LINUX_CLOSING,
};

static const uint8_t states[] = {
    [DK_TCP_CLOSED] = LINUX_CLOSE,          [DK_TCP_SYN_SENT] = LINUX_SYN_SENT,
    [DK_TCP_SYN_RECEIVED] = LINUX_SYN_RECV, [DK_TCP_ESTABLISHED] = LINUX_ESTABLISHED,
    [DK_TCP_FIN_WAIT_1] = LINUX_FIN_WAIT1,  [DK_TCP_FIN_WAIT_2] = LINUX_FIN_WAIT2,
    [DK_TCP_CLOSE_WAIT] = LINUX_CLOSE_WAIT, [DK_TCP_CLOSING] = LINUX_CLOSING,
    [DK_TCP_LAST_ACK] = LINUX_LAST_ACK,     [DK_TCP_TIME_WAIT] = LINUX_TIME_WAIT,
};

static uint32_t in_unit(int64_t ns, int64_t unit)
{
    int64_t value = ns > 0 ? ns / unit : 0;
    return value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
}

/* Segments, where Linux counts in them. */
static uint32_t segments(uint64_t bytes, uint32_t mss)
{
    uint64_t n = mss ? (bytes + mss - 1) / mss : 0;
    return n < INT32_MAX ? (uint32_t)n : INT32_MAX; /* "infinite" is that in Linux */
}

static uint8_t options_of(const struct dk_tcp_info *i)
{
    return (uint8_t)((i->timestamps ? TCPI_OPT_TIMESTAMPS : 0) | (i->sack ? TCPI_OPT_SACK : 0) |
                     (i->window_scale ? TCPI_OPT_WSCALE : 0) | (i->ecn ? TCPI_OPT_ECN : 0));
}

static void fill_times(const struct dk_tcp_info *i, int64_t now, struct tcp_info *out)
{
    out->tcpi_rto = in_unit(i->rto_ns, NS_PER_US);
    out->tcpi_rtt = in_unit(i->srtt_ns, NS_PER_US);
    out->tcpi_rttvar = in_unit(i->rttvar_ns, NS_PER_US);
    out->tcpi_min_rtt = i->min_rtt_ns < 0 ? UINT32_MAX : in_unit(i->min_rtt_ns, NS_PER_US);
    out->tcpi_last_data_sent = in_unit(now - i->last_sent, NS_PER_MS);
    out->tcpi_last_data_recv = out->tcpi_last_ack_recv = in_unit(now - i->last_received, NS_PER_MS);
}

static void fill_sending(const struct dk_tcp_info *i, struct tcp_info *out)
{
    out->tcpi_ca_state = i->in_recovery ? TCP_CA_Recovery : i->in_loss ? TCP_CA_Loss : TCP_CA_Open;
    out->tcpi_retransmits = out->tcpi_backoff = i->retries;
    out->tcpi_snd_mss = i->mss;
    out->tcpi_snd_cwnd = segments(i->cwnd, i->mss);
    out->tcpi_snd_ssthresh = i->ssthresh == UINT32_MAX ? INT32_MAX : segments(i->ssthresh, i->mss);
    out->tcpi_unacked = segments(i->unacked_bytes, i->mss);
    out->tcpi_sacked = segments(i->sacked_bytes, i->mss);
    out->tcpi_lost = segments(i->lost_bytes, i->mss);
    out->tcpi_total_retrans = (uint32_t)i->retransmits;
    out->tcpi_bytes_acked = i->acked_bytes;
    out->tcpi_notsent_bytes = i->unsent_bytes < UINT32_MAX ? (uint32_t)i->unsent_bytes : UINT32_MAX;
    out->tcpi_pacing_rate = i->pacing_rate ? i->pacing_rate : UINT64_MAX;
    out->tcpi_delivery_rate = i->delivery_rate;
    out->tcpi_delivery_rate_app_limited = i->delivery_limited;
    out->tcpi_snd_wnd = i->snd_wnd;
}

static void fill(const struct dk_tcp_info *i, int64_t now, struct tcp_info *out)
{
    out->tcpi_state = states[i->state];
    out->tcpi_options = options_of(i);
    out->tcpi_snd_wscale = i->window_scale ? i->snd_wscale & 15 : 0;
    out->tcpi_rcv_wscale = i->window_scale ? i->rcv_wscale & 15 : 0;
    out->tcpi_rcv_mss = i->rcv_mss;
    out->tcpi_advmss = i->mss;
    out->tcpi_pmtu = i->path_mtu;
    out->tcpi_rcv_space = i->rcv_buf;
    out->tcpi_bytes_received = i->received_bytes;
    fill_times(i, now, out);
    fill_sending(i, out);
}

int dk_stack_tcp_info(struct dk_stack_tcp *t, void *val, socklen_t *len)
{
    struct tcp_info out = {.tcpi_state = LINUX_CLOSE};
    struct dk_tcp_info info;
    if (t->s.state == DK_STACK_LISTENING) {
        out.tcpi_state = LINUX_LISTEN;
    } else if (t->conn) {
        dk_tcp_get_info(t->conn, &info);
        fill(&info, t->s.st->now, &out);
    }
    if (*len > sizeof(out))
        *len = sizeof(out);
    memcpy(val, &out, *len);
    return 0;
}
