/* SPDX-License-Identifier: MIT */
/* Captures: read back by a parser of the test's own, and by tcpdump or tshark where installed. */
#include "drv_kit.h"

#include "drv/loop.h"
#include "drv/pcap.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/demi-pcap-XXXXXX";

static const char *path_in_folder(const char *name)
{
    static char path[64];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static const char *capture_path(void)
{
    return path_in_folder("capture.pcapng");
}

static void open_over(struct drv_link *link, struct dk_pcap_options options,
                      struct dk_loop_options loop)
{
    struct dk_netdev *inner[2];
    const char *why = NULL;
    int r = dk_loop_open_pair(inner, &loop, &why);
    must_hold(r == 0, "%s", why);
    link->dev[1] = inner[1];
    r = dk_pcap_open(&link->dev[0], inner[0], &options, &why);
    must_hold(r == 0, "%s", why);
}

static void open_pcap(struct drv_link *link, uint32_t mtu, size_t pool_bytes)
{
    open_over(link, (struct dk_pcap_options){.path = capture_path()},
              (struct dk_loop_options){.mtu = mtu, .rx_pool_bytes = pool_bytes});
}

static const struct drv_maker pcap = {"pcap", open_pcap, NULL, 65535};

/* A file that was read whole, and how far it was parsed. */
struct file {
    uint8_t *bytes;
    uint32_t len, at;
};

static struct file read_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    struct file f = {.bytes = malloc((size_t)st.st_size + 1), .len = (uint32_t)st.st_size};
    assert_true(read(fd, f.bytes, f.len + 1) == (ssize_t)f.len);
    close(fd);
    return f;
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* Takes the next block: it has this type, and both of its lengths agree. NULL at the end. */
static const uint8_t *next_block(struct file *f, uint32_t type)
{
    if (f->at == f->len)
        return NULL;
    const uint8_t *block = f->bytes + f->at;
    assert_true(f->len - f->at >= 12);
    uint32_t length = u32_at(block + 4);
    assert_int_equal(u32_at(block), type);
    assert_true(length % 4 == 0 && length <= f->len - f->at);
    assert_int_equal(u32_at(block + length - 4), length);
    f->at += length;
    return block;
}

/* Takes what stands before the first frame; returns the snap length. */
static uint32_t check_header(struct file *f, const char *interface)
{
    const uint8_t *section = next_block(f, 0x0a0d0d0a);
    assert_non_null(section);
    assert_int_equal(u32_at(section + 8), 0x1a2b3c4d);
    assert_true(u16_at(section + 12) == 1 && u16_at(section + 14) == 0);
    const uint8_t *idb = next_block(f, 1);
    assert_non_null(idb);
    assert_int_equal(u16_at(idb + 8), 1); /* Ethernet */
    assert_true(u16_at(idb + 16) == 2 && u16_at(idb + 18) == strlen(interface));
    assert_memory_equal(idb + 20, interface, strlen(interface));
    const uint8_t *resolution = idb + 20 + (strlen(interface) + 3) / 4 * 4;
    assert_true(u16_at(resolution) == 9 && u16_at(resolution + 2) == 1 && resolution[4] == 9);
    return u32_at(idb + 12);
}

/* Takes one frame: it is the first `captured` bytes of that one. */
static void check_frame(struct file *f, const struct drv_frame *frame, uint32_t captured,
                        uint32_t direction, int64_t time)
{
    const uint8_t *block = next_block(f, 6);
    assert_non_null(block);
    assert_int_equal(u32_at(block + 8), 0);
    assert_true((int64_t)((uint64_t)u32_at(block + 12) << 32 | u32_at(block + 16)) == time);
    assert_int_equal(u32_at(block + 20), captured);
    assert_int_equal(u32_at(block + 24), dk_tx_frame_bytes(&frame->tx));
    assert_memory_equal(block + 28, frame->bytes, captured);
    const uint8_t *option = block + 28 + (captured + 3) / 4 * 4;
    assert_true(u16_at(option) == 2 && u16_at(option + 2) == 4);
    assert_int_equal(u32_at(option + 4), direction);
    assert_int_equal(u32_at(option + 8), 0);
}

static void test_pcap_both_directions_are_read_back(void **state)
{
    (void)state;
    enum { FRAMES = 300 };
    static const int64_t wall = INT64_C(1700000000123456789);
    struct drv_link link;
    struct drv_frame f[FRAMES];
    open_over(&link,
              (struct dk_pcap_options){
                  .path = capture_path(), .interface = "test0", .wall_offset_ns = wall},
              (struct dk_loop_options){.mtu = 3000});
    for (int i = 0; i < FRAMES; i++) { /* more than the buffer has room for */
        struct dk_rx_frame got;
        drv_frame_make(&f[i], DRV_HEADER + (uint32_t)i * 10, DRV_HEADER, 3, (uint64_t)i);
        struct dk_netdev *from = link.dev[i & 1], *to = link.dev[~i & 1];
        assert_int_equal(from->ops->tx_burst(from, &f[i].tx, 1, i), 1);
        assert_int_equal(to->ops->rx_burst(to, &got, 1, i), 1);
        drv_check(&got, &f[i]);
    }
    drv_close(&link);
    struct file file = read_file(capture_path());
    check_header(&file, "test0");
    for (int i = 0; i < FRAMES; i++) {
        check_frame(&file, &f[i], dk_tx_frame_bytes(&f[i].tx), i & 1 ? 1 : 2, wall + i);
        drv_frame_free(&f[i]);
    }
    assert_null(next_block(&file, 6));
    free(file.bytes);
}

static void test_pcap_snap_length_cuts_what_is_written(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    open_over(&link, (struct dk_pcap_options){.path = capture_path(), .snap_bytes = 66},
              (struct dk_loop_options){0});
    drv_frame_make(&f, 1000, 54, 2, 1);
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], &f.tx, 1, 9), 1);
    drv_close(&link);
    struct file file = read_file(capture_path());
    assert_int_equal(check_header(&file, "loop"), 66);
    check_frame(&file, &f, 66, 2, 9);
    assert_null(next_block(&file, 6));
    free(file.bytes);
    drv_frame_free(&f);
}

