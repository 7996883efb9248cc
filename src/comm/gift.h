/* What this rank gives to the others, hashed as it gives it.
 *
 * A gift book puts itself into the table of the transport, under an injected fault where there is one: what a fault changes is what
 * this rank gave. While it is open for a step it takes XXH3 of every part that this rank hands to start(), and adds them up modulo
 * 2^64, each seeded with its length. So neither the order of calls nor how tensors are put into buckets enters, and the sums
 * can be compared with those of another run of the same step. Peers read the very bytes that were hashed.
 * Thread-safety: as the ls_comm. Local. */
#ifndef LS_COMM_GIFT_H
#define LS_COMM_GIFT_H
#include "comm/comm.h"

/* In the order in which one depends on the others: weights on the state before the step only; gradients on weights of all ranks; totals
 * on gradients of all ranks. */
typedef enum ls_gift_kind {
    LS_GIFT_WEIGHTS,   /* pieces of the weights, for lanes to compute with */
    LS_GIFT_GRADIENTS, /* to a sum: gradients, losses, counts */
    LS_GIFT_TOTALS,    /* what it made of a sum: its pieces of the gradient, its sums of squares */
    LS_GIFT_COUNT,
    LS_GIFT_NONE = -1 /* not of the step */
} ls_gift_kind;
typedef ls_gift_kind (*ls_gift_sort_fn)(void *user, const ls_comm_call *call);

typedef struct ls_gift_book ls_gift_book;

/* comm NULL: a rank alone gives nothing. The comm must outlive the book. */
LS_API ls_status ls_gift_book_open(ls_comm *comm, ls_gift_sort_fn sort, void *user,
                                   ls_gift_book **out);
LS_API void ls_gift_book_close(ls_gift_book *book); /* NULL is fine */
LS_API void ls_gift_book_begin(ls_gift_book *book);
LS_API void ls_gift_book_end(ls_gift_book *book, uint64_t sums_out[LS_GIFT_COUNT]);

#endif
