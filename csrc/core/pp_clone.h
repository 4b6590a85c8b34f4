/* Make a sibling: fork a child that belongs to this process's parent.
 *
 *      client ----posix_spawn----> fork server
 *        |                            |  pp_clone_sibling()
 *        |                            v
 *        +<------- parent of ------ child        clone(2) with CLONE_PARENT
 *
 * A fork server (the start method's, or a pool's copy of its client) has one thread, so a fork of it is safe; the
 * child is the client's own, so waitpid, exit codes, SIGCHLD and getppid() mean what they mean after fork().
 *
 * Why a raw clone(2) and not fork(): glibc offers no flag for CLONE_PARENT. What fork() does besides is done by
 * hand here:
 *   - the kernel writes the new tid where the C library keeps it (CLONE_CHILD_SETTID; the address is asked for
 *     with PR_GET_TID_ADDRESS, prctl(2), where need be in a child of fork(3)), so that raise(3), robust and recursive mutexes see the right owner,
 *     and clears it at exit (CLONE_CHILD_CLEARTID);
 *   - the robust mutex list is set again for the child, empty (get_robust_list(2)): it is not inherited.
 * What is not done: pthread_atfork handlers do not run. Hence the caller must have exactly one thread
 * (pp_clone_ready checks it): a library that keeps threads also keeps atfork handlers.
 * clone, not clone3: the default seccomp filter of common container engines answers ENOSYS to clone3.
 *
 * What a dead process leaves behind: nothing here is shared memory. Killed after the clone and before the client
 * was told: the child waits for its work on a pipe that the client drops, sees the end of file and leaves.
 */
#ifndef PP_CLONE_H
#define PP_CLONE_H

#include <stdint.h>
#include <sys/types.h>

/* 0 when pp_clone_sibling may be used now, else an errno value: EBUSY, there are other threads; ENOSYS, the kernel
 * lacks PR_GET_TID_ADDRESS, or a filter refuses what is needed; EPERM, this is the init of a pid namespace, which may not make siblings (clone(2)). */
int pp_clone_ready(void);

/* Clone. In the child: returns 0. In the caller: returns the child's pid and stores a pidfd (close-on-exec) of it, unless
 * `pidfd` is NULL. On failure returns -1 and sets errno. Only async-signal-safe steps are taken between the clone and the return in
 * the child, since nothing but the calling thread exists there. */
pid_t pp_clone_sibling(int *pidfd);

/* In a child that was forked to wait for orders which may never come: wait for one, and touch no memory meanwhile, since
 * each page that is written is copied first. Returns when something is to be read from `fd`, or where the end of `client`,
 * its parent, cannot be waited for; ends this process when that or the other end of `fd` is gone. All signals shall be
 * blocked: handlers would run for what is sent to all. */
void pp_park(int fd, pid_t client);

/* Let the kernel end this process by SIGKILL as soon as the last writer of the pipe that `fd` reads from is gone, in whatever
 * it does (F_SETOWN, F_SETSIG and O_ASYNC of fcntl(2)). Owner and signal belong to the open file, so the pipe is opened anew,
 * close-on-exec: returns the number, which is to stay open; -1 and errno where that cannot be; 0 if the writers are gone. */
int pp_hang_on(int fd);

/* In a copy of this process: close what `pp_hang_on` returned, unless the program has closed it and has the number for something
 * else. */
void pp_let_go(int fd);

/* A team: children that a forked copy of this process makes for it at once, before that copy parks. So who wants n children
 * and a copy to fork more from pays for one fork, and not for n + 1: after each it would write the same pages again, and
 * each first write to a page copies that.
 *
 *      client --fork--> copy --clone--> child 0
 *        |                |----clone--> child 1          each a child of the client, as by pp_clone_sibling
 *        v                v
 *   pp_team_wait       pp_park
 *
 * A place is 0, then the pid of its child, or the negative of why there is none: whoever says it first, the child, the copy
 * or the client, which gives a place up when the copy is gone. A child whose place was given up leaves before it runs
 * anything. */
struct pp_team;

/* Make one with places for `count`, at least one. NULL and errno without memory. */
struct pp_team *pp_team_new(int count);

/* Give up this process's view of it. */
void pp_team_drop(struct pp_team *team);

/* In the copy: clone the children. Returns the place of a child, in that child; -1 in the copy. `comm` is the name of who
 * has no place yet. */
int pp_team_clone(struct pp_team *team, const char *comm);

/* In the client: wait until all places are told, or the copy, a child that nobody else waits for, is gone or says nothing
 * more for `limit` nanoseconds. Then the others are given up with ECHILD. */
void pp_team_wait(struct pp_team *team, pid_t copy, int64_t limit);

/* How many places it has. */
int pp_team_size(struct pp_team *team);

/* What was told of a place. */
int pp_team_place(struct pp_team *team, int place);

#endif
