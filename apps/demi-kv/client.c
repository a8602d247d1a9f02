/* SPDX-License-Identifier: MIT */
/*
 * One connection (client.h): what arrives is scanned and run where it lies.
 */
#include "client.h"

#include "command.h"
#include "input.h"

#include <demi/libos.h>
#include <demi/sga.h>
#include <stdlib.h>
#include <string.h>

/* How long a finishing client is read, so that its peer can read. */
#define LINGER_MS 1000

/* What was received and not run yet: the rest of segment `seg`, and those behind it. */
struct kv_held {
    demi_sgarray_t sga;
    uint32_t seg;
    uint32_t off;
};

/* ---- life --------------------------------------------------------------------------------- */

/* Reads on, or closes the client, which may be gone then: false. */
static bool start_pop(struct kv_client *c)
{
    if (demi_pop(&c->pop, c->qd) == 0)
        return true;
    c->pop = 0;
    kv_client_close(c);
    return false;
}

struct kv_client *kv_client_create(struct kv_server *server, int qd)
{
    struct kv_client *c = calloc(1, sizeof(*c));

    if (c) {
        c->qd = qd;
        c->resp = 2;
        c->server = server;
        c->id = ++server->last_client_id;
        c->born_ms = c->active_ms = server->db.now_ms;
    }
    if (!c || !kv_server_add(server, c)) {
        demi_close(qd);
        free(c);
        return NULL;
    }
    return start_pop(c) ? c : NULL;
}

/* Frees a closed client once its last token was collected. */
static void release(struct kv_client *c)
{
    if (!c->closed || c->pop != 0 || c->pushes > 0)
        return;
    kv_server_remove(c->server, c);
    free(c);
}

static void free_held(struct kv_client *c)
{
    if (c->held)
        demi_sgafree(&c->held->sga);
    free(c->held);
    c->held = NULL;
}

static void free_input(struct kv_client *c)
{
    if (c->input)
        kv_input_free(c->input);
    c->input = NULL;
}

void kv_client_close(struct kv_client *c)
{
    if (!c->closed) {
        c->closed = true;
        c->server->num_clients--;
        c->server->num_finishing -= c->finishing;
        demi_close(c->qd);
        free_held(c);
        free_input(c);
        free(c->name);
        free(c->lib_name);
        free(c->lib_ver);
        c->name = c->lib_name = c->lib_ver = NULL;
    }
    release(c);
}

void kv_client_finish(struct kv_client *c)
{
    if (c->finishing)
        return;
    c->finishing = true;
    c->active_ms = c->server->db.now_ms;
    c->server->num_finishing++;
}

void kv_client_check_linger(struct kv_client *c, int64_t now_ms)
{
    if (c->finishing && !c->closed && now_ms - c->active_ms >= LINGER_MS)
        kv_client_close(c);
}

/* ---- sending ------------------------------------------------------------------------------ */

void kv_client_push(struct kv_client *c, const demi_sgarray_t *sga)
{
    demi_qtoken_t token;

    if (c->broken)
        return;
    if (demi_push(&token, c->qd, sga) != 0) {
        c->broken = true;
        return;
    }
    c->pushes++;
    c->unsent += sga->sga_segs[0].sgaseg_len;
}

static bool too_much_unsent(const struct kv_client *c)
{
    return c->pushes >= KV_MAX_PUSHES || c->unsent >= c->server->config->max_unsent;
}

/* ---- running ------------------------------------------------------------------------------ */

static bool may_run(const struct kv_client *c)
{
    return !c->broken && !c->finishing && !too_much_unsent(c);
}

static void run_command(struct kv_client *c, struct kv_call *call, const struct resp_scan *scan)
{
    if (scan->argc == 0)
        return;
    call->server = c->server;
    call->client = c;
    call->out = &c->server->out;
    call->argc = scan->argc;
    call->argv = scan->argv;
    kv_command_run(call);
}

/* Answers a malformed request, which ends the connection: nobody knows where the next begins. */
static void refuse(struct kv_client *c, const struct resp_scan *scan, enum resp_status status)
{
    char text[RESP_ERROR_CHARS];

    if (status == RESP_ERROR) {
        resp_error_text(scan, text);
        kv_reply_error(&c->server->out, "ERR %s", text);
    } else {
        kv_reply_no_memory(&c->server->out);
    }
    kv_client_finish(c);
}

/* Goes on with a command that had not arrived whole; returns how many bytes belonged to it. */
static uint32_t run_input(struct kv_client *c, const char *bytes, uint32_t len)
{
    struct kv_input *in = c->input;
    uint32_t used;
    enum resp_status status = kv_input_feed(in, bytes, len, &used);

    if (status == RESP_MORE)
        return used;
    c->input = NULL;
    if (status == RESP_COMMAND)
        run_command(c, &(struct kv_call){.base = in->buf, .blobs = in->blobs}, &in->scan);
    else
        refuse(c, &in->scan, status);
    kv_input_free(in);
    return used;
}

