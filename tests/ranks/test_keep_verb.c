/* `lockstep keep` and ranks under mpirun, as `lockstep run --hosts` starts them: ranks die, others go on from the memory that the keeper
 * holds, at another size and zero too, and the weights are those of a run that nothing happened to.
 * labels: slow timeout=300 */
#include "base/fs.h"
#include "keep/keeper.h"
#include "unit/base/check.h"
#include <signal.h>
#include <sys/wait.h>

static const char cookie[] = "0123456789abcdef0123456789abcdef";

typedef struct keeper_process {
    pid_t pid;
    FILE *to, *from;
    char name[64], address[64];
} keeper_process;

static void start_keeper(keeper_process *k) {
    int to[2], from[2];
    char line[512];
    json_t *ready = NULL;
    int64_t port;
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    k->pid = fork();
    if (k->pid == 0) {
        (void)dup2(to[0], 0);
        (void)dup2(from[1], 1);
        for (int fd = 3; fd < 64; fd++) (void)close(fd);
        (void)execl(getenv("LS_TEST_PROGRAM"), "lockstep", "keep", NULL);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    k->to = fdopen(to[1], "w");
    k->from = fdopen(from[0], "r");
    (void)snprintf(k->name, sizeof k->name, "test-keep-%d", (int)getpid());
    (void)fprintf(k->to, "%s %s\n", k->name, cookie);
    (void)fflush(k->to);
    assert_non_null(fgets(line, sizeof line, k->from));
    check_ok(ls_json_parse(line, strlen(line), "keep", &ready));
    check_ok(ls_json_get_int(ready, "keep", "port", &port));
    assert_string_equal(json_string_value(json_object_get(ready, "name")), k->name);
    assert_int_equal(json_integer_value(json_object_get(ready, "pid")), k->pid);
    assert_null(strstr(line, cookie));
    (void)snprintf(k->address, sizeof k->address, "127.0.0.1:%d", (int)port);
    json_decref(ready);
}

/* The end of its standard input is its own. */
static void stop_keeper(keeper_process *k) {
    int status = -1;
    (void)fclose(k->to);
    assert_int_equal(waitpid(k->pid, &status, 0), k->pid);
    assert_int_equal(status, 0);
    (void)fclose(k->from);
}

static void tell(const keeper_process *k, const char *line, const char *answer) {
    char text[512];
    (void)fprintf(k->to, "%s\n", line);
    (void)fflush(k->to);
    assert_non_null(fgets(text, sizeof text, k->from));
    if (!strstr(text, answer)) fail_msg("'%s' was answered with %s", line, text);
}

static int64_t ask_step(const keeper_process *k) {
    json_t *inventory = NULL;
    int64_t step = -2;
    check_ok(ls_keeper_ask(k->address, cookie, 10, &inventory));
    check_ok(ls_keeper_best_step(&inventory, 1, &step));
    json_decref(inventory);
    return step;
}

typedef struct attempt {
    int ranks, zero;
    const char *fault; /* NULL: it goes through */
} attempt;

/* Runs it; the weights line of a run that went through is in weights_out. */
static void run_attempt(const keeper_process *k, int64_t number, int64_t step, const attempt *a,
                        char weights_out[128]) {
    char command[2048], offer[128], restore[64] = "", line[4096];
    (void)snprintf(offer, sizeof offer, "%s %s", k->name, cookie);
    assert_int_equal(setenv("LOCKSTEP_KEEPER", offer, 1), 0);
    if (step >= 0) (void)snprintf(restore, sizeof restore, "LOCKSTEP_RESTORE=%d", (int)step);
    (void)snprintf(command, sizeof command,
                   "%s LOCKSTEP_ATTEMPT=%d LOCKSTEP_KEEPERS=%s %s%s mpirun -n %d %s train "
                   "configs/tiny.yaml steps=12 optim.warmup=1 threads=1 recover.copies=%d zero=%d "
                   "out=%s 2>&1",
                   restore, (int)number, k->address, a->fault ? "LOCKSTEP_FAULT=" : "",
                   a->fault ? a->fault : "", a->ranks, getenv("LS_TEST_PROGRAM"), k->pid > 0,
                   a->zero, check_path("keep-verb"));
    FILE *run = popen(command, "r");
    assert_non_null(run);
    weights_out[0] = '\0';
    while (fgets(line, sizeof line, run))
        if (strncmp(line, "weights sha256:", 15) == 0)
            (void)snprintf(weights_out, 128, "%.*s", 100, line);
    (void)pclose(run);
    if (!a->fault && !weights_out[0]) fail_msg("attempt %d ended without weights", (int)number);
}

static void test_attempts(void **state) {
    (void)state;
    static const attempt attempts[] = {
        {2, 1, "kind=die,rank=1,step=3,attempt=all"},
        {2, 1, "kind=die,rank=0,step=6,attempt=all"},
        {2, 0, "kind=die,rank=1,step=8,attempt=all"},
        {1, 0, NULL},
    };
    keeper_process k = {0}, none = {.address = "127.0.0.1:1", .name = "none"};
    char weights[128], wanted[128];
    if (system("command -v mpirun >/dev/null") != 0) skip();
    /* mpirun as root, in a container, wants to be asked twice. */
    (void)setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    (void)setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    (void)setenv("OMPI_MCA_rmaps_base_oversubscribe", "1", 1);
    run_attempt(&none, 0, -1, &(attempt){1, 0, NULL}, wanted);
    start_keeper(&k);
    int64_t step = -1, before = -1;
    for (int i = 0; i < (int)(sizeof attempts / sizeof *attempts); i++) {
        char line[128];
        (void)snprintf(line, sizeof line, "job %d %d", i, attempts[i].ranks);
        tell(&k, line, "\"done\":true");
        (void)snprintf(line, sizeof line, "peers 0 1 %s", k.address);
        tell(&k, line, "\"done\":true");
        run_attempt(&k, i, step, &attempts[i], weights);
        step = ask_step(&k);
        if (step <= before)
            fail_msg("attempt %d: step %d after step %d", i, (int)step, (int)before);
        before = step;
    }
    assert_int_equal(step, 12);
    assert_string_equal(weights, wanted);
    tell(&k, "job 0 1", "job 3 has begun");
    tell(&k, "dance", "not 'dance'");
    stop_keeper(&k);
    check_ok(ls_dir_remove(check_path("keep-verb")));
}

int main(void) {
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attempts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
