/* Vectors of patients for every instruction set, by the vector extension of GCC and Clang. REAL and one of TJ_F32, TJ_F64 are
   defined before. Contraction is off: a fused multiply-add is where FMA is written, so that one set of instructions with it
   gives the bits of another. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define TJ_BYTES 64
#elif defined(__AVX__)
#define TJ_BYTES 32
#else
#define TJ_BYTES 16
#endif
#ifdef TJ_F32
typedef int32_t TJ_INT;
#define TJ_ISA(f32, f64) f32
#else
typedef int64_t TJ_INT;
#define TJ_ISA(f32, f64) f64
#endif
#define W ((int)(TJ_BYTES / sizeof(REAL)))
typedef REAL V __attribute__((vector_size(TJ_BYTES)));
typedef TJ_INT I __attribute__((vector_size(TJ_BYTES)));
#define INLINE static inline __attribute__((always_inline, unused))

INLINE V SPLAT(REAL x) { return x - (V){0}; }
INLINE V LOAD(const REAL *x) { V v; memcpy(&v, x, sizeof v); return v; }
INLINE void STORE(REAL *x, V v) { memcpy(x, &v, sizeof v); }

#if defined(__AVX512F__)
INLINE V FMA(V a, V b, V c) { return (V)TJ_ISA(_mm512_fmadd_ps, _mm512_fmadd_pd)(a, b, c); }
INLINE V FMS(V a, V b, V c) { return (V)TJ_ISA(_mm512_fmsub_ps, _mm512_fmsub_pd)(a, b, c); }
INLINE V FNMA(V a, V b, V c) { return (V)TJ_ISA(_mm512_fnmadd_ps, _mm512_fnmadd_pd)(a, b, c); }
#elif defined(__FMA__)
INLINE V FMA(V a, V b, V c) { return (V)TJ_ISA(_mm256_fmadd_ps, _mm256_fmadd_pd)(a, b, c); }
INLINE V FMS(V a, V b, V c) { return (V)TJ_ISA(_mm256_fmsub_ps, _mm256_fmsub_pd)(a, b, c); }
INLINE V FNMA(V a, V b, V c) { return (V)TJ_ISA(_mm256_fnmadd_ps, _mm256_fnmadd_pd)(a, b, c); }
#elif defined(__aarch64__)
INLINE V FMA(V a, V b, V c) { return (V)TJ_ISA(vfmaq_f32, vfmaq_f64)(c, a, b); }
INLINE V FMS(V a, V b, V c) { return (V)TJ_ISA(vfmaq_f32, vfmaq_f64)(-c, a, b); }
INLINE V FNMA(V a, V b, V c) { return (V)TJ_ISA(vfmsq_f32, vfmsq_f64)(c, a, b); }
#else
INLINE V FMA(V a, V b, V c) { return a * b + c; }
INLINE V FMS(V a, V b, V c) { return a * b - c; }
INLINE V FNMA(V a, V b, V c) { return c - a * b; }
#endif

/* Whether any lane of a mask is set. */
INLINE int ANY(I mask) {
#if defined(__AVX__) && !defined(__AVX512F__)
  return TJ_ISA(_mm256_movemask_ps((__m256)mask), _mm256_movemask_pd((__m256d)mask));
#else
  TJ_INT lane[W], any = 0;
  memcpy(lane, &mask, sizeof lane);
  for (int k = 0; k < W; k++) any |= lane[k];
  return any != 0;
#endif
}

/* Numbers too small for a normal form are zero while a kernel runs: a drug that has gone must not slow what goes on. */
#if defined(__x86_64__) || defined(__aarch64__)
#define TJ_FLUSHES
#endif
INLINE uint64_t flush_small(void) {
#if defined(__x86_64__)
  const unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040);
  return before;
#elif defined(__aarch64__)
  uint64_t before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  __asm__ volatile("msr fpcr, %0" : : "r"(before | (1u << 24)));
  return before;
#else
  return 0;
#endif
}

INLINE void flush_as_before(uint64_t before) {
#if defined(__x86_64__)
  _mm_setcsr((unsigned)before);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(before));
#else
  (void)before;
#endif
}
