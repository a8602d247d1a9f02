/* SPDX-License-Identifier: MIT */
/*
 * Addresses as people write them: what is accepted, what is refused, and that printing one reads
 * back.
 */
#include "address.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_address_good_reads_and_prints(void **state)
{
    static const char *const good[][2] = {
        {"127.0.0.1:7000", "127.0.0.1:7000"},
        {"[::1]:65535", "[::1]:65535"},
        {"[fe80:0::01]:1", "[fe80::1]:1"},
        {":0", "0.0.0.0:0"},
        {"[::]:80", "[::]:80"},
        {"127.0.0.1:00080", "127.0.0.1:80"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct address address;
        char text[ADDRESS_TEXT_MAX];
        assert_null(address_parse(good[i][0], AF_UNSPEC, &address));
        address_format((const struct sockaddr *)&address.addr, text, sizeof(text));
        assert_string_equal(text, good[i][1]);
    }
}

static void test_address_localhost_of_family_is_loopback(void **state)
{
    struct address address;
    (void)state;
    if (address_parse("localhost:7", AF_INET, &address) != NULL)
        skip();
    const struct sockaddr_in *in = (const struct sockaddr_in *)&address.addr;
    assert_int_equal(in->sin_family, AF_INET);
    assert_int_equal(ntohl(in->sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(ntohs(in->sin_port), 7);
}

static void test_address_bad_is_refused(void **state)
{
    static const char *const bad[] = {
        "",           "7000",        "127.0.0.1",          "127.0.0.1:",     "127.0.0.1:65536",
        "1.2.3.4:-1", "1.2.3.4:+80", "1.2.3.4:80 ",        "::1:7000",       "[::1]",
        "[::1]:",     "[::1:7000",   "127.0.0.1:99999999", "127.0.0.1:http", "[127.0.0.1:80",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct address address;
        if (address_parse(bad[i], AF_UNSPEC, &address) == NULL)
            fail_msg("'%s' is accepted", bad[i]);
    }
}

static void test_address_long_is_refused(void **state)
{
    static char text[2000];
    struct address address;
    (void)state;
    memset(text, 'a', sizeof(text) - 1);
    memcpy(text + sizeof(text) - 6, ":7000", 5);
    assert_non_null(address_parse(text, AF_UNSPEC, &address));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_address_good_reads_and_prints),
        cmocka_unit_test(test_address_localhost_of_family_is_loopback),
        cmocka_unit_test(test_address_bad_is_refused),
        cmocka_unit_test(test_address_long_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
