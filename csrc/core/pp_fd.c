#define _GNU_SOURCE
#include "core/pp_fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

void pp_fd_own(struct pp_fd *fd, int number)
{
    struct stat info;
    fd->number = number >= 0 && fstat(number, &info) == 0 ? number : -1;
    fd->device = fd->number < 0 ? 0 : (uint64_t)info.st_dev;
    fd->inode = fd->number < 0 ? 0 : (uint64_t)info.st_ino;
}

static int is_it(const struct pp_fd *fd, int number)
{
    struct stat info;
    return number >= 0 && fstat(number, &info) == 0 && (uint64_t)info.st_dev == fd->device
           && (uint64_t)info.st_ino == fd->inode;
}

int pp_fd_is_there(const struct pp_fd *fd) { return is_it(fd, __atomic_load_n(&fd->number, __ATOMIC_ACQUIRE)); }

/* By the name that the kernel gives a mapping: where it starts and where it ends. */
static int open_mapped(const void *mapping)
{
    char line[512], path[96];
    unsigned long start, end;
    int fd = -1;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps != NULL && fd < 0 && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &start, &end) == 2 && start <= (unsigned long)mapping
            && (unsigned long)mapping < end) {
            snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", start, end);
            fd = open(path, O_RDWR | O_CLOEXEC);
            break;
        }
    }
    if (maps != NULL) {
        fclose(maps);
    }
    return fd;
}

int pp_fd_of(struct pp_fd *fd, const void *mapping)
{
    int number = __atomic_load_n(&fd->number, __ATOMIC_ACQUIRE);
    if (is_it(fd, number)) {
        return number;
    }
    int fresh = fd->inode == 0 ? -1 : open_mapped(mapping);
    if (!is_it(fd, fresh)) {
        if (fresh >= 0) {
            close(fresh);
        }
        errno = EBADF;
        return -1;
    }
    /* killed here: it is this process's own */
    if (!__atomic_compare_exchange_n(&fd->number, &number, fresh, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        close(fresh); /* another thread was faster */
        return number;
    }
    return fresh;
}

void pp_fd_close(struct pp_fd *fd)
{
    if (pp_fd_is_there(fd)) {
        close(fd->number);
    }
    fd->number = -1;
}
