/* SPDX-License-Identifier: MIT */
/*
 * Places that logs cannot be in, or not any more: file systems that are full or read-only, devices
 * that hold something else, or a store that is newer, or cut off. Each answers with the errno that
 * demi_store(7) names, and stays as it is.
 */
#include "../lib/harness.h"
#include "../unit/blk_place.h"

#include "base/crc32c.h"
#include "store/format.h"

#include <demi/storage.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RECORD = 60000 };

static void start(const char *store)
{
    setenv("DEMI_NET", "memory", 1);
    setenv("DEMI_STORE", store, 1);
    must(demi_init(NULL));
}

static int setup(void **state)
{
    (void)state;
    deadline_start("log places", DEADLINE_S);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)demi_fini();
    deadline_stop();
    return 0;
}

static int open_log(const char *name, int flags)
{
    int qd = -1;
    must(demi_open(&qd, name, flags));
    return qd;
}

static int push_record(int qd, uint64_t seed)
{
    demi_sgarray_t sga = pattern_sga(RECORD, seed, 0);
    const int error = push_outcome(qd, &sga);
    must(demi_sgafree(&sga));
    return error;
}

/* A log of three records in a file, or on the device that the file is. */
static void make(const char *store, const char *name)
{
    start(store);
    int qd = open_log(name, O_RDWR | O_CREAT);
    for (uint64_t i = 0; i < 3; i++)
        must(push_record(qd, i));
    must(demi_close(qd));
    must(demi_fini());
}

static void check(int qd, uint64_t first, uint64_t end)
{
    for (uint64_t i = first; i < end; i++)
        pop_pattern(qd, RECORD, i, 0);
    pop_end(qd);
}

/* --- full ------------------------------------------------------------------------------------ */

/* A log in a file of a file system that is full: the push says so, and after a trim there is room;
 * and all is there in a next life. */
static void fill_up(const char *folder)
{
    char path[200];
    uint64_t n = 0;
    int error;
    snprintf(path, sizeof path, "%s/log", folder);
    start("none");
    int qd = open_log(path, O_RDWR | O_CREAT);
    while ((error = push_record(qd, n)) == 0)
        n++;
    assert_int_equal(error, ENOSPC);
    assert_true(n > 200); /* beyond what a new file has */
    for (int i = 0; i < 3; i++)
        assert_int_equal(push_record(qd, n), ENOSPC);
    must(demi_trim(qd, (int64_t)n / 2));
    for (uint64_t i = 0; i < n / 4; i++)
        assert_int_equal(push_record(qd, n + i), 0);
    check(qd, n / 2, n + n / 4);
    must(demi_close(qd));
    must(demi_fini());
    start("none");
    qd = open_log(path, O_RDWR);
    check(qd, n / 2, n + n / 4);
    must(demi_close(qd));
    must(demi_unlink(path));
}

/* There is no room for a new file: nothing is left of it. */
static void make_without_room(const char *folder)
{
    char path[200], other[210];
    struct stat st;
    int qd = -1;
    snprintf(path, sizeof path, "%s/log", folder);
    snprintf(other, sizeof other, "%s.new", path);
    start("none");
    must_fail(demi_open(&qd, path, O_RDWR | O_CREAT), ENOSPC);
    assert_int_not_equal(stat(path, &st), 0);
    assert_int_not_equal(stat(other, &st), 0);
}

/* A file system in memory, mounted for this process alone. NULL: said why not. */
static const char *mount_memory(const char *options)
{
    static char folder[100];
    snprintf(folder, sizeof folder, "%s", blk_place_path("memory"));
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        (mkdir(folder, 0700) == 0 || errno == EEXIST) &&
        mount("none", folder, "tmpfs", 0, options) == 0)
        return folder;
    print_message("skipped: no mount namespace with a file system in memory: %s\n",
                  strerror(errno));
    return NULL;
}

static void test_file_in_memory_that_is_full_pushes_again_after_a_trim(void **state)
{
    (void)state;
    const char *folder = mount_memory("size=36m");
    if (!folder)
        skip();
    fill_up(folder);
    assert_int_equal(umount(folder), 0);
}

