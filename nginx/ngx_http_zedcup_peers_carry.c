/*
 * Edits over a reload: taken from the old configuration's zone while that is
 * still mapped, and applied to the new one's. From then on the old workers refuse
 * edits, unless the new configuration fails after all.
 */

#include "ngx_http_zedcup_peers.h"


/* A worker that was killed inside a lock must not keep the master. */
#define NGX_HTTP_ZEDCUP_CARRY_WAIT  2000


static void ngx_http_zedcup_carry_failed(void *data);


/* of a configuration that may still fail */
static ngx_array_t  *ngx_http_zedcup_moved;


/* As ngx_rwlock_wlock() does it, but not for ever. */

static ngx_int_t
ngx_http_zedcup_carry_lock_list(ngx_http_upstream_rr_peers_t *peers)
{
    ngx_uint_t  i;

    for (i = 0; i < NGX_HTTP_ZEDCUP_CARRY_WAIT; i++) {

        if (ngx_atomic_cmp_set(&peers->rwlock, 0, (ngx_atomic_uint_t) -1)) {
            return NGX_OK;
        }

        ngx_msleep(1);
    }

    return NGX_BUSY;
}


static ngx_int_t
ngx_http_zedcup_carry_lock(ngx_http_zedcup_group_t *old)
{
    ngx_http_upstream_rr_peers_t  *peers;

    peers = &old->peers->peers;

    if (ngx_http_zedcup_carry_lock_list(peers) != NGX_OK) {
        return NGX_BUSY;
    }

    if (peers->next
        && ngx_http_zedcup_carry_lock_list(peers->next) != NGX_OK)
    {
        ngx_rwlock_unlock(&peers->rwlock);
        return NGX_BUSY;
    }

    return NGX_OK;
}


/* From here on the old workers' edits would be lost: they are refused. */

static ngx_int_t
ngx_http_zedcup_carry_mark(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_group_t *old)
{
    ngx_pool_cleanup_t         *cln;
    ngx_http_zedcup_peers_t   **moved;

    if (ngx_http_zedcup_moved == NULL) {

        cln = ngx_pool_cleanup_add(group->cycle->pool, 0);
        if (cln == NULL) {
            return NGX_ERROR;
        }

        ngx_http_zedcup_moved = ngx_array_create(group->cycle->pool, 4,
                                          sizeof(ngx_http_zedcup_peers_t *));
        if (ngx_http_zedcup_moved == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_zedcup_carry_failed;
        cln->data = ngx_http_zedcup_moved;
    }

    moved = ngx_array_push(ngx_http_zedcup_moved);
    if (moved == NULL) {
        return NGX_ERROR;
    }

    *moved = old->peers;
    old->peers->moved = 1;

    return NGX_OK;
}


/* The new configuration's pool ends: if it never came into force, the old one
 * goes on. */

static void
ngx_http_zedcup_carry_failed(void *data)
{
    ngx_uint_t                  i;
    ngx_array_t                *list = data;
    ngx_http_zedcup_peers_t   **moved;

    if (list != ngx_http_zedcup_moved) {
        return;
    }

    ngx_http_zedcup_moved = NULL;
    moved = list->elts;

    for (i = 0; i < list->nelts; i++) {
        moved[i]->moved = 0;
    }
}


void
ngx_http_zedcup_carry_done(void)
{
    ngx_http_zedcup_moved = NULL;
}


static ngx_http_zedcup_group_t *
ngx_http_zedcup_carry_from(ngx_http_zedcup_group_t *group)
{
    ngx_http_zedcup_group_t        *old;
    ngx_http_zedcup_peers_error_t   err;
    u_char                          text[256];

    err.text = text;
    err.size = sizeof(text);

    old = ngx_http_zedcup_group_find(ngx_http_zedcup_zone_of(group), &err);

    return old && old != group && old->peers && !old->shared ? old : NULL;
}


ngx_int_t
ngx_http_zedcup_carry(ngx_http_zedcup_group_t *group)
{
    ngx_pool_t               *pool;
    ngx_array_t              *list;
    ngx_http_zedcup_group_t  *old;

    old = ngx_http_zedcup_carry_from(group);

    if (old == NULL) {
        return NGX_DECLINED;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, group->cycle->log);
    if (pool == NULL) {
        return NGX_ERROR;
    }

    list = NULL;

    if (ngx_http_zedcup_carry_lock(old) == NGX_OK) {
        list = ngx_http_zedcup_carry_collect(old, pool);

        if (list && ngx_http_zedcup_carry_mark(group, old) != NGX_OK) {
            list = NULL;
        }

        ngx_http_zedcup_peers_unlock(old->peers);
    }

    if (list) {
        ngx_http_zedcup_carry_apply(group, list, pool);

    } else {
        ngx_log_error(NGX_LOG_ERR, group->cycle->log, 0,
                      "zedcup: zone \"%V\": its edits cannot be read and are "
                      "lost", ngx_http_zedcup_zone_of(group));
    }

    ngx_destroy_pool(pool);

    return NGX_OK;
}
