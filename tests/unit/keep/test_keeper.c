/* labels: threads
 * A keeper among strangers: wrong cookies, other versions, sizes that cannot be, random bytes. It neither ends nor hangs, and serves the
 * others all the while. */
#include "keep/keep_segment.h"
#include "keep/keep_wire.h"
#include "unit/keep/keep_run.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>

static const char wrong_cookie[] = "00000000000000000000000000000000";

static ls_keeper *start(void) {
    const ls_keeper_options options = {.listens = 1};
    ls_keeper *keeper = NULL;
    check_ok(ls_keeper_start(&options, &keeper));
    return keeper;
}

static int dial(const ls_keeper *keeper, int is_local) {
    char text[160];
    int fd = -1;
    (void)snprintf(text, sizeof text, "%s", ls_keeper_offer(keeper));
    text[strcspn(text, " ")] = '\0';
    if (is_local) {
        check_ok(ls_keep_dial_unix(text, &fd));
    } else {
        (void)snprintf(text, sizeof text, "127.0.0.1:%d", ls_keeper_port(keeper));
        check_ok(ls_keep_dial_tcp(text, patience_seconds, &fd));
    }
    return fd;
}

static ls_status greet(int fd, const ls_keeper *keeper, int who, int rank, int64_t job) {
    ls_keep_hello hello = {.who = who, .rank = rank, .job = job};
    memcpy(hello.cookie, ls_keeper_cookie(keeper), sizeof hello.cookie);
    return ls_keep_greet(fd, &hello);
}

/* Does the keeper close the connection? What it says before does not matter. */
static int is_closed(int fd) {
    char bytes[4096];
    const double until = ls_clock_seconds() + patience_seconds;
    while (ls_clock_seconds() < until) {
        struct pollfd look = {.fd = fd, .events = POLLIN};
        if (poll(&look, 1, 100) <= 0) continue;
        const ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN)) return 1;
    }
    return 0;
}

/* It still answers. */
static void check_alive(const ls_keeper *keeper) {
    char address[64];
    json_t *inventory = NULL;
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", ls_keeper_port(keeper));
    check_ok(ls_keeper_ask(address, ls_keeper_cookie(keeper), patience_seconds, &inventory));
    json_decref(inventory);
}

static void test_cookie(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    char address[64];
    json_t *inventory = NULL;
    (void)snprintf(address, sizeof address, "127.0.0.1:%d", ls_keeper_port(keeper));
    check_fails(ls_keeper_ask(address, wrong_cookie, 5, &inventory), LS_ERR_COMM,
                "closed the connection");
    check_fails(ls_keeper_ask(address, "short", 5, &inventory), LS_ERR_INVALID, "32 hexadecimal");
    check_fails(ls_keeper_ask("127.0.0.1:1", wrong_cookie, 5, &inventory), LS_ERR_COMM,
                "cannot be reached");
    check_fails(ls_keeper_ask("nowhere.invalid:77", wrong_cookie, 5, &inventory), LS_ERR_COMM,
                "not known");
    check_fails(ls_keeper_ask("nowhere", wrong_cookie, 5, &inventory), LS_ERR_INVALID, "HOST:PORT");
    for (int is_local = 0; is_local < 2; is_local++) {
        ls_keep_hello hello = {.who = LS_KEEP_IS_RANK};
        const int fd = dial(keeper, is_local);
        memcpy(hello.cookie, wrong_cookie, sizeof hello.cookie);
        check_fails(ls_keep_greet(fd, &hello), LS_ERR_COMM, "closed the connection");
        (void)close(fd);
    }
    check_alive(keeper);
    ls_keeper_stop(keeper);
}

static void test_options(void **state) {
    (void)state;
    ls_keeper *keeper = NULL, *other = NULL;
    check_fails(ls_keeper_start(&(ls_keeper_options){.name = "a b"}, &keeper), LS_ERR_INVALID,
                "no name for a keeper");
    check_fails(ls_keeper_start(&(ls_keeper_options){.cookie = "abc"}, &keeper), LS_ERR_INVALID,
                "32 hexadecimal");
    check_ok(ls_keeper_start(NULL, &keeper));
    assert_int_equal(ls_keeper_port(keeper), 0);
    char name[160];
    (void)snprintf(name, sizeof name, "%s", ls_keeper_offer(keeper));
    name[strcspn(name, " ")] = '\0';
    check_fails(ls_keeper_start(&(ls_keeper_options){.name = name}, &other), LS_ERR_COMM,
                "cannot listen");
    check_ok(ls_keeper_begin_job(keeper, 3, 1));
    check_fails(ls_keeper_begin_job(keeper, 2, 1), LS_ERR_INVALID, "job 3 has begun");
    ls_keeper_stop(keeper);
    ls_keeper_stop(NULL);
}

