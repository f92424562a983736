/*
 * The shared zone: per instance the serialized configuration with its store
 * revision, and one sequence number over all of it.
 *
 * Only the leading worker writes entries. Readers compare the sequence number
 * without the lock and copy what is newer under it, so that a lost wake-up
 * costs time but never content. The zone outlives a reload: the next
 * generation of workers starts from it.
 *
 * The content belongs to one store: a reload with another store or prefix keeps
 * the old workers on what they have, and the new ones without it, until the
 * new leader has read the new store.
 *
 * A worker killed inside the lock leaves it to the master, which unlocks it
 * (ngx_unlock_mutexes); therefore an entry is complete before it is linked.
 */

#include "ngx_http_zedcup.h"


#define NGX_HTTP_ZEDCUP_ZONE_LAYOUT  5


typedef struct {
    ngx_queue_t       queue;
    uint64_t          seq;            /* of the last change */
    uint64_t          revision;
    ngx_uint_t        refused;
    u_char           *json;
    size_t            json_len;
    size_t            name_len;
    u_char            name[1];
} ngx_http_zedcup_entry_t;


typedef struct {
    ngx_uint_t                     layout;
    uint64_t                       store; /* whose content this is */
    ngx_atomic_t                   seq;   /* = state.seq, read unlocked */
    ngx_queue_t                    entries;
    ngx_http_zedcup_errors_t      *errors;
    ngx_http_zedcup_starts_t      *starts;
    ngx_http_zedcup_zone_state_t   state;
} ngx_http_zedcup_root_t;


static ngx_int_t ngx_http_zedcup_zone_init(ngx_shm_zone_t *zone, void *data);
static ngx_http_zedcup_root_t *ngx_http_zedcup_lock(ngx_slab_pool_t **pool);
static ngx_http_zedcup_root_t *ngx_http_zedcup_root(ngx_slab_pool_t **pool);


/* the store that this worker follows */
static uint64_t  ngx_http_zedcup_store;


ngx_int_t
ngx_http_zedcup_zone_add(ngx_conf_t *cf, ngx_http_zedcup_main_conf_t *zmcf)
{
    ngx_str_t  name = ngx_string("zedcup");

    zmcf->zone = ngx_shared_memory_add(cf, &name, zmcf->zone_size,
                                       &ngx_http_zedcup_module);
    if (zmcf->zone == NULL) {
        return NGX_ERROR;
    }

    zmcf->zone->init = ngx_http_zedcup_zone_init;

    return NGX_OK;
}


static ngx_int_t
ngx_http_zedcup_zone_init(ngx_shm_zone_t *zone, void *data)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root = data;

    if (root && root->layout == NGX_HTTP_ZEDCUP_ZONE_LAYOUT) {
        zone->data = root;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    /* a full zone is reported with the size that it lacks, not by the slab */
    shpool->log_nomem = 0;

    root = ngx_slab_calloc(shpool, sizeof(ngx_http_zedcup_root_t));
    if (root == NULL) {
        return NGX_ERROR;
    }

    root->errors = ngx_slab_calloc(shpool,
                                   ngx_http_zedcup_errors_size(zone->shm.size));
    if (root->errors == NULL) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_errors_init(root->errors, zone->shm.size);

    root->starts = ngx_slab_calloc(shpool,
                                   ngx_http_zedcup_starts_size(zone->shm.size));
    if (root->starts == NULL) {
        return NGX_ERROR;
    }

    ngx_http_zedcup_starts_init(root->starts, zone->shm.size);

    root->layout = NGX_HTTP_ZEDCUP_ZONE_LAYOUT;
    ngx_queue_init(&root->entries);

    zone->data = root;
    shpool->data = root;

    return NGX_OK;
}


static ngx_http_zedcup_root_t *
ngx_http_zedcup_root(ngx_slab_pool_t **pool)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_zedcup_module);

    *pool = (ngx_slab_pool_t *) zmcf->zone->shm.addr;

    return zmcf->zone->data;
}


void
ngx_http_zedcup_zone_set_store(uint64_t store)
{
    ngx_http_zedcup_store = store;
}


ngx_uint_t
ngx_http_zedcup_zone_changed(uint64_t seen)
{
    ngx_slab_pool_t  *shpool;

    return ngx_http_zedcup_root(&shpool)->seq != (ngx_atomic_uint_t) seen;
}


