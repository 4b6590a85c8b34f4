#define _GNU_SOURCE
#include "core/pp_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/pp_clone.h"
#include "core/pp_frame.h"
#include "core/pp_futex.h"
#include "core/pp_memfd.h"
#include "core/pp_robust.h"

static int asked(long result) { return result < 0 ? errno : 0; }

static int fallocate_is_refused(void)
{
    int fd = pp_memfd("polyproc-probe", 1, 0);
    int error = fd < 0 ? 0 : asked(fallocate(fd, 0, 0, 1)); /* without memory there is nothing to be said */
    if (fd >= 0) {
        close(fd);
    }
    return error;
}

static int preadv2_is_refused(void)
{
    char byte;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return 0;
    }
    int error = asked(pp_read_now(ends[0], &byte, 1));
    close(ends[0]);
    close(ends[1]);
    return error == EAGAIN ? 0 : error;
}

void pp_probe(struct pp_probed found[PP_PROBES])
{
    char byte;
    pp_word one = 1, other = 1;
    int two = pp_futex_wait_two(&one, 0, &other, 0, 0); /* both are another at once */
    int clone = pp_clone_ready();
    int at = 0;
    found[at++] = (struct pp_probed){"memfd_create", pp_memfd_is_refused()};
    found[at++] = (struct pp_probed){"fallocate", fallocate_is_refused()};
    found[at++] = (struct pp_probed){"futex_waitv", two < 0 ? -two : 0};
    found[at++] = (struct pp_probed){"get_robust_list", pp_robust_is_there() ? 0 : ENOSYS};
    found[at++] = (struct pp_probed){"prctl", clone == ENOSYS ? ENOSYS : 0};
    found[at++] = (struct pp_probed){"getrandom", asked(getrandom(&byte, 1, 0))};
    found[at++] = (struct pp_probed){"preadv2", preadv2_is_refused()};
}
