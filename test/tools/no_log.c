/* SPDX-License-Identifier: MIT */
/* In place of `demi log`, which sees the library's inside: the rest of demi is also tested with the
 * shared library, which loads modules. */
#include "command.h"

#include <stdio.h>

int log_run(int argc, char **argv)
{
    (void)argc, (void)argv;
    fputs("this demi has no log\n", stderr);
    return 2;
}
