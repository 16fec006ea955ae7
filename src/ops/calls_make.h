/* What generators of calls (calls.h) make operands with. A generator runs twice, as arenas are carved: first
 * nothing has memory, then it has. Shapes come from one stream of random numbers, values from another that
 * is not read the first time.
 */
#ifndef SY_OPS_CALLS_MAKE_H
#define SY_OPS_CALLS_MAKE_H

#include "base/arena.h"
#include "ops/calls.h"

enum { SY_CALL_REGIONS = 32, SY_CALL_ITEMS = 4, SY_CALL_BINS = 32 };
enum { SY_CALL_MOST = 4096, SY_CALL_HEAD = 192, SY_CALL_SEQ = 512 }; /* widest row, head, longest sequence */

enum sy_words {
    SY_WORDS_BYTES,
    SY_WORDS_F32,
    SY_WORDS_BF16,
    SY_WORDS_PRIVATE
}; /* PRIVATE: a tier's own order */

enum sy_holds {
    SY_HOLDS_ANY,     /* of the call's kind of values */
    SY_HOLDS_SUMS,    /* the same, but no -0: what ops have summed */
    SY_HOLDS_SQUARES, /* the same, no sign */
    SY_HOLDS_SHARES,  /* between 0 and 1 */
    SY_HOLDS_LOGITS   /* ordinary, many equal, or NaN: never infinite */
};

struct sy_call {
    int op;
    union {
#define X(name, type) struct type name;
        SY_OPS_LIST(X)
#undef X
    } arg;
    union { /* lists that an op reads on the host */
        struct sy_dw dw[SY_CALL_ITEMS];
        struct sy_row_sum_item row_sum[SY_CALL_ITEMS];
        struct sy_add_item add[SY_CALL_ITEMS];
        struct sy_norm_item norm[SY_CALL_ITEMS];
        struct sy_adamw_item adamw[SY_CALL_ITEMS];
        struct sy_digest_item digest[SY_CALL_ITEMS];
        struct sy_cast_item cast[SY_CALL_ITEMS];
        struct sy_init_item init[SY_CALL_ITEMS];
        struct {
            const int64_t *counts[SY_CALL_ITEMS];
            float *bias[SY_CALL_ITEMS];
        } layers;
        struct sy_window window[SY_CALL_ITEMS];
        void *to[SY_CALL_ITEMS];
        struct {
            int32_t source[SY_CALL_BINS], sequence[SY_CALL_BINS];
        } arrived;
    } list;
    struct sy_linear after; /* of pack: the product that reads what it packed */
    int has_after, n_operands, n_regions;
    struct {
        struct sy_operand *view;
        int64_t groups, k, n;
    } operand[SY_CALL_ITEMS];
    struct sy_call_region {
        const char *name;
        enum sy_words words;
        size_t at;
        int64_t n;
    } region[SY_CALL_REGIONS];
    struct sy_arena arena;
    char *image, *result;
};

struct sy_make {
    const struct sy_exec *x;
    struct sy_call *c;
    struct sy_arena *arena;
    enum sy_call_size size;
    int filling, kind;
    int whole; /* sides and gaps are multiples of 8, as kernels that copy 16 bytes at a time like them */
    uint64_t shape, value;
};

/* A shape's random number below n; one of the sides that no tile divides, or `typical`; an even chance, of
 * TYPICAL the first. */
int64_t sy_make_below(struct sy_make *m, int64_t n);
int64_t sy_make_side(struct sy_make *m, int64_t typical);
static inline int sy_make_coin(struct sy_make *m) { return m->size == SY_CALL_EDGE && sy_make_below(m, 2); }
static inline int64_t sy_make_gap(struct sy_make *m) {
    return m->size == SY_CALL_EDGE ? sy_make_below(m, 3) * (m->whole ? 8 : 1) : 0;
}

/* n words in the exec's memory; where the host fills them (NULL the first time). */
void *sy_make_take(struct sy_make *m, const char *name, enum sy_words words, int64_t n, size_t size);
void *sy_make_host(const struct sy_make *m, const void *p);
int64_t sy_make_value_below(struct sy_make *m, int64_t n);
float sy_make_value(struct sy_make *m, enum sy_holds holds);

float *sy_make_f32(struct sy_make *m, const char *name, int64_t n, enum sy_holds holds);
int32_t *sy_make_i32(struct sy_make *m, const char *name, int64_t n, int64_t below); /* 0 .. below - 1 */
int64_t *sy_make_i64(struct sy_make *m, const char *name, int64_t n, int64_t value);
int32_t *sy_make_ids(struct sy_make *m, int64_t tokens, int64_t experts, int64_t top_k); /* ascending */

/* [rows, cols], gaps behind rows; [tokens, heads, d], gaps behind heads and tokens. */
struct sy_mat sy_make_mat(struct sy_make *m, const char *name, enum sy_dtype t, int64_t rows, int64_t cols,
                          enum sy_holds holds);
struct sy_heads sy_make_heads(struct sy_make *m, const char *name, int64_t tokens, int64_t heads, int64_t d);
/* The same with strides that are multiples of 8, for a d that is one: what TMA can address. */
struct sy_heads sy_make_heads_by_8(struct sy_make *m, const char *name, int64_t tokens, int64_t heads,
                                   int64_t d);
struct sy_mat sy_make_any_mat(struct sy_make *m, const char *name, int64_t rows,
                              int64_t cols); /* stored, or fp32 */

struct sy_make_rows { /* rows of groups, and what the host that made them up knows of them */
    struct sy_rows rows;
    int64_t bins, start[SY_CALL_BINS + 1], count[SY_CALL_BINS];
};
/* Dense, or grouped with up to `most` rows a segment; `grouped`: always. Rows of padding of a matrix become
 * +0. */
struct sy_make_rows sy_make_some_rows(struct sy_make *m, int64_t most, int grouped);
void sy_make_padding(struct sy_make *m, const struct sy_make_rows *r, struct sy_mat a, int64_t cols);

/* The right-hand sides [k, n] of a product, packed by the exec's tier half the time (TYPICAL: always) if it
 * packs. */
void sy_make_operand(struct sy_make *m, int64_t groups, int64_t k, int64_t n, struct sy_operand *view);

#define X(name, type) void sy_make_##name(struct sy_make *m, struct type *op);
SY_OPS_LIST(X)
#undef X

#endif
