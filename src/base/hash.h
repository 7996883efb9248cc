/* XXH3 (64 bit, fast, not cryptographic; libxxhash) and SHA-256 (FIPS 180-4; OpenSSL). Local, reentrant. */
#ifndef LS_BASE_HASH_H
#define LS_BASE_HASH_H
#include "lockstep/status.h"
#include <stddef.h>
#include <stdint.h>

LS_API uint64_t ls_xxh3(const void *data, size_t bytes, uint64_t seed);

typedef struct ls_sha256 ls_sha256;
LS_API ls_status ls_sha256_create(ls_sha256 **out);
LS_API ls_status ls_sha256_update(ls_sha256 *sha, const void *data, size_t bytes);
LS_API ls_status ls_sha256_finish(ls_sha256 *sha, char hex_out[65]);
LS_API void ls_sha256_destroy(ls_sha256 *sha);

#endif
