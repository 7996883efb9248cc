#include "base/config.h"
#include <stdlib.h>

const char *ls_config_env(const char *name) {
    return getenv(name);
}
