/*
 * The native balancer in http {}: what its C files share. What it has in common
 * with the one in stream {} is in zedcup_way.h.
 */

#ifndef NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED
#define NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED

#include "ngx_http_zedcup.h"
#include "zedcup_way.h"

#ifdef __cplusplus
extern "C" {
#endif


/* `zedcup INSTANCE …;` of one upstream */
typedef struct {
    zedcup_upstream_t              base;
    ngx_http_complex_value_t      *key;        /* NULL: the client's address */
    ngx_str_t                      sticky;     /* a cookie's name, or empty */
    ngx_int_t                      cookie;     /* index of its variable */
    ngx_uint_t                     balances;   /* no other method took over */
} ngx_http_zedcup_upstream_t;


/* ---- ngx_http_zedcup_upstream_conf.c ------------------------------------- */

char *ngx_http_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* When all upstreams were made: whether those that say `zedcup` go by it. */
ngx_int_t ngx_http_zedcup_upstream_check(ngx_conf_t *cf);


/* ---- ngx_http_zedcup_upstream.c ------------------------------------------ */

ngx_int_t ngx_http_zedcup_upstream_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);


/* ---- ngx_http_zedcup_upstream_vars.c ------------------------------------- */

ngx_int_t ngx_http_zedcup_upstream_variables(ngx_conf_t *cf);

/* The way of a request, also after an internal redirect; NULL: it has none. */
zedcup_way_t *ngx_http_zedcup_upstream_way(ngx_http_request_t *r,
    ngx_http_zedcup_upstream_t **conf);

/* Makes responses pass by the one that sets cookies; once a configuration. */
void ngx_http_zedcup_upstream_filter(void);


/* ---- ngx_http_zedcup_names.c --------------------------------------------- */

/* A name asked of a resolver, see zedcup_ffi_name_acquire(). */
struct zedcup_name_s *ngx_http_zedcup_name_open(ngx_resolver_t *resolver,
    ngx_msec_t timeout, const char *text, size_t len);


#ifdef __cplusplus
}
#endif

#endif /* NGX_HTTP_ZEDCUP_UPSTREAM_H_INCLUDED */
