/* SPDX-License-Identifier: MIT */
/* See operators.h. */
#include "operators.h"

static bool everything(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return true;
}

static int unchanged(demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 0;
}

static int all_equal(const demi_sgarray_t *a, const demi_sgarray_t *b, void *arg)
{
    (void)a;
    (void)b;
    (void)arg;
    return 0;
}

static uint32_t to_first(const demi_sgarray_t *sga, void *arg)
{
    (void)sga;
    (void)arg;
    return 0;
}

const char *kind_name(enum kind kind)
{
    static const char *const names[KINDS] = {
        "filter", "map", "map on push", "map on pop", "sort", "partition",
    };
    return names[kind];
}

int try_derive(int *qd_out, enum kind kind, int qd)
{
    switch (kind) {
    case FILTER:
        return demi_filter(qd_out, qd, everything, NULL);
    case MAP:
        return demi_map(qd_out, qd, unchanged, NULL);
    case MAP_IN:
        return demi_map_dir(qd_out, qd, unchanged, NULL, NULL);
    case MAP_OUT:
        return demi_map_dir(qd_out, qd, NULL, unchanged, NULL);
    case SORT:
        return demi_sort(qd_out, qd, all_equal, NULL);
    default:
        return demi_partition(qd_out, 1, qd, to_first, NULL);
    }
}

int derive(enum kind kind, int qd)
{
    int derived = -1;
    const int error = try_derive(&derived, kind, qd);
    must_hold(error == 0, "%s: %s", kind_name(kind), errno_name(error));
    assert_true(derived >= 0);
    assert_int_not_equal(derived, qd);
    return derived;
}

struct chain chain_make(int qd, int depth, enum kind first)
{
    struct chain chain = {.depth = depth};
    assert_true(depth <= CHAIN_MAX);
    for (int i = 0; i < depth; i++)
        qd = chain.qds[i] = derive((first + (enum kind)i) % KINDS, qd);
    return chain;
}

int chain_top(const struct chain *chain)
{
    return chain->qds[chain->depth - 1];
}

void chain_close(const struct chain *chain)
{
    for (int i = chain->depth; i-- > 0;)
        must(demi_close(chain->qds[i]));
}

demi_qtoken_t push_element(int qd, size_t len, uint64_t seed)
{
    demi_sgarray_t sga = pattern_sga(len, seed, 0);
    const demi_qtoken_t qt = push_start(qd, &sga);
    must(demi_sgafree(&sga));
    return qt;
}

void send_element(int qd, size_t len, uint64_t seed)
{
    const demi_qresult_t qr = wait_success(push_element(qd, len, seed), DEMI_OPC_PUSH);
    assert_int_equal(qr.qr_qd, qd);
}

void check_element(demi_sgarray_t sga, size_t len, uint64_t seed)
{
    assert_int_equal(sga_bytes(&sga), len);
    pattern_check_sga(&sga, seed, 0);
    must(demi_sgafree(&sga));
}

void pop_element(int qd, size_t len, uint64_t seed)
{
    check_element(pop_one(qd), len, seed);
}

void wait_element(demi_qtoken_t qt, size_t len, uint64_t seed)
{
    check_element(wait_success(qt, DEMI_OPC_POP).qr_value.sga, len, seed);
}

uint64_t stat_now(const char *name)
{
    uint64_t value = 0;
    must_hold(stat_value(name, &value), "no counter %s", name);
    return value;
}

uint64_t buffers_now(void)
{
    return stat_now("mem.buffers_in_use");
}

void buffers_must_be(uint64_t before)
{
    /* What a receive that found nothing prepared is kept for the next one. */
    const uint64_t slack = backend_can(CAN_SOCKET)    ? 2 /* what is received into */
                           : backend_can(CAN_STORAGE) ? 4 /* or read into, of two logs */
                                                      : 0;
    const uint64_t now = buffers_now();
    must_hold(now <= before + slack && before <= now + slack,
              "%llu buffers in use, there were %llu", (unsigned long long)now,
              (unsigned long long)before);
}

void must_wait(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    const struct timespec moment = ms_time(2);
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
}

void drive_until_stat(demi_qtoken_t qt, const char *name, uint64_t least)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    while (stat_now(name) < least) {
        must_hold(now_ns() < give_up, "%s stays below %llu", name, (unsigned long long)least);
        must_wait(qt);
    }
}
