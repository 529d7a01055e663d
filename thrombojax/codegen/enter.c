/* What is seen and decided before the first segment. */
if (X > 0) { /* which may need the values of what varies */
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
