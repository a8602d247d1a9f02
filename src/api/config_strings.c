/* SPDX-License-Identifier: MIT */
/*
 * A list of kept strings behind a mutex. It holds some dozens: values, defaults and origins of the
 * configuration, names of counters; a list is enough. Never freed, but always reachable.
 */
#include "api/config_strings.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct kept {
    struct kept *next;
    char text[];
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kept *kept_head;

static const char *find(const char *text)
{
    for (const struct kept *kept = kept_head; kept != NULL; kept = kept->next) {
        if (strcmp(kept->text, text) == 0)
            return kept->text;
    }
    return NULL;
}

static const char *keep(const char *text)
{
    size_t size = strlen(text) + 1;
    struct kept *kept = malloc(sizeof *kept + size);
    if (kept == NULL)
        return NULL;
    memcpy(kept->text, text, size);
    kept->next = kept_head;
    kept_head = kept;
    return kept->text;
}

const char *dk_config_string(const char *text)
{
    pthread_mutex_lock(&kept_lock);
    const char *found = find(text);
    if (found == NULL)
        found = keep(text);
    pthread_mutex_unlock(&kept_lock);
    return found;
}
