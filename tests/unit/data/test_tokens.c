#include "base/hash.h"
#include "data/tokens_impl.h"
#include "data_check.h"

static ls_tokens_info make_info(int32_t vocab_size, int32_t eot) {
    return (ls_tokens_info){.vocab_size = vocab_size, .eot = eot};
}

/* Documents of ids 0, 1, 2, ... mod vocab_size with the lengths given. */
static ls_status write_documents(const char *path, int32_t vocab_size, const int64_t *lengths,
                                 int n, ls_tokens **out) {
    const ls_tokens_info info = make_info(vocab_size, -1);
    ls_tokens_writer *writer = NULL;
    LS_TRY(ls_tokens_writer_begin(path, &info, &writer));
    int32_t id = 0;
    for (int d = 0; d < n; d++) {
        for (int64_t i = 0; i < lengths[d]; i++, id = (id + 1) % vocab_size) {
            const ls_status status = ls_tokens_writer_append(writer, &id, 1);
            if (status != LS_OK) {
                ls_tokens_writer_abort(writer);
                return status;
            }
        }
        LS_TRY(ls_tokens_writer_end_document(writer, 10));
    }
    return ls_tokens_writer_finish(writer, NULL, out);
}

static void check_contents(const ls_tokens *tokens, int32_t vocab_size, int64_t n_tokens) {
    int32_t *ids = ls_alloc((size_t)n_tokens * sizeof *ids);
    check_ok(ls_tokens_read(tokens, 0, n_tokens, ids));
    for (int64_t i = 0; i < n_tokens; i++) assert_int_equal(ids[i], i % vocab_size);
    ls_free(ids);
}

static void test_shard_and_memory_agree(void **state) {
    (void)state;
    static const int64_t lengths[] = {5, 0, 1, 7}; /* the empty one is no document */
    static const int32_t vocabs[] = {3, 65536, 65537, 1 << 24};
    for (int v = 0; v < 4; v++) {
        for (int on_disk = 0; on_disk < 2; on_disk++) {
            ls_tokens *tokens = NULL;
            check_ok(write_documents(on_disk ? check_path("a.tokens") : NULL, vocabs[v], lengths, 4,
                                     &tokens));
            const ls_tokens_info info = ls_tokens_get_info(tokens);
            assert_int_equal(info.n_tokens, 13);
            assert_int_equal(info.n_documents, 3);
            assert_int_equal(info.n_text_bytes, 40);
            assert_int_equal(info.token_bytes, v < 2 ? 2 : 4);
            assert_int_equal(info.max_token, v == 0 ? 2 : 12);
            assert_int_equal(info.eot, -1);
            check_contents(tokens, vocabs[v], 13);
            assert_int_equal(ls_tokens_document(tokens, 0), 0);
            assert_int_equal(ls_tokens_document(tokens, 1), 5);
            assert_int_equal(ls_tokens_document(tokens, 2), 6);
            assert_int_equal(ls_tokens_document(tokens, 3), 13);
            static const int64_t next[] = {0, 1, 1, 1, 1, 1, 2, 3, 3};
            for (int64_t i = 0; i < 9; i++)
                assert_int_equal(ls_tokens_next_document(tokens, i), next[i]);
            int32_t id = 0;
            check_fails(ls_tokens_read(tokens, 13, 1, &id), LS_ERR_INVALID, "there are 13");
            check_fails(ls_tokens_read(tokens, -1, 1, &id), LS_ERR_INVALID, "there are 13");
            check_fails(ls_tokens_read(tokens, 1, INT64_MAX, &id), LS_ERR_INVALID, "there are 13");
            if (on_disk)
                check_ok(ls_tokens_verify(tokens));
            else
                check_fails(ls_tokens_verify(tokens), LS_ERR_INVALID, "in memory");
            ls_tokens_close(tokens);
        }
    }
    ls_tokens_close(NULL);
}

static void test_many_blocks(void **state) {
    (void)state;
    static const int64_t lengths[] = {600000, 700000, 1};
    ls_tokens *tokens = NULL;
    check_ok(write_documents(check_path("blocks.tokens"), 1000, lengths, 3, &tokens));
    assert_int_equal(tokens->n_blocks, 3);
    check_ok(ls_tokens_verify(tokens));
    check_contents(tokens, 1000, 1300001);
    ls_tokens_close(tokens);
}

