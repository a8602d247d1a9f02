/* SPDX-License-Identifier: MIT */
/* Instances: one per worker, queues and tokens that belong to their maker, memory queues that do
 * not; and the thread that drives an instance in the background. */
#include "groups.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void workers(const char *n)
{
    setenv("DEMI_WORKERS", n, 1);
    must(demi_init(NULL));
    unsetenv("DEMI_WORKERS");
}

struct foreign {
    struct pair pair;
    demi_qtoken_t pop;
    demi_qtoken_t memory_pop;
    int memory;
};

static void use_foreign(int index, void *arg)
{
    (void)index;
    struct foreign *foreign = arg;
    demi_qtoken_t qt = 4711;
    demi_qresult_t qr;
    int offset = -1;
    demi_sgarray_t sga = demi_sgaalloc(8);
    CREW_MUST(demi_init(NULL));
    CREW_CHECK(demi_init(NULL) == EEXIST);
    CREW_CHECK(demi_wait(&qr, foreign->memory_pop, ZERO_TIME) == EXDEV);
    CREW_CHECK(demi_wait_any(&qr, &offset, &foreign->memory_pop, 1, ZERO_TIME) == EXDEV);
    CREW_CHECK(demi_wait_all(&qr, &foreign->memory_pop, 1, ZERO_TIME) == EXDEV);
    if (backend_can(CAN_SOCKET)) {
        CREW_CHECK(demi_pop(&qt, foreign->pair.rx) == EXDEV);
        CREW_CHECK(demi_push(&qt, foreign->pair.tx, &sga) == EXDEV);
        CREW_CHECK(demi_wait(&qr, foreign->pop, NULL) == EXDEV);
        CREW_CHECK(qt == 4711);
    }
    CREW_MUST(crew_push_tag(foreign->memory, 42)); /* a memory queue takes it from anybody */
    uint64_t tag = 0;
    CREW_MUST(crew_pop_tag(foreign->memory, &tag));
    CREW_CHECK(tag == 43);
    CREW_MUST(demi_sgafree(&sga));
}

static void test_queues_and_tokens_of_another_instance_are_exdev(void **state)
{
    (void)state;
    workers("2");
    struct foreign foreign = {.pair = pair_make()};
    must(demi_queue(&foreign.memory, 0));
    foreign.pop = pop_start(foreign.pair.rx);
    foreign.memory_pop = pop_start(foreign.memory);
    crew_start(1, use_foreign, &foreign);
    demi_qresult_t qr = wait_success(foreign.memory_pop, DEMI_OPC_POP);
    uint64_t tag = 0;
    demi_sgarray_t sga = qr.qr_value.sga;
    memcpy(&tag, sga.sga_segs[0].sgaseg_buf, sizeof tag);
    assert_int_equal(tag, 42);
    must(demi_sgafree(&sga));
    must(crew_push_tag(foreign.memory, 43));
    crew_join();
    must(demi_cancel(foreign.pop));
    pair_close(foreign.pair);
    must(demi_close(foreign.memory));
    must(demi_fini());
}

struct shared {
    struct pair pair;
    atomic_int own;
    pthread_barrier_t all_started;
};

static void count_own(int index, void *arg)
{
    struct shared *shared = arg;
    (void)index;
    CREW_MUST(demi_init(NULL));
    pthread_barrier_wait(&shared->all_started);
    demi_qtoken_t qt;
    const int error = demi_pop(&qt, shared->pair.rx);
    if (error == EXDEV) {
        shared->own++;
        return;
    }
    CREW_MUST(error);
    CREW_MUST(demi_cancel(qt));
}

static void test_threads_beyond_workers_share_the_first_instance(void **state)
{
    (void)state;
    backend_needs(CAN_SOCKET);
    workers("3");
    struct shared shared = {.pair = pair_make()};
    assert_int_equal(pthread_barrier_init(&shared.all_started, NULL, 6), 0);
    crew_start(6, count_own, &shared);
    crew_join();
    assert_int_equal(shared.own, 2); /* this thread has the first of three */
    pthread_barrier_destroy(&shared.all_started);
    pair_close(shared.pair);
    must(demi_fini());
}

