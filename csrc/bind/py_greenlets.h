/* Waits in a thread whose other greenlets have to run meanwhile: interpreters that gevent or eventlet has patched.
 *
 * Such a wait never sleeps in the kernel: it looks, has the others run for a moment (src/polyproc/_platform/handles.py),
 * and looks again. That is done where signal handlers may run, with nothing held. In all other programs it costs one look
 * at the size of sys.modules.
 */
#ifndef PY_GREENLETS_H
#define PY_GREENLETS_H

#include "bind/py_api.h"

#include <stdint.h>

/* Whether there may be any in this process: a library that patches interpreters is loaded. */
int py_greenlets(void);

/* Let this thread's other greenlets run for a moment, longer with each of `turns`, and not beyond the deadline. 1; 0 where
 * there are none: wait as usual; -1 with an exception. */
int py_let_run(int turns, int64_t deadline);

/* Wait for a descriptor that way. 0, or what pp_await_fd returns, or -1 with an exception; ENOSYS: wait as usual. */
int py_greenlets_await_fd(int fd, int to_write, int64_t deadline);

#endif
