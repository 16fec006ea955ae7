/* How many processors this process may use: what a thread pool of its own size takes.
 *
 * The least of the affinity mask (taskset, cpusets, SLURM) and, rounded up, each quota of the control
 * groups that the process is in, up to the root of what is mounted (containers). Version 2 has the quota
 * in cpu.max, version 1 in cpu.cfs_quota_us over cpu.cfs_period_us.
 */
#ifndef SY_BASE_CPUS_H
#define SY_BASE_CPUS_H

/* Local. At least 1. What cannot be read bounds nothing. */
int sy_cpus_usable(void);

/* Local. The same for one of `processes` of this host that do the same work: what is not this process's
 * alone, by its affinity mask, is divided by them. At least 1. */
int sy_cpus_shared(int processes);

/* Local. The quotas alone, of a system whose files are below `root` ("" is this one): 1 to `most`. */
int sy_cpus_in_quota(const char *root, int most);

#endif
