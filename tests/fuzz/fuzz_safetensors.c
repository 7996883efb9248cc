/* safetensors: opening fails with a message, or every byte of every tensor can be read. */
#include "base/alloc.h"
#include "lockstep/safetensors.h"
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void need(int holds) {
    if (!holds) abort();
}

/* Touches every byte: the sanitizer sees what lies outside. Data may be a copy where the file's is not aligned. */
static unsigned sum_bytes(const ls_tensor *tensor) {
    unsigned sum = 0;
    const uint8_t *p = tensor->data;
    for (size_t i = 0; i < ls_tensor_bytes(tensor); i++) sum += p[i];
    return sum;
}

static void use(const ls_safetensors *file) {
    for (int i = 0; i < ls_safetensors_count(file); i++) {
        const ls_tensor tensor = ls_safetensors_tensor(file, i);
        ls_tensor found;
        need(ls_safetensors_find(file, ls_safetensors_name(file, i), &found) == LS_OK);
        need(found.data == tensor.data && sum_bytes(&found) == sum_bytes(&tensor));
    }
    (void)ls_safetensors_metadata(file, "format");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    uint8_t *copy = ls_alloc(bytes); /* aligned, and exactly as long */
    ls_safetensors *file = NULL;
    if (copy == NULL) return 0;
    if (bytes > 0) memcpy(copy, data, bytes);
    if (ls_safetensors_parse(copy, bytes, "fuzz", &file) == LS_OK)
        use(file);
    else
        need(ls_error_message()[0] != '\0');
    ls_safetensors_close(file);
    ls_free(copy);
    return 0;
}
