/* SPDX-License-Identifier: MIT */
/*
 * The subcommands of `demi`: one file each, one entry each in the table of main.c.
 *
 * A subcommand gets its own argv (argv[0] is "demi NAME") and returns an exit code. Results go to
 * standard output, everything else to standard error.
 */
#ifndef TOOLS_COMMAND_H
#define TOOLS_COMMAND_H

enum command_exit {
    COMMAND_OK = 0,
    COMMAND_FAILED = 1, /* it was tried, and something was lost or refused */
    COMMAND_USAGE = 2,  /* wrong arguments or a bad configuration: nothing was tried */
};

struct command {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

int info_run(int argc, char **argv);
int echo_run(int argc, char **argv);
int ping_run(int argc, char **argv);
int log_run(int argc, char **argv);
int doctor_run(int argc, char **argv);

#endif /* TOOLS_COMMAND_H */
