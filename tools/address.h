/* SPDX-License-Identifier: MIT */
/*
 * Addresses as people write them: 127.0.0.1:7000, [::1]:7000, localhost:7000, :7000 (any address).
 */
#ifndef TOOLS_ADDRESS_H
#define TOOLS_ADDRESS_H

#include <stddef.h>
#include <sys/socket.h>

struct address {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* "[IPv6]:PORT" and its end. */
#define ADDRESS_TEXT_MAX 80

/* Reads an address; family AF_UNSPEC, AF_INET or AF_INET6. NULL, or what is wrong with it (valid
 * until the next call). Looks host names up, which may block. */
const char *address_parse(const char *text, int family, struct address *out);

/* Writes an address as address_parse reads it, always terminated. */
void address_format(const struct sockaddr *addr, char *out, size_t len);

#endif /* TOOLS_ADDRESS_H */
