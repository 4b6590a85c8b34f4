#define _GNU_SOURCE
#include "core/pp_clone.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/pp_crash.h"
#include "core/pp_futex.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

#ifndef PR_GET_TID_ADDRESS
#define PR_GET_TID_ADDRESS 40
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

/* The word of this thread that the kernel clears at its end: the address given to set_tid_address(2), or with the last
 * CLONE_CHILD_CLEARTID. NULL when the kernel does not tell (built without CHECKPOINT_RESTORE). */
static int *cleared_word(void)
{
    int *address = NULL;
    if (prctl(PR_GET_TID_ADDRESS, &address, 0, 0, 0) != 0) {
        return NULL;
    }
    return address;
}

static int holds_our_tid(const int *word) { return word != NULL && *word == (int)syscall(SYS_gettid); }

/* How far that word of a child of fork(3) is from pthread_self, which is the same in all its threads and children; 0 if it
 * is no place of its tid. glibc from 2.43 on has the kernel clear another word at the end of a thread that it made, but
 * its fork(3) still names the one where it keeps the tid: so one child is asked. */
static ptrdiff_t ask_a_child(void)
{
    int ends[2];
    if (pipe(ends) != 0) {
        return 0;
    }
    ptrdiff_t distance = 0;
    pid_t pid = fork();
    if (pid == 0) {
        int *word = cleared_word();
        distance = holds_our_tid(word) ? (char *)word - (char *)pthread_self() : 0;
        _exit(write(ends[1], &distance, sizeof distance) != sizeof distance);
    }
    close(ends[1]);
    if (pid > 0) {
        if (read(ends[0], &distance, sizeof distance) != sizeof distance) { /* it writes at once, or ends */
            distance = 0;
        }
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    close(ends[0]);
    return distance;
}

/* Where the C library keeps this thread's tid. NULL when that cannot be said. */
static int *tid_address(void)
{
    static ptrdiff_t distance; /* a fact about the C library: children have it, too */
    int *word = cleared_word();
    if (word == NULL || holds_our_tid(word)) {
        return word;
    }
    if (distance == 0) {
        distance = ask_a_child();
    }
    word = distance == 0 ? NULL : (int *)(void *)((char *)pthread_self() + distance);
    return holds_our_tid(word) ? word : NULL;
}

/* Threads of this process, counted in /proc: the only count that includes threads which Python did not start.
 * -1 when /proc is not there. */
static int thread_count(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (tasks == NULL) {
        return -1;
    }
    int count = 0;
    struct dirent *entry;
    while ((entry = readdir(tasks)) != NULL) {
        if (entry->d_name[0] != '.') {
            count++;
        }
    }
    closedir(tasks);
    return count;
}

int pp_clone_ready(void)
{
    if (thread_count() != 1) {
        return EBUSY;
    }
    if (getpid() == 1) {
        return EPERM;
    }
    /* It must be the C library's own word for this thread. Another libc, or an emulator, whose ways we do not know: we stay
     * out. */
    if (tid_address() == NULL) {
        return ENOSYS;
    }
    struct robust_list_head *robust;
    size_t size;
    return syscall(SYS_get_robust_list, 0, &robust, &size) == 0 ? 0 : ENOSYS; /* a filter */
}

pid_t pp_clone_sibling(int *pidfd)
{
    int *ctid = tid_address();
    struct robust_list_head *robust = NULL;
    size_t robust_size = 0;
    if (ctid == NULL) {
        errno = ENOSYS;
        return -1;
    }
    if (syscall(SYS_get_robust_list, 0, &robust, &robust_size) != 0) {
        robust = NULL;
    }
    unsigned long flags = CLONE_PARENT | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD;
    if (pidfd != NULL) {
        flags |= CLONE_PIDFD;
    }
    PP_CRASH_POINT("clone.before");
    /* Argument order of the raw system call on x86-64: flags, stack, parent_tid, child_tid, tls; on arm64 and most
     * others the last two change places. A NULL stack means copy-on-write of ours, as in fork(). With CLONE_PIDFD
     * the pidfd is stored at parent_tid. */
#if defined(__x86_64__)
    long pid = syscall(SYS_clone, flags, NULL, pidfd, ctid, 0L);
#else
    long pid = syscall(SYS_clone, flags, NULL, pidfd, 0L, ctid);
#endif
    if (pid == 0) {
        if (robust != NULL) {
            robust->list.next = &robust->list;
            syscall(SYS_set_robust_list, robust, robust_size);
        }
        return 0;
    }
    if (pid > 0) {
        PP_CRASH_POINT("clone.made");
    }
    return (pid_t)pid;
}

void pp_park(int fd, pid_t client)
{
    int pidfd = (int)syscall(SYS_pidfd_open, client, 0);
    if (pidfd < 0) {
        return; /* an old kernel or a filter; or gone, which the caller sees by the socket */
    }
    if (getppid() != client) {
        _exit(0); /* it had ended before, and the number may be another's */
    }
    struct pollfd ends[2] = {{fd, POLLIN, 0}, {pidfd, POLLIN, 0}};
    int found;
    do {
        found = poll(ends, 2, -1);
    } while (found < 0 && errno == EINTR);
    char byte;
    if (found > 0 && (ends[1].revents != 0 || recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)) {
        _exit(0);
    }
    close(pidfd);
}

int pp_hang_on(int fd)
{
    char path[40], byte;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (own < 0) {
        return -1;
    }
    if (fcntl(own, F_SETOWN, getpid()) != 0 || fcntl(own, F_SETSIG, SIGKILL) != 0 ||
        fcntl(own, F_SETFL, O_NONBLOCK | O_ASYNC) != 0) {
        int error = errno;
        close(own);
        errno = error;
        return -1;
    }
    if (read(own, &byte, 1) == 0) {
        close(own);
        return 0;
    }
    return own;
}

void pp_let_go(int fd)
{
    if (fcntl(fd, F_GETSIG) == SIGKILL) {
        close(fd);
    }
}

struct pp_team {
    size_t size;
    int count;
    pp_word told; /* how many times something was told */
    pp_word places[];
};

#define LOOK_AGAIN 20000000 /* nanoseconds until the client looks whether the copy is there */

struct pp_team *pp_team_new(int count)
{
    size_t size = sizeof(struct pp_team) + (size_t)count * sizeof(pp_word);
    struct pp_team *team = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (team == MAP_FAILED) {
        return NULL;
    }
    team->size = size;
    team->count = count;
    return team;
}

void pp_team_drop(struct pp_team *team) { munmap(team, team->size); }

int pp_team_size(struct pp_team *team) { return team->count; }

int pp_team_place(struct pp_team *team, int place) { return (int)pp_load(&team->places[place]); }

/* Returns whether this is what the place says now. */
static int tell(struct pp_team *team, int place, int what)
{
    if (!pp_cas(&team->places[place], 0, (uint32_t)what)) {
        return pp_team_place(team, place) == what;
    }
    PP_CRASH_POINT("team.told");
    pp_add(&team->told, 1); /* killed here: the client looks again by itself */
    pp_futex_wake(&team->told, 1);
    return 1;
}

int pp_team_clone(struct pp_team *team, const char *comm)
{
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    prctl(PR_SET_NAME, comm);
    int place = 0, refused = pp_clone_ready();
    for (; place < team->count; place++) {
        pid_t pid = refused != 0 ? -1 : pp_clone_sibling(NULL);
        int what = pid == 0 ? (int)getpid() : pid > 0 ? (int)pid : refused != 0 ? -refused : -errno;
        int is_so = tell(team, place, what);
        if (pid == 0) {
            if (!is_so) {
                _exit(0);
            }
            break;
        }
    }
    prctl(PR_SET_NAME, name);
    return place < team->count ? place : -1;
}

static int told_places(struct pp_team *team)
{
    int told = 0;
    while (told < team->count && pp_team_place(team, told) != 0) {
        told++;
    }
    return told;
}

/* Returns whether a child of this process has ended; it is not reaped. */
static int has_ended(pid_t pid)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

void pp_team_wait(struct pp_team *team, pid_t copy, int64_t limit)
{
    int before = 0;
    int64_t until = pp_now() + limit;
    for (;;) {
        uint32_t seen = pp_load(&team->told);
        int told = told_places(team);
        if (told == team->count) {
            return;
        }
        int64_t now = pp_now();
        if (told > before) {
            before = told;
            until = now + limit;
        }
        if (now >= until || has_ended(copy)) {
            break;
        }
        pp_futex_wait(&team->told, seen, now + LOOK_AGAIN);
    }
    for (int place = 0; place < team->count; place++) {
        (void)pp_cas(&team->places[place], 0, (uint32_t)-ECHILD); /* killed here: whose client is gone leaves */
    }
}
