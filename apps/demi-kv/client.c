/* SPDX-License-Identifier: MIT */
/*
 * One connection (client.h): what arrives is scanned and run where it lies.
 */
#include "client.h"

#include "command.h"
#include "input.h"

#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How long a finishing client is read, so that its peer can read. */
#define LINGER_MS 1000

/* What was received and not run yet: the bytes from `off` on. */
struct kv_held {
    demi_sgarray_t sga;
    uint32_t off;
};

/* ---- life --------------------------------------------------------------------------------- */

/* From here on the connection itself is popped, what was no command yet first. */
static void end_frame(struct kv_client *c)
{
    if (c->frame < 0)
        return;
    kv_server_forget(c->server, c, c->frame);
    demi_close(c->frame);
    c->frame = -1;
}

/* Reads on, or closes the client, which may be gone then: false. */
static bool start_pop(struct kv_client *c)
{
    if (c->finishing)
        end_frame(c);
    if (demi_pop(&c->pop, c->frame >= 0 ? c->frame : c->qd) == 0)
        return true;
    c->pop = 0;
    kv_client_close(c);
    return false;
}

struct kv_client *kv_client_create(struct kv_server *server, int qd)
{
    struct kv_client *c = calloc(1, sizeof(*c));
    struct resp_limits *limits = &server->config->limits;

