/*
 * In the worker that was given a host name, the asking for it, again whenever
 * its time to live is over. An answer that fails changes nothing.
 */

#include "ngx_http_zedcup_peers.h"


/* between attempts that fail, doubled each time */
#define NGX_HTTP_ZEDCUP_NAME_RETRY      1000
#define NGX_HTTP_ZEDCUP_NAME_RETRY_MAX  30000
/* a cached answer costs nothing: no need for longer timers */
#define NGX_HTTP_ZEDCUP_NAME_TTL_MAX    3600


/* This worker's asking for one name. */
typedef struct {
    ngx_http_zedcup_group_t      *group;
    ngx_resolver_t               *resolver;
    void                         *unused;

    /* the ident that debug logs look for: after three pointers */
    ngx_int_t                     ident;

    ngx_queue_t                   queue;
    ngx_event_t                   timer;
    ngx_uint_t                    asking;     /* the resolver knows it */
    ngx_msec_t                    retry;
    uint64_t                      id;
    ngx_str_t                     text;
    ngx_str_t                     host;
    in_port_t                     port;
    u_char                        data[1];
} ngx_http_zedcup_asker_t;


static void ngx_http_zedcup_asker_ask(ngx_http_zedcup_asker_t *asker);
static void ngx_http_zedcup_asker_answer(ngx_resolver_ctx_t *ctx);


static ngx_http_zedcup_asker_t *
ngx_http_zedcup_asker_make(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_name_t *name)
{
    ngx_http_zedcup_asker_t  *asker;

    asker = ngx_calloc(sizeof(ngx_http_zedcup_asker_t) + name->text.len,
                       ngx_cycle->log);
    if (asker == NULL) {
        return NULL;
    }

    ngx_memcpy(asker->data, name->text.data, name->text.len);

    asker->group = group;
    asker->id = name->id;
    asker->text.data = asker->data;
    asker->text.len = name->text.len;
    asker->host.data = asker->data;
    asker->host.len = name->host_len;
    asker->port = name->port;
    asker->ident = -1;

    return asker;
}


static void
ngx_http_zedcup_asker_timer(ngx_event_t *ev)
{
    ngx_http_zedcup_asker_ask(ev->data);
}


/* Begins to ask for this slot's names that were added since it was last here. */

void
ngx_http_zedcup_names_start(ngx_http_zedcup_group_t *group)
{
    ngx_uint_t                    i, count;
    ngx_http_zedcup_asker_t      *askers[NGX_HTTP_ZEDCUP_NAMES_MAX];
    ngx_http_zedcup_peer_name_t  *name;

    if (ngx_event_timer_rbtree.root == NULL) {
        return;               /* in the master: worker 0 will */
    }

    count = 0;

    ngx_http_zedcup_peers_rlock(group->peers);

    for (name = group->peers->names;
         name && count < NGX_HTTP_ZEDCUP_NAMES_MAX;
         name = name->next)
    {
        if (name->owner == ngx_worker && name->id > group->asked) {
            askers[count] = ngx_http_zedcup_asker_make(group, name);
            count += askers[count] != NULL;
        }
    }

    group->asked = group->peers->last_name;

    ngx_http_zedcup_peers_unlock(group->peers);

    for (i = 0; i < count; i++) {
        askers[i]->retry = NGX_HTTP_ZEDCUP_NAME_RETRY;
        askers[i]->timer.handler = ngx_http_zedcup_asker_timer;
        askers[i]->timer.data = askers[i];
        askers[i]->timer.log = ngx_cycle->log;
        askers[i]->timer.cancelable = 1;

        ngx_queue_insert_tail(&group->askers, &askers[i]->queue);
        ngx_add_timer(&askers[i]->timer, 1);
    }
}


static void
ngx_http_zedcup_asker_free(ngx_http_zedcup_asker_t *asker)
{
    ngx_queue_remove(&asker->queue);
    ngx_free(asker);
}


/* The configuration ends. What its resolver was asked, ends with that. */

void
ngx_http_zedcup_names_stop(ngx_http_zedcup_group_t *group)
{
    ngx_queue_t              *q;
    ngx_http_zedcup_asker_t  *asker;

    while (!ngx_queue_empty(&group->askers)) {
        q = ngx_queue_head(&group->askers);
        asker = ngx_queue_data(q, ngx_http_zedcup_asker_t, queue);

        if (asker->timer.timer_set) {
            ngx_del_timer(&asker->timer);
        }

        if (asker->asking) {
            ngx_queue_remove(q);
            continue;
        }

        ngx_http_zedcup_asker_free(asker);
    }
}


