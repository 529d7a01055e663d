/* The way back: cotangents of everything a trajectory was made of. The states of a window of segments are recorded on the way
   there, stages are evaluated again with what their transposes need, and segments are crossed backwards. A name with an
   underscore behind is the cotangent of the value of that name. */

enum { WRT = @WRT@, TIMES = @TIMES@ /* whether times are asked for */, RULES = @RULES@ /* numbers of a policy */, KEPT = @KEPT@, ASKED = @ASKED@ /* days of an objective of the kernel's own; 0: it has none */ };

typedef struct {
  Job job;
  const uint8_t *live;            /* [groups * W] 0: a lane that only fills its vector */
  const REAL *const *endpoint_;   /* [E] each [patient] */
  REAL *const *saved_;            /* [O] each [days][saved_step], or null; written by an objective of the kernel's own */
  REAL *const *p_;                /* [WRT] each [patient] */
  REAL *const *rule_;             /* [RULES] each [patient] */
  REAL *const *y0_;               /* [S] each [patient] */
  double *shared_;                /* [batches][segments][2 + 2 COLUMNS]: start, length, doses, rates; zero before */
  int64_t batch;                  /* groups */
  int64_t per_window;             /* segments */
  int64_t record;                 /* vectors that one window's record takes */
  const int32_t *place;           /* [ASKED] row of `saved` and `saved_` that a day has */
  const REAL *weight;             /* [patient] of an objective of the kernel's own */
  REAL *value;                    /* [patient] what it is */
} Back;

INLINE V cotangent(const REAL *from, const int32_t *row, const uint8_t *live) {
  REAL lane[W];
  for (int k = 0; k < W; k++) lane[k] = live[k] ? from[row[k]] : 0;
  return LOAD(lane);
}

INLINE double total(V value, const uint8_t *live) {
  REAL lane[W];
  STORE(lane, value);
  double sum = 0;
  for (int k = 0; k < W; k++) if (live[k]) sum += (double)lane[k];
  return sum;
}

INLINE void scatter_live(REAL *to, V value, const int32_t *row, const uint8_t *live) {
  REAL lane[W];
  STORE(lane, value);
  for (int k = 0; k < W; k++) if (live[k]) to[row[k]] = lane[k];
}

/* An objective of each patient's own saved values: what it is, and what it asks of them, in time for the way back. */
static void ask(const Back *back, const int32_t *row, const uint8_t *live) {
  const Job *const job = &back->job;
  V seen[AT_LEAST_ONE(ASKED * O)], seen_[AT_LEAST_ONE(ASKED * O)] = {{0}}, value[1] = {{0}};
  for (int d = 0; d < ASKED; d++)
    for (int k = 0; k < O; k++) seen[d * O + k] = gather(job->saved[k] + back->place[d] * job->saved_step, 1, 0, row);
  { @objective@ }
  scatter_live(back->value, value[0], row, live);
  const V weight = cotangent(back->weight, row, live);
  for (int d = 0; d < ASKED; d++)
    for (int k = 0; k < O; k++) {
      REAL *const to = back->saved_[k] + back->place[d] * job->saved_step; /* days at one bound share a row */
      scatter_live(to, cotangent(to, row, live) + weight * seen_[d * O + k], row, live);
    }
}

#undef RECORD
#define RECORD(array, n) (memcpy(at, array, (n) * sizeof(V)), at += (n))

