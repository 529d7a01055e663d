/* CUDA's words for a C compiler, one patient after another: tests run the text of kernels on any machine by this. */

#pragma GCC optimize ("O0") /* a test compiles much and runs little: a tenth of the time */
#include <math.h>
#include <stdint.h>

typedef int32_t I32;
typedef int64_t I64;
typedef uint8_t U8;
/* A kernel is called for places `from` to `to`, one after another, on the caller's thread. */
#define KERNEL(name) \
  static void name(const Job job); \
  __attribute__((visibility("default"))) void name##_host(const Job *job, int64_t from, int64_t to) { \
    for (blockIdx.x = from; blockIdx.x < to; blockIdx.x++) name(*job); \
  } \
  static void name(const Job job)
#define DEVICE static inline
#define CONSTANT static const
#define UNROLL
#define READ(array, index) ((array)[index])
#define INFINITE ((REAL)INFINITY)
#define NOT_A_NUMBER ((REAL)NAN)

typedef struct { int64_t x; } Place;
static _Thread_local Place threadIdx, blockIdx;
static const Place blockDim = {1};
