/*
 * The edits of one peer. Everything that can fail comes before the lock, and
 * under it only what is checked against the peers as they are.
 */

#include "ngx_http_zedcup_peers.h"


ngx_int_t
ngx_http_zedcup_peers_check(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peers_error_t *err)
{
    if (group->peers->moved) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": nginx has been reloaded and this worker is of "
                   "the configuration before: ask again",
                   ngx_http_zedcup_zone_of(group));
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_check_weight(ngx_http_zedcup_group_t *group,
    ngx_uint_t weight, ngx_http_zedcup_peers_error_t *err)
{
    if (group->consistent && weight > NGX_HTTP_ZEDCUP_CHASH_WEIGHT) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": weights of a consistent hash may be edited "
                   "up to a sum of %d, not %ui",
                   ngx_http_zedcup_zone_of(group), NGX_HTTP_ZEDCUP_CHASH_WEIGHT,
                   weight);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_peers_unknown(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    return ngx_http_zedcup_peers_err(err, "zone \"%V\": no such peer: \"%V\"",
                                     ngx_http_zedcup_zone_of(group),
                                     &spec->text);
}


static ngx_int_t
ngx_http_zedcup_peers_link(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peer_t *own,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                     backup;
    ngx_http_zedcup_peers_t       *zp;
    ngx_http_upstream_rr_peer_t  **link;

    zp = group->peers;

    if (ngx_http_zedcup_peers_check(group, err) != NGX_OK
        || ngx_http_zedcup_peers_check_weight(group,
               zp->peers.total_weight + spec->edit.weight, err)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ngx_http_zedcup_peers_find(zp, spec, &backup)) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": peer \"%V\" is there already%s",
                   ngx_http_zedcup_zone_of(group), &spec->text,
                   backup ? ", as a backup" : "");
    }

    link = ngx_http_zedcup_peers_end(peers);

    if (link == NULL) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": no room for peer \"%V\": there are %d already",
                   ngx_http_zedcup_zone_of(group), &spec->text,
                   NGX_HTTP_ZEDCUP_PEERS_MAX);
    }

    *link = &own->peer;

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_no_room(ngx_http_zedcup_group_t *group,
    ngx_str_t *text, ngx_http_zedcup_peers_error_t *err)
{
    return ngx_http_zedcup_peers_err(err,
               "zone \"%V\": it is too small for peer \"%V\": its size is %uzk",
               ngx_http_zedcup_zone_of(group), text,
               group->uscf->shm_zone->shm.size / 1024);
}


ngx_int_t
ngx_http_zedcup_peers_check_backup(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    if ((spec->edit.flags & ZEDCUP_PEER_BACKUP) && !group->backups) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": peer \"%V\": the balancing method of this "
                   "upstream has no backups",
                   ngx_http_zedcup_zone_of(group), &spec->text);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_add(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t                      rc;
    ngx_uint_t                     backup;
    ngx_http_zedcup_peer_t        *own;
    ngx_http_zedcup_peers_t       *zp;
    ngx_http_upstream_rr_peers_t  *made;

    if (spec->sockaddr == NULL) {
        return ngx_http_zedcup_names_add(group, spec, err);
    }

    zp = group->peers;
    backup = (spec->edit.flags & ZEDCUP_PEER_BACKUP) != 0;

    if (ngx_http_zedcup_peers_check_backup(group, spec, err) != NGX_OK) {
        return NGX_ERROR;
    }

    made = backup ? ngx_http_zedcup_backup_make(zp) : NULL;
    own = ngx_http_zedcup_peer_make(zp, spec);

    if (own == NULL || (backup && made == NULL)) {
        rc = ngx_http_zedcup_peers_no_room(group, &spec->text, err);
        goto done;
    }

    (void) ngx_http_zedcup_peer_apply(own, &spec->edit);

    ngx_http_zedcup_peers_lock(zp);

    rc = ngx_http_zedcup_peers_link(group, spec, own,
                          ngx_http_zedcup_peers_list(zp, backup, &made), err);
    if (rc == NGX_OK) {
        own = NULL;
        ngx_http_zedcup_peers_recount(zp, 1);
    }

    ngx_http_zedcup_peers_unlock(zp);

done:

    if (own) {
        ngx_http_zedcup_peer_discard(zp, own);
    }

    if (made) {
        ngx_slab_free(zp->peers.shpool, made);
    }

    return rc;
}


