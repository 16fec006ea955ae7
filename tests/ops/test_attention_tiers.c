/* Attention of every tier beside the reference, word by word, in the shapes that a kernel's tiles leave to
 * the end: widths around vectors and panels, one query, odd lengths, documents that begin inside a block,
 * windows; and with one NaN or Inf in one operand, which reaches just the rows that the reference says.
 * test_attention.c says what is right; here shapes may be wide, as both sides are fast.
 */
#include "chain_model.h"

struct shape {
    int64_t seq_len, heads, kv_heads, dv, d[2]; /* d[1] = 0: one part, else its key is every head's */
    int64_t document, window;                   /* a document begins there; 0: at the start alone */
};

static const struct shape shapes[] = {
    {1, 2, 1, 16, {16, 0}, 0, 0},      {2, 1, 1, 17, {31, 0}, 0, 0},      {63, 2, 2, 33, {49, 0}, 0, 0},
    {65, 2, 1, 48, {17, 16}, 0, 0},    {128, 1, 1, 80, {96, 0}, 0, 40},   {131, 2, 2, 128, {128, 64}, 0, 0},
    {150, 2, 1, 113, {33, 15}, 71, 0}, {193, 1, 1, 24, {192, 0}, 130, 0}, {201, 2, 2, 64, {64, 0}, 131, 66},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes, SEQUENCES = 2, OPERANDS = 6, RESULTS = 6 };

enum kind { ORDINARY, TINY, N_KINDS }; /* TINY: products and some operands are subnormal */

/* One call; its tensors in rows [T, heads d] with an odd gap behind each. */
struct call {
    struct sy_attention op;
    struct sy_heads operand[OPERANDS], result[RESULTS]; /* q, k of each part, v, do; lse is a result too */
    size_t bytes[RESULTS];
    int n_operands, n_results;
    int32_t doc_start[SEQUENCES * 256];
};

static struct sy_heads heads_new(const struct shape *s, int64_t heads, int64_t d, enum kind kind) {
    int64_t row = heads * d + 3, n = SEQUENCES * s->seq_len * row;
    uint16_t *p = malloc((size_t)n * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) {
        float v = (float)(int32_t)(random_bits() >> 32) * 0x1p-30f;
        p[i] = (uint16_t)(bits_of(kind == TINY ? v * (random_bits() % 3 ? 0x1p-64f : 0x1p-126f) : v) >> 16);
    }
    return (struct sy_heads){p, SY_BF16, row, d};
}

static struct sy_heads operand(struct call *c, const struct shape *s, int64_t heads, int64_t d, enum kind k) {
    return c->operand[c->n_operands++] = heads_new(s, heads, d, k);
}
static struct sy_heads result(struct call *c, const struct shape *s, int64_t heads, int64_t d) {
    struct sy_heads h = heads_new(s, heads, d, ORDINARY);
    c->bytes[c->n_results] = (size_t)(SEQUENCES * s->seq_len * h.token) * 2;
    return c->result[c->n_results++] = h;
}

static struct call *call_new(const struct shape *s, enum kind kind) {
    struct call *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->op = (struct sy_attention){.sequences = SEQUENCES,
                                  .seq_len = s->seq_len,
                                  .heads = s->heads,
                                  .kv_heads = s->kv_heads,
                                  .dv = s->dv,
                                  .n_slices = s->d[1] ? 2 : 1,
                                  .window = s->window,
                                  .scale = 0.25f,
                                  .c = 0.36067376f};
    for (int p = 0; p < c->op.n_slices; p++) {
        struct sy_head_slice *part = &c->op.slice[p];
        part->d = s->d[p];
        part->q = operand(c, s, s->heads, s->d[p], kind);
        part->k = operand(c, s, p ? 1 : s->kv_heads, s->d[p], kind);
        part->k.head = p ? 0 : part->k.head;
        part->dq = result(c, s, s->heads, s->d[p]);
        part->dk = result(c, s, s->kv_heads, s->d[p]);
    }
    c->op.v = operand(c, s, s->kv_heads, s->dv, kind);
    c->op.d_o = operand(c, s, s->heads, s->dv, kind);
    c->op.o = result(c, s, s->heads, s->dv);
    c->op.d_v = result(c, s, s->kv_heads, s->dv);
    c->op.lse = calloc((size_t)(SEQUENCES * s->seq_len * s->heads), sizeof(float));
    assert_non_null(c->op.lse);
    for (int64_t t = 0; t < SEQUENCES * s->seq_len; t++)
        c->doc_start[t] = (int32_t)(t % s->seq_len >= s->document ? s->document : 0);
    c->op.doc_start = s->document ? c->doc_start : NULL;
    return c;
}

