/* What Prometheus reads: a parser of our own finds each number of metrics.jsonl's newest step in the page of
 * a run that trains; a port that is taken ends the run before its folder is made; and clients that say
 * nothing, read nothing or send a megabyte get no more than their place and their time.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../lib/room.h"
#include "../lib/session.h"
#include "base/clock.h"
#include "report/serve.h"
#include "switchyard.h"


/* --- a client ------------------------------------------------------------------------------------------- */

static int free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(bind(fd, (struct sockaddr *)&at, n) == 0 && getsockname(fd, (struct sockaddr *)&at, &n) == 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int dial(int port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    close(fd);
    return -1;
}

/* What comes until the end, at most 5 s of it; the text is static. */
static const char *hear(int fd) {
    static char text[1 << 20];
    size_t n = 0;
    double until = sy_clock() + 5;
    while (n < sizeof text - 1 && sy_clock() < until) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, 100) <= 0)
            continue;
        ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    text[n] = 0;
    close(fd);
    return text;
}

static const char *ask(int port, const char *request) {
    int fd = dial(port);
    if (fd < 0)
        return "";
    send(fd, request, strlen(request), MSG_NOSIGNAL);
    return hear(fd);
}

/* --- the text format, as its description has it --------------------------------------------------------- */

struct sample {
    char name[128], labels[9200];
    double value;
};
enum { MOST = 400 };
static struct sample sample[MOST];
static int n_samples;

static int is_name(char c, int first) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
           (!first && c >= '0' && c <= '9');
}

/* {name="value",…}; a value has \\, \" and \n escaped. */
static const char *labels(const char *p) {
    if (*p != '{')
        return p;
    for (p++; *p != '}';) {
        int first = 1;
        for (; is_name(*p, first); p++)
            first = 0;
        if (first || p[0] != '=' || p[1] != '"')
            return NULL;
        for (p += 2; *p != '"'; p++) {
            if (*p == '\\' && !strchr("\\\"n", *++p))
                return NULL;
            if (!*p || *p == '\n')
                return NULL;
        }
        p++;
        if (*p == ',')
            p++;
        else if (*p != '}')
            return NULL;
    }
    return p + 1;
}

/* NULL, or what is wrong. Samples stand below the TYPE of their name, each name in one block. */
static const char *parse(const char *text) {
    static char type[128];
    n_samples = 0;
    type[0] = 0;
    for (const char *p = text, *end; *p; p = end + 1) {
        struct sample *s = &sample[n_samples];
        char *number_end;
        if (!(end = strchr(p, '\n')))
            return "the last line has no end";
        if (strncmp(p, "# HELP ", 7) == 0)
            continue;
        if (strncmp(p, "# TYPE ", 7) == 0) {
            char kind[16];
            if (sscanf(p, "# TYPE %127s %15s\n", type, kind) != 2 ||
                (strcmp(kind, "gauge") != 0 && strcmp(kind, "counter") != 0))
                return "a type that there is not";
            for (int i = 0; i < n_samples; i++)
                if (strcmp(sample[i].name, type) == 0)
                    return "a name in two blocks";
            continue;
        }
        size_t n = 0;
        while (is_name(p[n], n == 0) && n < sizeof s->name - 1)
            n++;
        memcpy(s->name, p, n);
        s->name[n] = 0;
        if (n == 0 || strcmp(s->name, type) != 0)
            return "a sample without its type before it";
        const char *value = labels(p + n);
        if (!value || *value != ' ' || (size_t)(value - p) - n >= sizeof s->labels)
            return "labels that are none";
        memcpy(s->labels, p + n, (size_t)(value - p) - n);
        s->labels[(size_t)(value - p) - n] = 0;
        s->value = strtod(value + 1, &number_end);
        if (number_end == value + 1 || number_end != end)
            return "a value that is no number";
        for (int i = 0; i < n_samples; i++)
            if (strcmp(sample[i].name, s->name) == 0 && strcmp(sample[i].labels, s->labels) == 0)
                return "a sample twice";
        if (++n_samples == MOST)
            return "too many samples";
    }
    return NULL;
}

static const struct sample *find(const char *name, const char *with) {
    for (int i = 0; i < n_samples; i++)
        if (strcmp(sample[i].name, name) == 0 && strcmp(sample[i].labels, with) == 0)
            return &sample[i];
    return NULL;
}

