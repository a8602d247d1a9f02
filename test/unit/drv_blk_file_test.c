/* SPDX-License-Identifier: MIT */
/*
 * Files and block devices: the contract through io_uring and through threads, direct and through
 * the page cache, on a file and on a loop device; locks, growth, no space, and what a killed
 * process leaves.
 */
#include "blk_kit.h"

#include "blk_place.h"
#include "drv/blk_file.h"
#include "mem/heap.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void (*before_lock)(void);

/* The C library's, with a moment before it for somebody else. */
int flock(int fd, int operation)
{
    void (*moment)(void) = before_lock;
    before_lock = NULL;
    if (moment)
        moment();
    return (int)syscall(SYS_flock, fd, operation);
}

static struct dk_blkdev *open_file(const struct dk_blk_file_options *options)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    int r = dk_blk_file_open(&dev, options, &why);
    must_hold(r == 0, "%s", why);
    return dev;
}

/* A file in the folder of this test; what `again` says is as in struct blk_maker. */
static struct dk_blkdev *open_in_place(struct dk_blk_file_options o, bool again, bool read_only)
{
    o.path = blk_place_path("file");
    if (!again)
        unlink(o.path);
    o.read_only = read_only;
    o.create = !again;
    o.bytes = again ? 0 : BLK_BYTES;
    return open_file(&o);
}

static bool has_uring(void)
{
    struct dk_blkdev *dev =
        open_in_place((struct dk_blk_file_options){.unregistered = true}, false, false);
    bool has = strcmp(dev->ops->name, "blk_uring") == 0;
    dev->ops->close(dev);
    if (!has)
        print_message("io_uring is not available here\n");
    return has;
}

static struct dk_blkdev *open_uring(bool again, bool read_only)
{
    if (!again && !has_uring())
        return NULL;
    return open_in_place((struct dk_blk_file_options){0}, again, read_only);
}

static struct dk_blkdev *open_plain_memory(bool again, bool read_only)
{
    if (!again && !has_uring())
        return NULL;
    return open_in_place((struct dk_blk_file_options){.unregistered = true, .depth = 8}, again,
                         read_only);
}

static struct dk_blkdev *open_buffered(bool again, bool read_only)
{
    if (!again && !has_uring())
        return NULL;
    return open_in_place((struct dk_blk_file_options){.buffered = true}, again, read_only);
}

static struct dk_blkdev *open_threads(bool again, bool read_only)
{
    struct dk_blkdev *dev =
        open_in_place((struct dk_blk_file_options){.threads = true}, again, read_only);
    assert_string_equal(dev->ops->name, "blk_threads");
    return dev;
}

static struct dk_blkdev *open_loop_as(bool again, bool read_only, bool threads)
{
    const char *path = again ? blk_loop_path() : blk_loop_attach(2 * BLK_BYTES);
    if (!path)
        return NULL;
    return open_file(
        &(struct dk_blk_file_options){.path = path, .read_only = read_only, .threads = threads});
}

static struct dk_blkdev *open_loop(bool again, bool read_only)
{
    return open_loop_as(again, read_only, false);
}

static struct dk_blkdev *open_loop_threads(bool again, bool read_only)
{
    return open_loop_as(again, read_only, true);
}

/* A device of the machine, whose content is lost: `make check-vm` names one that can be polled. */
static struct dk_blkdev *open_device(bool again, bool read_only)
{
    const char *path = getenv("DEMI_TEST_BLOCK");
    (void)again;
    if (path)
        return open_file(&(struct dk_blk_file_options){.path = path, .read_only = read_only});
    print_message("DEMI_TEST_BLOCK names no block device (make check-vm)\n");
    return NULL;
}

static const struct blk_maker device = {.name = "device", .open = open_device};
static const struct blk_maker uring = {.name = "uring", .open = open_uring};
static const struct blk_maker plain_memory = {.name = "plain_memory", .open = open_plain_memory};
static const struct blk_maker buffered = {.name = "buffered", .open = open_buffered};
static const struct blk_maker threads = {.name = "threads", .open = open_threads};
static const struct blk_maker loop = {.name = "loop", .open = open_loop, .clean = blk_loop_detach};
static const struct blk_maker loop_threads = {
    .name = "loop_threads", .open = open_loop_threads, .clean = blk_loop_detach};

