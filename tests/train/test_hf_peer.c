/* A folder with our config.json and weights loads in Hugging Face's transformers and gives the golden run's first loss. Skipped, with
 * the reason, where transformers is not installed. */
#include <math.h>

#include "base/fs.h"
#include "base/json.h"
#include "lockstep/model.h"
#include "lockstep/safetensors.h"
#include "unit/base/check.h"

#define GOLDEN   "tests/train/golden/"
#define PEER_BAR 1e-5 /* nats */

/* FOLDER/config.json through our own reader and writer, FOLDER/model.safetensors with the mark transformers wants. */
static double write_folder(const char *folder, const char *kind) {
    char path[700], *config, *saved;
    json_t *golden, *section;
    ls_model_options options;
    ls_safetensors *init;
    ls_named_tensor named[64];
    const char *const metadata[] = {"format", "pt", NULL};
    snprintf(path, sizeof path, GOLDEN "%s.json", kind);
    check_ok(ls_json_read(path, &golden));
    check_ok(ls_json_get_object(golden, path, "config", &section));
    check_ok(ls_json_dump(section, 0, &config, NULL));
    check_ok(ls_model_load_config(config, strlen(config), path, &options));
    check_ok(ls_model_save_config(&options, &saved));
    snprintf(path, sizeof path, "%s/config.json", folder);
    check_ok(ls_file_write_atomic(path, saved, strlen(saved)));
    snprintf(path, sizeof path, GOLDEN "%s_init.safetensors", kind);
    check_ok(ls_safetensors_open(path, &init));
    const int n = ls_safetensors_count(init);
    assert_true(n <= 64);
    for (int i = 0; i < n; i++)
        named[i] = (ls_named_tensor){ls_safetensors_name(init, i), ls_safetensors_tensor(init, i)};
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    check_ok(ls_safetensors_write(path, named, n, metadata));
    const double loss = json_number_value(json_array_get(json_object_get(golden, "losses"), 0));
    ls_safetensors_close(init);
    ls_free(config);
    ls_free(saved);
    json_decref(golden);
    return loss;
}

static void check_loads(const char *kind) {
    /* repeat_kv came with grouped heads. */
    if (system("python3 -c 'import torch, safetensors; "
               "from transformers.models.llama.modeling_llama import repeat_kv' "
               ">/dev/null 2>&1") != 0) {
        print_message("skipped: python3 with torch, safetensors and transformers of 4.31 or later "
                      "is not here\n");
        skip();
    }
    const char *folder = check_path(kind);
    char command[1600], line[64] = "";
    check_ok(ls_dir_make(folder));
    const double want = write_folder(folder, kind);
    snprintf(command, sizeof command,
             "python3 tests/train/hf_peer.py '%s' " GOLDEN "batches.safetensors", folder);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(line, sizeof line, out));
    assert_int_equal(pclose(out), 0);
    if (!(fabs(strtod(line, NULL) - want) <= PEER_BAR))
        fail_msg("%s: transformers gives %s, stored %.9g", kind, line, want);
    check_ok(ls_dir_remove(folder));
}

static void test_gpt2_loads(void **state) {
    (void)state;
    check_loads("gpt2");
}

static void test_llama_loads(void **state) {
    (void)state;
    check_loads("llama");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2_loads),
        cmocka_unit_test(test_llama_loads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