struct mesh {
    int memory[CREW_MAX];
    int threads;
    int rounds;
};

/* Every worker its own sockets, and memory queues from worker to worker. */
static void mesh_worker(int index, void *arg)
{
    struct mesh *mesh = arg;
    const int next = (index + 1) % mesh->threads;
    CREW_MUST(demi_init(NULL));
    for (int i = 0; i < mesh->rounds; i++) {
        uint64_t got = 0;
        CREW_MUST(crew_push_tag(mesh->memory[next], (uint64_t)i));
        CREW_MUST(crew_pop_tag(mesh->memory[index], &got));
        CREW_CHECK(got == (uint64_t)i && !crew_failed());
    }
}

static void test_memory_queues_connect_instances(void **state)
{
    (void)state;
    workers("4");
    struct mesh mesh = {.threads = 3, .rounds = crew_rounds(2000)};
    for (int i = 0; i < mesh.threads; i++)
        must(demi_queue(&mesh.memory[i], 4));
    crew_start(mesh.threads, mesh_worker, &mesh);
    crew_join();
    for (int i = 0; i < mesh.threads; i++)
        must(demi_close(mesh.memory[i]));
    must(demi_fini());
}

enum { SERVERS = 3, CLIENTS = 60 };

struct service {
    struct sockaddr_storage addr;
    socklen_t len;
    pthread_barrier_t listening;
    atomic_int served;
};

/* Binds the same port as the others; echoes one element per connection. */
static void serve_shared_port(int index, void *arg)
{
    struct service *service = arg;
    (void)index;
    int listener = -1;
    demi_qtoken_t accepting;
    CREW_MUST(demi_init(NULL));
    CREW_MUST(demi_socket(&listener, backend()->domain, SOCK_STREAM, 0));
    CREW_MUST(demi_bind(listener, (struct sockaddr *)&service->addr, service->len));
    CREW_MUST(demi_listen(listener, CLIENTS));
    CREW_MUST(demi_accept(&accepting, listener));
    pthread_barrier_wait(&service->listening);
    while (service->served < CLIENTS && !crew_failed()) {
        demi_qresult_t qr;
        const struct timespec moment = ms_time(5);
        const int error = demi_wait(&qr, accepting, &moment);
        if (error == ETIMEDOUT)
            continue;
        CREW_MUST(error);
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_ACCEPT);
        const int conn = qr.qr_value.ares.qd;
        CREW_MUST(demi_accept(&accepting, listener));
        CREW_MUST(demi_blocking_pop(conn, &qr));
        CREW_MUST(demi_blocking_push(conn, &qr.qr_value.sga));
        CREW_MUST(demi_sgafree(&qr.qr_value.sga));
        CREW_MUST(demi_close(conn));
        service->served++;
    }
}

