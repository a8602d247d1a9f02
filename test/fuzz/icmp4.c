/* SPDX-License-Identifier: MIT */
/* The checksum is put right first, but for inputs whose type is odd and code 255. */
#include "fuzz.h"

#include "base/bytes.h"
#include "base/checksum.h"
#include "net/wire/icmp4.h"
#include "net/wire/ipv4.h"

static void check_equal(const struct dk_icmp4 *a, const struct dk_icmp4 *b)
{
    FUZZ_CHECK(a->type == b->type && a->code == b->code && a->rest == b->rest);
    FUZZ_CHECK(a->data_len == b->data_len && memcmp(a->data, b->data, a->data_len) == 0);
}

static void check_message(uint8_t *bytes, size_t len)
{
    struct dk_icmp4 icmp, again;
    struct dk_ip4_header quoted;
    enum dk_wire reason = dk_icmp4_parse(bytes, len, &icmp);
    fuzz_check_reason(reason);
    if (reason != DK_WIRE_OK)
        return;
    FUZZ_CHECK(icmp.data == bytes + 8 && icmp.data_len == len - 8);
    if (dk_icmp4_is_error(icmp.type))
        fuzz_check_reason(dk_ip4_quote_parse(icmp.data, icmp.data_len, &quoted));
    uint8_t *written = malloc(len);
    FUZZ_CHECK(written != NULL);
    FUZZ_CHECK(dk_icmp4_emit(&icmp, written) == 8);
    memcpy(written + 8, icmp.data, icmp.data_len);
    FUZZ_CHECK(dk_icmp4_parse(written, len, &again) == DK_WIRE_OK);
    check_equal(&icmp, &again);
    free(written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint8_t *message = malloc(len > 0 ? len : 1);
    FUZZ_CHECK(message != NULL);
    memcpy(message, bytes, len);
    if (len >= 8 && !((bytes[0] & 1) != 0 && bytes[1] == 255)) {
        dk_put_be16(message + 2, 0);
        dk_put_be16(message + 2, dk_checksum_finish(dk_checksum_add(0, message, len)));
    }
    check_message(message, len);
    free(message);
    return 0;
}
