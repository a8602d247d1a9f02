/* SPDX-License-Identifier: MIT */
#include "drv/dpdk/eal.h"

#include "drv/why.h"
#include "os/log.h"
#include "os/sync.h"

#include <errno.h>
#include <glob.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMORY_MB 64u  /* of huge pages, to begin with: EAL takes more when it needs them */
#define PLAIN_MB  256u /* of other pages, of which it cannot: pools of several ports */
#define WORDS_MAX 64u
#define TEXT_MAX  2048u

/* Arguments for EAL: words, which it keeps. */
struct words {
    int num;
    char *argv[WORDS_MAX];
    char text[TEXT_MAX];
    size_t used;
};

static struct dk_lock lock; /* of all below */
static pid_t started;       /* by this process, 0: not yet */
static bool taken[RTE_MAX_ETHPORTS];

__attribute__((format(printf, 2, 3))) static bool add(struct words *w, const char *fmt, ...)
{
    va_list ap;
    if (w->num + 1 == (int)WORDS_MAX)
        return false;
    va_start(ap, fmt);
    int n = vsnprintf(w->text + w->used, TEXT_MAX - w->used, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= TEXT_MAX - w->used)
        return false;
    w->argv[w->num++] = w->text + w->used;
    w->argv[w->num] = NULL;
    w->used += (size_t)n + 1;
    return true;
}

/* Adds the words of a text. */
static bool add_text(struct words *w, const char *text)
{
    bool all = true;
    for (text += strspn(text, " \t"); *text && all; text += strspn(text, " \t")) {
        const int len = (int)strcspn(text, " \t");
        all = add(w, "%.*s", len, text);
        text += len;
    }
    return all;
}

/* Whether an option is among the words of a text: by itself, with "=VALUE", or, a short one, with
 * its value. */
static bool says(const char *text, const char *option)
{
    const size_t len = strlen(option);
    for (text += strspn(text, " \t"); *text; text += strspn(text, " \t")) {
        const size_t word = strcspn(text, " \t");
        if (word >= len && strncmp(text, option, len) == 0 &&
            (word == len || text[len] == '=' || option[1] != '-'))
            return true;
        text += word;
    }
    return false;
}

static bool says_any(const char *text, const char *const options[])
{
    while (*options)
        if (says(text, *options++))
            return true;
    return false;
}

/* Megabytes of huge pages that nobody has. */
static uint64_t free_huge_mb(void)
{
    glob_t found;
    uint64_t kb = 0;
    if (glob("/sys/kernel/mm/hugepages/hugepages-*", GLOB_NOSORT, NULL, &found) != 0)
        return 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char path[128];
        unsigned long long page_kb = 0, num = 0;
        snprintf(path, sizeof path, "%s/free_hugepages", found.gl_pathv[i]);
        FILE *file = fopen(path, "re");
        if (file && fscanf(file, "%llu", &num) == 1 &&
            sscanf(strrchr(found.gl_pathv[i], '-') + 1, "%llukB", &page_kb) == 1)
            kb += num * page_kb;
        if (file)
            fclose(file);
    }
    globfree(&found);
    return kb / 1024;
}

static bool add_memory(struct words *w, const char *eal)
{
    static const char *const said[] = {
        "--no-huge",    "--in-memory",   "-m", "--huge-dir", "--socket-mem",
        "--legacy-mem", "--huge-unlink", NULL};
    if (says_any(eal, said))
        return true;
    const uint64_t mb = free_huge_mb();
    if (mb >= MEMORY_MB)
        return add(w, "--in-memory") && add(w, "-m") && add(w, "%u", MEMORY_MB);
    dk_log(DK_LOG_INFO,
           "dpdk: %llu MB of huge pages are free: goes on without them (--no-huge), which a NIC "
           "may refuse; to have some: echo 64 > /proc/sys/vm/nr_hugepages",
           (unsigned long long)mb);
    return add(w, "--no-huge") && add(w, "--no-shconf") && add(w, "-m") && add(w, "%u", PLAIN_MB);
}

static bool is_pci(const char *device)
{
    unsigned d[4];
    return sscanf(device, "%x:%x:%x.%x", &d[0], &d[1], &d[2], &d[3]) == 4;
}

/* EAL wants a CPU: the first that we may have. */
static bool add_cpu(struct words *w, const char *eal, const cpu_set_t *allowed)
{
    static const char *const said[] = {"-l", "-c", "--lcores", NULL};
    int cpu = 0;
    if (says_any(eal, said))
        return true;
    while (cpu < CPU_SETSIZE - 1 && !CPU_ISSET(cpu, allowed))
        cpu++;
    return add(w, "--lcores=0@%d", cpu);
}

static bool make_words(struct words *w, const struct dk_dpdk_options *o, const cpu_set_t *allowed)
{
    const char *eal = o->eal ? o->eal : "", *device = o->device ? o->device : "";
    bool all = add(w, "demikernel") && add(w, "--no-telemetry") && add(w, "--log-level=*:4") &&
               add(w, "--file-prefix=demi-%d", (int)getpid()) && add_cpu(w, eal, allowed) &&
               add_memory(w, eal);
    if (all && *device && !is_pci(device))
        all = add(w, "--no-pci") && add(w, "--iova-mode=va");
    else if (all && *device)
        all = add(w, "-a") && add(w, "%.*s", (int)strcspn(device, " "), device);
    return all && add_text(w, eal);
}

