/* labels: slow threads timeout=300
 * Checkpoints of several ranks: the files do not depend on the layout, any layout loads any other's, each rank reads and writes its part,
 * unchanged files are linked, saving goes on behind the run's back, one rank's failure is everybody's. */
#include "unit/ckpt/ckpt_world.h"
#include <errno.h>
#include <sys/stat.h>

typedef struct layout {
    int ranks, zero;
} layout;
static const layout layouts[] = {{1, 0}, {1, 3}, {2, 0}, {2, 1}, {2, 2}, {2, 3}, {4, 0},
                                 {4, 1}, {4, 2}, {4, 3}, {8, 0}, {8, 1}, {8, 3}};
enum { N_LAYOUTS = sizeof layouts / sizeof *layouts, SAVED_AT = 2, LAST = 4 };

typedef struct job {
    const char *dir;
    int64_t shard_bytes;
    char hash[65];      /* of the weights at the end, first rank */
    int64_t read[8];    /* bytes each rank read */
    int64_t written[8]; /* bytes each rank wrote */
} job;

static const char *dir_of(const layout *l) {
    char name[64];
    snprintf(name, sizeof name, "r%d-z%d", l->ranks, l->zero);
    return in_root(name);
}

static ls_status train_and_save(world_rank *r, void *user) {
    job *j = user;
    char hash[65];
    const ls_ckpt_content content = world_content(SAVED_AT);
    const ls_ckpt_save_options options = {.shard_bytes = j->shard_bytes};
    LS_TRY(ls_program_init(r->program, 5));
    for (uint64_t step = 0; step < SAVED_AT; step++) LS_TRY(world_step(r, step));
    LS_TRY(ls_ckpt_save(r->program, &content, j->dir, &options));
    for (uint64_t step = SAVED_AT; step < LAST; step++) LS_TRY(world_step(r, step));
    LS_TRY(ls_ckpt_hash_program(r->program, hash));
    if (r->rank == 0) memcpy(j->hash, hash, sizeof hash);
    return LS_OK;
}

static ls_status load_and_train(world_rank *r, void *user) {
    job *j = user;
    char hash[65];
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_program_init(r->program, 77)); /* what is not loaded would show */
    LS_TRY(ls_ckpt_open(j->dir, &ckpt));
    const ls_status status = ls_ckpt_load(ckpt, r->program, 0);
    j->read[r->rank] = ls_ckpt_bytes_read(ckpt);
    ls_ckpt_close(ckpt);
    LS_TRY(status);
    for (uint64_t step = SAVED_AT; step < LAST; step++) LS_TRY(world_step(r, step));
    LS_TRY(ls_ckpt_hash_program(r->program, hash));
    if (r->rank == 0) memcpy(j->hash, hash, sizeof hash);
    return LS_OK;
}

static void check_same_folder(const char *a, const char *b) {
    char **names;
    int n;
    check_ok(ls_dir_list(a, &names, &n));
    for (int i = 0; i < n; i++) {
        char x[1200], y[1200];
        snprintf(x, sizeof x, "%s/%s", a, names[i]);
        snprintf(y, sizeof y, "%s/%s", b, names[i]);
        if (!ls_path_exists(y) || !same_file(x, y)) fail_msg("%s and %s differ", x, y);
        ls_free(names[i]);
    }
    assert_true(n >= 4);
    ls_free(names);
}

/* Every file, the manifest too, has the same bytes whoever wrote it; then each layout goes on from another's. */
static void test_any_layout_to_any(void **state) {
    (void)state;
    char hash[65] = "";
    for (int i = 0; i < N_LAYOUTS; i++) {
        job j = {.dir = dir_of(&layouts[i]), .shard_bytes = 4096};
        run_world(layouts[i].ranks, layouts[i].zero, train_and_save, &j);
        if (i == 0) memcpy(hash, j.hash, sizeof hash);
        assert_string_equal(j.hash, hash);
        check_same_folder(dir_of(&layouts[0]), j.dir);
        check_same_folder(j.dir, dir_of(&layouts[0]));
    }
    /* The folders being equal to the byte, each pair is a load of that folder; still every layout loads every other's. */
    for (int from = 0; from < N_LAYOUTS; from++)
        for (int to = 0; to < N_LAYOUTS; to++) {
            job j = {.dir = dir_of(&layouts[from])};
            run_world(layouts[to].ranks, layouts[to].zero, load_and_train, &j);
            if (strcmp(j.hash, hash) != 0)
                fail_msg("%d ranks, zero %d loaded %s and came to other bits", layouts[to].ranks,
                         layouts[to].zero, j.dir);
        }
}

