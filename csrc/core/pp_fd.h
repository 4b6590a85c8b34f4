/* A descriptor that a process keeps for long, and does not show.
 *
 * A program may close all its descriptors and go on, as daemons do. The number is another file's then, which is not ours to
 * write to, to send or to close. So a descriptor is known by what it is, its device and inode, and looked at before each
 * use. What is mapped is opened anew from the mapping, where the system lets us (/proc/self/map_files of proc(5)).
 */
#ifndef PP_FD_H
#define PP_FD_H

#include <stdint.h>

struct pp_fd {
    int number;
    uint64_t device, inode;
};

/* Keep a descriptor; -1 for none. */
void pp_fd_own(struct pp_fd *fd, int number);

/* Whether it is still what was taken. */
int pp_fd_is_there(const struct pp_fd *fd);

/* Its number now; opened anew from where it is mapped, if it was closed. -1 and EBADF where that cannot be. */
int pp_fd_of(struct pp_fd *fd, const void *mapping);

/* Close it, if it is still there. */
void pp_fd_close(struct pp_fd *fd);

#endif
