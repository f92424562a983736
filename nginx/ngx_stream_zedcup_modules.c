/* What nginx's build generates for a dynamic module. */

#include <ngx_config.h>
#include <ngx_core.h>


extern ngx_module_t  ngx_stream_zedcup_module;
extern ngx_module_t  ngx_stream_zedcup_check_module;

ngx_module_t *ngx_modules[] = {
    &ngx_stream_zedcup_module,
    &ngx_stream_zedcup_check_module,
    NULL
};

char *ngx_module_names[] = {
    "ngx_stream_zedcup_module",
    "ngx_stream_zedcup_check_module",
    NULL
};

char *ngx_module_order[] = {
    NULL
};