/* Any bit of any byte changed: not opened, or found by verify. */
static void test_every_changed_byte_is_found(void **state) {
    (void)state;
    static const int64_t lengths[] = {40, 23};
    const char *path = check_path("flip.tokens");
    ls_tokens *tokens = NULL;
    check_ok(write_documents(path, 300, lengths, 2, &tokens));
    ls_tokens_close(tokens);
    char *data = NULL;
    size_t bytes = 0;
    check_ok(ls_file_read(path, &data, &bytes));
    for (size_t i = 0; i < bytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            data[i] = (char)(data[i] ^ 1 << bit);
            tokens = NULL;
            ls_status status = ls_tokens_parse(data, bytes, "flipped", &tokens);
            if (status == LS_OK) {
                status = ls_tokens_verify(tokens);
                if (status == LS_OK) fail_msg("byte %zu bit %d: nobody noticed", i, bit);
                ls_tokens_close(tokens);
            }
            data[i] = (char)(data[i] ^ 1 << bit);
        }
    }
    for (size_t n = 0; n < bytes; n++)
        if (ls_tokens_parse(data, n, "cut", &tokens) == LS_OK) fail_msg("cut to %zu bytes", n);
    check_ok(ls_tokens_parse(data, bytes, "whole", &tokens));
    check_ok(ls_tokens_verify(tokens));
    ls_tokens_close(tokens);
    check_fails(ls_tokens_parse(data + 1, bytes - 8, "odd", &tokens), LS_ERR_INVALID, "aligned");
    ls_free(data);
}

/* Hostile shards: fields changed and the hash made right again. */
typedef struct shard {
    ls_shard_header header;
    union {
        uint16_t ids[8];
        uint64_t words[2];
    } body;
    uint64_t documents[2];
    uint64_t hashes[1];
    ls_shard_footer footer;
} shard;

static shard make_shard(void) {
    shard s = {0};
    memcpy(s.header.magic, LS_SHARD_MAGIC, 8);
    s.header.version = LS_SHARD_VERSION;
    s.header.token_bytes = 2;
    s.header.vocab_size = 10;
    s.header.eot = 9;
    s.header.block_bytes = LS_SHARD_BLOCK_BYTES;
    for (int i = 0; i < 8; i++) s.body.ids[i] = (uint16_t)i;
    s.documents[1] = 4;
    s.footer = (ls_shard_footer){.n_tokens = 8,
                                 .n_documents = 2,
                                 .n_text_bytes = 16,
                                 .max_token = 7,
                                 .n_blocks = 1,
                                 .file_bytes = sizeof s};
    memcpy(s.footer.magic, LS_SHARD_END_MAGIC, 8);
    return s;
}

static ls_status parse_shard(shard *s, ls_tokens **out) {
    s->hashes[0] = ls_xxh3(s, sizeof s->header + sizeof s->body + sizeof s->documents, 0);
    s->footer.hash = ls_shard_hash(&s->header, s->hashes, 1, &s->footer);
    return ls_tokens_parse(s, sizeof *s, "hostile.tokens", out);
}

