/*
 * Edits in a file of zedcup_state_dir, for a start of nginx. Written by the
 * worker that made them, a moment later, beside the old one and then renamed;
 * read in the master. A file that cannot be written is a warning.
 *
 * A line an edit: "peer ADDRESS GIVEN FLAGS WEIGHT MAX_FAILS FAIL_TIMEOUT
 * MAX_CONNS SERVER", numbers in decimal, or "removed ADDRESS".
 */

#include "ngx_http_zedcup_peers.h"


#define NGX_HTTP_ZEDCUP_STATE_HEAD   "zedcup-peers 1\n"
#define NGX_HTTP_ZEDCUP_STATE_DELAY  200
#define NGX_HTTP_ZEDCUP_STATE_MAX    (2 * 1024 * 1024)
#define NGX_HTTP_ZEDCUP_STATE_LINE   1024
#define NGX_HTTP_ZEDCUP_STATE_NAMED  256       /* among the flags */


static ngx_str_t *
ngx_http_zedcup_state_dir(ngx_http_zedcup_group_t *group)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_http_cycle_get_module_main_conf(group->cycle,
                                               ngx_http_zedcup_module);

    return zmcf->state_dir.len ? &zmcf->state_dir : NULL;
}


/* Zone names may be anything: what is no letter or digit is written in hex. */

static u_char *
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


static ngx_int_t
ngx_http_zedcup_state_word(ngx_str_t *line, ngx_str_t *word)
{
    u_char  *p, *end;

    p = line->data;
    end = p + line->len;

    while (p < end && *p != ' ') {
        p++;
    }

    word->data = line->data;
    word->len = p - line->data;

    line->data = p < end ? p + 1 : p;
    line->len = end - line->data;

    return word->len ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_zedcup_state_number(ngx_str_t *line, int64_t max, int64_t *number)
{
    ngx_str_t  word;

    if (ngx_http_zedcup_state_word(line, &word) != NGX_OK) {
        return NGX_ERROR;
    }

    *number = ngx_atoi(word.data, word.len);

    return *number >= 0 && *number <= max ? NGX_OK : NGX_ERROR;
}


static ngx_int_t
ngx_http_zedcup_state_read_line(ngx_str_t line,
    ngx_http_zedcup_carried_t *carried)
{
    int64_t                  given, flags;
    ngx_str_t                word, peer;
    zedcup_ffi_peer_edit_t  *edit;

    ngx_memzero(carried, sizeof(ngx_http_zedcup_carried_t));

    edit = &carried->edit;

    if (ngx_http_zedcup_state_word(&line, &word) != NGX_OK
        || ngx_http_zedcup_state_word(&line, &peer) != NGX_OK)
    {
        return NGX_ERROR;
    }

    edit->peer = (const char *) peer.data;
    edit->peer_len = peer.len;

    if (word.len == 7 && ngx_strncmp(word.data, "removed", 7) == 0) {
        carried->removed = 1;
        return line.len == 0 ? NGX_OK : NGX_ERROR;
    }

    if (word.len != 4 || ngx_strncmp(word.data, "peer", 4) != 0
        || ngx_http_zedcup_state_number(&line, ZEDCUP_PEER_ALL, &given)
        || ngx_http_zedcup_state_number(&line, 511, &flags)
        || ngx_http_zedcup_state_number(&line, 65535, &edit->weight)
        || ngx_http_zedcup_state_number(&line, 1000000, &edit->max_fails)
        || ngx_http_zedcup_state_number(&line, 31536000, &edit->fail_timeout)
        || ngx_http_zedcup_state_number(&line, 1000000, &edit->max_conns)
        || ngx_http_zedcup_state_word(&line, &carried->server)
        || edit->weight == 0
        || carried->server.len > NGX_HTTP_ZEDCUP_PEER_TEXT)
    {
        return NGX_ERROR;
    }

    edit->given = given;
    edit->flags = flags & ZEDCUP_PEER_ALL;
    carried->named = (flags & NGX_HTTP_ZEDCUP_STATE_NAMED) != 0;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_state_read_file(u_char *path, ngx_pool_t *pool, ngx_str_t *text)
{
    ssize_t    n;
    ngx_fd_t   fd;
    ngx_int_t  rc;

    fd = ngx_open_file(path, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        return NGX_ERROR;
    }

    rc = NGX_ERROR;
    text->data = ngx_palloc(pool, NGX_HTTP_ZEDCUP_STATE_MAX);

    if (text->data) {
        n = ngx_read_fd(fd, text->data, NGX_HTTP_ZEDCUP_STATE_MAX);
        text->len = n > 0 ? n : 0;
        rc = n >= 0 ? NGX_OK : NGX_ERROR;
    }

    (void) ngx_close_file(fd);

    return rc;
}


static ngx_array_t *
ngx_http_zedcup_state_parse(ngx_http_zedcup_group_t *group, ngx_pool_t *pool,
    ngx_str_t *text)
{
    u_char                     *end, *p, *eol;
    size_t                      head;
    ngx_str_t                   line;
    ngx_array_t                *list;
    ngx_http_zedcup_carried_t  *carried;

    head = sizeof(NGX_HTTP_ZEDCUP_STATE_HEAD) - 1;

    list = ngx_array_create(pool, 16, sizeof(ngx_http_zedcup_carried_t));

    if (list == NULL || text->len < head
        || ngx_memcmp(text->data, NGX_HTTP_ZEDCUP_STATE_HEAD, head) != 0)
    {
        return NULL;
    }

    end = text->data + text->len;

    for (p = text->data + head; p < end; p = eol + 1) {

        eol = ngx_strlchr(p, end, '\n');
        if (eol == NULL) {
            eol = end;
        }

        line.data = p;
        line.len = eol - p;

        carried = ngx_array_push(list);
        if (carried == NULL) {
            return NULL;
        }

        if (ngx_http_zedcup_state_read_line(line, carried) != NGX_OK) {
            list->nelts--;

            ngx_log_error(NGX_LOG_WARN, group->cycle->log, 0,
                          "zedcup: zone \"%V\": a line of its kept edits is "
                          "not understood and left out",
                          ngx_http_zedcup_zone_of(group));
        }
    }

    return list;
}


void
ngx_http_zedcup_state_load(ngx_http_zedcup_group_t *group)
{
    u_char       *path;
    ngx_str_t     text;
    ngx_pool_t   *pool;
    ngx_array_t  *list;

    if (ngx_http_zedcup_state_dir(group) == NULL) {
        return;
    }

    pool = ngx_create_pool(NGX_DEFAULT_POOL_SIZE, group->cycle->log);
    if (pool == NULL) {
        return;
    }

    path = ngx_http_zedcup_state_path(group, pool, 0);

    if (path && ngx_http_zedcup_state_read_file(path, pool, &text) == NGX_OK) {

        list = ngx_http_zedcup_state_parse(group, pool, &text);

        if (list) {
            ngx_http_zedcup_carry_apply(group, list, pool);

        } else {
            ngx_log_error(NGX_LOG_WARN, group->cycle->log, 0,
                          "zedcup: \"%s\" is no file of kept edits", path);
        }

    } else if (path && ngx_errno != NGX_ENOENT) {
        ngx_log_error(NGX_LOG_WARN, group->cycle->log, ngx_errno,
                      "zedcup: \"%s\" cannot be read", path);
    }

    ngx_destroy_pool(pool);
}