static void course_back(const Back *back, int64_t group, double *shared, V *scratch, V **mark) {
  const Job *const job = &back->job;
  const int32_t *const row = job->row + group * W;
  const uint8_t *const filled = back->live + group * W;
  const int64_t windows = (job->segments + back->per_window - 1) / back->per_window;
  V *const checkpoint = scratch + back->record; /* [windows][S + C + M] */
  @prepare@
  V first_y[S];
  memcpy(first_y, y, sizeof y);
  V p_[AT_LEAST_ONE(WRT)] = {{0}}, y_[S] = {{0}}, c_[AT_LEAST_ONE(C)] = {{0}}, v_[AT_LEAST_ONE(O)] = {{0}}, s_[AT_LEAST_ONE(O)] = {{0}};
  V b_[AT_LEAST_ONE(O)] = {{0}}, e_[AT_LEAST_ONE(O)] = {{0}}, l_[AT_LEAST_ONE(L)], d_[S];
  V m_[AT_LEAST_ONE(M)] = {{0}}, rule_[AT_LEAST_ONE(RULES)] = {{0}}, look_now[AT_LEAST_ONE(O)];
  V tried[STAGES - 1][S] /* where the stages after the first look */, kept[STAGES][AT_LEAST_ONE(KEPT)];
  (void)p_, (void)c_, (void)l_, (void)m_, (void)rule_, (void)look_now;
  { @patient@ }
  { @enter@ }
  /* There: once through, with the state at the start of every window; the last window is recorded on the way. */
  for (int64_t w = 0; w < windows; w++) {
    const int64_t restart = w * back->per_window;
    const int64_t stop = restart + back->per_window < job->segments ? restart + back->per_window : job->segments;
    V *const kept_here = checkpoint + w * (S + C + M);
    memcpy(kept_here, y, sizeof y);
    memcpy(kept_here + S, c, C * sizeof(V));
    memcpy(kept_here + S + C, m, M * sizeof(V));
    V *at = scratch;
    for (int64_t part = restart; part < stop; part++) {
      mark[part - restart] = at;
      @part@
      keep_values(job, part + 1, v, row);
    }
  }
  /* A patient without a result has no gradient, and must not spoil the sums of the others. */
  V sum = y[0];
  for (int k = 1; k < S; k++) sum = sum + y[k];
  const I finite = tj_isfinite(sum);
  TJ_INT sound[W];
  uint8_t live[W];
  memcpy(sound, &finite, sizeof sound);
  for (int k = 0; k < W; k++) live[k] = filled[k] && sound[k];
  if (ASKED) ask(back, row, live);
  if (E > 0) {
    V o_[AT_LEAST_ONE(E)];
    for (int k = 0; k < E; k++) o_[k] = cotangent(back->endpoint_[k], row, live);
    { @close_@ }
  }
  for (int64_t w = windows - 1; w >= 0; w--) {
    const int64_t restart = w * back->per_window;
    const int64_t stop = restart + back->per_window < job->segments ? restart + back->per_window : job->segments;
    if (w < windows - 1) { /* there again, through this window */
      const V *const kept_here = checkpoint + w * (S + C + M);
      memcpy(y, kept_here, sizeof y);
      memcpy(c, kept_here + S, C * sizeof(V));
      memcpy(m, kept_here + S + C, M * sizeof(V));
      V *at = scratch;
      for (int64_t part = restart; part < stop; part++) {
        mark[part - restart] = at;
        @part@
      }
    }
    for (int64_t part = stop - 1; part >= restart; part--) { /* and back */
      const REAL start = job->start[part], length = job->length[part], h = job->h[part], era = job->era[part];
      const int32_t steps = job->steps[part], day = job->keep[part + 1];
      const V *const state = mark[part - restart], *const there = state + steps * (int64_t)S;
      const V *const m_before = there + S, *const ended = m_before + M;
      V start_[1] = {{0}}, length_[1] = {{0}}, h_[1] = {{0}}, dose_[AT_LEAST_ONE(COLUMNS)] = {{0}}, rate_[AT_LEAST_ONE(COLUMNS)] = {{0}};
      V g_[AT_LEAST_ONE(COLUMNS)] = {{0}};
      (void)length, (void)era, (void)dose_, (void)rate_, (void)g_, (void)m_before, (void)ended;
      for (int k = 0; k < X; k++) x[k] = own(job, job->course, k * job->knots + job->knot[part], row);
      { @segment@ }
      if (CLINIC) { /* what was given, and the record as the end of the segment found it */
        memcpy(m, m_before, M * sizeof(V));
        @given@
      }
      /* v_ and s_ hold what the begin of the segment after this one asks for, where nothing jumped between. */
      if (day >= 0)
        for (int k = 0; k < O; k++)
          if (back->saved_[k]) v_[k] = v_[k] + cotangent(back->saved_[k] + day * job->saved_step, row, live);
      {
        const V *const y = there;
        const V t = SPLAT(start + length);
        V t_[1] = {{0}};
        const int32_t visit = CLINIC ? job->visit[part + 1] : -1;
        const V factor = visit >= 0 ? own(job, job->factor, visit, row) : SPLAT(1);
        (void)t, (void)y, (void)factor;
        if (visit >= 0 && job->acts[part + 1] >= 0) {
          V *v = look_now;
          if (E > 0) v = (V *)ended + C; else { @look@ }
          { @decide_@ }
        }
        if (E > 0) {
          const V *const c = ended, *const v = c + C, *const s = v + O, *const b = s + O, *const e = b + O;
          for (int k = 0; k < O; k++) b_[k] = e_[k] = SPLAT(0);
          (void)c, (void)v, (void)s, (void)b, (void)e;
          { @update_@ }
        }
        if (E > 0) { @bound_@ } else { @look_@ }
        start_[0] = start_[0] + t_[0], length_[0] = length_[0] + t_[0];
      }
      for (int32_t step = steps - 1; step >= 0; step--) {
        const V *const y = state + step * (int64_t)S;
        { @line@ }
        for (int stage = 0; stage < STAGES; stage++) {
          const V t = SPLAT(start + ((REAL)step + AT[stage]) * h);
          V *const d = slope[stage], *const w = kept[stage];
          const V *z = y;
          V *const trial = tried[stage - (stage > 0)];
          (void)t, (void)trial;
          @trial@
          { @slope_keep@ }
        }
        for (int k = 0; k < L; k++) l_[k] = SPLAT(0);
        @known_@
        for (int stage = STAGES - 1; stage >= 0; stage--) {
          const V t = SPLAT(start + ((REAL)step + AT[stage]) * h), *const z = stage ? tried[stage - 1] : y, *const w = kept[stage];
          V t_[1] = {{0}}, *const z_ = slope[stage]; /* which nobody reads any more when it is written */
          (void)t, (void)w;
          V longer[4] = {{0}}; /* one sum would wait for itself */
          switch (stage) {
@ahead_@
          }
          h_[0] = h_[0] + ((longer[0] + longer[1]) + (longer[2] + longer[3]));
          { @slope_@ }
          start_[0] = start_[0] + t_[0];
          h_[0] = FMA(t_[0], SPLAT((REAL)step + AT[stage]), h_[0]);
          switch (stage) {
@exact_@
          }
        }
        for (int k = 0; k < S; k++) {
          V sum = y_[k];
          for (int stage = 0; stage < STAGES; stage++) sum = sum + slope[stage][k];
          y_[k] = sum;
        }
        @still@
        { @line_@ }
      }
      if (steps > 0) length_[0] = FMA(h_[0], SPLAT((REAL)1 / (REAL)steps), length_[0]);
      for (int k = 0; k < O; k++) v_[k] = s_[k] = SPLAT(0);
      if (E > 0) {
        if (job->fresh[part]) {
          const V *const y = state;
          const V t = SPLAT(start);
          V t_[1] = {{0}};
          (void)t, (void)y;
          { @begin_@ }
          start_[0] = start_[0] + t_[0];
        } else {
          for (int k = 0; k < O; k++) v_[k] = b_[k], s_[k] = e_[k];
        }
      }
      {
        const V *const y = part > restart ? mark[part - 1 - restart] + job->steps[part - 1] * (int64_t)S : checkpoint + w * (S + C + M);
        (void)y;
        { @dose_@ }
      }
      if (CLINIC && job->slot[part] >= 0) {
        memcpy(m, m_before, M * sizeof(V));
        { @give_@ }
      }
      double *const into = shared + part * (2 + 2 * COLUMNS);
      into[0] += total(start_[0], live), into[1] += total(length_[0], live);
      for (int k = 0; k < COLUMNS; k++) into[2 + k] += total(dose_[k], live), into[2 + COLUMNS + k] += total(rate_[k], live);
    }
  }
  memcpy(y, first_y, sizeof y);
  {
    @enter@
    if (job->keep[0] >= 0)
      for (int k = 0; k < O; k++)
        if (back->saved_[k]) v_[k] = v_[k] + cotangent(back->saved_[k] + job->keep[0] * job->saved_step, row, live);
    { @open_@ }
    if (CLINIC) { @admit_@ }
    { @look_@ }
  }
  for (int k = 0; k < S; k++) scatter_live(back->y0_[k], y_[k], row, live);
  for (int k = 0; k < WRT; k++) scatter_live(back->p_[k], p_[k], row, live);
  for (int k = 0; k < RULES; k++) scatter_live(back->rule_[k], rule_[k], row, live);
  for (int k = 0; k < W; k++) if (filled[k]) job->finite[row[k]] = sound[k] != 0;
}

