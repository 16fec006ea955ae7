/* Rotary position embedding, in place: y0 = BF(fma(-x1, s, x0 c)), y1 = BF(fma(x1, c, x0 s)); backward -s for
 * s. A thread turns 4 pairs of a (token, head): 16 bytes, with `halves` 8 and 8. */
#include "ops/cuda/values.cuh"

enum { PAIRS = 4 };

static SY_DEV void rotate(float c, float s, float x0, float x1, float *y0, float *y1) {
    *y0 = fmaf(-x1, s, x0 * c);
    *y1 = fmaf(x1, c, x0 * s);
}

/* Pair i of a row, alone. */
static SY_DEV void rotate_one(const struct sy_rope &op, void *row, int64_t i, float c, float s) {
    int64_t a = op.halves ? i : 2 * i, b = op.halves ? i + op.d / 2 : 2 * i + 1;
    float y0, y1;
    rotate(c, s, sy_load1(row, op.x.dtype, a), sy_load1(row, op.x.dtype, b), &y0, &y1);
    sy_store1(row, op.x.dtype, a, y0);
    sy_store1(row, op.x.dtype, b, y1);
}

/* Pairs i .. i + 3 of a row of bf16. */
static SY_DEV void rotate_four(uint16_t *row, int halves, int64_t half, int64_t i, const float c[PAIRS],
                               const float s[PAIRS]) {
    float x0[PAIRS], x1[PAIRS];
    uint2 *low = (uint2 *)(halves ? row + i : row + 2 * i),
          *high = halves ? (uint2 *)(row + half + i) : low + 1;
    const uint32_t w[4] = {low->x, low->y, high->x, high->y};
#pragma unroll
    for (int j = 0; j < PAIRS; j++) {
        x0[j] = sy_widen((halves ? w[j / 2] >> j % 2 * 16 : w[j]) & 0xffffu);
        x1[j] = sy_widen(halves ? w[2 + j / 2] >> j % 2 * 16 & 0xffffu : w[j] >> 16);
        rotate(c[j], s[j], x0[j], x1[j], &x0[j], &x1[j]);
    }
    if (halves) {
        *low = make_uint2(sy_narrow2(x0[0], x0[1]), sy_narrow2(x0[2], x0[3]));
        *high = make_uint2(sy_narrow2(x1[0], x1[1]), sy_narrow2(x1[2], x1[3]));
    } else {
        *low = make_uint2(sy_narrow2(x0[0], x1[0]), sy_narrow2(x0[1], x1[1]));
        *high = make_uint2(sy_narrow2(x0[2], x1[2]), sy_narrow2(x0[3], x1[3]));
    }
}

SY_KERNEL(SY_THREADS) rope_rows(struct sy_rope op, int whole) {
    int64_t row = sy_my_row(), half = op.d / 2;
    if (row >= op.tokens * op.heads)
        return;
    int64_t t = (uint32_t)row / (uint32_t)op.heads, h = row - t * op.heads;
    const float *cos = op.cos + op.position[t] * half, *sin = op.sin + op.position[t] * half;
    void *x = sy_head_row_out(op.x, t, h);
    float sign = op.backward ? -1.0f : 1.0f;
    for (int64_t i = PAIRS * threadIdx.x; i < half; i += PAIRS * blockDim.x) {
        if (!whole) {
            for (int64_t j = i; j < half && j < i + PAIRS; j++)
                rotate_one(op, x, j, cos[j], sign * sin[j]);
            continue;
        }
        float4 c = *(const float4 *)(cos + i), s = *(const float4 *)(sin + i);
        const float cs[PAIRS] = {c.x, c.y, c.z, c.w},
                    ss[PAIRS] = {sign * s.x, sign * s.y, sign * s.z, sign * s.w};
        rotate_four((uint16_t *)x, op.halves, half, i, cs, ss);
    }
}

extern "C" void sy_cuda_rope(const struct sy_exec *x, const struct sy_rope *op) {
    int64_t rows = op->tokens * op->heads, half = op->d / 2;
    int whole = op->x.dtype == SY_BF16 && half % PAIRS == 0 && sy_aligned(op->x) && sy_aligned(op->cos) &&
                sy_aligned(op->sin);
    struct sy_row_grid g = sy_rows_by_units(rows, (half + PAIRS - 1) / PAIRS);
    if (rows > 0 && half > 0)
        SY_LAUNCH(x, rope_rows, g.grid, g.threads, 0, *op, whole);
}
