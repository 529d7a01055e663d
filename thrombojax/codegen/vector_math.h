/* Elementary functions of vectors, in plain + - * / and integer operations: the same bits on every instruction set.
 *
 * This text is included in a generated kernel after a preamble that defines REAL (float or double), TJ_F32 or TJ_F64,
 * W (lanes), V (GCC vector of W REALs) and I (vector of W signed integers as wide as REAL; masks are 0 and -1). It needs
 * no header and no intrinsics. Let V fill one register, or 16 bytes where the machine is unknown: gcc makes poor code of
 * vectors of one lane (tj_pow three times slower) and of two registers (twice slower).
 * Flags: -ffp-contract=off -fno-math-errno -fno-trapping-math -fno-signed-zeros; never -ffast-math, which would undo the exact
 * differences below. Fused multiply-adds are where tj_fma is written; an instruction set without them (x86-64 before AVX2) makes each
 * of some forty operations, to the same bits. Only tj_sin and tj_cos need -lm.
 *
 * Conventions. Every step is one IEEE operation, so that a result does not depend on compiler, width or machine; only sign
 * and payload of a NaN may. An "ulp" is the spacing of REALs at the true value; the bounds are measured, and asserted by
 * tests/codegen/test_vector_math.py. Coefficients are of minimax polynomials (Remez exchange in 60 digits, the low ones
 * rounded first and the rest fitted again); an error of a polynomial is relative to the function unless said otherwise.
 * Subnormal arguments and results are computed, not flushed, unless the thread has told its processor to flush (as XLA's
 * threads do): a text that defines TJ_FLUSHES says that all of its threads have, and takes subnormal arguments for zeros. The sign of
 * a zero result is open, but for tj_pow. */

#if defined(TJ_F64)
typedef __INT64_TYPE__ tj_int;
typedef __UINT64_TYPE__ tj_uint;
#define TJ_C(for_double, for_float) (for_double)
#define TJ_MANTISSA 52
#define TJ_BIAS 1023
#define TJ_SQRT_HALF ((tj_uint)0x3fe6a09e667f3bcd) /* bits of sqrt(1/2) */
#else
typedef __INT32_TYPE__ tj_int;
typedef __UINT32_TYPE__ tj_uint;
#define TJ_C(for_double, for_float) (for_float##f)
#define TJ_MANTISSA 23
#define TJ_BIAS 127
#define TJ_SQRT_HALF ((tj_uint)0x3f3504f3)
#endif
typedef tj_uint tj_u __attribute__((vector_size(sizeof(V)))); /* unsigned: its overflow is defined */

#define TJ_FN static inline __attribute__((always_inline))
#define TJ_SIGN ((tj_uint)1 << (sizeof(tj_uint) * 8 - 1))
#define TJ_EXPONENT ((tj_uint)(2 * TJ_BIAS + 1) << TJ_MANTISSA)
#define TJ_FRACTION (((tj_uint)1 << TJ_MANTISSA) - 1)
#define TJ_ONE ((tj_uint)TJ_BIAS << TJ_MANTISSA) /* bits of 1 */
#define TJ_INF ((REAL)__builtin_inf())
#define TJ_NAN ((REAL)__builtin_nan(""))
#define TJ_MIN_NORMAL TJ_C(0x1p-1022, 0x1p-126)
#define TJ_SHIFT TJ_C(0x1.8p52, 0x1.8p23) /* x + TJ_SHIFT has round(x) in its low bits, for |x| < 2^21 or more */
#define TJ_WHOLE TJ_C(0x1p52, 0x1p23) /* from here on every REAL is an integer */
#define TJ_LOG2E TJ_C(0x1.71547652b82fep+0, 0x1.715476p+0)
#define TJ_LN2 TJ_C(0x1.62e42fefa39efp-1, 0x1.62e430p-1)
#define TJ_LN2_HIGH TJ_C(0x1.62e42fefa38p-1, 0x1.62e4p-1) /* 42 and 15 bits: n * TJ_LN2_HIGH is exact */
#define TJ_LN2_LOW TJ_C(0x1.ef35793c76730p-45, 0x1.7f7d1cp-20)

TJ_FN V tj_splat(REAL c) { return c - (V){0}; }

/* mask ? a : b. gcc 12 and clang 14 make one instruction of this form: vpblendvb (AVX2), a masked move (AVX-512), bsl
 * (NEON); with intrinsics it is no faster, and in unsigned integers gcc does not see it. Nest selections rather than join
 * masks by | and &: gcc 12 joins masks of 64 bits in scalar registers on plain SSE2. */
