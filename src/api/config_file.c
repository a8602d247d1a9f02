/* SPDX-License-Identifier: MIT */
/*
 * Configuration files, over libyaml's event parser.
 *
 * An event is copied into a struct node and deleted at once, so that nothing is owned while the
 * values are looked at. Anchors are allowed and mean nothing; an alias, a list or a mapping where a
 * value belongs is an error. A file is read whole first and limited in size and depth, because the
 * parser is not limited.
 */
#include "api/config_file.h"

#include "api/config_reference.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

#define MAX_DEPTH 32

struct reader {
    struct dk_config_set *set;
    const char *path;
    bool reference;
    const unsigned char *text;
    size_t text_len;
    yaml_parser_t parser;
};

/* One event, by value. text holds a scalar; too_long: it does not fit or has a NUL byte inside. */
struct node {
    yaml_event_type_t type;
    uint32_t line;
    bool too_long;
    char text[DK_CONFIG_TEXT_MAX];
};

static int fail_no_memory(struct dk_config_set *set, const char *path)
{
    dk_config_set_fail(set, "%s: no memory to read it", path);
    return -ENOMEM;
}

static int check_regular(struct dk_config_set *set, const char *path, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return dk_config_set_fail(set, "%s: cannot read: %s", path, strerrordesc_np(errno));
    if (S_ISDIR(st.st_mode))
        return dk_config_set_fail(set, "%s: is a directory, not a configuration file", path);
    if (!S_ISREG(st.st_mode))
        return dk_config_set_fail(set, "%s: is not a regular file", path);
    return 0;
}