static void test_workers_listen_on_one_port(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    workers("4");
    struct service service = {0};
    /* A bound socket of the option keeps the port for the workers. */
    int keeper = socket(backend()->domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    setsockopt(keeper, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(keeper, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    service.len = loopback(backend()->domain, 0, &service.addr);
    assert_int_equal(bind(keeper, (struct sockaddr *)&service.addr, service.len), 0);
    service.len = sizeof service.addr;
    getsockname(keeper, (struct sockaddr *)&service.addr, &service.len);
    assert_int_equal(pthread_barrier_init(&service.listening, NULL, SERVERS + 1), 0);
    crew_start(SERVERS, serve_shared_port, &service);
    pthread_barrier_wait(&service.listening);
    for (uint64_t i = 0; i < CLIENTS; i++) {
        uint8_t out[20], in[20];
        pattern_fill(out, sizeof out, i, 0);
        int fd = plain_connect(&service.addr, service.len);
        plain_send(fd, out, sizeof out);
        plain_receive(fd, in, sizeof in);
        pattern_check(in, sizeof in, i, 0);
        close(fd);
    }
    crew_join();
    pthread_barrier_destroy(&service.listening);
    close(keeper);
    must(demi_fini());
}

enum { RING = 2, RING_BYTES = 1000 };

struct ring {
    struct sockaddr_storage addr[RING];
    socklen_t len[RING];
    pthread_barrier_t listening;
    int rounds;
};

/* One worker of a ring: the client of the next, and the server of the one before. */
struct member {
    int client, server;
    demi_qtoken_t pops[2]; /* the client's, the server's */
    size_t got;            /* by the client, of this round */
    int left;              /* rounds */
    bool ended;            /* the client of our server is done */
};

static int ring_listen(int *listener, struct ring *ring, int index)
{
    ring->len[index] = loopback(backend()->domain, 0, &ring->addr[index]);
    struct sockaddr *addr = (struct sockaddr *)&ring->addr[index];
    int r = demi_socket(listener, backend()->domain, SOCK_STREAM, 0);
    r = r ? r : demi_bind(*listener, addr, ring->len[index]);
    r = r ? r : demi_listen(*listener, 4);
    return r ? r : demi_getsockname(*listener, addr, &ring->len[index]);
}

static int ring_join(struct member *m, struct ring *ring, int index, int listener)
{
    const int next = (index + 1) % RING;
    demi_qtoken_t qts[2];
    demi_qresult_t qrs[2];
    int r = demi_socket(&m->client, backend()->domain, SOCK_STREAM, 0);
    r = r ? r : demi_accept(&qts[0], listener);
    r = r ? r
          : demi_connect(&qts[1], m->client, (struct sockaddr *)&ring->addr[next], ring->len[next]);
    r = r ? r : demi_wait_all(qrs, qts, 2, NULL);
    if (r == 0 && (qrs[0].qr_opcode != DEMI_OPC_ACCEPT || qrs[1].qr_opcode != DEMI_OPC_CONNECT))
        r = (int)(qrs[1].qr_ret ? qrs[1].qr_ret : qrs[0].qr_ret);
    m->server = r ? -1 : qrs[0].qr_value.ares.qd;
    return r;
}

/* Sends what the next worker is to send back; at the end, closes. */
static int ring_ask(struct member *m)
{
    if (m->left-- == 0)
        return demi_close(m->client);
    demi_sgarray_t sga = demi_sgaalloc(RING_BYTES);
    memset(sga.sga_segs[0].sgaseg_buf, m->left & 0xff, RING_BYTES);
    m->got = 0;
    int r = demi_blocking_push(m->client, &sga);
    r = r ? r : demi_sgafree(&sga);
    return r ? r : demi_pop(&m->pops[0], m->client);
}

/* Part of an answer came. */
static int ring_answered(struct member *m, demi_sgarray_t *sga)
{
    const uint8_t *bytes = sga->sga_segs[0].sgaseg_buf;
    const uint32_t n = sga->sga_numsegs ? sga->sga_segs[0].sgaseg_len : 0;
    for (uint32_t i = 0; i < n; i++)
        if (bytes[i] != (m->left & 0xff))
            return EBADMSG;
    m->got += n;
    int r = n ? demi_sgafree(sga) : ECONNRESET;
    if (r == 0)
        r = m->got < RING_BYTES ? demi_pop(&m->pops[0], m->client) : ring_ask(m);
    return r;
}

static int ring_echo(struct member *m, demi_sgarray_t *sga)
{
    if (sga->sga_numsegs == 0 || sga->sga_segs[0].sgaseg_buf == NULL) {
        m->ended = true;
        return demi_close(m->server);
    }
    int r = demi_blocking_push(m->server, sga);
    r = r ? r : demi_sgafree(sga);
    return r ? r : demi_pop(&m->pops[1], m->server);
}

static void ring_worker(int index, void *arg)
{
    struct ring *ring = arg;
    struct member m = {.left = ring->rounds};
    int listener = -1;
    if (index > 0)
        CREW_MUST(demi_init(NULL));
    CREW_MUST(ring_listen(&listener, ring, index));
    pthread_barrier_wait(&ring->listening);
    CREW_MUST(ring_join(&m, ring, index, listener));
    CREW_MUST(demi_pop(&m.pops[1], m.server));
    CREW_MUST(ring_ask(&m));
    while (m.left >= 0 || !m.ended) {
        demi_qresult_t qr;
        int at;
        const int from = m.left < 0 ? 1 : 0, n = m.ended ? 1 : 2 - from;
        CREW_MUST(demi_wait_any(&qr, &at, m.pops + from, n, NULL));
        CREW_CHECK(qr.qr_opcode == DEMI_OPC_POP);
        CREW_MUST(from + at == 0 ? ring_answered(&m, &qr.qr_value.sga)
                                 : ring_echo(&m, &qr.qr_value.sga));
    }
    CREW_MUST(demi_close(listener));
    pthread_barrier_wait(&ring->listening); /* who is done early still passes packets on */
}

static void ring_rest(int index, void *arg)
{
    ring_worker(index + 1, arg);
}

/* Each is the client of the next, and its connections are known to two of them: both are busy. */
static void test_workers_reach_each_other(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_STREAM);
    workers("2");
    struct ring ring = {.rounds = crew_rounds(300)};
    assert_int_equal(pthread_barrier_init(&ring.listening, NULL, RING), 0);
    crew_start(RING - 1, ring_rest, &ring);
    ring_worker(0, &ring);
    crew_join();
    pthread_barrier_destroy(&ring.listening);
    must(demi_fini());
}

static void echo_uninitialised(int index, void *arg)
{
    struct pair *pair = arg;
    (void)index;
    uint64_t tag = 0;
    CREW_MUST(crew_push_tag(pair->tx, 5));
    CREW_MUST(crew_pop_tag(pair->rx, &tag));
    CREW_CHECK(tag == 5);
}

static void test_thread_that_never_called_init_uses_the_first_instance(void **state)
{
    (void)state;
    workers("4");
    struct pair pair = pair_make();
    crew_start(1, echo_uninitialised, &pair);
    crew_join();
    pair_close(pair);
    must(demi_fini());
}

/* Nobody waits: the background thread sends, as the reader takes. */
static void test_background_thread_carries_a_push_to_its_end(void **state)
{
    (void)state;
    backend_needs(CAN_LISTEN | CAN_KERNEL);
    enum { BYTES = 16 << 20 };
    setenv("DEMI_BACKGROUND", "yes", 1);
    must(demi_init(NULL));
    unsetenv("DEMI_BACKGROUND");
    int qd, fd;
    plain_pair(&qd, &fd);
    demi_sgarray_t sga = pattern_sga(BYTES, 1, 0);
    demi_qtoken_t qt = push_start(qd, &sga);
    must(demi_sgafree(&sga));
    uint8_t *got = malloc(BYTES);
    plain_receive(fd, got, BYTES);
    pattern_check(got, BYTES, 1, 0);
    free(got);
    wait_success(qt, DEMI_OPC_PUSH);
    must(demi_close(qd));
    close(fd);
    must(demi_fini());
}

int run_instance_tests(void)
{
    const struct CMUnitTest tests[] = {
        UNSTARTED(test_queues_and_tokens_of_another_instance_are_exdev),
        UNSTARTED(test_threads_beyond_workers_share_the_first_instance),
        UNSTARTED(test_memory_queues_connect_instances),
        UNSTARTED(test_workers_listen_on_one_port),
        UNSTARTED(test_workers_reach_each_other),
        UNSTARTED(test_thread_that_never_called_init_uses_the_first_instance),
        UNSTARTED(test_background_thread_carries_a_push_to_its_end),
    };
    return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