static void test_pcap_file_ends_at_its_limit_between_two_frames(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct stat st;
    open_over(&link, (struct dk_pcap_options){.path = capture_path(), .limit_bytes = 10000},
              (struct dk_loop_options){0});
    drv_frame_make(&f, 1000, DRV_HEADER, 1, 1);
    for (int i = 0; i < 20; i++)
        assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], &f.tx, 1, i), 1);
    const struct dk_netdev_stats *s = link.dev[0]->stats;
    assert_true(s->pcap_frames == 9 && s->pcap_unwritten == 11);
    assert_true(s->tx_frames == 20); /* the traffic goes on */
    drv_close(&link);
    assert_true(stat(capture_path(), &st) == 0 && st.st_size <= 10000);
    struct file file = read_file(capture_path());
    check_header(&file, "loop");
    for (int i = 0; i < 9; i++)
        check_frame(&file, &f, 1000, 2, i);
    assert_null(next_block(&file, 6));
    free(file.bytes);
    drv_frame_free(&f);
}

static void test_pcap_is_in_the_file_before_sleeping_and_when_idle(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got;
    open_over(&link, (struct dk_pcap_options){.path = capture_path()}, (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0];
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, i), 1);
        if (i == 0)
            assert_false(drv_readable(dev, 0));
        else
            assert_int_equal(dev->ops->rx_burst(dev, &got, 1, i), 0);
        struct file file = read_file(capture_path());
        check_header(&file, "loop");
        for (int k = 0; k <= i; k++)
            check_frame(&file, &f, 100, 2, k);
        assert_null(next_block(&file, 6));
        free(file.bytes);
    }
    drv_close(&link);
    drv_frame_free(&f);
}

/* What the device did not take is not on the link, and not in the file. */
static void test_pcap_frames_that_found_no_room_are_not_written(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_tx_frame tx[6];
    open_over(&link, (struct dk_pcap_options){.path = capture_path()},
              (struct dk_loop_options){.ring_frames = 4});
    drv_frame_make(&f, 100, DRV_HEADER, 1, 1);
    for (int i = 0; i < 6; i++)
        tx[i] = f.tx;
    assert_int_equal(link.dev[0]->ops->tx_burst(link.dev[0], tx, 6, 0), 4);
    drv_close(&link);
    struct file file = read_file(capture_path());
    check_header(&file, "loop");
    for (int i = 0; i < 4; i++)
        check_frame(&file, &f, 100, 2, 0);
    assert_null(next_block(&file, 6));
    free(file.bytes);
    drv_frame_free(&f);
}

static void test_pcap_full_disk_ends_the_capture_and_not_the_traffic(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct rlimit limit, old;
    open_over(&link, (struct dk_pcap_options){.path = capture_path()}, (struct dk_loop_options){0});
    struct dk_netdev *dev = link.dev[0];
    drv_frame_make(&f, 1000, DRV_HEADER, 1, 1);
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 0), 1);
    assert_false(drv_readable(dev, 0)); /* this one is in the file */
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 1), 1);
    assert_true(getrlimit(RLIMIT_FSIZE, &old) == 0);
    limit = old;
    limit.rlim_cur = 1500; /* cuts the second frame in two */
    signal(SIGXFSZ, SIG_IGN);
    assert_true(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    assert_false(drv_readable(dev, 0));
    assert_true(setrlimit(RLIMIT_FSIZE, &old) == 0);
    assert_int_equal(dev->ops->tx_burst(dev, &f.tx, 1, 2), 1);
    assert_true(dev->stats->pcap_frames == 1 && dev->stats->pcap_unwritten == 2);
    assert_true(dev->stats->tx_frames == 3);
    drv_close(&link);
    struct file file = read_file(capture_path());
    check_header(&file, "loop");
    check_frame(&file, &f, 1000, 2, 0);
    assert_null(next_block(&file, 6)); /* the half was cut off */
    free(file.bytes);
    drv_frame_free(&f);
}

