/* The counters of the MoE layers as a table: see counters_print.h. The rows are those of
 * SY_MOE_COUNTER_LIST. */
#include "train/counters_print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { COLUMNS = 80, NAME = 20 };

struct printing {
    sy_write_fn write;
    void *user;
    int number; /* columns of a value */
};

static void say(const struct printing *p, const char *fmt, ...) SY_PRINTF(2, 3);
static void say(const struct printing *p, const char *fmt, ...) {
    char line[256];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    if (n > 0)
        p->write(p->user, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

/* How much of `text` fits into `columns` when it is broken between words. */
static int words_that_fit(const char *text, int columns) {
    int n = (int)strlen(text);
    if (n <= columns)
        return n;
    for (n = columns; n > 0 && text[n] != ' ';)
        n--;
    return n > 0 ? n : columns;
}

static void print_row(const struct printing *p, const char *name, const char *value, const char *text) {
    int columns = COLUMNS - NAME - 1 - p->number - 2;
    do {
        int n = words_that_fit(text, columns);
        say(p, "%-*s %*s  %.*s\n", NAME, name, p->number, value, n, text);
        text += n + (text[n] == ' ');
        name = value = "";
    } while (*text);
}

void sy_counters_print(const struct sy_moe_counters *counters, sy_write_fn write, void *user) {
    const struct {
        const char *name, *text;
        int64_t value;
    } rows[] = {
#define X(name, text) {#name, text, counters->name},
        SY_MOE_COUNTER_LIST(X)
#undef X
    };
    struct printing p = {write, user, (int)strlen("value")};
    char value[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int n = snprintf(value, sizeof value, "%lld", (long long)rows[i].value);
        p.number = n > p.number ? n : p.number;
    }
    print_row(&p, "counter", "value", "what one is");
    for (int zeros = 0; zeros < 2; zeros++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            if ((rows[i].value == 0) != zeros)
                continue;
            snprintf(value, sizeof value, "%lld", (long long)rows[i].value);
            print_row(&p, rows[i].name, value, rows[i].text);
        }
}
