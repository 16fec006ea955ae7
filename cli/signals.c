/* Signals, and what they ask of a long operation: see cli.h.
 *
 *     INT TERM HUP USR1 USR2 XCPU   save after the step and stop; a second INT or TERM quits at once
 *     run.save_signal               save after the step and go on
 *     PIPE XFSZ                     ignored: a closed pipe or a file that may not grow is a write error
 *
 * A signal that was ignored when the program started (nohup, a script's background jobs) stays ignored.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static const struct {
    const char *name;
    int number;
} caught[] = {{"int", SIGINT},   {"term", SIGTERM}, {"hup", SIGHUP},
              {"usr1", SIGUSR1}, {"usr2", SIGUSR2}, {"xcpu", SIGXCPU}};

static volatile int stop_requested, saves_requested;
static volatile sig_atomic_t signal_number, save_number;
static atomic_int interrupts;

/* What the handler says: of two texts it reads the one that nobody writes. */
static const char *volatile what = "";
static char notes[2][96];
static volatile sig_atomic_t note;

static size_t append(char *out, size_t n, size_t bytes, const char *text) {
    for (; *text && n < bytes; text++)
        out[n++] = *text;
    return n;
}

static void say(const char *first, const char *second) {
    char text[256];
    if (sy_cli_rank > 0)
        return; /* the launcher tells all of them */
    size_t n = append(text, 0, sizeof text - 1, sy_cli_live_line ? "\n" : "");
    sy_cli_live_line = 0;
    n = append(text, n, sizeof text - 1, first);
    n = append(text, n, sizeof text - 1, second);
    n = append(text, n, sizeof text - 1, notes[note]);
    text[n++] = '\n';
    ssize_t written = write(STDERR_FILENO, text, n);
    (void)written; /* nobody may be there to read it */
}

static void on_signal(int number) {
    int error = errno, interrupt = number == SIGINT || number == SIGTERM;
    if (number == save_number) {
        saves_requested++;
        say(what, ", then going on");
    } else if (interrupt && atomic_fetch_add(&interrupts, 1) > 0) {
        _exit(128 + number);
    } else if (interrupt || !stop_requested) {
        say(what, interrupt ? "; again: quit now" : "");
        if (!stop_requested)
            signal_number = number;
        stop_requested = 1;
    }
    errno = error;
}

static int is_ignored(int number) {
    struct sigaction a;
    return sigaction(number, NULL, &a) == 0 && a.sa_handler == SIG_IGN;
}

void sy_cli_ignore_signals(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void sy_cli_catch_signals(struct sy_io *io, const char *what_it_does, const char *save_signal) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    a.sa_flags = SA_RESTART;
    sigfillset(&a.sa_mask);
    what = what_it_does;
    for (size_t i = 0; i < sizeof caught / sizeof *caught; i++) {
        int saves = save_signal && strcmp(save_signal, caught[i].name) == 0;
        if (saves)
            save_number = caught[i].number;
        if (!is_ignored(caught[i].number))
            sigaction(caught[i].number, &a, NULL);
        else if (saves)
            fprintf(stderr,
                    "warning: run.save_signal = %s: that signal was ignored when this began (nohup), and "
                    "stays so\n",
                    save_signal);
    }
    io->stop = &stop_requested;
    io->save = &saves_requested;
}

void sy_cli_signal_note(double step_seconds) {
    int next = !note;
    snprintf(notes[next], sizeof notes[next], " (a step takes about %.*f s)", step_seconds < 9.5,
             step_seconds);
    note = next;
}

int sy_cli_signal(void) { return (int)signal_number; }
