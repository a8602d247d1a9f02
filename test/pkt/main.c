/* SPDX-License-Identifier: MIT */
/*
 * Packet scripts: runs those named, or all of a folder, each over IPv4 and over IPv6.
 *
 *     pkt [-v] [-4|-6] [-t] [-g] FOLDER|FILE...
 *
 * The report is TAP. -v prints each line, packet and event with its time; -t: over a device that
 * cuts segments, whatever the script says; -g: packets that follow each other come in one burst,
 * and reach TCP in groups.
 */
#include "pkt.h"

#include "net/dev.h"

#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct mode mode;
static int only_version;
static int count, failures;

static void run_file(struct test *t, const char *file)
{
    const char *slash = strrchr(file, '/');
    for (int version = 4; version <= 6; version += 2) {
        if (only_version != 0 && only_version != version)
            continue;
        bool good = run_script(t, file, version, &mode);
        count++;
        printf("%s %d - %s IPv%d%s\n", good ? "ok" : "not ok", count, slash ? slash + 1 : file,
               version, good && t->ended ? " # SKIP another family's" : "");
        if (!good)
            printf("# %s\n", t->message);
        failures += !good;
        fflush(stdout);
    }
}

static int run_folder(struct test *t, const char *folder)
{
    char pattern[4096];
    glob_t found;
    snprintf(pattern, sizeof(pattern), "%s/*/*.pkt", folder);
    if (glob(pattern, 0, NULL, &found) != 0) {
        printf("# no scripts in %s\n", folder);
        return -1;
    }
    for (size_t i = 0; i < found.gl_pathc; i++)
        run_file(t, found.gl_pathv[i]);
    globfree(&found);
    return 0;
}

int main(int argc, char **argv)
{
    struct test *t = calloc(1, sizeof(*t));
    int i = 1;
    for (; i < argc && argv[i][0] == '-'; i++) {
        mode.verbose |= strcmp(argv[i], "-v") == 0;
        if (strcmp(argv[i], "-t") == 0)
            mode.device_caps = DK_NETDEV_TSO;
        mode.gro |= strcmp(argv[i], "-g") == 0;
        only_version = argv[i][1] == '4' || argv[i][1] == '6' ? argv[i][1] - '0' : only_version;
    }
    if (t == NULL || i == argc) {
        fprintf(stderr, "usage: pkt [-v] [-4|-6] [-t] [-g] FOLDER|FILE...\n");
        return 2;
    }
    for (; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            failures += run_folder(t, argv[i]) != 0;
        else
            run_file(t, argv[i]);
    }
    printf("1..%d\n", count);
    free(t);
    return failures != 0;
}
