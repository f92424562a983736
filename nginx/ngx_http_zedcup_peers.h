/*
 * What the files ngx_http_zedcup_peers*.c share: edits of nginx's own upstream
 * zones (ngx.dynamic). Event-loop thread, or the master where it says so.
 *
 * nginx before 1.27.3 does not know who still uses a peer of a zone. There, a
 * peer is a larger struct of ours with nginx's own first, behind it a count per
 * worker of the requests that hold the peer; init, get and free of an upstream
 * are wrapped to keep the counts. A removed peer is unlinked at once, but goes
 * back to the slab only when nobody holds it and no worker is in the middle of
 * a get or free. From 1.27.3 nginx does all that itself.
 *
 * Lock order: the primary peers' lock, the backup peers' lock, the slab's mutex.
 * Whatever can fail is done before the first.
 */

#ifndef NGX_HTTP_ZEDCUP_PEERS_H_INCLUDED
#define NGX_HTTP_ZEDCUP_PEERS_H_INCLUDED

#include "ngx_http_zedcup_peers_types.h"


/* ---- ngx_http_zedcup_peers.c: a configuration's zones ------------------ */

#define ngx_http_zedcup_own_peer(p)  ((ngx_http_zedcup_peer_t *) (p))

/* Peers that nginx's own resolver keeps are not ours. */
#if (NGX_HTTP_ZEDCUP_NATIVE_REFS)
#define ngx_http_zedcup_is_own(p)  ((p)->host == NULL)
#else
#define ngx_http_zedcup_is_own(p)  1
#endif

/* ---- ngx_http_zedcup_peers_find.c: a zone by its name ------------------ */

/* Groups of the cycle; NULL where there are none. */
ngx_array_t *ngx_http_zedcup_groups(ngx_cycle_t *cycle);

/* Of this process's cycle; NULL with the error: unknown, cannot be edited. */
ngx_http_zedcup_group_t *ngx_http_zedcup_group_find(ngx_str_t *zone,
    ngx_http_zedcup_peers_error_t *err);
ngx_int_t ngx_http_zedcup_group_editable(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peers_error_t *err);

/* NGX_ERROR, always. */
ngx_int_t ngx_http_zedcup_peers_err(ngx_http_zedcup_peers_error_t *err,
    const char *fmt, ...);


/* ---- ngx_http_zedcup_peers_request.c: a request's init, get and free ---- */

ngx_int_t ngx_http_zedcup_peers_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);


/* ---- ngx_http_zedcup_peers_method.c: what methods keep of the peers ---- */

void ngx_http_zedcup_method_detect(ngx_http_zedcup_group_t *group);

/* Makes what `random` draws from fit the peers as they are. Must be called
 * while this worker is marked busy. */
ngx_int_t ngx_http_zedcup_method_refresh(ngx_http_zedcup_group_t *group);

/* ---- ngx_http_zedcup_peers_points.c: consistent hashes ----------------- */

/* Of the conf of nginx's hash module. */
ngx_uint_t ngx_http_zedcup_hash_is_consistent(void *conf);

/* Makes the points fit the peers, now and then. */
void ngx_http_zedcup_method_refresh_points(ngx_http_zedcup_group_t *group);


/* ---- ngx_http_zedcup_peers_slab.c: peers, made and given back ---------- */

/* Without any lock. NULL: no room. */
ngx_http_zedcup_peer_t *ngx_http_zedcup_peer_make(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec);

/* In the place of one that nginx made, whose strings it takes over. */
ngx_http_zedcup_peer_t *ngx_http_zedcup_peer_remake(
    ngx_slab_pool_t *shpool, ngx_uint_t nslots,
    ngx_http_upstream_rr_peer_t *peer);

/* Of one that was never linked. */
void ngx_http_zedcup_peer_discard(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_t *peer);

ngx_http_upstream_rr_peers_t *ngx_http_zedcup_backup_make(
    ngx_http_zedcup_peers_t *zp);


/* ---- ngx_http_zedcup_peers_holds.c: who holds which peer --------------- */

/* This worker's mark. While it is 1, no peer that was linked when it was set is
 * given back. */
void ngx_http_zedcup_busy(ngx_http_zedcup_peers_t *zp, uint32_t busy);

/* While busy: notes that a request has the peer of that name, which is in it.
 * NULL: none of the zone's, or nginx counts itself. */
ngx_http_zedcup_peer_t *ngx_http_zedcup_hold(ngx_http_zedcup_peers_t *zp,
    ngx_str_t *name);

/* While busy. 1: it was removed, and this worker has no more use for it. */
ngx_uint_t ngx_http_zedcup_unhold(ngx_http_zedcup_peer_t *own);

/* Under the lock, unlinked: gives it back once nobody uses it. */
void ngx_http_zedcup_peer_retire(ngx_http_zedcup_peers_t *zp,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_upstream_rr_peer_t *peer);

/* Without any lock: gives back what is not used any more. */
void ngx_http_zedcup_peers_reap(ngx_http_zedcup_peers_t *zp);

/* A worker starts: what one of its slot held that was killed. */
void ngx_http_zedcup_peers_recover(ngx_http_zedcup_peers_t *zp,
    ngx_uint_t slot);


