/* labels: timeout=300
 * Damaged checkpoints: every byte changed, every length cut, by verify and by load; manifests that contradict themselves; tensors stored in
 * boxes; checkpoints of version 1; what is said then. */
#include "base/hash.h"
#include "unit/ckpt/ckpt_world.h"
#include <inttypes.h>

static ls_status save_small(world_rank *r, void *user) {
    const ls_ckpt_content content = world_content(2);
    const ls_ckpt_save_options options = {.shard_bytes = 16384};
    LS_TRY(ls_program_init(r->program, 5));
    return ls_ckpt_save(r->program, &content, user, &options);
}

typedef struct damage {
    ls_plan *plan;
    ls_device *device;
    ls_program *program;
    char path[1200];
    char *data; /* the file, whole */
    size_t bytes;
} damage;

static void open_program(damage *d) {
    d->plan = world_plan(1, 0, 2);
    check_ok(ls_device_create("cpu", 0, &d->device));
    const ls_lower_options lower = {.device = d->device};
    check_ok(ls_program_lower(d->plan, 0, &lower, &d->program));
}

static void close_program(damage *d) {
    ls_program_destroy(d->program);
    ls_device_destroy(d->device);
    ls_plan_destroy(d->plan);
}

static ls_status load(const damage *d, const char *dir) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    const ls_status status = ls_ckpt_load(ckpt, d->program, 0);
    ls_ckpt_close(ckpt);
    return status;
}

static ls_status verify(const char *dir) {
    ls_ckpt *ckpt = NULL;
    LS_TRY(ls_ckpt_open(dir, &ckpt));
    const ls_status status = ls_ckpt_verify(ckpt);
    ls_ckpt_close(ckpt);
    return status;
}