static void test_each_rank_reads_its_part(void **state) {
    (void)state;
    job one = {.dir = in_root("quarter")};
    run_world(2, 1, train_and_save, &one);
    job j = one;
    run_world(1, 0, load_and_train, &j);
    const int64_t whole = j.read[0];
    run_world(4, 3, load_and_train, &j);
    int64_t sum = 0;
    for (int r = 0; r < 4; r++) {
        assert_in_range(j.read[r], 1, whole * 2 / 5); /* tensors of one unit are on one rank */
        sum += j.read[r];
    }
    assert_in_range(sum, whole, whole + 64); /* counters that are not cut are read by all */
}

/* Another lane count loads, though its pieces end within blocks; and the checkpoint says how many it was written with. */
static void test_other_lanes(void **state) {
    (void)state;
    job j = {.dir = in_root("lanes")};
    ls_ckpt *ckpt;
    run_world_lanes(2, 2, 8, train_and_save, &j);
    run_world_lanes(4, 3, 4, load_and_train, &j);
    run_world_lanes(2, 3, 16, load_and_train, &j);
    check_ok(ls_ckpt_open(j.dir, &ckpt));
    assert_int_equal(ls_ckpt_lanes(ckpt), 8);
    ls_ckpt_close(ckpt);
}

static ls_status count_shares(world_rank *r, void *user) {
    job *j = user;
    const ls_ckpt_content content = world_content(1);
    ls_ckpt_saver *saver = NULL;
    LS_TRY(ls_program_init(r->program, 5));
    LS_TRY(ls_ckpt_saver_create(r->program, &saver));
    ls_status status = ls_ckpt_saver_begin(saver, &content, j->dir, NULL);
    if (status == LS_OK) status = ls_ckpt_saver_wait(saver);
    const ls_ckpt_save_times times = ls_ckpt_saver_times(saver);
    j->written[r->rank] = times.written_bytes;
    if (times.copy_bytes != ls_ckpt_snapshot_bytes(r->plan, r->rank))
        status = LS_FAIL(LS_ERR_INTERNAL, "copied %lld", (long long)times.copy_bytes);
    ls_ckpt_saver_destroy(saver);
    return status;
}

/* State that all members hold is dealt among them; pieces are written by who has them. */
static void test_shares(void **state) {
    (void)state;
    for (int zero = 0; zero < 4; zero++) {
        job j = {.dir = in_root("shares")};
        int64_t sum = 0;
        ls_ckpt *ckpt;
        (void)ls_dir_remove(j.dir);
        run_world(4, zero, count_shares, &j);
        check_ok(ls_ckpt_open(j.dir, &ckpt));
        check_ok(ls_ckpt_verify(ckpt));
        for (int r = 0; r < 4; r++) sum += j.written[r];
        assert_int_equal(sum, ls_ckpt_bytes_read(ckpt));
        for (int r = 0; r < 4; r++) assert_in_range(j.written[r], sum / 8, sum * 2 / 5);
        ls_ckpt_close(ckpt);
    }
}

/* --- links --- */

static ls_status save_twice(world_rank *r, void *user) {
    (void)user;
    ls_ckpt_content content = world_content(1);
    const ls_ckpt_retention keep = {.last = 5};
    const ls_ckpt_save_options options = {.shard_bytes = 8192, .retention = &keep};
    LS_TRY(ls_program_init(r->program, 5));
    LS_TRY(ls_ckpt_save(r->program, &content, in_root("links/step-000000001"), &options));
    /* One value of one tensor, on the rank that has it. */
    ls_arena *arena;
    ls_plan_part *parts;
    int n;
    LS_TRY(ls_arena_create(&arena));
    LS_TRY(ls_plan_parts(r->plan, r->rank, arena, &parts, &n));
    for (int i = 0; i < n; i++)
        if (strcmp(parts[i].name, "transformer.wte.weight") == 0 && parts[i].first == 0)
            *(float *)ls_program_part_address(r->program, &parts[i]) += 1;
    ls_arena_destroy(arena);
    content.step = 2;
    return ls_ckpt_save(r->program, &content, in_root("links/step-000000002"), &options);
}

