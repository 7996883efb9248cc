/* Makes the golden runs again where PyTorch is present and compares them with the stored ones. Skipped, with the reason, elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char golden_path[] = "tests/unit/optim/golden/optim.json";

static json_t *load(const char *path) {
    json_error_t error;
    json_t *json = json_load_file(path, 0, &error);
    if (!json) fail_msg("%s: %s", path, error.text);
    return json;
}

/* Numbers to 1e-9 (another libm or NumPy may differ in the last digits), everything else exactly. */
static void compare(const json_t *stored, const json_t *fresh, const char *where) {
    if (json_is_number(stored) && json_is_number(fresh)) {
        const double a = json_number_value(stored), b = json_number_value(fresh);
        if (!(fabs(a - b) <= 1e-9 * fmax(1, fabs(a))))
            fail_msg("%s: stored %.12g, now %.12g", where, a, b);
        return;
    }
    if (json_is_array(stored) && json_is_array(fresh)) {
        assert_int_equal(json_array_size(stored), json_array_size(fresh));
        for (size_t i = 0; i < json_array_size(stored); i++)
            compare(json_array_get(stored, i), json_array_get(fresh, i), where);
        return;
    }
    if (!json_equal((json_t *)(uintptr_t)stored, (json_t *)(uintptr_t)fresh))
        fail_msg("%s: the stored value is not the one made now", where);
}

static void test_goldens_can_be_made_again(void **state) {
    (void)state;
    if (system("python3 -c 'import torch, numpy' >/dev/null 2>&1") != 0) {
        print_message("skipped: python3 with torch and numpy is not here\n");
        skip();
    }
    const char *folder = getenv("LS_TEST_TMP");
    char path[512], command[1200];
    snprintf(path, sizeof path, "%s/optim_peer.json", folder ? folder : ".");
    snprintf(command, sizeof command, "python3 tools/goldens/make_optim_goldens.py '%s'", path);
    assert_int_equal(system(command), 0);
    json_t *stored = load(golden_path), *fresh = load(path);
    static const char *const parts[] = {"steps", "checkpoints", "shapes", "start", "grads"};
    for (int i = 0; i < 5; i++)
        compare(json_object_get(stored, parts[i]), json_object_get(fresh, parts[i]), parts[i]);
    const json_t *old = json_object_get(stored, "cases"), *now = json_object_get(fresh, "cases");
    assert_int_equal(json_array_size(old), json_array_size(now));
    for (size_t i = 0; i < json_array_size(old); i++) {
        const json_t *a = json_array_get(old, i), *b = json_array_get(now, i);
        const char *name = json_string_value(json_object_get(a, "name"));
        compare(json_object_get(a, "options"), json_object_get(b, "options"), name);
        compare(json_object_get(a, "params"), json_object_get(b, "params"), name);
    }
    json_decref(stored);
    json_decref(fresh);
    remove(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens_can_be_made_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
