/*
 * The native balancer: `upstream app { zedcup INSTANCE; }` is served by nginx's
 * own proxy, from the hosts that this worker knows.
 *
 * nginx asks for a peer before each attempt (get) and says how it ended (free).
 * `keepalive`, which comes after `zedcup` in the configuration, wraps both.
 */

#include "ngx_http_zedcup_upstream.h"


/* of proxy_next_upstream and the like */
#define NGX_HTTP_ZEDCUP_BAD_ANSWERS                                           \
    (NGX_HTTP_UPSTREAM_FT_HTTP_500|NGX_HTTP_UPSTREAM_FT_HTTP_502              \
     |NGX_HTTP_UPSTREAM_FT_HTTP_503|NGX_HTTP_UPSTREAM_FT_HTTP_504             \
     |NGX_HTTP_UPSTREAM_FT_HTTP_403|NGX_HTTP_UPSTREAM_FT_HTTP_404             \
     |NGX_HTTP_UPSTREAM_FT_HTTP_429)


typedef struct {
    ngx_http_request_t          *request;
    ngx_http_zedcup_upstream_t  *conf;
    ngx_uint_t                   open;     /* 0: there is no such instance */
    zedcup_way_t                *way;
} ngx_http_zedcup_peer_t;


static ngx_int_t ngx_http_zedcup_upstream_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_http_zedcup_upstream_free_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t state);
#if (NGX_HTTP_SSL)
static ngx_int_t ngx_http_zedcup_upstream_set_session(
    ngx_peer_connection_t *pc, void *data);
static void ngx_http_zedcup_upstream_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif


static void
ngx_http_zedcup_upstream_cleanup(void *data)
{
    ngx_http_zedcup_peer_t  *peer = data;

    if (peer->open) {
        zedcup_way_close(peer->way);
    }
}


static void
ngx_http_zedcup_upstream_cookie(ngx_http_request_t *r,
    ngx_http_zedcup_upstream_t *zucf, zedcup_way_t *way)
{
    ngx_http_variable_value_t  *vv;

    vv = ngx_http_get_indexed_variable(r, zucf->cookie);

    if (vv && !vv->not_found) {
        zedcup_way_set_cookie(way, vv->data, vv->len);
    }
}


static ngx_int_t
ngx_http_zedcup_upstream_open(ngx_http_request_t *r,
    ngx_http_zedcup_peer_t *peer)
{
    ngx_str_t                    key;
    const char                  *why;
    ngx_http_zedcup_upstream_t  *zucf;

    zucf = peer->conf;

    if (zedcup_way_open(peer->way, &zucf->base, &why) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "zedcup: instance \"%V\": %s", &zucf->base.instance,
                      why);
        return NGX_OK;
    }

    peer->open = 1;

    if (zucf->base.hashes) {

        if (zucf->key == NULL) {
            key = r->connection->addr_text;

        } else if (ngx_http_complex_value(r, zucf->key, &key) != NGX_OK) {
            return NGX_ERROR;
        }

        zedcup_way_set_key(peer->way, key.data, key.len);
    }

    if (zucf->sticky.len) {
        ngx_http_zedcup_upstream_cookie(r, zucf, peer->way);
    }

    return NGX_OK;
}


/* Who limits tries means each connection, also those to several addresses of
 * one host; the way says when it ends otherwise. */

static ngx_uint_t
ngx_http_zedcup_upstream_tries(ngx_http_zedcup_peer_t *peer,
    ngx_http_upstream_t *u)
{
    if (!peer->open) {
        return 1;
    }

    return u->conf->next_upstream_tries ? NGX_MAX_INT32_VALUE
                                        : zedcup_way_tries(peer->way);
}


ngx_int_t
ngx_http_zedcup_upstream_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_upstream_t     *u;
    ngx_http_zedcup_peer_t  *peer;

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_zedcup_peer_t)
                                        + zedcup_way_size());
    if (cln == NULL) {
        return NGX_ERROR;
    }

    peer = cln->data;
    ngx_memzero(peer, sizeof(ngx_http_zedcup_peer_t));

    peer->request = r;
    peer->conf = ngx_http_conf_upstream_srv_conf(us, ngx_http_zedcup_module);
    peer->way = (zedcup_way_t *) (peer + 1);

    cln->handler = ngx_http_zedcup_upstream_cleanup;

    if (ngx_http_zedcup_upstream_open(r, peer) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_set_ctx(r, peer, ngx_http_zedcup_module);

    u = r->upstream;

    u->peer.data = peer;
    u->peer.get = ngx_http_zedcup_upstream_get_peer;
    u->peer.free = ngx_http_zedcup_upstream_free_peer;
    u->peer.tries = ngx_http_zedcup_upstream_tries(peer, u);
#if (NGX_HTTP_SSL)
    u->peer.set_session = ngx_http_zedcup_upstream_set_session;
    u->peer.save_session = ngx_http_zedcup_upstream_save_session;
#endif

    return NGX_OK;
}


