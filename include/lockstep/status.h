/* Status codes and the error record.
 *
 * Every function that can fail returns an ls_status. Whoever detects an error records one message with
 * LS_FAIL: what was asked, what was found, what would work. Callers pass the code on with LS_TRY and may add
 * context with ls_error_prefix. The record belongs to the calling thread and stays until the next LS_FAIL.
 * Thread-safety: the record is thread-local. Local (no communication). */
#ifndef LOCKSTEP_STATUS_H
#define LOCKSTEP_STATUS_H

#if defined(__GNUC__)
#define LS_API                          __attribute__((visibility("default")))
#define LS_PRINTF(fmt_index, arg_index) __attribute__((format(printf, fmt_index, arg_index)))
#define LS_MUST_CHECK                   __attribute__((warn_unused_result))
#else
#define LS_API
#define LS_PRINTF(fmt_index, arg_index)
#define LS_MUST_CHECK
#endif

/* code, exit status of the program, words */
#define LS_STATUS_MAP(X)                      \
    X(OK, 0, "success")                       \
    X(INVALID, 2, "invalid argument")         \
    X(CONFIG, 2, "configuration error")       \
    X(NOT_FOUND, 3, "not found")              \
    X(IO, 3, "input/output error")            \
    X(NO_SPACE, 3, "no space left")           \
    X(FORMAT, 4, "malformed or damaged file") \
    X(DATA, 4, "bad data")                    \
    X(NO_MEMORY, 5, "out of memory")          \
    X(UNSUPPORTED, 6, "not supported")        \
    X(NUMERIC, 7, "numeric failure")          \
    X(COMM, 8, "communication failure")       \
    X(INTERRUPTED, 130, "interrupted")        \
    X(INTERNAL, 70, "internal error")

typedef enum ls_status {
#define LS_STATUS_ENUM(name, exit_code, words) LS_ERR_##name,
    LS_STATUS_MAP(LS_STATUS_ENUM)
#undef LS_STATUS_ENUM
        LS_STATUS_COUNT
} ls_status;

#define LS_OK LS_ERR_OK

/* Words for a code; never NULL. */
LS_API const char *ls_status_words(ls_status status);
/* Exit status of the program for a code: 0 only for LS_OK. */
LS_API int ls_status_exit_code(ls_status status);
/* The calling thread's last recorded message; "" when there is none. Valid until the next record. */
LS_API const char *ls_error_message(void);
/* Records a message for the calling thread and returns `status`. Prefer LS_FAIL. */
LS_API ls_status ls_error_set(ls_status status, const char *file, int line, const char *fmt, ...)
    LS_PRINTF(4, 5);
/* Puts "context: " before the recorded message (e.g. the name of the file being read); returns `status`. */
LS_API ls_status ls_error_prefix(ls_status status, const char *fmt, ...) LS_PRINTF(2, 3);
/* Forgets the calling thread's message. */
LS_API void ls_error_clear(void);

/* Lets the compiler see which code LS_FAIL returns, so that it knows an out parameter is not read after it. */
static inline ls_status ls_status_recorded(ls_status recorded, ls_status code) {
    (void)recorded;
    return code;
}

/* Evaluates `code` twice: pass a constant or a variable. */
#define LS_FAIL(code, ...) \
    ls_status_recorded(ls_error_set((code), __FILE__, __LINE__, __VA_ARGS__), (code))
#define LS_TRY(call)                                        \
    do {                                                    \
        const ls_status ls_try_status_ = (call);            \
        if (ls_try_status_ != LS_OK) return ls_try_status_; \
    } while (0)
/* Needs a variable `ls_status status` and a cleanup label in scope. */
#define LS_TRY_GOTO(call, label)         \
    do {                                 \
        status = (call);                 \
        if (status != LS_OK) goto label; \
    } while (0)

#endif
