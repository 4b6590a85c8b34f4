#define _GNU_SOURCE
#include "core/pp_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int pp_memfd(const char *name, size_t size)
{
    /* A kernel before 6.3 does not know NOEXEC_SEAL, one with vm.memfd_noexec=2 makes nothing without it. */
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd < 0) {
        return -1;
    }
    if (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, SEALS) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

void *pp_memfd_map(int fd, size_t size)
{
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &info) != 0) {
        return NULL;
    }
    if ((seals & SEALS) != SEALS || info.st_size < 0 || (size_t)info.st_size < size) {
        errno = EINVAL;
        return NULL;
    }
    void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return place == MAP_FAILED ? NULL : place;
}
