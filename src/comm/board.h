/* The board of a job: memory that all ranks of a host map, on which each rank says what it is doing.
 *
 * A rank's part of the board is written by that rank alone (or, for a rank of another host, by whoever relays it: ls_board_relay); the
 * exceptions are the count of sleepers, the first failure (compare-and-swap), its sentences and the time of the last warning. What is
 * read while it may be rewritten lies in cells or logs of 8-byte words, all atomic. Zeroed memory is a board on which everybody is
 * absent. Times are seconds of the monotonic clock, which the processes of a host share. */
#ifndef LS_COMM_BOARD_H
#define LS_COMM_BOARD_H
#include "comm/comm.h"
#include "comm/job.h"
#include <stdatomic.h>

enum {
    LS_BOARD_LOG = 512, /* calls of a rank that are remembered, less one */
    LS_BOARD_SLOTS =
        LS_COMM_MAX_TICKETS + 2, /* the last two: ls_comm_exchange, ls_shared_exchange */
    LS_BOARD_TICKET_EXCHANGE = LS_COMM_MAX_TICKETS, /* of ls_comm_exchange, over any transport */
    LS_BOARD_TICKET_INNER = LS_COMM_MAX_TICKETS + 1,
    LS_BOARD_SENTENCE = 1024,
    LS_BOARD_SENTENCES = 16 /* of those who find a failure at the same time */
};

/* What a call was, for messages and for the match between ranks. A multiple of 8 bytes, without holes. */
typedef struct ls_board_call {
    char op[32], scope[64];
    uint64_t number;            /* the rank's calls before it */
    uint64_t step, bytes, hash; /* hash of everything that must be equal on every rank */
    int64_t id, dims[LS_MAX_DIMS];
    int32_t n_dims, dtype, from, to;
    double seconds; /* when it was started */
} ls_board_call;

/* How a rank stands. A multiple of 8 bytes, without holes. */
typedef struct ls_board_stand {
    char host[64];
    int32_t
        state; /* ls_rank_state: ABSENT, RUNNING, WAITING, FAILED or LEFT; the others are found from outside */
    int32_t pid, node; /* node: number of its host */
    int32_t peer;      /* WAITING: for whom */
    uint64_t
        born; /* start time of the process (/proc/PID/stat, field 22): tells it from a later one of the same pid */
    uint64_t number; /* WAITING: in which call */
    double since;    /* in this state */
    double wait_seconds, lag_seconds;
} ls_board_stand;

typedef struct ls_board_part {
    int32_t
        memory; /* index among the memories of the giver; -1: nothing; -2: the giver's page on the board */
    int32_t unused;
    uint64_t offset, bytes, piece_bytes;
} ls_board_part;

/* The calls of one ticket: `started` and `done` are the number of the call + 1. */
typedef struct ls_board_slot {
    _Alignas(64) _Atomic uint64_t started;
    _Atomic uint64_t hash;
    double seconds;
    int32_t n_parts, scatter, from, to;
    ls_board_part parts[LS_COMM_MAX_PARTS];
    _Alignas(64) _Atomic uint64_t done;
} ls_board_slot;

/* Two copies: the value of version v is in copy v % 2, and the next one is written into the other. So the value is whole at any time, also
 * while its writer is kept from going on, or was killed. */
typedef struct ls_board_cell_call {
    _Atomic uint64_t version;
    _Atomic uint64_t words[2 * sizeof(ls_board_call) / 8];
} ls_board_cell_call;

typedef struct ls_board_cell_stand {
    _Atomic uint64_t version;
    _Atomic uint64_t words[2 * sizeof(ls_board_stand) / 8];
} ls_board_cell_stand;

typedef struct ls_board_cell_text {
    _Atomic uint64_t version;
    _Atomic uint64_t words[2 * LS_BOARD_SENTENCE / 8];
} ls_board_cell_text;

/* Of a log. Call n is written while n_started is n, and whole when it is larger, until it is n + LS_BOARD_LOG. */
typedef struct ls_board_entry {
    _Atomic uint64_t words[sizeof(ls_board_call) / 8];
} ls_board_entry;

typedef struct ls_board_rank {
    _Alignas(64) _Atomic uint64_t n_started; /* calls */
    _Atomic uint32_t events; /* futex: changes with every start, finish, failure and leave */
    _Alignas(64) _Atomic uint32_t n_sleepers;
    _Alignas(64) ls_board_cell_stand stand;
    ls_board_cell_text reason; /* FAILED: why */
    ls_board_entry log[LS_BOARD_LOG];
    ls_board_slot slots[LS_BOARD_SLOTS];
    _Alignas(64) unsigned char page[LS_COMM_EXCHANGE_BYTES];
} ls_board_rank;

