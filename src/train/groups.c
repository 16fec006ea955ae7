/* Groups of tensors: see groups.h. */
#include "train/groups.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int sy_group_of(const struct sy_config *c, const char *name, struct sy_optimizer_group *out) {
    const struct sy_config_list *l = &c->optimizer.groups;
    for (int i = 0; i < l->n; i++)
        if (sy_optimizer_group_parse(l->items[i], out) == SY_OK && sy_optimizer_group_has(out, name))
            return i;
    *out = (struct sy_optimizer_group){.lr = 1};
    return -1;
}

/* --- a pattern that has none ---------------------------------------------------------------------------- */

/* Characters of the pattern's longest piece without a wildcard that the name has, in one run. */
static int likeness(const char *pattern, const char *name) {
    int best = 0;
    for (const char *p = pattern; *p; p++)
        for (const char *s = name; *s; s++) {
            int n = 0;
            while (p[n] && p[n] == s[n] && !strchr("*?[]", p[n]))
                n++;
            best = n > best ? n : best;
        }
    return best;
}

/* Names that differ in their numbers alone are one kind. */
static int same_kind(const char *a, const char *b) {
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            a += strspn(a, "0123456789");
            b += strspn(b, "0123456789");
        } else if (*a++ != *b++) {
            return 0;
        }
    }
    return *a == *b;
}

enum { NEAREST = 3 };

/* The names nearest to the pattern, each of another kind, best first. */
static int nearest(const struct sy_params *p, const char *pattern, const char *names[NEAREST]) {
    int score[NEAREST] = {0}, n = 0;
    for (int i = 0; i < p->n_tensors; i++) {
        const char *name = p->tensor[i].name;
        int is_known = p->param[p->tensor[i].param].kind == SY_PARAM_BUFFER, like = likeness(pattern, name),
            at;
        for (int k = 0; k < n && !is_known; k++)
            is_known = same_kind(names[k], name);
        for (at = n; at > 0 && like > score[at - 1]; at--)
            ;
        if (is_known || at == NEAREST)
            continue;
        n += n < NEAREST;
        memmove(names + at + 1, names + at, (size_t)(n - at - 1) * sizeof *names);
        memmove(score + at + 1, score + at, (size_t)(n - at - 1) * sizeof *score);
        names[at] = name;
        score[at] = like;
    }
    return n;
}

static sy_status no_tensor(const struct sy_config *c, const struct sy_params *p, int group) {
    struct sy_optimizer_group g;
    const char *names[NEAREST];
    char list[1024] = "";
    size_t used = 0;
    SY_TRY(sy_optimizer_group_parse(c->optimizer.groups.items[group], &g));
    int n = nearest(p, g.pattern, names);
    for (int i = 0; i < n && used < sizeof list; i++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", names[i]);
    return sy_config_fail(
        c, "optimizer.groups",
        "the pattern \"%s\" has no tensor of this model that is trained: the nearest are %s", g.pattern,
        list);
}

static sy_status all_taken(const struct sy_config *c, int group) {
    return sy_config_fail(
        c, "optimizer.groups",
        "every tensor of \"%s\" is of an earlier group: the first that matches is taken, so put "
        "it before them or leave it out",
        c->optimizer.groups.items[group]);
}

sy_status sy_groups_check(const struct sy_config *c, const struct sy_params *p) {
    int n = (int)c->optimizer.groups.n;
    struct sy_optimizer_group g;
    char has[SY_GROUPS_MOST] = {0}, takes[SY_GROUPS_MOST] = {0};
    for (int t = 0; t < p->n_tensors && n > 0; t++) {
        const char *name = p->tensor[t].name;
        int own = sy_group_of(c, name, &g);
        if (p->param[p->tensor[t].param].kind == SY_PARAM_BUFFER)
            continue;
        if (own >= 0)
            takes[own] = 1;
        for (int i = 0; i < n; i++)
            has[i] |= sy_optimizer_group_parse(c->optimizer.groups.items[i], &g) == SY_OK &&
                      sy_optimizer_group_has(&g, name);
    }
    for (int i = 0; i < n; i++) {
        if (!has[i])
            return no_tensor(c, p, i);
        if (!takes[i])
            return all_taken(c, i);
    }
    return SY_OK;
}
