/* A run's folder while it is trained in: who has it, log.txt, config.toml. Before it is there, lines for
 * log.txt wait. */
#ifndef SY_TRAIN_RUN_FOLDER_H
#define SY_TRAIN_RUN_FOLDER_H

#include <stdio.h>

#include "base/log.h"
#include "base/text.h"
#include "config/config.h"
#include "train/io.h"

struct sy_run_folder {
    const struct sy_io *io; /* that gets the log's lines, too */
    const char *dir;
    FILE *log;            /* NULL: not yet */
    struct sy_text early; /* lines until then */
    int lock;             /* -1: not locked */
};

/* Local. Where the run is: run.dir, or runs/<name>. A config of a new run that is refused leaves no folder
 * behind. Errors: ERR_USAGE; those of finishing the config. */
sy_status sy_run_folder_name(struct sy_config *config, const char *name, const struct sy_log *log,
                             char out[4096]);

/* Local. Errors: ERR_RUNTIME another process trains there; ERR_IO. */
sy_status sy_run_folder_lock(struct sy_run_folder *f);
/* Local. A new run's, locked: made when all that can be refused was not. Errors: those of lock. */
sy_status sy_run_folder_make(struct sy_run_folder *f);
/* Local. Errors: ERR_IO with the path. */
sy_status sy_run_folder_open_log(struct sy_run_folder *f);
sy_status sy_run_folder_write_config(const struct sy_run_folder *f, const struct sy_config *config);
/* A log whose lines go to log.txt and to io; f outlives it. */
struct sy_log sy_run_folder_log(struct sy_run_folder *f);
void sy_run_folder_close(struct sy_run_folder *f);

#endif
