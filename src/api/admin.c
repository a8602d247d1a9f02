/* SPDX-License-Identifier: MIT */
/*
 * What tools ask: version, library OSes and devices, configuration (demi/admin.h). stats.c has the
 * counters.
 */
#include "api/api.h"
#include "api/config.h"
#include "libos/log/log.h"
#include "libos/table.h"

#include <demi/admin.h>

#ifndef DEMI_VERSION
#error "the build defines DEMI_VERSION"
#endif

const char *demi_version(void)
{
    return DEMI_VERSION;
}

static struct demi_backend describe(const char *name, const char *kind, const char *summary,
                                    const char *(*probe)(const char **why_out))
{
    const char *why = "";
    const char *engine = probe(&why);
    return (struct demi_backend){.name = name,
                                 .kind = kind,
                                 .engine = engine,
                                 .summary = summary,
                                 .missing = *engine ? "" : why,
                                 .available = *engine != '\0'};
}

int demi_backends(struct demi_backend backends_out[], size_t n, size_t *n_out)
{
    const struct dk_libos *l;
    const struct dk_logs_backend *b;
    size_t num = 0;
    if ((!backends_out && n > 0) || !n_out)
        return EINVAL;
    for (size_t i = 0; (l = dk_libos_at(i)) != NULL; i++, num++)
        if (num < n)
            backends_out[num] = describe(l->name, l->kind, l->summary, l->probe);
    for (size_t i = 0; (b = dk_logs_backend_at(i)) != NULL; i++, num++)
        if (num < n)
            backends_out[num] = describe(b->name, "storage", b->summary, b->probe);
    *n_out = num;
    return 0;
}

int demi_config_get(size_t index, struct demi_config_value *value_out, char *err, size_t err_len)
{
    if (!value_out || (!err && err_len > 0))
        return EINVAL;
    return dk_public(dk_config_describe(index, value_out, err, err_len));
}
