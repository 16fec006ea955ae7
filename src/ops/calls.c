/* Calls of any op: made, run, compared. See calls.h. */
#include "ops/calls.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fmath.h"
#include "base/rng.h"
#include "ops/calls_make.h"
#include "ops/work.h"

/* --- one entry for each op of the list ------------------------------------------------------------------ */

#define X(name, type)                                                                                   \
    static void make_##name(struct sy_make *m) { sy_make_##name(m, &m->c->arg.name); }                  \
    static void run_##name(const struct sy_exec *x, const struct sy_call *c) {                          \
        x->ops->name(x, &c->arg.name);                                                                  \
    }                                                                                                   \
    static void work_##name(const struct sy_exec *x, const struct sy_call *c, struct sy_op_work *out) { \
        sy_work_##name(x, &c->arg.name, 1, out);                                                        \
    }
SY_OPS_LIST(X)
#undef X

static const struct {
    const char *name;
    void (*make)(struct sy_make *m);
    void (*run)(const struct sy_exec *x, const struct sy_call *c);
    void (*work)(const struct sy_exec *x, const struct sy_call *c, struct sy_op_work *out);
} ops[] = {
#define X(name, type) {#name, make_##name, run_##name, work_##name},
    SY_OPS_LIST(X)
#undef X
};

int sy_calls_n_ops(void) { return (int)(sizeof ops / sizeof *ops); }
const char *sy_calls_op(int op) { return ops[op].name; }

size_t sy_calls_scratch_bytes(void) {
    return (sy_ops_scratch_bytes(SY_CALL_MOST, SY_CALL_HEAD, SY_CALL_SEQ) + 63) / 64 * 64;
}

/* --- made ----------------------------------------------------------------------------------------------- */

/* Kinds of values: 0 ordinary, the others adversarial (calls_values.c). */
enum { KINDS = 6 };

static void carve(void *self, struct sy_arena *arena) {
    struct sy_make *m = self;
    uint64_t name = sy_fnv1a64(ops[m->c->op].name), seed = m->value;
    m->arena = arena;
    m->filling = arena->base != NULL;
    m->c->n_regions = m->c->n_operands = m->c->has_after = 0;
    if (m->filling && !(m->c->image = calloc(1, arena->size)))
        return;
    m->shape = sy_mix64(name + seed);
    ops[m->c->op].make(m);
    m->value = seed; /* as it was, for the second time */
}

sy_status sy_call_create(const struct sy_exec *x, int op, enum sy_call_size size, uint64_t seed,
                         struct sy_call **out) {
    struct sy_call *c = calloc(1, sizeof *c);
    if (!c)
        SY_FAIL(SY_ERR_MEMORY, "calls: no memory for a call of %s", ops[op].name);
    c->op = op;
    struct sy_make m = {.x = x, .c = c, .size = size, .value = seed};
    m.kind = size == SY_CALL_EDGE ? (int)(seed % KINDS) : 0;
    sy_status status = sy_arena_build(x->device, "calls", carve, &m, &c->arena);
    if (status == SY_OK && (!c->image || !(c->result = calloc(1, c->arena.size)))) {
        sy_fail(SY_ERR_MEMORY, "calls: no memory for %zu bytes of %s", c->arena.size, ops[op].name);
        status = SY_ERR_MEMORY;
    }
    if (status != SY_OK)
        sy_call_destroy(c);
    else
        *out = c;
    return status;
}

void sy_call_destroy(struct sy_call *c) {
    if (!c)
        return;
    if (c->arena.memory)
        sy_arena_fini(&c->arena);
    free(c->image);
    free(c->result);
    free(c);
}

/* --- run ------------------------------------------------------------------------------------------------ */

static size_t bytes_of(enum sy_words w) { return w == SY_WORDS_F32 ? 4 : w == SY_WORDS_BF16 ? 2 : 1; }

/* Region by region: what lies between them nobody may touch. */
static void move(const struct sy_exec *x, const struct sy_call *c, char *to, const char *from) {
    for (int i = 0; i < c->n_regions; i++) {
        const struct sy_call_region *r = &c->region[i];
        x->device->copy(x->device, to + r->at, from + r->at, (size_t)r->n * bytes_of(r->words));
    }
}

struct sy_call_work sy_call_work(const struct sy_exec *x, const struct sy_call *c) {
    struct sy_op_work w;
    ops[c->op].work(x, c, &w);
    return (struct sy_call_work){w.bytes, w.flops};
}

void sy_call_reset(const struct sy_exec *x, struct sy_call *c) {
    move(x, c, c->arena.base, c->image);
    for (int i = 0; i < c->n_operands; i++) {
        const struct sy_operand *v = c->operand[i].view;
        struct sy_operand plain = {.m = v->m, .step = v->step};
        x->ops->pack(x, &(struct sy_pack){.groups = c->operand[i].groups,
                                          .k = c->operand[i].k,
                                          .n = c->operand[i].n,
                                          .b = plain,
                                          .packed = (void *)(uintptr_t)v->packed,
                                          .packed_step = v->packed_step});
    }
}

void sy_call_run(const struct sy_exec *x, struct sy_call *c) { ops[c->op].run(x, c); }

sy_status sy_call_finish(const struct sy_exec *x, struct sy_call *c) {
    if (c->has_after)
        x->ops->linear(x, &c->after);
    move(x, c, c->result, c->arena.base);
    return sy_exec_wait(x);
}

/* --- compared ------------------------------------------------------------------------------------------- */

static uint32_t word(const struct sy_call *c, const struct sy_call_region *r, int64_t i) {
    const char *p = c->result + r->at + (size_t)i * bytes_of(r->words);
    uint32_t u = 0;
    memcpy(&u, p, bytes_of(r->words));
    if (r->words == SY_WORDS_F32 && (u & 0x7fffffffu) > 0x7f800000u)
        return 0x7fc00000u;
    if (r->words == SY_WORDS_BF16 && (u & 0x7fffu) > 0x7f80u)
        return 0x7fc0u;
    return u;
}

int sy_call_differs(const struct sy_call *a, const struct sy_call *b, char *text, size_t bytes) {
    if (a->op != b->op || a->n_regions != b->n_regions) {
        snprintf(text, bytes, "%s and %s: calls of two kinds", ops[a->op].name, ops[b->op].name);
        return 1;
    }
    for (int k = 0; k < a->n_regions; k++) {
        const struct sy_call_region *r = &a->region[k], *q = &b->region[k];
        if (r->words == SY_WORDS_PRIVATE)
            continue;
        for (int64_t i = 0; i < r->n; i++)
            if (r->n != q->n || word(a, r, i) != word(b, q, i)) {
                snprintf(text, bytes, "%s: %s[%lld of %lld] is %08x and %08x", ops[a->op].name, r->name,
                         (long long)i, (long long)r->n, word(a, r, i), word(b, q, i));
                return 1;
            }
    }
    return 0;
}
