/*
 * Which requests hold which peers, on an nginx that does not know it itself:
 * the upstream's init, and per request get and free, are wrapped.
 */

#include "ngx_http_zedcup_peers.h"


#if !(NGX_HTTP_ZEDCUP_NATIVE_REFS)


typedef struct {
    ngx_http_zedcup_peers_t           *zp;
    ngx_http_request_t                *request;
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


static void
ngx_http_zedcup_busy(ngx_http_zedcup_peers_t *zp, uint32_t busy)
{
    __atomic_store_n(&zp->busy[ngx_worker], busy, __ATOMIC_SEQ_CST);
}


static void
ngx_http_zedcup_hold(ngx_http_zedcup_peer_t *own, int32_t n)
{
    uint32_t  *hold;

    hold = &own->holds[ngx_worker];

    /* only this worker writes it */
    __atomic_store_n(hold, *hold + n, __ATOMIC_SEQ_CST);
}


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


ngx_int_t
ngx_http_zedcup_peers_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_int_t                     rc;
    ngx_http_zedcup_peers_t      *zp;
    ngx_http_zedcup_group_t      *group;
    ngx_http_zedcup_peer_data_t  *pd;

    zp = us->peer.data;
    group = zp->group;

    pd = ngx_pcalloc(r->pool, sizeof(ngx_http_zedcup_peer_data_t));
    if (pd == NULL || ngx_worker >= zp->nslots) {
        return NGX_ERROR;
    }

    /* before nginx would make its own, for as many peers as there is room */

    ngx_http_zedcup_busy(zp, 1);
    rc = ngx_http_zedcup_method_refresh(group);
    ngx_http_zedcup_busy(zp, 0);

    if (rc != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_method_refresh_points(group);

    if (group->init_peer(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    pd->zp = zp;
    pd->request = r;

    ngx_http_zedcup_wrap_peer(&r->upstream->peer, pd);

    return NGX_OK;
}


/* Every method points to the name within the peer that it chose. */

static ngx_http_zedcup_peer_t *
ngx_http_zedcup_chosen(ngx_http_zedcup_peers_t *zp, ngx_str_t *name)
{
    u_char           *p;
    ngx_slab_pool_t  *shpool;

    shpool = zp->peers.shpool;
    p = (u_char *) name;

    if (p < shpool->start || p >= shpool->end) {
        return NULL;
    }

    return (ngx_http_zedcup_peer_t *)
               (p - offsetof(ngx_http_upstream_rr_peer_t, name));
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
ngx_http_zedcup_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    ngx_int_t  rc;

    ngx_http_zedcup_busy(pd->zp, 1);

    rc = ngx_http_zedcup_method_refresh(pd->zp->group);

    if (rc == NGX_OK) {
        rc = pd->get(pc, pd->data);

        if (rc == NGX_OK || rc == NGX_DONE) {
            pd->held = ngx_http_zedcup_chosen(pd->zp, pc->name);

            if (pd->held) {
                ngx_http_zedcup_hold(pd->held, 1);
            }
        }
    }

    ngx_http_zedcup_busy(pd->zp, 0);

    if (pd->held && ngx_http_zedcup_copy_name(pd, pc) != NGX_OK) {
        /* pc->sockaddr is set: nginx will free the peer */
        return NGX_ERROR;
    }

    return rc;
}


static void
ngx_http_zedcup_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_zedcup_peer_data_t  *pd = data;

    ngx_uint_t               last;
    ngx_http_zedcup_peers_t  *zp;
    ngx_http_zedcup_peer_t   *held;

    zp = pd->zp;
    held = pd->held;
    pd->held = NULL;

    /* never more holds than conns, wherever this worker may be killed */

    ngx_http_zedcup_busy(zp, 1);

    if (held) {
        ngx_http_zedcup_hold(held, -1);
    }

    pd->free(pc, pd->data, state);

    last = held && held->retired && held->holds[ngx_worker] == 0;

    ngx_http_zedcup_busy(zp, 0);

    if (last) {
        ngx_http_zedcup_peers_reap(zp);
    }
}


#endif
