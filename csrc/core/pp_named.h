/* Named shared memory: a file of /dev/shm, which unrelated processes find by its name (shm_overview(7)).
 *
 * The tracker removes what is left when everybody is gone, so it knows of a segment before that has its name: who dies
 * in between leaves nothing.
 *
 *     a name at random:  pp_named_make(named, 1) -> pp_named_reserve
 *     a given name:      pp_named_make(named, 0) -> pp_named_reserve -> the tracker's tag -> pp_named_link
 *
 * A name at random begins with the tracker's mark: it says by itself whose it is. A given one may be somebody else's: the
 * tag says the inode, and the file gets its name last. Nobody so ever finds one that is not whole, either.
 */
#ifndef PP_NAMED_H
#define PP_NAMED_H

#include <stddef.h>
#include <stdint.h>

#define PP_NAMED_PATH 280 /* bytes that any path needs, with its zero */

struct pp_named {
    int fd;
    int has_name;
    char path[PP_NAMED_PATH];
};

/* All of them return 0, or -1 and errno. */

/* Take a name: EINVAL for one that shm_open(3) would not take, ENAMETOOLONG. */
int pp_named_path(struct pp_named *named, const char *name);

/* Make an empty file, close-on-exec, with its name or, where the file system can do that (O_TMPFILE of open(2)), without.
 * EEXIST. */
int pp_named_make(struct pp_named *named, int with_name);

/* Reserve memory for `length` bytes from `start` on, which is moved there, and make that its size. Where there is none
 * this fails, not a later access: ENOSPC. EINTR: nothing was done. */
int pp_named_reserve(struct pp_named *named, uint64_t *start, uint64_t length);

/* Give it its name, unless it has it: EEXIST. */
int pp_named_link(struct pp_named *named);

/* Open the one of that name: ENOENT. */
int pp_named_open(struct pp_named *named);

#endif
