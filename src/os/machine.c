/* SPDX-License-Identifier: MIT */
/*
 * machine-id(5): 32 hexadecimal digits and the end of the line; "uninitialized" before the first
 * boot is over. Its 128 bits are the key of a SipHash of the use, so they cannot be found from it.
 */
#include "os/machine.h"

#include "base/siphash.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#define DIGITS 32

static int digit(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c == '\0' ? NULL : strchr(digits, c);
    return at ? (int)(at - digits) : -1;
}

/* False: they are no id, or one of zeros. */
static bool parse(const char text[DIGITS], uint8_t id[DIGITS / 2])
{
    uint8_t any = 0;
    for (int i = 0; i < DIGITS / 2; i++) {
        const int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
        any |= id[i];
    }
    return any != 0;
}

static int read_text(const char *path, char text[DIGITS + 1])
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    const ssize_t n = read(fd, text, DIGITS + 1);
    const int err = n < 0 ? -errno : 0;
    close(fd);
    if (err)
        return err;
    return n == DIGITS || (n == DIGITS + 1 && text[DIGITS] == '\n') ? 0 : -EINVAL;
}

int dk_machine_secret(const char *path, uint64_t use, uint8_t secret_out[16])
{
    char text[DIGITS + 1];
    uint8_t id[DIGITS / 2];
    int err = read_text(path, text);
    if (err)
        return err;
    if (!parse(text, id))
        return -EINVAL;
    for (uint64_t half = 0; half < 2; half++) {
        const uint64_t message[2] = {use, half};
        const uint64_t bits = dk_siphash(id, message, sizeof(message));
        memcpy(secret_out + 8 * half, &bits, sizeof(bits));
    }
    return 0;
}
