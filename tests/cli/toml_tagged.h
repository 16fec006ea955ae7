/* A TOML tree as the tagged JSON of the public toml-test suite: {"type": "integer", "value": "1"} for
 * every scalar. */
#ifndef TESTS_CLI_TOML_TAGGED_H
#define TESTS_CLI_TOML_TAGGED_H

#include <stdio.h>
#include <stdlib.h>

#include "formats/toml.h"

static void tagged_string(FILE *f, struct sy_toml_string s) {
    fputc('"', f);
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.text[i];
        if (c == '"' || c == '\\')
            fprintf(f, "\\%c", c);
        else if (c < 0x20)
            fprintf(f, "\\u%04x", c);
        else
            fputc(c, f);
    }
    fputc('"', f);
}

static void tagged_time(FILE *f, const struct sy_toml_value *v) {
    const struct sy_toml_time *t = &v->as.time;
    static const char *const names[] = {"datetime", "datetime-local", "date-local", "time-local"};
    fprintf(f, "{\"type\": \"%s\", \"value\": \"", names[v->type - SY_TOML_DATETIME]);
    if (v->type != SY_TOML_TIME_LOCAL)
        fprintf(f, "%04d-%02d-%02d", t->year, t->month, t->day);
    if (v->type == SY_TOML_DATETIME || v->type == SY_TOML_DATETIME_LOCAL)
        fputc('T', f);
    if (v->type != SY_TOML_DATE_LOCAL) {
        fprintf(f, "%02d:%02d:%02d", t->hour, t->minute, t->second);
        char fraction[16];
        int n = snprintf(fraction, sizeof fraction, ".%09d", t->nanosecond);
        while (n > 1 && fraction[n - 1] == '0')
            n--;
        if (n > 1)
            fprintf(f, "%.*s", n, fraction);
    }
    if (v->type == SY_TOML_DATETIME && !t->offset_minutes)
        fputc('Z', f);
    else if (v->type == SY_TOML_DATETIME)
        fprintf(f, "%c%02d:%02d", t->offset_minutes < 0 ? '-' : '+', abs(t->offset_minutes) / 60,
                abs(t->offset_minutes) % 60);
    fprintf(f, "\"}");
}

static void tagged_value(FILE *f, const struct sy_toml_value *v) {
    char real[SY_TOML_REAL_BYTES];
    switch (v->type) {
    case SY_TOML_STRING:
        fprintf(f, "{\"type\": \"string\", \"value\": ");
        tagged_string(f, v->as.string);
        fputc('}', f);
        break;
    case SY_TOML_INTEGER:
        fprintf(f, "{\"type\": \"integer\", \"value\": \"%lld\"}", (long long)v->as.integer);
        break;
    case SY_TOML_REAL:
        sy_toml_real_print(v->as.real, real);
        fprintf(f, "{\"type\": \"float\", \"value\": \"%s\"}", real);
        break;
    case SY_TOML_BOOLEAN:
        fprintf(f, "{\"type\": \"bool\", \"value\": \"%s\"}", v->as.boolean ? "true" : "false");
        break;
    case SY_TOML_ARRAY:
        fputc('[', f);
        for (const struct sy_toml_value *item = v->as.array.first; item; item = item->next) {
            tagged_value(f, item);
            if (item->next)
                fprintf(f, ", ");
        }
        fputc(']', f);
        break;
    case SY_TOML_TABLE:
        fputc('{', f);
        for (const struct sy_toml_entry *e = v->as.table.first; e; e = e->next) {
            tagged_string(f, e->key);
            fprintf(f, ": ");
            tagged_value(f, e->value);
            if (e->next)
                fprintf(f, ", ");
        }
        fputc('}', f);
        break;
    default:
        tagged_time(f, v);
    }
}

#endif
