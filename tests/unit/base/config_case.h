/* The table that the tests of configuration share. */
#ifndef LS_TESTS_CONFIG_CASE_H
#define LS_TESTS_CONFIG_CASE_H
#include "base/config.h"
#include <math.h>

typedef struct case_settings {
    int64_t steps;
    struct {
        int64_t layers;
        double dropout;
        int activation;
    } model;
    double lr;
    int tied;
    const char *out, *name;
} case_settings;

static const char *const case_activations[] = {"gelu", "relu", "silu", NULL};

static const ls_config_field case_fields[] = {
    {"steps", LS_CONFIG_INT, offsetof(case_settings, steps), "100", 0, 1e6, NULL, "steps to run"},
    {"model.layers", LS_CONFIG_INT, offsetof(case_settings, model.layers), "4", 1, 128, NULL,
     "blocks"},
    {"model.dropout", LS_CONFIG_FLOAT, offsetof(case_settings, model.dropout), "0.1", 0, 1, NULL,
     "probability"},
    {"model.activation", LS_CONFIG_ENUM, offsetof(case_settings, model.activation), "gelu", 0, 0,
     case_activations, "gelu | relu | silu"},
};
static const ls_config_field case_more_fields[] = {
    {"lr", LS_CONFIG_FLOAT, offsetof(case_settings, lr), "3e-4", 0, INFINITY, NULL,
     "learning rate"},
    {"model.tied", LS_CONFIG_BOOL, offsetof(case_settings, tied), "true", 0, 0, NULL,
     "tie weights"},
    {"out", LS_CONFIG_STRING, offsetof(case_settings, out), NULL, 0, 0, NULL, "folder"},
    {"name", LS_CONFIG_STRING, offsetof(case_settings, name), "run", 0, 0, NULL, NULL},
};
static const ls_config_table case_tables[] = {{case_fields, 4}, {case_more_fields, 4}};

#endif
