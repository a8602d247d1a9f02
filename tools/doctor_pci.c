/* SPDX-License-Identifier: MIT */
/*
 * A NIC that DPDK drives itself: through vfio-pci, which needs an IOMMU, and a group of devices of
 * which none is the kernel's. mlx4 and mlx5 stay with their drivers of the kernel.
 */
#include "doctor.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>

#define PCI      "/sys/bus/pci/devices/%s"
#define ETHERNET 0x0200              /* class and subclass */
#define MEMLOCK  (UINT64_C(1) << 30) /* the heap and DPDK's own, which the IOMMU maps */

static bool driver_of(const struct doctor_machine *m, const char *address,
                      char driver[DOCTOR_NAME_MAX])
{
    driver[0] = '\0';
    return doctor_read_link(m, driver, DOCTOR_NAME_MAX, PCI "/driver", address);
}

static bool is_nic(const struct doctor_machine *m, const char *address)
{
    uint64_t class = 0;
    return doctor_read_number(m, &class, PCI "/class", address) && class >> 8 == ETHERNET;
}

static bool is_shared(const char *driver)
{
    return strcmp(driver, "mlx4_core") == 0 || strcmp(driver, "mlx5_core") == 0;
}

/* The interface of the kernel that would be gone; NULL where there is none. */
static const char *interface_of(const struct doctor_machine *m, const char *address,
                                char name[DOCTOR_NAME_MAX])
{
    static const char *const places[] = {"net", "virtio[0-9]*/net"};
    for (size_t i = 0; i < 2; i++) {
        glob_t found;
        const size_t n = doctor_find(m, &found, PCI "/%s/*", address, places[i]);
        if (n > 0)
            snprintf(name, DOCTOR_NAME_MAX, "%s", doctor_base(found.gl_pathv[0]));
        globfree(&found);
        if (n > 0)
            return name;
    }
    return NULL;
}

static void say_bind(struct doctor_report *r, const char *address)
{
    doctor_mend(r,
                "modprobe vfio-pci; echo vfio-pci > /sys/bus/pci/devices/%s/driver_override; "
                "echo %s > /sys/bus/pci/devices/%s/driver/unbind; "
                "echo %s > /sys/bus/pci/drivers_probe",
                address, address, address, address);
}

static void check_binding(const struct doctor_machine *m, struct doctor_report *r,
                          const char *address, const char *driver, enum doctor_level level)
{
    char name[DOCTOR_NAME_MAX];
    if (strcmp(driver, "vfio-pci") == 0) {
        doctor_say(r, DOCTOR_FINE, address, "it is bound to vfio-pci");
        return;
    }
    const char *interface = interface_of(m, address, name);
    doctor_say(r, level, address, "it is bound to %s, not to vfio-pci%s%s%s",
               *driver ? driver : "no driver", interface ? ": the kernel has it as " : "",
               interface ? interface : "", interface ? ", which would be gone" : "");
    say_bind(r, address);
}

/* "intel_iommu=on" or "amd_iommu=on", by the maker of the CPU. */
static const char *iommu_word(const struct doctor_machine *m)
{
    char vendor[DOCTOR_NAME_MAX] = "";
    doctor_read_line(m, vendor, sizeof(vendor), "vendor_id", "/proc/cpuinfo");
    return strstr(vendor, "AMD") ? "amd_iommu=on" : "intel_iommu=on";
}

/* The devices of a group are safe from each other only together: none may be the kernel's. */
static void check_group(const struct doctor_machine *m, struct doctor_report *r,
                        const char *address, const char *group)
{
    char driver[DOCTOR_NAME_MAX];
    glob_t found;
    const size_t n = doctor_find(m, &found, "/sys/kernel/iommu_groups/%s/devices/*", group);
    for (size_t i = 0; i < n; i++) {
        const char *other = doctor_base(found.gl_pathv[i]);
        if (strcmp(other, address) == 0 || !driver_of(m, other, driver) ||
            strcmp(driver, "vfio-pci") == 0 || strcmp(driver, "pcieport") == 0)
            continue;
        doctor_say(r, DOCTOR_MISSING, other, "it is in the same IOMMU group, and bound to %s",
                   driver);
        say_bind(r, other);
    }
    globfree(&found);
}

static bool check_iommu(const struct doctor_machine *m, struct doctor_report *r,
                        const char *address)
{
    char group[DOCTOR_NAME_MAX];
    if (doctor_read_link(m, group, sizeof(group), PCI "/iommu_group", address)) {
        doctor_say(r, DOCTOR_FINE, "IOMMU", "the device is in group %s", group);
        check_group(m, r, address, group);
        char path[2 * DOCTOR_NAME_MAX];
        snprintf(path, sizeof(path), "/dev/vfio/%s", group);
        doctor_need_device(m, r, "/dev/vfio/vfio", "modprobe vfio-pci");
        doctor_need_device(m, r, path, "modprobe vfio-pci");
        return true;
    }
    const char *word = iommu_word(m);
    doctor_say(r, DOCTOR_MISSING, "IOMMU",
               "the device is in no group: there is no IOMMU, or it is off; after the command, "
               "start the machine anew");
    doctor_mend(r, "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&%s /' /etc/default/grub && update-grub",
                word);
    return false;
}

void doctor_check_pci(const struct doctor_machine *m, struct doctor_report *r, const char *address)
{
    char driver[DOCTOR_NAME_MAX];
    if (!doctor_is_there(m, PCI, address)) {
        doctor_say(r, DOCTOR_MISSING, address, "there is no such device: these are");
        doctor_mend(r, "lspci -D -d ::0200");
        return;
    }
    if (!is_nic(m, address)) {
        doctor_say(r, DOCTOR_MISSING, address, "it is no network device");
        return;
    }
    driver_of(m, address, driver);
    if (is_shared(driver)) {
        doctor_say(r, DOCTOR_FINE, address, "it is bound to %s, as DPDK wants it", driver);
        return;
    }
    check_binding(m, r, address, driver, DOCTOR_MISSING);
    if (check_iommu(m, r, address))
        doctor_need_memlock(m, r, DOCTOR_MISSING, MEMLOCK, "the IOMMU's memory has to be locked");
}

void doctor_check_nics(const struct doctor_machine *m, struct doctor_report *r)
{
    char driver[DOCTOR_NAME_MAX];
    glob_t found;
    const size_t n = doctor_find(m, &found, "/sys/bus/pci/devices/*");
    uint32_t num = 0;
    for (size_t i = 0; i < n; i++) {
        const char *address = doctor_base(found.gl_pathv[i]);
        if (!is_nic(m, address))
            continue;
        num++;
        driver_of(m, address, driver);
        check_binding(m, r, address, driver, DOCTOR_ADVICE);
    }
    globfree(&found);
    if (num == 0)
        doctor_say(r, DOCTOR_ADVICE, "NICs",
                   "there is none: drivers in software (net_memif, net_tap) work without");
}
