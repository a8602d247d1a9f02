/* SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include "net/wire/dhcp.h"

static void check_routes(const struct dk_dhcp *a, const struct dk_dhcp *b)
{
    FUZZ_CHECK(a->num_routes == b->num_routes && a->num_routes <= DK_DHCP_ROUTES_MAX);
    for (uint8_t i = 0; i < a->num_routes; i++) {
        const struct dk_dhcp_route *x = &a->routes[i], *y = &b->routes[i];
        FUZZ_CHECK(x->prefix_len == y->prefix_len && x->prefix_len <= 32);
        FUZZ_CHECK(dk_ip_equal(&x->prefix, &y->prefix) && dk_ip_equal(&x->gateway, &y->gateway));
    }
}

static void check_equal(const struct dk_dhcp *a, const struct dk_dhcp *b)
{
    FUZZ_CHECK(a->reply == b->reply && a->broadcast == b->broadcast && a->type == b->type);
    FUZZ_CHECK(a->xid == b->xid && a->secs == b->secs && dk_mac_equal(&a->chaddr, &b->chaddr));
    FUZZ_CHECK(dk_ip_equal(&a->ciaddr, &b->ciaddr) && dk_ip_equal(&a->yiaddr, &b->yiaddr));
    FUZZ_CHECK(dk_ip_equal(&a->server, &b->server) && dk_ip_equal(&a->router, &b->router));
    FUZZ_CHECK(dk_ip_equal(&a->requested, &b->requested));
    FUZZ_CHECK(a->prefix_len == b->prefix_len && a->prefix_len <= 32 && a->mtu == b->mtu);
    FUZZ_CHECK(a->lease_s == b->lease_s && a->t1_s == b->t1_s && a->t2_s == b->t2_s);
    FUZZ_CHECK(strncmp(a->name, b->name, sizeof(a->name)) == 0);
    check_routes(a, b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct dk_dhcp dhcp, again;
    uint8_t written[DK_DHCP_EMIT_MAX];
    enum dk_wire reason = dk_dhcp_parse(bytes, len, &dhcp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return 0;
    FUZZ_CHECK(dhcp.name[DK_DHCP_NAME_MAX] == '\0');
    size_t written_len = dk_dhcp_emit(&dhcp, written);
    FUZZ_CHECK(written_len <= sizeof(written));
    FUZZ_CHECK(dk_dhcp_parse(written, written_len, &again) == DK_WIRE_OK);
    check_equal(&dhcp, &again);
    return 0;
}
