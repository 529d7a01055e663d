/* CUDA's words for a C compiler, one patient after another: tests run the text of trajectory.cu on any machine by this. */

#include <math.h>
#include <stdint.h>

typedef int32_t I32;
typedef int64_t I64;
typedef uint8_t U8;
#define KERNEL static inline void
#define DEVICE static inline
#define CONSTANT static const
#define UNROLL
#define READ(array, index) ((array)[index])
#define INFINITE ((REAL)INFINITY)
#define NOT_A_NUMBER ((REAL)NAN)

typedef struct { int64_t x; } Place;
static _Thread_local Place threadIdx, blockIdx;
static const Place blockDim = {1};
