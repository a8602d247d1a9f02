/* SPDX-License-Identifier: MIT */
/*
 * NVMe passthrough: what a device says of itself, and, on the device that DEMI_TEST_NVME names, the
 * contract. What that device holds is lost: `make check-vm` runs this in a virtual machine.
 * DEMI_TEST_NVME_BAD names one of which the second MiB cannot be read.
 */
#include "blk_kit.h"

#include "drv/blk_nvme.h"
#include "drv/blk_nvme_identify.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MIB (1u << 20)

static const char *device_or_skip(const char *variable)
{
    const char *path = getenv(variable);
    if (path)
        return path;
    print_message("%s names no NVMe device (make check-vm)\n", variable);
    skip();
    return NULL;
}

static struct dk_blkdev *open_with(const struct dk_blk_nvme_options *options)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    int r = dk_blk_nvme_open(&dev, options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

static struct dk_blkdev *open_plain(bool again, bool read_only)
{
    (void)again;
    const char *path = device_or_skip("DEMI_TEST_NVME");
    return open_with(&(struct dk_blk_nvme_options){.path = path, .read_only = read_only});
}

static struct dk_blkdev *open_interrupts(bool again, bool read_only)
{
    (void)again;
    const char *path = device_or_skip("DEMI_TEST_NVME");
    return open_with(&(struct dk_blk_nvme_options){.path = path,
                                                   .read_only = read_only,
                                                   .interrupts = true,
                                                   .unregistered = true,
                                                   .depth = 8});
}

static const struct blk_maker nvme = {.name = "nvme", .open = open_plain};
static const struct blk_maker interrupts = {.name = "interrupts", .open = open_interrupts};

static void put_le(uint8_t *at, uint64_t value, int bytes)
{
    for (; bytes > 0; bytes--, value >>= 8)
        *at++ = (uint8_t)value;
}

/* A namespace of `blocks` of 1 << shift bytes, in format 3. */
static void describe(uint8_t data[4096], uint64_t blocks, uint32_t shift, uint32_t metadata)
{
    memset(data, 0, 4096);
    put_le(data, blocks, 8);
    data[26] = 3;
    put_le(data + 128 + 4 * 3, shift << 16 | metadata, 4);
}

static void test_nvme_controller_limits_are_read(void **state)
{
    (void)state;
    static uint8_t data[4096];
    struct dk_nvme_namespace ns = {0};
    dk_nvme_parse_controller(&ns, data);
    assert_int_equal(ns.caps.max_bytes, 256 << 10); /* no limit of its own */
    assert_false(ns.has_deallocate);
    data[77] = 5;
    data[520] = 1 << 2;
    dk_nvme_parse_controller(&ns, data);
    assert_int_equal(ns.caps.max_bytes, 128 << 10);
    assert_true(ns.has_deallocate);
    data[77] = 7;
    dk_nvme_parse_controller(&ns, data);
    assert_int_equal(ns.caps.max_bytes, 256 << 10);
}

static void test_nvme_namespace_geometry_is_read(void **state)
{
    (void)state;
    static uint8_t data[4096];
    struct dk_nvme_namespace ns = {0};
    const char *why = NULL;
    describe(data, 1000003, 9, 0);
    must(-dk_nvme_parse_namespace(&ns, data, &why));
    assert_int_equal(ns.lba_shift, 9);
    assert_int_equal(ns.caps.atomic_bytes, 512);
    assert_int_equal(ns.caps.block_bytes, 4096);
    assert_int_equal(ns.caps.bytes, UINT64_C(1000000) * 512);
    describe(data, UINT64_C(1) << 40, 12, 0);
    must(-dk_nvme_parse_namespace(&ns, data, &why));
    assert_int_equal(ns.caps.bytes, UINT64_C(1) << 52);
    assert_int_equal(ns.caps.atomic_bytes, 4096);
}

static void must_refuse(const uint8_t data[4096], int error, const char *words)
{
    struct dk_nvme_namespace ns = {0};
    const char *why = "";
    blk_must_fail(dk_nvme_parse_namespace(&ns, data, &why), error, &why, words);
}

static void test_nvme_namespace_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static uint8_t data[4096];
    describe(data, 1000, 9, 8);
    must_refuse(data, EOPNOTSUPP, "metadata");
    describe(data, 1000, 13, 0);
    must_refuse(data, EOPNOTSUPP, "512 to 4096");
    describe(data, 1000, 0, 0);
    must_refuse(data, EOPNOTSUPP, "512 to 4096");
    describe(data, UINT64_MAX, 12, 0);
    must_refuse(data, EIO, "size");
    describe(data, 1000, 9, 0);
    data[99] = 1;
    must_refuse(data, EROFS, "write protected");
    struct dk_nvme_namespace reader = {.caps.flags = DK_BLKDEV_READ_ONLY};
    const char *why = "";
    must(-dk_nvme_parse_namespace(&reader, data, &why));
}

