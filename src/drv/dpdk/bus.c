/* SPDX-License-Identifier: MIT */
/*
 * The bus that a device is on; and taking it from a device behind vfio-pci (port.h): what that
 * would write comes nowhere.
 *
 * The latter is for drivers whose stop leaves the device running. The bit is in the configuration
 * space of the device, which DPDK shows to nobody but drivers: so the device is opened a second
 * time, within its group, as the kernel allows. (QEMU may find the indices of a ring missing then,
 * and says "Guest moved used index": the device is reset when it is closed.)
 */
#include "drv/dpdk/port.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define PCI_DEVICES "/sys/bus/pci/devices"

bool dk_dpdk_is_hardware(const struct dk_dpdk_port *p)
{
    return strcmp(rte_bus_name(rte_dev_bus(p->device)), "vdev") != 0;
}

static void clear_master(int fd)
{
    struct vfio_region_info config = {.argsz = sizeof config,
                                      .index = VFIO_PCI_CONFIG_REGION_INDEX};
    uint16_t command;
    if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &config) < 0)
        return;
    const off_t at = (off_t)config.offset + PCI_COMMAND;
    if (pread(fd, &command, sizeof command, at) != sizeof command)
        return;
    command &= (uint16_t)~PCI_COMMAND_MASTER;
    (void)!pwrite(fd, &command, sizeof command, at); /* else the IOMMU refuses, and says so */
}

void dk_dpdk_bus_off(const struct dk_dpdk_port *p)
{
    const char *name = rte_dev_name(p->device);
    struct vfio_device_info info = {.argsz = sizeof info};
    int fd = -1;
    if (!rte_vfio_is_enabled("vfio") || rte_vfio_setup_device(PCI_DEVICES, name, &fd, &info) != 0)
        return;
    clear_master(fd);
    rte_vfio_release_device(PCI_DEVICES, name, fd);
}
