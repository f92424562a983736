#include "nginx/zone_content.hpp"

#include <exception>
#include <string_view>
#include <utility>

namespace zedcup {

namespace {

/// No instance can have such a name.
constexpr std::string_view complaints_name = "\1complaints";

extern "C" void visit_zone_entry(void* ctx,
                                 const ngx_http_zedcup_zone_entry_t* entry) {
  auto& content = *static_cast<zone_content*>(ctx);
  auto text = [](const u_char* data, size_t len) {
    return std::string(reinterpret_cast<const char*>(data), len);
  };
  try {
    zone_content::entry seen;
    seen.name = text(entry->name, entry->name_len);
    seen.revision = entry->revision;
    seen.refused = entry->refused != 0;
    if (entry->json != nullptr)
      seen.json = text(entry->json, entry->json_len);
    if (seen.name == complaints_name) {
      content.complaints = std::move(seen.json);
      return;
    }
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

void zone_content::publish_complaints(const std::string& json) {
  const auto bytes = [](std::string_view text) {
    return reinterpret_cast<const u_char*>(text.data());
  };
  (void)ngx_http_zedcup_zone_put(bytes(complaints_name), complaints_name.size(),
                                 0, bytes(json), json.size());
}

} // namespace zedcup
