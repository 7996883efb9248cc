/* Liveness between hosts: the first rank of each host keeps a TCP connection to rank 0, beside MPI.
 *
 * Five times a second it tells how the ranks of its host stand and what they called; rank 0 passes everything on to the other hosts, so that
 * every board holds all ranks. Failures travel at once. A connection that breaks without a goodbye is a process that died; one
 * that is silent is a process that is stopped, or a host that cannot be reached. */
#include "comm/backend/comm_mpi_peers.h"
#include "base/clock.h"
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TICK_MS = 50 };
static const double beat_seconds = 0.2, silent_seconds = 1.2, flush_seconds = 1.0;
/* A process that was stopped as a whole and goes on does not find everybody silent. */
static const double max_tick_seconds = 0.2;

struct ls_mpi_peers {
    ls_mpi *mpi;
    ls_board *board;
    int listener;
    uint64_t cookie;
    int n_links; /* rank 0: one for every other host; others: one */
    ls_peer_link *links;
    struct pollfd *polled;
    uint64_t *told; /* [size] calls of a rank that were told */
    int told_failure;
    int running;
    _Atomic int stop;
    pthread_t thread;
};

static int is_hub(const ls_mpi_peers *peers) {
    return peers->mpi->place.rank == 0;
}

ls_status ls_mpi_peers_create(ls_mpi *mpi, ls_mpi_peers **out) {
    ls_mpi_peers *peers = ls_alloc(sizeof *peers);
    if (!peers) return LS_ERR_NO_MEMORY;
    peers->mpi = mpi;
    peers->board = ls_job_board(mpi->job);
    peers->listener = -1;
    peers->n_links = is_hub(peers) ? mpi->n_hosts - 1 : 1;
    peers->links = ls_alloc((size_t)peers->n_links * sizeof *peers->links);
    peers->polled = ls_alloc((size_t)(peers->n_links + 1) * sizeof *peers->polled);
    peers->told = ls_alloc((size_t)mpi->place.size * sizeof *peers->told);
    if (!peers->links || !peers->polled || !peers->told) {
        ls_mpi_peers_stop(peers);
        return LS_ERR_NO_MEMORY;
    }
    for (int i = 0; i < peers->n_links; i++)
        peers->links[i] = (ls_peer_link){.fd = -1, .rank = -1, .is_over = 1};
    *out = peers;
    return LS_OK;
}

ls_status ls_mpi_peers_listen(ls_mpi_peers *peers, ls_mpi_address *out) {
    LS_TRY(ls_peer_listen(&peers->listener, out));
    peers->cookie = out->cookie;
    return LS_OK;
}

/* To all, or to all but the one it came from. */
static void say_to_others(ls_mpi_peers *peers, const ls_peer_link *not_to, ls_peer_kind kind,
                          int rank, const void *data, size_t bytes) {
    for (int i = 0; i < peers->n_links; i++)
        if (&peers->links[i] != not_to && peers->links[i].rank >= 0)
            ls_peer_say(&peers->links[i], kind, rank, data, bytes);
}

static size_t news_bytes(int64_t n_calls) {
    return offsetof(ls_peer_news, calls) + (size_t)n_calls * sizeof(ls_board_call);
}

/* The newest calls only: older ones have been made by everybody, or will be told by who missed them. */
static void tell_rank(ls_mpi_peers *peers, int rank) {
    const double now = ls_clock_seconds();
    ls_peer_news news = {.stand = ls_board_get_stand(peers->board, rank)};
    const uint64_t n = atomic_load(&peers->board->ranks[rank].n_started);
    uint64_t first = peers->told[rank];
    if (n - first > LS_PEER_CALLS) first = n - LS_PEER_CALLS;
    for (uint64_t i = first; i < n; i++) {
        ls_board_call *call = &news.calls[news.n_calls];
        if (!ls_board_find_call(peers->board, rank, i, call)) continue;
        call->seconds = now - call->seconds;
        news.n_calls++;
    }
    news.stand.since = now - news.stand.since;
    peers->told[rank] = n;
    say_to_others(peers, NULL, LS_PEER_STAND, rank, &news, news_bytes(news.n_calls));
}

static void tell_failure(ls_mpi_peers *peers) {
    char sentence[LS_BOARD_SENTENCE];
    const int culprit = ls_board_failure(peers->board, sentence);
    if (culprit < 0 || peers->told_failure) return;
    peers->told_failure = 1;
    say_to_others(peers, NULL, LS_PEER_FAIL, culprit, sentence, sizeof sentence);
}