TJ_FN V tj_select(I mask, V a, V b) { return (V)((mask & (I)a) | (~mask & (I)b)); }

TJ_FN V tj_abs(V x) { return (V)((tj_u)x & ~TJ_SIGN); }

/* The smaller and the larger; NaN if either argument is (as jnp.minimum and jnp.maximum). Of two zeros, either. */
TJ_FN V tj_min(V a, V b) { return tj_select((I)(a != a), a, tj_select((I)(a < b), a, b)); }
TJ_FN V tj_max(V a, V b) { return tj_select((I)(a != a), a, tj_select((I)(a > b), a, b)); }

/* By the bits: adding one to the exponent field carries into the sign when the field is all ones. */
TJ_FN I tj_isfinite(V x) {
    return ~((I)(((tj_u)x & TJ_EXPONENT) + ((tj_uint)1 << TJ_MANTISSA)) >> (int)(sizeof(tj_int) * 8 - 1));
}

/* a * b + c, rounded once: an instruction, or by Boldo and Melquiond's algorithm (doi:10.1109/TC.2007.70819), whose last sum but one is
 * rounded to odd so that the last one rounds as if there had been no other. It takes |a|, |b| < 2^995, and loses parts that are
 * subnormal; nothing below depends on them. */
#if defined(__FMA__) || defined(__aarch64__)
TJ_FN V tj_fma(V a, V b, V c) {
    V sum = c;
    for (int lane = 0; lane < W; lane++) sum[lane] = TJ_C(__builtin_fma, __builtin_fma)(a[lane], b[lane], c[lane]);
    return sum;
}
#else
typedef double tj_d __attribute__((vector_size(8 * W)));
typedef __INT64_TYPE__ tj_l __attribute__((vector_size(8 * W)));

/* a + b = sum + the rest. */
TJ_FN tj_d tj_two_sum(tj_d a, tj_d b, tj_d *rest) {
    tj_d sum = a + b, of_b = sum - a;
    *rest = (a - (sum - of_b)) + (b - of_b);
    return sum;
}

/* a + b where that is exact, else the one of its two neighbours whose last bit is 1. */
TJ_FN tj_d tj_add_odd(tj_d a, tj_d b) {
    tj_d rest, sum = tj_two_sum(a, b, &rest);
    tj_l bits = (tj_l)sum, away = ((tj_l)rest ^ bits) >> 63 | 1; /* 1 from zero, -1 to it */
    return (tj_d)(bits + ((tj_l)(rest != 0) & ((bits & 1) - 1) & away));
}

TJ_FN V tj_fma(V a, V b, V c) {
#if defined(TJ_F64)
    V a_wide = a * 0x1.0000002p27, a_head = a_wide - (a_wide - a), a_rest = a - a_head;
    V b_wide = b * 0x1.0000002p27, b_head = b_wide - (b_wide - b), b_rest = b - b_head;
    V product = a * b, lost = ((a_head * b_head - product) + a_head * b_rest + a_rest * b_head) + a_rest * b_rest;
    V low_rest, rest, low = tj_two_sum(c, lost, &low_rest), sum = tj_two_sum(product, low, &rest);
    return sum + tj_add_odd(low_rest, rest);
#else
    tj_d product = __builtin_convertvector(a, tj_d) * __builtin_convertvector(b, tj_d); /* exact */
    return __builtin_convertvector(tj_add_odd(product, __builtin_convertvector(c, tj_d)), V);
#endif
}
#endif

/* a x + c of numbers that are the same in every lane. */
TJ_FN V tj_linear(V x, REAL a, REAL c) { return tj_fma(x, tj_splat(a), tj_splat(c)); }

/* The machine's square root, correctly rounded: one vector instruction where there is one. */
TJ_FN V tj_sqrt(V x) {
    V root = x;
    for (int lane = 0; lane < W; lane++) root[lane] = TJ_C(__builtin_sqrt, __builtin_sqrt)(x[lane]);
    return root;
}

/* Exact. One instruction where there is one; otherwise adding TJ_WHOLE rounds |x| to an integer, one too many at most. */
TJ_FN V tj_floor(V x) {
#if defined(__SSE4_1__) || defined(__aarch64__)
    V floor = x;
    for (int lane = 0; lane < W; lane++) floor[lane] = TJ_C(__builtin_floor, __builtin_floor)(x[lane]);
    return floor;
#else
    V nearest = (V)((tj_u)((tj_abs(x) + TJ_WHOLE) - TJ_WHOLE) | ((tj_u)x & TJ_SIGN));
    V floor = nearest - tj_select((I)(nearest > x), tj_splat(1), tj_splat(0));
    return tj_select((I)(tj_abs(x) < TJ_WHOLE), floor, x);
#endif
}

