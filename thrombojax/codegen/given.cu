/* Amounts that arrive at the start of a segment, and the patient's record after them. */
const I64 slot = READ(job.slot, part);
UNROLL for (int k = 0; k < COLUMNS; k++) g[k] = 0;
if (slot >= 0) {
  UNROLL for (int k = 0; k < OWN; k++) taken[k] = READ(job.taken, (slot * OWN + k) * job.stride + at);
  { @give@ }
}
