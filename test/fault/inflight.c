/* SPDX-License-Identifier: MIT */
/*
 * DEMI_DEBUG=inflight: who writes to memory that a push lends is told so, with the queue, the token
 * and the offset, and nobody else is.
 */
#include "../lib/backend.h"

#include <demi/memory.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char said[4096]; /* by the last child */

/* What a program does in a child of its own. Returns when nothing was reported. */
typedef void (*program_fn)(void);

/* Runs a program; whether it was ended by a report, which is in `said` then. */
static bool is_reported(program_fn program)
{
    int fds[2];
    must(pipe(fds));
    const int pid = child_fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        dup2(fds[1], STDERR_FILENO);
        CHILD(demi_init(NULL) == 0);
        program();
        CHILD(demi_fini() == 0);
        child_exit(0);
    }
    close(fds[1]);
    size_t len = 0;
    ssize_t n;
    while ((n = read(fds[0], said + len, sizeof said - 1 - len)) > 0)
        len += (size_t)n;
    said[len] = '\0';
    close(fds[0]);
    const int status = child_wait(pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return false;
    must_hold(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %x, said: %s",
              (unsigned)status, said);
    return true;
}

static void must_say(const char *what)
{
    must_hold(strstr(said, what) != NULL, "not \"%s\" in: %s", what, said);
}

/* In the child: a queue that takes pushes, a big one waits for ever on a socket. */
static int queue_here(void)
{
    int qd = -1;
    CHILD(demi_queue(&qd, 0) == 0);
    return qd;
}

static int socket_here(void)
{
    struct pair pair = pair_make();
    return pair.tx;
}

static demi_qtoken_t push_here(int qd, const demi_sgarray_t *sga)
{
    demi_qtoken_t qt = 0;
    CHILD(demi_push(&qt, qd, sga) == 0);
    return qt;
}

static demi_qresult_t wait_here(demi_qtoken_t qt)
{
    demi_qresult_t qr;
    CHILD(demi_wait(&qr, qt, NULL) == 0);
    return qr;
}

static demi_sgarray_t pop_here(int qd)
{
    demi_qtoken_t qt = 0;
    CHILD(demi_pop(&qt, qd) == 0);
    return wait_here(qt).qr_value.sga;
}

static demi_sgarray_t new_sga(uint32_t len)
{
    demi_sgarray_t sga = demi_sgaalloc(len);
    CHILD(sga.sga_numsegs == 1);
    memset(sga.sga_segs[0].sgaseg_buf, 1, len);
    return sga;
}

static char *bytes_of(const demi_sgarray_t *sga)
{
    return sga->sga_segs[0].sgaseg_buf;
}

static void write_before_collection(void)
{
    demi_sgarray_t sga = new_sga(5000);
    const demi_qtoken_t qt = push_here(queue_here(), &sga);
    bytes_of(&sga)[4321] = 2;
    wait_here(qt);
}

static void test_write_before_the_push_is_collected_is_reported(void **state)
{
    (void)state;
    assert_true(is_reported(write_before_collection));
    must_say("pushed to queue 0");
    must_say("in flight");
    must_say("token 0x");
    must_say("segment 0, offset 4321");
    must_say("was 0x01, is 0x02");
}

static void write_second_segment(void)
{
    const uint32_t lens[2] = {3000, 2000};
    demi_sgarray_t sga = demi_sgaalloc_segs(lens, 2);
    memset(sga.sga_segs[0].sgaseg_buf, 1, 3000);
    memset(sga.sga_segs[1].sgaseg_buf, 1, 2000);
    const demi_qtoken_t qt = push_here(queue_here(), &sga);
    ((char *)sga.sga_segs[1].sgaseg_buf)[7] = 3;
    wait_here(qt);
}

static void test_write_to_a_later_segment_is_reported_with_both_offsets(void **state)
{
    (void)state;
    assert_true(is_reported(write_second_segment));
    must_say("segment 1, offset 7 (offset 3007 of the element)");
}

static void write_own_object(void)
{
    char *object = demi_malloc(9000);
    memset(object, 1, 9000);
    const demi_sgarray_t built = built_sga(object + 100, 8000);
    const demi_qtoken_t qt = push_here(queue_here(), &built);
    object[200] = 9;
    wait_here(qt);
}

static void test_write_to_an_object_of_demi_malloc_is_reported(void **state)
{
    (void)state;
    assert_true(is_reported(write_own_object));
    must_say("offset 100");
}

