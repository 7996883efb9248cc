/* Ranks under mpirun, of Open MPI and of MPICH, whichever is here: all kinds of calls in shared memory and as messages, and what
 * the survivors say when a rank dies, stops, is late or does something else. The program starts itself under mpirun.
 * labels: timeout=300 cost=50 */
#include "ranks/mpi_rank.h"
#include "unit/base/check.h"
#include <libgen.h>
#include <sys/wait.h>

typedef struct mpi_kind {
    const char *name, *launcher, *plugin, *options;
    const char *before, *after; /* of a rank's command when a fault is to come */
    const char *by_tcp;         /* as between hosts: MPI must not notice that they are one */
} mpi_kind;

/* When a rank dies mpirun of Open MPI asks the others to end. That of MPICH kills them, sometimes even when it is told not to: there
 * a shell stands between them, which ends well. */
static const mpi_kind kinds[] = {
    {.name = "Open MPI",
     .launcher = "mpirun.openmpi",
     .plugin = "liblockstep_mpi_openmpi.so",
     .options = "--oversubscribe",
     .before = "",
     .after = "",
     .by_tcp = "OMPI_MCA_btl=tcp,self"},
    {.name = "MPICH",
     .launcher = "mpirun.mpich",
     .plugin = "liblockstep_mpi_mpich.so",
     .options = "-disable-auto-cleanup",
     .before = "sh -c 'trap : USR1; ",
     .after = "; true'",
     .by_tcp = "UCX_TLS=tcp,self"},
};

typedef struct run_result {
    int exit_code;
    double seconds;
    char text[1 << 16]; /* printed */
    char log[1 << 15];  /* what the ranks wrote */
} run_result;

static const char *plugin_folder(void) {
    static char folder[1024];
    const char *program = getenv("LS_TEST_PROGRAM");
    if (!program) fail_msg("LS_TEST_PROGRAM is not set: run this test with ctest");
    snprintf(folder, sizeof folder, "%s", program);
    return dirname(folder);
}

/* Runs through the shell; an mpirun that hangs is killed. */
static void run_line(const char *line, run_result *out) {
    const double begun = ls_clock_seconds();
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    out->text[fread(out->text, 1, sizeof out->text - 1, pipe)] = '\0';
    const int status = pclose(pipe);
    out->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    out->seconds = ls_clock_seconds() - begun;
}

/* "" when there is no such file. */
static void read_file(const char *path, char *text, size_t bytes) {
    FILE *file = fopen(path, "r");
    text[file ? fread(text, 1, bytes - 1, file) : 0] = '\0';
    if (file) fclose(file);
}

static int count_words(const char *text, const char *words) {
    int n = 0;
    for (const char *at = strstr(text, words); at; at = strstr(at + 1, words)) n++;
    return n;
}

/* mpirun may end before its ranks: their lines are waited for. */
static void run_mpi(const mpi_kind *kind, int size, int split, const char *fault, const char *late,
                    run_result *out) {
    char self[1024], line[8192], log[1024];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    snprintf(log, sizeof log, "%s/mpi_log_%d", getenv("LS_TEST_TMP"), (int)getpid());
    snprintf(line, sizeof line,
             "LS_TEST_LOG='%s' OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
             "LOCKSTEP_PLUGINS='%s' LOCKSTEP_FAULT='%s' %s %s timeout -s KILL 60 %s %s -n %d "
             "%s\"%s\" rank %s%s 2>&1 </dev/null",
             log, plugin_folder(), fault ? fault : "", split ? "LOCKSTEP_MPI_P2P=1" : "",
             split ? kind->by_tcp : "", kind->launcher, kind->options, size,
             fault ? kind->before : "", self, late, fault ? kind->after : "");
    run_line(line, out);
    const double until = ls_clock_seconds() + 3;
    do {
        usleep(20000);
        read_file(log, out->log, sizeof out->log);
    } while (count_words(out->log, "\n") < (fault ? size - 1 : size) && ls_clock_seconds() < until);
    unlink(log);
}

/* 0 after saying what is missing. */
static int is_here(const mpi_kind *kind) {
    char path[2048], line[128];
    run_result found;
    snprintf(line, sizeof line, "command -v %s", kind->launcher);
    run_line(line, &found);
    snprintf(path, sizeof path, "%s/%s", plugin_folder(), kind->plugin);
    if (found.exit_code == 0 && access(path, R_OK) == 0) return 1;
    print_message("not tried with %s: %s\n", kind->name,
                  found.exit_code ? "its mpirun is not installed (tools/deps.sh build)"
                                  : "this build has no plugin for it");
    return 0;
}

static void check_good(int size, int split) {
    static run_result result;
    char expected[64];
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (!is_here(&kinds[k])) continue;
        run_mpi(&kinds[k], size, split, NULL, "30", &result);
        snprintf(expected, sizeof expected, "of %d on mpi, %d hosts: fine", size, split ? size : 1);
        if (result.exit_code != 0 || count_words(result.log, expected) != size)
            fail_msg("%s, %d ranks%s: exit %d, %s", kinds[k].name, size,
                     split ? " by messages" : "", result.exit_code,
                     result.log[0] ? result.log : result.text);
    }
}

static void test_two_ranks_share_memory(void **state) {
    (void)state;
    check_good(2, 0);
}

static void test_four_ranks_share_memory(void **state) {
    (void)state;
    check_good(4, 0);
}

