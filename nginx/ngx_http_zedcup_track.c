/*
 * When a request that balancer_by_lua sent to a peer is over, and how long the
 * peer took. A pick counts until the next pick of the same request, the last
 * one until the request's pool goes: there is no hook of nginx between the two
 * that ngx_lua leaves free.
 */

#include "ngx_http_zedcup.h"


typedef struct {
    ngx_http_request_t   *request;
    void                 *pick;         /* NULL: none under way */
    ngx_uint_t            states;       /* nginx's, when it was made */
} ngx_http_zedcup_track_t;


static void ngx_http_zedcup_track_end(ngx_http_zedcup_track_t *track);
static void ngx_http_zedcup_track_cleanup(void *data);


ngx_int_t
ngx_http_zedcup_track(ngx_http_request_t *r, void *pick)
{
    ngx_pool_cleanup_t       *cln;
    ngx_http_zedcup_track_t  *track;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {

        if (cln->handler != ngx_http_zedcup_track_cleanup) {
            continue;
        }

        track = cln->data;

        if (track->request == r) {
            ngx_http_zedcup_track_end(track);
            break;
        }
    }

    if (cln == NULL) {
        cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_zedcup_track_t));
        if (cln == NULL) {
            return NGX_ERROR;
        }

        cln->handler = ngx_http_zedcup_track_cleanup;
    }

    track = cln->data;
    track->request = r;
    track->pick = pick;

    /* nginx makes the state of a try before it asks for the peer */

    track->states = r->upstream_states ? r->upstream_states->nelts : 0;

    return NGX_OK;
}


static void
ngx_http_zedcup_track_end(ngx_http_zedcup_track_t *track)
{
    ngx_uint_t                 answered;
    ngx_msec_t                 latency;
    ngx_array_t               *states;
    ngx_http_upstream_state_t *state;

    if (track->pick == NULL) {
        return;
    }

    answered = 0;
    latency = 0;
    states = track->request->upstream_states;

    if (states && track->states && track->states <= states->nelts) {
        state = states->elts;
        state += track->states - 1;

        /* header_time is -1 where no answer came */

        if (state->header_time != (ngx_msec_t) -1) {
            answered = 1;
            latency = state->header_time;
        }
    }

    zedcup_tracked_end(track->pick, answered, latency);
    track->pick = NULL;
}


static void
ngx_http_zedcup_track_cleanup(void *data)
{
    ngx_http_zedcup_track_end(data);
}
