#ifndef PY_CONNECTION_H
#define PY_CONNECTION_H

#include "bind/py_cell.h"

extern PyType_Spec py_connection_spec;

#endif
