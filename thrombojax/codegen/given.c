/* Amounts that arrive at the start of a segment, and the patient's record after them. */
const int32_t slot = job->slot[part];
for (int k = 0; k < COLUMNS; k++) g[k] = SPLAT(0);
if (slot >= 0) {
  for (int k = 0; k < OWN; k++) taken[k] = own(job, job->taken, (int64_t)slot * OWN + k, row);
  { @give@ }
}
