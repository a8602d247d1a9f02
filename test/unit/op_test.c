/* SPDX-License-Identifier: MIT */
/* The token table: generations, retirement, exhaustion, what an operation holds. */
#include "fake.h"
#include "mem/stats.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct fake fake;

static int setup(void **state)
{
    (void)state;
    fake_start(&fake, 4096, 64, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_end(&fake);
    return 0;
}

static void collect(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 0), 0);
    assert_true(qr.qr_qt == qt);
}

static void test_op_slot_reused_has_a_token_never_seen_before(void **state)
{
    (void)state;
    enum { ROUNDS = 3000 };
    demi_qtoken_t *seen = calloc(ROUNDS, sizeof *seen);
    struct dk_op *first = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        struct dk_op *op = fake_pop(fake.queue);
        first = first == NULL ? op : first;
        assert_ptr_equal(op, first); /* the slot most recently freed, warm in the cache */
        seen[i] = dk_op_token(op);
        assert_ptr_equal(dk_op_at(seen[i]), op);
        dk_op_complete(op, 0);
        collect(seen[i]);
        for (int k = 0; k < i; k += 1 + i / 50)
            assert_true(seen[k] != seen[i]);
    }
    free(seen);
}

static void test_op_generations_used_up_slot_is_retired(void **state)
{
    (void)state;
    const uint64_t last = (UINT64_C(1) << 40) - 1;
    assert_true(dk_op_set_next_generation(fake.inst, last - 1));
    struct dk_op *op = fake_pop(fake.queue);
    demi_qtoken_t qt = dk_op_token(op);
    assert_true(qt >> DK_OP_SLOT_BITS == last - 1);
    dk_op_complete(op, 0);
    collect(qt);
    struct dk_op *again = fake_pop(fake.queue);
    assert_ptr_equal(again, op);
    qt = dk_op_token(again);
    assert_true(qt >> DK_OP_SLOT_BITS == last);
    assert_true(qt != ~(demi_qtoken_t)0);
    dk_op_complete(again, 0);
    collect(qt);
    demi_qtoken_t tokens[700];
    for (int i = 0; i < 700; i++) { /* into the next batch of slots: never this one again */
        struct dk_op *other = fake_pop(fake.queue);
        assert_ptr_not_equal(other, op);
        tokens[i] = dk_op_token(other);
        dk_op_complete(other, 0);
    }
    for (int i = 0; i < 700; i++)
        collect(tokens[i]);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 0), -EINVAL);
}

static void test_op_token_is_never_zero_or_all_ones(void **state)
{
    (void)state;
    demi_qtoken_t tokens[4096];
    uint32_t n = 0;
    struct dk_op *op = NULL;
    for (; n < 4096; n++) {
        assert_true(dk_queue_get(fake.queue));
        if (dk_op_alloc(&op, fake.inst, fake.queue, DEMI_OPC_POP) != 0)
            break;
        assert_int_equal(dk_op_start(op, NULL), 0);
        tokens[n] = dk_op_token(op);
        assert_true(tokens[n] != 0 && tokens[n] != ~(demi_qtoken_t)0);
        dk_op_complete(op, 0);
    }
    assert_true(n > 4000);
    for (uint32_t i = 0; i < n; i++)
        collect(tokens[i]);
}

static void test_op_table_full_is_enomem_and_recovers(void **state)
{
    (void)state;
    static struct dk_op *ops[8192];
    uint32_t n = 0;
    int error = 0;
    for (; n < 8192; n++) {
        assert_true(dk_queue_get(fake.queue));
        error = dk_op_alloc(&ops[n], fake.inst, fake.queue, DEMI_OPC_POP);
        if (error != 0)
            break;
    }
    assert_int_equal(error, -ENOMEM);
    assert_in_range(n, 4095, 4096);
    assert_true(dk_queue_get(fake.queue));
    struct dk_op *op = NULL;
    assert_int_equal(dk_op_alloc(&op, fake.inst, fake.queue, DEMI_OPC_POP), -ENOMEM);
    dk_op_release(ops[17]);
    assert_true(dk_queue_get(fake.queue));
    assert_int_equal(dk_op_alloc(&ops[17], fake.inst, fake.queue, DEMI_OPC_POP), 0);
    for (uint32_t i = 0; i < n; i++)
        dk_op_release(ops[i]);
}

/* What is not collected counts against its queue: the descriptor waits for it. */
static void test_op_outstanding_holds_its_queue(void **state)
{
    (void)state;
    struct dk_queue *q = fake_queue(&fake);
    const int qd = q->qd;
    struct dk_op *op = fake_pop(q);
    const demi_qtoken_t qt = dk_op_token(op);
    fake_queue_close(q);
    for (int i = 0; i < 5; i++) {
        struct dk_queue *other = fake_queue(&fake);
        assert_int_not_equal(other->qd, qd);
        fake_queue_close(other);
    }
    dk_op_complete(op, -ECANCELED);
    struct dk_queue *other = fake_queue(&fake);
    assert_int_not_equal(other->qd, qd);
    fake_queue_close(other);
    collect(qt);
    other = fake_queue(&fake);
    assert_int_equal(other->qd, qd);
    fake_queue_close(other);
}

