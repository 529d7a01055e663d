/* One trajectory per thread: the whole course of a patient in registers. Text between @ is printed by emit_cuda from the
   expressions of a model; device.h stands before it, or scalar.h, which makes it C. */

enum { P = @P@, S = @S@, L = @L@, Q = @Q@, R = @R@, C = @C@, O = @O@, E = @E@, U = @U@, NUMBERS = @NUMBERS@, STAGES = @STAGES@, G = @G@ };
enum { FIRST = @FIRST@ }; /* whether the first slope of a segment is known from its bound */
#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)
#ifdef TJ_F32
#define FN(name) name##f
#else
#define FN(name) name
#endif
#define FMA(a, b, c) FN(fma)(a, b, c)
#define FINITE(x) ((x) - (x) == 0)

DEVICE REAL smaller(REAL a, REAL b) { return a != a || a < b ? a : b; } /* not a number stays so, whichever it is */
DEVICE REAL larger(REAL a, REAL b) { return a != a || a > b ? a : b; }

typedef struct {
  I64 patients, stride;                 /* of this launch; places from one row of an array [..][patient] to the next */
  I64 segments, days, saves;            /* saves: how many of the observables, the first ones, are saved */
  const REAL *p;                        /* [P][stride] used parameters */
  const REAL *y0;                       /* [S][stride] */
  const REAL *start, *length, *h, *era; /* [segments] days; h: length of a step */
  const REAL *dose, *rate;              /* [columns][segments] */
  const REAL *phase;                    /* [phases][segments] */
  const I32 *steps;                     /* [segments] */
  const U8 *fresh, *changed;            /* [segments] something jumps; h or a switch differs from before */
  const REAL *inside, *pick;            /* [E][segments] */
  const I32 *keep;                      /* [segments + 1] where a bound's values go, -1: nowhere */
  REAL *saved;                          /* [saves][days][stride] */
  REAL *endpoint;                       /* [E][stride] */
  U8 *finite;                           /* [stride] */
  REAL *share;                          /* [Q] what thrombojax_share finds */
  REAL first[AT_LEAST_ONE(E)], window[2 * AT_LEAST_ONE(E)], number[AT_LEAST_ONE(NUMBERS)];
  REAL u[AT_LEAST_ONE(U)];              /* values that all patients share, so that no thread keeps them in registers */
} Job;

CONSTANT REAL AT[STAGES] = {@at@}; /* where each stage lies in a step */

/* Parameter algebra of the patient in column `at`. */
DEVICE void prepare(const Job *job, I64 at, REAL *p, REAL *q) {
  UNROLL for (int k = 0; k < P; k++) p[k] = READ(job->p, k * job->stride + at);
  { @patient@ }
}

/* The same for values that all patients share: by the same operations, so that sharing changes no bit. */
KERNEL thrombojax_share(const Job job) {
  REAL p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)];
  prepare(&job, 0, p, q);
  UNROLL for (int k = 0; k < Q; k++) job.share[k] = q[k];
}

DEVICE void keep_values(const Job *job, I64 at, I64 bound, const REAL *v) {
  const I64 day = READ(job->keep, bound);
  if (day < 0) return;
  UNROLL for (int k = 0; k < O; k++)
    if (k < job->saves) job->saved[(k * job->days + day) * job->stride + at] = v[k];
}

KERNEL thrombojax_course(const Job job) {
  const I64 at = (I64)blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= job.patients) return;
  REAL p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)], r[AT_LEAST_ONE(R)], y[S], c[AT_LEAST_ONE(C)];
  REAL d[S], l[AT_LEAST_ONE(L)], v[AT_LEAST_ONE(O)], s[AT_LEAST_ONE(O)], b[AT_LEAST_ONE(O)], e[AT_LEAST_ONE(O)];
  prepare(&job, at, p, q);
  UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at), d[k] = 0;
  { @look@ }
  keep_values(&job, at, 0, v);
  { @open@ }
  for (I64 part = 0; part < job.segments; part++) {
    const REAL start = READ(job.start, part), length = READ(job.length, part), h = READ(job.h, part);
    const REAL era = READ(job.era, part);
    const I32 steps = READ(job.steps, part);
    { @dose@ }
    if (READ(job.changed, part)) { @segment@ }
    if (E > 0) {
      UNROLL for (int k = 0; k < O; k++) b[k] = v[k], e[k] = s[k];
      if (READ(job.fresh, part)) {
        const REAL t = start;
        { @begin@ }
      }
    }
    for (I32 step = 0; step < steps; step++) {
      REAL z[S], g[AT_LEAST_ONE(G)][S]; /* where a stage looks; what later stages need of those before */
      UNROLL for (int k = 0; k < S; k++) z[k] = y[k];
      { @line@ }
      UNROLL for (int stage = 0; stage < STAGES; stage++) {
        const REAL t = start + ((REAL)step + AT[stage]) * h;
        if (!FIRST || step > 0 || stage > 0) { @slope@ }
        switch (stage) {
@stages@
        }
      }
      @known@
    }
    if (E > 0) {
      const REAL t = start + length;
      { @bound@ }
      { @update@ }
    } else if (READ(job.keep, part + 1) >= 0) { @look@ }
    keep_values(&job, at, part + 1, v);
  }
  if (E > 0) {
    REAL o[AT_LEAST_ONE(E)];
    { @close@ }
    UNROLL for (int k = 0; k < E; k++) job.endpoint[k * job.stride + at] = o[k];
  }
  REAL total = y[0];
  UNROLL for (int k = 1; k < S; k++) total += y[k];
  job.finite[at] = FINITE(total);
}
