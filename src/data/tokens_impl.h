/* Layout of a token shard, version 1 (docs/formats.md, "Token shards"), and the inside of ls_tokens. Little-endian. */
#ifndef LS_DATA_TOKENS_IMPL_H
#define LS_DATA_TOKENS_IMPL_H
#include "base/fs.h"
#include "lockstep/tokens.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "token shards are mapped as they are: little-endian machines only"
#endif

#define LS_SHARD_MAGIC     "LSTOKENS"
#define LS_SHARD_END_MAGIC "LSTOKEND"
enum { LS_SHARD_VERSION = 1, LS_SHARD_BLOCK_BYTES = 1 << 20, LS_SHARD_U16_VOCAB = 65536 };

typedef struct ls_shard_header {
    char magic[8];
    uint32_t version;
    uint32_t token_bytes; /* 2 when vocab_size <= 65,536, else 4 */
    uint32_t vocab_size;
    int32_t eot;
    uint64_t block_bytes;
    char fingerprint[64]; /* hex, or all zero */
    char reserved[32];    /* zero */
} ls_shard_header;

/* Between them: ids, zero bytes up to a multiple of 8, u64 first token of each document (together with the header this is
 * what the blocks are counted over), u64 XXH3 of each block, seeded with its number. */
typedef struct ls_shard_footer {
    uint64_t n_tokens;
    uint64_t n_documents;
    uint64_t n_text_bytes;
    uint32_t max_token;
    uint32_t reserved; /* zero */
    uint64_t n_blocks;
    uint64_t file_bytes;
    uint64_t hash; /* ls_shard_hash */
    char magic[8];
} ls_shard_footer;

_Static_assert(sizeof(ls_shard_header) == 128, "header layout");
_Static_assert(sizeof(ls_shard_footer) == 64, "footer layout");

/* Over the header, the block hashes and the footer up to its own hash. */
uint64_t ls_shard_hash(const ls_shard_header *header, const void *block_hashes, uint64_t n_blocks,
                       const ls_shard_footer *footer);

struct ls_tokens {
    ls_tokens_info info;
    char *what;      /* path, or name in messages */
    const void *ids; /* u16 or u32 */
    const uint64_t *documents;
    const unsigned char *shard; /* the whole file; NULL in memory */
    const uint64_t *block_hashes;
    uint64_t body_bytes, n_blocks;
    ls_map map;      /* when opened from a file */
    void *owned_ids; /* when in memory */
    void *owned_documents;
};

#endif
