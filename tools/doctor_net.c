/* SPDX-License-Identifier: MIT */
/*
 * Interfaces of Linux, and the backends over them.
 */
#include "doctor.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>

#define NET    "/sys/class/net/%s"
#define TUN    "/dev/net/tun"
#define NOBODY UINT64_MAX /* owns it: the file says -1 */

static bool is_up(const struct doctor_machine *m, const char *name)
{
    uint64_t flags = 0;
    return doctor_read_number(m, &flags, NET "/flags", name) && (flags & IFF_UP) != 0;
}

/* The file cannot be read of an interface that is down. */
static bool has_carrier(const struct doctor_machine *m, const char *name)
{
    uint64_t carrier = 0;
    return doctor_read_number(m, &carrier, NET "/carrier", name) && carrier == 1;
}

static bool is_ethernet(const struct doctor_machine *m, const char *name)
{
    uint64_t type = 0;
    return doctor_read_number(m, &type, NET "/type", name) && type == ARPHRD_ETHER;
}

/* /sys shows the network namespace in which it was mounted: an interface of this one may not be
 * there. Says so. */
static bool is_hidden(const struct doctor_machine *m, struct doctor_report *r, const char *name)
{
    if (m->root[0] != '\0' || doctor_is_there(m, NET, name) || if_nametoindex(name) == 0)
        return false;
    doctor_say(r, DOCTOR_ADVICE, name,
               "it is there, and cannot be looked at: /sys is of another network namespace");
    doctor_mend(r, "mount -t sysfs sysfs /sys");
    return true;
}

void doctor_check_interface(const struct doctor_machine *m, struct doctor_report *r,
                            const char *name)
{
    char driver[DOCTOR_NAME_MAX] = "no driver of a device";
    uint64_t mtu = 0;
    if (is_hidden(m, r, name))
        return;
    if (!doctor_is_there(m, NET, name)) {
        doctor_say(r, DOCTOR_MISSING, name, "there is no such interface: these are");
        doctor_mend(r, "ip -brief link");
    } else if (!is_ethernet(m, name)) {
        doctor_say(r, DOCTOR_MISSING, name, "it is no Ethernet interface");
    } else if (!is_up(m, name)) {
        doctor_say(r, DOCTOR_MISSING, name, "it is down");
        doctor_mend(r, "ip link set %s up", name);
    } else if (!has_carrier(m, name)) {
        doctor_say(r, DOCTOR_MISSING, name,
                   "it has no carrier: a cable, or its other end, is down");
    } else {
        doctor_read_number(m, &mtu, NET "/mtu", name);
        doctor_read_link(m, driver, sizeof(driver), NET "/device/driver", name);
        doctor_say(r, DOCTOR_FINE, name, "it is up, MTU %" PRIu64 ", %s", mtu, driver);
    }
}

/* Of which one that is up is enough. */
void doctor_check_interfaces(const struct doctor_machine *m, struct doctor_report *r)
{
    glob_t found;
    const size_t n = doctor_find(m, &found, "/sys/class/net/*");
    uint32_t usable = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = doctor_base(found.gl_pathv[i]);
        if (!is_ethernet(m, name) || !is_up(m, name) || !has_carrier(m, name))
            continue;
        usable++;
        doctor_check_interface(m, r, name);
    }
    globfree(&found);
    if (usable > 0)
        return;
    doctor_say(r, DOCTOR_MISSING, "interfaces",
               "no Ethernet interface is up with a carrier: a pair of virtual ones is made by");
    doctor_mend(r, "ip link add veth0 type veth peer name veth1 && ip link set veth0 up && "
                   "ip link set veth1 up");
}

void doctor_check_packet(const struct doctor_machine *m, struct doctor_report *r,
                         const char *device)
{
    doctor_need_capability(m, r, CAP_NET_RAW, "packet sockets");
    if (*device)
        doctor_check_interface(m, r, device);
    else
        doctor_check_interfaces(m, r);
}

/* The option busy_poll of a NIC; what has no device has no interrupts either. */
static void check_busy_poll(const struct doctor_machine *m, struct doctor_report *r,
                            const char *name)
{
    char driver[DOCTOR_NAME_MAX];
    uint64_t deferred = 0, timeout_ns = 0;
    if (!doctor_read_link(m, driver, sizeof(driver), NET "/device/driver", name))
        return;
    doctor_read_number(m, &deferred, NET "/napi_defer_hard_irqs", name);
    doctor_read_number(m, &timeout_ns, NET "/gro_flush_timeout", name);
    if (deferred > 0 && timeout_ns > 0) {
        doctor_say(r, DOCTOR_FINE, "busy_poll", "interrupts of %s wait for who polls", name);
        return;
    }
    doctor_say(r, DOCTOR_ADVICE, "busy_poll",
               "interrupts of %s do not wait for who polls, so the option is of little use", name);
    doctor_mend(r,
                "echo 2 > /sys/class/net/%s/napi_defer_hard_irqs && "
                "echo 200000 > /sys/class/net/%s/gro_flush_timeout",
                name, name);
}

void doctor_check_xdp(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    doctor_check_af_xdp(m, r);
    doctor_need_capability(m, r, CAP_BPF, "programs and maps in the kernel");
    doctor_need_capability(m, r, CAP_PERFMON, "pointers in the program, which the kernel checks");
    doctor_check_bpf(m, r);
    if (*device) {
        doctor_check_interface(m, r, device);
        check_busy_poll(m, r, device);
    } else {
        doctor_check_interfaces(m, r);
    }
}

