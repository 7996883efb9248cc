/* Saving while the program runs on: the copy, the thread that writes it, and what the ranks' states lead to. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/stream_copy.h"
#include "base/thread.h"
#include "ckpt/ckpt.h"
#include "device/device.h"

enum { MESSAGE_BYTES = 2048, COPY_BYTES = 4 << 20 };

struct ls_ckpt_saver {
    ls_program *program;
    ls_comm *comm; /* NULL: one rank */
    int rank, size;
    char *snapshot; /* NULL: straight from the program, which waits */
    size_t snapshot_bytes;
    ls_ckpt_job *job; /* of the save under way */
    pthread_t thread;
    int has_thread;
    int *states;
    atomic_int state, cancel;
    /* Written by the thread before it sets the state, read after. */
    ls_status status;
    char message[MESSAGE_BYTES];
    double write_seconds;
    ls_ckpt_save_times times;
};

static ls_status create_saver(ls_program *program, int with_copy, ls_ckpt_saver **out) {
    const int size = ls_plan_ranks(program->plan);
    if (size != ls_comm_size(program->comm))
        return LS_FAIL(LS_ERR_UNSUPPORTED,
                       "checkpoint: the plan has %d ranks, of which %d can talk to each other; "
                       "programs of one stage are saved",
                       size, ls_comm_size(program->comm));
    ls_ckpt_saver *s = ls_alloc(sizeof *s);
    if (!s) return LS_ERR_NO_MEMORY;
    s->program = program;
    s->comm = program->comm;
    s->rank = ls_ckpt_rank_of(program);
    s->size = size;
    s->states = ls_alloc(sizeof *s->states * (size_t)size);
    ls_status status = s->states ? LS_OK : LS_ERR_NO_MEMORY;
    const int64_t bytes = with_copy ? ls_ckpt_snapshot_bytes(program->plan, s->rank) : 0;
    if (status == LS_OK && bytes < 0) status = LS_ERR_NO_MEMORY;
    if (status == LS_OK && with_copy) {
        s->snapshot_bytes = (size_t)bytes;
        s->snapshot = ls_alloc_pages(s->snapshot_bytes);
        if (!s->snapshot) status = LS_ERR_NO_MEMORY;
        if (s->snapshot) memset(s->snapshot, 1, s->snapshot_bytes); /* no page faults later */
    }
    if (status != LS_OK) {
        ls_ckpt_saver_destroy(s);
        return status;
    }
    *out = s;
    return LS_OK;
}

ls_status ls_ckpt_saver_create(ls_program *program, ls_ckpt_saver **out) {
    return create_saver(program, 1, out);
}

static void join_thread(ls_ckpt_saver *s) {
    if (s->has_thread) (void)pthread_join(s->thread, NULL);
    s->has_thread = 0;
}

/* Removes what is not complete and forgets the save. */
static void drop_job(ls_ckpt_saver *s, int complete) {
    if (s->job && s->rank == 0 && !complete && s->job->temporary)
        ls_ckpt_discard(s->job->temporary);
    ls_ckpt_job_destroy(s->job);
    s->job = NULL;
    atomic_store(&s->state, LS_SAVE_IDLE);
}

void ls_ckpt_saver_destroy(ls_ckpt_saver *s) {
    if (!s) return;
    atomic_store(&s->cancel, 1);
    join_thread(s);
    drop_job(s, atomic_load(&s->state) == LS_SAVE_COMPLETE);
    ls_free_pages(s->snapshot, s->snapshot_bytes);
    ls_free(s->states);
    ls_free(s);
}

/* --- the thread --- */

static void set_result(ls_ckpt_saver *s, ls_status status, ls_save_state good) {
    s->status = status;
    if (status != LS_OK) (void)snprintf(s->message, MESSAGE_BYTES, "%s", ls_error_message());
    atomic_store(&s->state, status == LS_OK ? (int)good : (int)LS_SAVE_FAILED);
}

static void *write_part(void *user) {
    ls_ckpt_saver *s = user;
    const double begun = ls_clock_seconds();
    const ls_status status = ls_ckpt_job_write(s->job);
    s->write_seconds = ls_clock_seconds() - begun;
    set_result(s, status, LS_SAVE_WRITTEN);
    return NULL;
}

