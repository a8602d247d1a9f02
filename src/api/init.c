/* SPDX-License-Identifier: MIT */
/*
 * Start and end: demi_init, demi_fini, the exit hook, the forked child.
 *
 * One mutex guards start and end. The exit hook takes nothing that it does not get in a moment:
 * exit() may be called in a signal handler that interrupted the library.
 */
#include "api/api.h"
#include "api/background.h"
#include "api/config.h"
#include "api/stats.h"
#include "compose/connect.h"
#include "libos/table.h"
#include "mem/heap.h"
#include "os/log.h"
#include "os/statfile.h"

#include <demi/libos.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Longer than a running thread holds what a call holds, also on a busy machine. */
#define MOMENT_NS 1000000000

struct dk_api dk_api;

static struct {
    pthread_mutex_t mutex;
    struct dk_instance *instances[DK_MAX_INSTANCES];
    uint32_t num_instances;
    struct dk_config config;
    bool hooked;
} state = {.mutex = PTHREAD_MUTEX_INITIALIZER};

static int64_t linger_ns(void)
{
    return (int64_t)state.config.exit_linger_ms * 1000000;
}

/* Nothing that was accepted is left to send. */
static bool is_drained(struct dk_instance *inst)
{
    return __atomic_load_n(&inst->num_posted, __ATOMIC_ACQUIRE) == 0 &&
           (!inst->poller || inst->poller->ops->undrained(inst->poller) == 0);
}

/* Whether what is held can be held by nobody but the caller, in a call that was interrupted. */
static bool is_only_caller(void)
{
    return !dk_mt() || dk_alone_is();
}

/* Whether another thread holds the lead, not the one that exits, in a signal handler. A wait notes
 * who leads; a call that only starts an operation does not, and is over in a moment. */
static bool is_led_by_other(const struct dk_instance *inst, int64_t *moment_began, int64_t now)
{
    uint32_t leader = __atomic_load_n(&inst->leader, __ATOMIC_RELAXED);
    if (leader != 0) {
        *moment_began = now;
        return leader != dk_thread_number;
    }
    return now - *moment_began < MOMENT_NS;
}

enum lead {
    LEAD_TAKEN,
    LEAD_OF_OTHER,    /* who drove the instance for as long as it may take, or to its end */
    LEAD_INTERRUPTED, /* the caller's own, below its signal handler: it will never be dropped */
};

/* Takes the lead, or waits while another thread drives the instance, until the pushes are out. */
static enum lead take_or_watch(struct dk_instance *inst, int64_t timeout_ns)
{
    int64_t now = dk_instance_now(inst), deadline = now + timeout_ns, moment_began = now;
    if (inst->poller && inst->poller->ops->end)
        inst->poller->ops->end(inst->poller);
    while (!dk_lead_try(inst)) {
        if (is_only_caller() || !is_led_by_other(inst, &moment_began, now))
            return LEAD_INTERRUPTED;
        if (now >= deadline || is_drained(inst))
            return LEAD_OF_OTHER;
        usleep(100);
        now = dk_instance_now(inst);
    }
    return LEAD_TAKEN;
}

static void say_last_words(struct dk_instance *inst)
{
    if (inst->poller && inst->poller->ops->last_words)
        inst->poller->ops->last_words(inst->poller);
}

/* Whether the tokens are free, now or in a moment: else it is the caller who was interrupted. */
static bool tokens_come_free(struct dk_instance *inst)
{
    int64_t give_up = dk_instance_now(inst) + MOMENT_NS;
    while (!dk_lock_try(&inst->tokens)) {
        if (is_only_caller() || dk_instance_now(inst) >= give_up)
            return false;
        usleep(100);
    }
    dk_unlock(&inst->tokens);
    return true;
}

/* Has the device leave memory alone, which another process may soon have at the same addresses.
 * Returns whether that came about. */
static bool quiesce(struct dk_instance *inst, bool leads)
{
    struct dk_poller *p = inst->poller;
    return !p || !p->ops->quiesce || p->ops->quiesce(p, leads);
}

/* The same where another thread drives the instance: it does that, if it goes on doing so. */
static void await_quiet(struct dk_instance *inst)
{
    const int64_t give_up = dk_instance_now(inst) + MOMENT_NS;
    while (!quiesce(inst, false) && dk_instance_now(inst) < give_up) {
        if (dk_lead_try(inst)) {
            quiesce(inst, true);
            dk_unlock(&inst->lead);
            return;
        }
        usleep(100);
    }
}

