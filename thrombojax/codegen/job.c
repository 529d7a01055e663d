/* What a kernel is asked to do. Text between @ is printed by emit_c from the expressions of a model; vector.h and
   vector_math.h stand before it. */

#include <pthread.h>

enum { P = @P@, S = @S@, L = @L@, Q = @Q@, R = @R@, C = @C@, O = @O@, E = @E@, STAGES = @STAGES@, TANGENT = @TANGENT@, COLUMNS = @COLUMNS@, PHASES = @PHASES@,
       CLINIC = @CLINIC@, OWN = @OWN@, M = @M@, A = @A@, X = @X@ };
#define EACH @EACH@ /* whether every patient has a timeline of its own: then its arrays are [..][saved_step] */
#define SUMMED @SUMMED@ /* whether a stage looks from the slope before it alone */
#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)
#define UNROLL

typedef struct {
  int64_t groups;           /* vectors of patients */
  const int32_t *row;       /* [groups * W] place of each lane's patient in inputs and outputs */
  const void *const *p;     /* [P] used parameters */
  const int64_t *p_step;    /* [P] 1, or 0 for a number that all patients share */
  const void *const *y0;    /* [S] */
  int64_t wide;             /* inputs are float64, whatever REAL is */
  int64_t segments;
  const REAL *start, *length, *h, *era;      /* [segments] days; h: length of a step */
  const REAL *start_dot, *length_dot;        /* tangents of start and length, in a kernel that has them */
  const REAL *dose, *rate;                   /* [COLUMNS][segments] */
  const REAL *phase;                         /* [PHASES][segments] */
  const int32_t *steps;                      /* [segments] */
  const uint8_t *fresh, *changed;            /* [segments] something jumps; h or a switch differs from before */
  const REAL *inside, *pick;                 /* [E][segments] */
  const REAL *first, *window, *number;       /* [E], [2 E], all numbers of the reducers */
  const int32_t *keep;                       /* [segments + 1] where a bound's values go, -1: nowhere */
  REAL *const *saved;                        /* [O] each [days][saved_step], or null */
  int64_t saved_step;
  REAL *const *endpoint;                     /* [E] */
  uint8_t *finite;
  int64_t threads;
  const int32_t *visit, *acts;               /* [segments + 1] visit of a bound, row of its ledger; -1: none */
  const int32_t *slot, *knot;                /* [segments] administration at the start, -1: none; row of `course` */
  const REAL *rule;                          /* all numbers of the policy, [..][saved_step] where they are patients' own */
  const REAL *factor, *taken, *course;       /* [visits][saved_step], [slots][COLUMNS][..], [X][knots][..] */
  int64_t knots;
  REAL *const *ledger;                       /* [A] each [rows][saved_step], or null */
  const REAL *reset;                         /* [segments] 1: back to the first state; only where EACH */
} Job;

INLINE V gather(const void *from, int64_t step, int64_t wide, const int32_t *row) {
  REAL lane[W];
  for (int k = 0; k < W; k++) {
    const int64_t at = step ? row[k] : 0;
    lane[k] = wide ? (REAL)((const double *)from)[at] : ((const REAL *)from)[at];
  }
  return LOAD(lane);
}

INLINE void scatter(REAL *to, V value, const int32_t *row) {
  REAL lane[W];
  STORE(lane, value);
  for (int k = 0; k < W; k++) to[row[k]] = lane[k];
}

/* What a timeline has, of all patients alike or of each its own. */
#if EACH
#define TIME V
#define ALONG(array, at) own(job, array, at, row)
#define WIDE(x) (x)
#define STILL SPLAT(0)
#else
#define TIME REAL
#define ALONG(array, at) ((array)[at])
#define WIDE(x) SPLAT(x)
#define STILL 0
#endif

/* One row of an array [..][patient]. */
INLINE V own(const Job *job, const REAL *from, int64_t at, const int32_t *row) {
  return gather(from + at * job->saved_step, 1, 0, row);
}

static void keep_ledger(const Job *job, int64_t bound, const V *a, const int32_t *row) {
  const int32_t at = job->acts[bound];
  for (int k = 0; k < A; k++)
    if (job->ledger[k]) scatter(job->ledger[k] + at * job->saved_step, a[k], row);
}

static void keep_values(const Job *job, int64_t bound, const V *v, const int32_t *row) {
#if EACH
  REAL lane[W];
  for (int k = 0; k < O; k++) {
    if (!job->saved[k]) continue;
    STORE(lane, v[k]);
    for (int i = 0; i < W; i++) {
      const int32_t at = job->keep[bound * job->saved_step + row[i]];
      if (at >= 0) job->saved[k][at * job->saved_step + row[i]] = lane[i];
    }
  }
  return;
#endif
  const int32_t at = job->keep[bound];
  if (at < 0) return;
  for (int k = 0; k < O; k++)
    if (job->saved[k]) scatter(job->saved[k] + at * job->saved_step, v[k], row);
}

__attribute__((visibility("default"))) int thrombojax_lanes(void) { return W; }
