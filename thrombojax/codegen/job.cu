/* What a kernel is asked to do, and what kernels share. Text between @ is printed by emit_cuda from the expressions of a model;
   device.h stands before it, or scalar.h, which makes it C. */

enum { P = @P@, S = @S@, TANGENT = @TANGENT@, L = @L@, Q = @Q@, R = @R@, C = @C@, O = @O@, E = @E@, U = @U@, NUMBERS = @NUMBERS@, STAGES = @STAGES@, G = @G@ };
enum { CLINIC = @CLINIC@, OWN = @OWN@, M = @M@, A = @A@, X = @X@, COLUMNS = @COLUMNS@ };
enum { WRT = @WRT@, RULES = @RULES@, SHARES = 2 + 2 * COLUMNS }; /* gradients: parameters; numbers of a policy; start, length, doses, rates of a segment */
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
#define SPLAT(x) (x)
#define FINITE(x) ((x) - (x) == 0)

DEVICE REAL smaller(REAL a, REAL b) { return a != a || a < b ? a : b; } /* not a number stays so, whichever it is */
DEVICE REAL larger(REAL a, REAL b) { return a != a || a > b ? a : b; }

typedef struct {
  I64 patients, stride;                 /* of this launch; places from one row of an array [..][patient] to the next */
  I64 segments, days;
  I64 knots, visits;                    /* rows of a leaf's course, of the ledger */
  I64 per_window, batch;                /* the way back: segments of a window, patients of a sum */
  const REAL *p;                        /* [P][stride] used parameters */
  const REAL *y0;                       /* [S][stride] */
  const REAL *start, *length, *h, *era; /* [segments] days; h: length of a step */
  const REAL *start_dot, *length_dot;   /* tangents of start and length, in a kernel that has them */
  const REAL *dose, *rate;              /* [columns][segments] */
  const REAL *phase;                    /* [phases][segments] */
  const I32 *steps;                     /* [segments] */
  const U8 *fresh, *changed;            /* [segments] something jumps; h or a switch differs from before */
  const REAL *inside, *pick;            /* [E][segments] */
  const I32 *keep;                      /* [segments + 1] where a bound's values go, -1: nowhere */
  REAL *saved;                          /* [saved observables][days][stride] */
  REAL *endpoint;                       /* [E][stride] */
  U8 *finite;                           /* [stride] */
  REAL *share;                          /* [Q] what thrombojax_share finds */
  const I32 *visit, *acts;              /* [segments + 1] visit of a bound, row of its ledger; -1: none */
  const I32 *slot, *knot;               /* [segments] administration at the start, -1: none; row of a course */
  const REAL *rule;                     /* all numbers of the policy */
  const REAL *factor, *taken, *course;  /* [visits][stride], [slots][COLUMNS][stride], [X][knots][stride] */
  REAL *ledger;                         /* [A][visits][stride] */
  const REAL *reset;                    /* [segments] 1: back to the first state; only where EACH */
  const REAL *endpoint_, *saved_;       /* cotangents: [E][stride], [saved observables][days][stride] */
  REAL *p_, *y0_, *rule_;               /* [WRT][stride], [S][stride], [RULES][stride] */
  REAL *shares;                         /* [segments][SHARES][stride] */
  double *sums;                         /* [batches][segments][SHARES] */
  REAL *record, *checkpoint;            /* [..][stride] what happened in a window; [windows][S + C + M][stride] */
  const I64 *mark;                      /* [segments] where a segment begins in its window's record */
  I32 place[AT_LEAST_ONE(O)];           /* of each observable among those that are saved, -1: it is not */
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
KERNEL(thrombojax_share) {
  REAL p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)];
  prepare(&job, 0, p, q);
  UNROLL for (int k = 0; k < Q; k++) job.share[k] = q[k];
}

DEVICE void keep_values(const Job *job, I64 at, I64 bound, const REAL *v) {
  const I64 day = EACH ? READ(job->keep, bound * job->stride + at) : READ(job->keep, bound);
  if (day < 0) return;
  UNROLL for (int k = 0; k < O; k++)
    if (job->place[k] >= 0) job->saved[(job->place[k] * job->days + day) * job->stride + at] = v[k];
}

DEVICE void keep_ledger(const Job *job, I64 at, I64 bound, const REAL *a) {
  const I64 row = READ(job->acts, bound);
  if (row < 0 || !job->ledger) return; /* the way back writes none */
  UNROLL for (int k = 0; k < A; k++) job->ledger[(k * job->visits + row) * job->stride + at] = a[k];
}

/* Values of the varying parameters during a segment. */
DEVICE void follow(const Job *job, I64 at, I64 part, REAL *x) {
  UNROLL for (int k = 0; k < X; k++) x[k] = READ(job->course, (k * job->knots + READ(job->knot, part)) * job->stride + at);
}