/* --- exponentials ------------------------------------------------------------------------------------------------------ */

/* P in e^r = 1 + r + r^2 P(r), |r| <= ln(2)/2. Error relative to e^r - 1: degree 10, 2^-61.3 (float: degree 4, 2^-26.1). */
TJ_FN V tj_exp_polynomial(V r, V r2) {
#if defined(TJ_F64)
    V r4 = r2 * r2;
    V low = tj_linear(r, 0x1.5555555555559p-3, 0x1p-1);
    low = tj_fma(r2, tj_linear(r, 0x1.111111110f6f7p-7, 0x1.5555555555559p-5), low);
    V middle = tj_linear(r, 0x1.a01a01af9c6c3p-13, 0x1.6c16c16c161bdp-10);
    middle = tj_fma(r2, tj_linear(r, 0x1.71ddf948e54d2p-19, 0x1.a01a01a06e40dp-16), middle);
    V high = tj_fma(r2, tj_splat(0x1.1f3c85f7a6074p-29), tj_linear(r, 0x1.af5cd76a08835p-26, 0x1.27e4f533e7bffp-22));
    return tj_fma(r4, tj_fma(r4, high, middle), low);
#else
    V high = tj_fma(r2, tj_splat(0x1.6ab2d8p-10f), tj_linear(r, 0x1.122c76p-7f, 0x1.55579ep-5f));
    return tj_fma(r2, high, tj_linear(r, 0x1.5554aap-3f, 0x1.fffffep-2f));
#endif
}

/* a * 2^n for shifted = n + TJ_SHIFT, -2 bias < n < 2 bias: by two factors near 2^(n/2), so that an overflow gives inf and
 * a subnormal result is rounded once. */
TJ_FN V tj_scale(V a, V shifted) {
    tj_u exponents = ((tj_u)shifted - (tj_u)tj_splat(TJ_SHIFT)) + (tj_uint)(2 * TJ_BIAS); /* of both factors together */
    tj_u half = exponents >> 1;
    return a * (V)(half << TJ_MANTISSA) * (V)((exponents - half) << TJ_MANTISSA);
}

/* What a function does with an argument out of range may be anything: the last selection throws it away. */

/* Range: x = n ln 2 + r with n = round(x / ln 2), |r| <= ln(2)/2, and ln 2 in two parts so that x - n ln 2 is all but exact.
 * At most 1.1 ulp (measured 1.01), subnormal results included; e^-inf = 0, and inf from 709.78 (88.72) on. */
TJ_FN V tj_exp(V x) {
    V shifted = tj_linear(x, TJ_LOG2E, TJ_SHIFT);
    V n = shifted - TJ_SHIFT;
    V r = tj_fma(-n, tj_splat(TJ_LN2_LOW), tj_fma(-n, tj_splat(TJ_LN2_HIGH), x));
    V r2 = r * r;
    V result = tj_scale(1 + tj_fma(r2, tj_exp_polynomial(r, r2), r), shifted);
    result = tj_select((I)(x < TJ_C(-746., -104.)), tj_splat(0), result);
    return tj_select((I)(x > TJ_C(710., 89.)), tj_splat(TJ_INF), result);
}

/* e^x - 1 = 2 (power q + (power - 1/2)) with power = 2^(n-1), q = e^r - 1 relative to itself (r as in tj_exp, with the
 * part that its rounding lost). For |x| < 700 (80), and above up to the overflow. */
TJ_FN V tj_expm1_parts(V x, V *power) {
    V shifted = tj_linear(x, TJ_LOG2E, TJ_SHIFT);
    V n = shifted - TJ_SHIFT;
    V high = tj_fma(-n, tj_splat(TJ_LN2_HIGH), x), low = n * TJ_LN2_LOW;
    V r = high - low;
    V lost = (high - r) - low;
    V r2 = r * r;
    *power = (V)((((tj_u)shifted - (tj_u)tj_splat(TJ_SHIFT)) + (tj_uint)(TJ_BIAS - 1)) << TJ_MANTISSA);
    return r + tj_fma(r2, tj_exp_polynomial(r, r2), lost);
}

/* power - 1/2 is exact or power dominates: nothing cancels but q against it for n = 1. At most 2 ulp
 * (measured 1.63). */
