/*
 * The native balancer in stream {}: what its C files share. A library of its
 * own, for nginx's stream may be one too; the rest of zedcup is in the http
 * module and is reached through ngx_stream_zedcup_seam alone.
 */

#ifndef NGX_STREAM_ZEDCUP_H_INCLUDED
#define NGX_STREAM_ZEDCUP_H_INCLUDED

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_stream.h>

#include "zedcup_way.h"


/* `zedcup INSTANCE …;` of one upstream */
typedef struct {
    zedcup_upstream_t              base;
    ngx_stream_complex_value_t    *key;        /* NULL: the client's address */
} ngx_stream_zedcup_upstream_t;


typedef struct {
    ngx_array_t                    upstreams;  /* zedcup_upstream_t * */
    ngx_array_t                    blocks;     /* theirs of nginx: pointers */
} ngx_stream_zedcup_main_conf_t;


extern ngx_module_t  ngx_stream_zedcup_module;
extern ngx_module_t  ngx_stream_zedcup_check_module;

/* ---- ngx_stream_zedcup_check.c: the rest of zedcup ----------------------- */

/* Set since a configuration was read that has an upstream with `zedcup`. */
extern const zedcup_seam_t  *ngx_stream_zedcup_seam;

/* NULL: it was logged why */
const zedcup_seam_t *ngx_stream_zedcup_find_seam(ngx_conf_t *cf);


/* ---- ngx_stream_zedcup_upstream.c: a session ----------------------------- */

ngx_int_t ngx_stream_zedcup_init_upstream(ngx_conf_t *cf,
    ngx_stream_upstream_srv_conf_t *us);
ngx_int_t ngx_stream_zedcup_init_peer(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *us);
ngx_int_t ngx_stream_zedcup_variables(ngx_conf_t *cf);


#endif /* NGX_STREAM_ZEDCUP_H_INCLUDED */
