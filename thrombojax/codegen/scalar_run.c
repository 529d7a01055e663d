/* Patients one after another, on the caller's thread. */
__attribute__((visibility("default"))) void thrombojax_share_host(const Job *job) { thrombojax_share(*job); }

__attribute__((visibility("default"))) void thrombojax_course_host(const Job *job, int64_t from, int64_t to) {
  for (blockIdx.x = from; blockIdx.x < to; blockIdx.x++) thrombojax_course(*job);
}
