/*
 * What ngx.dynamic keeps of upstreams, zones and peers: in a zone's slab, for all
 * workers of one configuration, and in each process. See ngx_http_zedcup_peers.h.
 */

#ifndef NGX_HTTP_ZEDCUP_PEERS_TYPES_H_INCLUDED
#define NGX_HTTP_ZEDCUP_PEERS_TYPES_H_INCLUDED

#include "ngx_http_zedcup.h"

#include "zedcup_ffi.h"


#if !(NGX_HTTP_UPSTREAM_ZONE)
#error "nginx's ngx_http_upstream_zone_module is needed"
#endif


#if (nginx_version >= 1027003)
#define NGX_HTTP_ZEDCUP_NATIVE_REFS   1
#else
#define NGX_HTTP_ZEDCUP_NATIVE_REFS   0
#endif

/* of primaries, and as many backups */
#define NGX_HTTP_ZEDCUP_PEERS_MAX     1024

/* Of a consistent hash: 160 points each are sorted in the event loop. */
#define NGX_HTTP_ZEDCUP_CHASH_WEIGHT  2048

#define NGX_HTTP_ZEDCUP_PEER_TEXT     255

/* of a zone; and addresses of one of them */
#define NGX_HTTP_ZEDCUP_NAMES_MAX     64


typedef struct ngx_http_zedcup_group_s      ngx_http_zedcup_group_t;
typedef struct ngx_http_zedcup_peer_s       ngx_http_zedcup_peer_t;
typedef struct ngx_http_zedcup_peer_name_s  ngx_http_zedcup_peer_name_t;


/* In the slab. */
struct ngx_http_zedcup_peer_s {
    ngx_http_upstream_rr_peer_t    peer;      /* must be first */
    ngx_http_zedcup_peer_t        *next;      /* retired */
    unsigned                       touched:8; /* ZEDCUP_PEER_*: by the API */
    unsigned                       down:1;    /* what was asked for; nginx's */
    unsigned                       drain:1;   /* own `down` is either of them */
    unsigned                       named:1;   /* an address of a host name */
    unsigned                       retired:1;
    uint32_t                       holds[1];  /* a worker slot */
};


/* In the slab: a host name whose addresses are peers. */
struct ngx_http_zedcup_peer_name_s {
    ngx_http_zedcup_peer_name_t   *next;
    uint64_t                       id;        /* one a name that was added */
    zedcup_ffi_peer_edit_t         edit;      /* what its peers shall be */
    ngx_uint_t                     owner;     /* the worker slot that asks */
    size_t                         host_len;
    in_port_t                      port;
    ngx_str_t                      text;      /* "name:port" */
    u_char                         data[1];
};


/* In the slab, in the place of nginx's own. */
typedef struct {
    ngx_http_upstream_rr_peers_t   peers;     /* must be first */
    ngx_http_zedcup_group_t       *group;
    ngx_atomic_t                   version;   /* raised by changes of the set
                                                 and of weights */
    ngx_uint_t                     edits;     /* how many there were */
    ngx_uint_t                     moved;     /* a reload took the edits on */
    ngx_http_zedcup_peer_t        *retired;
    ngx_http_zedcup_peer_name_t   *names;
    uint64_t                       last_name; /* its id */
    ngx_uint_t                     nslots;
    uint32_t                       busy[1];   /* a worker slot: get or free */
} ngx_http_zedcup_peers_t;


/* An upstream with a zone, in one configuration. Process memory. */
struct ngx_http_zedcup_group_s {
    ngx_http_upstream_srv_conf_t    *uscf;
    ngx_cycle_t                     *cycle;
    ngx_shm_zone_init_pt             zone_init;   /* nginx's own */
    ngx_http_upstream_init_peer_pt   init_peer;   /* nginx's own */
    ngx_http_zedcup_peers_t         *peers;
    const char                      *refused;     /* why no edits; NULL */
    void                            *random;      /* the method's conf */
    ngx_atomic_uint_t                ranges_version;
    void                            *hash;        /* consistent: its conf */
    void                            *points;      /* made here; NULL: none */
    void                            *pointed;     /* what they point to */
    ngx_atomic_uint_t                points_version;
    ngx_msec_t                       points_time;
    ngx_event_t                      reaper;
    ngx_event_t                      saver;
    ngx_uint_t                       saved;       /* edits in the file */
    uint64_t                         asked;       /* the last name's id */
    ngx_queue_t                      askers;
    unsigned                         shared:1;    /* others are in the zone */
    unsigned                         backups:1;   /* the method knows them */
    unsigned                         consistent:1;
};


/* A peer as somebody wants it. */
typedef struct {
    ngx_str_t                      text;      /* as it was written */
    ngx_str_t                      name;      /* of the address */
    ngx_str_t                      server;
    struct sockaddr               *sockaddr;  /* NULL: a host name */
    socklen_t                      socklen;
    ngx_str_t                      host;      /* of a host name */
    in_port_t                      port;
    zedcup_ffi_peer_edit_t         edit;
    ngx_uint_t                     named;
    ngx_http_zedcup_peer_t        *found;     /* in the middle of an edit */
    ngx_http_zedcup_peer_name_t   *made;      /* the same for a host name */
    ngx_uint_t                     fresh;     /* `found` was made for it */
} ngx_http_zedcup_peer_spec_t;


/* What the API did to one peer. */
typedef struct {
    zedcup_ffi_peer_edit_t         edit;
    ngx_str_t                      server;
    unsigned                       named:1;
    unsigned                       removed:1;
} ngx_http_zedcup_carried_t;


typedef struct {
    u_char                        *text;
    size_t                         size;
    size_t                         len;
} ngx_http_zedcup_peers_error_t;


#endif /* NGX_HTTP_ZEDCUP_PEERS_TYPES_H_INCLUDED */
