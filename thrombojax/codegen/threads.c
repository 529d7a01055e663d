typedef struct { const Job *job; int64_t next; } Queue;

/* Groups of patients, a few at a time, to whichever thread is free. */
static void *serve(void *given) {
  Queue *const queue = given;
  const uint64_t before = flush_small();
  enum { TAKE = 8 };
  for (;;) {
    const int64_t first = __atomic_fetch_add(&queue->next, TAKE, __ATOMIC_RELAXED);
    if (first >= queue->job->groups) break;
    const int64_t left = queue->job->groups - first;
    for (int64_t k = 0; k < (left < TAKE ? left : TAKE); k++) course(queue->job, first + k);
  }
  flush_as_before(before);
  return 0;
}

/* Runs a job on its threads; 0 when all is done. A thread that cannot be started leaves its share to the others. */
__attribute__((visibility("default"))) int thrombojax_run(const Job *job) {
  enum { MOST = 1024 };
  pthread_t thread[MOST];
  Queue queue = {job, 0};
  int started = 0;
  for (int64_t k = 1; k < job->threads && k < MOST; k++)
    if (pthread_create(&thread[started], 0, serve, &queue) == 0) started++;
  serve(&queue);
  for (int k = 0; k < started; k++) pthread_join(thread[k], 0);
  return 0;
}
