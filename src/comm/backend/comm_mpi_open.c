/* Which MPI started this process, and loading its plugin. */
#include "base/alloc.h"
#include "base/config.h"
#include "base/fs.h"
#include "comm/backend/comm_mpi.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef LS_LIBDIR
#define LS_LIBDIR "lib"
#endif

enum { PATH_BYTES = 4096 };

/* One of these in the environment tells who started the process. The first that fits counts: mpirun of Open MPI sets PMIX_RANK
 * too. */
typedef struct launcher {
    const char *variable;
    const char *mpi; /* part of the plugin's file name */
    const char *words;
} launcher;

static const launcher launchers[] = {
    {"OMPI_COMM_WORLD_SIZE", "openmpi", "mpirun of Open MPI"},
    {"HYDI_CONTROL_FD", "mpich", "mpirun of MPICH"},
    {"MPIEXEC_HOSTNAME", "mpich", "mpirun of MPICH"},
    {"PMIX_RANK", "openmpi", "srun --mpi=pmix"},
    {"PMI_RANK", "mpich", "a launcher that speaks PMI (mpirun of MPICH, srun --mpi=pmi2)"},
    {"PMI_FD", "mpich", "a launcher that speaks PMI (mpirun of MPICH, srun --mpi=pmi2)"},
};

static const launcher *find_launcher(void) {
    for (size_t i = 0; i < sizeof launchers / sizeof launchers[0]; i++)
        if (ls_config_env(launchers[i].variable)) return &launchers[i];
    return NULL;
}

const char *ls_comm_mpi_launcher(void) {
    const launcher *found = find_launcher();
    return found ? found->words : NULL;
}

static ls_status fail_launcher(void) {
    if (ls_config_env("SLURM_STEP_ID") && ls_config_env("SLURM_PROCID"))
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "transport 'mpi' was asked for, but srun started this process without MPI: "
                       "use srun --mpi=pmix (Open MPI) or srun --mpi=pmi2 (MPICH)");
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "transport 'mpi' was asked for, but no MPI launcher started this process; start "
                   "it with `mpirun -n R lockstep ...`, or without MPI with `lockstep run -n R -- "
                   "...`");
}

#ifdef LS_STATIC

ls_status ls_mpi_load(ls_mpi_library *out) {
    (void)out;
    const launcher *found = find_launcher();
    if (!found) return fail_launcher();
    return LS_FAIL(LS_ERR_UNSUPPORTED,
                   "%s started this process, but this is the fully static program, which cannot "
                   "load MPI; use the dynamic one (`make`), or `lockstep run -n R` on one host",
                   found->words);
}

#else

/* Folder of a path's last part, in place. */
static void cut_name(char *path) {
    char *slash = strrchr(path, '/');
    if (slash) slash[slash == path] = '\0';
}

/* The folder of the library that holds this code; the program's where it is linked in. */
static void library_folder(char *out) {
    Dl_info info;
    out[0] = '\0';
    if (dladdr((const void *)&launchers, &info) && info.dli_fname && strchr(info.dli_fname, '/'))
        snprintf(out, PATH_BYTES, "%s", info.dli_fname);
    cut_name(out);
}

static void program_folder(char *out) {
    const ssize_t n = readlink("/proc/self/exe", out, PATH_BYTES - 1);
    out[n > 0 ? n : 0] = '\0';
    cut_name(out);
}

/* 1 and the path of the plugin when one of the places has it; else the places, for the message. */
static int find_plugin(const char *mpi, char *path, ls_text *looked) {
    char program[PATH_BYTES], library[PATH_BYTES];
    program_folder(program);
    library_folder(library);
    const char *named = ls_config_env("LOCKSTEP_PLUGINS");
    const struct {
        const char *base, *below;
    } places[] = {{named ? named : "", ""},
                  {program, ""},
                  {program, "/../" LS_LIBDIR "/lockstep"},
                  {program, "/.."},
                  {program, "/../lib64/lockstep"},
                  {library, "/lockstep"},
                  {library, ""}};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (!places[i].base[0]) continue;
        const int n = snprintf(path, PATH_BYTES, "%s%s/liblockstep_mpi_%s.so", places[i].base,
                               places[i].below, mpi);
        if (n < PATH_BYTES && ls_path_exists(path)) return 1;
        ls_text_append(looked, "%s%s%s", looked->size ? ", " : "", places[i].base, places[i].below);
    }
    return 0;
}

static ls_status load(const launcher *from, const char *path, ls_mpi_library *out) {
    const char *package = strcmp(from->mpi, "openmpi") == 0 ? "libopenmpi3" : "libmpich12";
    /* MPI loads parts of its own that look for its symbols in the global scope. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
    if (!handle)
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "%s started this process, but its library cannot be loaded: %s; install "
                       "the Debian package %s, or the MPI that Lockstep was built with",
                       from->words, dlerror(), package);
    const ls_mpi_plugin *plugin = dlsym(handle, LS_MPI_PLUGIN_SYMBOL);
    if (!plugin || plugin->version != LS_MPI_PLUGIN_VERSION) {
        (void)dlclose(handle);
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "%s is not a plugin of this build of Lockstep; build and install both "
                       "together",
                       path);
    }
    *out = (ls_mpi_library){plugin, from->words};
    return LS_OK;
}

ls_status ls_mpi_load(ls_mpi_library *out) {
    const launcher *from = find_launcher();
    if (!from) return fail_launcher();
    char path[PATH_BYTES];
    ls_text looked = {0};
    ls_status status = LS_OK;
    if (find_plugin(from->mpi, path, &looked))
        status = load(from, path, out);
    else if (looked.status != LS_OK)
        status = looked.status;
    else
        status = LS_FAIL(LS_ERR_UNSUPPORTED,
                         "%s started this process, but Lockstep has no plugin for that MPI "
                         "(liblockstep_mpi_%s.so is not in %s); install the Debian package %s and "
                         "build Lockstep again, or name the plugin's folder in LOCKSTEP_PLUGINS",
                         from->words, from->mpi, looked.data ? looked.data : "any folder",
                         strcmp(from->mpi, "openmpi") == 0 ? "libopenmpi-dev" : "libmpich-dev");
    ls_text_deinit(&looked);
    return status;
}

#endif

/* Open MPI's way through TCP, unless the user chose one. By default its TCP writes large messages into place ("put") a whole message at a
 * time and moves one direction at a time: two hosts that exchange fill half of the link. Sent in fragments they fill it. MPICH does not
 * read the variable. */
static ls_status tune(void) {
    static const char variable[] = "OMPI_MCA_btl_tcp_flags";
    if (ls_config_env(variable)) return LS_OK;
    return ls_config_env_set(variable, "send,inplace,need-ack,need-csum,hetero-rdma");
}

ls_status ls_comm_open_mpi(const ls_comm_options *options, ls_comm **out) {
    ls_mpi_library library;
    LS_TRY(tune());
    LS_TRY(ls_mpi_load(&library));
    return ls_mpi_join(&library, options, out);
}
