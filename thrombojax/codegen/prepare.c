/* Parameters and state of one vector of patients. */
V p[AT_LEAST_ONE(P)], q[AT_LEAST_ONE(Q)], r[AT_LEAST_ONE(R)], y[S], trial[S], slope[STAGES][S];
#if SUMMED
V added[S], other[S];
static const REAL AHEAD[STAGES] = {@ahead_each@}, SHARE[STAGES] = {@share_each@};
#endif
V l[AT_LEAST_ONE(L)], c[AT_LEAST_ONE(C)];
V g[AT_LEAST_ONE(COLUMNS)], taken[AT_LEAST_ONE(COLUMNS)], m[AT_LEAST_ONE(M)], a[AT_LEAST_ONE(A)], x[AT_LEAST_ONE(X)];
V at_begin[2 * AT_LEAST_ONE(O)], at_end[2 * AT_LEAST_ONE(O)];
V *v = at_end, *s = v + O, *b = at_begin, *e = b + O;
static const REAL AT[STAGES] = {@at@};
V *d = slope[0];
memset(slope, 0, sizeof slope); /* linear compartments have none, and nothing may come of what lay there */
for (int k = 0; k < P; k++) p[k] = gather(job->p[k], job->p_step[k], job->wide, row);
for (int k = 0; k < S; k++) y[k] = gather(job->y0[k], 1, job->wide, row);
const REAL *const first = job->first, *const window = job->window, *const number = job->number, *const rule = job->rule;
(void)first, (void)window, (void)number, (void)l, (void)r, (void)b, (void)e;
(void)g, (void)taken, (void)m, (void)a, (void)x, (void)rule;