/* There is nothing to sleep on then; a flush, which is not polled for, has something. */
static void test_device_that_can_be_polled_is_polled(void **state)
{
    (void)state;
    if (!getenv("DEMI_TEST_POLLED")) {
        print_message("DEMI_TEST_POLLED does not say that the device is (make check-vm)\n");
        skip();
    }
    struct dk_blkdev *dev = open_device(false, false);
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_READ, 0, 4096, 1);
    for (int i = 0; i < 20; i++) {
        blk_start(dev, &op);
        assert_int_equal(dev->ops->arm(dev), -1);
        must(-blk_finish(dev, &op));
        assert_true(dev->ops->arm(dev) >= 0);
    }
    blk_op_free(&op);
    dev->ops->close(dev);
}

static void test_uring_memory_of_the_heap_is_registered(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_uring(false, false);
    if (!dev)
        skip();
    must(-blk_write(dev, 0, 4096, 1, 0));
    if (dev->stats->registered == 0 && geteuid() != 0) {
        print_message("the limit on locked memory (ulimit -l) is too low\n");
        dev->ops->close(dev);
        skip();
    }
    assert_int_equal(dev->stats->registered, 1);
    must(-blk_read(dev, 0, 4096, 1));
    assert_int_equal(dev->stats->registered, 2);
    assert_int_equal(dev->stats->unregistered, 0);
    dev->ops->close(dev);
}

/* Regions that come after the open are registered too; memory that is not the heap's is not. */
static void test_uring_memory_of_others_is_counted(void **state)
{
    (void)state;
    static uint8_t foreign[4096] __attribute__((aligned(4096)));
    struct dk_blkdev *dev = open_uring(false, false);
    if (!dev)
        skip();
    struct blk_op op;
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, 4096, 1);
    memset(foreign, 0x42, sizeof(foreign));
    op.segs[0].data = foreign;
    blk_start(dev, &op);
    must(-blk_finish(dev, &op));
    blk_op_free(&op);
    assert_int_equal(dev->stats->registered, 0);
    assert_int_equal(dev->stats->unregistered, 1);
    uint8_t got[4096];
    must(-blk_read_raw(dev, 0, sizeof(got), got));
    assert_memory_equal(got, foreign, sizeof(got));
    dev->ops->close(dev);
}

/* Segments in different registered buffers: one goes by the region, several do not. */
static void test_uring_segments_of_two_regions_are_written(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_uring(false, false);
    if (!dev)
        skip();
    struct blk_op op;
    uint8_t *far = dk_heap_aligned(4096, 9u << 20);
    blk_op_make(&op, dev, DK_BLK_WRITE, 0, 8192, 2);
    pattern_fill(far, 4096, 3, 0);
    pattern_fill(op.segs[1].data, 4096, 3, 4096);
    op.segs[0].data = far;
    blk_start(dev, &op);
    must(-blk_finish(dev, &op));
    must(-blk_read(dev, 0, 8192, 3));
    blk_op_free(&op);
    dk_heap_free(far);
    dev->ops->close(dev);
}

/* Makes io_uring_setup fail from here on, as containers do. */
static bool forbid_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static void test_file_where_uring_is_forbidden_has_threads(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_threads(false, false);
    dev->ops->close(dev);
    int child = child_fork();
    if (child == 0) {
        const char *why = "";
        const struct dk_blk_file_options o = {.path = blk_place_path("file")};
        CHILD(forbid_uring());
        CHILD(dk_blk_file_open(&dev, &o, &why) == 0);
        CHILD(strcmp(dev->ops->name, "blk_threads") == 0);
        CHILD(blk_write(dev, 0, 4096, 1, DK_BLK_FUA) == 0);
        CHILD(blk_read(dev, 0, 4096, 1) == 0);
        dev->ops->close(dev);
        child_exit(0);
    }
    assert_int_equal(child_wait(child), 0);
}

static void must_refuse(const struct dk_blk_file_options *options, int error, const char *words)
{
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    blk_must_fail(dk_blk_file_open(&dev, options, &why), error, &why, words);
    assert_null(dev);
}

