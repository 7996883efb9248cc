/* deploy/ holds together: the YAML files parse, replicas times slots are the ranks that the command starts, CPUs are ranks times
 * threads, and the program knows the verb, the configuration and its keys; the Slurm script hands srun and mpirun such a command
 * too. Needs no network and no cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <yaml.h>

#include <cmocka.h>

enum { TEXT_BYTES = 4096 };

static yaml_document_t load(const char *path) {
    yaml_parser_t parser;
    yaml_document_t document;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(yaml_parser_initialize(&parser));
    yaml_parser_set_input_file(&parser, file);
    if (!yaml_parser_load(&parser, &document))
        fail_msg("%s:%zu: %s", path, parser.problem_mark.line + 1, parser.problem);
    yaml_parser_delete(&parser);
    fclose(file);
    return document;
}

static yaml_node_t *child(yaml_document_t *document, yaml_node_t *node, const char *key) {
    if (node->type == YAML_SEQUENCE_NODE) {
        const long i = strtol(key, NULL, 10);
        const long n = node->data.sequence.items.top - node->data.sequence.items.start;
        return i < n ? yaml_document_get_node(document, node->data.sequence.items.start[i]) : NULL;
    }
    if (node->type != YAML_MAPPING_NODE) return NULL;
    yaml_node_t *found = NULL;
    for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
         p++)
        if (strcmp((char *)yaml_document_get_node(document, p->key)->data.scalar.value, key) == 0) {
            if (found) fail_msg("the key %s stands twice", key);
            found = yaml_document_get_node(document, p->value);
        }
    return found;
}

/* "spec/replicatedJobs/0/replicas" */
static yaml_node_t *find(yaml_document_t *document, const char *path) {
    char text[256], *rest = text;
    snprintf(text, sizeof text, "%s", path);
    yaml_node_t *node = yaml_document_get_root_node(document);
    assert_non_null(node);
    for (char *key = strsep(&rest, "/"); key; key = strsep(&rest, "/")) {
        node = child(document, node, key);
        if (!node) fail_msg("%s: there is no %s", path, key);
    }
    return node;
}

static const char *text_at(yaml_document_t *document, const char *path) {
    const yaml_node_t *node = find(document, path);
    if (node->type != YAML_SCALAR_NODE) fail_msg("%s is no scalar", path);
    return (const char *)node->data.scalar.value;
}

static long number_at(yaml_document_t *document, const char *path) {
    char *end;
    const char *text = text_at(document, path);
    const long n = strtol(text, &end, 10);
    if (end == text || *end) fail_msg("%s: '%s' is no number", path, text);
    return n;
}

static void expect(yaml_document_t *document, const char *path, const char *value) {
    if (strcmp(text_at(document, path), value) != 0)
        fail_msg("%s is '%s', not '%s'", path, text_at(document, path), value);
}

/* The value after a word of a command: "-n 8". */
static long value_after(const char *command, const char *word) {
    char text[64];
    snprintf(text, sizeof text, " %s ", word);
    const char *at = strstr(command, text);
    if (!at) fail_msg("no '%s' in: %s", word, command);
    return strtol(at + strlen(text), NULL, 10);
}

static long value_of(const char *command, const char *key) {
    char text[64];
    snprintf(text, sizeof text, " %s=", key);
    const char *at = strstr(command, text);
    if (!at) fail_msg("no '%s=' in: %s", key, command);
    return strtol(at + strlen(text), NULL, 10);
}

/* What follows "train" up to the end of the line must be a configuration and keys that the program takes, and a plan for so many
 * ranks must be possible. */
static void check_training(const char *command, long ranks) {
    const char *train = strstr(command, "train ");
    char line[3 * TEXT_BYTES];
    assert_non_null(train);
    train += strlen("train ");
    snprintf(line, sizeof line,
             "'%s' config show %.*s >/dev/null && '%s' plan %.*s mesh.dp=%ld 'out=%s/deploy/out' "
             ">/dev/null",
             getenv("LS_TEST_PROGRAM"), (int)strcspn(train, "\n"), train, getenv("LS_TEST_PROGRAM"),
             (int)strcspn(train, "\n"), train, ranks, getenv("LS_TEST_TMP"));
    if (system(line) != 0) fail_msg("refused: %s", line);
}

/* The time that a pod gets to end is what the run is told of. */
static void expect_notice(yaml_document_t *d, const char *pod, const char *command) {
    char path[512];
    snprintf(path, sizeof path, "%s/terminationGracePeriodSeconds", pod);
    assert_int_equal(number_at(d, path), value_of(command, "notice_seconds"));
}

