/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Changes a play (shard_fuzz.c) step by step: a byte more or less in the middle of an input would
 * make another story of all that follows.  Linked with libFuzzer only.
 */
#include <stdint.h>
#include <string.h>

#include "base/rng.h"

enum {
    HEAD = 2,
    STEP = 4,
};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

static gv_rng_t rng;

static size_t below(size_t limit)
{
    return gv_rng_below(&rng, (uint32_t)limit);
}

/* Makes room for `count` steps before step `at`. */
static uint8_t *insert(uint8_t *steps, size_t total, size_t at, size_t count)
{
    memmove(steps + (at + count) * STEP, steps + at * STEP, (total - at) * STEP);
    return steps + at * STEP;
}

static void remove_steps(uint8_t *steps, size_t total, size_t at, size_t count)
{
    memmove(steps + at * STEP, steps + (at + count) * STEP, (total - at - count) * STEP);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned seed)
{
    gv_rng_init(&rng, seed, 0);
    if (size_max < HEAD + STEP) {
        return size;
    }
    while (size < HEAD) {
        data[size++] = 0;
    }
    uint8_t *steps = data + HEAD;
    size_t total = (size - HEAD) / STEP;
    size_t total_max = (size_max - HEAD) / STEP;
    size_t what = below(8);
    if (total == 0 || (what < 2 && total < total_max)) { /* a new one */
        gv_rng_fill(&rng, insert(steps, total, below(total + 1), 1), STEP);
        total++;
    } else if (what < 4) { /* one does it in another way, or another does it */
        steps[below(total) * STEP + below(STEP)] = (uint8_t)gv_rng_u32(&rng);
    } else if (what == 4) {
        size_t count = 1 + below(total < 8 ? total : 8);
        remove_steps(steps, total, below(total - count + 1), count);
        total -= count;
    } else if (what == 5) { /* some once more, elsewhere */
        uint8_t copy[8 * STEP];
        size_t count = 1 + below(total < 8 ? total : 8);
        if (total + count <= total_max) {
            memcpy(copy, steps + below(total - count + 1) * STEP, count * STEP);
            memcpy(insert(steps, total, below(total + 1), count), copy, count * STEP);
            total += count;
        }
    } else if (what == 6) { /* another node */
        data[below(HEAD)] = (uint8_t)gv_rng_u32(&rng);
    } else {
        size_t at = below(total) * STEP;
        (void)LLVMFuzzerMutate(steps + at, STEP, STEP);
    }
    return HEAD + total * STEP;
}
