/*
 * The functions that Lua reaches by FFI; lua/zedcup/ffi.lua repeats these
 * declarations. All run on the worker's event-loop thread, never throw and
 * never block. Strings cross as pointer and length.
 *
 * Raise ZEDCUP_FFI_ABI with every change: Lua compares it on load.
 */

#ifndef ZEDCUP_FFI_H_INCLUDED
#define ZEDCUP_FFI_H_INCLUDED

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZEDCUP_FFI_ABI  5

#define ZEDCUP_EXPORT  __attribute__((visibility("default")))

/* Return codes besides non-negative results. */
#define ZEDCUP_FFI_ERROR     (-1)   /* text in the caller's buffer, if any */
#define ZEDCUP_FFI_DECLINED  (-2)   /* nothing to do here */


/* One instance's content of one revision, with its own round robin. */
typedef struct zedcup_instance_s  zedcup_instance_t;

enum {
    ZEDCUP_MESSAGE_ANSWER = 1,    /* id; text: the error, empty when well;
                                     name: what was asked for, if anything */
    ZEDCUP_MESSAGE_PUBLISH = 2,   /* name, revision, text: the peers as JSON */
    ZEDCUP_MESSAGE_REMOVE = 3,    /* name */
    ZEDCUP_MESSAGE_EVENT = 4      /* a host went down or came up. name: of the
                                     instance; id: the scopes, a sum of 1
                                     cluster, 2 node, 4 worker; text: JSON with
                                     up, pool, host, address, port, and
                                     healthcheck, err where there are */
};

typedef struct {
    int          kind;
    uint64_t     id;
    uint64_t     revision;
    const char  *name;
    size_t       name_len;
    const char  *text;
    size_t       text_len;
} zedcup_ffi_message_t;

typedef struct {
    int          running;         /* zedcup_ffi_runtime_start() was called */
    int          synced;          /* the store was read at least once */
    int          leads;           /* this worker reads the store */
    uint64_t     revision;        /* of the store, applied in this worker */
    const char  *trouble;         /* why the store cannot be read; "" */
    size_t       trouble_len;     /* valid until the next call into zedcup */
    int          settling;        /* hosts are being taken down or brought up:
                                     events may come of it */
} zedcup_ffi_state_t;

enum {
    ZEDCUP_ASK_CONFIGURE = 1,     /* the global settings */
    ZEDCUP_ASK_CONFIGURE_INSTANCE = 2,
    ZEDCUP_ASK_REMOVE_INSTANCE = 3,
    ZEDCUP_ASK_SYNCED = 4,        /* answered once the store has been read */
    /* About hosts; json: {"pool","host","address","port"}, by index. */
    ZEDCUP_ASK_STATE = 5,         /* answers [[pool, host, error_count,
                                     last_error, last_check], …] */
    ZEDCUP_ASK_COUNT_ERROR = 6,   /* answers the count */
    ZEDCUP_ASK_RESET_ERRORS = 7,
    ZEDCUP_ASK_NOTE_CHECK = 8,
    ZEDCUP_ASK_TAKE_DOWN = 9,
    ZEDCUP_ASK_BRING_UP = 10
};


ZEDCUP_EXPORT uint32_t zedcup_ffi_abi_version(void);

/* Checks the options of zedcup.init (JSON). On error the text, cut to *err_len,
 * is in err and its length in *err_len. */
ZEDCUP_EXPORT int zedcup_ffi_options_check(const char *json, size_t len,
    char *err, size_t *err_len);

/* Starts the actors in this worker. sema is an ngx_http_lua_sema_t, posted
 * when messages wait; it must live as long as the worker.
 * DECLINED: not a worker process, or running already. */
ZEDCUP_EXPORT int zedcup_ffi_runtime_start(const char *json, size_t len,
    void *sema, char *err, size_t *err_len);

ZEDCUP_EXPORT void zedcup_ffi_runtime_state(zedcup_ffi_state_t *out);

/* A number that changes whenever any instance, the global settings or the
 * state above may have changed in this worker. Valid as long as the worker. */
ZEDCUP_EXPORT const volatile uint32_t *zedcup_ffi_epoch_get(void);

/* Hands over up to max messages; their strings live until the next call.
 * Returns how many. */
