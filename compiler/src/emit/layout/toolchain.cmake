#
# Compiler and flags for @target@ (@core@): cmake --toolchain toolchain.cmake

set(secateur_system "@system@")
if(secateur_system)
  set(CMAKE_SYSTEM_NAME ${secateur_system})
  set(CMAKE_SYSTEM_PROCESSOR @processor@)
  # A program needs a linker script, which a library does not have.
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
endif()
set(CMAKE_C_COMPILER @compiler@)
set(CMAKE_C_FLAGS_INIT "@flags@")
set(CMAKE_ASM_FLAGS_INIT "@flags@")
