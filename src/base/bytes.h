/* SPDX-License-Identifier: MIT */
/*
 * Numbers as they stand on a wire, big-endian, or on a disk, little-endian; or words of the
 * processor, to be compared or added as they lie: at any address.
 */
#ifndef DK_BASE_BYTES_H
#define DK_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t dk_get_u16(const uint8_t *at)
{
    uint16_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint32_t dk_get_u32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint64_t dk_get_u64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof(v));
    return v;
}

static inline uint16_t dk_get_be16(const uint8_t *at)
{
    return be16toh(dk_get_u16(at));
}

static inline uint32_t dk_get_be32(const uint8_t *at)
{
    return be32toh(dk_get_u32(at));
}

static inline uint64_t dk_get_be64(const uint8_t *at)
{
    return be64toh(dk_get_u64(at));
}

static inline uint16_t dk_get_le16(const uint8_t *at)
{
    return le16toh(dk_get_u16(at));
}

static inline uint32_t dk_get_le32(const uint8_t *at)
{
    return le32toh(dk_get_u32(at));
}

static inline uint64_t dk_get_le64(const uint8_t *at)
{
    return le64toh(dk_get_u64(at));
}

static inline void dk_put_be16(uint8_t *at, uint16_t value)
{
    value = htobe16(value);
    memcpy(at, &value, sizeof(value));
}

static inline void dk_put_be32(uint8_t *at, uint32_t value)
{
    value = htobe32(value);
    memcpy(at, &value, sizeof(value));
}

static inline void dk_put_be64(uint8_t *at, uint64_t value)
{
    value = htobe64(value);
    memcpy(at, &value, sizeof(value));
}

#endif /* DK_BASE_BYTES_H */