static struct stat info_of(const char *dir, const char *name) {
    char path[1200];
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(stat(path, &info), 0);
    return info;
}

static void check_links(int ranks, int zero) {
    const char *one = in_root("links/step-000000001"), *two = in_root("links/step-000000002");
    char **names;
    int n, n_linked = 0, n_written = 0;
    (void)ls_dir_remove(in_root("links"));
    run_world(ranks, zero, save_twice, NULL);
    check_ok(ls_dir_list(two, &names, &n));
    for (int i = 0; i < n; i++) {
        const int is_tensors =
            strlen(names[i]) > 12 && strcmp(names[i] + strlen(names[i]) - 12, ".safetensors") == 0;
        const struct stat a = info_of(one, names[i]), b = info_of(two, names[i]);
        if (is_tensors && a.st_ino == b.st_ino) {
            assert_int_equal(b.st_nlink, 2);
            n_linked++;
        } else if (is_tensors) {
            assert_int_equal(b.st_nlink, 1);
            n_written++;
        }
        ls_free(names[i]);
    }
    ls_free(names);
    assert_int_equal(n_written, 1);
    assert_true(n_linked >= 2);
    for (int i = 0; i < 2; i++) {
        ls_ckpt *ckpt;
        check_ok(ls_ckpt_open(i ? two : one, &ckpt));
        check_ok(ls_ckpt_verify(ckpt));
        ls_ckpt_close(ckpt);
    }
}

static void test_links(void **state) {
    (void)state;
    check_links(1, 0);
    check_links(2, 0);
    check_links(4, 3);
}

static ls_status save_again(world_rank *r, void *user) {
    const ls_ckpt_content content = world_content(3);
    const ls_ckpt_save_options options = {.shard_bytes = 8192};
    (void)user;
    LS_TRY(ls_program_init(r->program, 5));
    return ls_ckpt_save(r->program, &content, in_root("links/step-000000003"), &options);
}

/* A linked file that the disk damaged is written again: the new checkpoint is whole. */
static void test_link_to_damaged(void **state) {
    (void)state;
    char path[1200];
    unsigned char byte;
    ls_file *file;
    ls_ckpt *ckpt;
    (void)ls_dir_remove(in_root("links"));
    check_links(2, 1);
    check_ok(ls_dir_remove(in_root("links/step-000000002")));
    char **names;
    int n;
    check_ok(ls_dir_list(in_root("links/step-000000001"), &names, &n));
    for (int i = 0; i < n; i++) {
        if (strncmp(names[i], "optimizer-00001-", 16) == 0)
            snprintf(path, sizeof path, "%s/%s", in_root("links/step-000000001"), names[i]);
        ls_free(names[i]);
    }
    ls_free(names);
    check_ok(ls_file_open(path, 1, &file));
    int64_t bytes;
    check_ok(ls_file_size(file, &bytes));
    check_ok(ls_file_pread(file, &byte, 1, bytes - 3));
    byte ^= 4;
    check_ok(ls_file_pwrite(file, &byte, 1, bytes - 3));
    ls_file_close(file);
    run_world(2, 1, save_again, NULL);
    check_ok(ls_ckpt_open(in_root("links/step-000000003"), &ckpt));
    check_ok(ls_ckpt_verify(ckpt));
    ls_ckpt_close(ckpt);
}

/* --- behind the run's back --- */

static ls_status save_behind(world_rank *r, void *user) {
    job *j = user;
    char before[65], after[65];
    const ls_ckpt_content content = world_content(SAVED_AT);
    ls_ckpt_saver *saver = NULL;
    LS_TRY(ls_program_init(r->program, 5));
    for (uint64_t step = 0; step < SAVED_AT; step++) LS_TRY(world_step(r, step));
    LS_TRY(ls_ckpt_hash_program(r->program, before));
    LS_TRY(ls_ckpt_saver_create(r->program, &saver));
    ls_status status = ls_ckpt_saver_begin(saver, &content, j->dir, NULL);
    if (status == LS_OK && ls_ckpt_saver_begin(saver, &content, j->dir, NULL) != LS_ERR_INVALID)
        status = LS_FAIL(LS_ERR_INTERNAL, "two saves at once");
    int states[8], mine, done = 0;
    /* the run goes on: weights change while they are written */
    for (uint64_t step = SAVED_AT; status == LS_OK && step < 40; step++) {
        status = world_step(r, step);
        mine = (int)ls_ckpt_saver_state(saver);
        if (status == LS_OK)
            status = ls_comm_exchange(r->comm, "states", &mine, sizeof mine, states);
        if (status == LS_OK && !done) status = ls_ckpt_saver_advance(saver, states, r->size, &done);
    }
    if (status == LS_OK) status = ls_ckpt_saver_wait(saver);
    if (status == LS_OK) status = ls_ckpt_hash_program(r->program, after);
    ls_ckpt_saver_destroy(saver);
    if (status == LS_OK && strcmp(before, after) == 0)
        status = LS_FAIL(LS_ERR_INTERNAL, "nothing changed");
    if (r->rank == 0) memcpy(j->hash, before, sizeof before);
    return status;
}

