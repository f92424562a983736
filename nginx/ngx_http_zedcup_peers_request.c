/*
 * Requests to an upstream whose peers may change under them: the upstream's
 * init, and per request get and free, are wrapped.
 *
 * A request whose peers changed since its init is initialised again, and does
 * not go back to those that failed it. Before 1.27.3, nginx knows which peers a
 * request has tried by their places in the list, which may be others' by now;
 * from then on it would give such a request no peer at all.
 */

#include "ngx_http_zedcup_peers.h"


/* Changes may come as fast as they like: so often in a row they are followed. */
#define NGX_HTTP_ZEDCUP_INITS  16


typedef struct {
    ngx_http_zedcup_peers_t           *zp;
    ngx_http_request_t                *request;
    ngx_http_upstream_srv_conf_t      *us;
    ngx_uint_t                         changes; /* of the peers, at init */
    ngx_array_t                        failed;  /* of ngx_addr_t */
    ngx_http_zedcup_peer_t            *held;

    void                              *data;
    ngx_event_get_peer_pt              get;
    ngx_event_free_peer_pt             free;
#if (NGX_SSL || NGX_COMPAT)
    ngx_event_set_peer_session_pt      set_session;
    ngx_event_save_peer_session_pt     save_session;
#endif
} ngx_http_zedcup_peer_data_t;


static ngx_int_t ngx_http_zedcup_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_zedcup_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);


#if (NGX_SSL || NGX_COMPAT)

static ngx_int_t
ngx_http_zedcup_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    return pd->set_session(pc, pd->data);
}


static void
ngx_http_zedcup_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    pd->save_session(pc, pd->data);
}

#endif


static void
ngx_http_zedcup_wrap_peer(ngx_peer_connection_t *pc,
    ngx_http_zedcup_peer_data_t *pd)
{
    pd->data = pc->data;
    pc->data = pd;

    pd->get = pc->get;
    pc->get = ngx_http_zedcup_get_peer;

    pd->free = pc->free;
    pc->free = ngx_http_zedcup_free_peer;

#if (NGX_SSL || NGX_COMPAT)

    pd->set_session = pc->set_session;
    pd->save_session = pc->save_session;

    if (pd->set_session) {
        pc->set_session = ngx_http_zedcup_set_session;
    }

    if (pd->save_session) {
        pc->save_session = ngx_http_zedcup_save_session;
    }

#endif
}


static ngx_uint_t
ngx_http_zedcup_peers_changes(ngx_http_zedcup_peers_t *zp)
{
#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
    return __atomic_load_n(zp->peers.config, __ATOMIC_SEQ_CST);
#else
    return __atomic_load_n(&zp->version, __ATOMIC_SEQ_CST);
#endif
}


/* nginx's own init, for the peers as they are. */

