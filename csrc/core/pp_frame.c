#define _GNU_SOURCE
#include "core/pp_frame.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/resource.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/pp_futex.h"
#include "core/pp_spin.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef SYS_preadv2
#define SYS_preadv2 (-1)
#endif
#ifndef SYS_pwritev2
#define SYS_pwritev2 (-1)
#endif

#define MAX_SHORT 0x7fffffffu
#define MAX_LOOKS 120u /* of 0.3 us each */
#define SOON 200000 /* nanoseconds: what comes so soon, wake-ups of both sides included, is worth a look as long */
#define HELD_OFF 16u /* waits without a look, after one in vain; and where there are more threads than processors */
#define HELD_OFF_BUSY 256u
#define ONCE ((size_t)1 << 30) /* the kernel takes no more than 2 GiB a call */

void pp_send_start(struct pp_sending *sending, const void *bytes, size_t size)
{
    sending->bytes = bytes;
    sending->size = size;
    sending->done = 0;
    sending->header_size = size > MAX_SHORT ? 12 : 4;
    uint64_t value = size;
    for (size_t i = 0; i < sending->header_size; i++) {
        sending->header[sending->header_size - 1 - i] = i < 8 ? (unsigned char)(value >> 8 * i) : 0xff;
    }
}

/* What is left to be sent; how many parts that is. */
static int rest_of(struct pp_sending *sending, struct iovec parts[2])
{
    int count = 0;
    size_t done = sending->done;
    if (done < sending->header_size) {
        parts[count++] = (struct iovec){sending->header + done, sending->header_size - done};
        done = 0;
    } else {
        done -= sending->header_size;
    }
    size_t left = sending->size - done;
    parts[count++] = (struct iovec){(char *)(uintptr_t)sending->bytes + done, left < ONCE ? left : ONCE};
    return count;
}

/* Write what there is room for: a socket and, from Linux 6.4 on, a pipe can be asked for that; another pipe that is said
 * to have room has it for PIPE_BUF bytes. */
static ssize_t write_now(int fd, struct iovec *parts, int count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
    ssize_t written = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (written < 0 && errno == ENOTSOCK) {
        written = (ssize_t)syscall(SYS_pwritev2, fd, parts, (long)count, -1L, -1L, RWF_NOWAIT);
        if (written < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
            size_t room = PIPE_BUF;
            for (int i = 0; i < count; i++) {
                parts[i].iov_len = parts[i].iov_len < room ? parts[i].iov_len : room;
                room -= parts[i].iov_len;
            }
            written = writev(fd, parts, count);
        }
    }
    return written;
}

int pp_send_now(int fd, struct pp_sending *sending)
{
    struct iovec parts[2];
    ssize_t written = write_now(fd, parts, rest_of(sending, parts));
    if (written < 0) {
        return errno;
    }
    sending->done += (size_t)written;
    return sending->done < sending->header_size + sending->size ? EINTR : 0;
}

int pp_send(int fd, struct pp_sending *sending)
{
    size_t all = sending->header_size + sending->size;
    while (sending->done < all) {
        struct iovec parts[2];
        ssize_t written = writev(fd, parts, rest_of(sending, parts));
        if (written < 0) {
            return errno;
        }
        sending->done += (size_t)written;
        if (sending->done < all) {
            return EINTR; /* perhaps a signal has cut it short, and the next call would block without its handler */
        }
    }
    return 0;
}

ssize_t pp_read_now(int fd, void *bytes, size_t size)
{
    struct iovec part = {bytes, size};
    return (ssize_t)syscall(SYS_preadv2, fd, &part, 1L, -1L, -1L, RWF_NOWAIT); /* not every C library has it */
}

/* Wait at most a tick for something to read; not at all where reads do not wait. EINTR, a tick: signals are looked after.
 *
 * A read(2) that blocks has none: a signal that came while this thread looked would be heard when bytes come, or never. */
static int await_bytes(int fd)
{
    int flags = fcntl(fd, F_GETFL); /* -1: the read says why */
    return (flags & O_NONBLOCK) != 0 ? 0 : pp_await_fd(fd, 0, PP_FOREVER);
}

