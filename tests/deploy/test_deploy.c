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

/* The words of a list, parted by blanks. */
static void join(yaml_document_t *document, const char *path, char *out) {
    const yaml_node_t *list = find(document, path);
    assert_int_equal(list->type, YAML_SEQUENCE_NODE);
    out[0] = '\0';
    for (yaml_node_item_t *i = list->data.sequence.items.start; i < list->data.sequence.items.top;
         i++) {
        const yaml_node_t *word = yaml_document_get_node(document, *i);
        if (word->type != YAML_SCALAR_NODE) fail_msg("%s holds more than words", path);
        const size_t used = strlen(out);
        snprintf(out + used, TEXT_BYTES - used, "%s ", (char *)word->data.scalar.value);
    }
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
             "'%s' config show %.*s >/dev/null && '%s' plan %.*s mesh.dp=%ld >/dev/null",
             getenv("LS_TEST_PROGRAM"), (int)strcspn(train, "\n"), train, getenv("LS_TEST_PROGRAM"),
             (int)strcspn(train, "\n"), train, ranks);
    if (system(line) != 0) fail_msg("refused: %s", line);
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
    expect(&d, path, "mpirun");
    snprintf(path, sizeof path, "%s/args", launcher);
    join(&d, path, args + 1);
    const long slots = number_at(&d, "spec/slotsPerWorker");
    const long ranks = slots * number_at(&d, "spec/mpiReplicaSpecs/Worker/replicas");
    assert_int_equal(value_after(args, "-n"), ranks);
    snprintf(path, sizeof path, "%s/resources/limits/cpu", worker);
    assert_int_equal(number_at(&d, path), slots * value_of(args, "threads"));
    snprintf(path, sizeof path, "%s/command/0", worker);
    expect(&d, path, "/usr/sbin/sshd");
    check_training(args, ranks);
    yaml_document_delete(&d);
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
    snprintf(path, sizeof path, "%s/template/spec/containers/0/resources/limits/cpu", job);
    assert_int_equal(number_at(&d, path), ranks * threads);
    check_training(script, ranks);
    yaml_document_delete(&d);
}

/* Runs the Slurm script with stand-ins for srun and mpirun that print what they got. */
static void run_sbatch(const char *environment, const char *args, char *out) {
    char line[TEXT_BYTES];
    snprintf(line, sizeof line,
             "d='%s/deploy' && mkdir -p \"$d\" && for p in srun mpirun; do "
             "printf '#!/bin/sh\\necho got $(basename $0) \"$@\"\\n' >\"$d/$p\" && chmod +x "
             "\"$d/$p\"; done && "
             "env PATH=\"$d:$PATH\" SLURM_SUBMIT_DIR=. SLURM_NTASKS=8 SLURM_NTASKS_PER_NODE=4 "
             "SLURM_CPUS_PER_TASK=3 %s "
             "bash deploy/slurm.sbatch %s 2>&1",
             getenv("LS_TEST_TMP"), environment, args);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    const size_t n = fread(out, 1, TEXT_BYTES - 1, pipe);
    out[n] = '\0';
    pclose(pipe);
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
    };
    char text[TEXT_BYTES];
    assert_int_equal(system("bash -n deploy/slurm.sbatch"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_sbatch(cases[i].environment,
                   "configs/gpt2_124m.yaml lanes=32 batch=32 zero=2 wire=bf16", text);
        const char *got = strstr(text, "got ");
        if (!got || !strstr(text, cases[i].words)) fail_msg("%s: %s", cases[i].environment, text);
        assert_int_equal(value_of(got, "threads"), 3);
        assert_int_equal(value_of(got, "lanes"), 32);
        check_training(got, 8);
    }
    run_sbatch("LAUNCH=ssh", "", text);
    assert_non_null(strstr(text, "LAUNCH=ssh is not known; there are srun and mpirun"));
    run_sbatch("LAUNCH=srun", "", text);
    check_training(strstr(text, "got "), 8);
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
        cmocka_unit_test(test_mpijob),
        cmocka_unit_test(test_jobset),
        cmocka_unit_test(test_slurm),
        cmocka_unit_test(test_dockerfile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
