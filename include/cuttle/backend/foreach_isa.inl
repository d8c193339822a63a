// Compiles the file named by CUTTLE_KERNELS once for each instruction set (see cpu_simd.hpp). That file includes
// nothing, marks each of its functions CUTTLE_TARGET, and finds itself inside namespace cuttle::cpu::<isa>.
#if CUTTLE_X86
#define CUTTLE_TARGET CUTTLE_TARGET_AVX512
namespace cuttle::cpu::avx512 {
#include CUTTLE_KERNELS
}
#undef CUTTLE_TARGET
#define CUTTLE_TARGET CUTTLE_TARGET_AVX2
namespace cuttle::cpu::avx2 {
#include CUTTLE_KERNELS
}
#undef CUTTLE_TARGET
#endif
#define CUTTLE_TARGET
namespace cuttle::cpu::baseline {
#include CUTTLE_KERNELS
}
#undef CUTTLE_TARGET
#undef CUTTLE_KERNELS
