/* SPDX-License-Identifier: MIT */
/*
 * Findings, and what is needed from outside: capabilities, devices, locked memory.
 */
#include "doctor.h"
#include "doctor_print.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void doctor_say(struct doctor_report *r, enum doctor_level level, const char *check,
                const char *fmt, ...)
{
    if (r->num_findings == DOCTOR_FINDINGS_MAX) {
        struct doctor_finding *last = &r->findings[DOCTOR_FINDINGS_MAX - 1];
        last->level = level > last->level ? level : last->level;
        return;
    }
    struct doctor_finding *f = &r->findings[r->num_findings++];
    va_list ap;
    f->level = level;
    snprintf(f->check, sizeof(f->check), "%s", check);
    va_start(ap, fmt);
    vsnprintf(f->text, sizeof(f->text), fmt, ap);
    va_end(ap);
    f->mend[0] = '\0';
}

void doctor_mend(struct doctor_report *r, const char *fmt, ...)
{
    struct doctor_finding *f = &r->findings[r->num_findings - 1];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(f->mend, sizeof(f->mend), fmt, ap);
    va_end(ap);
}

enum doctor_level doctor_worst(const struct doctor_report *r)
{
    enum doctor_level worst = DOCTOR_FINE;
    for (size_t i = 0; i < r->num_findings; i++)
        worst = r->findings[i].level > worst ? r->findings[i].level : worst;
    return worst;
}

bool doctor_need_capability(const struct doctor_machine *m, struct doctor_report *r, int capability,
                            const char *what_for)
{
    const char *name = doctor_capability_name(capability);
    const bool has = doctor_has_capability(m, capability);
    char low[DOCTOR_NAME_MAX];
    r->needs.capabilities |= UINT64_C(1) << capability;
    doctor_say(r, has ? DOCTOR_FINE : DOCTOR_MISSING, name, "%s%s", what_for,
               has ? "" : ": run as root, or give it to the program, or to the container");
    if (has)
        return true;
    for (size_t i = 0; i <= strlen(name); i++)
        low[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] - 'A' + 'a' : name[i]);
    doctor_mend(r, "setcap %s+ep PROGRAM", low);
    return false;
}

bool doctor_need_device(const struct doctor_machine *m, struct doctor_report *r, const char *path,
                        const char *mend)
{
    struct doctor_needs *n = &r->needs;
    if (n->num_devices < DOCTOR_DEVICES_MAX)
        snprintf(n->devices[n->num_devices++], DOCTOR_NAME_MAX, "%s", path);
    if (!doctor_is_there(m, "%s", path)) {
        doctor_say(r, DOCTOR_MISSING, path, "it is not there; in a container, pass it on");
        doctor_mend(r, "%s", mend);
        return false;
    }
    if (!doctor_is_usable(m, "%s", path)) {
        doctor_say(r, DOCTOR_MISSING, path, "user %" PRIu32 " may not open it", m->uid);
        doctor_mend(r, "setfacl -m u:%" PRIu32 ":rw %s", m->uid, path);
        return false;
    }
    doctor_say(r, DOCTOR_FINE, path, "it may be opened");
    return true;
}

void doctor_need_memlock(const struct doctor_machine *m, struct doctor_report *r,
                         enum doctor_level level, uint64_t bytes, const char *otherwise)
{
    const uint64_t mib = m->memlock >> 20;
    r->needs.memlock = true;
    if (m->memlock == DOCTOR_ALL_BYTES || doctor_has_capability(m, CAP_IPC_LOCK)) {
        doctor_say(r, DOCTOR_FINE, "memlock", "memory may be locked without a limit");
        return;
    }
    const bool enough = m->memlock >= bytes;
    doctor_say(r, enough ? DOCTOR_FINE : level, "memlock", "%" PRIu64 " MiB may be locked%s%s", mib,
               enough ? "" : ": ", enough ? "" : otherwise);
    if (!enough)
        doctor_mend(r, "ulimit -l unlimited");
}