static void test_hostile_fields(void **state) {
    (void)state;
    ls_tokens *tokens = NULL;
    shard s = make_shard();
    check_ok(parse_shard(&s, &tokens));
    check_ok(ls_tokens_verify(tokens));
    ls_tokens_close(tokens);
#define REFUSED(change, code, part)                                      \
    do {                                                                 \
        s = make_shard();                                                \
        change;                                                          \
        check_fails(parse_shard(&s, &tokens), code, part);               \
        assert_non_null(strstr(ls_error_message(), "hostile.tokens: ")); \
    } while (0)
    REFUSED(s.header.magic[0] = 'X', LS_ERR_FORMAT, "not a token shard");
    REFUSED(s.header.version = 2, LS_ERR_UNSUPPORTED, "version 2");
    REFUSED(s.header.vocab_size = 0, LS_ERR_FORMAT, "vocabulary size 0");
    REFUSED(s.header.vocab_size = UINT32_MAX, LS_ERR_FORMAT, "out of range");
    REFUSED(s.header.vocab_size = 7, LS_ERR_FORMAT, "end-of-text token 9");
    REFUSED((s.header.vocab_size = 7, s.header.eot = -1), LS_ERR_FORMAT, "largest token id 7");
    REFUSED(s.header.vocab_size = 70000, LS_ERR_FORMAT, "it must be 4");
    REFUSED(s.header.token_bytes = 0, LS_ERR_FORMAT, "it must be 2");
    REFUSED(s.header.token_bytes = 4, LS_ERR_FORMAT, "it must be 2");
    REFUSED(s.header.eot = -2, LS_ERR_FORMAT, "end-of-text token -2");
    REFUSED(s.header.block_bytes = 1, LS_ERR_FORMAT, "block size");
    REFUSED(s.header.reserved[31] = 1, LS_ERR_FORMAT, "reserved");
    REFUSED(s.header.fingerprint[3] = 'g', LS_ERR_FORMAT, "hexadecimal");
    REFUSED(s.footer.magic[7] = 'X', LS_ERR_FORMAT, "cut off");
    REFUSED(s.footer.n_tokens = UINT64_MAX, LS_ERR_FORMAT, "do not fit");
    REFUSED(s.footer.n_tokens = UINT64_C(1) << 63, LS_ERR_FORMAT, "do not fit");
    REFUSED(s.footer.n_tokens = 0, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.n_tokens = 12, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.n_documents = UINT64_MAX / 8, LS_ERR_FORMAT, "do not fit");
    REFUSED(s.footer.n_documents = 0, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.n_documents = 3, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.n_blocks = UINT64_MAX, LS_ERR_FORMAT, "do not fit");
    REFUSED(s.footer.n_blocks = 2, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.n_blocks = 0, LS_ERR_FORMAT, "add up");
    REFUSED(s.footer.file_bytes = 1, LS_ERR_FORMAT, "its footer says 1");
    REFUSED(s.footer.n_text_bytes = UINT64_MAX, LS_ERR_FORMAT, "out of range");
    REFUSED(s.footer.reserved = 1, LS_ERR_FORMAT, "out of range");
    REFUSED(s.footer.max_token = 10, LS_ERR_FORMAT, "largest token id 10");
    REFUSED(s.documents[0] = 1, LS_ERR_FORMAT, "document 0");
    REFUSED(s.documents[1] = 0, LS_ERR_FORMAT, "document 1 starts at token 0");
    REFUSED(s.documents[1] = 8, LS_ERR_FORMAT, "document 1 starts at token 8");
    REFUSED(s.documents[1] = UINT64_MAX, LS_ERR_FORMAT, "document 1");
    /* nothing but noise */
    for (uint64_t seed = 0; seed < 200; seed++) {
        for (size_t i = 0; i < sizeof s; i++)
            ((unsigned char *)&s)[i] = (unsigned char)ls_rng_u32((ls_rng_key){seed, 0, 9}, i);
        if (seed % 2 == 1) memcpy(s.header.magic, LS_SHARD_MAGIC, 8);
        assert_int_not_equal(ls_tokens_parse(&s, sizeof s, "noise", &tokens), LS_OK);
    }
}

/* A shard whose hashes are right but whose ids are not: found when read, and by verify. */
static void test_id_past_the_vocabulary(void **state) {
    (void)state;
    shard s = make_shard();
    s.body.ids[5] = 10;
    ls_tokens *tokens = NULL;
    check_ok(parse_shard(&s, &tokens));
    int32_t ids[8];
    check_ok(ls_tokens_read(tokens, 0, 5, ids));
    check_fails(ls_tokens_read(tokens, 2, 6, ids), LS_ERR_DATA, "token id 10 at position 5");
    check_fails(ls_tokens_verify(tokens), LS_ERR_DATA, "token id 10 at position 5");
    ls_tokens_close(tokens);
    s = make_shard();
    s.body.ids[7] = 0;
    check_ok(parse_shard(&s, &tokens));
    check_fails(ls_tokens_verify(tokens), LS_ERR_FORMAT, "largest token id is 6");
    ls_tokens_close(tokens);
}

static void test_writer_refuses(void **state) {
    (void)state;
    ls_tokens_writer *writer = NULL;
    ls_tokens_info info = make_info(0, -1);
    check_fails(ls_tokens_writer_begin(NULL, &info, &writer), LS_ERR_INVALID, "vocabulary of 0");
    info = make_info(5, 5);
    check_fails(ls_tokens_writer_begin(NULL, &info, &writer), LS_ERR_INVALID,
                "end-of-text token 5");
    info = make_info(5, -1);
    check_ok(ls_tokens_writer_begin(NULL, &info, &writer));
    check_ok(ls_tokens_writer_append(writer, (const int32_t[]){4, 0}, 2));
    check_fails(ls_tokens_writer_append(writer, (const int32_t[]){1, 5}, 2), LS_ERR_DATA,
                "token id 5 at position 3");
    check_fails(ls_tokens_writer_append(writer, (const int32_t[]){-1}, 1), LS_ERR_DATA,
                "token id -1");
    ls_tokens_writer_abort(writer);
    const char *path = check_path("none.tokens");
    ls_tokens *tokens = NULL;
    check_ok(ls_tokens_writer_begin(path, &info, &writer));
    check_fails(ls_tokens_writer_finish(writer, NULL, &tokens), LS_ERR_DATA, "no tokens");
    assert_false(ls_path_exists(path));
    ls_tokens_writer_abort(NULL);
}