static void *complete(void *user) {
    ls_ckpt_saver *s = user;
    const double begun = ls_clock_seconds();
    const ls_status status = ls_ckpt_job_complete(s->job);
    s->write_seconds += ls_clock_seconds() - begun;
    set_result(s, status, LS_SAVE_COMPLETE);
    return NULL;
}

/* Signals are for the threads that train. A thread that cannot be had is a save that failed. */
static void start_thread(ls_ckpt_saver *s, ls_save_state state, void *(*body)(void *)) {
    sigset_t all, before;
    (void)sigfillset(&all);
    atomic_store(&s->state, (int)state);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&s->thread, NULL, body, s);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->has_thread = error == 0;
    if (error) {
        LS_FAIL(LS_ERR_NO_MEMORY, "checkpoint: no thread to write it: %s", strerror(error));
        set_result(s, LS_ERR_NO_MEMORY, LS_SAVE_FAILED);
    }
}

/* --- the copy --- */

typedef struct copier {
    const ls_ckpt_saver *saver;
    ls_ckpt_run *runs;
    int64_t *first_task; /* of each run */
} copier;

static size_t run_bytes(const ls_ckpt_run *run) {
    return (size_t)run->count * ls_dtype_bytes(run->part.whole.dtype);
}

/* Task of a run: its next COPY_BYTES. */
static ls_status copy_task(void *user, int64_t task, int worker) {
    (void)worker;
    const copier *c = user;
    int low = 0, high = c->saver->job->n_runs;
    while (high - low > 1) {
        const int middle = low + (high - low) / 2;
        if (c->first_task[middle] <= task)
            low = middle;
        else
            high = middle;
    }
    const ls_ckpt_run *run = &c->runs[low];
    const size_t at = (size_t)(task - c->first_task[low]) * COPY_BYTES;
    const size_t left = run_bytes(run) - at, bytes = left < COPY_BYTES ? left : COPY_BYTES;
    ls_device *device = c->saver->program->device;
    char *to = c->saver->snapshot + run->offset + at;
    if (device->ops->kind != LS_DEVICE_CPU)
        return device->ops->copy_out(device, to, run->data + at, bytes);
    ls_stream_copy(to, run->data + at, bytes); /* nobody reads it before it goes to disk */
    return LS_OK;
}

static ls_status copy_state(ls_ckpt_saver *s) {
    ls_ckpt_job *job = s->job;
    if (!s->snapshot) return LS_OK;
    copier c = {s, job->runs, ls_alloc(sizeof *c.first_task * (size_t)(job->n_runs + 1))};
    if (!c.first_task) return LS_ERR_NO_MEMORY;
    int64_t n_tasks = 0;
    for (int i = 0; i < job->n_runs; i++) {
        c.first_task[i] = n_tasks;
        n_tasks += (int64_t)((run_bytes(&job->runs[i]) + COPY_BYTES - 1) / COPY_BYTES);
        s->times.copy_bytes += (int64_t)run_bytes(&job->runs[i]);
    }
    const double begun = ls_clock_seconds();
    const ls_status status = ls_pool_run(s->program->pool, n_tasks, copy_task, &c);
    s->times.copy_seconds = ls_clock_seconds() - begun;
    ls_free(c.first_task);
    for (int i = 0; i < job->n_runs; i++) job->runs[i].data = s->snapshot + job->runs[i].offset;
    return status;
}

/* --- what the ranks do together --- */

static ls_status check_direct(const ls_ckpt_saver *s) {
    if (s->snapshot || s->program->device->ops->kind == LS_DEVICE_CPU) return LS_OK;
    return LS_FAIL(LS_ERR_UNSUPPORTED, "checkpoint: the state is on '%s'; save it from a copy",
                   s->program->device->ops->name);
}