static void test_file_that_cannot_be_opened_says_why(void **state)
{
    (void)state;
    const int fds = open_fds();
    must_refuse(&(struct dk_blk_file_options){.path = ""}, EINVAL, "missing");
    must_refuse(&(struct dk_blk_file_options){.path = blk_place_path("none")}, ENOENT, "none");
    must_refuse(&(struct dk_blk_file_options){.path = "/dev/null"}, EINVAL, "neither a file");
    must_refuse(&(struct dk_blk_file_options){.path = "/tmp", .read_only = true}, EINVAL,
                "neither a file");
    must_refuse(&(struct dk_blk_file_options){.path = blk_place_path("none"), .depth = 5000},
                EINVAL, "at most");
    must_refuse(&(struct dk_blk_file_options){.path = blk_place_path("no/such"), .create = true},
                ENOENT, "no/such");
    assert_int_equal(open_fds(), fds);
}

static void test_file_is_locked_while_it_is_open(void **state)
{
    (void)state;
    const char *path = blk_place_path("file");
    struct dk_blkdev *dev = open_threads(false, false);
    must_refuse(&(struct dk_blk_file_options){.path = path}, EBUSY, "in use by another process");
    must_refuse(&(struct dk_blk_file_options){.path = path, .read_only = true}, EBUSY, "in use");
    dev->ops->close(dev);
    dev = open_file(&(struct dk_blk_file_options){.path = path, .read_only = true});
    must_refuse(&(struct dk_blk_file_options){.path = path}, EBUSY, "in use");
    struct dk_blkdev *second =
        open_file(&(struct dk_blk_file_options){.path = path, .read_only = true});
    second->ops->close(second);
    dev->ops->close(dev);
}

static void replace_file(void)
{
    must(rename(blk_place_path("other"), blk_place_path("file")));
}

static void remove_file(void)
{
    must(unlink(blk_place_path("file")));
}

/* A lock on a file that no path leads to any more keeps nobody out. */
static void test_file_replaced_before_it_is_locked_is_not_the_one(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_threads(false, false);
    must(-blk_write(dev, 0, 4096, 1, 0));
    dev->ops->close(dev);
    dev = open_file(&(struct dk_blk_file_options){
        .path = blk_place_path("other"), .create = true, .bytes = BLK_BYTES});
    must(-blk_write(dev, 0, 4096, 2, 0));
    dev->ops->close(dev);
    before_lock = replace_file;
    dev = open_file(&(struct dk_blk_file_options){.path = blk_place_path("file")});
    must(-blk_read(dev, 0, 4096, 2));
    dev->ops->close(dev);
    before_lock = remove_file;
    must_refuse(&(struct dk_blk_file_options){.path = blk_place_path("file")}, ENOENT, "file");
}

/* A child that was forked while it was open, and is alive still, does not keep it. */
static void test_file_is_free_when_its_process_closed_it(void **state)
{
    (void)state;
    struct dk_blkdev *dev = open_threads(false, false);
    int go[2];
    must(pipe(go));
    int child = child_fork();
    if (child == 0) {
        char c;
        dev->ops->abandon(dev);
        close(go[1]);
        CHILD(read(go[0], &c, 1) == 0);
        child_exit(0);
    }
    close(go[0]);
    dev->ops->close(dev);
    uint64_t give_up = now_ns() + PATIENCE_S * UINT64_C(1000000000);
    const char *why = "";
    int r;
    const struct dk_blk_file_options again = {.path = blk_place_path("file")};
    while ((r = dk_blk_file_open(&dev, &again, &why)) == -EBUSY && now_ns() < give_up)
        continue;
    must_hold(r == 0, "%s", why);
    dev->ops->close(dev);
    close(go[1]);
    assert_int_equal(child_wait(child), 0);
}

static void test_loop_device_is_exclusive(void **state)
{
    struct dk_blkdev *dev = open_loop(false, false);
    (void)state;
    if (!dev)
        skip();
    must_refuse(&(struct dk_blk_file_options){.path = blk_loop_path()}, EBUSY, "in use");
    assert_null(dev->ops->resize);
    dev->ops->close(dev);
    blk_loop_detach();
}