/* Whether one of the groups of the process is this one: in "Gid:" the effective one, the second. */
static bool is_in_group(const struct doctor_machine *m, uint64_t group)
{
    static const char *const lines[] = {"Gid:", "Groups:"};
    char line[1024];
    for (size_t i = 0; i < 2; i++) {
        if (!doctor_read_line(m, line, sizeof(line), lines[i], "/proc/self/status"))
            continue;
        char *at = line + (i == 0 ? strcspn(line, "\t ") : 0), *end = at;
        for (uint64_t id = strtoull(at, &end, 10); end != at; id = strtoull(at, &end, 10)) {
            if (id == group)
                return true;
            at = i == 0 ? strchr(end, '\0') : end;
        }
    }
    return false;
}

/* Whether this process may attach to a TAP interface without a capability. */
static bool is_given(const struct doctor_machine *m, const char *name)
{
    uint64_t owner = NOBODY, group = NOBODY;
    doctor_read_number(m, &owner, NET "/owner", name);
    doctor_read_number(m, &group, NET "/group", name);
    return (owner == NOBODY || owner == m->uid) && (group == NOBODY || is_in_group(m, group));
}

/* Of <linux/if_tun.h>, which does not go with <net/if.h>. */
enum { TUN_TAP = 0x2, TUN_MULTI_QUEUE = 0x100 };

static bool has_flag(const struct doctor_machine *m, const char *name, uint64_t flag)
{
    uint64_t flags = 0;
    return doctor_read_number(m, &flags, NET "/tun_flags", name) && (flags & flag) != 0;
}

static bool is_tap(const struct doctor_machine *m, const char *name)
{
    return has_flag(m, name, TUN_TAP);
}

/* Several workers have a queue each, and a program that deals frames out to them. */
static void check_workers(const struct doctor_machine *m, struct doctor_report *r)
{
    uint64_t refused = 0;
    if (m->workers <= 1)
        return;
    doctor_read_number(m, &refused, "/proc/sys/kernel/unprivileged_bpf_disabled");
    if (refused == 0 || doctor_has_capability(m, CAP_BPF)) {
        doctor_say(r, DOCTOR_FINE, "workers", "a program may deal frames out to them");
        return;
    }
    doctor_say(r, DOCTOR_ADVICE, "workers",
               "without CAP_BPF the kernel deals frames out, and a few come to the wrong worker");
    doctor_mend(r, "setcap cap_bpf+ep PROGRAM");
}

static void check_queues(const struct doctor_machine *m, struct doctor_report *r, const char *name)
{
    if (m->workers <= 1 || has_flag(m, name, TUN_MULTI_QUEUE))
        return;
    doctor_say(r, DOCTOR_MISSING, "queues", "%s has one, and there are %" PRIu32 " workers", name,
               m->workers);
    doctor_mend(r,
                "ip link del %s && ip tuntap add mode tap multi_queue user %" PRIu32
                " name %s && ip link set %s up",
                name, m->uid, name, name);
}

/* An interface that is not there is made, and goes with the process. */
static void check_new_tap(const struct doctor_machine *m, struct doctor_report *r, const char *name)
{
    if (!doctor_need_capability(m, r, CAP_NET_ADMIN, "the interface is made, as it is not there"))
        doctor_mend(r, "ip tuntap add mode tap user %" PRIu32 " name %s && ip link set %s up",
                    m->uid, name, name);
}

static void check_old_tap(const struct doctor_machine *m, struct doctor_report *r, const char *name)
{
    if (!is_given(m, name) &&
        !doctor_need_capability(m, r, CAP_NET_ADMIN, "the interface is another user's"))
        doctor_mend(r,
                    "ip link del %s && ip tuntap add mode tap user %" PRIu32
                    " name %s && ip link set %s up",
                    name, m->uid, name, name);
    check_queues(m, r, name);
    if (!is_up(m, name)) {
        doctor_say(r, DOCTOR_MISSING, name, "it is down");
        doctor_mend(r, "ip link set %s up", name);
    } else {
        doctor_say(r, DOCTOR_FINE, name, "it is up");
    }
}

/* Those that this user has; else one has to be made. */
static void check_taps(const struct doctor_machine *m, struct doctor_report *r)
{
    glob_t found;
    const size_t n = doctor_find(m, &found, "/sys/class/net/*");
    uint32_t usable = 0;
    for (size_t i = 0; i < n; i++) {
        const char *name = doctor_base(found.gl_pathv[i]);
        if (!is_tap(m, name) || !is_given(m, name))
            continue;
        usable++;
        check_old_tap(m, r, name);
    }
    globfree(&found);
    if (usable == 0)
        check_new_tap(m, r, "demi0");
}

void doctor_check_tap(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    doctor_need_device(m, r, TUN, "modprobe tun");
    check_workers(m, r);
    if (!*device) {
        check_taps(m, r);
    } else if (is_hidden(m, r, device)) {
        return;
    } else if (!doctor_is_there(m, NET, device)) {
        check_new_tap(m, r, device);
    } else if (!is_tap(m, device)) {
        doctor_say(r, DOCTOR_MISSING, device, "it is no TAP interface: use packet:%s", device);
        doctor_mend(r, "demi doctor packet:%s", device);
    } else {
        check_old_tap(m, r, device);
    }
}
