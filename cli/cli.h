/* One file per command; public API only. A command gets its own arguments and returns a process exit code. */
#ifndef SY_CLI_H
#define SY_CLI_H

#include <signal.h>
#include <stdio.h>

#include "switchyard.h"

/* name, arguments, one line of help */
#define SY_COMMANDS(X)                                                                                   \
    X(train, "CONFIG [--section.key=value ...]", "train; go on from run.dir's newest checkpoint")        \
    X(verify, "CONFIG [--steps 3] [--layouts N] [--only F=V] [--break NAME]",                            \
      "many layouts, one digest table; 0 if all are equal")                                              \
    X(diff, "RUN_A RUN_B [--locate]", "first step, tensor and element that differ")                      \
    X(replay, "RUN --step N [--section.key=value ...]", "do a step of a run again: the same bits?")      \
    X(plan, "CONFIG [--world N] [--gpu NAME]",                                                           \
      "memory, FLOPs; of N ranks who has what, bytes, time; needs no hardware")                          \
    X(generate, "MODEL --prompt TEXT [--samples N] [--stop TEXT] [--json]",                              \
      "sample from a checkpoint or a run")                                                               \
    X(eval, "MODEL --data FILE | --multiple-choice FILE [--json]",                                       \
      "how likely a model finds texts; how often it finds the answer")                                   \
    X(logits, "MODEL --text TEXT|--data FILE [--out FILE] [--compare OTHER]",                            \
      "a model's logits: a file of them, or how far another's are")                                      \
    X(convert, "MODEL OUT [--dtype bf16|fp16|fp32] [--max-shard 5GB]",                                   \
      "a Hugging Face model folder for sharing")                                                         \
    X(tokenize, "TOKENIZER FILE ... | --text TEXT | --ids IDS",                                          \
      "text to ids and back, counts, a file of tokens")                                                  \
    X(tokenizer, "train FILE ... --vocab-size N --out FOLDER", "train a byte-level BPE; tokenizer.json") \
    X(inspect, "PATH | --experts RUN [--layer L] [--rows 32] [--json]",                                  \
      "check a checkpoint, a run or a safetensors file; show the load of experts")                       \
    X(report, "RUN [RUN ...] [-o report.html]",                                                          \
      "one page: curves, load of every expert, what happened, digests")                                  \
    X(plot, "RUN [--follow] [--width N] [--layer L]", "loss and load of experts in this terminal")       \
    X(runs, "[DIR]", "the runs in a folder: step, loss, tokens, state, digest")                          \
    X(init, "--flavor NAME [--device cuda]", "a commented config on stdout; one that fits a GPU")        \
    X(info, "", "this build: tiers, classes, ops, flavors")                                              \
    X(bench, "[gemm|moe|layers|ops|model|scaling] [--device cuda]",                                      \
      "speed on this machine: of the ops; of a training step, in parts")                                 \
    X(help, "[COMMAND|KEY]", "this text, what a command takes, or an option's meaning")                  \
    X(completion, "", "completion of bash, on stdout")                                                   \
    X(manual, "", "the manual page, on stdout")                                                          \
    X(version, "", "the version")

#define X(name, args, text) int sy_cli_##name(int argc, char **argv);
SY_COMMANDS(X)
#undef X

struct sy_cli_command {
    const char *name, *args, *text;
    int (*run)(int argc, char **argv);
};
extern const struct sy_cli_command sy_cli_commands[];
extern const int sy_cli_n_commands;
const struct sy_cli_command *sy_cli_find(const char *name); /* NULL if there is none */

/* The rows of commands.def. */
enum sy_cli_row_kind { SY_CLI_ARGUMENT, SY_CLI_OPTION, SY_CLI_CONFIG, SY_CLI_NOTE };
struct sy_cli_row {
    const char *command;
    enum sy_cli_row_kind kind;
    const char *name, *arg, *text; /* arg "": a flag */
};
extern const struct sy_cli_row sy_cli_rows[];
extern const int sy_cli_n_rows;

/* The i-th argument of a command is the value of the option before it, as TEXT is in `--prompt TEXT`. */
int sy_cli_is_value(const char *command, char **argv, int i);

/* The command's option that a name is or is taken for: '-' equals '_', then what begins so, then the nearest
 * by edit distance; NULL: none is near. */
const struct sy_cli_row *sy_cli_option_near(const char *command, const char *name);
/* The command that a word is taken for; NULL: none is near. */
const char *sy_cli_command_near(const char *word);
/* The command takes --section.key=VALUE. */
int sy_cli_takes_keys(const char *command);

/* `switchyard help COMMAND`, to stdout. */
void sy_cli_help_command(const struct sy_cli_command *command);

/* Which process of a run this is (sy_process_rank); all but the first say only what is wrong with them
 * alone. */
extern int sy_cli_rank;

/* Runs a command that processes of a launcher do together. It ends the others when one has failed: the
 * first is given time to say why. */
int sy_cli_as_rank(int (*command)(int argc, char **argv), int argc, char **argv);

/* The program as it was called. */
extern const char *sy_cli_program;

/* Prints `switchyard: <message>` to stderr; the exit code of the status, 128 + the signal after one. OK
 * and STOPPED print nothing. */
int sy_cli_finish(sy_status status);
/* The same; all that is wrong with the config, if that is the error. */
int sy_cli_finish_config(const struct sy_config *config, sy_status status);
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

/* Takes "--name value" or "--name=value" out of argv. Returns 1 if it was there; *value NULL if a value is
 * missing. */
int sy_cli_take(int *argc, char **argv, const char *name, const char **value);
/* The same of "-o value". */
int sy_cli_take_short(int *argc, char **argv, char letter, const char **value);
/* A whole number within bounds; 0: text (or NULL) is none. */
struct sy_cli_bounds {
    int64_t low, high;
};
int sy_cli_number(const char *text, struct sy_cli_bounds bounds, int64_t *out);
/* Takes "--name N". *out stays where it is not there; 2: there, but no such number, which was said. */
int sy_cli_take_number(int *argc, char **argv, const char *name, const char *command,
                       struct sy_cli_bounds bounds, int64_t *out);
/* Says that the text (NULL: there is none) of "--name" is no whole number within bounds; 2. */
int sy_cli_no_number(const char *command, const char *name, const char *text, struct sy_cli_bounds bounds);
/* Takes the flag "--name" out of argv. */
int sy_cli_take_flag(int *argc, char **argv, const char *name);

/* The locale's characters are UTF-8. */
int sy_cli_is_utf8(void);

/* An argument that nobody takes, with the option that may have been meant; 2. */
int sy_cli_not_understood(const char *command, const char *arg);

/* Loads CONFIG (argv[1]) and the --section.key flags; other leftovers are usage errors. */
int sy_cli_config(const char *command, int argc, char **argv, struct sy_config **out);
/* A command over MODEL (argv[1]) and the --section.key flags, once its options are taken; its exit code. */
struct sy_cli_on_model {
    const char *command, *needed; /* "a model": what is missing where argv[1] is */
    const char *stopping;         /* what a signal is answered with (sy_cli_catch_signals) */
    sy_status (*run)(struct sy_config *config, const char *model, const void *options,
                     const struct sy_io *io);
    const void *options;
};
int sy_cli_on_model(int argc, char **argv, const struct sy_cli_on_model *o);
/* File name of a path without folders and .toml. */
void sy_cli_config_name(const char *path, char out[256]);

#endif
