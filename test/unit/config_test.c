/* SPDX-License-Identifier: MIT */
/*
 * Configuration: precedence, every kind of wrong file, the wording of errors. Each test runs with
 * the environment of a fresh process and with files in a folder of its own.
 */
#include "api/config.h"
#include "api/config_keys.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char folder[64];
    char path[128];
    char err[2048];
    struct dk_config config;
};

static const char *const variables[] = {
    "DEMI_NET",
    "DEMI_ENGINE",
    "DEMI_POLL",
    "DEMI_SPIN_US",
    "DEMI_WORKERS",
    "DEMI_BACKGROUND",
    "DEMI_EXIT_LINGER_MS",
    "DEMI_RX_BUFFER_BYTES",
    "DEMI_LOG",
    "DEMI_MAX_TOKENS",
    "DEMI_MAX_QUEUES",
    "DEMI_CONFIG",
    "CONFIG_PATH",
    "LIBOS",
    "DEMI_SPINUS",
    "DEMI_PORT",
    "DEMI_RX_POOL_BYTES",
    "DEMI_COPY_THRESHOLD",
    "DEMI_HUGE_PAGES",
    "DEMI_DEBUG",
    "DEMI_SORT_MAX",
    "DEMI_ELEMENT_MAX",
    "DEMI_NET_ADDRESSES",
    "DEMI_NET_GATEWAY",
    "DEMI_NET_ROUTES",
    "DEMI_NET_MTU",
    "DEMI_NET_VLAN",
    "DEMI_NET_PROBE",
    "DEMI_NET_WAIT_S",
    "DEMI_NET_OFFLOAD",
    "DEMI_NET_CONNECTIONS",
    "DEMI_NET_SYN_COOKIES",
    "DEMI_NET_SEND_BYTES",
    "DEMI_NET_RECEIVE_BYTES",
    "DEMI_NET_SACK",
    "DEMI_NET_TIMESTAMPS",
    "DEMI_NET_WINDOW_SCALE",
    "DEMI_PUSH_HOLD_US",
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    if (f == NULL)
        return -1;
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++)
        unsetenv(variables[i]);
    snprintf(f->folder, sizeof f->folder, "/tmp/demi-config-XXXXXX");
    if (mkdtemp(f->folder) == NULL)
        return -1;
    snprintf(f->path, sizeof f->path, "%s/demi.yaml", f->folder);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    unlink(f->path);
    rmdir(f->folder);
    free(f);
    return 0;
}

static void write_bytes(struct fixture *f, const void *bytes, size_t len)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
    setenv("DEMI_CONFIG", f->path, 1);
}

static void write_file(struct fixture *f, const char *text)
{
    write_bytes(f, text, strlen(text));
}

static int load(struct fixture *f)
{
    memset(f->err, '?', sizeof f->err);
    return dk_config_load(&f->config, f->err, sizeof f->err);
}

static void assert_loads(struct fixture *f)
{
    int result = load(f);
    if (result != 0)
        print_error("%s\n", f->err);
    assert_int_equal(result, 0);
}

/* The load fails, and the message has each of the words (NULL ends them). */
static void assert_fails(struct fixture *f, const char *word, ...)
{
    va_list words;
    assert_int_equal(load(f), -EINVAL);
    va_start(words, word);
    for (; word != NULL; word = va_arg(words, const char *)) {
        if (strstr(f->err, word) == NULL)
            fail_msg("'%s' is not in: %s", word, f->err);
    }
    va_end(words);
}

/* What the load writes to standard error, into f->err. */
static void load_and_read_stderr(struct fixture *f)
{
    FILE *capture = tmpfile();
    assert_non_null(capture);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    int result = dk_config_load(&f->config, NULL, 0);
    dup2(saved, STDERR_FILENO);
    close(saved);
    rewind(capture);
    size_t n = fread(f->err, 1, sizeof f->err - 1, capture);
    f->err[n] = '\0';
    fclose(capture);
    assert_int_equal(result, 0);
}

