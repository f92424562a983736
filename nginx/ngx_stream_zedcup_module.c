/*
 * The directive `zedcup` of upstreams in stream {}.
 */

#include "ngx_stream_zedcup.h"


static void *ngx_stream_zedcup_create_main_conf(ngx_conf_t *cf);
static void *ngx_stream_zedcup_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


static ngx_command_t  ngx_stream_zedcup_commands[] = {

    { ngx_string("zedcup"),
      NGX_STREAM_UPS_CONF|NGX_CONF_1MORE,
      ngx_stream_zedcup_upstream,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_zedcup_module_ctx = {
    ngx_stream_zedcup_variables,           /* preconfiguration */
    NULL,                                  /* postconfiguration */

    ngx_stream_zedcup_create_main_conf,    /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_zedcup_create_srv_conf,     /* create server configuration */
    NULL                                   /* merge server configuration */
};


ngx_module_t  ngx_stream_zedcup_module = {
    NGX_MODULE_V1,
    &ngx_stream_zedcup_module_ctx,         /* module context */
    ngx_stream_zedcup_commands,            /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_stream_zedcup_create_main_conf(ngx_conf_t *cf)
{
    ngx_stream_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_zedcup_main_conf_t));
    if (zmcf == NULL) {
        return NULL;
    }

    if (ngx_array_init(&zmcf->upstreams, cf->pool, 4,
                       sizeof(zedcup_upstream_t *))
        != NGX_OK)
    {
        return NULL;
    }

    if (ngx_array_init(&zmcf->blocks, cf->pool, 4,
                       sizeof(ngx_stream_upstream_srv_conf_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return zmcf;
}


static void *
ngx_stream_zedcup_create_srv_conf(ngx_conf_t *cf)
{
    ngx_stream_zedcup_upstream_t  *zucf;

    zucf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_zedcup_upstream_t));
    if (zucf == NULL) {
        return NULL;
    }

    zucf->base.method = -1;
    zucf->base.side = ZEDCUP_SIDE_STREAM;

    return zucf;
}


/* ---- the directive ----------------------------------------------------------- */

static char *
ngx_stream_zedcup_option(ngx_conf_t *cf, ngx_stream_zedcup_upstream_t *zucf,
    ngx_str_t *value)
{
    ngx_str_t                            text;
    ngx_stream_compile_complex_value_t   ccv;

    if (ngx_strncmp(value->data, "method=", 7) == 0) {
        return ngx_stream_zedcup_seam->method(cf, &zucf->base, value);
    }

    if (ngx_strncmp(value->data, "key=", 4) == 0 && value->len > 4) {

        text.data = value->data + 4;
        text.len = value->len - 4;

        zucf->key = ngx_palloc(cf->pool, sizeof(ngx_stream_complex_value_t));
        if (zucf->key == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_stream_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &text;
        ccv.complex_value = zucf->key;

        return ngx_stream_compile_complex_value(&ccv) == NGX_OK
               ? NGX_CONF_OK : NGX_CONF_ERROR;
    }

    if (ngx_strncmp(value->data, "sticky=", 7) == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\": sticky is for upstreams "
                           "in http, a stream has no cookies", value);
        return NGX_CONF_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": expected method= or key=",
                       value);

    return NGX_CONF_ERROR;
}


/* nginx refuses an upstream without servers */

static ngx_int_t
ngx_stream_zedcup_placeholder(ngx_conf_t *cf,
    ngx_stream_upstream_srv_conf_t *uscf)
{
    ngx_addr_t                    *addr;
    struct sockaddr_in            *sin;
    ngx_stream_upstream_server_t  *server;

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

    /* its size is nginx's own, which options of its build change */

    ngx_memzero(server, uscf->servers->size);

    server->name = uscf->host;
    server->addrs = addr;
    server->naddrs = 1;
    server->weight = 1;
    server->down = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_stream_zedcup_register(ngx_conf_t *cf, ngx_stream_zedcup_upstream_t *zucf,
    ngx_stream_upstream_srv_conf_t *uscf)
{
    zedcup_upstream_t                **upstream;
    ngx_stream_zedcup_main_conf_t     *zmcf;
    ngx_stream_upstream_srv_conf_t   **block;

    zmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_zedcup_module);

    upstream = ngx_array_push(&zmcf->upstreams);
    block = ngx_array_push(&zmcf->blocks);

    if (upstream == NULL || block == NULL) {
        return NGX_ERROR;
    }

    *upstream = &zucf->base;
    *block = uscf;

    return NGX_OK;
}


static char *
ngx_stream_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_zedcup_upstream_t  *zucf = conf;

    ngx_str_t                       *value;
    ngx_uint_t                       i;
    const zedcup_seam_t             *seam;
    ngx_stream_upstream_srv_conf_t  *uscf;

    if (zucf->base.instance.data) {
        return "is duplicate";
    }

    uscf = ngx_stream_conf_get_module_srv_conf(cf, ngx_stream_upstream_module);

    if (uscf->peer.init_upstream) {
        return "cannot be beside another balancing method";
    }

    seam = ngx_stream_zedcup_find_seam(cf);
    if (seam == NULL) {
        return NGX_CONF_ERROR;
    }

    /* a reload that is refused leaves the sessions that there are theirs */

    ngx_stream_zedcup_seam = seam;

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an instance";
    }

    zucf->base.instance = value[1];

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_stream_zedcup_option(cf, zucf, &value[i]) != NGX_CONF_OK) {
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_stream_zedcup_register(cf, zucf, uscf) != NGX_OK
        || ngx_stream_zedcup_placeholder(cf, uscf) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    uscf->flags = NGX_STREAM_UPSTREAM_CREATE;
    uscf->peer.init_upstream = ngx_stream_zedcup_init_upstream;

    return NGX_CONF_OK;
}
