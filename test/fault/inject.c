/* SPDX-License-Identifier: MIT */
/* See inject.h. The linker's --wrap=f turns a call of f into one of __wrap_f, and gives the real
 * one the name __real_f. */
#include "inject.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

static struct {
    enum inject_kind kind;
    uint32_t nth;
    _Atomic uint32_t count; /* drivers have threads */
    bool lasting;
    atomic_bool hit;
    int error;
} plan;

static _Atomic int64_t blocks;

void inject_arm(enum inject_kind kind, uint32_t nth, bool lasting, int error)
{
    plan.count = 0;
    plan.nth = nth;
    plan.lasting = lasting;
    plan.hit = false;
    plan.error = error;
    plan.kind = kind;
}

uint32_t inject_disarm(void)
{
    plan.kind = INJECT_NOTHING;
    return plan.count;
}

bool inject_hit(void)
{
    return plan.hit;
}

int64_t inject_blocks_held(void)
{
    return blocks;
}

/* Counts a request; true, with errno set, when it is to fail. */
static bool fails(enum inject_kind kind)
{
    if (kind != plan.kind)
        return false;
    const uint32_t count = ++plan.count;
    if (count != plan.nth && !(plan.lasting && count > plan.nth))
        return false;
    plan.hit = true;
    errno = plan.error;
    return true;
}

static void *held(void *block)
{
    blocks += block != NULL;
    return block;
}

#define WRAP(type, name, ...)                                                                      \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size)
{
    return fails(INJECT_MEMORY) ? NULL : held(__real_malloc(size));
}

WRAP(void *, calloc, size_t n, size_t size)
{
    return fails(INJECT_MEMORY) ? NULL : held(__real_calloc(n, size));
}

WRAP(void *, aligned_alloc, size_t align, size_t size)
{
    return fails(INJECT_MEMORY) ? NULL : held(__real_aligned_alloc(align, size));
}

WRAP(void *, realloc, void *old, size_t size)
{
    if (fails(INJECT_MEMORY))
        return NULL;
    void *block = __real_realloc(old, size);
    blocks += old == NULL && block != NULL;
    return block;
}

WRAP(void, free, void *block)
{
    blocks -= block != NULL;
    __real_free(block);
}

/* The name depends on how wide the library was compiled to see file offsets. */
#define WRAP_MMAP(name)                                                                            \
    WRAP(void *, name, void *at, size_t len, int prot, int flags, int fd, off_t offset)            \
    {                                                                                              \
        if (fails(INJECT_MEMORY) || fails(INJECT_PAGES))                                           \
            return MAP_FAILED;                                                                     \
        void *map = __real_##name(at, len, prot, flags, fd, offset);                               \
        blocks += map != MAP_FAILED && (flags & MAP_FIXED) == 0; /* else it replaces one */        \
        return map;                                                                                \
    }

WRAP_MMAP(mmap)
WRAP_MMAP(mmap64)

WRAP(int, munmap, void *map, size_t len)
{
    if (fails(INJECT_UNMAP))
        return -1;
    blocks--;
    return __real_munmap(map, len);
}

WRAP(int, mprotect, void *map, size_t len, int prot)
{
    return fails(INJECT_MEMORY) || fails(INJECT_PAGES) ? -1 : __real_mprotect(map, len, prot);
}

WRAP(int, madvise, void *map, size_t len, int advice)
{
    return fails(INJECT_PAGES) ? -1 : __real_madvise(map, len, advice);
}

WRAP(int, mlock2, const void *map, size_t len, unsigned flags)
{
    return fails(INJECT_PAGES) ? -1 : __real_mlock2(map, len, flags);
}

WRAP(int, socket, int domain, int type, int protocol)
{
    return fails(INJECT_DESCRIPTOR) ? -1 : __real_socket(domain, type, protocol);
}

WRAP(int, accept4, int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    if (fails(INJECT_DESCRIPTOR) || fails(INJECT_ACCEPT))
        return -1;
    return __real_accept4(fd, addr, len, flags);
}

WRAP(int, epoll_create1, int flags)
{
    return fails(INJECT_DESCRIPTOR) ? -1 : __real_epoll_create1(flags);
}

WRAP(int, eventfd, unsigned count, int flags)
{
    return fails(INJECT_DESCRIPTOR) ? -1 : __real_eventfd(count, flags);
}

WRAP(int, epoll_ctl, int epfd, int op, int fd, struct epoll_event *event)
{
    return fails(INJECT_WATCH) ? -1 : __real_epoll_ctl(epfd, op, fd, event);
}

WRAP(ssize_t, send, int fd, const void *buf, size_t len, int flags)
{
    return fails(INJECT_IO) ? -1 : __real_send(fd, buf, len, flags);
}