ZEDCUP_EXPORT int zedcup_ffi_messages_take(zedcup_ffi_message_t *out, int max);

/* Orders something; its answer comes as a message with the returned id.
 * Every ask is answered, within seconds also when the store is gone.
 * Returns 0 when the runtime is not running. */
ZEDCUP_EXPORT uint64_t zedcup_ffi_ask_submit(int what, const char *name,
    size_t name_len, const char *json, size_t json_len);

/* The current content of an instance, or NULL. Give it back with release. */
ZEDCUP_EXPORT zedcup_instance_t *zedcup_ffi_instance_acquire(const char *name,
    size_t name_len);
ZEDCUP_EXPORT void zedcup_ffi_instance_release(zedcup_instance_t *instance);

/* The configuration with defaults as JSON; the view lives with the instance. */
ZEDCUP_EXPORT void zedcup_ffi_instance_json(zedcup_instance_t *instance,
    const char **json, size_t *len);

/* Chooses a host: its 0-based place in the 0-based pool, or DECLINED when
 * every usable host is among the `tried` places. */
ZEDCUP_EXPORT int zedcup_ffi_instance_pick(zedcup_instance_t *instance,
    uint32_t pool, const uint32_t *tried, size_t tried_count);

/* As above with a key, which the method `hash` chooses by. */
ZEDCUP_EXPORT int zedcup_ffi_instance_pick_by(zedcup_instance_t *instance,
    uint32_t pool, const uint32_t *tried, size_t tried_count, const char *key,
    size_t key_len);

/* Whether the pool's choices depend on tickets. */
ZEDCUP_EXPORT int zedcup_ffi_pool_wants_tickets(zedcup_instance_t *instance,
    uint32_t pool);

/* A request under way at the host at that place, in the caller's memory. Every
 * ticket that was opened must be closed, once or more often. */
typedef struct {
    zedcup_instance_t  *instance;     /* NULL: closed */
    uint32_t            pool;
    uint32_t            host;
    uint64_t            begun_us;
} zedcup_ticket_t;

ZEDCUP_EXPORT void zedcup_ffi_ticket_open(zedcup_ticket_t *ticket,
    zedcup_instance_t *instance, uint32_t pool, uint32_t host);

/* The host has answered, or (failed) will not. */
ZEDCUP_EXPORT void zedcup_ffi_ticket_answered(zedcup_ticket_t *ticket,
    int failed);
ZEDCUP_EXPORT void zedcup_ffi_ticket_close(zedcup_ticket_t *ticket);

/* A request failed with the host at that place: an error against it.
 * Returns 1 when this error took it out of the node's rotation. */
ZEDCUP_EXPORT int zedcup_ffi_host_failed(zedcup_instance_t *instance,
    uint32_t pool, uint32_t host, const char *err, size_t err_len);

/* The names of all instances as a JSON array, and the global settings as a
 * JSON object; the views live until the next call into zedcup. */
ZEDCUP_EXPORT void zedcup_ffi_instance_list(const char **json, size_t *len);
ZEDCUP_EXPORT void zedcup_ffi_global_json(const char **json, size_t *len);


/* ---- feeds: services and their peers, for lreu.syncer -------------------- */

enum {
    ZEDCUP_FEED_LEAD = 1,         /* this worker leads: call feed_run() with
                                     what is known already */
    ZEDCUP_FEED_PEERS = 2,        /* name: of the service, revision, text: the
                                     peers as JSON */
    ZEDCUP_FEED_SYNCED = 3,       /* revision, text: the names of all services
                                     as JSON; any other is gone */
    ZEDCUP_FEED_CHECKED = 4,      /* name: of the service, text: the peer,
                                     id: 1 it is out, 0 it is back */
    ZEDCUP_FEED_TROUBLE = 5       /* text: why the store cannot be read; "" */
};

/* Checks the options of syncer.init (JSON) and makes a feed of this worker.
 * sema: as in runtime_start(). Returns its number, 0 or more. DECLINED: not a
 * worker process. On error the text, cut to *err_len, is in err. */
ZEDCUP_EXPORT int zedcup_ffi_feed_start(const char *json, size_t len,
    void *sema, char *err, size_t *err_len);

/* As messages_take(). */
ZEDCUP_EXPORT int zedcup_ffi_feed_take(int feed, zedcup_ffi_message_t *out,
    int max);