static void at_exit(void)
{
    struct dk_instance *taken[DK_MAX_INSTANCES];
    uint32_t num = 0;
    dk_heap_exiting(); /* it may have been interrupted */
    if (!dk_thread_self)
        dk_alone_end_at_exit();
    for (uint32_t i = 0; i < state.num_instances; i++) {
        struct dk_instance *inst = state.instances[i];
        enum lead lead = take_or_watch(inst, linger_ns());
        if (lead == LEAD_TAKEN && tokens_come_free(inst)) {
            taken[num++] = inst;
            continue;
        }
        if (lead == LEAD_OF_OTHER)
            await_quiet(inst);
        else
            say_last_words(inst);
        if (lead == LEAD_TAKEN)
            dk_unlock(&inst->lead);
    }
    dk_instances_drain(taken, num, linger_ns());
    for (uint32_t i = 0; i < num; i++) {
        quiesce(taken[i], true);
        dk_unlock(&taken[i]->lead);
    }
    dk_statfile_unlink();
}

/* The child shares the parent's sockets and rings: it lets go of them and starts anew when it calls
 * demi_init. */
static void in_forked_child(void)
{
    for (uint32_t i = 0; i < state.num_instances; i++)
        dk_instance_abandon(state.instances[i]);
    state.num_instances = 0;
    dk_api.first = NULL;
    dk_connect_abandon();
    pthread_mutex_init(&state.mutex, NULL);
    dk_op_table_abandon();
    dk_queue_table_abandon();
    dk_buf_after_fork();
    dk_stats_after_fork();
    dk_thread_after_fork();
    dk_short_close();
    dk_background_after_fork();
}

static int hook(void)
{
    if (state.hooked)
        return 0;
    if (atexit(at_exit) != 0 || pthread_atfork(dk_statfile_before_fork, NULL, in_forked_child) != 0)
        return -ENOMEM;
    state.hooked = true;
    return 0;
}

static struct dk_sched_options sched_options(const struct dk_config *c)
{
    struct dk_sched_options o = {.spin_us = c->spin_us};
    if (c->poll == DK_CONFIG_POLL_ALWAYS)
        o.spin_us = UINT32_MAX;
    else if (c->poll == DK_CONFIG_POLL_NEVER)
        o.spin_us = 0;
    return o;
}

static struct dk_poller *sockets_of_first(void)
{
    return state.num_instances > 0 ? state.instances[0]->sockets : NULL;
}

