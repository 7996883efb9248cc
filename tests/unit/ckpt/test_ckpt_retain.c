/* labels: timeout=120
 * What stays in a run's folder; files in Hugging Face's form; a process killed at every file operation. */
#include "unit/ckpt/ckpt_world.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

typedef struct request {
    const ls_ckpt_retention *keep;
    int64_t step;
    double score;
} request;

static const char *step_dir(int64_t step) {
    char name[64];
    snprintf(name, sizeof name, "run/step-%09lld", (long long)step);
    return in_root(name);
}

static ls_status save_step(world_rank *r, void *user) {
    const request *q = user;
    ls_ckpt_content content = world_content(q->step);
    const ls_ckpt_save_options options = {.retention = q->keep, .shard_bytes = 8192};
    content.score = q->score;
    LS_TRY(ls_program_init(r->program, (uint64_t)q->step));
    return ls_ckpt_save(r->program, &content, step_dir(q->step), &options);
}

static void save(int64_t step, double score, const ls_ckpt_retention *keep) {
    request q = {keep, step, score};
    run_world(1, 0, save_step, &q);
}

/* The steps that are there, as text: "1 4 5". */
static const char *list_steps(void) {
    static char text[200];
    char **names;
    int n, at = 0;
    text[0] = '\0';
    check_ok(ls_dir_list(in_root("run"), &names, &n));
    for (int i = 0; i < n; i++) {
        if (ls_ckpt_is_step_name(names[i]))
            at += snprintf(text + at, sizeof text - (size_t)at, at ? " %lld" : "%lld",
                           atoll(names[i] + 5));
        ls_free(names[i]);
    }
    ls_free(names);
    return text;
}

static void test_retention(void **state) {
    (void)state;
    static const struct {
        ls_ckpt_retention keep;
        const char *left;
    } cases[] = {
        {{.last = 1}, "8"},
        {{.last = 3}, "6 7 8"},
        {{.last = 2, .every = 3}, "3 6 7 8"},
        {{.last = 1, .best = 1}, "4 8"}, /* 5 has the same score: the first stays */
        {{.last = 0}, "8"},
        {{.last = 2, .every = 4, .best = 1}, "4 7 8"},
    };
    static const double scores[] = {0, NAN, 3, 2.5, 1.5, 1.5, 2, NAN, INFINITY};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *latest;
        (void)ls_dir_remove(in_root("run"));
        for (int64_t step = 1; step <= 8; step++) save(step, scores[step], &cases[i].keep);
        if (strcmp(list_steps(), cases[i].left) != 0)
            fail_msg("case %zu leaves %s, wanted %s", i, list_steps(), cases[i].left);
        check_ok(ls_ckpt_find_latest(in_root("run"), &latest));
        assert_string_equal(latest, step_dir(8));
        ls_free(latest);
    }
}

/* A run that begins again in its old folder does not take the later ones for its own. */
static void test_another_runs(void **state) {
    (void)state;
    const ls_ckpt_retention keep = {.last = 1};
    (void)ls_dir_remove(in_root("run"));
    save(9, NAN, NULL);
    save(1, NAN, &keep);
    save(2, NAN, &keep);
    assert_string_equal(list_steps(), "2 9");
    char *latest;
    check_ok(ls_ckpt_find_latest(in_root("run"), &latest));
    assert_string_equal(latest, step_dir(2));
    ls_free(latest);
}

static void test_scores(void **state) {
    (void)state;
    ls_ckpt *ckpt;
    (void)ls_dir_remove(in_root("run"));
    save(1, 0.1, NULL);
    check_ok(ls_ckpt_open(step_dir(1), &ckpt));
    assert_true(ls_ckpt_score(ckpt) == 0.1);
    ls_ckpt_close(ckpt);
    save(2, NAN, NULL);
    check_ok(ls_ckpt_open(step_dir(2), &ckpt));
    assert_true(isnan(ls_ckpt_score(ckpt)));
    ls_ckpt_close(ckpt);
}

