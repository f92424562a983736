/*
 * What Lua calls to list, describe and edit upstream zones.
 */

#include "ngx_http_zedcup_peers.h"


typedef ngx_int_t (*ngx_http_zedcup_peers_edit_pt)(
    ngx_http_zedcup_group_t *group, ngx_http_zedcup_peer_spec_t *spec,
    ngx_http_zedcup_peers_error_t *err);


int
zedcup_ffi_zone_name(uint32_t i, const char **name, size_t *len)
{
    ngx_uint_t                k, before;
    ngx_array_t              *groups;
    ngx_http_zedcup_group_t  *group;

    groups = ngx_http_zedcup_groups((ngx_cycle_t *) ngx_cycle);
    group = groups ? groups->elts : NULL;

    for (k = 0; groups && k < groups->nelts; k++) {

        for (before = 0; before < k; before++) {
            if (group[before].uscf->shm_zone == group[k].uscf->shm_zone) {
                break;
            }
        }

        if (before == k && i-- == 0) {
            *name = (const char *) group[k].uscf->shm_zone->shm.name.data;
            *len = group[k].uscf->shm_zone->shm.name.len;
            return 0;
        }
    }

    return ZEDCUP_FFI_DECLINED;
}


static void
ngx_http_zedcup_peer_show(zedcup_ffi_peer_t *out,
    ngx_http_upstream_rr_peer_t *peer, ngx_http_zedcup_peer_t *own,
    ngx_uint_t backup)
{
    out->name_len = ngx_min(peer->name.len, sizeof(out->name));
    ngx_memcpy(out->name, peer->name.data, out->name_len);

    out->server_len = ngx_min(peer->server.len, sizeof(out->server));
    ngx_memcpy(out->server, peer->server.data, out->server_len);

    out->flags = (own ? own->down : peer->down != 0) ? ZEDCUP_PEER_DOWN : 0;
    out->flags |= own && own->drain ? ZEDCUP_PEER_DRAIN : 0;
    out->flags |= backup ? ZEDCUP_PEER_BACKUP : 0;

    out->weight = peer->weight;
    out->current_weight = peer->current_weight;
    out->effective_weight = peer->effective_weight;
    out->fails = peer->fails;
    out->max_fails = peer->max_fails;
    out->fail_timeout = peer->fail_timeout;
    out->max_conns = peer->max_conns;
    out->conns = peer->conns;
    out->accessed = peer->accessed;
    out->checked = peer->checked;
}


static int
ngx_http_zedcup_group_show(ngx_http_zedcup_group_t *group,
    zedcup_ffi_peer_t *out, int n, int max)
{
    ngx_http_zedcup_peer_t        *own;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    for (peers = group->uscf->peer.data; peers; peers = peers->next) {

        ngx_http_upstream_rr_peers_rlock(peers);

        for (peer = peers->peer; peer; peer = peer->next) {

            if (n < max) {
                own = group->peers && ngx_http_zedcup_is_own(peer)
                      ? ngx_http_zedcup_own_peer(peer) : NULL;

                ngx_http_zedcup_peer_show(&out[n], peer, own,
                                     peers != group->uscf->peer.data);
            }

            n++;
        }

        ngx_http_upstream_rr_peers_unlock(peers);
    }

    return n;
}


int
zedcup_ffi_zone_peers(const char *zone, size_t len, zedcup_ffi_peer_t *out,
    int max, char *text, size_t *text_len)
{
    int                             n;
    ngx_str_t                       name;
    ngx_uint_t                      i;
    ngx_array_t                    *groups;
    ngx_http_zedcup_group_t        *found, *group;
    ngx_http_zedcup_peers_error_t   err;

    name.data = (u_char *) zone;
    name.len = len;
    err.text = (u_char *) text;
    err.size = *text_len;

    found = ngx_http_zedcup_group_find(&name, &err);
    if (found == NULL) {
        *text_len = err.len;
        return ZEDCUP_FFI_ERROR;
    }

    groups = ngx_http_zedcup_groups((ngx_cycle_t *) ngx_cycle);
    group = groups->elts;
    n = 0;

    for (i = 0; i < groups->nelts; i++) {
        if (group[i].uscf->shm_zone == found->uscf->shm_zone) {
            n = ngx_http_zedcup_group_show(&group[i], out, n, max);
        }
    }

    return n;
}


