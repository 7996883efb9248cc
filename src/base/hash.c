#include "base/hash.h"
#include "base/alloc.h"
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <xxhash.h>

struct ls_sha256 {
    EVP_MD_CTX *context;
    int is_finished; /* OpenSSL 3.0 would go on and give another hash */
};

uint64_t ls_xxh3(const void *data, size_t bytes, uint64_t seed) {
    return XXH3_64bits_withSeed(data, bytes, seed);
}

ls_status ls_sha256_create(ls_sha256 **out) {
    /* Without this OpenSSL reads its configuration file first, which costs time and may load other code. */
    if (!OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL))
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: OpenSSL did not start");
    ls_sha256 *sha = ls_alloc(sizeof *sha);
    if (!sha) return LS_ERR_NO_MEMORY;
    sha->context = EVP_MD_CTX_new();
    if (!sha->context || !EVP_DigestInit_ex(sha->context, EVP_sha256(), NULL)) {
        ls_sha256_destroy(sha);
        return LS_FAIL(LS_ERR_NO_MEMORY, "out of memory: OpenSSL gave no SHA-256 state");
    }
    *out = sha;
    return LS_OK;
}

ls_status ls_sha256_update(ls_sha256 *sha, const void *data, size_t bytes) {
    if (sha->is_finished || !EVP_DigestUpdate(sha->context, data, bytes))
        return LS_FAIL(LS_ERR_INTERNAL, "OpenSSL refused to hash %zu bytes", bytes);
    return LS_OK;
}

ls_status ls_sha256_finish(ls_sha256 *sha, char hex_out[65]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char digest[32];
    unsigned n = 0;
    if (sha->is_finished || !EVP_DigestFinal_ex(sha->context, digest, &n) || n != sizeof digest)
        return LS_FAIL(LS_ERR_INTERNAL,
                       "OpenSSL did not finish a SHA-256; it may be finished once");
    sha->is_finished = 1;
    for (unsigned i = 0; i < n; i++) {
        hex_out[2 * i] = digits[digest[i] >> 4];
        hex_out[2 * i + 1] = digits[digest[i] & 15];
    }
    hex_out[64] = '\0';
    return LS_OK;
}

void ls_sha256_destroy(ls_sha256 *sha) {
    if (!sha) return;
    EVP_MD_CTX_free(sha->context);
    ls_free(sha);
}