static void test_mpijob(void **state) {
    (void)state;
    char args[TEXT_BYTES] = " ";
    yaml_document_t d = load("deploy/kubernetes/mpijob.yaml");
    expect(&d, "apiVersion", "kubeflow.org/v2beta1");
    expect(&d, "kind", "MPIJob");
    expect(&d, "spec/mpiImplementation", "OpenMPI");
    expect(&d, "spec/launcherCreationPolicy", "WaitForWorkersReady");
    expect(&d, "spec/runPolicy/cleanPodPolicy", "Running");
    expect(&d, "spec/sshAuthMountPath", "/home/mpiuser/.ssh");
    assert_int_equal(number_at(&d, "spec/mpiReplicaSpecs/Launcher/replicas"), 1);
    const char *launcher = "spec/mpiReplicaSpecs/Launcher/template/spec/containers/0";
    const char *worker = "spec/mpiReplicaSpecs/Worker/template/spec/containers/0";
    char path[256];
    snprintf(path, sizeof path, "%s/command/0", launcher);
    expect(&d, path, "/bin/sh");
    snprintf(path, sizeof path, "%s/args/0", launcher);
    snprintf(args, sizeof args, " %s", text_at(&d, path));
    /* The operator's file of workers is ours: HOST slots=N. */
    assert_non_null(strstr(args, "lockstep run --hosts /etc/mpi/hostfile --launcher openmpi "));
    assert_non_null(strstr(args, "resume /data/run"));
    expect(&d, "spec/mpiReplicaSpecs/Launcher/restartPolicy", "OnFailure");
    expect_notice(&d, "spec/mpiReplicaSpecs/Launcher/template/spec", args);
    const long slots = number_at(&d, "spec/slotsPerWorker");
    const long ranks = slots * number_at(&d, "spec/mpiReplicaSpecs/Worker/replicas");
    snprintf(path, sizeof path, "%s/resources/limits/cpu", worker);
    assert_int_equal(number_at(&d, path), slots * value_after(args, "-t"));
    assert_true(value_of(args, "lanes") >= ranks);
    snprintf(path, sizeof path, "%s/command/0", worker);
    expect(&d, path, "/usr/sbin/sshd");
    check_training(args, ranks);
    yaml_document_delete(&d);
}

