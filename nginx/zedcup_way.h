/*
 * The native balancer without nginx's http: what upstreams of http {} and of
 * stream {} share. One request or session is a way through the hosts of an
 * instance; its C++ side is upstream_way.cpp. All of it on the worker's
 * event-loop thread, but what is about configuration.
 *
 * The stream module is a library of its own and reaches all this through
 * zedcup_seam(), see below.
 */

#ifndef ZEDCUP_WAY_H_INCLUDED
#define ZEDCUP_WAY_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_event_connect.h>


/* whose TLS sessions: http and stream verify by directives of their own */
enum {
    ZEDCUP_SIDE_HTTP = 0,
    ZEDCUP_SIDE_STREAM,
    ZEDCUP_SIDES
};


/* `zedcup INSTANCE …;` of one upstream, what both sides have */
typedef struct {
    ngx_str_t                      instance;
    ngx_int_t                      method;     /* -1: the pools' own */
    ngx_uint_t                     side;
    uint32_t                       epoch;      /* of `found` */
    void                          *found;      /* the instance as served then */
    ngx_uint_t                     hashes;     /* 1: a pool of it wants a key */
} zedcup_upstream_t;


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

/* The size of a way; the caller gives memory for it, aligned as a pointer. */
size_t zedcup_way_size(void);

/* NGX_DECLINED: there is no such instance, or none was read yet: `why` says
 * so. After NGX_OK it must be closed. */
ngx_int_t zedcup_way_open(zedcup_way_t *way, zedcup_upstream_t *conf,
    const char **why);
void zedcup_way_close(zedcup_way_t *way);

void zedcup_way_set_key(zedcup_way_t *way, const u_char *text, size_t len);

/* The value of a sticky cookie, which may be anything. */
void zedcup_way_set_cookie(zedcup_way_t *way, const u_char *text, size_t len);

/* Hosts that may serve: how many attempts there are. At least 1. */
ngx_uint_t zedcup_way_tries(zedcup_way_t *way);

/* NGX_BUSY: none is left. */
ngx_int_t zedcup_way_next(zedcup_way_t *way, zedcup_target_t *target);

/* The attempt has its connection, whose time is what `ewma` goes by. For those
 * of which no other time means anything: zedcup_way_ended() has none then. */
void zedcup_way_connected(zedcup_way_t *way);

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


/* ---- ngx_http_zedcup_session.c: TLS sessions of hosts ------------------- */

/* What a peer's set_session and save_session do. NULL: there is no way. */
ngx_int_t zedcup_session_set(zedcup_way_t *way, ngx_connection_t *c);
void zedcup_session_save(zedcup_way_t *way, ngx_connection_t *c);

/* Frees an SSL_SESSION where nginx has TLS. */
void zedcup_session_free(void *session);


/* ---- ngx_http_zedcup_seam.c -------------------------------------------- */

/* Takes `method=…` of the directive; logs what is wrong with it. */
char *zedcup_upstream_method(ngx_conf_t *cf, zedcup_upstream_t *upstream,
    ngx_str_t *value);

/* Once the configuration was read: the upstreams of stream {} get what those
 * of http {} get. NGX_DECLINED: it has no http {}. */
ngx_int_t zedcup_upstreams_attach(ngx_cycle_t *cycle,
    zedcup_upstream_t **upstreams, ngx_uint_t n);


/* ---- the seam between the two modules ----------------------------------- */

/* Raised by every change of the table below or of a type above. */
#define ZEDCUP_SEAM_ABI  1

typedef struct {
    /* these two stay where they are for ever */
    uint32_t        abi;
    ngx_module_t   *module;       /* whose seam it is */

    char         *(*method)(ngx_conf_t *cf, zedcup_upstream_t *upstream,
                      ngx_str_t *value);
    ngx_int_t     (*attach)(ngx_cycle_t *cycle, zedcup_upstream_t **upstreams,
                      ngx_uint_t n);

    size_t        (*size)(void);
    ngx_int_t     (*open)(zedcup_way_t *way, zedcup_upstream_t *conf,
                      const char **why);
    void          (*close)(zedcup_way_t *way);
    void          (*set_key)(zedcup_way_t *way, const u_char *text, size_t len);
    ngx_uint_t    (*is_last)(zedcup_way_t *way);
    ngx_int_t     (*next)(zedcup_way_t *way, zedcup_target_t *target);
    void          (*connected)(zedcup_way_t *way);
    ngx_uint_t    (*ended)(zedcup_way_t *way, ngx_uint_t how,
                      ngx_uint_t status, ngx_int_t header_ms);
    void          (*names)(zedcup_way_t *way, ngx_str_t *instance,
                      ngx_str_t *pool, ngx_str_t *host);
    void          (*tls_name)(zedcup_way_t *way, ngx_str_t *name);
    ngx_int_t     (*set_session)(zedcup_way_t *way, ngx_connection_t *c);
    void          (*save_session)(zedcup_way_t *way, ngx_connection_t *c);
} zedcup_seam_t;

typedef const zedcup_seam_t *(*zedcup_seam_pt)(void);

/* The http module exports this one. */
#define ZEDCUP_SEAM  "zedcup_seam"

const zedcup_seam_t *zedcup_seam(void);


#ifdef __cplusplus
}
#endif

#endif /* ZEDCUP_WAY_H_INCLUDED */
