/* SPDX-License-Identifier: MIT */
/* See backend.h. */
#include "backend.h"

#include <arpa/inet.h>
#include <demi/storage.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define TCP_CAN                                                                                    \
    (CAN_STREAM | CAN_DUPLEX | CAN_SOCKET | CAN_LISTEN | CAN_SHUTDOWN | CAN_RELIABLE |             \
     CAN_KERNEL | CAN_POOL | CAN_FDS | CAN_SHARE | CAN_LAST_WORDS)
#define UDP_CAN                                                                                    \
    (CAN_BOUNDARY | CAN_DUPLEX | CAN_SOCKET | CAN_PUSHTO | CAN_KERNEL | CAN_POOL | CAN_FDS |       \
     CAN_SHARE)
/* What comes from ourselves never was in a receive pool. */
#define LOOP_CANNOT (CAN_KERNEL | CAN_POOL | CAN_FDS)
#define TAP_CANNOT  (CAN_POOL | CAN_FDS | CAN_SHARE)
/* One queue for both ends: what is pushed is popped. */
#define LOG_CAN     (CAN_BOUNDARY | CAN_RELIABLE | CAN_SHARE | CAN_STORAGE)
#define MEM_CAN                                                                                    \
    (CAN_BOUNDARY | CAN_SHUTDOWN | CAN_RELIABLE | CAN_REFERENCE | CAN_INHERENT | CAN_SHARE)

#define LOG(can) AF_UNSPEC, 0, LOG_CAN | (can), 200000, 1000

#define TCP(family)      family, SOCK_STREAM, TCP_CAN, 64u << 20, 1000
#define UDP4             AF_INET, SOCK_DGRAM, UDP_CAN, 65507, 48
#define UDP6             AF_INET6, SOCK_DGRAM, UDP_CAN, 65507, 48
#define LOOP_TCP(family) family, SOCK_STREAM, TCP_CAN & ~LOOP_CANNOT, 64u << 20, 1000
#define LOOP_UDP(family) family, SOCK_DGRAM, UDP_CAN & ~LOOP_CANNOT, 65507, 48
#define TAP_TCP(family)  family, SOCK_STREAM, TCP_CAN & ~TAP_CANNOT, 64u << 20, 1000
#define TAP_UDP(family)  family, SOCK_DGRAM, UDP_CAN & ~TAP_CANNOT, 65507, 48

/* One end of a veth, by AF_XDP too. Ports of DPDK: a ring that leads back to where it begins, one
 * end of a veth, and the NIC of a virtual machine (test/vm/nic), with its address for "nic". */
#define VETH_CANNOT      (TAP_CANNOT | CAN_LAST_WORDS)
#define RING_CANNOT      (LOOP_CANNOT | VETH_CANNOT)
#define RING_TCP(family) family, SOCK_STREAM, TCP_CAN & ~RING_CANNOT, 64u << 20, 1000
#define RING_UDP(family) family, SOCK_DGRAM, UDP_CAN & ~RING_CANNOT, 65507, 48
#define VETH_TCP(family) family, SOCK_STREAM, TCP_CAN & ~VETH_CANNOT, 64u << 20, 1000
#define VETH_PORT        "net_af_packet0 iface=demi0"

