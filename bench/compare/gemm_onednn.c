/* oneDNN's side of bench/compare/gemm.sh, for its C API of versions 2 and 3. Reads lines "FORM M K N IN OUT": C[M,N] = A[M,K] B[K,N] with
 * FORM nn, B stored as [N,K] (nt) or A stored as [K,M] (tn). Answers each with the line and two medians of GFLOP/s on random data: with the
 * operands as they are stored, and in layouts that oneDNN chooses. Bringing a weight (B of nn and nt) into its layout is not timed, as if it
 * were kept; bringing both operands of tn, which are new in every step, is. "-" where it has no such product.
 * i8 is u8 times s8. Threads: OMP_NUM_THREADS. */
#include <dnnl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LEAST_RUNS = 3, MOST_RUNS = 1000, TILE = 999983 };
static const double least_seconds = 0.1;

/* --- what differs between versions --------------------------------------------------------------------------------- */

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t layout;
typedef const_dnnl_memory_desc_t layout_ref;
#define REF(l) (l)

static int make_layout(layout *out, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_data_type_t type,
                       dnnl_format_tag_t tag) {
    const dnnl_dims_t dims = {rows, columns};
    return dnnl_memory_desc_create_with_tag(out, 2, dims, type, tag) == dnnl_success;
}

static int make_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, layout a, layout b,
                        layout c) {
    return dnnl_matmul_primitive_desc_create(out, engine, a, b, NULL, c, NULL) == dnnl_success;
}

static void drop_layout(layout l) {
    dnnl_memory_desc_destroy(l);
}
#else
typedef dnnl_memory_desc_t layout;
typedef const dnnl_memory_desc_t *layout_ref;
#define REF(l) (&(l))

static int make_layout(layout *out, dnnl_dim_t rows, dnnl_dim_t columns, dnnl_data_type_t type,
                       dnnl_format_tag_t tag) {
    const dnnl_dims_t dims = {rows, columns};
    return dnnl_memory_desc_init_by_tag(out, 2, dims, type, tag) == dnnl_success;
}

static int make_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine, layout a, layout b,
                        layout c) {
    dnnl_matmul_desc_t desc;
    return dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c) == dnnl_success &&
           dnnl_primitive_desc_create(out, &desc, NULL, engine, NULL) == dnnl_success;
}

static void drop_layout(layout l) {
    (void)l;
}
#endif

/* --- data ---------------------------------------------------------------------------------------------------------- */

static size_t size_of(dnnl_data_type_t type) {
    return type == dnnl_f32 || type == dnnl_s32 ? 4 : type == dnnl_bf16 ? 2 : 1;
}

static void set_random(void *data, size_t i, dnnl_data_type_t type, uint32_t state) {
    const float value = (float)(state >> 8) / (1 << 23) - 1.0F;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if (type == dnnl_f32) memcpy((char *)data + 4 * i, &value, sizeof value);
    if (type == dnnl_bf16) ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
    if (type == dnnl_u8 || type == dnnl_s8) ((uint8_t *)data)[i] = (uint8_t)(state >> 24);
    if (type == dnnl_s32) memset((char *)data + 4 * i, 0, 4);
}

/* A random tile, again and again. */
static void *make_data(size_t count, dnnl_data_type_t type) {
    const size_t size = size_of(type), tile = count < TILE ? count : TILE;
    char *data = aligned_alloc(4096, (count * size + 8191) / 4096 * 4096);
    if (!data) exit(1);
    uint32_t state = 1;
    for (size_t i = 0; i < tile; i++) {
        state = state * 1664525u + 1013904223u;
        set_random(data, i, type, state);
    }
    for (size_t i = tile; i < count; i += tile)
        memcpy(data + i * size, data, (count - i < tile ? count - i : tile) * size);
    return data;
}

/* --- products ------------------------------------------------------------------------------------------------------ */

typedef struct operand {
    void *data;
    layout stored;
    dnnl_memory_t memory, chosen; /* chosen is memory where the layouts are the same */
    dnnl_primitive_t reorder;
} operand;

