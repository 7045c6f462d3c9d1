/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/post.h"

#include "base/io/loop.h"

void gv_store_post_to_loop(void *loop, gv_letter_t *letter)
{
    gv_loop_send(loop, letter);
}
