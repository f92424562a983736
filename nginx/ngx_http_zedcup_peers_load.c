/*
 * Edits from a file of zedcup_state_dir, read in the master when nginx starts.
 * What is not understood is left out, with a warning.
 */

#include "ngx_http_zedcup_peers.h"


#define NGX_HTTP_ZEDCUP_STATE_MAX    (2 * 1024 * 1024)


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
