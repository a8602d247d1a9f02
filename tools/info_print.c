/* SPDX-License-Identifier: MIT */
/*
 * Prints what `demi info` found, for a person or as JSON. A string that the library leaves NULL
 * prints as empty.
 */
#include "info_print.h"

#include "command.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *text_of(const char *text)
{
    return text == NULL ? "" : text;
}

static void print_available(const struct info *info)
{
    printf("available:\n");
    for (size_t i = 0; i < info->num_backends; i++) {
        const struct demi_backend *backend = &info->backends[i];
        if (backend->available)
            printf("  %-10s %-8s %-9s %s\n", text_of(backend->name), text_of(backend->kind),
                   text_of(backend->engine), text_of(backend->summary));
    }
}

static size_t count_missing(const struct info *info)
{
    size_t missing = 0;
    for (size_t i = 0; i < info->num_backends; i++)
        missing += !info->backends[i].available;
    return missing;
}

static void print_missing(const struct info *info)
{
    if (count_missing(info) == 0)
        return;
    printf("not available:\n");
    for (size_t i = 0; i < info->num_backends; i++) {
        const struct demi_backend *backend = &info->backends[i];
        if (!backend->available)
            printf("  %-10s %-8s %s\n%22s%s\n", text_of(backend->name), text_of(backend->kind),
                   text_of(backend->summary), "", text_of(backend->missing));
    }
}

static int widest(const struct info *info)
{
    size_t width = 0;
    for (size_t i = 0; i < info->num_values; i++) {
        size_t len = strlen(text_of(info->values[i].value));
        width = len > width ? len : width;
    }
    return (int)width;
}

static void print_values(const struct info *info)
{
    int width = widest(info);
    for (size_t i = 0; i < info->num_values; i++) {
        const struct demi_config_value *value = &info->values[i];
        bool is_default = strcmp(text_of(value->origin), "default") == 0;
        printf("%-16s %-*s  %s", text_of(value->key), width, text_of(value->value),
               text_of(value->origin));
        if (!is_default)
            printf(", default %s", text_of(value->default_value));
        printf("\n%19s%s: %s\n", "", text_of(value->summary), text_of(value->accepted));
    }
}

int info_print_text(const struct info *info, bool with_config)
{
    if (with_config) {
        print_values(info);
        return COMMAND_OK;
    }
    printf("demikernel %s\n", demi_version());
    print_available(info);
    print_missing(info);
    return COMMAND_OK;
}

static json_t *backends_json(const struct info *info)
{
    json_t *list = json_array();
    for (size_t i = 0; i < info->num_backends; i++) {
        const struct demi_backend *backend = &info->backends[i];
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:s, s:b, s:s}", "name", text_of(backend->name),
                            "kind", text_of(backend->kind), "engine", text_of(backend->engine),
                            "summary", text_of(backend->summary), "available",
                            (int)backend->available, "missing", text_of(backend->missing)));
    }
    return list;
}

static json_t *values_json(const struct info *info)
{
    json_t *object = json_object();
    for (size_t i = 0; i < info->num_values; i++) {
        const struct demi_config_value *value = &info->values[i];
        json_object_set_new(object, text_of(value->key),
                            json_pack("{s:s, s:s, s:s, s:s, s:s}", "value", text_of(value->value),
                                      "default", text_of(value->default_value), "origin",
                                      text_of(value->origin), "accepted", text_of(value->accepted),
                                      "summary", text_of(value->summary)));
    }
    return object;
}

int info_print_json(const struct info *info, bool with_config)
{
    json_t *root = json_object();
    int err = json_object_set_new(root, "version", json_string(demi_version()));
    err |= json_object_set_new(root, "backends", backends_json(info));
    if (with_config)
        err |= json_object_set_new(root, "config", values_json(info));
    if (err == 0)
        err = json_dumpf(root, stdout, JSON_INDENT(2));
    json_decref(root);
    putchar('\n');
    if (err != 0)
        fprintf(stderr, "demi info: cannot write JSON\n");
    return err == 0 ? COMMAND_OK : COMMAND_FAILED;
}
