/* SPDX-License-Identifier: MIT */
/*
 * A library that is loaded and unloaded: it allocates when it comes and frees when it goes, and has
 * enough thread-local memory that the loader allocates it.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_allocate(size_t size);
void *plugin_thread_memory(void);

static void *kept[100];
static _Thread_local char local[20000];

__attribute__((constructor)) static void come(void)
{
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        kept[i] = strdup("what the library keeps");
}

__attribute__((destructor)) static void go(void)
{
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        free(kept[i]);
}

void *plugin_allocate(size_t size)
{
    return malloc(size);
}

void *plugin_thread_memory(void)
{
    return memset(local, 1, sizeof local);
}
