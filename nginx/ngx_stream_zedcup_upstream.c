/*
 * The native balancer in stream {}: sessions of `upstream db { zedcup pg; }` are
 * proxied by nginx itself to the hosts that this worker knows.
 *
 * nginx asks for a peer before each attempt (get), tells when it is connected
 * (notify), and gives it back when it could not be, or when the session ends
 * (free).
 */

#include "ngx_stream_zedcup.h"


/* As many as one likes: who is left says the way. A smaller number is that of
 * proxy_next_upstream_tries, which counts each connection, also those to several
 * addresses of a host. */
#define NGX_STREAM_ZEDCUP_TRIES  NGX_MAX_INT32_VALUE


typedef struct {
    ngx_stream_session_t          *session;
    ngx_stream_zedcup_upstream_t  *conf;
    ngx_uint_t                     open;   /* 0: there is no such instance */
    ngx_uint_t                     limited;  /* proxy_next_upstream_tries */
    zedcup_way_t                  *way;
} ngx_stream_zedcup_peer_t;


enum {
    NGX_STREAM_ZEDCUP_INSTANCE = 0,
    NGX_STREAM_ZEDCUP_POOL,
    NGX_STREAM_ZEDCUP_HOST
};


static ngx_int_t ngx_stream_zedcup_get_peer(ngx_peer_connection_t *pc,
    void *data);
static void ngx_stream_zedcup_notify_peer(ngx_peer_connection_t *pc,
    void *data, ngx_uint_t type);
static void ngx_stream_zedcup_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
#if (NGX_SSL || NGX_COMPAT)
static ngx_int_t ngx_stream_zedcup_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_stream_zedcup_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif
static ngx_int_t ngx_stream_zedcup_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);


static ngx_stream_variable_t  ngx_stream_zedcup_vars[] = {

    { ngx_string("zedcup_instance"), NULL, ngx_stream_zedcup_variable,
      NGX_STREAM_ZEDCUP_INSTANCE, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("zedcup_pool"), NULL, ngx_stream_zedcup_variable,
      NGX_STREAM_ZEDCUP_POOL, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    { ngx_string("zedcup_host"), NULL, ngx_stream_zedcup_variable,
      NGX_STREAM_ZEDCUP_HOST, NGX_STREAM_VAR_NOCACHEABLE, 0 },

    ngx_stream_null_variable
};


ngx_int_t
ngx_stream_zedcup_init_upstream(ngx_conf_t *cf,
    ngx_stream_upstream_srv_conf_t *us)
{
    if (us->servers->nelts != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"server\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

#if (NGX_STREAM_UPSTREAM_ZONE)
    if (us->shm_zone) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"zone\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }
#endif

    us->peer.init = ngx_stream_zedcup_init_peer;

    return NGX_OK;
}


/* ---- a session -------------------------------------------------------------- */

static void
ngx_stream_zedcup_cleanup(void *data)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    if (peer->open) {
        ngx_stream_zedcup_seam->close(peer->way);
    }
}


static ngx_int_t
ngx_stream_zedcup_open(ngx_stream_session_t *s, ngx_stream_zedcup_peer_t *peer)
{
    ngx_str_t                      key;
    const char                    *why;
    ngx_stream_zedcup_upstream_t  *zucf;

    zucf = peer->conf;

    if (ngx_stream_zedcup_seam->open(peer->way, &zucf->base, &why) != NGX_OK) {
        ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                      "zedcup: instance \"%V\": %s", &zucf->base.instance,
                      why);
        return NGX_OK;
    }

    peer->open = 1;

    if (!zucf->base.hashes) {
        return NGX_OK;
    }

    if (zucf->key == NULL) {
        key = s->connection->addr_text;

    } else if (ngx_stream_complex_value(s, zucf->key, &key) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_stream_zedcup_seam->set_key(peer->way, key.data, key.len);

    return NGX_OK;
}


ngx_int_t
ngx_stream_zedcup_init_peer(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *us)
{
    size_t                     size;
    ngx_pool_cleanup_t        *cln;
    ngx_stream_upstream_t     *u;
    ngx_stream_zedcup_peer_t  *peer;

    size = sizeof(ngx_stream_zedcup_peer_t) + ngx_stream_zedcup_seam->size();

    /* the log, which reads names of peers, is written before */

    cln = ngx_pool_cleanup_add(s->connection->pool, size);
    if (cln == NULL) {
        return NGX_ERROR;
    }

    peer = cln->data;
    ngx_memzero(peer, sizeof(ngx_stream_zedcup_peer_t));

    peer->session = s;
    peer->conf = ngx_stream_conf_upstream_srv_conf(us,
                                                   ngx_stream_zedcup_module);
    peer->way = (zedcup_way_t *) (peer + 1);

    cln->handler = ngx_stream_zedcup_cleanup;

    if (ngx_stream_zedcup_open(s, peer) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_stream_set_ctx(s, peer->open ? peer->way : NULL,
                       ngx_stream_zedcup_module);

    u = s->upstream;

    u->peer.data = peer;
    u->peer.get = ngx_stream_zedcup_get_peer;
    u->peer.notify = ngx_stream_zedcup_notify_peer;
    u->peer.free = ngx_stream_zedcup_free_peer;
    u->peer.tries = NGX_STREAM_ZEDCUP_TRIES;
#if (NGX_SSL || NGX_COMPAT)
    u->peer.set_session = ngx_stream_zedcup_set_session;
    u->peer.save_session = ngx_stream_zedcup_save_session;
#endif

    return NGX_OK;
}


static ngx_int_t
ngx_stream_zedcup_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    ngx_str_t               name;
    zedcup_target_t         target;
    ngx_stream_upstream_t  *u;

    u = peer->session->upstream;

    if (pc->tries < NGX_STREAM_ZEDCUP_TRIES) {
        peer->limited = 1;
    }

    pc->cached = 0;
    pc->connection = NULL;

    if (!peer->open
        || ngx_stream_zedcup_seam->next(peer->way, &target) != NGX_OK)
    {
        pc->name = &u->upstream->host;
        return NGX_BUSY;
    }

    pc->sockaddr = target.sockaddr;
    pc->socklen = target.socklen;
    pc->name = target.name;

    /* nginx has put what it used for the host before in its place */

    ngx_stream_zedcup_seam->tls_name(peer->way, &name);
    u->ssl_name = name.len ? name : u->upstream->host;

    return NGX_OK;
}


static void
ngx_stream_zedcup_notify_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    /* with UDP nothing has gone over the wire yet */

    if (peer->open && type == NGX_STREAM_UPSTREAM_NOTIFY_CONNECT
        && pc->type != SOCK_DGRAM)
    {
        ngx_stream_zedcup_seam->connected(peer->way);
    }
}


