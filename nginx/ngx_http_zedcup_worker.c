/*
 * One worker's place in the node: the eventfd on which its actors wake it, the
 * eventfd on which the other workers ring it, a slow tick for whatever was
 * missed, and the node's leadership.
 */

#include "ngx_http_zedcup.h"

#include <poll.h>
#include <sys/eventfd.h>


/* How soon a free leadership is taken; also how late a lost ring shows. */
#define NGX_HTTP_ZEDCUP_TICK        250
/* After a reload the old generation's leader is about to leave. */
#define NGX_HTTP_ZEDCUP_TICK_FAST   25
#define NGX_HTTP_ZEDCUP_FAST_TICKS  120


typedef struct {
    ngx_http_zedcup_channels_t   *channels;
    ngx_connection_t             *outbox;     /* actors -> loop */
    ngx_connection_t             *bell;       /* other workers -> loop */
    int                           outbox_fd;
    ngx_event_t                   tick;
    ngx_uint_t                    ticks;
    unsigned                      running:1;
    unsigned                      leads:1;
    unsigned                      exiting:1;
} ngx_http_zedcup_worker_t;


static ngx_connection_t *ngx_http_zedcup_watch(int fd,
    ngx_event_handler_pt handler);
static void ngx_http_zedcup_outbox_handler(ngx_event_t *rev);
static void ngx_http_zedcup_bell_handler(ngx_event_t *rev);
static void ngx_http_zedcup_tick_handler(ngx_event_t *ev);
static void ngx_http_zedcup_try_lead(void);
static void ngx_http_zedcup_begin_exit(void);


static ngx_http_zedcup_worker_t  ngx_http_zedcup_worker = { .outbox_fd = -1 };

ngx_int_t
ngx_http_zedcup_worker_start(ngx_http_zedcup_main_conf_t *zmcf)
{
    static ngx_connection_t    dumb;    /* for debug logging of the timer */

    int                        fd;
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    if (w->running) {
        return NGX_OK;
    }

    w->channels = &zmcf->channels;
    w->outbox_fd = eventfd(0, EFD_NONBLOCK|EFD_CLOEXEC);

    if (w->outbox_fd == -1) {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, ngx_errno,
                      "zedcup: eventfd() failed");
        return NGX_ERROR;
    }

    w->outbox = ngx_http_zedcup_watch(w->outbox_fd,
                                      ngx_http_zedcup_outbox_handler);
    if (w->outbox == NULL) {
        (void) close(w->outbox_fd);
        w->outbox_fd = -1;
        return NGX_ERROR;
    }

    if (ngx_worker < w->channels->nslots) {
        fd = w->channels->slots[ngx_worker];

        if (fd != -1) {
            w->bell = ngx_http_zedcup_watch(fd, ngx_http_zedcup_bell_handler);
        }
    }

    dumb.fd = (ngx_socket_t) -1;

    w->tick.handler = ngx_http_zedcup_tick_handler;
    w->tick.data = &dumb;
    w->tick.log = ngx_cycle->log;
    w->tick.cancelable = 1;
    w->running = 1;

    ngx_add_timer(&w->tick, 1);

    return NGX_OK;
}


ngx_uint_t
ngx_http_zedcup_worker_leads(void)
{
    return ngx_http_zedcup_worker.leads;
}


void
ngx_http_zedcup_worker_stop(void)
{
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    if (!w->running) {
        return;
    }

    w->running = 0;

    if (w->tick.timer_set) {
        ngx_del_timer(&w->tick);
    }

    if (w->outbox) {
        ngx_close_connection(w->outbox);      /* closes outbox_fd as well */
        w->outbox = NULL;
        w->outbox_fd = -1;
    }

    if (w->bell) {
        ngx_close_connection(w->bell);
        w->bell = NULL;
    }
}


/* for an exit while threads still write to the descriptors, which stay open:
 * nginx would take its connections for leaks and say so at level alert */

void
ngx_http_zedcup_worker_leave(void)
{
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    if (w->outbox) {
        w->outbox->fd = (ngx_socket_t) -1;
    }

    if (w->bell) {
        w->bell->fd = (ngx_socket_t) -1;
    }
}


static ngx_connection_t *
ngx_http_zedcup_watch(int fd, ngx_event_handler_pt handler)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, ngx_cycle->log);
    if (c == NULL) {
        return NULL;
    }

    c->log = ngx_cycle->log;
    c->read->log = c->log;
    c->write->log = c->log;
    c->read->handler = handler;

    /* on a graceful exit nginx calls the handler of idle connections */
    c->idle = 1;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_free_connection(c);
        return NULL;
    }

    return c;
}