ls_status ls_ckpt_saver_begin(ls_ckpt_saver *s, const ls_ckpt_content *content, const char *dir,
                              const ls_ckpt_save_options *options) {
    ls_status status = check_direct(s);
    if (status == LS_OK && (s->job || atomic_load(&s->state) != LS_SAVE_IDLE))
        status = LS_FAIL(LS_ERR_INVALID, "checkpoint '%s': another save is under way", dir);
    if (status != LS_OK) return ls_comm_agree(s->comm, "begin a checkpoint", status);
    s->times = (ls_ckpt_save_times){0};
    atomic_store(&s->cancel, 0);
    status = ls_ckpt_job_create(s->program, content, dir, options, &s->job);
    status = ls_comm_agree(s->comm, "prepare a checkpoint", status);
    if (status == LS_OK) {
        s->job->cancel = &s->cancel;
        status = ls_ckpt_job_open(s->job, s->comm);
    }
    if (status == LS_OK) status = ls_comm_agree(s->comm, "copy the state", copy_state(s));
    if (status != LS_OK) {
        ls_error_prefix(status, "saving checkpoint '%s'", dir);
        drop_job(s, 0);
        return status;
    }
    start_thread(s, LS_SAVE_WRITING, write_part);
    return LS_OK;
}

ls_save_state ls_ckpt_saver_state(const ls_ckpt_saver *s) {
    return (ls_save_state)atomic_load(&s->state);
}

static int count_state(const int *states, int size, ls_save_state state) {
    int n = 0;
    for (int r = 0; r < size; r++) n += states[r] == (int)state;
    return n;
}

/* Everybody stops writing, then all hear the first failed rank's reason, then the first rank removes the folder. */
static ls_status give_up(ls_ckpt_saver *s) {
    atomic_store(&s->cancel, 1);
    join_thread(s);
    ls_status status = LS_OK;
    if (atomic_load(&s->state) == LS_SAVE_FAILED && s->status != LS_ERR_INTERRUPTED) {
        status = LS_FAIL(s->status, "%s", s->message);
        ls_error_prefix(status, "saving checkpoint '%s'", s->job->dir);
    }
    status = ls_comm_agree(s->comm, "save a checkpoint", status);
    if (status == LS_OK) status = LS_FAIL(LS_ERR_INTERNAL, "checkpoint: nobody says why it failed");
    drop_job(s, 0);
    return status;
}

ls_status ls_ckpt_saver_advance(ls_ckpt_saver *s, const int *states, int size, int *done_out) {
    *done_out = 0;
    if (size != s->size)
        return LS_FAIL(LS_ERR_INVALID, "checkpoint: %d states for %d ranks", size, s->size);
    if (count_state(states, size, LS_SAVE_FAILED)) {
        *done_out = 1;
        return give_up(s);
    }
    if (states[0] == LS_SAVE_COMPLETE) {
        join_thread(s);
        s->times.write_seconds = s->write_seconds;
        s->times.written_bytes = s->job->written_bytes;
        drop_job(s, 1);
        *done_out = 1;
    } else if (count_state(states, size, LS_SAVE_WRITTEN) == size && s->rank == 0) {
        join_thread(s);
        start_thread(s, LS_SAVE_COMPLETING, complete);
    }
    return LS_OK;
}

ls_status ls_ckpt_saver_wait(ls_ckpt_saver *s) {
    const struct timespec pause = {.tv_nsec = 500000};
    int done = s->job == NULL;
    ls_status status = LS_OK;
    while (status == LS_OK && !done) {
        const int mine = (int)ls_ckpt_saver_state(s);
        LS_TRY(ls_comm_exchange(s->comm, "wait for a checkpoint", &mine, sizeof mine, s->states));
        status = ls_ckpt_saver_advance(s, s->states, s->size, &done);
        if (status == LS_OK && !done) (void)nanosleep(&pause, NULL);
    }
    return status;
}

ls_ckpt_save_times ls_ckpt_saver_times(const ls_ckpt_saver *s) {
    return s->times;
}

ls_status ls_ckpt_save(ls_program *program, const ls_ckpt_content *content, const char *dir,
                       const ls_ckpt_save_options *options) {
    ls_ckpt_saver *saver = NULL;
    const int with_copy = program->device->ops->kind != LS_DEVICE_CPU;
    ls_status status = create_saver(program, with_copy, &saver);
    if (program->comm) status = ls_comm_agree(program->comm, "save a checkpoint", status);
    if (status == LS_OK) status = ls_ckpt_saver_begin(saver, content, dir, options);
    if (status == LS_OK) status = ls_ckpt_saver_wait(saver);
    ls_ckpt_saver_destroy(saver);
    return status;
}
