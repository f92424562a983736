#include "nginx/zone_content.hpp"

#include <exception>

namespace zedcup {

namespace {

extern "C" void visit_zone_entry(void* ctx, const u_char* name, size_t name_len,
                                 uint64_t revision, const u_char* json,
                                 size_t json_len) {
  auto& content = *static_cast<zone_content*>(ctx);
  try {
    zone_content::entry seen;
    seen.name.assign(reinterpret_cast<const char*>(name), name_len);
    seen.revision = revision;
    if (json != nullptr)
      seen.json.emplace(reinterpret_cast<const char*>(json), json_len);
    content.entries.push_back(std::move(seen));
  } catch (const std::exception&) {
    content.failed = true; // we hold the zone's lock: nothing may escape
  }
}

} // namespace

zone_content zone_content::read(uint64_t seen) {
  zone_content content;
  content.ours = ngx_http_zedcup_zone_read(seen, visit_zone_entry, &content,
                                           &content.state) == NGX_OK;
  return content;
}

} // namespace zedcup
