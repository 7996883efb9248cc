#include "lockstep/dataset.h"
#include "base/alloc.h"
#include "base/fs.h"
#include "base/json.h"
#include "data/text_source.h"
#include "data/utf8.h"
#include <string.h>
#include <strings.h>

typedef struct text_file {
    char *path;
    int is_lines;   /* JSON Lines */
    int compressed; /* .zst */
} text_file;

struct ls_dataset {
    char *path;
    char *text_field;
    ls_dataset_options options;
    text_file *files;
    int n_files;
    int64_t n_documents, n_bytes; /* of everything; n_bytes -1 = not counted yet */
};

/* One pass: the cuts are byte positions in the concatenation of all documents. */
typedef struct pass {
    ls_dataset *dataset;
    ls_document_fn fn;
    void *user;
    int64_t n_bytes, n_documents; /* seen so far */
    int64_t n_given;
    double begin, end; /* wanted part, fractions */
    int64_t total;     /* bytes of everything, when a part is wanted */
} pass;

static int ends_with(const char *name, size_t length, const char *end) {
    const size_t n = strlen(end);
    return length > n && strncasecmp(name + length - n, end, n) == 0;
}

/* 1 when the name is of a kind that folders are searched for. */
static int read_kind(const char *name, text_file *file) {
    static const char *const plain[] = {".txt", ".text", ".md"};
    size_t length = strlen(name);
    file->compressed = ends_with(name, length, ".zst");
    if (file->compressed) length -= 4;
    file->is_lines = ends_with(name, length, ".jsonl") || ends_with(name, length, ".ndjson");
    int known = file->is_lines;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        known |= ends_with(name, length, plain[i]);
    return known;
}

static ls_status list_folder(ls_dataset *dataset, char **names, int n_names) {
    dataset->files = ls_alloc((size_t)(n_names + 1) * sizeof *dataset->files);
    if (dataset->files == NULL) return LS_ERR_NO_MEMORY;
    for (int i = 0; i < n_names; i++) {
        if (names[i][0] == '.') continue;
        text_file *file = &dataset->files[dataset->n_files];
        file->path = ls_format("%s/%s", dataset->path, names[i]);
        if (file->path == NULL) return LS_ERR_NO_MEMORY;
        dataset->n_files++;
        if (!read_kind(names[i], file) || ls_path_is_dir(file->path))
            return LS_FAIL(LS_ERR_UNSUPPORTED,
                           "data folder %s holds %s, which is no text file that is known here; "
                           "wanted are .txt, .text, .md, .jsonl and .ndjson, each also as .zst "
                           "(names that begin with a dot are passed over)",
                           dataset->path, names[i]);
    }
    if (dataset->n_files == 0)
        return LS_FAIL(LS_ERR_DATA, "data folder %s holds no text file", dataset->path);
    return LS_OK;
}

static ls_status find_files(ls_dataset *dataset) {
    if (!ls_path_exists(dataset->path))
        return LS_FAIL(LS_ERR_NOT_FOUND, "no data at %s: no such file or folder", dataset->path);
    if (!ls_path_is_dir(dataset->path)) {
        dataset->files = ls_alloc(sizeof *dataset->files);
        if (dataset->files == NULL) return LS_ERR_NO_MEMORY;
        (void)read_kind(dataset->path, &dataset->files[0]);
        dataset->files[0].path = ls_strdup(dataset->path);
        if (dataset->files[0].path == NULL) return LS_ERR_NO_MEMORY;
        dataset->n_files = 1;
        return LS_OK;
    }
    char **names = NULL;
    int n_names = 0;
    LS_TRY(ls_dir_list(dataset->path, &names, &n_names));
    const ls_status status = list_folder(dataset, names, n_names);
    for (int i = 0; i < n_names; i++) ls_free(names[i]);
    ls_free(names);
    return status;
}

static ls_status check_options(ls_dataset_options *options) {
    if (options->begin == 0 && options->end == 0) options->end = 1;
    if (!(options->begin >= 0 && options->begin < options->end && options->end <= 1))
        return LS_FAIL(LS_ERR_INVALID,
                       "part of the text from %g to %g asked for; needed is 0 <= begin < end <= 1",
                       options->begin, options->end);
    if (options->max_document_bytes == 0) options->max_document_bytes = (size_t)1 << 30;
    return LS_OK;
}