static int start(const struct dk_dpdk_options *options, const char **why_out)
{
    static struct words words; /* EAL keeps some */
    cpu_set_t allowed;
    words = (struct words){.num = 0};
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed) < 0)
        CPU_SET(0, &allowed);
    if (!make_words(&words, options, &allowed))
        return dk_why(why_out, -EINVAL, "dpdk: eal= has too many arguments");
    /* EAL's own stream also tells syslog. exit() flushes it while its other thread may write to it:
     * each waits for a lock of the C library that the other has. */
    rte_openlog_stream(stderr);
    rte_errno = 0;
    int r = rte_eal_init(words.num, words.argv);
    const int error = rte_errno;
    sched_setaffinity(0, sizeof allowed, &allowed); /* EAL binds the thread to its CPU */
    if (r >= 0)
        return 0;
    return dk_why(why_out, error > 0 ? -error : -EIO,
                  "dpdk: EAL does not start (%s): its words are above; eal= gives it arguments, as "
                  "eal=--no-huge -m 64",
                  rte_strerror(error));
}

int dk_dpdk_start(const struct dk_dpdk_options *options, const char **why_out)
{
    int r = 0;
    dk_lock(&lock);
    if (started == 0 && rte_lcore_count() == 0) /* else the application has, for itself */
        r = start(options, why_out);
    else if (started != 0 && started != getpid())
        r = dk_why(why_out, -EBUSY,
                   "dpdk: EAL belongs to the process that this one was forked from, and cannot be "
                   "started a second time: use exec");
    if (r == 0)
        started = getpid();
    dk_unlock(&lock);
    return r;
}

/* The first port that nobody has. */
static int any_port(uint16_t *port_out, const char **why_out)
{
    uint16_t port;
    RTE_ETH_FOREACH_DEV(port)
    {
        if (taken[port])
            continue;
        *port_out = port;
        return 0;
    }
    return dk_why(why_out, -ENODEV,
                  "dpdk: EAL found no port that is free: name one, as dpdk:0000:00:04.0 (bound to "
                  "vfio-pci) or \"dpdk:net_tap0 iface=demi0\"");
}

/* Makes a port by its devargs: they are the words of a device, with commas between them. */
static int make_port(const char *device, const char *name, uint16_t *port_out, const char **why_out)
{
    char args[512];
    snprintf(args, sizeof args, "%s", device);
    for (char *at = args; *at; at++)
        *at = *at == ' ' ? ',' : *at;
    int r = rte_dev_probe(args);
    if (r == 0 && rte_eth_dev_get_port_by_name(name, port_out) == 0)
        return 0;
    if (r == 0)
        return dk_why(why_out, -ENODEV, "dpdk: %s has no network port", name);
    return dk_why(why_out, r,
                  "dpdk: no port \"%s\": DPDK has no driver of that name (librte-net-NAME), or the "
                  "driver refused its arguments: %s",
                  args, strerror(-r));
}

static int find_port(const char *device, uint16_t *port_out, const char **why_out)
{
    char name[RTE_ETH_NAME_MAX_LEN];
    if (!device || !*device)
        return any_port(port_out, why_out);
    const size_t len = strcspn(device, " ,");
    if (len >= sizeof name || strlen(device) >= 512)
        return dk_why(why_out, -EINVAL, "dpdk: \"%s\" is too long for a device", device);
    memcpy(name, device, len);
    name[len] = '\0';
    if (rte_eth_dev_get_port_by_name(name, port_out) == 0)
        return 0;
    return make_port(device, name, port_out, why_out);
}

int dk_dpdk_take_port(const char *device, uint16_t *port_out, const char **why_out)
{
    dk_lock(&lock);
    int r = find_port(device, port_out, why_out);
    if (r == 0 && taken[*port_out])
        r = dk_why(why_out, -EBUSY, "dpdk: %s is in use by another instance of this process",
                   device);
    if (r == 0)
        taken[*port_out] = true;
    dk_unlock(&lock);
    return r;
}

/* Some drivers turn off interrupts a second time when they close, of which EAL complains: it is to
 * be silent until it is given back the level that is returned. */
static uint32_t hush(uint32_t log)
{
    const int level = rte_log_get_level(log);
    rte_log_set_level(log, RTE_LOG_CRIT);
    return (uint32_t)level;
}

void dk_dpdk_close_port(uint16_t port)
{
    const uint32_t log = (uint32_t)rte_log_register("lib.eal"), level = hush(log);
    rte_eth_dev_close(port);
    rte_log_set_level(log, level);
}

static int remove_quietly(struct rte_device *device)
{
    const uint32_t log = (uint32_t)rte_log_register("lib.eal"), level = hush(log);
    int r = rte_dev_remove(device);
    rte_log_set_level(log, level);
    return r;
}

void dk_dpdk_drop_port(uint16_t port)
{
    struct rte_eth_dev_info info;
    dk_lock(&lock);
    if (rte_eth_dev_info_get(port, &info) != 0 || remove_quietly(info.device) != 0)
        rte_eth_dev_close(port);
    taken[port] = false;
    dk_unlock(&lock);
}
