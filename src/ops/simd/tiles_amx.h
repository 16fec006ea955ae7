/* Tiles of AMX as the tier amx has them: 0 .. 3 sums [rows, 16] fp32, 4 the left-hand side [rows, 16 words],
 * 5 .. 7 the right-hand one [16, 16 words]; a word is two rows of k, so that a tile has 32: a block of class
 * amx (NUMERICS 1), and TDPBF16PS a step of its chain.
 */
#ifndef SY_OPS_SIMD_TILES_AMX_H
#define SY_OPS_SIMD_TILES_AMX_H

#include <immintrin.h>
#include <stdint.h>

enum { TILE_ROWS = 16, TILE_WORDS = 16, TILE = TILE_ROWS * TILE_WORDS };

/* Rows of sums and left-hand side from here on, 1 .. 16, on the calling thread. */
void sy_amx_tiles(int rows);

/* Tile instructions do not say to a compiler which memory they read: p's and all other. */
static inline void memory_is_read(const void *p) { __asm__ volatile("" ::"r"(p) : "memory"); }

#endif
