/* A descriptor that several threads use, and that any of them may close: no thread ever uses another's file by its number.
 *
 * A thread says that it uses the number before it asks the kernel for something, and that it has done so afterwards. Closed
 * meanwhile, the number goes on to be nobody's: in the place of the file there is one that can do nothing (O_PATH of open(2)),
 * so that the file itself is closed at once, and who uses it last gives the number back. A thread that the kernel has put to
 * sleep in the file wakes up as it would after close(2).
 *
 * The threads that use it are those of one process: in a forked child there are none, so the word says whose they are.
 *
 *    63      62 .. 48    47 .. 32    31 .. 0
 *   +-------+-----------+-----------+-------------+
 *   | ended | birth     | users     | number or -1|
 *   +-------+-----------+-----------+-------------+
 */
#ifndef PP_HANDLE_H
#define PP_HANDLE_H

#include "core/pp_atomic.h"

struct pp_handle {
    pp_word64 word;
};

/* One that has no number. */
void pp_handle_start(struct pp_handle *handle);

/* The number; -1 for none, or one that was closed. To be looked at: for any call, use it. */
static inline int pp_handle_number(struct pp_handle *handle)
{
    uint64_t word = pp_load64(&handle->word);
    return word >> 63 != 0 ? -1 : (int)(int32_t)(uint32_t)word;
}

/* Set the number; the one before is not closed. 0, or -1 and EBUSY: one that was closed is still in use. */
int pp_handle_set(struct pp_handle *handle, int number);

/* Use it: the number, which stays what it is until pp_handle_leave; -1 if there is none, and then nothing is to be left. */
int pp_handle_use(struct pp_handle *handle);
void pp_handle_leave(struct pp_handle *handle);

/* Close it, once. */
void pp_handle_close(struct pp_handle *handle);

#endif
