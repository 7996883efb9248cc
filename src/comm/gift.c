#include "comm/gift.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "comm/fault.h"
#include <string.h>

struct ls_gift_book {
    ls_comm_ops ops; /* first: what comm->ops points to while the book is open */
    const ls_comm_ops *below;
    ls_comm *comm; /* the transport's own; NULL: alone */
    ls_gift_sort_fn sort;
    void *user;
    int is_counting;
    uint64_t sums[LS_GIFT_COUNT];
};

static ls_gift_book *book_of(const ls_comm *comm) {
    return (ls_gift_book *)(uintptr_t)comm->ops;
}

/* Bytes of a part that this rank gives. */
static size_t given_bytes(const ls_comm *comm, const ls_comm_call *call, const ls_comm_part *part) {
    if (call->scatter) return part->bytes;
    if (call->from < 0) return ls_comm_piece_bytes(part, comm->rank);
    return comm->rank == call->from ? ls_comm_piece_bytes(part, 0) : 0;
}

static void note(const ls_comm *comm, const ls_comm_call *call) {
    ls_gift_book *book = book_of(comm);
    if (!book->is_counting) return;
    const ls_gift_kind kind = book->sort(book->user, call);
    if (kind == LS_GIFT_NONE) return;
    for (int i = 0; i < call->n_parts; i++) {
        const size_t bytes = given_bytes(comm, call, &call->parts[i]);
        if (bytes > 0) book->sums[kind] += ls_xxh3(call->parts[i].data, bytes, bytes);
    }
}

static ls_status start_call(ls_comm *comm, const ls_comm_call *call) {
    note(comm, call);
    return book_of(comm)->below->start(comm, call);
}

/* Sums in place: data is what this rank gives. */
static ls_status fast_all_reduce(ls_comm *comm, const ls_comm_call *call, float *data,
                                 int64_t count) {
    const size_t bytes = (size_t)count * sizeof *data;
    const ls_comm_part part = {data, bytes * (size_t)comm->size, bytes};
    ls_comm_call whole = *call;
    whole.n_parts = 1;
    whole.parts = &part;
    note(comm, &whole);
    return book_of(comm)->below->fast_all_reduce(comm, call, data, count);
}

ls_status ls_gift_book_open(ls_comm *comm, ls_gift_sort_fn sort, void *user, ls_gift_book **out) {
    ls_gift_book *book = ls_alloc(sizeof *book);
    if (!book) return LS_ERR_NO_MEMORY;
    book->comm = (ls_comm *)(uintptr_t)ls_comm_fault_inner(comm);
    book->sort = sort;
    book->user = user;
    if (book->comm) {
        book->below = book->comm->ops;
        book->ops = *book->below;
        book->ops.start = start_call;
        if (book->ops.fast_all_reduce) book->ops.fast_all_reduce = fast_all_reduce;
        book->comm->ops = &book->ops;
    }
    *out = book;
    return LS_OK;
}

void ls_gift_book_close(ls_gift_book *book) {
    if (!book) return;
    if (book->comm) book->comm->ops = book->below;
    ls_free(book);
}

void ls_gift_book_begin(ls_gift_book *book) {
    memset(book->sums, 0, sizeof book->sums);
    book->is_counting = 1;
}

void ls_gift_book_end(ls_gift_book *book, uint64_t sums_out[LS_GIFT_COUNT]) {
    book->is_counting = 0;
    memcpy(sums_out, book->sums, sizeof book->sums);
}
