/* The frozen ceiling: the 22-state prototype written by hand, the whole trajectory of W patients in vector registers and L1.

   REAL: double or float; W: lanes of a native vector. Arrays are [parameter or state][patient] and [day][2][patient]:
   platelets and TPO at the end of each day. Kept as it was when the project began; only `run` takes any number of threads. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NP 5
#define NA 8
#define NS (9 + NP + NA)

typedef REAL V __attribute__((vector_size(W * sizeof(REAL))));
typedef struct {
  V kT, kns, kint, Rp, Rm, Kd, kd2, ka, kel, k12, k21, emax, ec50, h, kp, kmk, kn, rel, kpl, ks, fs, kdes;
} Par;

static inline V vpow(V x, V h) {
  V r;
#pragma omp simd
  for (int i = 0; i < W; i++) r[i] = sizeof(REAL) == 8 ? exp(h[i] * log(x[i])) : expf(h[i] * logf(x[i]));
  return r;
}

static inline __attribute__((always_inline)) void rhs(const V *y, const Par *p, V *d) {
  V T = y[0], D = y[1], C = y[2], C2 = y[3], E0 = y[4], E1 = y[5], P = y[6];
  const V *M = y + 7;
  V N = y[7 + NP];
  const V *A = y + 8 + NP;
  V S = y[8 + NP + NA];
  V plt = A[0];
  for (int i = 1; i < NA; i++) plt += A[i];
  V mk = M[0];
  for (int i = 1; i < NP; i++) mk += M[i];
  V a = T / p->Kd, b = C / p->kd2, iden = 1 / (1 + a + b);
  V sink = p->kint * (p->Rp * (plt + S) + p->Rm * mk) * iden;
  d[0] = p->kT - p->kns * T - sink * a;
  d[1] = -p->ka * D;
  d[2] = p->ka * D - (p->kel + p->k12) * C + p->k21 * C2 - sink * b;
  d[3] = p->k12 * C - p->k21 * C2;
  d[4] = -p->ka * E0;
  d[5] = p->ka * E0 - p->kel * E1;
  V occ = (a + b) * iden + E1 / (E1 + p->ec50);
  V x = vpow(occ + (REAL)1e-6, p->h);
  V s = 1 + p->emax * x / (x + (REAL)0.5);
  d[6] = p->kp * s - p->kmk * P;
  d[7] = p->kmk * P * s - p->kmk * M[0];
  for (int i = 1; i < NP; i++) d[7 + i] = p->kmk * (M[i - 1] - M[i]);
  d[7 + NP] = p->kmk * M[NP - 1] - p->kn * N;
  V prod = p->rel * p->kn * N;
  V fl = p->ks * (p->fs * plt - S);
  V kk = p->kpl + p->kdes;
  d[8 + NP] = prod - kk * A[0] - fl * (REAL)0.1;
  for (int i = 1; i < NA; i++) d[8 + NP + i] = p->kpl * A[i - 1] - kk * A[i];
  d[8 + NP + NA] = fl;
}

typedef struct {
  const REAL *par, *y0;
  REAL *out;
  long B, b0, b1;
  int nd, spd;
} Job;

static void *work(void *q) {
  Job *j = q;
  REAL dt = (REAL)1 / j->spd;
  for (long b = j->b0; b < j->b1; b += W) {
    Par p;
    V *pp = (V *)&p;
    for (int k = 0; k < 22; k++) memcpy(&pp[k], j->par + k * j->B + b, sizeof(V));
    V y[NS], k1[NS], k2[NS], t[NS];
    for (int k = 0; k < NS; k++) memcpy(&y[k], j->y0 + k * j->B + b, sizeof(V));
    for (int d = 0; d < j->nd; d++) {
      if (d % 7 == 0) y[1] += (REAL)10;
      y[4] += (REAL)50;
      for (int s = 0; s < j->spd; s++) {
        rhs(y, &p, k1);
        for (int k = 0; k < NS; k++) t[k] = y[k] + dt / 2 * k1[k];
        rhs(t, &p, k2);
        for (int k = 0; k < NS; k++) {
          t[k] = y[k] + dt / 2 * k2[k];
          k1[k] += 2 * k2[k];
        }
        rhs(t, &p, k2);
        for (int k = 0; k < NS; k++) {
          t[k] = y[k] + dt * k2[k];
          k1[k] += 2 * k2[k];
        }
        rhs(t, &p, k2);
        for (int k = 0; k < NS; k++) y[k] += dt / 6 * (k1[k] + k2[k]);
      }
      V plt = y[8 + NP];
      for (int i = 1; i < NA; i++) plt += y[8 + NP + i];
      memcpy(j->out + (long)d * 2 * j->B + b, &plt, sizeof(V));
      memcpy(j->out + ((long)d * 2 + 1) * j->B + b, &y[0], sizeof(V));
    }
  }
  return 0;
}

/* B: patients, a multiple of W; nd: days; spd: steps a day; nt: threads. */
void run(const REAL *par, const REAL *y0, REAL *out, long B, int nd, int spd, int nt) {
  pthread_t *th = malloc(nt * sizeof *th);
  Job *J = malloc(nt * sizeof *J);
  for (int i = 0; i < nt; i++) {
    J[i] = (Job){par, y0, out, B, (B / W * i / nt) * W, (B / W * (i + 1) / nt) * W, nd, spd};
    pthread_create(&th[i], 0, work, &J[i]);
  }
  for (int i = 0; i < nt; i++) pthread_join(th[i], 0);
  free(th);
  free(J);
}
