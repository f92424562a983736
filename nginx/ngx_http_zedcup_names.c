/*
 * Host names and the addresses behind them, asked of nginx's own resolver and
 * asked again when their time to live is over. Per worker, event loop only.
 *
 * A name that was resolved once keeps its addresses until others are known: an
 * answer that fails, or says that there is no such name, changes nothing but
 * when it is asked again. Lua holds the names that instances have; a name that
 * nobody holds is not asked for any more.
 */

#include "ngx_http_zedcup.h"

#include "ngx_http_zedcup_upstream.h"
#include "zedcup_ffi.h"


#define NGX_HTTP_ZEDCUP_NAME_MAX_ADDRS  64
#define NGX_HTTP_ZEDCUP_NAME_LEN        (NGX_INET6_ADDRSTRLEN + 2)
/* nothing is asked without a bound */
#define NGX_HTTP_ZEDCUP_NAME_TIMEOUT    30000
/* between attempts that fail, doubled each time */
#define NGX_HTTP_ZEDCUP_NAME_RETRY      1000
#define NGX_HTTP_ZEDCUP_NAME_RETRY_MAX  30000
/* a cached answer costs nothing: no need for longer timers */
#define NGX_HTTP_ZEDCUP_NAME_MAX_TTL    3600


/* The names of one configuration cycle, whose resolvers go with it. */
typedef struct {
    ngx_cycle_t                  *cycle;
    ngx_queue_t                   names;
} ngx_http_zedcup_names_t;


struct zedcup_name_s {
    ngx_http_zedcup_names_t      *list;       /* NULL: the cycle has ended */
    ngx_resolver_t               *resolver;
    ngx_resolver_ctx_t           *ctx;        /* while it is being asked */

    /* the ident that debug logs look for: after three pointers */
    ngx_int_t                     ident;

    ngx_queue_t                   queue;
    ngx_event_t                   timer;
    ngx_msec_t                    resolver_timeout;
    ngx_msec_t                    retry;
    uint32_t                      version;    /* 0: no addresses yet */
    ngx_str_t                     addresses;  /* sorted, a blank between */
    ngx_str_t                     name;
    unsigned                      released:1; /* freed once it was answered */
    u_char                        data[1];
};


static void ngx_http_zedcup_name_ask(zedcup_name_t *name);
static void ngx_http_zedcup_name_free(zedcup_name_t *name);
static void ngx_http_zedcup_name_answer(ngx_resolver_ctx_t *ctx);
static void ngx_http_zedcup_name_timer(ngx_event_t *ev);
static void ngx_http_zedcup_names_end(void *data);


static ngx_http_zedcup_names_t  *ngx_http_zedcup_names;


static ngx_http_zedcup_names_t *
ngx_http_zedcup_names_get(void)
{
    ngx_cycle_t              *cycle;
    ngx_pool_cleanup_t       *cln;
    ngx_http_zedcup_names_t  *list;

    cycle = (ngx_cycle_t *) ngx_cycle;
    list = ngx_http_zedcup_names;

    if (list && list->cycle == cycle) {
        return list;
    }

    /* runs before the resolvers' and Lua's own, which were added earlier */

    cln = ngx_pool_cleanup_add(cycle->pool, sizeof(ngx_http_zedcup_names_t));
    if (cln == NULL) {
        return NULL;
    }

    list = cln->data;
    list->cycle = cycle;
    ngx_queue_init(&list->names);

    cln->handler = ngx_http_zedcup_names_end;
    ngx_http_zedcup_names = list;

    return list;
}


