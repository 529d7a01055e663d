/* CUDA's own words, without any header: NVRTC has none. */

typedef int I32;
typedef long long I64;
typedef unsigned char U8;
#define KERNEL(name) extern "C" __global__ void __launch_bounds__(BLOCK, RESIDENT) name(const Job job)
#define DEVICE static __device__ __forceinline__
#define CONSTANT static __constant__ const
#define UNROLL _Pragma("unroll")
#define READ(array, index) __ldg((array) + (index))
#define INFINITE ((REAL)__longlong_as_double(0x7ff0000000000000LL))
#define NOT_A_NUMBER ((REAL)__longlong_as_double(0x7ff8000000000000LL))
