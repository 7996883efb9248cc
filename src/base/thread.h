/* A pinned pool of threads for fork/join loops.
 *
 * ls_pool_run calls fn(user, task, worker) for task = 0..n_tasks-1, spread over the workers (the caller is worker
 * 0), and returns when all are done. Which worker runs a task is not fixed: a task's result must not depend on
 * `worker` (use it only to pick scratch memory). Workers spin briefly and then sleep. The first error by task
 * index is the one returned, its message carried to the caller.
 * Thread-safety: one ls_pool_run at a time per pool; nested calls on the same pool run the tasks inline. Local. */
#ifndef LS_BASE_THREAD_H
#define LS_BASE_THREAD_H
#include "lockstep/status.h"
#include <stdint.h>

typedef struct ls_pool ls_pool;
typedef ls_status (*ls_task_fn)(void *user, int64_t task, int worker);

/* n_threads >= 1 counts the caller. first_cpu >= 0 pins worker i to the (first_cpu + i)-th allowed CPU (the caller's
 * thread is left alone); -1 does not pin. Pinning that fails is not an error. */
LS_API ls_status ls_pool_create(int n_threads, int first_cpu, ls_pool **out);
LS_API void ls_pool_destroy(ls_pool *pool);
LS_API int ls_pool_threads(const ls_pool *pool); /* NULL counts as 1 */
/* pool may be NULL: runs inline. */
LS_API ls_status ls_pool_run(ls_pool *pool, int64_t n_tasks, ls_task_fn fn, void *user);
/* From now on the pool measures how long its threads other than the caller work; ls_pool_busy_ns is the sum, 0 before. Between two
 * runs only. pool may be NULL. */
LS_API void ls_pool_measure(ls_pool *pool, int on);
LS_API int64_t ls_pool_busy_ns(const ls_pool *pool);
/* CPUs this process may use (affinity and cgroup quota), at least 1. */
LS_API int ls_cpu_count(void);

#endif
