/* SPDX-License-Identifier: MIT */
#include "net/wire/dhcp.h"

#include "base/bytes.h"
#include "net/wire/ipv4.h"

#define COOKIE      0x63825363u
#define SNAME_AT    44
#define FILE_AT     108
#define COOKIE_AT   236
#define OPTIONS_AT  240
#define MESSAGE_MIN 300 /* RFC 1542 section 2.1: what old relays take */

#define OP_REQUEST 1
#define OP_REPLY   2
#define ETHERNET   1
#define BROADCAST  0x8000

enum option {
    PAD = 0,
    MASK = 1,
    ROUTER = 3,
    NAME = 12,
    MTU = 26,
    REQUESTED = 50,
    LEASE = 51,
    OVERLOAD = 52,
    TYPE = 53,
    SERVER = 54,
    PARAMETERS = 55,
    MESSAGE_SIZE = 57,
    T1 = 58,
    T2 = 59,
    CLIENT_ID = 61,
    ROUTES = 121,
    END = 255,
};

/* Where options stand, in the order in which the parts of one are put together (RFC 3396). */
struct areas {
    uint32_t num;
    struct {
        const uint8_t *at;
        size_t len;
    } list[3];
};

struct option_bytes {
    size_t len;
    uint8_t bytes[DK_DHCP_BYTES_MAX];
};

/* The length of the option at the beginning, with its code and length; 0: it does not fit. */
static size_t option_len(const uint8_t *at, size_t left)
{
    if (at[0] == PAD || at[0] == END)
        return 1;
    return left < 2 || 2u + at[1] > left ? 0 : 2u + at[1];
}

/* Looks for a code from *pos on; false: no more of it. What comes behind END is nothing. */
static bool next_part(const uint8_t *area, size_t len, uint8_t code, size_t *pos,
                      const uint8_t **part_out)
{
    while (*pos < len && area[*pos] != END) {
        const uint8_t *at = area + *pos;
        *pos += option_len(at, len - *pos);
        if (at[0] == code) {
            *part_out = at;
            return true;
        }
    }
    return false;
}

/* Puts the parts of an option together. false: there is none, or more than there is room for. */
static bool gather(const struct areas *areas, uint8_t code, struct option_bytes *out)
{
    bool found = false;
    out->len = 0;
    for (uint32_t i = 0; i < areas->num; i++) {
        const uint8_t *part;
        size_t pos = 0;
        while (next_part(areas->list[i].at, areas->list[i].len, code, &pos, &part)) {
            if (out->len + part[1] > sizeof(out->bytes))
                return false;
            memcpy(out->bytes + out->len, part + 2, part[1]);
            out->len += part[1];
            found = true;
        }
    }
    return found;
}

static bool area_is_whole(const uint8_t *area, size_t len)
{
    for (size_t pos = 0; pos < len && area[pos] != END;) {
        const size_t step = option_len(area + pos, len - pos);
        if (step == 0)
            return false;
        pos += step;
    }
    return true;
}

static bool read_mask(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    const uint32_t mask = dk_get_be32(bytes), host = ~mask;
    (void)len;
    if (mask == 0 || (host & (host + 1)) != 0)
        return false;
    dhcp->prefix_len = (uint8_t)__builtin_popcount(mask);
    return true;
}

static bool read_router(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    dhcp->router = dk_ip4_at(bytes);
    return len % 4 == 0;
}

static bool read_name(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    const size_t n = len < DK_DHCP_NAME_MAX ? len : DK_DHCP_NAME_MAX;
    memcpy(dhcp->name, bytes, n);
    return true;
}

static bool read_mtu(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->mtu = dk_get_be16(bytes);
    return true;
}

static bool read_requested(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->requested = dk_ip4_at(bytes);
    return true;
}

static bool read_server(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->server = dk_ip4_at(bytes);
    return true;
}

static bool read_lease(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->lease_s = dk_get_be32(bytes);
    return true;
}

static bool read_t1(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->t1_s = dk_get_be32(bytes);
    return true;
}

static bool read_t2(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->t2_s = dk_get_be32(bytes);
    return true;
}

static bool read_type(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    (void)len;
    dhcp->type = bytes[0];
    return true;
}

