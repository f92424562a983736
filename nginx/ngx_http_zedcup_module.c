/*
 * The nginx side of zedcup: directives and life-cycle hooks.
 *
 * The actor system is started in the worker, after fork: by zedcup_store, or
 * from Lua (zedcup.run_workers); see bridge.cpp.
 */

#include "ngx_http_zedcup_upstream.h"


#define NGX_HTTP_ZEDCUP_ZONE_SIZE      (16 * 1024 * 1024)
#define NGX_HTTP_ZEDCUP_ZONE_SIZE_MIN  (64 * 1024)


static void *ngx_http_zedcup_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_zedcup_store_directive(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static void *ngx_http_zedcup_create_srv_conf(ngx_conf_t *cf);
static ngx_int_t ngx_http_zedcup_postconfiguration(ngx_conf_t *cf);
static char *ngx_http_zedcup_zone(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_zedcup_state_dir(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_zedcup_init_module(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_zedcup_init_process(ngx_cycle_t *cycle);
static void ngx_http_zedcup_exit_process(ngx_cycle_t *cycle);


static ngx_command_t  ngx_http_zedcup_commands[] = {

    { ngx_string("zedcup_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_zedcup_zone,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("zedcup_state_dir"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_http_zedcup_state_dir,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("zedcup_store"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_zedcup_store_directive,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("zedcup_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_zedcup_status,
      0,
      0,
      NULL },

    { ngx_string("zedcup"),
      NGX_HTTP_UPS_CONF|NGX_CONF_1MORE,
      ngx_http_zedcup_upstream,
      NGX_HTTP_SRV_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_zedcup_module_ctx = {
    ngx_http_zedcup_upstream_variables,    /* preconfiguration */
    ngx_http_zedcup_postconfiguration,     /* postconfiguration */

    ngx_http_zedcup_create_main_conf,      /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_zedcup_create_srv_conf,       /* create server configuration */
    NULL,                                  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_zedcup_module = {
    NGX_MODULE_V1,
    &ngx_http_zedcup_module_ctx,           /* module context */
    ngx_http_zedcup_commands,              /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_zedcup_init_module,           /* init module */
    ngx_http_zedcup_init_process,          /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_zedcup_exit_process,          /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_zedcup_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_zedcup_main_conf_t));
    if (zmcf == NULL) {
        return NULL;
    }

    zmcf->zone_size = NGX_CONF_UNSET_SIZE;

    if (ngx_array_init(&zmcf->upstreams, cf->pool, 4,
                       sizeof(zedcup_upstream_t *))
        != NGX_OK)
    {
        return NULL;
    }

    return zmcf;
}


static void *
ngx_http_zedcup_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_zedcup_upstream_t  *zucf;

    zucf = ngx_pcalloc(cf->pool, sizeof(ngx_http_zedcup_upstream_t));
    if (zucf == NULL) {
        return NULL;
    }

    zucf->base.method = -1;
    zucf->base.side = ZEDCUP_SIDE_HTTP;

    return zucf;
}


static char *
ngx_http_zedcup_zone(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_zedcup_main_conf_t  *zmcf = conf;

    ssize_t     size;
    ngx_str_t  *value;

    if (zmcf->zone_size != NGX_CONF_UNSET_SIZE) {
        return "is duplicate";
    }

    value = cf->args->elts;

    size = ngx_parse_size(&value[1]);

    if (size == NGX_ERROR) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid size \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (size < NGX_HTTP_ZEDCUP_ZONE_SIZE_MIN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "size \"%V\" is too small, at least %dk are needed",
                           &value[1], NGX_HTTP_ZEDCUP_ZONE_SIZE_MIN / 1024);
        return NGX_CONF_ERROR;
    }

    zmcf->zone_size = size;

    return NGX_CONF_OK;
}


static char *
ngx_http_zedcup_state_dir(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_zedcup_main_conf_t  *zmcf = conf;

    ngx_str_t  *value;

    if (zmcf->state_dir.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "is empty";
    }

    zmcf->state_dir = value[1];

    /* relative to the prefix, as everything in nginx's configuration */

    if (ngx_conf_full_name(cf->cycle, &zmcf->state_dir, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_zedcup_store_directive(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_zedcup_main_conf_t  *zmcf = conf;

    ngx_str_t   why;
    ngx_str_t  *value;

    if (zmcf->store.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (zedcup_store_check(cf->pool, &value[1], cf->args->nelts - 1,
                           &zmcf->store, &why)
        != NGX_OK)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "zedcup_store: %V", &why);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_zedcup_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_zedcup_module);

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

    zmcf->resolver = clcf->resolver;
    zmcf->resolver_timeout = clcf->resolver_timeout == NGX_CONF_UNSET_MSEC
                             ? 0 : clcf->resolver_timeout;

    if (ngx_http_zedcup_upstream_check(cf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (zmcf->sticky) {
        ngx_http_zedcup_upstream_filter();
    }

    if (zmcf->zone_size == NGX_CONF_UNSET_SIZE) {
        zmcf->zone_size = NGX_HTTP_ZEDCUP_ZONE_SIZE;
    }

    if (ngx_http_zedcup_zone_add(cf, zmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_zedcup_peers_configure(cf, zmcf);
}


static ngx_int_t
ngx_http_zedcup_init_module(ngx_cycle_t *cycle)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    ngx_http_zedcup_carry_done();

    zmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_zedcup_module);

    if (zmcf == NULL || ngx_test_config) {
        return NGX_OK;
    }

    return ngx_http_zedcup_channels_open(cycle, zmcf);
}


static ngx_int_t
ngx_http_zedcup_init_process(ngx_cycle_t *cycle)
{
    ngx_http_zedcup_peers_init_process(cycle);
    zedcup_store_start();

    return NGX_OK;
}


static void
ngx_http_zedcup_exit_process(ngx_cycle_t *cycle)
{
    ngx_http_zedcup_peers_exit_process(cycle);

    if (zedcup_bridge_stop() == NGX_OK) {
        ngx_http_zedcup_worker_stop();

    } else {
        ngx_http_zedcup_worker_leave();
    }
}
