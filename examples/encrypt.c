/* SPDX-License-Identifier: MIT */
/*
 * encrypt: a log whose records are encrypted before they are written and decrypted after they are
 * read, by a map between the application and the log. AES-256-GCM of OpenSSL: what was changed on
 * the disk, or written there without the key, fails its pop.
 *
 * On the log:  nonce (12 bytes) | encrypted bytes | tag (16 bytes)
 */
#include <demi/libos.h>
#include <demi/queue.h>
#include <demi/sga.h>
#include <demi/storage.h>
#include <demi/wait.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define NONCE 12
#define TAG   16
#define TEXT  "attack at dawn"

struct cipher {
    EVP_CIPHER_CTX *ctx;
    unsigned char key[32];
};

/* On push: a new element, which is longer. The library frees the old one. */
static int encrypt(demi_sgarray_t *sga, void *arg)
{
    struct cipher *c = arg;
    demi_sgarray_t out;
    uint32_t bytes = 0;
    int len;

    for (uint32_t i = 0; i < sga->sga_numsegs; i++)
        bytes += sga->sga_segs[i].sgaseg_len;
    out = demi_sgaalloc(NONCE + bytes + TAG);
    if (out.sga_numsegs == 0)
        return ENOMEM;
    unsigned char *nonce = out.sga_segs[0].sgaseg_buf, *at = nonce + NONCE;
    int ok = RAND_bytes(nonce, NONCE) == 1 &&
             EVP_EncryptInit_ex(c->ctx, EVP_aes_256_gcm(), NULL, c->key, nonce) == 1;
    for (uint32_t i = 0; ok && i < sga->sga_numsegs; i++, at += len)
        ok = EVP_EncryptUpdate(c->ctx, at, &len, sga->sga_segs[i].sgaseg_buf,
                               (int)sga->sga_segs[i].sgaseg_len) == 1;
    ok = ok && EVP_EncryptFinal_ex(c->ctx, at, &len) == 1 &&
         EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_GCM_GET_TAG, TAG, at) == 1;
    if (!ok) {
        demi_sgafree(&out);
        return EIO;
    }
    *sga = out;
    return 0;
}

/* On pop: in place, and the element is narrowed to the text. */
static int decrypt(demi_sgarray_t *sga, void *arg)
{
    struct cipher *c = arg;
    demi_sgaseg_t seg = sga->sga_segs[0];
    int len;

    if (sga->sga_numsegs != 1 || seg.sgaseg_len < NONCE + TAG)
        return EBADMSG;
    unsigned char *nonce = seg.sgaseg_buf, *text = nonce + NONCE;
    int bytes = (int)seg.sgaseg_len - NONCE - TAG;
    if (EVP_DecryptInit_ex(c->ctx, EVP_aes_256_gcm(), NULL, c->key, nonce) != 1 ||
        EVP_DecryptUpdate(c->ctx, text, &len, text, bytes) != 1 ||
        EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_GCM_SET_TAG, TAG, text + bytes) != 1 ||
        EVP_DecryptFinal_ex(c->ctx, text + bytes, &len) != 1)
        return EBADMSG;
    seg.sgaseg_buf = text;
    seg.sgaseg_len = (uint32_t)bytes;
    sga->sga_segs[0] = seg;
    return 0;
}

static int push_text(int qd, const char *text)
{
    demi_sgarray_t sga = demi_sgaalloc(strlen(text));
    int err;

    if (sga.sga_numsegs == 0)
        return ENOMEM;
    memcpy(sga.sga_segs[0].sgaseg_buf, text, strlen(text));
    err = demi_blocking_push(qd, &sga);
    demi_sgafree(&sga);
    return err;
}

/* Pops an element and prints how it stands to the text. */
static int show(const char *what, int qd)
{
    demi_qresult_t qr;
    int err = demi_blocking_pop(qd, &qr);

    if (!err) {
        const demi_sgaseg_t seg = qr.qr_value.sga.sga_segs[0];
        int same = seg.sgaseg_len == strlen(TEXT) && !memcmp(seg.sgaseg_buf, TEXT, strlen(TEXT));

        printf("%s: %u bytes, %s\n", what, seg.sgaseg_len, same ? TEXT : "unreadable");
        demi_sgafree(&qr.qr_value.sga);
    }
    return err;
}

int main(int argc, char **argv)
{
    const char *path = argc > 1 ? argv[1] : "encrypt.log";
    struct cipher cipher = {.ctx = EVP_CIPHER_CTX_new()};
    int log, secret, plain;
    int err = demi_init(NULL);

    if (!err && (!cipher.ctx || RAND_bytes(cipher.key, sizeof(cipher.key)) != 1))
        err = ENOMEM;
    if (!err)
        err = demi_open(&log, path, O_RDWR | O_CREAT | O_TRUNC);
    if (!err)
        err = demi_map_dir(&secret, log, encrypt, decrypt, &cipher);
    if (!err)
        err = push_text(secret, TEXT);
    if (!err)
        err = demi_open(&plain, path, O_RDWR); /* the same log, past the map */
    if (!err)
        err = show("on the log", plain);
    if (!err)
        err = show("decrypted", secret);
    if (!err)
        err = push_text(plain, "written by someone without the key");
    if (!err && demi_blocking_pop(secret, &(demi_qresult_t){0}) != EBADMSG)
        err = EPROTO;
    if (!err)
        err = demi_unlink(path);
    EVP_CIPHER_CTX_free(cipher.ctx);
    if (err) {
        fprintf(stderr, "encrypt: %s\n", strerror(err));
        return 1;
    }
    printf("a forged record fails its pop with: %s\n", strerror(EBADMSG));
    return demi_fini();
}
