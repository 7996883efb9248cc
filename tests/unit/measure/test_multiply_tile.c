/* The tiles that are timed do multiply: every one that this machine runs against a plain product. */
#include "measure/multiply_tile.h"
#include "unit/base/check.h"
#include <math.h>

enum { WORDS = 32, MOST = LS_TILE_MAX_MR * LS_TILE_MAX_NR };

typedef struct operands {
    /* [WORDS][mr] and [WORDS][nr] words of 4 bytes, c [mr][nr] */
    uint32_t a[WORDS * LS_TILE_MAX_MR], b[WORDS * LS_TILE_MAX_NR], c[MOST];
} __attribute__((aligned(64))) operands;

static float widen(uint16_t half) {
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Small whole numbers: exact in every type, whatever the order of the sums. */
static uint32_t make_word(const char *dtype, int seed) {
    uint32_t word = 0;
    if (strcmp(dtype, "f32") == 0) {
        const float x = (float)(seed % 7 - 3);
        memcpy(&word, &x, sizeof x);
        return word;
    }
    if (strcmp(dtype, "bf16") == 0) {
        for (int i = 0; i < 2; i++) {
            const float x = (float)((seed + 3 * i) % 7 - 3);
            uint32_t bits;
            memcpy(&bits, &x, sizeof bits);
            word |= bits >> 16 << 16 * i;
        }
        return word;
    }
    for (int i = 0; i < 4; i++) word |= (uint32_t)((seed + 5 * i) % 11) << 8 * i;
    return word;
}

/* a's bytes are unsigned, b's signed; below 11 both read alike. */
static double multiply_words(const char *dtype, uint32_t a, uint32_t b) {
    double sum = 0;
    if (strcmp(dtype, "f32") == 0) {
        float x, y;
        memcpy(&x, &a, sizeof x);
        memcpy(&y, &b, sizeof y);
        return (double)x * (double)y;
    }
    if (strcmp(dtype, "bf16") == 0) {
        for (int i = 0; i < 2; i++)
            sum += (double)widen((uint16_t)(a >> 16 * i)) * (double)widen((uint16_t)(b >> 16 * i));
        return sum;
    }
    for (int i = 0; i < 4; i++) sum += (double)(a >> 8 * i & 255) * (double)(b >> 8 * i & 255);
    return sum;
}

/* Where word w of row i lies: tiles of 16 rows by 16 words for AMX, [word][row] elsewhere. */
static int a_index(const ls_multiply_tile *t, int w, int i) {
    if (t->isa < LS_ISA_AMX) return w * t->engine->mr + i;
    return (w / 16 * 2 + i / 16) * 256 + i % 16 * 16 + w % 16;
}

static double read_sum(const ls_multiply_tile *t, const operands *o, int at) {
    if (strcmp(t->dtype, "int8") == 0) return (double)(int32_t)o->c[at];
    float x;
    memcpy(&x, &o->c[at], sizeof x);
    return (double)x;
}

static void check_tile(const ls_multiply_tile *t, operands *o) {
    memset(o, 0, sizeof *o);
    for (int i = 0; i < WORDS * t->engine->mr; i++) o->a[i] = make_word(t->dtype, i * 5 + 1);
    for (int i = 0; i < WORDS * t->engine->nr; i++) o->b[i] = make_word(t->dtype, i * 3 + 2);
    ls_multiply_tile_stream(t, WORDS, o->a, o->b, o->c);
    for (int i = 0; i < t->engine->mr; i++)
        for (int j = 0; j < t->engine->nr; j++) {
            double want = 0;
            for (int w = 0; w < WORDS; w++)
                want +=
                    multiply_words(t->dtype, o->a[a_index(t, w, i)], o->b[w * t->engine->nr + j]);
            if (read_sum(t, o, i * t->engine->nr + j) != want)
                fail_msg("%s %s: element %d, %d is %g, wanted %g", t->dtype, t->instruction, i, j,
                         read_sum(t, o, i * t->engine->nr + j), want);
        }
}

static void test_products(void **state) {
    (void)state;
    static operands o;
    int n_run = 0;
    for (int i = 0; i < ls_n_multiply_tiles; i++) {
        const ls_multiply_tile *t = &ls_multiply_tiles[i];
        assert_true(t->engine->mr <= LS_TILE_MAX_MR && t->engine->nr <= LS_TILE_MAX_NR);
        if (!ls_multiply_tile_runs(t)) continue;
        check_tile(t, &o);
        n_run++;
    }
    assert_true(n_run >= 1);
}

/* From registers: every sum moves, so no multiplication was left out, and none becomes infinite. */
static void test_registers(void **state) {
    (void)state;
    static operands o;
    for (int i = 0; i < ls_n_multiply_tiles; i++) {
        const ls_multiply_tile *t = &ls_multiply_tiles[i];
        if (!ls_multiply_tile_runs(t)) continue;
        memset(&o, 0, sizeof o);
        for (int k = 0; k < WORDS * t->engine->mr; k++) o.a[k] = make_word(t->dtype, 1);
        for (int k = 0; k < WORDS * t->engine->nr; k++) o.b[k] = make_word(t->dtype, 2);
        t->registers(WORDS, o.a, o.b, o.c);
        for (int k = 0; k < t->engine->mr * t->engine->nr; k++) {
            const double sum = read_sum(t, &o, k);
            if (sum == 0 || !isfinite(sum))
                fail_msg("%s %s: sum %d is %g", t->dtype, t->instruction, k, sum);
        }
    }
}

static void test_lower_levels(void **state) {
    (void)state;
    ls_cpu_limit_isa(LS_ISA_BASE);
    int n = 0;
    for (int i = 0; i < ls_n_multiply_tiles; i++) n += ls_multiply_tile_runs(&ls_multiply_tiles[i]);
    ls_cpu_limit_isa(LS_ISA_COUNT);
    assert_int_equal(n, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_registers),
        cmocka_unit_test(test_lower_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