typedef struct product {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    operand a, b, c;
    dnnl_primitive_t primitive;
} product;

static int open_operand(product *p, operand *o, dnnl_dim_t rows, dnnl_dim_t columns,
                        dnnl_data_type_t type, int transposed) {
    o->data = make_data((size_t)(rows * columns), type);
    return make_layout(&o->stored, rows, columns, type, transposed ? dnnl_ba : dnnl_ab) &&
           dnnl_memory_create(&o->memory, REF(o->stored), p->engine, o->data) == dnnl_success;
}

static void close_operand(operand *o) {
    if (o->reorder) dnnl_primitive_destroy(o->reorder);
    if (o->chosen && o->chosen != o->memory) dnnl_memory_destroy(o->chosen);
    if (o->memory) dnnl_memory_destroy(o->memory);
    if (o->data) drop_layout(o->stored);
    free(o->data);
    memset(o, 0, sizeof *o);
}

static int choose(product *p, operand *o, layout_ref wanted) {
    o->chosen = o->memory;
    if (dnnl_memory_desc_equal(wanted, REF(o->stored))) return 1;
    dnnl_primitive_desc_t desc;
    if (dnnl_memory_create(&o->chosen, wanted, p->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success ||
        dnnl_reorder_primitive_desc_create(&desc, REF(o->stored), p->engine, wanted, p->engine,
                                           NULL) != dnnl_success)
        return 0;
    const int made = dnnl_primitive_create(&o->reorder, desc) == dnnl_success;
    dnnl_primitive_desc_destroy(desc);
    return made;
}

static int reorder(product *p, operand *o) {
    if (!o->reorder) return 1;
    const dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, o->memory}, {DNNL_ARG_TO, o->chosen}};
    return dnnl_primitive_execute(o->reorder, p->stream, 2, args) == dnnl_success;
}

/* In layouts of the library's choice: the weight (B), with `both` A also. */
static int prepare(product *p, const dnnl_dim_t dims[3], const dnnl_data_type_t types[3],
                   int packed, int both) {
    layout a_any, b_any;
    if (!make_layout(&a_any, dims[0], dims[1], types[0], dnnl_format_tag_any) ||
        !make_layout(&b_any, dims[1], dims[2], types[1], dnnl_format_tag_any))
        return 0;
    dnnl_primitive_desc_t desc;
    int good = make_product(&desc, p->engine, packed && both ? a_any : p->a.stored,
                            packed ? b_any : p->b.stored, p->c.stored);
    if (good) {
        good = dnnl_primitive_create(&p->primitive, desc) == dnnl_success &&
               choose(p, &p->a, dnnl_primitive_desc_query_md(desc, dnnl_query_src_md, 0)) &&
               choose(p, &p->b, dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0)) &&
               reorder(p, &p->a) && reorder(p, &p->b) &&
               dnnl_stream_wait(p->stream) == dnnl_success;
        dnnl_primitive_desc_destroy(desc);
    }
    drop_layout(a_any);
    drop_layout(b_any);
    return good;
}

