#define _GNU_SOURCE
#include "core/pp_memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/pp_atomic.h"
#include "core/pp_futex.h"
#include "core/pp_page.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef MFD_CLOEXEC
#define MFD_CLOEXEC 0x0001U
#define MFD_ALLOW_SEALING 0x0002U
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 0x0002
#define F_SEAL_GROW 0x0004
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW)

int pp_is_refusal(int error)
{
    return error == ENOSYS || error == EPERM || error == EACCES || error == EOPNOTSUPP;
}

int pp_random(void *bytes, size_t size)
{
    if (getrandom(bytes, size, 0) == (ssize_t)size) {
        return 0;
    }
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, bytes, size);
    if (fd >= 0) {
        close(fd);
    }
    return count == (ssize_t)size ? 0 : -1;
}

static pp_word answer; /* a fact about this kernel and its filter, which a child has, too: 0, or 1 + the errno */

static int sealed_file(const char *name)
{
    /* A kernel before 6.3 does not know NOEXEC_SEAL, one with vm.memfd_noexec=2 makes nothing without it. */
    int fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
    if (fd < 0 && errno == EINVAL) {
        fd = (int)syscall(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    }
    if (fd >= 0 || pp_is_refusal(errno)) {
        pp_store_own(&answer, fd >= 0 ? 1 : 1 + (uint32_t)errno);
    }
    return fd;
}

int pp_memfd_is_refused(void)
{
    if (pp_load_own(&answer) == 0) {
        int fd = sealed_file("polyproc-probe");
        if (fd >= 0) {
            close(fd);
        }
    }
    return pp_load_own(&answer) > 1 ? (int)pp_load_own(&answer) - 1 : 0;
}

/* Where O_TMPFILE is not known, a file has a name for an instant. */
static int file_in(const char *folder)
{
    char path[256];
    int fd = open(folder, O_RDWR | O_TMPFILE | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        return fd;
    }
    int64_t now = pp_now();
    for (int tries = 0; fd < 0 && tries < 100; tries++) {
        if (snprintf(path, sizeof path, "%s/polyproc-%d-%llx", folder, (int)getpid(), (long long)now + tries) >= (int)sizeof path) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0 && errno != EEXIST) {
            return -1;
        }
    }
    if (fd >= 0) {
        unlink(path);
    }
    return fd;
}

static int failed(int fd)
{
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int sized(int fd, uint64_t size) { return fd >= 0 && ftruncate(fd, (off_t)size) != 0 ? failed(fd) : fd; }

static int reserved(int fd, size_t size)
{
    while (fd >= 0 && pp_reserve(fd, 0, size) != 0) {
        if (errno != EINTR) {
            return failed(fd);
        }
    }
    return fd;
}

static int unsealed_file(size_t size, uint64_t behind)
{
    const char *folders[] = {"/dev/shm", getenv("TMPDIR"), "/tmp"};
    int fd = -1, error = 0;
    for (size_t i = 0; fd < 0 && i < sizeof folders / sizeof *folders; i++) {
        if (folders[i] == NULL || folders[i][0] != '/') {
            continue;
        }
        fd = reserved(sized(file_in(folders[i]), size + behind), size);
        if (fd < 0 && (error == 0 || (errno == EFBIG && behind != 0))) { /* with less behind it may be had there */
            error = errno;
        }
    }
    if (fd < 0) {
        errno = error;
    }
    return fd;
}

int pp_memfd(const char *name, size_t size, uint64_t behind)
{
    int fd = pp_load_own(&answer) <= 1 ? sealed_file(name) : -1;
    if (fd < 0) {
        return pp_load_own(&answer) <= 1 ? -1 : unsealed_file(size, behind);
    }
    fd = sized(fd, size + behind);
    return fd >= 0 && fcntl(fd, F_ADD_SEALS, SEALS) != 0 ? failed(fd) : fd;
}

/* A file that cannot be sealed is believed where we can make no other ourselves: then the others of our family cannot, too. */
static int is_believed(const struct stat *info)
{
    return pp_memfd_is_refused() != 0 && S_ISREG(info->st_mode) && info->st_nlink == 0
           && (info->st_uid == geteuid() || info->st_uid == 0);
}

void *pp_memfd_map(int fd, size_t size)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return NULL;
    }
    int seals = fcntl(fd, F_GET_SEALS);
    int is_safe = (seals >= 0 && (seals & SEALS) == SEALS) || is_believed(&info);
    if (!is_safe || info.st_size < 0 || (size_t)info.st_size < size) {
        errno = EINVAL;
        return NULL;
    }
    void *place = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return place == MAP_FAILED ? NULL : place;
}

static int zero(int fd, uint64_t at)
{
    ssize_t written;
    do {
        written = pwrite(fd, "", 1, (off_t)at);
    } while (written < 0 && errno == EINTR);
    return written == 1;
}

int pp_reserve(int fd, uint64_t start, uint64_t length)
{
    static pp_word missing; /* a fact about this kernel and its filter */
    if (!pp_load_own(&missing)) {
        if (fallocate(fd, 0, (off_t)start, (off_t)length) == 0) {
            return 0;
        }
        if (!pp_is_refusal(errno)) {
            return -1;
        }
        pp_store_own(&missing, errno != EOPNOTSUPP); /* which is one file system's word */
    }
    for (uint64_t at = start; at < start + length; at += pp_page_size()) { /* a page that a zero was written to has memory */
        if (!zero(fd, at)) {
            return -1;
        }
    }
    return length == 0 || zero(fd, start + length - 1) ? 0 : -1;
}
