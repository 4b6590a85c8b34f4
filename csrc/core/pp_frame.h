/* Messages over a pipe or a stream socket, in the standard library's wire format:
 *
 *     n bytes:  n as 4 bytes, big-endian, signed | n bytes                     n <= 0x7fffffff
 *               -1 as 4 bytes | n as 8 bytes, big-endian | n bytes             larger
 *
 * A message goes out in one writev(2) where the kernel takes it. Coming in, its length is read first and then its
 * bytes, straight to where they belong: nothing is read ahead, so that the descriptor can be shared, waited for and
 * given away.
 *
 * What remains to be done stands in the struct: after EINTR or EAGAIN the same call goes on where it was.
 */
#ifndef PP_FRAME_H
#define PP_FRAME_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "core/pp_atomic.h"

struct pp_sending {
    unsigned char header[12];
    size_t header_size;
    const char *bytes;
    size_t size;
    size_t done; /* of header and bytes together */
};

struct pp_receiving {
    unsigned char header[12];
    size_t header_done;
    uint64_t size; /* known when pp_receive_header has returned 0 */
    size_t done;
};

void pp_send_start(struct pp_sending *sending, const void *bytes, size_t size);

/* 0 when all is sent, else errno. EINTR: handle signals and call again. EAGAIN: it does not block and is full. */
int pp_send(int fd, struct pp_sending *sending);

/* Send as much as there is room for, by a descriptor that is said to have room, without waiting where it blocks.
 * EINTR: not all, call again when there is room. */
int pp_send_now(int fd, struct pp_sending *sending);

/* Look for what comes before sleeping, as long as `spins` says (pp_spin.h; never, where the kernel cannot look
 * without waiting). 0, errno as above, PP_END (the other end is closed) or PP_BAD (this is no length). */
int pp_receive_header(int fd, struct pp_receiving *receiving, pp_word *spins);

/* Read up to `size` of the message's bytes in all. */
int pp_receive_bytes(int fd, struct pp_receiving *receiving, char *bytes, size_t size);

/* Read without waiting (preadv2(2), Linux 4.14): EAGAIN, there is nothing; another errno, it cannot be done here. */
ssize_t pp_read_now(int fd, void *bytes, size_t size);

/* What a descriptor's waits have taught, zero at first. */
struct pp_soon {
    uint32_t preemptions, held_off, came_soon;
};

/* Wait for something to read, of an encrypted connection, which others read: looking for it first, where what came last
 * has come soon, and nobody else needs the processor. Whether there is something, or an end; 0 also for a signal. */
int pp_await_soon(int fd, struct pp_soon *soon);

#define PP_END (-1)
#define PP_BAD (-2)

/* Wait until there is something to read (or, `to_write`, room), or the other end is closed; up to `deadline` of pp_now.
 * 0, EINTR, ETIMEDOUT, or errno. */
int pp_await_fd(int fd, int to_write, int64_t deadline);

#endif
