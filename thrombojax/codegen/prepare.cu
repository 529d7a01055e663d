/* Parameters and state of one patient. */
const I64 at = (I64)blockIdx.x * blockDim.x + threadIdx.x;
if (at >= job.patients) return;
REAL p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)], r[AT_LEAST_ONE(R)], y[S], c[AT_LEAST_ONE(C)];
REAL d[S], l[AT_LEAST_ONE(L)], v[AT_LEAST_ONE(O)], s[AT_LEAST_ONE(O)], b[AT_LEAST_ONE(O)], e[AT_LEAST_ONE(O)];
REAL g[AT_LEAST_ONE(COLUMNS)], taken[AT_LEAST_ONE(COLUMNS)], m[AT_LEAST_ONE(M)], a[AT_LEAST_ONE(A)], x[AT_LEAST_ONE(X)];
prepare(&job, at, p, q);
UNROLL for (int k = 0; k < S; k++) y[k] = READ(job.y0, k * job.stride + at), d[k] = 0;
