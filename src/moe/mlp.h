/* One SwiGLU network on all tokens, y = W2 (silu(W1 n) * (W3 n)): a dense layer's feed-forward, and the shared experts.
 *
 * Saved for backward: n and the pre-activation. The weight gradients are products of what backward leaves:
 * dW13 of (dgu, n), dW2 of (dy, h).
 */
#ifndef SY_MOE_MLP_H
#define SY_MOE_MLP_H

#include "device/carve.h"
#include "ops/ops.h"

struct sy_mlp_weights {
    struct sy_mat w13, w2; /* [2f, d], [d, f] stored */
    int64_t d, f;
};

struct sy_mlp_act {
    struct sy_mat gu; /* [T, 2f] pre-activation g | u */
};

struct sy_mlp_grad {
    struct sy_mat a;   /* [T, f] fp32: gradient of h */
    struct sy_mat dgu; /* [T, 2f] */
    struct sy_mat h;   /* [T, f]: h again, the rows of W2's gradient; also forward's h */
};

void sy_mlp_take(struct sy_arena *a, const char *tag, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_act *act);
void sy_mlp_take_grad(struct sy_arena *a, enum sy_dtype t, int64_t tokens, int64_t f, struct sy_mlp_grad *grad);

/* y.data NULL: the pre-activation alone, which is all that backward needs. Of grad, h is used as scratch. */
void sy_mlp_fwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat n,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *grad, struct sy_mat y);
void sy_mlp_bwd(const struct sy_exec *x, int64_t tokens, const struct sy_mlp_weights *w, struct sy_mat dy,
                const struct sy_mlp_act *act, const struct sy_mlp_grad *grad, struct sy_mat dn);

/* The input gradient's chain: over W1's outputs, then W3's. dgu [rows, 2f], w13 [2f, d]. */
static inline void sy_swiglu_input_parts(struct sy_mat dgu, struct sy_mat w13, int64_t f, struct sy_gemm_part parts[2]) {
    parts[0] = (struct sy_gemm_part){dgu, w13, f};
    parts[1] = (struct sy_gemm_part){sy_mat_cols(dgu, f), sy_mat_rows(w13, f), f};
}

#endif