ngx_int_t
ngx_http_zedcup_zone_read(uint64_t seen, ngx_http_zedcup_zone_visit_pt visit,
    void *ctx, ngx_http_zedcup_zone_state_t *state)
{
    ngx_queue_t                   *q;
    ngx_slab_pool_t               *shpool;
    ngx_http_zedcup_root_t        *root;
    ngx_http_zedcup_entry_t       *entry;
    ngx_http_zedcup_zone_entry_t   shown;

    root = ngx_http_zedcup_root(&shpool);

    ngx_shmtx_lock(&shpool->mutex);

    if (root->store != ngx_http_zedcup_store) {
        ngx_memzero(state, sizeof(ngx_http_zedcup_zone_state_t));
        state->seq = root->state.seq;
        ngx_shmtx_unlock(&shpool->mutex);
        return NGX_DECLINED;
    }

    for (q = ngx_queue_head(&root->entries);
         q != ngx_queue_sentinel(&root->entries);
         q = ngx_queue_next(q))
    {
        entry = ngx_queue_data(q, ngx_http_zedcup_entry_t, queue);

        shown.revision = entry->revision;
        shown.refused = entry->refused;
        shown.name = entry->name;
        shown.name_len = entry->name_len;
        shown.json = entry->seq > seen ? entry->json : NULL;
        shown.json_len = shown.json ? entry->json_len : 0;

        visit(ctx, &shown);
    }

    *state = root->state;

    ngx_shmtx_unlock(&shpool->mutex);

    return NGX_OK;
}


static void
ngx_http_zedcup_zone_drop(ngx_slab_pool_t *shpool,
    ngx_http_zedcup_entry_t *entry)
{
    ngx_queue_remove(&entry->queue);

    if (entry->json) {
        ngx_slab_free_locked(shpool, entry->json);
    }

    ngx_slab_free_locked(shpool, entry);
}


/* locks the zone for writing; content of another store goes */

static ngx_http_zedcup_root_t *
ngx_http_zedcup_lock(ngx_slab_pool_t **pool)
{
    ngx_queue_t             *q;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_root(pool);

    ngx_shmtx_lock(&(*pool)->mutex);

    if (root->store == ngx_http_zedcup_store) {
        return root;
    }

    while (!ngx_queue_empty(&root->entries)) {
        q = ngx_queue_head(&root->entries);
        ngx_http_zedcup_zone_drop(*pool,
                          ngx_queue_data(q, ngx_http_zedcup_entry_t, queue));
    }

    root->store = ngx_http_zedcup_store;
    root->state.synced = 0;
    root->state.synced_revision = 0;
    root->state.restored = 0;
    root->state.troubled = 0;
    root->state.error[0] = '\0';

    return root;
}


/* under the lock: makes the change visible to the other workers */

static uint64_t
ngx_http_zedcup_zone_touch(ngx_http_zedcup_root_t *root)
{
    root->state.seq++;
    root->seq = (ngx_atomic_uint_t) root->state.seq;

    return root->state.seq;
}


static ngx_http_zedcup_entry_t *
ngx_http_zedcup_zone_find(ngx_http_zedcup_root_t *root, const u_char *name,
    size_t name_len)
{
    ngx_queue_t              *q;
    ngx_http_zedcup_entry_t  *entry;

    for (q = ngx_queue_head(&root->entries);
         q != ngx_queue_sentinel(&root->entries);
         q = ngx_queue_next(q))
    {
        entry = ngx_queue_data(q, ngx_http_zedcup_entry_t, queue);

        if (entry->name_len == name_len
            && ngx_memcmp(entry->name, name, name_len) == 0)
        {
            return entry;
        }
    }

    return NULL;
}


static ngx_http_zedcup_entry_t *
ngx_http_zedcup_zone_new_entry(ngx_http_zedcup_root_t *root,
    ngx_slab_pool_t *shpool, const u_char *name, size_t name_len)
{
    ngx_http_zedcup_entry_t  *entry;

    entry = ngx_slab_calloc_locked(shpool,
                           offsetof(ngx_http_zedcup_entry_t, name) + name_len);
    if (entry == NULL) {
        return NULL;
    }

    entry->name_len = name_len;
    ngx_memcpy(entry->name, name, name_len);
    ngx_queue_insert_tail(&root->entries, &entry->queue);

    return entry;
}


