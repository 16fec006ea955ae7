/* Amounts with their units: see units.h. */
#include "commands/units.h"

#include <stdio.h>

static struct sy_scaled scale(double v, double step, const char *const *units, int n) {
    int u = 0;
    for (; v >= step && u < n - 1; u++)
        v /= step;
    return (struct sy_scaled){v, units[u]};
}

struct sy_scaled sy_in_bytes(double v) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    return scale(v, 1024, units, 6);
}

struct sy_scaled sy_in_flops(double v) {
    static const char *const units[] = {"FLOP",  "kFLOP", "MFLOP", "GFLOP", "TFLOP",
                                        "PFLOP", "EFLOP", "ZFLOP", "YFLOP"};
    return scale(v, 1000, units, 9);
}

void sy_print_bytes(const struct sy_io *io, const char *what, double bytes) {
    struct sy_scaled s = sy_in_bytes(bytes);
    sy_io_printf(io, "  %-28s %10.2f %s\n", what, s.v, s.unit);
}

void sy_thousands(int64_t n, char out[32]) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < len && at < 30; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = 0;
}