static void tell_all(ls_mpi_peers *peers) {
    for (int r = 0; r < peers->mpi->place.size; r++)
        if (peers->mpi->node_of[r] == peers->mpi->node) tell_rank(peers, r);
    say_to_others(peers, NULL, LS_PEER_PING, peers->mpi->place.rank, NULL, 0);
}

/* What a rank called goes on the board before the news that it left. */
static void hear_news(ls_mpi_peers *peers, int rank, const unsigned char *data, uint64_t bytes) {
    const double now = ls_clock_seconds();
    ls_peer_news news;
    memset(&news, 0, offsetof(ls_peer_news, calls));
    memcpy(&news, data, bytes);
    if (news.n_calls < 0 || news.n_calls > LS_PEER_CALLS || bytes != news_bytes(news.n_calls))
        return;
    const ls_board_stand before = ls_board_get_stand(peers->board, rank);
    news.stand.since = now - news.stand.since;
    for (int64_t i = 0; i < news.n_calls; i++) news.calls[i].seconds = now - news.calls[i].seconds;
    /* The board counts a wake as a sign of progress. */
    if (news.n_calls)
        ls_board_relay(peers->board, rank, before.pid ? &before : &news.stand, news.calls,
                       (int)news.n_calls);
    ls_board_set_stand(peers->board, rank, &news.stand);
    if (news.stand.state != before.state) ls_board_wake(peers->board, rank);
}

static void hear_hello(ls_mpi_peers *peers, ls_peer_link *link, int rank, const void *data) {
    if (!is_hub(peers)) return;
    if (memcmp(data, &peers->cookie, sizeof peers->cookie) != 0) {
        link->is_over = 1;
        return;
    }
    link->rank = rank;
    ls_peer_say(link, LS_PEER_HELLO, 0, &peers->cookie, sizeof peers->cookie);
}

static int is_rank_elsewhere(const ls_mpi_peers *peers, int rank) {
    return rank >= 0 && rank < peers->mpi->place.size &&
           peers->mpi->node_of[rank] != peers->mpi->node;
}

static void hear(ls_mpi_peers *peers, ls_peer_link *link, const ls_peer_frame *frame,
                 const unsigned char *data) {
    const int known = link->rank >= 0, elsewhere = is_rank_elsewhere(peers, frame->rank);
    switch ((ls_peer_kind)frame->kind) {
    case LS_PEER_HELLO:
        if (frame->bytes == sizeof peers->cookie && elsewhere)
            hear_hello(peers, link, frame->rank, data);
        break;
    case LS_PEER_STAND:
        if (known && elsewhere && frame->bytes >= news_bytes(0))
            hear_news(peers, frame->rank, data, frame->bytes);
        break;
    case LS_PEER_FAIL: {
        char sentence[LS_BOARD_SENTENCE];
        if (!known || frame->bytes != sizeof sentence || frame->rank < 0 ||
            frame->rank >= peers->mpi->place.size)
            break;
        memcpy(sentence, data, sizeof sentence);
        sentence[sizeof sentence - 1] = '\0';
        (void)ls_board_fail(peers->board, frame->rank, sentence);
        break;
    }
    case LS_PEER_BYE:
        link->said_bye = 1;
        break;
    default:
        break;
    }
    if (is_hub(peers) && known && (frame->kind == LS_PEER_STAND || frame->kind == LS_PEER_FAIL))
        say_to_others(peers, link, (ls_peer_kind)frame->kind, frame->rank, data, frame->bytes);
}

static void read_link(ls_mpi_peers *peers, ls_peer_link *link) {
    ls_peer_frame frame;
    const unsigned char *data;
    size_t before;
    /* As long as something comes: the room for what is read holds few frames. */
    do {
        before = link->n_in;
        ls_peer_read(link);
        const int news = link->n_in > before;
        while (ls_peer_next(link, &frame, &data)) {
            hear(peers, link, &frame, data);
            ls_peer_drop(link, &frame);
        }
        if (!news) break;
    } while (!link->is_over);
}

/* What the rank called since it told of it last: its messages say so. */
static void note_heard(ls_mpi_peers *peers, int rank, const ls_board_stand *stand) {
    const ls_board_cell_call *heard = &peers->mpi->inboxes[rank].heard;
    ls_board_call call;
    ls_cell_read(&heard->version, heard->words, &call, sizeof call);
    if (call.op[0]) ls_board_relay(peers->board, rank, stand, &call, 1);
}