static void test_config_nothing_set_is_default(void **state)
{
    struct fixture *f = *state;
    assert_loads(f);
    assert_string_equal(f->config.net, "kernel");
    assert_int_equal(f->config.engine, DK_CONFIG_ENGINE_AUTO);
    assert_int_equal(f->config.poll, DK_CONFIG_POLL_ADAPTIVE);
    assert_int_equal(f->config.spin_us, 10);
    assert_int_equal(f->config.workers, 1);
    assert_false(f->config.background);
    assert_int_equal(f->config.exit_linger_ms, 1000);
    assert_int_equal(f->config.rx_buffer_bytes, 16384);
    assert_int_equal(f->config.rx_pool_bytes, 33554432);
    assert_int_equal(f->config.copy_threshold, 1024);
    assert_string_equal(f->config.huge_pages, "auto");
    assert_int_equal(f->config.debug, DK_CONFIG_DEBUG_NONE);
    assert_int_equal(f->config.sort_max, 65536);
    assert_int_equal(f->config.element_max, 16777216);
    assert_int_equal(f->config.max_tokens, 1048576);
    assert_int_equal(f->config.max_queues, 262144);
    assert_int_equal(f->config.log, DK_CONFIG_LOG_WARN);
    assert_string_equal(f->err, "");
}

static void test_config_file_full_sets_every_value(void **state)
{
    struct fixture *f = *state;
    write_file(f, "---\n# all of them\nnet: memory\nengine: epoll\npoll: \"never\"\nspin_us: 0\n"
                  "workers: 64\nbackground: true\nexit_linger_ms: 60000\nrx_buffer_bytes: 1024\n"
                  "rx_pool_bytes: 65536\ncopy_threshold: 0\nhuge_pages: none\ndebug: inflight\n"
                  "max_tokens: 16777216\nmax_queues: 16\nlog: &level debug\n...\n");
    assert_loads(f);
    assert_string_equal(f->config.net, "memory");
    assert_int_equal(f->config.engine, DK_CONFIG_ENGINE_EPOLL);
    assert_int_equal(f->config.poll, DK_CONFIG_POLL_NEVER);
    assert_int_equal(f->config.spin_us, 0);
    assert_int_equal(f->config.workers, 64);
    assert_true(f->config.background);
    assert_int_equal(f->config.exit_linger_ms, 60000);
    assert_int_equal(f->config.rx_buffer_bytes, 1024);
    assert_int_equal(f->config.rx_pool_bytes, 65536);
    assert_int_equal(f->config.copy_threshold, 0);
    assert_string_equal(f->config.huge_pages, "none");
    assert_int_equal(f->config.debug, DK_CONFIG_DEBUG_INFLIGHT);
    assert_int_equal(f->config.max_tokens, 16777216);
    assert_int_equal(f->config.max_queues, 16);
    assert_int_equal(f->config.log, DK_CONFIG_LOG_DEBUG);
}

static void test_config_environment_and_file_environment_wins(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spin_us: 5\nworkers: 3\n");
    setenv("DEMI_SPIN_US", "7", 1);
    assert_loads(f);
    assert_int_equal(f->config.spin_us, 7);
    assert_int_equal(f->config.workers, 3);
}

static void test_config_variable_empty_counts_as_unset(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_SPIN_US", "", 1);
    setenv("DEMI_CONFIG", "", 1);
    setenv("LIBOS", "", 1);
    assert_loads(f);
    assert_int_equal(f->config.spin_us, 10);
}

static void test_config_file_changed_is_read_anew(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spin_us: 5\n");
    assert_loads(f);
    write_file(f, "spin_us: 6\n");
    assert_loads(f);
    assert_int_equal(f->config.spin_us, 6);
}

static void test_config_file_empty_is_default(void **state)
{
    struct fixture *f = *state;
    static const char *const empty[] = {"", "\n", "# nothing\n", "---\n{}\n", "\xef\xbb\xbf"};
    for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
        write_file(f, empty[i]);
        assert_loads(f);
        assert_int_equal(f->config.spin_us, 10);
    }
}

static void test_config_number_wrong_names_place_and_range(void **state)
{
    struct fixture *f = *state;
    static const char *const wrong[] = {
        "65", "0", "-1", "+1", "1.0", "1 ", " 1", "0x1", "1k", "one", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv("DEMI_WORKERS", wrong[i], 1);
        assert_fails(f, "environment DEMI_WORKERS", "workers", wrong[i], "1 to 64", NULL);
    }
}

static void test_config_word_wrong_names_place_and_words(void **state)
{
    struct fixture *f = *state;
    write_file(f, "\nengine: iouring\n");
    assert_fails(f, f->path, ":2:", "engine", "'iouring'", "auto, io_uring, epoll", NULL);
}