static void test_nvme_path_that_is_none_says_why(void **state)
{
    (void)state;
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    const int fds = open_fds();
    const struct dk_blk_nvme_options none = {.path = "/dev/ng-none"}, null = {.path = "/dev/null"},
                                     empty = {0}, deep = {.path = "/dev/null", .depth = 2000};
    blk_must_fail(dk_blk_nvme_open(&dev, &none, &why), ENOENT, &why, "/dev/ng-none");
    blk_must_fail(dk_blk_nvme_open(&dev, &null, &why), ENOTTY, &why, "no NVMe device");
    blk_must_fail(dk_blk_nvme_open(&dev, &empty, &why), EINVAL, &why, "missing");
    blk_must_fail(dk_blk_nvme_open(&dev, &deep, &why), EINVAL, &why, "at most");
    assert_null(dev);
    assert_int_equal(open_fds(), fds);
}

/* Before Linux 6.2 it is taken, and does nothing for commands: then it is done without. */
static bool has_registered_commands(void)
{
    struct utsname name;
    int major = 0, minor = 0;
    must(uname(&name));
    assert_int_equal(sscanf(name.release, "%d.%d", &major, &minor), 2);
    return major > 6 || (major == 6 && minor >= 2);
}

static void test_nvme_memory_of_the_heap_is_registered(void **state)
{
    struct dk_blkdev *dev = open_plain(false, false);
    (void)state;
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must(-blk_read(dev, 0, 4096, 1));
    assert_int_equal(dev->stats->registered, has_registered_commands() ? 2 : 0);
    assert_int_equal(dev->stats->registered + dev->stats->unregistered, 2);
    dev->ops->close(dev);
}

static void test_nvme_device_that_can_be_polled_is_polled(void **state)
{
    struct dk_blkdev *dev = open_plain(false, false);
    struct blk_op op;
    (void)state;
    if (!getenv("DEMI_TEST_POLLED")) {
        dev->ops->close(dev);
        print_message("DEMI_TEST_POLLED does not say that the device is (make check-vm)\n");
        skip();
    }
    blk_op_make(&op, dev, DK_BLK_READ, 0, 4096, 1);
    for (int i = 0; i < 20; i++) {
        blk_start(dev, &op);
        assert_int_equal(dev->ops->arm(dev), -1); /* nothing to sleep on */
        must(-blk_finish(dev, &op));
    }
    blk_op_free(&op);
    dev->ops->close(dev);
}

/* Neither by a second of ours, nor by a mount: the block device is taken, too. */
static void test_nvme_device_is_exclusive(void **state)
{
    const char *path = device_or_skip("DEMI_TEST_NVME"), *why = "";
    const struct dk_blk_nvme_options options = {.path = path};
    struct dk_blkdev *dev = open_with(&options), *second = NULL;
    char block[64];
    (void)state;
    blk_must_fail(dk_blk_nvme_open(&second, &options, &why), EBUSY, &why, "in use");
    snprintf(block, sizeof(block), "/dev/nvme%s", path + strlen("/dev/ng"));
    assert_int_equal(open(block, O_RDWR | O_EXCL | O_CLOEXEC), -1);
    assert_int_equal(errno, EBUSY);
    dev->ops->close(dev);
    int fd = open(block, O_RDWR | O_EXCL | O_CLOEXEC);
    assert_true(fd >= 0);
    blk_must_fail(dk_blk_nvme_open(&second, &options, &why), EBUSY, &why, "mounted");
    close(fd);
}

/* What is written past the kernel is what the block device has. */
static void test_nvme_block_device_shows_what_was_written(void **state)
{
    struct dk_blkdev *dev = open_plain(false, false);
    static uint8_t got[8192];
    char block[64];
    (void)state;
    must(-blk_write(dev, 3 * MIB, sizeof(got), 7, DK_BLK_FUA));
    dev->ops->close(dev);
    snprintf(block, sizeof(block), "/dev/nvme%s", getenv("DEMI_TEST_NVME") + strlen("/dev/ng"));
    int fd = open(block, O_RDONLY | O_CLOEXEC);
    assert_int_equal(pread(fd, got, sizeof(got), 3 * MIB), sizeof(got));
    close(fd);
    pattern_check(got, sizeof(got), 7, 3 * MIB);
}

static void test_nvme_medium_error_is_an_error_of_that_read(void **state)
{
    const char *path = device_or_skip("DEMI_TEST_NVME_BAD");
    struct dk_blkdev *dev = open_with(&(struct dk_blk_nvme_options){.path = path});
    uint8_t *got = malloc(MIB);
    (void)state;
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must_fail(-blk_read_raw(dev, MIB, 4096, got), EIO);
    must_fail(-blk_read_raw(dev, MIB - 4096, 8192, got), EIO);
    must(-blk_read(dev, 0, 4096, 1));
    must(-blk_read_raw(dev, 2 * MIB, 4096, got));
    assert_int_equal(dev->stats->errors, 2);
    free(got);
    dev->ops->close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvme_controller_limits_are_read),
        cmocka_unit_test(test_nvme_namespace_geometry_is_read),
        cmocka_unit_test(test_nvme_namespace_that_does_not_fit_is_refused),
        cmocka_unit_test(test_nvme_path_that_is_none_says_why),
        BLK_CONTRACT(nvme),
        BLK_CONTRACT(interrupts),
        cmocka_unit_test(test_nvme_memory_of_the_heap_is_registered),
        cmocka_unit_test(test_nvme_device_that_can_be_polled_is_polled),
        cmocka_unit_test(test_nvme_device_is_exclusive),
        cmocka_unit_test(test_nvme_block_device_shows_what_was_written),
        cmocka_unit_test(test_nvme_medium_error_is_an_error_of_that_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