static void grow(struct dk_blkdev *dev)
{
    struct stat st;
    assert_true(dev->caps.flags & DK_BLKDEV_GROWS);
    must(-blk_write(dev, BLK_BYTES - 4096, 4096, 1, 0));
    must(-dev->ops->resize(dev, 3 * BLK_BYTES));
    assert_int_equal(dev->caps.bytes, 3 * BLK_BYTES);
    must(stat(blk_place_path("file"), &st));
    assert_int_equal(st.st_size, 3 * BLK_BYTES);
    assert_true((uint64_t)st.st_blocks * 512 >= 3 * BLK_BYTES); /* nothing is left to allocate */
    must(-blk_write(dev, 3 * BLK_BYTES - 8192, 8192, 2, DK_BLK_FUA));
    must(-blk_read(dev, 3 * BLK_BYTES - 8192, 8192, 2));
    must(-blk_read(dev, BLK_BYTES - 4096, 4096, 1));
    must_fail(-dev->ops->resize(dev, BLK_BYTES), EINVAL);
    must_fail(-dev->ops->resize(dev, 3 * BLK_BYTES + 1), EINVAL);
    must(-dev->ops->resize(dev, 3 * BLK_BYTES));
    dev->ops->close(dev);
}

static void test_file_grows(void **state)
{
    (void)state;
    grow(open_threads(false, false));
    struct dk_blkdev *dev = open_uring(false, false);
    if (dev)
        grow(dev);
}

static void extend(struct dk_blkdev *dev)
{
    struct stat st;
    const uint64_t most = 3 * BLK_BYTES;
    must(-blk_write(dev, BLK_BYTES - 4096, 4096, 1, 0));
    const int r = dev->ops->extend(dev, most);
    assert_true(r == 0 || r == DK_BLKDEV_WRITTEN);
    assert_int_equal(dev->caps.bytes, most);
    must(stat(blk_place_path("file"), &st));
    assert_int_equal(st.st_size, most);
    must(-blk_write(dev, most - 8192, 8192, 2, DK_BLK_FUA));
    must(-blk_read(dev, most - 8192, 8192, 2));
    must(-blk_read(dev, BLK_BYTES - 4096, 4096, 1));
    must_fail(-dev->ops->extend(dev, BLK_BYTES), EINVAL);
    must_fail(-dev->ops->extend(dev, most + 1), EINVAL);
    must(-dev->ops->extend(dev, most));
    dev->ops->close(dev);
}

static void test_file_is_extended(void **state)
{
    (void)state;
    extend(open_threads(false, false));
    struct dk_blkdev *dev = open_uring(false, false);
    if (dev)
        extend(dev);
}

