/* Makes the golden losses again where PyTorch is present, from the stored first weights and batches, and compares them with the stored
 * ones. Skipped, with the reason, elsewhere. */
#include <math.h>

#include "base/fs.h"
#include "base/json.h"
#include "unit/base/check.h"

#define GOLDEN "tests/train/golden"
/* Another PyTorch release or processor may add up in another order. */
#define PEER_BAR 5e-5

static void compare_series(const json_t *stored, const json_t *fresh, const char *key) {
    const json_t *a = json_object_get(stored, key), *b = json_object_get(fresh, key);
    assert_true(json_array_size(a) > 0);
    assert_int_equal(json_array_size(a), json_array_size(b));
    for (size_t i = 0; i < json_array_size(a); i++) {
        const double was = json_number_value(json_array_get(a, i));
        const double is = json_number_value(json_array_get(b, i));
        if (!(fabs(was - is) <= PEER_BAR))
            fail_msg("%s, step %zu: stored %.9g, now %.9g", key, i, was, is);
    }
}

static void compare_kind(const char *folder, const char *kind) {
    char path[600];
    json_t *stored, *fresh;
    snprintf(path, sizeof path, GOLDEN "/%s.json", kind);
    check_ok(ls_json_read(path, &stored));
    snprintf(path, sizeof path, "%s/%s.json", folder, kind);
    check_ok(ls_json_read(path, &fresh));
    assert_true(json_equal(json_object_get(stored, "config"), json_object_get(fresh, "config")));
    assert_true(json_equal(json_object_get(stored, "options"), json_object_get(fresh, "options")));
    compare_series(stored, fresh, "losses");
    compare_series(stored, fresh, "losses_f64");
    json_decref(stored);
    json_decref(fresh);
}

static void test_losses_can_be_made_again(void **state) {
    (void)state;
    if (system("python3 -c 'import torch, numpy' >/dev/null 2>&1") != 0) {
        print_message("skipped: python3 with torch and numpy is not here\n");
        skip();
    }
    const char *folder = check_path("torch_peer");
    char command[2048];
    snprintf(command, sizeof command,
             "mkdir -p '%s' && cp " GOLDEN "/*.safetensors '%s/' && "
             "python3 tools/goldens/make_train_goldens.py '%s' --reuse",
             folder, folder, folder);
    assert_int_equal(system(command), 0);
    compare_kind(folder, "gpt2");
    compare_kind(folder, "llama");
    compare_kind(folder, "resnet");
    compare_kind(folder, "mlp");
    check_ok(ls_dir_remove(folder));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_losses_can_be_made_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