/* RFC 3442: width 1 | the bytes of the network that the width covers | router 4. */
static bool read_routes(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp)
{
    dhcp->has_routes = true;
    while (len > 0) {
        const size_t significant = (bytes[0] + 7u) / 8;
        if (bytes[0] > 32 || len < 1 + significant + 4)
            return false;
        if (dhcp->num_routes < DK_DHCP_ROUTES_MAX) {
            struct dk_dhcp_route *route = &dhcp->routes[dhcp->num_routes++];
            *route = (struct dk_dhcp_route){.prefix = {.version = 4}, .prefix_len = bytes[0]};
            memcpy(route->prefix.bytes, bytes + 1, significant);
            route->gateway = dk_ip4_at(bytes + 1 + significant);
        }
        bytes += 1 + significant + 4;
        len -= 1 + significant + 4;
    }
    return true;
}

/* Options that mean something to us, and the lengths that they may have (most 0: any more). */
static const struct known {
    uint8_t code, least, most;
    bool (*read)(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp);
} KNOWN[] = {
    {TYPE, 1, 1, read_type},   {MASK, 4, 4, read_mask},     {ROUTER, 4, 0, read_router},
    {NAME, 1, 0, read_name},   {MTU, 2, 2, read_mtu},       {REQUESTED, 4, 4, read_requested},
    {LEASE, 4, 4, read_lease}, {SERVER, 4, 4, read_server}, {T1, 4, 4, read_t1},
    {T2, 4, 4, read_t2},       {ROUTES, 5, 0, read_routes},
};

/* RFC 2132 section 9.3: 1 is file, 2 is sname, 3 is both. */
static bool find_areas(const uint8_t *bytes, size_t len, struct areas *areas)
{
    const uint8_t *overload;
    size_t pos = 0;
    *areas = (struct areas){.num = 1, .list = {{bytes + OPTIONS_AT, len - OPTIONS_AT}}};
    if (!area_is_whole(areas->list[0].at, areas->list[0].len))
        return false;
    if (!next_part(areas->list[0].at, areas->list[0].len, OVERLOAD, &pos, &overload))
        return true;
    if (overload[1] != 1)
        return false;
    if (overload[2] & 1) {
        areas->list[areas->num].at = bytes + FILE_AT;
        areas->list[areas->num++].len = COOKIE_AT - FILE_AT;
    }
    if (overload[2] & 2) {
        areas->list[areas->num].at = bytes + SNAME_AT;
        areas->list[areas->num++].len = FILE_AT - SNAME_AT;
    }
    for (uint32_t i = 1; i < areas->num; i++) {
        if (!area_is_whole(areas->list[i].at, areas->list[i].len))
            return false;
    }
    return true;
}

static enum dk_wire read_options(const struct areas *areas, struct dk_dhcp *dhcp)
{
    struct option_bytes option;
    for (size_t i = 0; i < sizeof(KNOWN) / sizeof(KNOWN[0]); i++) {
        const struct known *known = &KNOWN[i];
        if (!gather(areas, known->code, &option)) {
            if (option.len != 0)
                return DK_WIRE_DHCP_OPTION; /* longer than a message may be */
            continue;
        }
        if (option.len < known->least || (known->most != 0 && option.len > known->most) ||
            !known->read(option.bytes, option.len, dhcp))
            return DK_WIRE_DHCP_OPTION;
    }
    return DK_WIRE_OK;
}

enum dk_wire dk_dhcp_parse(const uint8_t *bytes, size_t len, struct dk_dhcp *dhcp_out)
{
    struct areas areas;
    if (len < OPTIONS_AT)
        return DK_WIRE_DHCP_SHORT;
    if ((bytes[0] != OP_REQUEST && bytes[0] != OP_REPLY) || bytes[1] != ETHERNET || bytes[2] != 6)
        return DK_WIRE_DHCP_KIND;
    if (dk_get_be32(bytes + COOKIE_AT) != COOKIE)
        return DK_WIRE_DHCP_KIND;
    if (!find_areas(bytes, len, &areas))
        return DK_WIRE_DHCP_OPTION;
    struct dk_dhcp dhcp = {
        .reply = bytes[0] == OP_REPLY,
        .broadcast = (dk_get_be16(bytes + 10) & BROADCAST) != 0,
        .secs = dk_get_be16(bytes + 8),
        .xid = dk_get_be32(bytes + 4),
        .ciaddr = dk_ip4_at(bytes + 12),
        .yiaddr = dk_ip4_at(bytes + 16),
    };
    memcpy(dhcp.chaddr.bytes, bytes + 28, 6);
    const enum dk_wire reason = read_options(&areas, &dhcp);
    if (reason != DK_WIRE_OK)
        return reason;
    if (dhcp.type < DK_DHCP_DISCOVER || dhcp.type > DK_DHCP_INFORM)
        return DK_WIRE_DHCP_TYPE;
    *dhcp_out = dhcp;
    return DK_WIRE_OK;
}