static void test_config_word_of_any_case_is_accepted(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_POLL", "Always", 1);
    setenv("DEMI_BACKGROUND", "ON", 1);
    assert_loads(f);
    assert_int_equal(f->config.poll, DK_CONFIG_POLL_ALWAYS);
    assert_true(f->config.background);
}

static void test_config_value_odd_bytes_are_escaped(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_NET", "\033[2J\xff", 1);
    assert_fails(f, "'\\x1b[2J\\xff'", "kernel, memory", NULL);
    assert_null(strchr(f->err, '\033'));
}

static void test_config_value_huge_is_cut(void **state)
{
    struct fixture *f = *state;
    char huge[20000];
    memset(huge, 'a', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    setenv("DEMI_NET", huge, 1);
    assert_fails(f, "aaaa...'", NULL);
    assert_true(strlen(f->err) < 200);
}

static void test_config_net_absent_says_not_in_build(void **state)
{
    struct fixture *f = *state;
    static const char *const absent[] = {"rdma"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        setenv("DEMI_NET", absent[i], 1);
        assert_fails(f, "environment DEMI_NET", absent[i], "not in this build", "kernel, memory",
                     "tap:INTERFACE", NULL);
    }
}

static void test_config_net_device_is_kept_as_text(void **state)
{
    struct fixture *f = *state;
    static const char *const good[] = {
        "loop",
        "loop,mtu=9000",
        "tap:demi0",
        "packet:eth0",
        "pcap(/tmp/a.pcapng,limit=64M):tap:demi0",
        "fault(loss=1%):pcap(a\\):b):packet:veth1",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        setenv("DEMI_NET", good[i], 1);
        assert_loads(f);
        assert_string_equal(f->config.net, good[i]);
    }
}

static void test_config_net_device_wrong_says_why(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_NET", "tap:", 1);
    assert_fails(f, "environment DEMI_NET", "name of an interface is missing", "tap:INTERFACE",
                 NULL);
    setenv("DEMI_NET", "tap:demi0,colour=red", 1);
    assert_fails(f, "environment DEMI_NET", "colour", NULL);
    setenv("DEMI_NET", "pcap(/tmp/a):kernel", 1);
    assert_fails(f, "environment DEMI_NET", "accepted: kernel", NULL);
    setenv("DEMI_NET", "kernel:eth0", 1);
    assert_fails(f, "environment DEMI_NET", "accepted: kernel", NULL);
}

static void test_config_net_texts_wrong_say_which_item(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *name, *text, *why;
    } wrong[] = {
        {"DEMI_NET_ADDRESSES", "192.0.2.2", "'192.0.2.2' is not ADDRESS/PREFIX-LENGTH"},
        {"DEMI_NET_ADDRESSES", "192.0.2.2/24, 192.0.2/24", "'192.0.2/24' is not"},
        {"DEMI_NET_ADDRESSES", "192.0.2.2/33", "'192.0.2.2/33' is not"},
        {"DEMI_NET_ADDRESSES", "2001:db8::1/129", "'2001:db8::1/129' is not"},
        {"DEMI_NET_ADDRESSES", "192.0.2.2/", "'192.0.2.2/' is not"},
        {"DEMI_NET_ADDRESSES", "192.0.2.2/24x", "'192.0.2.2/24x' is not"},
        {"DEMI_NET_ADDRESSES",
         "1.1.1.1/8 1.1.1.2/8 1.1.1.3/8 1.1.1.4/8 1.1.1.5/8 1.1.1.6/8 "
         "1.1.1.7/8 1.1.1.8/8 1.1.1.9/8",
         "'1.1.1.9/8' is one too many"},
        {"DEMI_NET_OFFLOAD", "tso, lro", "'lro' is no offload"},
        {"DEMI_NET_GATEWAY", "router", "'router' is not an address"},
        {"DEMI_NET_GATEWAY", "192.0.2.1,192.0.2.3", "'192.0.2.3' is a second gateway"},
        {"DEMI_NET_ROUTES", "198.51.100.0/24", "'198.51.100.0/24' is not NETWORK/LENGTH>GATEWAY"},
        {"DEMI_NET_ROUTES", "198.51.100.0/24>fe80::1", "another version of IP"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        setenv(wrong[i].name, wrong[i].text, 1);
        assert_fails(f, wrong[i].name, wrong[i].why, "accepted: ", NULL);
        unsetenv(wrong[i].name);
    }
}

static void test_config_net_texts_right_are_kept(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_NET_ADDRESSES", "dhcp, 2001:db8::2/64 auto", 1);
    assert_loads(f);
    unsetenv("DEMI_NET_ADDRESSES");
    write_file(f, "net_addresses: 192.0.2.2/24, 2001:db8::2/64\nnet_gateway: 192.0.2.1 fe80::1\n"
                  "net_routes: 198.51.100.0/24>192.0.2.9\nnet_mtu: 1400\nnet_vlan: 7\n"
                  "net_probe: off\nnet_congestion: BBR\nnet_ecn: on\nnet_sack: "
                  "no\nnet_syn_cookies: always\npush_hold_us: 0\nnet_receive_bytes: 70000\n"
                  "net_send_max: 0\nnet_pressure_bytes: 4294967295\n"
                  "net_timestamps: no\nnet_window_scale: off\nnet_mtu_probing: always\n"
                  "net_identifiers: EUI64\nnet_dhcp_release: no\n");
    assert_loads(f);
    assert_string_equal(f->config.net_addresses, "192.0.2.2/24, 2001:db8::2/64");
    assert_string_equal(f->config.net_gateway, "192.0.2.1 fe80::1");
    assert_string_equal(f->config.net_routes, "198.51.100.0/24>192.0.2.9");
    assert_int_equal(f->config.net_mtu, 1400);
    assert_int_equal(f->config.net_vlan, 7);
    assert_int_equal(f->config.net_probe, DK_CONFIG_PROBE_NO);
    assert_string_equal(f->config.net_congestion, "bbr");
    assert_int_equal(f->config.net_ecn, DK_CONFIG_ECN_YES);
    assert_int_equal(f->config.net_syn_cookies, DK_CONFIG_SYN_COOKIES_ALWAYS);
    assert_false(f->config.net_sack || f->config.net_timestamps || f->config.net_window_scale);
    assert_int_equal(f->config.push_hold_us, 0);
    assert_int_equal(f->config.net_mtu_probing, DK_CONFIG_MTU_PROBING_ALWAYS);
    assert_false(f->config.net_dhcp_release);
    assert_int_equal(f->config.net_identifiers, DK_CONFIG_IDENTIFIERS_EUI64);
    assert_int_equal(f->config.net_receive_bytes, 70000);
    assert_int_equal(f->config.net_send_bytes, 0);
    assert_int_equal(f->config.net_receive_max, 16777216);
    assert_int_equal(f->config.net_send_max, 0);
    assert_int_equal(f->config.net_pressure_bytes, UINT32_MAX);
}

static void test_config_libos_known_sets_net(void **state)
{
    struct fixture *f = *state;
    setenv("LIBOS", "catmem", 1);
    assert_loads(f);
    assert_string_equal(f->config.net, "memory");
    setenv("LIBOS", "Catnap", 1);
    assert_loads(f);
    assert_string_equal(f->config.net, "kernel");
    setenv("LIBOS", "catloop", 1);
    assert_loads(f);
    assert_string_equal(f->config.net, "loop");
}

static void test_config_libos_and_net_net_wins(void **state)
{
    struct fixture *f = *state;
    setenv("LIBOS", "catnip", 1);
    setenv("DEMI_NET", "kernel", 1);
    assert_loads(f);
    assert_string_equal(f->config.net, "kernel");
}

static void test_config_libos_and_file_libos_wins(void **state)
{
    struct fixture *f = *state;
    write_file(f, "net: kernel\n");
    setenv("LIBOS", "catmem", 1);
    assert_loads(f);
    assert_string_equal(f->config.net, "memory");
}

static void test_config_libos_absent_says_what_to_use(void **state)
{
    struct fixture *f = *state;
    static const char *const absent[][2] = {
        {"catnip", "dpdk"}, {"catpowder", "packet"},   {"catmint", "rdma"},
        {"cattree", "log"}, {"catnipxcattree", "log"},
    };
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        setenv("LIBOS", absent[i][0], 1);
        assert_fails(f, "LIBOS", absent[i][0], absent[i][1], "this build", "LIBOS=catnap", NULL);
    }
    setenv("LIBOS", "dog", 1);
    assert_fails(f, "LIBOS", "net", "'dog'", "catnap", "catmem", NULL);
}

static void test_config_key_unknown_names_nearest_and_all(void **state)
{
    struct fixture *f = *state;
    write_file(f, "net: kernel\nspinus: 3\n");
    assert_fails(f, f->path, ":2:", "unknown key 'spinus'", "did you mean 'spin_us'",
                 "net, net_addresses", "max_queues, log", NULL);
    write_file(f, "colour: red\n");
    assert_fails(f, ":1:", "unknown key 'colour'", "accepted keys", NULL);
    assert_null(strstr(f->err, "did you mean"));
    write_file(f, "\"\": 1\n");
    assert_fails(f, ":1:", "unknown key ''", NULL);
}

static void test_config_key_of_reference_in_our_file_points_to_config_path(void **state)
{
    struct fixture *f = *state;
    write_file(f, "inetstack_config:\n  mtu: 1500\n");
    assert_fails(f, ":1:", "inetstack_config", "CONFIG_PATH", NULL);
}

static void test_config_key_twice_names_both_lines(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spin_us: 20\nworkers: 1\nspin_us: 20\n");
    assert_fails(f, ":3:", "spin_us", "twice", "line 1", NULL);
}

static void test_config_file_shape_wrong_is_told(void **state)
{
    struct fixture *f = *state;
    static const char *const shapes[][2] = {
        {"hello\n", "mapping"},
        {"- net\n", "mapping"},
        {"*x\n", ""},
        {"net:\n  kernel: 1\n", "not a mapping"},
        {"net: [kernel]\n", "not a list"},
        {"log: &a warn\nnet: *a\n", "not an alias"},
        {"net:\n", "'' is not accepted"},
        {"net: \"kernel\\0x\"\n", "NUL"},
        {"[net]: kernel\n", "single word"},
        {"? {a: b}\n: c\n", "single word"},
        {"net: kernel\n---\nnet: memory\n", "more than one document"},
        {"net: kernel\n  spin_us: 3\n", "not accepted"},
        {"net: 'kernel\n", "valid YAML"},
        {"\tnet: kernel\n", "valid YAML"},
        {"%BOGUS 1\n%YAML 3.0\n---\nnet: kernel\n", "valid YAML"},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        write_file(f, shapes[i][0]);
        assert_fails(f, f->path, shapes[i][1], NULL);
    }
}

static void test_config_file_not_utf8_names_line(void **state)
{
    struct fixture *f = *state;
    static const char bytes[] = "net: kernel\nlog: w\xff\xferst\n";
    write_bytes(f, bytes, sizeof bytes - 1);
    assert_fails(f, f->path, ":2:", "UTF-8", NULL);
}

static void test_config_file_of_zeros_is_error(void **state)
{
    struct fixture *f = *state;
    static const char zeros[4096];
    write_bytes(f, zeros, sizeof zeros);
    assert_fails(f, f->path, "valid YAML", NULL);
}

static void test_config_file_huge_is_error(void **state)
{
    struct fixture *f = *state;
    write_file(f, "net: kernel\n");
    assert_int_equal(truncate(f->path, (off_t)1 << 40), 0);
    assert_fails(f, f->path, "larger than 1048576 bytes", NULL);
}

static void test_config_file_deep_is_error(void **state)
{
    struct fixture *f = *state;
    static char deep[100000];
    memset(deep, '[', sizeof deep - 1);
    memcpy(deep, "dpdk: ", 6);
    write_file(f, deep);
    unsetenv("DEMI_CONFIG");
    setenv("CONFIG_PATH", f->path, 1);
    assert_fails(f, f->path, "nested", NULL);
}

static void test_config_file_unreadable_is_told(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_CONFIG", "/nonexistent/demi.yaml", 1);
    assert_fails(f, "/nonexistent/demi.yaml", "cannot open", "No such file", NULL);
    setenv("DEMI_CONFIG", f->folder, 1);
    assert_fails(f, f->folder, "is a directory", NULL);
    setenv("DEMI_CONFIG", "/dev/zero", 1);
    assert_fails(f, "/dev/zero", "not a regular file", NULL);
    assert_int_equal(mkfifo(f->path, 0600), 0);
    setenv("DEMI_CONFIG", f->path, 1);
    assert_fails(f, f->path, "not a regular file", NULL);
}

static void test_config_failed_load_leaves_out_untouched(void **state)
{
    struct fixture *f = *state;
    struct dk_config before;
    memset(&f->config, 0x5a, sizeof f->config);
    memcpy(&before, &f->config, sizeof before);
    setenv("DEMI_NET", "x", 1);
    assert_int_equal(load(f), -EINVAL);
    assert_memory_equal(&before, &f->config, sizeof before);
}

static void test_config_message_buffer_small_is_terminated(void **state)
{
    struct fixture *f = *state;
    char small[8];
    setenv("DEMI_NET", "x", 1);
    assert_int_equal(dk_config_load(&f->config, small, sizeof small), -EINVAL);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_int_equal(dk_config_load(&f->config, NULL, 0), -EINVAL);
}

static const char reference_file[] = "demikernel:\n"
                                     "  local_ipv4_addr: XX.XX.XX.XX\n"
                                     "  local_link_addr: \"ff:ff:ff:ff:ff:ff\"\n"
                                     "dpdk:\n"
                                     "  eal_init: [\"-c\", \"0xff\", &a \"-n\", *a]\n"
                                     "tcp_socket_options:\n"
                                     "  keepalive:\n"
                                     "    enabled: false\n"
                                     "  nodelay: true\n"
                                     "spin_us: 9\n"
                                     "enigne: epoll\n"
                                     "colour: [1, {a: b}]\n";

static void test_config_reference_file_is_read_with_warnings(void **state)
{
    struct fixture *f = *state;
    write_file(f, reference_file);
    unsetenv("DEMI_CONFIG");
    setenv("CONFIG_PATH", f->path, 1);
    load_and_read_stderr(f);
    assert_int_equal(f->config.spin_us, 9);
    assert_non_null(strstr(f->err, ":1: 'demikernel' has no effect"));
    assert_non_null(strstr(f->err, ":4: 'dpdk' has no effect"));
    assert_non_null(strstr(f->err, "TCP_NODELAY is on"));
    assert_non_null(
        strstr(f->err, ":11: unknown key 'enigne' has no effect, did you mean 'engine"));
    assert_non_null(strstr(f->err, ":12: unknown key 'colour' has no effect"));
    setenv("DEMI_LOG", "error", 1);
    load_and_read_stderr(f);
    assert_string_equal(f->err, "");
}

static void test_config_reference_file_of_warnings_only_is_bounded(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 2000; i++)
        fprintf(file, "unheard_of_%d: 1\n", i);
    fclose(file);
    setenv("CONFIG_PATH", f->path, 1);
    load_and_read_stderr(f);
    assert_non_null(strstr(f->err, "unheard_of_0"));
}