static void
ngx_http_zedcup_names_end(void *data)
{
    ngx_http_zedcup_names_t  *list = data;

    ngx_queue_t    *q;
    zedcup_name_t  *name;

    while (!ngx_queue_empty(&list->names)) {
        q = ngx_queue_head(&list->names);
        ngx_queue_remove(q);

        name = ngx_queue_data(q, zedcup_name_t, queue);
        name->list = NULL;
        name->ctx = NULL;         /* ends with its resolver */

        if (name->timer.timer_set) {
            ngx_del_timer(&name->timer);
        }

        if (name->released) {
            ngx_http_zedcup_name_free(name);
        }
    }

    if (ngx_http_zedcup_names == list) {
        ngx_http_zedcup_names = NULL;
    }
}


zedcup_name_t *
ngx_http_zedcup_name_open(ngx_resolver_t *resolver, ngx_msec_t timeout,
    const char *text, size_t len)
{
    zedcup_name_t            *name;
    ngx_http_zedcup_names_t  *list;

    list = ngx_http_zedcup_names_get();
    if (list == NULL) {
        return NULL;
    }

    name = ngx_calloc(sizeof(zedcup_name_t) + len, ngx_cycle->log);
    if (name == NULL) {
        return NULL;
    }

    ngx_memcpy(name->data, text, len);
    name->name.data = name->data;
    name->name.len = len;
    name->list = list;
    name->resolver = resolver;
    name->resolver_timeout = timeout ? timeout : NGX_HTTP_ZEDCUP_NAME_TIMEOUT;
    name->retry = NGX_HTTP_ZEDCUP_NAME_RETRY;
    name->ident = -1;

    name->timer.handler = ngx_http_zedcup_name_timer;
    name->timer.data = name;
    name->timer.log = ngx_cycle->log;
    name->timer.cancelable = 1;

    ngx_queue_insert_tail(&list->names, &name->queue);

    ngx_http_zedcup_name_ask(name);

    return name;
}


zedcup_name_t *
zedcup_ffi_name_acquire(void *request, const char *text, size_t len)
{
    ngx_http_request_t  *r = request;

    ngx_http_core_loc_conf_t  *clcf;

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    return ngx_http_zedcup_name_open(clcf->resolver, clcf->resolver_timeout,
                                     text, len);
}


/*
 * Called by Lua's collector, that is anywhere Lua runs, also in the middle of
 * the resolver's own list of whom to answer: a question under way is not taken
 * back, but its answer dropped.
 */

void
zedcup_ffi_name_release(zedcup_name_t *name)
{
    if (name->ctx) {
        name->released = 1;
        return;
    }

    ngx_http_zedcup_name_free(name);
}


static void
ngx_http_zedcup_name_free(zedcup_name_t *name)
{
    if (name->timer.timer_set) {
        ngx_del_timer(&name->timer);
    }

    if (name->list) {
        ngx_queue_remove(&name->queue);
    }

    if (name->addresses.data) {
        ngx_free(name->addresses.data);
    }

    ngx_free(name);
}


uint32_t
zedcup_ffi_name_version(zedcup_name_t *name)
{
    return name->version;
}


void
zedcup_ffi_name_addresses(zedcup_name_t *name, const char **text, size_t *len)
{
    *text = (const char *) name->addresses.data;
    *len = name->addresses.len;
}


static void
ngx_http_zedcup_name_ask_later(zedcup_name_t *name)
{
    ngx_add_timer(&name->timer, name->retry);

    name->retry = ngx_min(name->retry * 2, NGX_HTTP_ZEDCUP_NAME_RETRY_MAX);
}


static void
ngx_http_zedcup_name_ask(zedcup_name_t *name)
{
    ngx_resolver_ctx_t  *ctx;

    ctx = ngx_resolve_start(name->resolver, NULL);

    if (ctx == NULL || ctx == NGX_NO_RESOLVER) {
        /* what Lua does instead says that there is no resolver */
        ngx_http_zedcup_name_ask_later(name);
        return;
    }

    ctx->name = name->name;
    ctx->handler = ngx_http_zedcup_name_answer;
    ctx->data = name;
    ctx->timeout = name->resolver_timeout;
    ctx->cancelable = 1;

    name->ctx = ctx;

    /* may answer at once */

    if (ngx_resolve_name(ctx) != NGX_OK) {
        name->ctx = NULL;
        ngx_http_zedcup_name_ask_later(name);
    }
}


