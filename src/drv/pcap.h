/* SPDX-License-Identifier: MIT */
/*
 * A decorator that writes all frames to a file, as pcapng.
 *
 * Of those sent, the ones that the device below took. Records carry the direction, and a time in
 * nanoseconds: `now` plus wall_offset_ns. They are written when a buffer of 256 KiB is full, when
 * there is nothing to receive, before sleeping, and at close. The file has one section and one
 * interface; it ends at its limit, or with the first error of writing, which is logged once; frames
 * after that are counted as pcap.unwritten.
 */
#ifndef DK_DRV_PCAP_H
#define DK_DRV_PCAP_H

#include "net/dev.h"

/* Zero: the default. */
struct dk_pcap_options {
    const char *path;       /* created with mode 0600, or overwritten; a regular file */
    uint32_t queue;         /* whose frames they are; of all but the first: path.QUEUE */
    const char *interface;  /* name in the file; default: the driver's */
    uint64_t limit_bytes;   /* of the file; default 1 GiB */
    uint32_t snap_bytes;    /* of a frame, at most; default: all */
    int64_t wall_offset_ns; /* what to add to `now` for the time of day */
};

/* Owns inner from success on; after a failure inner is the caller's still. 0, -EINVAL, -ENOMEM, or
 * what open(2) says; *why_out says what to do, good until the next open of this thread. */
int dk_pcap_open(struct dk_netdev **dev_out, struct dk_netdev *inner,
                 const struct dk_pcap_options *options, const char **why_out);

#endif /* DK_DRV_PCAP_H */
