#include "comm/comm.h"

int64_t ls_shard_chunk(int64_t count, int lanes) {
    const int64_t units = (count + LS_SHARD_UNIT - 1) / LS_SHARD_UNIT;
    return (units + lanes - 1) / lanes * LS_SHARD_UNIT;
}

int64_t ls_shard_piece(int64_t count, int lanes, int size) {
    return ls_shard_chunk(count, lanes) * (lanes / size);
}

int64_t ls_shard_count(int64_t count, int64_t piece, int q) {
    const int64_t left = count - piece * q;
    return left < 0 ? 0 : left < piece ? left : piece;
}
