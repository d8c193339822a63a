// Compiles the file named by CUTTLE_KERNELS for CUTTLE_VNNI_CALL, as foreach_isa.inl does for CUTTLE_ISA_CALL.
#if CUTTLE_X86
#define CUTTLE_TARGET CUTTLE_TARGET_AVX512_VNNI
namespace cuttle::cpu::avx512_vnni {
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