static const struct backend backends[] = {
    {"memory", "memory", NULL, NULL, AF_UNSPEC, 0, MEM_CAN, 64u << 20, 1000},
    {"memory-never", "kernel", NULL, "never", AF_UNSPEC, 0, MEM_CAN, 64u << 20, 1000},
    {"uring-tcp4", "kernel", "io_uring", NULL, TCP(AF_INET)},
    {"uring-tcp6", "kernel", "io_uring", NULL, TCP(AF_INET6)},
    {"uring-udp4", "kernel", "io_uring", NULL, UDP4},
    {"uring-udp6", "kernel", "io_uring", NULL, UDP6},
    {"epoll-tcp4", "kernel", "epoll", NULL, TCP(AF_INET)},
    {"epoll-tcp6", "kernel", "epoll", NULL, TCP(AF_INET6)},
    {"epoll-udp4", "kernel", "epoll", NULL, UDP4},
    {"epoll-udp6", "kernel", "epoll", NULL, UDP6},
    {"uring-tcp4-always", "kernel", "io_uring", "always", TCP(AF_INET)},
    {"uring-tcp4-never", "kernel", "io_uring", "never", TCP(AF_INET)},
    {"epoll-tcp4-always", "kernel", "epoll", "always", TCP(AF_INET)},
    {"epoll-tcp4-never", "kernel", "epoll", "never", TCP(AF_INET)},
    {"loop-tcp4", "loop", NULL, NULL, LOOP_TCP(AF_INET)},
    {"loop-tcp6", "loop", NULL, NULL, LOOP_TCP(AF_INET6)},
    {"loop-udp4", "loop", NULL, NULL, LOOP_UDP(AF_INET)},
    {"loop-udp6", "loop", NULL, NULL, LOOP_UDP(AF_INET6)},
    {"tap-tcp4", "tap:demi0", NULL, NULL, TAP_TCP(AF_INET)},
    {"tap-tcp6", "tap:demi0", NULL, NULL, TAP_TCP(AF_INET6)},
    {"tap-udp4", "tap:demi0", NULL, NULL, TAP_UDP(AF_INET)},
    {"dpdk-ring-tcp4", "dpdk:net_ring0", NULL, NULL, RING_TCP(AF_INET)},
    {"dpdk-ring-tcp6", "dpdk:net_ring0", NULL, NULL, RING_TCP(AF_INET6)},
    {"dpdk-ring-udp4", "dpdk:net_ring0", NULL, NULL, RING_UDP(AF_INET)},
    {"dpdk-veth-tcp4", "dpdk:" VETH_PORT, NULL, NULL, VETH_TCP(AF_INET)},
    {"dpdk-veth-tcp6", "dpdk:" VETH_PORT, NULL, NULL, VETH_TCP(AF_INET6)},
    {"dpdk-veth-udp4", "dpdk:" VETH_PORT, NULL, NULL, TAP_UDP(AF_INET)},
    {"nic-tcp4", "dpdk:nic", NULL, NULL, VETH_TCP(AF_INET)},
    {"nic-tcp6", "dpdk:nic", NULL, NULL, VETH_TCP(AF_INET6)},
    {"nic-udp4", "dpdk:nic", NULL, NULL, TAP_UDP(AF_INET)},
    {"xdp-tcp4", "xdp:demi0", NULL, NULL, VETH_TCP(AF_INET)},
    {"xdp-tcp6", "xdp:demi0", NULL, NULL, VETH_TCP(AF_INET6)},
    {"xdp-udp4", "xdp:demi0", NULL, NULL, TAP_UDP(AF_INET)},
    {"xdp-whole-tcp4", "xdp:demi0", NULL, NULL, VETH_TCP(AF_INET)},
    {"xdp-whole-tcp6", "xdp:demi0", NULL, NULL, VETH_TCP(AF_INET6)},
    {"xdp-whole-udp4", "xdp:demi0", NULL, NULL, TAP_UDP(AF_INET)},
    {"loop-tcp4-always", "loop", NULL, "always", LOOP_TCP(AF_INET)},
    {"loop-tcp4-never", "loop", NULL, "never", LOOP_TCP(AF_INET)},
    {"log/memblk", "loop", NULL, NULL, LOG(0), false, "memblk,bytes=1G"},
    {"log/memblk-never", "memory", NULL, "never", LOG(0), false, "memblk,bytes=1G"},
    {"log/blk_uring", "kernel", NULL, NULL, LOG(CAN_LAST), false, "none"},
    {"log/blk_nvme", "kernel", NULL, NULL, LOG(0), false, "nvme:/dev/ng0n1"}, /* test/vm */
    {"log/blk_uring-threaded", "kernel", NULL, NULL, LOG(CAN_LAST), true, "none"},
    {"memory-threaded", "memory", NULL, NULL, AF_UNSPEC, 0, MEM_CAN, 64u << 20, 1000, true},
    {"uring-tcp4-threaded", "kernel", "io_uring", NULL, TCP(AF_INET), true},
    {"epoll-tcp4-threaded", "kernel", "epoll", NULL, TCP(AF_INET), true},
    {"loop-tcp4-threaded", "loop", NULL, NULL, LOOP_TCP(AF_INET), true},
};

