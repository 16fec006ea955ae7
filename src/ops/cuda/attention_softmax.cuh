// The softmax of attention forward (NUMERICS 3): scores of a block of 128 keys become p, in the registers
// that mma.sync or wgmma left them in.
//
// A thread holds, of rows r and r + 8, the columns 8 i + 2 q and 8 i + 2 q + 1 (q its place in the quad):
// V64 over 128 columns is then register adds over i (64, 32, 16, 8), two shuffles (4, 2) and the last
// pair.
//
// Integer maxima of three tell the largest and the least score with one instruction a score: the largest
// signed word is the largest score unless all are negative (or it is no number); the largest unsigned
// word is the least, or none is negative. EXP2's clamps are left out where the least score shows that
// they change nothing.
#ifndef SY_OPS_CUDA_ATTENTION_SOFTMAX_CUH
#define SY_OPS_CUDA_ATTENTION_SOFTMAX_CUH

#include "ops/cuda/ptx.cuh"

namespace attention {

struct rows { // the two rows of a thread, r and r + 8
    float m[2], z[2], factor[2];
    float part[2][2]; // V64 of the last block before its shuffles
    int row, lo[2];   // the first of the two; from which key on each may see
    int moved;        // of the warp: some M moved in this block
};

SY_DEV void begin_rows(rows &w, int row) { // all but lo
    w.row = row;
    for (int r = 0; r < 2; r++) {
        w.m[r] = -INFINITY;
        w.z[r] = 0.0f;
    }
}

SY_DEV void mask(float (&s)[64], const rows &w, int j0) {
    int column = j0 + threadIdx.x % 4 * 2;
#pragma unroll
    for (int i = 0; i < 64; i++) {
        int key = column + i / 4 * 8 + i % 2, r = i / 2 % 2;
        if (key > w.row + 8 * r || key < w.lo[r])
            s[i] = -INFINITY;
    }
}

SY_DEV float quad_max(float x) {
    x = ptx::max_nan(x, __shfl_xor_sync(~0u, x, 1));
    return ptx::max_nan(x, __shfl_xor_sync(~0u, x, 2));
}

// Maxima of both rows where the integers do not tell them; NaN and +Inf make Z of a row NaN.
SY_DEV void exact_max(const float (&s)[64], rows &w, float (&mx)[2]) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
        mx[r] = s[2 * r];
#pragma unroll
        for (int i = 1; i < 32; i++)
            mx[r] = ptx::max_nan(mx[r], s[i / 2 * 4 + 2 * r + i % 2]);
        mx[r] = quad_max(mx[r]);
        if (!(mx[r] < INFINITY))
            w.z[r] = NAN; // and stays
    }
}

// M' of both rows and what Z and O are multiplied by. Returns the clamps that EXP2 needs: 1 from below, 2
// from above, too (|M'| so large that fp32 rounds c s - M' away).
SY_DEV int move_max(const float (&s)[64], rows &w, float c) {
    int high[2];
    unsigned low[2];
#pragma unroll
    for (int r = 0; r < 2; r++) {
        int h[2] = {__float_as_int(s[2 * r]), __float_as_int(s[2 * r + 1])};
        unsigned l[2] = {__float_as_uint(s[2 * r]), __float_as_uint(s[2 * r + 1])};
#pragma unroll
        for (int i = 1; i < 16; i++) {
            int a = __float_as_int(s[4 * i + 2 * r]), b = __float_as_int(s[4 * i + 2 * r + 1]);
            h[i % 2] = __vimax3_s32(h[i % 2], a, b);
            l[i % 2] = __vimax3_u32(l[i % 2], a, b);
        }
        high[r] = max(h[0], h[1]);
        low[r] = max(l[0], l[1]);
    }
#pragma unroll
    for (int h = 1; h <= 2; h++)
#pragma unroll
        for (int r = 0; r < 2; r++)
            high[r] = max(high[r], __shfl_xor_sync(~0u, high[r], h));
    float mx[2] = {__int_as_float(high[0]), __int_as_float(high[1])}, m[2];
    unsigned top = max((unsigned)high[0], (unsigned)high[1]); // negative, Inf or NaN: 0x7f800000 or more
    if (__any_sync(~0u, top >= 0x7f800000u))
        exact_max(s, w, mx);
#pragma unroll
    for (int r = 0; r < 2; r++)
        m[r] = ptx::max_number(w.m[r], rintf(__fmul_rn(c, mx[r])));
    w.moved = __any_sync(~0u, m[0] != w.m[0] || m[1] != w.m[1]);
    if (w.moved) {
#pragma unroll
        for (int r = 0; r < 2; r++) {
            w.factor[r] = ptx::exp2_whole(__fsub_rn(w.m[r], m[r]));
            w.z[r] = __fmul_rn(w.z[r], w.factor[r]);
            w.m[r] = m[r];
        }
    }
    int close = 1, wide = 0;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float least = (int)low[r] < 0 ? __uint_as_float(low[r]) : 0.0f;
        close &= __fmaf_rn(least, c, -w.m[r]) >= -127.0f; // not so for NaN
        wide |= !(fabsf(w.m[r]) < 0x1p30f);
    }
    if (__all_sync(~0u, close && !wide))
        return 0;
    return __any_sync(~0u, wide) ? 2 : 1;
}

// Row r's 128 values by V64, depth first, down to a pair of columns in each thread.
SY_DEV void begin_sum(const float (&s)[64], rows &w, int r) {
#pragma unroll
    for (int b = 0; b < 2; b++) {
        float part[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float *p = s + 2 * r + b + 4 * i; // groups i, i + 2, ...: 8 columns each
            float a0 = __fadd_rn(p[0], p[32]), a4 = __fadd_rn(p[16], p[48]);
            float a2 = __fadd_rn(p[8], p[40]), a6 = __fadd_rn(p[24], p[56]);
            part[i] = __fadd_rn(__fadd_rn(a0, a4), __fadd_rn(a2, a6));
        }
        w.part[r][b] = __fadd_rn(part[0], part[1]);
    }
}
// The shuffles, while products run.
SY_DEV void end_sum(rows &w) {
#pragma unroll
    for (int h = 2; h >= 1; h--)
#pragma unroll
        for (int i = 0; i < 4; i++)
            w.part[i / 2][i % 2] =
                __fadd_rn(w.part[i / 2][i % 2], __shfl_xor_sync(~0u, w.part[i / 2][i % 2], h));
#pragma unroll
    for (int r = 0; r < 2; r++)
        w.z[r] = __fadd_rn(w.z[r], __fadd_rn(w.part[r][0], w.part[r][1]));
}

SY_DEV void exponentials(float (&s)[64], rows &w, float c, int clamps) {
#pragma unroll
    for (int i = 0; i < 64; i++)
        s[i] = __fmaf_rn(s[i], c, -w.m[i / 2 % 2]);
    if (clamps) {
#pragma unroll
        for (int i = 0; i < 64; i++)
            s[i] = ptx::max_number(s[i], -127.0f);
        if (clamps > 1) {
#pragma unroll
            for (int i = 0; i < 64; i++)
                s[i] = ptx::min_number(s[i], 127.0f);
        }
    }
#pragma unroll
    for (int i = 0; i < 64; i++)
        s[i] = sy_exp2_core_f32(s[i]);
    begin_sum(s, w, 0);
    begin_sum(s, w, 1);
}

// Scores of a block become p.
SY_DEV void softmax(float (&s)[64], rows &w, float c, int j0, int masked) {
    if (masked)
        mask(s, w, j0);
    int clamps = move_max(s, w, c);
    exponentials(s, w, c, clamps);
}

} // namespace attention

#endif
