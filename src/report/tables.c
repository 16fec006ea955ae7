/* The tables of a page: where a run stands, what happened, digests, configurations. See page.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"

/* --- where it stands -------------------------------------------------------------------------- */

static void tile(struct sy_page *p, const char *name, const char *value, const char *more) {
    sy_page_put(p, "<div><dt>%s</dt><dd>%s<small>%s</small></dd></div>", name, value, more);
}

static struct sy_bucket all_of(const struct sy_report_run *r, enum sy_curve c) {
    return sy_grid_all(&r->curves, (int)c);
}

static int count(const struct sy_report_run *r, enum sy_happening_kind kind) {
    int n = 0;
    for (int i = 0; i < r->n_happened; i++)
        n += r->happened[i].kind == kind;
    return n;
}

static void fixed(double x, int decimals, char out[SY_SHORT]) {
    snprintf(out, SY_SHORT, isfinite(x) && fabs(x) < 1e9 ? "%.*f" : "–", decimals, x);
}

static void summary_of(struct sy_page *p, const struct sy_report_run *r) {
    char a[SY_SHORT], b[SY_SHORT], more[3 * SY_SHORT];
    struct sy_bucket loss = all_of(r, SY_CURVE_loss), eval = all_of(r, SY_CURVE_eval);
    int64_t steps = sy_report_run_steps(r);
    sy_page_put(p, "<dl class=tiles>");
    snprintf(more, sizeof more, steps ? " of %s" : "", sy_spaced(steps, b));
    tile(p, "step", sy_spaced(r->last, a), more);
    if (loss.n) {
        fixed(loss.last, 4, a);
        fixed(loss.min, 4, b);
        snprintf(more, sizeof more, " lowest %s", b);
        tile(p, "training loss", a, more);
    }
    if (eval.n) {
        fixed(eval.last, 4, a);
        fixed(eval.min, 4, b);
        snprintf(more, sizeof more, " lowest %s", b);
        tile(p, "held-out loss", a, more);
    }
    tile(p, "tokens", sy_short((double)r->tokens, a), "");
    if (all_of(r, SY_CURVE_tps).n)
        tile(p, "tokens per second", sy_short(all_of(r, SY_CURVE_tps).last, a), "");
    snprintf(more, sizeof more, " skipped steps %s", sy_spaced(r->n_skipped, b));
    tile(p, "resumes", sy_spaced(count(r, SY_HAPPENING_resume), a), more);
    sy_page_put(p, "</dl>");
    if (*r->last_digest) {
        sy_page_put(p, "<p class=digest>digest of step %lld <code>", (long long)r->last);
        sy_page_text(p, r->last_digest);
        sy_page_put(p, "</code></p>");
    }
}

void sy_put_summary(struct sy_page *p) {
    for (int i = 0; i < p->n_runs; i++) {
        const struct sy_report_run *r = &p->run[i];
        sy_page_put(p, "<header class=\"run s%d\"><%s>", i % 8, p->n_runs > 1 ? "h2" : "h1");
        sy_page_text(p, r->name);
        sy_page_put(p, "</%s>", p->n_runs > 1 ? "h2" : "h1");
        if (r->config && *r->config->job.description) {
            char text[SY_REPORT_TEXT];
            sy_report_text(text, r->config->job.description);
            sy_page_put(p, "<p class=note>");
            sy_page_text(p, text);
            sy_page_put(p, "</p>");
        }
        summary_of(p, r);
        sy_page_put(p, "</header>\n");
    }
}

/* --- what happened ---------------------------------------------------------------------------- */

void sy_put_happened(struct sy_page *p) {
    int rows = 0, left_out = 0;
    for (int i = 0; i < p->n_runs; i++) {
        rows += p->run[i].n_happened;
        left_out += p->run[i].n_left_out;
    }
    if (!rows)
        return;
    sy_page_put(p,
                "<section aria-labelledby=h-happened><h2 id=h-happened>What happened</h2><div class=scroll "
                "tabindex=0><table><thead>"
                "<tr>%s<th class=num>step</th><th></th><th>what</th><th></th></tr></thead><tbody>",
                p->n_runs > 1 ? "<th>run</th>" : "");
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < p->run[i].n_happened; k++) {
            const struct sy_happening *h = &p->run[i].happened[k];
            char a[SY_SHORT], b[SY_SHORT];
            sy_page_put(p, "<tr>");
            if (p->n_runs > 1) {
                sy_page_put(p, "<td>");
                sy_page_text(p, p->run[i].name);
                sy_page_put(p, "</td>");
            }
            sy_page_put(p, "<td class=num>%s", sy_spaced(h->step, a));
            if (h->last > h->step)
                sy_page_put(p, "–%s", sy_spaced(h->last, b));
            sy_page_put(
                p, "</td><td><span class=\"letter %s\" aria-hidden=true>%s</span></td><td>%s</td><td>",
                sy_happenings[h->kind].name, sy_happenings[h->kind].letter, sy_happenings[h->kind].text);
            sy_page_text(p, h->text);
            sy_page_put(p, "</td></tr>\n");
        }
    sy_page_put(p, "</tbody></table></div>");
    if (left_out)
        sy_page_put(p, "<p class=note>%d more are in log.txt and metrics.jsonl.</p>", left_out);
    sy_page_put(p, "</section>\n");
}

/* --- digests ---------------------------------------------------------------------------------- */

