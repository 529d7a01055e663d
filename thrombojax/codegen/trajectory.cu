/* One trajectory per thread: the whole course of a patient in registers. */

#define RECORD(array, n)
#define RESTART(part) 0
KERNEL(thrombojax_course) {
  @prepare@
  {
    @enter@
    keep_values(&job, at, 0, v);
    if (CLINIC) keep_ledger(&job, at, 0, a);
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