static void write_file(const char *path, const char *data, size_t bytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

static void set_byte(const damage *d, size_t at, char byte) {
    FILE *file = fopen(d->path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, (long)at, SEEK_SET), 0);
    assert_int_equal(fwrite(&byte, 1, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

static int is_said(ls_status status) {
    return status == LS_ERR_FORMAT && *ls_error_message();
}

static void check_byte(const damage *d, const char *dir, size_t at, unsigned bit) {
    ls_ckpt *ckpt = NULL;
    set_byte(d, at, (char)(d->data[at] ^ (char)(1u << bit)));
    ls_error_clear();
    /* what does not open is found by both */
    int by_verify = is_said(ls_ckpt_open(dir, &ckpt)), by_load = by_verify;
    if (ckpt) {
        by_verify = is_said(ls_ckpt_verify(ckpt));
        ls_error_clear();
        by_load = is_said(ls_ckpt_load(ckpt, d->program, 0));
        ls_ckpt_close(ckpt);
    }
    if (!by_verify || !by_load)
        fail_msg("%s, byte %zu, bit %u: verify %d, load %d (%s)", d->path, at, bit, by_verify,
                 by_load, ls_error_message());
    set_byte(d, at, d->data[at]);
}

/* One bit of every byte of every file, another one each time. */
static void test_every_byte(void **state) {
    (void)state;
    const char *dir = in_root("bytes");
    damage d = {0};
    char **names;
    int n;
    size_t n_bytes = 0;
    run_world_lanes(1, 0, 2, save_small, (void *)(uintptr_t)dir);
    open_program(&d);
    check_ok(ls_dir_list(dir, &names, &n));
    assert_true(n >= 6);
    for (int i = 0; i < n; i++) {
        snprintf(d.path, sizeof d.path, "%s/%s", dir, names[i]);
        check_ok(ls_file_read(d.path, &d.data, &d.bytes));
        /* of the tensors' bytes some unless all are asked for: their blocks are alike */
        const size_t dense =
            strstr(names[i], ".safetensors") && !strstr(names[i], ".json") ? 4096 : d.bytes;
        for (size_t at = 0; at < d.bytes;
             at += at < dense || getenv("LS_TORTURE_ALL") ? 1 : 61, n_bytes++)
            check_byte(&d, dir, at, (unsigned)(at % 8));
        ls_free(d.data);
        ls_free(names[i]);
    }
    ls_free(names);
    print_message("%zu bytes of %d files\n", n_bytes, n);
    check_ok(verify(dir));
    check_ok(load(&d, dir));
    close_program(&d);
}

static void test_every_length(void **state) {
    (void)state;
    const char *dir = in_root("lengths");
    damage d = {0};
    char **names;
    int n;
    run_world_lanes(1, 0, 2, save_small, (void *)(uintptr_t)dir);
    open_program(&d);
    check_ok(ls_dir_list(dir, &names, &n));
    for (int i = 0; i < n; i++) {
        snprintf(d.path, sizeof d.path, "%s/%s", dir, names[i]);
        check_ok(ls_file_read(d.path, &d.data, &d.bytes));
        const size_t step = d.bytes > 4096 && !getenv("LS_TORTURE_ALL") ? 149 : 1;
        for (size_t bytes = 0; bytes < d.bytes; bytes += step) {
            assert_int_equal(truncate(d.path, (off_t)bytes), 0);
            if (!is_said(verify(dir))) fail_msg("%s cut to %zu bytes", d.path, bytes);
            write_file(d.path, d.data, d.bytes);
        }
        write_file(d.path, d.data, d.bytes);
        FILE *file = fopen(d.path, "ab");
        assert_int_equal(fputc(' ', file), ' ');
        assert_int_equal(fclose(file), 0);
        if (!is_said(verify(dir))) fail_msg("%s with a blank behind it", d.path);
        write_file(d.path, d.data, d.bytes);
        /* gone */
        assert_int_equal(unlink(d.path), 0);
        const ls_status status = verify(dir);
        assert_true(status == LS_ERR_FORMAT || status == LS_ERR_NOT_FOUND);
        assert_non_null(strstr(ls_error_message(), names[i]));
        write_file(d.path, d.data, d.bytes);
        ls_free(d.data);
        ls_free(names[i]);
    }
    ls_free(names);
    check_ok(verify(dir));
    close_program(&d);
}

/* Messages name file, tensor and bytes, and the newest checkpoint that opens. */
static void test_words(void **state) {
    (void)state;
    damage d = {0};
    char *path;
    open_program(&d);
    for (int s = 1; s <= 3; s++) {
        char name[64];
        snprintf(name, sizeof name, "words/step-%09d", s);
        run_world_lanes(1, 0, 2, save_small, (void *)(uintptr_t)in_root(name));
    }
    check_ok(ls_ckpt_set_latest(in_root("words"), "step-000000003"));
    snprintf(d.path, sizeof d.path, "%s", in_root("words/step-000000003/lockstep.json"));
    check_ok(ls_file_read(d.path, &d.data, &d.bytes));
    set_byte(&d, 5, '#');
    check_fails(load(&d, in_root("words/step-000000003")), LS_ERR_FORMAT, "step-000000002 opens");
    check_fails(ls_ckpt_find_latest(in_root("words"), &path), LS_ERR_FORMAT, "latest");
    set_byte(&d, 5, d.data[5]);
    ls_free(d.data);
    ls_ckpt *ckpt;
    check_ok(ls_ckpt_open(in_root("words/step-000000003"), &ckpt));
    const ls_ckpt_slice *slice = &ckpt->entries[1].slices[0];
    snprintf(d.path, sizeof d.path, "%s/%s", ckpt->dir, ckpt->files[slice->file].name);
    check_ok(ls_file_read(d.path, &d.data, &d.bytes));
    set_byte(&d, (size_t)slice->offset + 1, (char)~d.data[slice->offset + 1]);
    check_fails(ls_ckpt_load(ckpt, d.program, 0), LS_ERR_FORMAT, ckpt->entries[1].name);
    assert_non_null(strstr(ls_error_message(), ckpt->files[slice->file].name));
    assert_non_null(strstr(ls_error_message(), "bytes"));
    assert_non_null(strstr(ls_error_message(), "step-000000002 opens"));
    ls_ckpt_close(ckpt);
    ls_free(d.data);
    check_fails(load(&d, in_root("words")), LS_ERR_NOT_FOUND, "lockstep.json is missing");
    check_ok(ls_ckpt_set_latest(in_root("words"), "step-000000009"));
    check_fails(ls_ckpt_find_latest(in_root("words"), &path), LS_ERR_NOT_FOUND, "opens");
    check_ok(ls_ckpt_find_newest(in_root("words"), &path));
    assert_non_null(strstr(path, "step-000000003")); /* it opens: only its tensors are damaged */
    ls_free(path);
    assert_int_equal(unlink(in_root("words/step-000000003/config.json")), 0);
    check_ok(ls_ckpt_find_newest(in_root("words"), &path));
    assert_non_null(strstr(path, "step-000000002"));
    ls_free(path);
    check_fails(ls_ckpt_find_newest(in_root("."), &path), LS_ERR_NOT_FOUND, "that opens");
    check_ok(ls_ckpt_set_latest(in_root("words"), "../words"));
    check_fails(ls_ckpt_find_latest(in_root("words"), &path), LS_ERR_FORMAT, "name a folder");
    close_program(&d);
}

/* --- manifests made by hand --- */

/* Ends the text as a manifest ends. */
static void write_manifest(const char *dir, const char *body) {
    char text[8192], path[1200];
    int n = snprintf(text, sizeof text, "%s,\n \"manifest_xxh3\": \"", body);
    snprintf(text + n, sizeof text - (size_t)n, "%016" PRIx64 "\"\n}\n",
             ls_xxh3(text, (size_t)n, 0));
    snprintf(path, sizeof path, "%s/%s", dir, LS_CKPT_MANIFEST);
    write_file(path, text, strlen(text));
}

enum { ROWS = 5, COLUMNS = 7, LEFT = 3 };

/* Hashes of a slice's bytes in blocks of `block` elements. */
static void print_hashes(char *out, const float *data, int count, int block) {
    for (int at = 0; at < count; at += block, out += 16) {
        const int n = count - at < block ? count - at : block;
        snprintf(out, 17, "%016" PRIx64, ls_xxh3(data + at, (size_t)n * 4, 0));
    }
}

/* A tensor [5, 7] as columns 0 to 2 and 3 to 6 in two files, the way tensor-parallel ranks hold it. */
static void write_columns(const char *dir, const char *start_right, const char *shape_right) {
    float left[ROWS * LEFT], right[ROWS * (COLUMNS - LEFT)];
    char path[1200], body[6000], a[400] = "", b[400] = "", heads[2][17];
    int64_t bytes[2], header[2];
    check_ok(ls_dir_make(dir));
    for (int r = 0; r < ROWS; r++)
        for (int c = 0; c < COLUMNS; c++) {
            if (c < LEFT)
                left[r * LEFT + c] = (float)(r * COLUMNS + c);
            else
                right[r * (COLUMNS - LEFT) + c - LEFT] = (float)(r * COLUMNS + c);
        }
    const ls_named_tensor parts[2] = {
        {"w", {LS_DTYPE_F32, {2, {ROWS, LEFT}}, left}},
        {"w.right", {LS_DTYPE_F32, {2, {ROWS, COLUMNS - LEFT}}, right}}};
    for (int i = 0; i < 2; i++) {
        ls_safetensors *file;
        char *data;
        size_t n;
        snprintf(path, sizeof path, "%s/part%d.safetensors", dir, i);
        check_ok(ls_safetensors_write(path, &parts[i], 1, NULL));
        check_ok(ls_safetensors_open(path, &file));
        header[i] = ls_safetensors_header_bytes(file);
        ls_safetensors_close(file);
        check_ok(ls_file_read(path, &data, &n));
        bytes[i] = (int64_t)n;
        snprintf(heads[i], 17, "%016" PRIx64, ls_xxh3(data, (size_t)header[i], 0));
        ls_free(data);
    }
    print_hashes(a, left, ROWS * LEFT, 4);
    print_hashes(b, right, ROWS * (COLUMNS - LEFT), 20);
    snprintf(body, sizeof body,
             "{\"format\": \"lockstep checkpoint\", \"version\": 2, \"written_by\": \"x\", "
             "\"step\": 1, \"seed\": \"1\", \"lanes\": 2, \"config\": {}, \"files\": [{\"name\": "
             "\"part0.safetensors\", \"bytes\": %lld, \"header_bytes\": %lld, \"header_xxh3\": "
             "\"%s\"}, {\"name\": \"part1.safetensors\", \"bytes\": %lld, \"header_bytes\": %lld, "
             "\"header_xxh3\": \"%s\"}], \"tensors\": [{\"name\": \"w\", \"dtype\": \"f32\", "
             "\"shape\": [5, 7], \"role\": \"weight\", \"slices\": [{\"file\": "
             "\"part0.safetensors\", \"start\": [0, 0], \"shape\": [5, 3], \"chunk\": 4, "
             "\"block\": 4, \"xxh3\": \"%s\"}, {\"file\": \"part1.safetensors\", \"tensor\": "
             "\"w.right\", \"start\": %s, \"shape\": %s, \"chunk\": 20, \"block\": 20, \"xxh3\": "
             "\"%s\"}]}]",
             (long long)bytes[0], (long long)header[0], heads[0], (long long)bytes[1],
             (long long)header[1], heads[1], a, start_right, shape_right, b);
    write_manifest(dir, body);
}

static void test_boxes(void **state) {
    (void)state;
    const char *dir = in_root("boxes");
    ls_ckpt *ckpt;
    float out[ROWS * COLUMNS];
    write_columns(dir, "[0, 3]", "[5, 4]");
    check_ok(ls_ckpt_open(dir, &ckpt));
    assert_int_equal(ls_ckpt_tensor(ckpt, 0).n_slices, 2);
    check_ok(ls_ckpt_verify(ckpt));
    for (int first = 0; first < ROWS * COLUMNS; first++)
        for (int count = 0; first + count <= ROWS * COLUMNS; count++) {
            memset(out, 0xff, sizeof out);
            check_ok(ls_ckpt_read(ckpt, 0, first, count, out));
            for (int i = 0; i < count; i++)
                if (out[i] != (float)(first + i))
                    fail_msg("%d from %d: element %d is %g", count, first, i, (double)out[i]);
        }
    /* row 4, columns 0 to 2: the last blocks of the left slice alone (elements 12 to 14) */
    const int64_t before = ls_ckpt_bytes_read(ckpt);
    check_ok(ls_ckpt_read(ckpt, 0, 28, 3, out));
    assert_int_equal(ls_ckpt_bytes_read(ckpt) - before, 3 * 4);
    check_fails(ls_ckpt_read(ckpt, 0, 30, 6, out), LS_ERR_INVALID, "35 elements");
    ls_ckpt_close(ckpt);
    write_columns(dir, "[0, 2]", "[5, 4]");
    check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, "overlap");
    write_columns(dir, "[0, 4]", "[5, 4]");
    check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, "does not lie in");
    write_columns(dir, "[0, 3]", "[4, 4]");
    check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, "but f32[4, 4] in the manifest");
    write_columns(dir, "[0]", "[5, 4]");
    check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, "does not lie in");
    write_columns(dir, "[0, -3]", "[5, 4]");
    check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, "more than counts");
}