static void test_config_both_files_named_ours_is_read(void **state)
{
    struct fixture *f = *state;
    write_file(f, "spin_us: 1\n");
    setenv("CONFIG_PATH", "/nonexistent", 1);
    assert_loads(f);
    assert_int_equal(f->config.spin_us, 1);
}

static void test_config_variable_misspelt_is_warned_of(void **state)
{
    struct fixture *f = *state;
    setenv("DEMI_SPINUS", "3", 1);
    setenv("DEMI_PORT", "7000", 1);
    load_and_read_stderr(f);
    assert_non_null(strstr(f->err, "DEMI_SPINUS has no effect, did you mean DEMI_SPIN_US?"));
    assert_null(strstr(f->err, "DEMI_PORT"));
}

static void test_config_describe_tells_value_and_origin(void **state)
{
    struct fixture *f = *state;
    struct demi_config_value value;
    char origin[256];
    write_file(f, "spin_us: 007\n\nworkers: 2\n");
    setenv("DEMI_POLL", "ALWAYS", 1);
    assert_int_equal(dk_config_describe(DK_CONFIG_SPIN_US, &value, NULL, 0), 0);
    snprintf(origin, sizeof origin, "%s:1", f->path);
    assert_string_equal(value.key, "spin_us");
    assert_string_equal(value.value, "7");
    assert_string_equal(value.default_value, "10");
    assert_string_equal(value.origin, origin);
    assert_string_equal(value.accepted, "0 to 1000000");
    assert_int_equal(dk_config_describe(DK_CONFIG_POLL, &value, NULL, 0), 0);
    assert_string_equal(value.value, "always");
    assert_string_equal(value.origin, "environment DEMI_POLL");
    assert_int_equal(dk_config_describe(DK_CONFIG_NET, &value, NULL, 0), 0);
    assert_string_equal(value.origin, "default");
}