/* --- what is refused --- */

static void test_hello(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    check_ok(ls_keeper_begin_job(keeper, 4, 2));
    const int rank = dial(keeper, 1), again = dial(keeper, 1), old = dial(keeper, 1),
              remote = dial(keeper, 0);
    check_ok(greet(rank, keeper, LS_KEEP_IS_RANK, 0, 4));
    check_fails(greet(again, keeper, LS_KEEP_IS_RANK, 0, 4), LS_ERR_INVALID, "is here already");
    check_fails(greet(old, keeper, LS_KEEP_IS_RANK, 1, 3), LS_ERR_COMM, "job 3 has ended");
    check_fails(greet(remote, keeper, LS_KEEP_IS_RANK, 1, 4), LS_ERR_INVALID,
                "not on the keeper's");
    /* A higher job's rank begins it, and the ones before are refused. */
    check_ok(greet(again, keeper, LS_KEEP_IS_RANK, 0, 5));
    const ls_keep_take take = {1, 4096};
    ls_keep_frame frame;
    check_ok(ls_keep_say(rank, LS_SAY_TAKE, &take, sizeof take, -1));
    check_fails(ls_keep_hear(rank, &frame, NULL), LS_ERR_COMM, "job 4 has ended");
    check_ok(ls_keep_say(again, LS_SAY_TAKE, &take, sizeof take, -1));
    check_ok(ls_keep_hear(again, &frame, NULL));
    assert_int_equal(frame.kind, LS_SAY_NONE);
    (void)close(rank);
    (void)close(again);
    (void)close(old);
    (void)close(remote);
    ls_keeper_stop(keeper);
}

/* Frames that end the connection. */
static const struct {
    const char *what;
    ls_keep_frame frame;
    int is_greeted;
} bad_frames[] = {
    {"no magic", {1, LS_KEEP_WIRE_VERSION, LS_SAY_INVENTORY, 0}, 1},
    {"another version", {LS_KEEP_FRAME_MAGIC, 9, LS_SAY_INVENTORY, 0}, 1},
    {"no kind", {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, 999, 0}, 1},
    {"too long", {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_READ, UINT64_MAX}, 1},
    {"too long a shadow",
     {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_SHADOW, (uint64_t)1 << 40},
     1},
    {"too short", {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_TAKE, 3}, 1},
    {"an answer", {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_WELCOME, 0}, 1},
    {"before hello", {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_INVENTORY, 0}, 0},
    {"hello of another version", {LS_KEEP_FRAME_MAGIC, 2, LS_SAY_HELLO, sizeof(ls_keep_hello)}, 0},
};

static void test_bad_frames(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    for (size_t i = 0; i < sizeof bad_frames / sizeof *bad_frames; i++) {
        const int fd = dial(keeper, (int)(i % 2));
        if (bad_frames[i].is_greeted) check_ok(greet(fd, keeper, LS_KEEP_IS_READER, -1, -1));
        assert_int_equal(send(fd, &bad_frames[i].frame, sizeof bad_frames[i].frame, MSG_NOSIGNAL),
                         sizeof bad_frames[i].frame);
        if (!is_closed(fd)) fail_msg("%s: the connection stays", bad_frames[i].what);
        (void)close(fd);
    }
    check_alive(keeper);
    ls_keeper_stop(keeper);
}

/* Says it and hears the refusal. */
static void check_refused(int fd, ls_keep_word kind, const void *data, size_t bytes, int pass,
                          const char *part) {
    ls_keep_frame frame;
    check_ok(ls_keep_say(fd, kind, data, bytes, pass));
    ls_error_clear();
    if (ls_keep_hear(fd, &frame, NULL) == LS_OK || !strstr(ls_error_message(), part))
        fail_msg("message %d: '%s' lacks '%s'", (int)kind, ls_error_message(), part);
}