static int ngx_libc_cdecl
ngx_http_zedcup_name_compare(const void *one, const void *two)
{
    return ngx_strcmp(one, two);
}


/* Remembers the addresses; raises the version where they are others. */

static ngx_int_t
ngx_http_zedcup_name_keep(zedcup_name_t *name, ngx_resolver_ctx_t *ctx)
{
    size_t      len;
    u_char     *p, *text;
    u_char      addrs[NGX_HTTP_ZEDCUP_NAME_MAX_ADDRS][NGX_HTTP_ZEDCUP_NAME_LEN];
    ngx_str_t   joined;
    ngx_uint_t  i, n;

    n = ngx_min(ctx->naddrs, NGX_HTTP_ZEDCUP_NAME_MAX_ADDRS);

    for (i = 0; i < n; i++) {
        text = addrs[i];
        p = text;

        if (ctx->addrs[i].sockaddr->sa_family == AF_INET6) {
            *p++ = '[';
        }

        p += ngx_sock_ntop(ctx->addrs[i].sockaddr, ctx->addrs[i].socklen, p,
                           NGX_INET6_ADDRSTRLEN, 0);

        /* ngx_sock_ntop() has put brackets around neither */

        if (text[0] == '[') {
            *p++ = ']';
        }

        *p = '\0';
    }

    ngx_qsort(addrs, n, NGX_HTTP_ZEDCUP_NAME_LEN, ngx_http_zedcup_name_compare);

    joined.data = ngx_alloc(n * NGX_HTTP_ZEDCUP_NAME_LEN + 1, ngx_cycle->log);
    if (joined.data == NULL) {
        return NGX_ERROR;
    }

    p = joined.data;

    for (i = 0; i < n; i++) {
        len = ngx_strlen(addrs[i]);
        p = ngx_cpymem(p, addrs[i], len);
        *p++ = ' ';
    }

    joined.len = p - joined.data;

    if (joined.len == name->addresses.len
        && ngx_memcmp(joined.data, name->addresses.data, joined.len) == 0)
    {
        ngx_free(joined.data);
        return NGX_OK;
    }

    if (name->addresses.data) {
        ngx_free(name->addresses.data);
    }

    name->addresses = joined;
    name->version++;

    return NGX_OK;
}


static void
ngx_http_zedcup_name_answer(ngx_resolver_ctx_t *ctx)
{
    zedcup_name_t  *name = ctx->data;

    time_t     left;
    ngx_int_t  rc;

    name->ctx = NULL;

    if (name->released) {
        ngx_resolve_name_done(ctx);
        ngx_http_zedcup_name_free(name);
        return;
    }

    rc = NGX_ERROR;
    left = ctx->valid - ngx_time();

    if (ctx->state == NGX_OK && ctx->naddrs > 0) {
        rc = ngx_http_zedcup_name_keep(name, ctx);

    } else {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "zedcup: \"%V\" could not be resolved (%i: %s)%s",
                      &name->name, ctx->state,
                      ngx_resolver_strerror(ctx->state),
                      name->version ? "; its last addresses stay" : "");
    }

    ngx_resolve_name_done(ctx);

    if (rc != NGX_OK) {
        ngx_http_zedcup_name_ask_later(name);
        return;
    }

    /* the resolver's own memory lasts through the second of `valid` */

    left = ngx_max(left, 0);
    left = ngx_min(left, NGX_HTTP_ZEDCUP_NAME_MAX_TTL) + 1;

    name->retry = NGX_HTTP_ZEDCUP_NAME_RETRY;
    ngx_add_timer(&name->timer, left * 1000);
}


static void
ngx_http_zedcup_name_timer(ngx_event_t *ev)
{
    ngx_http_zedcup_name_ask(ev->data);
}