static void call_free(struct call *c) {
    for (int i = 0; i < c->n_operands; i++)
        free(c->operand[i].data);
    for (int i = 0; i < c->n_results; i++)
        free(c->result[i].data);
    free(c->op.lse);
    free(c);
}

static void run(const struct call *c, const struct sy_ops *ops, int threads) {
    int64_t width = 0;
    for (int p = 0; p < c->op.n_slices; p++)
        width += (c->op.slice[p].d + 15) / 16 * 16;
    for (int i = 0; i < c->n_results; i++)
        memset(c->result[i].data, 0x7b, c->bytes[i]);
    struct sy_exec x =
        exec_open(ops, SY_NUMERIC_X86, threads, width > c->op.dv ? width : c->op.dv, c->op.seq_len);
    ops->attention_fwd(&x, &c->op);
    ops->attention_bwd(&x, &c->op);
    exec_close(&x);
}

/* Words of a result that are not the same, any NaN being one. */
static int64_t unequal(const void *a, const void *b, size_t bytes) {
    const uint16_t *p = a, *q = b;
    int64_t n = 0;
    for (size_t i = 0; i < bytes / 2; i++)
        n += p[i] != q[i] && !((p[i] & 0x7fff) > 0x7f80 && (q[i] & 0x7fff) > 0x7f80);
    return n;
}

static void compare(const struct shape *s, enum kind kind, int spoilt, uint16_t with) {
    const char *why;
    random_state = 7;
    struct call *want = call_new(s, kind);
    random_state = 7;
    struct call *got = call_new(s, kind);
    if (spoilt < want->n_operands) { /* one element, in the middle of the first sequence */
        int64_t at = (s->seq_len / 2) * want->operand[spoilt].token + 1;
        ((uint16_t *)want->operand[spoilt].data)[at] = ((uint16_t *)got->operand[spoilt].data)[at] = with;
    }
    run(want, sy_ops_tier(0, &why), 1);
    for (int tier = 1; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = sy_ops_tier(tier, &why);
        for (int threads = 1; ops && threads <= 3; threads += 2) {
            run(got, ops, threads);
            for (int i = 0; i < want->n_results; i++)
                if (unequal(want->result[i].data, got->result[i].data, want->bytes[i]))
                    fail_msg("S %lld, d %lld + %lld, dv %lld, kind %d, operand %d spoilt: result %d of tier "
                             "%s, %d threads is not the reference's",
                             (long long)s->seq_len, (long long)s->d[0], (long long)s->d[1], (long long)s->dv,
                             (int)kind, spoilt, i, ops->tier, threads);
            for (int64_t i = 0; i < SEQUENCES * s->seq_len * s->heads; i++)
                assert_true(same(want->op.lse[i], got->op.lse[i]));
        }
    }
    call_free(want);
    call_free(got);
}

static void shapes_at_the_edges(void **state) {
    (void)state;
    for (int i = 0; i < N_SHAPES; i++)
        for (int kind = 0; kind < N_KINDS; kind++)
            compare(&shapes[i], (enum kind)kind, OPERANDS, 0);
}

