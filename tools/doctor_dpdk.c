/* SPDX-License-Identifier: MIT */
/*
 * DPDK: its drivers, and what each of those wants. The module itself is found by the library
 * (doctor.c).
 *
 * A device is named as in demi_net(7): "0000:00:04.0", or a driver with a number and its arguments,
 * separated by blanks.
 */
#include "doctor.h"

#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define RINGS       (UINT64_C(2) << 20) /* of net_af_packet, as its defaults have it */
#define PACKAGE_MAX (DOCTOR_TEXT_MAX + 32)
#define ABI         "23" /* of the packages of Debian 12, where no driver shows another one */

static const char *const driver_folders[] = {
    "/usr/lib/*/dpdk/pmds-*",       "/usr/lib/dpdk/pmds-*",       "/usr/lib64/dpdk/pmds-*",
    "/usr/local/lib/*/dpdk/pmds-*", "/usr/local/lib/dpdk/pmds-*", "/usr/local/lib64/dpdk/pmds-*",
};

/* How many files of drivers there are of a name, which may be a pattern; abi: of the last one. */
static size_t count_drivers(const struct doctor_machine *m, const char *name, char abi[16])
{
    size_t num = 0;
    for (size_t i = 0; i < sizeof(driver_folders) / sizeof(driver_folders[0]); i++) {
        glob_t found;
        size_t n =
            doctor_find(m, &found, "%s/librte_%s.so.[0-9]*[0-9].[0-9]*", driver_folders[i], name);
        num += n;
        if (n > 0)
            sscanf(strstr(doctor_base(found.gl_pathv[n - 1]), ".so.") + 4, "%15[0-9]", abi);
        globfree(&found);
    }
    return num;
}

/* The file of a driver: "net_virtio_user" is in that of "net_virtio"; "eth_" is an old name. */
static void file_of(char to[DOCTOR_TEXT_MAX], const char *driver)
{
    const bool is_old = strncmp(driver, "eth_", strlen("eth_")) == 0;
    const char *name = is_old ? driver + strlen("eth_") : driver;
    snprintf(to, DOCTOR_TEXT_MAX, "%s%s", is_old ? "net_" : "", name);
    if (strcmp(to, "net_virtio_user") == 0)
        to[strlen("net_virtio")] = '\0';
}

/* librte-net-af-packet23 */
static void package_of(char to[PACKAGE_MAX], const char *file, const char *abi)
{
    snprintf(to, PACKAGE_MAX, "librte-%s%s", file, abi);
    for (char *at = to; *at; at++)
        *at = *at == '_' ? '-' : *at;
}

static void check_drivers(const struct doctor_machine *m, struct doctor_report *r)
{
    char abi[16] = ABI;
    const size_t n = count_drivers(m, "net_*", abi);
    doctor_say(r, n > 0 ? DOCTOR_FINE : DOCTOR_MISSING, "drivers",
               "%zu drivers of DPDK for networks are installed", n);
    if (n == 0)
        doctor_mend(r, "apt-get install libdpdk-dev");
}

static void check_driver(const struct doctor_machine *m, struct doctor_report *r,
                         const char *driver)
{
    char file[DOCTOR_TEXT_MAX], package[PACKAGE_MAX], abi[16] = ABI;
    file_of(file, driver);
    if (count_drivers(m, file, abi) > 0) {
        doctor_say(r, DOCTOR_FINE, driver, "the driver is installed");
        return;
    }
    count_drivers(m, "net_*", abi);
    package_of(package, file, abi);
    doctor_say(r, DOCTOR_MISSING, driver, "DPDK has no driver of that name here");
    doctor_mend(r, "apt-get install %s", package);
}

/* The value of an argument of a device, "iface=veth0"; "" where it has none. */
static void argument(char to[DOCTOR_TEXT_MAX], const char *device, const char *key)
{
    const size_t len = strlen(key);
    to[0] = '\0';
    for (const char *at = device + strcspn(device, " "); *at; at += strcspn(at, " ")) {
        at += strspn(at, " ");
        if (strncmp(at, key, len) == 0 && at[len] == '=')
            snprintf(to, DOCTOR_TEXT_MAX, "%.*s", (int)strcspn(at + len + 1, " "), at + len + 1);
    }
}

