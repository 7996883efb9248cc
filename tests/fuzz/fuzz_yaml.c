/* Configuration files: reading fails with a message, or leaves every field within its range and printable. */
#include "base/alloc.h"
#include "base/config.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

typedef struct settings {
    int64_t steps;
    double lr;
    int tied;
    const char *out;
    int kind;
    int64_t layers;
} settings;

static void need(int holds) {
    if (!holds) abort();
}

static const char *const kinds[] = {"gpt2", "llama", NULL};
static const ls_config_field fields[] = {
    {"steps", LS_CONFIG_INT, offsetof(settings, steps), "10", 1, 1e6, NULL, "steps"},
    {"optim.lr", LS_CONFIG_FLOAT, offsetof(settings, lr), "1e-3", 0, 1, NULL, "rate"},
    {"model.tied", LS_CONFIG_BOOL, offsetof(settings, tied), "true", 0, 0, NULL, "tied"},
    {"out", LS_CONFIG_STRING, offsetof(settings, out), NULL, 0, 0, NULL, "folder"},
    {"model.kind", LS_CONFIG_ENUM, offsetof(settings, kind), "gpt2", 0, 0, kinds, "kind"},
    {"model.layers", LS_CONFIG_INT, offsetof(settings, layers), "4", 1, 100, NULL, "layers"},
};

static void use(const ls_config *config, const settings *s) {
    char *text = NULL;
    json_t *json = NULL;
    need(s->steps >= 1 && s->steps <= 1000000 && s->layers >= 1 && s->layers <= 100);
    need(s->lr >= 0 && s->lr <= 1);
    need((s->tied == 0 || s->tied == 1) && (s->kind == 0 || s->kind == 1));
    need(ls_config_print(config, &text) == LS_OK);
    ls_free(text);
    if (ls_config_to_json(config, &json) == LS_OK) json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    const ls_config_table table = {fields, sizeof fields / sizeof *fields};
    settings s = {0};
    ls_config *config = NULL;
    need(ls_config_create(&table, 1, &s, &config) == LS_OK);
    if (ls_config_read_text(config, (const char *)data, bytes, "fuzz.yaml") == LS_OK)
        use(config, &s);
    else
        need(ls_error_message()[0] != '\0');
    ls_config_destroy(config);
    return 0;
}
