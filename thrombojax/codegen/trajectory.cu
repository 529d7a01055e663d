/* One trajectory per thread: the whole course of a patient in registers. */

#define RECORD(array, n)
#define RESTART(part) 0
KERNEL(thrombojax_course) {
  @prepare@
  if (X > 0) { /* what is seen before the first segment may need its values */
    const I64 part = 0;
    const REAL h = ALONG(job.h, part), era = ALONG(job.era, part), h_dot = 0; /* tangents have no such values */
    follow(&job, at, part, x);
    { @segment@ }
  }
  { @look@ }
  keep_values(&job, at, 0, v);
  {
    const I64 visit = CLINIC ? READ(job.visit, 0) : -1;
    const REAL factor = visit >= 0 ? READ(job.factor, visit * job.stride + at) : (REAL)1;
    if (CLINIC) {
      { @admit@ }
      keep_ledger(&job, at, 0, a);
    }
    { @open@ }
  }
  for (I64 part = 0; part < job.segments; part++) {
    @part@
    keep_values(&job, at, part + 1, v);
  }
  if (E > 0) {
    REAL o[AT_LEAST_ONE(E)];
    { @close@ }
    UNROLL for (int k = 0; k < E; k++) job.endpoint[k * job.stride + at] = o[k];
  }
  REAL total = y[0];
  UNROLL for (int k = 1; k < S; k++) total += y[k];
  job.finite[at] = FINITE(total);
}