/* Reads at most max bytes; returns how many, or -errno. */
static ssize_t read_whole(int fd, unsigned char *buf, size_t max)
{
    size_t used = 0;
    while (used < max) {
        ssize_t n = read(fd, buf + used, max - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

/* One byte more than the limit tells a file that is too large. */
static int read_fd(struct dk_config_set *set, const char *path, int fd, unsigned char *buf,
                   size_t *len_out)
{
    int err = check_regular(set, path, fd);
    if (err != 0)
        return err;
    ssize_t n = read_whole(fd, buf, DK_CONFIG_FILE_MAX_BYTES + 1);
    if (n < 0)
        return dk_config_set_fail(set, "%s: cannot read: %s", path, strerrordesc_np((int)-n));
    if (n > DK_CONFIG_FILE_MAX_BYTES)
        return dk_config_set_fail(set, "%s: is larger than %d bytes", path,
                                  DK_CONFIG_FILE_MAX_BYTES);
    *len_out = (size_t)n;
    return 0;
}

/* Fails for a configuration file that cannot be parsed. A reader error has a byte offset instead of
 * a line. */
static int fail_parse(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;
    const char *problem = parser->problem == NULL ? "cannot be parsed" : parser->problem;
    size_t line = parser->problem_mark.line + 1;
    if (parser->error == YAML_MEMORY_ERROR)
        return fail_no_memory(reader->set, reader->path);
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < reader->text_len; i++)
            line += reader->text[i] == '\n';
    }
    return dk_config_set_fail(reader->set, "%s:%zu: is not valid YAML: %s", reader->path, line,
                              problem);
}

static void copy_scalar(const yaml_event_t *event, struct node *node)
{
    const unsigned char *value = event->data.scalar.value;
    size_t len = event->data.scalar.length;
    node->too_long = len >= sizeof node->text || memchr(value, '\0', len) != NULL;
    if (len >= sizeof node->text)
        len = sizeof node->text - 1;
    memcpy(node->text, value, len);
    node->text[len] = '\0';
}

static int next_node(struct reader *reader, struct node *node)
{
    yaml_event_t event;
    if (!yaml_parser_parse(&reader->parser, &event))
        return fail_parse(reader);
    node->type = event.type;
    node->line = (uint32_t)event.start_mark.line + 1;
    node->too_long = false;
    node->text[0] = '\0';
    if (event.type == YAML_SCALAR_EVENT)
        copy_scalar(&event, node);
    yaml_event_delete(&event);
    return 0;
}

static int depth_change(yaml_event_type_t type)
{
    if (type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT)
        return 1;
    if (type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT)
        return -1;
    return 0;
}

/* Passes over one value of any shape. */
static int skip_value(struct reader *reader)
{
    struct node node;
    int depth = 0;
    do {
        int err = next_node(reader, &node);
        if (err != 0)
            return err;
        depth += depth_change(node.type);
        if (depth > MAX_DEPTH)
            return dk_config_set_fail(reader->set, "%s:%u: is nested more than %d deep",
                                      reader->path, node.line, MAX_DEPTH);
    } while (depth > 0);
    return 0;
}

/* Fails for a value that is not a single one. */
static int fail_shape(struct reader *reader, const char *name, const struct node *value)
{
    const char *what = value->type == YAML_ALIAS_EVENT            ? "an alias"
                       : value->type == YAML_SEQUENCE_START_EVENT ? "a list"
                                                                  : "a mapping";
    return dk_config_set_fail(reader->set, "%s:%u: %s: needs a single value, not %s", reader->path,
                              value->line, name, what);
}

static int read_value(struct reader *reader, enum dk_config_id id, uint32_t key_line)
{
    struct node value;
    const char *name = dk_config_keys[id].name;
    uint32_t first = reader->set->entries[id].source.line;
    if (first != 0)
        return dk_config_set_fail(reader->set, "%s:%u: %s: is given twice (first on line %u)",
                                  reader->path, key_line, name, first);
    int err = next_node(reader, &value);
    if (err != 0)
        return err;
    if (value.type != YAML_SCALAR_EVENT)
        return fail_shape(reader, name, &value);
    if (value.too_long)
        return dk_config_set_fail(reader->set, "%s:%u: %s: the value is too long or has a NUL byte",
                                  reader->path, value.line, name);
    return dk_config_set_value(reader->set, id, value.text,
                               (struct dk_config_source){.name = reader->path, .line = value.line});
}

/* Words what is known about an unknown key: the key probably meant, and all keys. */
static int fail_unknown_key(struct reader *reader, const struct node *key)
{
    char quoted[DK_CONFIG_QUOTE_MAX];
    char names[DK_CONFIG_NAMES_MAX];
    int nearest = dk_config_key_nearest(key->text);
    dk_config_set_quote(key->text, quoted);
    dk_config_key_names(names, sizeof names);
    if (dk_config_reference_section(key->text) != NULL)
        return dk_config_set_fail(reader->set,
                                  "%s:%u: unknown key %s: a section of the reference "
                                  "implementation's files, which CONFIG_PATH may name; accepted "
                                  "keys: %s",
                                  reader->path, key->line, quoted, names);
    if (nearest >= 0)
        return dk_config_set_fail(
            reader->set, "%s:%u: unknown key %s, did you mean '%s'? accepted keys: %s",
            reader->path, key->line, quoted, dk_config_keys[nearest].name, names);
    return dk_config_set_fail(reader->set, "%s:%u: unknown key %s; accepted keys: %s", reader->path,
                              key->line, quoted, names);
}

static int pass_unknown_key(struct reader *reader, const struct node *key)
{
    char quoted[DK_CONFIG_QUOTE_MAX];
    const char *why = dk_config_reference_section(key->text);
    int nearest = dk_config_key_nearest(key->text);
    dk_config_set_quote(key->text, quoted);
    if (why != NULL)
        dk_config_set_warn(reader->set, "%s:%u: %s has no effect: %s", reader->path, key->line,
                           quoted, why);
    else if (nearest >= 0)
        dk_config_set_warn(reader->set, "%s:%u: unknown key %s has no effect, did you mean '%s'?",
                           reader->path, key->line, quoted, dk_config_keys[nearest].name);
    else
        dk_config_set_warn(reader->set, "%s:%u: unknown key %s has no effect", reader->path,
                           key->line, quoted);
    return skip_value(reader);
}

static int read_pair(struct reader *reader, const struct node *key)
{
    if (key->type != YAML_SCALAR_EVENT)
        return dk_config_set_fail(reader->set, "%s:%u: a key must be a single word", reader->path,
                                  key->line);
    int id = key->too_long ? -ENOENT : dk_config_key_find(key->text);
    if (id >= 0)
        return read_value(reader, (enum dk_config_id)id, key->line);
    return reader->reference ? pass_unknown_key(reader, key) : fail_unknown_key(reader, key);
}

static int read_mapping(struct reader *reader)
{
    struct node key;
    for (;;) {
        int err = next_node(reader, &key);
        if (err != 0)
            return err;
        if (key.type == YAML_MAPPING_END_EVENT)
            return 0;
        err = read_pair(reader, &key);
        if (err != 0)
            return err;
    }
}

/* Reads an event that only separates; tells whether it is the end of the file. */
static int next_is_end(struct reader *reader, bool *end_out)
{
    struct node node;
    int err = next_node(reader, &node);
    *end_out = err == 0 && node.type == YAML_STREAM_END_EVENT;
    return err;
}

static int read_document(struct reader *reader)
{
    struct node root;
    int err = next_node(reader, &root);
    if (err != 0)
        return err;
    if (root.type != YAML_MAPPING_START_EVENT)
        return dk_config_set_fail(
            reader->set, "%s:%u: must be a mapping, with lines like 'net: %s'", reader->path,
            root.line, dk_config_keys[DK_CONFIG_NET].initial_text);
    return read_mapping(reader);
}

/* Stream start, at most one document, stream end. An empty file is all defaults. */
static int read_stream(struct reader *reader)
{
    bool end;
    int err = next_is_end(reader, &end);
    if (err == 0)
        err = next_is_end(reader, &end);
    if (err != 0 || end)
        return err;
    err = read_document(reader);
    if (err == 0)
        err = next_is_end(reader, &end);
    if (err == 0)
        err = next_is_end(reader, &end);
    if (err == 0 && !end)
        return dk_config_set_fail(reader->set, "%s: has more than one document", reader->path);
    return err;
}

static int parse_text(struct dk_config_set *set, const char *path, bool reference,
                      const unsigned char *text, size_t len)
{
    struct reader reader = {
        .set = set, .path = path, .reference = reference, .text = text, .text_len = len};
    if (!yaml_parser_initialize(&reader.parser))
        return fail_no_memory(set, path);
    yaml_parser_set_input_string(&reader.parser, text, len);
    int err = read_stream(&reader);
    yaml_parser_delete(&reader.parser);
    return err;
}

int dk_config_file_read(struct dk_config_set *set, const char *path, bool reference)
{
    size_t len = 0;
    unsigned char *buf = malloc(DK_CONFIG_FILE_MAX_BYTES + 1);
    if (buf == NULL)
        return fail_no_memory(set, path);
    /* O_NONBLOCK: opening a FIFO must not hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    int err = fd < 0 ? dk_config_set_fail(set, "%s: cannot open: %s", path, strerrordesc_np(errno))
                     : read_fd(set, path, fd, buf, &len);
    if (fd >= 0)
        close(fd);
    if (err == 0)
        err = parse_text(set, path, reference, buf, len);
    free(buf);
    return err;
}