static void lose_link(ls_mpi_peers *peers, ls_peer_link *link, const char *what) {
    if (link->rank >= 0 && !link->said_bye) {
        ls_board_stand stand = ls_board_get_stand(peers->board, link->rank);
        note_heard(peers, link->rank, &stand);
        ls_board_blame(peers->board, link->rank, what);
        if (stand.state != LS_RANK_LEFT && stand.state != LS_RANK_FAILED) {
            stand.state = LS_RANK_DEAD;
            ls_board_set_stand(peers->board, link->rank, &stand);
        }
    }
    ls_peer_close(link);
    link->rank = -1;
}

static void accept_link(ls_mpi_peers *peers) {
    const int one = 1, fd = accept4(peers->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    for (int i = 0; i < peers->n_links; i++) {
        if (peers->links[i].fd >= 0) continue;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        peers->links[i] = (ls_peer_link){.fd = fd, .rank = -1};
        return;
    }
    (void)close(fd);
}

/* Waits a tick for something to read or to write. */
static void wait_for_links(ls_mpi_peers *peers) {
    for (int i = 0; i < peers->n_links; i++) {
        const ls_peer_link *link = &peers->links[i];
        peers->polled[i] =
            (struct pollfd){.fd = link->fd, .events = link->out.size ? POLLIN | POLLOUT : POLLIN};
    }
    peers->polled[peers->n_links] = (struct pollfd){.fd = peers->listener, .events = POLLIN};
    (void)poll(peers->polled, (nfds_t)peers->n_links + 1, TICK_MS);
}

static void tend_links(ls_mpi_peers *peers, double tick) {
    if (peers->polled[peers->n_links].revents) accept_link(peers);
    for (int i = 0; i < peers->n_links; i++) {
        ls_peer_link *link = &peers->links[i];
        if (link->fd < 0) continue;
        link->silent += tick;
        read_link(peers, link);
        if (link->is_over)
            lose_link(peers, link, "is dead: its process ended or was killed without a word");
        else if (link->silent > silent_seconds && !link->said_bye)
            lose_link(peers, link,
                      "is stopped (SIGSTOP or a debugger), or its host cannot be reached: "
                      "nothing was heard of it for 1.2 s");
    }
    tell_failure(peers);
    for (int i = 0; i < peers->n_links; i++)
        if (peers->links[i].fd >= 0) ls_peer_flush(&peers->links[i]);
}

static void *run_peers(void *user) {
    ls_mpi_peers *peers = user;
    double last = ls_clock_seconds(), beat = 0;
    while (!atomic_load(&peers->stop)) {
        wait_for_links(peers);
        const double now = ls_clock_seconds();
        if (now - beat >= beat_seconds) {
            tell_all(peers);
            beat = now;
        }
        tend_links(peers, now - last < max_tick_seconds ? now - last : max_tick_seconds);
        last = now;
    }
    tell_all(peers);
    tell_failure(peers);
    say_to_others(peers, NULL, LS_PEER_BYE, peers->mpi->place.rank, NULL, 0);
    const double until = ls_clock_seconds() + flush_seconds;
    for (int i = 0; i < peers->n_links; i++) {
        ls_peer_link *link = &peers->links[i];
        while (link->fd >= 0 && !link->is_over && link->out.size && ls_clock_seconds() < until) {
            struct pollfd writable = {.fd = link->fd, .events = POLLOUT};
            (void)poll(&writable, 1, TICK_MS);
            ls_peer_flush(link);
        }
    }
    return NULL;
}

ls_status ls_mpi_peers_start(ls_mpi_peers *peers, const ls_mpi_address *hub) {
    if (!is_hub(peers)) {
        int fd = -1;
        LS_TRY(ls_peer_connect(hub, peers->mpi->place.rank, &fd));
        peers->links[0] = (ls_peer_link){.fd = fd, .rank = 0};
    }
    const int code = ls_mpi_create_thread(&peers->thread, run_peers, peers);
    peers->running = code == 0;
    if (code)
        return LS_FAIL(LS_ERR_COMM, "the thread that watches other hosts cannot be started: %s",
                       strerror(code));
    return LS_OK;
}

void ls_mpi_peers_stop(ls_mpi_peers *peers) {
    if (!peers) return;
    atomic_store(&peers->stop, 1);
    if (peers->running) (void)pthread_join(peers->thread, NULL);
    for (int i = 0; peers->links && i < peers->n_links; i++) ls_peer_close(&peers->links[i]);
    if (peers->listener >= 0) (void)close(peers->listener);
    ls_free(peers->links);
    ls_free(peers->polled);
    ls_free(peers->told);
    ls_free(peers);
}
