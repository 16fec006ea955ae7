/* report.html beside a training: a thread of its own writes it when asked, with processor time that nothing
 * else wants (SCHED_IDLE). The training waits for it at the end alone. What fails is said there, once. */
#ifndef SY_REPORT_LIVE_H
#define SY_REPORT_LIVE_H

#include "base/log.h"

struct sy_report_live;

/* Local. Of the run in a folder. NULL: it cannot be done; the log has a line that says why. */
struct sy_report_live *sy_report_live_begin(const char *dir, const struct sy_log *log);

/* Local. report.html is to be written anew: soon, and once for several calls that come while it is. NULL is
 * fine. */
void sy_report_live_ask(struct sy_report_live *live);

/* Local. Writes it a last time, waits for it and frees all. What failed, here or before, is one line in the
 * log. NULL is fine. */
void sy_report_live_end(struct sy_report_live *live, const struct sy_log *log);

#endif
