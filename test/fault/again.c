/* SPDX-License-Identifier: MIT */
#include "again.h"

enum { TRIES = 3 };

const int *allowed;
bool lasting;

static bool is_allowed(int error)
{
    for (const int *e = allowed; *e != 0; e++)
        if (*e == error)
            return true;
    return false;
}

bool again(const char *what, int error, int tries)
{
    must_hold(is_allowed(error), "%s: %s", what, errno_name(error));
    must_hold(lasting || tries < TRIES, "%s fails again and again", what);
    return tries < TRIES;
}

bool wait_one(demi_qresult_t *qr, demi_qtoken_t qt)
{
    const struct timespec patience = {PATIENCE_S, 0};
    TRY(demi_wait(qr, qt, &patience));
    return true;
}

void fail_each(bool (*scenario)(void), enum inject_kind kind, int error, const int errors[],
               bool is_lasting)
{
    static const int none[] = {0};
    uint32_t nth = 1;
    for (bool hit = true; hit; nth++) {
        const int64_t blocks = inject_blocks_held();
        const int fds = open_fds();
        allowed = errors;
        lasting = is_lasting;
        inject_arm(kind, nth, lasting, error);
        const bool done = scenario();
        hit = inject_hit();
        must_hold(done || (lasting && hit), "request %u: the scenario was not finished", nth);
        must_hold(inject_blocks_held() == blocks, "request %u fails: %lld blocks leak", nth,
                  (long long)(inject_blocks_held() - blocks));
        must_hold(open_fds() == fds, "request %u fails: %d descriptors leak", nth,
                  open_fds() - fds);
        if (!hit)
            break;
        allowed = none;
        lasting = false;
        assert_true(scenario());
    }
    print_message("%u requests failed, one at a time%s\n", nth - 1,
                  is_lasting ? ", and all after it" : "");
    assert_true(nth > 1);
}
