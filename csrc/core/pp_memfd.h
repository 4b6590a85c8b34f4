/* Anonymous shared memory: memfd_create(2), sealed so that nobody can shrink it under who has it mapped (SIGBUS).
 *
 * Where that is refused (a kernel before 3.17, a container's filter): a file without a name, in /dev/shm or else where
 * temporary files go. Such a file cannot be sealed, and is taken for ours if it belongs to this user or to root; its
 * memory is reserved when it is made, since its file system may be small: what would be SIGBUS later is ENOSPC then.
 */
#ifndef PP_MEMFD_H
#define PP_MEMFD_H

#include <stddef.h>
#include <stdint.h>

/* Make an anonymous file of `size` zero bytes to be mapped, with `behind` more that are not reserved, close-on-exec; returns
 * its descriptor, or -1 and errno. */
int pp_memfd(const char *name, size_t size, uint64_t behind);

/* Map a file that pp_memfd made, here or in another process. NULL and errno; EINVAL for one that is not sealed or is
 * smaller than `size`. */
void *pp_memfd_map(int fd, size_t size);

/* 0, or with which errno memfd_create is refused; asked once. */
int pp_memfd_is_refused(void);

/* Reserve memory for a part of a file, which grows to hold it, so that a write there cannot fail: 0, or -1 and errno (ENOSPC,
 * ENOMEM; EINTR: nothing was done). The part is empty or not in use: where fallocate(2) is refused, zeros are written. */
int pp_reserve(int fd, uint64_t start, uint64_t length);

/* Fill with bytes at random, for ids: 0, or -1 and errno. */
int pp_random(void *bytes, size_t size);

/* Whether errno says that a call is not to be had here: an old kernel, a container's filter, a file system without it. */
int pp_is_refusal(int error);

#endif
