/* The way back, one patient per thread: cotangents of everything a trajectory was made of. The states of a window of segments are
   recorded on the way there; steps are crossed backwards, each stage evaluated again where its transpose needs it. A name with
   an underscore behind is the cotangent of the value of that name. Neighbouring threads keep what they record side by side. */

#define RECORD(array, n) do { \
  UNROLL for (int k = 0; k < (n); k++) job.record[(element + k) * job.stride + at] = (array)[k]; \
  element += (n); \
} while (0)
#define RECALL(array, n) do { \
  UNROLL for (int k = 0; k < (n); k++) (array)[k] = job.record[(element + k) * job.stride + at]; \
  element += (n); \
} while (0)
#define RESTART(part) ((part) == restart)

/* Cotangents of the observables that are saved at a bound. */
DEVICE void recall_values(const Job *job, I64 at, I64 bound, REAL *v_) {
  const I64 day = READ(job->keep, bound);
  if (day < 0) return;
  UNROLL for (int k = 0; k < O; k++)
    if (job->place[k] >= 0) v_[k] += READ(job->saved_, (job->place[k] * job->days + day) * job->stride + at);
}

KERNEL(thrombojax_back) {
  @prepare@
  const I64 windows = (job.segments + job.per_window - 1) / job.per_window;
  REAL p_[AT_LEAST_ONE(WRT)] = {0}, y_[S] = {0}, c_[AT_LEAST_ONE(C)] = {0}, v_[AT_LEAST_ONE(O)] = {0}, s_[AT_LEAST_ONE(O)] = {0};
  REAL b_[AT_LEAST_ONE(O)] = {0}, e_[AT_LEAST_ONE(O)] = {0}, l_[AT_LEAST_ONE(L)];
  REAL m_[AT_LEAST_ONE(M)] = {0}, rule_[AT_LEAST_ONE(RULES)] = {0};
  { @enter@ }
  for (I64 w = windows - 1; w >= 0; w--) {
    /* There: once through all windows, with the state at the start of each, then again through each of those before. */
    const int once = w == windows - 1;
    const I64 stop = once ? job.segments : (w + 1) * job.per_window;
    I64 restart = once ? 0 : w * job.per_window, element = 0;
    if (!once) {
      REAL *const from = job.checkpoint + w * (S + C + M) * job.stride + at;
      UNROLL for (int k = 0; k < S; k++) y[k] = from[k * job.stride];
      UNROLL for (int k = 0; k < C; k++) c[k] = from[(S + k) * job.stride];
      UNROLL for (int k = 0; k < M; k++) m[k] = from[(S + C + k) * job.stride];
    }
    for (I64 part = restart; part < stop; part++) {
      if (once && part % job.per_window == 0) {
        REAL *const into = job.checkpoint + part / job.per_window * (S + C + M) * job.stride + at;
        UNROLL for (int k = 0; k < S; k++) into[k * job.stride] = y[k];
        UNROLL for (int k = 0; k < C; k++) into[(S + k) * job.stride] = c[k];
        UNROLL for (int k = 0; k < M; k++) into[(S + C + k) * job.stride] = m[k];
        restart = part, element = 0;
      }
      @part@
    }
    if (once) {
      REAL total = y[0];
      UNROLL for (int k = 1; k < S; k++) total += y[k];
      job.finite[at] = FINITE(total);
      if (!FINITE(total)) { /* a patient without a result has no gradient; sums leave it out */
        UNROLL for (int k = 0; k < S; k++) job.y0_[k * job.stride + at] = 0;
        UNROLL for (int k = 0; k < WRT; k++) job.p_[k * job.stride + at] = 0;
        UNROLL for (int k = 0; k < RULES; k++) job.rule_[k * job.stride + at] = 0;
        return;
      }
      if (E > 0) {
        REAL o_[AT_LEAST_ONE(E)];
        UNROLL for (int k = 0; k < E; k++) o_[k] = READ(job.endpoint_, k * job.stride + at);
        { @close_@ }
      }
    }
    for (I64 part = stop - 1; part >= w * job.per_window; part--) { /* and back */
      const REAL start = READ(job.start, part), length = READ(job.length, part), h = READ(job.h, part), era = READ(job.era, part);
      const I32 steps = READ(job.steps, part);
      REAL start_[1] = {0}, length_[1] = {0}, h_[1] = {0}, dose_[AT_LEAST_ONE(COLUMNS)] = {0}, rate_[AT_LEAST_ONE(COLUMNS)] = {0};
      REAL g_[AT_LEAST_ONE(COLUMNS)] = {0}, m_before[AT_LEAST_ONE(M)];
      /* v_ and s_ hold what the begin of the segment after this one asks for, where nothing jumped between. */
      recall_values(&job, at, part + 1, v_);
      const I64 first = READ(job.mark, part);
      element = first + steps * (I64)S;
      RECALL(y, S);
      RECALL(m_before, M);
      follow(&job, at, part, x);
      { @segment@ }
      if (CLINIC) { /* what was given, and the record as the end of the segment found it */
        UNROLL for (int k = 0; k < M; k++) m[k] = m_before[k];
        @given@
      }
      const I64 visit = CLINIC ? READ(job.visit, part + 1) : -1;
      const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
      const int decides = visit >= 0 && READ(job.acts, part + 1) >= 0;
      if (E > 0) {
        RECALL(c, C);
        RECALL(v, O);
        RECALL(s, O);
        RECALL(b, O);
        RECALL(e, O);
      } else if (decides) { @look@ }
      {
        const REAL t = start + length;
        REAL t_[1] = {0};
        if (decides) { @decide_@ }
        if (E > 0) {
          UNROLL for (int k = 0; k < O; k++) b_[k] = e_[k] = 0;
          { @update_@ }
        }
        if (E > 0) { @bound_@ } else { @look_@ }
        start_[0] += t_[0], length_[0] += t_[0];
      }
      for (I32 step = steps - 1; step >= 0; step--) {
        REAL tried[STAGES][S]; /* where each stage looked, then the cotangent of that */
        element = first + step * (I64)S;
        RECALL(y, S);
        { @line@ }
        {
          REAL z[S], g[AT_LEAST_ONE(G)][S];
          UNROLL for (int k = 0; k < S; k++) z[k] = y[k];
          for (int stage = 0; stage < STAGES; stage++) {
            const REAL t = start + ((REAL)step + AT[stage]) * h;
            UNROLL for (int k = 0; k < S; k++) tried[stage][k] = z[k];
            if (stage == STAGES - 1) break;
            { @slope@ }
            switch (stage) {
@stages@
            }
          }
        }
        UNROLL for (int k = 0; k < L; k++) l_[k] = 0;
        @known_@
        for (int stage = STAGES - 1; stage >= 0; stage--) {
          const REAL t = start + ((REAL)step + AT[stage]) * h;
          REAL z[S], z_[S], ahead_[S], d_[S], t_[1] = {0};
          UNROLL for (int k = 0; k < S; k++) z[k] = tried[stage][k], z_[k] = 0;
          switch (stage) {
@ahead_@
          }
          UNROLL for (int k = 0; k < S; k++) d_[k] = ahead_[k] * h;
          { @slope_@ }
          start_[0] += t_[0];
          h_[0] = FMA(t_[0], (REAL)step + AT[stage], h_[0]);
          switch (stage) {
@exact_@
          }
          UNROLL for (int k = 0; k < S; k++) tried[stage][k] = z_[k];
        }
        for (int stage = 0; stage < STAGES; stage++)
          UNROLL for (int k = 0; k < S; k++) y_[k] += tried[stage][k];
        { @line_@ }
      }
      if (steps > 0) length_[0] = FMA(h_[0], 1 / (REAL)steps, length_[0]);
      UNROLL for (int k = 0; k < O; k++) v_[k] = s_[k] = 0;
      element = first;
      RECALL(y, S);
      if (E > 0) {
        if (READ(job.fresh, part)) {
          const REAL t = start;
          REAL t_[1] = {0};
          { @begin_@ }
          start_[0] += t_[0];
        } else {
          UNROLL for (int k = 0; k < O; k++) v_[k] = b_[k], s_[k] = e_[k];
        }
      }
      if (part > w * job.per_window) {
        element = READ(job.mark, part - 1) + READ(job.steps, part - 1) * (I64)S;
        RECALL(y, S);
      } else {
        REAL *const from = job.checkpoint + w * (S + C + M) * job.stride + at;
        UNROLL for (int k = 0; k < S; k++) y[k] = from[k * job.stride];
      }
      { @dose_@ }
      if (CLINIC && READ(job.slot, part) >= 0) {
        UNROLL for (int k = 0; k < M; k++) m[k] = m_before[k];
        { @give_@ }
      }
      REAL *const into = job.shares + part * SHARES * job.stride + at;
      into[0] = start_[0], into[job.stride] = length_[0];
      UNROLL for (int k = 0; k < COLUMNS; k++) into[(2 + k) * job.stride] = dose_[k], into[(2 + COLUMNS + k) * job.stride] = rate_[k];
    }
  }
  UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at);
  {
    @enter@
    recall_values(&job, at, 0, v_);
    { @open_@ }
    if (CLINIC) { @admit_@ }
    { @look_@ }
  }
  UNROLL for (int k = 0; k < S; k++) job.y0_[k * job.stride + at] = y_[k];
  UNROLL for (int k = 0; k < WRT; k++) job.p_[k * job.stride + at] = p_[k];
  UNROLL for (int k = 0; k < RULES; k++) job.rule_[k * job.stride + at] = rule_[k];
}

/* What all patients share, added up in order: of one number, over one batch of patients, by each thread. */
KERNEL(thrombojax_sum) {
  const I64 rows = job.segments * SHARES, at = (I64)blockIdx.x * blockDim.x + threadIdx.x;
  const I64 row = at % rows, batch = at / rows, first = batch * job.batch;
  if (first >= job.patients) return;
  const I64 stop = first + job.batch < job.patients ? first + job.batch : job.patients;
  double total = 0;
  for (I64 k = first; k < stop; k++)
    if (job.finite[k]) total += job.shares[row * job.stride + k];
  job.sums[at] = total;
}
