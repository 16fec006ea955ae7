/* Which files a list of paths is, and in which order: spellings, links, what is passed over. */
#include "data_folder.h"

/* Files of `sources`, each as the text of its one document, with spaces between. */
static void reads(const char *const *sources, int n, const char *want) {
    char got[512] = "";
    size_t at = 0;
    struct sy_data_options o = {.dataset_paths = sources, .n_dataset_paths = n, .log = &logger};
    logged[0] = 0;
    struct sy_documents *d = load(&o);
    for (int64_t i = 0; i < d->n_documents; i++)
        if (at < sizeof got)
            at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? " " : "",
                                   (int)d->document[i].bytes, d->text + d->document[i].offset);
    assert_string_equal(got, want);
    sy_documents_destroy(d);
}

/* Documents stand by source, then by path below it: no spelling of a source and no place of its folder
 * shows. */
static void test_order_of_sources(void **state) {
    (void)state;
    char at[3][320], here[256];
    assert_int_equal(mkdir(path_of("z"), 0777), 0);
    assert_int_equal(mkdir(path_of("z/y"), 0777), 0);
    assert_int_equal(mkdir(path_of("b"), 0777), 0);
    put("z/y/1", "z/y/1");
    put("z/y.1", "z/y.1"); /* bytewise: '.' before '/' */
    put("z/2", "z/2");
    put("b/3", "b/3");
    put("a", "a");
    static const char *const spellings[][3] = {
        {"%s/z", "%s/b", "%s/a"}, {"%s/z/", "%s/b//", "%s/./a"}, {"%s/b/../z", "%s/./b", "%s//a"}};
    for (size_t i = 0; i < 3; i++) {
        const char *list[3];
        for (int k = 0; k < 3; k++) {
            snprintf(at[k], sizeof at[k], spellings[i][k], folder);
            list[k] = at[k];
        }
        reads(list, 3, "z/2 z/y.1 z/y/1 b/3 a");
    }
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(folder), 0);
    reads((const char *const[]){"z", "b", "a"}, 3, "z/2 z/y.1 z/y/1 b/3 a");
    reads((const char *const[]){"./z", "b", "a"}, 3, "z/2 z/y.1 z/y/1 b/3 a");
    reads((const char *const[]){"a", "b", "z"}, 3, "a b/3 z/2 z/y.1 z/y/1");
    reads((const char *const[]){"."}, 1, "a b/3 z/2 z/y.1 z/y/1");
    static const char *const twice[][2] = {
        {"z", "./z"}, {"z", "z/y"}, {"a", "../%s/a"}, {"b/3", "b"}, {"a", "a"}};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) { /* one file by two names */
        snprintf(at[0], sizeof at[0], twice[i][1], strrchr(folder, '/') + 1);
        const char *const list[] = {twice[i][0], at[0]};
        refuses(&(struct sy_data_options){.dataset_paths = list, .n_dataset_paths = 2}, SY_ERR_USAGE,
                ": twice in training.dataset_path, also as ");
    }
    assert_int_equal(chdir(here), 0);
    static const char *const gone[] = {"z/y/1", "z/y.1", "z/2", "z/y", "z", "b/3", "b", "a"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
}

static void link_to(const char *target, const char *name) {
    assert_int_equal(symlink(target, path_of(name)), 0);
}