/* Runs the command that begins at bytes; returns how many bytes were used up. */
static uint32_t run_in_place(struct kv_client *c, const demi_sgarray_t *sga, char *bytes,
                             uint32_t len, uint32_t received)
{
    struct resp_scan *scan = &c->server->scan;
    enum resp_status status;

    resp_restart(scan);
    status = resp_scan(scan, bytes, len);
    if (__builtin_expect(status == RESP_COMMAND, 1)) {
        /* Only bulk strings can be shared as they stand, not the words of an inline command. */
        struct kv_call call = {
            .base = bytes, .sga = *bytes == '*' ? sga : NULL, .received = received};
        uint32_t used = scan->pos;
        run_command(c, &call, scan);
        return used;
    }
    if (status == RESP_MORE) {
        c->input = kv_input_create(scan, bytes, len, c->server->config->max_request);
        if (c->input)
            return len;
        status = RESP_NO_MEMORY;
    }
    refuse(c, scan, status);
    return len;
}

/* Runs what stands in one segment, from `off`; returns where it stopped. */
static uint32_t run_segment(struct kv_client *c, const demi_sgarray_t *sga, uint32_t seg,
                            uint32_t off)
{
    char *bytes = sga->sga_segs[seg].sgaseg_buf;
    uint32_t len = sga->sga_segs[seg].sgaseg_len;

    while (off < len && may_run(c)) {
        if (c->input)
            off += run_input(c, bytes + off, len - off);
        else
            off += run_in_place(c, sga, bytes + off, len - off, len);
    }
    return off;
}

/* Keeps what was not run because too much is unsent. */
static void hold(struct kv_client *c, const demi_sgarray_t *sga, uint32_t seg, uint32_t off)
{
    if (!c->held)
        c->held = malloc(sizeof(*c->held));
    if (!c->held) {
        c->broken = true;
        return;
    }
    *c->held = (struct kv_held){*sga, seg, off};
    c->server->stats.blocked++;
}

/* After running: sends what was said, and decides what comes next. */
static void settle(struct kv_client *c)
{
    kv_out_flush(&c->server->out);
    if (c->broken || (c->finishing && demi_shutdown(c->qd, SHUT_WR) != 0))
        kv_client_close(c);
    else if (c->finishing || (!c->held && !too_much_unsent(c)))
        start_pop(c);
}

/* Runs an element from a place in it; frees it, or holds it. */
static void run(struct kv_client *c, demi_sgarray_t *sga, uint32_t seg, uint32_t off)
{
    kv_out_begin(&c->server->out, c);
    c->active_ms = c->server->db.now_ms;
    for (; seg < sga->sga_numsegs; seg++, off = 0) {
        off = run_segment(c, sga, seg, off);
        if (off < sga->sga_segs[seg].sgaseg_len)
            break;
    }
    if (seg < sga->sga_numsegs && !c->finishing && !c->broken)
        hold(c, sga, seg, off);
    if (!c->held || c->broken) {
        demi_sgafree(sga);
        free(c->held);
        c->held = NULL;
    }
    settle(c);
}

/* ---- events ------------------------------------------------------------------------------- */

void kv_client_popped(struct kv_client *c, demi_sgarray_t *sga)
{
    c->pop = 0;
    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        c->server->stats.bytes_in += sga->sga_segs[i].sgaseg_len;
    if (c->closed || sga->sga_numsegs == 0) {
        demi_sgafree(sga);
        kv_client_close(c);
    } else if (c->finishing) {
        demi_sgafree(sga);
        start_pop(c);
    } else {
        run(c, sga, 0, 0);
    }
}

/* Goes on after being blocked. */
static void resume(struct kv_client *c)
{
    struct kv_held *held = c->held;
    demi_sgarray_t sga;
    uint32_t seg, off;

    if (!held) {
        start_pop(c);
        return;
    }
    sga = held->sga;
    seg = held->seg;
    off = held->off;
    free(held);
    c->held = NULL;
    run(c, &sga, seg, off);
}

void kv_client_pushed(struct kv_client *c)
{
    if (--c->pushes == 0)
        c->unsent = 0;
    if (c->closed)
        release(c);
    else if (c->pop == 0 && c->pushes <= KV_MAX_PUSHES / 2 && !too_much_unsent(c))
        resume(c);
}

void kv_client_failed(struct kv_client *c, demi_qtoken_t token)
{
    if (token == c->pop)
        c->pop = 0;
    else
        c->pushes--;
    kv_client_close(c);
}
