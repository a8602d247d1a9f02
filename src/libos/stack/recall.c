/* SPDX-License-Identifier: MIT */
/*
 * The lease that a program had when it ended without giving it back: it was killed, or is to keep
 * it. It is asked for again at the next start (RFC 2131 section 3.2).
 *
 * It is a note (os/note.h) for each link address and tag:
 *
 *     lease-020000000001.7: "192.0.2.50 1767225600"
 *
 * the address, and when the lease ends, in seconds of the time of day; 0: never. Whatever else
 * stands there is nothing to ask for. A clock that was set does no harm: the server decides.
 */
#include "libos/stack/sock.h"
#include "os/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NAME_LEN 32

bool dk_stack_lease_parse(const char *text, int64_t now, struct dk_ip *address_out)
{
    char ip[INET_ADDRSTRLEN];
    struct dk_ip address = {.version = 4};
    const char *blank = strchr(text, ' ');
    const size_t len = blank ? (size_t)(blank - text) : 0;
    char *end;
    if (len == 0 || len >= sizeof(ip) || blank[1] < '0' || blank[1] > '9')
        return false;
    memcpy(ip, text, len);
    ip[len] = '\0';
    const int64_t until = strtoll(blank + 1, &end, 10);
    if (strcmp(end, "\n") != 0 || inet_pton(AF_INET, ip, address.bytes) != 1 ||
        (until != 0 && until <= now))
        return false;
    *address_out = address;
    return true;
}

void dk_stack_lease_format(const struct dk_net_lease *lease, int64_t now, char out[DK_NOTE_MAX])
{
    char ip[INET_ADDRSTRLEN];
    inet_ntop(AF_INET, lease->address.bytes, ip, sizeof(ip));
    snprintf(out, DK_NOTE_MAX, "%s %" PRId64 "\n", ip,
             lease->seconds == UINT32_MAX ? 0 : now + lease->seconds);
}

static void name_of(const struct dk_stack *st, char out[NAME_LEN])
{
    const uint8_t *m = st->dev->caps.mac.bytes;
    const int n = snprintf(out, NAME_LEN, "lease-%02x%02x%02x%02x%02x%02x", m[0], m[1], m[2], m[3],
                           m[4], m[5]);
    if (st->options.vlan != 0)
        snprintf(out + n, NAME_LEN - (size_t)n, ".%u", st->options.vlan);
}

void dk_stack_recall_lease(struct dk_stack *st, struct dk_net_config *config)
{
    const struct dk_statdir_where where = dk_statdir_where();
    char name[NAME_LEN], text[DK_NOTE_MAX];
    if (!config->dhcp)
        return;
    name_of(st, name);
    const int r = dk_note_read(&where, name, text);
    if (r == 0 && dk_stack_lease_parse(text, (int64_t)time(NULL), &config->dhcp_address))
        dk_log(DK_LOG_DEBUG, "net_addresses: dhcp: a lease of before is asked for again: %s", text);
    else if (r < 0 && r != -ENOENT)
        dk_log(DK_LOG_INFO, "net_addresses: dhcp: no lease of before, for want of its file %s: %s",
               name, strerror(-r));
}

void dk_stack_on_lease(void *arg, const struct dk_net_lease *lease)
{
    const struct dk_stack *st = arg;
    const struct dk_statdir_where where = dk_statdir_where();
    char name[NAME_LEN], text[DK_NOTE_MAX];
    int r;
    name_of(st, name);
    if (lease->address.version == 0) {
        r = dk_note_remove(&where, name);
    } else {
        dk_stack_lease_format(lease, (int64_t)time(NULL), text);
        r = dk_note_write(&where, name, text);
    }
    if (r < 0)
        dk_log(DK_LOG_INFO,
               "net_addresses: dhcp: the next start does not know of this lease: %s: %s", name,
               strerror(-r));
}