/* As a word of a shell. */
static void put_word(struct sy_page *p, const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@";
    if (*word && word[strspn(word, plain)] == 0 && *word != '-') {
        sy_page_text(p, word);
        return;
    }
    sy_page_text(p, "'");
    for (const char *s = word; *s;) {
        char piece[SY_REPORT_TEXT];
        size_t n = strcspn(s, "'");
        n = n < sizeof piece ? n : sizeof piece - 1;
        memcpy(piece, s, n);
        piece[n] = 0;
        sy_page_text(p, piece);
        s += n;
        if (*s == '\'') {
            sy_page_text(p, "'\\''");
            s++;
        }
    }
    sy_page_text(p, "'");
}

static void digest_row(struct sy_page *p, const struct sy_report_run *r, const struct sy_report_digest *d) {
    char number[SY_SHORT];
    sy_page_put(p, "<tr>");
    if (p->n_runs > 1) {
        sy_page_put(p, "<td>");
        sy_page_text(p, r->name);
        sy_page_put(p, "</td>");
    }
    sy_page_put(p, "<td class=num>%s</td><td>%s</td><td><code>", sy_spaced(d->step, number),
                d->is_checkpoint ? "checkpoint" : "last step");
    sy_page_text(p, d->digest);
    sy_page_put(p, "</code></td><td><code>switchyard replay ");
    put_word(p, r->dir);
    sy_page_put(p, " --step %lld</code></td></tr>\n", (long long)d->step);
}

void sy_put_digests(struct sy_page *p) {
    sy_page_put(p,
                "<section aria-labelledby=h-digests><h2 id=h-digests>Digests</h2><p class=note>Of all "
                "weights after a step; the "
                "same on every layout. The command does the step again, from the checkpoint before it, and "
                "compares every bit.</p><div class=scroll tabindex=0><table><thead><tr>%s<th "
                "class=num>step</th><th></th>"
                "<th>digest</th><th>verified by</th></tr></thead><tbody>",
                p->n_runs > 1 ? "<th>run</th>" : "");
    for (int i = 0; i < p->n_runs; i++)
        for (int k = 0; k < p->run[i].n_digests; k++)
            if (*p->run[i].digest[k].digest)
                digest_row(p, &p->run[i], &p->run[i].digest[k]);
    sy_page_put(p, "</tbody></table></div></section>\n");
}

/* --- configurations --------------------------------------------------------------------------- */

static sy_status value_of(const struct sy_report_run *r, const char *key, char out[SY_REPORT_TEXT]) {
    const char *text = "?";
    if (r->config)
        SY_TRY(sy_config_get(r->config, key, &text));
    sy_report_text(out, text);
    if (strlen(text) > strlen(out)) /* two long values that differ at their end look alike otherwise */
        snprintf(out + SY_REPORT_TEXT - 32, 32, "… (%zu bytes)", strlen(text));
    return SY_OK;
}

/* 1: not all runs that have a configuration have the same value. */
static sy_status differs(const struct sy_page *p, const char *key, int *out) {
    const char *a = NULL, *b;
    *out = 0;
    for (int i = 0; i < p->n_runs; i++) {
        if (!p->run[i].config)
            continue;
        SY_TRY(sy_config_get(p->run[i].config, key, &b));
        *out |= a && strcmp(a, b) != 0;
        a = a ? a : b;
    }
    return SY_OK;
}

static sy_status config_rows(struct sy_page *p, int all) {
    char value[SY_REPORT_TEXT];
    enum sy_config_effect effect;
    const char *key;
    for (int i = 0; (key = sy_config_key(i, &effect)); i++) {
        int differ;
        SY_TRY(differs(p, key, &differ));
        if (!differ && !all)
            continue;
        sy_page_put(p, "<tr%s><th scope=row>%s</th>", differ ? " class=differs" : "", key);
        for (int r = 0; r < p->n_runs; r++) {
            SY_TRY(value_of(&p->run[r], key, value));
            sy_page_put(p, "<td>");
            sy_page_text(p, value);
            sy_page_put(p, "</td>");
        }
        sy_page_put(p, "<td class=note>%s</td></tr>\n", effect == SY_EFFECT_LAYOUT ? "changes no bit" : "");
    }
    return SY_OK;
}

static sy_status config_table(struct sy_page *p, int all) {
    sy_page_put(p, "<div class=scroll tabindex=0><table class=config><thead><tr><th>option</th>");
    for (int i = 0; i < p->n_runs; i++) {
        sy_page_put(p, "<th>");
        sy_page_text(p, p->n_runs > 1 ? p->run[i].name : "value");
        sy_page_put(p, "</th>");
    }
    sy_page_put(p, "<th></th></tr></thead><tbody>");
    SY_TRY(config_rows(p, all));
    sy_page_put(p, "</tbody></table></div>");
    return SY_OK;
}

sy_status sy_put_config(struct sy_page *p) {
    sy_page_put(p, "<section aria-labelledby=h-config><h2 id=h-config>Configuration</h2>");
    for (int i = 0; i < p->n_runs; i++)
        if (!p->run[i].config) {
            sy_page_put(p, "<p class=note>");
            sy_page_text(p, p->run[i].name);
            sy_page_put(p, ": ");
            sy_page_text(p, p->run[i].why);
            sy_page_put(p, "</p>");
        }
    if (p->n_runs > 1) {
        sy_page_put(p, "<p class=note>Options in which the runs differ:</p>");
        SY_TRY(config_table(p, 0));
    }
    sy_page_put(p, "<details><summary>all options</summary>");
    SY_TRY(config_table(p, 1));
    sy_page_put(p, "</details></section>\n");
    return SY_OK;
}
