/* What ranks, keepers and supervisors say to a keeper: frames over a Unix socket or TCP, and the blocking side of both. Numbers are in the
 * byte order of the host: a run's hosts are of one kind.
 *
 * A connection begins with HELLO, which WELCOME answers. Then, from a rank (Unix only: it is on the keeper's host):
 *   TAKE -> TAKEN + descriptor | NONE | BUSY     the predecessor's segment, when it lies there and its owner is gone
 *   GIVE + descriptor -> DONE                    here is a new one
 *   COMMIT                                       a buffer holds a new step; not answered
 * from anybody:
 *   READ -> DATA ... END                         elements of a tensor at a step, as far as they are here
 *   BLOB -> BLOB | NONE                          what was committed with a step
 *   INVENTORY -> JSON
 * from the keeper of another host:
 *   SHADOW                                       the beginning of a segment whose copies will come
 *   COPY, PIECE ..., COPIED -> COPIED            one step of it
 * FAIL answers what cannot be done. Every wait ends after LS_KEEP_WAIT_SECONDS without a byte. Local. */
#ifndef LS_KEEP_KEEP_WIRE_H
#define LS_KEEP_KEEP_WIRE_H
#include "keep/keeper.h"
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

#define LS_KEEP_WAIT_SECONDS 30.0
enum {
    LS_KEEP_WIRE_VERSION = 1,
    LS_KEEP_GREETING_BYTES = 256, /* at most so much before HELLO */
    LS_KEEP_FRAME_BYTES = 64 << 20,
    LS_KEEP_CHUNK_BYTES = 512 << 10,
    LS_KEEP_NAME_BYTES = 512
};
#define LS_KEEP_FRAME_MAGIC UINT32_C(0x4b53434c)

#define LS_SAY_MAP(X) \
    X(HELLO)          \
    X(WELCOME)        \
    X(FAIL)           \
    X(TAKE)           \
    X(TAKEN)          \
    X(NONE)           \
    X(BUSY)           \
    X(GIVE)           \
    X(DONE)           \
    X(COMMIT)         \
    X(READ)           \
    X(DATA)           \
    X(END)            \
    X(BLOB)           \
    X(INVENTORY)      \
    X(JSON)           \
    X(SHADOW)         \
    X(COPY)           \
    X(PIECE)          \
    X(COPIED)
typedef enum ls_keep_word {
#define LS_SAY_KIND(name) LS_SAY_##name,
    LS_SAY_MAP(LS_SAY_KIND)
#undef LS_SAY_KIND
        LS_SAY_COUNT
} ls_keep_word;

typedef struct ls_keep_frame {
    uint32_t magic;
    uint16_t version, kind;
    uint64_t bytes; /* that follow */
} ls_keep_frame;

enum { LS_KEEP_IS_RANK, LS_KEEP_IS_KEEPER, LS_KEEP_IS_READER };
typedef struct ls_keep_hello {
    char cookie[LS_KEEPER_COOKIE];
    char unused[3];
    int32_t who, rank;
    int32_t turn; /* of a keeper: how often it has turned to a neighbour before */
    int32_t none;
    int64_t job; /* of a reader: -1 */
} ls_keep_hello;

typedef struct ls_keep_failure {
    int32_t status;
    char reason[1020]; /* sent as long as it is, with its NUL */
} ls_keep_failure;

typedef struct ls_keep_take {
    uint64_t fingerprint, bytes;
} ls_keep_take;

typedef struct ls_keep_commit_note {
    int64_t step;
    int32_t was_restored; /* it was read or taken over: not a new one */
    int32_t unused;
} ls_keep_commit_note;

typedef struct ls_keep_read {
    int64_t step, first, count;
    int32_t dtype, unused;
    char name[LS_KEEP_NAME_BYTES];
} ls_keep_read;

/* Before the bytes of DATA and PIECE. */
typedef struct ls_keep_chunk {
    int64_t at; /* DATA: element; PIECE: byte of the buffer */
    uint64_t hash;
} ls_keep_chunk;

typedef struct ls_keep_blob_ask {
    int64_t step;
    int32_t rank; /* whose, if it is there; else anybody's */
    int32_t unused;
} ls_keep_blob_ask;

/* COPY and, with the blob behind it, COPIED. The answer has no blob. */
typedef struct ls_keep_copy {
    int64_t job, step;
    int32_t rank, was_restored;
} ls_keep_copy;

/* "HOST:PORT", "[::1]:PORT" for IPv6. Free with freeaddrinfo. */
struct addrinfo;
ls_status ls_keep_resolve(const char *address, struct addrinfo **out);
/* Connect within so many seconds. LS_ERR_COMM says to what and why not. */
LS_API ls_status ls_keep_dial_unix(const char *name, int *fd_out);
LS_API ls_status ls_keep_dial_tcp(const char *address, double seconds, int *fd_out);
/* HELLO, and its answer. */
LS_API ls_status ls_keep_greet(int fd, const ls_keep_hello *hello);
/* pass < 0: no descriptor goes along. */
LS_API ls_status ls_keep_say(int fd, ls_keep_word kind, const void *data, size_t bytes, int pass);
/* The next frame's beginning; FAIL is returned as the failure that it tells. passed_out: a descriptor that came along or -1; may be NULL. */
LS_API ls_status ls_keep_hear(int fd, ls_keep_frame *out, int *passed_out);
LS_API ls_status ls_keep_hear_bytes(int fd, void *out, size_t bytes);

#endif
