/*
 * What the C files of the module share, and the seam to the C++ side.
 *
 * Everything declared here runs on the worker's event-loop thread (or in the
 * master, where it says so), except ngx_http_zedcup_worker_wake().
 */

#ifndef NGX_HTTP_ZEDCUP_H_INCLUDED
#define NGX_HTTP_ZEDCUP_H_INCLUDED

#ifdef __cplusplus
extern "C" {
#endif

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


/* The channels of one configuration cycle: made in the master, before fork. */
typedef struct {
    ngx_uint_t        nslots;
    int              *slots;          /* an eventfd per worker, -1: none */
    int               leader_fd;      /* locked by the leader, -1: none */
} ngx_http_zedcup_channels_t;


typedef struct {
    ngx_shm_zone_t               *zone;
    size_t                        zone_size;
    ngx_http_zedcup_channels_t    channels;
    ngx_array_t                   groups;     /* upstreams with a zone */
    ngx_str_t                     state_dir;
    ngx_array_t                   upstreams;  /* zedcup_upstream_t *, of http
                                               * {} and of stream {} */
    ngx_uint_t                    sticky;     /* one of them is */
    ngx_resolver_t               *resolver;   /* of http {} */
    ngx_msec_t                    resolver_timeout;
    ngx_str_t                     store;      /* options as JSON, or empty */
} ngx_http_zedcup_main_conf_t;


extern ngx_module_t  ngx_http_zedcup_module;


/* ---- ngx_http_zedcup_errors.c: what this node holds against its hosts -- */

typedef struct ngx_http_zedcup_errors_s  ngx_http_zedcup_errors_t;

/* Names a host: a hash of store, instance, place, address and port. */
typedef struct {
    uint64_t          a;
    uint64_t          b;
} ngx_http_zedcup_host_id_t;

/* Times are ngx_current_msec, which all processes of a node share. */
typedef struct {
    ngx_http_zedcup_host_id_t   id;
    uint64_t                    last;       /* error; 0: none */
    uint64_t                    window;     /* ms that an error counts */
    uint64_t                    checked;    /* unix time; 0: never */
    uint32_t                    count;      /* of errors */
    uint8_t                     used;
    uint8_t                     marked;     /* out of rotation on this node */
    uint8_t                     told;       /* as an event of this node */
} ngx_http_zedcup_host_errors_t;

typedef void (*ngx_http_zedcup_errors_visit_pt)(void *ctx,
    const ngx_http_zedcup_host_errors_t *host);

/* Of a zone of `zone_size` bytes the table takes a sixteenth, at most 1M. */
size_t ngx_http_zedcup_errors_size(size_t zone_size);
void ngx_http_zedcup_errors_init(ngx_http_zedcup_errors_t *table,
    size_t zone_size);

/* Without the lock: a number that changes with the marks, and when the next
 * one ends (0: there is none). */
uint64_t ngx_http_zedcup_errors_version(const ngx_http_zedcup_errors_t *table);
uint64_t ngx_http_zedcup_errors_next_end(const ngx_http_zedcup_errors_t *table);

/* The rest under the lock. Adds `n` errors; the count starts anew when the one
 * before is older than the window. Returns 1 when it reached `max` (0: never)
 * and so set the mark. `count` is the new one, 0 when the table has no room. */
ngx_uint_t ngx_http_zedcup_errors_add(ngx_http_zedcup_errors_t *table,
    const ngx_http_zedcup_host_id_t *id, uint32_t n, uint64_t window,
    uint32_t max, uint64_t now, uint32_t *count);

/* The entry of a host; where `make` is not 0 it is made. NULL: none, no room */
ngx_http_zedcup_host_errors_t *ngx_http_zedcup_errors_find(
    ngx_http_zedcup_errors_t *table, const ngx_http_zedcup_host_id_t *id,
    ngx_uint_t make);

/* After a change of an entry's mark, its `told`, or when it ends. */
void ngx_http_zedcup_errors_touch(ngx_http_zedcup_errors_t *table);

/* Forgets a host. Returns 1 when it was marked. */
ngx_uint_t ngx_http_zedcup_errors_drop(ngx_http_zedcup_errors_t *table,
    const ngx_http_zedcup_host_id_t *id);

/* Forgets the marked hosts whose last error is a window ago: calls visit for
 * each before. It must not throw. */
void ngx_http_zedcup_errors_expire(ngx_http_zedcup_errors_t *table,
    uint64_t now, ngx_http_zedcup_errors_visit_pt visit, void *ctx);

/* Calls visit, which must not throw, for each marked host. */
void ngx_http_zedcup_errors_marked(const ngx_http_zedcup_errors_t *table,
    ngx_http_zedcup_errors_visit_pt visit, void *ctx);


/* ---- ngx_http_zedcup_starts.c: when hosts began to serve ---------------- */

typedef struct ngx_http_zedcup_starts_s  ngx_http_zedcup_starts_t;

enum {
    NGX_HTTP_ZEDCUP_START_STAYS = 0,  /* serves as before */
    NGX_HTTP_ZEDCUP_START_COMES,      /* did not serve before */
    NGX_HTTP_ZEDCUP_START_GOES        /* does not serve */
};

size_t ngx_http_zedcup_starts_size(size_t zone_size);
void ngx_http_zedcup_starts_init(ngx_http_zedcup_starts_t *table,
    size_t zone_size);

/* Under the zone's lock. Returns since when the host serves; 0: for long. */
uint64_t ngx_http_zedcup_starts_note(ngx_http_zedcup_starts_t *table,
    uint64_t id, ngx_uint_t what, uint64_t now);


/* ---- ngx_http_zedcup_zone.c: the truth between the workers ------------- */

typedef struct {
    uint64_t          revision;       /* of the content */
    ngx_uint_t        refused;        /* newer content found no room */
    const u_char     *name;
    size_t            name_len;
    const u_char     *json;           /* NULL: as before, or none at all */
    size_t            json_len;
} ngx_http_zedcup_zone_entry_t;

/* Called for every entry under the zone's lock: must copy and not throw. */
typedef void (*ngx_http_zedcup_zone_visit_pt)(void *ctx,
    const ngx_http_zedcup_zone_entry_t *entry);

typedef struct {
    uint64_t          seq;            /* raised by every change of content */
    uint64_t          synced_revision;
    ngx_uint_t        synced;         /* the store was read at least once */
    uint64_t          restored;       /* else: content that was saved at that
                                         unix time; 0: none */
    uint64_t          troubled;       /* unix time since when `error` is not
                                         empty; else 0 */
    uint64_t          kicks;
    char              error[256];     /* why the store cannot be read, or "" */
} ngx_http_zedcup_zone_state_t;

ngx_int_t ngx_http_zedcup_zone_add(ngx_conf_t *cf,
    ngx_http_zedcup_main_conf_t *zmcf);

/* Names the store that this worker follows, by any hash of its address. */
void ngx_http_zedcup_zone_set_store(uint64_t store);

/* Cheap, without the lock: did anything change since `seen`? */
ngx_uint_t ngx_http_zedcup_zone_changed(uint64_t seen);

/* Visits all entries, with the content of those that changed after `seen`.
 * NGX_DECLINED: the content is another store's; only state->seq is set. */
ngx_int_t ngx_http_zedcup_zone_read(uint64_t seen,
    ngx_http_zedcup_zone_visit_pt visit, void *ctx,
    ngx_http_zedcup_zone_state_t *state);

/* An empty name is the global settings. NGX_ERROR: no room for `json_len`
 * bytes; what was there stays, and the entry is marked as refused. */
ngx_int_t ngx_http_zedcup_zone_put(const u_char *name, size_t name_len,
    uint64_t revision, const u_char *json, size_t json_len);
size_t ngx_http_zedcup_zone_size(void);
void ngx_http_zedcup_zone_remove(const u_char *name, size_t name_len);
void ngx_http_zedcup_zone_set_synced(uint64_t revision);
void ngx_http_zedcup_zone_set_restored(uint64_t saved);
void ngx_http_zedcup_zone_set_error(const u_char *text, size_t len);
void ngx_http_zedcup_zone_kick(void);

/* The table of errors: for the calls that need no lock, and for the others. */
ngx_http_zedcup_errors_t *ngx_http_zedcup_zone_errors(void);
ngx_http_zedcup_errors_t *ngx_http_zedcup_zone_errors_lock(void);
void ngx_http_zedcup_zone_errors_unlock(void);

/* ngx_http_zedcup_starts_note() on the zone's table, at ngx_current_msec. */
uint64_t ngx_http_zedcup_zone_note_start(uint64_t id, ngx_uint_t what);


/* ---- ngx_http_zedcup_channels.c: what a node's workers share ----------- */

/* In the master, before fork. */
ngx_int_t ngx_http_zedcup_channels_open(ngx_cycle_t *cycle,
    ngx_http_zedcup_main_conf_t *zmcf);

/* Makes the workers look at the zone, all but this one. */
void ngx_http_zedcup_channels_ring(ngx_http_zedcup_channels_t *channels);


/* ---- ngx_http_zedcup_worker.c: this worker's place among them ----------- */

/* Begins this worker's place in the node; once is enough. */
ngx_int_t ngx_http_zedcup_worker_start(ngx_http_zedcup_main_conf_t *zmcf);
ngx_uint_t ngx_http_zedcup_worker_leads(void);
void ngx_http_zedcup_worker_stop(void);
void ngx_http_zedcup_worker_leave(void);

/* Between start and the event loop: works for the actors until done() says so,
 * at most `patience` ms. */
void ngx_http_zedcup_worker_await(ngx_uint_t (*done)(void),
    ngx_msec_t patience);

/* Makes the loop call zedcup_bridge_drain() soon. Any thread. */
void ngx_http_zedcup_worker_wake(void);

/* Makes the other workers of this node look at the zone. */
void ngx_http_zedcup_worker_ring(void);

void ngx_http_zedcup_log(ngx_uint_t level, const char *text, size_t len);


/* ---- ngx_http_zedcup_peers*.c: edits of nginx's own upstream zones ----- */

/* Takes note of the upstreams that have a zone. */
ngx_int_t ngx_http_zedcup_peers_configure(ngx_conf_t *cf,
    ngx_http_zedcup_main_conf_t *zmcf);
void ngx_http_zedcup_peers_init_process(ngx_cycle_t *cycle);
void ngx_http_zedcup_peers_exit_process(ngx_cycle_t *cycle);

/* The new configuration is in force: what a reload took on is the old one's no
 * more. In the master. */
void ngx_http_zedcup_carry_done(void);


/* ---- ngx_http_zedcup_track.c: requests that a picker sent to a peer ---- */

/* Keeps `pick` until r picks again or ends, and gives it to
 * zedcup_tracked_end() then. NGX_ERROR: no memory. */
ngx_int_t ngx_http_zedcup_track(ngx_http_request_t *r, void *pick);

/* In ffi_picker.cpp. latency: ms until the answer's header came. */
void zedcup_tracked_end(void *pick, ngx_int_t answered, ngx_msec_t latency);


/* ---- store_directive.cpp, noexcept -------------------------------------- */

/* A URL and `name=value` to the options of the runtime as JSON, in the pool.
 * NGX_DECLINED: `why` says what is wrong. */
ngx_int_t zedcup_store_check(ngx_pool_t *pool, const ngx_str_t *args,
    size_t count, ngx_str_t *json, ngx_str_t *why);

/* Starts the runtime of this worker where the configuration has zedcup_store
 * and it does not run; logs what is in the way. Lua's init_worker may come
 * before our own. */
void zedcup_store_start(void);


/* ---- ngx_http_zedcup_status.c ------------------------------------------- */

char *ngx_http_zedcup_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

/* In bridge_status.cpp, noexcept: the status as JSON in the pool, of one
 * instance or (empty) of all. NGX_DECLINED: zedcup does not run in this worker;
 * NGX_ABORT: there is no such instance; NGX_ERROR: no memory. */
ngx_int_t zedcup_status(ngx_pool_t *pool, const ngx_str_t *instance,
    ngx_str_t *json);


/* ---- bridge.cpp: the actors' side, all noexcept ------------------------ */

/* Takes a budget of messages from the actors.
 * Returns 1 when more wait and the caller should come back. */
ngx_int_t zedcup_bridge_drain(void);

/* The zone may have changed. */
void zedcup_bridge_look(void);

/* This worker won or gave up the node's leadership. */
void zedcup_bridge_lead(ngx_uint_t leads);

/* The worker begins to quit gracefully: let the Lua dispatcher leave. */
void zedcup_bridge_exiting(void);

/* Ends the actors within a deadline. NGX_ERROR: a thread is still running and
 * may still wake the worker; the process ends without destructors. */
ngx_int_t zedcup_bridge_stop(void);


#ifdef __cplusplus
}
#endif

#endif /* NGX_HTTP_ZEDCUP_H_INCLUDED */
