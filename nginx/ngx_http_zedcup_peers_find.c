/*
 * The group that a zone's name means, and why it may not be edited.
 */

#include "ngx_http_zedcup_peers.h"


ngx_array_t *
ngx_http_zedcup_groups(ngx_cycle_t *cycle)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    if (cycle->conf_ctx == NULL) {
        return NULL;
    }

    zmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_zedcup_module);

    return zmcf && zmcf->groups.elts ? &zmcf->groups : NULL;
}


static ngx_int_t
ngx_http_zedcup_group_unknown(ngx_str_t *zone,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                       i;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    umcf = ngx_cycle->conf_ctx
           ? ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                                 ngx_http_upstream_module)
           : NULL;
    uscfp = umcf ? umcf->upstreams.elts : NULL;

    for (i = 0; umcf && i < umcf->upstreams.nelts; i++) {
        if (uscfp[i]->shm_zone == NULL && uscfp[i]->host.len == zone->len
            && ngx_strncmp(uscfp[i]->host.data, zone->data, zone->len) == 0)
        {
            return ngx_http_zedcup_peers_err(err,
                       "zone \"%V\": no such zone; the upstream of that name "
                       "has no \"zone\" directive", zone);
        }
    }

    return ngx_http_zedcup_peers_err(err, "zone \"%V\": no such zone", zone);
}


ngx_http_zedcup_group_t *
ngx_http_zedcup_group_find(ngx_str_t *zone, ngx_http_zedcup_peers_error_t *err)
{
    ngx_str_t                *name;
    ngx_uint_t                i;
    ngx_array_t              *groups;
    ngx_http_zedcup_group_t  *group;

    groups = ngx_http_zedcup_groups((ngx_cycle_t *) ngx_cycle);
    group = groups ? groups->elts : NULL;

    for (i = 0; groups && i < groups->nelts; i++) {
        name = &group[i].uscf->shm_zone->shm.name;

        if (name->len == zone->len
            && ngx_strncmp(name->data, zone->data, zone->len) == 0)
        {
            return &group[i];
        }
    }

    (void) ngx_http_zedcup_group_unknown(zone, err);

    return NULL;
}


ngx_int_t
ngx_http_zedcup_group_editable(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_str_t  *zone;

    zone = &group->uscf->shm_zone->shm.name;

    if (group->shared) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\" cannot be edited: several upstreams share it",
                   zone);
    }

    if (group->refused) {
        return ngx_http_zedcup_peers_err(err,
                                         "zone \"%V\" cannot be edited: %s",
                                         zone, group->refused);
    }

    if (group->peers == NULL) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\" cannot be edited before nginx has started",
                   zone);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_err(ngx_http_zedcup_peers_error_t *err,
    const char *fmt, ...)
{
    u_char   *last;
    va_list   args;

    va_start(args, fmt);
    last = ngx_vslprintf(err->text, err->text + err->size, fmt, args);
    va_end(args);

    err->len = last - err->text;

    return NGX_ERROR;
}
