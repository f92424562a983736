/*
 * The upstreams of a configuration that have a zone: which of them can be
 * edited, and how their peers become ours while the zone is set up, in the
 * master, before the workers start.
 */

#include "ngx_http_zedcup_peers.h"

#include <dlfcn.h>


static ngx_int_t ngx_http_zedcup_peers_zone_init(ngx_shm_zone_t *shm_zone,
    void *data);
static ngx_int_t ngx_http_zedcup_peers_adopt(ngx_http_zedcup_group_t *group);


/* of the configuration that was read last; the one that zones are set up for */
static ngx_array_t  *ngx_http_zedcup_new_groups;


/* Is the upstream balanced by nginx itself, and not by balancer_by_lua…? */

static ngx_int_t
ngx_http_zedcup_is_native(ngx_http_upstream_srv_conf_t *uscf)
{
    Dl_info  nginx, method;

    if (!(uscf->flags & NGX_HTTP_UPSTREAM_MAX_CONNS)) {
        return 0;
    }

    if (dladdr((void *) ngx_http_upstream_init_round_robin, &nginx) == 0
        || dladdr((void *) uscf->peer.init, &method) == 0)
    {
        return 0;
    }

    return nginx.dli_fbase == method.dli_fbase;
}


static void
ngx_http_zedcup_group_init(ngx_http_zedcup_group_t *group, ngx_cycle_t *cycle,
    ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_memzero(group, sizeof(ngx_http_zedcup_group_t));

    ngx_queue_init(&group->askers);

    group->uscf = uscf;
    group->cycle = cycle;
    group->backups = (uscf->flags & NGX_HTTP_UPSTREAM_BACKUP) != 0;

    if (!ngx_http_zedcup_is_native(uscf)) {
        group->refused = "its upstream is not balanced by nginx itself";
        return;
    }

    ngx_http_zedcup_method_detect(group);
}


/* Several upstreams may share a zone; then no edit could say which it means. */

static void
ngx_http_zedcup_group_wrap(ngx_array_t *groups, ngx_http_zedcup_group_t *group)
{
    ngx_shm_zone_t           *zone;
    ngx_http_zedcup_group_t  *other, *end;

    zone = group->uscf->shm_zone;
    end = groups->elts;
    end += groups->nelts;

    for (other = groups->elts; other < end; other++) {
        if (other != group && other->uscf->shm_zone == zone) {
            other->shared = 1;
            group->shared = 1;
        }
    }

    if (zone->init != ngx_http_zedcup_peers_zone_init) {
        group->zone_init = zone->init;
        zone->init = ngx_http_zedcup_peers_zone_init;
    }
}


/* Without a master, a process lives longer than a configuration. */

static void
ngx_http_zedcup_groups_end(void *data)
{
    ngx_array_t  *groups = data;

    ngx_uint_t                i;
    ngx_http_zedcup_group_t  *group;

    group = groups->elts;

    for (i = 0; i < groups->nelts; i++) {

        if (group[i].reaper.timer_set) {
            ngx_del_timer(&group[i].reaper);
        }

        if (group[i].saver.timer_set) {
            ngx_del_timer(&group[i].saver);
        }

        ngx_http_zedcup_names_stop(&group[i]);
    }
}