static void test_two_ranks_by_messages(void **state) {
    (void)state;
    check_good(2, 1);
}

static void test_four_ranks_by_messages(void **state) {
    (void)state;
    check_good(4, 1);
}

typedef struct fault_case {
    const char *fault, *late;
    int lone;          /* the culprit says nothing: it is dead or stopped */
    const char *words; /* in the line of each survivor */
} fault_case;

static const fault_case fault_cases[] = {
    {"kind=die,rank=1,step=5,call=3", "30", 1, "is dead"},
    {"kind=stop,rank=2,step=5,call=3", "30", 1, "is stopped"},
    {"kind=op,rank=1,step=4,call=2", "30", 0, "where 3 of 4 ranks started step 4 "},
    {"kind=shape,rank=3,step=4,call=1", "30", 0, "where 3 of 4 ranks started step 4 "},
    {"kind=skip,rank=0,step=4,call=1", "30", 0, "where 3 of 4 ranks started step 4 "},
    {"kind=slow,rank=1,step=5,call=3,seconds=3", "1", 0, "is alive but late"},
};

/* Every survivor prints the line, soon after the fault; `late` is what the fault itself takes to show. */
static void check_fault(const mpi_kind *kind, const fault_case *c, int split) {
    static run_result result;
    char stamp[1024], fault[2048], name[32], text[64], heard[2048] = "nothing";
    snprintf(stamp, sizeof stamp, "%s/mpi_stamp_%d", getenv("LS_TEST_TMP"), (int)getpid());
    snprintf(fault, sizeof fault, "%s,stamp=%s", c->fault, stamp);
    run_mpi(kind, 4, split, fault, c->late, &result);
    read_file(stamp, text, sizeof text);
    unlink(stamp);
    const double at = atof(text);
    const int culprit = atoi(strstr(c->fault, "rank=") + 5);
    int n_told = 0;
    double last = 0;
    snprintf(name, sizeof name, ": rank %d (", culprit);
    for (char *line = result.log, *next; *line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        if (end) *end = '\0';
        int rank = -1;
        double when = 0;
        if (sscanf(line, "rank %d failed at %lf", &rank, &when) != 2 || rank == culprit) continue;
        snprintf(heard, sizeof heard, "%.*s", (int)sizeof heard - 1, line);
        n_told += strstr(line, c->words) && strstr(line, name) && strstr(line, " on host ") &&
                  strstr(line, "step ");
        last = when > last ? when : last;
    }
    const double took = last - at - atof(c->late) * (strcmp(c->late, "1") == 0);
    print_message("%s%s, %s: told by %d after %.2f s\n", kind->name, split ? " by messages" : "",
                  c->fault, n_told, took);
    if ((result.exit_code == 0 && !kind->before[0]) || n_told != 3 || took > 2.0)
        fail_msg("%s%s, %s: told by %d of 3 ranks, after %.2f s, exit %d: %s", kind->name,
                 split ? " by messages" : "", c->fault, n_told, took, result.exit_code, heard);
}

static void check_faults(int split) {
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (!is_here(&kinds[k])) continue;
        for (size_t c = 0; c < sizeof fault_cases / sizeof fault_cases[0]; c++)
            check_fault(&kinds[k], &fault_cases[c], split);
    }
}

static void test_faults_in_shared_memory(void **state) {
    (void)state;
    check_faults(0);
}

static void test_faults_by_messages(void **state) {
    (void)state;
    check_faults(1);
}

/* Environment of a rank, what it asks for, and words of the refusal. */
static void test_refusals(void **state) {
    (void)state;
    const struct {
        const char *environment, *words;
    } cases[] = {
        {"OMPI_COMM_WORLD_SIZE=2", "libopenmpi-dev"},
        {"PMI_RANK=0 PMI_SIZE=2", "libmpich-dev"},
        {"PMIX_RANK=0", "srun --mpi=pmix started this process, but Lockstep has no plugin"},
    };
    static run_result result;
    char line[4096], self[1024];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = '\0';
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* From a copy that has no plugin near it. */
        snprintf(line, sizeof line,
                 "cd '%s' && mkdir -p far/away && cp '%s' far/away/rank && "
                 "LS_TEST_LOG=/dev/stdout env -u LOCKSTEP_PLUGINS %s far/away/rank rank 1 2>&1",
                 getenv("LS_TEST_TMP"), self, cases[i].environment);
        run_line(line, &result);
        if (result.exit_code != 6 || !strstr(result.text, cases[i].words))
            fail_msg("%s: exit %d: %s", cases[i].environment, result.exit_code, result.text);
    }
    const ls_comm_options options = {.transport = LS_TRANSPORT_MPI};
    ls_comm *comm = NULL;
    assert_int_equal(ls_comm_open(&options, &comm), LS_ERR_UNSUPPORTED);
    assert_non_null(strstr(ls_error_message(), "no MPI launcher started this process"));
    assert_non_null(strstr(ls_error_message(), "mpirun -n R"));
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "rank") == 0) return run_rank(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_ranks_share_memory),
        cmocka_unit_test(test_four_ranks_share_memory),
        cmocka_unit_test(test_two_ranks_by_messages),
        cmocka_unit_test(test_four_ranks_by_messages),
        cmocka_unit_test(test_faults_in_shared_memory),
        cmocka_unit_test(test_faults_by_messages),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