static void test_refusals(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    const int rank = dial(keeper, 1), reader = dial(keeper, 0), peer = dial(keeper, 0);
    check_ok(greet(rank, keeper, LS_KEEP_IS_RANK, 0, 1));
    check_ok(greet(reader, keeper, LS_KEEP_IS_READER, -1, -1));
    check_ok(greet(peer, keeper, LS_KEEP_IS_KEEPER, -1, 1));
    const ls_keep_take take = {1, 4096};
    const ls_keep_commit_note note = {.step = 1};
    check_refused(reader, LS_SAY_TAKE, &take, sizeof take, -1, "only a rank");
    check_refused(reader, LS_SAY_GIVE, NULL, 0, -1, "only a rank");
    check_refused(rank, LS_SAY_GIVE, NULL, 0, -1, "without its descriptor");
    check_refused(rank, LS_SAY_COMMIT, &note, sizeof note, -1, "has no segment");
    const int empty = memfd_create("empty", MFD_CLOEXEC);
    check_refused(rank, LS_SAY_GIVE, NULL, 0, empty, "is no segment");
    assert_int_equal(ftruncate(empty, 100), 0);
    check_refused(rank, LS_SAY_GIVE, NULL, 0, empty, "cannot be read");
    assert_int_equal(ftruncate(empty, 1 << 20), 0);
    check_refused(rank, LS_SAY_GIVE, NULL, 0, empty, "do not begin like");
    check_refused(rank, LS_SAY_GIVE, NULL, 0, STDIN_FILENO, "");
    (void)close(empty);

    ls_keep_read read = {.step = -1, .count = 4, .name = "a"};
    check_refused(reader, LS_SAY_READ, &read, sizeof read, -1, "elements");
    read = (ls_keep_read){.step = 1, .first = INT64_MAX, .count = 4, .name = "a"};
    check_refused(reader, LS_SAY_READ, &read, sizeof read, -1, "elements");
    memset(&read, 0xff, sizeof read);
    check_refused(reader, LS_SAY_READ, &read, sizeof read, -1, "elements");
    read = (ls_keep_read){.step = 1, .count = INT64_MAX, .name = "a"};
    ls_keep_frame frame;
    check_ok(ls_keep_say(reader, LS_SAY_READ, &read, sizeof read, -1));
    check_ok(ls_keep_hear(reader, &frame, NULL));
    assert_int_equal(frame.kind, LS_SAY_END);

    const ls_keep_copy copy = {1, 1, 0, 0};
    const ls_keep_chunk chunk = {0, 0};
    unsigned char shadow[sizeof(int64_t) + sizeof(ls_keep_header)] = {0};
    check_refused(reader, LS_SAY_COPY, &copy, sizeof copy, -1, "only a keeper");
    check_refused(peer, LS_SAY_COPY, &copy, sizeof copy, -1, "unannounced");
    check_refused(peer, LS_SAY_PIECE, &chunk, sizeof chunk, -1, "does not belong");
    check_refused(peer, LS_SAY_COPIED, &copy, sizeof copy, -1, "not complete");
    check_refused(peer, LS_SAY_SHADOW, shadow, sizeof shadow, -1, "do not begin like");
    (void)close(rank);
    (void)close(reader);
    (void)close(peer);
    check_alive(keeper);
    ls_keeper_stop(keeper);
}

/* --- a keeper that turned away and came back --- */

/* One tensor, of which rank 0 has all. */
static ls_keep_header *make_image(int64_t count) {
    const ls_plan_part part = {.name = "a", .whole = {LS_DTYPE_F32, {1, {count}}}, .count = count};
    const ls_keep_layout layout = {
        .size = 1, .n_tensors = 1, .parts = &part, .n_parts = 1, .buffer_bytes = 4 * (size_t)count};
    ls_keep_header *image = NULL;
    check_ok(ls_keep_segment_make(&layout, &image));
    return image;
}

typedef struct turned {
    ls_keeper *keeper;
    int fd;
} turned;