static void
ngx_http_zedcup_asker_later(ngx_http_zedcup_asker_t *asker)
{
    ngx_add_timer(&asker->timer, asker->retry);

    asker->retry = ngx_min(asker->retry * 2, NGX_HTTP_ZEDCUP_NAME_RETRY_MAX);
}


/* Is the name still wanted? Copies what its peers shall be. */

static ngx_uint_t
ngx_http_zedcup_asker_wanted(ngx_http_zedcup_asker_t *asker,
    zedcup_ffi_peer_edit_t *edit)
{
    ngx_uint_t                     wanted;
    ngx_http_zedcup_peers_t       *zp;
    ngx_http_zedcup_peer_name_t  **link;

    if (asker->group->cycle != ngx_cycle) {
        return 0;
    }

    zp = asker->group->peers;

    ngx_http_zedcup_peers_rlock(zp);

    link = ngx_http_zedcup_name_find(zp, &asker->text);
    wanted = link && (*link)->id == asker->id && !zp->moved;

    if (wanted) {
        *edit = (*link)->edit;
    }

    ngx_http_zedcup_peers_unlock(zp);

    return wanted;
}


static void
ngx_http_zedcup_asker_ask(ngx_http_zedcup_asker_t *asker)
{
    ngx_msec_t               timeout;
    ngx_resolver_ctx_t      *ctx;
    zedcup_ffi_peer_edit_t   edit;

    if (!ngx_http_zedcup_asker_wanted(asker, &edit)) {
        ngx_http_zedcup_asker_free(asker);
        return;
    }

    ctx = ngx_resolve_start(ngx_http_zedcup_resolver(asker->group, &timeout),
                            NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        ngx_http_zedcup_asker_later(asker);
        return;
    }

    ctx->name = asker->host;
    ctx->handler = ngx_http_zedcup_asker_answer;
    ctx->data = asker;
    ctx->timeout = timeout;
    ctx->cancelable = 1;

    asker->asking = 1;

    /* may answer at once */

    if (ngx_resolve_name(ctx) != NGX_OK) {
        asker->asking = 0;
        ngx_http_zedcup_asker_later(asker);
    }
}


static ngx_int_t
ngx_http_zedcup_asker_spec(ngx_http_zedcup_asker_t *asker, ngx_pool_t *pool,
    ngx_resolver_addr_t *addr, ngx_http_zedcup_peer_spec_t *spec)
{
    spec->sockaddr = ngx_pcalloc(pool, sizeof(ngx_sockaddr_t));
    spec->name.data = ngx_pnalloc(pool, NGX_SOCKADDR_STRLEN);

    if (spec->sockaddr == NULL || spec->name.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memcpy(spec->sockaddr, addr->sockaddr, addr->socklen);
    spec->socklen = addr->socklen;
    ngx_inet_set_port(spec->sockaddr, asker->port);

    spec->name.len = ngx_sock_ntop(spec->sockaddr, spec->socklen,
                                   spec->name.data, NGX_SOCKADDR_STRLEN, 1);
    spec->text = spec->name;
    spec->server = asker->text;
    spec->named = 1;

    return NGX_OK;
}


/* The addresses that a name has no more: those of its peers that no spec is. */

static ngx_uint_t
ngx_http_zedcup_asker_gone(ngx_http_zedcup_asker_t *asker, ngx_pool_t *pool,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n,
    ngx_http_zedcup_peer_spec_t *gone, ngx_uint_t max)
{
    ngx_uint_t                     i, count;
    ngx_http_upstream_rr_peer_t   *peer;
    ngx_http_upstream_rr_peers_t  *peers;

    count = 0;

    ngx_http_zedcup_peers_rlock(asker->group->peers);

    for (peers = &asker->group->peers->peers; peers; peers = peers->next) {
        for (peer = peers->peer; peer && count < max; peer = peer->next) {

            if (!ngx_http_zedcup_is_name_s(peer, &asker->text)) {
                continue;
            }

            for (i = 0; i < n; i++) {
                if (ngx_http_zedcup_peer_is(peer, &specs[i])) {
                    break;
                }
            }

            if (i == n) {
                ngx_memzero(&gone[count], sizeof(gone[count]));
                gone[count].text.data = ngx_pstrdup(pool, &peer->name);
                gone[count].text.len = peer->name.len;
                gone[count].sockaddr = ngx_palloc(pool, peer->socklen);
                gone[count].socklen = peer->socklen;

                if (gone[count].text.data && gone[count].sockaddr) {
                    ngx_memcpy(gone[count].sockaddr, peer->sockaddr,
                               peer->socklen);
                    count++;
                }
            }
        }
    }

    ngx_http_zedcup_peers_unlock(asker->group->peers);

    return count;
}


static void
ngx_http_zedcup_asker_tell(ngx_http_zedcup_asker_t *asker,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                  "zedcup: host name \"%V\": %*s", &asker->text, err->len,
                  err->text);
}


