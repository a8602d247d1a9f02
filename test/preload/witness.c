/* SPDX-License-Identifier: MIT */
/*
 * Loaded into programs beside libdemikernel-malloc.so: each process that loads it appends one line
 * to the file that DEMI_WITNESS names, "PID NAME" and "heap" or "elsewhere", by where its malloc
 * allocates.
 */
#include "heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void testify(void)
{
    const char *path = getenv("DEMI_WITNESS");
    const int fd = path != NULL ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *p = malloc(100);
    char line[200];
    const int len = snprintf(line, sizeof line, "%d %.100s %s\n", getpid(),
                             program_invocation_short_name, heap_has(p) ? "heap" : "elsewhere");
    free(p);
    if (write(fd, line, (size_t)len) != len)
        abort();
    close(fd);
}
