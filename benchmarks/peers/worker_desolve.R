# deSolve's lsoda with a compiled right-hand side: Rscript worker_desolve.R FOLDER INDEX (benchmarks/peers/workers.py starts it).
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "worker.R"))
if (!requireNamespace("deSolve", quietly = TRUE)) missing_tool("deSolve is not installed (Debian: r-cran-desolve)")
suppressMessages(library(deSolve))

library_file <- file.path(folder, paste0("desolve", .Platform$dynlib.ext))
if (!file.exists(library_file)) {
  writeLines(c(
    '#include "functions.h"',
    sprintf("static double k[%d];", sizes[["k"]]),
    sprintf("void initialise(void (*get)(int *, double *)) { int n = %d; get(&n, k); }", sizes[["k"]]),
    "void derivatives(int *n, double *t, double *y, double *d, double *out, int *ip) {",
    "  rhs(y, k, d);",
    "  out[0] = count(y, k);",
    "}"
  ), file.path(folder, "desolve.c"))
  said <- system2("R", c("CMD", "SHLIB", "-o", library_file, file.path(folder, "desolve.c")), stdout = TRUE, stderr = TRUE)
  if (!file.exists(library_file)) stop(paste(said, collapse = "\n"))
}
dyn.load(library_file)
times <- 0:sizes[["days"]]
state <- paste0("y", seq_len(ncol(y0)) - 1)

answer(as.character(packageVersion("deSolve")), function(rows, rtol, atol) {
  counts <- matrix(0, sizes[["days"]], length(rows))
  given <- data.frame(var = state[sizes[["depot"]] + 1], time = doses, value = 1, method = "add")
  for (i in seq_along(rows)) {
    given$value <- amount[rows[i]]
    out <- lsoda(setNames(y0[rows[i], ], state), times, "derivatives", constants[rows[i], ], rtol = rtol, atol = atol,
                 dllname = "desolve", initfunc = "initialise", nout = 1, outnames = "count", maxsteps = 1e5,
                 events = list(data = given))
    counts[, i] <- out[-1, "count"]
  }
  counts
})