static void test_file_on_a_disk_that_is_full_pushes_again_after_a_trim(void **state)
{
    (void)state;
    const char *folder = blk_small_folder(48u << 20);
    if (!folder)
        skip();
    fill_up(folder);
    must(demi_fini());
    blk_small_folder_remove();
}

static void test_new_file_without_room_leaves_nothing(void **state)
{
    (void)state;
    const char *folder = mount_memory("size=8m");
    if (!folder)
        skip();
    make_without_room(folder);
    must(demi_fini());
    assert_int_equal(umount(folder), 0);
}

/* --- read-only ------------------------------------------------------------------------------- */

/* What is there is read, and nothing else. */
static void use_read_only(const char *name, bool is_device)
{
    int qd = -1;
    int64_t pos = -1;
    must_fail(demi_open(&qd, name, O_RDWR), EROFS);
    must_fail(demi_open(&qd, name, O_WRONLY | O_CREAT), EROFS);
    must_fail(demi_open(&qd, name, O_RDWR | O_TRUNC), EROFS);
    must_fail(demi_unlink(name), EROFS);
    if (is_device)
        must_fail(demi_open(&qd, "other", O_RDWR | O_CREAT), EROFS);
    qd = open_log(name, O_RDONLY);
    check(qd, 0, 3);
    must(demi_lseek(qd, 1, SEEK_SET, &pos));
    check(qd, 1, 3);
    assert_int_equal(push_record(qd, 9), EBADF);
    must_fail(demi_trim(qd, 1), EBADF);
    must(demi_close(qd));
}

static void test_device_that_is_to_be_read_only_is(void **state)
{
    (void)state;
    char store[200];
    snprintf(store, sizeof store, "file:%s,create,size=8M", blk_place_path("device"));
    make(store, "log");
    snprintf(store, sizeof store, "file:%s,read_only", blk_place_path("device"));
    start(store);
    use_read_only("log", true);
    assert_int_equal(unlink(blk_place_path("device")), 0);
}

static void test_disk_that_is_read_only_is(void **state)
{
    (void)state;
    char store[200];
    int qd = -1;
    const char *loop = blk_loop_attach(16u << 20);
    if (!loop)
        skip();
    make(loop, "log");
    blk_loop_detach();
    loop = blk_loop_attach_read_only();
    assert_non_null(loop);
    start(loop);
    must_fail(demi_open(&qd, "log", O_RDWR), EROFS);
    must_fail(demi_open(&qd, "log", O_RDONLY), EROFS); /* unless that is all that is wanted */
    must(demi_fini());
    snprintf(store, sizeof store, "file:%s,read_only", loop);
    start(store);
    use_read_only("log", true);
    must(demi_fini());
    blk_loop_detach();
}

static void test_file_on_a_read_only_file_system_is_read(void **state)
{
    (void)state;
    char path[200];
    const char *folder = mount_memory("size=36m");
    if (!folder)
        skip();
    snprintf(path, sizeof path, "%s/log", folder);
    make("none", path);
    assert_int_equal(mount("none", folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    start("none");
    use_read_only(path, false);
    must(demi_fini());
    assert_int_equal(umount(folder), 0);
}

/* --- something else -------------------------------------------------------------------------- */

/* Neither a queue on it, nor a change of it. */
static void refuse(const char *store, const char *name, const char *path, int error)
{
    static uint8_t was[1 << 20], now[1 << 20];
    int fd = open(path, O_RDONLY | O_CLOEXEC), qd = -1;
    const ssize_t bytes = pread(fd, was, sizeof was, 0);
    static const int flags[] = {O_RDWR, O_RDONLY, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_TRUNC};
    start(store);
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        must_fail(demi_open(&qd, name, flags[i]), error);
    must(demi_fini());
    assert_true(bytes > 0);
    assert_int_equal(pread(fd, now, sizeof now, 0), bytes);
    assert_memory_equal(was, now, (size_t)bytes);
    close(fd);
}

/* As a file that holds one log, and as a device. */
static void refuse_both(void (*spoil)(const char *path), int error)
{
    char store[200], path[150];
    snprintf(path, sizeof path, "%s", blk_place_path("file"));
    make("none", path);
    spoil(path);
    refuse("none", path, path, error);
    assert_int_equal(unlink(path), 0);
    snprintf(store, sizeof store, "file:%s,create,size=8M", path);
    make(store, "log");
    spoil(path);
    snprintf(store, sizeof store, "file:%s", path);
    refuse(store, "log", path, error);
    assert_int_equal(unlink(path), 0);
}

static void make_newer(const char *path)
{
    static const off_t places[] = {0, (off_t)DK_SUPER_COPY};
    static uint8_t block[DK_BLOCK];
    int fd = open(path, O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 2; i++) {
        struct dk_super *super = (struct dk_super *)(void *)block;
        assert_int_equal(pread(fd, block, sizeof block, places[i]), sizeof block);
        super->version++;
        super->crc = 0;
        super->crc = dk_crc32c(0, block, sizeof block);
        assert_int_equal(pwrite(fd, block, sizeof block, places[i]), sizeof block);
    }
    close(fd);
}

static void cut_off(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size - (64 << 10)), 0);
}

