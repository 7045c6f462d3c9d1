/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Looks at a data.mdb without mapping it: are its two meta pages LMDB's, and is the file as long as
 * they say?  Reads 304 bytes, whatever the size of the file.
 */

#include "base/defs.h"
#include "base/err.h"

/*
 * `fd` is open for reading.  GV_OK, or GV_ERR_CORRUPT / GV_ERR_VERSION / GV_ERR_IO and in
 * *fault_out a static text that completes the sentence "data.mdb ...".
 */
GV_MUST_USE gv_err_t gv__lmdb_verify(int fd, const char **fault_out);