static const struct backend *chosen;

static const struct {
    uint32_t can;
    const char *words;
} can_words[] = {
    {CAN_STREAM, "a byte stream"},
    {CAN_BOUNDARY, "elements kept apart"},
    {CAN_DUPLEX, "both directions"},
    {CAN_SOCKET, "sockets"},
    {CAN_LISTEN, "connections"},
    {CAN_SHUTDOWN, "an end of the stream"},
    {CAN_RELIABLE, "loss-free bursts"},
    {CAN_PUSHTO, "pushto many addresses"},
    {CAN_KERNEL, "the host's sockets as peer"},
    {CAN_REFERENCE, "elements handed over by reference"},
    {CAN_POOL, "a receive pool"},
    {CAN_FDS, "sockets that are descriptors"},
    {CAN_SHARE, "several processes at a time"},
    {CAN_STORAGE, "logs"},
    {CAN_LAST, "logs that outlive the process"},
    {CAN_LAST_WORDS, "last words of an exit amid a call"},
    {CAN_INHERENT, "to be the one backend that runs this"},
};

static void *nothing(void *arg)
{
    return arg;
}

/* --- the tap device, and its other end ----------------------------------------------------------
 */

#define TAP_OWN4  "10.9.0.2"
#define TAP_OWN6  "fd09::2"
#define TAP_HOST4 "10.9.0.1"
#define TAP_HOST6 "fd09::1"

static const char *tap_missing;

static bool net_begins(const char *with)
{
    return chosen != NULL && strncmp(chosen->net, with, strlen(with)) == 0;
}

/* Whether a virtual machine has it ready, and the kernel's end of its wire. */
static bool is_nic(void)
{
    return net_begins("dpdk:nic");
}

/* Whether its sockets have addresses of ours, and not 127.0.0.1. */
static bool has_addresses(void)
{
    return net_begins("tap:") || net_begins("dpdk:") ||
           (chosen != NULL && strncmp(chosen->name, "xdp-whole", strlen("xdp-whole")) == 0);
}

/* Whether the kernel has the stack's addresses: then its sockets at the other end of the link are
 * in another network namespace. */
static bool is_shared(void)
{
    return net_begins("xdp:") && !has_addresses();
}

/* Whether the kernel is at the other end of its link. */
static bool is_tap(void)
{
    return net_begins("tap:") || net_begins("xdp:") || net_begins("dpdk:" VETH_PORT) || is_nic();
}

static int namespaces[2] = {-1, -1}; /* of the host's sockets, of the stack's; where they differ */

static bool enter_new_namespace(int *fd_out)
{
    if (unshare(CLONE_NEWNET) != 0)
        return false;
    *fd_out = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return *fd_out >= 0;
}

/* Seen from the host's end: the other one goes where the stack is. */
static bool make_shared_veth(void)
{
    char command[512];
    snprintf(command, sizeof command,
             "{ ip link set lo up && ip link add demi0 type veth peer name host0 && "
             "ethtool -K host0 tx off tso off gso off gro off && "
             "ip addr add " TAP_HOST4 "/24 dev host0 && "
             "ip addr add " TAP_HOST6 "/64 dev host0 nodad && ip link set host0 up && "
             "ip link set demi0 netns /proc/%d/fd/%d; } >/dev/null 2>&1",
             getpid(), namespaces[1]);
    return system(command) == 0;
}

