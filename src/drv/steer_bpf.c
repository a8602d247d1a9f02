/* SPDX-License-Identifier: MIT */
/*
 * The filter of steer.c as a program of eBPF, for where the kernel takes nothing else (tun).
 *
 * Each instruction of the classic filter becomes a few: A is R0, X is R7, M[0] and M[1] are R8 and
 * R9, and R6 has the packet, as BPF_LD_ABS wants it. Only what the filter has is translated.
 */
#include "drv/steer.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CLASSIC_MAX 256u
#define EXPANSION   4u /* instructions that one becomes, at most */
#define PROLOGUE    3u

enum { A = BPF_REG_0, PACKET = BPF_REG_6, X = BPF_REG_7, M0 = BPF_REG_8 };

struct program {
    uint32_t len;
    uint16_t starts[CLASSIC_MAX]; /* where each classic instruction begins */
    struct bpf_insn code[PROLOGUE + CLASSIC_MAX * EXPANSION];
};

static void put(struct program *p, uint8_t code, uint8_t dst, uint8_t src, int16_t off, int32_t imm)
{
    p->code[p->len++] =
        (struct bpf_insn){.code = code, .dst_reg = dst, .src_reg = src, .off = off, .imm = imm};
}

static void move(struct program *p, uint8_t dst, uint8_t src)
{
    put(p, BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0);
}

static void put_load(struct program *p, const struct sock_filter *f)
{
    const uint8_t m = (uint8_t)(M0 + f->k);
    if (BPF_MODE(f->code) == BPF_MEM) {
        move(p, A, m);
    } else if (BPF_MODE(f->code) == BPF_IMM) {
        put(p, BPF_ALU64 | BPF_MOV | BPF_K, A, 0, 0, (int32_t)f->k);
    } else if (f->k == (uint32_t)(SKF_AD_OFF + SKF_AD_PROTOCOL)) {
        put(p, BPF_LDX | BPF_MEM | BPF_W, A, PACKET, offsetof(struct __sk_buff, protocol), 0);
        put(p, BPF_ALU | BPF_END | BPF_TO_BE, A, 0, 0, 16);
    } else {
        const uint8_t src = BPF_MODE(f->code) == BPF_IND ? X : 0;
        put(p, (uint8_t)f->code, 0, src, 0, (int32_t)f->k);
    }
}

static void put_load_x(struct program *p, const struct sock_filter *f)
{
    if (BPF_MODE(f->code) == BPF_MEM) {
        move(p, X, (uint8_t)(M0 + f->k));
        return;
    }
    put(p, BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, (int32_t)f->k); /* BPF_MSH: A is not kept */
    put(p, BPF_ALU | BPF_AND | BPF_K, A, 0, 0, 0xf);
    put(p, BPF_ALU | BPF_LSH | BPF_K, A, 0, 0, 2);
    move(p, X, A);
}

/* The place of a jump is that of the classic filter, counted from what follows `at`, until they
 * are all known. */
static void put_jump(struct program *p, const struct sock_filter *f, uint32_t at)
{
    if (BPF_OP(f->code) == BPF_JA) {
        put(p, BPF_JMP | BPF_JA, 0, 0, (int16_t)(at + 1 + f->k), 0);
        return;
    }
    put(p, (uint8_t)f->code, A, 0, (int16_t)(at + 1 + f->jt), (int32_t)f->k);
    put(p, BPF_JMP | BPF_JA, 0, 0, (int16_t)(at + 1 + f->jf), 0);
}

static bool put_one(struct program *p, const struct sock_filter *f, uint32_t at)
{
    switch (BPF_CLASS(f->code)) {
    case BPF_LD:
        put_load(p, f);
        return true;
    case BPF_LDX:
        put_load_x(p, f);
        return true;
    case BPF_ST:
        move(p, (uint8_t)(M0 + f->k), A);
        return true;
    case BPF_ALU:
        put(p, (uint8_t)f->code, A, BPF_SRC(f->code) == BPF_X ? X : 0, 0, (int32_t)f->k);
        return true;
    case BPF_JMP:
        put_jump(p, f, at);
        return true;
    case BPF_RET:
        if (BPF_RVAL(f->code) == BPF_K)
            put(p, BPF_ALU64 | BPF_MOV | BPF_K, A, 0, 0, (int32_t)f->k);
        put(p, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
        return true;
    default: /* BPF_MISC: TAX */
        move(p, X, A);
        return BPF_CLASS(f->code) == BPF_MISC && BPF_MISCOP(f->code) == BPF_TAX;
    }
}

static void resolve_jumps(struct program *p)
{
    for (uint32_t i = PROLOGUE; i < p->len; i++) {
        struct bpf_insn *insn = &p->code[i];
        if (BPF_CLASS(insn->code) == BPF_JMP && BPF_OP(insn->code) != BPF_EXIT)
            insn->off = (int16_t)(p->starts[insn->off] - i - 1);
    }
}

static bool translate(struct program *p, const struct sock_fprog *from)
{
    if (from->len > CLASSIC_MAX)
        return false;
    p->len = 0;
    move(p, PACKET, BPF_REG_1);
    for (uint8_t m = 0; m < 2; m++)
        put(p, BPF_ALU64 | BPF_MOV | BPF_K, (uint8_t)(M0 + m), 0, 0, 0);
    for (uint32_t i = 0; i < from->len; i++) {
        p->starts[i] = (uint16_t)p->len;
        if (!put_one(p, &from->filter[i], i))
            return false;
    }
    resolve_jumps(p);
    return true;
}

int dk_steer_load(void)
{
    static const char license[] = "MIT";
    struct program program;
    const struct sock_fprog filter = dk_steer_filter();
    union bpf_attr attr;
    if (!translate(&program, &filter))
        return -EINVAL;
    memset(&attr, 0, sizeof(attr));
    attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
    attr.insn_cnt = program.len;
    attr.insns = (uintptr_t)program.code;
    attr.license = (uintptr_t)license;
    const long fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
    return fd < 0 ? -errno : (int)fd;
}
