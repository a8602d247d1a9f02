/* SPDX-License-Identifier: MIT */
/* opener LIBRARY: loads a library while it runs; prints "opened", or why not. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    puts(library ? "opened" : dlerror());
    return 0;
}
