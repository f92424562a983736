/*
 * What the stream module takes of this one: a table that has a version, since
 * the two are loaded from two files.
 */

#include "ngx_http_zedcup_upstream.h"


static const zedcup_seam_t  ngx_http_zedcup_seam = {
    ZEDCUP_SEAM_ABI,
    &ngx_http_zedcup_module,
    zedcup_upstream_method,
    zedcup_upstreams_attach,
    zedcup_way_size,
    zedcup_way_open,
    zedcup_way_close,
    zedcup_way_set_key,
    zedcup_way_is_last,
    zedcup_way_next,
    zedcup_way_connected,
    zedcup_way_ended,
    zedcup_way_names,
    zedcup_way_tls_name,
    zedcup_session_set,
    zedcup_session_save
};


const zedcup_seam_t *
zedcup_seam(void)
{
    return &ngx_http_zedcup_seam;
}


char *
zedcup_upstream_method(ngx_conf_t *cf, zedcup_upstream_t *upstream,
    ngx_str_t *value)
{
    upstream->method = zedcup_way_method(value->data + sizeof("method=") - 1,
                                         value->len - (sizeof("method=") - 1));

    if (upstream->method < 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid \"%V\": expected %s",
                           value, zedcup_way_methods());
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


ngx_int_t
zedcup_upstreams_attach(ngx_cycle_t *cycle, zedcup_upstream_t **upstreams,
    ngx_uint_t n)
{
    zedcup_upstream_t            **entries;
    ngx_http_zedcup_main_conf_t   *zmcf;

    zmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_zedcup_module);
    if (zmcf == NULL) {
        return NGX_DECLINED;
    }

    entries = ngx_array_push_n(&zmcf->upstreams, n);
    if (entries == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(entries, upstreams, n * sizeof(zedcup_upstream_t *));

    return NGX_OK;
}