static void write_stack(void)
{
    char memory[100] = {1};
    const demi_sgarray_t built = built_sga(memory, sizeof memory);
    const demi_qtoken_t qt = push_here(queue_here(), &built);
    memory[99] = 5;
    wait_here(qt);
}

static void test_write_to_memory_on_the_stack_is_reported(void **state)
{
    (void)state;
    assert_true(is_reported(write_stack));
    must_say("offset 99");
}

static void write_what_a_socket_holds(void)
{
    demi_sgarray_t sga = new_sga(48u << 20); /* more than any socket buffer */
    const demi_qtoken_t qt = push_here(socket_here(), &sga);
    bytes_of(&sga)[47u << 20] = 2;
    CHILD(demi_cancel(qt) == EBUSY);
    demi_sgafree(&sga); /* looks at it */
}

static void test_write_to_what_a_socket_has_not_sent_is_reported(void **state)
{
    (void)state;
    assert_true(is_reported(write_what_a_socket_holds));
    must_say("offset 49283072");
}

static void write_after_hand_over(void)
{
    const int qd = queue_here();
    demi_sgarray_t sga = new_sga(5000);
    wait_here(push_here(qd, &sga));
    demi_sgarray_t popped = pop_here(qd);
    bytes_of(&sga)[11] = 2;
    demi_sgafree(&popped);
}

static void test_write_while_another_holds_the_element_is_reported(void **state)
{
    (void)state;
    assert_true(is_reported(write_after_hand_over));
    must_say("after it was handed over");
    must_say("offset 11");
}

/* All that is allowed, on both kinds of queue. */
static void do_what_is_allowed(int tx, int rx)
{
    demi_sgarray_t sga = new_sga(5000);
    demi_qtoken_t qt = push_here(tx, &sga);
    demi_sgafree(&sga); /* freed in flight, and reused */
    demi_sgarray_t other = new_sga(5000);
    memset(bytes_of(&other), 7, 5000);
    demi_sgarray_t popped = pop_here(rx);
    memset(bytes_of(&popped), 8, popped.sga_segs[0].sgaseg_len); /* its only holder */
    wait_here(qt);
    demi_sgafree(&popped);
    qt = push_here(tx, &other);
    wait_here(qt);
    popped = pop_here(rx);
    demi_sgafree(&other);
    memset(bytes_of(&popped), 9, popped.sga_segs[0].sgaseg_len);
    demi_sgafree(&popped);
    char *object = demi_malloc(5000);
    memset(object, 3, 5000);
    const demi_sgarray_t built = built_sga(object, 5000);
    qt = push_here(tx, &built);
    object = demi_realloc(object, 5100);
    object[0] = 4; /* it moved */
    wait_here(qt);
    demi_free(object);
    popped = pop_here(rx);
    CHILD(bytes_of(&popped)[0] == 3);
    demi_sgafree(&popped);
}

static void do_what_is_allowed_in_memory(void)
{
    const int qd = queue_here();
    do_what_is_allowed(qd, qd);
    /* Never popped, never collected. */
    demi_sgarray_t sga = new_sga(100);
    push_here(qd, &sga);
    demi_sgafree(&sga);
    CHILD(demi_close(qd) == 0);
}

static void do_what_is_allowed_on_a_socket(void)
{
    struct pair pair = pair_make();
    do_what_is_allowed(pair.tx, pair.rx);
}

static void test_what_is_allowed_is_not_reported(void **state)
{
    (void)state;
    must_hold(!is_reported(do_what_is_allowed_in_memory), "said: %s", said);
    must_hold(!is_reported(do_what_is_allowed_on_a_socket), "said: %s", said);
}

int main(void)
{
    if (!backend_choose("epoll-tcp4"))
        return 1;
    setenv("DEMI_DEBUG", "inflight", 1);
#define BOUNDED(f) cmocka_unit_test_setup_teardown(f, deadline_setup, deadline_teardown)
    const struct CMUnitTest tests[] = {
        BOUNDED(test_write_before_the_push_is_collected_is_reported),
        BOUNDED(test_write_to_a_later_segment_is_reported_with_both_offsets),
        BOUNDED(test_write_to_an_object_of_demi_malloc_is_reported),
        BOUNDED(test_write_to_memory_on_the_stack_is_reported),
        BOUNDED(test_write_to_what_a_socket_has_not_sent_is_reported),
        BOUNDED(test_write_while_another_holds_the_element_is_reported),
        BOUNDED(test_what_is_allowed_is_not_reported),
    };
    return cmocka_run_group_tests_name("inflight", tests, NULL, NULL);
}
