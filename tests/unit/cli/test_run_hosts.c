/* The parts of `lockstep run --hosts` that run nothing: the file of hosts, the world size, command lines. */
#include "cli/cmd_run_hosts.h"
#include "unit/base/check.h"

/* text, hosts as "name:slots ..." or part of the message */
static const struct {
    const char *text, *hosts, *error;
} files[] = {
    {"", "", NULL},
    {"# nobody yet\n\n  \t\n", "", NULL},
    {"a", "a:1", NULL},
    {"a\nb slots=4 # two GPUs\n\tc.example-1.org\tslots=2\r\n", "a:1 b:4 c.example-1.org:2", NULL},
    {"10.0.0.7 slots=4096", "10.0.0.7:4096", NULL},
    {"a slot=4", NULL, "hosts:1: 'slot=4' is not known; a line is HOST [slots=N]"},
    {"a\nb slots=0\n", NULL, "hosts:2: slots=0: the ranks that the host takes at most, 1 to 4096"},
    {"a slots=4097", NULL, "slots=4097: the ranks"},
    {"a slots=", NULL, "slots=: the ranks"},
    {"a slots=4x", NULL, "slots=4x: the ranks"},
    {"a slots=99999999999999999999", NULL, "slots=99999999999999999999: the ranks"},
    {"\n\na:4", NULL, "hosts:3: 'a:4' is no name of a host"},
    {"me@a", NULL, "'me@a' is no name of a host"},
    {"-oProxyCommand=x", NULL, "is no name of a host"},
    {"a;b", NULL, "is no name of a host"},
    {"a\nb\na slots=2", NULL, "hosts:3: host 'a' stands there twice; give it more slots"},
};

static void test_file(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        ls_host_line *lines = NULL;
        int n = -1;
        const ls_status status = ls_hosts_parse(files[i].text, "hosts", &lines, &n);
        if (files[i].error) {
            if (status != LS_ERR_FORMAT || !strstr(ls_error_message(), files[i].error))
                fail_msg("'%s': %d, %s", files[i].text, (int)status, ls_error_message());
            continue;
        }
        check_ok(status);
        char found[512] = "";
        for (int k = 0; k < n; k++) {
            const size_t used = strlen(found);
            snprintf(found + used, sizeof found - used, "%s%s:%d", k ? " " : "", lines[k].name,
                     lines[k].slots);
        }
        assert_string_equal(found, files[i].hosts);
        ls_free(lines);
    }
}

static void test_too_many_hosts(void **state) {
    (void)state;
    ls_text text = {0};
    ls_host_line *lines = NULL;
    int n = 0;
    for (int i = 0; i < LS_HOSTS_MOST; i++) ls_text_append(&text, "h%d\n", i);
    check_ok(ls_hosts_parse(text.data, "hosts", &lines, &n));
    assert_int_equal(n, LS_HOSTS_MOST);
    ls_free(lines);
    ls_text_append(&text, "more\n");
    check_fails(ls_hosts_parse(text.data, "hosts", &lines, &n), LS_ERR_FORMAT,
                "hosts:1025: more than 1024 hosts");
    ls_text_deinit(&text);
}

/* slots of the living hosts, lanes, -n; ranks = hosts x each */
static const struct {
    int slots[6], n;
    int64_t lanes, most;
    int ranks, hosts, each;
} worlds[] = {
    {{0}, 0, 8, 0, 0, 0, 0},
    {{1}, 1, 8, 0, 1, 1, 1},
    {{2, 2, 2, 2}, 4, 8, 0, 8, 4, 2},
    {{2, 2, 2}, 3, 8, 0, 4, 2, 2},
    {{2, 2}, 2, 8, 0, 4, 2, 2},
    {{2}, 1, 8, 0, 2, 1, 2},
    {{3}, 1, 8, 0, 2, 1, 2},
    {{1, 1, 1}, 3, 8, 0, 2, 2, 1},
    /* One large host beats many small ones only when it takes more. */
    {{8, 1, 1}, 3, 8, 0, 8, 1, 8},
    {{4, 2, 1, 1}, 4, 8, 0, 4, 4, 1},
    {{4, 4, 2, 2}, 4, 8, 0, 8, 4, 2},
    {{1, 4, 4}, 3, 8, 0, 8, 2, 4},
    /* Bounds: lanes, and what the caller wants. As many hosts as possible. */
    {{4, 4}, 2, 4, 0, 4, 2, 2},
    {{4, 4}, 2, 1, 0, 1, 1, 1},
    {{8, 8}, 2, 2, 0, 2, 2, 1},
    {{4, 4, 4, 4}, 4, 16, 8, 8, 4, 2},
    {{4, 4, 4, 4}, 4, 16, 7, 4, 4, 1},
    {{4, 4, 4, 4}, 4, 16, 3, 2, 2, 1},
    {{8}, 1, 2, 0, 2, 1, 2},
    {{8}, 1, 0, 0, 8, 1, 8},
    {{4096, 4096}, 2, 0, 0, 8192, 2, 4096},
};