WRAP(ssize_t, sendmsg, int fd, const struct msghdr *msg, int flags)
{
    return fails(INJECT_IO) ? -1 : __real_sendmsg(fd, msg, flags);
}

WRAP(ssize_t, recv, int fd, void *buf, size_t len, int flags)
{
    return fails(INJECT_IO) ? -1 : __real_recv(fd, buf, len, flags);
}

WRAP(ssize_t, recvfrom, int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
     socklen_t *addr_len)
{
    return fails(INJECT_IO) ? -1 : __real_recvfrom(fd, buf, len, flags, addr, addr_len);
}

/* Its third argument is a pointer, wherever this library calls it. */
int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
    return fails(INJECT_DEVICE) ? -1 : __real_ioctl(fd, request, arg);
}

WRAP(int, setsockopt, int fd, int level, int name, const void *value, socklen_t len)
{
    return fails(INJECT_DEVICE) ? -1 : __real_setsockopt(fd, level, name, value, len);
}

WRAP(int, bind, int fd, const struct sockaddr *addr, socklen_t len)
{
    return fails(INJECT_DEVICE) ? -1 : __real_bind(fd, addr, len);
}

WRAP(ssize_t, write, int fd, const void *buf, size_t len)
{
    return fails(INJECT_DEVICE) ? -1 : __real_write(fd, buf, len);
}

WRAP(ssize_t, writev, int fd, const struct iovec *iov, int n)
{
    return fails(INJECT_DEVICE) ? -1 : __real_writev(fd, iov, n);
}

WRAP(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned n, int flags)
{
    return fails(INJECT_DEVICE) ? -1 : __real_sendmmsg(fd, messages, n, flags);
}

int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, mode_t mode)
{
    return fails(INJECT_FILE) ? -1 : __real_open64(path, flags, mode);
}

WRAP(int, flock, int fd, int operation)
{
    return fails(INJECT_FILE) ? -1 : __real_flock(fd, operation);
}

struct stat64;
struct statfs64;

WRAP(int, fstat64, int fd, struct stat64 *st)
{
    return fails(INJECT_FILE) ? -1 : __real_fstat64(fd, st);
}

WRAP(int, fstatfs64, int fd, struct statfs64 *st)
{
    return fails(INJECT_FILE) ? -1 : __real_fstatfs64(fd, st);
}

WRAP(ssize_t, pwrite64, int fd, const void *buf, size_t len, off_t at)
{
    return fails(INJECT_FILE) ? -1 : __real_pwrite64(fd, buf, len, at);
}

WRAP(ssize_t, preadv64, int fd, const struct iovec *iov, int n, off_t at)
{
    return fails(INJECT_FILE) ? -1 : __real_preadv64(fd, iov, n, at);
}

WRAP(ssize_t, pwritev64v2, int fd, const struct iovec *iov, int n, off_t at, int flags)
{
    return fails(INJECT_FILE) ? -1 : __real_pwritev64v2(fd, iov, n, at, flags);
}

WRAP(int, fallocate64, int fd, int mode, off_t at, off_t len)
{
    return fails(INJECT_FILE) ? -1 : __real_fallocate64(fd, mode, at, len);
}

WRAP(int, ftruncate64, int fd, off_t len)
{
    return fails(INJECT_FILE) ? -1 : __real_ftruncate64(fd, len);
}

WRAP(int, fdatasync, int fd)
{
    return fails(INJECT_FILE) ? -1 : __real_fdatasync(fd);
}

WRAP(int, fsync, int fd)
{
    return fails(INJECT_FILE) ? -1 : __real_fsync(fd);
}

WRAP(int, renameat2, int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    return fails(INJECT_FILE) ? -1 : __real_renameat2(from_fd, from, to_fd, to, flags);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
     void *arg)
{
    return fails(INJECT_THREAD) ? plan.error : __real_pthread_create(thread, attr, run, arg);
}

struct io_uring;
struct io_uring_params;

WRAP(int, io_uring_submit, struct io_uring *ring)
{
    return fails(INJECT_SUBMIT) ? -plan.error : __real_io_uring_submit(ring);
}

WRAP(int, io_uring_submit_and_wait, struct io_uring *ring, unsigned n)
{
    return fails(INJECT_SUBMIT) ? -plan.error : __real_io_uring_submit_and_wait(ring, n);
}

WRAP(int, io_uring_queue_init_params, unsigned entries, struct io_uring *ring,
     struct io_uring_params *params)
{
    if (fails(INJECT_RING))
        return -plan.error;
    return __real_io_uring_queue_init_params(entries, ring, params);
}
