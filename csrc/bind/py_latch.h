/* Latch: a flag that threads of this process wait for; once it is set it stays. */
#ifndef PY_LATCH_H
#define PY_LATCH_H

#include "bind/py_cell.h"

extern PyType_Spec py_latch_spec;

#endif
