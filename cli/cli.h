/* One file per command; public API only. A command gets its own arguments and returns a process exit code. */
#ifndef SY_CLI_H
#define SY_CLI_H

#include <signal.h>
#include <stdio.h>

#include "switchyard.h"

/* name, arguments, one line of help */
#define SY_COMMANDS(X)                                                                                   \
    X(train, "CONFIG [--section.key=value ...]", "train; go on from run.dir's newest checkpoint")        \
    X(verify, "CONFIG [--steps 3] [--break NAME]", "many layouts, one digest table; 0 if all are equal") \
    X(diff, "RUN_A RUN_B", "first step, tensor and element that differ")                                 \
    X(plan, "CONFIG", "parameters, FLOPs and memory; needs no hardware")                                 \
    X(generate, "MODEL --prompt TEXT", "sample from a checkpoint or a run")                              \
    X(inspect, "PATH | --experts RUN [--layer L] [--rows 32] [--json]",                                  \
      "check a checkpoint, a run or a safetensors file; show the load of experts")                       \
    X(init, "--flavor NAME", "a commented config on stdout")                                             \
    X(info, "", "this build: tiers, classes, ops, flavors")                                              \
    X(bench, "[gemm|moe|ops [OP ...]|model [CONFIG ...] [--steps 7] [--cpu]] [--json]",                 \
      "speed on this machine: of the ops; of a training step, in parts")                                 \
    X(help, "[COMMAND|KEY]", "this text, or an option's meaning")                                        \
    X(version, "", "the version")

#define X(name, args, text) int sy_cli_##name(int argc, char **argv);
SY_COMMANDS(X)
#undef X

/* The program as it was called. */
extern const char *sy_cli_program;

/* Prints `switchyard: <message>` to stderr; the exit code of the status, 128 + the signal after one. OK
 * and STOPPED print nothing. */
int sy_cli_finish(sy_status status);
/* Usage error: prints the message and the command's usage; 2. */
int sy_cli_usage(const char *command, const char *fmt, ...);

/* An io that writes to stdout, logs to stderr and shows progress: a head, then one live line on a
 * terminal, plain lines elsewhere. */
struct sy_io sy_cli_io(void);
/* Ends a live progress line. */
void sy_cli_progress_end(void);
/* A live progress line stands on the terminal. */
extern volatile sig_atomic_t sy_cli_live_line;

/* INT, TERM, HUP, USR1, USR2 and XCPU set io->stop, and are said: `what` (as "saving after this step",
 * static). A second INT or TERM quits at once. save_signal ("usr1", or NULL or "none") changes io->save
 * instead. Those that are ignored stay ignored. */
void sy_cli_catch_signals(struct sy_io *io, const char *what, const char *save_signal);
/* What a step takes: said with it. */
void sy_cli_signal_note(double step_seconds);
/* The signal that asked to stop, or 0. */
int sy_cli_signal(void);
/* What is a write error for a program that looks at its writes. */
void sy_cli_ignore_signals(void);

/* Takes "--name value" or "--name=value" out of argv. Returns 1 if it was there; *value NULL if a value is missing. */
int sy_cli_take(int *argc, char **argv, const char *name, const char **value);
/* Takes the flag "--name" out of argv. */
int sy_cli_take_flag(int *argc, char **argv, const char *name);

/* Loads CONFIG (argv[1]) and the --section.key flags; other leftovers are usage errors. */
int sy_cli_config(const char *command, int argc, char **argv, struct sy_config **out);
/* File name of a path without folders and .toml. */
void sy_cli_config_name(const char *path, char out[256]);

#endif
