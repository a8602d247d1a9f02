/* SPDX-License-Identifier: MIT */
/* Notes that outlive a process, and what stands in that of a lease. */
#include "libos/stack/sock.h"
#include "os/note.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[32], dir[64];

static struct dk_statdir_where where(void)
{
    return (struct dk_statdir_where){
        .runtime_dir = root, .run_root = "/no", .shared_roots = {"/no", "/no"}, .uid = geteuid()};
}

static int set_up(void **state)
{
    (void)state;
    strcpy(root, "/tmp/note-test-XXXXXX");
    if (!mkdtemp(root))
        return -1;
    snprintf(dir, sizeof(dir), "%s/demikernel", root);
    return 0;
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path_of("a"));
    unlink(path_of("other"));
    rmdir(dir);
    return rmdir(root);
}

static void test_note_is_what_was_written_last(void **state)
{
    const struct dk_statdir_where w = where();
    char text[DK_NOTE_MAX];
    (void)state;
    assert_int_equal(dk_note_read(&w, "a", text), -ENOENT);
    assert_int_equal(dk_note_write(&w, "a", "a long text of before\n"), 0);
    assert_int_equal(dk_note_write(&w, "a", "short\n"), 0);
    assert_int_equal(dk_note_read(&w, "a", text), 0);
    assert_string_equal(text, "short\n");
    assert_int_equal(access(path_of("a.new"), F_OK), -1);
    assert_int_equal(dk_note_remove(&w, "a"), 0);
    assert_int_equal(dk_note_read(&w, "a", text), -ENOENT);
    assert_int_equal(dk_note_remove(&w, "a"), 0);
}

static void test_note_of_somebody_else_is_not_read(void **state)
{
    const struct dk_statdir_where w = where();
    char text[DK_NOTE_MAX];
    (void)state;
    assert_int_equal(dk_note_write(&w, "other", "x"), 0);
    assert_int_equal(symlink("other", path_of("a")), 0);
    assert_int_equal(dk_note_read(&w, "a", text), -ELOOP);
    assert_int_equal(unlink(path_of("a")), 0);
    assert_int_equal(mkfifo(path_of("a"), 0600), 0);
    assert_int_equal(dk_note_read(&w, "a", text), -EPERM);
    assert_int_equal(chmod(dir, 0777), 0);
    assert_int_equal(dk_note_read(&w, "other", text), -EPERM);
    assert_int_equal(dk_note_write(&w, "other", "y"), -EPERM);
}

static void test_note_that_is_too_long_is_not_read(void **state)
{
    const struct dk_statdir_where w = where();
    char text[DK_NOTE_MAX], longest[DK_NOTE_MAX + 1];
    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[DK_NOTE_MAX] = '\0';
    assert_int_equal(dk_note_write(&w, "a", longest), 0);
    assert_int_equal(dk_note_read(&w, "a", text), -EFBIG);
    assert_int_equal(dk_note_write(&w, "a", longest + 1), 0);
    assert_int_equal(dk_note_read(&w, "a", text), 0);
    assert_string_equal(text, longest + 1);
}

static void test_lease_is_read_as_it_was_written(void **state)
{
    struct dk_net_lease lease = {{.bytes = {192, 0, 2, 50}, .version = 4}, 3600};
    struct dk_ip ip;
    char text[DK_NOTE_MAX];
    (void)state;
    dk_stack_lease_format(&lease, 1000, text);
    assert_string_equal(text, "192.0.2.50 4600\n");
    assert_true(dk_stack_lease_parse(text, 4599, &ip));
    assert_true(dk_ip_equal(&ip, &lease.address));
    assert_false(dk_stack_lease_parse(text, 4600, &ip)); /* it has ended */
    lease.seconds = UINT32_MAX;
    dk_stack_lease_format(&lease, 1000, text);
    assert_string_equal(text, "192.0.2.50 0\n");
    assert_true(dk_stack_lease_parse(text, INT64_MAX, &ip));
}

static void test_lease_that_is_none_is_not_asked_for(void **state)
{
    static const char *const bad[] = {"",
                                      "\n",
                                      " 4600\n",
                                      "192.0.2.50\n",
                                      "192.0.2.50 \n",
                                      "192.0.2.50 4600",
                                      "192.0.2.50 4600 \n",
                                      "192.0.2.50 4600\n192.0.2.51 4600\n",
                                      "192.0.2.50 -1\n",
                                      "192.0.2.50  4600\n",
                                      "192.0.2.500 4600\n",
                                      "2001:db8::1 4600\n",
                                      "255.255.255.255255.255.255 4600\n"};
    struct dk_ip ip = {.version = 9};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(dk_stack_lease_parse(bad[i], 0, &ip));
    assert_int_equal(ip.version, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_note_is_what_was_written_last, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_note_of_somebody_else_is_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_note_that_is_too_long_is_not_read, set_up, tear_down),
        cmocka_unit_test(test_lease_is_read_as_it_was_written),
        cmocka_unit_test(test_lease_that_is_none_is_not_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