static ngx_int_t
ngx_http_zedcup_init_method(ngx_http_zedcup_peer_data_t *pd)
{
    ngx_int_t                 rc;
    ngx_http_request_t       *r;
    ngx_http_zedcup_group_t  *group;

    r = pd->request;
    group = pd->zp->group;

    pd->changes = ngx_http_zedcup_peers_changes(pd->zp);

    /* before nginx would make its own, for as many peers as there is room */

    ngx_http_zedcup_busy(pd->zp, 1);
    rc = ngx_http_zedcup_method_refresh(group);
    ngx_http_zedcup_busy(pd->zp, 0);

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_method_refresh_points(group);

    /* round robin would take what is here for its own of a try before */
    r->upstream->peer.data = NULL;

    if (group->init_peer(r, pd->us) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_wrap_peer(&r->upstream->peer, pd);

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_peers_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_zedcup_peer_data_t  *pd;

    pd = ngx_pcalloc(r->pool, sizeof(ngx_http_zedcup_peer_data_t));
    if (pd == NULL) {
        return NGX_ERROR;
    }

    pd->zp = us->peer.data;
    pd->request = r;
    pd->us = us;

#if !(NGX_HTTP_ZEDCUP_NATIVE_REFS)
    if (ngx_worker >= pd->zp->nslots) {
        return NGX_ERROR;
    }
#endif

    return ngx_http_zedcup_init_method(pd);
}


static void
ngx_http_zedcup_note_failed(ngx_http_zedcup_peer_data_t *pd,
    ngx_peer_connection_t *pc)
{
    ngx_addr_t  *addr;
    ngx_pool_t  *pool;

    pool = pd->request->pool;

    if (pd->failed.elts == NULL
        && ngx_array_init(&pd->failed, pool, 4, sizeof(ngx_addr_t)) != NGX_OK)
    {
        return;
    }

    addr = ngx_array_push(&pd->failed);
    if (addr == NULL) {
        return;
    }

    addr->socklen = pc->socklen;
    addr->sockaddr = ngx_palloc(pool, pc->socklen);

    if (addr->sockaddr == NULL) {
        pd->failed.nelts--;
        return;
    }

    ngx_memcpy(addr->sockaddr, pc->sockaddr, pc->socklen);
}


static ngx_uint_t
ngx_http_zedcup_has_failed(ngx_http_zedcup_peer_data_t *pd,
    ngx_peer_connection_t *pc)
{
    ngx_uint_t   i;
    ngx_addr_t  *addr;

    addr = pd->failed.elts;

    for (i = 0; i < pd->failed.nelts; i++) {
        if (ngx_cmp_sockaddr(addr[i].sockaddr, addr[i].socklen, pc->sockaddr,
                             pc->socklen, 1)
            == NGX_OK)
        {
            return 1;
        }
    }

    return 0;
}


/* One that did not fail this request: nginx forgets with each init. */

static ngx_int_t
ngx_http_zedcup_get_fresh(ngx_http_zedcup_peer_data_t *pd,
    ngx_peer_connection_t *pc)
{
    ngx_int_t   rc;
    ngx_uint_t  i, tries;

    tries = pc->tries;

    for (i = 0; i <= pd->failed.nelts; i++) {

        rc = pd->get(pc, pd->data);

        /* one that is connected already is as good as any */

        if (rc != NGX_OK || !ngx_http_zedcup_has_failed(pd, pc)) {
            return rc;
        }

        pd->free(pc, pd->data, NGX_PEER_NEXT);
        pc->tries = tries;
        pc->sockaddr = NULL;
    }

    return NGX_BUSY;
}


/* The access log reads the name after the request has freed the peer. */

static ngx_int_t
ngx_http_zedcup_copy_name(ngx_http_zedcup_peer_data_t *pd,
    ngx_peer_connection_t *pc)
{
    ngx_str_t  *copy;

    copy = ngx_palloc(pd->request->pool, sizeof(ngx_str_t) + pc->name->len);
    if (copy == NULL) {
        return NGX_ERROR;
    }

    copy->len = pc->name->len;
    copy->data = (u_char *) copy + sizeof(ngx_str_t);
    ngx_memcpy(copy->data, pc->name->data, copy->len);

    pc->name = copy;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_take(ngx_http_zedcup_peer_data_t *pd, ngx_peer_connection_t *pc)
{
    ngx_int_t  rc;

    ngx_http_zedcup_busy(pd->zp, 1);

    rc = ngx_http_zedcup_method_refresh(pd->zp->group);

    if (rc == NGX_OK) {
        rc = ngx_http_zedcup_get_fresh(pd, pc);
    }

    if (rc == NGX_OK || rc == NGX_DONE) {
        pd->held = ngx_http_zedcup_hold(pd->zp, pc->name);
    }

    ngx_http_zedcup_busy(pd->zp, 0);

    if (pd->held && ngx_http_zedcup_copy_name(pd, pc) != NGX_OK) {
        /* pc->sockaddr is set: nginx will free the peer */
        return NGX_ERROR;
    }

    return rc;
}


static ngx_int_t
ngx_http_zedcup_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    ngx_int_t   rc;
    ngx_uint_t  i, tries;

    tries = pc->tries;

    for (i = 0; i < NGX_HTTP_ZEDCUP_INITS; i++) {

        if (pd->changes == ngx_http_zedcup_peers_changes(pd->zp)) {
            rc = ngx_http_zedcup_take(pd, pc);

            if (rc != NGX_BUSY
                || pd->changes == ngx_http_zedcup_peers_changes(pd->zp))
            {
                return rc;
            }
        }

        if (ngx_http_zedcup_init_method(pd) != NGX_OK) {
            return NGX_ERROR;
        }

        pc->tries = tries;
    }

    return NGX_BUSY;
}


static void
ngx_http_zedcup_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    ngx_uint_t  last;

    if ((state & (NGX_PEER_FAILED|NGX_PEER_NEXT)) && pc->sockaddr) {
        ngx_http_zedcup_note_failed(pd, pc);
    }

    /* never more holds than conns, wherever this worker may be killed */

    ngx_http_zedcup_busy(pd->zp, 1);

    last = ngx_http_zedcup_unhold(pd->held);
    pd->held = NULL;

    pd->free(pc, pd->data, state);

    ngx_http_zedcup_busy(pd->zp, 0);

    if (last) {
        ngx_http_zedcup_peers_reap(pd->zp);
    }
}