/* Links to files and folders, inside and outside, are read under their own names. */
static void test_links(void **state) {
    (void)state;
    char outside[] = "/tmp/sy_outside_XXXXXX", path[320];
    assert_non_null(mkdtemp(outside));
    snprintf(path, sizeof path, "%s/far", outside);
    FILE *f = fopen(path, "wb");
    assert_true(f && fputs("far", f) >= 0 && fclose(f) == 0);
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    put("in/near", "near");
    link_to("in/near", "b_file");
    link_to(path, "a_file_outside");
    link_to(outside, "z_folder_outside");
    link_to("b_file", "c_link_to_a_link");
    reads(folder_list, 1, "far near near near far");
    says("warning: data: 3 files are read more than once: ", "", "");
    snprintf(path, sizeof path, "%s/root", outside);
    assert_int_equal(symlink(folder, path), 0); /* a source that is a link: the same data */
    reads((const char *const[]){path}, 1, "far near near near far");
    assert_int_equal(unlink(path), 0);
    static const char *const gone[] = {
        "in/near", "in", "b_file", "a_file_outside", "z_folder_outside", "c_link_to_a_link"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
    snprintf(path, sizeof path, "%s/far", outside);
    assert_true(unlink(path) == 0 && rmdir(outside) == 0);
}

/* The cache of the Hugging Face hub: a snapshot is a folder of links to blobs without a suffix. */
static void test_hub_cache(void **state) {
    (void)state;
    static const char *const folders[] = {"blobs", "refs", "snapshots", "snapshots/1f2e",
                                          "snapshots/1f2e/data"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_int_equal(mkdir(path_of(folders[i]), 0777), 0);
    put("blobs/6b86b273ff34", "{\"text\":\"one\"}\n{\"text\":\"two\"}\n");
    put("refs/main", "1f2e");
    link_to("../../../blobs/6b86b273ff34", "snapshots/1f2e/data/train.jsonl");
    char snapshot[256];
    snprintf(snapshot, sizeof snapshot, "%s", path_of("snapshots/1f2e"));
    const char *const list[] = {snapshot};
    reads(list, 1, "one two");
    drop("blobs/6b86b273ff34"); /* a download that was not finished */
    struct sy_data_options o = {.dataset_paths = list, .n_dataset_paths = 1, .log = &logger};
    logged[0] = 0;
    refuses(&o, SY_ERR_USAGE, "no files");
    says("warning: ", "snapshots/1f2e/data/train.jsonl",
         ": passed over: a link to ../../../blobs/6b86b273ff34, which is not there");
    drop("snapshots/1f2e/data/train.jsonl");
    drop("refs/main");
    for (size_t i = sizeof folders / sizeof *folders; i-- > 0;)
        drop(folders[i]);
}

/* What is not read is named; the rest is read. */
static void test_passed_over(void **state) {
    (void)state;
    put("a", "a");
    put(".hidden", "never");
    reads(folder_list, 1, "a");
    says("data: ", ".hidden", " is hidden: passed over");
    link_to("nowhere", "dangling");
    link_to("a/below", "below_a_file");
    link_to("me", "me");
    link_to("you", "he");
    link_to("he", "you");
    assert_int_equal(mkdir(path_of("in"), 0777), 0);
    assert_int_equal(mkdir(path_of("in/.git"), 0777), 0);
    put("in/b", "b");
    link_to("..", "in/up");
    link_to(".", "in/here");
    assert_int_equal(mkfifo(path_of("pipe"), 0666), 0);
    reads(folder_list, 1, "a b");
    says("warning: ", "dangling", ": passed over: a link to nowhere, which is not there");
    says("warning: ", "below_a_file", ": passed over: a link to a/below, which is not there");
    says("warning: ", "me", ": passed over: a link to me, which leads back to it");
    says("warning: ", "he", ": passed over: a link to you, which leads back to it");
    says("warning: ", "in/up", ": not entered: it is ");
    says("warning: ", "in/here", ": not entered: it is ");
    says("warning: ", "pipe", ": passed over: neither a file nor a folder");
    assert_true(strstr(logged, " and 1 more are hidden: passed over") != NULL);
    static const char *const named[] = {"dangling", "me", "pipe"}; /* as a source it is an error */
    for (size_t i = 0; i < 3; i++) {
        char path[256];
        snprintf(path, sizeof path, "%s", path_of(named[i]));
        const char *const list[] = {path};
        refuses(&(struct sy_data_options){.dataset_paths = list, .n_dataset_paths = 1}, SY_ERR_IO, path);
    }
    if (geteuid() == 0) { /* a folder that cannot be read is no smaller data set */
        assert_int_equal(chmod(folder, 0755), 0);
        assert_int_equal(chmod(path_of("in"), 0700), 0);
        assert_int_equal(seteuid(65534), 0);
        struct sy_data_options o = defaults();
        refuses(&o, SY_ERR_IO, "/in: cannot open folder: ");
        assert_int_equal(seteuid(0), 0);
    }
    static const char *const gone[] = {"a",       ".hidden", "dangling", "below_a_file", "me", "he",  "you",
                                       "in/.git", "in/b",    "in/up",    "in/here",      "in", "pipe"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        drop(gone[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_of_sources),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_hub_cache),
        cmocka_unit_test(test_passed_over),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder) != 0;
}
