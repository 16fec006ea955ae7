/* report.html beside a training: see live.h. */
#include "report/live.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "report/report.h"

struct sy_report_live {
    struct sy_report_run run;  /* the thread's */
    char path[4200], why[512]; /* why: "": the last writing did not fail */
    pthread_t thread;
    sem_t wake; /* no lock: the training never waits for a thread without time */
    atomic_int asked, ends;
};

static void write_page(struct sy_report_live *l) {
    sy_status status = sy_report_run_update(&l->run);
    if (status == SY_OK && l->run.n_steps)
        status = sy_report_write(&l->run, 1, l->path);
    snprintf(l->why, sizeof l->why, "%s", status == SY_OK ? "" : sy_error_message());
}

static void *work(void *arg) {
    struct sy_report_live *l = arg;
    int ends = 0;
    pthread_setschedparam(pthread_self(), SCHED_IDLE,
                          &(struct sched_param){0}); /* refused: as other threads */
    while (!ends) {
        while (sem_wait(&l->wake) != 0) /* a debugger came */
            ;
        ends = atomic_load(&l->ends);
        if (atomic_exchange(&l->asked, 0))
            write_page(l);
    }
    return NULL;
}

/* Signals are for the threads that were there before. */
static int start_thread(struct sy_report_live *l) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&l->thread, NULL, work, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return !failed;
}

static void destroy(struct sy_report_live *l) {
    sy_report_run_close(&l->run);
    sem_destroy(&l->wake);
    free(l);
}

struct sy_report_live *sy_report_live_begin(const char *dir, const struct sy_log *log) {
    struct sy_report_live *l = calloc(1, sizeof *l);
    if (!l) {
        sy_log_warn(log, "report.html is not written: out of memory");
        return NULL;
    }
    l->run.lines.fd = -1;
    sem_init(&l->wake, 0, 0);
    snprintf(l->path, sizeof l->path, "%s/report.html", dir);
    sy_status status = sy_report_run_open(dir, &l->run);
    if (status != SY_OK || !start_thread(l)) {
        sy_log_warn(log, "report.html is not written: %s",
                    status == SY_OK ? "no thread" : sy_error_message());
        destroy(l);
        return NULL;
    }
    return l;
}

void sy_report_live_ask(struct sy_report_live *l) {
    if (!l)
        return;
    atomic_store(&l->asked, 1);
    sem_post(&l->wake);
}

void sy_report_live_end(struct sy_report_live *l, const struct sy_log *log) {
    if (!l)
        return;
    pthread_setschedparam(l->thread, SCHED_OTHER, &(struct sched_param){0}); /* now it is waited for */
    atomic_store(&l->ends, 1);
    sy_report_live_ask(l);
    pthread_join(l->thread, NULL);
    if (*l->why)
        sy_log_warn(log, "report.html is not written: %s", l->why);
    destroy(l);
}