static void shared_set_up(void)
{
    if (!enter_new_namespace(&namespaces[0]) || !enter_new_namespace(&namespaces[1]))
        tap_missing = "no network namespace can be made: run as root";
    else if (setns(namespaces[0], CLONE_NEWNET) != 0 || !make_shared_veth() ||
             setns(namespaces[1], CLONE_NEWNET) != 0 ||
             system("{ ip link set lo up && ip addr add " TAP_OWN4 "/24 dev demi0 && "
                    "ip addr add " TAP_OWN6 "/64 dev demi0 nodad && "
                    "ip link set demi0 up; } >/dev/null 2>&1") != 0)
        tap_missing = "no veth can be made (ip link, ethtool)";
}

int host_socket(int domain, int type)
{
    const bool elsewhere = namespaces[0] >= 0;
    if (elsewhere)
        must_hold(setns(namespaces[0], CLONE_NEWNET) == 0, "setns: %s", strerror(errno));
    int fd = socket(domain, type | SOCK_CLOEXEC, 0);
    if (elsewhere)
        must_hold(setns(namespaces[1], CLONE_NEWNET) == 0, "setns: %s", strerror(errno));
    return fd;
}

static void nic_set_up(void)
{
    char net[64];
    const char *nic = getenv("DEMI_TEST_NIC");
    snprintf(net, sizeof net, "dpdk:%s", nic != NULL ? nic : "");
    setenv("DEMI_NET", net, 1);
    if (nic == NULL)
        tap_missing = "no NIC: test/vm/nic has one";
}

/* In a network namespace of this process. */
static void tap_set_up(void)
{
    if (is_nic())
        nic_set_up();
    else if (is_shared())
        shared_set_up();
    else if (unshare(CLONE_NEWNET) != 0)
        tap_missing = "no network namespace can be made: run as root";
    else if (net_begins("tap:") && system("{ ip link set lo up && "
                                          "ip tuntap add mode tap name demi0 && "
                                          "ip addr add " TAP_HOST4 "/24 dev demi0 && "
                                          "ip addr add " TAP_HOST6 "/64 dev demi0 nodad && "
                                          "ip link set demi0 up; } >/dev/null 2>&1") != 0)
        tap_missing = "no TAP interface can be made (ip tuntap)";
    else if (!net_begins("tap:") && system("{ ip link set lo up && "
                                           "ip link add demi0 type veth peer name host0 && "
                                           "ethtool -K host0 tx off tso off gso off gro off && "
                                           "ip link set demi0 up && "
                                           "ip addr add " TAP_HOST4 "/24 dev host0 && "
                                           "ip addr add " TAP_HOST6 "/64 dev host0 nodad && "
                                           "ip link set host0 up; } >/dev/null 2>&1") != 0)
        tap_missing = "no veth can be made (ip link, ethtool)";
}

/* --- logs -------------------------------------------------------------------------------------
 */

static char log_folder[32];
static int log_folder_owner; /* the process that made it, and removes it */

static void remove_logs(void)
{
    DIR *dir = getpid() == log_folder_owner ? opendir(log_folder) : NULL;
    if (dir == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(log_folder);
}

static void name_log(const char *folder, char *out, size_t size)
{
    static uint32_t number;
    snprintf(out, size, "%s%slog-%d-%u", folder, folder[0] != '\0' ? "/" : "", getpid(), number++);
}

void backend_log_name(char *out, size_t size)
{
    if (backend_can(CAN_LAST) && log_folder[0] == '\0') {
        strcpy(log_folder, "logs-XXXXXX");
        assert_non_null(mkdtemp(log_folder));
        log_folder_owner = getpid();
        atexit(remove_logs);
    }
    name_log(log_folder, out, size);
}

/* Of what is no matter of the disk; most tests would wait for the disk most of the time. */
static const char *quick_folder(void)
{
    if (!backend_can(CAN_LAST))
        return "";
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : ".";
}

static struct pair log_pair(void)
{
    struct pair pair;
    char name[64];
    name_log(quick_folder(), name, sizeof name);
    must(demi_open(&pair.tx, name, O_RDWR | O_CREAT | O_EXCL | DEMI_O_FOLLOW));
    must(demi_unlink(name)); /* it goes with the queue */
    pair.rx = pair.tx;
    return pair;
}

bool backend_is_known(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(backends); i++)
        if (strcmp(backends[i].name, name) == 0)
            return true;
    return false;
}

