/*
 * What the API did to a zone, as a list that can be applied to the zone of
 * another configuration: over a reload, or from a file.
 *
 * Added peers come again, with all they have. Of others that the API changed,
 * those fields that it changed; where the configuration does not name them any
 * more, nothing. Peers that the configuration named and the API removed stay
 * away as long as configurations go on naming them.
 */

#include "ngx_http_zedcup_peers.h"


static ngx_int_t
ngx_http_zedcup_carry_peer(ngx_array_t *list, ngx_http_zedcup_peer_t *own)
{
    zedcup_ffi_peer_edit_t       *edit;
    ngx_http_zedcup_carried_t    *carried;
    ngx_http_upstream_rr_peer_t  *peer;

    carried = ngx_array_push(list);
    if (carried == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(carried, sizeof(ngx_http_zedcup_carried_t));

    peer = &own->peer;
    carried->server = peer->server;
    carried->named = own->named;

    edit = &carried->edit;
    edit->peer = (const char *) peer->name.data;
    edit->peer_len = peer->name.len;
    edit->given = own->touched;
    edit->flags = (own->down ? ZEDCUP_PEER_DOWN : 0)
                  | (own->drain ? ZEDCUP_PEER_DRAIN : 0);
    edit->weight = peer->weight;
    edit->max_fails = peer->max_fails;
    edit->fail_timeout = peer->fail_timeout;
    edit->max_conns = peer->max_conns;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_carry_removed(ngx_array_t *list, ngx_addr_t *addr)
{
    ngx_http_zedcup_carried_t  *carried;

    carried = ngx_array_push(list);
    if (carried == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(carried, sizeof(ngx_http_zedcup_carried_t));

    carried->removed = 1;
    carried->edit.peer = (const char *) addr->name.data;
    carried->edit.peer_len = addr->name.len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_carry_live(ngx_array_t *list, ngx_http_zedcup_peers_t *zp)
{
    ngx_http_zedcup_peer_t        *own;
    ngx_http_zedcup_carried_t     *carried;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {

            own = ngx_http_zedcup_own_peer(peer);

            if (!ngx_http_zedcup_is_own(peer) || own->touched == 0) {
                continue;
            }

            if (ngx_http_zedcup_carry_peer(list, own) != NGX_OK) {
                return NGX_ERROR;
            }

            if (peers != &zp->peers) {
                carried = list->elts;
                carried[list->nelts - 1].edit.flags |= ZEDCUP_PEER_BACKUP;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_carry_gone(ngx_array_t *list, ngx_http_zedcup_group_t *group)
{
    ngx_uint_t                    i, k, backup;
    ngx_array_t                  *servers;
    ngx_http_zedcup_peer_spec_t   spec;
    ngx_http_upstream_server_t   *server;

    servers = group->uscf->servers;
    server = servers ? servers->elts : NULL;

    ngx_memzero(&spec, sizeof(ngx_http_zedcup_peer_spec_t));

    for (i = 0; servers && i < servers->nelts; i++) {
        for (k = 0; k < server[i].naddrs; k++) {

            spec.sockaddr = server[i].addrs[k].sockaddr;
            spec.socklen = server[i].addrs[k].socklen;

            if (ngx_http_zedcup_peers_find(group->peers, &spec, &backup)
                == NULL
                && ngx_http_zedcup_carry_removed(list, &server[i].addrs[k])
                   != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_carry_names(ngx_array_t *list, ngx_http_zedcup_peers_t *zp)
{
    ngx_http_zedcup_carried_t    *carried;
    ngx_http_zedcup_peer_name_t  *name;

    for (name = zp->names; name; name = name->next) {

        carried = ngx_array_push(list);
        if (carried == NULL) {
            return NGX_ERROR;
        }

        ngx_memzero(carried, sizeof(ngx_http_zedcup_carried_t));

        carried->edit = name->edit;
        carried->edit.given = ZEDCUP_PEER_ALL;
        carried->edit.peer = (const char *) name->text.data;
        carried->edit.peer_len = name->text.len;
        carried->server = name->text;
        carried->named = 1;
    }

    return NGX_OK;
}


/* The strings of the list are moved from the slab into the pool. */

static ngx_int_t
ngx_http_zedcup_carry_copy(ngx_array_t *list, ngx_pool_t *pool)
{
    u_char                     *text;
    ngx_uint_t                  i;
    ngx_http_zedcup_carried_t  *carried;

    carried = list->elts;

    for (i = 0; i < list->nelts; i++) {
        text = ngx_pnalloc(pool, carried[i].edit.peer_len
                                 + carried[i].server.len);
        if (text == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(text, carried[i].edit.peer, carried[i].edit.peer_len);
        carried[i].edit.peer = (const char *) text;

        if (carried[i].server.len) {
            text += carried[i].edit.peer_len;
            ngx_memcpy(text, carried[i].server.data, carried[i].server.len);
            carried[i].server.data = text;
        }
    }

    return NGX_OK;
}


ngx_array_t *
ngx_http_zedcup_carry_collect(ngx_http_zedcup_group_t *group, ngx_pool_t *pool)
{
    ngx_array_t  *list;

    list = ngx_array_create(pool, 16, sizeof(ngx_http_zedcup_carried_t));

    if (list == NULL
        || ngx_http_zedcup_carry_live(list, group->peers) != NGX_OK
        || ngx_http_zedcup_carry_gone(list, group) != NGX_OK
        || ngx_http_zedcup_carry_names(list, group->peers) != NGX_OK
        || ngx_http_zedcup_carry_copy(list, pool) != NGX_OK)
    {
        return NULL;
    }

    return list;
}


static ngx_int_t
ngx_http_zedcup_carry_add(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                    backup, wanted;
    ngx_http_upstream_rr_peer_t  *peer;

    wanted = (spec->edit.flags & ZEDCUP_PEER_BACKUP) != 0;
    peer = ngx_http_zedcup_peers_find(group->peers, spec, &backup);

    if (peer && backup == wanted) {
        return ngx_http_zedcup_peers_set(group, spec, err);
    }

    if (peer && ngx_http_zedcup_peers_remove(group, spec, err) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_zedcup_peers_add(group, spec, err);
}


static ngx_int_t
ngx_http_zedcup_carry_one(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_carried_t *carried, ngx_pool_t *pool,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                    backup;
    ngx_http_zedcup_peer_spec_t   spec;

    if (ngx_http_zedcup_spec_parse(pool, ngx_http_zedcup_zone_of(group),
                                   &carried->edit, &spec, err)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (spec.sockaddr == NULL) {
        spec.named = 1;       /* its peers have come before it */
        return ngx_http_zedcup_names_add(group, &spec, err);
    }

    if (!carried->removed && (carried->edit.given & ZEDCUP_PEER_BACKUP)) {

        if (carried->server.len) {
            spec.server = carried->server;
        }

        spec.named = carried->named;

        return ngx_http_zedcup_carry_add(group, &spec, err);
    }

    if (ngx_http_zedcup_peers_find(group->peers, &spec, &backup) == NULL) {
        return NGX_OK;
    }

    return carried->removed ? ngx_http_zedcup_peers_remove(group, &spec, err)
                            : ngx_http_zedcup_peers_set(group, &spec, err);
}


/* In the master, while nobody else knows the zone. */

void
ngx_http_zedcup_carry_apply(ngx_http_zedcup_group_t *group, ngx_array_t *list,
    ngx_pool_t *pool)
{
    u_char                          text[1024];
    ngx_uint_t                      i, removed;
    ngx_http_zedcup_carried_t      *carried;
    ngx_http_zedcup_peers_error_t   err;

    carried = list->elts;
    err.text = text;
    err.size = sizeof(text);

    /* removals last: a zone is never without a peer */

    for (removed = 0; removed < 2; removed++) {
        for (i = 0; i < list->nelts; i++) {

            if (carried[i].removed == removed
                && ngx_http_zedcup_carry_one(group, &carried[i], pool, &err)
                   != NGX_OK)
            {
                ngx_log_error(NGX_LOG_WARN, group->cycle->log, 0,
                              "zedcup: an edit is not carried on: %*s",
                              err.len, text);
            }
        }
    }

    group->peers->edits = list->nelts;
}
