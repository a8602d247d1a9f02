/* SPDX-License-Identifier: MIT */
/*
 * Round trips in microseconds: least, quantiles, greatest, and the histogram.
 */
#include "ping_report.h"

#include "command.h"

#include <demi/admin.h>

#include <jansson.h>
#include <stdio.h>

static const struct {
    const char *name;
    double q;
} quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

#define NUM_QUANTILES (sizeof(quantiles) / sizeof(quantiles[0]))

static double us(double ns)
{
    return ns / 1e3;
}

static double per_second(const struct ping_totals *totals)
{
    return totals->elapsed_ns == 0 ? 0
                                   : (double)totals->answered * 1e9 / (double)totals->elapsed_ns;
}

static void print_round_trips(const struct hist *hist)
{
    printf("round trip in us: min %.2f", us((double)hist->min_ns));
    for (size_t i = 0; i < NUM_QUANTILES; i++)
        printf("  %s %.2f", quantiles[i].name, us((double)hist_quantile(hist, quantiles[i].q)));
    printf("  max %.2f  mean %.2f\n", us((double)hist->max_ns), us(hist_mean(hist)));
    hist_print(hist, stdout);
}

void ping_report_text(const struct ping_options *options, const struct ping_totals *totals)
{
    char target[ADDRESS_TEXT_MAX];
    address_format((const struct sockaddr *)&options->address.addr, target, sizeof(target));
    printf("%s %s, %llu bytes, %llu connection%s: %llu sent, %llu answered, %llu lost",
           options->udp ? "udp" : "tcp", target, (unsigned long long)options->size,
           (unsigned long long)options->connections, options->connections == 1 ? "" : "s",
           (unsigned long long)totals->sent, (unsigned long long)totals->answered,
           (unsigned long long)totals->lost);
    if (totals->corrupt > 0)
        printf(", %llu corrupt", (unsigned long long)totals->corrupt);
    if (totals->stray > 0)
        printf(", %llu stray", (unsigned long long)totals->stray);
    printf("; %.0f per second\n", per_second(totals));
    if (totals->answered > 0)
        print_round_trips(&totals->hist);
}

static json_t *round_trips_json(const struct hist *hist)
{
    json_t *object = json_object();
    json_object_set_new(object, "min", json_real(us((double)hist->min_ns)));
    for (size_t i = 0; i < NUM_QUANTILES; i++)
        json_object_set_new(object, quantiles[i].name,
                            json_real(us((double)hist_quantile(hist, quantiles[i].q))));
    json_object_set_new(object, "max", json_real(us((double)hist->max_ns)));
    json_object_set_new(object, "mean", json_real(us(hist_mean(hist))));
    return object;
}

static json_t *rows_json(const struct hist *hist)
{
    struct hist_row rows[HIST_ROWS_MAX];
    size_t num_rows = hist_rows(hist, rows);
    json_t *list = json_array();
    for (size_t i = 0; i < num_rows; i++)
        json_array_append_new(
            list, json_pack("{s:f, s:f, s:I}", "from_us", us((double)rows[i].from_ns), "to_us",
                            us((double)rows[i].to_ns), "count", (json_int_t)rows[i].count));
    return list;
}

static json_t *totals_json(const struct ping_options *options, const struct ping_totals *totals)
{
    char target[ADDRESS_TEXT_MAX];
    address_format((const struct sockaddr *)&options->address.addr, target, sizeof(target));
    return json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f}", "version",
        demi_version(), "target", target, "protocol", options->udp ? "udp" : "tcp", "size_bytes",
        (json_int_t)options->size, "connections", (json_int_t)options->connections, "rate",
        (json_int_t)options->rate, "warmup", (json_int_t)options->warmup, "sent",
        (json_int_t)totals->sent, "answered", (json_int_t)totals->answered, "lost",
        (json_int_t)totals->lost, "corrupt", (json_int_t)totals->corrupt, "stray",
        (json_int_t)totals->stray, "broken_connections", (json_int_t)totals->broken, "elapsed_s",
        (double)totals->elapsed_ns / 1e9, "answered_per_s", per_second(totals));
}

int ping_report_json(const struct ping_options *options, const struct ping_totals *totals)
{
    json_t *root = totals_json(options, totals);
    int err = json_object_set_new(root, "round_trip_us", round_trips_json(&totals->hist));
    err |= json_object_set_new(root, "histogram", rows_json(&totals->hist));
    if (err == 0)
        err = json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(7));
    json_decref(root);
    putchar('\n');
    if (err != 0)
        fprintf(stderr, "demi ping: cannot write JSON\n");
    return err == 0 ? COMMAND_OK : COMMAND_FAILED;
}
