#include "base/rng.h"
#include "op/dropout/dropout.h"
#include "op/tile.h"

/* Draws of elements index..index+15 of the key's sequence; four draws come from one Philox block. */
static inline v16u draw_words(ls_rng_key key, uint64_t index) {
    uint32_t words[20];
    for (uint64_t b = 0; b < 5; b++)
        if (b < 4 || index % 4) ls_rng_block(key, index / 4 + b, words + 4 * b);
    v16u out;
    memcpy(&out, words + index % 4, sizeof out);
    return out;
}

static void dropout_tile(const tile *t) {
    const ls_launch *launch = t->launch;
    const ls_dropout_attr *a = launch->sig->attr;
    const ls_rng_key key = {launch->position.seed, launch->position.step, a->stream};
    const int64_t count = ls_type_count(&launch->sig->out[0]);
    const uint64_t first = (uint64_t)(launch->position.lane * count + t->first);
    const v16u threshold = (v16u){0} + ls_dropout_threshold(a->p);
    const float scale = (float)(1 / (1 - a->p));
    for (int64_t i = 0; i < t->n; i += V16_LANES) {
        const v16i keep = (v16i)(draw_words(key, first + (uint64_t)i) >= threshold);
        const v16 x = v16_load_f32(t->in[0] + i) * scale;
        v16_store_f32(t->out[0] + i, v16_select(keep, x, v16_set(0)));
    }
}

static ls_tile_fn tile_of(const ls_sig *sig, int *n_tiled_out) {
    (void)sig;
    *n_tiled_out = 1;
    return dropout_tile;
}

static ls_status launch(const ls_launch *launch) {
    return launch_tiles(launch, tile_of);
}

LS_CPU_KERNEL(dropout_fwd) = {LS_CPU_KERNEL_HEAD("dropout_fwd"), .refuses = ls_refuses_wide,
                              .launch = launch, .tile = tile_of};