/* A redirect clears the contexts of a request, but not its pool, which it
 * shares with subrequests. */

static ngx_http_zedcup_peer_t *
ngx_http_zedcup_upstream_peer(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t      *cln;
    ngx_http_zedcup_peer_t  *peer;

    peer = ngx_http_get_module_ctx(r, ngx_http_zedcup_module);

    if (peer) {
        return peer;
    }

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_http_zedcup_upstream_cleanup) {
            continue;
        }

        peer = cln->data;

        if (peer->request == r) {
            return peer;
        }
    }

    return NULL;
}


zedcup_way_t *
ngx_http_zedcup_upstream_way(ngx_http_request_t *r,
    ngx_http_zedcup_upstream_t **conf)
{
    ngx_http_zedcup_peer_t  *peer;

    peer = ngx_http_zedcup_upstream_peer(r);

    if (peer == NULL || !peer->open) {
        return NULL;
    }

    *conf = peer->conf;

    return peer->way;
}


static ngx_int_t
ngx_http_zedcup_upstream_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_t  *peer = data;

    zedcup_target_t       target;
#if (NGX_HTTP_SSL)
    ngx_str_t             name;
#endif
    ngx_http_upstream_t  *u;

    u = peer->request->upstream;

    pc->cached = 0;
    pc->connection = NULL;

    if (!peer->open || zedcup_way_next(peer->way, &target) != NGX_OK) {
        pc->name = &u->upstream->host;
        return NGX_BUSY;
    }

    pc->sockaddr = target.sockaddr;
    pc->socklen = target.socklen;
    pc->name = target.name;

    /* nobody could follow: a bad answer is passed on */

    if (pc->tries > 1
        && (u->conf->next_upstream & NGX_HTTP_ZEDCUP_BAD_ANSWERS)
        && zedcup_way_is_last(peer->way))
    {
        pc->tries = 1;
    }

#if (NGX_HTTP_SSL)

    if (u->ssl) {
        zedcup_way_tls_name(peer->way, &name);

        u->ssl_name = name.len ? name : u->upstream->host;
    }

#endif

    return NGX_OK;
}


/* whether the whole head came: its status alone may have been read before the
 * rest was late, lost or wrong */

static ngx_uint_t
ngx_http_zedcup_upstream_answered(ngx_http_upstream_t *u)
{
    return u->state && u->state->header_time != (ngx_msec_t) -1;
}


/* how an attempt ended, of which nginx only says that it goes on elsewhere */

static ngx_uint_t
ngx_http_zedcup_upstream_end(ngx_peer_connection_t *pc, ngx_http_upstream_t *u,
    ngx_uint_t state)
{
    ngx_connection_t  *c;

    if (state == 0) {
        return ZEDCUP_WAY_DONE;
    }

    if (ngx_http_zedcup_upstream_answered(u)) {
        return ZEDCUP_WAY_BAD_STATUS;
    }

    c = pc->connection;

    if (c == NULL || u->state == NULL
        || u->state->connect_time == (ngx_msec_t) -1)
    {
        return ZEDCUP_WAY_UNREACHED;
    }

    if (pc->cached && u->state->bytes_received == 0
        && !c->read->timedout && !c->write->timedout)
    {
        return ZEDCUP_WAY_STALE;
    }

    return ZEDCUP_WAY_FAILED;
}


static void
ngx_http_zedcup_upstream_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_http_zedcup_peer_t  *peer = data;

    ngx_int_t             header_ms;
    ngx_uint_t            how, status, counts;
    ngx_http_upstream_t  *u;

    if (!peer->open) {
        pc->tries = 0;
        return;
    }

    u = peer->request->upstream;
    how = ngx_http_zedcup_upstream_end(pc, u, state);
    status = 0;
    header_ms = -1;

    if (ngx_http_zedcup_upstream_answered(u)) {
        status = u->headers_in.status_n;
        header_ms = u->state->header_time;
    }

    counts = zedcup_way_ended(peer->way, how, status, header_ms);

    if ((counts || u->conf->next_upstream_tries) && pc->tries) {
        pc->tries--;
    }

    /* an error is told as what it is, and not as that nobody is left */

    if ((how == ZEDCUP_WAY_UNREACHED || how == ZEDCUP_WAY_FAILED)
        && counts && pc->tries && zedcup_way_is_last(peer->way))
    {
        pc->tries = 0;
    }
}


/* ---- TLS ------------------------------------------------------------------ */

#if (NGX_HTTP_SSL)

static ngx_int_t
ngx_http_zedcup_upstream_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_t  *peer = data;

    return zedcup_session_set(peer->open ? peer->way : NULL, pc->connection);
}


static void
ngx_http_zedcup_upstream_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_zedcup_peer_t  *peer = data;

    zedcup_session_save(peer->open ? peer->way : NULL, pc->connection);
}

#endif
