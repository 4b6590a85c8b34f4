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

#include <sys/types.h>

/* 0 when pp_clone_sibling may be used now, else an errno value: EBUSY, there are other threads; ENOSYS, the kernel
 * lacks PR_GET_TID_ADDRESS, or a filter refuses what is needed; EPERM, this is the init of a pid namespace, which may not make siblings (clone(2)). */
int pp_clone_ready(void);

/* Clone. In the child: returns 0. In the caller: returns the child's pid and stores a pidfd (close-on-exec) of it.
 * On failure returns -1 and sets errno. Only async-signal-safe steps are taken between the clone and the return in
 * the child, since nothing but the calling thread exists there. */
pid_t pp_clone_sibling(int *pidfd);

/* In a child that was forked to wait for orders which may never come: wait for one, and touch no memory meanwhile, since
 * each page that is written is copied first. Returns when something is to be read from `fd`, or where the end of `client`,
 * its parent, cannot be waited for; ends this process when that or the other end of `fd` is gone. All signals shall be
 * blocked: handlers would run for what is sent to all. */
void pp_park(int fd, pid_t client);

#endif
