/* One segment: its doses, its steps, and what endpoints see of it. */
const REAL start = ALONG(job.start, part), length = ALONG(job.length, part), h = ALONG(job.h, part);
const REAL era = ALONG(job.era, part);
const I32 steps = ALONG(job.steps, part);
const REAL start_dot = TANGENT ? ALONG(job.start_dot, part) : 0, length_dot = TANGENT ? ALONG(job.length_dot, part) : 0;
const REAL h_dot = TANGENT && steps > 0 ? length_dot / (REAL)steps : 0;
if (EACH && ALONG(job.reset, part) > 0)
  UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at);
if (EACH || READ(job.changed, part) || RESTART(part)) {
  follow(&job, at, part, x);
  @segment@
}
REAL m_before[AT_LEAST_ONE(M)]; /* what the patient's record says before the doses of this segment */
if (CLINIC) {
  UNROLL for (int k = 0; k < M; k++) m_before[k] = m[k];
  @given@
}
{ @dose@ }
if (E > 0) {
  UNROLL for (int k = 0; k < O; k++) b[k] = v[k], e[k] = s[k];
  if (EACH || READ(job.fresh, part) || RESTART(part)) {
    const REAL t = start, t_dot = start_dot;
    { @begin@ }
  }
}
for (I32 step = 0; step < steps; step++) {
  REAL z[S], g[AT_LEAST_ONE(G)][S]; /* where a stage looks; what later stages need of those before */
  RECORD(y, S);
  UNROLL for (int k = 0; k < S; k++) z[k] = y[k];
  { @line@ }
  UNROLL for (int stage = 0; stage < STAGES; stage++) {
    const REAL t = start + ((REAL)step + AT[stage]) * h, t_dot = start_dot + ((REAL)step + AT[stage]) * h_dot;
    if (!FIRST || step > 0 || stage > 0) { @slope@ }
    switch (stage) {
@stages@
    }
  }
  @known@
}
RECORD(y, S);
RECORD(m_before, M);
const I64 visit = CLINIC ? READ(job.visit, part + 1) : -1;
const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
const REAL t = start + length, t_dot = start_dot + length_dot;
if (E > 0) {
  { @bound@ }
  RECORD(c, C);
  RECORD(v, O);
  RECORD(s, O);
  RECORD(b, O);
  RECORD(e, O);
  { @update@ }
} else if (EACH || visit >= 0 || READ(job.keep, part + 1) >= 0) { @look@ }
if (visit >= 0 && READ(job.acts, part + 1) >= 0) {
  { @decide@ }
  keep_ledger(&job, at, part + 1, a);
}
