/* SPDX-License-Identifier: MIT */
/* Interface identifiers (RFC 7217, RFC 5453), and what becomes of those that another host has. */
#include "net_kit.h"

#include "net/identifier.h"

#include <string.h>

#define ROUTER "fe80::fe"

static struct kit kit;
static struct dk_net_conflict met;
static uint32_t num_met;

static struct dk_net_config stable(void)
{
    struct dk_net_config config = {.mac = {{2, 0, 0, 0, 0, 1}}, .stable_identifiers = true};
    memset(config.identifier_secret, 7, sizeof(config.identifier_secret));
    return config;
}

static struct dk_ip formed(const struct dk_net_config *config, const char *prefix, uint8_t counter)
{
    struct dk_ip ip = ip6(prefix);
    dk_identifier_put(config, &ip, &counter);
    return ip;
}

static void must_differ(const struct dk_ip *a, const struct dk_ip *b)
{
    assert_memory_not_equal(a->bytes + 8, b->bytes + 8, 8);
}

/* RFC 4291 appendix A. */
static void test_identifier_of_the_link_address(void **state)
{
    const struct dk_net_config config = {.mac = {{0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde}}};
    const struct dk_ip want = ip6("2001:db8::3656:78ff:fe9a:bcde");
    const struct dk_ip ip = formed(&config, "2001:db8::", 0);
    (void)state;
    assert_true(dk_ip_equal(&ip, &want));
}

/* RFC 7217 section 4: the same here each time, another one elsewhere, of another interface, by
 * another secret, after a conflict. */
static void test_identifier_is_stable_and_for_one_network(void **state)
{
    const struct dk_net_config config = stable();
    struct dk_net_config other = config;
    const struct dk_ip ip = formed(&config, "2001:db8::", 0);
    const struct dk_ip again = formed(&config, "2001:db8::", 0);
    const struct dk_ip elsewhere = formed(&config, "2001:db8:0:1::", 0);
    const struct dk_ip after = formed(&config, "2001:db8::", 1);
    (void)state;
    assert_true(dk_ip_equal(&ip, &again));
    must_differ(&ip, &elsewhere);
    must_differ(&ip, &after);
    other.mac.bytes[5]++;
    struct dk_ip by = formed(&other, "2001:db8::", 0);
    must_differ(&ip, &by);
    other = config;
    other.identifier_secret[15]++;
    by = formed(&other, "2001:db8::", 0);
    must_differ(&ip, &by);
    other = config;
    other.secret[0]++; /* of other uses, and new with each process */
    by = formed(&other, "2001:db8::", 0);
    assert_true(dk_ip_equal(&ip, &by));
}

static void test_identifier_that_no_host_may_have(void **state)
{
    static const uint64_t reserved[] = {0,
                                        UINT64_C(0x02005efffe000000),
                                        UINT64_C(0x02005efffe005213),
                                        UINT64_C(0x02005efffeffffff),
                                        UINT64_C(0xfdffffffffffff80),
                                        UINT64_C(0xfdffffffffffffff)};
    static const uint64_t others[] = {1,
                                      UINT64_C(0x02005efffdffffff),
                                      UINT64_C(0x02005effff000000),
                                      UINT64_C(0xfdffffffffffff7f),
                                      UINT64_C(0xfe00000000000000),
                                      UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof(reserved) / sizeof(reserved[0]); i++)
        assert_true(dk_identifier_is_reserved(reserved[i]));
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_false(dk_identifier_is_reserved(others[i]));
}

/* ---- conflicts ------------------------------------------------------------------------------- */

static void meet(void *arg, const struct dk_net_conflict *conflict)
{
    (void)arg;
    num_met++;
    met = *conflict;
}

static void start(bool optimistic)
{
    kit_init(&kit);
    const struct dk_net_config config = stable();
    memcpy(kit.config.identifier_secret, config.identifier_secret, 16);
    kit.config.stable_identifiers = true;
    kit.config.num_addresses = kit.config.num_routes = 0;
    kit.config.router_adverts = true;
    kit.config.skip_dad = false;
    kit.config.optimistic_dad = optimistic;
    kit.config.on_conflict = meet;
    num_met = 0;
    kit_start(&kit);
}

static void advertise(void)
{
    const struct dk_ip from = ip6(ROUTER), all = ip6("ff02::1");
    const struct dk_nd nd = {
        .type = DK_ICMP6_ROUTER_ADVERT,
        .lifetime_s = 1800,
        .has_source_mac = true,
        .source_mac = kit_peer_mac,
        .num_prefixes = 1,
        .prefixes = {{.prefix = ip6("2001:db8::"),
                      .len = 64,
                      .on_link = true,
                      .autonomous = true,
                      .valid_s = 86400,
                      .preferred_s = 14400}},
    };
    kit_nd(&kit, &from, &all, 255, &nd);
}

/* Another host says that it has an address. */
static void claim(const struct dk_ip *ip)
{
    const struct dk_ip all = ip6("ff02::1");
    const struct dk_nd theirs = {.type = DK_ICMP6_NEIGHBOR_ADVERT,
                                 .target = *ip,
                                 .override = true,
                                 .has_target_mac = true,
                                 .target_mac = kit_peer_mac};
    kit_nd(&kit, ip, &all, 255, &theirs);
}

