/* SPDX-License-Identifier: MIT */
#include "base/checksum.h"

#include "base/checksum_here.h"

uint64_t dk_checksum_words(uint64_t words, const void *bytes, size_t len)
{
    return dk_checksum_words_here(words, bytes, len);
}