bool backend_choose(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(backends); i++) {
        if (strcmp(backends[i].name, name) != 0)
            continue;
        chosen = &backends[i];
        setenv("DEMI_NET", chosen->net, 1);
        if (has_addresses()) {
            setenv("DEMI_NET_ADDRESSES", TAP_OWN4 "/24," TAP_OWN6 "/64", 1);
            setenv("DEMI_NET_PROBE", "no", 1); /* nobody else is there */
        }
        if (is_tap())
            tap_set_up();
        if (chosen->engine != NULL)
            setenv("DEMI_ENGINE", chosen->engine, 1);
        if (chosen->poll != NULL)
            setenv("DEMI_POLL", chosen->poll, 1);
        if (chosen->store != NULL)
            setenv("DEMI_STORE", chosen->store, 1);
        if (under_sanitizer()) /* a leak check reads all tables */
            setenv("DEMI_MAX_TOKENS", "65536", 0);
        pthread_t thread;
        if (chosen->threaded && pthread_create(&thread, NULL, nothing, NULL) == 0)
            pthread_join(thread, NULL);
        return true;
    }
    return false;
}

void backend_list(void)
{
    for (size_t i = 0; i < COUNT_OF(backends); i++)
        puts(backends[i].name);
}

const struct backend *backend(void)
{
    return chosen;
}

bool backend_can(uint32_t what)
{
    return (chosen->can & what) == what;
}

bool backend_spins(void)
{
    return chosen->poll != NULL && strcmp(chosen->poll, "always") == 0;
}

/* Starts the library, and ends it: 0 or the errno. What a child could not do after us, a child does
 * (see backend_needs_fork). */
static int try_to_start(void)
{
    const pid_t pid = net_begins("dpdk:") ? fork() : -1;
    if (pid > 0) {
        int status = 0;
        waitpid(pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    }
    const int error = demi_init(NULL);
    if (error == 0)
        demi_fini();
    if (pid == 0)
        _exit(error);
    return error;
}

const char *backend_missing(void)
{
    static char reason[256];
    if (tap_missing != NULL)
        return tap_missing;
    if (chosen->domain == AF_INET6 && backend_can(CAN_KERNEL)) {
        struct sockaddr_storage addr;
        socklen_t len = host_address(AF_INET6, 0, &addr);
        int fd = host_socket(AF_INET6, SOCK_DGRAM);
        int error = fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
        if (error != 0) {
            snprintf(reason, sizeof reason, "IPv6 loopback: %s", strerror(error));
            return reason;
        }
    }
    int error = try_to_start();
    if (error == 0)
        return NULL;
    snprintf(reason, sizeof reason, "demi_init: %s", errno_name(error));
    return error == ENODEV ? reason : NULL; /* other errors are for the tests to report */
}

void backend_needs(uint32_t what)
{
    if (backend_can(what))
        return;
    for (size_t i = 0; i < COUNT_OF(can_words); i++)
        if ((what & can_words[i].can) != 0 && !backend_can(can_words[i].can))
            print_message("%s lacks %s\n", chosen->name, can_words[i].words);
    skip();
}

static bool was_started; /* the library, in this process */

void backend_needs_fork(void)
{
    if (!was_started || !net_begins("dpdk:"))
        return;
    print_message(
        "DPDK cannot be started in the child of a process that did: run this group alone\n");
    skip();
}

int library_setup(void **state)
{
    deadline_setup(state);
    was_started = true;
    const int error = demi_init(NULL);
    if (error == EEXIST) { /* an earlier test crashed inside: what follows would mean nothing */
        print_error("the library of an earlier test cannot be ended; giving up\n");
        exit(1);
    }
    must(error);
    if (chosen != NULL && chosen->engine != NULL) {
        const char *engine = stat_text("kernel.engine");
        must_hold(engine != NULL && strcmp(engine, chosen->engine) == 0,
                  "the engine is %s, asked for %s", engine != NULL ? engine : "(none)",
                  chosen->engine);
    }
    return 0;
}

int library_teardown(void **state)
{
    must(demi_fini());
    return deadline_teardown(state);
}

int deadline_setup(void **state)
{
    (void)state;
    deadline_start(chosen != NULL ? chosen->name : "a test", DEADLINE_S);
    return 0;
}

int deadline_teardown(void **state)
{
    (void)state;
    (void)demi_fini(); /* a test that failed in the middle has not */
    deadline_stop();
    return 0;
}

static socklen_t address_of(int domain, const char *ip4, const char *ip6, uint16_t port,
                            struct sockaddr_storage *addr_out)
{
    memset(addr_out, 0, sizeof *addr_out);
    if (domain == AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)addr_out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        assert_int_equal(inet_pton(AF_INET, ip4, &in->sin_addr), 1);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)addr_out;
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    assert_int_equal(inet_pton(AF_INET6, ip6, &in6->sin6_addr), 1);
    return sizeof *in6;
}