/* What version 1 wrote: whole tensors with one hash, two files, no hash of the manifest. */
static void test_version_1(void **state) {
    (void)state;
    const char *dir = in_root("version1");
    float w[6] = {1, 2, 3, 4, 5, 6}, m[2] = {7, 8}, out[6];
    const ls_named_tensor weight = {"w", {LS_DTYPE_F32, {2, {2, 3}}, w}};
    const ls_named_tensor moment = {"w/m", {LS_DTYPE_F32, {1, {2}}, m}};
    char path[1200], text[2000];
    ls_ckpt *ckpt;
    check_ok(ls_dir_make(dir));
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    check_ok(ls_safetensors_write(path, &weight, 1, NULL));
    snprintf(path, sizeof path, "%s/optimizer.safetensors", dir);
    check_ok(ls_safetensors_write(path, &moment, 1, NULL));
    snprintf(text, sizeof text,
             "{\"format\": \"lockstep checkpoint\", \"version\": 1, \"step\": 3, \"seed\": \"9\", "
             "\"config\": {\"lanes\": 4}, \"tensors\": [{\"name\": \"w\", \"dtype\": \"f32\", "
             "\"shape\": [2, 3], \"file\": \"model.safetensors\", \"role\": \"weight\", \"xxh3\": "
             "\"%016" PRIx64 "\"}, {\"name\": \"w/m\", \"dtype\": \"f32\", \"shape\": [2], "
             "\"file\": \"optimizer.safetensors\", \"role\": \"optimizer\", \"xxh3\": "
             "\"%016" PRIx64 "\"}]}",
             ls_xxh3(w, sizeof w, 0), ls_xxh3(m, sizeof m, 0));
    snprintf(path, sizeof path, "%s/lockstep.json", dir);
    write_file(path, text, strlen(text));
    check_ok(ls_ckpt_open(dir, &ckpt));
    check_ok(ls_ckpt_verify(ckpt));
    assert_int_equal(ls_ckpt_lanes(ckpt), 4);
    assert_int_equal(ls_ckpt_step(ckpt), 3);
    check_ok(ls_ckpt_read(ckpt, 0, 2, 3, out));
    assert_true(out[0] == 3 && out[2] == 5);
    ls_ckpt_close(ckpt);
}