ls_status ls_dataset_open(const char *path, const ls_dataset_options *options, ls_dataset **out) {
    ls_dataset_options checked = options != NULL ? *options : (ls_dataset_options){0};
    LS_TRY(check_options(&checked));
    ls_dataset *dataset = ls_alloc(sizeof *dataset);
    if (dataset == NULL) return LS_ERR_NO_MEMORY;
    dataset->options = checked;
    dataset->n_bytes = -1;
    dataset->path = ls_strdup(path);
    dataset->text_field = ls_strdup(checked.text_field != NULL ? checked.text_field : "text");
    ls_status status = LS_ERR_NO_MEMORY;
    if (dataset->path != NULL && dataset->text_field != NULL) status = find_files(dataset);
    if (status != LS_OK) {
        ls_dataset_close(dataset);
        return status;
    }
    *out = dataset;
    return LS_OK;
}

void ls_dataset_close(ls_dataset *dataset) {
    if (dataset == NULL) return;
    for (int i = 0; i < dataset->n_files; i++) ls_free(dataset->files[i].path);
    ls_free(dataset->files);
    ls_free(dataset->path);
    ls_free(dataset->text_field);
    ls_free(dataset);
}

int ls_dataset_file_count(const ls_dataset *dataset) {
    return dataset->n_files;
}
const char *ls_dataset_path(const ls_dataset *dataset) {
    return dataset->path;
}

/* --- parts ------------------------------------------------------------------------------------------------------ */

void ls_split_range(ls_split split, double *begin_out, double *end_out) {
    static const double cut[][2] = {{0, 1},
                                    {0, LS_SPLIT_STOP_BEGIN},
                                    {LS_SPLIT_STOP_BEGIN, LS_SPLIT_HELD_BEGIN},
                                    {LS_SPLIT_HELD_BEGIN, 1}};
    *begin_out = cut[split][0];
    *end_out = cut[split][1];
}

/* Past the tail bytes of a character; at most three, so that raw bytes are cut near the place too. */
static size_t align_cut(const char *text, size_t bytes, size_t at) {
    for (int i = 0; i < 3 && at > 0 && at < bytes && ((unsigned char)text[at] & 0xC0) == 0x80; i++)
        at++;
    return at;
}

size_t ls_split_cut(const char *text, size_t bytes, double fraction) {
    if (fraction >= 1) return bytes;
    const size_t at = fraction > 0 ? (size_t)(fraction * (double)bytes) : 0;
    return align_cut(text, bytes, at < bytes ? at : bytes);
}

/* Where the cut at `fraction` of everything falls in the document that begins at `start`. */
static size_t cut_document(const pass *p, const ls_document *document, int64_t start,
                           double fraction) {
    const int64_t at = fraction >= 1 ? p->total : (int64_t)(fraction * (double)p->total);
    if (at <= start) return 0;
    if (at >= start + (int64_t)document->bytes) return document->bytes;
    return align_cut(document->text, document->bytes, (size_t)(at - start));
}

static ls_status give_document(pass *p, const char *text, size_t bytes, const char *path) {
    if (bytes == 0) return LS_OK;
    ls_document document = {text, bytes, path, p->n_given, 1};
    const int64_t start = p->n_bytes;
    p->n_bytes += (int64_t)bytes;
    p->n_documents++;
    if (p->begin > 0 || p->end < 1) {
        const size_t from = cut_document(p, &document, start, p->begin);
        const size_t to = cut_document(p, &document, start, p->end);
        if (from >= to) return LS_OK;
        document.complete = to == bytes;
        document.text += from;
        document.bytes = to - from;
    }
    p->n_given++;
    return p->fn(p->user, &document);
}

/* --- reading ---------------------------------------------------------------------------------------------------- */

static ls_status check_utf8(const char *text, size_t bytes, const char *path, int64_t offset) {
    const size_t bad = ls_utf8_check(text, bytes);
    if (bad == bytes) return LS_OK;
    return LS_FAIL(
        LS_ERR_DATA,
        "%s: byte 0x%02x at offset %lld is not UTF-8; convert the file (iconv -t utf-8), "
        "or read plain text as raw bytes",
        path, (unsigned char)text[bad], (long long)(offset + (int64_t)bad));
}

static ls_status read_plain(pass *p, const text_file *file, ls_text_source *source) {
    const char *text = NULL;
    size_t bytes = 0;
    LS_TRY(ls_text_source_whole(source, &text, &bytes));
    if (!p->dataset->options.raw_bytes) LS_TRY(check_utf8(text, bytes, file->path, 0));
    return give_document(p, text, bytes, file->path);
}

static const char *describe(const json_t *record, const json_t *text) {
    if (!json_is_object(record)) return "something else than an object";
    return text == NULL ? "no such member" : "a member of another type";
}