/* The next answer; a failure's reason is in the error record. */
static int hear_kind(const turned *t) {
    ls_keep_frame frame;
    char bytes[4096];
    ls_error_clear();
    if (ls_keep_hear(t->fd, &frame, NULL) != LS_OK) return LS_SAY_FAIL;
    assert_true(frame.bytes <= sizeof bytes);
    check_ok(ls_keep_hear_bytes(t->fd, bytes, frame.bytes));
    return frame.kind;
}

/* Everything that was said before has been heard. */
static void await_heard(const turned *t) {
    check_ok(ls_keep_say(t->fd, LS_SAY_INVENTORY, NULL, 0, -1));
    const int kind = hear_kind(t);
    if (kind != LS_SAY_JSON) fail_msg("answer %d: %s", kind, ls_error_message());
}

/* As another keeper does: its connection number `turn`, which announces its segment. */
static turned turn_to(ls_keeper *keeper, int turn) {
    ls_keep_hello hello = {.who = LS_KEEP_IS_KEEPER, .rank = -1, .turn = turn};
    turned t = {keeper, dial(keeper, 0)};
    ls_keep_header *image = make_image(4);
    memcpy(hello.cookie, ls_keeper_cookie(keeper), sizeof hello.cookie);
    check_ok(ls_keep_greet(t.fd, &hello));
    char *message = calloc(1, sizeof(int64_t) + image->buffers);
    memcpy(message + sizeof(int64_t), image, image->buffers);
    check_ok(ls_keep_say(t.fd, LS_SAY_SHADOW, message, sizeof(int64_t) + image->buffers, -1));
    free(message);
    ls_free(image);
    return t;
}

static void say_copy(const turned *t, ls_keep_word kind, int64_t step) {
    const ls_keep_copy copy = {.step = step};
    check_ok(ls_keep_say(t->fd, kind, &copy, sizeof copy, -1));
}

/* Half of the 16 bytes, all of them `value`. */
static void say_half(const turned *t, int half, char value) {
    struct {
        ls_keep_chunk head;
        char bytes[8];
    } piece = {.head.at = 8 * half};
    memset(piece.bytes, value, sizeof piece.bytes);
    piece.head.hash = ls_xxh3(piece.bytes, sizeof piece.bytes, 0);
    check_ok(ls_keep_say(t->fd, LS_SAY_PIECE, &piece, sizeof piece, -1));
}

static void check_answer(const turned *t, int wanted, const char *part) {
    const int kind = hear_kind(t);
    if (kind != wanted || !strstr(ls_error_message(), part))
        fail_msg("answer %d, not %d: '%s' lacks '%s'", kind, wanted, ls_error_message(), part);
}

static void check_tensor(const turned *t, int64_t step, char value) {
    const ls_keep_read read = {.step = step, .count = 4, .dtype = LS_DTYPE_F32, .name = "a"};
    char wanted[16], found[sizeof(ls_keep_chunk) + sizeof wanted];
    ls_keep_frame frame;
    check_ok(ls_keep_say(t->fd, LS_SAY_READ, &read, sizeof read, -1));
    check_ok(ls_keep_hear(t->fd, &frame, NULL));
    assert_int_equal(frame.kind, LS_SAY_DATA);
    assert_int_equal(frame.bytes, sizeof found);
    check_ok(ls_keep_hear_bytes(t->fd, found, sizeof found));
    memset(wanted, value, sizeof wanted);
    assert_memory_equal(found + sizeof(ls_keep_chunk), wanted, sizeof wanted);
    check_answer(t, LS_SAY_END, "");
}