/* The parser sees what is wrong. */
static void parser(void **state) {
    (void)state;
    assert_null(
        parse("# HELP a b\n# TYPE a gauge\na 1\n# TYPE c counter\nc{x=\"\\\\\\\"\\n\",y=\"}\"} NaN\n"));
    assert_true(n_samples == 2 && find("a", "")->value == 1 && isnan(sample[1].value));
    const char *bad[] = {"a 1\n",
                         "# TYPE a gauge\na 1",
                         "# TYPE a gauge\na one\n",
                         "# TYPE a gauge\na{x=1} 1\n",
                         "# TYPE a gauge\na{x=\"\"\"} 1\n",
                         "# TYPE a gauge\na{x=\"\\t\"} 1\n",
                         "# TYPE a gauge\na 1\na 1\n",
                         "# TYPE a some\na 1\n",
                         "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\na 2\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (!parse(bad[i]))
            fail_msg("the parser takes %s", bad[i]);
}

/* --- a server, and clients of every kind ---------------------------------------------------------------- */

static atomic_int pages;
static size_t large_page(void *self, char *out, size_t bytes) {
    (void)self;
    memset(out, 'x', bytes);
    pages++;
    return bytes;
}

static int open_files(void) {
    DIR *d = opendir("/proc/self/fd");
    int n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n;
}

enum { PAGE = 600000 };
static struct sy_serve *serve_at(int *port, double seconds) {
    struct sy_serve_options o = {
        .seconds = seconds, .type = "text/plain", .page_bytes = PAGE, .page = large_page};
    struct sy_serve *s;
    *port = free_port();
    expect_ok(sy_serve_listen("127.0.0.1", *port, "address", "port", &o.listener));
    expect_ok(sy_serve_begin(&o, &s));
    return s;
}

static void requests(void **state) {
    (void)state;
    int port;
    struct sy_serve *s = serve_at(&port, 5);
    char length[64];
    snprintf(length, sizeof length, "Content-Length: %d\r\n", PAGE);
    const char *whole[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                           "GET /metrics HTTP/1.1\r\nAccept: */*\r\n\r\n",
                           "GET /metrics?name=a HTTP/1.0\n\n"};
    for (int i = 0; i < 3; i++) {
        const char *text = ask(port, whole[i]), *body = strstr(text, "\r\n\r\n");
        assert_true(strncmp(text, "HTTP/1.1 200 OK\r\n", 17) == 0 && strstr(text, length) && body);
        assert_true(strlen(body + 4) == PAGE && strspn(body + 4, "x") == PAGE);
    }
    const char *head = ask(port, "HEAD /metrics HTTP/1.1\r\n\r\n");
    assert_true(strstr(head, length) && strlen(strstr(head, "\r\n\r\n")) == 4);
    assert_int_equal(strncmp(ask(port, "GET /metric HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 ", 13), 0);
    assert_int_equal(strncmp(ask(port, "GET /../etc/passwd HTTP/1.1\r\n\r\n"), "HTTP/1.1 404 ", 13), 0);
    assert_int_equal(strncmp(ask(port, "POST / HTTP/1.1\r\n\r\n"), "HTTP/1.1 405 ", 13), 0);
    assert_int_equal(strncmp(ask(port, "\r\n\r\n"), "HTTP/1.1 405 ", 13), 0);
    int fd = dial(port); /* a request in pieces */
    for (const char *p = "GET / HTTP/1.1\r\n\r\n"; *p; p++) {
        assert_int_equal(send(fd, p, 1, MSG_NOSIGNAL), 1);
        usleep(500);
    }
    assert_int_equal(strncmp(hear(fd), "HTTP/1.1 200 ", 13), 0);
    sy_serve_end(s);
    assert_int_equal(dial(port), -1);
}

/* The server has files for as many clients as it says, and a page for who asks properly, whoever else is
 * there. */
static void rude(void **state) {
    (void)state;
    int port, before, silent[40], slow;
    static char megabyte[1 << 20];
    struct sy_serve *s = serve_at(&port, 0.5);
    before = open_files();
    for (int i = 0; i < 40; i++)
        silent[i] = dial(port);
    slow = dial(port);
    send(slow, "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL); /* and reads nothing of 600,000 bytes */
    memset(megabyte, 'A', sizeof megabyte);
    int fd = dial(port);
    send(fd, megabyte, sizeof megabyte, MSG_NOSIGNAL | MSG_DONTWAIT);
    const char *text = hear(fd); /* refused, or reset while it still sent */
    assert_true(text[0] == 0 || strncmp(text, "HTTP/1.1 431 ", 13) == 0);
    double began = sy_clock();
    assert_int_equal(strncmp(ask(port, "GET / HTTP/1.1\r\n\r\n"), "HTTP/1.1 200 ", 13), 0);
    assert_true(sy_clock() - began < 3);
    int ours = 0;
    for (int i = 0; i < 40; i++)
        ours += silent[i] >= 0;
    assert_true(open_files() - before <= ours + 1 + SY_SERVE_CLIENTS);
    usleep(900000); /* longer than a client has */
    assert_true(open_files() - before <= ours + 1);
    for (int i = 0; i < 40; i++)
        close(silent[i]);
    close(slow);
    began = sy_clock();
    for (int i = 0; i < 3; i++)
        silent[i] = dial(port);
    sy_serve_end(s); /* does not wait for them */
    assert_true(sy_clock() - began < 2);
    for (int i = 0; i < 3; i++)
        close(silent[i]);
}

static void listening(void **state) {
    (void)state;
    int fd, second, port = free_port();
    expect_ok(sy_serve_listen("127.0.0.1", port, "the address", "the.port", &fd));
    assert_int_equal(sy_serve_listen("127.0.0.1", port, "the address", "the.port", &second), SY_ERR_RUNTIME);
    char want[200];
    snprintf(want, sizeof want,
             "the.port = %d: 127.0.0.1:%d is in use, by another run or program: choose another port, or 0 "
             "for none",
             port, port);
    assert_string_equal(sy_error_message(), want);
    close(fd);
    assert_int_equal(sy_serve_listen("localhost", port, "the address", "the.port", &second), SY_ERR_USAGE);
    assert_non_null(strstr(sy_error_message(), "the address = \"localhost\""));
    assert_int_equal(sy_serve_listen("", port, "the address", "the.port", &second), SY_ERR_USAGE);
    assert_int_equal(sy_serve_listen("203.0.113.7", port, "the address", "the.port", &second),
                     SY_ERR_RUNTIME);
}

/* --- a training ----------------------------------------------------------------------------------------- */

struct scraper {
    int port, good, bad, rude;
    atomic_int ends;
    const char *why;
    char newest[1 << 16]; /* a page with a step in it */
};

/* As long as the training goes on: pages that parse; rude: clients that keep all places and say nothing. */
static void *scrape(void *arg) {
    struct scraper *s = arg;
    int fd[16];
    for (int i = 0; i < 16; i++)
        fd[i] = -1;
    while (!s->ends) {
        for (int i = 0; i < 16 && s->rude; i++) {
            if (fd[i] >= 0)
                close(fd[i]);
            fd[i] = dial(s->port);
        }
        const char *text = ask(s->port, "GET /metrics HTTP/1.1\r\n\r\n"), *body = strstr(text, "\r\n\r\n");
        usleep(1000);
        if (!body)
            continue;
        const char *why = parse(body + 4);
        s->why = why ? why : s->why;
        s->good += !why;
        s->bad += why != NULL;
        if (strstr(body, "switchyard_step "))
            snprintf(s->newest, sizeof s->newest, "%s", body + 4);
    }
    for (int i = 0; i < 16; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return NULL;
}

static sy_status train(const char *dir, int port, const char *steps, char digest[33]) {
    char number[16];
    struct sy_train_summary out;
    struct sy_io io = {0};
    snprintf(number, sizeof number, "%d", port);
    const char *options[][2] = {{"model.flavor", "micro_gqa"},
                                {"run.dir", dir},
                                {"run.threads", "1"},
                                {"training.steps", steps},
                                {"checkpoint.enable", "false"},
                                {"metrics.enable_report", "false"},
                                {"metrics.prometheus_port", number},
                                {"training.dataset_path", "examples/data/short_pieces.jsonl"}};
    struct sy_config *c = config_with(options, 8);
    sy_status status = sy_train(c, "test", &io, &out);
    snprintf(digest, 33, "%s", out.weights_digest);
    sy_config_destroy(c);
    return status;
}

static json_t *line_of(const char *dir, double step) {
    char path[300], *line = NULL;
    size_t capacity = 0;
    json_t *found = NULL;
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    FILE *f = fopen(path, "r");
    while (f && !found && getline(&line, &capacity, f) > 0) {
        json_t *j = json_loads(line, 0, NULL);
        if (json_number_value(json_object_get(j, "step")) == step)
            found = json_incref(j);
        json_decref(j);
    }
    free(line);
    if (f)
        fclose(f);
    return found;
}

static void check(json_t *object, const char *key, double scale, const char *name, const char *with) {
    const struct sample *s = find(name, with);
    double x = json_number_value(json_object_get(object, key)) * scale;
    if (!s || !(fabs(s->value - x) <= 6e-6 * fabs(x)))
        fail_msg("%s%s is %g, metrics.jsonl has %s = %g", name, with, s ? s->value : NAN, key, x);
}

static void compare(const char *dir, const char *page) {
    if (parse(page))
        fail_msg("%s", parse(page));
    const struct sample *step = find("switchyard_step", "");
    json_t *line = line_of(dir, step ? step->value : -1), *layer;
    size_t i;
    assert_non_null(line);
    check(line, "loss", 1, "switchyard_loss", "");
    check(line, "grad_norm", 1, "switchyard_grad_norm", "");
    check(line, "lr", 1, "switchyard_learning_rate", "");
    check(line, "tokens", 1, "switchyard_tokens_total", "");
    check(line, "tps", 1, "switchyard_tokens_per_second", "");
    check(line, "tflops", 1e12, "switchyard_flops_per_second", "");
    check(line, "mfu", 0.01, "switchyard_mfu_ratio", "");
    check(line, "mem_bytes", 1, "switchyard_memory_bytes", "");
    check(line, "step_ms", 1e-3, "switchyard_step_seconds", "");
    check(line, "data_ms", 1e-3, "switchyard_data_seconds", "");
    json_array_foreach(json_object_get(line, "moe"), i, layer) {
        char with[40];
        snprintf(with, sizeof with, "{layer=\"%d\"}",
                 (int)json_integer_value(json_object_get(layer, "layer")));
        check(layer, "load_min", 1, "switchyard_moe_load_min", with);
        check(layer, "load_max", 1, "switchyard_moe_load_max", with);
        check(layer, "load_cv", 1, "switchyard_moe_load_cv", with);
        check(layer, "entropy", 1, "switchyard_moe_load_entropy", with);
        check(layer, "dead", 1, "switchyard_moe_load_dead", with);
    }
    assert_int_equal(i, 2);
    assert_non_null(find("switchyard_alerts_total", "{event=\"loss_spike\"}"));
    json_decref(line);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median ms of a run's steps. */
static double median(const char *dir) {
    double ms[1000];
    int n = 0;
    for (json_t *line; n < 1000 && (line = line_of(dir, n + 1)); n++) {
        ms[n] = json_number_value(json_object_get(line, "step_ms"));
        json_decref(line);
    }
    qsort(ms, (size_t)n, sizeof *ms, by_value);
    return n ? ms[n / 2] : NAN;
}

static void run_with(int is_rude, char digest[33]) {
    static struct scraper s;
    pthread_t thread;
    char dir[200];
    s = (struct scraper){.port = free_port(), .rude = is_rude};
    snprintf(dir, sizeof dir, "%s/a\"\\%d", room, is_rude); /* a name that must be escaped */
    assert_int_equal(pthread_create(&thread, NULL, scrape, &s), 0);
    expect_ok(train(dir, s.port, "150", digest));
    s.ends = 1;
    pthread_join(thread, NULL);
    if (s.bad)
        fail_msg("%d of %d pages do not parse: %s", s.bad, s.bad + s.good, s.why);
    assert_true(s.good > 0);
    compare(dir, s.newest);
}

static void training(void **state) {
    (void)state;
    char dir[200], plain[33], scraped[33];
    snprintf(dir, sizeof dir, "%s/plain", room);
    expect_ok(train(dir, 0, "150", plain));
    run_with(0, scraped);
    assert_string_equal(plain, scraped);
    run_with(1, scraped);
    assert_string_equal(plain, scraped);
    char with[200];
    snprintf(with, sizeof with, "%s/a\"\\1", room);
    double alone = median(dir), beside = median(with);
    if (!(beside <= 2 * alone + 1))
        fail_msg("a step takes %g ms, beside clients that hold all places %g ms", alone, beside);
}

static void taken(void **state) {
    (void)state;
    int fd, port = free_port();
    char dir[200], digest[33], want[64];
    expect_ok(sy_serve_listen("127.0.0.1", port, "a", "b", &fd));
    snprintf(dir, sizeof dir, "%s/taken", room);
    snprintf(want, sizeof want, "metrics.prometheus_port = %d: 127.0.0.1:%d is in use", port, port);
    assert_int_equal(train(dir, port, "3", digest), SY_ERR_RUNTIME);
    assert_non_null(strstr(sy_error_message(), want));
    assert_int_equal(access(dir, F_OK), -1);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parser),   cmocka_unit_test(requests),
                                       cmocka_unit_test(rude),     cmocka_unit_test(listening),
                                       cmocka_unit_test(training), cmocka_unit_test(taken)};
    return cmocka_run_group_tests(tests, open_room, close_room);
}
