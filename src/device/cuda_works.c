/* What a GPU did when, by CUPTI's activity records. See cuda_works.h. */
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <cupti.h>

#include "device/cuda_works.h"

/* X(name): of CUPTI, what is called here. */
#define CALLS(X)                      \
    X(cuptiActivityRegisterCallbacks) \
    X(cuptiActivityEnable)            \
    X(cuptiActivityDisable)           \
    X(cuptiActivityFlushAll)          \
    X(cuptiActivityGetNextRecord)     \
    X(cuptiGetTimestamp)

static struct {
#define X(name) __typeof__(name) *name;
    CALLS(X)
#undef X
} cupti;
static struct sy_cuda_works noted;
static int out_of_memory;

static const CUpti_ActivityKind kinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                           CUPTI_ACTIVITY_KIND_MEMSET};
enum { N_KINDS = sizeof kinds / sizeof *kinds, BUFFER = 8 << 20 };

/* Of the C++ library that CUDA's own needs: malloc'ed. */
char *__cxa_demangle(const char *name, char *buffer, size_t *n, int *status);

/* --- records: CUPTI's thread, or the one that flushes --------------------------------------------------- */

static void note(const char *name, uint64_t begin, uint64_t end) {
    struct sy_cuda_works *w = &noted;
    if (w->n == w->capacity) {
        int64_t capacity = 2 * w->capacity + 4096;
        struct sy_cuda_work *larger = realloc(w->work, (size_t)capacity * sizeof *larger);
        if (!larger) {
            out_of_memory = 1;
            return;
        }
        w->work = larger;
        w->capacity = capacity;
    }
    int status = 0;
    char *said = __cxa_demangle(name, NULL, NULL, &status);
    if (!said)
        said = strdup(name);
    out_of_memory |= !said;
    if (said)
        w->work[w->n++] = (struct sy_cuda_work){said, (int64_t)begin, (int64_t)end};
}

static void CUPTIAPI give_buffer(uint8_t **buffer, size_t *size, size_t *most) {
    *buffer = aligned_alloc(8, BUFFER);
    *size = *buffer ? BUFFER : 0;
    *most = 0;
    out_of_memory |= !*buffer;
}

static void CUPTIAPI take_buffer(CUcontext context, uint32_t stream, uint8_t *buffer, size_t size,
                                 size_t valid) {
    CUpti_Activity *a = NULL;
    (void)context, (void)stream, (void)size;
    while (cupti.cuptiActivityGetNextRecord(buffer, valid, &a) == CUPTI_SUCCESS) {
        if (a->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
            const CUpti_ActivityMemcpy5 *m = (const void *)a;
            note("copy", m->start, m->end);
        } else if (a->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
            const CUpti_ActivityMemset4 *m = (const void *)a;
            note("fill", m->start, m->end);
        } else if (a->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
            const CUpti_ActivityKernel9 *k = (const void *)a;
            note(k->name, k->start, k->end);
        }
    }
    free(buffer);
}

/* --- begin, end ----------------------------------------------------------------------------------------- */

static sy_status load(void) {
    static const char *const names[] = {"libcupti.so.13", "libcupti.so", "/usr/local/cuda/lib64/libcupti.so",
                                        "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"};
    void *library = NULL;
    for (size_t i = 0; !library && i < sizeof names / sizeof *names; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (!library)
        SY_FAIL(
            SY_ERR_RUNTIME,
            "a GPU's trace: there is no libcupti.so.13 (it comes with CUDA 13; LD_LIBRARY_PATH says where)");
#define X(name)                                           \
    if (!(*(void **)&cupti.name = dlsym(library, #name))) \
        SY_FAIL(SY_ERR_RUNTIME, "a GPU's trace: libcupti.so has no %s: CUDA 13's is needed", #name);
    CALLS(X)
#undef X
    return SY_OK;
}

sy_status sy_cuda_works_begin(void) {
    SY_TRY(load());
    noted = (struct sy_cuda_works){0};
    out_of_memory = 0;
    CUptiResult r = cupti.cuptiActivityRegisterCallbacks(give_buffer, take_buffer);
    for (int i = 0; i < N_KINDS && r == CUPTI_SUCCESS; i++)
        r = cupti.cuptiActivityEnable(kinds[i]);
    if (r != CUPTI_SUCCESS)
        SY_FAIL(SY_ERR_RUNTIME,
                "a GPU's trace: CUPTI says error %d: another profiler has it, or it may not be "
                "used here",
                (int)r);
    return SY_OK;
}

int64_t sy_cuda_works_now(void) {
    uint64_t now = 0;
    if (cupti.cuptiGetTimestamp)
        cupti.cuptiGetTimestamp(&now);
    return (int64_t)now;
}

static int by_begin(const void *a, const void *b) {
    const struct sy_cuda_work *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

sy_status sy_cuda_works_end(struct sy_cuda_works *out) {
    cupti.cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
    for (int i = 0; i < N_KINDS; i++)
        cupti.cuptiActivityDisable(kinds[i]);
    if (noted.n > 0)
        qsort(noted.work, (size_t)noted.n, sizeof *noted.work, by_begin);
    *out = noted;
    noted = (struct sy_cuda_works){0};
    if (out_of_memory)
        SY_FAIL(SY_ERR_MEMORY, "a GPU's trace: no memory for its records: fewer --steps");
    return SY_OK;
}

void sy_cuda_works_free(struct sy_cuda_works *works) {
    for (int64_t i = 0; i < works->n; i++)
        free(works->work[i].name);
    free(works->work);
    *works = (struct sy_cuda_works){0};
}