static void test_config_describe_every_index_has_all_texts(void **state)
{
    struct fixture *f = *state;
    struct demi_config_value value;
    for (size_t i = 0; i < DK_CONFIG_COUNT; i++) {
        assert_int_equal(dk_config_describe(i, &value, f->err, sizeof f->err), 0);
        assert_true(strlen(value.key) > 0 && strlen(value.value) > 0);
        assert_string_equal(value.value, value.default_value);
        assert_true(strlen(value.summary) > 0 && strlen(value.accepted) > 0);
    }
    assert_int_equal(dk_config_describe(DK_CONFIG_COUNT, &value, NULL, 0), -ENOENT);
    assert_int_equal(dk_config_describe(SIZE_MAX, &value, NULL, 0), -ENOENT);
}

static void test_config_describe_bad_configuration_is_einval(void **state)
{
    struct fixture *f = *state;
    struct demi_config_value value;
    setenv("DEMI_LOG", "loud", 1);
    assert_int_equal(dk_config_describe(0, &value, f->err, sizeof f->err), -EINVAL);
    assert_non_null(strstr(f->err, "error, warn, info, debug"));
}

static void test_config_key_nearest_unrelated_is_none(void **state)
{
    (void)state;
    assert_int_equal(dk_config_key_nearest("Spin-US"), DK_CONFIG_SPIN_US);
    assert_int_equal(dk_config_key_nearest("rx_buffer_size"), DK_CONFIG_RX_BUFFER_BYTES);
    assert_int_equal(dk_config_key_nearest("port"), -ENOENT);
    assert_int_equal(dk_config_key_nearest(""), -ENOENT);
    assert_int_equal(dk_config_key_nearest("a_name_that_is_longer_than_any_key_there_is"), -ENOENT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_config_nothing_set_is_default),
        TEST(test_config_file_full_sets_every_value),
        TEST(test_config_environment_and_file_environment_wins),
        TEST(test_config_variable_empty_counts_as_unset),
        TEST(test_config_file_changed_is_read_anew),
        TEST(test_config_file_empty_is_default),
        TEST(test_config_number_wrong_names_place_and_range),
        TEST(test_config_word_wrong_names_place_and_words),
        TEST(test_config_word_of_any_case_is_accepted),
        TEST(test_config_value_odd_bytes_are_escaped),
        TEST(test_config_value_huge_is_cut),
        TEST(test_config_net_absent_says_not_in_build),
        TEST(test_config_net_device_is_kept_as_text),
        TEST(test_config_net_device_wrong_says_why),
        TEST(test_config_net_texts_wrong_say_which_item),
        TEST(test_config_net_texts_right_are_kept),
        TEST(test_config_libos_known_sets_net),
        TEST(test_config_libos_and_net_net_wins),
        TEST(test_config_libos_and_file_libos_wins),
        TEST(test_config_libos_absent_says_what_to_use),
        TEST(test_config_key_unknown_names_nearest_and_all),
        TEST(test_config_key_of_reference_in_our_file_points_to_config_path),
        TEST(test_config_key_twice_names_both_lines),
        TEST(test_config_file_shape_wrong_is_told),
        TEST(test_config_file_not_utf8_names_line),
        TEST(test_config_file_of_zeros_is_error),
        TEST(test_config_file_huge_is_error),
        TEST(test_config_file_deep_is_error),
        TEST(test_config_file_unreadable_is_told),
        TEST(test_config_failed_load_leaves_out_untouched),
        TEST(test_config_message_buffer_small_is_terminated),
        TEST(test_config_reference_file_is_read_with_warnings),
        TEST(test_config_reference_file_of_warnings_only_is_bounded),
        TEST(test_config_both_files_named_ours_is_read),
        TEST(test_config_variable_misspelt_is_warned_of),
        TEST(test_config_describe_tells_value_and_origin),
        TEST(test_config_describe_every_index_has_all_texts),
        TEST(test_config_describe_bad_configuration_is_einval),
        TEST(test_config_key_nearest_unrelated_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
