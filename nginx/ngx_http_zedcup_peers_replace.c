/*
 * All peers of a zone at once, as one change. Those that stay keep what nginx
 * knows of them.
 *
 * What is missing is made before the lock, from a look at the peers as they are;
 * if somebody else edits them in between, it begins again.
 */

#include "ngx_http_zedcup_peers.h"


#define NGX_HTTP_ZEDCUP_REPLACE_TRIES  100


static int ngx_libc_cdecl
ngx_http_zedcup_spec_cmp(const void *one, const void *two)
{
    ngx_http_zedcup_peer_spec_t  *a, *b;

    a = *(ngx_http_zedcup_peer_spec_t **) one;
    b = *(ngx_http_zedcup_peer_spec_t **) two;

    return ngx_http_zedcup_addr_cmp(a->sockaddr, a->socklen,
                                    b->sockaddr, b->socklen);
}


static ngx_http_zedcup_peer_spec_t *
ngx_http_zedcup_spec_of(ngx_http_zedcup_replace_t *re,
    ngx_http_upstream_rr_peer_t *peer, ngx_uint_t backup)
{
    int                           rc;
    ngx_uint_t                    low, high, middle;
    ngx_http_zedcup_peer_spec_t  *spec;

    low = 0;
    high = re->n;

    while (low < high) {
        middle = (low + high) / 2;
        spec = re->specs[middle];

        rc = ngx_http_zedcup_addr_cmp(peer->sockaddr, peer->socklen,
                                      spec->sockaddr, spec->socklen);
        if (rc == 0) {
            return backup == ((spec->edit.flags & ZEDCUP_PEER_BACKUP) != 0)
                   ? spec : NULL;
        }

        if (rc < 0) {
            high = middle;

        } else {
            low = middle + 1;
        }
    }

    return NULL;
}


/* The checks that need no look at the peers. */

static ngx_int_t
ngx_http_zedcup_replace_check(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                    i, weight;
    ngx_http_zedcup_peer_spec_t  *spec;

    weight = 0;
    re->backups = 0;

    for (i = 0; i < re->n; i++) {
        spec = re->specs[i];

        if (ngx_http_zedcup_peers_check_backup(re->group, spec, re->err)
            != NGX_OK)
        {
            return NGX_ERROR;
        }

        if (i && ngx_http_zedcup_spec_cmp(&re->specs[i - 1], &re->specs[i])
                 == 0)
        {
            return ngx_http_zedcup_peers_err(re->err,
                       "zone \"%V\": peer \"%V\" is given twice",
                       ngx_http_zedcup_zone_of(re->group), &spec->text);
        }

        if (spec->edit.flags & ZEDCUP_PEER_BACKUP) {
            re->backups++;

        } else {
            weight += spec->edit.weight;
        }
    }

    if (re->n > NGX_HTTP_ZEDCUP_PEERS_MAX) {
        return ngx_http_zedcup_peers_err(re->err,
                   "zone \"%V\": at most %d peers are possible, not %ui",
                   ngx_http_zedcup_zone_of(re->group),
                   NGX_HTTP_ZEDCUP_PEERS_MAX, re->n);
    }

    return ngx_http_zedcup_peers_check_weight(re->group, weight, re->err);
}


/* Which of the specs are there already. */

static void
ngx_http_zedcup_replace_look(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                     i;
    ngx_http_zedcup_peers_t       *zp;
    ngx_http_zedcup_peer_spec_t   *spec;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    zp = re->group->peers;

    for (i = 0; i < re->n; i++) {
        re->specs[i]->found = NULL;
        re->specs[i]->fresh = 0;
    }

    ngx_http_zedcup_peers_rlock(zp);

    re->version = zp->version;

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {

            spec = ngx_http_zedcup_is_own(peer)
                   ? ngx_http_zedcup_spec_of(re, peer, peers != &zp->peers)
                   : NULL;

            /* a second one of the same address goes */

            if (spec && spec->found == NULL) {
                spec->found = ngx_http_zedcup_own_peer(peer);
            }
        }
    }

    ngx_http_zedcup_peers_unlock(zp);
}


static void
ngx_http_zedcup_replace_discard(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                    i;
    ngx_http_zedcup_peer_spec_t  *spec;

    for (i = 0; i < re->n; i++) {
        spec = re->specs[i];

        if (spec->fresh && spec->found) {
            ngx_http_zedcup_peer_discard(re->group->peers, spec->found);
            spec->found = NULL;
        }
    }

    if (re->made) {
        ngx_slab_free(re->group->peers->peers.shpool, re->made);
        re->made = NULL;
    }

    ngx_http_zedcup_replace_discard_names(re);
}


static ngx_int_t
ngx_http_zedcup_replace_make(ngx_http_zedcup_replace_t *re)
{
    ngx_uint_t                    i;
    ngx_http_zedcup_peer_spec_t  *spec;

    for (i = 0; i < re->n; i++) {
        spec = re->specs[i];

        if (spec->found) {
            continue;
        }

        spec->fresh = 1;
        spec->found = ngx_http_zedcup_peer_make(re->group->peers, spec);

        if (spec->found == NULL) {
            return ngx_http_zedcup_peers_no_room(re->group, &spec->text,
                                                 re->err);
        }

        (void) ngx_http_zedcup_peer_apply(spec->found, &spec->edit);
    }

    if (ngx_http_zedcup_replace_make_names(re) != NGX_OK) {
        return NGX_ERROR;
    }

    if (re->backups) {
        re->made = ngx_http_zedcup_backup_make(re->group->peers);

        if (re->made == NULL) {
            return ngx_http_zedcup_peers_no_room(re->group,
                                              &re->specs[0]->text, re->err);
        }
    }

    return NGX_OK;
}