static struct dk_ip nth(const char *prefix, uint8_t counter)
{
    return formed(&kit.config, prefix, counter);
}

static bool has(const struct dk_ip *ip)
{
    struct dk_ip src = *ip;
    uint32_t mtu;
    return dk_ip_route(kit.net, ip, &src, &mtu) == 0;
}

static bool learnt(const struct dk_ip *ip)
{
    struct dk_ip found;
    return dk_net_router_state(kit.net, &found) == DK_NET_LEARNT && dk_ip_equal(&found, ip);
}

/* RFC 7217 section 6: after a second another one is formed, and asked for. */
static void test_identifier_of_another_host_is_exchanged(void **state)
{
    (void)state;
    start(false);
    kit_pass(&kit, 3 * S);
    advertise();
    const struct dk_ip first = nth("2001:db8::", 0), second = nth("2001:db8::", 1);
    claim(&first);
    kit_pass(&kit, 900 * MS);
    assert_false(has(&first));
    assert_int_equal(kit_stat(&kit, "address.formed_anew"), 0);
    kit_pass(&kit, 3 * S);
    assert_true(learnt(&second));
    assert_true(has(&second));
    assert_int_equal(num_met, 0);
    advertise(); /* the prefix has its address */
    kit_pass(&kit, 3 * S);
    assert_false(has(&first));
    assert_int_equal(kit_stat(&kit, "address.formed_anew"), 1);
    kit_close(&kit);
}

/* IDGEN_RETRIES: then it is somebody else's turn, and he is told. */
static void test_identifiers_of_others_are_exchanged_three_times(void **state)
{
    (void)state;
    start(false);
    kit_pass(&kit, 3 * S);
    advertise();
    for (uint8_t i = 0; i <= DK_IDENTIFIER_RETRIES; i++) {
        const struct dk_ip ip = nth("2001:db8::", i);
        assert_int_equal(num_met, 0);
        claim(&ip);
        kit_pass(&kit, 1100 * MS);
    }
    const struct dk_ip last = nth("2001:db8::", DK_IDENTIFIER_RETRIES);
    struct dk_ip found;
    kit_pass(&kit, 10 * S);
    assert_int_equal(kit_stat(&kit, "address.formed_anew"), DK_IDENTIFIER_RETRIES);
    assert_int_equal(num_met, 1);
    assert_true(met.lost && dk_ip_equal(&met.ip, &last));
    assert_int_equal(dk_net_router_state(kit.net, &found), DK_NET_LEARNT_DUPLICATE);
    kit_close(&kit);
}

/* The link-local one too, which no router is needed for. */
static void test_link_local_address_of_another_host_is_exchanged(void **state)
{
    struct dk_nd nd;
    struct kit_sent sent;
    (void)state;
    start(false);
    const struct dk_ip first = nth("fe80::", 0), second = nth("fe80::", 1);
    claim(&first);
    kit_forget(&kit);
    kit_pass(&kit, 5 * S);
    assert_false(has(&first));
    assert_true(has(&second));
    do {
        kit_expect_ip(&kit, &sent);
    } while (sent.data[0] != DK_ICMP6_NEIGHBOR_SOLICIT);
    const struct dk_nd_ip ip = {.src = sent.src, .dst = sent.dst, .hop_limit = sent.ttl};
    assert_int_equal(dk_nd_parse(sent.data, sent.len, &ip, &nd), DK_WIRE_OK);
    assert_true(dk_ip_equal(&nd.target, &second));
    kit_close(&kit);
}

/* RFC 4429: it was in use; its questioner gets no answer any more, the new one is. */
static void test_optimistic_address_of_another_host_is_exchanged(void **state)
{
    (void)state;
    start(true);
    advertise();
    const struct dk_ip first = nth("2001:db8::", 0), second = nth("2001:db8::", 1);
    assert_true(has(&first));
    claim(&first);
    assert_false(has(&first));
    kit_pass(&kit, 1100 * MS);
    assert_true(has(&second));
    assert_false(has(&first));
    kit_pass(&kit, 10 * S);
    assert_true(learnt(&second));
    kit_close(&kit);
}

/* One that is ours for long is defended, as any other. */
static void test_identifier_that_is_ours_is_kept(void **state)
{
    (void)state;
    start(false);
    advertise();
    kit_pass(&kit, 5 * S);
    const struct dk_ip first = nth("2001:db8::", 0);
    assert_true(has(&first));
    claim(&first);
    kit_pass(&kit, 5 * S);
    assert_true(has(&first));
    assert_int_equal(kit_stat(&kit, "address.formed_anew"), 0);
    assert_int_equal(num_met, 1);
    assert_false(met.lost);
    kit_close(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identifier_of_the_link_address),
        cmocka_unit_test(test_identifier_is_stable_and_for_one_network),
        cmocka_unit_test(test_identifier_that_no_host_may_have),
        cmocka_unit_test(test_identifier_of_another_host_is_exchanged),
        cmocka_unit_test(test_identifiers_of_others_are_exchanged_three_times),
        cmocka_unit_test(test_link_local_address_of_another_host_is_exchanged),
        cmocka_unit_test(test_optimistic_address_of_another_host_is_exchanged),
        cmocka_unit_test(test_identifier_that_is_ours_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