    if (c && demi_frame(&c->frame, qd, &kv_framer, limits) != 0) {
        free(c);
        c = NULL;
    }
    if (c) {
        c->qd = qd;
        c->resp = 2;
        c->server = server;
        c->id = ++server->last_client_id;
        c->born_ms = c->active_ms = server->db.now_ms;
    }
    if (!c || !kv_server_add(server, c)) {
        if (c)
            demi_close(c->frame);
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

void kv_client_close(struct kv_client *c)
{
    if (!c->closed) {
        c->closed = true;
        c->server->num_clients--;
        c->server->num_finishing -= c->finishing;
        demi_close(c->qd);
        if (c->frame >= 0) /* it has nobody to give bytes back to any more */
            demi_close(c->frame);
        free_held(c);
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

/* Keeps an answer until what it may tell of is on the log. */
static bool keep(struct kv_client *c, const demi_sgarray_t *sga)
{
    struct kv_server *server = c->server;
    uint64_t group = server->is_changing ? KV_ANSWER_OPEN : kv_journal_group(&server->journal);

    if (!kv_answers_keep(&server->answers, c, group, sga))
        return false;
    c->kept++;
    return true;
}

/* Whether an answer has to wait for the log, or for one of the same client that does. */
static bool must_wait(const struct kv_client *c)
{
    const struct kv_journal *journal = &c->server->journal;

    return c->kept > 0 || c->server->is_changing ||
           !kv_journal_is_acked(journal, kv_journal_group(journal));
}

void kv_client_push(struct kv_client *c, const demi_sgarray_t *sga)
{
    demi_qtoken_t token;

    if (c->broken)
        return;
    if (must_wait(c) ? !keep(c, sga) : demi_push(&token, c->qd, sga) != 0) {
        c->broken = true;
        return;
    }
    c->pushes++;
    c->unsent += sga->sga_segs[0].sgaseg_len;
}

void kv_client_send_kept(struct kv_client *c, const demi_sgarray_t *sga)
{
    demi_qtoken_t token;

    c->kept--;
    if (c->closed || demi_push(&token, c->qd, sga) != 0) {
        c->pushes--;
        kv_client_close(c);
    } else if (c->kept == 0 && (c->ended || (c->finishing && demi_shutdown(c->qd, SHUT_WR) != 0))) {
        kv_client_close(c);
    }
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

static void run_command(struct kv_client *c, const demi_sgarray_t *sga, char *base)
{
    const struct resp_scan *scan = &c->server->scan;
    struct kv_call call = {
        .server = c->server,
        .client = c,
        .out = &c->server->out,
        .argc = scan->argc,
        .argv = scan->argv,
        .base = base,
        /* Only bulk strings can be shared as they stand, not the words of an inline command. */
        .sga = *base == '*' ? sga : NULL,
        .received = sga->sga_segs[0].sgaseg_len,
    };

    if (scan->argc > 0)
        kv_command_run(&call);
}

/* Answers a malformed request, which ends the connection: nobody knows where the next begins. */
static void refuse(struct kv_client *c, enum resp_status status)
{
    char text[RESP_ERROR_CHARS];

    if (status == RESP_ERROR) {
        resp_error_text(&c->server->scan, text);
        kv_reply_error(&c->server->out, "ERR %s", text);
        kv_client_finish(c);
    } else if (status == RESP_NO_MEMORY) {
        kv_reply_no_memory(&c->server->out);
        kv_client_finish(c);
    } else {
        c->broken = true;
    }
}

/* Runs the commands from `off` on; returns where it stopped. */
static uint32_t run_commands(struct kv_client *c, const demi_sgarray_t *sga, uint32_t off)
{
    struct resp_scan *scan = &c->server->scan;
    char *bytes = sga->sga_segs[0].sgaseg_buf;
    uint32_t len = sga->sga_segs[0].sgaseg_len;

    while (off < len && may_run(c)) {
        enum resp_status status = resp_scan(scan, bytes + off, len - off);
        uint32_t used = scan->pos;
        if (__builtin_expect(status != RESP_COMMAND, 0)) {
            refuse(c, status);
            break;
        }
        run_command(c, sga, bytes + off);
        off += used;
    }
    return off;
}

/* Keeps what was not run because too much is unsent. */
static void hold(struct kv_client *c, const demi_sgarray_t *sga, uint32_t off)
{
    if (!c->held)
        c->held = malloc(sizeof(*c->held));
    if (!c->held) {
        c->broken = true;
        return;
    }
    *c->held = (struct kv_held){*sga, off};
    c->server->stats.blocked++;
}

/* After running: sends what was said, and decides what comes next. */
static void settle(struct kv_client *c)
{
    kv_out_flush(&c->server->out);
    bool says_end = c->finishing && c->kept == 0; /* else when the last one is sent */

    if (c->broken || (says_end && demi_shutdown(c->qd, SHUT_WR) != 0))
        kv_client_close(c);
    else if (c->finishing || (!c->held && !too_much_unsent(c)))
        start_pop(c);
}

/* Runs an element from a place in it; frees it, or holds it. */
static void run(struct kv_client *c, demi_sgarray_t *sga, uint32_t off)
{
    kv_out_begin(&c->server->out, c);
    c->active_ms = c->server->db.now_ms;
    if (kv_input_join(sga))
        off = run_commands(c, sga, off);
    else
        refuse(c, RESP_NO_MEMORY);
    if (off < sga->sga_segs[0].sgaseg_len && !c->finishing && !c->broken)
        hold(c, sga, off);
    if (!c->held || c->broken) {
        demi_sgafree(sga);
        free(c->held);
        c->held = NULL;
    }
    settle(c);
}

/* ---- malformed requests ------------------------------------------------------------------- */

/* Pops what is there already. false: nothing, or the end; what was begun is for closing to end. */
static bool pop_now(struct kv_client *c, demi_sgarray_t *sga_out)
{
    static const struct timespec at_once = {0, 0};
    demi_qresult_t qr;

    if (demi_pop(&c->pop, c->qd) != 0 || demi_wait(&qr, c->pop, &at_once) != 0)
        return false;
    c->pop = 0;
    *sga_out = qr.qr_value.sga;
    return qr.qr_opcode == DEMI_OPC_POP && sga_out->sga_numsegs > 0;
}

/* Appends what was popped to *bytes, and frees it. */
static bool append(char **bytes, uint32_t *len, demi_sgarray_t *sga)
{
    uint32_t more = kv_input_bytes(sga);
    char *larger = realloc(*bytes, (size_t)*len + more);

    if (larger) {
        kv_input_copy(larger + *len, sga);
        *bytes = larger;
        *len += more;
    }
    demi_sgafree(sga);
    return larger != NULL;
}

/* Scans what the library found no command in, as far as it came. */
static enum resp_status scan_malformed(struct kv_client *c)
{
    enum resp_status status = RESP_MORE;
    demi_sgarray_t sga;
    char *bytes = NULL;
    uint32_t len = 0;

    while (status == RESP_MORE && pop_now(c, &sga)) {
        status = RESP_NO_MEMORY;
        if (append(&bytes, &len, &sga))
            status = resp_scan(&c->server->scan, bytes, len);
    }
    free(bytes);
    return status;
}

/* The frame has failed: says why, in Redis's words. */
static void run_malformed(struct kv_client *c, int error)
{
    kv_out_begin(&c->server->out, c);
    c->active_ms = c->server->db.now_ms;
    end_frame(c);
    refuse(c, error == EPROTO ? scan_malformed(c) : RESP_NO_MEMORY);
    settle(c);
}

/* ---- events ------------------------------------------------------------------------------- */

void kv_client_popped(struct kv_client *c, demi_sgarray_t *sga)
{
    c->pop = 0;
    c->server->stats.bytes_in += kv_input_bytes(sga);
    c->ended |= sga->sga_numsegs == 0;
    if (c->closed || (c->ended && c->kept == 0)) {
        demi_sgafree(sga);
        kv_client_close(c);
    } else if (c->ended) {
        demi_sgafree(sga);
    } else if (c->finishing) {
        demi_sgafree(sga);
        start_pop(c);
    } else {
        run(c, sga, 0);
    }
}

/* Goes on after being blocked. */
static void resume(struct kv_client *c)
{
    struct kv_held *held = c->held;
    demi_sgarray_t sga;
    uint32_t off;

    if (!held) {
        start_pop(c);
        return;
    }
    sga = held->sga;
    off = held->off;
    free(held);
    c->held = NULL;
    run(c, &sga, off);
}

void kv_client_pushed(struct kv_client *c)
{
    if (--c->pushes == 0)
        c->unsent = 0;
    if (c->closed)
        release(c);
    else if (c->pop == 0 && !c->ended && c->pushes <= KV_MAX_PUSHES / 2 && !too_much_unsent(c))
        resume(c);
}

void kv_client_failed(struct kv_client *c, demi_qtoken_t token, int error)
{
    bool popped = token == c->pop;

    if (popped)
        c->pop = 0;
    else
        c->pushes--;
    if (popped && !c->closed && c->frame >= 0 &&
        (error == EPROTO || error == EMSGSIZE || error == ENOMEM))
        run_malformed(c, error);
    else
        kv_client_close(c);
}