static void check_iface(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    char iface[DOCTOR_TEXT_MAX];
    argument(iface, device, "iface");
    if (*iface)
        doctor_check_interface(m, r, iface);
}

static void check_tap(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    (void)device;
    doctor_need_device(m, r, "/dev/net/tun", "modprobe tun");
    doctor_need_capability(m, r, CAP_NET_ADMIN, "the interface is made, and brought up");
}

static void check_socket(const struct doctor_machine *m, struct doctor_report *r,
                         const char *device)
{
    doctor_need_capability(m, r, CAP_NET_RAW, "packet sockets");
    doctor_need_capability(m, r, CAP_NET_ADMIN, "the driver sets the interface's address anew");
    doctor_need_memlock(m, r, DOCTOR_MISSING, RINGS, "the driver locks its rings, of 2 MiB");
    check_iface(m, r, device);
}

/* Files need nothing. */
static void check_pcap(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    static const char *const keys[] = {"iface", "rx_iface", "rx_iface_in", "tx_iface"};
    char iface[DOCTOR_TEXT_MAX];
    bool is_first = true;
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        argument(iface, device, keys[i]);
        if (!*iface)
            continue;
        if (is_first)
            doctor_need_capability(m, r, CAP_NET_RAW, "packet sockets");
        doctor_check_interface(m, r, iface);
        is_first = false;
    }
}

static void check_xdp(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    doctor_check_af_xdp(m, r);
    doctor_need_capability(m, r, CAP_SYS_ADMIN,
                           "libxdp, which looks for programs by their numbers");
    check_iface(m, r, device);
}

/* The folder of its socket must be there; one whose name begins with "@" has none. */
static void check_memif(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    char path[DOCTOR_TEXT_MAX];
    argument(path, device, "socket");
    char *slash = strrchr(path, '/');
    if (!slash || path[0] == '@' || slash == path)
        return;
    *slash = '\0';
    const bool there = doctor_is_there(m, "%s", path);
    doctor_say(r, there ? DOCTOR_FINE : DOCTOR_MISSING, "socket", "its folder %s is %sthere", path,
               there ? "" : "not ");
    if (!there)
        doctor_mend(r, "mkdir -p %s", path);
}

/* A socket of a vhost-user server needs nothing; the kernel's vhost makes a TAP interface. */
static void check_virtio_user(const struct doctor_machine *m, struct doctor_report *r,
                              const char *device)
{
    char path[DOCTOR_TEXT_MAX];
    argument(path, device, "path");
    if (strcmp(path, "/dev/vhost-net") != 0)
        return;
    doctor_need_device(m, r, path, "modprobe vhost-net");
    check_tap(m, r, device);
}

/* What drivers in software want beyond themselves. */
static const struct {
    const char *name;
    void (*check)(const struct doctor_machine *m, struct doctor_report *r, const char *device);
} software[] = {
    {"net_tap", check_tap},          {"net_af_packet", check_socket},
    {"net_pcap", check_pcap},        {"net_af_xdp", check_xdp},
    {"net_memif", check_memif},      {"net_virtio_user", check_virtio_user},
    {"eth_af_packet", check_socket},
};

/* A driver, by the name of a device without its number at the end. */
static void check_software(const struct doctor_machine *m, struct doctor_report *r,
                           const char *device)
{
    char driver[DOCTOR_NAME_MAX];
    size_t len = strcspn(device, " ");
    while (len > 0 && device[len - 1] >= '0' && device[len - 1] <= '9')
        len--;
    snprintf(driver, sizeof(driver), "%.*s", (int)len, device);
    check_driver(m, r, driver);
    for (size_t i = 0; i < sizeof(software) / sizeof(software[0]); i++)
        if (strcmp(software[i].name, driver) == 0)
            software[i].check(m, r, device);
}

static bool is_pci(const char *device)
{
    unsigned d[4];
    return sscanf(device, "%x:%x:%x.%x", &d[0], &d[1], &d[2], &d[3]) == 4;
}

void doctor_check_dpdk(const struct doctor_machine *m, struct doctor_report *r, const char *device)
{
    check_drivers(m, r);
    doctor_check_hugepages(m, r);
    if (is_pci(device))
        doctor_check_pci(m, r, device);
    else if (*device)
        check_software(m, r, device);
    else
        doctor_check_nics(m, r);
}
