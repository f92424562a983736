/*
 * What nginx's balancing methods keep besides the list of peers, once a worker:
 * `random` a table of peers to draw from, `hash ... consistent` its points
 * (ngx_http_zedcup_peers_points.c). Both are made anew after edits, on an nginx
 * that does not do it itself.
 */

#include "ngx_http_zedcup_peers.h"


static void *
ngx_http_zedcup_method_conf(ngx_http_zedcup_group_t *group, const char *module)
{
    ngx_uint_t      i;
    ngx_module_t  **modules;

    modules = group->cycle->modules;

    for (i = 0; modules[i]; i++) {
        if (ngx_strcmp(modules[i]->name, module) == 0) {
            return group->uscf->srv_conf[modules[i]->ctx_index];
        }
    }

    return NULL;
}


#if !(NGX_HTTP_ZEDCUP_NATIVE_REFS)


/* The configuration of nginx's ngx_http_upstream_random_module, as it is from
 * 1.15.1 to 1.27.2. */

typedef struct {
    ngx_http_upstream_rr_peer_t            *peer;
    ngx_uint_t                              range;
} ngx_http_zedcup_range_t;


typedef struct {
    ngx_uint_t                              two;
    ngx_http_zedcup_range_t                *ranges;
} ngx_http_zedcup_random_conf_t;


void
ngx_http_zedcup_method_detect(ngx_http_zedcup_group_t *group)
{
    void  *hcf;

    hcf = ngx_http_zedcup_method_conf(group, "ngx_http_upstream_hash_module");

    group->consistent = hcf && ngx_http_zedcup_hash_is_consistent(hcf);

    /*
     * `random` leaves no mark. It is among the methods without backups, and
     * the others of them never look at its table.
     */

    if (!group->backups && !group->consistent) {
        group->random = ngx_http_zedcup_method_conf(group,
                                           "ngx_http_upstream_random_module");
    }

    group->hash = group->consistent ? hcf : NULL;
}


/* As many entries as nginx thinks there are peers; those past the last one are
 * never drawn. */

static void
ngx_http_zedcup_fill_ranges(ngx_http_zedcup_range_t *ranges,
    ngx_http_upstream_rr_peers_t *peers)
{
    ngx_uint_t                    i, total;
    ngx_http_upstream_rr_peer_t  *peer;

    i = 0;
    total = 0;

    for (peer = peers->peer; peer && i < peers->number; peer = peer->next) {
        ranges[i].peer = peer;
        ranges[i].range = total;
        total += peer->weight;
        i++;
    }

    for ( /* void */ ; i < peers->number; i++) {
        ranges[i].peer = peers->peer;
        ranges[i].range = (ngx_uint_t) -1;
    }
}


ngx_int_t
ngx_http_zedcup_method_refresh(ngx_http_zedcup_group_t *group)
{
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_zedcup_random_conf_t  *rcf;

    rcf = group->random;
    zp = group->peers;

    if (rcf == NULL) {
        return NGX_OK;
    }

    if (rcf->ranges
        && group->ranges_version
           == __atomic_load_n(&zp->version, __ATOMIC_SEQ_CST))
    {
        return NGX_OK;
    }

    if (rcf->ranges == NULL) {
        rcf->ranges = ngx_alloc(zp->peers.number
                                * sizeof(ngx_http_zedcup_range_t),
                                ngx_cycle->log);
        if (rcf->ranges == NULL) {
            return NGX_ERROR;
        }
    }

    ngx_rwlock_rlock(&zp->peers.rwlock);

    group->ranges_version = zp->version;
    ngx_http_zedcup_fill_ranges(rcf->ranges, &zp->peers);

    ngx_rwlock_unlock(&zp->peers.rwlock);

    return NGX_OK;
}


#else


void
ngx_http_zedcup_method_detect(ngx_http_zedcup_group_t *group)
{
    ngx_http_complex_value_t  *key;

    /*
     * nginx sees by peers->config that there are others. Of a hash it is not
     * known whether it is consistent before it made its first points, in this
     * worker; the bound on weights is for any.
     */

    key = ngx_http_zedcup_method_conf(group, "ngx_http_upstream_hash_module");

    group->consistent = key && key->value.data;
}


ngx_int_t
ngx_http_zedcup_method_refresh(ngx_http_zedcup_group_t *group)
{
    return NGX_OK;
}


#endif