struct ls_board {
    uint64_t magic; /* of this layout */
    int32_t size;
    char name[64];
    /* The first failure: 0 none, else 1 + culprit * (LS_BOARD_SENTENCES + 1) + which sentence. It is set after its sentence was written:
     * whoever finds a failure finds its culprit and its reason, however long the writer was kept from going on. */
    _Alignas(64) _Atomic uint32_t failed;
    _Atomic uint32_t n_sentences; /* taken */
    _Atomic uint64_t warned_ms;   /* when somebody was last warned about a late rank */
    ls_board_cell_text sentences[LS_BOARD_SENTENCES];
    _Alignas(64) ls_board_rank ranks[];
};
typedef struct ls_board ls_board;

LS_API size_t ls_board_bytes(int size);
/* `memory` is zeroed and 64-byte aligned. */
LS_API void ls_board_init(ls_board *memory, int size, const char *name);
/* Is this a board of this build, within `bytes`? */
LS_API ls_status ls_board_verify(const ls_board *board, size_t bytes);

/* Cells. The reader gets a whole value, the newest or one that was it a moment ago. */
LS_API void ls_cell_write(_Atomic uint64_t *version, _Atomic uint64_t *words, const void *value,
                          size_t bytes);
LS_API void ls_cell_read(const _Atomic uint64_t *version, const _Atomic uint64_t *words,
                         void *value_out, size_t bytes);

LS_API void ls_board_set_stand(ls_board *board, int rank, const ls_board_stand *stand);
LS_API ls_board_stand ls_board_get_stand(const ls_board *board, int rank);
/* Appends to the rank's log, then raises n_started. Does not wake. */
LS_API void ls_board_log_call(ls_board *board, int rank, const ls_board_call *call);
/* 1 and the call when the rank started its call `number` and still remembers it, else 0. */
LS_API int ls_board_find_call(const ls_board *board, int rank, uint64_t number, ls_board_call *out);
/* The rank's last call; 0 when it has made none. */
LS_API int ls_board_last_call(const ls_board *board, int rank, ls_board_call *out);
/* Wakes those who sleep on the rank's events. */
LS_API void ls_board_wake(ls_board *board, int rank);
/* Sleeps until the rank's events move from `seen` or `seconds` are over. */
LS_API void ls_board_sleep(ls_board *board, int rank, uint32_t seen, double seconds);

/* Writes the part of a rank of another host: how it stands, its newest calls (in order; those already known are passed over). */
LS_API void ls_board_relay(ls_board *board, int rank, const ls_board_stand *stand,
                           const ls_board_call *calls, int n_calls);

/* Records the first failure; a later one changes nothing. `sentence` names the culprit, its host and what it was doing. 1 when
 * this was the first. Wakes everybody. */
LS_API int ls_board_fail(ls_board *board, int culprit, const char *sentence);
/* The culprit, or -1 when nobody has failed; sentence_out may be NULL. */
LS_API int ls_board_failure(const ls_board *board, char sentence_out[LS_BOARD_SENTENCE]);

/* --- words for messages (board_text.c) --- */

/* "step 12 all_reduce \"h.3.attn\"" or "no collective yet". */
LS_API void ls_board_say_call(const ls_board_call *call, char *out, size_t out_bytes);
/* The same with node, dtype, shape and bytes. */
LS_API void ls_board_say_details(const ls_board_call *call, char *out, size_t out_bytes);
/* "rank 3 (pid 812 on host nid001)" */
LS_API void ls_board_say_rank(const ls_board *board, int rank, char *out, size_t out_bytes);
/* "its last collective was step 12 all_reduce "h.3.attn", 0.4 s ago" */
LS_API void ls_board_say_last(const ls_board *board, int rank, char *out, size_t out_bytes);
/* "ranks 0-2, 4 wait at step 12 all_reduce", without `not_rank`; "" when nobody waits. */
LS_API void ls_board_say_waiting(const ls_board *board, int not_rank, char *out, size_t out_bytes);
/* Records "RANK WHAT; its last collective ...; who waits" as the first failure. */
LS_API void ls_board_blame(ls_board *board, int rank, const char *what);
/* Records LS_ERR_COMM in the calling thread: the failure's sentence and what `rank` was doing. */
LS_API ls_status ls_board_report_failure(const ls_board *board, int rank);

/* Who started something else as call `number`, by majority: called when two ranks disagree. Waits up to a second for the others, then
 * records the failure. */
LS_API void ls_board_blame_mismatch(ls_board *board, uint64_t number);

/* What the system knows about a process: 'R', 'S', ..., 'Z' as in /proc/PID/stat, '?' when it is there but cannot be read; 0 when it is
 * gone (or `born` differs; 0 = any). */
LS_API char ls_process_state(pid_t pid, uint64_t born);
LS_API uint64_t ls_process_born(pid_t pid);

#endif