static struct dk_libos_options libos_options(const struct dk_config *c)
{
    static const enum dk_kernel_engine engines[] = {
        [DK_CONFIG_ENGINE_AUTO] = DK_KERNEL_AUTO,
        [DK_CONFIG_ENGINE_IO_URING] = DK_KERNEL_IO_URING,
        [DK_CONFIG_ENGINE_EPOLL] = DK_KERNEL_EPOLL,
    };
    static const enum dk_stack_probe probes[] = {
        [DK_CONFIG_PROBE_NO] = DK_STACK_PROBE_NO,
        [DK_CONFIG_PROBE_BACKGROUND] = DK_STACK_PROBE_BACKGROUND,
        [DK_CONFIG_PROBE_WAIT] = DK_STACK_PROBE_WAIT,
    };
    static const enum dk_stack_ecn ecns[] = {
        [DK_CONFIG_ECN_NO] = DK_STACK_ECN_NO,
        [DK_CONFIG_ECN_ACCEPT] = DK_STACK_ECN_ACCEPT,
        [DK_CONFIG_ECN_YES] = DK_STACK_ECN_ASK,
    };
    static const enum dk_stack_mtu_probing probings[] = {
        [DK_CONFIG_MTU_PROBING_OFF] = DK_STACK_MTU_PROBING_OFF,
        [DK_CONFIG_MTU_PROBING_BLACKHOLE] = DK_STACK_MTU_PROBING_BLACKHOLE,
        [DK_CONFIG_MTU_PROBING_ALWAYS] = DK_STACK_MTU_PROBING_ALWAYS,
    };
    static const enum dk_stack_syn_cookies cookies[] = {
        [DK_CONFIG_SYN_COOKIES_AUTO] = DK_STACK_SYN_COOKIES_AUTO,
        [DK_CONFIG_SYN_COOKIES_NEVER] = DK_STACK_SYN_COOKIES_NEVER,
        [DK_CONFIG_SYN_COOKIES_ALWAYS] = DK_STACK_SYN_COOKIES_ALWAYS,
    };
    const bool eui64 = c->net_identifiers == DK_CONFIG_IDENTIFIERS_EUI64;
    return (struct dk_libos_options){.kernel = {.engine = engines[c->engine],
                                                .rx_buffer_bytes = c->rx_buffer_bytes,
                                                .rx_pool_bytes = c->rx_pool_bytes,
                                                .reuseport = c->workers > 1},
                                     .stack = {.device = c->net,
                                               .addresses = c->net_addresses,
                                               .gateways = c->net_gateway,
                                               .routes = c->net_routes,
                                               .mtu = c->net_mtu,
                                               .vlan = c->net_vlan,
                                               .probe = probes[c->net_probe],
                                               .eui64 = eui64,
                                               .offloads = c->net_offload,
                                               .congestion = c->net_congestion,
                                               .ecn = ecns[c->net_ecn],
                                               .keep_lease = !c->net_dhcp_release,
                                               .wait_s = c->net_wait_s,
                                               .push_hold_us = c->push_hold_us,
                                               .max_connections = c->net_connections,
                                               .syn_cookies = cookies[c->net_syn_cookies],
                                               .rx_pool_bytes = c->rx_pool_bytes,
                                               .rx_buffer_bytes = c->net_receive_bytes,
                                               .tx_buffer_bytes = c->net_send_bytes,
                                               .rx_buffer_max = c->net_receive_max,
                                               .tx_buffer_max = c->net_send_max,
                                               .pressure_bytes = c->net_pressure_bytes,
                                               .mtu_probing = probings[c->net_mtu_probing],
                                               .no_sack = !c->net_sack,
                                               .no_timestamps = !c->net_timestamps,
                                               .no_window_scale = !c->net_window_scale,
                                               .copy_threshold = c->copy_threshold,
                                               .workers = c->workers,
                                               .worker = state.num_instances,
                                               .first = sockets_of_first()}};
}

/* Makes one more instance with the configured library OS. */
static int add_instance(struct dk_instance **inst_out)
{
    struct dk_sched_options sched = sched_options(&state.config);
    struct dk_libos_options options = libos_options(&state.config);
    const char *why = "";
    struct dk_instance *inst;
    int r = dk_instance_create(&inst, &dk_clock_monotonic, &sched);
    if (r < 0)
        return r;
    if (dk_api.libos->open) {
        r = dk_api.libos->open(inst, &options, &why);
        if (r < 0) {
            dk_log(DK_LOG_ERROR, "library OS %s: %s (%s)", dk_api.libos->name, why, strerror(-r));
            dk_instance_destroy(inst);
            return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EADDRINUSE ? r : -ENODEV;
        }
    }
    if (state.config.background)
        r = dk_background_start(inst);
    if (r < 0) {
        dk_instance_destroy(inst);
        return r;
    }
    state.instances[state.num_instances++] = inst;
    *inst_out = inst;
    return 0;
}

/* Tables live from the first instance to demi_fini. */
static int make_tables(void)
{
    int r = dk_op_table_init(state.config.max_tokens);
    if (r < 0)
        return r;
    r = dk_queue_table_init(state.config.max_queues);
    if (r < 0)
        dk_op_table_fini();
    return r;
}

static void free_tables(void)
{
    dk_op_table_fini();
    dk_queue_table_fini();
}

static void set_up_memory(const struct dk_config *c)
{
    dk_sga_set_copy_threshold(c->copy_threshold);
    dk_heap_set_pages(c->huge_pages);
    if (c->debug != DK_CONFIG_DEBUG_NONE)
        dk_heap_set_debug(true);
    dk_watch_on = c->debug == DK_CONFIG_DEBUG_INFLIGHT;
}

static int load_config(void)
{
    char err[2048];
    struct dk_config config;
    int r = dk_config_load(&config, err, sizeof(err));
    if (r < 0) {
        dk_log(DK_LOG_ERROR, "%s", err);
        return r;
    }
    const struct dk_libos *libos = dk_libos_find(config.net);
    if (!libos)
        return -ENODEV;
    state.config = config;
    dk_api.libos = libos;
    dk_log_set_level((enum dk_log_level)config.log);
    set_up_memory(&config);
    return make_tables();
}

