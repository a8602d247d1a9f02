/* SPDX-License-Identifier: MIT */
/* Block devices by specification. */
#include "blk_kit.h"

#include "blk_place.h"
#include "drv/blk_fault.h"
#include "drv/blk_spec.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct dk_blkdev *open_spec(const char *spec, const struct dk_blk_spec_context *context)
{
    struct dk_blkdev *dev = NULL;
    const char *why = NULL;
    int r = dk_blk_spec_open(&dev, spec, context, &why);
    must_hold(r == 0, "%s: %s", spec, why);
    return dev;
}

static void test_blk_spec_that_is_right_is_accepted_without_opening(void **state)
{
    (void)state;
    static const char *const right[] = {
        "memblk",
        "memblk,bytes=64M,limit=1G,block=512,atomic=4096,depth=16,seed=1,read_only",
        "/no/such/file",
        "./a,b=c:d)",
        "../x",
        "file:/no/such/file",
        "file:a\\,b,size=1G,create,depth=8,buffered,threads,interrupts,unregistered,read_only=no",
        "nvme:/dev/ng0n1,depth=8,read_only,interrupts,unregistered",
        "fault:memblk",
        "fault():/no/such/file",
        "fault(seed=7,error=1%,read_error=2%,write_error=3%,flush_error=4%):memblk",
        "fault(lost=1ppm,torn=2ppm,misdirect=3ppm,rot=4ppm):memblk",
        "fault(delay=1ms,jitter=2us,delayed=50%,reorder=1%,reorder_by=1s,power_at=9):memblk",
        "fault(rot=1%):fault(delay=1ms):/dev/nvme0n1",
    };
    for (size_t i = 0; i < COUNT_OF(right); i++) {
        const char *why = "";
        int r = dk_blk_spec_check(right[i], &why);
        must_hold(r == 0, "%s: %s", right[i], why);
    }
    assert_true(access("a,b", F_OK) != 0);
}

static void test_blk_spec_that_is_wrong_says_where_and_what_is_right(void **state)
{
    (void)state;
    static const struct {
        const char *spec, *words;
    } wrong[] = {
        {"", "no block device \"\""},
        {"nvme0n1", "no block device \"nvme0n1\": it is a path"},
        {"file", "file: the path of a file or block device is missing"},
        {"file:", "file: the path"},
        {"file:,size=1G", "file: the path"},
        {"file:a,sise=1", "no option \"sise\": there are size, depth"},
        {"nvme", "nvme: the path of a device (/dev/ngXnY) is missing"},
        {"nvme:/dev/ng0n1,threads", "no option \"threads\""},
        {"memblk:a", "nothing can be named after it"},
        {"memblk,bytes=1T", "bytes=1T: a number of bytes"},
        {"memblk(bytes=1M)", "memblk is a device"},
        {"fault", "fault goes before a device"},
        {"fault(rot=1):memblk", "rot=1: a rate"},
        {"fault(delay=1):memblk", "delay=1: a time"},
        {"fault(rot=1%", "a \")\" is missing"},
        {"fault(rot=1%):", "no block device \"\""},
        {"fault:fault:fault:fault:fault:fault:fault:fault:memblk", "more than 8"},
    };
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct dk_blkdev *dev = NULL;
        const char *why = NULL;
        blk_must_fail(dk_blk_spec_check(wrong[i].spec, &why), EINVAL, &why, wrong[i].words);
        why = NULL;
        blk_must_fail(dk_blk_spec_open(&dev, wrong[i].spec, NULL, &why), EINVAL, &why,
                      wrong[i].words);
        assert_null(dev);
    }
}