static void cut_off_early(const char *path)
{
    assert_int_equal(truncate(path, 200 << 10), 0);
}

static void damage_both_superblocks(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 20), 1);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)DK_SUPER_COPY + 20), 1);
    close(fd);
}

static void test_store_of_a_newer_version_is_eprotonosupport(void **state)
{
    (void)state;
    refuse_both(make_newer, EPROTONOSUPPORT);
}

static void test_image_that_is_cut_off_is_enodata(void **state)
{
    (void)state;
    refuse_both(cut_off, ENODATA);
    refuse_both(cut_off_early, ENODATA);
}

static void test_superblocks_that_are_damaged_are_euclean(void **state)
{
    (void)state;
    refuse_both(damage_both_superblocks, EUCLEAN);
}

static void test_device_of_someone_else_is_not_touched(void **state)
{
    (void)state;
    static char text[100000];
    char store[200];
    int qd = -1, fd = open(blk_place_path("text"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    memset(text, 'x', sizeof text);
    assert_int_equal(write(fd, text, sizeof text), sizeof text);
    snprintf(store, sizeof store, "file:%s", blk_place_path("text"));
    start(store);
    must_fail(demi_open(&qd, "log", O_RDWR), EMEDIUMTYPE);
    must_fail(demi_open(&qd, "log", O_RDWR | O_CREAT), EUCLEAN);
    must_fail(demi_unlink("log"), EMEDIUMTYPE);
    memset(text, 0, sizeof text);
    assert_int_equal(pread(fd, text, sizeof text, 0), sizeof text);
    for (size_t i = 0; i < sizeof text; i++)
        assert_int_equal(text[i], 'x');
    close(fd);
}

static void test_names_have_255_bytes_at_most(void **state)
{
    (void)state;
    char name[300];
    int qd = -1;
    start("memblk");
    memset(name, 'n', sizeof name);
    name[256] = '\0';
    must_fail(demi_open(&qd, name, O_RDWR | O_CREAT), ENAMETOOLONG);
    must_fail(demi_unlink(name), ENAMETOOLONG);
    name[255] = '\0';
    qd = open_log(name, O_RDWR | O_CREAT);
    must(push_record(qd, 0));
    check(qd, 0, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_file_in_memory_that_is_full_pushes_again_after_a_trim),
        TEST(test_file_on_a_disk_that_is_full_pushes_again_after_a_trim),
        TEST(test_new_file_without_room_leaves_nothing),
        TEST(test_device_that_is_to_be_read_only_is),
        TEST(test_disk_that_is_read_only_is),
        TEST(test_file_on_a_read_only_file_system_is_read),
        TEST(test_store_of_a_newer_version_is_eprotonosupport),
        TEST(test_image_that_is_cut_off_is_enodata),
        TEST(test_superblocks_that_are_damaged_are_euclean),
        TEST(test_device_of_someone_else_is_not_touched),
        TEST(test_names_have_255_bytes_at_most),
    };
    return cmocka_run_group_tests_name("log places", tests, blk_place_make, blk_place_remove);
}