/* empties an eventfd */

static void
ngx_http_zedcup_clear(ngx_connection_t *c)
{
    uint64_t  count;

    while (read(c->fd, &count, sizeof(count)) == -1 && ngx_errno == NGX_EINTR)
    {
        /* void */
    }
}


static void
ngx_http_zedcup_outbox_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    if (c->close) {
        ngx_http_zedcup_begin_exit();
    }

    ngx_http_zedcup_clear(c);

    if (zedcup_bridge_drain()) {
        ngx_post_event(rev, &ngx_posted_next_events);
    }
}


static void
ngx_http_zedcup_bell_handler(ngx_event_t *rev)
{
    ngx_connection_t  *c;

    c = rev->data;

    if (c->close) {
        ngx_http_zedcup_begin_exit();
    }

    ngx_http_zedcup_clear(c);
    zedcup_bridge_look();
}


static void
ngx_http_zedcup_tick_handler(ngx_event_t *ev)
{
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    ngx_http_zedcup_try_lead();
    zedcup_bridge_look();

    if (!w->leads && w->ticks < NGX_HTTP_ZEDCUP_FAST_TICKS) {
        w->ticks++;
        ngx_add_timer(ev, NGX_HTTP_ZEDCUP_TICK_FAST);
        return;
    }

    ngx_add_timer(ev, NGX_HTTP_ZEDCUP_TICK);
}


static void
ngx_http_zedcup_try_lead(void)
{
    struct flock               lock;
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    if (w->leads || w->exiting || ngx_exiting || ngx_terminate) {
        return;
    }

    ngx_memzero(&lock, sizeof(struct flock));
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;

    /* without the lock (-1) every worker leads: costly, but correct */

    if (w->channels->leader_fd != -1
        && fcntl(w->channels->leader_fd, F_SETLK, &lock) == -1)
    {
        return;
    }

    w->leads = 1;
    zedcup_bridge_lead(1);
}


/* Before the event loop: what the actors and the other workers say is heard
 * here. Connections wait in the backlog meanwhile. */

void
ngx_http_zedcup_worker_await(ngx_uint_t (*done)(void), ngx_msec_t patience)
{
    ngx_msec_t                 end;
    struct pollfd              fds[2];
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    fds[0].fd = w->outbox_fd;
    fds[1].fd = w->bell ? w->bell->fd : -1;         /* -1: poll() skips it */
    fds[0].events = fds[1].events = POLLIN;

    ngx_time_update();
    end = ngx_current_msec + patience;

    for ( ;; ) {
        ngx_http_zedcup_try_lead();

        while (zedcup_bridge_drain()) { /* void */ }

        zedcup_bridge_look();

        if (done() || ngx_quit || ngx_terminate
            || (ngx_msec_int_t) (end - ngx_current_msec) <= 0)
        {
            return;
        }

        (void) poll(fds, 2, NGX_HTTP_ZEDCUP_TICK_FAST);
        ngx_time_update();

        ngx_http_zedcup_clear(w->outbox);

        if (w->bell) {
            ngx_http_zedcup_clear(w->bell);
        }
    }
}


/* a graceful exit: the next generation takes over, requests here go on */

static void
ngx_http_zedcup_begin_exit(void)
{
    struct flock               lock;
    ngx_http_zedcup_worker_t  *w;

    w = &ngx_http_zedcup_worker;

    if (w->exiting) {
        return;
    }

    w->exiting = 1;

    if (w->leads) {
        w->leads = 0;
        zedcup_bridge_lead(0);

        ngx_memzero(&lock, sizeof(struct flock));
        lock.l_type = F_UNLCK;
        lock.l_whence = SEEK_SET;
        (void) fcntl(w->channels->leader_fd, F_SETLK, &lock);
    }

    zedcup_bridge_exiting();

    /* this runs after the loop's event processing: come round once more */
    ngx_http_zedcup_worker_wake();
}


void
ngx_http_zedcup_worker_wake(void)
{
    uint64_t  one = 1;

    while (write(ngx_http_zedcup_worker.outbox_fd, &one, sizeof(one)) == -1
           && errno == EINTR)
    {
        /* void */
    }
}


void
ngx_http_zedcup_worker_ring(void)
{
    if (ngx_http_zedcup_worker.channels) {
        ngx_http_zedcup_channels_ring(ngx_http_zedcup_worker.channels);
    }
}


void
ngx_http_zedcup_log(ngx_uint_t level, const char *text, size_t len)
{
    ngx_log_error(level, ngx_cycle->log, 0, "zedcup: %*s", len, text);
}
