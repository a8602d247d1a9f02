/* SPDX-License-Identifier: MIT */
/*
 * Devices by their names: what the configuration has as `net`.
 *
 *     SPEC      = { DECORATOR ":" } DRIVER
 *     DECORATOR = NAME [ "(" ARGUMENTS ")" ]
 *     DRIVER    = NAME [ ":" TARGET ] { "," OPTION }
 *     ARGUMENTS = ( TARGET | OPTION ) { "," OPTION }
 *     OPTION    = KEY "=" VALUE | KEY                        (KEY alone: yes)
 *
 * A decorator stands before what it decorates. In a TARGET or VALUE, a backslash takes away the
 * meaning of the character behind it ("," ")" "\").
 *
 *     loop                                   a link that ends where it begins
 *         mtu=BYTES mac=MAC ring=FRAMES pool=SIZE
 *     tap:INTERFACE                          mtu= mac= pool=
 *     packet:INTERFACE                       mtu= mac= pool= ring=FRAMES promiscuous
 *     xdp:INTERFACE                          mtu= pool= ring=FRAMES umem=SIZE queue=NUMBER
 *         mode=auto, native or generic, copy busy_poll promiscuous
 *     dpdk:DEVICE                            mtu= mac= pool= ring=FRAMES promiscuous copy eal=WORDS
 *         DEVICE is an address (0000:00:04.0), or devargs of DPDK with blanks for commas; without
 *         one ("dpdk") it is the first port that EAL finds. WORDS are separated by blanks.
 *     pcap(FILE):...                         limit=SIZE snap=BYTES
 *     fault(...):...                         seed=NUMBER hold=FRAMES pool=SIZE, and, for both
 *         directions or with "rx." or "tx." before it for one,
 *         loss= corrupt= mark= delayed= reorder= duplicate=RATE delay= jitter= reorder_by=TIME
 *         rate=SPEED queue=SIZE
 *         (delayed: how many are; all, where there is a delay or jitter and it is not said)
 *
 * SIZE is a number of bytes with an optional K, M or G (1024); RATE is "1.5%" or "200ppm"; TIME is
 * a number with ns, us, ms or s; SPEED one with kbit, Mbit or Gbit (1000, per second); MAC is six
 * pairs of hexadecimal digits with colons.
 *
 *     tap:demi0,mtu=1400
 *     dpdk:net_memif0 role=client id=0 socket=/run/a.sock,mtu=1500,eal=--no-huge -m 64
 *     pcap(/tmp/a.pcapng,limit=64M):fault(seed=7,loss=1%,tx.delay=10ms):packet:veth1
 */
#ifndef DK_DRV_SPEC_H
#define DK_DRV_SPEC_H

#include "net/dev.h"

/* What a specification does not say. Zero: the defaults of each driver. */
struct dk_spec_context {
    size_t rx_pool_bytes; /* of the device at the end */
    uint32_t mtu;         /* likewise */
    uint32_t offloads;    /* DK_NETDEV_TX_CHECKSUM, RX_CHECKSUM, TSO: what it may have, if it can */
    struct dk_netdev_queue queue; /* of the device at the end */
    bool own_addresses;           /* the stack has some that are not the kernel's */
    int64_t wall_offset_ns;       /* the time of day minus `now`: of captures */
    /* Gives what a loadable module is (os/module.h), by its name: 0, or a negative errno and
     * *why_out. NULL: there are none. */
    int (*find_module)(const char *name, const void **driver_out, const char **why_out);
};

/*
 * Opens the chain of devices of a specification; context may be NULL. 0, -EINVAL (it cannot be
 * understood), -ENOTSUP (a further queue of a device that has one) or what the driver says; then
 * nothing is left open, and *why_out says what to do, good until the next open of this thread.
 */
int dk_spec_open(struct dk_netdev **dev_out, const char *spec,
                 const struct dk_spec_context *context, const char **why_out);

/* The same without opening anything: 0 or -EINVAL. */
int dk_spec_check(const char *spec, const char **why_out);

#endif /* DK_DRV_SPEC_H */
