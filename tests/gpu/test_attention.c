/* Attention of the GPU at the sizes of trainings, bit for bit: long sequences, documents, windows, shared
 * rope keys, every output of forward and backward, with NaN in it before. The fast kernels (wgmma, TMA) ==
 * those of any shape (mma.sync), which take the same values in operands with odd strides, and == the CPU in
 * class sm90. Small shapes and adversarial values: test_ops.
 *
 * Exit 0 when all agree, 1 when not, 77 without a GPU.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "device/cuda.h"
#include "ops/ops.h"

enum { MAX_SEQ = 8192, TENSORS = 16, WORKSPACE = 1 << 30 };

struct shape {
    int64_t sequences, seq_len, heads, kv_heads, d, rope;
    int shared, documents;
    int64_t window;
};

struct call { /* one attention and its tensors, in an exec's memory */
    struct sy_attention op;
    const struct sy_exec *x;
    int64_t gap; /* values behind each row */
    int n;
    struct tensor {
        const char *name;
        struct sy_heads view;
        int64_t heads, d; /* heads 0: words, d of them */
        size_t bytes;
        int output;
    } tensor[TENSORS];
};

static void need(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "test_attention: %s: %s\n", what, sy_error_message());
        exit(2);
    }
}

/* --- values --------------------------------------------------------------------------------------------- */

/* About normal, deviation 1: a function of (tensor, index). */
static uint16_t value(uint64_t seed, int64_t i) {
    uint64_t z = sy_mix64(seed + (uint64_t)i * 0x9e3779b97f4a7c15u);
    float x = 0;
    uint32_t u;
    for (int k = 0; k < 4; k++)
        x += (float)(z >> 16 * k & 0xffff) * 0x1p-16f - 0.5f;
    x *= 1.7320508f;
    memcpy(&u, &x, 4);
    return (uint16_t)(u >> 16);
}

static void send(const struct call *c, void *to, const void *host, size_t bytes) {
    c->x->device->copy(c->x->device, to, host, bytes);
    need(sy_exec_wait(c->x) == SY_OK, "a copy");
}

static struct tensor *take(struct call *c, const char *name, int64_t heads, int64_t d, size_t bytes) {
    struct tensor *t = &c->tensor[c->n++];
    t->name = name;
    t->heads = heads;
    t->d = d;
    t->bytes = bytes;
    t->view.data = c->x->device->alloc(c->x->device, SY_PLACE_DEVICE, bytes);
    need(t->view.data != NULL, "memory");
    return t;
}

/* seed 0: an output, NaN at first. */
static struct sy_heads heads_of(struct call *c, const char *name, int64_t heads, int64_t d, uint64_t seed) {
    int64_t row = heads * d, token = row + c->gap, tokens = c->op.sequences * c->op.seq_len;
    struct tensor *t = take(c, name, heads, d, (size_t)(tokens * token) * 2);
    uint16_t *host = malloc(t->bytes);
    need(host != NULL, "memory");
    memset(host, 0xff, t->bytes);
    for (int64_t i = 0; seed && i < tokens; i++)
        for (int64_t k = 0; k < row; k++)
            host[i * token + k] = value(seed, i * row + k);
    send(c, t->view.data, host, t->bytes);
    free(host);
    t->output = !seed;
    return t->view = (struct sy_heads){t->view.data, SY_BF16, token, d};
}

static const int32_t *documents(struct call *c) {
    int64_t tokens = c->op.sequences * c->op.seq_len;
    struct tensor *t = take(c, "documents", 0, tokens, (size_t)tokens * 4);
    int32_t *host = malloc(t->bytes);
    need(host != NULL, "memory");
    for (int64_t i = 0; i < tokens; i++) {
        int64_t at = i % c->op.seq_len;
        host[i] = at == 0 || sy_mix64((uint64_t)i) % 300 == 0 ? (int32_t)at : host[i - 1];
    }
    send(c, t->view.data, host, t->bytes);
    free(host);
    return t->view.data;
}

