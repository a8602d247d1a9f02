/* SPDX-License-Identifier: MIT */
/*
 * Takes the text of a specification apart, in place, from its beginning to its end.
 *
 * Names, targets and values are pieces of the text itself, ended by a zero; so they live as long as
 * it does. Each function leaves `at` on the first character that it did not need.
 */
#ifndef DK_DRV_SPEC_TEXT_H
#define DK_DRV_SPEC_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dk_spec_kind {
    DK_SPEC_NUMBER,   /* uint32_t */
    DK_SPEC_NUMBER64, /* uint64_t */
    DK_SPEC_SIZE,     /* uint64_t: bytes, with K, M, G */
    DK_SPEC_RATE,     /* uint32_t: parts per million, from % or ppm */
    DK_SPEC_TIME,     /* int64_t: nanoseconds, from ns, us, ms, s */
    DK_SPEC_SPEED,    /* uint64_t: bits per second, from kbit, Mbit, Gbit */
    DK_SPEC_MAC,      /* struct dk_mac */
    DK_SPEC_YES,      /* bool */
    DK_SPEC_TEXT,     /* const char * */
};

/* A key, and where its value goes. A table ends with a name that is NULL. */
struct dk_spec_key {
    const char *name;
    enum dk_spec_kind kind;
    size_t at;   /* in the options */
    size_t also; /* a second place */
    bool twice;  /* whether there is one */
};

/* A key: its name, what it is, the type of the options, and the member. */
#define DK_SPEC_KEY(name, kind, type, member)                                                      \
    {                                                                                              \
        name, kind, offsetof(struct type, member), 0, false                                        \
    }

struct dk_spec_text {
    char *at;          /* what is not read yet */
    char after;        /* the character that ended the last piece: ( : , = ) or zero */
    bool is_decorator; /* the layer that is read: its pieces end at a parenthesis, too */
};

/* What a layer may be, and what is said of it. A table ends with a name that is NULL. */
struct dk_spec_driver {
    const char *name;
    bool is_decorator;
    const char *target; /* what it needs to be told, NULL: nothing */
    size_t target_at;   /* const char *, in its options */
    const struct dk_spec_key *keys;
    bool no_target_too; /* the target may be left out */
};

/* Returns the name of a layer. */
char *dk_spec_name(struct dk_spec_text *text);

/* Finds a driver by its name: its index, or -1. */
int dk_spec_find(const struct dk_spec_driver drivers[], const char *name);

/* Reads what follows the name of a layer, up to the next layer or the end: 0 or -EINVAL. */
int dk_spec_layer(struct dk_spec_text *text, const struct dk_spec_driver *driver, void *options,
                  const char **why_out);

#endif /* DK_DRV_SPEC_TEXT_H */