static void
ngx_http_zedcup_zone_usage(ngx_http_zedcup_group_t *group,
    zedcup_ffi_zone_usage_t *out)
{
    ngx_uint_t                i, slots;
    ngx_slab_pool_t          *shpool;
    ngx_http_zedcup_peer_t   *own;
    ngx_http_zedcup_peers_t  *zp;

    zp = group->peers;
    shpool = zp->peers.shpool;
    slots = ngx_pagesize_shift - shpool->min_shift;

    ngx_memzero(out, sizeof(zedcup_ffi_zone_usage_t));

    ngx_rwlock_rlock(&zp->peers.rwlock);

    for (own = zp->retired; own; own = own->next) {
        out->retired++;
    }

    ngx_shmtx_lock(&shpool->mutex);

    for (i = 0; i < slots; i++) {
        out->used += shpool->stats[i].used << (shpool->min_shift + i);
    }

    out->free_pages = shpool->pfree;
    out->backups = group->backups;

    ngx_shmtx_unlock(&shpool->mutex);
    ngx_rwlock_unlock(&zp->peers.rwlock);
}


int
zedcup_ffi_zone_usage(const char *zone, size_t len,
    zedcup_ffi_zone_usage_t *out, char *text, size_t *text_len)
{
    ngx_str_t                       name;
    ngx_http_zedcup_group_t        *group;
    ngx_http_zedcup_peers_error_t   err;

    name.data = (u_char *) zone;
    name.len = len;
    err.text = (u_char *) text;
    err.size = *text_len;

    group = ngx_http_zedcup_group_find(&name, &err);

    if (group == NULL
        || ngx_http_zedcup_group_editable(group, &err) != NGX_OK)
    {
        *text_len = err.len;
        return ZEDCUP_FFI_ERROR;
    }

    ngx_http_zedcup_zone_usage(group, out);

    return 0;
}


static int
ngx_http_zedcup_peers_edit(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edits, ngx_uint_t n,
    ngx_http_zedcup_peers_edit_pt one, ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t                     rc;
    ngx_str_t                     name;
    ngx_uint_t                    i;
    ngx_pool_t                   *pool;
    ngx_http_zedcup_group_t      *group;
    ngx_http_zedcup_peer_spec_t  *specs;

    name.data = (u_char *) zone;
    name.len = len;

    group = ngx_http_zedcup_group_find(&name, err);

    if (group == NULL || ngx_http_zedcup_group_editable(group, err) != NGX_OK) {
        return ZEDCUP_FFI_ERROR;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return ngx_http_zedcup_peers_err(err, "no memory");
    }

    rc = NGX_OK;
    specs = ngx_palloc(pool, (n + 1) * sizeof(ngx_http_zedcup_peer_spec_t));

    if (specs == NULL) {
        rc = ngx_http_zedcup_peers_err(err, "no memory");
    }

    for (i = 0; i < n && rc == NGX_OK; i++) {
        rc = ngx_http_zedcup_spec_parse(pool, &name, &edits[i], &specs[i], err);
    }

    if (rc == NGX_OK) {
        rc = one ? one(group, specs, err)
                 : ngx_http_zedcup_peers_replace(group, specs, n, err);
    }

    ngx_destroy_pool(pool);

    if (rc != NGX_OK) {
        return ZEDCUP_FFI_ERROR;
    }

    (void) __atomic_add_fetch(&group->peers->edits, 1, __ATOMIC_SEQ_CST);
    ngx_http_zedcup_state_later(group);

    return 0;
}


static int
ngx_http_zedcup_peers_edit_one(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, ngx_http_zedcup_peers_edit_pt one,
    char *text, size_t *text_len)
{
    int                             rc;
    ngx_http_zedcup_peers_error_t   err;

    err.text = (u_char *) text;
    err.size = *text_len;
    err.len = 0;

    rc = ngx_http_zedcup_peers_edit(zone, len, edit, 1, one, &err);

    *text_len = err.len;

    return rc;
}


int
zedcup_ffi_peer_add(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *text, size_t *text_len)
{
    return ngx_http_zedcup_peers_edit_one(zone, len, edit,
                                          ngx_http_zedcup_peers_add,
                                          text, text_len);
}


int
zedcup_ffi_peer_set(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *text, size_t *text_len)
{
    return ngx_http_zedcup_peers_edit_one(zone, len, edit,
                                          ngx_http_zedcup_peers_set,
                                          text, text_len);
}


int
zedcup_ffi_peer_remove(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *text, size_t *text_len)
{
    return ngx_http_zedcup_peers_edit_one(zone, len, edit,
                                          ngx_http_zedcup_peers_remove,
                                          text, text_len);
}


int
zedcup_ffi_peers_replace(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edits, int n, char *text, size_t *text_len)
{
    int                             rc;
    ngx_http_zedcup_peers_error_t   err;

    err.text = (u_char *) text;
    err.size = *text_len;
    err.len = 0;

    rc = ngx_http_zedcup_peers_edit(zone, len, edits, n, NULL, &err);

    *text_len = err.len;

    return rc;
}
