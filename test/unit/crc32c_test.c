/* SPDX-License-Identifier: MIT */
/* CRC-32C: known sums, and the processor's instruction against the table. */
#include "base/crc32c.h"
#include "base/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

/* RFC 3720, section B.4. */
static void test_crc32c_of_known_bytes(void **state)
{
    (void)state;
    uint8_t bytes[48];
    memset(bytes, 0, 32);
    assert_int_equal(dk_crc32c(0, bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(dk_crc32c(0, bytes, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(dk_crc32c(0, bytes, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(dk_crc32c(0, bytes, 32), 0x113fdb5c);
    assert_int_equal(dk_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(dk_crc32c(0, NULL, 0), 0);
}

/* Every length around the stretches that are taken side by side, at odd addresses, and split. */
static void test_crc32c_agrees_with_the_table(void **state)
{
    (void)state;
    static uint8_t bytes[3 * 4096 + 16];
    struct dk_random random;
    dk_random_init(&random, 1);
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)dk_random_u32(&random);
    for (uint32_t i = 0; i < 6000; i++) {
        uint32_t len = i < 1100 ? i : dk_random_below(&random, 3 * 4096);
        uint32_t at = dk_random_below(&random, 16), sum = dk_random_u32(&random);
        uint32_t cut = dk_random_below(&random, len + 1);
        uint32_t expected = dk_crc32c_by_table(sum, bytes + at, len);
        assert_int_equal(dk_crc32c(sum, bytes + at, len), expected);
        assert_int_equal(dk_crc32c(dk_crc32c(sum, bytes + at, cut), bytes + at + cut, len - cut),
                         expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c_of_known_bytes),
        cmocka_unit_test(test_crc32c_agrees_with_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
