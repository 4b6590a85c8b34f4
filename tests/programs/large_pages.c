/* LD_PRELOAD: memory is mapped as by a kernel whose pages have PAGE bytes (16384, 65536), a multiple of this one's.
 *
 * Such a kernel maps whole pages, refuses offsets and addresses inside of one, and unmaps what a page holds besides. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t page(void)
{
    static size_t known;
    if (known == 0) {
        const char *wanted = getenv("PAGE");
        known = wanted == NULL ? 4096 : strtoul(wanted, NULL, 10);
    }
    return known;
}

static size_t whole(size_t size) { return (size + page() - 1) / page() * page(); }

static int is_inside(const void *address) { return (uintptr_t)address % page() != 0; }

static int refused(void)
{
    errno = EINVAL;
    return -1;
}

/* sysconf(3) of the C library asks getauxval, getpagesize what it was told at its start: both are answered here. */
long sysconf(int name)
{
    if (name == _SC_PAGESIZE) {
        return (long)page();
    }
    static long (*real)(int);
    if (real == NULL) {
        extern long __sysconf(int);
        real = __sysconf;
    }
    return real(name);
}

int getpagesize(void) { return (int)page(); }

void *mmap(void *place, size_t size, int protection, int flags, int fd, off_t offset)
{
    if ((flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) {
        if (is_inside(place) || (size_t)offset % page() != 0) {
            return refused(), MAP_FAILED;
        }
        return (void *)syscall(SYS_mmap, place, size, protection, flags, fd, offset);
    }
    if ((flags & MAP_ANONYMOUS) == 0 && (size_t)offset % page() != 0) {
        return refused(), MAP_FAILED;
    }
    if (size == 0) {
        return refused(), MAP_FAILED;
    }
    size_t room = whole(size) + page();
    char *start = (char *)syscall(SYS_mmap, NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0L);
    if (start == MAP_FAILED) {
        return MAP_FAILED;
    }
    char *at = (char *)whole((size_t)start);
    if (at != start) {
        syscall(SYS_munmap, start, at - start);
    }
    syscall(SYS_munmap, at + whole(size), start + room - (at + whole(size)));
    /* What lies behind the bytes that were asked for is more than may be counted on: it stays without access. */
    char *made = (char *)syscall(SYS_mmap, at, size, protection, flags | MAP_FIXED, fd, offset);
    if (made == MAP_FAILED) {
        int error = errno;
        syscall(SYS_munmap, at, whole(size));
        errno = error;
    }
    return made;
}

void *mmap64(void *place, size_t size, int protection, int flags, int fd, off_t offset)
{
    return mmap(place, size, protection, flags, fd, offset);
}

int munmap(void *place, size_t size)
{
    return is_inside(place) || size == 0 ? refused() : (int)syscall(SYS_munmap, place, whole(size));
}

int mprotect(void *place, size_t size, int protection)
{
    return is_inside(place) ? refused() : (int)syscall(SYS_mprotect, place, size, protection);
}

int madvise(void *place, size_t size, int advice)
{
    return is_inside(place) ? refused() : (int)syscall(SYS_madvise, place, size, advice);
}

int msync(void *place, size_t size, int flags)
{
    return is_inside(place) ? refused() : (int)syscall(SYS_msync, place, size, flags);
}
