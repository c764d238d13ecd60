// wbcq_replay CORPUS [ISA]: runs every program of a corpus on the recorded inputs with 1 and 2
// threads and compares the outputs bit for bit. tests/wbcq/engine/corpus.py writes such files with
// the exact executor's results, so that CPUs without Python are held to them too.
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "wbcq/wbcq.hpp"

namespace {

using Arrays = std::vector<std::vector<float>>;

struct Case {
  std::string name;
  std::vector<char> program;
  size_t batch = 0;
  Arrays inputs;
  Arrays outputs;
};

class CorpusReader {
 public:
  explicit CorpusReader(const std::string& path) : file_(path, std::ios::binary) {
    char magic[8] = {};
    file_.read(magic, sizeof magic);
    if (std::memcmp(magic, "wbcqcrps", sizeof magic) != 0) {
      throw std::runtime_error(path + " is not a corpus of tests/wbcq/engine/corpus.py");
    }
  }

  bool next(Case& result) {
    if (file_.peek() == std::char_traits<char>::eof()) return false;
    result.name.resize(size());
    read(result.name.data(), result.name.size());
    result.program.resize(size());
    read(result.program.data(), result.program.size());
    result.batch = size();
    result.inputs = arrays();
    result.outputs = arrays();
    return true;
  }

 private:
  void read(void* to, size_t bytes) {
    if (!file_.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) {
      throw std::runtime_error("the corpus is truncated");
    }
  }
  size_t size() {
    uint64_t value;
    read(&value, sizeof value);
    return static_cast<size_t>(value);
  }
  Arrays arrays() {
    Arrays result(size());
    for (std::vector<float>& array : result) {
      array.resize(size());
      read(array.data(), array.size() * sizeof(float));
    }
    return result;
  }

  std::ifstream file_;
};

// Any NaN equals any other; -0.0 is not 0.0.
bool same_bits(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) ||
         std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
}

// The first `pictures` of a batch.
Arrays first(const Arrays& arrays, size_t batch, size_t pictures) {
  Arrays result;
  for (const auto& array : arrays) {
    const auto end = array.begin() + static_cast<ptrdiff_t>(array.size() / batch * pictures);
    result.emplace_back(array.begin(), end);
  }
  return result;
}

size_t count_differences(const Case& test, const std::string& isa, size_t threads, size_t batch) {
  const wbcq::api::Model model(test.program.data(), test.program.size(), isa);
  wbcq::api::Session session(model, threads);
  const Arrays outputs = session.run(batch, first(test.inputs, test.batch, batch));
  const Arrays expected = first(test.outputs, test.batch, batch);
  size_t differences = outputs.size() == expected.size() ? 0 : 1;
  for (size_t o = 0; o < expected.size() && differences == 0; ++o) {
    differences += outputs[o].size() != expected[o].size();
    for (size_t i = 0; i < expected[o].size() && i < outputs[o].size(); ++i) {
      differences += !same_bits(outputs[o][i], expected[o][i]);
    }
  }
  return differences;
}

int replay(const std::string& path, const std::string& isa) {
  CorpusReader corpus(path);
  Case test;
  size_t cases = 0, runs = 0, failed = 0;
  std::string used;
  while (corpus.next(test)) {
    ++cases;
    used = wbcq::api::Model(test.program.data(), test.program.size(), isa).isa();
    for (const size_t threads : {1, 2}) {
      for (const size_t batch : {test.batch, size_t{3}, size_t{1}}) {
        if (batch > test.batch) continue;
        ++runs;
        if (const size_t differences = count_differences(test, isa, threads, batch)) {
          ++failed;
          std::printf("FAILED %s (case %zu), %s, %zu threads, batch %zu: %zu values differ\n",
                      test.name.c_str(), cases, used.c_str(), threads, batch, differences);
        }
      }
    }
  }
  std::printf("%s: %zu programs, %zu runs, %zu failed\n", used.c_str(), cases, runs, failed);
  return failed == 0 && cases > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: wbcq_replay CORPUS [ISA]\n");
    return 2;
  }
  try {
    return replay(argv[1], argc == 3 ? argv[2] : "");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "wbcq_replay: %s\n", error.what());
    return 1;
  }
}
