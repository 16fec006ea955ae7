/* amx_chain [--self] [MILLIONS]: in which order TDPBF16PS sums, found by comparison: numeric class `amx`
 * is its answer. A processor with AMX is needed.
 *
 * An output is c and the products of 1 to 16 pairs of bf16 values. For each order of amx_orders.h, fused or
 * not, subnormal inputs read as zero or not, subnormal results flushed or not, rounded to nearest or toward
 * zero, the outputs that differ from the instruction's are counted over 30 million in twelve regimes. A
 * hypothesis that is right has 0.
 *
 * Beside it: the tree of the sums. With one product 2^100, another -2^100 and ones, what is left says how
 * many ones were added after these two met; over all two of 32 products and c that is the whole tree.
 * Whether MXCSR changes anything. And the register-only peak of one core: what the class is for.
 *
 * --self has VDPBF16PS instead, whose order is known: one chain from c, the odd of a pair first, fused,
 * flushed. Exit: 0 one hypothesis at least has no difference (--self: just that one), 1 none has, 2 there is
 * no AMX here.
 */
#include <errno.h>
#include <cpuid.h>
#include <immintrin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "amx_orders.h"
#include "base/rng.h"

/* --- instructions --------------------------------------------------------------------------------------- */

struct tile_config {
    uint8_t palette, start_row, unused[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* NULL, or why not. */
static const char *no_amx(void) {
    unsigned a, b, c, d;
    enum { BF16 = 1 << 22, TILE = 1 << 24, REQUEST = 0x1023, TILE_DATA = 18 };
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & BF16) || !(d & TILE))
        return "this processor has no AMX-BF16";
    if (!__builtin_cpu_supports("avx512dq"))
        return "this processor has no AVX512DQ, which the orders are computed with";
    return syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0 ? NULL : strerror(errno);
}

/* Likewise. */
static const char *no_dot(void) {
    return __builtin_cpu_supports("avx512bf16") ? NULL : "this processor has no AVX512_BF16";
}

static void configure(int pairs) {
    struct tile_config t = {.palette = 1};
    for (int i = 0; i < 8; i++) { /* 0 .. 3 sums, 4 and 5 the left side, 6 and 7 the right one */
        t.row_bytes[i] = (uint16_t)(i == 4 || i == 5 ? 4 * pairs : 64);
        t.rows[i] = (uint8_t)(i < 6 ? ROWS : pairs);
    }
    _tile_loadconfig(&t);
}

static void by_amx(const struct operands *o, outputs r) {
    static int configured;
    if (configured != o->pairs)
        configure(configured = o->pairs);
    _tile_loadd(0, o->c, 64);
    _tile_loadd(4, o->a, 64);
    _tile_loadd(6, o->b, 64);
    _tile_dpbf16ps(0, 4, 6);
    _tile_stored(0, r, 64);
}

static void by_dot(const struct operands *o, outputs r) {
    for (int m = 0; m < ROWS; m++) {
        __m512 c = _mm512_loadu_ps(o->c[m]);
        for (int p = 0; p < o->pairs; p++)
            c = _mm512_dpbf16_ps(c, (__m512bh)_mm512_set1_epi32((int)o->a[m][p]),
                                 (__m512bh)_mm512_loadu_si512(o->b[p]));
        _mm512_storeu_ps(r[m], c);
    }
}

/* --- operands ------------------------------------------------------------------------------------------- */

static uint64_t n_drawn;
static uint32_t draw(uint32_t below) {
    return (uint32_t)((sy_mix64(0x9e3779b97f4a7c15u * ++n_drawn) >> 32) * below >> 32);
}

/* Exponents lo .. lo + n - 1, and the leading bits of the mantissa that are drawn. */
struct range {
    uint32_t lo, n, bits;
};
static uint32_t number(struct range r) {
    uint32_t mantissa = draw(1u << 23) & ~((1u << (23 - r.bits)) - 1);
    return draw(2) << 31 | (r.lo + draw(r.n)) << 23 | mantissa;
}

static const struct regime {
    const char *name;
    struct range ab, c, rare;
    uint32_t every; /* one number in so many is a rare one; 0: none */
} regimes[] = {
    {"ordinary", {120, 15, 7}, {120, 15, 23}, {0}, 0},
    {"wide", {90, 75, 7}, {90, 75, 23}, {0}, 0},
    {"any bits", {0, 256, 7}, {0, 256, 23}, {0}, 0},
    {"subnormal operands", {100, 155, 7}, {0, 3, 23}, {0, 1, 7}, 3},
    {"subnormal products", {56, 16, 7}, {0, 4, 23}, {0}, 0},
    {"small products that c lifts", {54, 12, 7}, {1, 12, 23}, {0}, 0},
    {"ties", {124, 8, 1}, {144, 6, 23}, {0}, 0},
    {"c far above", {118, 6, 7}, {135, 20, 23}, {0}, 0},
    {"c far below", {126, 6, 7}, {90, 20, 23}, {0}, 0},
    {"overflow", {186, 8, 7}, {250, 5, 23}, {0}, 0},
    {"zeros of both signs", {60, 80, 7}, {0, 1, 0}, {0, 1, 0}, 2},
    {"Inf and NaN", {110, 30, 7}, {110, 30, 23}, {255, 1, 1}, 24},
};
enum { N_REGIMES = sizeof regimes / sizeof *regimes };