socklen_t loopback(int domain, uint16_t port, struct sockaddr_storage *addr_out)
{
    if (has_addresses() || is_shared())
        return address_of(domain, TAP_OWN4, TAP_OWN6, port, addr_out);
    return address_of(domain, "127.0.0.1", "::1", port, addr_out);
}

socklen_t host_address(int domain, uint16_t port, struct sockaddr_storage *addr_out)
{
    if (is_tap())
        return address_of(domain, TAP_HOST4, TAP_HOST6, port, addr_out);
    return loopback(domain, port, addr_out);
}

socklen_t absent_address(int domain, uint16_t port, struct sockaddr_storage *addr_out)
{
    if (has_addresses() || is_shared())
        return address_of(domain, "10.9.0.200", "fd09::c8", port, addr_out);
    return address_of(domain, "198.18.0.200", "fd00::c8", port, addr_out);
}

uint16_t port_of(const struct sockaddr_storage *addr)
{
    if (addr->ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)addr)->sin_port);
    return ntohs(((const struct sockaddr_in6 *)addr)->sin6_port);
}

static int bound_make(struct sockaddr_storage *addr, socklen_t *len)
{
    int qd = -1;
    must(demi_socket(&qd, chosen->domain, chosen->type, 0));
    *len = loopback(chosen->domain, 0, addr);
    must(demi_bind(qd, (struct sockaddr *)addr, *len));
    *len = sizeof *addr;
    must(demi_getsockname(qd, (struct sockaddr *)addr, len));
    must_hold(port_of(addr) != 0, "no port after bind");
    return qd;
}

int listener_make(struct sockaddr_storage *addr, socklen_t *len, int backlog)
{
    int qd = bound_make(addr, len);
    must(demi_listen(qd, backlog));
    return qd;
}

int datagram_make(struct sockaddr_storage *addr, socklen_t *len)
{
    return bound_make(addr, len);
}

demi_qtoken_t connect_start(int *qd_out, const struct sockaddr_storage *addr, socklen_t len)
{
    demi_qtoken_t qt = 0;
    must(demi_socket(qd_out, chosen->domain, chosen->type, 0));
    must(demi_connect(&qt, *qd_out, (const struct sockaddr *)addr, len));
    return qt;
}

