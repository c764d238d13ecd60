#include "tools/npy.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <string>

namespace wbcq::tools {
namespace {

class Npy : public ::testing::Test {
 protected:
  std::string path() const {
    return ::testing::TempDir() + "wbcq_npy_test_" + std::to_string(getpid()) + ".npy";
  }
  void write(const std::string& bytes) const {
    std::ofstream(path(), std::ios::binary).write(bytes.data(), static_cast<long>(bytes.size()));
  }
  void TearDown() override { std::remove(path().c_str()); }

  // A file as NumPy writes it: version 1 or 2, the header padded to a multiple of 64.
  static std::string file(int version, const std::string& dictionary, const std::string& data) {
    std::string bytes = "\x93NUMPY";
    const size_t before = version == 1 ? 10 : 12;
    std::string header = dictionary;
    header.resize((before + header.size() + 1 + 63) / 64 * 64 - before - 1, ' ');
    header += '\n';
    bytes += static_cast<char>(version);
    bytes += '\0';
    for (size_t i = 0; i < before - 8; ++i)
      bytes += static_cast<char>(header.size() >> 8 * i & 0xFF);
    return bytes + header + data;
  }
};

const std::string kTwoFloats("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);  // 1, -2

TEST_F(Npy, WritesWhatItReads) {
  const NpyArray array = {{2, 1, 3}, {1.0f, -2.5f, 3e-20f, 4.0f, 5.0f, 6.0f}};
  ASSERT_TRUE(write_npy(path(), array).ok());
  const Result<NpyArray> again = read_npy(path());
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(again.value().shape, array.shape);
  EXPECT_EQ(again.value().values, array.values);
}

TEST_F(Npy, ReadsBothVersions) {
  for (const int version : {1, 2}) {
    write(file(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", kTwoFloats));
    const Result<NpyArray> array = read_npy(path());
    ASSERT_TRUE(array.ok()) << array.status().message();
    EXPECT_EQ(array.value().shape, std::vector<int64_t>({2}));
    EXPECT_EQ(array.value().values, std::vector<float>({1.0f, -2.0f}));
  }
}

TEST_F(Npy, RefusesWhatItCannotRead) {
  const std::string good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  const std::string bad[] = {
      "",
      "\x93NUMPX",
      "\x93NUMPY\x01",
      file(3, good, kTwoFloats),
      file(1, good, kTwoFloats.substr(1)),
      file(1, good, kTwoFloats + "x"),
      file(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", kTwoFloats),
      file(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", kTwoFloats),
      file(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", kTwoFloats),
      file(1, "{'descr': '<f4', 'fortran_order': False}", kTwoFloats),
      file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2", kTwoFloats),
      file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", kTwoFloats),
      file(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4, 2), }",
           kTwoFloats),
  };
  for (const std::string& bytes : bad) {
    write(bytes);
    const Result<NpyArray> array = read_npy(path());
    EXPECT_EQ(array.status().code(), StatusCode::kInvalidArgument) << bytes;
    EXPECT_NE(array.status().message().find(path()), std::string::npos);
  }
  EXPECT_EQ(read_npy("/nonexistent/x.npy").status().code(), StatusCode::kIo);
  EXPECT_EQ(write_npy("/nonexistent/x.npy", {{1}, {1.0f}}).code(), StatusCode::kIo);
}

}  // namespace
}  // namespace wbcq::tools