/* What it sent before it turned away is read late, between what it sends after it came back: no copy is of both. */
static void test_turns(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    const turned before = turn_to(keeper, 3);
    say_copy(&before, LS_SAY_COPY, 6);
    say_half(&before, 0, 'w');
    say_half(&before, 1, 'w');
    say_copy(&before, LS_SAY_COPIED, 6);
    check_answer(&before, LS_SAY_COPIED, "");
    say_copy(&before, LS_SAY_COPY, 7);
    say_half(&before, 0, 'x');
    await_heard(&before);
    const turned after = turn_to(keeper, 4);
    say_copy(&after, LS_SAY_COPY, 8);
    say_half(&after, 0, 'y');
    await_heard(&after);
    say_half(&before, 1, 'x');
    check_answer(&before, LS_SAY_FAIL, "does not belong to a copy");
    say_copy(&before, LS_SAY_COPIED, 7);
    check_answer(&before, LS_SAY_FAIL, "is not complete");
    check_best(keeper, 6);
    say_half(&after, 1, 'y');
    say_copy(&after, LS_SAY_COPIED, 8);
    check_answer(&after, LS_SAY_COPIED, "");
    check_best(keeper, 8);
    check_tensor(&after, 6, 'w');
    check_tensor(&after, 8, 'y');
    /* Nor does it begin another. */
    say_copy(&before, LS_SAY_COPY, 9);
    if (!is_closed(before.fd)) fail_msg("the older connection stays");
    const turned oldest = turn_to(keeper, 2);
    if (!is_closed(oldest.fd)) fail_msg("the oldest connection stays");
    check_best(keeper, 8);
    (void)close(before.fd);
    (void)close(after.fd);
    (void)close(oldest.fd);
    ls_keeper_stop(keeper);
}

/* --- many frames at once --- */

enum { MANY = 1000 };

static void append_frame(ls_text *text, ls_keep_word kind, const void *head, size_t head_bytes,
                         const void *data, size_t bytes) {
    const ls_keep_frame frame = {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, (uint16_t)kind,
                                 head_bytes + bytes};
    ls_text_append_bytes(text, &frame, sizeof frame);
    ls_text_append_bytes(text, head, head_bytes);
    ls_text_append_bytes(text, data, bytes);
}

/* More than a keeper hears at a time, and then the end: it hears all. */
static void test_many_frames(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    const int fd = dial(keeper, 0);
    check_ok(greet(fd, keeper, LS_KEEP_IS_KEEPER, -1, 0));
    ls_text text = {0};
    ls_keep_header *image = make_image(MANY);
    const ls_keep_copy copy = {.step = 5};
    const int64_t job = 0;
    append_frame(&text, LS_SAY_SHADOW, &job, sizeof job, image, image->buffers);
    append_frame(&text, LS_SAY_COPY, &copy, sizeof copy, NULL, 0);
    for (int32_t i = 0; i < MANY; i++) {
        const ls_keep_chunk head = {.at = 4 * i, .hash = ls_xxh3(&i, sizeof i, 0)};
        append_frame(&text, LS_SAY_PIECE, &head, sizeof head, &i, sizeof i);
    }
    append_frame(&text, LS_SAY_COPIED, &copy, sizeof copy, NULL, 0);
    check_ok(text.status);
    assert_int_equal(send(fd, text.data, text.size, MSG_NOSIGNAL), text.size);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    await_best(keeper, 5);
    (void)close(fd);
    ls_text_deinit(&text);
    ls_free(image);
    ls_keeper_stop(keeper);
}

/* --- random bytes --- */

enum { STRANGERS = 150, MOST_RANDOM = 6000 };

/* Bytes that are frames half of the time, so that they get further. */
static size_t make_noise(uint64_t i, const ls_keeper *keeper, unsigned char *out) {
    const ls_rng_key key = {17, 0, i};
    size_t n = (size_t)ls_rng_below(key, 0, MOST_RANDOM), at = 0;
    for (size_t k = 0; k < n; k++) out[k] = (unsigned char)ls_rng_u32(key, k + 1);
    if (i % 4 == 0) return n;
    ls_keep_hello hello = {.who = (int32_t)(i % 3), .rank = (int32_t)(100 + i), .job = 0};
    const ls_keep_frame first = {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, LS_SAY_HELLO,
                                 sizeof hello};
    memcpy(hello.cookie, ls_keeper_cookie(keeper), sizeof hello.cookie);
    memcpy(out, &first, sizeof first);
    memcpy(out + sizeof first, &hello, sizeof hello);
    at = sizeof first + sizeof hello;
    for (uint64_t k = 0; at + sizeof first + 700 < MOST_RANDOM; k++) {
        static const uint64_t sizes[LS_SAY_COUNT] = {
            [LS_SAY_TAKE] = sizeof(ls_keep_take),
            [LS_SAY_COMMIT] = sizeof(ls_keep_commit_note),
            [LS_SAY_READ] = sizeof(ls_keep_read),
            [LS_SAY_BLOB] = sizeof(ls_keep_blob_ask),
            [LS_SAY_SHADOW] = sizeof(int64_t) + sizeof(ls_keep_header),
            [LS_SAY_COPY] = sizeof(ls_keep_copy),
            [LS_SAY_PIECE] = sizeof(ls_keep_chunk) + 40,
            [LS_SAY_COPIED] = sizeof(ls_keep_copy) + 40,
        };
        const uint16_t kind = (uint16_t)ls_rng_below(key, 7000 + k, LS_SAY_COUNT);
        const ls_keep_frame frame = {LS_KEEP_FRAME_MAGIC, LS_KEEP_WIRE_VERSION, kind, sizes[kind]};
        memcpy(out + at, &frame, sizeof frame);
        at += sizeof frame + sizes[kind];
        if (at > MOST_RANDOM) break;
    }
    return at < MOST_RANDOM ? at : MOST_RANDOM;
}

