/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The two ways gv_crc32c() (base/bytes.h) is computed; apart so that the tests can hold them
 * against each other.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* Whether this processor has the instruction (SSE 4.2). */
bool gv__crc32c_has_instruction(void);

/* Only if gv__crc32c_has_instruction(). */
uint32_t gv__crc32c_by_instruction(uint32_t crc, gv_bytes_t bytes);

/* Everywhere. */
uint32_t gv__crc32c_by_table(uint32_t crc, gv_bytes_t bytes);