/* The text of one line; record_out keeps it alive. */
static ls_status parse_record(const pass *p, const char *line, size_t bytes, json_t **record_out,
                              const json_t **text_out) {
    LS_TRY(ls_json_parse(line, bytes, "record", record_out));
    *text_out = json_object_get(*record_out, p->dataset->text_field);
    if (json_is_string(*text_out)) return LS_OK;
    LS_FAIL(LS_ERR_DATA,
            "wanted an object with a string \"%s\", found %s; text_field names another member",
            p->dataset->text_field, describe(*record_out, *text_out));
    json_decref(*record_out);
    return LS_ERR_DATA;
}

static ls_status read_record(pass *p, const text_file *file, const char *line, size_t bytes,
                             int64_t line_number) {
    json_t *record = NULL;
    const json_t *text = NULL;
    ls_status status = parse_record(p, line, bytes, &record, &text);
    if (status != LS_OK)
        return ls_error_prefix(status, "%s, line %lld", file->path, (long long)line_number);
    status = give_document(p, json_string_value(text), json_string_length(text), file->path);
    json_decref(record);
    return status;
}

static int is_blank(const char *line, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (line[i] != ' ' && line[i] != '\t' && line[i] != '\r') return 0;
    return 1;
}

static ls_status read_lines(pass *p, const text_file *file, ls_text_source *source) {
    int64_t offset = 0;
    for (int64_t number = 1;; number++) {
        const char *line = NULL;
        size_t bytes = 0;
        LS_TRY(ls_text_source_line(source, &line, &bytes));
        if (line == NULL) return LS_OK;
        LS_TRY(check_utf8(line, bytes, file->path, offset));
        offset += (int64_t)bytes + 1;
        if (is_blank(line, bytes)) continue;
        LS_TRY(read_record(p, file, line, bytes, number));
    }
}

static ls_status read_file(pass *p, const text_file *file) {
    ls_text_source *source = NULL;
    LS_TRY(ls_text_source_open(file->path, file->compressed, p->dataset->options.max_document_bytes,
                               &source));
    const ls_status status =
        file->is_lines ? read_lines(p, file, source) : read_plain(p, file, source);
    ls_text_source_close(source);
    return status;
}

static ls_status run_pass(pass *p) {
    for (int i = 0; i < p->dataset->n_files; i++) LS_TRY(read_file(p, &p->dataset->files[i]));
    if (p->n_bytes == 0)
        return LS_FAIL(LS_ERR_DATA, "%s: empty corpus: %d file%s without any text",
                       p->dataset->path, p->dataset->n_files, p->dataset->n_files == 1 ? "" : "s");
    p->dataset->n_bytes = p->n_bytes;
    p->dataset->n_documents = p->n_documents;
    return LS_OK;
}

static ls_status skip_document(void *user, const ls_document *document) {
    (void)user;
    (void)document;
    return LS_OK;
}

ls_status ls_dataset_size(ls_dataset *dataset, int64_t *n_documents_out, int64_t *n_bytes_out) {
    if (dataset->n_bytes < 0) {
        pass p = {.dataset = dataset, .fn = skip_document, .end = 1};
        LS_TRY(run_pass(&p));
    }
    *n_documents_out = dataset->n_documents;
    *n_bytes_out = dataset->n_bytes;
    return LS_OK;
}

ls_status ls_dataset_each(ls_dataset *dataset, ls_document_fn fn, void *user) {
    pass p = {.dataset = dataset, .fn = fn, .user = user};
    p.begin = dataset->options.begin;
    p.end = dataset->options.end;
    if (p.begin > 0 || p.end < 1) {
        int64_t n_documents = 0;
        LS_TRY(ls_dataset_size(dataset, &n_documents, &p.total));
    }
    LS_TRY(run_pass(&p));
    if (p.n_given == 0)
        return LS_FAIL(LS_ERR_DATA, "%s: no text in the part from %g to %g of its %lld bytes",
                       dataset->path, p.begin, p.end, (long long)p.n_bytes);
    return LS_OK;
}

static ls_status append_document(void *user, const ls_document *document) {
    ls_text *text = user;
    ls_text_append_bytes(text, document->text, document->bytes);
    return text->status;
}

ls_status ls_dataset_read(ls_dataset *dataset, char **text_out, size_t *bytes_out) {
    ls_text text = {0};
    const ls_status status = ls_dataset_each(dataset, append_document, &text);
    if (status != LS_OK) {
        ls_text_deinit(&text);
        return status;
    }
    *text_out = text.data;
    *bytes_out = text.size;
    return LS_OK;
}
