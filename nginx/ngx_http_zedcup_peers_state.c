/*
 * Edits in a file of zedcup_state_dir, for a start of nginx. Written by the
 * worker that made them, a moment later, beside the old one and then renamed;
 * read in the master (ngx_http_zedcup_peers_load.c). A file that cannot be
 * written is a warning.
 *
 * A line an edit: "peer ADDRESS GIVEN FLAGS WEIGHT MAX_FAILS FAIL_TIMEOUT
 * MAX_CONNS SERVER", numbers in decimal, or "removed ADDRESS".
 */

#include "ngx_http_zedcup_peers.h"


#define NGX_HTTP_ZEDCUP_STATE_DELAY  200
#define NGX_HTTP_ZEDCUP_STATE_LINE   1024


ngx_str_t *
ngx_http_zedcup_state_dir(ngx_http_zedcup_group_t *group)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_http_cycle_get_module_main_conf(group->cycle,
                                               ngx_http_zedcup_module);

    return zmcf->state_dir.len ? &zmcf->state_dir : NULL;
}


/* Zone names may be anything: what is no letter or digit is written in hex. */

u_char *
ngx_http_zedcup_state_path(ngx_http_zedcup_group_t *group, ngx_pool_t *pool,
    ngx_pid_t pid)
{
    u_char      *path, *p, c;
    ngx_str_t   *dir, *zone;
    ngx_uint_t   i;

    dir = ngx_http_zedcup_state_dir(group);
    zone = ngx_http_zedcup_zone_of(group);

    path = ngx_pnalloc(pool, dir->len + sizeof("/zone.") + zone->len * 3
                             + sizeof(".tmp") + NGX_INT64_LEN);
    if (path == NULL) {
        return NULL;
    }

    p = ngx_sprintf(path, "%V/zone.", dir);

    for (i = 0; i < zone->len; i++) {
        c = zone->data[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9') || c == '_' || c == '-')
        {
            *p++ = c;

        } else {
            p = ngx_sprintf(p, "%%%02Xd", (ngx_uint_t) c);
        }
    }

    if (pid) {
        p = ngx_sprintf(p, ".%P.tmp", pid);
    }

    *p = '\0';

    return path;
}


static u_char *
ngx_http_zedcup_state_line(u_char *p, u_char *end,
    ngx_http_zedcup_carried_t *carried)
{
    ngx_str_t                peer;
    zedcup_ffi_peer_edit_t  *edit;

    edit = &carried->edit;
    peer.data = (u_char *) edit->peer;
    peer.len = edit->peer_len;

    if (carried->removed) {
        return ngx_slprintf(p, end, "removed %V\n", &peer);
    }

    return ngx_slprintf(p, end, "peer %V %uD %uD %L %L %L %L %V\n", &peer,
                        edit->given,
                        edit->flags
                        | (carried->named ? NGX_HTTP_ZEDCUP_STATE_NAMED : 0),
                        edit->weight, edit->max_fails, edit->fail_timeout,
                        edit->max_conns, &carried->server);
}


static ngx_int_t
ngx_http_zedcup_state_text(ngx_http_zedcup_group_t *group, ngx_pool_t *pool,
    ngx_str_t *text)
{
    u_char                     *p, *end;
    ngx_uint_t                  i;
    ngx_array_t                *list;
    ngx_http_zedcup_carried_t  *carried;

    ngx_http_zedcup_peers_rlock(group->peers);

    group->saved = group->peers->edits;
    list = ngx_http_zedcup_carry_collect(group, pool);

    ngx_http_zedcup_peers_unlock(group->peers);

    if (list == NULL) {
        return NGX_ERROR;
    }

    text->data = ngx_pnalloc(pool, (list->nelts + 1)
                                   * NGX_HTTP_ZEDCUP_STATE_LINE);
    if (text->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(text->data, NGX_HTTP_ZEDCUP_STATE_HEAD,
                   sizeof(NGX_HTTP_ZEDCUP_STATE_HEAD) - 1);
    end = text->data + (list->nelts + 1) * NGX_HTTP_ZEDCUP_STATE_LINE;
    carried = list->elts;

    for (i = 0; i < list->nelts; i++) {
        p = ngx_http_zedcup_state_line(p, end, &carried[i]);
    }

    text->len = p - text->data;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_state_write_file(u_char *path, ngx_str_t *text)
{
    ssize_t   n;
    ngx_fd_t  fd;

    fd = ngx_open_file(path, NGX_FILE_WRONLY, NGX_FILE_TRUNCATE, 0600);
    if (fd == NGX_INVALID_FILE) {
        return NGX_ERROR;
    }

    n = ngx_write_fd(fd, text->data, text->len);

    if (ngx_close_file(fd) == NGX_FILE_ERROR || n != (ssize_t) text->len) {
        return NGX_ERROR;
    }

    return NGX_OK;
}


static void
ngx_http_zedcup_state_write(ngx_http_zedcup_group_t *group)
{
    u_char      *path, *temp;
    ngx_str_t    text;
    ngx_pool_t  *pool;

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, ngx_cycle->log);
    if (pool == NULL) {
        return;
    }

    path = ngx_http_zedcup_state_path(group, pool, 0);
    temp = ngx_http_zedcup_state_path(group, pool, ngx_pid);

    if (path && temp && ngx_http_zedcup_state_text(group, pool, &text) == NGX_OK
        && (ngx_http_zedcup_state_write_file(temp, &text) != NGX_OK
            || ngx_rename_file(temp, path) == NGX_FILE_ERROR))
    {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, ngx_errno,
                      "zedcup: zone \"%V\": its edits cannot be kept in \"%s\"",
                      ngx_http_zedcup_zone_of(group), path);

        (void) ngx_delete_file(temp);
    }

    ngx_destroy_pool(pool);
}


static void
ngx_http_zedcup_state_saver(ngx_event_t *ev)
{
    ngx_http_zedcup_group_t  *group = ev->data;

    if (group->cycle != ngx_cycle) {
        return;
    }

    ngx_http_zedcup_state_write(group);

    /* another worker's file of before may have come after one of now */

    if (group->saved != group->peers->edits) {
        ngx_http_zedcup_state_later(group);
    }
}


void
ngx_http_zedcup_state_later(ngx_http_zedcup_group_t *group)
{
    ngx_event_t  *ev;

    ev = &group->saver;

    if (ev->timer_set || ngx_event_timer_rbtree.root == NULL
        || ngx_http_zedcup_state_dir(group) == NULL)
    {
        return;
    }

    ev->handler = ngx_http_zedcup_state_saver;
    ev->data = group;
    ev->log = ngx_cycle->log;
    ev->cancelable = 1;

    ngx_add_timer(ev, NGX_HTTP_ZEDCUP_STATE_DELAY);
}


/* A worker ends: what it was about to write, unless a reload took it on. */

void
ngx_http_zedcup_state_flush(ngx_http_zedcup_group_t *group)
{
    if (group->saver.timer_set && !group->peers->moved) {
        ngx_http_zedcup_state_write(group);
    }
}
