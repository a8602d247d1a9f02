/* SPDX-License-Identifier: MIT */
/*
 * What a connection receives: segments are joined in order, and an argument over the limit is
 * refused before it is here.
 */
#include "kv_unit.h"

#include "input.h"
#include "resp.h"

#include <errno.h>

static void test_join_of_one_segment_leaves_it(void **state)
{
    demi_sgarray_t sga = demi_sgaalloc(100);
    void *before = sga.sga_segs[0].sgaseg_buf;

    (void)state;
    assert_non_null(sga.sga_buf);
    assert_true(kv_input_join(&sga));
    assert_ptr_equal(sga.sga_segs[0].sgaseg_buf, before);
    demi_sgafree(&sga);
}

static void test_join_of_segments_keeps_their_bytes(void **state)
{
    static const char bytes[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    const uint32_t len = sizeof(bytes) - 1;

    (void)state;
    for (uint32_t cut = 1; cut < len; cut++) {
        demi_sgarray_t sga = demi_sgaalloc(len);
        char *p = sga.sga_segs[0].sgaseg_buf;
        assert_non_null(sga.sga_buf);
        memcpy(p, bytes, len);
        sga.sga_numsegs = 2;
        sga.sga_segs[0].sgaseg_len = cut;
        sga.sga_segs[1] = (demi_sgaseg_t){p + cut, len - cut};
        assert_int_equal(kv_input_bytes(&sga), len);
        assert_true(kv_input_join(&sga));
        assert_int_equal(sga.sga_numsegs, 1);
        assert_int_equal(sga.sga_segs[0].sgaseg_len, len);
        assert_memory_equal(sga.sga_segs[0].sgaseg_buf, bytes, len);
        demi_sgafree(&sga);
    }
}

/* What the framer says about these bytes at the beginning of a stream. */
static int scan(const char *bytes, size_t *used, struct resp_limits limits)
{
    struct demi_frame_state state = {.limit = KV_INPUT_MAX};

    *used = strlen(bytes);
    return kv_framer.scan(&state, bytes, *used, used, &limits);
}

static void test_frame_ends_behind_the_last_whole_command(void **state)
{
    size_t used;

    (void)state;
    assert_int_equal(scan("*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPI", &used,
                          (struct resp_limits){RESP_MAX_BULK, RESP_MAX_ARGS}),
                     DEMI_FRAME_END);
    assert_int_equal(used, 20);
}

static void test_argument_over_limit_refused_by_its_length(void **state)
{
    static const char header[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000\r\n";
    size_t used;

    (void)state;
    assert_int_equal(scan(header, &used, (struct resp_limits){1000000, RESP_MAX_ARGS}), EPROTO);
    assert_int_equal(scan(header, &used, (struct resp_limits){1999999, RESP_MAX_ARGS}), EPROTO);
    assert_true(scan(header, &used, (struct resp_limits){2000000, RESP_MAX_ARGS}) <= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_join_of_one_segment_leaves_it),
        cmocka_unit_test(test_join_of_segments_keeps_their_bytes),
        cmocka_unit_test(test_frame_ends_behind_the_last_whole_command),
        cmocka_unit_test(test_argument_over_limit_refused_by_its_length),
    };

    return cmocka_run_group_tests_name("kv-input", tests, unit_start_library, unit_stop_library);
}
