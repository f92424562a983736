/*
 * Peers by host name: the names of a zone. Who asks for a name is a worker slot
 * (ngx_http_zedcup_peers_asker.c), so that the next worker of the slot goes on
 * where one was killed. Addresses become peers of their own, marked as the
 * name's.
 */

#include "ngx_http_zedcup_peers.h"


/* nothing is asked without a bound */
#define NGX_HTTP_ZEDCUP_RESOLVE_TIMEOUT  30000


/* nginx makes one for http {} in any case; it may have no servers */

ngx_resolver_t *
ngx_http_zedcup_resolver(ngx_http_zedcup_group_t *group, ngx_msec_t *timeout)
{
    ngx_http_conf_ctx_t       *ctx;
    ngx_http_core_loc_conf_t  *clcf;

    ctx = (ngx_http_conf_ctx_t *)
              group->cycle->conf_ctx[ngx_http_module.index];
    clcf = ctx->loc_conf[ngx_http_core_module.ctx_index];

    *timeout = clcf->resolver_timeout == NGX_CONF_UNSET_MSEC
               || clcf->resolver_timeout == 0
               ? NGX_HTTP_ZEDCUP_RESOLVE_TIMEOUT : clcf->resolver_timeout;

    return clcf->resolver && clcf->resolver->connections.nelts
           ? clcf->resolver : NULL;
}


ngx_http_zedcup_peer_name_t **
ngx_http_zedcup_name_find(ngx_http_zedcup_peers_t *zp, ngx_str_t *text)
{
    ngx_http_zedcup_peer_name_t  **link;

    for (link = &zp->names; *link; link = &(*link)->next) {
        if ((*link)->text.len == text->len
            && ngx_strncasecmp((*link)->text.data, text->data, text->len) == 0)
        {
            return link;
        }
    }

    return NULL;
}


ngx_http_zedcup_peer_name_t *
ngx_http_zedcup_name_make(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec)
{
    ngx_http_zedcup_peer_name_t  *name;

    name = ngx_slab_calloc(zp->peers.shpool,
                           offsetof(ngx_http_zedcup_peer_name_t, data)
                           + spec->text.len);
    if (name == NULL) {
        return NULL;
    }

    name->text.data = name->data;
    name->text.len = spec->text.len;
    ngx_memcpy(name->data, spec->text.data, spec->text.len);

    name->edit = spec->edit;
    name->host_len = spec->host.len;
    name->port = spec->port;
    name->owner = ngx_process == NGX_PROCESS_WORKER ? ngx_worker : 0;

    return name;
}


/* Under the lock. */

ngx_int_t
ngx_http_zedcup_name_link(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_name_t *name, ngx_http_zedcup_peers_error_t *err)
{
    ngx_uint_t                     count;
    ngx_http_zedcup_peer_name_t  **link;

    count = 0;

    for (link = &group->peers->names; *link; link = &(*link)->next) {
        count++;
    }

    if (count >= NGX_HTTP_ZEDCUP_NAMES_MAX) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": no room for \"%V\": there are %d host names "
                   "already", ngx_http_zedcup_zone_of(group), &name->text,
                   NGX_HTTP_ZEDCUP_NAMES_MAX);
    }

    name->id = ++group->peers->last_name;
    *link = name;

    (void) __atomic_add_fetch(&group->peers->version, 1, __ATOMIC_SEQ_CST);

    return NGX_OK;
}


void
ngx_http_zedcup_name_apply(ngx_http_zedcup_peer_name_t *name,
    const zedcup_ffi_peer_edit_t *edit)
{
    zedcup_ffi_peer_edit_t  *own;

    own = &name->edit;

    if (edit->given & ZEDCUP_PEER_WEIGHT) {
        own->weight = edit->weight;
    }

    if (edit->given & ZEDCUP_PEER_MAX_FAILS) {
        own->max_fails = edit->max_fails;
    }

    if (edit->given & ZEDCUP_PEER_FAIL_TIMEOUT) {
        own->fail_timeout = edit->fail_timeout;
    }

    if (edit->given & ZEDCUP_PEER_MAX_CONNS) {
        own->max_conns = edit->max_conns;
    }

    own->flags = (own->flags & ~edit->given) | (edit->flags & edit->given);
}


ngx_int_t
ngx_http_zedcup_names_check(ngx_http_zedcup_group_t *group, ngx_str_t *text,
    ngx_http_zedcup_peers_error_t *err)
{
    ngx_msec_t  timeout;

    if (ngx_http_zedcup_resolver(group, &timeout) == NULL) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": peer \"%V\": a host name needs a \"resolver\" "
                   "in http {}", ngx_http_zedcup_zone_of(group), text);
    }

    if (ngx_process == NGX_PROCESS_HELPER) {
        return ngx_http_zedcup_peers_err(err,
                   "zone \"%V\": peer \"%V\": a host name needs a worker "
                   "process", ngx_http_zedcup_zone_of(group), text);
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_zedcup_names_add(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err)
{
    ngx_int_t                     rc;
    ngx_uint_t                    backup;
    ngx_http_zedcup_peers_t      *zp;
    ngx_http_zedcup_peer_name_t  *name;

    zp = group->peers;

    if (ngx_http_zedcup_names_check(group, &spec->text, err) != NGX_OK
        || ngx_http_zedcup_peers_check_backup(group, spec, err) != NGX_OK)
    {
        return NGX_ERROR;
    }

    name = ngx_http_zedcup_name_make(zp, spec);
    if (name == NULL) {
        return ngx_http_zedcup_peers_no_room(group, &spec->text, err);
    }

    ngx_http_zedcup_peers_lock(zp);

    rc = ngx_http_zedcup_peers_check(group, err);

    if (rc == NGX_OK
        && (ngx_http_zedcup_name_find(zp, &spec->text)
            || (!spec->named
                && ngx_http_zedcup_peers_find(zp, spec, &backup))))
    {
        rc = ngx_http_zedcup_peers_err(err,
                 "zone \"%V\": peer \"%V\" is there already",
                 ngx_http_zedcup_zone_of(group), &spec->text);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_zedcup_name_link(group, name, err);
    }

    ngx_http_zedcup_peers_unlock(zp);

    if (rc != NGX_OK) {
        ngx_slab_free(zp->peers.shpool, name);
        return rc;
    }

    ngx_http_zedcup_names_start(group);

    return NGX_OK;
}
