/* One step of CHAIN of class sm90, as ptx_on_cpu.h has it from the reference. */
#include "ops/ref/chain.h"

void sy_on_cpu_step(int m, int n, const float *a, const float *b, float *acc);
void sy_on_cpu_step(int m, int n, const float *a, const float *b, float *acc) {
    chain_tile(SY_NUMERIC_SM90, &(struct chain_args){m, n, SM90_STEP, a, SM90_STEP, b, n, acc, n});
}
