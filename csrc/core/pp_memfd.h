/* Anonymous shared memory: memfd_create(2), sealed so that nobody can shrink it under who has it mapped (SIGBUS). */
#ifndef PP_MEMFD_H
#define PP_MEMFD_H

#include <stddef.h>

/* Make an anonymous file of `size` zero bytes, close-on-exec; returns its descriptor, or -1 and errno. */
int pp_memfd(const char *name, size_t size);

/* Map a file that pp_memfd made, here or in another process. NULL and errno; EINVAL for one that is not sealed or is
 * smaller than `size`. */
void *pp_memfd_map(int fd, size_t size);

#endif
