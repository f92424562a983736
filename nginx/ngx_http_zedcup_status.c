/*
 * `zedcup_status;` in a location: what this worker serves and knows, as JSON;
 * with the argument `instance`, of that one alone.
 */

#include "ngx_http_zedcup.h"


static ngx_int_t ngx_http_zedcup_status_handler(ngx_http_request_t *r);


char *
ngx_http_zedcup_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    if (clcf->handler) {
        return "is not allowed beside another handler of the location";
    }

    clcf->handler = ngx_http_zedcup_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_zedcup_status_instance(ngx_http_request_t *r, ngx_str_t *name)
{
    u_char     *src, *dst;
    ngx_str_t   given;

    ngx_str_null(name);

    if (r->args.len == 0
        || ngx_http_arg(r, (u_char *) "instance", sizeof("instance") - 1,
                        &given)
           != NGX_OK)
    {
        return NGX_OK;
    }

    dst = ngx_pnalloc(r->pool, given.len + 1);
    if (dst == NULL) {
        return NGX_ERROR;
    }

    name->data = dst;
    src = given.data;

    ngx_unescape_uri(&dst, &src, given.len, 0);

    name->len = dst - name->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_status_send(ngx_http_request_t *r, ngx_str_t *text)
{
    ngx_int_t        rc;
    ngx_buf_t       *b;
    ngx_chain_t      out;
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    ngx_str_set(&h->key, "Cache-Control");
    ngx_str_set(&h->value, "no-store");

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_length_n = text->len;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b = ngx_calloc_buf(r->pool);
    if (b == NULL) {
        return NGX_ERROR;
    }

    b->pos = text->data;
    b->last = text->data + text->len;
    b->memory = 1;
    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static ngx_int_t
ngx_http_zedcup_status_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;
    ngx_str_t  name, text;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    if (ngx_http_zedcup_status_instance(r, &name) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;

    switch (zedcup_status(r->pool, &name, &text)) {

    case NGX_OK:
        break;

    case NGX_DECLINED:
        r->headers_out.status = NGX_HTTP_SERVICE_UNAVAILABLE;
        ngx_str_set(&text, "{\"error\":\"zedcup does not run in this worker\"}"
                           "\n");
        break;

    case NGX_ABORT:
        r->headers_out.status = NGX_HTTP_NOT_FOUND;
        ngx_str_set(&text, "{\"error\":\"there is no such instance\"}\n");
        break;

    default:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_zedcup_status_send(r, &text);
}
