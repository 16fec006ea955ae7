/* switchyard bench ops --device cuda: ops over rows of tokens, the loss, and what is done to parameters. */
#include <math.h>
#include <stdlib.h>

#include "commands/bench_gpu.h"

static struct sy_heads whole(struct sy_mat m) { return sy_heads_of(m, 0, m.row); }

/* --- rows of tokens ------------------------------------------------------------------------------------- */

struct rows {
    int64_t tokens, d, heads, head; /* head: columns of one */
    double row;                     /* bytes of one stored matrix [tokens, d] */
    struct sy_mat a, b, c;
    float *g, *r;
};

static void norms(struct sy_gpu_bench *b, const struct rows *t) {
    SY_GPU_ROW(b, rmsnorm_fwd, sy_rmsnorm_fwd, "whole rows", bytes, 2 * t->row,
               {.tokens = t->tokens,
                .heads = 1,
                .d = t->d,
                .eps = 1e-6f,
                .x = whole(t->a),
                .g = t->g,
                .y = whole(t->b),
                .r = t->r});
    SY_GPU_ROW(b, rmsnorm_fwd, sy_rmsnorm_fwd, "heads", bytes, 2 * t->row,
               {.tokens = t->tokens,
                .heads = t->heads,
                .d = t->head,
                .eps = 1e-6f,
                .x = sy_heads_of(t->a, 0, t->head),
                .g = t->g,
                .y = sy_heads_of(t->b, 0, t->head)});
    SY_GPU_ROW(b, rmsnorm_bwd, sy_rmsnorm_bwd, "whole rows", bytes, 3 * t->row,
               {.tokens = t->tokens,
                .heads = 1,
                .d = t->d,
                .dy = whole(t->a),
                .x = whole(t->b),
                .g = t->g,
                .r = t->r,
                .dx = whole(t->c)});
    SY_GPU_ROW(b, row_sum, sy_row_sum, "gradient of a norm's gain", bytes, 2 * t->row,
               {&(struct sy_row_sum_item){.sequences = b->sizes->sequences,
                                          .rows_per_sequence = b->sizes->seq_len,
                                          .heads = 1,
                                          .d = t->d,
                                          .a = whole(t->a),
                                          .x = whole(t->b),
                                          .r = t->r,
                                          .out = t->g},
                1});
}

/* cos and sin [positions, pairs] of angles p 10000^(-i / pairs). */
static float *angles(struct sy_gpu_bench *b, int64_t positions, int64_t pairs, int sine) {
    float *host = b->status == SY_OK ? malloc((size_t)(positions * pairs) * sizeof *host) : NULL, *p;
    if (!host) {
        if (b->status == SY_OK)
            b->status = sy_fail(SY_ERR_MEMORY, "bench: no memory for the angles of rope");
        return NULL;
    }
    for (int64_t i = 0; i < positions * pairs; i++) {
        double angle = (double)(i / pairs) * pow(1e4, -(double)(i % pairs) / (double)pairs);
        host[i] = (float)(sine ? sin(angle) : cos(angle));
    }
    p = sy_gpu_upload(b, host, positions * pairs * 4);
    free(host);
    return p;
}

/* Of the second half of each head. */
static void rope(struct sy_gpu_bench *b, const struct rows *t) {
    int64_t d = t->head / 2, positions = b->sizes->seq_len;
    SY_GPU_ROW(b, rope, sy_rope, "half of each head", bytes, t->row,
               {.tokens = t->tokens,
                .heads = t->heads,
                .d = d,
                .position = sy_gpu_below(b, t->tokens, positions),
                .cos = angles(b, positions, d / 2, 0),
                .sin = angles(b, positions, d / 2, 1),
                .x = sy_heads_of(t->a, d, t->head)});
    SY_GPU_ROW(b, head_sum, sy_head_sum, "half of each head", bytes,
               t->row / 2 * (1 + 1.0 / (double)t->heads),
               {.tokens = t->tokens,
                .heads = t->heads,
                .d = d,
                .x = sy_heads_of(t->a, d, t->head),
                .y = whole(t->b)});
}

