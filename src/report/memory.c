/* What a run's memory is held for: a line of metrics.jsonl of kind "memory" (train/snapshot.h), and the page's
 * table of the newest one.
 */
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "formats/json.h"
#include "report/page.h"

/* --- the line ------------------------------------------------------------------------------------------- */

static void add(struct sy_report_memory *m, const char *name, int is_tag, int64_t bytes, int64_t most) {
    char text[SY_REPORT_TEXT];
    if (m->n == SY_REPORT_ARENAS) {
        m->left_out++;
        return;
    }
    struct sy_report_arena *a = &m->of[m->n++];
    sy_report_text(text, name);
    *a = (struct sy_report_arena){.is_tag = is_tag, .bytes = bytes, .most = most};
    size_t n = sy_utf8_start(text, sizeof a->name - 1);
    memcpy(a->name, text, n);
}

static sy_status count(const char *where, const json_t *object, const char *key, int64_t *out) {
    return sy_json_get_int(where, object, key, -1, INT64_MAX, out);
}

static sy_status tags(struct sy_report_memory *m, const char *where, const json_t *arena) {
    json_t *list;
    SY_TRY(sy_json_get_array(where, arena, "tags", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *tag = json_array_get(list, i);
        const char *name;
        int64_t bytes;
        SY_TRY(sy_json_get_string(where, tag, "tag", &name));
        SY_TRY(count(where, tag, "bytes", &bytes));
        add(m, name, 1, bytes, 0);
    }
    return SY_OK;
}

sy_status sy_report_memory_line(struct sy_report_run *r, const char *where, int64_t step,
                                const json_t *line) {
    struct sy_report_memory m = {.step = step};
    json_t *list;
    SY_TRY(count(where, line, "bytes", &m.bytes));
    SY_TRY(count(where, line, "most_bytes", &m.most));
    SY_TRY(count(where, line, "resident_most", &m.resident));
    SY_TRY(sy_json_get_array(where, line, "arenas", &list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *arena = json_array_get(list, i);
        const char *name, *place;
        char text[SY_REPORT_TEXT];
        int64_t bytes, most;
        SY_TRY(sy_json_get_string(where, arena, "name", &name));
        SY_TRY(sy_json_get_string(where, arena, "place", &place));
        snprintf(text, sizeof text, "%.64s%s%.16s", name, strcmp(place, "device") ? ", " : "",
                 strcmp(place, "device") ? place : "");
        SY_TRY(count(where, arena, "bytes", &bytes));
        SY_TRY(count(where, arena, "most_bytes", &most));
        add(&m, text, 0, bytes, most);
        SY_TRY(tags(&m, where, arena));
    }
    r->memory = m;
    return SY_OK;
}

/* --- the table ------------------------------------------------------------------------------------------ */

static void mib(int64_t bytes, char out[SY_SHORT]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)bytes;
    int u = 0;
    for (; u < 4 && x >= 1024; u++)
        x /= 1024;
    snprintf(out, SY_SHORT, "%.*f %s", u ? 1 : 0, x, units[u]);
}

/* A figure to read, with the bytes that metrics.jsonl has. */
static void bytes_of(struct sy_page *p, int64_t bytes) {
    char text[SY_SHORT];
    mib(bytes, text);
    sy_page_put(p, "<td class=num title=\"%lld bytes\">%s</td>", (long long)bytes, text);
}

static void row(struct sy_page *p, const struct sy_report_memory *m, const struct sy_report_arena *a) {
    double share = m->most > 0 ? 100 * (double)a->bytes / (double)m->most : 0;
    share = share > 100 ? 100 : share < 0 ? 0 : share;
    sy_page_put(p, "<tr%s><th scope=row>", a->is_tag ? " class=tag" : "");
    sy_page_text(p, a->name);
    sy_page_put(p, "</th>");
    bytes_of(p, a->bytes);
    if (a->is_tag)
        sy_page_put(p, "<td></td>");
    else
        bytes_of(p, a->most);
    sy_page_put(p, "<td class=share><span class=bar style=\"width:%.2f%%\"></span></td></tr>\n", share);
}

static void table(struct sy_page *p, const struct sy_report_run *r, int i) {
    const struct sy_report_memory *m = &r->memory;
    char a[SY_SHORT], b[SY_SHORT], c[SY_SHORT];
    mib(m->bytes, b);
    mib(m->resident, c);
    if (p->n_runs > 1) {
        sy_page_put(p, "<h3 class=s%d>", i % 8);
        sy_page_text(p, r->name);
        sy_page_put(p, "</h3>");
    }
    sy_page_put(p,
                "<p class=note>Arenas of rank 0 after step %s: %s. A step takes none; the most is what they "
                "had at a time since the start. Most that the process had resident: %s.</p>",
                sy_spaced(m->step, a), b, c);
    sy_page_put(p,
                "<div class=scroll tabindex=0><table class=memory><thead><tr><th>arena, what it is for</th>"
                "<th class=num>bytes</th><th class=num>most</th><th></th></tr></thead><tbody>");
    for (int k = 0; k < m->n; k++)
        row(p, m, &m->of[k]);
    sy_page_put(p, "</tbody></table></div>");
    if (m->left_out)
        sy_page_put(p, "<p class=note>%d more are in metrics.jsonl.</p>", m->left_out);
}

void sy_put_memory(struct sy_page *p) {
    int any = 0;
    for (int i = 0; i < p->n_runs; i++)
        any |= p->run[i].memory.step > 0;
    if (!any)
        return;
    sy_page_put(p, "<section aria-labelledby=h-memory><h2 id=h-memory>Memory</h2>");
    for (int i = 0; i < p->n_runs; i++)
        if (p->run[i].memory.step > 0)
            table(p, &p->run[i], i);
    sy_page_put(p, "</section>\n");
}
