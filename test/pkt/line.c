/* SPDX-License-Identifier: MIT */
/*
 * Lines of a script: words, numbers with units and arithmetic, variables, addresses.
 */
#include "pkt.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

void var_set(struct test *t, const char *name, int64_t value)
{
    for (uint32_t i = 0; i < t->num_vars; i++) {
        if (strcmp(t->vars[i].name, name) == 0) {
            t->vars[i].value = value;
            return;
        }
    }
    if (t->num_vars == VARS_MAX)
        test_fail(t, "more than %d variables", VARS_MAX);
    struct var *v = &t->vars[t->num_vars++];
    snprintf(v->name, sizeof(v->name), "%s", name);
    v->value = value;
}

static int64_t var_get(struct test *t, const char *name, size_t len)
{
    for (uint32_t i = 0; i < t->num_vars; i++) {
        if (strlen(t->vars[i].name) == len && memcmp(t->vars[i].name, name, len) == 0)
            return t->vars[i].value;
    }
    test_fail(t, "no variable %.*s", (int)len, name);
}

/* Replaces each $NAME by its value. */
static void replace_vars(struct test *t, const char *text, char *to, size_t size)
{
    size_t len = 0;
    while (*text != '\0' && *text != '#') {
        if (*text != '$') {
            if (len + 1 < size)
                to[len++] = *text;
            text++;
            continue;
        }
        size_t name = 0;
        while (isalnum((unsigned char)text[1 + name]) || text[1 + name] == '_')
            name++;
        len += (size_t)snprintf(to + len, size - len, "%" PRId64, var_get(t, text + 1, name));
        if (len >= size)
            test_fail(t, "a line that is too long");
        text += 1 + name;
    }
    to[len] = '\0';
}

void line_cut(struct test *t, struct line *line, const char *text)
{
    snprintf(line->text, sizeof(line->text), "%s", text);
    replace_vars(t, text, line->words, sizeof(line->words));
    memset(line->used, 0, sizeof(line->used));
    line->num_words = 0;
    char *save = NULL;
    for (char *w = strtok_r(line->words, " \t\n", &save); w; w = strtok_r(NULL, " \t\n", &save)) {
        if (line->num_words == WORDS_MAX)
            test_fail(t, "more than %d words", WORDS_MAX);
        line->word[line->num_words++] = w;
    }
}

const char *line_arg(struct line *line, const char *key)
{
    size_t len = strlen(key);
    for (int i = 1; i < line->num_words; i++) {
        if (strncmp(line->word[i], key, len) == 0 && line->word[i][len] == '=') {
            line->used[i] = true;
            return line->word[i] + len + 1;
        }
    }
    return NULL;
}

bool line_flag(struct line *line, const char *word)
{
    for (int i = 1; i < line->num_words; i++) {
        if (strcmp(line->word[i], word) == 0) {
            line->used[i] = true;
            return true;
        }
    }
    return false;
}

int64_t line_number(struct test *t, const char *key, int64_t otherwise)
{
    const char *value = line_arg(t->line, key);
    return value ? eval(t, value) : otherwise;
}

void line_done(struct test *t)
{
    for (int i = 1; i < t->line->num_words; i++) {
        if (!t->line->used[i])
            test_fail(t, "what is \"%s\"?", t->line->word[i]);
    }
}

/* ---- Arithmetic: + - * / % << >> ( ), numbers with units of time in nanoseconds -------------- */

static int64_t unit(const char **at)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {
        {"min", INT64_C(60000000000)}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}, {"s", 1000000000}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        size_t len = strlen(units[i].name);
        if (strncmp(*at, units[i].name, len) == 0) {
            *at += len;
            return units[i].ns;
        }
    }
    return 1;
}

static int64_t eval_atom(struct test *t, const char **at)
{
    if (**at == '(') {
        (*at)++;
        int64_t value = eval_part(t, at);
        if (**at != ')')
            test_fail(t, "a ) is missing before \"%s\"", *at);
        (*at)++;
        return value;
    }
    if (**at == '-') {
        (*at)++;
        return -eval_atom(t, at);
    }
    char *end;
    int64_t value = (int64_t)strtoull(*at, &end, 0);
    if (end == *at)
        test_fail(t, "a number is missing at \"%s\"", *at);
    const char *point = end;
    int64_t tenths = 0;
    if (*point == '.' && isdigit((unsigned char)point[1])) {
        tenths = point[1] - '0';
        point += 2;
    }
    *at = point;
    int64_t scale = unit(at);
    return value * scale + tenths * scale / 10;
}

static int64_t eval_product(struct test *t, const char **at)
{
    int64_t value = eval_atom(t, at);
    while (**at == '*' || **at == '/' || **at == '%') {
        char op = *(*at)++;
        int64_t right = eval_atom(t, at);
        if (op != '*' && right == 0)
            test_fail(t, "a division by zero");
        value = op == '*' ? value * right : op == '/' ? value / right : value % right;
    }
    return value;
}

