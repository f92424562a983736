/*
 * A peer's text, as a caller or a file has it: an address or a host name.
 */

#include "ngx_http_zedcup_peers.h"


static const char *
ngx_http_zedcup_host_problem(ngx_url_t *u)
{
    u_char      *p;

    ngx_uint_t   letters;

    if (u->no_port) {
        return "a port is required, as in \"127.0.0.1:8080\"";
    }

    letters = 0;

    for (p = u->host.data; p < u->host.data + u->host.len; p++) {
        if ((*p < 'a' || *p > 'z') && (*p < 'A' || *p > 'Z')
            && (*p < '0' || *p > '9')
            && *p != '-' && *p != '.' && *p != '_')
        {
            return "invalid host";
        }

        letters |= *p != '.' && (*p < '0' || *p > '9');
    }

    return letters ? NULL : "invalid address";
}


static const char *
ngx_http_zedcup_text_problem(ngx_str_t *text)
{
    ngx_uint_t  i;

    if (text->len == 0) {
        return "empty";
    }

    if (text->len > NGX_HTTP_ZEDCUP_PEER_TEXT) {
        return "too long";
    }

    for (i = 0; i < text->len; i++) {
        if (text->data[i] <= ' ' || text->data[i] == 0x7f) {
            return "blanks and control characters are not allowed";
        }
    }

    return NULL;
}


/* What may be wrong with a peer's text, where nothing of it fits into an error
 * line as it is. */

ngx_int_t
ngx_http_zedcup_spec_refuse(ngx_str_t *zone, ngx_str_t *text,
    const char *problem, ngx_http_zedcup_peers_error_t *err)
{
    size_t      len;
    u_char      shown[64];
    ngx_uint_t  i;

    len = ngx_min(text->len, sizeof(shown));

    for (i = 0; i < len; i++) {
        shown[i] = text->data[i] < ' ' || text->data[i] == 0x7f
                   ? '?' : text->data[i];
    }

    return ngx_http_zedcup_peers_err(err,
               "zone \"%V\": invalid peer \"%*s\"%s: %s", zone, len, shown,
               text->len > len ? "..." : "", problem);
}


ngx_int_t
ngx_http_zedcup_spec_parse(ngx_pool_t *pool, ngx_str_t *zone,
    const zedcup_ffi_peer_edit_t *edit, ngx_http_zedcup_peer_spec_t *spec,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_url_t    u;
    const char  *problem;

    ngx_memzero(spec, sizeof(ngx_http_zedcup_peer_spec_t));
    ngx_memzero(&u, sizeof(ngx_url_t));

    spec->edit = *edit;
    spec->text.data = (u_char *) edit->peer;
    spec->text.len = edit->peer_len;

    problem = ngx_http_zedcup_text_problem(&spec->text);

    if (problem) {
        return ngx_http_zedcup_spec_refuse(zone, &spec->text, problem, err);
    }

    u.url = spec->text;
    u.no_resolve = 1;

    if (ngx_parse_url(pool, &u) != NGX_OK) {
        return ngx_http_zedcup_spec_refuse(zone, &spec->text,
                                           u.err ? u.err : "no memory", err);
    }

    spec->server = spec->text;

    if (u.family == AF_UNIX) {
        problem = NULL;

    } else {
        problem = ngx_http_zedcup_host_problem(&u);
    }

    if (problem && (u.no_port || u.naddrs == 0)) {
        return ngx_http_zedcup_spec_refuse(zone, &spec->text, problem, err);
    }

    if (u.naddrs == 0) {
        spec->host = u.host;
        spec->port = u.port;
        return NGX_OK;
    }

    spec->sockaddr = u.addrs[0].sockaddr;
    spec->socklen = u.addrs[0].socklen;
    spec->name = u.addrs[0].name;

    return NGX_OK;
}
