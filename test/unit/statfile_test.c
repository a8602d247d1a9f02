/* SPDX-License-Identifier: MIT */
/* The statistics file: its directory, its writer, its reader, and files that are not what they
 * should be. */
#include "os/statdir.h"
#include "os/statfile.h"
#include "os/statread.h"

#include "../lib/harness.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const names_a[] = {"test.one", "test.two"};
static const char *const names_b[] = {"test.two", "test.three", "test.four"};

static char root[64]; /* of each test */
static char dir[128]; /* where its files are */

static struct dk_statdir_where where(void)
{
    return (struct dk_statdir_where){.runtime_dir = root,
                                     .run_root = "/nonexistent",
                                     .shared_roots = {"/nonexistent", "/nonexistent"},
                                     .uid = geteuid()};
}

static int setup(void **state)
{
    (void)state;
    strcpy(root, "/tmp/statfile-test-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    struct dk_statdir_where w = where();
    return dk_statdir_choose(&w, dir, sizeof dir);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    dk_statfile_close();
    return nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static char *path_of(const char *name)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static char *path_of_pid(pid_t pid)
{
    char name[16];
    snprintf(name, sizeof name, "%d", (int)pid);
    return path_of(name);
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void write_file(const char *path, const void *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    close(fd);
}

/* A header of a file of that process, in this namespace. */
static struct dk_statfile_header header_of(pid_t pid, uint64_t start_ticks)
{
    struct dk_process self;
    assert_int_equal(dk_process_self(&self), 0);
    return (struct dk_statfile_header){.magic = DK_STATFILE_MAGIC,
                                       .version = DK_STATFILE_VERSION,
                                       .pid = (uint32_t)pid,
                                       .start_ticks = start_ticks,
                                       .pid_namespace = self.pid_namespace,
                                       .used_bytes = sizeof(struct dk_statfile_header)};
}

static int open_file(struct dk_statread *r, pid_t pid)
{
    struct dk_statdir_where w = where();
    return dk_statread_open(r, &w, pid);
}

/* The sum of the counters of a name in this process's file; fails when there is none. */
static uint64_t sum_of(const char *name)
{
    struct dk_statread r;
    struct dk_statread_value value;
    uint64_t sum = 0;
    int found = 0;
    assert_int_equal(open_file(&r, getpid()), 0);
    while (dk_statread_next(&r, &value))
        if (!value.text && strcmp(value.name, name) == 0) {
            sum += value.value;
            found++;
        }
    dk_statread_close(&r);
    assert_true(found > 0);
    return sum;
}

static const char *text_of(const char *name)
{
    static char text[DK_STATFILE_TEXT_BYTES];
    struct dk_statread r;
    struct dk_statread_value value;
    text[0] = '\0';
    assert_int_equal(open_file(&r, getpid()), 0);
    while (dk_statread_next(&r, &value))
        if (value.text && strcmp(value.name, name) == 0)
            strcpy(text, value.text);
    dk_statread_close(&r);
    return text;
}

/* --- directory ------------------------------------------------------------------------------ */

static void test_statdir_first_with_a_parent_of_the_user_is_chosen(void **state)
{
    (void)state;
    char path[PATH_MAX], users[128], shared[128];
    snprintf(users, sizeof users, "%s/%u", root, (unsigned)geteuid());
    snprintf(shared, sizeof shared, "%s/shared", root);
    struct dk_statdir_where w = {.runtime_dir = "relative",
                                 .run_root = root,
                                 .shared_roots = {"/nonexistent", shared},
                                 .uid = geteuid()};
    assert_int_equal(dk_statdir_choose(&w, path, sizeof path), -ENOENT);
    assert_int_equal(mkdir(shared, 0700), 0);
    assert_int_equal(dk_statdir_choose(&w, path, sizeof path), 0);
    assert_non_null(strstr(path, "/shared/demikernel-"));
    assert_int_equal(mkdir(users, 0700), 0);
    assert_int_equal(dk_statdir_choose(&w, path, sizeof path), 0);
    assert_string_equal(path + strlen(users), "/demikernel");
    w.runtime_dir = root;
    assert_int_equal(dk_statdir_choose(&w, path, sizeof path), 0);
    assert_string_equal(path + strlen(root), "/demikernel");
    w.uid = geteuid() + 1; /* whose directories these are not */
    assert_int_equal(dk_statdir_choose(&w, path, sizeof path), 0);
    assert_non_null(strstr(path, "/shared/demikernel-"));
    assert_int_equal(dk_statdir_choose(&w, path, 10), -ENAMETOOLONG);
}

static void test_statdir_of_others_or_no_directory_is_refused(void **state)
{
    (void)state;
    int fd = dk_statdir_open(dir, geteuid());
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    close(fd);
    assert_int_equal(dk_statdir_open(dir, geteuid() + 1), -EPERM);
    assert_int_equal(chmod(dir, 0720), 0);
    assert_int_equal(dk_statdir_open(dir, geteuid()), -EPERM);
    assert_int_equal(chmod(dir, 0702), 0);
    assert_int_equal(dk_statdir_open(dir, geteuid()), -EPERM);
    assert_int_equal(rmdir(dir), 0);
    assert_int_equal(symlink(root, dir), 0);
    must_either(-dk_statdir_open(dir, geteuid()), ELOOP, ENOTDIR);
    assert_int_equal(unlink(dir), 0);
    write_file(dir, "x", 1);
    assert_int_equal(dk_statdir_open(dir, geteuid()), -ENOTDIR);
    assert_int_equal(unlink(dir), 0);
    strcpy(strrchr(dir, '/'), "/missing/demikernel");
    assert_int_equal(dk_statdir_open(dir, geteuid()), -ENOENT);
}

/* A process that has ended and is not waited for: its number is taken. */
static pid_t zombie(void)
{
    siginfo_t info;
    pid_t pid = child_fork();
    if (pid == 0)
        _exit(0);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    return pid;
}

static void test_statdir_clean_removes_what_the_dead_left_and_nothing_else(void **state)
{
    (void)state;
    struct dk_process self, parent;
    int fd = dk_statdir_open(dir, geteuid());
    const pid_t dead = zombie();
    assert_int_equal(dk_process_self(&self), 0);
    assert_int_equal(dk_process_look(getppid(), &parent), 0);
    struct dk_statfile_header header = header_of(dead, 1);
    write_file(path_of_pid(dead), &header, sizeof header);
    write_file(path_of("999999999"), "", 0); /* killed while it made the file */
    header = header_of(self.pid, self.start_ticks);
    write_file(path_of_pid(self.pid), &header, sizeof header); /* of what ran here before exec */
    header = header_of(parent.pid, parent.start_ticks + 1);
    write_file(path_of_pid(parent.pid), &header,
               sizeof header); /* an earlier process of that number */
    const char *const kept[] = {"01", "x1", "1x", "9999999999", "notes", "999999998"};
    for (size_t i = 0; i < 5; i++)
        write_file(path_of(kept[i]), "", 0);
    header = header_of(999999998, 1);
    header.pid_namespace++;
    write_file(path_of("999999998"), &header, sizeof header); /* a container's */
    assert_int_equal(mkdir(path_of("999999997"), 0700), 0);
    dk_statdir_clean(fd, &self);
    close(fd);
    assert_false(is_there(path_of("999999999")));
    assert_false(is_there(path_of_pid(parent.pid)));
    assert_false(is_there(path_of_pid(dead)));
    assert_false(is_there(path_of_pid(self.pid)));
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        assert_true(is_there(path_of(kept[i])));
    assert_int_equal(child_wait(dead), 0);
}

static void test_statdir_clean_keeps_the_files_of_the_living(void **state)
{
    (void)state;
    struct dk_process self, parent;
    int fd = dk_statdir_open(dir, geteuid());
    assert_int_equal(dk_process_self(&self), 0);
    assert_int_equal(dk_process_look(getppid(), &parent), 0);
    struct dk_statfile_header header = header_of(parent.pid, parent.start_ticks);
    write_file(path_of_pid(parent.pid), &header, sizeof header);
    dk_statdir_clean(fd, &self);
    assert_true(is_there(path_of_pid(parent.pid)));
    write_file(path_of_pid(parent.pid), "", 0); /* being made */
    dk_statdir_clean(fd, &self);
    assert_true(is_there(path_of_pid(parent.pid)));
    close(fd);
}

/* --- file ----------------------------------------------------------------------------------- */

static void test_statfile_counters_show_as_they_are_written(void **state)
{
    (void)state;
    assert_null(dk_statfile_add(names_a, 2, NULL, NULL)); /* no file is open */
    assert_int_equal(dk_statfile_open(dir, geteuid(), 16384), 0);
    struct dk_statfile_block *a = dk_statfile_add(names_a, 2, "test.word", "first");
    assert_non_null(a);
    assert_int_equal((uintptr_t)a->counters % DK_STATFILE_ALIGN, 0);
    assert_int_equal(sum_of("test.one"), 0);
    a->counters[0] = 7;
    a->counters[1] = 1;
    assert_int_equal(sum_of("test.one"), 7);
    struct dk_statfile_block *b = dk_statfile_add(names_b, 3, NULL, NULL);
    b->counters[0] = UINT64_C(1) << 40;
    assert_int_equal(sum_of("test.two"), (UINT64_C(1) << 40) + 1);
    assert_string_equal(text_of("test.word"), "first");
    dk_statfile_set_text(a, "second");
    assert_string_equal(text_of("test.word"), "second");
    dk_statfile_set_text(a, "a word that is longer than a place for words has room for");
    assert_int_equal(strlen(text_of("test.word")), DK_STATFILE_TEXT_BYTES - 1);
    dk_statfile_set_text(NULL, "nobody's");
}

static void test_statfile_closed_is_gone_and_counters_stay_writable(void **state)
{
    (void)state;
    struct dk_statread r;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(dk_statfile_open(dir, geteuid(), 16384), 0);
        struct dk_statfile_block *a = dk_statfile_add(names_a, 2, NULL, NULL);
        a->counters[0] = 9;
        assert_int_equal(sum_of("test.one"), 9);
        dk_statfile_close();
        a->counters[0] = 10; /* by a thread that is late */
        assert_int_equal(open_file(&r, getpid()), -ENOENT);
    }
}

static void test_statfile_full_has_no_block_and_rewind_makes_room(void **state)
{
    (void)state;
    assert_int_equal(dk_statfile_open(dir, geteuid(), 1024), 0);
    uint32_t mark = dk_statfile_mark();
    for (int round = 0; round < 2; round++) {
        int num = 0;
        struct dk_statfile_block *block;
        while ((block = dk_statfile_add(names_b, 3, "test.word", "x")) != NULL) {
            assert_int_equal(block->counters[2], 0); /* of the round before, they were not */
            block->counters[2] = 5;
            num++;
        }
        assert_int_equal(num, 3); /* 960 / 320 */
        assert_int_equal(sum_of("test.four"), 15);
        dk_statfile_rewind(mark);
        assert_string_equal(text_of("test.word"), "");
    }
}

static void test_statfile_in_a_forked_child_is_a_copy(void **state)
{
    (void)state;
    assert_int_equal(dk_statfile_open(dir, geteuid(), 16384), 0);
    struct dk_statfile_block *a = dk_statfile_add(names_a, 2, NULL, NULL);
    a->counters[0] = 3;
    dk_statfile_before_fork();
    a->counters[0] = 4; /* as if the parent ran on before the child does */
    const pid_t pid = child_fork();
    if (pid == 0) {
        dk_statfile_after_fork();
        CHILD(a->counters[0] == 3);
        a->counters[0] = 100;
        CHILD(dk_statfile_add(names_a, 2, NULL, NULL) == NULL);
        dk_statfile_close();
        CHILD(dk_statfile_open(dir, geteuid(), 16384) == 0);
        CHILD(dk_statfile_add(names_b, 3, NULL, NULL) ==
              a); /* at the same place, in its own file */
        CHILD(is_there(path_of_pid(getpid())));
        dk_statfile_close();
        child_exit(0);
    }
    assert_int_equal(child_wait(pid), 0);
    assert_int_equal(sum_of("test.one"), 4);
}

static void test_statfile_unlink_leaves_the_counters(void **state)
{
    (void)state;
    assert_int_equal(dk_statfile_open(dir, geteuid(), 16384), 0);
    struct dk_statfile_block *a = dk_statfile_add(names_a, 2, NULL, NULL);
    dk_statfile_unlink();
    dk_statfile_unlink();
    assert_false(is_there(path_of_pid(getpid())));
    a->counters[1]++;
    assert_non_null(dk_statfile_add(names_b, 3, NULL, NULL));
}

/* --- reader --------------------------------------------------------------------------------- */

static void test_statread_says_why_there_is_nothing(void **state)
{
    (void)state;
    struct dk_statread r;
    struct dk_process self;
    assert_int_equal(dk_process_self(&self), 0);
    assert_int_equal(open_file(&r, self.pid), -ENOENT); /* there is no directory */
    close(dk_statdir_open(dir, geteuid()));
    assert_int_equal(open_file(&r, self.pid), -ENOENT);
    struct dk_statfile_header header = header_of(self.pid, self.start_ticks);
    write_file(path_of_pid(self.pid), &header, sizeof header);
    assert_int_equal(open_file(&r, self.pid), 0); /* without a block yet */
    struct dk_statread_value value;
    assert_false(dk_statread_next(&r, &value));
    dk_statread_close(&r);
    header.pid_namespace++;
    write_file(path_of_pid(self.pid), &header, sizeof header);
    assert_int_equal(open_file(&r, self.pid), -ENOENT);
    header = header_of(self.pid, self.start_ticks + 1);
    write_file(path_of_pid(self.pid), &header, sizeof header);
    assert_int_equal(open_file(&r, self.pid), -ESRCH);
    header = header_of(self.pid + 1, self.start_ticks);
    write_file(path_of_pid(self.pid), &header, sizeof header);
    assert_int_equal(open_file(&r, self.pid), -EPROTO);
    const pid_t dead = zombie();
    header = header_of(dead, 1);
    write_file(path_of_pid(dead), &header, sizeof header);
    assert_int_equal(open_file(&r, dead), -ESRCH);
    assert_int_equal(child_wait(dead), 0);
    assert_int_equal(open_file(&r, dead), -ESRCH);
}

static void test_statread_file_that_is_none_is_passed_over(void **state)
{
    (void)state;
    struct dk_statread r;
    const pid_t pid = getpid();
    close(dk_statdir_open(dir, geteuid()));
    assert_int_equal(mkfifo(path_of_pid(pid), 0600), 0);
    assert_int_equal(open_file(&r, pid), -ENOENT);
    assert_int_equal(unlink(path_of_pid(pid)), 0);
    assert_int_equal(symlink("/etc/passwd", path_of_pid(pid)), 0);
    assert_int_equal(open_file(&r, pid), -ENOENT);
    assert_int_equal(unlink(path_of_pid(pid)), 0);
    assert_int_equal(mkdir(path_of_pid(pid), 0700), 0);
    assert_int_equal(open_file(&r, pid), -ENOENT);
    assert_int_equal(rmdir(path_of_pid(pid)), 0);
    write_file(path_of_pid(pid), "", 0);
    assert_int_equal(open_file(&r, pid), -ENOENT);
    if (geteuid() != 0)
        return;
    struct dk_statfile_header header = header_of(pid, 0);
    write_file(path_of_pid(pid), &header, sizeof header);
    assert_int_equal(chown(path_of_pid(pid), 12345, 12345), 0);
    assert_int_equal(open_file(&r, pid), -ENOENT);
}

/* A file in memory, with two blocks, a word in the first. */
static size_t make_sample(uint8_t *bytes, size_t room)
{
    assert_int_equal(dk_statfile_open(dir, geteuid(), 4096), 0);
    assert_non_null(dk_statfile_add(names_a, 2, "test.word", "word"));
    assert_non_null(dk_statfile_add(names_b, 3, NULL, NULL));
    const size_t len = dk_statfile_mark();
    assert_true(len <= room);
    int fd = open(path_of_pid(getpid()), O_RDONLY);
    assert_int_equal(read(fd, bytes, len), len);
    close(fd);
    dk_statfile_close();
    return len;
}

/* Loads bytes as a file; counts its values, having read each string to its end. */
static int load(const uint8_t *bytes, size_t len, size_t *num_out)
{
    struct dk_statread r;
    struct dk_statread_value value;
    int fd = memfd_create("sample", MFD_CLOEXEC);
    assert_int_equal(write(fd, bytes, len), len);
    const int result = dk_statread_load(&r, fd);
    close(fd);
    *num_out = 0;
    if (result < 0)
        return result;
    while (dk_statread_next(&r, &value)) {
        assert_in_range(strlen(value.name), 1, DK_STATFILE_NAME_BYTES - 1);
        assert_true(!value.text || strlen(value.text) < DK_STATFILE_TEXT_BYTES);
        ++*num_out;
    }
    assert_true(*num_out <= dk_statread_max_values(&r));
    dk_statread_close(&r);
    return 0;
}

static void test_statread_file_cut_anywhere_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    size_t num;
    const size_t len = make_sample(bytes, sizeof bytes);
    assert_int_equal(load(bytes, len, &num), 0);
    assert_int_equal(num, 6);
    assert_int_equal(load(bytes, 0, &num), -ENOENT);
    for (size_t cut = 1; cut < len; cut++)
        assert_int_equal(load(bytes, cut, &num), -EPROTO);
}

static void test_statread_size_out_of_range_is_refused(void **state)
{
    (void)state;
    uint8_t sample[4096], bytes[4096];
    size_t num;
    const size_t len = make_sample(sample, sizeof sample);
    static const uint32_t values[] = {0,          1,          63,         64,        65,
                                      127,        128,        192,        4096,      0x7fffffff,
                                      0x80000000, 0xffffffc0, 0xffffffff, 0x04924924};
    static const size_t places[] = {
        offsetof(struct dk_statfile_header, used_bytes),
        sizeof(struct dk_statfile_header) + offsetof(struct dk_statfile_block, bytes),
        sizeof(struct dk_statfile_header) + offsetof(struct dk_statfile_block, num_counters),
        sizeof(struct dk_statfile_header) + offsetof(struct dk_statfile_block, current),
    };
    for (size_t p = 0; p < COUNT_OF(places); p++)
        for (size_t v = 0; v < COUNT_OF(values); v++) {
            memcpy(bytes, sample, len);
            memcpy(bytes + places[p], &values[v], sizeof values[v]);
            const int r = load(bytes, len, &num);
            assert_true(r == 0 || r == -EPROTO);
        }
    memcpy(bytes, sample, len);
    bytes[offsetof(struct dk_statfile_header, version)]++;
    assert_int_equal(load(bytes, len, &num), -EPROTO);
    memset(bytes, 0, 8); /* it is being made */
    assert_int_equal(load(bytes, len, &num), -ENOENT);
}

static void test_statread_string_without_end_or_unprintable_is_refused(void **state)
{
    (void)state;
    uint8_t sample[4096], bytes[4096];
    size_t num;
    const size_t len = make_sample(sample, sizeof sample);
    const size_t block = sizeof(struct dk_statfile_header);
    const size_t word_name = block + offsetof(struct dk_statfile_block, text_name);
    const size_t word = block + offsetof(struct dk_statfile_block, texts);
    const size_t name = block + sizeof(struct dk_statfile_block) + 2 * sizeof(uint64_t);
    memcpy(bytes, sample, len);
    memset(bytes + word_name, 'a', DK_STATFILE_NAME_BYTES);
    assert_int_equal(load(bytes, len, &num), -EPROTO);
    memcpy(bytes, sample, len);
    memset(bytes + word, 'a', DK_STATFILE_TEXT_BYTES);
    assert_int_equal(load(bytes, len, &num), -EPROTO);
    memcpy(bytes, sample, len);
    memset(bytes + name, 'a', DK_STATFILE_NAME_BYTES);
    assert_int_equal(load(bytes, len, &num), -EPROTO);
    static const char bad[] = {0, '\n', '\033', (char)0x80, 'A', '/', ' '};
    for (size_t i = 0; i < sizeof bad; i++) {
        memcpy(bytes, sample, len);
        bytes[name] = (uint8_t)bad[i];
        assert_int_equal(load(bytes, len, &num), -EPROTO);
    }
    memcpy(bytes, sample, len);
    bytes[word + 1] = '\033';
    assert_int_equal(load(bytes, len, &num), -EPROTO);
}

static void test_statread_bits_flipped_do_no_harm(void **state)
{
    (void)state;
    uint8_t sample[4096], bytes[4096];
    size_t num, good = 0;
    const size_t len = make_sample(sample, sizeof sample);
    uint64_t seed = seed_choose("bits flipped");
    enum { ROUNDS = 20000 };
    for (int i = 0; i < ROUNDS; i++) {
        memcpy(bytes, sample, len);
        for (uint32_t flips = 1 + random_below(&seed, 4); flips > 0; flips--)
            bytes[random_below(&seed, (uint32_t)len)] ^= (uint8_t)(1u << random_below(&seed, 8));
        const int r =
            load(bytes, len - (size_t)random_below(&seed, 2) * random_below(&seed, 64), &num);
        assert_true(r == 0 || r == -EPROTO);
        good += r == 0;
    }
    assert_in_range(good, 1, ROUNDS - 1); /* values and unused bytes may be anything */
}

/* The file shrinks and grows under the reader. */
static void test_statread_file_that_changes_meanwhile_does_no_harm(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    struct dk_statread r;
    const size_t len = make_sample(bytes, sizeof bytes);
    const int fd = memfd_create("sample", MFD_CLOEXEC);
    assert_int_equal(write(fd, bytes, len), len);
    const pid_t pid = child_fork();
    if (pid == 0) {
        for (size_t i = 0;; i++) {
            if (ftruncate(fd, (off_t)(i * 37 % len)) < 0 || pwrite(fd, bytes, len, 0) < 0)
                _exit(1);
        }
    }
    for (int i = 0; i < 20000; i++)
        if (dk_statread_load(&r, fd) == 0)
            dk_statread_close(&r);
    kill(pid, SIGKILL);
    assert_true(WIFSIGNALED(child_wait(pid)));
    close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_statdir_first_with_a_parent_of_the_user_is_chosen),
        TEST(test_statdir_of_others_or_no_directory_is_refused),
        TEST(test_statdir_clean_removes_what_the_dead_left_and_nothing_else),
        TEST(test_statdir_clean_keeps_the_files_of_the_living),
        TEST(test_statfile_counters_show_as_they_are_written),
        TEST(test_statfile_closed_is_gone_and_counters_stay_writable),
        TEST(test_statfile_full_has_no_block_and_rewind_makes_room),
        TEST(test_statfile_in_a_forked_child_is_a_copy),
        TEST(test_statfile_unlink_leaves_the_counters),
        TEST(test_statread_says_why_there_is_nothing),
        TEST(test_statread_file_that_is_none_is_passed_over),
        TEST(test_statread_file_cut_anywhere_is_refused),
        TEST(test_statread_size_out_of_range_is_refused),
        TEST(test_statread_string_without_end_or_unprintable_is_refused),
        TEST(test_statread_bits_flipped_do_no_harm),
        TEST(test_statread_file_that_changes_meanwhile_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