TJ_FN V tj_expm1(V x) {
    V power, q = tj_expm1_parts(x, &power);
    V result = 2 * (power * q + (power - TJ_C(0.5, 0.5))); /* products with a power of two are exact */
    result = tj_select((I)(x < TJ_C(-40., -20.)), tj_splat(-1), result);
    return tj_select((I)(x > TJ_C(710., 89.)), tj_splat(TJ_INF), result);
}

/* (e^2a - 1) / (e^2a + 1) of a = |x|, both from the parts of e^2a - 1; 1 from 22 (10) on. At most 3 ulp
 * (measured 2.83, where the result nears 1; small arguments 2.3). */
TJ_FN V tj_tanh(V x) {
    V a = tj_abs(x), power;
    V q = tj_expm1_parts(2 * a, &power);
    V ratio = (power * q + (power - TJ_C(0.5, 0.5))) / (power * q + (power + TJ_C(0.5, 0.5)));
    ratio = tj_select((I)(a > TJ_C(22., 10.)), tj_splat(1), ratio);
    return (V)((tj_u)ratio | ((tj_u)x & TJ_SIGN));
}

/* 1 / (1 + e^-x), or e^x / (1 + e^x) where x < 0: the exponential never overflows. At most 2.5 ulp (measured 2.40). */
TJ_FN V tj_logistic(V x) {
    V e = tj_exp(-tj_abs(x));
    return tj_select((I)(x < 0), e, tj_splat(1)) / (1 + e);
}

/* --- logarithms -------------------------------------------------------------------------------------------------------- */

/* x = 2^exponent * m with sqrt(1/2) <= m < sqrt(2), for normal positive x; `unit` is exponent + TJ_BIAS as an integer. */
TJ_FN V tj_split(V x, tj_u *unit) {
    tj_u moved = (tj_u)x + (TJ_ONE - TJ_SQRT_HALF);
    *unit = moved >> TJ_MANTISSA;
    return (V)((moved & TJ_FRACTION) + TJ_SQRT_HALF);
}

/* The same of subnormal numbers too, and the exponent as a REAL. */
TJ_FN V tj_split_any(V x, V *exponent) {
    const REAL bias = TJ_WHOLE + TJ_BIAS;
    tj_u unit;
#if defined(TJ_FLUSHES)
    V m = tj_split(x, &unit), up = tj_splat(bias);
#else
    I small = (I)(x < TJ_MIN_NORMAL);
    V m = tj_split(tj_select(small, x * TJ_C(0x1p54, 0x1p25), x), &unit);
    V up = tj_select(small, tj_splat(bias + TJ_C(54., 25.)), tj_splat(bias));
#endif
    *exponent = (V)(unit | (tj_u)tj_splat(TJ_WHOLE)) - up;
    return m;
}

/* Whether a number is positive and finite, by its bits: those of zero, less one, are the largest there are. */
TJ_FN I tj_is_positive(V x) {
#if defined(TJ_FLUSHES)
    const tj_uint least = (tj_uint)1 << TJ_MANTISSA;
#else
    const tj_uint least = 1;
#endif
    return (I)((I)((tj_u)x + (TJ_SIGN - least)) < (tj_int)((TJ_EXPONENT - least) ^ TJ_SIGN));
}

/* f - log(1 + f) = s (f - z R(z)), where s = f / (2 + f), z = s^2, R = the series of
 * 2 atanh(s) from s^3 on. s <= 0.1716; degree 6, 2^-59.5 (float: degree 2, 2^-30.2). */
TJ_FN V tj_log_tail(V f) {
    V s = f / (2 + f), z = s * s;
#if defined(TJ_F64)
    V z2 = z * z;
    V low = tj_linear(z, 0x1.999999997ff63p-2, 0x1.5555555555592p-1);
    low = tj_fma(z2, tj_linear(z, 0x1.c71c52190249bp-3, 0x1.24924941dbe73p-2), low);
    V high = tj_fma(z2, tj_splat(0x1.2f02ca55e4f1cp-3), tj_linear(z, 0x1.39a2012b1ca95p-3, 0x1.74663bf6e968cp-3));
    V series = tj_fma(z2 * z2, high, low);
#else
    V series = tj_fma(z, tj_linear(z, 0x1.31dfb8p-2f, 0x1.995edcp-2f), tj_splat(0x1.55557ap-1f));
#endif
    return s * tj_fma(-z, series, f);
}

