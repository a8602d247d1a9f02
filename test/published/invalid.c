/* SPDX-License-Identifier: MIT */
/* Every published call, with arguments that are all wrong: each fails, none crashes. NULL is passed
 * on purpose, as such programs do with the compiler's own check switched off. */
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>
#include <stdio.h>
#include <string.h>

#pragma GCC diagnostic ignored "-Wnonnull"

static int failures;

static void must_fail(const char *call, int error)
{
    if (error > 0)
        return;
    fprintf(stderr, "%s returned %d, must be a positive errno\n", call, error);
    failures++;
}

#define MUST_FAIL(call) must_fail(#call, call)

int main(int argc, char *const argv[])
{
    const struct demi_args args = {.argc = argc, .argv = argv, .callback = NULL};
    const demi_qtoken_t no_token = (demi_qtoken_t)-1;
    if (demi_init(&args) != 0)
        return 1;
    MUST_FAIL(demi_socket(NULL, -1, -1, -1));
    MUST_FAIL(demi_bind(-1, NULL, 0));
    MUST_FAIL(demi_listen(-1, -1));
    MUST_FAIL(demi_accept(NULL, -1));
    MUST_FAIL(demi_connect(NULL, -1, NULL, (socklen_t)-1));
    MUST_FAIL(demi_close(-1));
    MUST_FAIL(demi_push(NULL, -1, NULL));
    MUST_FAIL(demi_pushto(NULL, -1, NULL, NULL, (socklen_t)-1));
    MUST_FAIL(demi_pop(NULL, -1));
    MUST_FAIL(demi_setsockopt(-1, -1, -1, NULL, 0));
    MUST_FAIL(demi_getsockopt(-1, -1, -1, NULL, NULL));
    MUST_FAIL(demi_getpeername(-1, NULL, NULL));
    MUST_FAIL(demi_getsockname(-1, NULL, NULL));
    MUST_FAIL(demi_sgafree(NULL));
    MUST_FAIL(demi_wait(NULL, no_token, NULL));
    MUST_FAIL(demi_wait_any(NULL, NULL, NULL, -1, NULL));
    MUST_FAIL(demi_wait_next_n(NULL, -1, NULL, NULL));
    demi_sgarray_t sga = demi_sgaalloc(0);
    static const demi_sgarray_t zero;
    if (memcmp(&sga, &zero, sizeof sga) != 0) {
        fprintf(stderr, "demi_sgaalloc(0) is not all zero\n");
        failures++;
    }
    return failures != 0;
}