/* What zedcup_state_dir has of the feed's peers, as JSON: "saved", unix time when
 * the store held them last, "services": [{"name", "revision", "peers": its JSON
 * as text}]. Reads the file. len 0: there is nothing. The view lives until the
 * next call. */
ZEDCUP_EXPORT int zedcup_ffi_feed_saved(int feed, const char **json,
    size_t *len, char *err, size_t *err_len);

/* Starts the feed's actors. known: what is served already, JSON: a list of
 * {"name", "peers": its JSON as text, "down": ["host:port", ...]}. */
ZEDCUP_EXPORT int zedcup_ffi_feed_run(int feed, const char *known, size_t len,
    char *err, size_t *err_len);

/* Peers are checked from now on; json: the options of health.init. */
ZEDCUP_EXPORT int zedcup_ffi_feed_check(int feed, const char *json, size_t len,
    char *err, size_t *err_len);


/* ---- picker: the peers that lreu.picker chooses from ---------------------- */

typedef struct zedcup_picker_s  zedcup_picker_t;

typedef struct {
    const char  *name;            /* "host:port": its identity */
    size_t       name_len;
    double       start_ms;        /* since when it rises; 0: long ago */
    uint32_t     slow_start_ms;
    uint32_t     weight;          /* 0: never picked */
} zedcup_ffi_picker_peer_t;

enum {
    ZEDCUP_PICK_RR = 0,
    ZEDCUP_PICK_HASH = 1,
    ZEDCUP_PICK_LEAST_CONN = 2,
    ZEDCUP_PICK_EWMA = 3,
    ZEDCUP_PICK_RANDOM = 4
};

/* An empty list. offset: where a round robin begins. NULL: no memory. */
ZEDCUP_EXPORT zedcup_picker_t *zedcup_ffi_picker_new(uint32_t offset);
ZEDCUP_EXPORT void zedcup_ffi_picker_free(zedcup_picker_t *peers);

/* Takes over another list; positions and loads go on by name. A peer's slot is
 * its place in the list. now_ms: the clock of start_ms. */
ZEDCUP_EXPORT int zedcup_ffi_picker_update(zedcup_picker_t *peers,
    const zedcup_ffi_picker_peer_t *list, size_t count, double now_ms);

/* The slot of the next peer, or DECLINED: there is none that is not among the
 * `tried` slots. The first in short: round robin, nobody tried. */
ZEDCUP_EXPORT int zedcup_ffi_picker_next(zedcup_picker_t *peers, double now_ms);
ZEDCUP_EXPORT int zedcup_ffi_picker_pick(zedcup_picker_t *peers, int method,
    const char *key, size_t key_len, const uint32_t *tried,
    size_t tried_count, double now_ms);

/* Whether picks should be told by track(): a method is in use that counts. */
ZEDCUP_EXPORT int zedcup_ffi_picker_wants_reports(const zedcup_picker_t *peers);

/* This request (an ngx_http_request_t) goes to that slot, until it picks again
 * or is over. */
ZEDCUP_EXPORT int zedcup_ffi_picker_track(zedcup_picker_t *peers, void *request,
    uint32_t slot);

/* Requests to a slot that are under way, of those that were tracked. */
ZEDCUP_EXPORT unsigned zedcup_ffi_picker_active(const zedcup_picker_t *peers,
    uint32_t slot);


/* ---- traffic: what upstream peers answered, for lreu.logger --------------- */

/* Counts the tries of a request (an ngx_http_request_t) that is being logged.
 * Returns how many there were. */
ZEDCUP_EXPORT int zedcup_ffi_traffic_count(void *request);

/* What this worker counted since the last call, as JSON (see peers/traffic.hpp);
 * the view lives until the next call. Returns 0 where there was nothing. */
ZEDCUP_EXPORT int zedcup_ffi_traffic_take(const char **json, size_t *len);

/* The longest duration, in ms, of a bucket of its "times". */
ZEDCUP_EXPORT uint32_t zedcup_ffi_traffic_bucket(uint32_t bucket);


/* A host name as nginx's resolver knows it, asked again when its time to live
 * is over. */
typedef struct zedcup_name_s  zedcup_name_t;

