#define _GNU_SOURCE
#include "core/pp_named.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/pp_atomic.h"
#include "core/pp_crash.h"
#include "core/pp_memfd.h"

#define FOLDER "/dev/shm"

int pp_named_path(struct pp_named *named, const char *name)
{
    name += strspn(name, "/");
    size_t length = strlen(name);
    if (length == 0 || strchr(name, '/') != NULL) {
        errno = EINVAL;
        return -1;
    }
    if (length > NAME_MAX) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(named->path, FOLDER "/", sizeof FOLDER);
    memcpy(named->path + sizeof FOLDER, name, length + 1);
    return 0;
}

/* A file without a name gets one by linkat(2): where a filter refuses that, a file has its name from the beginning. */
static int can_link(void)
{
    static pp_word answer; /* a fact about this kernel and its filter: 0 not asked, 1 no, 2 yes */
    if (pp_load_own(&answer) == 0) {
        int refused = linkat(-1, "", -1, "", 0) != 0 && pp_is_refusal(errno); /* ENOENT, else */
        pp_store_own(&answer, refused ? 1 : 2);
    }
    return pp_load_own(&answer) == 2;
}

int pp_named_make(struct pp_named *named, int with_name)
{
    named->fd = -1;
    named->has_name = with_name || !can_link();
    if (!named->has_name) {
        named->fd = open(FOLDER, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
        named->has_name = named->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR);
    }
    if (named->has_name) {
        named->fd = open(named->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        PP_CRASH_POINT("named.made");
    }
    return named->fd < 0 ? -1 : 0;
}

int pp_named_reserve(struct pp_named *named, uint64_t *start, uint64_t length)
{
    int done = pp_reserve(named->fd, *start, length);
    *start += done == 0 ? length : 0;
    return done;
}

int pp_named_link(struct pp_named *named)
{
    PP_CRASH_POINT("named.told");
    int done = named->has_name ? 0 : linkat(named->fd, "", AT_FDCWD, named->path, AT_EMPTY_PATH);
    if (done < 0 && errno == ENOENT) {
        /* Before Linux 6.10 that takes a privilege; by way of /proc it never did. */
        char proc[32];
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", named->fd);
        done = linkat(AT_FDCWD, proc, AT_FDCWD, named->path, AT_SYMLINK_FOLLOW);
    }
    named->has_name |= done == 0;
    return done;
}

int pp_named_open(struct pp_named *named)
{
    named->fd = open(named->path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    return named->fd < 0 ? -1 : 0;
}
