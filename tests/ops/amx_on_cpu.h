/* Tile instructions in software, in place of the compiler's (-include): the tier amx's own sources run on a CPU
 * that has AVX-512-BF16 and no tiles. What must hold for each instruction is asserted (test_amx_on_cpu.c).
 */
#ifndef SY_TESTS_OPS_AMX_ON_CPU_H
#define SY_TESTS_OPS_AMX_ON_CPU_H

#include <immintrin.h>

void soft_config(const void *config);
void soft_zero(int tile);
void soft_load(int tile, const void *from, long row_bytes);
void soft_store(int tile, void *to, long row_bytes);
void soft_dot(int sums, int left, int right);

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#define _tile_loadconfig soft_config
#define _tile_zero soft_zero
#define _tile_loadd soft_load
#define _tile_stored soft_store
#define _tile_dpbf16ps soft_dot

#endif
