// Whom health checks trust: from an instance's settings to a verdict, against
// openssl's own server.
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

#include "config/decode.hpp"
#include "health/probe.hpp"
#include "support/catch.hpp"
#include "support/certificates.hpp"
#include "support/http_client.hpp"
#include "support/server_process.hpp"
#include "support/tcp_server.hpp"

using namespace zedcup;
using namespace zedcup::test;

namespace {

const certificates& made() {
  static const certificates all;
  static const bool once = [] {
    all.make("named", "DNS:web.example");
    all.make("address", "IP:127.0.0.1,IP:::1");
    all.make("ended", "DNS:web.example,IP:127.0.0.1", true);
    all.make("client", "DNS:client.example");
    return true;
  }();
  (void)once;
  return all;
}

/// `openssl s_server`, which answers each request with a page of status 200.
class tls_server {
public:
  explicit tls_server(const std::string& certificate,
                      std::vector<std::string> more = {}) {
    std::vector<std::string> command = {
        "openssl", "s_server",
        "-www",    "-quiet",
        "-cert",   made().file(certificate + ".crt"),
        "-key",    made().file(certificate + ".key")};
    if (more.empty() || more[0] != "-unix")
      command.insert(command.end(),
                     {"-accept", "127.0.0.1:" + std::to_string(port_)});
    command.insert(command.end(), more.begin(), more.end());
    process_.launch(command, dir_.file("log"));
    process_.await([&] {
      if (!more.empty() && more[0] == "-unix")
        return access(more[1].c_str(), F_OK) == 0;
      auto knock = to_port(port_);
      knock.connect_only = true;
      return bool(fetch(*driver_, knock));
    });
  }
  uint16_t port() const { return port_; }

private:
  temp_dir dir_;
  std::unique_ptr<http_driver> driver_ = start_driver();
  uint16_t port_ = free_port();
  server_process process_;
};

/// What a check of that host finds, with these settings (JSON of `ssl`).
judgement check(const std::string& ssl, const std::string& host, uint16_t port,
                const std::string& how = "true") {
  const auto root =
      tree_from_json(R"({"ssl": )" + ssl + R"(, "healthcheck": )" + how +
                     R"(, "pools": [{"hosts": [{"host": ")" + host +
                     R"(", "port": )" + std::to_string(port) + "}]}]}");
  REQUIRE(root);
  const auto outcome = decode_instance("web", *root);
  REQUIRE(outcome.clean());
  const auto& pool = outcome.value->pools.at(0);
  const auto what = make_probe(*outcome.value, pool, pool.hosts.at(0));
  REQUIRE(what);
  static const auto driver = start_driver();
  return judge(*what, fetch(*driver, what->request));
}

std::string quote(const std::string& key, const std::string& value) {
  return '"' + key + R"(": ")" + value + '"';
}
std::string trusting(const std::string& more = "") {
  return "{" + quote("ca_cert", made().file("ca.crt")) +
         (more.empty() ? "" : ", ") + more + "}";
}
std::string as_client(const std::string& cert, const std::string& key) {
  return quote("client_cert", cert) + ", " + quote("client_key", key);
}

bool has(const judgement& found, verdict what, const std::string& text) {
  INFO(found.why);
  CHECK(found.what == what);
  CHECK(found.why.find(text) != std::string::npos);
  return found.what == what && found.why.find(text) != std::string::npos;
}

} // namespace

TEST_CASE("probe TLS: the name must be in the certificate", "[live][health]") {
  const tls_server server("named");
  const auto with = [&](const std::string& name) {
    return check(trusting(quote("sni_name", name)), "127.0.0.1", server.port());
  };
  CHECK(with("web.example").what == verdict::good);
  CHECK(has(with("other.example"), verdict::bad, "TLS: "));
  CHECK(has(check(trusting(), "localhost", server.port()), verdict::bad,
            "TLS: "));
  CHECK(check(R"({"verify": false})", "localhost", server.port()).what ==
        verdict::good);
  const std::string tcp = R"({"type": "tcp"})";
  CHECK(check(trusting(quote("sni_name", "web.example")), "127.0.0.1",
              server.port(), tcp)
            .what == verdict::good);
  CHECK(has(check(trusting(), "localhost", server.port(), tcp), verdict::bad,
            "TLS: "));
}

