/* One trajectory per lane of a vector: the whole course of W patients in registers and first-level cache. */

#define RECORD(array, n) (void)0
static void course(const Job *job, int64_t group) {
  const int32_t *const row = job->row + group * W;
  @prepare@
  { @patient@ }
  @enter@
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
