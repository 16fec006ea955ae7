// The products of a layer as calls of gemm_sm90.cuh: shapes, tensor maps, launches.
#ifndef SY_BENCH_GPU_GEMM_PROBLEMS_CUH
#define SY_BENCH_GPU_GEMM_PROBLEMS_CUH

#include "gemm_sm90.cuh"
#include "harness.cuh"

using namespace gemm_sm90;

struct problem { // rows: of all groups, padded; m, n: TN's outputs; NT and NN: n outputs, k inputs
    std::vector<int> offsets;
    int m, n, k;
    int groups() const { return (int)offsets.size() - 1; }
    int rows() const { return offsets.back(); }
};

static int sms;

static args args_of(const problem &q, int epi, const int *offsets, float *c) {
    args p = {};
    p.groups = q.groups();
    p.offsets = offsets;
    p.m_tiles = (q.m + BM - 1) / BM;
    p.n_tiles = epi == SWIGLU ? (q.n + BN / 2 - 1) / (BN / 2) : (q.n + BN - 1) / BN;
    p.k_blocks = (q.k + BK - 1) / BK;
    p.m = q.m;
    p.n = q.n;
    p.c = c;
    if (p.groups > MAX_GROUPS) {
        fprintf(stderr, "%d groups: at most %d\n", p.groups, MAX_GROUPS);
        exit(1);
    }
    return p;
}

// x [rows, k] and w [E, n, k] (NT), w [E, k, n] (NN): y [rows, n].
template <int LAYOUT> struct linear {
    problem q;
    maps m;
    args p;
    linear(const problem &problem_, const bf16 *x, const bf16 *w, bf16 *y, const int *offsets)
        : q(problem_) {
        int e = q.groups();
        m.a = operand(x, 0, q.k, q.rows(), q.k, 1, (long)q.k * q.rows());
        m.b[0] = m.b[1] = LAYOUT == NT ? operand(w, 0, q.k, q.n, q.k, e, (long)q.n * q.k)
                                       : operand(w, 1, q.n, q.k, q.n, e, (long)q.n * q.k);
        m.c[0] = m.c[1] = m.c[2] = result(y, q.n, q.rows(), q.n);
        p = args_of(q, STORE, offsets, NULL);
    }
    void run() { launch<LAYOUT, STORE>(m, p, sms, 0); }
};

// x [rows, k], w1 and w3 [E, f, k]: gu [rows, 2 f], h [rows, f].
struct gated {
    maps m;
    args p;
    gated(const problem &q, const bf16 *x, const bf16 *w1, const bf16 *w3, bf16 *gu, bf16 *h,
          const int *offsets) {
        int e = q.groups();
        m.a = operand(x, 0, q.k, q.rows(), q.k, 1, (long)q.k * q.rows());
        m.b[0] = operand(w1, 0, q.k, q.n, q.k, e, (long)q.n * q.k);
        m.b[1] = operand(w3, 0, q.k, q.n, q.k, e, (long)q.n * q.k);
        m.c[0] = result(gu, q.n, q.rows(), 2 * q.n);
        m.c[1] = result(gu + q.n, q.n, q.rows(), 2 * q.n);
        m.c[2] = result(h, q.n, q.rows(), q.n);
        p = args_of(q, SWIGLU, offsets, NULL);
    }
    void run() { launch<NT, SWIGLU>(m, p, sms, 0); }
};

// dy [rows, m], x [rows, n]: dw [E, m, n] fp32.
struct weight_gradient {
    maps m;
    args p;
    weight_gradient(const problem &q, const bf16 *dy, const bf16 *x, float *dw, const int *offsets) {
        m.a = operand(dy, 1, q.m, q.rows(), q.m, 1, (long)q.m * q.rows());
        m.b[0] = m.b[1] = operand(x, 1, q.n, q.rows(), q.n, 1, (long)q.n * q.rows());
        m.c[0] = m.c[1] = m.c[2] = m.a;
        p = args_of(q, LEAF, offsets, dw);
    }
    void run(int fold) {
        if (fold)
            launch<TN, FOLD>(m, p, sms, 0);
        else
            launch<TN, LEAF>(m, p, sms, 0);
    }
};

#endif
