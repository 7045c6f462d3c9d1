/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory.  Two families, and the choice says who decides the size:
 *
 * gv_xalloc...   our own bounded objects.  Running out is the end of the process: there is nothing
 *                sensible to do, and untested recovery paths are worse (h2o, BIND).
 * gv_try_...     sizes or numbers a peer decides.  Running out is an answer (NULL) the caller turns
 *                into GV_ERR_NOMEM.
 *
 * Both are freed with gv_free().  Threads: any; an object may be freed on another thread.
 */

#include <stddef.h>

#include "base/defs.h"

/* Uninitialised, never NULL; size 0 gives a pointer that can be freed. */
GV_MUST_USE void *gv_xalloc(size_t size);

/* Zeroed, never NULL; count * size must not overflow (asserted). */
GV_MUST_USE void *gv_xcalloc(size_t count, size_t size);

/* As realloc(), never NULL. */
GV_MUST_USE void *gv_xrealloc(void *ptr, size_t size);

/* A NUL-terminated copy, never NULL. */
GV_MUST_USE char *gv_xstrdup(const char *text);

/* Uninitialised, or NULL. */
GV_MUST_USE void *gv_try_alloc(size_t size);

/* As realloc(), or NULL (ptr stays valid then). */
GV_MUST_USE void *gv_try_realloc(void *ptr, size_t size);

/* NULL is allowed. */
void gv_free(void *ptr);

/* One object of a type, zeroed. */
#define GV_NEW(type) ((type *)gv_xcalloc(1, sizeof(type)))