int connect_to(const struct sockaddr_storage *addr, socklen_t len)
{
    int qd = -1;
    demi_qresult_t qr = wait_success(connect_start(&qd, addr, len), DEMI_OPC_CONNECT);
    assert_int_equal(qr.qr_qd, qd);
    return qd;
}

int accept_one(int listener)
{
    demi_qtoken_t qt = 0;
    must(demi_accept(&qt, listener));
    demi_qresult_t qr = wait_success(qt, DEMI_OPC_ACCEPT);
    assert_int_equal(qr.qr_qd, listener);
    assert_true(qr.qr_value.ares.qd >= 0);
    assert_int_not_equal(qr.qr_value.ares.qd, listener);
    return qr.qr_value.ares.qd;
}

static struct pair stream_pair(void)
{
    struct pair pair;
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 1);
    demi_qtoken_t connecting = connect_start(&pair.tx, &addr, len);
    pair.rx = accept_one(listener);
    wait_success(connecting, DEMI_OPC_CONNECT);
    must(demi_close(listener));
    return pair;
}

static struct pair datagram_pair(void)
{
    struct pair pair;
    struct sockaddr_storage tx_addr, rx_addr;
    socklen_t tx_len, rx_len;
    demi_qtoken_t qt;
    pair.tx = datagram_make(&tx_addr, &tx_len);
    pair.rx = datagram_make(&rx_addr, &rx_len);
    must(demi_connect(&qt, pair.tx, (struct sockaddr *)&rx_addr, rx_len));
    wait_success(qt, DEMI_OPC_CONNECT);
    must(demi_connect(&qt, pair.rx, (struct sockaddr *)&tx_addr, tx_len));
    wait_success(qt, DEMI_OPC_CONNECT);
    return pair;
}

/* A queue that has been used takes shorter paths than a new one. One backend tests each. */
static struct pair memory_pair(void)
{
    struct pair pair;
    must(demi_queue(&pair.tx, 0));
    pair.rx = pair.tx;
    for (int i = 0; i < 2 && chosen->poll == NULL; i++) {
        demi_sgarray_t sga = pattern_sga(1, 0, 0);
        push_all(pair.tx, &sga);
        must(demi_sgafree(&sga));
        pop_pattern(pair.rx, 1, 0, 0);
    }
    return pair;
}

struct timespec delivery_time(void)
{
    return ms_time(backend()->store ? 500 : 5);
}

struct pair pair_make(void)
{
    if (backend_can(CAN_LISTEN))
        return stream_pair();
    if (backend_can(CAN_PUSHTO))
        return datagram_pair();
    if (backend_can(CAN_STORAGE))
        return log_pair();
    return memory_pair();
}

void pair_close(struct pair pair)
{
    must(demi_close(pair.tx));
    if (pair.rx != pair.tx)
        must(demi_close(pair.rx));
}