static int run_once(product *p, int reorders) {
    const dnnl_exec_arg_t args[3] = {
        {DNNL_ARG_SRC, p->a.chosen}, {DNNL_ARG_WEIGHTS, p->b.chosen}, {DNNL_ARG_DST, p->c.memory}};
    if (reorders && (!reorder(p, &p->a) || !reorder(p, &p->b))) return 0;
    return dnnl_primitive_execute(p->primitive, p->stream, 3, args) == dnnl_success &&
           dnnl_stream_wait(p->stream) == dnnl_success;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_seconds(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double time_runs(product *p, int reorders) {
    double seconds[MOST_RUNS];
    int n = 0;
    if (!run_once(p, reorders)) return 0;
    for (const double start = now();
         n < LEAST_RUNS || (n < MOST_RUNS && now() - start < least_seconds); n++) {
        const double begun = now();
        if (!run_once(p, reorders)) return 0;
        seconds[n] = now() - begun;
    }
    qsort(seconds, (size_t)n, sizeof *seconds, compare_seconds);
    return seconds[n / 2];
}

/* Whether the sum of the first row and column is what it should be: the layouts were understood. */
static int is_right(const product *p, const dnnl_dim_t dims[3], const dnnl_data_type_t types[3],
                    int tn, int nt) {
    if (types[0] != dnnl_f32 || types[2] != dnnl_f32) return 1;
    const float *a = p->a.data, *b = p->b.data, *c = p->c.data;
    double sum = 0, size = 0;
    const dnnl_dim_t column = dims[2] - 1;
    for (dnnl_dim_t k = 0; k < dims[1]; k++) {
        const double term =
            (double)a[tn ? k * dims[0] : k] * b[nt ? column * dims[1] + k : k * dims[2] + column];
        sum += term;
        size += fabs(term);
    }
    return fabs(sum - c[column]) <= 1e-5 * size;
}

static double run_case(dnnl_engine_t engine, const char *form, const dnnl_dim_t dims[3],
                       const dnnl_data_type_t types[3], int packed) {
    const int tn = strcmp(form, "tn") == 0, nt = strcmp(form, "nt") == 0;
    product p = {.engine = engine};
    double seconds = 0;
    if (dnnl_stream_create(&p.stream, engine, dnnl_stream_default_flags) != dnnl_success) return 0;
    if (open_operand(&p, &p.a, dims[0], dims[1], types[0], tn) &&
        open_operand(&p, &p.b, dims[1], dims[2], types[1], nt) &&
        open_operand(&p, &p.c, dims[0], dims[2], types[2], 0) &&
        prepare(&p, dims, types, packed, tn))
        seconds = time_runs(&p, tn);
    if (seconds > 0 && !is_right(&p, dims, types, tn, nt)) {
        fprintf(stderr, "gemm_onednn: wrong result of %s\n", form);
        seconds = 0;
    }
    if (p.primitive) dnnl_primitive_destroy(p.primitive);
    close_operand(&p.a);
    close_operand(&p.b);
    close_operand(&p.c);
    dnnl_stream_destroy(p.stream);
    return seconds;
}

static int parse_type(const char *name, int weight, dnnl_data_type_t *out) {
    if (strcmp(name, "f32") == 0)
        *out = dnnl_f32;
    else if (strcmp(name, "bf16") == 0)
        *out = dnnl_bf16;
    else if (strcmp(name, "i8") == 0)
        *out = weight ? dnnl_s8 : dnnl_u8;
    else if (strcmp(name, "i32") == 0)
        *out = dnnl_s32;
    else
        return 0;
    return 1;
}

int main(int argc, char **argv) {
    const dnnl_version_t *version = dnnl_version();
    if (argc > 1 && strcmp(argv[1], "--version") == 0) {
        printf("oneDNN %d.%d.%d\n", version->major, version->minor, version->patch);
        return 0;
    }
    dnnl_engine_t engine;
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) return 1;
    char form[8], in[8], out[8];
    long long m, k, n;
    while (scanf("%7s %lld %lld %lld %7s %7s", form, &m, &k, &n, in, out) == 6) {
        const dnnl_dim_t dims[3] = {m, k, n};
        dnnl_data_type_t types[3];
        printf("%s %lld %lld %lld %s %s", form, m, k, n, in, out);
        for (int packed = 0; packed < 2; packed++) {
            const int known = parse_type(in, 0, &types[0]) && parse_type(in, 1, &types[1]) &&
                              parse_type(out, 0, &types[2]);
            const double seconds = known ? run_case(engine, form, dims, types, packed) : 0;
            if (seconds > 0)
                printf(" %.1f", 2e-9 * (double)m * (double)k * (double)n / seconds);
            else
                printf(" -");
        }
        printf("\n");
        fflush(stdout);
    }
    dnnl_engine_destroy(engine);
    return 0;
}
