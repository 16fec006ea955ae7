/* Tiers: the table of each, what it needs of the CPU, and the choice. See ops.h. */
#include "ops/ops.h"

#include <string.h>

extern const struct sy_ops sy_ops_ref;
#if defined(__x86_64__)
extern const struct sy_ops sy_ops_avx2, sy_ops_avx512, sy_ops_avx512_bf16;
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
static int has_avx512_bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
/* Whether VDPBF16PS beats two FMAs on widened halves: 2 to 3 times on Zen 5, not at all on an Intel Xeon of family 6, model
 * 207 (docs/BENCHMARKS.md). */
static int has_fast_bf16(void) { return __builtin_cpu_is("amd"); }
#endif

static const struct tier {
    const struct sy_ops *ops;
    int (*supported)(void);
    const char *needs;
    int (*pays)(void); /* or NULL: always; `auto` passes over one that does not */
} tiers[] = {
    {&sy_ops_ref, NULL, "", NULL},
#if defined(__x86_64__)
    {&sy_ops_avx2, has_avx2, "this CPU has no AVX2 with FMA (x86-64-v3)", NULL},
    {&sy_ops_avx512, has_avx512, "this CPU has no AVX-512 (x86-64-v4)", NULL},
    {&sy_ops_avx512_bf16, has_avx512_bf16, "this CPU has no AVX-512-BF16", has_fast_bf16},
#endif
};

int sy_ops_n_tiers(void) { return (int)(sizeof tiers / sizeof *tiers); }

const char *sy_ops_tier_name(int tier) { return tiers[tier].ops->tier; }

const struct sy_ops *sy_ops_tier(int tier, const char **why) {
    if (tiers[tier].supported && !tiers[tier].supported()) {
        *why = tiers[tier].needs;
        return NULL;
    }
    *why = "";
    return tiers[tier].ops;
}

sy_status sy_ops_select(const char *tier, const struct sy_ops **out) {
    const char *why;
    for (int i = sy_ops_n_tiers() - 1; i >= 0; i--) {
        int is_auto = strcmp(tier, "auto") == 0;
        if (!is_auto && strcmp(tier, sy_ops_tier_name(i)) != 0)
            continue;
        const struct sy_ops *ops = sy_ops_tier(i, &why);
        if (ops && is_auto && tiers[i].pays && !tiers[i].pays())
            continue;
        if (ops) {
            *out = ops;
            return SY_OK;
        }
        if (!is_auto)
            SY_FAIL(SY_ERR_UNAVAILABLE, "run.tier = %s: %s; use run.tier=auto", tier, why);
    }
    SY_FAIL(SY_ERR_USAGE, "run.tier = %s: must be auto, ref, avx2, avx512 or avx512_bf16", tier);
}

static const struct {
    const char *name;
    int kb;
    enum sy_dtype dtype;
} classes[] = {
#define X(name, text, kb, dtype) {#text, kb, dtype},
    SY_CLASS_LIST(X)
#undef X
};

const char *sy_class_name(enum sy_numeric_class cls) { return classes[cls].name; }
int sy_class_kb(enum sy_numeric_class cls) { return classes[cls].kb; }
enum sy_dtype sy_class_dtype(enum sy_numeric_class cls) { return classes[cls].dtype; }

size_t sy_ops_scratch_bytes(int64_t max_row, int64_t max_head, int64_t seq_len) {
    int64_t w = (max_head + 31) / 32 * 32 + 64, keys = seq_len + SY_ATTENTION_BLOCK;
    int64_t attention = (3 * 64 + 4 * SY_ATTENTION_BLOCK) * w + 4 * 64 * SY_ATTENTION_BLOCK + 2 * keys * w + 1024;
    int64_t gemm = 64 * 256 + 256 * 128 + 64 * 128, pointwise = 12 * max_row + 4096;
    int64_t floats = attention > gemm ? attention : gemm;
    floats = pointwise > floats ? pointwise : floats;
    return (size_t)(floats + 15) / 16 * 16 * sizeof(float);
}