static void test_blk_spec_options_reach_the_device(void **state)
{
    (void)state;
    struct dk_blkdev *dev =
        open_spec("memblk,bytes=1M,limit=2M,block=512,atomic=1024,depth=9,read_only", NULL);
    assert_int_equal(dev->caps.bytes, 1u << 20);
    assert_int_equal(dev->caps.block_bytes, 512);
    assert_int_equal(dev->caps.atomic_bytes, 1024);
    assert_int_equal(dev->caps.depth, 9);
    assert_int_equal(dev->caps.flags & (DK_BLKDEV_READ_ONLY | DK_BLKDEV_GROWS),
                     DK_BLKDEV_READ_ONLY | DK_BLKDEV_GROWS);
    dev->ops->close(dev);
    dev = open_spec("fault(write_error=100%):memblk,bytes=1M", NULL);
    must_fail(-blk_write(dev, 0, 4096, 1, 0), EIO);
    must(-blk_flush(dev));
    dev->ops->close(dev);
    dev = open_spec("fault(error=100%):memblk,bytes=1M", NULL);
    must_fail(-blk_write(dev, 0, 4096, 1, 0), EIO);
    must_fail(-blk_read(dev, 0, 4096, 1), EIO);
    dev->ops->close(dev);
    dev = open_spec("fault(power_at=2):memblk,bytes=1M", NULL);
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must_fail(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA), EIO);
    dev->ops->close(dev);
}

/* A path alone, with what has a meaning elsewhere in it; made by the context, with its mode. */
static void test_blk_spec_path_is_taken_as_it_is(void **state)
{
    (void)state;
    char spec[180], path[160];
    struct stat st;
    const char *why = NULL;
    struct dk_blkdev *dev = NULL;
    snprintf(path, sizeof(path), "./%s", blk_place_path("a,b=c:d)"));
    snprintf(spec, sizeof(spec), "fault():%s", path);
    blk_must_fail(dk_blk_spec_open(&dev, spec, NULL, &why), ENOENT, &why, path);
    dev = open_spec(spec, &(struct dk_blk_spec_context){.create = true, .mode = 0640});
    must(stat(path, &st));
    assert_int_equal(st.st_mode & 0777, 0640);
    assert_int_equal(st.st_size, 0);
    must(-dev->ops->resize(dev, 1u << 20));
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    dev->ops->close(dev);
    dev = open_spec(path, &(struct dk_blk_spec_context){.read_only = true});
    must(-blk_read(dev, 0, 4096, 1));
    assert_true(dev->caps.flags & DK_BLKDEV_READ_ONLY);
    dev->ops->close(dev);
}

static void test_blk_spec_file_has_its_size_and_engine(void **state)
{
    (void)state;
    char spec[200];
    const int fds = open_fds();
    snprintf(spec, sizeof(spec), "file:%s,size=3M,create,threads,depth=7", blk_place_path("x"));
    struct dk_blkdev *dev = open_spec(spec, NULL);
    assert_int_equal(dev->caps.bytes, 3u << 20);
    assert_int_equal(dev->caps.depth, 7);
    assert_string_equal(dev->ops->name, "blk_threads");
    dev->ops->close(dev);
    assert_int_equal(open_fds(), fds);
}

static void test_blk_spec_decorator_that_fails_leaves_nothing_open(void **state)
{
    (void)state;
    struct dk_blkdev *dev = NULL;
    const char *why = NULL;
    const int fds = open_fds();
    blk_must_fail(dk_blk_spec_open(&dev, "fault(delay=10000s):memblk", NULL, &why), EINVAL, &why,
                  "an hour");
    assert_null(dev);
    assert_int_equal(open_fds(), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_blk_spec_that_is_right_is_accepted_without_opening),
        cmocka_unit_test(test_blk_spec_that_is_wrong_says_where_and_what_is_right),
        cmocka_unit_test(test_blk_spec_options_reach_the_device),
        cmocka_unit_test(test_blk_spec_path_is_taken_as_it_is),
        cmocka_unit_test(test_blk_spec_file_has_its_size_and_engine),
        cmocka_unit_test(test_blk_spec_decorator_that_fails_leaves_nothing_open),
    };
    return cmocka_run_group_tests(tests, blk_place_make, blk_place_remove);
}
