/* SPDX-License-Identifier: MIT */
/*
 * Text for traces, put together in a buffer of the caller's: it is cut where the buffer ends, and
 * always terminated.
 */
#ifndef DK_NET_WIRE_TEXT_H
#define DK_NET_WIRE_TEXT_H

#include "net/addr.h"

#include <stddef.h>

struct dk_text {
    char *at;
    size_t size; /* of the buffer, 1 at least */
    size_t len;  /* so far, without the 0 */
};

#define DK_TEXT(buffer) ((struct dk_text){.at = (buffer), .size = sizeof(buffer)})

void dk_text_add(struct dk_text *text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void dk_mac_print(struct dk_text *text, const struct dk_mac *mac);
void dk_ip_print(struct dk_text *text, const struct dk_ip *ip);

/* Prints one frame, all headers that it has, in one line as tcpdump does; of what is malformed, the
 * reason. */
void dk_frame_print(struct dk_text *text, const uint8_t *frame, size_t len);

/* As that, from the IP header on. */
void dk_packet_print(struct dk_text *text, const uint8_t *packet, size_t len);

#endif /* DK_NET_WIRE_TEXT_H */