static uint32_t drawn(const struct regime *r, struct range usual) {
    return number(r->every && draw(r->every) == 0 ? r->rare : usual);
}

/* In every second set the products of a pair nearly cancel each other, in every third c and the last one. */
static void draw_operands(int regime, int set, struct operands *o) {
    static const int pairs[] = {16, 1, 2, 3, 8, 16, 5};
    const struct regime *r = &regimes[regime];
    o->pairs = pairs[set % 7];
    for (int i = 0; i < ROWS; i++)
        for (int p = 0; p < PAIRS; p++) {
            uint32_t a = drawn(r, r->ab), b = drawn(r, r->ab), near = draw(4) << 16 ^ 1u << 31;
            o->a[i][p] = a >> 16 | ((set & 1 ? a : drawn(r, r->ab)) & 0xffff0000u);
            o->b[p][i] = b >> 16 | ((set & 1 ? b ^ near : drawn(r, r->ab)) & 0xffff0000u);
        }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLS; j++) {
            float a = sy_f32_from_bits(o->a[i][o->pairs - 1] << 16),
                  b = sy_f32_from_bits(o->b[o->pairs - 1][j] << 16);
            o->c[i][j] = set % 3 == 2 ? -a * b : sy_f32_from_bits(drawn(r, r->c));
        }
}

/* --- comparison ----------------------------------------------------------------------------------------- */

static long differences[HYPOTHESES][N_REGIMES], by_mode;

static long differ(outputs x, outputs y) {
    long n = 0;
    for (int i = 0; i < OUTPUTS; i++) {
        float a = ((float *)x)[i], b = ((float *)y)[i];
        n += sy_f32_bits(a) != sy_f32_bits(b) && !(a != a && b != b);
    }
    return n;
}

static void compare(computed *instruction, long sets) {
    static struct operands o;
    static outputs seen, again, ours;
    for (long set = 0; set < sets; set++) {
        int regime = (int)(set % N_REGIMES);
        draw_operands(regime, (int)(set / N_REGIMES), &o);
        instruction(&o, seen);
        unsigned csr = _mm_getcsr();
        _mm_setcsr((csr & ~0xe040u) | (set & 1 ? 0x4000u : 0xe040u)); /* upwards; flushing, toward zero */
        instruction(&o, again);
        _mm_setcsr(csr);
        by_mode += differ(seen, again);
        for (int h = 0; h < HYPOTHESES; h++) {
            compute(h, &o, ours);
            differences[h][regime] += differ(seen, ours);
        }
    }
}

static long all_of(int h) {
    long n = 0;
    for (int r = 0; r < N_REGIMES; r++)
        n += differences[h][r];
    return n;
}

static int by_differences(const void *a, const void *b) {
    long x = all_of(*(const int *)a), y = all_of(*(const int *)b);
    return (x > y) - (x < y);
}

/* Of the best hypothesis, by regime, and operands of a few outputs that differ. */
static void print_examples(computed *instruction, int h, long sets) {
    static struct operands o;
    static outputs seen, ours;
    int shown = 0;
    for (int r = 0; r < N_REGIMES; r++)
        printf("    %-28s %ld\n", regimes[r].name, differences[h][r]);
    n_drawn = 0;
    for (long set = 0; set < sets && shown < 12; set++) {
        draw_operands((int)(set % N_REGIMES), (int)(set / N_REGIMES), &o);
        instruction(&o, seen);
        compute(h, &o, ours);
        for (int i = 0, here = 0; i < OUTPUTS && here < 2 && shown < 12; i++) {
            uint32_t x = sy_f32_bits(((float *)seen)[i]), y = sy_f32_bits(((float *)ours)[i]);
            if (x == y || o.pairs > 3 || (x << 1 > 0xff000000u && y << 1 > 0xff000000u))
                continue;
            printf("    %s: c %08x", regimes[set % N_REGIMES].name, sy_f32_bits(((float *)o.c)[i]));
            for (int p = 0; p < o.pairs; p++)
                printf(", a %08x b %08x", o.a[i / COLS][p], o.b[p][i % COLS]);
            printf(": instruction %08x, ours %08x\n", x, y);
            here++;
            shown++;
        }
    }
}