static struct call call_new(const struct sy_exec *x, const struct shape *s, int64_t gap) {
    struct call c = {.x = x, .gap = gap};
    int64_t tokens = s->sequences * s->seq_len, d[2] = {s->d, s->rope};
    c.op = (struct sy_attention){.sequences = s->sequences,
                                 .seq_len = s->seq_len,
                                 .heads = s->heads,
                                 .kv_heads = s->kv_heads,
                                 .dv = s->d,
                                 .n_slices = s->rope ? 2 : 1,
                                 .window = s->window};
    for (int p = 0; p < c.op.n_slices; p++) {
        struct sy_head_slice *t = &c.op.slice[p];
        int shared = p && s->shared;
        t->d = d[p];
        t->q = heads_of(&c, "q", s->heads, d[p], (uint64_t)p + 1);
        t->k = heads_of(&c, "k", shared ? 1 : s->kv_heads, d[p], (uint64_t)p + 3);
        t->k.head = shared ? 0 : t->k.head;
        t->dq = heads_of(&c, "dq", s->heads, d[p], 0);
        t->dk = heads_of(&c, "dk", s->kv_heads, d[p], 0);
    }
    c.op.v = heads_of(&c, "v", s->kv_heads, s->d, 5);
    c.op.d_o = heads_of(&c, "do", s->heads, s->d, 6);
    c.op.o = heads_of(&c, "o", s->heads, s->d, 0);
    c.op.d_v = heads_of(&c, "dv", s->kv_heads, s->d, 0);
    struct tensor *lse = take(&c, "lse", 0, tokens * s->heads, (size_t)(tokens * s->heads) * 4);
    lse->output = 1;
    c.op.lse = lse->view.data;
    c.op.doc_start = s->documents ? documents(&c) : NULL;
    c.op.scale = (float)(1.0 / sqrt((double)(s->d + s->rope)));
    c.op.c = (float)(1.0 / sqrt((double)(s->d + s->rope)) * 0x1.71547652b82fep+0);
    return c;
}

static void call_free(struct call *c) {
    for (int i = 0; i < c->n; i++)
        c->x->device->free(c->x->device, SY_PLACE_DEVICE, c->tensor[i].view.data, c->tensor[i].bytes);
}

/* --- check ---------------------------------------------------------------------------------------------- */

static char *fetch(const struct call *c, int i) {
    char *host = malloc(c->tensor[i].bytes);
    need(host != NULL, "memory");
    c->x->device->copy(c->x->device, host, c->tensor[i].view.data, c->tensor[i].bytes);
    need(sy_exec_wait(c->x) == SY_OK, "a copy");
    return host;
}

/* Values of an output that differ, the first one named. */
static int64_t differing(const struct call *a, const struct call *b, int i) {
    const struct tensor *t = &a->tensor[i];
    int64_t tokens = a->op.sequences * a->op.seq_len, row = t->heads ? t->heads * t->d : 1;
    int64_t rows = t->heads ? tokens : t->d, size = t->heads ? 2 : 4, wrong = 0;
    char *x = fetch(a, i), *y = fetch(b, i);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < row; k++) {
            const char *p = x + (r * (t->heads ? row + a->gap : 1) + k) * size;
            const char *q = y + (r * (t->heads ? row + b->gap : 1) + k) * size;
            if (memcmp(p, q, (size_t)size) != 0 && wrong++ == 0)
                printf("    %s: row %lld, value %lld\n", t->name, (long long)r, (long long)k);
        }
    free(x);
    free(y);
    return wrong;
}

static void both(struct call *c) {
    c->x->ops->attention_fwd(c->x, &c->op);
    c->x->ops->attention_bwd(c->x, &c->op);
    need(sy_exec_wait(c->x) == SY_OK, "attention");
}

