/* SPDX-License-Identifier: MIT */
/*
 * demi log list, stat: for a person, or as JSON. A name is any bytes there; what is no UTF-8 is
 * written to JSON as Latin-1 would be.
 */
#include "log_command.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static int print_json(json_t *root, bool is_whole)
{
    int code = COMMAND_FAILED;
    if (root && is_whole && json_dumpf(root, stdout, JSON_INDENT(2)) == 0)
        code = COMMAND_OK;
    json_decref(root);
    putchar('\n');
    if (code != COMMAND_OK)
        fprintf(stderr, "%s: cannot write JSON\n", program_invocation_short_name);
    return code;
}

static json_t *name_json(const char *name)
{
    char latin[2 * DK_LOG_NAME_MAX + 1];
    size_t at = 0;
    json_t *as_it_is = json_string(name);
    if (as_it_is)
        return as_it_is;
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c >= 0x80)
            latin[at++] = (char)(0xc0 | c >> 6);
        latin[at++] = (char)(c >= 0x80 ? 0x80 | (c & 0x3f) : c);
    }
    latin[at] = '\0';
    return json_string(latin);
}

struct logs_json {
    json_t *list;
    bool failed;
};

static bool add_log(const struct dk_log_info *info, void *arg)
{
    struct logs_json *logs = arg;
    const uint64_t records = info->end - info->first;
    json_t *log = json_pack("{s:o, s:I, s:I, s:I, s:I, s:b}", "name", name_json(info->name),
                            "first", (json_int_t)info->first, "end", (json_int_t)info->end,
                            "records", (json_int_t)records, "bytes", (json_int_t)info->bytes,
                            "refused", info->is_damaged);
    logs->failed |= json_array_append_new(logs->list, log) != 0;
    return true;
}

static bool print_log(const struct dk_log_info *info, void *arg)
{
    (void)arg;
    if (info->is_damaged) {
        printf("%38s %14" PRIu64 "  %s\n", "refused", info->bytes, info->name);
        return true;
    }
    printf("%12" PRIu64 " %12" PRIu64 " %12" PRIu64 " %14" PRIu64 "  %s\n", info->first, info->end,
           info->end - info->first, info->bytes, info->name);
    return true;
}

int log_list(const struct log_options *options)
{
    struct dk_store *store = log_open_store(options, true);
    int code = COMMAND_OK;
    if (!store)
        return COMMAND_FAILED;
    if (options->json) {
        struct logs_json logs = {.list = json_array()};
        dk_store_list(store, add_log, &logs);
        code = print_json(logs.list, !logs.failed);
    } else {
        printf("%12s %12s %12s %14s  %s\n", "FIRST", "END", "RECORDS", "BYTES", "LOG");
        dk_store_list(store, print_log, NULL);
    }
    dk_store_close(store);
    return code;
}

struct number {
    const char *label, *key;
    uint64_t value;
};

static void print_numbers(const char *uuid, const struct number *numbers, size_t n)
{
    printf("%-24s %s\n", "uuid", uuid);
    for (size_t i = 0; i < n; i++)
        printf("%-24s %" PRIu64 "\n", numbers[i].label, numbers[i].value);
}

static int print_numbers_json(const char *uuid, const struct number *numbers, size_t n)
{
    json_t *root = json_pack("{s:s}", "uuid", uuid);
    int failed = 0;
    for (size_t i = 0; i < n; i++)
        failed |=
            json_object_set_new(root, numbers[i].key, json_integer((json_int_t)numbers[i].value));
    return print_json(root, failed == 0);
}

static void write_uuid(const uint8_t uuid[16], char *out)
{
    for (int i = 0; i < 16; i++)
        out += sprintf(out, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
}

int log_stat(const struct log_options *options)
{
    struct dk_store_info info;
    char uuid[37];
    struct dk_store *store = log_open_store(options, true);
    if (!store)
        return COMMAND_FAILED;
    dk_store_info(store, &info);
    write_uuid(info.uuid, uuid);
    const struct number numbers[] = {
        {"segment bytes", "segment_bytes", info.segment_bytes},
        {"segments", "segments", info.num_segments},
        {"segments free", "segments_free", info.free_segments},
        {"segments at most", "segments_max", info.max_segments},
        {"logs", "logs", info.num_logs},
        {"logs at most", "logs_max", info.max_logs},
        {"metadata bytes", "metadata_bytes", 4 * info.meta_bytes},
        {"first segment at", "data_offset", info.data_offset},
        {"opened for writing", "epoch", info.epoch},
        {"metadata checkpoints", "checkpoints", info.generation},
        {"recovery read bytes", "recovery_read_bytes", dk_store_stats(store)->recovery_read_bytes},
    };
    const size_t n = sizeof(numbers) / sizeof(numbers[0]);
    int code = COMMAND_OK;
    if (options->json)
        code = print_numbers_json(uuid, numbers, n);
    else
        print_numbers(uuid, numbers, n);
    dk_store_close(store);
    return code;
}