static void test_behind(void **state) {
    (void)state;
    for (int zero = 0; zero < 4; zero++) {
        job j = {.dir = in_root("behind")};
        char hash[65];
        ls_ckpt *ckpt;
        run_world(2, zero, save_behind, &j);
        check_ok(ls_ckpt_open(j.dir, &ckpt));
        check_ok(ls_ckpt_verify(ckpt));
        check_ok(ls_ckpt_hash_weights(ckpt, hash));
        assert_string_equal(hash, j.hash);
        ls_ckpt_close(ckpt);
    }
}

static ls_status begin_and_leave(world_rank *r, void *user) {
    job *j = user;
    const ls_ckpt_content content = world_content(7);
    ls_ckpt_saver *saver = NULL;
    LS_TRY(ls_program_init(r->program, 5));
    LS_TRY(ls_ckpt_saver_create(r->program, &saver));
    const ls_status status = ls_ckpt_saver_begin(saver, &content, j->dir, NULL);
    ls_ckpt_saver_destroy(saver);
    return status;
}

static void test_destroy_while_writing(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= 4; ranks *= 2) {
        job j = {.dir = in_root("left/step-000000007")};
        run_world(ranks, 0, begin_and_leave, &j);
        assert_false(ls_path_exists(j.dir));
        check_ok(ls_ckpt_sweep(in_root("left")));
    }
}

/* --- failures --- */

typedef struct trial {
    const char *dir;
    int64_t n; /* this operation fails */
    ls_fs_fault kind;
    int behind;
    ls_status status[8];
    char message[8][1024];
} trial;

static ls_status save_failing(world_rank *r, void *user) {
    trial *t = user;
    const ls_ckpt_content content = world_content(2);
    const ls_ckpt_retention keep = {.last = 2};
    const ls_ckpt_save_options options = {.shard_bytes = 8192, .retention = &keep};
    ls_ckpt_saver *saver = NULL;
    LS_TRY(ls_program_init(r->program, 6));
    LS_TRY(ls_ckpt_saver_create(r->program, &saver));
    LS_TRY(ls_comm_agree(r->comm, "arm", LS_OK));
    if (r->rank == 0) ls_fs_fault_at(t->n, t->kind, ENOSPC);
    LS_TRY(ls_comm_agree(r->comm, "armed", LS_OK));
    ls_status status = ls_ckpt_saver_begin(saver, &content, t->dir, &options);
    if (status == LS_OK) status = ls_ckpt_saver_wait(saver);
    t->status[r->rank] = status;
    snprintf(t->message[r->rank], sizeof t->message[0], "%s", ls_error_message());
    LS_TRY(ls_comm_agree(r->comm, "disarm", LS_OK));
    if (r->rank == 0) ls_fs_fail_at(0, 0);
    LS_TRY(ls_comm_agree(r->comm, "disarmed", LS_OK));
    /* saving again works */
    status = LS_OK;
    if (t->behind) {
        status = ls_ckpt_saver_begin(saver, &content, in_root("fails/again"), NULL);
        if (status == LS_OK) status = ls_ckpt_saver_wait(saver);
    }
    ls_ckpt_saver_destroy(saver);
    return status;
}

/* Old or new, never anything else; nothing of the failed save is left. */
static int64_t check_folder(const char *dir) {
    ls_ckpt *ckpt = NULL;
    if (!ls_path_exists(dir)) return 0;
    check_ok(ls_ckpt_open(dir, &ckpt));
    check_ok(ls_ckpt_verify(ckpt));
    const int64_t step = ls_ckpt_step(ckpt);
    ls_ckpt_close(ckpt);
    return step;
}