static void test_world(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof worlds / sizeof *worlds; i++) {
        const ls_world w =
            ls_world_choose(worlds[i].slots, worlds[i].n, worlds[i].lanes, worlds[i].most);
        if (w.ranks != worlds[i].ranks || w.n_hosts != worlds[i].hosts || w.each != worlds[i].each)
            fail_msg("case %zu: %d ranks = %d hosts x %d", i, w.ranks, w.n_hosts, w.each);
    }
}

/* Whatever the hosts: a power of two, equal blocks that fit, within the bounds, and no larger world would fit. */
static void test_world_is_the_largest(void **state) {
    (void)state;
    for (int code = 0; code < 6 * 6 * 6 * 6; code++) {
        const int slots[] = {code % 6, code / 6 % 6, code / 36 % 6, code / 216};
        const ls_world w = ls_world_choose(slots, 4, 8, 0);
        for (int each = 1; each <= 8; each *= 2)
            for (int hosts = 1; hosts <= 4; hosts *= 2) {
                int fit = 0;
                for (int i = 0; i < 4; i++) fit += slots[i] >= each;
                if (fit >= hosts && each * hosts <= 8) assert_true(w.ranks >= each * hosts);
            }
        int fit = 0;
        for (int i = 0; i < 4; i++) fit += slots[i] >= w.each;
        assert_true(w.ranks == w.each * w.n_hosts && w.ranks <= 8 && fit >= w.n_hosts);
        assert_int_equal(w.ranks & (w.ranks - 1), 0);
    }
}

/* --- command lines --- */

static const char *join(const ls_words *list) {
    static char text[4096];
    text[0] = '\0';
    for (int64_t i = 0; i < list->n; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", i ? " " : "", list->words[i]);
    }
    assert_null(list->words[list->n]);
    return text;
}

static const char *const hosts[] = {"a", "b"};
static const char *const variables[] = {"LOCKSTEP_KEEPER", "LOCKSTEP_ATTEMPT", NULL};
static const char *const words[] = {"train", "tiny.yaml", "out=my run"};

static void check_launch(const ls_launch *launch, const char *golden) {
    ls_words list = {0};
    check_ok(ls_launch_words(launch, &list));
    assert_string_equal(join(&list), golden);
    assert_string_equal(list.words[list.n - 1], "out=my run");
    ls_words_deinit(&list);
}

static void test_launch_words(void **state) {
    (void)state;
    ls_launch launch = {.kind = LS_LAUNCHER_OPENMPI,
                        .mpirun = "/usr/bin/mpirun.openmpi",
                        .program = "/opt/lockstep",
                        .hosts = hosts,
                        .world = {4, 2, 2},
                        .variables = variables,
                        .words = words,
                        .n_words = 3};
    check_launch(&launch, "/usr/bin/mpirun.openmpi -n 4 --host a:2,b:2 --bind-to none "
                          "--mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_keepalive_time 2 "
                          "--mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 "
                          "-x LOCKSTEP_KEEPER -x LOCKSTEP_ATTEMPT "
                          "/opt/lockstep train tiny.yaml out=my run");
    launch.agent = "ssh -p 2222";
    launch.extra = " --mca btl_tcp_if_include  eth0 ";
    launch.as_root = 1;
    check_launch(&launch, "/usr/bin/mpirun.openmpi -n 4 --host a:2,b:2 --bind-to none "
                          "--allow-run-as-root --mca plm_rsh_agent ssh -p 2222 "
                          "--mca plm_rsh_no_tree_spawn 1 --mca oob_tcp_keepalive_time 2 "
                          "--mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 3 "
                          "-x LOCKSTEP_KEEPER -x LOCKSTEP_ATTEMPT --mca btl_tcp_if_include eth0 "
                          "/opt/lockstep train tiny.yaml out=my run");
    launch = (ls_launch){.kind = LS_LAUNCHER_MPICH,
                         .mpirun = "mpirun.mpich",
                         .program = "/opt/lockstep",
                         .hosts = hosts,
                         .world = {1, 1, 1},
                         .variables = variables,
                         .words = words,
                         .n_words = 3};
    check_launch(&launch, "mpirun.mpich -n 1 -hosts a:1 -launcher ssh -disable-auto-cleanup "
                          "/opt/lockstep train tiny.yaml out=my run");
    launch.agent = "/opt/agent";
    launch.extra = "-iface eth0";
    check_launch(&launch, "mpirun.mpich -n 1 -hosts a:1 -launcher rsh -launcher-exec /opt/agent "
                          "-disable-auto-cleanup -iface eth0 "
                          "/opt/lockstep train tiny.yaml out=my run");
}

