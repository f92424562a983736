/*
 * Peers in the slab of their zone: made before any lock is taken, given back
 * when nobody can reach them any more.
 */

#include "ngx_http_zedcup_peers.h"


/* How soon it is looked again whether retired peers are still in use. */
#define NGX_HTTP_ZEDCUP_REAP_INTERVAL  1000


static size_t
ngx_http_zedcup_peer_size(ngx_uint_t nslots)
{
    return offsetof(ngx_http_zedcup_peer_t, holds) + nslots * sizeof(uint32_t);
}


static u_char *
ngx_http_zedcup_slab_copy(ngx_slab_pool_t *shpool, const void *data, size_t len)
{
    u_char  *copy;

    copy = ngx_slab_alloc(shpool, len);

    if (copy) {
        ngx_memcpy(copy, data, len);
    }

    return copy;
}


/* What `sticky` of newer versions of nginx calls a peer by. */

static ngx_int_t
ngx_http_zedcup_peer_make_sid(ngx_slab_pool_t *shpool,
    ngx_http_upstream_rr_peer_t *peer)
{
#if (NGX_HTTP_UPSTREAM_SID)

    peer->sid.data = ngx_slab_calloc(shpool, NGX_HTTP_UPSTREAM_SID_LEN);
    if (peer->sid.data == NULL) {
        return NGX_ERROR;
    }

    ngx_http_upstream_init_round_robin_sid(peer, NULL);

#endif

    return NGX_OK;
}


ngx_http_zedcup_peer_t *
ngx_http_zedcup_peer_make(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec)
{
    ngx_slab_pool_t              *shpool;
    ngx_http_zedcup_peer_t       *own;
    ngx_http_upstream_rr_peer_t  *peer;

    shpool = zp->peers.shpool;

    own = ngx_slab_calloc(shpool, ngx_http_zedcup_peer_size(zp->nslots));
    if (own == NULL) {
        return NULL;
    }

    peer = &own->peer;

    peer->sockaddr = (struct sockaddr *)
          ngx_http_zedcup_slab_copy(shpool, spec->sockaddr, spec->socklen);
    peer->socklen = spec->socklen;
    peer->name.data = ngx_http_zedcup_slab_copy(shpool, spec->name.data,
                                                spec->name.len);
    peer->name.len = spec->name.len;
    peer->server.data = ngx_http_zedcup_slab_copy(shpool, spec->server.data,
                                                  spec->server.len);
    peer->server.len = spec->server.len;

    if (peer->sockaddr == NULL || peer->name.data == NULL
        || peer->server.data == NULL
        || ngx_http_zedcup_peer_make_sid(shpool, peer) != NGX_OK)
    {
        ngx_http_zedcup_peer_discard(zp, own);
        return NULL;
    }

    own->named = spec->named;

    return own;
}


ngx_http_zedcup_peer_t *
ngx_http_zedcup_peer_remake(ngx_slab_pool_t *shpool, ngx_uint_t nslots,
    ngx_http_upstream_rr_peer_t *peer)
{
    ngx_http_zedcup_peer_t  *own;

    own = ngx_slab_calloc(shpool, ngx_http_zedcup_peer_size(nslots));
    if (own == NULL) {
        return NULL;
    }

    own->peer = *peer;
    own->down = peer->down != 0;

    ngx_slab_free(shpool, peer);

    return own;
}


static void
ngx_http_zedcup_slab_free(ngx_slab_pool_t *shpool, void *p, size_t size)
{
    if (p == NULL) {
        return;
    }

#if (__SANITIZE_ADDRESS__)

    /* nginx itself is not instrumented: make late readers stumble */
    ngx_memset(p, 0xa5, size);

#endif

    ngx_slab_free(shpool, p);
}


void
ngx_http_zedcup_peer_discard(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_t *own)
{
    ngx_slab_pool_t              *shpool;
    ngx_http_upstream_rr_peer_t  *peer;

    peer = &own->peer;
    shpool = zp->peers.shpool;

    ngx_http_zedcup_slab_free(shpool, peer->sockaddr, peer->socklen);
    ngx_http_zedcup_slab_free(shpool, peer->name.data, peer->name.len);
    ngx_http_zedcup_slab_free(shpool, peer->server.data, peer->server.len);

#if (NGX_HTTP_UPSTREAM_SID)
    ngx_http_zedcup_slab_free(shpool, peer->sid.data,
                              NGX_HTTP_UPSTREAM_SID_LEN);
#endif

#if (NGX_HTTP_SSL || NGX_COMPAT)
    ngx_http_zedcup_slab_free(shpool, peer->ssl_session,
                              peer->ssl_session_len);
#endif

    ngx_http_zedcup_slab_free(shpool, own,
                              ngx_http_zedcup_peer_size(zp->nslots));
}


ngx_http_upstream_rr_peers_t *
ngx_http_zedcup_backup_make(ngx_http_zedcup_peers_t *zp)
{
    ngx_http_upstream_rr_peers_t  *backup;

    backup = ngx_slab_calloc(zp->peers.shpool,
                             sizeof(ngx_http_upstream_rr_peers_t));
    if (backup == NULL) {
        return NULL;
    }

    backup->shpool = zp->peers.shpool;
    backup->name = zp->peers.name;

#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
    backup->config = zp->peers.config;
#else
    backup->number = zp->peers.number;
#endif

    return backup;
}


#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)


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