/* 75 is no failure (the pod is made again), what would come again ends the set. */
static void check_failure_policy(yaml_document_t *d, const char *job) {
    char path[256];
    static const char *const rows[][2] = {
        {"rules/0/action", "Ignore"},
        {"rules/0/onExitCodes/operator", "In"},
        {"rules/0/onExitCodes/values/0", "75"},
        {"rules/1/action", "Ignore"},
        {"rules/1/onPodConditions/0/type", "DisruptionTarget"},
        {"rules/2/action", "FailJob"},
        {"rules/2/onExitCodes/values/0", "2"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        snprintf(path, sizeof path, "%s/podFailurePolicy/%s", job, rows[i][0]);
        expect(d, path, rows[i][1]);
    }
    expect(d, "spec/failurePolicy/rules/0/action", "FailJobSet");
    expect(d, "spec/failurePolicy/rules/0/onJobFailureReasons/0", "PodFailurePolicy");
}

static void test_jobset(void **state) {
    (void)state;
    yaml_document_t d = load("deploy/kubernetes/jobset.yaml");
    expect(&d, "apiVersion", "jobset.x-k8s.io/v1alpha2");
    expect(&d, "kind", "JobSet");
    expect(&d, "spec/successPolicy/operator", "All");
    const char *job = "spec/replicatedJobs/0/template/spec";
    char path[256], script[TEXT_BYTES];
    assert_int_equal(number_at(&d, "spec/replicatedJobs/0/replicas"), 1);
    snprintf(path, sizeof path, "%s/backoffLimit", job);
    assert_int_equal(number_at(&d, path), 0);
    snprintf(path, sizeof path, "%s/template/spec/restartPolicy", job);
    expect(&d, path, "Never");
    snprintf(path, sizeof path, "%s/template/spec/containers/0/args/0", job);
    snprintf(script, sizeof script, "%s", text_at(&d, path));
    const long ranks = value_after(script, "-n"), threads = value_after(script, "-t");
    char pod[256];
    snprintf(pod, sizeof pod, "%s/template/spec", job);
    expect_notice(&d, pod, script);
    check_failure_policy(&d, job);
    snprintf(path, sizeof path, "%s/template/spec/containers/0/resources/limits/cpu", job);
    assert_int_equal(number_at(&d, path), ranks * threads);
    check_training(script, ranks);
    yaml_document_delete(&d);
}

/* Runs the Slurm script with stand-ins that print what they got; srun ends with $STATUS, and lockstep finds a checkpoint where $FOUND
 * says so. The exit status of the script. */
static int run_sbatch(const char *environment, const char *args, char *out) {
    char line[TEXT_BYTES];
    snprintf(line, sizeof line,
             "d='%s/deploy' && mkdir -p \"$d\" && for p in srun mpirun scontrol lockstep; do "
             "printf '#!/bin/sh\\ncase \"$*\" in checkpoint*) exit ${FOUND:-1} ;; show*) echo a; "
             "echo b; exit ;; esac\\necho got $(basename $0) \"$@\"\\n"
             "case $0 in *srun) exit ${STATUS:-0} ;; esac\\n' >\"$d/$p\" && chmod +x \"$d/$p\"; "
             "done && env PATH=\"$d:$PATH\" SLURM_SUBMIT_DIR=. SLURM_NTASKS=8 "
             "SLURM_NTASKS_PER_NODE=4 SLURM_CPUS_PER_TASK=3 SLURM_JOB_ID=7 %s "
             "bash deploy/slurm.sbatch %s 2>&1",
             getenv("LS_TEST_TMP"), environment, args);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    const size_t n = fread(out, 1, TEXT_BYTES - 1, pipe);
    out[n] = '\0';
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_slurm(void **state) {
    (void)state;
    const struct {
        const char *environment, *words;
    } cases[] = {
        {"LAUNCH=srun",
         "got srun --mpi=pmix --kill-on-bad-exit=0 --wait=10 --label lockstep train "},
        {"LAUNCH=srun MPI=pmi2", "got srun --mpi=pmi2 "},
        {"LAUNCH=mpirun", "got mpirun -n 8 --map-by ppr:4:node "},
        {"LAUNCH=hosts AGENT='rsh -x'",
         "got lockstep run --hosts hosts-7 --agent rsh -x --launcher openmpi --launcher-args "
         "--mca plm rsh --mca ras ^slurm -- train "},
    };
    char text[TEXT_BYTES];
    assert_int_equal(system("bash -n deploy/slurm.sbatch"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(run_sbatch(cases[i].environment,
                                    "configs/gpt2_124m.yaml lanes=32 batch=32 zero=2 wire=bf16",
                                    text),
                         0);
        const char *got = strstr(text, "got ");
        if (!got || !strstr(text, cases[i].words)) fail_msg("%s: %s", cases[i].environment, text);
        assert_int_equal(value_of(got, "threads"), 3);
        assert_int_equal(value_of(got, "lanes"), 32);
        assert_non_null(strstr(got, " out=run-7 "));
        check_training(got, 8);
    }
    assert_int_equal(system("test \"$(tr '\\n' ' ' <hosts-7)\" = 'a slots=4 b slots=4 '"), 0);
    unlink("hosts-7");
    assert_int_equal(run_sbatch("LAUNCH=ssh", "", text), 2);
    assert_non_null(strstr(text, "LAUNCH=ssh is not known; there are srun, mpirun and hosts"));
    run_sbatch("LAUNCH=srun", "", text);
    check_training(strstr(text, "got "), 8);
}

/* 75 queues the job again, other failures do not; a checkpoint is gone on from. */
static void test_slurm_requeues(void **state) {
    (void)state;
    char text[TEXT_BYTES];
    assert_int_equal(run_sbatch("STATUS=75", "a.yaml out=o", text), 75);
    assert_non_null(strstr(text, "got scontrol requeue 7\n"));
    assert_int_equal(run_sbatch("STATUS=8", "a.yaml out=o", text), 8);
    assert_null(strstr(text, "requeue"));
    assert_int_equal(run_sbatch("FOUND=0", "a.yaml zero=2 out=o", text), 0);
    if (!strstr(text, "lockstep resume o zero=2 out=o threads=3 notice_seconds=180\n"))
        fail_msg("no resume: %s", text);
    /* The scheduler's notice is the run's. */
    assert_int_equal(system("grep -q '^#SBATCH --signal=TERM@180$' deploy/slurm.sbatch && "
                            "grep -q '^#SBATCH --requeue$' deploy/slurm.sbatch"),
                     0);
}

/* Each package that the program is built with is in the image; every file it copies is there. */
static void test_dockerfile(void **state) {
    (void)state;
    char text[16384], word[128];
    FILE *file = fopen("deploy/Dockerfile", "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    FILE *packages =
        popen("sed -n '/^    build)/,/;;/s/^ *echo //p' tools/deps.sh | tr ' ' '\\n'", "r");
    assert_non_null(packages);
    int n = 0;
    while (fscanf(packages, "%127s", word) == 1) {
        n++;
        if (!strstr(text, word))
            fail_msg("tools/deps.sh names %s, deploy/Dockerfile does not", word);
    }
    pclose(packages);
    assert_true(n > 10);
    for (const char *line = strstr(text, "\nCOPY "); line; line = strstr(line + 1, "\nCOPY ")) {
        struct stat info;
        if (sscanf(line, "\nCOPY %127s", word) == 1 && word[0] != '-' && stat(word, &info) != 0)
            fail_msg("deploy/Dockerfile copies %s, which is not there", word);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mpijob),     cmocka_unit_test(test_jobset),
        cmocka_unit_test(test_slurm),      cmocka_unit_test(test_slurm_requeues),
        cmocka_unit_test(test_dockerfile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
