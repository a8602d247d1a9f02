/* SPDX-License-Identifier: MIT */
/*
 * The `demi` command: finds the subcommand and hands over. All but `log` use the public interface
 * only, so that it is at the same time a test that the interface is enough.
 */
#include "command.h"

#include <demi/admin.h>

#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"info", "show version, library OSes, configuration, counters of a process", info_run},
    {"echo", "send back what arrives", echo_run},
    {"ping", "measure round trips to an echo server", ping_run},
    {"doctor", "say what a backend lacks here, and the command that mends it", doctor_run},
    {"log", "make, fill, read and check logs on a file or block device", log_run},
};

#define NUM_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < NUM_COMMANDS; i++) {
        if (strcmp(name, commands[i].name) == 0)
            return &commands[i];
    }
    return NULL;
}

static int print_help(void)
{
    printf("Usage: demi COMMAND [OPTION...]\n"
           "Look at Demikernel on this machine, and try it out.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        printf("  %-6s %s\n", commands[i].name, commands[i].summary);
    printf("  %-6s %s\n", "help", "describe a command: demi help COMMAND");
    printf("\nOptions:\n"
           "  -?, --help     this text\n"
           "  -V, --version  the version of the library\n"
           "\nExit codes: 0 success, 1 failure, 2 wrong usage or configuration.\n");
    return COMMAND_OK;
}

static int print_version(void)
{
    printf("demi %s\n", demi_version());
    return COMMAND_OK;
}

static int fail_unknown(const char *name)
{
    fprintf(stderr, "demi: unknown command '%s'; commands:", name);
    for (size_t i = 0; i < NUM_COMMANDS; i++)
        fprintf(stderr, " %s", commands[i].name);
    fprintf(stderr, " help\n");
    return COMMAND_USAGE;
}

/* Runs a subcommand under the name "demi NAME", which usage and errors show. */
static int run_command(const struct command *command, int argc, char **argv)
{
    char name[32];
    snprintf(name, sizeof(name), "demi %s", command->name);
    argv[0] = name;
    argp_err_exit_status = COMMAND_USAGE;
    program_invocation_short_name = name;
    return command->run(argc, argv);
}

static int run_help(int argc, char **argv)
{
    char help[] = "--help";
    char *help_argv[] = {argv[0], help, NULL};
    if (argc < 2)
        return print_help();
    const struct command *command = find_command(argv[1]);
    return command == NULL ? fail_unknown(argv[1]) : run_command(command, 2, help_argv);
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "demi: a command is missing; try 'demi --help'\n");
        return COMMAND_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "-h") == 0)
        return print_help();
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return print_version();
    if (strcmp(argv[1], "help") == 0)
        return run_help(argc - 1, argv + 1);
    const struct command *command = find_command(argv[1]);
    return command == NULL ? fail_unknown(argv[1]) : run_command(command, argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
    int code = dispatch(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "demi: cannot write to standard output: %s\n", strerror(errno));
        return COMMAND_FAILED;
    }
    return code;
}
