// One edit of a valid model file, and what its refusal must say.
#ifndef WBCQ_TESTS_FORMAT_REFUSAL_H_
#define WBCQ_TESTS_FORMAT_REFUSAL_H_

#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>

#include "format/file_builder.h"
#include "format/reader.h"

namespace wbcq::format::testing {

// Model is a FileBuilder.
template <typename Model>
struct Broken {
  const char* message;  // a part of it
  std::function<void(Model&)> edit;

  void expect_refused() const {
    Model model;
    edit(model);
    Result<ModelFile> file = ModelFile::from_bytes(model.bytes());
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.status().code(), StatusCode::kInvalidFile);
    EXPECT_NE(file.status().message().find(message), std::string::npos)
        << "expected: " << message << "\nactual:   " << file.status().message();
  }
};

template <typename Model>
std::ostream& operator<<(std::ostream& out, const Broken<Model>& broken) {
  return out << broken.message;
}

}  // namespace wbcq::format::testing

#endif  // WBCQ_TESTS_FORMAT_REFUSAL_H_
