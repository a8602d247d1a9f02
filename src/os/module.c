/* SPDX-License-Identifier: MIT */
#include "os/module.h"

#include <dk_build_id.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIBRARY "libdemikernel.so"
#define FOLDER  "demikernel" /* beside the library */

__attribute__((format(printf, 3, 4))) static int say(char why[DK_MODULE_WHY_MAX], int error,
                                                     const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, DK_MODULE_WHY_MAX, fmt, ap);
    va_end(ap);
    return error;
}

/* The file that this code lies in; NULL where that is not the shared library. */
static const char *own_file(void)
{
    static const char here;
    Dl_info info;
    struct link_map *map = NULL;
    if (dladdr1(&here, &info, (void **)&map, RTLD_DL_LINKMAP) == 0 || !map)
        return NULL;
    const char *slash = strrchr(map->l_name, '/');
    const char *base = slash ? slash + 1 : map->l_name;
    return strncmp(base, LIBRARY, strlen(LIBRARY)) == 0 ? map->l_name : NULL;
}

/* Whether there is such a file; its path is in `path` then. */
static bool is_there(char path[PATH_MAX], const char *folder, size_t len, const char *name)
{
    int n = snprintf(path, PATH_MAX, "%.*s/%s.so", (int)len, folder, name);
    return len > 0 && len < PATH_MAX && n < PATH_MAX && access(path, F_OK) == 0;
}

/* Looks through folders that are separated by colons. */
static bool seek(char path[PATH_MAX], const char *folders, const char *name)
{
    for (; folders; folders = strchr(folders, ':') ? strchr(folders, ':') + 1 : NULL)
        if (is_there(path, folders, strcspn(folders, ":"), name))
            return true;
    return false;
}

static int find(char path[PATH_MAX], const char *name, const char *library,
                char why[DK_MODULE_WHY_MAX])
{
    char beside[PATH_MAX];
    const char *slash = strrchr(library, '/');
    const int len = slash ? (int)(slash - library) : 1;
    if (seek(path, secure_getenv("DEMI_MODULE_PATH"), name))
        return 0;
    int n = snprintf(beside, sizeof beside, "%.*s/" FOLDER, len, slash ? library : ".");
    if (n < (int)sizeof beside && is_there(path, beside, (size_t)n, name))
        return 0;
    return say(why, -ENOENT,
               "the module %s.so is not in %s, nor where DEMI_MODULE_PATH says: it is built where "
               "what it needs is installed (doc/dependencies.md)",
               name, beside);
}

static bool read_at(int fd, void *to, size_t len, uint64_t offset)
{
    return pread(fd, to, len, (off_t)offset) == (ssize_t)len;
}

/* Whether an open file has all that its ELF headers promise. */
static bool has_all(int fd)
{
    ElfW(Ehdr) elf;
    ElfW(Phdr) part;
    struct stat st;
    if (fstat(fd, &st) < 0 || !read_at(fd, &elf, sizeof elf, 0) ||
        memcmp(elf.e_ident, ELFMAG, SELFMAG) != 0)
        return false;
    for (uint32_t i = 0; i < elf.e_phnum; i++)
        if (!read_at(fd, &part, sizeof part, elf.e_phoff + (uint64_t)i * elf.e_phentsize) ||
            part.p_offset + part.p_filesz > (uint64_t)st.st_size)
            return false;
    return true;
}

/* The loader of programs would end the process with SIGBUS where a file was cut off. */
static bool is_whole(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool whole = fd < 0 || has_all(fd); /* who cannot read it is told why by the loader */
    if (fd >= 0)
        close(fd);
    return whole;
}

static int check(const struct dk_module *module, const char *name, const char *path,
                 char why[DK_MODULE_WHY_MAX])
{
    if (strcmp(module->build, DK_BUILD_ID) != 0)
        return say(why, -ESTALE, "%s is of the build %s of the library, which is %s: build both",
                   path, module->build, DK_BUILD_ID);
    if (strcmp(module->name, name) != 0)
        return say(why, -ELIBBAD, "%s is the module %s under another name", path, module->name);
    return 0;
}

static int load(const char *path, const char *name, const struct dk_module **module_out,
                char why[DK_MODULE_WHY_MAX])
{
    if (!is_whole(path))
        return say(why, -ELIBBAD, "the module %s cannot be loaded: %s is cut off, or no library",
                   name, path);
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return say(why, -ELIBBAD, "the module %s cannot be loaded: %s", name, dlerror());
    const struct dk_module *module = dlsym(handle, DK_MODULE_SYMBOL);
    int r = module ? check(module, name, path, why)
                   : say(why, -ELIBBAD,
                         "%s is no module of the library: it has no " DK_MODULE_SYMBOL, path);
    if (r == 0)
        *module_out = module;
    else
        dlclose(handle);
    return r;
}

const char *dk_module_build(void)
{
    return DK_BUILD_ID;
}

int dk_module_load(const char *name, const struct dk_module **module_out,
                   char why[DK_MODULE_WHY_MAX])
{
    char path[PATH_MAX];
    const char *library = own_file();
    if (!library)
        return say(
            why, -ENOSYS,
            "the library is linked into this program, and loads no modules: link with " LIBRARY
            ", or build it with -Dstatic_backends=%s",
            name);
    int r = find(path, name, library, why);
    return r < 0 ? r : load(path, name, module_out, why);
}