/* ---- ngx_http_zedcup_peers_list.c: the list of a zone's peers ---------- */

void ngx_http_zedcup_peers_lock(ngx_http_zedcup_peers_t *zp);
void ngx_http_zedcup_peers_rlock(ngx_http_zedcup_peers_t *zp);
void ngx_http_zedcup_peers_unlock(ngx_http_zedcup_peers_t *zp);

/* All of these under the lock. Sums up after an edit; `changed`: the set of
 * peers or their weights. */
void ngx_http_zedcup_peers_recount(ngx_http_zedcup_peers_t *zp,
    ngx_uint_t changed);

/* Orders addresses, ports included. */
int ngx_http_zedcup_addr_cmp(struct sockaddr *one, socklen_t one_len,
    struct sockaddr *two, socklen_t two_len);

ngx_uint_t ngx_http_zedcup_peer_is(ngx_http_upstream_rr_peer_t *peer,
    ngx_http_zedcup_peer_spec_t *spec);
ngx_http_upstream_rr_peer_t *ngx_http_zedcup_peers_find(
    ngx_http_zedcup_peers_t *zp, ngx_http_zedcup_peer_spec_t *spec,
    ngx_uint_t *backup);

/* Returns 1 when the weight is another. */
ngx_uint_t ngx_http_zedcup_peer_apply(ngx_http_zedcup_peer_t *own,
    const zedcup_ffi_peer_edit_t *edit);

/* The list for a new peer. `made` is taken where it is needed. */
ngx_http_upstream_rr_peers_t *ngx_http_zedcup_peers_list(
    ngx_http_zedcup_peers_t *zp, ngx_uint_t backup,
    ngx_http_upstream_rr_peers_t **made);

/* The last link; _end(): NULL when the list is full. */
ngx_http_upstream_rr_peer_t **ngx_http_zedcup_peers_tail(
    ngx_http_upstream_rr_peers_t *peers);
ngx_http_upstream_rr_peer_t **ngx_http_zedcup_peers_end(
    ngx_http_upstream_rr_peers_t *peers);

/* How many primaries there were without a peer; `found` counts it. */
ngx_uint_t ngx_http_zedcup_peers_left(ngx_http_zedcup_peers_t *zp,
    ngx_http_zedcup_peer_spec_t *spec, ngx_uint_t *found);
void ngx_http_zedcup_peers_unlink(ngx_http_zedcup_peers_t *zp,
    ngx_http_upstream_rr_peers_t *peers, ngx_http_zedcup_peer_spec_t *spec);


/* ---- ngx_http_zedcup_peers_edit.c: the edits --------------------------- */

#define ngx_http_zedcup_zone_of(group)  (&(group)->uscf->shm_zone->shm.name)

/* Under the lock: may this worker still edit? */
ngx_int_t ngx_http_zedcup_peers_check(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peers_error_t *err);

/* The sum of the primaries' weights, as it would be. */
ngx_int_t ngx_http_zedcup_peers_check_weight(ngx_http_zedcup_group_t *group,
    ngx_uint_t weight, ngx_http_zedcup_peers_error_t *err);
ngx_int_t ngx_http_zedcup_peers_check_backup(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err);
ngx_int_t ngx_http_zedcup_peers_no_room(ngx_http_zedcup_group_t *group,
    ngx_str_t *text, ngx_http_zedcup_peers_error_t *err);

ngx_int_t ngx_http_zedcup_peers_add(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err);
ngx_int_t ngx_http_zedcup_peers_set(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err);
ngx_int_t ngx_http_zedcup_peers_remove(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err);


/* ---- ngx_http_zedcup_peers_replace.c: all peers at once ---------------- */

typedef struct {
    ngx_http_zedcup_group_t        *group;
    ngx_http_zedcup_peer_spec_t   **specs;    /* addresses, sorted */
    ngx_uint_t                      n;
    ngx_uint_t                      backups;  /* how many of them */
    ngx_http_zedcup_peer_spec_t    *names[NGX_HTTP_ZEDCUP_NAMES_MAX];
    ngx_uint_t                      nnames;
    ngx_http_zedcup_peer_name_t    *gone;     /* to be freed after the lock */
    ngx_atomic_uint_t               version;  /* that was looked at */
    ngx_http_upstream_rr_peers_t   *made;     /* for backups */
    ngx_http_zedcup_peers_error_t  *err;
} ngx_http_zedcup_replace_t;

ngx_int_t ngx_http_zedcup_peers_replace(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n,
    ngx_http_zedcup_peers_error_t *err);


/* ---- ngx_http_zedcup_peers_names.c: host names ------------------------- */

/* Is it an address of that name? */
#define ngx_http_zedcup_is_name_s(p, t)                                       \
    (ngx_http_zedcup_is_own(p) && ngx_http_zedcup_own_peer(p)->named          \
     && (p)->server.len == (t)->len                                           \
     && ngx_strncasecmp((p)->server.data, (t)->data, (t)->len) == 0)

