/* One connection, plain or TLS, as both programs use it. Build with -DWITH_TLS -lssl -lcrypto to have TLS. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#ifndef WITH_TLS
typedef void SSL;
#else
#include <openssl/err.h>
#include <openssl/ssl.h>
static SSL_CTX *tls_context;
#endif

struct wire {
    int fd;
    SSL *tls; /* NULL where the connection is plain */
};

/* Be ready for TLS: with a PEM file of a key and its certificate as a server, without one as a client. */
static void tls_begin(const char *pem) {
#ifdef WITH_TLS
    tls_context = SSL_CTX_new(pem ? TLS_server_method() : TLS_client_method());
    if (pem && (SSL_CTX_use_certificate_chain_file(tls_context, pem) != 1 ||
                SSL_CTX_use_PrivateKey_file(tls_context, pem, SSL_FILETYPE_PEM) != 1)) {
        fprintf(stderr, "cannot use the certificate and key in %s\n", pem);
        exit(1);
    }
#else
    (void)pem;
    fprintf(stderr, "built without TLS\n");
    exit(2);
#endif
}

#ifdef WITH_TLS
/* What comes goes through memory: one system call takes all the records that are there. */
static ssize_t tls_feed(struct wire *w) {
    static unsigned char sealed[65536];
    ssize_t n = recv(w->fd, sealed, sizeof sealed, 0);
    if (n > 0) BIO_write(SSL_get_rbio(w->tls), sealed, n);
    return n;
}

static ssize_t tls_read(struct wire *w, void *to, size_t size) {
    for (size_t have = 0;;) {
        int n = 1;
        ERR_clear_error();
        while (have < size && (n = SSL_read(w->tls, (char *)to + have, size - have)) > 0) have += n;
        if (have) return have;
        if (SSL_get_error(w->tls, n) != SSL_ERROR_WANT_READ) return 0;
        ssize_t fed = tls_feed(w);
        if (fed <= 0) return fed;
    }
}
#endif

/* Speak TLS from now on: a client shakes hands here, a server with its first reads. Return whether that worked. */
static int wire_secure(struct wire *w, int is_server) {
#ifdef WITH_TLS
    w->tls = SSL_new(tls_context);
    SSL_set_bio(w->tls, BIO_new(BIO_s_mem()), BIO_new_socket(w->fd, BIO_NOCLOSE));
    if (is_server) SSL_set_accept_state(w->tls);
    else SSL_set_connect_state(w->tls);
    for (int n; !is_server && (n = SSL_do_handshake(w->tls)) != 1;)
        if (SSL_get_error(w->tls, n) != SSL_ERROR_WANT_READ || tls_feed(w) <= 0) return 0;
#else
    (void)w, (void)is_server;
#endif
    return 1;
}

/* As recv(): what there is, 0 at the end, -1 with EAGAIN where there is nothing. */
static ssize_t wire_read(struct wire *w, void *to, size_t size) {
#ifdef WITH_TLS
    if (w->tls) return tls_read(w, to, size);
#endif
    return recv(w->fd, to, size, 0);
}

/* As send(), all or nothing that can be used. */
static ssize_t wire_write(struct wire *w, const void *from, size_t size) {
#ifdef WITH_TLS
    if (w->tls) return SSL_write(w->tls, from, size);
#endif
    return send(w->fd, from, size, MSG_NOSIGNAL);
}

static void wire_close(struct wire *w) {
#ifdef WITH_TLS
    SSL_free(w->tls);
#endif
    close(w->fd);
}
