#include "support/certificates.hpp"

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace zedcup::test {

certificates::certificates() {
  std::ofstream(file("ca.cnf")) << R"([own]
database = index
new_certs_dir = .
default_md = sha256
policy = any
rand_serial = yes
unique_subject = no
[any]
commonName = supplied
)";
  std::ofstream(file("index"));
  run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
      "-subj /CN=authority -days 3650 -keyout ca.key -out ca.crt");
}

void certificates::make(const std::string& name, const std::string& san,
                        bool ended) const {
  std::ofstream(file("ext")) << "subjectAltName = " << san << "\n";
  run("openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
      "-subj /CN=" +
      name + " -keyout " + name + ".key -out request");
  const std::string years = ended ? "-startdate 20200101000000Z "
                                    "-enddate 20201231000000Z "
                                  : "-startdate 20200101000000Z "
                                    "-enddate 20491231000000Z ";
  run("openssl ca -batch -notext -config ca.cnf -name own -extfile ext " +
      years + "-cert ca.crt -keyfile ca.key -in request -out " + name + ".crt");
}

void certificates::run(const std::string& command) const {
  const auto line =
      "cd '" + dir_.path().string() + "' && " + command + " >openssl.log 2>&1";
  if (std::system(line.c_str()) == 0)
    return;
  std::ostringstream log;
  log << std::ifstream(file("openssl.log")).rdbuf();
  throw std::runtime_error(command + ": " + log.str());
}

} // namespace zedcup::test
