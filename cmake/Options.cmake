# Flags that every target of the project shares, as one interface target.
add_library(wbcq_options INTERFACE)
target_compile_options(wbcq_options INTERFACE
  # One rounding per operation on every ISA: GCC also contracts intrinsics (docs/design/numerics.md).
  -ffp-contract=off -fno-math-errno
  # What a program does not use is dropped when it is linked with --gc-sections.
  -ffunction-sections -fdata-sections
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
  $<$<BOOL:${WBCQ_WERROR}>:-Werror>)
target_include_directories(wbcq_options INTERFACE ${PROJECT_SOURCE_DIR}/csrc)

if(WBCQ_SANITIZE)
  target_compile_options(wbcq_options INTERFACE -fsanitize=${WBCQ_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(wbcq_options INTERFACE -fsanitize=${WBCQ_SANITIZE})
endif()