/* Sealed, yet wrong. */
static void test_bad_manifests(void **state) {
    (void)state;
#define HEAD                                                                               \
    "{\"format\": \"lockstep checkpoint\", \"version\": 2, \"step\": 1, \"seed\": \"1\", " \
    "\"config\": {}"
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"{\"format\": \"else\", \"version\": 2", "expected format"},
        {"{\"format\": \"lockstep checkpoint\", \"version\": 3", "version 3"},
        {"{\"format\": \"lockstep checkpoint\", \"version\": 2", "\"step\" is missing"},
        {HEAD, "\"files\" is missing"},
        {HEAD ", \"files\": [{\"name\": \"../x\", \"bytes\": 1, \"xxh3\": \"0123456789abcdef\"}]",
         "no name of a file"},
        {HEAD ", \"files\": [{\"name\": \"x\", \"bytes\": 1, \"xxh3\": \"0123456789abcdef\"}]",
         "which is missing"},
        {HEAD ", \"files\": [{\"name\": \"x\", \"bytes\": 1, \"xxh3\": \"0123\"}]",
         "16 hexadecimal"},
        {HEAD ", \"files\": [{\"name\": \"x\", \"bytes\": -1, \"xxh3\": \"0123456789abcdef\"}]",
         "impossible sizes"},
        {HEAD ", \"files\": [], \"tensors\": [{\"name\": \"w\", \"dtype\": \"f33\"}]", "f33"},
        {HEAD
         ", \"files\": [], \"tensors\": [{\"name\": \"w\", \"dtype\": \"f32\", \"shape\": [2], "
         "\"role\": \"king\", \"slices\": []}]",
         "role 'king'"},
        {HEAD
         ", \"files\": [], \"tensors\": [{\"name\": \"w\", \"dtype\": \"f32\", \"shape\": [2], "
         "\"role\": \"weight\", \"slices\": []}]",
         "do not hold all of it"},
        {HEAD
         ", \"files\": [], \"tensors\": [{\"name\": \"w\", \"dtype\": \"f32\", \"shape\": [0], "
         "\"role\": \"weight\", \"slices\": [{\"file\": \"x\", \"start\": [0], \"shape\": [0], "
         "\"chunk\": 0, \"block\": 0, \"xxh3\": \"\"}]}]",
         "impossible sizes of blocks"},
    };
    const char *dir = in_root("bad");
    check_ok(ls_dir_make(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ls_ckpt *ckpt;
        write_manifest(dir, cases[i].body);
        check_fails(ls_ckpt_open(dir, &ckpt), LS_ERR_FORMAT, cases[i].words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte), cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_words),      cmocka_unit_test(test_boxes),
        cmocka_unit_test(test_version_1),  cmocka_unit_test(test_bad_manifests),
    };
    return cmocka_run_group_tests(tests, make_world_root, remove_world_root);
}
