// attention_sm90.cuh: bits against class sm90 on the CPU, and times.
//
//   attention_sm90 check   small shapes, documents, scores of every kind, some heads of a long sequence:
//                          == to the CPU
//   attention_sm90 time    the shapes of README.md
#include "attention_sm90.cuh"
#include "class_sm90.h"
#include "harness.cuh"

#include <math.h>

using namespace attention_sm90;

static int sms;

// What the scores are like. JUMPS: over 127 from block to block; HUGE_FINITE: EXP2 needs its upper clamp;
// OVERFLOW: c s is no fp32 number; INFINITE: scores of -Inf, +Inf and NaN, rows with none that is finite;
// EQUAL: all scores 0.
enum kind { ORDINARY, JUMPS, HUGE_FINITE, OVERFLOW_C, INFINITE, EQUAL, NEGATIVE, N_KINDS };
static const char *const kinds[] = {"ordinary",    "jumps over 127", "huge finite", "c s overflows",
                                    "Inf and NaN", "all equal",      "far below 0"};

struct shape {
    int sequences, seq_len, heads, kv_heads, dk, documents;
    size_t tokens() const { return (size_t)sequences * seq_len; }
};

static bf16 to_bf16(float x) {
    uint32_t u;
    memcpy(&u, &x, 4);
    return (bf16)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static float uniform() { return (float)(int32_t)(random_bits() >> 32) * 0x1p-31f; }

static void fill(std::vector<bf16> &q, std::vector<bf16> &k, std::vector<bf16> &v, const shape &s,
                 int kind) {
    for (auto &x : q)
        x = to_bf16(uniform() * (kind == JUMPS                               ? 1.0f
                                 : kind == HUGE_FINITE || kind == OVERFLOW_C ? 0x1p61f
                                                                             : 1.7f));
    for (auto &x : v)
        x = to_bf16(uniform());
    for (size_t i = 0; i < k.size(); i++) {
        size_t token = i / ((size_t)s.kv_heads * s.dk), t = token % s.seq_len;
        float x = uniform() * (kind == JUMPS                               ? 8.0f
                               : kind == HUGE_FINITE || kind == OVERFLOW_C ? 0x1p61f
                                                                           : 1.7f);
        if (kind == JUMPS)
            x *= (t / 100 % 2 ? 32.0f : 1.0f) * (t % 7 ? 1.0f : 4.0f);
        k[i] = to_bf16(x);
    }
    for (size_t token = 0; token < s.tokens(); token++)
        for (int h = 0; h < s.kv_heads; h++) {
            bf16 *row = &k[(token * s.kv_heads + h) * s.dk];
            size_t t = token % s.seq_len;
            if (kind == INFINITE &&
                (t < 2 || t % 5 == 0)) // q[0] > 0, so that the score is -Inf, sometimes +Inf or NaN
                row[0] = t % 240 == 45 && h == 0 ? 0x7f80 : t == 200 && h == 0 ? 0x7fc0 : 0xff80;
            for (int i = 0; kind == EQUAL && i < s.dk; i++)
                row[i] = 0;
            for (int i = 0; kind == NEGATIVE && i < s.dk; i++)
                row[i] = to_bf16(-20.0f + uniform());
        }
    if (kind == INFINITE || kind == NEGATIVE)
        for (size_t i = 0; i < q.size(); i++)
            if (i % s.dk == 0 || kind == NEGATIVE)
                q[i] &= 0x7fff;
}

static std::vector<int> documents(const shape &s) {
    std::vector<int> start(s.tokens());
    for (size_t t = 0; t < start.size(); t++) {
        int i = (int)(t % s.seq_len), b = (int)(t / s.seq_len);
        bool begins =
            i == 37 || i == 130 || i == 131 || i == 190 || i == 256 || (i > 256 && i % 211 == 7 * (b + 1));
        start[t] = i == 0 ? 0 : begins ? i : start[t - 1];
    }
    return start;
}

static float factor(int dk, int kind) {
    double scale = (kind == OVERFLOW_C ? 64.0 : 1.0) / sqrt((double)dk);
    return (float)(scale * 0x1.71547652b82fep+0);
}

struct call {
    maps m;
    args p;
    int dk;
    call(const shape &s, float c, const bf16 *q, const bf16 *k, const bf16 *v, const int *doc_start,
         bf16 *o, float *lse) {
        dk = s.dk;
        for (int i = 0; i < 2;
             i++) { // a part of 64 stands behind 128; with 128 alone the second map is not used
            int first = i && dk > 128 ? 128 : 0, d = dk > 128 && i ? dk - 128 : 128;
            m.q[i] = head_map(q, first, d, dk, s.heads, s.seq_len, s.sequences);
            m.k[i] = head_map(k, first, d, dk, s.kv_heads, s.seq_len, s.sequences);
        }
        m.v = head_map(v, 0, DV, DV, s.kv_heads, s.seq_len, s.sequences);
        p = {s.sequences, s.seq_len, s.heads, s.kv_heads, c, doc_start, o, lse};
    }
    void run() {
        if (dk == 128)
            launch<128>(m, p, sms, 0);
        else
            launch<192>(m, p, sms, 0);
    }
};

// --- check ---------------------------------------------------------------------------------------------

static void check_case(const shape &s, int kind) {
    size_t t = s.tokens();
    std::vector<bf16> q(t * s.heads * s.dk), k(t * s.kv_heads * s.dk), v(t * s.kv_heads * DV),
        o(t * s.heads * DV), o2(o);
    std::vector<float> lse(t * s.heads), lse2(lse);
    std::vector<int> doc = documents(s);
    fill(q, k, v, s, kind);
    class_attention a = {s.sequences,
                         s.seq_len,
                         s.heads,
                         s.kv_heads,
                         s.dk,
                         DV,
                         factor(s.dk, kind),
                         q.data(),
                         k.data(),
                         v.data(),
                         s.documents ? doc.data() : NULL,
                         o.data(),
                         lse.data()};
    for (int b = 0; b < s.sequences; b++)
        class_attention_rule(&a, b, 0, s.heads);
    bf16 *dq = to_device(q), *dk = to_device(k), *dv = to_device(v), *d_o = device_new<bf16>(o.size());
    float *d_lse = device_new<float>(lse.size());
    int *dd = to_device(doc);
    call(s, a.c, dq, dk, dv, s.documents ? dd : NULL, d_o, d_lse).run();
    SY_CUDA(cudaDeviceSynchronize());
    char what[160];
    snprintf(what, sizeof what, "attention B %d S %d heads %d/%d of %d%s, %s", s.sequences, s.seq_len,
             s.heads, s.kv_heads, s.dk, s.documents ? ", documents" : "", kinds[kind]);
    compare(what, to_host(d_o, o.size()), o, (size_t)s.heads * DV);
    compare(what, to_host(d_lse, lse.size()), lse, s.heads);
    if (kind != INFINITE) { // the rule is the library's op where scores are finite
        a.o = o2.data();
        a.lse = lse2.data();
        class_attention_library(&a);
        snprintf(what, sizeof what, "the rule on the CPU against the library, %s", kinds[kind]);
        compare(what, o, o2, (size_t)s.heads * DV);
        compare(what, lse, lse2, s.heads);
    } else {
        long bad = 0;
        for (float x : lse)
            bad += x != x;
        printf("  %s: %ld of %zu rows are NaN\n", what, bad, lse.size());
    }
    for (void *p : {(void *)dq, (void *)dk, (void *)dv, (void *)d_o, (void *)d_lse, (void *)dd})
        SY_CUDA(cudaFree(p));
}

// Some heads of a long sequence with scores of the usual size.
static void check_long(const shape &s) {
    size_t t = s.tokens();
    bf16 *dq = device_random(t * s.heads * s.dk, 1), *dk = device_random(t * s.kv_heads * s.dk, 1);
    bf16 *dv = device_random(t * s.kv_heads * DV, 1), *d_o = device_new<bf16>(t * s.heads * DV);
    float *d_lse = device_new<float>(t * s.heads);
    std::vector<bf16> q = to_host(dq, t * s.heads * s.dk), k = to_host(dk, t * s.kv_heads * s.dk);
    std::vector<bf16> v = to_host(dv, t * s.kv_heads * DV), o(t * s.heads * DV), all;
    std::vector<float> lse(t * s.heads), all_lse;
    class_attention a = {
        s.sequences, s.seq_len, s.heads,  s.kv_heads, s.dk,     DV,        factor(s.dk, ORDINARY),
        q.data(),    k.data(),  v.data(), NULL,       o.data(), lse.data()};
    call(s, a.c, dq, dk, dv, NULL, d_o, d_lse).run();
    SY_CUDA(cudaDeviceSynchronize());
    all = to_host(d_o, o.size());
    all_lse = to_host(d_lse, lse.size());
    int heads[] = {0, s.heads - 1};
    for (int h : heads) {
        int b = s.sequences - 1;
        class_attention_rule(&a, b, h, h + 1);
        std::vector<bf16> mine, gpu;
        std::vector<float> mine_lse, gpu_lse;
        for (size_t i = (size_t)b * s.seq_len; i < t; i++) {
            size_t at = (i * s.heads + h) * DV;
            mine.insert(mine.end(), o.begin() + at, o.begin() + at + DV);
            gpu.insert(gpu.end(), all.begin() + at, all.begin() + at + DV);
            mine_lse.push_back(lse[i * s.heads + h]);
            gpu_lse.push_back(all_lse[i * s.heads + h]);
        }
        char what[160];
        snprintf(what, sizeof what, "attention B %d S %d head %d of %d, size %d", s.sequences, s.seq_len, h,
                 s.heads, s.dk);
        compare(what, gpu, mine, DV);
        compare(what, gpu_lse, mine_lse, 1);
    }
    for (void *p : {(void *)dq, (void *)dk, (void *)dv, (void *)d_o, (void *)d_lse})
        SY_CUDA(cudaFree(p));
}

static int check() {
    for (int dk : {128, 192})
        for (int kind = 0; kind < N_KINDS; kind++) {
            check_case({1, 128, 2, 1, dk, 0}, kind);
            check_case({2, 300, 4, 2, dk, 0}, kind);
            check_case({2, 640, 2, 2, dk, 1}, kind);
            check_case({3, 77, 2, 1, dk, 1}, kind);
        }
    check_long({2, 4096, 32, 4, 128, 0});
    check_long({2, 4096, 16, 16, 192, 0});
    printf("attention check: %ld cases, %ld outputs, %ld differ from class sm90 on the CPU\n",
           verdict.cases, verdict.outputs, verdict.wrong);
    return verdict.wrong != 0;
}

// --- time ----------------------------------------------------------------------------------------------

static void time_case(const shape &s) {
    size_t t = s.tokens();
    bf16 *q = device_random(t * s.heads * s.dk, 1), *k = device_random(t * s.kv_heads * s.dk, 1);
    bf16 *v = device_random(t * s.kv_heads * DV, 1), *o = device_new<bf16>(t * s.heads * DV);
    float *lse = device_new<float>(t * s.heads);
    call op(s, factor(s.dk, ORDINARY), q, k, v, NULL, o, lse);
    float ms = median_ms([&] { op.run(); });
    double flops = (double)s.sequences * s.heads * s.seq_len * s.seq_len * (s.dk + DV);
    printf("TIME attention B %d S %d heads %d/%d of %d/%d  %8.4f ms %7.1f TFLOP/s (causal half)\n",
           s.sequences, s.seq_len, s.heads, s.kv_heads, s.dk, DV, ms, flops / ms * 1e-9);
    fflush(stdout);
    for (void *p : {(void *)q, (void *)k, (void *)v, (void *)o, (void *)lse})
        SY_CUDA(cudaFree(p));
}

int main(int argc, char **argv) {
    if (argc != 2 || (strcmp(argv[1], "check") && strcmp(argv[1], "time"))) {
        fprintf(stderr, "usage: attention_sm90 check|time\n");
        return 2;
    }
    sms = multiprocessors();
    if (!strcmp(argv[1], "time")) {
        for (int s : {4096, 8192}) {
            int b = 16384 / s;
            time_case({b, s, 16, 16, 192, 0});
            time_case({b, s, 32, 4, 128, 0});
            time_case({b, s, 16, 16, 128, 0});
        }
        return 0;
    }
    class_open(12);
    int r = check();
    class_close();
    return r;
}