#include <stdlib.h>
typedef struct { const Back *back; int64_t next; int failed; } QueueBack;

static void *serve_back(void *given) {
  QueueBack *const queue = given;
  const Back *const back = queue->back;
  const int64_t windows = (back->job.segments + back->per_window - 1) / back->per_window;
  const size_t bytes = (size_t)(back->record + windows * (S + C + M)) * sizeof(V);
  V *const scratch = aligned_alloc(64, (bytes + 63) / 64 * 64);
  V **const mark = malloc((size_t)back->per_window * sizeof *mark);
  const uint64_t before = flush_small();
  if (!scratch || !mark) __atomic_store_n(&queue->failed, 1, __ATOMIC_RELAXED);
  else for (;;) {
    const int64_t batch = __atomic_fetch_add(&queue->next, 1, __ATOMIC_RELAXED), first = batch * back->batch;
    if (first >= back->job.groups) break;
    const int64_t stop = first + back->batch < back->job.groups ? first + back->batch : back->job.groups;
    double *const shared = back->shared_ + batch * back->job.segments * (2 + 2 * COLUMNS);
    for (int64_t group = first; group < stop; group++) course_back(back, group, shared, scratch, mark);
  }
  flush_as_before(before);
  free(scratch), free(mark);
  return 0;
}

/* Runs a job backwards on its threads; 1 where there is no memory for a record. */
__attribute__((visibility("default"))) int thrombojax_back(const Back *back) {
  enum { MOST = 1024 };
  pthread_t thread[MOST];
  QueueBack queue = {back, 0, 0};
  int started = 0;
  for (int64_t k = 1; k < back->job.threads && k < MOST; k++)
    if (pthread_create(&thread[started], 0, serve_back, &queue) == 0) started++;
  serve_back(&queue);
  for (int k = 0; k < started; k++) pthread_join(thread[k], 0);
  return queue.failed && queue.next * back->batch < back->job.groups;
}