static void test_encode_dataset(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"In the beginning\"}\n{\"text\":\"God created\"}\n";
    ls_tokenizer *tokenizer = train_tiny(400);
    ls_dataset *dataset = open_dataset(write_file("docs.jsonl", lines, sizeof lines - 1));
    const char *path = check_path("docs.tokens");
    const ls_tokens_options options = {.append_eot = 1};
    ls_tokens *memory = NULL, *disk = NULL;
    ls_tokens_info info;
    check_ok(ls_tokens_encode(dataset, tokenizer, &options, &memory));
    check_ok(ls_tokens_encode_file(dataset, tokenizer, &options, path, &info));
    check_ok(ls_tokens_open(path, &disk));
    check_ok(ls_tokens_verify(disk));
    assert_int_equal(info.n_documents, 2);
    assert_int_equal(info.n_text_bytes, 27);
    assert_int_equal(info.eot, 399);
    assert_string_equal(info.fingerprint, ls_tokenizer_fingerprint(tokenizer));
    assert_int_equal(ls_tokens_get_info(memory).n_tokens, info.n_tokens);
    int32_t ids[64], same[64];
    check_ok(ls_tokens_read(memory, 0, info.n_tokens, ids));
    check_ok(ls_tokens_read(disk, 0, info.n_tokens, same));
    assert_memory_equal(ids, same, (size_t)info.n_tokens * sizeof *ids);
    const int64_t second = ls_tokens_document(disk, 1);
    assert_int_equal(ids[second - 1], 399);
    assert_int_equal(ids[info.n_tokens - 1], 399);
    char *text = NULL;
    size_t bytes = 0;
    check_ok(ls_tokenizer_decode(tokenizer, ids, info.n_tokens, 1, &text, &bytes));
    assert_string_equal(text, "In the beginning<|endoftext|>God created<|endoftext|>");
    ls_free(text);
    ls_tokens_close(memory);
    ls_tokens_close(disk);
    ls_tokenizer_destroy(tokenizer);
    check_ok(ls_tokenizer_create_bytes(0, &tokenizer));
    check_fails(ls_tokens_encode(dataset, tokenizer, &options, &memory), LS_ERR_INVALID,
                "end-of-text");
    check_ok(ls_tokens_encode(dataset, tokenizer, NULL, &memory));
    assert_int_equal(ls_tokens_get_info(memory).n_tokens, 27);
    ls_tokens_close(memory);
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
}

static void test_disk_full(void **state) {
    (void)state;
    static const int64_t lengths[] = {600000};
    ls_tokens *tokens = NULL;
    for (int64_t n = 1;; n++) {
        const char *path = check_path("full.tokens");
        ls_fs_fail_at(n, 28 /* ENOSPC */);
        const ls_status status = write_documents(path, 100, lengths, 1, &tokens);
        ls_fs_fail_at(0, 0);
        if (status == LS_OK) {
            assert_true(n > 3);
            ls_tokens_close(tokens);
            return;
        }
        assert_int_equal(status, LS_ERR_NO_SPACE);
    }
}

static ls_status encode_once(void *user) {
    char **paths = user;
    ls_dataset *dataset = NULL;
    ls_tokenizer *tokenizer = NULL;
    ls_tokens *tokens = NULL;
    ls_tokens_info info;
    ls_status status = ls_dataset_open(paths[0], NULL, &dataset);
    if (status == LS_OK) status = ls_tokenizer_create_bytes(0, &tokenizer);
    if (status == LS_OK) status = ls_tokens_encode_file(dataset, tokenizer, NULL, paths[1], &info);
    if (status == LS_OK) status = ls_tokens_open(paths[1], &tokens);
    ls_tokens_close(tokens);
    tokens = NULL;
    if (status == LS_OK) status = ls_tokens_encode(dataset, tokenizer, NULL, &tokens);
    ls_tokens_close(tokens);
    ls_tokenizer_destroy(tokenizer);
    ls_dataset_close(dataset);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    char text[512], shard_path[512];
    snprintf(text, sizeof text, "%s", write_file("oom.txt", "abc", 3));
    snprintf(shard_path, sizeof shard_path, "%s", check_path("oom.tokens"));
    char *paths[] = {text, shard_path};
    assert_true(check_torture(encode_once, paths) > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shard_and_memory_agree),
        cmocka_unit_test(test_many_blocks),
        cmocka_unit_test(test_every_changed_byte_is_found),
        cmocka_unit_test(test_hostile_fields),
        cmocka_unit_test(test_id_past_the_vocabulary),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_encode_dataset),
        cmocka_unit_test(test_disk_full),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
