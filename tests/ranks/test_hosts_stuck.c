/* `lockstep run --hosts` with an mpirun that hangs: a shell script stands in for it, on this host alone, without MPI. An attempt that
 * has no rank, or fewer than it should, is ended with a sentence, and the run goes on or gives up.
 *
 * labels: timeout=300 */
#include "train_run.h"
#include <sys/stat.h>

/* Options of all runs here, folders behind. */
#define WORDS                                                                                 \
    "run --hosts '%s/hosts' --launcher openmpi -t 1 --launch-wait 1.5 --missing-wait 0.7 %s " \
    "-- train configs/exact_gpt.yaml steps=20 data.cache='%s/cache' out='%s/%s' -q "          \
    "recover.copies=%d"

/* What the stand-in does, attempt after attempt, stands in a file, a word a line. A process that carries a rank's variable counts as
 * one; the true ranks are those of `lockstep run -n`. */
static const char script[] =
    "#!/bin/sh\n"
    "mode=$(head -n 1 '%s/modes')\n"
    "sed -i 1d '%s/modes'\n"
    "ranks=$2\n"
    "while [ \"$1\" != train ]; do program=$1; shift; done\n"
    "as_rank() { env OMPI_COMM_WORLD_RANK=0 sleep \"$1\" & }\n"
    "case $mode in\n"
    "none) exec sleep 600 ;;\n"
    "deaf) trap '' TERM; sleep 600; sleep 600 ;;\n"
    "gentle) trap 'exit 0' TERM; sleep 600 & wait ;;\n"
    "refusing) trap 'exit 2' TERM; sleep 600 & wait ;;\n"
    "few) as_rank 600; wait ;;\n"
    "fewer) as_rank 600; as_rank 1; wait ;;\n"
    "whole) OMPI_COMM_WORLD_RANK=0 exec \"$program\" run -n \"$ranks\" --no-recover -- \"$@\" ;;\n"
    "*) echo \"the stand-in knows no '$mode'\" >&2; exit 2 ;;\n"
    "esac\n";

static void write_text(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state) {
    if (make_run_folder(state) != 0) return 1;
    const char *bin = text_of("%s/bin", run_folder());
    const char *path = text_of("%s/mpirun.openmpi", bin);
    char text[2048];
    check_ok(ls_dir_make(bin));
    (void)snprintf(text, sizeof text, script, run_folder(), run_folder());
    write_text(path, text);
    assert_int_equal(chmod(path, 0755), 0);
    write_text(text_of("%s/hosts", run_folder()), "localhost slots=2\n");
    setenv("PATH", text_of("%s:%s", bin, getenv("PATH")), 1);
    return 0;
}

static void set_modes(const char *modes) {
    char text[256];
    size_t n = 0;
    for (; modes[n] && n < sizeof text - 2; n++) text[n] = modes[n] == ' ' ? '\n' : modes[n];
    text[n] = '\n';
    text[n + 1] = '\0';
    write_text(text_of("%s/modes", run_folder()), text);
}

static const char *words_of(const char *name, const char *options, int copies) {
    return text_of(WORDS, run_folder(), options, run_folder(), run_folder(), name, copies);
}

/* Weights of one process. */
static const char *reference_hash(void) {
    static char hash[65];
    if (*hash) return hash;
    const run_result result =
        run_program(text_of("train configs/exact_gpt.yaml steps=20 threads=1 data.cache='%s/cache' "
                            "out='%s/one' -q",
                            run_folder(), run_folder()));
    const char *at = strstr(result.out, "weights sha256:");
    if (!at) fail_msg("one process: %s%s", result.out, result.err);
    (void)snprintf(hash, sizeof hash, "%.64s", at + strlen("weights sha256:"));
    return hash;
}

typedef struct stuck_case {
    const char *modes, *options;
    int copies, exit_code;
    const char *says[4], *not_said;
} stuck_case;

#define NO_RANK "lockstep: mpirun has started no rank for 1.5 s"
#define TOO_FEW "lockstep: mpirun goes on without some of its ranks for 0.7 s"
#define GOES_ON "; going on with 2 ranks on 1 host from the start"

