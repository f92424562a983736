/*
 * The native balancer: `upstream app { zedcup INSTANCE; }` is served by nginx's
 * own proxy, from the hosts that this worker knows.
 *
 * nginx asks for a peer before each attempt (get) and says how it ended (free).
 * `keepalive`, which comes after `zedcup` in the configuration, wraps both.
 */

#include "ngx_http_zedcup_upstream.h"


typedef struct {
    ngx_http_request_t          *request;
    ngx_http_zedcup_upstream_t  *conf;
    ngx_uint_t                   open;     /* 0: there is no such instance */
    zedcup_way_t                *way;
} ngx_http_zedcup_peer_t;


static ngx_int_t ngx_http_zedcup_upstream_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_zedcup_upstream_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);
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


/* ---- configuration ------------------------------------------------------ */

static char *
ngx_http_zedcup_upstream_option(ngx_conf_t *cf,
    ngx_http_zedcup_upstream_t *zucf, ngx_str_t *value)
{
    ngx_str_t                          text;
    ngx_http_zedcup_main_conf_t       *zmcf;
    ngx_http_compile_complex_value_t   ccv;

    if (ngx_strncmp(value->data, "method=", 7) == 0) {
        return zedcup_upstream_method(cf, &zucf->base, value);
    }

    if (ngx_strncmp(value->data, "key=", 4) == 0 && value->len > 4) {

        text.data = value->data + 4;
        text.len = value->len - 4;

        zucf->key = ngx_palloc(cf->pool, sizeof(ngx_http_complex_value_t));
        if (zucf->key == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(&ccv, sizeof(ngx_http_compile_complex_value_t));

        ccv.cf = cf;
        ccv.value = &text;
        ccv.complex_value = zucf->key;

        return ngx_http_compile_complex_value(&ccv) == NGX_OK ? NGX_CONF_OK
                                                              : NGX_CONF_ERROR;
    }

    if (ngx_strncmp(value->data, "sticky=", 7) == 0 && value->len > 7) {

        text.data = value->data + 7;
        text.len = value->len - 7;

        /* what RFC 6265 and nginx's parser agree on */

        if (strcspn((char *) text.data, " \t\",;=\\") != text.len) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid cookie name in \"%V\"", value);
            return NGX_CONF_ERROR;
        }

        zucf->sticky = text;

        zmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_zedcup_module);
        zmcf->sticky = 1;

        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\": expected method=, key= or "
                       "sticky=", value);

    return NGX_CONF_ERROR;
}


/* nginx refuses an upstream without servers */

static ngx_int_t
ngx_http_zedcup_upstream_placeholder(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_addr_t                  *addr;
    struct sockaddr_in          *sin;
    ngx_http_upstream_server_t  *server;

    server = ngx_array_push(uscf->servers);
    addr = ngx_pcalloc(cf->pool, sizeof(ngx_addr_t));
    sin = ngx_pcalloc(cf->pool, sizeof(struct sockaddr_in));

    if (server == NULL || addr == NULL || sin == NULL) {
        return NGX_ERROR;
    }

    sin->sin_family = AF_INET;

    addr->sockaddr = (struct sockaddr *) sin;
    addr->socklen = sizeof(struct sockaddr_in);
    ngx_str_set(&addr->name, "zedcup");

    ngx_memzero(server, sizeof(ngx_http_upstream_server_t));

    server->name = uscf->host;
    server->addrs = addr;
    server->naddrs = 1;
    server->weight = 1;
    server->down = 1;

    return NGX_OK;
}


char *
ngx_http_zedcup_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_zedcup_upstream_t  *zucf = conf;

    ngx_str_t                     *value;
    ngx_uint_t                     i;
    ngx_http_zedcup_main_conf_t   *zmcf;
    zedcup_upstream_t            **entry;
    ngx_http_upstream_srv_conf_t  *uscf;

    if (zucf->base.instance.data) {
        return "is duplicate";
    }

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (uscf->peer.init_upstream) {
        return "must come before any other balancing method and \"keepalive\"";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "needs the name of an instance";
    }

    zucf->base.instance = value[1];

    for (i = 2; i < cf->args->nelts; i++) {
        if (ngx_http_zedcup_upstream_option(cf, zucf, &value[i])
            != NGX_CONF_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    zmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_zedcup_module);

    entry = ngx_array_push(&zmcf->upstreams);
    if (entry == NULL) {
        return NGX_CONF_ERROR;
    }

    *entry = &zucf->base;

    if (ngx_http_zedcup_upstream_placeholder(cf, uscf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    uscf->flags = NGX_HTTP_UPSTREAM_CREATE;
    uscf->peer.init_upstream = ngx_http_zedcup_upstream_init;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_zedcup_upstream_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    if (us->servers->nelts != 1) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"server\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }

#if (NGX_HTTP_UPSTREAM_ZONE)
    if (us->shm_zone) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"zone\" is not allowed beside \"zedcup\" "
                      "in upstream \"%V\" in %s:%ui",
                      &us->host, us->file_name, us->line);
        return NGX_ERROR;
    }
#endif

    /* others look for nginx's own peers behind peer.data */

    if (ngx_http_upstream_init_round_robin(cf, us) != NGX_OK) {
        return NGX_ERROR;
    }

    us->peer.init = ngx_http_zedcup_upstream_init_peer;

    return NGX_OK;
}


/* ---- a request ------------------------------------------------------------ */

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
    ngx_str_t  value;

#if (nginx_version >= 1023000)

    if (ngx_http_parse_multi_header_lines(r, r->headers_in.cookie,
                                          &zucf->sticky, &value)
        == NULL)
    {
        return;
    }

#else

    if (ngx_http_parse_multi_header_lines(&r->headers_in.cookies,
                                          &zucf->sticky, &value)
        == NGX_DECLINED)
    {
        return;
    }

#endif

    zedcup_way_set_cookie(way, value.data, value.len);
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


static ngx_int_t
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
    ngx_memzero(peer, sizeof(ngx_http_zedcup_peer_t) + zedcup_way_size());

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
    u->peer.tries = peer->open ? zedcup_way_tries(peer->way) : 1;
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

    zedcup_target_t  target;
#if (NGX_HTTP_SSL)
    ngx_str_t        name;
#endif

    pc->cached = 0;
    pc->connection = NULL;

    if (!peer->open || zedcup_way_next(peer->way, &target) != NGX_OK) {
        pc->name = &peer->request->upstream->upstream->host;
        return NGX_BUSY;
    }

    pc->sockaddr = target.sockaddr;
    pc->socklen = target.socklen;
    pc->name = target.name;

    if (pc->tries > 1 && zedcup_way_is_last(peer->way)) {
        pc->tries = 1;
    }

#if (NGX_HTTP_SSL)

    if (peer->request->upstream->ssl) {
        zedcup_way_tls_name(peer->way, &name);

        peer->request->upstream->ssl_name =
            name.len ? name : peer->request->upstream->upstream->host;
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

    /* who limits tries means each connection, also to one host's addresses */

    if ((counts || u->conf->next_upstream_tries) && pc->tries) {
        pc->tries--;
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
