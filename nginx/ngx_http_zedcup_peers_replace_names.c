/*
 * The host names among the peers that shall replace all others.
 */

#include "ngx_http_zedcup_peers.h"


static ngx_http_zedcup_peer_spec_t *
ngx_http_zedcup_replace_find(ngx_http_zedcup_replace_t *re, ngx_str_t *text)
{
    ngx_str_t   *other;
    ngx_uint_t   i;

    for (i = 0; i < re->nnames; i++) {
        other = &re->names[i]->text;

        if (other->len == text->len
            && ngx_strncasecmp(other->data, text->data, text->len) == 0)
        {
            return re->names[i];
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_zedcup_replace_add_name(ngx_http_zedcup_replace_t *re,
    ngx_http_zedcup_peer_spec_t *spec)
{
    if (ngx_http_zedcup_names_check(re->group, &spec->text, re->err) != NGX_OK
        || ngx_http_zedcup_peers_check_backup(re->group, spec, re->err)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (re->nnames == NGX_HTTP_ZEDCUP_NAMES_MAX) {
        return ngx_http_zedcup_peers_err(re->err,
                   "zone \"%V\": at most %d host names are possible",
                   ngx_http_zedcup_zone_of(re->group),
                   NGX_HTTP_ZEDCUP_NAMES_MAX);
    }

    if (ngx_http_zedcup_replace_find(re, &spec->text)) {
        return ngx_http_zedcup_peers_err(re->err,
                   "zone \"%V\": peer \"%V\" is given twice",
                   ngx_http_zedcup_zone_of(re->group), &spec->text);
    }

    re->names[re->nnames++] = spec;

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_replace_split(ngx_http_zedcup_replace_t *re,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n)
{
    ngx_uint_t  i;

    for (i = 0; i < n; i++) {

        if (specs[i].sockaddr) {
            re->specs[re->n++] = &specs[i];

        } else if (ngx_http_zedcup_replace_add_name(re, &specs[i]) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* Of all names: which of them are there already is seen under the lock. */

ngx_int_t
ngx_http_zedcup_replace_make_names(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t  i;

    for (i = 0; i < re->nnames; i++) {

        re->names[i]->made = ngx_http_zedcup_name_make(re->group->peers,
                                                       re->names[i]);
        if (re->names[i]->made == NULL) {
            return ngx_http_zedcup_peers_no_room(re->group,
                                                 &re->names[i]->text, re->err);
        }
    }

    return NGX_OK;
}


void
ngx_http_zedcup_replace_discard_names(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                    i;
    ngx_slab_pool_t              *shpool;
    ngx_http_zedcup_peer_name_t  *name;

    shpool = re->group->peers->peers.shpool;

    for (i = 0; i < re->nnames; i++) {
        if (re->names[i]->made) {
            ngx_slab_free(shpool, re->names[i]->made);
            re->names[i]->made = NULL;
        }
    }

    while (re->gone) {
        name = re->gone;
        re->gone = name->next;
        ngx_slab_free(shpool, name);
    }
}


ngx_http_zedcup_peer_spec_t *
ngx_http_zedcup_replace_name_of(ngx_http_zedcup_replace_t *re,
    ngx_http_upstream_rr_peer_t *peer, ngx_uint_t backup)
{
    ngx_http_zedcup_peer_spec_t  *name;

    if (re->nnames == 0 || !ngx_http_zedcup_is_own(peer)
        || !ngx_http_zedcup_own_peer(peer)->named)
    {
        return NULL;
    }

    name = ngx_http_zedcup_replace_find(re, &peer->server);

    return name && backup == ((name->edit.flags & ZEDCUP_PEER_BACKUP) != 0)
           ? name : NULL;
}


ngx_int_t
ngx_http_zedcup_replace_any_left(ngx_http_zedcup_replace_t *re)
{
    ngx_http_upstream_rr_peer_t  *peer;

    if (re->n > re->backups) {
        return NGX_OK;
    }

    for (peer = re->group->peers->peers.peer; peer; peer = peer->next) {
        if (ngx_http_zedcup_replace_name_of(re, peer, 0)) {
            return NGX_OK;
        }
    }

    return ngx_http_zedcup_peers_err(re->err,
               "zone \"%V\": at least one peer that is no backup is needed%s",
               ngx_http_zedcup_zone_of(re->group),
               re->nnames ? ", and the host names have no address yet" : "");
}


/* Takes off the names that are not wanted, and puts on those that are new.
 * Returns 1 when there were any. */

ngx_uint_t
ngx_http_zedcup_replace_link_names(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                      i, changed;
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_zedcup_peer_name_t    *name, **link;
    ngx_http_zedcup_peers_error_t   err;
    u_char                          text[8];

    zp = re->group->peers;
    changed = 0;

    for (link = &zp->names; *link; /* void */ ) {
        name = *link;

        if (ngx_http_zedcup_replace_find(re, &name->text)) {
            link = &name->next;
            continue;
        }

        *link = name->next;
        name->next = re->gone;
        re->gone = name;
        changed = 1;
    }

    err.text = text;
    err.size = sizeof(text);

    for (i = 0; i < re->nnames; i++) {
        link = ngx_http_zedcup_name_find(zp, &re->names[i]->text);

        if (link) {
            ngx_http_zedcup_name_apply(*link, &re->names[i]->edit);

        } else if (ngx_http_zedcup_name_link(re->group, re->names[i]->made,
                                             &err)
                   == NGX_OK)
        {
            re->names[i]->made = NULL;
            changed = 1;
        }
    }

    return changed;
}
