/*
 * TLS sessions of native upstreams: one a host and side, kept with the host and
 * given to its next connection.
 */

#include "zedcup_way.h"


ngx_int_t
zedcup_session_set(zedcup_way_t *way, ngx_connection_t *c)
{
#if (NGX_SSL)
    void  **kept;

    kept = way ? zedcup_way_session(way) : NULL;

    return ngx_ssl_set_session(c, kept ? *kept : NULL);
#else
    return NGX_OK;
#endif
}


void
zedcup_session_save(zedcup_way_t *way, ngx_connection_t *c)
{
#if (NGX_SSL)
    void             **kept;
    ngx_ssl_session_t  *fresh;

    kept = way ? zedcup_way_session(way) : NULL;
    fresh = kept ? ngx_ssl_get_session(c) : NULL;

    if (fresh == NULL) {
        return;
    }

    zedcup_session_free(*kept);
    *kept = fresh;
#endif
}


void
zedcup_session_free(void *session)
{
#if (NGX_SSL)
    if (session) {
        ngx_ssl_free_session(session);
    }
#endif
}
