/* SPDX-License-Identifier: MIT */
/*
 * Calls a fuzz target with each file of the folders that are named, in a block of exactly the
 * file's length, and with every beginning of it.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>

#define FILE_MAX  65536
#define CUTS_MAX  512 /* beginnings of longer files are not tried one by one */
#define PATH_SIZE 4096

static void run(const uint8_t *bytes, size_t len)
{
    uint8_t *block = malloc(len > 0 ? len : 1);
    FUZZ_CHECK(block != NULL);
    memcpy(block, bytes, len);
    LLVMFuzzerTestOneInput(block, len);
    free(block);
}

static int run_file(const char *path)
{
    static uint8_t bytes[FILE_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return -errno;
    size_t len = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    for (size_t cut = 0; cut < len && cut < CUTS_MAX; cut++)
        run(bytes, cut);
    run(bytes, len);
    return 0;
}

/* Returns the number of files, or a negative errno. */
static int run_folder(const char *folder)
{
    char path[PATH_SIZE];
    int files = 0;
    DIR *dir = opendir(folder);
    if (dir == NULL)
        return -errno;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        fprintf(stderr, "%s\n", path);
        int error = run_file(path);
        if (error != 0) {
            files = error;
            break;
        }
        files++;
    }
    closedir(dir);
    return files;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        int n = run_folder(argv[i]);
        if (n <= 0) {
            fprintf(stderr, "%s: %s\n", argv[i], n < 0 ? strerror(-n) : "no files");
            return 1;
        }
        files += n;
    }
    printf("%d files\n", files);
    return files > 0 ? 0 : 1;
}
