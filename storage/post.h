/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The port of a lane whose thread runs a loop: completions come as letters to the loop. */

#include "base/letter.h"

/* A gv_store_post_t; `loop` is the lane's gv_loop_t. */
void gv_store_post_to_loop(void *loop, gv_letter_t *letter);
