/* SPDX-License-Identifier: MIT */
/*
 * loading PLUGIN [MALLOC]: libraries that come and go. With MALLOC, the path of the preloadable
 * library, nothing was preloaded: it is that library that comes late, and goes.
 */
#include "heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dlfcn.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *plugin_path, *malloc_path;

struct plugin {
    void *handle;
    void *(*allocate)(size_t);
    void *(*thread_memory)(void);
};

static struct plugin plugin_open(void)
{
    struct plugin plugin = {.handle = dlopen(plugin_path, RTLD_NOW | RTLD_LOCAL)};
    assert_non_null(plugin.handle);
    *(void **)&plugin.allocate = dlsym(plugin.handle, "plugin_allocate");
    *(void **)&plugin.thread_memory = dlsym(plugin.handle, "plugin_thread_memory");
    assert_true(plugin.allocate != NULL && plugin.thread_memory != NULL);
    return plugin;
}

static void *touch(void *arg)
{
    struct plugin *plugin = arg;
    plugin->thread_memory();
    return plugin->allocate(300);
}

static void test_library_loaded_and_unloaded_uses_the_heap(void **state)
{
    (void)state;
    for (int i = 0; i < 200; i++) {
        struct plugin plugin = plugin_open();
        void *p = plugin.allocate(1000), *of_thread = NULL;
        pthread_t thread;
        assert_true(heap_has(p));
        assert_int_equal(pthread_create(&thread, NULL, touch, &plugin), 0);
        plugin.thread_memory();
        assert_int_equal(pthread_join(thread, &of_thread), 0);
        assert_true(heap_has(of_thread));
        assert_int_equal(dlclose(plugin.handle), 0);
        free(p);
        free(of_thread);
    }
}

static void test_loader_errors_do_not_recurse(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_null(dlopen("/no/such/library.so", RTLD_NOW));
        assert_non_null(dlerror());
        assert_null(dlsym(RTLD_DEFAULT, "no_such_symbol_anywhere"));
        assert_non_null(strstr(dlerror(), "no_such_symbol_anywhere"));
    }
}

static void test_malloc_loaded_late_takes_its_own_and_glibcs(void **state)
{
    (void)state;
    void *handle = dlopen(malloc_path, RTLD_NOW | RTLD_GLOBAL);
    if (handle == NULL)
        fail_msg("%s", dlerror());
    void *(*late_malloc)(size_t), *(*late_realloc)(void *, size_t), (*late_free)(void *);
    size_t (*late_usable)(void *);
    *(void **)&late_malloc = dlsym(handle, "malloc");
    *(void **)&late_realloc = dlsym(handle, "realloc");
    *(void **)&late_free = dlsym(handle, "free");
    *(void **)&late_usable = dlsym(handle, "malloc_usable_size");
    char *ours = late_malloc(100), *glibcs = malloc(100);
    assert_true(heap_has(ours) && !heap_has(glibcs));
    assert_true(late_usable(glibcs) >= 100);
    fill(ours, 100);
    memcpy(glibcs, "here before", 12);
    glibcs = late_realloc(glibcs, 5000);
    assert_true(heap_has(glibcs));
    assert_string_equal(glibcs, "here before");
    late_free(malloc(10));
    assert_int_equal(dlclose(handle), 0);
    assert_true(filled(ours, 100)); /* the heap stays */
    late_free(ours);
    late_free(glibcs);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest preloaded[] = {
        cmocka_unit_test(test_library_loaded_and_unloaded_uses_the_heap),
        cmocka_unit_test(test_loader_errors_do_not_recurse),
    };
    const struct CMUnitTest late[] = {
        cmocka_unit_test(test_malloc_loaded_late_takes_its_own_and_glibcs),
    };
    plugin_path = argc > 1 ? argv[1] : NULL;
    malloc_path = argc > 2 ? argv[2] : NULL;
    return malloc_path != NULL
               ? cmocka_run_group_tests_name("preload-late", late, NULL, NULL)
               : cmocka_run_group_tests_name("preload-loading", preloaded, NULL, NULL);
}
