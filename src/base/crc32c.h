/* SPDX-License-Identifier: MIT */
/*
 * CRC-32C (Castagnoli), as iSCSI and ext4 have it (RFC 3720, section 12.1).
 */
#ifndef DK_BASE_CRC32C_H
#define DK_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Returns the checksum of what `sum` is the checksum of, followed by len bytes; of nothing: 0. */
uint32_t dk_crc32c(uint32_t sum, const void *bytes, size_t len);

/* The same without the processor's help, slowly: what the other is compared with. */
uint32_t dk_crc32c_by_table(uint32_t sum, const void *bytes, size_t len);

#endif /* DK_BASE_CRC32C_H */