/* Without Nagle's algorithm, which waits with each small piece for our delayed acknowledgement. */
static int plain_socket(int domain)
{
    int fd = host_socket(domain, SOCK_STREAM);
    const int on = 1;
    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const struct timeval patience = {PATIENCE_S, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

int plain_listener(int domain, struct sockaddr_storage *addr, socklen_t *len)
{
    int fd = plain_socket(domain);
    *len = host_address(domain, 0, addr);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
    assert_int_equal(listen(fd, 128), 0);
    *len = sizeof *addr;
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    return fd;
}

/* A moment of the library's work, without collecting what the test issued. */
static void drive(void)
{
    int qd = -1;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    const struct timespec moment = ms_time(1);
    if (demi_queue(&qd, 0) != 0) { /* not started: another process works */
        usleep(1000);
        return;
    }
    must(demi_pop(&qt, qd));
    must_fail(demi_wait(&qr, qt, &moment), ETIMEDOUT);
    must(demi_cancel(qt));
    must(demi_close(qd));
}

/* Waits with patience until a plain socket has something to tell. Where the library is its peer by
 * itself, that works meanwhile. */
static void await(int fd, short events)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    struct pollfd pollfd = {.fd = fd, .events = events};
    while (poll(&pollfd, 1, is_tap() ? 0 : PATIENCE_S * 1000) <= 0 && now_ns() < give_up)
        if (is_tap())
            drive();
}

static void set_blocking(int fd, bool blocking)
{
    const int flags = fcntl(fd, F_GETFL);
    assert_int_equal(fcntl(fd, F_SETFL, blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK), 0);
}

int plain_datagram(int domain, struct sockaddr_storage *addr, socklen_t *len)
{
    int fd = host_socket(domain, SOCK_DGRAM);
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    assert_true(fd >= 0);
    *len = host_address(domain, 0, addr);
    assert_int_equal(bind(fd, (struct sockaddr *)addr, *len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)addr, len), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

int plain_connect(const struct sockaddr_storage *addr, socklen_t len)
{
    int fd = plain_socket(addr->ss_family);
    set_blocking(fd, false);
    int error = connect(fd, (const struct sockaddr *)addr, len) != 0 ? errno : 0;
    if (error == EINPROGRESS) {
        socklen_t size = sizeof error;
        await(fd, POLLOUT);
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    must_hold(error == 0, "plain connect: %s", errno_name(error));
    set_blocking(fd, true);
    return fd;
}

int plain_accept(int fd)
{
    int conn;
    await(fd, POLLIN);
    do
        conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    while (conn < 0 && errno == EINTR);
    must_hold(conn >= 0, "plain accept: %s", errno_name(errno));
    const struct timeval patience = {PATIENCE_S, 0};
    setsockopt(conn, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(conn, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return conn;
}

void plain_reset(int fd)
{
    const struct linger hard = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    assert_int_equal(close(fd), 0);
}

void plain_send(int fd, const void *buf, size_t len)
{
    for (size_t sent = 0; sent < len;) {
        ssize_t n = send(fd, (const char *)buf + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            await(fd, POLLOUT);
            n = send(fd, (const char *)buf + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        }
        if (n < 0 && errno == EINTR)
            continue;
        must_hold(n > 0, "plain send: %s", errno_name(errno));
        sent += (size_t)n;
    }
}

ssize_t plain_take(int fd, void *buf, size_t len, int flags)
{
    if ((flags & MSG_DONTWAIT) == 0)
        await(fd, POLLIN);
    for (;;) {
        const ssize_t n = recv(fd, buf, len, flags | MSG_DONTWAIT);
        if (n >= 0 || errno != EINTR)
            return n >= 0 ? n : -errno;
    }
}

void plain_receive(int fd, void *buf, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = plain_take(fd, (char *)buf + got, len - got, 0);
        must_hold(n > 0, "plain receive after %zu of %zu bytes: %s", got, len,
                  n == 0 ? "end" : errno_name((int)-n));
        got += (size_t)n;
    }
}

int plain_end(int fd)
{
    const uint64_t give_up = now_ns() + PATIENCE_S * 1000000000ull;
    for (;;) {
        char byte;
        const ssize_t n = plain_take(fd, &byte, 1, MSG_DONTWAIT);
        if (n >= 0)
            return n == 0 ? 0 : EMSGSIZE;
        if (n != -EAGAIN)
            return (int)-n;
        must_hold(now_ns() < give_up, "neither an end nor a reset");
        demi_qresult_t qr;
        int count = 0;
        const struct timespec moment = ms_time(1);
        const int error = demi_wait_some(&qr, 1, &count, &moment);
        must_hold(error == ETIMEDOUT, "waiting for nothing: %s", errno_name(error));
    }
}

void plain_pair(int *qd_out, int *fd_out)
{
    struct sockaddr_storage addr;
    socklen_t len;
    int listener = listener_make(&addr, &len, 4);
    *fd_out = plain_connect(&addr, len);
    *qd_out = accept_one(listener);
    must(demi_close(listener));
}