static void test_pcap_file_that_cannot_be_written_says_so(void **state)
{
    (void)state;
    struct dk_netdev *inner, *dev;
    const char *why = NULL;
    must(-dk_loop_open(&inner, &(struct dk_loop_options){0}, &why));
    struct dk_pcap_options o = {.path = ""};
    drv_must_fail(dk_pcap_open(&dev, inner, &o, &why), EINVAL, &why, "no file");
    o.path = "/nowhere/at/all";
    drv_must_fail(dk_pcap_open(&dev, inner, &o, &why), ENOENT, &why, "/nowhere/at/all");
    o.path = "/dev/null";
    drv_must_fail(dk_pcap_open(&dev, inner, &o, &why), EINVAL, &why, "not a regular file");
    o = (struct dk_pcap_options){.path = capture_path(), .limit_bytes = 100};
    drv_must_fail(dk_pcap_open(&dev, inner, &o, &why), EINVAL, &why, "at least 4096");
    inner->ops->close(inner);
}

static void test_pcap_file_is_private(void **state)
{
    (void)state;
    struct drv_link link;
    struct stat st;
    unlink(capture_path());
    open_pcap(&link, 0, 0);
    drv_close(&link);
    assert_true(stat(capture_path(), &st) == 0 && (st.st_mode & 0777) == 0600);
}

/* The line that a program prints for a capture of one frame each way; false: it is not installed.
 */
static bool ask(const char *program, const char *arguments, char *out, size_t len)
{
    char line[256];
    snprintf(line, sizeof(line), "%s -r %s %s 2>/dev/null", program, capture_path(), arguments);
    FILE *pipe = popen(line, "r");
    size_t n = pipe ? fread(out, 1, len - 1, pipe) : 0;
    out[n] = '\0';
    return pipe && pclose(pipe) == 0 && n > 0;
}

static void test_pcap_is_opened_by_the_usual_programs(void **state)
{
    (void)state;
    struct drv_link link;
    struct drv_frame f;
    struct dk_rx_frame got;
    char out[1024];
    open_over(&link,
              (struct dk_pcap_options){.path = capture_path(),
                                       .wall_offset_ns = INT64_C(1700000000000000000)},
              (struct dk_loop_options){0});
    drv_frame_make(&f, 101, DRV_HEADER, 1, 1);
    for (int i = 0; i < 2; i++) {
        struct dk_netdev *from = link.dev[i], *to = link.dev[1 - i];
        assert_int_equal(from->ops->tx_burst(from, &f.tx, 1, 123456789 + i), 1);
        assert_int_equal(to->ops->rx_burst(to, &got, 1, 123456789 + i), 1);
        dk_buf_put(got.buf);
    }
    drv_close(&link);
    drv_frame_free(&f);
    bool asked = false;
    if (ask("tshark", "-T fields -e frame.time_epoch -e frame.len", out, sizeof(out))) {
        assert_string_equal(out, "1700000000.123456789\t101\n1700000000.123456790\t101\n");
        asked = true;
    }
    /* Root's tcpdump would become another user, who may not read the file. */
    if (ask("tcpdump", geteuid() == 0 ? "--nano -tt -nn -Z root" : "--nano -tt -nn", out,
            sizeof(out))) {
        assert_non_null(strstr(out, "1700000000.123456789"));
        assert_non_null(strstr(out, "1700000000.123456790"));
        assert_non_null(strstr(out, "0x88b5"));
        asked = true;
    }
    if (!asked) {
        printf("skip: neither tcpdump nor tshark is installed\n");
        skip();
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(capture_path());
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DRV_CONTRACT(pcap),
        cmocka_unit_test(test_pcap_both_directions_are_read_back),
        cmocka_unit_test(test_pcap_snap_length_cuts_what_is_written),
        cmocka_unit_test(test_pcap_file_ends_at_its_limit_between_two_frames),
        cmocka_unit_test(test_pcap_is_in_the_file_before_sleeping_and_when_idle),
        cmocka_unit_test(test_pcap_frames_that_found_no_room_are_not_written),
        cmocka_unit_test(test_pcap_full_disk_ends_the_capture_and_not_the_traffic),
        cmocka_unit_test(test_pcap_file_that_cannot_be_written_says_so),
        cmocka_unit_test(test_pcap_file_is_private),
        cmocka_unit_test(test_pcap_is_opened_by_the_usual_programs),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