/* --- the tree of sums ----------------------------------------------------------------------------------- */

enum { TERMS = 2 * PAIRS + 1 };

static void put(struct operands *o, int term, float a, float b) {
    if (term == 2 * PAIRS) {
        o->c[0][0] = a * b;
        return;
    }
    uint32_t high = term % 2 ? 16 : 0, keep = term % 2 ? 0xffffu : 0xffff0000u;
    o->a[0][term / 2] = (o->a[0][term / 2] & keep) | sy_f32_bits(a) >> 16 << high;
    o->b[term / 2][0] = (o->b[term / 2][0] & keep) | sy_f32_bits(b) >> 16 << high;
}

/* Ones that were added after terms i and j met. */
static void find_tree(computed *by, int tree[TERMS][TERMS]) {
    static struct operands o;
    static outputs r;
    for (int i = 0; i < TERMS; i++)
        for (int j = i + 1; j < TERMS; j++) {
            memset(&o, 0, sizeof o);
            o.pairs = PAIRS;
            for (int t = 0; t < TERMS; t++)
                put(&o, t, 1.0f, 1.0f);
            put(&o, i, 0x1p50f, 0x1p50f);
            put(&o, j, -0x1p50f, 0x1p50f);
            by(&o, r);
            tree[i][j] = (int)r[0][0];
        }
}

static void print_tree(computed *instruction) {
    static int seen[TERMS][TERMS], ours[TERMS][TERMS];
    find_tree(instruction, seen);
    printf("\nones left of 31; row i: product i is 2^100, column j: product j (the last: c) is -2^100\n");
    for (int i = 0; i < TERMS - 1; i++) {
        printf("  %2d  %*s", i, 3 * i, "");
        for (int j = i + 1; j < TERMS; j++)
            printf("%3d", seen[i][j]);
        printf("\n");
    }
    for (int k = 0; k < N_ORDERS; k++) {
        find_tree(orders[k].by[1], ours);
        if (memcmp(seen, ours, sizeof seen) == 0)
            printf("  the tree of: %s\n", orders[k].name);
    }
}

/* --- peak ----------------------------------------------------------------------------------------------- */

static double amx_gflops(void) {
    enum { TIMES = 1 << 20 };
    double best = 0;
    static struct operands o;
    draw_operands(0, 0, &o);
    configure(PAIRS);
    _tile_loadd(4, o.a, 64);
    _tile_loadd(5, o.a, 64);
    _tile_loadd(6, o.b, 64);
    _tile_loadd(7, o.b, 64);
    for (int round = 0; round < 5; round++) {
        struct timespec t0, t1;
        clock_gettime(CLOCK_MONOTONIC, &t0);
        for (int i = 0; i < TIMES; i++) {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
        clock_gettime(CLOCK_MONOTONIC, &t1);
        double ns = 1e9 * (double)(t1.tv_sec - t0.tv_sec) + (double)(t1.tv_nsec - t0.tv_nsec);
        double gflops = 4.0 * TIMES * 2 * OUTPUTS * 2 * PAIRS / ns;
        best = gflops > best ? gflops : best;
    }
    return best;
}

int main(int argc, char **argv) {
    int self = argc > 1 && strcmp(argv[1], "--self") == 0, order[HYPOTHESES], right = 0;
    double millions = argc > 1 + self ? atof(argv[1 + self]) : 30;
    computed *instruction = self ? by_dot : by_amx;
    const char *why = self ? no_dot() : no_amx();
    if (why) {
        printf("amx_chain: %s\n", why);
        return 2;
    }
    long sets = (long)(millions * 1e6 / OUTPUTS) + 1;
    compare(instruction, sets);
    for (int h = 0; h < HYPOTHESES; h++)
        order[h] = h;
    qsort(order, HYPOTHESES, sizeof *order, by_differences);
    printf("%s: %ld outputs, %ld differ under another MXCSR; the nearest of %d hypotheses:\n",
           self ? "VDPBF16PS" : "TDPBF16PS", sets * OUTPUTS, by_mode, HYPOTHESES);
    for (int i = 0; i < 24; i++) {
        printf("%12ld  ", all_of(order[i]));
        print_name(order[i]);
        printf("\n");
    }
    for (int h = 0; h < HYPOTHESES; h++)
        right += all_of(h) == 0;
    printf("%d without a difference; of the nearest, by regime:\n", right);
    print_examples(instruction, order[0], sets);
    print_tree(instruction);
    if (!self)
        printf("\nregister-only peak of one core: TDPBF16PS %.0f GFLOP/s\n", amx_gflops());
    return self ? right != 1 : right == 0;
}