/* The first thread: configuration, hooks, instance 0. */
static int start(const struct demi_args *args, struct dk_instance **inst_out)
{
    int r = load_config();
    if (r < 0)
        return r;
    r = hook();
    if (r < 0)
        goto fail_hook;
    dk_stats_open(state.config.workers);
    r = add_instance(inst_out);
    if (r < 0)
        goto fail_instance;
    dk_api.callback = args ? args->callback : NULL;
    dk_api.sort_max = state.config.sort_max;
    dk_api.element_max = state.config.element_max;
    dk_api.store = state.config.store;
    __atomic_store_n(&dk_api.first, *inst_out, __ATOMIC_RELEASE);
    return 0;
fail_instance:
    dk_stats_close();
fail_hook:
    free_tables();
    return r;
}

/* A further thread: an instance of its own while there are workers left, else the first. */
static int join(struct dk_instance **inst_out)
{
    uint32_t mark = dk_statfile_mark();
    if (state.num_instances >= state.config.workers) {
        *inst_out = dk_api.first;
        return 0;
    }
    int r = add_instance(inst_out);
    if (r < 0)
        dk_statfile_rewind(mark);
    return r;
}

int demi_init(const struct demi_args *args)
{
    struct dk_thread *t = dk_thread_get();
    struct dk_instance *inst = NULL;
    int r = -EEXIST;
    if (!t)
        return ENOMEM;
    if (t->in_function)
        return EDEADLK;
    pthread_mutex_lock(&state.mutex);
    if (!t->inst)
        r = dk_api.first ? join(&inst) : start(args, &inst);
    if (r == 0) {
        t->inst = inst;
        inst->users++;
        dk_short_close(); /* found by the next call */
    }
    pthread_mutex_unlock(&state.mutex);
    return dk_public(r);
}

static void close_queue(struct dk_queue *q, void *arg)
{
    (void)arg;
    dk_queue_set_closed(q);
    q->ops->close(q);
}

/* Takes the lead of an instance that no thread leads or waits on. */
static bool take(struct dk_instance *inst)
{
    if (!dk_lead_try(inst))
        return false;
    dk_lock(&inst->tokens);
    bool idle = inst->num_waiting == 0;
    dk_unlock(&inst->tokens);
    if (!idle)
        dk_lead_drop(inst);
    return idle;
}

/* Takes every lead; -EBUSY when a thread is inside. */
static int take_all(void)
{
    for (uint32_t i = 0; i < state.num_instances; i++)
        if (!take(state.instances[i])) {
            while (i-- > 0)
                dk_lead_drop(state.instances[i]);
            return -EBUSY;
        }
    return 0;
}

static void end_all(void)
{
    for (uint32_t i = 0; i < state.num_instances; i++)
        dk_op_settle(state.instances[i]);
    dk_instances_drain(state.instances, state.num_instances, linger_ns());
    dk_connect_detach_all();
    dk_queue_for_each(NULL, close_queue, NULL);
    for (uint32_t i = 0; i < state.num_instances; i++)
        dk_instance_destroy(state.instances[i]);
    dk_connect_destroy_all();
    free_tables();
    dk_buf_trim();
    dk_heap_trim();
    dk_stats_close();
    dk_thread_detach_all();
    dk_short_close();
    state.num_instances = 0;
    dk_api.first = NULL;
    dk_api.callback = NULL;
}

int demi_fini(void)
{
    struct dk_thread *t = dk_thread_get(); /* nobody is alone but who calls */
    int r = -ENOSYS;
    if (!t)
        return ENOMEM;
    if (t->in_function)
        return EDEADLK;
    pthread_mutex_lock(&state.mutex);
    if (dk_api.first) {
        dk_background_stop();
        r = take_all();
        if (r == 0)
            end_all();
        else
            for (uint32_t i = 0; i < state.num_instances && state.config.background; i++)
                dk_background_start(state.instances[i]);
    }
    pthread_mutex_unlock(&state.mutex);
    return dk_public(r);
}

struct dk_scope dk_scope_begin(const char *name)
{
    return (struct dk_scope){name, dk_clock_monotonic.now(&dk_clock_monotonic)};
}

void dk_scope_report(const struct dk_scope *scope)
{
    demi_callback_t callback = dk_api.callback;
    if (!callback) /* it ended the library */
        return;
    int64_t now = dk_clock_monotonic.now(&dk_clock_monotonic);
    callback(scope->name, (uint32_t)strlen(scope->name), (uint64_t)(now - scope->start));
}
