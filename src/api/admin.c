/* SPDX-License-Identifier: MIT */
/*
 * What tools ask: version, library OSes, configuration (demi/admin.h). stats.c has the counters.
 */
#include "api/api.h"
#include "api/config.h"
#include "libos/table.h"

#include <demi/admin.h>

#ifndef DEMI_VERSION
#error "the build defines DEMI_VERSION"
#endif

const char *demi_version(void)
{
    return DEMI_VERSION;
}

int demi_backends(struct demi_backend backends_out[], size_t n, size_t *n_out)
{
    const struct dk_libos *l;
    size_t i;
    if ((!backends_out && n > 0) || !n_out)
        return EINVAL;
    for (i = 0; (l = dk_libos_at(i)) != NULL; i++) {
        if (i >= n)
            continue;
        const char *why = "";
        const char *engine = l->probe(&why);
        backends_out[i] = (struct demi_backend){.name = l->name,
                                                .kind = l->kind,
                                                .engine = engine,
                                                .summary = l->summary,
                                                .missing = *engine ? "" : why,
                                                .available = *engine != '\0'};
    }
    *n_out = i;
    return 0;
}

int demi_config_get(size_t index, struct demi_config_value *value_out, char *err, size_t err_len)
{
    if (!value_out || (!err && err_len > 0))
        return EINVAL;
    return dk_public(dk_config_describe(index, value_out, err, err_len));
}
