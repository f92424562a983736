/*
 * What this node holds against its hosts: errors within a window, and a mark
 * for those that are out of its rotation. A table of fixed size in the shared
 * zone: an error costs a look into one bucket and never an allocation.
 *
 * Where a bucket is full the host whose error is the oldest makes room, but
 * never a marked one: then the error is not counted here. The store counts all
 * the same.
 *
 * Pure: the table, the time and the lock are the caller's.
 */

#include "ngx_http_zedcup.h"


#define NGX_HTTP_ZEDCUP_ERRORS_WAYS  8
#define NGX_HTTP_ZEDCUP_ERRORS_MAX   (1024 * 1024)


struct ngx_http_zedcup_errors_s {
    volatile uint64_t               version;
    volatile uint64_t               next_end;
    uint64_t                        nbuckets;
    ngx_http_zedcup_host_errors_t   hosts[1];
};


static uint64_t
ngx_http_zedcup_errors_buckets(size_t zone_size)
{
    size_t  bytes;

    bytes = ngx_min(zone_size / 16, NGX_HTTP_ZEDCUP_ERRORS_MAX);

    return bytes / (NGX_HTTP_ZEDCUP_ERRORS_WAYS
                    * sizeof(ngx_http_zedcup_host_errors_t));
}


size_t
ngx_http_zedcup_errors_size(size_t zone_size)
{
    return offsetof(ngx_http_zedcup_errors_t, hosts)
           + ngx_http_zedcup_errors_buckets(zone_size)
             * NGX_HTTP_ZEDCUP_ERRORS_WAYS
             * sizeof(ngx_http_zedcup_host_errors_t);
}


void
ngx_http_zedcup_errors_init(ngx_http_zedcup_errors_t *table, size_t zone_size)
{
    table->nbuckets = ngx_http_zedcup_errors_buckets(zone_size);
    table->version = 1;
}


uint64_t
ngx_http_zedcup_errors_version(const ngx_http_zedcup_errors_t *table)
{
    return table->version;
}


uint64_t
ngx_http_zedcup_errors_next_end(const ngx_http_zedcup_errors_t *table)
{
    return table->next_end;
}


static ngx_http_zedcup_host_errors_t *
ngx_http_zedcup_errors_end(ngx_http_zedcup_errors_t *table)
{
    return table->hosts + table->nbuckets * NGX_HTTP_ZEDCUP_ERRORS_WAYS;
}


void
ngx_http_zedcup_errors_touch(ngx_http_zedcup_errors_t *table)
{
    uint64_t                        next;
    ngx_http_zedcup_host_errors_t  *host;

    next = 0;

    for (host = table->hosts; host < ngx_http_zedcup_errors_end(table); host++)
    {
        if (host->marked
            && (next == 0 || host->last + host->window < next))
        {
            next = host->last + host->window;
        }
    }

    table->next_end = next;
    table->version++;
}


ngx_http_zedcup_host_errors_t *
ngx_http_zedcup_errors_find(ngx_http_zedcup_errors_t *table,
    const ngx_http_zedcup_host_id_t *id, ngx_uint_t make)
{
    ngx_uint_t                      i;
    ngx_http_zedcup_host_errors_t  *host, *spare;

    if (table->nbuckets == 0) {
        return NULL;
    }

    host = table->hosts
           + (id->a % table->nbuckets) * NGX_HTTP_ZEDCUP_ERRORS_WAYS;
    spare = NULL;

    for (i = 0; i < NGX_HTTP_ZEDCUP_ERRORS_WAYS; i++, host++) {

        if (host->used && host->id.a == id->a && host->id.b == id->b) {
            return host;
        }

        if (host->marked) {
            continue;
        }

        if (spare == NULL
            || (spare->used && (!host->used || host->last < spare->last)))
        {
            spare = host;
        }
    }

    if (!make || spare == NULL) {
        return NULL;
    }

    ngx_memzero(spare, sizeof(ngx_http_zedcup_host_errors_t));
    spare->id = *id;
    spare->used = 1;

    return spare;
}


ngx_uint_t
ngx_http_zedcup_errors_add(ngx_http_zedcup_errors_t *table,
    const ngx_http_zedcup_host_id_t *id, uint32_t n, uint64_t window,
    uint32_t max, uint64_t now, uint32_t *count)
{
    ngx_http_zedcup_host_errors_t  *host;

    host = ngx_http_zedcup_errors_find(table, id, 1);

    if (host == NULL) {
        *count = 0;
        return 0;
    }

    /* each worker reads the clock when its loop turns: another's may be ahead */

    if (now > host->last && now - host->last > window) {
        host->count = 0;
    }

    host->count = n > UINT32_MAX - host->count ? UINT32_MAX : host->count + n;
    host->last = ngx_max(now, host->last);
    host->window = window;

    *count = host->count;

    if (host->marked) {
        /* looked for too early otherwise, which is harmless but costs */
        if (host->last + host->window < table->next_end) {
            table->next_end = host->last + host->window;
        }
        return 0;
    }

    if (max == 0 || host->count < max) {
        return 0;
    }

    host->marked = 1;
    ngx_http_zedcup_errors_touch(table);

    return 1;
}


ngx_uint_t
ngx_http_zedcup_errors_drop(ngx_http_zedcup_errors_t *table,
    const ngx_http_zedcup_host_id_t *id)
{
    ngx_uint_t                      marked;
    ngx_http_zedcup_host_errors_t  *host;

    host = ngx_http_zedcup_errors_find(table, id, 0);

    if (host == NULL) {
        return 0;
    }

    marked = host->marked;
    ngx_memzero(host, sizeof(ngx_http_zedcup_host_errors_t));

    if (marked) {
        ngx_http_zedcup_errors_touch(table);
    }

    return marked;
}


void
ngx_http_zedcup_errors_expire(ngx_http_zedcup_errors_t *table, uint64_t now,
    ngx_http_zedcup_errors_visit_pt visit, void *ctx)
{
    ngx_http_zedcup_host_errors_t  *host;

    for (host = table->hosts; host < ngx_http_zedcup_errors_end(table); host++)
    {
        if (!host->marked || host->last + host->window > now) {
            continue;
        }

        visit(ctx, host);
        ngx_memzero(host, sizeof(ngx_http_zedcup_host_errors_t));
    }

    ngx_http_zedcup_errors_touch(table);
}


void
ngx_http_zedcup_errors_marked(const ngx_http_zedcup_errors_t *table,
    ngx_http_zedcup_errors_visit_pt visit, void *ctx)
{
    ngx_http_zedcup_errors_t       *all;
    ngx_http_zedcup_host_errors_t  *host;

    all = (ngx_http_zedcup_errors_t *) table;

    if (table->next_end == 0) {
        return;
    }

    for (host = all->hosts; host < ngx_http_zedcup_errors_end(all); host++) {
        if (host->marked) {
            visit(ctx, host);
        }
    }
}