static int64_t eval_sum(struct test *t, const char **at)
{
    int64_t value = eval_product(t, at);
    while (**at == '+' || **at == '-') {
        char op = *(*at)++;
        int64_t right = eval_product(t, at);
        value = op == '+' ? value + right : value - right;
    }
    return value;
}

int64_t eval_part(struct test *t, const char **at)
{
    int64_t value = eval_sum(t, at);
    while (strncmp(*at, "<<", 2) == 0 || strncmp(*at, ">>", 2) == 0) {
        char op = **at;
        *at += 2;
        int64_t right = eval_sum(t, at);
        value = op == '<' ? (int64_t)((uint64_t)value << right) : value >> right;
    }
    return value;
}

int64_t eval(struct test *t, const char *text)
{
    const char *at = text;
    int64_t value = eval_part(t, &at);
    if (*at != '\0')
        test_fail(t, "\"%s\" is no number", text);
    return value;
}

uint32_t eval_ranges(struct test *t, const char *text, int64_t from_out[4], int64_t to_out[4])
{
    uint32_t n = 0;
    for (const char *at = text; n < 4; at++) {
        from_out[n] = eval_part(t, &at);
        if (*at++ != ':')
            break;
        to_out[n++] = eval_part(t, &at);
        if (*at == '\0')
            return n;
        if (*at != ',')
            break;
    }
    test_fail(t, "\"%s\" is no list of ranges", text);
}

void eval_range(struct test *t, const char *text, int64_t *from_out, int64_t *to_out)
{
    const char *at = text;
    *from_out = eval_part(t, &at);
    *to_out = *from_out;
    if (*at == ':') {
        at++;
        *to_out = eval_part(t, &at);
    }
    if (*at != '\0')
        test_fail(t, "\"%s\" is no range", text);
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static struct dk_ip ip_from_text(const char *text, int version)
{
    struct dk_ip ip = {.version = (uint8_t)version};
    if (inet_pton(version == 4 ? AF_INET : AF_INET6, text, ip.bytes) != 1)
        ip.version = 0;
    return ip;
}

/* 0 to 255 on the link; 256 and more behind the gateway. */
struct dk_ip host_ip(int version, int number)
{
    struct dk_ip ip = ip_from_text(number > 255   ? version == 4 ? "192.0.2.0" : "2001:db8::"
                                   : version == 4 ? "10.0.0.0"
                                                  : "fd00::",
                                   version);
    ip.bytes[version == 4 ? 3 : 15] = (uint8_t)number;
    return ip;
}

struct dk_mac host_mac(const struct dk_ip *ip)
{
    uint8_t last = ip->bytes[ip->version == 4 ? 3 : 15];
    return (struct dk_mac){{0x02, 0, 0, 0, 0, last}};
}

struct dk_ip parse_ip(struct test *t, const char *text)
{
    if (strcmp(text, "any") == 0)
        return (struct dk_ip){.version = (uint8_t)t->version};
    if (text[0] == '.' || text[0] == '~')
        return host_ip(t->version, (int)eval(t, text + 1) + (text[0] == '~' ? 256 : 0));
    struct dk_ip ip = ip_from_text(text, t->version);
    if (ip.version == 0)
        test_fail(t, "\"%s\" is no IPv%d address", text, t->version);
    return ip;
}

struct dk_mac parse_mac(struct test *t, const char *text)
{
    struct dk_mac mac;
    unsigned b[6];
    if (sscanf(text, "%x:%x:%x:%x:%x:%x", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5]) != 6)
        test_fail(t, "\"%s\" is no hardware address", text);
    for (int i = 0; i < 6; i++)
        mac.bytes[i] = (uint8_t)b[i];
    return mac;
}

/* ---- Flows ----------------------------------------------------------------------------------- */

struct flow *flow_find(struct test *t, const char *name)
{
    for (uint32_t i = 0; i < t->num_flows; i++) {
        if (strcmp(t->flows[i].name, name) == 0)
            return &t->flows[i];
    }
    return NULL;
}

struct flow *flow_add(struct test *t, const char *name)
{
    if (t->num_flows == FLOWS_MAX)
        test_fail(t, "more than %d flows", FLOWS_MAX);
    struct flow *f = &t->flows[t->num_flows];
    *f = (struct flow){
        .remote = host_ip(t->version, 2),
        .local = host_ip(t->version, 1),
        .remote_port = (uint16_t)(5000 + t->num_flows),
        .local_port = 80,
        .irs = 0x10000000,
        .ts_offset = 1000,
        .test = t,
    };
    snprintf(f->name, sizeof(f->name), "%s", name);
    t->num_flows++;
    return f;
}
