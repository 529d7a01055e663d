/* One trajectory per lane of a vector: the whole course of W patients in registers and first-level cache. */

#define RECORD(array, n) (void)0
static void course(const Job *job, int64_t group) {
  const int32_t *const row = job->row + group * W;
  @prepare@
  { @patient@ }
  if (X > 0) { /* what is seen before the first segment may need its values */
    const int64_t part = 0;
    const TIME h = ALONG(job->h, part), era = ALONG(job->era, part);
    const TIME h_dot = STILL; /* tangents have no such values */
    (void)h, (void)era, (void)h_dot;
    for (int k = 0; k < X; k++) x[k] = own(job, job->course, k * job->knots + job->knot[part], row);
    { @segment@ }
  }
  { @look@ }
  keep_values(job, 0, v, row);
  const V factor = CLINIC && job->visit[0] >= 0 ? own(job, job->factor, job->visit[0], row) : SPLAT(1);
  (void)factor;
  if (CLINIC) {
    { @admit@ }
    if (job->acts[0] >= 0) keep_ledger(job, 0, a, row);
  }
  { @open@ }
  const int64_t restart = 0;
  for (int64_t part = 0; part < job->segments; part++) {
    @part@
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
