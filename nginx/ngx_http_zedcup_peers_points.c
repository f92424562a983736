/*
 * The points of `hash ... consistent`, once a worker. They name servers and hold
 * no peers, so that older ones do no harm for a while.
 */

#include "ngx_http_zedcup_peers.h"


#if !(NGX_HTTP_ZEDCUP_NATIVE_REFS)


/* Points are sorted: at most so often. */
#define NGX_HTTP_ZEDCUP_POINTS_INTERVAL  200
#define NGX_HTTP_ZEDCUP_POINTS           160


/* The configuration of nginx's ngx_http_upstream_hash_module, as it is from 1.7.2
 * to 1.27.2. */

typedef struct {
    uint32_t                                hash;
    ngx_str_t                              *server;
} ngx_http_zedcup_point_t;


typedef struct {
    ngx_uint_t                              number;
    ngx_http_zedcup_point_t                 point[1];
} ngx_http_zedcup_points_t;


typedef struct {
    ngx_http_complex_value_t                key;
    ngx_http_zedcup_points_t               *points;
} ngx_http_zedcup_hash_conf_t;


/* A peer as far as its points depend on it. */
typedef struct {
    ngx_str_t                               server;
    ngx_uint_t                              weight;
} ngx_http_zedcup_pointed_t;


ngx_uint_t
ngx_http_zedcup_hash_is_consistent(void *conf)
{
    ngx_http_zedcup_hash_conf_t  *hcf = conf;

    return hcf->points != NULL;
}


static size_t
ngx_http_zedcup_pointed_size(ngx_http_upstream_rr_peers_t *peers)
{
    size_t                        size;
    ngx_http_upstream_rr_peer_t  *peer;

    size = 0;

    for (peer = peers->peer; peer; peer = peer->next) {
        size += sizeof(ngx_http_zedcup_pointed_t) + peer->server.len;
    }

    return size;
}


static ngx_uint_t
ngx_http_zedcup_pointed_copy(ngx_http_zedcup_pointed_t *list,
    ngx_http_upstream_rr_peers_t *peers)
{
    u_char                       *p;
    ngx_uint_t                    i, count;
    ngx_http_upstream_rr_peer_t  *peer;

    count = 0;

    for (peer = peers->peer; peer; peer = peer->next) {
        count++;
    }

    p = (u_char *) &list[count];

    for (peer = peers->peer, i = 0; peer; peer = peer->next, i++) {
        list[i].server.data = p;
        list[i].server.len = peer->server.len;
        list[i].weight = peer->weight;
        p = ngx_cpymem(p, peer->server.data, peer->server.len);
    }

    return count;
}


/* A copy of what the points depend on, in one piece of memory. NULL: no memory,
 * or the peers change right now. */

static ngx_http_zedcup_pointed_t *
ngx_http_zedcup_pointed_list(ngx_http_zedcup_group_t *group, ngx_uint_t *count)
{
    size_t                         size;
    ngx_uint_t                     fits;
    ngx_http_zedcup_pointed_t     *list;
    ngx_http_upstream_rr_peers_t  *peers;

    peers = &group->peers->peers;

    ngx_rwlock_rlock(&peers->rwlock);
    size = ngx_http_zedcup_pointed_size(peers);
    ngx_rwlock_unlock(&peers->rwlock);

    list = ngx_alloc(size, ngx_cycle->log);
    if (list == NULL) {
        return NULL;
    }

    ngx_rwlock_rlock(&peers->rwlock);

    fits = ngx_http_zedcup_pointed_size(peers) <= size;

    if (fits) {
        group->points_version = group->peers->version;
        *count = ngx_http_zedcup_pointed_copy(list, peers);
    }

    ngx_rwlock_unlock(&peers->rwlock);

    if (!fits) {
        ngx_free(list);
        return NULL;
    }

    return list;
}


/* What nginx calls the host and the port of a server. */

static void
ngx_http_zedcup_split_server(ngx_str_t *server, ngx_str_t *host,
    ngx_str_t *port)
{
    u_char  *p;

    *host = *server;
    ngx_str_null(port);

    if (server->len >= 5
        && ngx_strncasecmp(server->data, (u_char *) "unix:", 5) == 0)
    {
        host->data += 5;
        host->len -= 5;
        return;
    }

    for (p = server->data + server->len; p > server->data; p--) {

        if (p[-1] == ':') {
            port->data = p;
            port->len = server->data + server->len - p;
            host->len = p - 1 - server->data;
            return;
        }

        if (p[-1] < '0' || p[-1] > '9') {
            return;
        }
    }
}


