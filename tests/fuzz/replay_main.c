/* Feeds a fuzz target the files of the given folders, whole and cut short, where libFuzzer is not at hand.
 * usage: replay_<name> FOLDER... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

enum { MOST_BYTES = 1 << 20, N_CUTS = 8 };

/* An exact copy on the heap, so that AddressSanitizer sees a read past the end. */
static void feed(const uint8_t *data, size_t bytes) {
    uint8_t *copy = malloc(bytes ? bytes : 1);
    if (!copy) exit(5);
    memcpy(copy, data, bytes);
    (void)LLVMFuzzerTestOneInput(copy, bytes);
    free(copy);
}

static int replay_file(const char *path) {
    static uint8_t data[MOST_BYTES];
    FILE *file = fopen(path, "rb");
    if (!file) return 0;
    const size_t bytes = fread(data, 1, sizeof data, file);
    const int failed = ferror(file);
    fclose(file);
    if (failed) return 0; /* a folder within the folder */
    feed(data, bytes);
    for (size_t cut = 0; cut < N_CUTS; cut++) feed(data, bytes * cut / N_CUTS);
    return 1;
}

static int replay_folder(const char *path) {
    DIR *folder = opendir(path);
    if (!folder) return 0;
    int n_files = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char name[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        n_files += replay_file(name);
    }
    closedir(folder);
    return n_files;
}

int main(int argc, char **argv) {
    int n_files = 0;
    for (int i = 1; i < argc; i++) n_files += replay_folder(argv[i]);
    printf("%d files replayed\n", n_files);
    if (n_files == 0) fprintf(stderr, "no corpus: nothing was tested\n");
    return n_files == 0;
}
