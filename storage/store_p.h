/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the stores share. */

#include "storage/store.h"

/* Moves the cursor past the record with this key. */
void gv__store_cursor_pass(gv_store_cursor_t *cursor, gv_bytes_t key);
