/*
 * What must be there for `zedcup` in stream {}: the http module, of the same
 * version, and an http {} block.
 *
 * http {} may stand before or after stream {}. What needs both is looked at
 * when all was read: nginx lets modules of its core do so, hence a module of
 * that kind. A failure there refuses a reload; later it would end the master.
 */

#include "ngx_stream_zedcup.h"

#include <dlfcn.h>


static char *ngx_stream_zedcup_check(ngx_cycle_t *cycle, void *conf);


static ngx_core_module_t  ngx_stream_zedcup_check_module_ctx = {
    ngx_string("zedcup_stream"),
    NULL,
    ngx_stream_zedcup_check
};


ngx_module_t  ngx_stream_zedcup_check_module = {
    NGX_MODULE_V1,
    &ngx_stream_zedcup_check_module_ctx,   /* module context */
    NULL,                                  /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


const zedcup_seam_t  *ngx_stream_zedcup_seam;


/* ---- the http module -------------------------------------------------------- */

static ngx_uint_t
ngx_stream_zedcup_has_module(ngx_cycle_t *cycle, ngx_module_t *module)
{
    ngx_uint_t  i;

    for (i = 0; cycle->modules[i]; i++) {
        if (cycle->modules[i] == module) {
            return 1;
        }
    }

    return 0;
}


const zedcup_seam_t *
ngx_stream_zedcup_find_seam(ngx_conf_t *cf)
{
    zedcup_seam_pt        get;
    const zedcup_seam_t  *seam;

    *(void **) &get = dlsym(RTLD_DEFAULT, ZEDCUP_SEAM);
    seam = get ? get() : NULL;

    if (seam && seam->abi != ZEDCUP_SEAM_ABI) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "ngx_stream_zedcup_module.so needs interface %d of "
                           "ngx_http_zedcup_module.so, which has %uD: take "
                           "both of one version of zedcup, and restart nginx",
                           ZEDCUP_SEAM_ABI, seam->abi);
        return NULL;
    }

    /* nginx keeps what an earlier configuration loaded */

    if (seam == NULL || !ngx_stream_zedcup_has_module(cf->cycle, seam->module))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"zedcup\" in stream needs a load_module of "
                           "ngx_http_zedcup_module.so, of the same version of "
                           "zedcup");
        return NULL;
    }

    return seam;
}


/* ---- when all was read -------------------------------------------------------- */

static char *
ngx_stream_zedcup_check(ngx_cycle_t *cycle, void *conf)
{
    ngx_uint_t                        i;
    ngx_stream_zedcup_main_conf_t    *zmcf;
    ngx_stream_upstream_srv_conf_t  **blocks;

    zmcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                                 ngx_stream_zedcup_module);

    if (zmcf == NULL || zmcf->upstreams.nelts == 0) {
        return NGX_CONF_OK;
    }

    blocks = zmcf->blocks.elts;

    for (i = 0; i < zmcf->blocks.nelts; i++) {

        /* methods only warn when they replace one that stood before */

        if (blocks[i]->peer.init != ngx_stream_zedcup_init_peer) {
            ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                          "another balancing method is not allowed beside "
                          "\"zedcup\" in upstream \"%V\" in %s:%ui",
                          &blocks[i]->host, blocks[i]->file_name,
                          blocks[i]->line);
            return NGX_CONF_ERROR;
        }
    }

    switch (ngx_stream_zedcup_seam->attach(cycle, zmcf->upstreams.elts,
                                           zmcf->upstreams.nelts))
    {
    case NGX_OK:
        return NGX_CONF_OK;

    case NGX_DECLINED:
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0,
                      "\"zedcup\" in upstream \"%V\" in %s:%ui needs an "
                      "http {} block: zedcup is configured there, by "
                      "zedcup_store or from Lua",
                      &blocks[0]->host, blocks[0]->file_name,
                      blocks[0]->line);
        /* fall through */

    default:
        return NGX_CONF_ERROR;
    }
}
