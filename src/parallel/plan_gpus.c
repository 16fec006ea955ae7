/* Machines that a plan can be of: the vendor's figures for one GPU, and what of them is reckoned with. */
#include <string.h>

#include "parallel/plan.h"

/* SXM boards: dense bf16 without sparsity; NVLink 4 is 900 GB/s both ways together; one 400 Gb/s port a
 * GPU. */
static const struct sy_plan_gpu gpus[] = {
    {"h200", 989e12, 141e9, 4.8e12, 450e9, 50e9, 8, 0.6, 0.6, 1e-5},
    {"h100", 989e12, 80e9, 3.35e12, 450e9, 50e9, 8, 0.6, 0.6, 1e-5},
};

const struct sy_plan_gpu *sy_plan_gpu_at(int i) {
    return i >= 0 && (size_t)i < sizeof gpus / sizeof *gpus ? &gpus[i] : NULL;
}

const struct sy_plan_gpu *sy_plan_gpu_find(const char *name) {
    const struct sy_plan_gpu *g;
    for (int i = 0; (g = sy_plan_gpu_at(i)); i++)
        if (strcmp(g->name, name) == 0)
            return g;
    return NULL;
}