static void
ngx_http_zedcup_add_points(ngx_http_zedcup_points_t *points,
    ngx_http_zedcup_pointed_t *of)
{
    u_char      prev[4];
    uint32_t    base, hash;
    ngx_str_t   host, port;
    ngx_uint_t  i;

    ngx_http_zedcup_split_server(&of->server, &host, &port);

    ngx_crc32_init(base);
    ngx_crc32_update(&base, host.data, host.len);
    ngx_crc32_update(&base, (u_char *) "", 1);
    ngx_crc32_update(&base, port.data, port.len);

    ngx_memzero(prev, 4);

    for (i = 0; i < of->weight * NGX_HTTP_ZEDCUP_POINTS; i++) {
        hash = base;

        ngx_crc32_update(&hash, prev, 4);
        ngx_crc32_final(hash);

        points->point[points->number].hash = hash;
        points->point[points->number].server = &of->server;
        points->number++;

        prev[0] = (u_char) hash;
        prev[1] = (u_char) (hash >> 8);
        prev[2] = (u_char) (hash >> 16);
        prev[3] = (u_char) (hash >> 24);
    }
}


static int ngx_libc_cdecl
ngx_http_zedcup_point_compare(const void *one, const void *two)
{
    uint32_t  a, b;

    a = ((ngx_http_zedcup_point_t *) one)->hash;
    b = ((ngx_http_zedcup_point_t *) two)->hash;

    return (a > b) - (a < b);
}


static void
ngx_http_zedcup_unique_points(ngx_http_zedcup_points_t *points)
{
    ngx_uint_t  i, j;

    for (i = 0, j = 1; j < points->number; j++) {
        if (points->point[i].hash != points->point[j].hash) {
            points->point[++i] = points->point[j];
        }
    }

    points->number = i + 1;
}


static ngx_http_zedcup_points_t *
ngx_http_zedcup_points_make(ngx_http_zedcup_group_t *group, void **list)
{
    ngx_uint_t                  i, count, weight;
    ngx_http_zedcup_points_t   *points;
    ngx_http_zedcup_pointed_t  *pointed;

    pointed = ngx_http_zedcup_pointed_list(group, &count);
    if (pointed == NULL) {
        return NULL;
    }

    weight = 0;

    for (i = 0; i < count; i++) {
        weight += pointed[i].weight;
    }

    points = ngx_alloc(offsetof(ngx_http_zedcup_points_t, point)
                       + weight * NGX_HTTP_ZEDCUP_POINTS
                         * sizeof(ngx_http_zedcup_point_t),
                       ngx_cycle->log);
    if (points == NULL) {
        ngx_free(pointed);
        return NULL;
    }

    points->number = 0;

    for (i = 0; i < count; i++) {
        ngx_http_zedcup_add_points(points, &pointed[i]);
    }

    ngx_qsort(points->point, points->number, sizeof(ngx_http_zedcup_point_t),
              ngx_http_zedcup_point_compare);

    ngx_http_zedcup_unique_points(points);

    *list = pointed;

    return points;
}


void
ngx_http_zedcup_method_refresh_points(ngx_http_zedcup_group_t *group)
{
    void                         *list;
    ngx_http_zedcup_points_t     *points;
    ngx_http_zedcup_hash_conf_t  *hcf;

    hcf = group->hash;

    if (hcf == NULL
        || group->points_version == group->peers->version
        || (group->points
            && ngx_current_msec - group->points_time
               < NGX_HTTP_ZEDCUP_POINTS_INTERVAL))
    {
        return;
    }

    group->points_time = ngx_current_msec;

    points = ngx_http_zedcup_points_make(group, &list);
    if (points == NULL) {
        return;             /* the next request tries again */
    }

    hcf->points = points;

    /* nobody keeps points from one call to the next */

    if (group->points) {
        ngx_free(group->points);
        ngx_free(group->pointed);
    }

    group->points = points;
    group->pointed = list;
}


#else


void
ngx_http_zedcup_method_refresh_points(ngx_http_zedcup_group_t *group)
{
}


#endif
