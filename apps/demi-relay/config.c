/* SPDX-License-Identifier: MIT */
/*
 * Addresses and prefixes (config.h). Numeric only: a relay that asks a name server is slow at the
 * wrong moment.
 */
#include "config.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT 64

/* Reads a decimal number to the end of the text. */
static bool parse_number(const char *text, uint32_t max, uint32_t *out)
{
    uint32_t n = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        n = n * 10 + (uint32_t)(*text - '0');
        if (n > max)
            return false;
    }
    *out = n;
    return true;
}

/* Copies text without its end, and without brackets; false: too long. */
static bool copy_host(const char *text, size_t len, char host[MAX_TEXT], bool *bracketed)
{
    *bracketed = len > 2 && text[0] == '[' && text[len - 1] == ']';
    if (*bracketed) {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= MAX_TEXT)
        return false;
    memcpy(host, text, len);
    host[len] = '\0';
    return true;
}

bool relay_parse_address(const char *text, struct relay_address *addr_out)
{
    const char *colon = strrchr(text, ':');
    struct relay_address addr;
    char host[MAX_TEXT];
    bool bracketed;
    uint32_t port;

    memset(&addr, 0, sizeof(addr));
    if (!colon || !copy_host(text, (size_t)(colon - text), host, &bracketed) ||
        !parse_number(colon + 1, UINT16_MAX, &port))
        return false;
    if (!bracketed && inet_pton(AF_INET, host, &addr.in.sin_addr) == 1) {
        addr.in.sin_family = AF_INET;
        addr.in.sin_port = htons((uint16_t)port);
        addr.len = sizeof(addr.in);
    } else if (bracketed && inet_pton(AF_INET6, host, &addr.in6.sin6_addr) == 1) {
        addr.in6.sin6_family = AF_INET6;
        addr.in6.sin6_port = htons((uint16_t)port);
        addr.len = sizeof(addr.in6);
    } else {
        return false;
    }
    *addr_out = addr;
    return true;
}

bool relay_parse_prefix(const char *text, struct relay_prefix *prefix_out)
{
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    struct relay_prefix prefix;
    char host[MAX_TEXT];
    bool bracketed;
    uint32_t max;

    memset(&prefix, 0, sizeof(prefix));
    if (!copy_host(text, len, host, &bracketed))
        return false;
    if (inet_pton(AF_INET, host, prefix.bytes) == 1)
        prefix.family = AF_INET;
    else if (inet_pton(AF_INET6, host, prefix.bytes) == 1)
        prefix.family = AF_INET6;
    else
        return false;
    prefix.bits = max = prefix.family == AF_INET ? 32 : 128;
    if (slash && !parse_number(slash + 1, max, &prefix.bits))
        return false;
    *prefix_out = prefix;
    return true;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Reads what follows a backslash; how many characters it has, 0: it is no escape. */
static size_t parse_escape(const char *text, uint8_t *out)
{
    static const char names[] = "nrt0\\", values[] = "\n\r\t\0\\";
    const char *name = *text ? strchr(names, *text) : NULL;
    int high, low;

    if (name) {
        *out = (uint8_t)values[name - names];
        return 1;
    }
    high = text[0] == 'x' ? hex_digit(text[1]) : -1;
    low = high >= 0 ? hex_digit(text[2]) : -1;
    if (low < 0)
        return 0;
    *out = (uint8_t)(high * 16 + low);
    return 3;
}

bool relay_parse_text(const char *text, struct relay_text *text_out)
{
    struct relay_text parsed = {0};

    while (*text) {
        size_t n = 1;

        if (parsed.len == RELAY_MAX_TEXT)
            return false;
        if (*text == '\\')
            n = parse_escape(++text, &parsed.bytes[parsed.len]);
        else
            parsed.bytes[parsed.len] = (uint8_t)*text;
        if (n == 0)
            return false;
        parsed.len++;
        text += n;
    }
    *text_out = parsed;
    return true;
}

/* The bytes of an address, and how many. An IPv4 client of an IPv6 socket is an IPv4 client. */
static const uint8_t *bytes_of(const struct sockaddr *addr, int *family_out)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)addr;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)addr;

    *family_out = addr->sa_family;
    if (addr->sa_family == AF_INET)
        return (const uint8_t *)&in->sin_addr;
    if (!IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
        return in6->sin6_addr.s6_addr;
    *family_out = AF_INET;
    return in6->sin6_addr.s6_addr + 12;
}

static bool is_in(const struct relay_prefix *prefix, int family, const uint8_t *bytes)
{
    uint32_t whole = prefix->bits / 8, rest = prefix->bits % 8;

    if (family != prefix->family || memcmp(bytes, prefix->bytes, whole) != 0)
        return false;
    return rest == 0 || (bytes[whole] ^ prefix->bytes[whole]) >> (8 - rest) == 0;
}

bool relay_is_allowed(const struct relay_config *config, const struct sockaddr *addr)
{
    int family;
    const uint8_t *bytes;

    if (config->num_allow == 0)
        return true;
    bytes = bytes_of(addr, &family);
    for (uint32_t i = 0; i < config->num_allow; i++)
        if (is_in(&config->allow[i], family, bytes))
            return true;
    return false;
}

uint32_t relay_port_of(const struct sockaddr *addr)
{
    if (addr->sa_family == AF_INET)
        return ((const struct sockaddr_in *)(const void *)addr)->sin_port;
    return ((const struct sockaddr_in6 *)(const void *)addr)->sin6_port;
}

/* FNV-1a, and a last mix: its low bits are used. */
uint32_t relay_hash(const struct sockaddr *addr, bool with_port)
{
    uint32_t hash = 2166136261u, port = with_port ? relay_port_of(addr) : 0;
    int family;
    const uint8_t *bytes = bytes_of(addr, &family);

    for (uint32_t i = 0; i < (family == AF_INET ? 4u : 16u); i++)
        hash = (hash ^ bytes[i]) * 16777619u;
    hash = (hash ^ (port & 0xff)) * 16777619u;
    hash = (hash ^ port >> 8) * 16777619u;
    return hash ^ hash >> 16;
}

bool relay_same_address(const struct sockaddr *a, const struct sockaddr *b)
{
    int family_a, family_b;
    const uint8_t *bytes_a = bytes_of(a, &family_a), *bytes_b = bytes_of(b, &family_b);

    return family_a == family_b && relay_port_of(a) == relay_port_of(b) &&
           memcmp(bytes_a, bytes_b, family_a == AF_INET ? 4 : 16) == 0;
}
