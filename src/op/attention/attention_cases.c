#include "op/attention/attention.h"

#include "op/op_case.h"

#define T LS_CASE_T
#define D(...)                                                                         \
    {                                                                                  \
        .n_dims = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dims = { \
            __VA_ARGS__                                                                \
        }                                                                              \
    }
#define IN(...)            \
    (const ls_case_in[]) { \
        __VA_ARGS__        \
    }
#define NORMAL(...) \
    { T, D(__VA_ARGS__), LS_FILL_NORMAL, 0, 1, 0 }
static const ls_attention_attr full = {0, 0}, causal = {0, 1};
static const ls_attention_attr one = {1, 1}, three = {3, 1}, four = {4, 1}, eight = {8, 1};
static const ls_attention_attr twelve = {12, 1}, four_full = {4, 0};

/* Packed: B, T, 3*H*K. Separate: B, T, H query heads, G key/value heads, K. */
#define QKV(b, t, row)       1, IN(NORMAL(b, t, row))
#define Q_K_V(b, t, h, g, k) 3, IN(NORMAL(b, t, h, k), NORMAL(b, t, g, k), NORMAL(b, t, g, k))
/* bf16 apart: its kernel rounds weights and score gradients to bf16 before their products. */
#define EXACT (LS_CASE_F32 | LS_CASE_F16)
#define BOTH(name, attr, tolerance, loose, step, ...)               \
    {name, attr, __VA_ARGS__, EXACT, tolerance, step, 0, 0, 0}, {   \
        name, attr, __VA_ARGS__, LS_CASE_BF16, loose, step, 0, 0, 0 \
    }
#define BENCH(name, attr, ...) \
    { name, attr, __VA_ARGS__, LS_CASE_F32 | LS_CASE_BF16, 0, -1, 0, 0, 1 }

static const ls_op_case cases[] = {
    BOTH("one token", &causal, 0, 1e-2, 0, Q_K_V(2, 1, 2, 1, 8)),
    BOTH("one token packed", &three, 0, 1e-2, 0, QKV(2, 1, 3 * 3 * 5)),
    BOTH("few tokens", &causal, 0, 1e-2, 0, Q_K_V(1, 3, 2, 2, 4)),
    BOTH("full", &full, 0, 1e-2, 0, Q_K_V(2, 19, 2, 2, 16)),
    BOTH("packed causal", &three, 0, 1e-2, 0, QKV(2, 17, 3 * 3 * 8)),
    BOTH("packed full", &four_full, 0, 1e-2, 0, QKV(1, 20, 3 * 4 * 6)),
    BOTH("grouped", &causal, 0, 1e-2, 0, Q_K_V(2, 9, 6, 2, 10)),
    BOTH("one key head", &full, 0, 1e-2, 0, Q_K_V(1, 18, 4, 1, 12)),
    BOTH("past a tile", &causal, 0, 1e-2, -1, Q_K_V(1, 65, 1, 1, 3)),
    BOTH("three tiles", &causal, 0, 1e-2, -1, Q_K_V(1, 150, 2, 1, 33)),
    BOTH("three tiles full", &full, 0, 1e-2, -1, Q_K_V(1, 150, 2, 1, 40)),
    BOTH("head of 80", &one, 0, 1e-2, -1, QKV(1, 80, 3 * 80)),
    BOTH("head of 128", &full, 0, 1e-2, -1, Q_K_V(1, 64, 2, 2, 128)),
    BOTH("head of 32", &eight, 0, 1e-2, -1, QKV(1, 33, 3 * 8 * 32)),
    BOTH("large scores", &causal, 1e-3, 5e-2, -1, 3,
         IN({T, D(1, 70, 1, 64), 0, 0, 12, 0}, {T, D(1, 70, 1, 64), 0, 0, 12, 0},
            NORMAL(1, 70, 1, 64))),
    BOTH("demo head", &one, 0, 1e-2, -1, QKV(1, 128, 3 * 64)),
    BOTH("no batch", &four, 0, 0, -1, QKV(0, 128, 3 * 4 * 64)),
    BENCH("demo layer", &four, QKV(32, 128, 3 * 4 * 64)),
    BENCH("demo layer, small heads", &eight, QKV(32, 128, 3 * 8 * 32)),
    BENCH("gpt2 layer", &twelve, QKV(4, 1024, 3 * 12 * 64)),
};
LS_CASE_LIST(attention, cases);

/* A log-sum-exp near that of normal scores; out and dout are arbitrary. */
#define LSE(b, h, t) \
    { LS_DTYPE_F32, D(b, h, t), LS_FILL_UNIFORM, 2, 4, 0 }
#define PACKED_GRAD(b, t, h, k) \
    4, IN(NORMAL(b, t, 3 * h * k), NORMAL(b, t, h *k), LSE(b, h, t), NORMAL(b, t, h *k))
#define GRAD(b, t, h, g, k)                                                               \
    6, IN(NORMAL(b, t, h, k), NORMAL(b, t, g, k), NORMAL(b, t, g, k), NORMAL(b, t, h, k), \
          LSE(b, h, t), NORMAL(b, t, h, k))

static const ls_op_case grad_cases[] = {
    BOTH("one token", &causal, 0, 2e-2, -1, GRAD(2, 1, 2, 1, 8)),
    BOTH("few tokens", &full, 0, 2e-2, -1, GRAD(1, 5, 2, 2, 7)),
    BOTH("packed", &three, 0, 2e-2, -1, PACKED_GRAD(2, 17, 3, 8)),
    BOTH("packed full", &four_full, 0, 2e-2, -1, PACKED_GRAD(1, 20, 4, 6)),
    BOTH("grouped", &causal, 3e-5, 2e-2, -1, GRAD(2, 33, 6, 2, 20)),
    BOTH("past a tile", &causal, 0, 2e-2, -1, GRAD(1, 65, 1, 1, 3)),
    BOTH("three tiles", &causal, 1e-4, 3e-2, -1, GRAD(1, 150, 2, 1, 33)),
    BOTH("three tiles full", &full, 1e-4, 3e-2, -1, GRAD(1, 150, 2, 1, 40)),
    BOTH("head of 80", &one, 1e-4, 3e-2, -1, PACKED_GRAD(1, 80, 1, 80)),
    BOTH("demo head", &one, 1e-4, 3e-2, -1, PACKED_GRAD(1, 128, 1, 64)),
    BOTH("no batch", &four, 0, 0, -1, PACKED_GRAD(0, 128, 4, 64)),
    BENCH("demo layer", &four, PACKED_GRAD(32, 128, 4, 64)),
    BENCH("demo layer, small heads", &eight, PACKED_GRAD(32, 128, 8, 32)),
    BENCH("gpt2 layer", &twelve, PACKED_GRAD(4, 1024, 12, 64)),
};
LS_CASE_LIST(attention_grad, grad_cases);
