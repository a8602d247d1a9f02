/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes addresses, over getaddrinfo.
 */
#include "address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_MAX 256

/* Splits at the last colon and takes brackets off. Returns the port, or NULL. */
static const char *split(const char *text, char host[HOST_MAX])
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= HOST_MAX)
        return NULL;
    size_t len = (size_t)(colon - text);
    bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (!brackets && memchr(text, ':', len) != NULL)
        return NULL;
    memcpy(host, text + brackets, len - 2 * (size_t)brackets);
    host[len - 2 * (size_t)brackets] = '\0';
    return colon + 1;
}

/* getaddrinfo takes numbers beyond 65535 modulo that. */
static bool port_is_valid(const char *port)
{
    size_t digits = strspn(port, "0123456789");
    return digits > 0 && digits <= 5 && port[digits] == '\0' && atoi(port) <= 65535;
}

const char *address_parse(const char *text, int family, struct address *out)
{
    char host[HOST_MAX];
    struct addrinfo hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found;
    const char *port = split(text, host);
    if (port == NULL)
        return "must be HOST:PORT or [IPV6]:PORT";
    if (!port_is_valid(port))
        return "the port must be 0 to 65535";
    if (host[0] == '\0' && family == AF_UNSPEC)
        hints.ai_family = AF_INET;
    hints.ai_flags = AI_NUMERICSERV | (host[0] == '\0' ? AI_PASSIVE : 0);
    int err = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &found);
    if (err != 0)
        return err == EAI_SYSTEM ? strerror(errno) : gai_strerror(err);
    memcpy(&out->addr, found->ai_addr, found->ai_addrlen);
    out->len = found->ai_addrlen;
    freeaddrinfo(found);
    return NULL;
}

void address_format(const struct sockaddr *addr, char *out, size_t len)
{
    char host[INET6_ADDRSTRLEN];
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out, len, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        snprintf(out, len, "%s:%u", host, ntohs(in->sin_port));
    }
}