/* On a small file system: growing says so, what was there stays, and room made is used. */
static void test_file_without_space_stays_as_it_was(void **state)
{
    (void)state;
    const char *folder = blk_small_folder(16u << 20);
    char path[128], filler[128];
    struct stat st;
    if (!folder)
        skip();
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(filler, sizeof(filler), "%s/filler", folder);
    int fd = open(filler, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    must(posix_fallocate(fd, 0, (off_t)BLK_BYTES));
    close(fd);
    struct dk_blkdev *dev = open_file(
        &(struct dk_blk_file_options){.path = path, .create = true, .bytes = BLK_BYTES / 4});
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must_fail(-dev->ops->resize(dev, 4 * BLK_BYTES), ENOSPC);
    must_fail(-dev->ops->extend(dev, 4 * BLK_BYTES), ENOSPC);
    assert_int_equal(dev->caps.bytes, BLK_BYTES / 4);
    must(stat(path, &st));
    assert_int_equal(st.st_size, BLK_BYTES / 4);
    must(-blk_read(dev, 0, 4096, 1));
    must(unlink(filler));
    must(-dev->ops->resize(dev, BLK_BYTES));
    must(-blk_write(dev, BLK_BYTES - 4096, 4096, 2, DK_BLK_FUA));
    dev->ops->close(dev);
    blk_small_folder_remove();
}

static void test_file_of_a_file_system_in_memory_goes_through_the_cache(void **state)
{
    (void)state;
    char path[64];
    snprintf(path, sizeof(path), "/dev/shm/demi-blk-test-%d", (int)getpid());
    struct dk_blkdev *dev = NULL;
    const char *why = "";
    const struct dk_blk_file_options o = {.path = path, .create = true, .bytes = BLK_BYTES};
    if (dk_blk_file_open(&dev, &o, &why) < 0) {
        print_message("%s\n", why);
        skip();
    }
    unlink(path);
    assert_int_equal(dev->caps.mem_align, 1);
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must(-blk_flush(dev));
    must(-blk_read(dev, 0, 4096, 1));
    dev->ops->close(dev);
}

/* Somebody else makes the file shorter: an error, not a hang and not garbage. */
static void must_fail_beyond_the_end(struct dk_blkdev *dev)
{
    must(-blk_write(dev, 0, 4096, 1, DK_BLK_FUA));
    must(truncate(blk_place_path("file"), 4096));
    must(-blk_read(dev, 0, 4096, 1));
    must_fail(-blk_read(dev, 8192, 4096, 1), EIO);
    must_fail(-blk_read(dev, 0, 8192, 1), EIO); /* its first half is there */
    assert_int_equal(dev->stats->errors, 2);
    dev->ops->close(dev);
}

static void test_file_made_shorter_by_somebody_else_is_an_error(void **state)
{
    (void)state;
    must_fail_beyond_the_end(open_threads(false, false));
    struct dk_blkdev *dev = open_uring(false, false);
    if (dev)
        must_fail_beyond_the_end(dev);
}

/* In a child: writes blocks 0, 1, 2, ... durably, and tells of each that is done. */
static void write_until_killed(bool by_threads, int tell)
{
    struct dk_blkdev *dev;
    const char *why = "";
    const struct dk_blk_file_options o = {.path = blk_place_path("file"), .threads = by_threads};
    CHILD(dk_blk_file_open(&dev, &o, &why) == 0);
    for (uint32_t i = 0;; i++) {
        uint64_t offset = (uint64_t)i * 4096 % BLK_BYTES;
        CHILD(blk_write(dev, offset, 4096, 100 + offset, DK_BLK_FUA) == 0);
        CHILD(write(tell, &i, sizeof(i)) == sizeof(i));
    }
}

static void kill_once(bool by_threads, uint32_t after)
{
    int tell[2];
    uint32_t done = 0;
    struct dk_blkdev *fresh = open_threads(false, false);
    fresh->ops->close(fresh);
    must(pipe(tell));
    int child = child_fork();
    if (child == 0)
        write_until_killed(by_threads, tell[1]);
    close(tell[1]);
    while (done < after && read(tell[0], &done, sizeof(done)) == sizeof(done))
        continue;
    must(kill(child, SIGKILL));
    uint32_t last;
    while (read(tell[0], &last, sizeof(last)) == sizeof(last))
        done = last;
    close(tell[0]);
    child_wait(child);
    struct dk_blkdev *dev = open_threads(true, false); /* its lock is gone with it */
    for (uint32_t i = 0; i <= done; i++)
        must(-blk_read(dev, (uint64_t)i * 4096, 4096, 100 + (uint64_t)i * 4096));
    dev->ops->close(dev);
}

static void test_process_killed_leaves_what_was_done(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 4; i++)
        kill_once(i % 2, 3 + 7 * i);
}

/* An argument: only the cases of that name, which may have "*" in it. */
int main(int argc, char *argv[])
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        BLK_CONTRACT(uring),
        BLK_CONTRACT(plain_memory),
        BLK_CONTRACT(buffered),
        BLK_CONTRACT(threads),
        BLK_CONTRACT(loop),
        BLK_CONTRACT(loop_threads),
        BLK_CONTRACT(device),
        cmocka_unit_test(test_device_that_can_be_polled_is_polled),
        cmocka_unit_test(test_uring_memory_of_the_heap_is_registered),
        cmocka_unit_test(test_uring_memory_of_others_is_counted),
        cmocka_unit_test(test_uring_segments_of_two_regions_are_written),
        cmocka_unit_test(test_file_where_uring_is_forbidden_has_threads),
        cmocka_unit_test(test_file_that_cannot_be_opened_says_why),
        cmocka_unit_test(test_file_is_locked_while_it_is_open),
        cmocka_unit_test(test_file_replaced_before_it_is_locked_is_not_the_one),
        cmocka_unit_test(test_file_is_free_when_its_process_closed_it),
        cmocka_unit_test(test_loop_device_is_exclusive),
        cmocka_unit_test(test_file_grows),
        cmocka_unit_test(test_file_is_extended),
        cmocka_unit_test(test_file_without_space_stays_as_it_was),
        cmocka_unit_test(test_file_of_a_file_system_in_memory_goes_through_the_cache),
        cmocka_unit_test(test_file_made_shorter_by_somebody_else_is_an_error),
        cmocka_unit_test(test_process_killed_leaves_what_was_done),
    };
    return cmocka_run_group_tests(tests, blk_place_make, blk_place_remove);
}
