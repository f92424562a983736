/*
 * What a request may know of the host that served it: variables, and the cookie
 * of a sticky upstream.
 */

#include "ngx_http_zedcup_upstream.h"


enum {
    NGX_HTTP_ZEDCUP_INSTANCE = 0,
    NGX_HTTP_ZEDCUP_POOL,
    NGX_HTTP_ZEDCUP_HOST
};


static ngx_int_t ngx_http_zedcup_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_zedcup_header_filter(ngx_http_request_t *r);


static ngx_http_variable_t  ngx_http_zedcup_variables[] = {

    { ngx_string("zedcup_instance"), NULL, ngx_http_zedcup_variable,
      NGX_HTTP_ZEDCUP_INSTANCE, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("zedcup_pool"), NULL, ngx_http_zedcup_variable,
      NGX_HTTP_ZEDCUP_POOL, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("zedcup_host"), NULL, ngx_http_zedcup_variable,
      NGX_HTTP_ZEDCUP_HOST, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    ngx_http_null_variable
};


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;


ngx_int_t
ngx_http_zedcup_upstream_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_zedcup_variables; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t                    texts[3];
    zedcup_way_t                *way;
    ngx_http_zedcup_upstream_t  *zucf;

    way = ngx_http_zedcup_upstream_way(r, &zucf);

    if (way == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    zedcup_way_names(way, &texts[NGX_HTTP_ZEDCUP_INSTANCE],
                     &texts[NGX_HTTP_ZEDCUP_POOL],
                     &texts[NGX_HTTP_ZEDCUP_HOST]);

    if (texts[data].len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = texts[data].data;
    v->len = texts[data].len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}


/* ---- sticky --------------------------------------------------------------- */

void
ngx_http_zedcup_upstream_filter(void)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_zedcup_header_filter;
}


static ngx_int_t
ngx_http_zedcup_set_cookie(ngx_http_request_t *r, ngx_str_t *name,
    u_char *value)
{
    u_char           *p;
    ngx_table_elt_t  *h;

    p = ngx_pnalloc(r->pool, name->len + 1 + 16
                             + sizeof("; Path=/; HttpOnly") - 1);
    h = ngx_list_push(&r->headers_out.headers);

    if (p == NULL || h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Set-Cookie");
    h->value.data = p;

    p = ngx_cpymem(p, name->data, name->len);
    *p++ = '=';
    p = ngx_cpymem(p, value, 16);
    p = ngx_cpymem(p, "; Path=/; HttpOnly", sizeof("; Path=/; HttpOnly") - 1);

    h->value.len = p - h->value.data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_header_filter(ngx_http_request_t *r)
{
    u_char                       value[16];
    zedcup_way_t                *way;
    ngx_http_zedcup_upstream_t  *zucf;

    way = ngx_http_zedcup_upstream_way(r, &zucf);

    if (way && zucf->sticky.len && zedcup_way_cookie(way, value)
        && ngx_http_zedcup_set_cookie(r, &zucf->sticky, value) != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_next_header_filter(r);
}