/* Read what is there, looking for a while. What comes is read as by read(2), which is what happens at last. */
static ssize_t read_soon(int fd, void *bytes, size_t size, pp_word *spins)
{
    uint32_t limit = pp_spin_limit(spins, MAX_LOOKS);
    for (uint32_t i = 0; i < limit; i++) {
        ssize_t count = pp_read_now(fd, bytes, size);
        if (count >= 0) {
            pp_spin_learn(spins, i, MAX_LOOKS, 1);
            return count;
        }
        if (errno != EAGAIN) {
            pp_store_own(spins, PP_SPIN_NEVER);
            break;
        }
    }
    pp_spin_learn(spins, limit, MAX_LOOKS, 0);
    int error = await_bytes(fd);
    if (error != 0) {
        errno = error;
        return -1;
    }
    return read(fd, bytes, size);
}

int pp_receive_header(int fd, struct pp_receiving *receiving, pp_word *spins)
{
    size_t wanted = 4;
    for (;;) {
        if (receiving->header_done >= 4 && memcmp(receiving->header, "\xff\xff\xff\xff", 4) == 0) {
            wanted = 12;
        }
        if (receiving->header_done >= wanted) {
            break;
        }
        unsigned char *place = receiving->header + receiving->header_done;
        ssize_t count = read_soon(fd, place, wanted - receiving->header_done, spins);
        if (count <= 0) {
            return count == 0 ? PP_END : errno;
        }
        receiving->header_done += (size_t)count;
        if (receiving->header_done < wanted) {
            return EINTR; /* as in pp_send */
        }
    }
    receiving->size = 0;
    for (size_t i = wanted == 4 ? 0 : 4; i < wanted; i++) {
        receiving->size = receiving->size << 8 | receiving->header[i];
    }
    receiving->done = 0;
    return receiving->size > (wanted == 4 ? MAX_SHORT : (uint64_t)INT64_MAX) ? PP_BAD : 0;
}

int pp_receive_bytes(int fd, struct pp_receiving *receiving, char *bytes, size_t size)
{
    while (receiving->done < size) {
        size_t left = size - receiving->done;
        ssize_t count = read(fd, bytes + receiving->done, left < ONCE ? left : ONCE);
        if (count <= 0) {
            return count == 0 ? PP_END : errno;
        }
        receiving->done += (size_t)count;
        if (receiving->done < size) {
            return EINTR; /* as in pp_send */
        }
    }
    return 0;
}

/* How often another thread has taken the processor from this one. */
static uint32_t preemptions(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint32_t)usage.ru_nivcsw : 0;
}

int pp_await_soon(int fd, struct pp_soon *soon)
{
    if (soon->held_off > 1) {
        soon->held_off--;
        return 0;
    }
    struct pollfd wanted = {fd, POLLIN, 0};
    int found = 0;
    uint32_t taken = preemptions();
    int is_busy = soon->held_off == 0 && taken != soon->preemptions; /* others need it, the peer perhaps */
    int64_t start = pp_now();
    if (soon->held_off == 0 && soon->came_soon && !is_busy && pp_processors() > 1) {
        do {
            found = poll(&wanted, 1, 0);
        } while (found == 0 && pp_now() - start < SOON);
        soon->held_off = found != 0 ? 0 : HELD_OFF;
        start = pp_now();
    } else {
        soon->held_off = is_busy ? HELD_OFF_BUSY : 0;
    }
    soon->preemptions = taken; /* a preemption in a look counts for the next one */
    if (found == 0) {
        found = poll(&wanted, 1, 1000);
        soon->came_soon = found > 0 && pp_now() - start < SOON;
    }
    return found > 0;
}

int pp_await_fd(int fd, int to_write, int64_t deadline)
{
    struct pollfd wanted = {fd, (short)(to_write ? POLLOUT : POLLIN), 0};
    int64_t left = deadline == PP_FOREVER ? PP_FOREVER : deadline - pp_now();
    int milliseconds = left <= 0 ? 0 : left > 1000000000 ? 1000 : (int)((left + 999999) / 1000000);
    int found = poll(&wanted, 1, milliseconds);
    if (found > 0) {
        return (wanted.revents & POLLNVAL) != 0 ? EBADF : 0;
    }
    if (found < 0) {
        return errno;
    }
    return left <= 0 ? ETIMEDOUT : EINTR; /* EINTR, a tick: signals are looked after between two */
}