static const stuck_case cases[] = {
    {"whole", "", 1, 0, {"lockstep: starting 2 ranks on 1 host from the start"}, "is ended"},
    {"none whole", "", 1, 0, {NO_RANK ": it is ended", NO_RANK GOES_ON}, "ended with status"},
    {"few whole", "", 0, 0, {TOO_FEW ": it is ended", TOO_FEW GOES_ON}, "no rank for"},
    {"fewer whole", "", 0, 0, {TOO_FEW ": it is ended", TOO_FEW GOES_ON}, "no rank for"},
    {"deaf whole", "", 0, 0, {NO_RANK ": it is ended", NO_RANK GOES_ON}, "ended with status"},
    /* How mpirun takes leave when it is ended here says nothing of the run: neither that it is done nor that it is hopeless. */
    {"gentle whole", "", 0, 0, {NO_RANK ": it is ended", NO_RANK GOES_ON}, NULL},
    {"refusing whole", "", 0, 0, {NO_RANK ": it is ended", NO_RANK GOES_ON}, "as they would again"},
    {"none few",
     "--stuck 2",
     0,
     8,
     {NO_RANK ": it is ended", TOO_FEW ": it is ended",
      "lockstep: attempt 1 from the start: after ",
      "run: 2 attempts in a row made no new step (--stuck 2): mpirun goes on without some of its "
      "ranks for 0.7 s"},
     NULL},
    {"none",
     "--restarts 0",
     0,
     8,
     {NO_RANK ": it is ended",
      "run: 0 restarts (--restarts 0): mpirun has started no rank for 1.5 s"},
     NULL},
};

static void test_cases(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const stuck_case *c = &cases[i];
        set_modes(c->modes);
        const run_result result = run_program(words_of("run", c->options, c->copies));
        if (result.exit_code != c->exit_code)
            fail_msg("%s: exit %d: %s", c->modes, result.exit_code, result.err);
        for (int k = 0; k < 4 && c->says[k]; k++) check_says(result.err, c->says[k]);
        if (c->not_said && strstr(result.err, c->not_said))
            fail_msg("%s: %s", c->modes, result.err);
        if (c->exit_code == 0) check_says(result.out, reference_hash());
        if (ls_path_exists(text_of("%s/run", run_folder())))
            check_ok(ls_dir_remove(text_of("%s/run", run_folder())));
    }
}

/* Nobody is there who could save anything: SIGTERM does not wait for ever either. */
static void test_sigterm_without_ranks(void **state) {
    (void)state;
    const char *output = text_of("%s/term.txt", run_folder());
    set_modes("none whole");
    const pid_t pid = start_program(words_of("term", "", 0), output);
    for (int i = 0; i < 1000 && count_lines(output) < 1; i++) sleep_us(10000);
    sleep_us(200000);
    assert_int_equal(kill(pid, SIGTERM), 0);
    const int status = wait_program(pid);
    char text[4096];
    read_whole(output, text, sizeof text);
    check_says(text, NO_RANK ": it is ended");
    check_says(text, "run: ended by a signal; mpirun's status is 143");
    assert_null(strstr(text, "going on"));
    assert_int_equal(status, 128 + SIGTERM);
}

/* A campaign's runs wait as long as it says; its undisturbed run ends with an attempt that would fail again. */
static void test_chaos(void **state) {
    (void)state;
    set_modes("none few unknown");
    /* Of one host there is nothing to strike; the second is never reached. */
    write_text(text_of("%s/two", run_folder()), "localhost slots=2\nfar\n");
    const run_result result = run_program(
        text_of("chaos --hosts '%s/two' --agent false --launcher openmpi --launch-wait 1.5 "
                "--missing-wait 0.7 "
                "--kinds ranks --kills 1 -- train configs/exact_gpt.yaml steps=20 threads=1 "
                "data.cache='%s/cache' out='%s/chaos' recover.copies=0",
                run_folder(), run_folder(), run_folder()));
    assert_int_equal(result.exit_code, 8);
    check_says(result.err, NO_RANK ": it is ended");
    check_says(result.err, TOO_FEW ": it is ended");
    check_says(result.err, "chaos: the run fails without a blow");
}

static void test_options_are_bounded(void **state) {
    (void)state;
    static const char *const verbs[] = {"run", "chaos"}, *const options[] = {"--launch-wait",
                                                                             "--missing-wait"};
    for (size_t i = 0; i < 4; i++) {
        const char *verb = verbs[i / 2], *option = options[i % 2];
        const run_result result =
            run_program(text_of("%s --hosts x %s 0 -- train configs/exact_gpt.yaml", verb, option));
        assert_int_equal(result.exit_code, 2);
        check_says(result.err, option);
        check_says(result.err, "0.1");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_sigterm_without_ranks),
        cmocka_unit_test(test_chaos),
        cmocka_unit_test(test_options_are_bounded),
    };
    return cmocka_run_group_tests(tests, set_up, remove_run_folder);
}
