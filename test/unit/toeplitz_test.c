/* SPDX-License-Identifier: MIT */
/* The Toeplitz hash: the vectors that Microsoft published, and the short way of one key. */
#include "base/bytes.h"
#include "base/random.h"
#include "base/toeplitz.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <string.h>

/* "Verifying the RSS Hash Calculation": the key, and the hashes of addresses without and with
 * ports. */
static const uint8_t published_key[DK_TOEPLITZ_KEY_BYTES] = {
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
    0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
    0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
};

struct vector {
    const char *src, *dst;
    uint16_t src_port, dst_port;
    uint32_t without_ports, with_ports;
};

static const struct vector ip4_vectors[] = {
    {"66.9.149.187", "161.142.100.80", 2794, 1766, 0x323e8fc2, 0x51ccc178},
    {"199.92.111.2", "65.69.140.83", 14230, 4739, 0xd718262a, 0xc626b0ea},
    {"24.19.198.95", "12.22.207.184", 12898, 38024, 0xd2d0a5de, 0x5c2b394a},
    {"38.27.205.30", "209.142.163.6", 48228, 2217, 0x82989176, 0xafc7327f},
    {"153.39.163.191", "202.188.127.2", 44251, 1303, 0x5d1809c5, 0x10e828a2},
};

static const struct vector ip6_vectors[] = {
    {"3ffe:2501:200:1fff::7", "3ffe:2501:200:3::1", 2794, 1766, 0x2cc18cd5, 0x40207d3d},
    {"3ffe:501:8::260:97ff:fe40:efab", "ff02::1", 14230, 4739, 0x0f0c461c, 0xdde51bbf},
    {"3ffe:1900:4545:3:200:f8ff:fe21:67cf", "fe80::200:f8ff:fe21:67cf", 44251, 38024, 0x4b61e985,
     0x02d1feef},
};

static void check(const struct vector *v, int family, size_t address_len)
{
    uint8_t input[36];
    assert_int_equal(inet_pton(family, v->src, input), 1);
    assert_int_equal(inet_pton(family, v->dst, input + address_len), 1);
    dk_put_be16(input + 2 * address_len, v->src_port);
    dk_put_be16(input + 2 * address_len + 2, v->dst_port);
    assert_int_equal(dk_toeplitz(published_key, input, 2 * address_len), v->without_ports);
    assert_int_equal(dk_toeplitz(published_key, input, 2 * address_len + 4), v->with_ports);
}

static void test_toeplitz_of_published_ip4_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ip4_vectors) / sizeof(ip4_vectors[0]); i++)
        check(&ip4_vectors[i], AF_INET, 4);
}

static void test_toeplitz_of_published_ip6_vectors(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(ip6_vectors) / sizeof(ip6_vectors[0]); i++)
        check(&ip6_vectors[i], AF_INET6, 16);
}

static void test_toeplitz_symmetric_is_of_words(void **state)
{
    (void)state;
    struct dk_random random;
    dk_random_init(&random, 1);
    for (uint32_t i = 0; i < 10000; i++) {
        uint8_t input[36];
        const uint32_t len = i & 1 ? 12 : 36;
        uint16_t words = 0;
        for (uint32_t at = 0; at < len; at += 2) {
            dk_put_be16(input + at, (uint16_t)dk_random_u32(&random));
            words ^= dk_get_be16(input + at);
        }
        assert_int_equal(dk_toeplitz(dk_toeplitz_symmetric, input, len),
                         dk_toeplitz_of_words(words));
    }
}

static void test_toeplitz_symmetric_of_both_directions_is_one(void **state)
{
    (void)state;
    const uint8_t there[12] = {192, 0, 2, 1, 198, 51, 100, 7, 0x80, 0x01, 0, 80};
    const uint8_t back[12] = {198, 51, 100, 7, 192, 0, 2, 1, 0, 80, 0x80, 0x01};
    assert_int_equal(dk_toeplitz(dk_toeplitz_symmetric, there, sizeof there),
                     dk_toeplitz(dk_toeplitz_symmetric, back, sizeof back));
    assert_int_not_equal(dk_toeplitz(published_key, there, sizeof there),
                         dk_toeplitz(published_key, back, sizeof back));
}

/* Of a client's ports, one after the other, each of a few queues gets about its share. */
static void test_toeplitz_symmetric_spreads_ports_in_a_row(void **state)
{
    (void)state;
    for (uint32_t queues = 2; queues <= 8; queues++) {
        uint32_t got[8] = {0};
        for (uint32_t port = 32768; port < 32768 + 4096; port++)
            got[dk_toeplitz_of_words((uint16_t)(port ^ 0x1234)) % queues]++;
        for (uint32_t q = 0; q < queues; q++)
            assert_in_range(got[q], 4096 / queues * 3 / 4, 4096 / queues * 5 / 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_toeplitz_of_published_ip4_vectors),
        cmocka_unit_test(test_toeplitz_of_published_ip6_vectors),
        cmocka_unit_test(test_toeplitz_symmetric_is_of_words),
        cmocka_unit_test(test_toeplitz_symmetric_of_both_directions_is_one),
        cmocka_unit_test(test_toeplitz_symmetric_spreads_ports_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