ngx_int_t
ngx_http_zedcup_zone_put(const u_char *name, size_t name_len,
    uint64_t revision, const u_char *json, size_t json_len)
{
    u_char                   *copy, *old;
    ngx_slab_pool_t          *shpool;
    ngx_http_zedcup_root_t   *root;
    ngx_http_zedcup_entry_t  *entry;

    root = ngx_http_zedcup_lock(&shpool);

    entry = ngx_http_zedcup_zone_find(root, name, name_len);

    if (entry == NULL) {
        entry = ngx_http_zedcup_zone_new_entry(root, shpool, name, name_len);

        if (entry == NULL) {
            goto full;
        }
    }

    copy = ngx_slab_alloc_locked(shpool, json_len);

    if (copy == NULL) {
        entry->refused = 1;
        (void) ngx_http_zedcup_zone_touch(root);
        goto full;
    }

    ngx_memcpy(copy, json, json_len);

    old = entry->json;

    entry->json = copy;
    entry->json_len = json_len;
    entry->revision = revision;
    entry->refused = 0;
    entry->seq = ngx_http_zedcup_zone_touch(root);

    if (old) {
        ngx_slab_free_locked(shpool, old);
    }

    ngx_shmtx_unlock(&shpool->mutex);

    return NGX_OK;

full:

    ngx_shmtx_unlock(&shpool->mutex);

    return NGX_ERROR;
}


size_t
ngx_http_zedcup_zone_size(void)
{
    ngx_http_zedcup_main_conf_t  *zmcf;

    zmcf = ngx_http_cycle_get_module_main_conf(ngx_cycle,
                                               ngx_http_zedcup_module);

    return zmcf->zone->shm.size;
}


void
ngx_http_zedcup_zone_remove(const u_char *name, size_t name_len)
{
    ngx_slab_pool_t          *shpool;
    ngx_http_zedcup_root_t   *root;
    ngx_http_zedcup_entry_t  *entry;

    root = ngx_http_zedcup_lock(&shpool);

    entry = ngx_http_zedcup_zone_find(root, name, name_len);

    if (entry) {
        ngx_http_zedcup_zone_drop(shpool, entry);
        (void) ngx_http_zedcup_zone_touch(root);
    }

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_http_zedcup_zone_set_synced(uint64_t revision)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_lock(&shpool);

    root->state.synced = 1;
    root->state.synced_revision = revision;
    root->state.restored = 0;
    (void) ngx_http_zedcup_zone_touch(root);

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_http_zedcup_zone_set_restored(uint64_t saved)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_lock(&shpool);

    root->state.restored = saved;
    (void) ngx_http_zedcup_zone_touch(root);

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_http_zedcup_zone_set_error(const u_char *text, size_t len)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_lock(&shpool);

    len = ngx_min(len, sizeof(root->state.error) - 1);

    if (len == 0) {
        root->state.troubled = 0;

    } else if (root->state.troubled == 0) {
        root->state.troubled = (uint64_t) ngx_time();
    }

    ngx_memcpy(root->state.error, text, len);
    root->state.error[len] = '\0';
    (void) ngx_http_zedcup_zone_touch(root);

    ngx_shmtx_unlock(&shpool->mutex);
}


void
ngx_http_zedcup_zone_kick(void)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_lock(&shpool);

    root->state.kicks++;
    (void) ngx_http_zedcup_zone_touch(root);

    ngx_shmtx_unlock(&shpool->mutex);
}


ngx_http_zedcup_errors_t *
ngx_http_zedcup_zone_errors(void)
{
    ngx_slab_pool_t  *shpool;

    return ngx_http_zedcup_root(&shpool)->errors;
}


ngx_http_zedcup_errors_t *
ngx_http_zedcup_zone_errors_lock(void)
{
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_root(&shpool);

    ngx_shmtx_lock(&shpool->mutex);

    return root->errors;
}


void
ngx_http_zedcup_zone_errors_unlock(void)
{
    ngx_slab_pool_t  *shpool;

    (void) ngx_http_zedcup_root(&shpool);

    ngx_shmtx_unlock(&shpool->mutex);
}


uint64_t
ngx_http_zedcup_zone_note_start(uint64_t id, ngx_uint_t what)
{
    uint64_t                 since;
    ngx_slab_pool_t         *shpool;
    ngx_http_zedcup_root_t  *root;

    root = ngx_http_zedcup_root(&shpool);

    ngx_shmtx_lock(&shpool->mutex);

    since = ngx_http_zedcup_starts_note(root->starts, id, what,
                                        ngx_current_msec);

    ngx_shmtx_unlock(&shpool->mutex);

    return since;
}