static void test_agent_words(void **state) {
    (void)state;
    const char *const command[] = {"/opt/my programs/lockstep", "keep", "it's", "", "a=b"};
    ls_words list = {0};
    check_ok(ls_agent_words(NULL, "host2", command, 5, &list));
    assert_int_equal(list.n, 3);
    assert_string_equal(list.words[0], "ssh");
    assert_string_equal(list.words[1], "host2");
    assert_string_equal(list.words[2], "'/opt/my programs/lockstep' keep 'it'\\''s' '' a=b");
    ls_words_deinit(&list);
    check_ok(ls_agent_words("ssh -p 22", "h", command + 1, 1, &list));
    assert_string_equal(join(&list), "ssh -p 22 h keep");
    ls_words_deinit(&list);
}

/* The shell of the other host reads back what was quoted. */
static void test_quoting_survives_a_shell(void **state) {
    (void)state;
    const char *const command[] = {"printf", "%s|", "a b", "$HOME `x` \\ \"", "'", "*;&\n#", "~"};
    ls_words list = {0};
    char found[256] = "", path[512];
    check_ok(ls_agent_words("agent", "h", command, 7, &list));
    snprintf(path, sizeof path, "%s", check_path("script"));
    FILE *script = fopen(path, "w");
    assert_non_null(script);
    fputs(list.words[2], script);
    fclose(script);
    char line[600];
    snprintf(line, sizeof line, "sh '%s'", path);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    found[fread(found, 1, sizeof found - 1, pipe)] = '\0';
    assert_int_equal(pclose(pipe), 0);
    unlink(path);
    assert_string_equal(found, "a b|$HOME `x` \\ \"|'|*;&\n#|~|");
    ls_words_deinit(&list);
}

static void test_launcher(void **state) {
    (void)state;
    const char *before = getenv("PATH");
    char path[4096], folder[1024], *found = NULL;
    ls_launcher_kind kind;
    snprintf(path, sizeof path, "%s", before ? before : "");
    check_fails(ls_launcher_find("lam", &kind, &found), LS_ERR_INVALID,
                "--launcher 'lam' is not known; openmpi and mpich are");
    setenv("PATH", "/nowhere", 1);
    check_fails(
        ls_launcher_find(NULL, &kind, &found), LS_ERR_UNSUPPORTED,
        "--hosts needs mpirun on PATH (mpirun.openmpi, orterun, mpirun.mpich or mpiexec.hydra)");
    check_fails(ls_launcher_find("mpich", &kind, &found), LS_ERR_UNSUPPORTED,
                "mpirun of mpich on PATH (mpirun.mpich or mpiexec.hydra)");
    snprintf(folder, sizeof folder, "%s", check_path("bin"));
    char line[4096];
    snprintf(line, sizeof line,
             "/bin/mkdir -p '%s' && for p in mpirun.mpich orterun; do echo >'%s'/$p; /bin/chmod +x "
             "'%s'/$p; done",
             folder, folder, folder);
    assert_int_equal(system(line), 0);
    snprintf(line, sizeof line, "/nowhere:%s:/else", folder);
    setenv("PATH", line, 1);
    check_ok(ls_launcher_find(NULL, &kind, &found));
    assert_int_equal(kind, LS_LAUNCHER_OPENMPI);
    assert_non_null(strstr(found, "bin/orterun"));
    ls_free(found);
    check_ok(ls_launcher_find("mpich", &kind, &found));
    assert_int_equal(kind, LS_LAUNCHER_MPICH);
    ls_free(found);
    setenv("PATH", path, 1);
    snprintf(line, sizeof line, "rm -r '%s'", folder);
    assert_int_equal(system(line), 0);
}

/* Each allocation fails once: an error, and nothing leaks. */
static ls_status make_everything(void *user) {
    (void)user;
    ls_host_line *lines = NULL;
    int n = 0;
    LS_TRY(ls_hosts_parse("a slots=2\nb\n", "hosts", &lines, &n));
    ls_free(lines);
    const ls_launch launch = {.mpirun = "mpirun",
                              .program = "p",
                              .hosts = hosts,
                              .world = {2, 2, 1},
                              .variables = variables,
                              .words = words,
                              .n_words = 3};
    ls_words list = {0};
    LS_TRY(ls_launch_words(&launch, &list));
    ls_words_deinit(&list);
    LS_TRY(ls_agent_words(NULL, "h", words, 3, &list));
    ls_words_deinit(&list);
    return LS_OK;
}

static void test_torture(void **state) {
    (void)state;
    assert_true(check_torture(make_everything, NULL) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_too_many_hosts),
        cmocka_unit_test(test_world),
        cmocka_unit_test(test_world_is_the_largest),
        cmocka_unit_test(test_launch_words),
        cmocka_unit_test(test_agent_words),
        cmocka_unit_test(test_quoting_survives_a_shell),
        cmocka_unit_test(test_launcher),
        cmocka_unit_test(test_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