/* k ln 2 + log(m): k ln 2 in two parts, the first exact. log(0) = -inf, log(x < 0) = NaN; subnormal x is scaled up first.
 * At most 1.1 ulp (measured 0.94). */
TJ_FN V tj_log(V x) {
    V k, f = tj_split_any(x, &k) - 1;
    V result = tj_fma(k, tj_splat(TJ_LN2_HIGH), f - tj_fma(-k, tj_splat(TJ_LN2_LOW), tj_log_tail(f)));
    V other = tj_select((I)(x < 0), tj_splat(TJ_NAN), tj_splat(-TJ_INF));
    other = tj_select((I)(x < TJ_INF), other, x); /* inf and NaN are their own logarithms */
    return tj_select(tj_is_positive(x), result, other);
}

/* log(u) + lost / u with u = 1 + x as rounded and lost the rest of it; 1 / u to first orders is enough. At most 1.1 ulp
 * (measured 0.95). */
TJ_FN V tj_log1p(V x) {
    V u = 1 + x, lost = x - (u - 1);
    tj_u unit;
    V f = tj_split(u, &unit) - 1;
    V k = (V)(unit | (tj_u)tj_splat(TJ_WHOLE)) - (TJ_WHOLE + TJ_BIAS);
    V shrink = (V)(((tj_uint)(2 * TJ_BIAS) - unit) << TJ_MANTISSA); /* 2^-k */
    lost = tj_select((I)(u < TJ_C(0x1p60, 0x1p30)), lost * shrink, tj_splat(0));
    V rest = tj_fma(-lost, tj_fma(-f, f, f), lost);
    V result = tj_fma(k, tj_splat(TJ_LN2_HIGH), f - (tj_log_tail(f) - tj_fma(k, tj_splat(TJ_LN2_LOW), rest)));
    result = tj_select((I)(u > 0), result, tj_select((I)(u < 0), tj_splat(TJ_NAN), tj_splat(-TJ_INF)));
    return tj_select((I)(x < TJ_INF), result, x);
}

/* --- powers ------------------------------------------------------------------------------------------------------------ */

/* log2 of finite x > 0 as high + low, to about 2^-64 (float: 2^-33) of itself: log2(m) = s (C0 + z (C1 + z Q(z))), where
 * s = (m - 1) / (m + 1), z = s^2. C0, C1, s and z have a rest each, and a fused multiply-add gives that of a product. Q: degree 6,
 * 2^-66.3 (float: degree 2, 2^-36.8). */
TJ_FN V tj_log2_parts(V x, V *low) {
    const V c0 = tj_splat(TJ_C(0x1.71547652b82fep+1, 0x1.715476p+1)), c0_rest = tj_splat(TJ_C(0x1.777d0ffda0d24p-55, 0x1.4ae0cp-25));
    const V c1 = tj_splat(TJ_C(0x1.ec709dc3a03fdp-1, 0x1.ec709ep-1)), c1_rest = tj_splat(TJ_C(0x1.d27f058p-55, -0x1.e3p-28));
    V k, m = tj_split_any(x, &k), f = m - 1, sum = m + 1, sum_rest = m - (sum - 1), inverse = 1 / sum;
    V s = f * inverse, s_rest = tj_fma(-s, sum_rest, tj_fma(-s, sum, f)) * inverse;
    V z = s * s, z_rest = tj_fma(s + s, s_rest, tj_fma(s, s, -z));
#if defined(TJ_F64)
    V z2 = z * z;
    V q = tj_fma(z2, tj_linear(z, 0x1.0c9a63d6c297ep-2, 0x1.484b142199055p-2), tj_linear(z, 0x1.a61762a759843p-2, 0x1.2776c50ef9d24p-1));
    V end = tj_fma(z2, tj_splat(0x1.85e91d9ff52bap-3), tj_linear(z, 0x1.87b0c1bb4884dp-3, 0x1.c69f8c1693dfcp-3));
    q = tj_fma(z2 * z2, end, q);
#else
    V q = tj_fma(z, tj_linear(z, 0x1.59edaep-2f, 0x1.a5bbfcp-2f), tj_splat(0x1.27770ep-1f));
#endif
    V linear = z * c1, rest = tj_fma(z, tj_fma(z, q, c1_rest), c0_rest);
    rest = tj_fma(z_rest, c1, tj_fma(z, c1, -linear)) + rest;
    V sum_of_both = c0 + linear;
    rest = ((c0 - sum_of_both) + linear) + rest;
    V slope = sum_of_both + rest, slope_rest = rest - (slope - sum_of_both);

    V head = s * slope, tail = tj_fma(s, slope_rest, tj_fma(s_rest, slope, tj_fma(s, slope, -head)));
    V high = k + head;
    *low = ((k - high) + head) + tail;
    return high;
}