TEST_CASE("probe TLS: an address must be in the certificate",
          "[live][health]") {
  const tls_server address("address");
  CHECK(check(trusting(), "127.0.0.1", address.port()).what == verdict::good);
  CHECK(check(trusting(quote("sni_name", "[::1]")), "127.0.0.1", address.port())
            .what == verdict::good);
  CHECK(has(check(trusting(quote("sni_name", "127.0.0.9")), "127.0.0.1",
                  address.port()),
            verdict::bad, "TLS: "));
  const tls_server named("named");
  CHECK(
      has(check(trusting(), "127.0.0.1", named.port()), verdict::bad, "TLS: "));
}

TEST_CASE("probe TLS: of a unix socket the chain is checked only",
          "[live][health]") {
  const temp_dir dir;
  const auto path = dir.file("s");
  const tls_server server("named", {"-unix", path});
  CHECK(check(trusting(), "unix:" + path, 0).what == verdict::good);
  CHECK(has(
      check(trusting(quote("sni_name", "other.example")), "unix:" + path, 0),
      verdict::bad, "TLS: "));
  CHECK(has(check("true", "unix:" + path, 0), verdict::misconfigured,
            "ssl/ca_cert"));
}

TEST_CASE("probe TLS: a certificate that has expired is bad",
          "[live][health]") {
  const tls_server server("ended");
  CHECK(has(check(trusting(), "127.0.0.1", server.port()), verdict::bad,
            "expired"));
}

TEST_CASE("probe TLS: an unknown issuer says nothing without ca_cert",
          "[live][health]") {
  const tls_server server("address");
  CHECK(has(check("true", "127.0.0.1", server.port()), verdict::misconfigured,
            "127.0.0.1:" + std::to_string(server.port()) + ": TLS: "));
  CHECK(has(check("true", "127.0.0.1", server.port()), verdict::misconfigured,
            "ssl/ca_cert"));
  const certificates others;
  CHECK(has(check("{" + quote("ca_cert", others.file("ca.crt")) + "}",
                  "127.0.0.1", server.port()),
            verdict::bad, "certificate"));
  const std::string of_check =
      R"({"ssl": {)" + quote("ca_cert", made().file("ca.crt")) + "}}";
  CHECK(check("true", "127.0.0.1", server.port(), of_check).what ==
        verdict::good);
}

TEST_CASE("probe TLS: a self-signed certificate is its own authority",
          "[live][health]") {
  const certificates own;
  const tls_server server(
      "address", {"-cert", own.file("ca.crt"), "-key", own.file("ca.key")});
  const auto name = quote("sni_name", "authority");
  CHECK(has(check("{" + name + "}", "127.0.0.1", server.port()),
            verdict::misconfigured, "ssl/ca_cert"));
  CHECK(has(check(trusting(name), "127.0.0.1", server.port()), verdict::bad,
            "self"));
  CHECK(check("{" + name + ", " + quote("ca_cert", own.file("ca.crt")) + "}",
              "127.0.0.1", server.port())
            .what == verdict::good);
}

TEST_CASE("probe TLS: a client certificate is shown", "[live][health]") {
  const tls_server server("address", {"-Verify", "1", "-verify_return_error",
                                      "-CAfile", made().file("ca.crt")});
  const auto cert = made().file("client.crt"), key = made().file("client.key");
  CHECK(
      check(trusting(as_client(cert, key)), "127.0.0.1", server.port()).what ==
      verdict::good);
  CHECK(check(trusting(), "127.0.0.1", server.port()).what == verdict::bad);
}

TEST_CASE("probe TLS: files that cannot be used blame no host",
          "[live][health]") {
  const tls_server server("address");
  const temp_dir dir;
  const auto cert = made().file("client.crt"), key = made().file("client.key");
  const auto pipe = dir.file("pipe"), junk = dir.file("junk");
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  std::ofstream(junk) << "junk\n";
  const auto with = [&](const std::string& ssl) {
    return check(ssl, "127.0.0.1", server.port());
  };
  for (const std::string& file :
       {dir.file("none"), pipe, junk, std::string("/dev/zero")}) {
    CHECK(has(with("{" + quote("ca_cert", file) + "}"), verdict::misconfigured,
              file));
    CHECK(has(with(trusting(as_client(file, key))), verdict::misconfigured,
              file));
    CHECK(has(with(trusting(as_client(cert, file))), verdict::misconfigured,
              file));
  }
  CHECK(with(trusting(as_client(cert, made().file("ca.key")))).what ==
        verdict::misconfigured); // of another certificate
  const auto locked = dir.file("locked");
  const auto command = "openssl pkey -aes128 -passout pass:secret -in '" + key +
                       "' -out '" + locked + "'";
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK(has(with(trusting(as_client(cert, locked))), verdict::misconfigured,
            locked));
  CHECK(with(R"({"verify": false})").what == verdict::good);
}
