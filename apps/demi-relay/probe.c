/* SPDX-License-Identifier: MIT */
/*
 * Probes: how a worker asks whether a target can be reached (target.h says what follows).
 *
 * A TCP probe is a connection. UDP knows none, so a UDP probe is a datagram that the command line
 * gives, from a socket of its own that is connected to the target. An answer that begins as
 * expected passes; ICMP's word that nobody takes datagrams there is a refusal. Silence passes only
 * where no answer is expected: a service that never answers cannot be told from a path that loses
 * everything.
 *
 * A probe has one operation, a connect or a pop; what ends it, also a time-out, is its result.
 */
#include "worker.h"

#include <demi/sga.h>
#include <errno.h>
#include <string.h>

static void end(struct relay_worker *w, struct relay_probe *probe)
{
    relay_worker_disown(w, probe->qd, probe);
    if (!probe->timed_out)
        demi_close(probe->qd);
    probe->timed_out = false;
    probe->qd = -1;
}

/* Its operation fails. */
static void time_out(struct relay_probe *probe)
{
    probe->timed_out = true;
    demi_close(probe->qd);
}

static int start_tcp(struct relay_probe *probe)
{
    const struct relay_address *addr = probe->target->addr;
    demi_qtoken_t token;
    int err = demi_socket(&probe->qd, addr->sa.sa_family, SOCK_STREAM, 0);

    if (err != 0) {
        probe->qd = -1;
        return err;
    }
    return demi_connect(&token, probe->qd, &addr->sa, addr->len);
}

static int push_probe(int qd, const struct relay_text *text)
{
    demi_sgarray_t sga = demi_sgaalloc(text->len);
    int err;

    if (sga.sga_numsegs == 0)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, text->bytes, text->len);
    err = demi_blocking_push(qd, &sga);
    demi_sgafree(&sga);
    return err;
}

static int start_udp(struct relay_probe *probe, const struct relay_text *text)
{
    demi_qtoken_t token;
    int err = relay_udp_connect(&probe->qd, NULL, probe->target->addr);

    if (err != 0) {
        probe->qd = -1;
        return err;
    }
    err = push_probe(probe->qd, text);
    return err != 0 ? err : demi_pop(&token, probe->qd);
}

/* What the relay itself lacks, as descriptors, says nothing of the target. */
static void start(struct relay_worker *w, struct relay_probe *probe)
{
    const struct relay_config *config = w->config;
    int err = config->udp ? start_udp(probe, &config->probe) : start_tcp(probe);

    probe->at_ms = w->now_ms;
    if (err == 0 && !relay_worker_own(w, probe->qd, RELAY_PROBE, probe))
        err = ENOMEM;
    if (err == 0)
        return;
    if (probe->qd >= 0)
        end(w, probe);
    if (relay_is_unreachable(err))
        relay_target_probed(&w->shared->targets, probe->target, RELAY_SILENT, w->now_ms);
}

static bool is_expected(const struct relay_config *config, const demi_sgarray_t *sga)
{
    const struct relay_text *expect = &config->expect;

    return sga->sga_segs[0].sgaseg_len >= expect->len &&
           (expect->len == 0 ||
            memcmp(sga->sga_segs[0].sgaseg_buf, expect->bytes, expect->len) == 0);
}

static enum relay_verdict verdict_of(const struct relay_config *config,
                                     const struct relay_probe *probe, const demi_qresult_t *qr)
{
    if (qr->qr_opcode == DEMI_OPC_CONNECT)
        return RELAY_PASSED;
    if (qr->qr_opcode == DEMI_OPC_POP)
        return is_expected(config, &qr->qr_value.sga) ? RELAY_PASSED : RELAY_SILENT;
    if (qr->qr_ret == ECONNREFUSED)
        return RELAY_REFUSED;
    if (probe->timed_out && config->udp && !config->expects)
        return RELAY_PASSED;
    return RELAY_SILENT;
}

void relay_probe_result(struct relay_worker *w, struct relay_probe *probe, demi_qresult_t *qr)
{
    relay_target_probed(&w->shared->targets, probe->target, verdict_of(w->config, probe, qr),
                        w->now_ms);
    if (qr->qr_opcode == DEMI_OPC_POP)
        demi_sgafree(&qr->qr_value.sga);
    end(w, probe);
}

void relay_probe_all(struct relay_worker *w)
{
    for (uint32_t i = 0; i < w->config->num_targets && relay_is_probed(w->config); i++) {
        struct relay_probe *probe = &w->probes[i];
        int64_t age = w->now_ms - probe->at_ms;

        if (probe->qd < 0 && age >= w->config->check_ms)
            start(w, probe);
        else if (probe->qd >= 0 && !probe->timed_out && age >= w->config->check_timeout_ms)
            time_out(probe);
    }
}

void relay_probe_close_all(struct relay_worker *w)
{
    for (uint32_t i = 0; i < w->config->num_targets; i++)
        if (w->probes[i].qd >= 0)
            end(w, &w->probes[i]);
}
