/* What this machine can do at most: fused multiply-adds per second in registers, and bytes per second through memory.

   REAL: double or float; W: lanes of a native vector; CHAINS: independent accumulators, enough to hide the latency of an
   FMA on every port and few enough to stay in registers. Threads meet at a barrier, and the clock runs from there. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

typedef REAL V __attribute__((vector_size(W * sizeof(REAL))));

typedef struct {
  pthread_barrier_t *start;
  long first, last, rounds;
  REAL *a, *b, *c, s, result;
  double began, ended;
} Job;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void *multiply_add(void *given) {
  Job *job = given;
  V x[CHAINS], m, k;
  for (int i = 0; i < W; i++) m[i] = 1 - job->s, k[i] = job->s;
  for (int j = 0; j < CHAINS; j++)
    for (int i = 0; i < W; i++) x[j][i] = i + j;
  pthread_barrier_wait(job->start);
  job->began = now();
  for (long r = 0; r < job->rounds; r++) {
#pragma GCC unroll 64
    for (int j = 0; j < CHAINS; j++) x[j] = x[j] * m + k;
  }
  job->ended = now();
  for (int j = 1; j < CHAINS; j++) x[0] += x[j];
  for (int i = 0; i < W; i++) job->result += x[0][i];
  return 0;
}

static void *triad(void *given) {
  Job *job = given;
  REAL *restrict a = job->a, *restrict b = job->b, *restrict c = job->c, s = job->s;
  for (long i = job->first; i < job->last; i++) a[i] = 0, b[i] = 1, c[i] = 2; /* first touch by its own thread */
  pthread_barrier_wait(job->start);
  job->began = now();
  for (long r = 0; r < job->rounds; r++) {
    for (long i = job->first; i < job->last; i++) a[i] = b[i] + s * c[i];
    __asm__ volatile("" : : "r"(a) : "memory"); /* each round is done */
  }
  job->ended = now();
  return 0;
}

/* Seconds from the first thread's start to the last one's end; negative: no memory. */
static double together(void *(*work)(void *), Job given, long n, int threads) {
  pthread_t *crew = calloc(threads, sizeof *crew);
  Job *jobs = calloc(threads, sizeof *jobs);
  pthread_barrier_t start;
  if (!crew || !jobs) return -1;
  pthread_barrier_init(&start, 0, threads);
  for (int i = 0; i < threads; i++) {
    jobs[i] = given;
    jobs[i].start = &start;
    jobs[i].first = n / threads * i;
    jobs[i].last = n / threads * (i + 1);
    if (pthread_create(&crew[i], 0, work, &jobs[i])) abort();
  }
  double began = 1e300, ended = 0;
  volatile REAL sink = 0;
  for (int i = 0; i < threads; i++) {
    pthread_join(crew[i], 0);
    if (jobs[i].began < began) began = jobs[i].began;
    if (jobs[i].ended > ended) ended = jobs[i].ended;
    sink += jobs[i].result;
  }
  pthread_barrier_destroy(&start);
  free(crew);
  free(jobs);
  return ended - began;
}

/* Operations per second, two for each fused multiply-add of each lane. */
double arithmetic(long rounds, int threads, REAL small) {
  Job job = {.rounds = rounds, .s = small};
  return 2.0 * W * CHAINS * rounds * threads / together(multiply_add, job, 0, threads);
}

/* Bytes per second of a = b + s c over n elements: three arrays, as STREAM counts them. */
double bandwidth(long n, long rounds, int threads, REAL s) {
  size_t bytes = (n * sizeof(REAL) + 63) / 64 * 64;
  Job job = {.rounds = rounds, .s = s, .a = aligned_alloc(64, bytes), .b = aligned_alloc(64, bytes), .c = aligned_alloc(64, bytes)};
  double seconds = job.a && job.b && job.c ? together(triad, job, n, threads) : -1;
  free(job.a);
  free(job.b);
  free(job.c);
  return 3.0 * sizeof(REAL) * (n / threads * threads) * rounds / seconds;
}
