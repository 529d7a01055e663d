# What the workers in R share: the problem, and the loop over lines (benchmarks/peers/workers.py says how they talk).
given <- commandArgs(TRUE)
folder <- given[1]
index <- given[2]
sizes <- scan(file.path(folder, "sizes.txt"), quiet = TRUE)
names(sizes) <- c("n", "k", "y", "days", "depot", "asked")
values <- function(name, columns) {
  count <- file.size(file.path(folder, name)) / 8
  matrix(readBin(file.path(folder, name), "double", count), ncol = columns, byrow = TRUE)
}
constants <- values("constants.bin", sizes["k"])
y0 <- values("y0.bin", sizes["y"])
amount <- values("amount.bin", 1)[, 1]
doses <- values("doses.bin", 1)[, 1]

# solve(rows, rtol, atol): daily counts of days 1.., one column per patient.
answer <- function(version, solve) {
  cat("ready ", version, "\n", sep = "")
  flush(stdout())
  input <- file("stdin", "r")
  while (length(line <- readLines(input, n = 1)) > 0) {
    asked <- as.numeric(strsplit(line, " ")[[1]])
    rows <- seq_len(asked[4] - asked[3]) + asked[3]
    before <- sum(proc.time()[1:2])
    begin <- as.numeric(Sys.time())
    counts <- solve(rows, asked[1], asked[2])
    end <- as.numeric(Sys.time())
    used <- sum(proc.time()[1:2]) - before
    writeBin(as.vector(counts), file.path(folder, paste0("counts-", index, ".bin")))
    cat(sprintf("%.6f %.6f %.6f\n", begin, end, used))
    flush(stdout())
  }
}
missing_tool <- function(reason) {
  cat("missing ", reason, "\n", sep = "")
  quit(status = 0)
}