/* Can names be used here at all? */
ngx_int_t ngx_http_zedcup_names_check(ngx_http_zedcup_group_t *group,
    ngx_str_t *text, ngx_http_zedcup_peers_error_t *err);

ngx_int_t ngx_http_zedcup_names_add(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_spec_t *spec, ngx_http_zedcup_peers_error_t *err);

/* That of http {}. NULL: it has no servers. */
ngx_resolver_t *ngx_http_zedcup_resolver(ngx_http_zedcup_group_t *group,
    ngx_msec_t *timeout);

/* Without the lock. NULL: no room. */
ngx_http_zedcup_peer_name_t *ngx_http_zedcup_name_make(
    ngx_http_zedcup_peers_t *zp, ngx_http_zedcup_peer_spec_t *spec);

/* Under the lock. The link that holds the name, or NULL. */
ngx_http_zedcup_peer_name_t **ngx_http_zedcup_name_find(
    ngx_http_zedcup_peers_t *zp, ngx_str_t *text);
ngx_int_t ngx_http_zedcup_name_link(ngx_http_zedcup_group_t *group,
    ngx_http_zedcup_peer_name_t *name, ngx_http_zedcup_peers_error_t *err);
void ngx_http_zedcup_name_apply(ngx_http_zedcup_peer_name_t *name,
    const zedcup_ffi_peer_edit_t *edit);


/* ---- ngx_http_zedcup_peers_asker.c: their addresses -------------------- */

/* This worker asks for the names that are its own. */
void ngx_http_zedcup_names_start(ngx_http_zedcup_group_t *group);
void ngx_http_zedcup_names_stop(ngx_http_zedcup_group_t *group);


/* ---- ngx_http_zedcup_peers_carry.c: edits over a reload ---------------- */

/* In the master. DECLINED: there was no such zone. */
ngx_int_t ngx_http_zedcup_carry(ngx_http_zedcup_group_t *group);


/* ---- ngx_http_zedcup_peers_changes.c: what the API did ----------------- */

/* In the master. */
void ngx_http_zedcup_carry_apply(ngx_http_zedcup_group_t *group,
    ngx_array_t *list, ngx_pool_t *pool);

/* Anywhere, under the lock. A list of ngx_http_zedcup_carried_t. */
ngx_array_t *ngx_http_zedcup_carry_collect(ngx_http_zedcup_group_t *group,
    ngx_pool_t *pool);


/* ---- ngx_http_zedcup_peers_state.c: edits in a file -------------------- */

#define NGX_HTTP_ZEDCUP_STATE_HEAD   "zedcup-peers 1\n"
#define NGX_HTTP_ZEDCUP_STATE_NAMED  256       /* among the flags */

/* NULL: there is none. */
ngx_str_t *ngx_http_zedcup_state_dir(ngx_http_zedcup_group_t *group);

/* With a process's id: its file before it is renamed. */
u_char *ngx_http_zedcup_state_path(ngx_http_zedcup_group_t *group,
    ngx_pool_t *pool, ngx_pid_t pid);

void ngx_http_zedcup_state_later(ngx_http_zedcup_group_t *group);
void ngx_http_zedcup_state_flush(ngx_http_zedcup_group_t *group);


/* ---- ngx_http_zedcup_peers_replace_names.c: its part about host names -- */

/* Sorts specs into addresses and names, and checks the names. */
ngx_int_t ngx_http_zedcup_replace_split(ngx_http_zedcup_replace_t *re,
    ngx_http_zedcup_peer_spec_t *specs, ngx_uint_t n);
ngx_int_t ngx_http_zedcup_replace_make_names(ngx_http_zedcup_replace_t *re);
void ngx_http_zedcup_replace_discard_names(ngx_http_zedcup_replace_t *re);

/* Under the lock. The name that a peer belongs to and stays for, or NULL. */
ngx_http_zedcup_peer_spec_t *ngx_http_zedcup_replace_name_of(
    ngx_http_zedcup_replace_t *re, ngx_http_upstream_rr_peer_t *peer,
    ngx_uint_t backup);
ngx_int_t ngx_http_zedcup_replace_any_left(ngx_http_zedcup_replace_t *re);
ngx_uint_t ngx_http_zedcup_replace_link_names(ngx_http_zedcup_replace_t *re);


/* ---- ngx_http_zedcup_peers_load.c -------------------------------------- */

void ngx_http_zedcup_state_load(ngx_http_zedcup_group_t *group);


/* ---- ngx_http_zedcup_peers_spec.c: a peer's text ----------------------- */

ngx_int_t ngx_http_zedcup_spec_refuse(ngx_str_t *zone, ngx_str_t *text,
    const char *problem, ngx_http_zedcup_peers_error_t *err);

/* Reads edit->peer; the texts live in the pool, or in the caller's. */
ngx_int_t ngx_http_zedcup_spec_parse(ngx_pool_t *pool, ngx_str_t *zone,
    const zedcup_ffi_peer_edit_t *edit, ngx_http_zedcup_peer_spec_t *spec,
    ngx_http_zedcup_peers_error_t *err);


#endif /* NGX_HTTP_ZEDCUP_PEERS_H_INCLUDED */
