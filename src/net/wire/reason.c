/* SPDX-License-Identifier: MIT */
#include "net/wire/reason.h"

const char *dk_wire_name(enum dk_wire reason)
{
    static const char *const names[DK_WIRE_COUNT] = {[DK_WIRE_OK] = "ok",
#define DK_WIRE_REASON_NAME(name, counter) [DK_WIRE_##name] = (counter),
                                                     DK_WIRE_REASONS(DK_WIRE_REASON_NAME)
#undef DK_WIRE_REASON_NAME
    };
    return (unsigned)reason < DK_WIRE_COUNT ? names[reason] : "unknown";
}