static void test_noise(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    kept_rank ranks[MAX_RANKS];
    unsigned char *noise = calloc(1, MOST_RANDOM);
    ls_plan *plan = make_plan(2, 3, 1);
    set_attempt(keeper, 0, -1);
    check_attempt(&(attempt){plan, -1, .steps = 3}, ranks);
    int open[16];
    size_t n_open = 0;
    for (uint64_t i = 0; i < STRANGERS; i++) {
        const int fd = dial(keeper, (int)(i % 2));
        const size_t n = make_noise(i, keeper, noise);
        (void)send(fd, noise, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        /* Some hang up, some stay without a word and without listening. */
        if (i % 8 || n_open == sizeof open / sizeof *open)
            (void)close(fd);
        else
            open[n_open++] = fd;
        if (i % 16 == 0) check_alive(keeper);
    }
    check_alive(keeper);
    check_best(keeper, 2);
    set_attempt(keeper, 1, 2);
    check_attempt(&(attempt){plan, 2, .steps = 2}, ranks);
    for (size_t i = 0; i < n_open; i++) (void)close(open[i]);
    free(noise);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
}

/* One that says nothing is sent away. */
static void test_silence(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    const int fd = dial(keeper, 0);
    assert_true(is_closed(fd));
    (void)close(fd);
    ls_keeper_stop(keeper);
}

/* --- no room --- */

/* A limit on the size of files holds for shared memory too. */
static void test_no_room(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    ls_keep *keep = NULL;
    char *buffers[2];
    struct rlimit limit, old;
    ls_plan *plan = make_plan(1, 0, 1);
    set_attempt(keeper, 0, -1);
    check_ok(ls_keep_open(NULL, &keep));
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    limit = old;
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const ls_status status = ls_keep_memory(keep, plan, 0, buffers);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, LS_ERR_NO_MEMORY);
    assert_non_null(strstr(ls_error_message(), "shared memory for the state of rank 0"));
    assert_non_null(strstr(ls_error_message(), "recover.copies=0"));
    ls_keep_close(keep);
    ls_keeper_stop(keeper);
    ls_plan_destroy(plan);
}

/* A copy that is too large for the machine. */
static void test_no_room_for_copies(void **state) {
    (void)state;
    ls_keeper *keeper = start();
    const ls_plan_part part = {
        .name = "a", .whole = {LS_DTYPE_F32, {1, {(int64_t)1 << 45}}}, .count = (int64_t)1 << 44};
    const ls_keep_layout layout = {
        .size = 2, .n_tensors = 1, .parts = &part, .n_parts = 1, .buffer_bytes = (size_t)1 << 46};
    ls_keep_header *image = NULL;
    check_ok(ls_keep_segment_make(&layout, &image));
    char *message = calloc(1, sizeof(int64_t) + image->buffers);
    memcpy(message + sizeof(int64_t), image, image->buffers);
    const int fd = dial(keeper, 0);
    check_ok(greet(fd, keeper, LS_KEEP_IS_KEEPER, -1, 0));
    check_refused(fd, LS_SAY_SHADOW, message, sizeof(int64_t) + image->buffers, -1,
                  "no memory for the copies of rank 0");
    check_alive(keeper);
    (void)close(fd);
    free(message);
    ls_free(image);
    ls_keeper_stop(keeper);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cookie),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_hello),
        cmocka_unit_test(test_bad_frames),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_many_frames),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_no_room_for_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
