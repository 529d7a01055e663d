# mrgsolve on its share of the patients: Rscript worker_mrgsolve.R FOLDER INDEX (benchmarks/peers/workers.py starts it).
source(file.path(dirname(sub("--file=", "", grep("--file=", commandArgs(), value = TRUE))), "worker.R"))
if (!requireNamespace("mrgsolve", quietly = TRUE)) missing_tool("mrgsolve is not installed (benchmarks/peers/build_mrgsolve.sh)")
suppressMessages(library(mrgsolve))

model <- mread("model", folder, soloc = folder, quiet = TRUE)
model <- update(model, start = 0, delta = 1, end = sizes[["days"]], maxsteps = 1e6)
patients <- data.frame(ID = seq_len(nrow(y0)), constants, y0, amount)
names(patients) <- c("ID", paste0("k", seq_len(ncol(constants)) - 1), paste0("i", seq_len(ncol(y0)) - 1), "per_dose")
# One dose of amount 1 a week: the bioavailability F of the depot makes it the patient's own.
weekly <- ev(time = doses[1], amt = 1, cmt = sizes[["depot"]] + 1, ii = diff(doses)[1], addl = length(doses) - 1)

answer(as.character(packageVersion("mrgsolve")), function(rows, rtol, atol) {
  out <- mrgsim_ei(model, weekly, patients[rows, ], rtol = rtol, atol = atol, obsonly = TRUE, output = "matrix")
  matrix(out[out[, "time"] > 0, "count"], nrow = sizes[["days"]])
})