static ngx_uint_t
ngx_http_zedcup_asker_has(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec)
{
    ngx_uint_t                    backup;
    ngx_http_upstream_rr_peer_t  *peer;

    ngx_http_zedcup_peers_rlock(zp);
    peer = ngx_http_zedcup_peers_find(zp, spec, &backup);
    ngx_http_zedcup_peers_unlock(zp);

    return peer != NULL;
}


static ngx_int_t
ngx_http_zedcup_asker_apply(ngx_http_zedcup_asker_t *asker,
    ngx_resolver_ctx_t *ctx, zedcup_ffi_peer_edit_t *edit, ngx_pool_t *pool)
{
    u_char                          text[1024];
    ngx_uint_t                      i, n, count;
    ngx_http_zedcup_peer_spec_t     specs[NGX_HTTP_ZEDCUP_NAMES_MAX];
    ngx_http_zedcup_peer_spec_t     gone[NGX_HTTP_ZEDCUP_NAMES_MAX];
    ngx_http_zedcup_peers_error_t   err;

    err.text = text;
    err.size = sizeof(text);
    n = ngx_min(ctx->naddrs, NGX_HTTP_ZEDCUP_NAMES_MAX);

    for (i = 0; i < n; i++) {
        ngx_memzero(&specs[i], sizeof(specs[i]));
        specs[i].edit = *edit;
        specs[i].edit.given = ZEDCUP_PEER_ALL;

        if (ngx_http_zedcup_asker_spec(asker, pool, &ctx->addrs[i], &specs[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    for (i = 0; i < n; i++) {
        if (!ngx_http_zedcup_asker_has(asker->group->peers, &specs[i])
            && ngx_http_zedcup_peers_add(asker->group, &specs[i], &err)
               != NGX_OK)
        {
            ngx_http_zedcup_asker_tell(asker, &err);
        }
    }

    count = ngx_http_zedcup_asker_gone(asker, pool, specs, n, gone,
                                       NGX_HTTP_ZEDCUP_NAMES_MAX);

    for (i = 0; i < count; i++) {
        if (ngx_http_zedcup_peers_remove(asker->group, &gone[i], &err)
            != NGX_OK)
        {
            ngx_http_zedcup_asker_tell(asker, &err);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_asker_take(ngx_http_zedcup_asker_t *asker,
    ngx_resolver_ctx_t *ctx, zedcup_ffi_peer_edit_t *edit)
{
    ngx_int_t    rc;
    ngx_pool_t  *pool;

    if (ctx->state != NGX_OK || ctx->naddrs == 0) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "zedcup: \"%V\" could not be resolved (%i: %s); the zone "
                      "stays as it is", &asker->host, ctx->state,
                      ngx_resolver_strerror(ctx->state));
        return NGX_ERROR;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_http_zedcup_asker_apply(asker, ctx, edit, pool);

    ngx_destroy_pool(pool);

    return rc;
}


static void
ngx_http_zedcup_asker_answer(ngx_resolver_ctx_t *ctx)
{
    ngx_http_zedcup_asker_t  *asker = ctx->data;

    time_t                  left;
    ngx_int_t               rc;
    zedcup_ffi_peer_edit_t  edit;

    asker->asking = 0;

    if (!ngx_http_zedcup_asker_wanted(asker, &edit)) {
        ngx_resolve_name_done(ctx);
        ngx_http_zedcup_asker_free(asker);
        return;
    }

    left = ctx->valid - ngx_time();
    rc = ngx_http_zedcup_asker_take(asker, ctx, &edit);

    ngx_resolve_name_done(ctx);

    if (rc != NGX_OK) {
        ngx_http_zedcup_asker_later(asker);
        return;
    }

    left = ngx_max(left, 0);
    left = ngx_min(left, NGX_HTTP_ZEDCUP_NAME_TTL_MAX) + 1;

    asker->retry = NGX_HTTP_ZEDCUP_NAME_RETRY;
    ngx_add_timer(&asker->timer, left * 1000);
}