/* A chain is cut only where nothing that is left out could have made it NaN. */
static void one_that_is_not_finite(void **state) {
    (void)state;
    for (int i = 4; i < N_SHAPES; i++)
        for (int spoilt = 0; spoilt < (shapes[i].d[1] ? OPERANDS : OPERANDS - 2); spoilt++)
            compare(&shapes[i], ORDINARY, spoilt, (i + spoilt) % 2 ? 0x7fc0 : 0xff80);
}

/* --- the last query alone ------------------------------------------------------------------------------- */

static void forward(struct sy_attention op, const struct sy_ops *ops, int threads, int64_t width) {
    struct sy_exec x = exec_open(ops, SY_NUMERIC_X86, threads, width, op.seq_len);
    ops->attention_fwd(&x, &op);
    exec_close(&x);
}

static void last_query(const struct shape *s, enum kind kind, int spoilt, uint16_t with) {
    const char *why;
    int64_t width = s->d[0] + s->d[1] > s->dv ? s->d[0] + s->d[1] : s->dv, n = s->heads * s->dv;
    random_state = 9;
    struct call *c = call_new(s, kind);
    c->op.sequences = 1;
    if (spoilt < c->n_operands)
        ((uint16_t *)c->operand[spoilt].data)[s->seq_len / 2 * c->operand[spoilt].token + 1] = with;
    uint16_t want[1024], *got = (uint16_t *)c->op.o.data + (s->seq_len - 1) * c->op.o.token;
    float lse[8], *got_lse = c->op.lse + (s->seq_len - 1) * s->heads;
    c->op.first = s->seq_len > 100 ? s->seq_len - 1 : 0; /* all of them, where that is not long */
    forward(c->op, sy_ops_tier(0, &why), 1, width);
    memcpy(want, got, (size_t)n * sizeof *want);
    memcpy(lse, got_lse, (size_t)s->heads * sizeof *lse);
    c->op.first = s->seq_len - 1;
    for (int tier = 1; tier < sy_ops_n_tiers(); tier++) {
        const struct sy_ops *ops = sy_ops_tier(tier, &why);
        for (int threads = 1; ops && threads <= 3; threads += 2) {
            memset(got, 0x7b, (size_t)n * sizeof *got);
            forward(c->op, ops, threads, width);
            if (unequal(want, got, (size_t)n * sizeof *want))
                fail_msg("S %lld, d %lld + %lld, dv %lld, kind %d, operand %d spoilt: the last query alone, "
                         "tier %s",
                         (long long)s->seq_len, (long long)s->d[0], (long long)s->d[1], (long long)s->dv,
                         (int)kind, spoilt, ops->tier);
            for (int64_t h = 0; h < s->heads; h++)
                assert_true(same(lse[h], got_lse[h]));
        }
    }
    call_free(c);
}

/* Lengths around vectors of keys, pairs and blocks; widths of whole vectors, and others. */
static void the_last_query_alone(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 2, 16, 17, 64, 65, 127, 128, 129, 241};
    static const struct shape heads[] = {{0, 4, 2, 128, {128, 64}, 0, 0}, {0, 2, 1, 32, {32, 0}, 0, 0},
                                         {0, 3, 3, 160, {96, 0}, 0, 0},   {0, 2, 2, 64, {64, 0}, 0, 40},
                                         {0, 2, 2, 64, {64, 0}, 3, 0},    {0, 2, 1, 33, {40, 0}, 0, 0}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        for (size_t k = 0; k < sizeof heads / sizeof *heads; k++) {
            struct shape s = heads[k];
            s.seq_len = lengths[i];
            for (int kind = 0; kind < N_KINDS; kind++)
                last_query(&s, (enum kind)kind, OPERANDS, 0);
            for (int spoilt = 0; spoilt < (s.d[1] ? OPERANDS : OPERANDS - 2); spoilt++)
                last_query(&s, ORDINARY, spoilt,
                           (i + k) % 3 == 0   ? 0x7fc0
                           : (i + k) % 3 == 1 ? 0xff80
                                              : 0x7f80);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_at_the_edges),
        cmocka_unit_test(one_that_is_not_finite),
        cmocka_unit_test(the_last_query_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
