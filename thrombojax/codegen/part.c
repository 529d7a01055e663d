/* One segment: its doses, its steps, and what endpoints see of it. */
const TIME start = ALONG(job->start, part), length = ALONG(job->length, part), h = ALONG(job->h, part), era = ALONG(job->era, part);
#if EACH
int32_t steps = 0, count[W]; /* as many as the lane with most of them; those of others are done, and undone */
for (int k = 0; k < W; k++) {
  count[k] = job->steps[part * job->saved_step + row[k]];
  if (count[k] > steps) steps = count[k];
}
const V back_to = own(job, job->reset, part, row);
if (ANY((I)(back_to > 0)))
  for (int k = 0; k < S; k++) y[k] = tj_select((I)(back_to > 0), gather(job->y0[k], 1, job->wide, row), y[k]);
#else
const int32_t steps = job->steps[part];
#endif
const TIME start_dot = TANGENT ? ALONG(job->start_dot, part) : STILL, length_dot = TANGENT ? ALONG(job->length_dot, part) : STILL;
#if EACH
REAL share[W];
for (int k = 0; k < W; k++) share[k] = count[k] > 0 ? 1 / (REAL)count[k] : 0;
const V h_dot = TANGENT ? length_dot * LOAD(share) : STILL;
#else
const REAL h_dot = TANGENT && steps > 0 ? length_dot / (REAL)steps : 0;
#endif
(void)length, (void)era, (void)h_dot;
if (EACH || job->changed[part] || part == restart) {
  for (int k = 0; k < X; k++) x[k] = own(job, job->course, k * job->knots + job->knot[part], row);
  @segment@
}
V m_before[AT_LEAST_ONE(M)]; /* what the patient's record says before the doses of this segment */
(void)m_before;
if (CLINIC) {
  memcpy(m_before, m, sizeof m);
  @given@
}
{ @dose@ }
if (E > 0) {
  V *const v_before = v, *const s_before = s;
  v = b, s = e, b = v_before, e = s_before;
  if (EACH || job->fresh[part] || part == restart) {
    const V t = WIDE(start), t_dot = WIDE(start_dot);
    (void)t, (void)t_dot;
    { @begin@ }
  }
}
for (int32_t step = 0; step < steps; step++) {
  const V *z = y;
  RECORD(y, S);
#if EACH
  V before[S];
  memcpy(before, y, sizeof y);
#endif
  { @line@ }
#if SUMMED /* each stage looks from the slope before it alone: where the next one looks, and the step's end, are added up here */
  for (int stage = 0; stage < STAGES; stage++) {
    const V t = WIDE(start + ((REAL)step + AT[stage]) * h);
    const V ahead = SPLAT(AHEAD[stage]) * WIDE(h), share = SPLAT(SHARE[stage]) * WIDE(h);
    const V *const from = stage ? added : y;
    V *const into = stage + 1 < STAGES ? added : y, *restrict const next = stage & 1 ? trial : other;
    (void)t;
    if (stage == 0 && step == 0 && E > 0) /* the first slope is known at a bound */
      for (int k = 0; k < S; k++) next[k] = FMA(slope[0][k], ahead, y[k]), into[k] = FMA(slope[0][k], share, y[k]);
    else { @summed@ }
    switch (stage) {
@next@
    }
    z = next;
  }
#else
  for (int stage = step == 0 && E > 0; stage < STAGES; stage++) { /* the first slope is known at a bound */
    const V t = WIDE(start + ((REAL)step + AT[stage]) * h), t_dot = WIDE(start_dot + ((REAL)step + AT[stage]) * h_dot);
    V *const d = slope[stage];
    (void)t, (void)t_dot;
    @trial@
    { @slope@ }
  }
  @advance@
#endif
  { @known@ }
#if EACH
  REAL lane[W];
  for (int k = 0; k < W; k++) lane[k] = step < count[k];
  const V active = LOAD(lane);
  for (int k = 0; k < S; k++) y[k] = tj_select((I)(active > 0), y[k], before[k]);
#endif
}
RECORD(y, S);
RECORD(m_before, M);
const int32_t visit = CLINIC ? job->visit[part + 1] : -1;
const V factor = visit >= 0 ? own(job, job->factor, visit, row) : SPLAT(1);
(void)factor;
if (E > 0) {
  const V t = WIDE(start + length), t_dot = WIDE(start_dot + length_dot);
  (void)t, (void)t_dot;
  { @bound@ }
  RECORD(c, C);
  RECORD(v, 2 * O);
  RECORD(b, 2 * O);
  { @update@ }
} else if (EACH || visit >= 0 || job->keep[part + 1] >= 0) { @look@ }
if (visit >= 0 && job->acts[part + 1] >= 0) {
  const V t = WIDE(start + length), t_dot = WIDE(start_dot + length_dot);
  (void)t, (void)t_dot;
  { @decide@ }
  keep_ledger(job, part + 1, a, row);
}
