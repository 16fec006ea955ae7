/* Tiers: the table of each, what it needs of the CPU, and the choice. See ops.h. */
#include "ops/ops.h"

#include <pthread.h>
#include <string.h>

#include "ops/product_scratch.h"

extern const struct sy_ops sy_ops_ref;
#if defined(__x86_64__)
extern const struct sy_ops sy_ops_avx2, sy_ops_avx512, sy_ops_avx512_bf16;
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
}
static int has_avx512_bf16(void) { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

#if defined(SY_HAVE_AMX) /* this build has the tier */
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

extern const struct sy_ops sy_ops_amx;

/* Asks the kernel for tiles, for all threads of the process. */
static int has_amx(void) {
    enum { BF16 = 1 << 22, TILE = 1 << 24, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    unsigned a, b, c, d;
    if (!has_avx512_bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & BF16) || !(d & TILE))
        return 0;
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

static const struct tier {
    const struct sy_ops *ops;
    int (*supported)(void);
    const char *needs;
} tiers[] = {
    {&sy_ops_ref, NULL, ""},
#if defined(__x86_64__)
    {&sy_ops_avx2, has_avx2, "this CPU has no AVX2 with FMA (x86-64-v3)"},
    {&sy_ops_avx512, has_avx512, "this CPU has no AVX-512 (x86-64-v4)"},
    {&sy_ops_avx512_bf16, has_avx512_bf16, "this CPU has no AVX-512-BF16"},
#endif
#if defined(SY_HAVE_AMX)
    {&sy_ops_amx, has_amx, "this CPU has no AMX-BF16, or its kernel grants no tiles"},
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

enum { N_TIERS = sizeof tiers / sizeof *tiers };

/* Tier amx is avx512_bf16 but for its own class: in place of it, where it is faster in that class. */
static sy_status with_tiles(const struct sy_ops **out) {
#if defined(SY_HAVE_AMX)
    const struct sy_ops *two[] = {*out, &sy_ops_amx};
    int best = 0;
    if (*out == &sy_ops_avx512_bf16 && has_amx())
        SY_TRY(sy_ops_fastest(two, 2, SY_NUMERIC_AMX, &best));
    *out = two[best];
#else
    (void)out;
#endif
    return SY_OK;
}

static int is_amx(const struct sy_ops *ops) { return strcmp(ops->tier, "amx") == 0; }

/* The fastest of the tiers that run here; the reference only where nothing else does. */
static sy_status measured(const struct sy_ops **out) {
    const struct sy_ops *run[N_TIERS];
    const char *why;
    int n = 0, best;
    for (int i = 1; i < N_TIERS; i++)
        if ((run[n] = sy_ops_tier(i, &why)) && !is_amx(run[n]))
            n++;
    if (n == 0)
        run[n++] = tiers[0].ops;
    SY_TRY(sy_ops_fastest(run, n, SY_NUMERIC_X86, &best));
    *out = run[best];
    return with_tiles(out);
}

static sy_status automatic(const struct sy_ops **out) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static const struct sy_ops *chosen;
    pthread_mutex_lock(&mutex);
    sy_status status = chosen ? SY_OK : measured(&chosen);
    if (status == SY_OK)
        *out = chosen;
    pthread_mutex_unlock(&mutex);
    return status;
}

sy_status sy_ops_select(const char *tier, const struct sy_ops **out) {
    const char *why;
    if (strcmp(tier, "auto") == 0)
        return automatic(out);
    for (int i = 0; i < N_TIERS; i++) {
        if (strcmp(tier, sy_ops_tier_name(i)) != 0)
            continue;
        const struct sy_ops *ops = sy_ops_tier(i, &why);
        if (!ops)
            SY_FAIL(SY_ERR_UNAVAILABLE, "run.tier = %s: %s; use run.tier=auto", tier, why);
        *out = ops;
        return SY_OK;
    }
    SY_FAIL(SY_ERR_USAGE, "run.tier = %s: must be auto, ref, avx2, avx512, avx512_bf16 or amx", tier);
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

void sy_exec_set_class(struct sy_exec *x, enum sy_numeric_class cls) {
    x->cls = cls;
    x->dtype = sy_class_dtype(cls);
    x->kb = sy_class_kb(cls);
}

/* Attention backward needs the most: widened to fp32 (ops/ref), or packed once a sequence (ops/simd). */
static int64_t attention_floats(int64_t max_head, int64_t seq_len) {
    int64_t head = (max_head + 31) / 32 * 32, wide = head + 64, keys = seq_len + SY_ATTENTION_BLOCK;
    int64_t scores = 4 * 64 * SY_ATTENTION_BLOCK + 1024;
    int64_t widened = (3 * 64 + 4 * SY_ATTENTION_BLOCK) * wide + 2 * keys * wide;
    int64_t packed = 4 * 64 * head + 7 * keys * head / 2 + keys;
    return scores + (widened > packed ? widened : packed);
}

size_t sy_ops_scratch_bytes(int64_t max_row, int64_t max_head, int64_t seq_len) {
    int64_t attention = attention_floats(max_head, seq_len);
    int64_t product = SY_PRODUCT_WORDS, pointwise = 12 * max_row + 4096;
    int64_t floats = attention > product ? attention : product;
    floats = pointwise > floats ? pointwise : floats;
    return (size_t)(floats + 15) / 16 * 16 * sizeof(float);
}
