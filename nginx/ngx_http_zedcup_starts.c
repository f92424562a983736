/*
 * When the hosts with slow start began to serve, as this node saw it: a table
 * of fixed size in the shared zone, so that neither a new worker nor a reload
 * begins a rise anew. Every worker tells what it sees, each at its own time;
 * the first that sees a host come says when that was.
 *
 * A host that is not found here has served for long. Where a bucket is full the
 * one that began first makes room.
 *
 * Pure: the table, the time and the lock are the caller's.
 */

#include "ngx_http_zedcup.h"


#define NGX_HTTP_ZEDCUP_STARTS_WAYS  8
#define NGX_HTTP_ZEDCUP_STARTS_MAX   (512 * 1024)


typedef struct {
    uint64_t                   id;
    uint64_t                   since;          /* 0: a free entry */
} ngx_http_zedcup_start_t;


struct ngx_http_zedcup_starts_s {
    uint64_t                   nbuckets;
    ngx_http_zedcup_start_t    starts[1];
};


static uint64_t
ngx_http_zedcup_starts_buckets(size_t zone_size)
{
    size_t  bytes;

    bytes = ngx_min(zone_size / 32, NGX_HTTP_ZEDCUP_STARTS_MAX);

    return bytes / (NGX_HTTP_ZEDCUP_STARTS_WAYS
                    * sizeof(ngx_http_zedcup_start_t));
}


size_t
ngx_http_zedcup_starts_size(size_t zone_size)
{
    return offsetof(ngx_http_zedcup_starts_t, starts)
           + ngx_http_zedcup_starts_buckets(zone_size)
             * NGX_HTTP_ZEDCUP_STARTS_WAYS
             * sizeof(ngx_http_zedcup_start_t);
}


void
ngx_http_zedcup_starts_init(ngx_http_zedcup_starts_t *table, size_t zone_size)
{
    table->nbuckets = ngx_http_zedcup_starts_buckets(zone_size);
}


/* the entry of `id`, or one to take for it; NULL: a zone without a table */

static ngx_http_zedcup_start_t *
ngx_http_zedcup_starts_place(ngx_http_zedcup_starts_t *table, uint64_t id)
{
    ngx_uint_t                i;
    ngx_http_zedcup_start_t  *entry, *spare;

    if (table->nbuckets == 0) {
        return NULL;
    }

    entry = table->starts
            + (id % table->nbuckets) * NGX_HTTP_ZEDCUP_STARTS_WAYS;
    spare = NULL;

    for (i = 0; i < NGX_HTTP_ZEDCUP_STARTS_WAYS; i++, entry++) {

        if (entry->since && entry->id == id) {
            return entry;
        }

        if (spare == NULL || entry->since < spare->since) {
            spare = entry;
        }
    }

    return spare;
}


uint64_t
ngx_http_zedcup_starts_note(ngx_http_zedcup_starts_t *table, uint64_t id,
    ngx_uint_t what, uint64_t now)
{
    ngx_uint_t                known;
    ngx_http_zedcup_start_t  *entry;

    entry = ngx_http_zedcup_starts_place(table, id);
    if (entry == NULL) {
        return what == NGX_HTTP_ZEDCUP_START_COMES ? now : 0;
    }

    known = entry->since && entry->id == id;

    switch (what) {

    case NGX_HTTP_ZEDCUP_START_GOES:
        if (known) {
            entry->since = 0;
        }

        return 0;

    case NGX_HTTP_ZEDCUP_START_COMES:
        if (!known) {
            entry->id = id;
            entry->since = ngx_max(now, 1);
        }

        return entry->since;

    default: /* NGX_HTTP_ZEDCUP_START_STAYS */
        return known ? entry->since : 0;
    }
}
