/*
 * Peers in the slab of their zone: made before any lock is taken, given back
 * without one.
 */

#include "ngx_http_zedcup_peers.h"


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