/* 2^(y log2|x|), the exponent as an integer and a rest that two parts make exact to 2^-53 (2^-24). 2^r = 1 + r (ln 2 + r Q),
 * |r| <= 1/2: degree 9, 2^-56.5 (float: degree 4, 2^-28.2). At most 1.6 ulp (measured 1.45; float 1.21). Zeros, infinities,
 * NaNs and the signs of negative bases (NaN for powers of them that are no integers) as in C99; pow(x, 0) = pow(1, y) = 1 for
 * NaNs too. */
TJ_FN V tj_pow(V x, V y) {
    const V zero = tj_splat(0), one = tj_splat(1), infinite = tj_splat(TJ_INF), nan = tj_splat(TJ_NAN);
    V base = tj_abs(x), log_low, log_high = tj_log2_parts(base, &log_low);
    /* A larger |y| takes every base but 1 out of range as well, and this one overflows nowhere. */
    const V bound = tj_splat(TJ_C(0x1p70, 0x1p40));
    V times = tj_select((I)(y > bound), bound, tj_select((I)(y < -bound), -bound, y));
    V product = times * log_high, product_rest = tj_fma(times, log_low, tj_fma(times, log_high, -product));

    V power = product + product_rest;
#if defined(TJ_F64)
    V shifted = product + TJ_SHIFT; /* the rest is below 2^-14, and known later */
#else
    V shifted = power + TJ_SHIFT;
#endif
    V r = (product - (shifted - TJ_SHIFT)) + product_rest, r2 = r * r;
#if defined(TJ_F64)
    V r4 = r2 * r2;
    V q = tj_fma(r2, tj_linear(r, 0x1.5d87fe78be242p-10, 0x1.3b2ab6fba232cp-7), tj_linear(r, 0x1.c6b08d704a061p-5, 0x1.ebfbdff82c594p-3));
    V high = tj_linear(r, 0x1.ffcbfbe165bc8p-17, 0x1.43091308f226bp-13);
    high = tj_fma(r2, tj_linear(r, 0x1.b5261b2b08f37p-24, 0x1.62bfd4fab091ep-20), high);
    q = tj_fma(r4, tj_fma(r4, tj_linear(r, 0x1.e81fdc49fea44p-32, 0x1.e60609bc6cf7dp-28), high), q);
#else
    V q = tj_fma(r2, tj_splat(0x1.41af56p-13f), tj_linear(r, 0x1.5f0716p-10f, 0x1.3b2daep-7f));
    q = tj_fma(r2, q, tj_linear(r, 0x1.c6af84p-5f, 0x1.ebfbdcp-3f));
#endif
    V result = tj_scale(1 + tj_fma(r, tj_splat(TJ_LN2), r2 * q), shifted);
    power = tj_select((I)(base == infinite), y * infinite, tj_select((I)(base == 0), y * -infinite, power));
    result = tj_select((I)(power < TJ_C(-1078., -152.)), zero, result);
    result = tj_select((I)(power > TJ_C(1026., 130.)), infinite, result);

    /* Bits to set: the sign if y is odd (an integer whose half is none), and those of NaN. */
    V half = TJ_C(0.5, 0.5) * y;
    V odd = tj_select((I)(tj_floor(half) == half), zero, (V)((tj_u)x & TJ_SIGN));
    V fraction = tj_select((I)(x < 0), tj_select((I)(base == infinite), zero, nan), zero);
    V set = tj_select((I)(tj_floor(y) == y), odd, fraction);
    set = tj_select((I)(x != x), nan, tj_select((I)(y != y), nan, set));
    result = (V)((tj_u)result | (tj_u)set);
    return tj_select((I)(x == 1), one, tj_select((I)(y == 0), one, result));
}

/* --- circular functions: the C library's, lane by lane ------------------------------------------------------------------ */
TJ_FN V tj_sin(V x) {
    V result = x;
    for (int lane = 0; lane < W; lane++) result[lane] = TJ_C(__builtin_sin, __builtin_sin)(x[lane]);
    return result;
}

TJ_FN V tj_cos(V x) {
    V result = x;
    for (int lane = 0; lane < W; lane++) result[lane] = TJ_C(__builtin_cos, __builtin_cos)(x[lane]);
    return result;
}