static int count_temporaries(const char *root) {
    char **names;
    int n, found = 0;
    check_ok(ls_dir_list(root, &names, &n));
    for (int i = 0; i < n; i++) {
        found += strstr(names[i], "step-") && strstr(names[i], ".tmp.");
        ls_free(names[i]);
    }
    ls_free(names);
    return found;
}

static ls_status save_first(world_rank *r, void *user) {
    const trial *t = user;
    const ls_ckpt_content content = world_content(1);
    const ls_ckpt_retention keep = {.last = 2};
    const ls_ckpt_save_options options = {.shard_bytes = 8192, .retention = &keep};
    LS_TRY(ls_program_init(r->program, t->behind ? 6 : 5)); /* 6: equal files, which are linked */
    return ls_ckpt_save(r->program, &content, in_root("fails/step-000000001"), &options);
}

/* Every write, fsync, rename, link and creation fails once. over: the name is taken by the old one. */
static void check_interrupted(int ranks, int zero, int over, int linked, ls_fs_fault kind) {
    trial t = {.kind = kind,
               .behind = linked,
               .dir = in_root(over ? "fails/step-000000001" : "fails/step-000000002")};
    char dir[512];
    snprintf(dir, sizeof dir, "%s", t.dir);
    t.dir = dir;
    int hit = 1, n_hit = 0;
    for (t.n = 1; hit; t.n++) {
        outcome out[MAX_RANKS];
        (void)ls_dir_remove(in_root("fails"));
        run_world(ranks, zero, save_first, &t);
        run_world_outcomes(ranks, zero, WORLD_LANES, save_failing, &t, out);
        for (int r = 0; r < ranks; r++)
            if (out[r].status != LS_OK)
                fail_msg("operation %lld: rank %d: %s", (long long)t.n, r, out[r].message);
        hit = t.status[0] != LS_OK;
        n_hit += hit;
        for (int r = 0; r < ranks; r++) {
            assert_int_equal(t.status[r], t.status[0]);
            if (hit &&
                (t.status[r] != LS_ERR_NO_SPACE || !strstr(t.message[r], "saving checkpoint")))
                fail_msg("operation %lld: rank %d: %s: %s", (long long)t.n, r,
                         ls_status_words(t.status[r]), t.message[r]);
        }
        const int64_t old = check_folder(in_root("fails/step-000000001"));
        const int64_t made = check_folder(t.dir);
        if (over ? made != 1 && made != 2 : old != 1 || (made != 0 && made != 2))
            fail_msg("operation %lld: old is step %lld, new is step %lld", (long long)t.n,
                     (long long)old, (long long)made);
        assert_int_equal(count_temporaries(in_root("fails")), 0);
        char *latest = NULL;
        check_ok(ls_ckpt_find_latest(in_root("fails"), &latest));
        ls_free(latest);
    }
    assert_true(n_hit > 10);
}

static void test_interrupted_one_rank(void **state) {
    (void)state;
    check_interrupted(1, 0, 0, 0, LS_FS_FAULT_FAIL);
    check_interrupted(1, 0, 1, 0, LS_FS_FAULT_TORN);
}

static void test_interrupted_ranks(void **state) {
    (void)state;
    check_interrupted(2, 0, 0, 0, LS_FS_FAULT_TORN);
    check_interrupted(3 + 1, 3, 1, 0, LS_FS_FAULT_FAIL);
}

static void test_interrupted_links(void **state) {
    (void)state;
    check_interrupted(1, 0, 0, 1, LS_FS_FAULT_FAIL);
    check_interrupted(2, 1, 1, 1, LS_FS_FAULT_TORN);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_layout_to_any),
        cmocka_unit_test(test_each_rank_reads_its_part),
        cmocka_unit_test(test_other_lanes),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_link_to_damaged),
        cmocka_unit_test(test_behind),
        cmocka_unit_test(test_destroy_while_writing),
        cmocka_unit_test(test_interrupted_one_rank),
        cmocka_unit_test(test_interrupted_ranks),
        cmocka_unit_test(test_interrupted_links),
    };
    return cmocka_run_group_tests(tests, make_world_root, remove_world_root);
}