ngx_int_t
ngx_http_zedcup_peers_configure(ngx_conf_t *cf,
    ngx_http_zedcup_main_conf_t *zmcf)
{
    ngx_uint_t                      i;
    ngx_pool_cleanup_t             *cln;
    ngx_http_zedcup_group_t        *group;
    ngx_http_upstream_srv_conf_t  **uscfp;
    ngx_http_upstream_main_conf_t  *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    if (ngx_array_init(&zmcf->groups, cf->pool, umcf->upstreams.nelts + 1,
                       sizeof(ngx_http_zedcup_group_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    cln = ngx_pool_cleanup_add(cf->cycle->pool, 0);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_zedcup_groups_end;
    cln->data = &zmcf->groups;

    ngx_http_zedcup_new_groups = &zmcf->groups;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (uscfp[i]->shm_zone == NULL) {
            continue;
        }

        /* there is room: they are never moved */

        group = ngx_array_push(&zmcf->groups);

        ngx_http_zedcup_group_init(group, cf->cycle, uscfp[i]);
        ngx_http_zedcup_group_wrap(&zmcf->groups, group);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_peers_zone_init(ngx_shm_zone_t *shm_zone, void *data)
{
    ngx_uint_t                i;
    ngx_http_zedcup_group_t  *group;

    group = ngx_http_zedcup_new_groups->elts;

    for (i = 0; i < ngx_http_zedcup_new_groups->nelts; i++) {
        if (group[i].uscf->shm_zone == shm_zone && group[i].zone_init) {

            if (group[i].zone_init(shm_zone, data) != NGX_OK) {
                return NGX_ERROR;
            }

            break;
        }
    }

    for (i = 0; i < ngx_http_zedcup_new_groups->nelts; i++) {

        if (group[i].uscf->shm_zone != shm_zone || group[i].refused) {
            continue;
        }

        if (ngx_http_zedcup_peers_adopt(&group[i]) != NGX_OK) {

            /* nginx has what it needs: no reason to keep it from starting */

            group[i].refused = "it is too small for edits";

            ngx_log_error(NGX_LOG_WARN, group[i].cycle->log, 0,
                          "zedcup: zone \"%V\" of upstream \"%V\": %s",
                          &shm_zone->shm.name, &group[i].uscf->host,
                          group[i].refused);
            continue;
        }

        if (!group[i].shared
            && ngx_http_zedcup_carry(&group[i]) == NGX_DECLINED)
        {
            ngx_http_zedcup_state_load(&group[i]);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_peers_remake(ngx_slab_pool_t *shpool, ngx_uint_t nslots,
    ngx_http_upstream_rr_peers_t *peers)
{
    ngx_http_zedcup_peer_t        *own;
    ngx_http_upstream_rr_peer_t  **link;

    for (link = &peers->peer; *link; link = &(*link)->next) {

        if (!ngx_http_zedcup_is_own(*link)) {
            continue;
        }

        own = ngx_http_zedcup_peer_remake(shpool, nslots, *link);
        if (own == NULL) {
            return NGX_ERROR;
        }

        *link = &own->peer;
    }

    return NGX_OK;
}


static ngx_http_zedcup_peers_t *
ngx_http_zedcup_peers_make(ngx_slab_pool_t *shpool,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t nslots)
{
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_upstream_rr_peers_t  **link;

    zp = ngx_slab_calloc(shpool, offsetof(ngx_http_zedcup_peers_t, busy)
                                 + nslots * sizeof(uint32_t));
    if (zp == NULL) {
        return NULL;
    }

    zp->peers = *peers;
    zp->nslots = nslots;

    link = (ngx_http_upstream_rr_peers_t **) (void *) &shpool->data;

    while (*link != peers) {
        link = &(*link)->zone_next;
    }

    *link = &zp->peers;

    return zp;
}


static ngx_int_t
ngx_http_zedcup_peers_adopt(ngx_http_zedcup_group_t *group)
{
    ngx_uint_t                     nslots;
    ngx_core_conf_t               *ccf;
    ngx_slab_pool_t               *shpool;
    ngx_http_zedcup_peers_t       *zp;
    ngx_http_upstream_srv_conf_t  *uscf;
    ngx_http_upstream_rr_peers_t  *peers;

    uscf = group->uscf;
    peers = uscf->peer.data;
    shpool = peers->shpool;

    /* a full zone is an error with a text, to whoever edits it */
    shpool->log_nomem = 0;

    ccf = (ngx_core_conf_t *) ngx_get_conf(group->cycle->conf_ctx,
                                           ngx_core_module);
    nslots = ngx_max(ccf->worker_processes, 1);

    if (ngx_http_zedcup_peers_remake(shpool, nslots, peers) != NGX_OK
        || (peers->next
            && ngx_http_zedcup_peers_remake(shpool, nslots, peers->next)
               != NGX_OK))
    {
        return NGX_ERROR;
    }

    zp = ngx_http_zedcup_peers_make(shpool, peers, nslots);
    if (zp == NULL) {
        return NGX_ERROR;
    }

    ngx_slab_free(shpool, peers);

    zp->group = group;
    group->peers = zp;
    uscf->peer.data = &zp->peers;

#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
    uscf->flags |= NGX_HTTP_UPSTREAM_MODIFY;

#else

    /* sizes what requests note tried peers in: they live through any growth */

    zp->peers.number = ngx_max(zp->peers.number, NGX_HTTP_ZEDCUP_PEERS_MAX);

    if (zp->peers.next) {
        zp->peers.next->number = ngx_max(zp->peers.next->number,
                                         NGX_HTTP_ZEDCUP_PEERS_MAX);
    }

#endif

    group->init_peer = uscf->peer.init;
    uscf->peer.init = ngx_http_zedcup_peers_init_peer;

    return NGX_OK;
}


void
ngx_http_zedcup_peers_init_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_array_t              *groups;
    ngx_http_zedcup_group_t  *group;

    groups = ngx_http_zedcup_groups(cycle);

    if (groups == NULL
        || (ngx_process != NGX_PROCESS_WORKER
            && ngx_process != NGX_PROCESS_SINGLE))
    {
        return;
    }

    group = groups->elts;

    for (i = 0; i < groups->nelts; i++) {

        if (group[i].peers == NULL || ngx_worker >= group[i].peers->nslots) {
            continue;
        }

        ngx_http_zedcup_peers_recover(group[i].peers, ngx_worker);
        ngx_http_zedcup_names_start(&group[i]);

        if (ngx_worker == 0 && group[i].peers->edits) {
            ngx_http_zedcup_state_later(&group[i]);
        }
    }
}


void
ngx_http_zedcup_peers_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                i;
    ngx_array_t              *groups;
    ngx_http_zedcup_group_t  *group;

    groups = ngx_http_zedcup_groups(cycle);
    group = groups ? groups->elts : NULL;

    for (i = 0; groups && i < groups->nelts; i++) {
        if (group[i].peers) {
            ngx_http_zedcup_state_flush(&group[i]);
        }
    }
}
