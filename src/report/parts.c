/* Where the time of a step goes: a line of metrics.jsonl of kind "profile" (train/traces.h), and the page's table
 * of the newest one.
 */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/json.h"
#include "report/page.h"

static const char *const passes[SY_REPORT_PASSES] = {"ms", "forward", "recompute", "backward"};

/* --- the line ------------------------------------------------------------------------------------------- */

static sy_status part_of(const char *where, const json_t *entry, struct sy_report_part *out) {
    const char *name;
    char text[SY_REPORT_TEXT];
    *out = (struct sy_report_part){0};
    SY_TRY(sy_json_get_string(where, entry, "text", &name));
    sy_report_text(text, name);
    snprintf(out->name, sizeof out->name, "%.*s", (int)sizeof out->name - 1, text);
    out->name[sy_utf8_start(out->name, strlen(out->name))] = 0;
    for (int i = 0; i < SY_REPORT_PASSES; i++)
        if (sy_json_has(entry, passes[i]))
            SY_TRY(sy_json_get_real(where, entry, passes[i], 0, 1e12, &out->ms[i]));
    return SY_OK;
}

sy_status sy_report_parts_line(struct sy_report_run *r, const char *where, int64_t step, const json_t *line) {
    struct sy_report_parts p = {.step = step};
    json_t *list;
    SY_TRY(sy_json_get_real(where, line, "ms", 0, 1e12, &p.ms));
    SY_TRY(sy_json_get_array(where, line, "parts", &list));
    for (size_t i = 0; i < json_array_size(list) && p.n < SY_REPORT_PARTS; i++)
        SY_TRY(part_of(where, json_array_get(list, i), &p.of[p.n++]));
    r->parts = p;
    return SY_OK;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static void ms_of(struct sy_page *p, double ms) {
    if (ms > 0)
        sy_page_put(p, "<td class=num title=\"%.9g ms\">%.*f</td>", ms, ms < 1 ? 3 : ms < 100 ? 2 : 1, ms);
    else
        sy_page_put(p, "<td></td>");
}

static void row(struct sy_page *p, const struct sy_report_parts *all, const struct sy_report_part *q) {
    double share = all->ms > 0 ? 100 * q->ms[0] / all->ms : 0;
    sy_page_put(p, "<tr><th scope=row>");
    sy_page_text(p, q->name);
    sy_page_put(p, "</th>");
    for (int i = 0; i < SY_REPORT_PASSES; i++)
        ms_of(p, q->ms[i]);
    sy_page_put(p, "<td class=share><span class=bar style=\"width:%.2f%%\"></span></td></tr>\n",
                share < 100 ? share : 100);
}

static void table(struct sy_page *p, const struct sy_report_run *r, int i) {
    const struct sy_report_parts *q = &r->parts;
    char a[SY_SHORT];
    if (p->n_runs > 1) {
        sy_page_put(p, "<h3 class=s%d>", i % 8);
        sy_page_text(p, r->name);
        sy_page_put(p, "</h3>");
    }
    sy_page_put(
        p,
        "<p class=note>Step %s of rank 0, %.4g ms, as its profile saw it; each op is in the trace.</p>"
        "<div class=scroll tabindex=0><table class=memory><thead><tr><th>part</th><th class=num>ms</th>"
        "<th class=num>forward</th><th class=num>recompute</th><th "
        "class=num>backward</th><th></th></tr></thead>"
        "<tbody>",
        sy_spaced(q->step, a), q->ms);
    for (int k = 0; k < q->n; k++)
        row(p, q, &q->of[k]);
    sy_page_put(p, "</tbody></table></div>");
}

void sy_put_parts(struct sy_page *p) {
    int any = 0;
    for (int i = 0; i < p->n_runs; i++)
        any |= p->run[i].parts.step > 0;
    if (!any)
        return;
    sy_page_put(p, "<section aria-labelledby=h-parts><h2 id=h-parts>A step in parts</h2>");
    for (int i = 0; i < p->n_runs; i++)
        if (p->run[i].parts.step > 0)
            table(p, &p->run[i], i);
    sy_page_put(p, "</section>\n");
}
