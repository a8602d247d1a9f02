/* SPDX-License-Identifier: MIT */
/*
 * The contract of a network device (net/dev.h) as tests, run against two devices whose frames go to
 * each other: `DRV_CONTRACT(maker)` among the cases of a program. Each case opens a link of its
 * own.
 */
#ifndef DEMI_TEST_UNIT_DRV_KIT_H
#define DEMI_TEST_UNIT_DRV_KIT_H

#include "../lib/harness.h"

#include "net/dev.h"

#define DRV_HEADER 14u

struct drv_link {
    struct dk_netdev *dev[2];
};

struct drv_maker {
    const char *name;
    /* Opens a link with this MTU (0: any) and this much receive memory per end (0: any). */
    void (*open)(struct drv_link *link, uint32_t mtu, size_t pool_bytes);
    /* Undoes what open did beside the devices, after both were closed; NULL: nothing. */
    void (*clean)(void);
    uint32_t max_mtu;
    bool untagged; /* its devices are given no frames with a tag */
};

/* A frame of bytes of a pattern, cut into pieces. */
struct drv_frame {
    uint8_t *bytes;
    struct dk_tx_frame tx;
};

/* Makes a frame of len bytes (at least DRV_HEADER) with head_len in the head and num_pieces pieces;
 * its type is one that no stack takes. Freed by drv_frame_free. */
void drv_frame_make(struct drv_frame *f, uint32_t len, uint32_t head_len, uint32_t num_pieces,
                    uint64_t seed);
void drv_frame_free(struct drv_frame *f);

/* Makes the n-th flow of a row of them: TCP and UDP, IPv4 and IPv6. */
struct dk_flow drv_flow(uint32_t n);

#define DRV_FLOW_BYTES 80u

/* Writes a frame of DRV_FLOW_BYTES with a packet of the flow, as it comes to us, to mac. */
void drv_flow_frame(const struct dk_flow *flow, const struct dk_mac *mac,
                    uint8_t out[DRV_FLOW_BYTES]);

/* Whether what was received is that; lets it go. */
void drv_flow_check(struct dk_rx_frame *got, const uint8_t sent[DRV_FLOW_BYTES]);

/* Receives what there is at several queues: returns the one that had a frame, which must be one. */
uint32_t drv_receive_at(struct dk_netdev *const queues[], uint32_t n, struct dk_rx_frame *out);

/* Whether what was received is that frame; lets it go. */
void drv_check(struct dk_rx_frame *got, const struct drv_frame *sent);

/* The address that a device needs to be given frames of here where it cannot be given all. */
extern const struct dk_mac drv_station;

/* Addresses a frame to drv_station, or to another where that sends it: a NIC that switches would
 * hand it back. */
void drv_address(const struct dk_netdev *from, const struct drv_frame *f);

/* Sends one frame, so addressed, which must be taken. */
void drv_send(struct dk_netdev *dev, const struct drv_frame *f);

/* Receives exactly n frames, with patience. */
void drv_receive(struct dk_netdev *dev, struct dk_rx_frame frames_out[], uint32_t n);

/* Whether the device becomes readable, within a time. */
bool drv_readable(struct dk_netdev *dev, int timeout_ms);

/* Whether it is not readable: one that is woken by a clock may be, at times, and is asked again. */
bool drv_sleeps(struct dk_netdev *dev);

/* Does so repeatedly until there is nothing left. */
void drv_drain(struct dk_netdev *dev);

void drv_close(struct drv_link *link);

/* An open failed with that errno, and said these words. */
void drv_must_fail(int r, int error, const char *const *why_out, const char *words);

void drv_test_whole_and_in_order(void **state);
void drv_test_tagged(void **state);
void drv_test_many_pieces(void **state);
void drv_test_longest(void **state);
void drv_test_too_long(void **state);
void drv_test_arm(void **state);
void drv_test_held_frames_outlive_device(void **state);
void drv_test_half_held_pool(void **state);
void drv_test_close_with_frames_in_flight(void **state);
void drv_test_stats_move(void **state);
void drv_test_abandon(void **state);

#define DRV_CASE(maker, f, text)                                                                   \
    {                                                                                              \
        "test_" #maker "_" text, f, NULL, NULL, (void *)(uintptr_t)&maker                          \
    }

#define DRV_CONTRACT(maker)                                                                        \
    DRV_CONTRACT_OF_FRAMES(maker),                                                                 \
        DRV_CASE(maker, drv_test_arm, "armed_descriptor_is_readable_when_frames_come"),            \
        DRV_CASE(maker, drv_test_abandon, "abandoned_by_a_child_is_the_parents_still")

/* Without what is said of descriptors, of which a driver for hardware has others. */
#define DRV_CONTRACT_OF_FRAMES(maker)                                                              \
    DRV_CASE(maker, drv_test_whole_and_in_order, "frames_sent_arrive_whole_and_in_order"),         \
        DRV_CASE(maker, drv_test_tagged, "frames_with_a_tag_keep_it"),                             \
        DRV_CASE(maker, drv_test_many_pieces, "frame_of_sixteen_pieces_arrives_whole"),            \
        DRV_CASE(maker, drv_test_longest, "frame_of_the_largest_mtu_arrives_whole"),               \
        DRV_CASE(maker, drv_test_too_long, "frame_too_long_or_short_is_dropped_and_counted"),      \
        DRV_CASE(maker, drv_test_held_frames_outlive_device, "frames_held_outlive_the_device"),    \
        DRV_CASE(maker, drv_test_half_held_pool, "half_held_pool_copies_and_never_runs_dry"),      \
        DRV_CASE(maker, drv_test_close_with_frames_in_flight, "close_in_flight_leaks_nothing"),    \
        DRV_CASE(maker, drv_test_stats_move, "stats_moved_go_on_counting")

#endif /* DEMI_TEST_UNIT_DRV_KIT_H */