static void test_op_push_holds_its_memory_until_complete(void **state)
{
    (void)state;
    const uint32_t before = dk_buf_in_use();
    const uint32_t len = 100;
    demi_sgarray_t sga;
    struct dk_op *op = NULL;
    assert_int_equal(dk_sga_alloc(&sga, &len, 1), 0);
    memset(sga.sga_segs[0].sgaseg_buf, 7, len);
    assert_true(dk_queue_get(fake.queue));
    assert_int_equal(dk_op_alloc(&op, fake.inst, fake.queue, DEMI_OPC_PUSH), 0);
    assert_int_equal(dk_sga_check(&sga, &op->buf), 0);
    assert_int_equal(dk_op_start(op, &sga), 0);
    assert_int_equal(dk_sga_free(&sga), 0);
    assert_int_equal(dk_buf_in_use(), before + 1); /* freed, but held */
    assert_int_equal(((uint8_t *)dk_op_sga(op)->sga_segs[0].sgaseg_buf)[99], 7);
    const demi_qtoken_t qt = dk_op_token(op);
    dk_op_complete(op, 0);
    assert_int_equal(dk_buf_in_use(), before);
    collect(qt);
}

static void test_op_push_of_foreign_memory_is_copied_when_held(void **state)
{
    (void)state;
    char memory[64];
    memset(memory, 'a', sizeof memory);
    demi_sgarray_t sga = {.sga_numsegs = 2};
    sga.sga_segs[0] = (demi_sgaseg_t){memory, 30};
    sga.sga_segs[1] = (demi_sgaseg_t){memory + 30, 34};
    struct dk_op *op = NULL;
    assert_true(dk_queue_get(fake.queue));
    assert_int_equal(dk_op_alloc(&op, fake.inst, fake.queue, DEMI_OPC_PUSH), 0);
    assert_int_equal(dk_sga_check(&sga, &op->buf), 0);
    assert_null(op->buf);
    const uint64_t copies = dk_mem_stats->copies_foreign;
    const uint64_t copied = dk_mem_stats->copied_bytes_foreign;
    assert_int_equal(dk_op_start(op, &sga), 0);
    memset(memory, 'b', sizeof memory);
    const demi_sgarray_t *own = dk_op_sga(op);
    assert_int_equal(own->sga_numsegs, 2);
    assert_int_equal(own->sga_segs[1].sgaseg_len, 34);
    for (int i = 0; i < 34; i++)
        assert_int_equal(((char *)own->sga_segs[1].sgaseg_buf)[i], 'a');
    assert_int_equal(dk_mem_stats->copied_bytes_foreign, copied + 64);
    assert_int_equal(dk_mem_stats->copies_foreign, copies + 2);
    dk_op_release(op);
}

static void test_op_failed_result_has_errno_and_no_value(void **state)
{
    (void)state;
    static const demi_accept_result_t nothing;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t qt = dk_op_token(op);
    memset(&op->qr.qr_value, 0xee, sizeof op->qr.qr_value);
    dk_op_complete(op, -ECONNRESET);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &qt, 1, 0), 0);
    assert_int_equal(qr.qr_opcode, DEMI_OPC_FAILED);
    assert_int_equal(qr.qr_ret, ECONNRESET);
    assert_int_equal(qr.qr_qd, fake.queue->qd);
    demi_accept_result_t ares = qr.qr_value.ares;
    assert_memory_equal(&ares, &nothing, sizeof ares);
}

static void test_op_table_made_again_has_other_tokens(void **state)
{
    (void)state;
    struct dk_op *op = fake_pop(fake.queue);
    const demi_qtoken_t old = dk_op_token(op);
    dk_op_release(op);
    fake_end(&fake);
    fake_start(&fake, 4096, 64, 0);
    op = fake_pop(fake.queue);
    assert_true(dk_op_token(op) != old);
    demi_qresult_t qr;
    uint32_t at;
    assert_int_equal(fake_wait_any(&fake, &qr, &at, &old, 1, 0), -EINVAL);
    dk_op_release(op);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_op_slot_reused_has_a_token_never_seen_before),
        TEST(test_op_generations_used_up_slot_is_retired),
        TEST(test_op_token_is_never_zero_or_all_ones),
        TEST(test_op_table_full_is_enomem_and_recovers),
        TEST(test_op_outstanding_holds_its_queue),
        TEST(test_op_push_holds_its_memory_until_complete),
        TEST(test_op_push_of_foreign_memory_is_copied_when_held),
        TEST(test_op_failed_result_has_errno_and_no_value),
        TEST(test_op_table_made_again_has_other_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
