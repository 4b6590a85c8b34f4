/* Being told of a thread's death: a word on its list of robust futexes (get_robust_list(2)). When the thread ends, however
 * it does, the kernel puts FUTEX_OWNER_DIED into the word, and wakes one who waits for it.
 *
 *   room:  | word | ... | before | next | ... |      next is where the list says that it is, relative to the word
 *
 * A robust mutex of pthreads is such a word, too. But a mutex in shared memory is believed in all that stands in it: its
 * kind, which others may have written over, decides what the C library does with it, and some of it ends the process. Here
 * nothing is read from the room but the word. The list is the C library's: a head that it told to the kernel, each entry
 * pointing to the next, with a pointer back right before (glibc and musl, on 64 bits). So an entry is added as the C
 * library adds one, and is never taken out: it ends with its thread.
 *
 * Where there is no such list (a raw clone, an emulator, a filter of system calls) the kernel does not tell: the word then
 * says FUTEX_OWNER_DIED from the beginning, which means: look at the process.
 *
 * | SIGKILL                           | left behind                | repaired by                                       |
 * |-----------------------------------|----------------------------|---------------------------------------------------|
 * | after the CAS, before it is added | FUTEX_OWNER_DIED           | the kernel: the list says what is about to be added |
 * | the same, without a list          | a word that looks alive    | nobody: it is passed over for good                |
 */
#ifndef PP_ROBUST_H
#define PP_ROBUST_H

#include "core/pp_atomic.h"

#define PP_ROBUST_ROOM 64

/* CAS the word that `room` begins with from `before` to this thread. Whether it was; then pp_robust_keep or pp_robust_undo
 * must follow, in the same thread, before anything that may use a robust mutex. */
int pp_robust_claim(void *room, uint32_t before);

/* Make the kernel watch the word; unless `there` is this thread: it was added for that one already. Returns the thread that it
 * is watched for; 0 for none. */
uint32_t pp_robust_keep(void *room, uint32_t there);

/* Whether the kernel tells of the end of this thread. */
int pp_robust_is_there(void);

/* Leave it as that of a thread which has ended. */
void pp_robust_undo(void *room);

#endif