static uint8_t *put(uint8_t *at, uint8_t code, const void *bytes, size_t len)
{
    at[0] = code;
    at[1] = (uint8_t)len;
    memcpy(at + 2, bytes, len);
    return at + 2 + len;
}

static uint8_t *put_ip(uint8_t *at, uint8_t code, const struct dk_ip *ip)
{
    return ip->version == 0 ? at : put(at, code, ip->bytes, 4);
}

static uint8_t *put_u32(uint8_t *at, uint8_t code, uint32_t value)
{
    uint8_t bytes[4];
    dk_put_be32(bytes, value);
    return value == 0 ? at : put(at, code, bytes, sizeof(bytes));
}

static uint8_t *put_u16(uint8_t *at, uint8_t code, uint16_t value)
{
    uint8_t bytes[2];
    dk_put_be16(bytes, value);
    return value == 0 ? at : put(at, code, bytes, sizeof(bytes));
}

static uint8_t *put_routes(uint8_t *at, const struct dk_dhcp *dhcp)
{
    uint8_t bytes[DK_DHCP_ROUTES_MAX * 9], *end = bytes;
    for (uint8_t i = 0; i < dhcp->num_routes; i++) {
        const struct dk_dhcp_route *route = &dhcp->routes[i];
        const size_t significant = (route->prefix_len + 7u) / 8;
        *end++ = route->prefix_len;
        memcpy(end, route->prefix.bytes, significant);
        memcpy(end + significant, route->gateway.bytes, 4);
        end += significant + 4;
    }
    return dhcp->num_routes == 0 ? at : put(at, ROUTES, bytes, (size_t)(end - bytes));
}

/* What a client says of itself and wants to know. RFC 3442: 121 is asked for before 3. */
static uint8_t *put_client(uint8_t *at, const struct dk_dhcp *dhcp)
{
    static const uint8_t wanted[] = {MASK, ROUTES, ROUTER, MTU, LEASE, T1, T2};
    uint8_t id[7] = {ETHERNET};
    memcpy(id + 1, dhcp->chaddr.bytes, 6);
    at = put(at, CLIENT_ID, id, sizeof(id));
    if (dhcp->type != DK_DHCP_DISCOVER && dhcp->type != DK_DHCP_REQUEST)
        return at; /* RFC 2131 table 5: no more in a decline or release */
    at = put_u16(at, MESSAGE_SIZE, DK_DHCP_BYTES_MAX);
    return put(at, PARAMETERS, wanted, sizeof(wanted));
}

static uint8_t *put_options(uint8_t *at, const struct dk_dhcp *dhcp)
{
    const uint32_t mask = dhcp->prefix_len == 0 ? 0 : UINT32_MAX << (32 - dhcp->prefix_len);
    at = put(at, TYPE, &dhcp->type, 1);
    if (!dhcp->reply)
        at = put_client(at, dhcp);
    at = put_ip(at, REQUESTED, &dhcp->requested);
    at = put_ip(at, SERVER, &dhcp->server);
    at = put_u32(at, LEASE, dhcp->lease_s);
    at = put_u32(at, T1, dhcp->t1_s);
    at = put_u32(at, T2, dhcp->t2_s);
    at = put_u32(at, MASK, mask);
    at = put_ip(at, ROUTER, &dhcp->router);
    at = put_u16(at, MTU, dhcp->mtu);
    at = put_routes(at, dhcp);
    const size_t name_len = strnlen(dhcp->name, DK_DHCP_NAME_MAX);
    if (name_len != 0)
        at = put(at, NAME, dhcp->name, name_len);
    *at++ = END;
    return at;
}

size_t dk_dhcp_emit(const struct dk_dhcp *dhcp, uint8_t *bytes)
{
    memset(bytes, 0, DK_DHCP_EMIT_MAX);
    bytes[0] = dhcp->reply ? OP_REPLY : OP_REQUEST;
    bytes[1] = ETHERNET;
    bytes[2] = 6;
    dk_put_be32(bytes + 4, dhcp->xid);
    dk_put_be16(bytes + 8, dhcp->secs);
    dk_put_be16(bytes + 10, dhcp->broadcast ? BROADCAST : 0);
    memcpy(bytes + 12, dhcp->ciaddr.bytes, 4);
    memcpy(bytes + 16, dhcp->yiaddr.bytes, 4);
    memcpy(bytes + 28, dhcp->chaddr.bytes, 6);
    dk_put_be32(bytes + COOKIE_AT, COOKIE);
    const size_t len = (size_t)(put_options(bytes + OPTIONS_AT, dhcp) - bytes);
    return len < MESSAGE_MIN ? MESSAGE_MIN : len;
}
