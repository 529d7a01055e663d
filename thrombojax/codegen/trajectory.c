/* One trajectory per lane of a vector: the whole course of W patients in registers and first-level cache.
   Text between @ is printed by emit_c from the expressions of a model; vector.h and vector_math.h stand before it. */

enum { P = @P@, S = @S@, L = @L@, Q = @Q@, R = @R@, C = @C@, O = @O@, E = @E@, STAGES = @STAGES@, COLUMNS = @COLUMNS@, PHASES = @PHASES@ };
#define AT_LEAST_ONE(n) ((n) > 0 ? (n) : 1)

typedef struct {
  int64_t groups;           /* vectors of patients */
  const int32_t *row;       /* [groups * W] place of each lane's patient in inputs and outputs */
  const void *const *p;     /* [P] used parameters */
  const int64_t *p_step;    /* [P] 1, or 0 for a number that all patients share */
  const void *const *y0;    /* [S] */
  int64_t wide;             /* inputs are float64, whatever REAL is */
  int64_t segments;
  const REAL *start, *length, *h, *era;      /* [segments] days; h: length of a step */
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

static void keep_values(const Job *job, int64_t bound, const V *v, const int32_t *row) {
  const int32_t at = job->keep[bound];
  if (at < 0) return;
  for (int k = 0; k < O; k++)
    if (job->saved[k]) scatter(job->saved[k] + at * job->saved_step, v[k], row);
}

static void course(const Job *job, int64_t group) {
  const int32_t *const row = job->row + group * W;
  V p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)], r[AT_LEAST_ONE(R)], y[S], trial[S], slope[STAGES][S];
  V l[AT_LEAST_ONE(L)], c[AT_LEAST_ONE(C)];
  V at_begin[2 * AT_LEAST_ONE(O)], at_end[2 * AT_LEAST_ONE(O)];
  V *v = at_end, *s = v + O, *b = at_begin, *e = b + O;
  static const REAL AT[STAGES] = {@at@};
  V *d = slope[0];
  for (int k = 0; k < P; k++) p[k] = gather(job->p[k], job->p_step[k], job->wide, row);
  for (int k = 0; k < S; k++) y[k] = gather(job->y0[k], 1, job->wide, row);
  const REAL *const first = job->first, *const window = job->window, *const number = job->number;
  (void)first, (void)window, (void)number, (void)l, (void)r, (void)b, (void)e;
  { @patient@ }
  { @look@ }
  keep_values(job, 0, v, row);
  { @open@ }
  for (int64_t part = 0; part < job->segments; part++) {
    const REAL start = job->start[part], length = job->length[part], h = job->h[part], era = job->era[part];
    const int32_t steps = job->steps[part];
    (void)length, (void)era;
    { @dose@ }
    if (job->changed[part]) { @segment@ }
    if (E > 0) {
      V *const v_before = v, *const s_before = s;
      v = b, s = e, b = v_before, e = s_before;
      if (job->fresh[part]) {
        const V t = SPLAT(start);
        (void)t;
        { @begin@ }
      }
    }
    for (int32_t step = 0; step < steps; step++) {
      const V *z = y;
      { @line@ }
      for (int stage = step == 0 && E > 0; stage < STAGES; stage++) { /* the first slope is known at a bound */
        const V t = SPLAT(start + ((REAL)step + AT[stage]) * h);
        V *const d = slope[stage];
        (void)t;
        @trial@
        { @slope@ }
      }
      @advance@
      { @known@ }
    }
    if (E > 0) {
      const V t = SPLAT(start + length);
      (void)t;
      { @bound@ }
      { @update@ }
    } else if (job->keep[part + 1] >= 0) { @look@ }
    keep_values(job, part + 1, v, row);
  }
  if (E > 0) {
    V o[AT_LEAST_ONE(E)];
    { @close@ }
    for (int k = 0; k < E; k++) scatter(job->endpoint[k], o[k], row);
  }
  V total = y[0];
  for (int k = 1; k < S; k++) total = total + y[k];
  const I finite = tj_isfinite(total);
  TJ_INT sound[W];
  memcpy(sound, &finite, sizeof sound);
  for (int k = 0; k < W; k++) job->finite[row[k]] = sound[k] != 0;
}

@threads@
