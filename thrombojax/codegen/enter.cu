/* What is seen and decided before the first segment. */
if (X > 0) { /* which may need the values of what varies */
  const I64 part = 0;
  const REAL h = ALONG(job.h, part), era = ALONG(job.era, part), h_dot = 0; /* tangents have no such values */
  follow(&job, at, part, x);
  { @segment@ }
}
{ @look@ }
const I64 visit = CLINIC ? READ(job.visit, 0) : -1;
const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
if (CLINIC) { @admit@ }
{ @open@ }
