/*
 * The native balancer's configuration: `upstream app { zedcup INSTANCE …; }`.
 */

#include "ngx_http_zedcup_upstream.h"


static ngx_int_t ngx_http_zedcup_upstream_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);


/* of $cookie_NAME: how nginx parses cookies changes with its versions */

static ngx_int_t
ngx_http_zedcup_upstream_cookie_index(ngx_conf_t *cf, ngx_str_t *cookie)
{
    ngx_str_t  name;

    name.len = sizeof("cookie_") - 1 + cookie->len;
    name.data = ngx_pnalloc(cf->pool, name.len);
    if (name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(ngx_cpymem(name.data, "cookie_", sizeof("cookie_") - 1),
               cookie->data, cookie->len);

    return ngx_http_get_variable_index(cf, &name);
}


static char *
ngx_http_zedcup_upstream_option(ngx_conf_t *cf,
    ngx_http_zedcup_upstream_t *zucf, ngx_str_t *value)
{
    ngx_str_t                          text;
    ngx_http_zedcup_main_conf_t       *zmcf;
    ngx_http_compile_complex_value_t   ccv;

    if (ngx_strncmp(value->data, "method=", 7) == 0) {
        return zedcup_upstream_method(cf, &zucf->base, value);
    }

    if (ngx_strncmp(value->data, "key=", 4) == 0 && value->len > 4) {

        text.data = value->data + 4;
        text.len = value->len - 4;

        zucf->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (zucf->key == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &text;
        ccv.complex_value = zucf->key;

        return ngx_http_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                              : NGX_CONF_ERROR;
    }

    if (ngx_strncmp(value->data, "sticky=", 7) == 0 && value->len > 7) {

        text.data = value->data + 7;
        text.len = value->len - 7;

        /* what RFC 6265 and nginx's parser agree on */

        if (strcspn((char *) text.data, " \t\",;=\\") != text.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid cookie name in \"%V\"", value);
            return NGX_CONF_ERROR;
        }

        zucf->sticky = text;
        zucf->cookie = ngx_http_zedcup_upstream_cookie_index(cf, &text);

        if (zucf->cookie == NGX_ERROR) {
            return NGX_CONF_ERROR;
        }

        zmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_zedcup_module);
        zmcf->sticky = 1;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": expected method=, key= or "
                       "sticky=", value);

    return NGX_CONF_ERROR;
}


/* nginx refuses an upstream without servers */

static ngx_int_t
ngx_http_zedcup_upstream_placeholder(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_addr_t                  *addr;
    struct sockaddr_in          *sin;
    ngx_http_upstream_server_t  *server;

    server = ngx_array_push(uscf->servers);
    addr = ngx_pcalloc(cf->pool, sizeof(ngx_addr_t));
    sin = ngx_pcalloc(cf->pool, sizeof(struct sockaddr_in));

    if (server == NULL || addr == NULL || sin == NULL) {
        return NGX_ERROR;
    }

    sin->sin_family = AF_INET;

    addr->sockaddr = (struct sockaddr *) sin;
    addr->socklen = sizeof(struct sockaddr_in);
    ngx_str_set(&addr->name, "zedcup");

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));

    server->name = uscf->host;
    server->addrs = addr;
    server->naddrs = 1;
    server->weight = 1;
    server->down = 1;

    return NGX_OK;
}


char *
ngx_http_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_zedcup_upstream_t  *zucf = conf;

    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_zedcup_main_conf_t   *zmcf;
    zedcup_upstream_t            **entry;
    ngx_http_upstream_srv_conf_t  *uscf;

    if (zucf->base.instance.data) {
        return "is duplicate";
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (uscf->peer.init_upstream) {
        return "must come before any other balancing method and \"keepalive\"";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an instance";
    }

    zucf->base.instance = value[1];

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_zedcup_upstream_option(cf, zucf, &value[i])
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    zmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_zedcup_module);

    entry = ngx_array_push(&zmcf->upstreams);
    if (entry == NULL) {
        return NGX_CONF_ERROR;
    }

    *entry = &zucf->base;

    if (ngx_http_zedcup_upstream_placeholder(cf, uscf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    uscf->flags = NGX_HTTP_UPSTREAM_CREATE;
    uscf->peer.init_upstream = ngx_http_zedcup_upstream_init;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_zedcup_upstream_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_zedcup_upstream_t  *zucf;

    if (us->servers->nelts != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"server\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

#if (NGX_HTTP_UPSTREAM_ZONE)
    if (us->shm_zone) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"zone\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }
#endif

    /* others look for nginx's own peers behind peer.data */

    if (ngx_http_upstream_init_round_robin(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    us->peer.init = ngx_http_zedcup_upstream_init_peer;

    zucf = ngx_http_conf_upstream_srv_conf(us, ngx_http_zedcup_module);
    zucf->balances = 1;

    return NGX_OK;
}


/* another balancing method of nginx that comes later takes the place of one
 * before it */

ngx_int_t
ngx_http_zedcup_upstream_check(ngx_conf_t *cf)
{
    ngx_uint_t                       i;
    ngx_http_zedcup_upstream_t      *zucf;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->srv_conf == NULL) {
            continue;
        }

        zucf = ngx_http_conf_upstream_srv_conf(uscfp[i],
                                               ngx_http_zedcup_module);

        if (zucf->base.instance.len && !zucf->balances) {
            ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                          "another balancing method is not allowed beside "
                          "\"zedcup\" in upstream \"%V\" in %s:%ui",
                          &uscfp[i]->host, uscfp[i]->file_name,
                          uscfp[i]->line);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}
