/* SPDX-License-Identifier: MIT */
/*
 * Start, stop, time and messages of the network subcommands.
 */
#include "session.h"

#include "command.h"

#include <demi/libos.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t stop_wanted;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stop_wanted = 1;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

int session_start(void)
{
    int err = demi_init(NULL);
    if (err == EINVAL)
        return COMMAND_USAGE; /* the library said what is wrong with the configuration */
    if (err != 0)
        return session_fail("cannot start the library", err);
    catch_signals();
    return COMMAND_OK;
}

void session_end(void)
{
    int err = demi_fini();
    if (err != 0)
        session_fail("cannot end the library", err);
}

bool session_stopped(void)
{
    return stop_wanted != 0;
}

uint64_t session_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct timespec session_timespec(uint64_t ns)
{
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
                             .tv_nsec = (long)(ns % 1000000000)};
}

int session_fail(const char *what, int err)
{
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(err));
    return COMMAND_FAILED;
}

int session_socket(const struct address *address, bool udp, int *qd_out)
{
    return demi_socket(qd_out, address->addr.ss_family, udp ? SOCK_DGRAM : SOCK_STREAM, 0);
}

static uint64_t unit_of(const char *suffix)
{
    if (strcmp(suffix, "") == 0)
        return 1;
    if (strcmp(suffix, "K") == 0 || strcmp(suffix, "k") == 0)
        return 1024;
    return strcmp(suffix, "M") == 0 ? 1048576 : 0;
}

bool session_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    uint64_t unit = unit_of(end);
    if (errno != 0 || unit == 0 || __builtin_mul_overflow(number, unit, &number))
        return false;
    if (number < min || number > max)
        return false;
    *out = number;
    return true;
}