static ngx_int_t
ngx_http_zedcup_peers_set_locked(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                      found, weight, weighed;
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_upstream_rr_peer_t    *peer;
    ngx_http_upstream_rr_peers_t   *peers;
    ngx_http_zedcup_peer_name_t   **name;

    zp = group->peers;
    found = 0;
    weighed = 0;

    if (ngx_http_zedcup_peers_check(group, err) != NGX_OK) {
        return NGX_ERROR;
    }

    weight = zp->peers.total_weight;

    for (peer = zp->peers.peer; peer; peer = peer->next) {
        if (ngx_http_zedcup_peer_is(peer, spec)
            && (spec->edit.given & ZEDCUP_PEER_WEIGHT))
        {
            weight += spec->edit.weight - peer->weight;
        }
    }

    if (ngx_http_zedcup_peers_check_weight(group, weight, err) != NGX_OK) {
        return NGX_ERROR;
    }

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_http_zedcup_peer_is(peer, spec)) {

                if (!ngx_http_zedcup_is_own(peer)) {
                    return ngx_http_zedcup_peers_err(err,
                               "zone \"%V\": peer \"%V\" is kept by nginx's "
                               "own resolver", ngx_http_zedcup_zone_of(group),
                               &spec->text);
                }

                weighed |= ngx_http_zedcup_peer_apply(
                               ngx_http_zedcup_own_peer(peer), &spec->edit);
                found = 1;
            }
        }
    }

    name = ngx_http_zedcup_name_find(zp, &spec->text);

    if (name) {
        ngx_http_zedcup_name_apply(*name, &spec->edit);
        found = 1;
    }

    if (!found) {
        return ngx_http_zedcup_peers_unknown(group, spec, err);
    }

    ngx_http_zedcup_peers_recount(zp, weighed);

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_set(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t  rc;

    ngx_http_zedcup_peers_lock(group->peers);

    rc = ngx_http_zedcup_peers_set_locked(group, spec, err);

    ngx_http_zedcup_peers_unlock(group->peers);

    return rc;
}


static ngx_int_t
ngx_http_zedcup_peers_remove_locked(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peer_name_t **taken,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                      left, found;
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_upstream_rr_peers_t   *peers;
    ngx_http_zedcup_peer_name_t   **name;

    zp = group->peers;

    if (ngx_http_zedcup_peers_check(group, err) != NGX_OK) {
        return NGX_ERROR;
    }

    left = ngx_http_zedcup_peers_left(zp, spec, &found);
    name = ngx_http_zedcup_name_find(zp, &spec->text);

    if (found == 0 && name == NULL) {
        return ngx_http_zedcup_peers_unknown(group, spec, err);
    }

    if (left == 0) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": peer \"%V\" is the last one and stays",
                   ngx_http_zedcup_zone_of(group), &spec->text);
    }

    if (name) {
        *taken = *name;
        *name = (*name)->next;
    }

    for (peers = &zp->peers; peers; peers = peers->next) {
        ngx_http_zedcup_peers_unlink(zp, peers, spec);
    }

    ngx_http_zedcup_peers_recount(zp, 1);

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_remove(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t                     rc;
    ngx_http_zedcup_peer_name_t  *name;

    name = NULL;

    ngx_http_zedcup_peers_lock(group->peers);

    rc = ngx_http_zedcup_peers_remove_locked(group, spec, &name, err);

    ngx_http_zedcup_peers_unlock(group->peers);

    if (name) {
        ngx_slab_free(group->peers->peers.shpool, name);
    }

    if (rc == NGX_OK) {
        ngx_http_zedcup_peers_reap(group->peers);
    }

    return rc;
}