/* Asks for a name at once, by the resolver of this request (an
 * ngx_http_request_t) from now on. Give it back with release. NULL: no memory. */
ZEDCUP_EXPORT zedcup_name_t *zedcup_ffi_name_acquire(void *request,
    const char *text, size_t len);
ZEDCUP_EXPORT void zedcup_ffi_name_release(zedcup_name_t *name);

/* Raised whenever the addresses become others; 0: none are known yet. */
ZEDCUP_EXPORT uint32_t zedcup_ffi_name_version(zedcup_name_t *name);

/* "10.0.0.1 [2001:db8::1] ": the last that were known, with a blank after each.
 * The view lives until the event loop goes on. */
ZEDCUP_EXPORT void zedcup_ffi_name_addresses(zedcup_name_t *name,
    const char **text, size_t *len);

/* ---- the zones of nginx's own upstreams (ngx.dynamic) ------------------ */

/* Fields of a peer. */
enum {
    ZEDCUP_PEER_WEIGHT = 1,
    ZEDCUP_PEER_MAX_FAILS = 2,
    ZEDCUP_PEER_FAIL_TIMEOUT = 4,
    ZEDCUP_PEER_MAX_CONNS = 8,
    ZEDCUP_PEER_DOWN = 16,
    ZEDCUP_PEER_DRAIN = 32,
    ZEDCUP_PEER_BACKUP = 64,
    ZEDCUP_PEER_ALL = 127
};

/* A peer as it shall be. Values are within their ranges: Lua checks them. */
typedef struct {
    const char  *peer;            /* "ip:port", "unix:/path", "name:port" */
    size_t       peer_len;
    uint32_t     given;           /* which of the fields are meant */
    uint32_t     flags;           /* DOWN, DRAIN, BACKUP: those that hold */
    int64_t      weight;
    int64_t      max_fails;
    int64_t      fail_timeout;    /* seconds */
    int64_t      max_conns;       /* 0: any number */
} zedcup_ffi_peer_edit_t;

/* A peer as it is. */
typedef struct {
    char         name[128];
    char         server[256];
    uint32_t     name_len;
    uint32_t     server_len;
    uint32_t     flags;
    uint32_t     reserved;
    int64_t      weight;
    int64_t      current_weight;
    int64_t      effective_weight;
    int64_t      fails;
    int64_t      max_fails;
    int64_t      fail_timeout;
    int64_t      max_conns;
    int64_t      conns;
    int64_t      accessed;        /* unix time; 0: never */
    int64_t      checked;
} zedcup_ffi_peer_t;

/* The i-th zone of an upstream, each name once. DECLINED: there are no more.
 * The view lives as long as the worker. */
ZEDCUP_EXPORT int zedcup_ffi_zone_name(uint32_t i, const char **name,
    size_t *len);

/* Copies up to max peers of a zone. Returns how many there are; on ERROR the
 * text, cut to *err_len, is in err and its length in *err_len. */
ZEDCUP_EXPORT int zedcup_ffi_zone_peers(const char *zone, size_t len,
    zedcup_ffi_peer_t *out, int max, char *err, size_t *err_len);

/* What a zone's memory is used for. */
typedef struct {
    int64_t      used;            /* bytes in pieces smaller than a page */
    int64_t      free_pages;
    int64_t      retired;         /* removed peers that are still in use */
    int          backups;         /* the balancing method knows them */
} zedcup_ffi_zone_usage_t;

ZEDCUP_EXPORT int zedcup_ffi_zone_usage(const char *zone, size_t len,
    zedcup_ffi_zone_usage_t *out, char *err, size_t *err_len);

/* Edits. 0, or ERROR with the text. The whole of it is applied, or nothing. */
ZEDCUP_EXPORT int zedcup_ffi_peer_add(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
ZEDCUP_EXPORT int zedcup_ffi_peer_set(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
ZEDCUP_EXPORT int zedcup_ffi_peer_remove(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edit, char *err, size_t *err_len);
ZEDCUP_EXPORT int zedcup_ffi_peers_replace(const char *zone, size_t len,
    const zedcup_ffi_peer_edit_t *edits, int n, char *err, size_t *err_len);

#ifdef __cplusplus
}
#endif

#endif /* ZEDCUP_FFI_H_INCLUDED */
