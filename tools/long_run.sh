#!/bin/sh
# The files of a run that never was, for the report: three resumes, two layouts, a spike, an expert that dies.
#   usage: tools/long_run.sh RUN [STEPS [LAYERS [EXPERTS]]]     (20000 steps, 3 layers, 16 experts); BIN: the program
set -eu
run=$1 steps=${2:-20000} layers=${3:-3} experts=${4:-16}
BIN=${BIN:-build/switchyard}
mkdir -p "$run/checkpoints"
"$BIN" init --flavor gqa-debug | sed "s/^#* *steps = .*/steps = $steps/" >"$run/config.toml"
LC_ALL=C awk -v steps="$steps" -v layers="$layers" -v experts="$experts" '
    function noise() { return rand() + rand() + rand() - 1.5 }
    function hex(n,   s, i) { s = ""; for (i = 0; i < n; i++) s = s substr("0123456789abcdef", int(16 * rand()) + 1, 1); return s }
    function arena(name, bytes, tags) {
        return sprintf("{\"name\":\"%s\",\"place\":\"device\",\"bytes\":%d,\"most_bytes\":%d,\"tags\":[%s]}", name, bytes, bytes, tags)
    }
    function tag(name, bytes) { return sprintf("{\"tag\":\"%s\",\"bytes\":%d}", name, bytes) }
    function memory(s, wide,   m) {
        m = 93000000 / wide
        printf "{\"kind\":\"memory\",\"step\":%d,\"rank\":0,\"device\":\"cpu\",\"bytes\":%d,\"most_bytes\":%d,\"resident_most\":%d,\"arenas\":[%s,%s,%s,%s]}\n", \
            s, 5.5 * m, 5.5 * m, 611000000 / wide, \
            arena("master weights and moments", 1.5 * m, tag("master weights", 0.5 * m) "," tag("moments", m)), \
            arena("stored and packed weights", 0.5 * m, tag("stored weights", 0.25 * m) "," tag("packed weights", 0.25 * m)), \
            arena("activations", 2 * m, tag("residual stream", 0.3 * m) "," tag("attention", 0.5 * m) "," tag("experts", 0.9 * m) "," tag("head", 0.3 * m)), \
            arena("gradients", 1.5 * m, tag("gradients", 1.5 * m))
    }
    BEGIN {
        srand(7)
        first[1] = 1; first[2] = int(steps * 0.22) + 2; first[3] = int(steps * 0.51) + 3; first[4] = int(steps * 0.83) + 4
        spike = int(steps * 0.37); total = 32768
        for (l = 0; l < layers; l++) for (e = 0; e < experts; e++) bias[l, e] = 1.2 * noise()
        for (s = 1; s <= steps; s++) {
            t = s / steps
            hit = s >= spike ? exp((spike - s) / (steps / 180)) : 0
            wide = s < first[3] ? 1 : 2
            loss = 1.9 + 5.8 * exp(-9 * t) + 0.9 * exp(-2.2 * t) + 0.05 * noise() + 2.4 * hit
            norm = 0.5 + 2.2 * exp(-14 * t) + 0.12 * (noise() + 1.5) + 9 * hit * hit
            warm = steps / 40
            lr = 0.0006 * (s < warm ? s / warm : 0.1 + 0.9 * (1 + cos(3.14159265 * (s - warm) / (steps - warm))) / 2)
            ms = (wide == 1 ? 183 : 101) * (1 + 0.02 * noise()) + (s % 701 == 0 ? 90 : 0)
            skip = s == spike + 1 || s == spike + 2
            printf "{\"kind\":\"train\",\"step\":%d,", s
            if (skip) printf "\"loss\":null,\"grad_norm\":null,"
            else printf "\"loss\":%.9g,\"loss_bits\":\"%s\",\"grad_norm\":%.9g,", loss, hex(16), norm
            printf "\"lr\":%.9g,\"tokens\":%d,\"tps\":%.9g,\"mfu\":%.9g,\"mem_bytes\":%d,\"step_ms\":%.6f,\"data_ms\":%.6f,\"weights_digest\":\"%s\",", \
                lr, s * 16384, 16384000 / ms / wide, 4214 / ms / wide * 100 / 43, 611000000 / wide + 4096 * int(s / 400), ms, 1.7 + 0.4 * rand(), hex(32)
            for (k = 1; k <= 4; k++) if (s == first[k])
                printf "\"start\":{\"ranks\":%d,\"threads\":16,\"dp_shard\":%d,\"ep\":%d,\"device\":\"cpu\",\"class\":\"x86\",\"tier\":\"avx512_bf16\",\"recipe_id\":\"%s\"},", \
                    k < 3 ? 4 : 8, k < 3 ? 4 : 8, k < 3 ? 2 : 4, "c89742a2048a1fd32b43f2959cf477f0"
            printf "\"skipped\":%d,\"moe\":[", skip
            for (l = 0; l < layers && !skip; l++) {
                sum = 0
                for (e = 0; e < experts; e++) {
                    dies = l == 1 && e == 11 ? (t > 0.55 && t < 0.7 ? 0 : exp(-((t - 0.62) ^ 2 > 0.02 ? 0 : 3))) : 1
                    share[e] = dies * exp(bias[l, e] * exp(-5 * t) + 0.1 * noise() + 0.12 * sin(9 * t + e + l))
                    sum += share[e]
                }
                min = total; max = dead = squares = 0; load = ""; entropy = 0; low = high = 0
                for (e = 0; e < experts; e++) {
                    n = int(total * share[e] / sum)
                    if (n < min) min = n
                    if (n > max) max = n
                    dead += n == 0
                    d = n * experts / total - 1; squares += d * d
                    if (n) entropy -= n / total * log(n / total)
                    b = -0.02 * bias[l, e] * (1 - exp(-6 * t)); if (b < low) low = b; if (b > high) high = b
                    load = load (e ? "," : "") n
                }
                printf "%s{\"layer\":%d,\"load_min\":%d,\"load_max\":%d,\"load_cv\":%.6g,\"entropy\":%.6g,\"dead\":%d,\"bias_min\":%.6g,\"bias_max\":%.6g,\"load\":[%s]}", \
                    l ? "," : "", l + 1, min, max, sqrt(squares / experts), entropy / log(experts), dead, low, high, load
            }
            print "]}"
            if (s == spike) printf "{\"kind\":\"event\",\"step\":%d,\"event\":\"loss_spike\",\"text\":\"loss %.4f is 24.1 standard deviations above the mean of 100 steps\"}\n", s, loss
            if (s % int(steps / 4) == 0) memory(s, wide)
            if (s % int(steps / 40) == 0) printf "{\"kind\":\"eval\",\"step\":%d,\"loss\":%.9g,\"tokens\":1167}\n", s, loss + 0.06
        }
    }' >"$run/metrics.jsonl"
for k in 1 2 3 4; do
    mkdir -p "$run/checkpoints/step-$(printf %08d $((steps * k / 4)))"
done
