/* Amounts with their units, as commands print them. */
#ifndef SY_COMMANDS_UNITS_H
#define SY_COMMANDS_UNITS_H

#include "train/io.h"

/* A number with its unit, so that it is at least 1 and below the next. */
struct sy_scaled {
    double v;
    const char *unit;
};
struct sy_scaled sy_in_bytes(double bytes);
struct sy_scaled sy_in_flops(double flops);

/* A line "  what   1.23 GiB". */
void sy_print_bytes(const struct sy_io *io, const char *what, double bytes);

/* 1234567 as 1,234,567. */
void sy_thousands(int64_t n, char out[32]);

#endif
