/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"

#include "base/defs.h"

/* Knuth's MMIX multiplier, as in the reference implementation of PCG. */
#define MULTIPLIER 6364136223846793005U

/* Spreads close inputs (0, 1, 2 ...) over all 64 bits: the finaliser of SplitMix64. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15U;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
    x = (x ^ x >> 27) * 0x94d049bb133111ebU;
    return x ^ x >> 31;
}

void gv_rng_init(gv_rng_t *rng, uint64_t seed, uint64_t stream)
{
    GV_ASSERT(rng != NULL);
    /* Streams with near increments and one starting state resemble each other; so mix both. */
    rng->_state = mix(seed ^ mix(stream));
    rng->_stream = mix(stream) | 1;
}

uint32_t gv_rng_u32(gv_rng_t *rng)
{
    uint64_t state = rng->_state;
    rng->_state = state * MULTIPLIER + rng->_stream;
    uint32_t shuffled = (uint32_t)((state >> 18 ^ state) >> 27);
    uint32_t turn = (uint32_t)(state >> 59);
    return shuffled >> turn | shuffled << (-turn & 31);
}

uint64_t gv_rng_u64(gv_rng_t *rng)
{
    uint64_t high = gv_rng_u32(rng);
    uint64_t low = gv_rng_u32(rng);
    return high << 32 | low;
}

/* Multiply and take the upper half; draws in the part that would be uneven are repeated (Lemire).
 */
uint32_t gv_rng_below(gv_rng_t *rng, uint32_t bound)
{
    GV_ASSERT(bound > 0);
    uint32_t uneven = -bound % bound; /* 2^32 mod bound */
    uint64_t product;
    do {
        product = (uint64_t)gv_rng_u32(rng) * bound;
    } while ((uint32_t)product < uneven);
    return (uint32_t)(product >> 32);
}

_Bool gv_rng_chance(gv_rng_t *rng, uint32_t percent)
{
    GV_ASSERT(percent <= 100);
    return gv_rng_below(rng, 100) < percent;
}

void gv_rng_fill(gv_rng_t *rng, void *out, size_t size)
{
    uint8_t *bytes = out;
    uint32_t word = 0;
    for (size_t i = 0; i < size; i++) {
        word = i % 4 == 0 ? gv_rng_u32(rng) : word >> 8;
        bytes[i] = (uint8_t)word;
    }
}
