/* Python's API, before any other header, as it asks for. setup.py says which: the limited one of 3.11, that of 3.15 for builds
 * without the GIL (abi3t), or, without the GIL before that, all of this version's. */
#ifndef PY_API_H
#define PY_API_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#endif