/* Under the lock: unlinks what is not wanted. Returns 1 when there was any. */

static ngx_uint_t
ngx_http_zedcup_replace_unlink(ngx_http_zedcup_replace_t *re,
    ngx_http_upstream_rr_peers_t *peers)
{
    ngx_uint_t                     any, backup;
    ngx_http_zedcup_peer_spec_t   *spec, *name;
    ngx_http_upstream_rr_peer_t   *peer, **link;

    any = 0;
    backup = (peers != &re->group->peers->peers);

    for (link = &peers->peer; *link; /* void */ ) {
        peer = *link;
        spec = ngx_http_zedcup_spec_of(re, peer, backup);
        name = ngx_http_zedcup_replace_name_of(re, peer, backup);

        if (spec == NULL && name) {
            any |= ngx_http_zedcup_peer_apply(ngx_http_zedcup_own_peer(peer),
                                              &name->edit);
        }

        if (!ngx_http_zedcup_is_own(peer) || (spec == NULL && name)
            || (spec && spec->found == ngx_http_zedcup_own_peer(peer)))
        {
            link = &peer->next;
            continue;
        }

        *link = peer->next;
        ngx_http_zedcup_peer_retire(re->group->peers, peers, peer);
        any = 1;
    }

    return any;
}


/* The new ones, in the order of the caller. Returns 1 when there were any. */

static ngx_uint_t
ngx_http_zedcup_replace_link(ngx_http_zedcup_replace_t *re,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n)
{
    ngx_uint_t                      i, changed, backup;
    ngx_http_zedcup_peers_t        *zp;
    ngx_http_upstream_rr_peer_t   **end[2];

    zp = re->group->peers;
    changed = ngx_http_zedcup_replace_link_names(re);

    end[0] = ngx_http_zedcup_peers_tail(&zp->peers);
    end[1] = re->backups ? ngx_http_zedcup_peers_tail(
                               ngx_http_zedcup_peers_list(zp, 1, &re->made))
                         : NULL;

    for (i = 0; i < n; i++) {

        if (specs[i].sockaddr == NULL) {
            continue;
        }

        if (!specs[i].fresh) {
            changed |= ngx_http_zedcup_peer_apply(specs[i].found,
                                                  &specs[i].edit);
            continue;
        }

        backup = (specs[i].edit.flags & ZEDCUP_PEER_BACKUP) != 0;

        *end[backup] = &specs[i].found->peer;
        end[backup] = &specs[i].found->peer.next;
        specs[i].found = NULL;
        changed = 1;
    }

    return changed;
}


static ngx_int_t
ngx_http_zedcup_replace_try(ngx_http_zedcup_replace_t *re,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n)
{
    ngx_int_t                 rc;
    ngx_uint_t                changed;
    ngx_http_zedcup_peers_t  *zp;

    zp = re->group->peers;

    ngx_http_zedcup_replace_look(re);

    if (ngx_http_zedcup_replace_make(re) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_peers_lock(zp);

    if (zp->version != re->version) {
        ngx_http_zedcup_peers_unlock(zp);
        return NGX_AGAIN;
    }

    rc = ngx_http_zedcup_peers_check(re->group, re->err);

    if (rc == NGX_OK) {
        rc = ngx_http_zedcup_replace_any_left(re);
    }

    if (rc == NGX_OK) {
        changed = ngx_http_zedcup_replace_unlink(re, &zp->peers);

        if (zp->peers.next) {
            changed |= ngx_http_zedcup_replace_unlink(re, zp->peers.next);
        }

        changed |= ngx_http_zedcup_replace_link(re, specs, n);
        ngx_http_zedcup_peers_recount(zp, changed);
    }

    ngx_http_zedcup_peers_unlock(zp);

    return rc;
}


ngx_int_t
ngx_http_zedcup_peers_replace(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t                  rc;
    ngx_uint_t                 i;
    ngx_http_zedcup_replace_t  re;

    ngx_memzero(&re, sizeof(ngx_http_zedcup_replace_t));

    re.group = group;
    re.err = err;
    re.specs = ngx_alloc((n + 1) * sizeof(ngx_http_zedcup_peer_spec_t *),
                         ngx_cycle->log);
    if (re.specs == NULL) {
        return ngx_http_zedcup_peers_err(err, "no memory");
    }

    rc = ngx_http_zedcup_replace_split(&re, specs, n);

    if (rc == NGX_OK) {
        ngx_qsort(re.specs, re.n, sizeof(ngx_http_zedcup_peer_spec_t *),
                  ngx_http_zedcup_spec_cmp);

        rc = ngx_http_zedcup_replace_check(&re);
    }

    for (i = 0; rc == NGX_OK && i < NGX_HTTP_ZEDCUP_REPLACE_TRIES; i++) {
        rc = ngx_http_zedcup_replace_try(&re, specs, n);
        ngx_http_zedcup_replace_discard(&re);

        if (rc != NGX_AGAIN) {
            break;
        }

        rc = NGX_OK;
    }

    if (i == NGX_HTTP_ZEDCUP_REPLACE_TRIES) {
        rc = ngx_http_zedcup_peers_err(err,
                 "zone \"%V\": others are editing it all the time",
                 ngx_http_zedcup_zone_of(group));
    }

    ngx_free(re.specs);

    if (rc == NGX_OK) {
        ngx_http_zedcup_peers_reap(group->peers);
        ngx_http_zedcup_names_start(group);
    }

    return rc;
}