static void pointwise(struct sy_gpu_bench *b, const struct rows *t) {
    SY_GPU_ROW(b, join, sy_join, "two terms", bytes, 3 * t->row,
               {.rows = t->tokens, .d = t->d, .n = 2, .term = {t->a, t->b}, .y = t->c});
    SY_GPU_ROW(b, sigmoid_gate, sy_sigmoid_gate, "in place", bytes, 2 * t->row,
               {.rows = t->tokens, .d = t->d, .logit = t->r, .y = t->c});
    SY_GPU_ROW(b, sigmoid_gate_bwd, sy_sigmoid_gate_bwd, "", bytes, 3 * t->row,
               {.rows = t->tokens,
                .d = t->d,
                .logit = t->r,
                .y_in = t->a,
                .dy = t->b,
                .dy_in = t->c,
                .dlogit = sy_gpu_stored(b, t->tokens, 1, 1.0)});
}

static void embedding(struct sy_gpu_bench *b, const struct rows *t) {
    int64_t vocab = b->sizes->vocab, n = t->tokens, d = t->d;
    double wide = 4.0 * (double)n * (double)d; /* bytes of fp32 rows of the tokens */
    SY_GPU_ROW(b, embed_fwd, sy_embed_fwd, "", bytes, 2 * t->row,
               {.tokens = n,
                .d = d,
                .ids = sy_gpu_below(b, n, vocab),
                .w = sy_gpu_stored(b, vocab, d, 1.0),
                .y = t->c});
    SY_GPU_ROW(b, scatter_add, sy_scatter_add, "gradient of the embedding", bytes, t->row + 2 * wide,
               {.n = n,
                .d = d,
                .out_rows = vocab,
                .index = sy_gpu_below(b, n, vocab),
                .src = t->a,
                .out = sy_mat_of(sy_gpu_floats(b, vocab * d, 1.0), SY_F32, d)});
    SY_GPU_ROW(b, fold_rows, sy_fold_rows, "rows of the tokens", bytes, 4 * wide,
               {.n = n,
                .d = d,
                .index = sy_gpu_below(b, n, vocab),
                .x = sy_gpu_floats(b, vocab * d, 1.0),
                .y = sy_gpu_floats(b, vocab * d, 1.0)});
}

static void tokens(struct sy_gpu_bench *b) {
    const struct sy_gpu_sizes *s = b->sizes;
    int64_t n = s->sequences * s->seq_len;
    int mark = b->n_memory;
    struct rows t = {.tokens = n,
                     .d = s->d,
                     .heads = s->heads,
                     .head = s->d / s->heads,
                     .row = (double)(n * s->d) * (double)sy_dtype_bytes(b->x.dtype),
                     .a = sy_gpu_stored(b, n, s->d, 1.0),
                     .b = sy_gpu_stored(b, n, s->d, 1.0),
                     .c = sy_gpu_stored(b, n, s->d, 1.0),
                     .g = sy_gpu_floats(b, s->d, 1.0),
                     .r = sy_gpu_floats(b, n, 1.0)};
    norms(b, &t);
    rope(b, &t);
    pointwise(b, &t);
    embedding(b, &t);
    sy_gpu_give(b, mark);
}

/* --- loss ----------------------------------------------------------------------------------------------- */

static void loss(struct sy_gpu_bench *b) {
    int64_t rows = b->sizes->loss_rows, vocab = b->sizes->vocab;
    double logits_bytes = 4.0 * (double)rows * (double)vocab;
    int mark = b->n_memory;
    float *logits = sy_gpu_floats(b, rows * vocab, 1.0), *w = sy_gpu_floats(b, 1, 1.0);
    struct sy_mat out = sy_gpu_stored(b, rows, vocab, 1.0);
    int32_t *labels = sy_gpu_below(b, rows, vocab);
    struct sy_tally *tally = sy_gpu_take(b, sizeof *tally);
    SY_GPU_ROW(b, cross_entropy, sy_cross_entropy, "with gradient", bytes, 1.5 * logits_bytes,
               {.rows = rows,
                .vocab = vocab,
                .logits = logits,
                .labels = labels,
                .w = w,
                .dlogits = out,
                .tally = tally});
    SY_GPU_ROW(b, cross_entropy, sy_cross_entropy, "loss alone", bytes, logits_bytes,
               {.rows = rows, .vocab = vocab, .logits = logits, .labels = labels, .w = w, .tally = tally});
    sy_gpu_give(b, mark);
}