static void
ngx_stream_zedcup_free_peer(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    ngx_int_t                     answer_ms;
    ngx_uint_t                    how, over;
    ngx_stream_upstream_state_t  *us;

    if (!peer->open) {
        pc->tries = 0;
        return;
    }

    us = peer->session->upstream->state;
    answer_ms = -1;

    if (state != 0) {
        how = us->connect_time == (ngx_msec_t) -1 ? ZEDCUP_WAY_UNREACHED
                                                  : ZEDCUP_WAY_FAILED;

    } else {
        how = ZEDCUP_WAY_DONE;

        if (pc->type == SOCK_DGRAM
            && us->first_byte_time != (ngx_msec_t) -1)
        {
            answer_ms = us->first_byte_time;
        }
    }

    /* 0: another address of the host comes next */

    over = ngx_stream_zedcup_seam->ended(peer->way, how, 0, answer_ms);

    if (how == ZEDCUP_WAY_DONE) {
        return;
    }

    if (over && ngx_stream_zedcup_seam->is_last(peer->way)) {
        pc->tries = 0;
        return;
    }

    if (peer->limited && pc->tries) {
        pc->tries--;
    }
}


/* ---- TLS ------------------------------------------------------------------ */

#if (NGX_SSL || NGX_COMPAT)

static ngx_int_t
ngx_stream_zedcup_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    return ngx_stream_zedcup_seam->set_session(peer->open ? peer->way : NULL,
                                               pc->connection);
}


static void
ngx_stream_zedcup_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_stream_zedcup_peer_t  *peer = data;

    ngx_stream_zedcup_seam->save_session(peer->open ? peer->way : NULL,
                                         pc->connection);
}

#endif


/* ---- variables -------------------------------------------------------------- */

ngx_int_t
ngx_stream_zedcup_variables(ngx_conf_t *cf)
{
    ngx_stream_variable_t  *var, *v;

    for (v = ngx_stream_zedcup_vars; v->name.len; v++) {
        var = ngx_stream_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_zedcup_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t      texts[3];
    zedcup_way_t  *way;

    way = ngx_stream_get_module_ctx(s, ngx_stream_zedcup_module);

    if (way == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_stream_zedcup_seam->names(way, &texts[NGX_STREAM_ZEDCUP_INSTANCE],
                                  &texts[NGX_STREAM_ZEDCUP_POOL],
                                  &texts[NGX_STREAM_ZEDCUP_HOST]);

    if (texts[data].len == 0) {
        v->not_found = 1;
        return NGX_OK;
    }

    v->data = texts[data].data;
    v->len = texts[data].len;
    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;

    return NGX_OK;
}
