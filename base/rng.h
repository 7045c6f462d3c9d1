/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A seeded random generator (PCG-XSH-RR, O'Neill 2014): small, fast, repeatable.  Not for secrets:
 * keys, nonces and boot ids come from gv_os_random() in base/io/os.h and are handed in.
 *
 * Threads: one generator per owner.
 */

#include <stddef.h>
#include <stdint.h>

typedef struct gv_rng {
    uint64_t _state;
    uint64_t _stream; /* odd */
} gv_rng_t;

/* Different streams of one seed are independent: a new draw in one does not shift the others. */
void gv_rng_init(gv_rng_t *rng, uint64_t seed, uint64_t stream);

uint32_t gv_rng_u32(gv_rng_t *rng);
uint64_t gv_rng_u64(gv_rng_t *rng);

/* Uniform in [0, bound), without modulo bias.  bound > 0. */
uint32_t gv_rng_below(gv_rng_t *rng, uint32_t bound);

/* True in `percent` of 100 draws. */
_Bool gv_rng_chance(gv_rng_t *rng, uint32_t percent);

void gv_rng_fill(gv_rng_t *rng, void *out, size_t size);