/* --- parameters ----------------------------------------------------------------------------------------- */

struct update {
    int64_t n;
    double bytes; /* of n fp32 */
    float *a, *b, *m, *v;
    void *stored;
    struct sy_tally *tally;
    struct sy_scalars *scalars;
    struct sy_verdict *verdict;
};

static void passes(struct sy_gpu_bench *b, const struct update *u) {
    int64_t n = u->n;
    SY_GPU_ROW(b, add_f32, sy_add_f32, "", bytes, 3 * u->bytes, {&(struct sy_add_item){n, u->a, u->b}, 1});
    SY_GPU_ROW(b, norm, sy_norm, "", bytes, u->bytes, {&(struct sy_norm_item){n, u->a}, 1, u->tally});
    SY_GPU_ROW(b, digest, sy_digest_of, "", bytes, u->bytes,
               {&(struct sy_digest_item){n, 5, 0, u->a}, 1, u->verdict->digest});
    struct sy_adamw_item adamw = {
        .n = n, .id = 5, .g = u->a, .m = u->m, .v = u->v, .w = u->b, .stored = u->stored};
    SY_GPU_ROW(b, adamw, sy_adamw, "", bytes, 7.5 * u->bytes, {&adamw, 1, u->scalars, u->verdict});
    SY_GPU_ROW(b, cast, sy_cast, "", bytes, 1.5 * u->bytes, {&(struct sy_cast_item){n, u->a, u->stored}, 1});
    SY_GPU_ROW(b, init, sy_init_values, "normal, cut at 2 deviations", bytes, u->bytes,
               {&(struct sy_init_item){.n = n, .key = 3, .sd = 0.02, .cut = 2, .out = u->a}, 1});
    SY_GPU_ROW(b, judge, sy_judge, "", bytes, sizeof *u->tally, {u->tally, u->scalars, u->verdict});
}

static void parameters(struct sy_gpu_bench *b) {
    static const struct sy_scalars scalars = {1,    1e-4f, 0.9f,  0.1f, 0.95f, 0.05f,
                                              1.9f, 3.3f,  1e-8f, 0.1f, 1.0};
    static const struct sy_verdict verdict = {.clip = 1.0f, .apply = 1};
    int64_t n = b->sizes->parameters;
    int mark = b->n_memory;
    struct update u = {.n = n,
                       .bytes = 4.0 * (double)n,
                       .a = sy_gpu_floats(b, n, 1.0),
                       .b = sy_gpu_floats(b, n, 1.0),
                       .m = sy_gpu_floats(b, n, 1.0),
                       .v = sy_gpu_take(b, n * 4),
                       .stored = sy_gpu_take(b, n * 4),
                       .tally = sy_gpu_take(b, sizeof *u.tally),
                       .scalars = sy_gpu_upload(b, &scalars, sizeof scalars),
                       .verdict = sy_gpu_upload(b, &verdict, sizeof verdict)};
    passes(b, &u);
    sy_gpu_give(b, mark);
}

static void memory(struct sy_gpu_bench *b) {
    int64_t bytes = b->sizes->copy_bytes;
    int mark = b->n_memory;
    void *from = sy_gpu_take(b, bytes), *to = sy_gpu_take(b, bytes);
    SY_GPU_ROW(b, copy, sy_copy, "", bytes, 2 * bytes, {.rows = 1, .bytes = bytes, .from = from, .to = to});
    SY_GPU_ROW(b, fill, sy_fill, "", bytes, bytes, {.n = bytes / 4, .data = to});
    sy_gpu_give(b, mark);
}

void sy_gpu_bench_rows(struct sy_gpu_bench *b) {
    if (sy_gpu_wants(b, "copy fill"))
        memory(b);
    if (sy_gpu_wants(b, "rmsnorm_fwd rmsnorm_bwd row_sum rope head_sum join sigmoid_gate sigmoid_gate_bwd "
                        "embed_fwd scatter_add fold_rows"))
        tokens(b);
    if (sy_gpu_wants(b, "cross_entropy"))
        loss(b);
    if (sy_gpu_wants(b, "add_f32 norm digest adamw cast init judge"))
        parameters(b);
}
