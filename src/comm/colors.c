/* Groups by color and key: see colors.h. */
#include "comm/colors.h"

int sy_colors_line_up(const struct sy_wish *all, int size, int rank, int *order, int *place) {
    int n = 0;
    for (int r = 0; r < size; r++) {
        if (all[r].color != all[rank].color)
            continue;
        int at = n++;
        for (; at > 0 && all[order[at - 1]].key > all[r].key; at--)
            order[at] = order[at - 1];
        order[at] = r;
    }
    for (int i = 0; i < n; i++)
        if (order[i] == rank)
            *place = i;
    return n;
}
