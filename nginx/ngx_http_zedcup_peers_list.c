/*
 * The list of peers of a zone: locks, sums, who is on it.
 */

#include "ngx_http_zedcup_peers.h"


void
ngx_http_zedcup_peers_lock(ngx_http_zedcup_peers_t *zp)
{
    ngx_rwlock_wlock(&zp->peers.rwlock);

    if (zp->peers.next) {
        ngx_rwlock_wlock(&zp->peers.next->rwlock);
    }
}


void
ngx_http_zedcup_peers_rlock(ngx_http_zedcup_peers_t *zp)
{
    ngx_rwlock_rlock(&zp->peers.rwlock);

    if (zp->peers.next) {
        ngx_rwlock_rlock(&zp->peers.next->rwlock);
    }
}


void
ngx_http_zedcup_peers_unlock(ngx_http_zedcup_peers_t *zp)
{
    if (zp->peers.next) {
        ngx_rwlock_unlock(&zp->peers.next->rwlock);
    }

    ngx_rwlock_unlock(&zp->peers.rwlock);
}


static ngx_uint_t
ngx_http_zedcup_peers_sum(ngx_http_upstream_rr_peers_t *peers)
{
    ngx_uint_t                    count, weight, tries;
    ngx_http_upstream_rr_peer_t  *peer;

    count = 0;
    weight = 0;
    tries = 0;

    for (peer = peers->peer; peer; peer = peer->next) {
        count++;
        weight += peer->weight;
        tries += !peer->down;
    }

    peers->total_weight = weight;
    peers->tries = tries;
    peers->weighted = (weight != count);

#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
    peers->number = count;
#endif

    return count;
}


void
ngx_http_zedcup_peers_recount(ngx_http_zedcup_peers_t *zp, ngx_uint_t changed)
{
    ngx_uint_t  count;

    count = ngx_http_zedcup_peers_sum(&zp->peers);

    if (zp->peers.next) {
        count += ngx_http_zedcup_peers_sum(zp->peers.next);
        zp->peers.next->single = 0;
    }

    zp->peers.single = (count == 1);

    if (!changed) {
        return;
    }

#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
    (*zp->peers.config)++;
#endif

    (void) __atomic_add_fetch(&zp->version, 1, __ATOMIC_SEQ_CST);
}


int
ngx_http_zedcup_addr_cmp(struct sockaddr *one, socklen_t one_len,
    struct sockaddr *two, socklen_t two_len)
{
    if (ngx_cmp_sockaddr(one, one_len, two, two_len, 1) == NGX_OK) {
        return 0;
    }

    if (one_len != two_len) {
        return one_len < two_len ? -1 : 1;
    }

    return ngx_memcmp(one, two, one_len);
}


ngx_uint_t
ngx_http_zedcup_peer_is(ngx_http_upstream_rr_peer_t *peer,
    ngx_http_zedcup_peer_spec_t *spec)
{
    if (spec->sockaddr) {
        return ngx_cmp_sockaddr(peer->sockaddr, peer->socklen,
                                spec->sockaddr, spec->socklen, 1)
               == NGX_OK;
    }

    return peer->server.len == spec->text.len
           && ngx_strncasecmp(peer->server.data, spec->text.data,
                              spec->text.len)
              == 0;
}


ngx_http_upstream_rr_peer_t *
ngx_http_zedcup_peers_find(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec, ngx_uint_t *backup)
{
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {
            if (ngx_http_zedcup_peer_is(peer, spec)) {
                *backup = (peers != &zp->peers);
                return peer;
            }
        }
    }

    return NULL;
}


/* Returns 1 when the weight is another. */

ngx_uint_t
ngx_http_zedcup_peer_apply(ngx_http_zedcup_peer_t *own,
    const zedcup_ffi_peer_edit_t *edit)
{
    ngx_uint_t                    weighed;
    ngx_http_upstream_rr_peer_t  *peer;

    peer = &own->peer;
    own->touched |= edit->given;
    weighed = 0;

    if ((edit->given & ZEDCUP_PEER_WEIGHT) && peer->weight != edit->weight) {
        peer->weight = edit->weight;
        peer->effective_weight = edit->weight;
        peer->current_weight = 0;
        weighed = 1;
    }

    if (edit->given & ZEDCUP_PEER_MAX_FAILS) {
        peer->max_fails = edit->max_fails;
    }

    if (edit->given & ZEDCUP_PEER_FAIL_TIMEOUT) {
        peer->fail_timeout = edit->fail_timeout;
    }

    if (edit->given & ZEDCUP_PEER_MAX_CONNS) {
        peer->max_conns = edit->max_conns;
    }

    if (edit->given & ZEDCUP_PEER_DOWN) {
        own->down = (edit->flags & ZEDCUP_PEER_DOWN) != 0;
    }

    if (edit->given & ZEDCUP_PEER_DRAIN) {
        own->drain = (edit->flags & ZEDCUP_PEER_DRAIN) != 0;
    }

    if (peer->down && !own->down && !own->drain) {
        peer->fails = 0;              /* up means that it gets requests */
    }

    peer->down = own->down || own->drain;

    return weighed;
}


ngx_http_upstream_rr_peer_t **
ngx_http_zedcup_peers_tail(ngx_http_upstream_rr_peers_t *peers)
{
    ngx_http_upstream_rr_peer_t  **link;

    for (link = &peers->peer; *link; link = &(*link)->next) { /* void */ }

    return link;
}


/* The last link of a list, or NULL when it is full. */

ngx_http_upstream_rr_peer_t **
ngx_http_zedcup_peers_end(ngx_http_upstream_rr_peers_t *peers)
{
    ngx_uint_t                     count;
    ngx_http_upstream_rr_peer_t  **link;

    count = 0;

    for (link = &peers->peer; *link; link = &(*link)->next) {
        count++;
    }

    return count < NGX_HTTP_ZEDCUP_PEERS_MAX ? link : NULL;
}


/* Under the lock: the list for a new peer. `made` is taken where it is needed. */

ngx_http_upstream_rr_peers_t *
ngx_http_zedcup_peers_list(ngx_http_zedcup_peers_t *zp, ngx_uint_t backup,
    ngx_http_upstream_rr_peers_t **made)
{
    if (!backup) {
        return &zp->peers;
    }

    if (zp->peers.next == NULL) {

        /* unlocked with the others */
        ngx_rwlock_wlock(&(*made)->rwlock);

        __atomic_store_n(&zp->peers.next, *made, __ATOMIC_RELEASE);
        *made = NULL;
    }

    return zp->peers.next;
}


/* What would be left of the primaries; `found` is raised by what is removed. */

ngx_uint_t
ngx_http_zedcup_peers_left(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec, ngx_uint_t *found)
{
    ngx_uint_t                     left;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    left = 0;
    *found = 0;

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {

            if (ngx_http_zedcup_peer_is(peer, spec)
                && ngx_http_zedcup_is_own(peer))
            {
                (*found)++;

            } else if (peers == &zp->peers) {
                left++;
            }
        }
    }

    return left;
}


void
ngx_http_zedcup_peers_unlink(ngx_http_zedcup_peers_t *zp,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_zedcup_peer_spec_t *spec)
{
    ngx_http_upstream_rr_peer_t  *peer, **link;

    for (link = &peers->peer; *link; /* void */ ) {
        peer = *link;

        if (!ngx_http_zedcup_peer_is(peer, spec)
            || !ngx_http_zedcup_is_own(peer))
        {
            link = &peer->next;
            continue;
        }

        *link = peer->next;
        ngx_http_zedcup_peer_retire(zp, peers, peer);
    }
}
