/* SPDX-License-Identifier: MIT */
/*
 * Logs: queues on stable storage.
 *
 * A push appends one record, an element of one to eight segments, and its token completes when the
 * record is on stable storage: what was acknowledged survives a crash of the process and a loss of
 * power. A pop reads the next record at the queue's position, with the same segments. Records have
 * numbers from 0 on, which never change.
 *
 * With DEMI_STORE (demikernel.conf(5)) a path is the name of a log on that device, which holds
 * many; without it, a path is that of a file which holds one log. One process at a time uses a
 * device or file. demi_log(7) tells the whole.
 *
 * Any number of queues may be open on one log, each with a position of its own. A pop at the end
 * yields zero segments, and does so until there is more. Queues of logs are read by operators
 * (demi/queue.h) as others are. All but push and pop are control calls: they wait for the device.
 *
 * Common errors: EINVAL for NULL, EBADF for a descriptor that is not open, ENOSYS before demi_init,
 * EXDEV for a log of another instance, EIO what the device says or damage, ENOMEM.
 */
#ifndef DEMI_STORAGE_H
#define DEMI_STORAGE_H

#include <demi/cc.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>
#include <unistd.h>

DEMI_BEGIN_DECLS

/* A push completes when it is accepted: power that fails, or a process that is killed, within a
 * moment may take it, with all that came after it. */
#define DEMI_O_ASYNC 0x10000000

/* A pop at the end waits for the next record. */
#define DEMI_O_FOLLOW 0x20000000

/* The position of the oldest record that is kept, for demi_lseek. */
#ifndef SEEK_DATA
#define SEEK_DATA 3
#endif

/*
 * Opens a log; the position is its oldest record. flags: O_RDWR, O_RDONLY (pushes are EBADF) or
 * O_WRONLY (pops are EBADF), with O_CREAT, O_EXCL, O_TRUNC (drops all records), DEMI_O_ASYNC,
 * DEMI_O_FOLLOW. O_APPEND, O_CLOEXEC and O_NONBLOCK say what is the case anyway.
 *
 * Errors: EINVAL flags or name; ENOENT, EEXIST, ENAMETOOLONG, EACCES, EROFS, ENOSPC; EBUSY another
 * process, or another instance, has the device or file; EMEDIUMTYPE or EUCLEAN it holds something
 * else; EPROTONOSUPPORT it is of a newer version; ENODATA it is cut short; EMFILE.
 */
DEMI_PUBLIC int demi_open(_Out_ int *qd_out, _In_z_ const char *path, _In_ int flags);

/* demi_open with O_RDWR | O_CREAT | O_TRUNC. mode: of a file that is made. */
DEMI_PUBLIC int demi_creat(_Out_ int *qd_out, _In_z_ const char *path, _In_ mode_t mode);

/*
 * Sets the position, in records, and stores it. whence: SEEK_SET, SEEK_CUR, SEEK_END, or SEEK_DATA:
 * the first record from `record` on that is kept. Errors: EINVAL outside what is kept, or whence;
 * EBUSY pops are outstanding, or an operator has the pop side (the position may be asked for:
 * SEEK_CUR and 0); ESPIPE not a log.
 */
DEMI_PUBLIC int demi_lseek(_In_ int qd, _In_ int64_t record, _In_ int whence,
                           _Out_ int64_t *pos_out);

/*
 * Drops the records from `record` on. What was pushed is acknowledged first. Positions beyond it
 * become the new end. Errors: EINVAL outside what is kept, not a log; EBADF O_RDONLY; EROFS,
 * ENOSPC.
 */
DEMI_PUBLIC int demi_truncate(_In_ int qd, _In_ int64_t record);

/*
 * Drops the records before `record`; the space of whole segments is free again. Positions before it
 * become `record`. Errors: as demi_truncate.
 */
DEMI_PUBLIC int demi_trim(_In_ int qd, _In_ int64_t record);

/* Removes a log, or the file that holds it; who has it open goes on. Errors: ENOENT, and as
 * demi_open. */
DEMI_PUBLIC int demi_unlink(_In_z_ const char *path);

DEMI_END_DECLS

#endif /* DEMI_STORAGE_H */