/* Each file is a safetensors file by itself; the index says which tensor is where, and how many bytes there are. */
static void test_hugging_face(void **state) {
    (void)state;
    json_t *index, *map;
    ls_ckpt *ckpt;
    int64_t total = 0, said;
    (void)ls_dir_remove(in_root("run"));
    save(1, NAN, NULL);
    check_ok(ls_ckpt_open(step_dir(1), &ckpt));
    check_ok(ls_json_read(in_root("run/step-000000001/model.safetensors.index.json"), &index));
    check_ok(ls_json_get_object(index, "index", "weight_map", &map));
    check_ok(ls_json_get_int(json_object_get(index, "metadata"), "index", "total_size", &said));
    for (int i = 0; i < ls_ckpt_count(ckpt); i++) {
        const ls_ckpt_tensor_info t = ls_ckpt_tensor(ckpt, i);
        const char *name = json_string_value(json_object_get(map, t.name));
        char path[1400], data[1 << 16];
        ls_safetensors *file;
        ls_tensor stored;
        assert_int_equal(name != NULL, t.role != LS_ROLE_OPTIMIZER);
        if (!name) continue;
        snprintf(path, sizeof path, "%s/%s", step_dir(1), name);
        check_ok(ls_safetensors_open(path, &file));
        check_ok(ls_safetensors_find(file, t.name, &stored));
        assert_true(ls_shape_equal(&stored.shape, &t.shape));
        const size_t bytes = ls_tensor_bytes(&stored);
        assert_in_range(bytes, 1, sizeof data);
        check_ok(ls_ckpt_read(ckpt, i, 0, ls_shape_count(&t.shape), data));
        assert_memory_equal(stored.data, data, bytes);
        total += (int64_t)bytes;
        ls_safetensors_close(file);
    }
    assert_int_equal(total, said);
    json_decref(index);
    ls_ckpt_close(ckpt);
}

/* Python's own reader, where it is installed. */
static void test_hugging_face_peer(void **state) {
    (void)state;
    char command[3000];
    if (system("python3 -c 'import safetensors.numpy' >/dev/null 2>&1") != 0) {
        print_message("skipped: python3 with safetensors and numpy is not here\n");
        skip();
    }
    (void)ls_dir_remove(in_root("run"));
    save(1, NAN, NULL);
    snprintf(command, sizeof command,
             "python3 -c 'import json, sys\nfrom safetensors import safe_open\n"
             "d = sys.argv[1]\nm = json.load(open(d + \"/model.safetensors.index.json\"))\n"
             "for name, file in m[\"weight_map\"].items():\n"
             "    assert safe_open(d + \"/\" + file, \"np\").get_tensor(name).size > 0\n' '%s'",
             step_dir(1));
    assert_int_equal(system(command), 0);
}

/* --- kill -9 at every operation --- */

static ls_status overwrite(world_rank *r, void *user) {
    const int64_t *n = user;
    const ls_ckpt_retention keep = {.last = 2};
    const ls_ckpt_save_options options = {.retention = &keep, .shard_bytes = 8192};
    const ls_ckpt_content content = world_content(2);
    LS_TRY(ls_program_init(r->program, 2));
    ls_fs_fault_at(*n, LS_FS_FAULT_KILL, EIO);
    return ls_ckpt_save(r->program, &content, step_dir(2), &options);
}

static int is_killed_at(int64_t n) {
    int status;
    const pid_t pid = fork();
    if (pid == 0) {
        run_world(1, 0, overwrite, &n);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* After a kill anywhere: the newest that `latest` names opens and verifies, every folder with a checkpoint's name too, and the sweep
 * leaves nothing of the killed save. */
static void test_killed_anywhere(void **state) {
    (void)state;
    const ls_ckpt_retention keep = {.last = 2};
    int n_killed = 0, killed = 1;
    for (int64_t n = 1; killed; n++) {
        char *latest, **names;
        int n_names;
        (void)ls_dir_remove(in_root("run"));
        save(1, NAN, &keep);
        if (n % 2) save(2, NAN, NULL); /* over a folder of the same name */
        killed = is_killed_at(n);
        n_killed += killed;
        check_ok(ls_ckpt_sweep(in_root("run")));
        check_ok(ls_ckpt_find_latest(in_root("run"), &latest));
        ls_free(latest);
        check_ok(ls_dir_list(in_root("run"), &names, &n_names));
        for (int i = 0; i < n_names; i++) {
            char path[1200];
            ls_ckpt *ckpt;
            if (strstr(names[i], "step-") && !ls_ckpt_is_step_name(names[i]))
                fail_msg("operation %lld leaves %s", (long long)n, names[i]);
            snprintf(path, sizeof path, "%s/%s", in_root("run"), names[i]);
            if (ls_ckpt_is_step_name(names[i])) {
                check_ok(ls_ckpt_open(path, &ckpt));
                check_ok(ls_ckpt_verify(ckpt));
                ls_ckpt_close(ckpt);
            }
            ls_free(names[i]);
        }
        ls_free(names);
    }
    assert_true(n_killed > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_retention),
        cmocka_unit_test(test_another_runs),
        cmocka_unit_test(test_scores),
        cmocka_unit_test(test_hugging_face),
        cmocka_unit_test(test_hugging_face_peer),
        cmocka_unit_test(test_killed_anywhere),
    };
    return cmocka_run_group_tests(tests, make_world_root, remove_world_root);
}
