/*
 * What the workers of a node share besides the zone: an eventfd each, on which
 * the others ring, and the descriptor of their leadership.
 *
 * Leadership is a POSIX record lock on a memfd made by the master: the kernel
 * gives it up with its holder, however that ends. It is per process (not
 * inherited over fork), so the workers can share one descriptor.
 */

#include "ngx_http_zedcup.h"

#include <sys/eventfd.h>
#include <sys/mman.h>


static void ngx_http_zedcup_channels_close(void *data);


/* made by the first cycle's master, kept over reloads */
static int  ngx_http_zedcup_leader_fd = -1;


ngx_int_t
ngx_http_zedcup_channels_open(ngx_cycle_t *cycle,
    ngx_http_zedcup_main_conf_t *zmcf)
{
    ngx_uint_t                   i;
    ngx_core_conf_t             *ccf;
    ngx_pool_cleanup_t          *cln;
    ngx_http_zedcup_channels_t  *channels;

    if (ngx_http_zedcup_leader_fd == -1) {
        ngx_http_zedcup_leader_fd = memfd_create("zedcup_leader", MFD_CLOEXEC);

        if (ngx_http_zedcup_leader_fd == -1) {
            ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                          "zedcup: memfd_create() failed");
        }
    }

    channels = &zmcf->channels;
    channels->leader_fd = ngx_http_zedcup_leader_fd;

    ccf = (ngx_core_conf_t *) ngx_get_conf(cycle->conf_ctx, ngx_core_module);

    /* an error here would end the master: without a bell a worker still
     * follows by its tick */

    cln = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cln == NULL) {
        return NGX_OK;
    }

    channels->nslots = ngx_max(ccf->worker_processes, 1);
    channels->slots = ngx_palloc(cycle->pool, channels->nslots * sizeof(int));

    if (channels->slots == NULL) {
        channels->nslots = 0;
        return NGX_OK;
    }

    for (i = 0; i < channels->nslots; i++) {
        channels->slots[i] = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

        if (channels->slots[i] == -1) {
            ngx_log_error(NGX_LOG_ALERT, cycle->log, ngx_errno,
                          "zedcup: eventfd() failed");
        }
    }

    cln->handler = ngx_http_zedcup_channels_close;
    cln->data = channels;

    return NGX_OK;
}


static void
ngx_http_zedcup_channels_close(void *data)
{
    ngx_http_zedcup_channels_t  *channels = data;

    ngx_uint_t  i;

    for (i = 0; i < channels->nslots; i++) {
        if (channels->slots[i] != -1) {
            (void) close(channels->slots[i]);
        }
    }
}


void
ngx_http_zedcup_channels_ring(ngx_http_zedcup_channels_t *channels)
{
    uint64_t    one = 1;
    ngx_uint_t  i;

    for (i = 0; i < channels->nslots; i++) {
        if (i == ngx_worker || channels->slots[i] == -1) {
            continue;
        }

        /* a full counter means that the bell is ringing already */
        if (write(channels->slots[i], &one, sizeof(one)) == -1
            && ngx_errno != NGX_EAGAIN)
        {
            ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                          "zedcup: write() to an eventfd failed");
        }
    }
}
