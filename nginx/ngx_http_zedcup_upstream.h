/*
 * The native balancer: the seam between its C files and its C++ side. All of it
 * on the worker's event-loop thread, but what is about configuration.
 */

#ifndef NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED
#define NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED

#include "ngx_http_zedcup.h"

#ifdef __cplusplus
extern "C" {
#endif


/* `zedcup INSTANCE …;` of one upstream */
typedef struct {
    ngx_str_t                      instance;
    ngx_int_t                      method;     /* -1: the pools' own */
    ngx_http_complex_value_t      *key;        /* NULL: the client's address */
    ngx_str_t                      sticky;     /* a cookie's name, or empty */
    uint32_t                       epoch;      /* of `found` */
    void                          *found;      /* the instance as served then */
    ngx_uint_t                     hashes;     /* 1: a pool of it wants a key */
} ngx_http_zedcup_upstream_t;


/* One request's way through the hosts of an instance. */
typedef struct zedcup_way_s  zedcup_way_t;

/* what a host is to nginx; valid as long as the way */
typedef struct {
    struct sockaddr               *sockaddr;
    socklen_t                      socklen;
    ngx_str_t                     *name;
} zedcup_target_t;

/* how an attempt ended */
enum {
    ZEDCUP_WAY_DONE = 0,          /* with an answer, or by the client */
    ZEDCUP_WAY_BAD_STATUS,        /* with an answer that nginx did not take */
    ZEDCUP_WAY_STALE,             /* a kept connection had been closed */
    ZEDCUP_WAY_UNREACHED,         /* no connection */
    ZEDCUP_WAY_FAILED             /* a connection, but no answer */
};


/* ---- upstream_way.cpp, all noexcept ------------------------------------ */

/* -1: no such method */
ngx_int_t zedcup_way_method(const u_char *text, size_t len);
const char *zedcup_way_methods(void);

/* The size of a way; the caller gives zeroed memory for it. */
size_t zedcup_way_size(void);

/* NGX_DECLINED: there is no such instance, or none was read yet: `why` says
 * so. After NGX_OK it must be closed. */
ngx_int_t zedcup_way_open(zedcup_way_t *way, ngx_http_zedcup_upstream_t *conf,
    const char **why);
void zedcup_way_close(zedcup_way_t *way);

void zedcup_way_set_key(zedcup_way_t *way, const u_char *text, size_t len);

/* The value of a sticky cookie, which may be anything. */
void zedcup_way_set_cookie(zedcup_way_t *way, const u_char *text, size_t len);

/* Hosts that may serve: how many attempts there are. At least 1. */
ngx_uint_t zedcup_way_tries(zedcup_way_t *way);

/* NGX_BUSY: none is left. */
ngx_int_t zedcup_way_next(zedcup_way_t *way, zedcup_target_t *target);

/* The attempt is over. `status`: of the answer, 0 without; `header_ms`: until
 * it came, -1. Returns 1 when it was one of those that `tries` counts. */
ngx_uint_t zedcup_way_ended(zedcup_way_t *way, ngx_uint_t how,
    ngx_uint_t status, ngx_int_t header_ms);

/* Whether no host could follow the one under way: the last answer is passed on,
 * bad or not. */
ngx_uint_t zedcup_way_is_last(zedcup_way_t *way);

/* Of the host tried last; empty texts before. */
void zedcup_way_names(zedcup_way_t *way, ngx_str_t *instance, ngx_str_t *pool,
    ngx_str_t *host);

/* The name to expect in its certificate; empty: nginx's own choice. */
void zedcup_way_tls_name(zedcup_way_t *way, ngx_str_t *name);

/* The TLS session kept for the host, an SSL_SESSION; NULL: none. */
void **zedcup_way_session(zedcup_way_t *way);

/* The 16 hex digits that stand for the host in a cookie; 0: the client has them,
 * or no host serves. */
ngx_uint_t zedcup_way_cookie(zedcup_way_t *way, u_char *text);


/* ---- the C files ------------------------------------------------------- */

char *ngx_http_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_zedcup_upstream_variables(ngx_conf_t *cf);

/* The way of a request, also after an internal redirect; NULL: it has none. */
zedcup_way_t *ngx_http_zedcup_upstream_way(ngx_http_request_t *r,
    ngx_http_zedcup_upstream_t **conf);

/* Makes responses pass by the one that sets cookies; once a configuration. */
void ngx_http_zedcup_upstream_filter(void);

/* Frees an SSL_SESSION where nginx has TLS. */
void ngx_http_zedcup_session_free(void *session);

/* A name asked of a resolver, see zedcup_ffi_name_acquire(). */
struct zedcup_name_s *ngx_http_zedcup_name_open(ngx_resolver_t *resolver,
    ngx_msec_t timeout, const char *text, size_t len);


#ifdef __cplusplus
}
#endif

#endif /* NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED */
