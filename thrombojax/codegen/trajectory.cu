/* One trajectory per thread: the whole course of a patient in registers. Text between @ is printed by emit_cuda from the
   expressions of a model; device.h stands before it, or scalar.h, which makes it C. */

enum { P = @P@, S = @S@, L = @L@, Q = @Q@, R = @R@, C = @C@, O = @O@, E = @E@, U = @U@, NUMBERS = @NUMBERS@, STAGES = @STAGES@, G = @G@ };
enum { CLINIC = @CLINIC@, OWN = @OWN@, M = @M@, A = @A@, X = @X@, COLUMNS = @COLUMNS@ };
#define EACH @EACH@ /* whether every patient has a timeline of its own: then its arrays are [..][stride] */
#if EACH
#define ALONG(array, k) READ(array, (k) * job.stride + at)
#else
#define ALONG(array, k) READ(array, k)
#endif
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
  I64 knots, visits;                    /* rows of a leaf's course, of the ledger */
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
  const I32 *visit, *acts;              /* [segments + 1] visit of a bound, row of its ledger; -1: none */
  const I32 *slot, *knot;               /* [segments] administration at the start, -1: none; row of a course */
  const REAL *rule;                     /* all numbers of the policy */
  const REAL *factor, *taken, *course;  /* [visits][stride], [slots][COLUMNS][stride], [X][knots][stride] */
  REAL *ledger;                         /* [A][visits][stride] */
  const REAL *reset;                    /* [segments] 1: back to the first state; only where EACH */
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
  const I64 day = EACH ? READ(job->keep, bound * job->stride + at) : READ(job->keep, bound);
  if (day < 0) return;
  UNROLL for (int k = 0; k < O; k++)
    if (k < job->saves) job->saved[(k * job->days + day) * job->stride + at] = v[k];
}

DEVICE void keep_ledger(const Job *job, I64 at, I64 bound, const REAL *a) {
  const I64 row = READ(job->acts, bound);
  if (row < 0) return;
  UNROLL for (int k = 0; k < A; k++) job->ledger[(k * job->visits + row) * job->stride + at] = a[k];
}

/* Values of the varying parameters during a segment. */
DEVICE void follow(const Job *job, I64 at, I64 part, REAL *x) {
  UNROLL for (int k = 0; k < X; k++) x[k] = READ(job->course, (k * job->knots + READ(job->knot, part)) * job->stride + at);
}

KERNEL thrombojax_course(const Job job) {
  const I64 at = (I64)blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= job.patients) return;
  REAL p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)], r[AT_LEAST_ONE(R)], y[S], c[AT_LEAST_ONE(C)];
  REAL d[S], l[AT_LEAST_ONE(L)], v[AT_LEAST_ONE(O)], s[AT_LEAST_ONE(O)], b[AT_LEAST_ONE(O)], e[AT_LEAST_ONE(O)];
  REAL g[AT_LEAST_ONE(COLUMNS)], taken[AT_LEAST_ONE(COLUMNS)], m[AT_LEAST_ONE(M)], a[AT_LEAST_ONE(A)], x[AT_LEAST_ONE(X)];
  prepare(&job, at, p, q);
  UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at), d[k] = 0;
  if (X > 0) { /* what is seen before the first segment may need its values */
    const I64 part = 0;
    const REAL h = ALONG(job.h, part), era = ALONG(job.era, part);
    follow(&job, at, part, x);
    { @segment@ }
  }
  { @look@ }
  keep_values(&job, at, 0, v);
  {
    const I64 visit = CLINIC ? READ(job.visit, 0) : -1;
    const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
    if (CLINIC) {
      { @admit@ }
      keep_ledger(&job, at, 0, a);
    }
    { @open@ }
  }
  for (I64 part = 0; part < job.segments; part++) {
    const REAL start = ALONG(job.start, part), length = ALONG(job.length, part), h = ALONG(job.h, part);
    const REAL era = ALONG(job.era, part);
    const I32 steps = ALONG(job.steps, part);
    if (EACH && ALONG(job.reset, part) > 0)
      UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at);
    if (EACH || READ(job.changed, part)) {
      follow(&job, at, part, x);
      @segment@
    }
    if (CLINIC) {
      const I64 slot = READ(job.slot, part);
      UNROLL for (int k = 0; k < COLUMNS; k++) g[k] = 0;
      if (slot >= 0) {
        UNROLL for (int k = 0; OWN && k < COLUMNS; k++) taken[k] = READ(job.taken, (slot * COLUMNS + k) * job.stride + at);
        { @give@ }
      }
    }
    { @dose@ }
    if (E > 0) {
      UNROLL for (int k = 0; k < O; k++) b[k] = v[k], e[k] = s[k];
      if (EACH || READ(job.fresh, part)) {
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
    const I64 visit = CLINIC ? READ(job.visit, part + 1) : -1;
    const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
    const REAL t = start + length;
    if (E > 0) {
      { @bound@ }
      { @update@ }
    } else if (EACH || visit >= 0 || READ(job.keep, part + 1) >= 0) { @look@ }
    if (visit >= 0 && READ(job.acts, part + 1) >= 0) {
      { @decide@ }
      keep_ledger(&job, at, part + 1, a);
    }
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