static int compare(const struct shape *s, const struct sy_exec *gpu, const struct sy_exec *other, int64_t gap,
                   const char *what) {
    struct call a = call_new(gpu, s, 0), b = call_new(other, s, gap);
    int64_t wrong = 0, outputs = 0;
    double begin = sy_clock();
    both(&a);
    double took = sy_clock();
    both(&b);
    for (int i = 0; i < a.n; i++)
        if (a.tensor[i].output) {
            wrong += differing(&a, &b, i);
            outputs += (int64_t)a.tensor[i].bytes / (a.tensor[i].heads ? 2 : 4);
        }
    printf("B %lld S %lld heads %lld/%lld of %lld+%lld%s%s window %lld == %s: %lld outputs, %lld differ "
           "(%.3f s, %.3f s)\n",
           (long long)s->sequences, (long long)s->seq_len, (long long)s->heads, (long long)s->kv_heads,
           (long long)s->d, (long long)s->rope, s->shared ? ", shared" : "",
           s->documents ? ", documents" : "", (long long)s->window, what, (long long)outputs,
           (long long)wrong, took - begin, sy_clock() - took);
    fflush(stdout);
    call_free(&a);
    call_free(&b);
    return wrong != 0;
}

static int check(const struct sy_exec *gpu, const struct sy_exec *cpu) {
    static const struct shape kernels[] = {
        {4, 4096, 16, 16, 128, 64, 1, 0, 0}, {4, 4096, 32, 4, 128, 0, 0, 0, 0},
        {2, 4000, 16, 16, 128, 64, 1, 1, 0}, {2, 4096, 16, 4, 128, 0, 0, 1, 0},
        {2, 4096, 8, 8, 64, 0, 0, 0, 1000},  {1, 8192, 16, 2, 64, 0, 0, 1, 2000},
        {1, 8192, 4, 4, 128, 64, 0, 0, 0},
    };
    static const struct shape emulated[] = {{2, 1000, 4, 4, 128, 64, 1, 1, 0},
                                            {2, 1100, 8, 4, 128, 0, 0, 0, 500},
                                            {4, 1300, 4, 2, 64, 0, 0, 1, 0}};
    int bad = 0;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        bad |= compare(&kernels[i], gpu, gpu, 1, "kernels of any shape");
    for (size_t i = 0; i < sizeof emulated / sizeof *emulated; i++)
        bad |= compare(&emulated[i], gpu, cpu, 0, "class sm90 on the CPU");
    return bad;
}

int main(void) {
    const char *why;
    struct sy_device *device;
    struct sy_exec cpu = {.device = sy_device_cpu(),
                          .scratch_bytes = sy_ops_scratch_bytes(4096, 256, MAX_SEQ)};
    if (sy_device_cuda_count(&why) == 0) {
        printf("no GPU: %s\n", why);
        return 77;
    }
    need(sy_device_cuda_create(-1, &device) == SY_OK, "a GPU");
    struct sy_exec gpu = {.device = device, .ops = sy_ops_cuda(), .scratch_bytes = WORKSPACE};
    sy_exec_set_class(&cpu, SY_NUMERIC_SM90);
    sy_exec_set_class(&gpu, SY_NUMERIC_SM90);
    need(sy_ops_select("auto", &cpu.ops) == SY_OK && sy_pool_create(0, &cpu.pool) == SY_OK, "the CPU");
    cpu.scratch_bytes = (cpu.scratch_bytes + 63) / 64 * 64;
    cpu.scratch = aligned_alloc(64, cpu.scratch_bytes * (size_t)sy_pool_size(cpu.pool));
    gpu.scratch = device->alloc(device, SY_PLACE_DEVICE, WORKSPACE);
    need(cpu.scratch && gpu.scratch, "memory");
    int bad = check(&gpu, &cpu);
    sy_pool_destroy(cpu.pool);
    free(cpu.scratch);
    device->free(device, SY_PLACE_DEVICE, gpu.scratch, WORKSPACE);
    sy_device_destroy(device);
    return bad;
}
