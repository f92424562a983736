/*
 * Who holds which peer of a zone, and when a removed one can be given back.
 *
 * Before 1.27.3, nginx does not know: each peer has a count per worker of the
 * requests that hold it. From then on nginx does, and this is nothing.
 */

#include "ngx_http_zedcup_peers.h"


/* How soon it is looked again whether retired peers are still in use. */
#define NGX_HTTP_ZEDCUP_REAP_INTERVAL  1000


#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)


void
ngx_http_zedcup_busy(ngx_http_zedcup_peers_t *zp, uint32_t busy)
{
    /* a request's reference is taken under nginx's lock */
}


ngx_http_zedcup_peer_t *
ngx_http_zedcup_hold(ngx_http_zedcup_peers_t *zp, ngx_str_t *name)
{
    return NULL;
}


ngx_uint_t
ngx_http_zedcup_unhold(ngx_http_zedcup_peer_t *own)
{
    return 0;
}


void
ngx_http_zedcup_peer_retire(ngx_http_zedcup_peers_t *zp,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_upstream_rr_peer_t *peer)
{
    ngx_http_upstream_rr_peer_free(peers, peer);
}


void
ngx_http_zedcup_peers_reap(ngx_http_zedcup_peers_t *zp)
{
    /* nginx does it with the last reference */
}


void
ngx_http_zedcup_peers_recover(ngx_http_zedcup_peers_t *zp, ngx_uint_t slot)
{
    /* nginx does not know who held what */
}


#else


void
ngx_http_zedcup_busy(ngx_http_zedcup_peers_t *zp, uint32_t busy)
{
    __atomic_store_n(&zp->busy[ngx_worker], busy, __ATOMIC_SEQ_CST);
}


/* Only this worker writes it. */

static void
ngx_http_zedcup_count_hold(ngx_http_zedcup_peer_t *own, int32_t n)
{
    uint32_t  *hold;

    hold = &own->holds[ngx_worker];
    __atomic_store_n(hold, *hold + n, __ATOMIC_SEQ_CST);
}


/* Every method points to the name within the peer that it chose. */

ngx_http_zedcup_peer_t *
ngx_http_zedcup_hold(ngx_http_zedcup_peers_t *zp, ngx_str_t *name)
{
    u_char                  *p;
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_peer_t  *own;

    shpool = zp->peers.shpool;
    p = (u_char *) name;

    if (p < shpool->start || p >= shpool->end) {
        return NULL;
    }

    own = (ngx_http_zedcup_peer_t *)
              (p - offsetof(ngx_http_upstream_rr_peer_t, name));

    ngx_http_zedcup_count_hold(own, 1);

    return own;
}


ngx_uint_t
ngx_http_zedcup_unhold(ngx_http_zedcup_peer_t *own)
{
    if (own == NULL) {
        return 0;
    }

    ngx_http_zedcup_count_hold(own, -1);

    return own->retired && own->holds[ngx_worker] == 0;
}


void
ngx_http_zedcup_peer_retire(ngx_http_zedcup_peers_t *zp,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_upstream_rr_peer_t *peer)
{
    ngx_http_zedcup_peer_t  *own;

    own = ngx_http_zedcup_own_peer(peer);

    own->retired = 1;
    own->next = zp->retired;
    zp->retired = own;
}


static ngx_uint_t
ngx_http_zedcup_anyone_busy(ngx_http_zedcup_peers_t *zp)
{
    ngx_uint_t  i;

    for (i = 0; i < zp->nslots; i++) {
        if (__atomic_load_n(&zp->busy[i], __ATOMIC_SEQ_CST)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_http_zedcup_peer_held(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_t *own)
{
    ngx_uint_t  i;

    for (i = 0; i < zp->nslots; i++) {
        if (__atomic_load_n(&own->holds[i], __ATOMIC_SEQ_CST)) {
            return 1;
        }
    }

    return 0;
}


/*
 * Takes what nobody uses off the list. A worker is marked busy before it looks
 * for a peer until it has counted its hold, and from before it lowers the count
 * until it is done with the peer. Hence both looks: the first sees whoever may
 * be about to hold a peer that was linked when it began, the second whoever
 * has just lowered a count.
 */

static ngx_http_zedcup_peer_t *
ngx_http_zedcup_take_unused(ngx_http_zedcup_peers_t *zp)
{
    ngx_http_zedcup_peer_t  *own, **link, *unused, *kept;

    if (ngx_http_zedcup_anyone_busy(zp)) {
        return NULL;
    }

    unused = NULL;

    for (link = &zp->retired; *link; /* void */ ) {
        own = *link;

        if (ngx_http_zedcup_peer_held(zp, own)) {
            link = &own->next;
            continue;
        }

        *link = own->next;
        own->next = unused;
        unused = own;
    }

    if (unused && ngx_http_zedcup_anyone_busy(zp)) {

        for (kept = unused; kept->next; kept = kept->next) { /* void */ }

        kept->next = zp->retired;
        zp->retired = unused;

        return NULL;
    }

    return unused;
}


static void
ngx_http_zedcup_reaper(ngx_event_t *ev)
{
    ngx_http_zedcup_group_t  *group = ev->data;

    /* without a master, an old zone is gone as soon as there is a new one */

    if (group->cycle == ngx_cycle) {
        ngx_http_zedcup_peers_reap(group->peers);
    }
}


static void
ngx_http_zedcup_reap_later(ngx_http_zedcup_peers_t *zp)
{
    ngx_event_t  *ev;

    ev = &zp->group->reaper;

    /* in the master there is no event loop, and nobody who holds a peer */

    if (ev->timer_set || ngx_event_timer_rbtree.root == NULL) {
        return;
    }

    ev->handler = ngx_http_zedcup_reaper;
    ev->data = zp->group;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_HTTP_ZEDCUP_REAP_INTERVAL);
}


void
ngx_http_zedcup_peers_reap(ngx_http_zedcup_peers_t *zp)
{
    ngx_uint_t               left;
    ngx_http_zedcup_peer_t  *own, *next;

    ngx_rwlock_wlock(&zp->peers.rwlock);

    own = ngx_http_zedcup_take_unused(zp);
    left = zp->retired != NULL;

    ngx_rwlock_unlock(&zp->peers.rwlock);

    for ( /* void */ ; own; own = next) {
        next = own->next;
        ngx_http_zedcup_peer_discard(zp, own);
    }

    if (left) {
        ngx_http_zedcup_reap_later(zp);
    }
}


static void
ngx_http_zedcup_peer_recover(ngx_http_upstream_rr_peer_t *peer, ngx_uint_t slot)
{
    uint32_t                *hold;

    hold = &ngx_http_zedcup_own_peer(peer)->holds[slot];

    peer->conns -= ngx_min(peer->conns, *hold);
    *hold = 0;
}


void
ngx_http_zedcup_peers_recover(ngx_http_zedcup_peers_t *zp, ngx_uint_t slot)
{
    ngx_http_zedcup_peer_t        *own;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    ngx_http_zedcup_peers_lock(zp);

    for (peers = &zp->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer; peer = peer->next) {
            ngx_http_zedcup_peer_recover(peer, slot);
        }
    }

    for (own = zp->retired; own; own = own->next) {
        ngx_http_zedcup_peer_recover(&own->peer, slot);
    }

    __atomic_store_n(&zp->busy[slot], 0, __ATOMIC_SEQ_CST);

    ngx_http_zedcup_peers_unlock(zp);

    ngx_http_zedcup_peers_reap(zp);
}


#endif
